"""The same short cell on every card, at the start and at the end: how cards differ, and what drifted meanwhile.

Cards cannot be compared by what they were given to do; by this they can. Both differences are of the same prompts,
answered again, and each counts in the energy per query, or in its seconds where joules are estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.comparing import Side, match
from harness.publish import Account, accounts
from harness.records import Estimate, PlannedCell
from harness.store.run_directory import MEASURED_AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What one site says of the reference. None: it was not measured, or cannot be compared."""

    name: str
    """Its boards, or its CPU."""
    uuids: tuple[str, ...]
    per_query: Estimate
    """Joules per query at the start; seconds where joules are estimated."""
    drift: Estimate | None
    """End over start."""
    over_first: Estimate | None
    """Its start over that of the first card; None for the first itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """The cards of a sweep."""

    cards: tuple[Card, ...]
    in_seconds: bool
    """Nothing measured joules there, so what is compared is the time."""

    @property
    def drifted(self) -> tuple[Card, ...]:
        """Those whose end is not their start, as far as the prompts tell."""
        return tuple(card for card in self.cards if _is_off(card.drift))


def cards_of(sweep: Path, references: Sequence[PlannedCell]) -> Cards | None:
    """The cards that measured a sweep's references; None: no reference was measured.

    Raises:
        SchemaError: Damaged, or written by a newer version.
    """
    if not references or not (sweep / references[0].run_id).is_dir():
        return None
    repeats = {cell.role: cell.repeat for cell in references}
    by_site: dict[str, dict[int, Side]] = {}
    run = sweep / references[0].run_id
    for account in accounts(run):
        if MEASURED_AGAIN.fullmatch(account.results.directory.path.name):
            continue  # gathered from another sweep at the same site: its start and end are not this one's
        sides = by_site.setdefault(account.summary.site_id, {})
        sides[account.summary.cell.repeat] = Side(label=account.summary.site_id, run=run, account=account)
    started = {site: sides for site, sides in by_site.items() if repeats.get("reference_start", 0) in sides}
    if not started:
        return None
    first_of = {site: sides[repeats.get("reference_start", 0)] for site, sides in started.items()}
    ordered = sorted(first_of, key=lambda site: _began(first_of[site].account))
    in_seconds = any(side.summary.estimated for side in first_of.values())
    first = first_of[ordered[0]]
    return Cards(
        cards=tuple(
            _card(
                first_of[site],
                started[site].get(repeats.get("reference_end", 1)),
                None if site == ordered[0] else first,
                in_seconds=in_seconds,
            )
            for site in ordered
        ),
        in_seconds=in_seconds,
    )


def _card(start: Side, end: Side | None, first: Side | None, *, in_seconds: bool) -> Card:
    mode = start.summary.modes[-1]  # the one that thinks, where there are several: the longest
    boards = start.manifest.site.boards if start.manifest else ()
    return Card(
        name=", ".join(board.name for board in boards) or (start.manifest.site.cpu if start.manifest else "unknown"),
        uuids=tuple(board.uuid for board in boards),
        per_query=mode.duration_s if in_seconds else mode.energy_j,
        drift=None if end is None else _ratio(start, end, in_seconds=in_seconds),
        over_first=None if first is None else _ratio(first, start, in_seconds=in_seconds),
    )


def _ratio(base: Side, other: Side, *, in_seconds: bool) -> Estimate | None:
    comparisons = match(base, other).comparisons
    if not comparisons:
        return None
    comparison = list(comparisons.values())[-1]
    return comparison.duration if in_seconds else comparison.energy


def _began(account: Account) -> str:
    return min(session.manifest.started_utc for session in account.results.sessions if session.manifest)


def _is_off(ratio: Estimate | None) -> bool:
    if ratio is None or ratio.low is None or ratio.high is None:
        return False
    reading = ratio.half_width_reading or 0.0
    return ratio.low - reading > 1 or ratio.high + reading < 1
