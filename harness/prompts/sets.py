"""What makes a list of prompts a set: its hash, its order, and what every set must satisfy.

Knows nothing of files or the Hub.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from harness.errors import UsageError
from harness.records import Prompt, PromptSet


def digest(prompts: Sequence[Prompt]) -> str:
    """Sha256 of a set: the canonical JSON of [id, text, reference, scorer] of each prompt in stored order.

    Where a prompt has a second text, an image or a sound, its list is longer by two: [..., second text, sha256 of what
    the image's or the sound's file holds], null for what it has not. Names and paths of files are left out: the same
    files are the same set wherever they lie.

    Kind and level are left out: they label a prompt for tables and change nothing that is measured.
    """
    rows: list[list[str | None]] = []
    for prompt in prompts:
        row = [prompt.prompt_id, prompt.text, prompt.reference, prompt.scorer]
        if prompt.text_pair is not None or prompt.media is not None:
            row += [prompt.text_pair, None if prompt.media is None else prompt.media.sha256]
        rows.append(row)
    canonical = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def shuffled(prompts: Sequence[Prompt], seed: int) -> tuple[Prompt, ...]:
    """A random order that depends on the seed and the ids alone.

    Sorting by a hash instead of `random.shuffle` fixes the order for every version of Python, and keeps the
    relative order of the old prompts when rows are added to a file.
    """
    return tuple(sorted(prompts, key=lambda prompt: (_draw(seed, prompt.prompt_id), prompt.prompt_id)))


def _draw(seed: int, prompt_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{prompt_id}".encode()).digest()


def ordered(name: str, source: str, stored: Sequence[Prompt], seed: int | None) -> PromptSet:
    """A set, hashed as it is stored and taken in the order that `seed` gives it.

    Args:
        name: What it is called.
        source: Where it comes from.
        stored: Its prompts as they are stored.
        seed: None: in stored order, for a set that already lies in a nested order, or where a protocol takes it so.

    Raises:
        UsageError: The set is empty.
    """
    if not stored:
        raise UsageError(f"{source} holds no prompts.", "Put at least one prompt into it, or choose another set.")
    prompts = tuple(stored) if seed is None else shuffled(stored, seed)
    return PromptSet(name=name, source=source, sha256=digest(stored), prompts=prompts)
