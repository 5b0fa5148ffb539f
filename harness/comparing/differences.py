"""In what two sides differ: everything that is recorded of what was measured and where, as each side states it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from harness.comparing.side import Side
from harness.records import Cell, Record, RunManifest
from harness.report.exports.vocabulary import TEXT_GENERATION
from harness.report.wording import models

SUBJECT = ("model", "source", "revision", "reasoning", "pair", "trust_remote_code")
"""Fields of a cell that say which model it is; the model's name stands for all of them."""
NOT_COMPARED = {*SUBJECT, "repeat", "modes", "prompt_set", "prompt_set_sha256", "engine"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A condition in which two sides differ, as they state it."""

    what: str
    base: str
    other: str

    def __str__(self) -> str:
        return f"{self.what} {self.base} → {self.other}"


def differences_of(base: Side, other: Side) -> Iterator[Difference]:
    """Everything in which two sides differ, besides their modes and their prompts."""
    subject = subject_difference(base, other)
    if subject is not None:
        yield subject
    for each in (*(condition for _, condition in cell_conditions(base, other)), *site_conditions(base, other)):
        if each.base != each.other:
            yield each


def subject_difference(base: Side, other: Side) -> Difference | None:
    """In what the models differ; None where they are one."""
    if models(base.cell) != models(other.cell):
        return Difference(what="model", base=models(base.cell), other=models(other.cell))
    if _revisions(base.cell) != _revisions(other.cell):
        return Difference(what="revision", base=_revisions(base.cell), other=_revisions(other.cell))
    if (base.cell.reasoning, base.cell.pair) != (other.cell.reasoning, other.cell.pair):
        return Difference(what="reasoning mechanism", base="as in its cell.yaml", other="another")
    return None


def cell_conditions(base: Side, other: Side) -> Iterator[tuple[str, Difference]]:
    """What two cells state besides their models and prompts, alike or not, each with the name of its field."""
    for own, theirs, left_out in ((base.cell, other.cell, NOT_COMPARED), (base.cell.engine, other.cell.engine, ())):
        for name in type(own).model_fields:
            if name not in left_out:
                what = "engine" if name == "name" else name.replace("_", " ")
                words = _words_of(own, name), _words_of(theirs, name)
                yield name, Difference(what=what, base=words[0], other=words[1])


def site_conditions(base: Side, other: Side) -> Iterator[Difference]:
    """What two sites state, alike or not; nothing of one site."""
    if base.manifest is None or other.manifest is None or base.summary.site_id == other.summary.site_id:
        return
    here, there = base.manifest.site, other.manifest.site
    yield Difference(what="board", base=_boards(base.manifest), other=_boards(other.manifest))
    yield Difference(what="driver", base=_words(here.driver), other=_words(there.driver))
    yield Difference(what="CPU", base=here.cpu, other=there.cpu)
    for name in sorted({*here.packages, *there.packages}):
        yield Difference(what=name, base=_words(here.packages.get(name)), other=_words(there.packages.get(name)))
    if here.hostname_sha256 != there.hostname_sha256:
        yield Difference(what="machine", base=here.hostname_sha256[:8], other=there.hostname_sha256[:8])


def _words_of(stated: Record, name: str) -> str:
    """A field in words; no task is text generation."""
    value = getattr(stated, name)
    return TEXT_GENERATION if name == "task" and value is None else _words(value)


def _revisions(cell: Cell) -> str:
    """Of the model; of a pair both."""
    return " and ".join(each.revision[:12] for each in (cell, cell.pair) if each is not None)


def _words(value: object) -> str:
    if value is None or value == {}:
        return "none"
    if value == ():
        return "none"
    if isinstance(value, tuple):
        return shlex.join(str(each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _boards(manifest: RunManifest) -> str:
    return ", ".join(board.name for board in manifest.site.boards) or "none"
