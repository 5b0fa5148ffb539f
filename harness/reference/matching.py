"""A run's mode beside each published row of its model: what differs, and do the figures agree where nothing does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from harness.records import Estimate, ModeSummary
from harness.reference.conditions import MEASURED, Conditions, Difference, contrast
from harness.reference.rows import PublishedRow, Quantity, Status

TOLERANCE = 0.1
"""Relative. ML.ENERGY's own duplicates differ by 5 to 19 %, AI Energy Score's reasoning rows are one run of 10 sampled
prompts without an interval: published tables of this kind do not support a tighter one."""

IMAGES = "image-generation"


class Verdict(StrEnum):
    """Where our figure lies against a published one. Only rows in which nothing differs get another than the last."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One quantity, ours and theirs. `low` and `high` are our interval with all its parts."""

    quantity: Quantity
    ours: float
    low: float | None
    high: float | None
    theirs: float
    verdict: Verdict

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceMatch:
    """A published row beside a mode of a run. `figures` is empty where ours were not measured."""

    row: PublishedRow
    differences: tuple[Difference, ...]
    unstated: tuple[str, ...]
    figures: tuple[Beside, ...]
    verdict: Verdict
    sentence: str

    @property
    def matches(self) -> bool:
        """Whether model and every stated condition are alike, and the row may be believed."""
        return not self.differences and self.row.sound


def matches(
    ours: Conditions,
    estimates: Mapping[Quantity, Estimate],
    rows: Iterable[PublishedRow],
    *,
    tolerance: float = TOLERANCE,
) -> tuple[ReferenceMatch, ...]:
    """The rows of the same model, those with the fewest differences first. Empty: nobody published this model.

    Args:
        ours: Conditions of the mode.
        estimates: Its figures.
        rows: Of one table.
        tolerance: Relative; see `verdict_of`.
    """
    found = [_match(ours, estimates, row, tolerance) for row in rows if _is_of(ours.model, row)]
    shown = [match for match in found if match.row.status is not Status.REPEATED]
    return tuple(sorted(shown, key=lambda match: _distance(ours, match)))


def _is_of(ours: str | None, row: PublishedRow) -> bool:
    """Whether a row is of our model. One that is named without its owner is of that name exactly, and of no family."""
    if not row.names:
        return same_model(ours, row.model)
    return ours is not None and ours.rpartition("/")[2].lower() in {name.lower() for name in row.names}


def same_model(ours: str | None, theirs: str) -> bool:
    """Equal ids; or the publisher names a family without its owner, and ours is of it."""
    if ours is None:
        return False
    own, other = ours.lower(), theirs.lower()
    if "/" in other:
        return own == other
    name = own.rpartition("/")[2]
    return name == other or name.startswith(f"{other}-")


def estimates_of(mode: ModeSummary, task: str | None = None) -> dict[Quantity, Estimate]:
    """A mode's figures in the quantities that tables publish. A query of image generation makes one image."""
    found = {
        Quantity.WH_PER_1000: mode.energy_wh_per_1000,
        Quantity.J_PER_QUERY: mode.energy_j,
        Quantity.J_PER_OUTPUT_TOKEN: mode.energy_per_output_token_j,
    }
    return {**found, Quantity.J_PER_ITEM: mode.energy_j} if task == IMAGES else found


def outer_interval(estimate: Estimate) -> tuple[float, float] | None:
    """Both ends of a 95 % interval with all four parts: prompts, reading, repeats, gain.

    The parts have different causes, so each side adds them in quadrature. A part that is unknown adds nothing. None:
    there is no value, or no interval over prompts to begin with.
    """
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None or low is None or high is None:
        return None
    others = (estimate.half_width_reading, estimate.half_width_runs, estimate.half_width_gain)
    known = [half_width for half_width in others if half_width is not None]
    return value - math.hypot(value - low, *known), value + math.hypot(high - value, *known)


def verdict_of(interval: tuple[float, float], theirs: float, tolerance: float) -> Verdict:
    """Whether a published figure lies in [low / (1 + tolerance), high (1 + tolerance)] of ours, ends included.

    The interval is ours alone; the tolerance stands for theirs, which nobody published.
    """
    low, high = interval
    if theirs > high * (1 + tolerance):
        return Verdict.BELOW
    return Verdict.ABOVE if theirs < low / (1 + tolerance) else Verdict.WITHIN


def _distance(ours: Conditions, match: ReferenceMatch) -> tuple[int, bool, float]:
    """How far a row is from ours: by differences, by soundness, by the batch."""
    batch, own = match.row.conditions.batch_size or 1, ours.batch_size or 1
    return len(match.differences), not match.row.sound, abs(math.log(batch / own))


def _match(
    ours: Conditions, estimates: Mapping[Quantity, Estimate], row: PublishedRow, tolerance: float
) -> ReferenceMatch:
    named_so = replace(row.conditions, model=ours.model) if row.names else row.conditions
    found = contrast(ours, named_so)
    comparable = not found.differences and row.sound
    figures = []
    for quantity, theirs in row.values.items():
        estimate = estimates.get(quantity)
        if estimate is None or estimate.value is None or ours.energy != MEASURED:
            continue
        interval = outer_interval(estimate)
        judged = comparable and interval is not None
        figures.append(
            Beside(
                quantity=quantity,
                ours=estimate.value,
                low=None if interval is None else interval[0],
                high=None if interval is None else interval[1],
                theirs=theirs,
                verdict=verdict_of(interval, theirs, tolerance) if judged and interval else Verdict.NOT_COMPARABLE,
            )
        )
    return ReferenceMatch(
        row=row,
        differences=found.differences,
        unstated=found.unstated,
        figures=tuple(figures),
        verdict=_overall(figures),
        sentence=_sentence(row, found.differences, figures, tolerance),
    )


def _overall(figures: Sequence[Beside]) -> Verdict:
    """Within where every figure is; otherwise as the first that is not."""
    fallen = [each.verdict for each in figures if each.verdict is not Verdict.WITHIN]
    if fallen:
        return fallen[0]
    return Verdict.WITHIN if figures else Verdict.NOT_COMPARABLE


def _sentence(row: PublishedRow, differences: Sequence[Difference], figures: Sequence[Beside], tolerance: float) -> str:
    """What a reader needs to know of the row, in one or two sentences."""
    beside = "; ".join(f"{each.ours:.4g} {each.quantity}, theirs {each.theirs:.4g}" for each in figures)
    if not row.sound:
        return f"Not comparable: the published row is {row.status} ({row.note})."
    if differences:
        return f"Not comparable, for what differs: {', '.join(each.condition for each in differences)}."
    if not figures:
        return "Not comparable: the run has no figure of what was published."
    if any(each.verdict is Verdict.NOT_COMPARABLE for each in figures):
        return f"Not comparable: too few queries for an interval. {beside}."
    outside = [each for each in figures if each.verdict is not Verdict.WITHIN]
    if not outside:
        return f"Agrees within our interval and {tolerance:.0%}: {beside}."
    words = "; ".join(f"{each.verdict} in {each.quantity}" for each in outside)
    return f"Differs by more than our interval and {tolerance:.0%} ({words}): {beside}."
