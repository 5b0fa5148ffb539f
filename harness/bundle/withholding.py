"""Texts that must not be in a bundle: when that is so, and what is left of a record without them.

What is withheld leaves its sha256, so that whoever has the texts can check that they are these. Texts are what a model
was given and what it wrote, what was read as its answer, and the words of others that may quote them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from harness.errors import SchemaError
from harness.prompts.named import named_sets
from harness.records import Cell, Finding, FindingCode, LengthRecord, Output, QueryRecord, RunManifest
from harness.store.lines import LINE_END, blocks, whole_bytes
from harness.store.run_directory import check_version

Answered = TypeVar("Answered", QueryRecord, LengthRecord)

QUOTING = {
    FindingCode.QUERY_FAILED,
    FindingCode.PROMPT_TOO_LONG,
    FindingCode.SCORER_FAILED,
    FindingCode.LIBRARY_WARNING,
    FindingCode.SERVER_REFUSED,
    FindingCode.SERVER_LOST,
    FindingCode.RATE_LIMITED,
    FindingCode.TIMED_OUT,
    FindingCode.STREAM_CUT,
    FindingCode.INPUT_UNUSABLE,
    FindingCode.LABEL_UNKNOWN,
}
"""Whose details may hold what a prompt or a reference says: a server that refuses a prompt likes to quote it."""


def reason(cells: Sequence[Cell], manifests: Sequence[RunManifest], *, asked: bool) -> str:
    """Why texts of a run must not be in its bundle, in words; empty: they may.

    Args:
        cells: Of the run.
        manifests: Of its sessions.
        asked: Whether the user wants them out (`--hash-texts`).
    """
    for cell in cells:
        name = _closed_set(cell.prompt_set)
        if name is not None:
            return f"the authors of {name} ask that no text of it be published"
    stored = [manifest.store_text for manifest in manifests if manifest.store_text != "full"]
    if stored:
        return f"the run kept none (--store-text {stored[0]})"
    return "it was asked for (--hash-texts)" if asked else ""


def _closed_set(prompt_set: str) -> str | None:
    """The set of that name whose texts must stay unpublished; None: there is none.

    A copy is known by its name, of a file or a repository: a word of it begins with the repository's own. Rather too
    much is withheld than too little.
    """
    words = re.split(r"[^a-z0-9]+", prompt_set.casefold())
    for known, entry in named_sets().items():
        own = entry.repository.casefold().rpartition("/")[2]
        if not entry.republish and any(word.startswith(own) for word in words):
            return known
    return None


def withheld(record: Answered) -> Answered:
    """The record without texts."""
    score = None if record.score is None else record.score.model_copy(update={"extracted": None})
    return record.model_copy(
        update={
            "output": None if record.output is None else _without_texts(record.output),
            "score": score,
            "findings": tuple(_unquoted(finding) for finding in record.findings),
        }
    )


def _without_texts(output: Output) -> Output:
    sha256 = output.text_sha256
    if output.text is not None:
        sha256 = hashlib.sha256(output.text.encode()).hexdigest()
    return output.model_copy(update={"rendered_prompt": None, "text": None, "text_sha256": sha256})


def _unquoted(finding: Finding) -> Finding:
    return finding.model_copy(update={"detail": ""}) if finding.code in QUOTING else finding


def withhold(source: Path, target: Path, kind: type[Answered]) -> None:
    """Copy the lines of a file without their texts; a line that was never finished is left out.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    with target.open("wb") as out:
        for _, block in blocks(source, whole_bytes(source)):
            for line in block.removesuffix(LINE_END).split(LINE_END):
                try:
                    record = kind.model_validate_json(line)
                except ValueError as error:
                    raise SchemaError(f"{source} is damaged: {error}", "Restore it from a copy of the run.") from error
                check_version(record.schema_version, source)
                out.write(withheld(record).model_dump_json().encode() + LINE_END)
