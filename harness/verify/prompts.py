"""Were these prompts asked, and do texts and their hashes belong together?

The prompts of a set that ships with the program are known, and those of a user's own file where a bundle carries them;
of others the hash alone is, and then the set cannot be looked at.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

from harness.bundle.contents import PROMPTS_NAME
from harness.engine.task.catalogue import inputs_of
from harness.errors import UsageError
from harness.prompts.bundled import read_prompts
from harness.prompts.embedded import EmbeddedSource
from harness.prompts.embedded import names as embedded_names
from harness.prompts.sets import digest, shuffled
from harness.records import LengthRecord, Output, Prompt, QueryRecord
from harness.schedule import query_seed
from harness.verify.check import Check, Kind
from harness.verify.stored import StoredCell, called, damaged

NO_TEXTS = "texts of prompts and answers are not in it, only their hashes"
NOT_ONE_OF_A_SET = "not a prompt of its set"

_check = partial(Check, kind=Kind.PROMPTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """The prompts of a cell by their ids, and where each stands; empty, with the reason, where they are not at hand."""

    prompts: Mapping[str, Prompt]
    places: Mapping[str, int]
    why_not: str = ""


def prompts_of(stored: StoredCell) -> Generator[Check, None, AtHand]:
    """The cell's prompts.

    Yields:
        Whether the set's digest is the cell's.
    """
    beside, cell = stored.directory.path / PROMPTS_NAME, stored.cell
    try:
        inputs = inputs_of(cell.task)
    except UsageError:
        return AtHand(prompts={}, places={}, why_not=f"this version does not know the task {cell.task}")
    if beside.exists():
        where = f"{stored.path}/{PROMPTS_NAME}"
        try:
            prompts = read_prompts(beside, inputs)
        except UsageError as error:
            yield damaged(stored.directory.path.parent.parent, where, error)
            return AtHand(prompts={}, places={}, why_not=f"{PROMPTS_NAME} cannot be read")
        found = digest(prompts)
        yield _check(where=where, figure="digest of the set", stored=cell.prompt_set_sha256, again=found)
        if found != cell.prompt_set_sha256:
            return AtHand(prompts={}, places={}, why_not=f"{PROMPTS_NAME} is not the set that was asked")
        ordered = tuple(prompts) if cell.order == "stored" else shuffled(prompts, cell.seed)
    elif cell.prompt_set not in embedded_names():
        return AtHand(prompts={}, places={}, why_not=f"the prompts of {cell.prompt_set} are not at hand")
    else:
        try:
            known = EmbeddedSource(cell.prompt_set, inputs).load(None)
        except UsageError as error:
            return AtHand(prompts={}, places={}, why_not=f"the set {cell.prompt_set} cannot be read: {error}")
        if known.sha256 != cell.prompt_set_sha256:
            why = f"the set {cell.prompt_set} that ships with this version has another digest than the one asked"
            return AtHand(prompts={}, places={}, why_not=why)
        where = f"{stored.path}/cell.yaml"
        yield _check(where=where, figure="prompt_set_sha256", stored=cell.prompt_set_sha256, again=known.sha256)
        ordered = known.prompts
    return AtHand(
        prompts={prompt.prompt_id: prompt for prompt in ordered},
        places={prompt.prompt_id: place for place, prompt in enumerate(ordered)},
    )


def prompts(stored: StoredCell, at_hand: AtHand) -> Iterator[Check]:
    """Every query's prompt and texts."""
    records = chain[QueryRecord | LengthRecord](stored.queries, stored.lengths)
    for record in records:
        where = called(record)
        prompt = at_hand.prompts.get(record.prompt_id)
        if at_hand.why_not:
            yield _check(where=where, figure="prompt", why_not=at_hand.why_not)
        else:
            place = at_hand.places.get(record.prompt_id, NOT_ONE_OF_A_SET)
            yield _check(where=where, figure="prompt_index", stored=record.prompt_index, again=place)
        if isinstance(record, QueryRecord):
            seed = query_seed(stored.cell, record.prompt_id)
            yield _check(where=where, figure="seed", stored=record.seed, again=seed)
        if record.output is not None:
            yield from _texts(where, record.output)
            yield from _sizes(where, record.output)
            if prompt is not None and record.output.rendered_prompt is not None:
                holds = _holds(record.output.rendered_prompt, prompt)
                again = "holds the prompt" if holds else "another prompt"
                yield _check(where=where, figure="rendered_prompt", stored="holds the prompt", again=again)


def _texts(where: str, output: Output) -> Iterator[Check]:
    if output.rendered_prompt is None and output.text is None:
        yield _check(where=where, figure="text", why_not=NO_TEXTS)
        return
    pairs = (
        ("rendered_prompt_sha256", output.rendered_prompt_sha256, output.rendered_prompt),
        ("text_sha256", output.text_sha256, output.text),
    )
    for figure, stored, text in pairs:
        if text is not None:
            yield _check(where=where, figure=figure, stored=stored, again=hashlib.sha256(text.encode()).hexdigest())


def _sizes(where: str, output: Output) -> Iterator[Check]:
    """Whether thinking and answer add up to the output."""
    parts = [output.sizes.get(f"{part}_tokens") for part in ("thinking", "answer")]
    whole = output.sizes.get("output_tokens")
    if whole is not None and None not in parts:
        again = sum(part for part in parts if part is not None)
        yield _check(where=where, figure="output_tokens, thinking and answer", stored=whole, again=again)


def _holds(rendered: str, prompt: Prompt) -> bool:
    """Whether the model was given the prompt: its texts, and the sha256 of its image or sound.

    A text as it stands, or as JSON writes it where a server was asked in JSON. White space is left out and compatible
    characters are taken for one: templates trim, tokenizers normalise.
    """
    given = _plain(rendered)
    parts = [prompt.text, prompt.text_pair or "", prompt.media.sha256 if prompt.media is not None else ""]
    return all(_plain(part) in given or _plain(json.dumps(part, ensure_ascii=False)[1:-1]) in given for part in parts)


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())
