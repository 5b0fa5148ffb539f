"""A bound from serving at batch 8: a token alone cannot cost more than the whole step that made eight of them.

A decode step reads the weights once, whatever the batch, and does an eighth of the rest at batch 1. So joules per
output token at batch 1 are at most 8 times those at batch 8: on the same board, engine and precision, at the same
lengths. Published by nobody; inferred. An engine that leaves the board waiting between steps may exceed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.records import Estimate
from harness.reference.conditions import Conditions, contrast
from harness.reference.matching import TOLERANCE, outer_interval, same_model
from harness.reference.rows import PublishedRow, Quantity

BATCH = 8
HELD = {"task", "energy", "boundary", "GPU", "number of GPUs", "power limit", "precision"}
"""Conditions that must be alike; the rest belongs to the bound, or is named with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The bound from one row, and whether the run keeps below it, within `TOLERANCE` of theirs.

    `limit` and `ours` are joules per output token.
    """

    row: PublishedRow
    limit: float
    ours: float
    held: bool
    sentence: str


def ceilings(ours: Conditions, per_token: Estimate, rows: Iterable[PublishedRow]) -> tuple[Ceiling, ...]:
    """The bounds that apply to a run at batch 1; none where the board or the precision is another.

    Args:
        ours: Conditions of the mode.
        per_token: Its joules per output token.
        rows: ML.ENERGY's.
    """
    if ours.batch_size != 1 or per_token.value is None:
        return ()
    interval = outer_interval(per_token)
    low = per_token.value if interval is None else interval[0]
    return tuple(_ceiling(ours, per_token.value, low, row) for row in rows if _applies(ours, row))


def _applies(ours: Conditions, row: PublishedRow) -> bool:
    if not row.sound or row.conditions.batch_size != BATCH or Quantity.J_PER_OUTPUT_TOKEN not in row.values:
        return False
    differing = {each.condition for each in contrast(ours, row.conditions).differences}
    return same_model(ours.model, row.model) and not differing & HELD


def _ceiling(ours: Conditions, value: float, low: float, row: PublishedRow) -> Ceiling:
    limit = BATCH * row.values[Quantity.J_PER_OUTPUT_TOKEN]
    held = low <= limit * (1 + TOLERANCE)
    own, other = ours.engine, row.conditions.engine
    where = f"{limit:.3g} J per output token, {BATCH} times {row.task} at batch {BATCH} on {other}"
    if held:
        sentence = f"{value:.3g} J per output token is not above the ceiling of {where}."
    else:
        why = f" {own} may leave the board waiting between steps, which {other} does not." if own != other else ""
        sentence = f"{value:.3g} J per output token is above the ceiling of {where}.{why}"
    return Ceiling(row=row, limit=limit, ours=value, held=held, sentence=sentence)
