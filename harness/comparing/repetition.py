"""Which side repeats which, what stands against a comparison of the two, and the verdict.

A side repeats an earlier one of the same plan (its cell, measured in another run or at another site), or one of the run
that its own run says it repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.estimates import Gains, gains_of
from harness.analysis.figures import figures_in
from harness.analysis.paired_ratio import RepeatedFigures
from harness.analysis.repetition import Repetition, repetition_of
from harness.bundle.contents import bundle_sha256
from harness.comparing.differences import differences_of
from harness.comparing.figures import gains_apart, named_apart
from harness.comparing.obstacles import obstacles_between
from harness.comparing.side import Side
from harness.config import SPEC_NAME, RepeatOf, load_yaml, validated
from harness.publish import Account

HASH_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedSide:
    """A side, what it repeats, and the verdict."""

    base: Side
    other: Side
    repetition: Repetition
    notes: tuple[str, ...] = ()
    is_copy: bool = False
    """Whether they share a session, so that one of them measured nothing."""


def repetitions_of(sides: Sequence[Side]) -> list[RepeatedSide]:
    """Every side that repeats one before it.

    Raises:
        UsageError: A run file that cannot be read.
    """
    pairs = [(_repeated_by(side, sides[:index]), side) for index, side in enumerate(sides)]
    return [repeated(base, side) for base, side in pairs if base is not None]


def repeated(base: Side, other: Side) -> RepeatedSide:
    """The verdict on one side as a repetition of another.

    Args:
        base: What was repeated.
        other: The same plan, measured again.
    """
    found = repetition_of(
        _figures(base),
        _figures(other),
        obstacles_between(base, other),
        estimated=base.summary.estimated and other.summary.estimated,
        texts=_alike(base, other, "text"),
    )
    is_copy = bool(_sessions(base) & _sessions(other))
    return RepeatedSide(base=base, other=other, repetition=found, notes=tuple(_notes(base, other)), is_copy=is_copy)


def repeat_of(run: Path) -> RepeatOf | None:
    """The run that a run says it repeats; None: none. The rest of its file is not looked at.

    Raises:
        UsageError: The file cannot be read.
    """
    path = run / SPEC_NAME
    fields = load_yaml(path).get("repeat_of") if path.exists() else None
    return None if fields is None else validated(RepeatOf, fields, str(path))


def _repeated_by(side: Side, before: Sequence[Side]) -> Side | None:
    plan = _plan(side)
    same = next((each for each in before if _plan(each) == plan), None)
    if same is not None:
        return same
    said = repeat_of(side.run)
    named = [each for each in before if said is not None and _run_id(each) == said.run_id]
    return min(named, key=lambda each: sum(1 for _ in differences_of(each, side)), default=None)


def _plan(side: Side) -> str:
    return side.cell.model_copy(update={"repeat": 0}).cell_id


def _run_id(side: Side) -> str:
    return side.run.name if side.manifest is None else side.manifest.run_id


def _figures(side: Side) -> RepeatedFigures:
    group, site_id = side.every_repeat, side.summary.site_id
    each = [named_apart(figures_in(one.results.columns, side.summary.headline), site_id) for one in group]
    gains: Gains = {}
    for manifest in side.manifests:
        gains = {**gains, **gains_apart(gains_of(manifest.channels), site_id)}
    modes = [mode for mode in side.cell.modes if all(mode in one.mode.names for one in each)]
    return RepeatedFigures(
        by_mode={mode: tuple(one.in_mode(mode) for one in each) for mode in modes},
        gains=gains,
        n_planned={mode: max(_n_planned(one, mode) for one in group) for mode in modes},
        widening=replace(side, repeats=group).inflation,
    )


def _n_planned(account: Account, mode: str) -> int:
    """How many prompts a mode was to be asked; of a run that could stop, how many it was."""
    manifest, summary = account.results.manifest, account.summary
    n_asked = sum(each.n_queries for each in summary.modes if each.mode == mode)
    could_stop = manifest is None or manifest.until_ci is not None or summary.stopping is not None
    return n_asked if could_stop or manifest is None else max(n_asked, manifest.n_prompts)


def _sessions(side: Side) -> set[tuple[str, float, float]]:
    """What tells a session from every other: when it began, by three clocks."""
    return {(each.started_utc, each.origin_unix_s, each.origin_monotonic_s) for each in side.manifests}


def _alike(base: Side, other: Side, name: str) -> tuple[int, int]:
    """Of the queries of both, how many have the same text, and of how many it is known."""
    found = [
        {
            (columns.prompt.names[prompt], columns.mode.names[mode]): text
            for prompt, mode, text in zip(
                columns.prompt.codes.tolist(), columns.mode.codes.tolist(), getattr(columns, name).tolist(), strict=True
            )
            if text >= 0
        }
        for columns in (base.account.results.columns, other.account.results.columns)
    ]
    common = found[0].keys() & found[1].keys()
    return sum(found[0][key] == found[1][key] for key in common), len(common)


def _notes(base: Side, other: Side) -> Iterator[str]:
    """What a reader of the verdict must know about the two."""
    n_same, n_asked = _alike(base, other, "rendered")
    if n_same < n_asked:
        yield (
            f"In {n_asked - n_same:,} of {n_asked:,} queries the model was given another text: "
            "a chat template may put the date into it, or be another one."
        )
    said, is_of = repeat_of(other.run), bundle_sha256(base.run)
    if said is None or said.run_id != _run_id(base):
        return
    if said.bundle_sha256 is not None and is_of is not None and said.bundle_sha256 != is_of:
        yield (
            f"{other.label} says that it repeats the bundle {said.bundle_sha256[:HASH_DIGITS]} of this run, and "
            f"{base.label} is the bundle {is_of[:HASH_DIGITS]}."
        )
