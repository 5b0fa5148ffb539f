"""A run of variants, put together: which cell is which variant, and each one beside the first over the same prompts.

Repeats of variants are measured in turn, so what is compared are the means over all repeats, and how far another turn
may differ is the spread of the turns' own ratios. Knows what is on disk, the analysis and the report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import publish
from harness.analysis.estimates import gains_of
from harness.analysis.figures import figures_in
from harness.analysis.modes import summarise_mode
from harness.analysis.pooled import mean_of_repeats
from harness.analysis.repeats import with_spread_of
from harness.comparing import Match, Side, match
from harness.config import SPEC_NAME, variant_cells
from harness.publish import Account
from harness.records import Comparison, FindingCode, ModeSummary
from harness.report.page import Lead
from harness.report.variants.column import VariantColumn
from harness.report.variants.lead import variants_lead


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantStudy:
    """The variants of one run as sides under their names, the first one first, and each other one over it."""

    sides: tuple[Side, ...]
    matches: tuple[Match, ...]
    n_elsewhere: int
    """Cells that were measured at another site than the first variant, and are left out."""


def study_of(run: Path, measured: Sequence[Account]) -> VariantStudy | None:
    """The variants of a run.

    Args:
        run: Its directory.
        measured: Its cells.

    Returns:
        None where the run has no variants, or fewer than two of them were measured.
    """
    names = _cells_of(run)
    by_name = {name: [each for each in measured if each.summary.cell.cell_id in ids] for name, ids in names.items()}
    first = next((accounts[0] for accounts in by_name.values() if accounts), None)
    if first is None:
        return None
    here = {
        name: [each for each in accounts if each.summary.site_id == first.summary.site_id]
        for name, accounts in by_name.items()
    }
    sides = tuple(
        Side(label=name, run=run, account=accounts[0], repeats=tuple(accounts))
        for name, accounts in here.items()
        if accounts
    )
    if len(sides) < 2:
        return None
    n_elsewhere = sum(len(accounts) for accounts in by_name.values()) - sum(len(side.repeats) for side in sides)
    return VariantStudy(
        sides=sides, matches=tuple(_over_first(sides[0], side) for side in sides[1:]), n_elsewhere=n_elsewhere
    )


def leads_of(study: VariantStudy | None) -> list[Lead]:
    """What the page and the terminal say of the variants; nothing where there are none."""
    if study is None:
        return []
    over = {each.other.label: each for each in study.matches}
    columns = [_column(side, over.get(side.label)) for side in study.sides]
    return [variants_lead(columns, n_elsewhere=study.n_elsewhere)]


def variant_leads(run: Path, measured: Sequence[Account]) -> list[Lead]:
    """The same of a run's cells."""
    return leads_of(study_of(run, measured))


def names_of(run: Path) -> dict[str, str]:
    """Which variant each cell of a run is, by cell id; empty where it has none."""
    return {cell_id: name for name, ids in _cells_of(run).items() for cell_id in ids}


def publish_run(run: Path) -> Path | None:
    """Write the summaries and the page of a run as it is on disk, its variants beside each other.

    Returns:
        The page; None: nothing was measured.

    Raises:
        StorageFull: They cannot be written.
    """
    measured = in_order(run, publish.accounts(run))
    if not measured:
        return None
    return publish.publish(run, measured, above=variant_leads(run, measured), names=names_of(run))


def in_order(run: Path, measured: Sequence[Account]) -> list[Account]:
    """A run's cells repeat by repeat, variants as they were named; as they were where it has none."""
    names = names_of(run)
    if not names:
        return list(measured)
    places = {name: place for place, name in enumerate(_cells_of(run))}
    last = len(places)
    return sorted(
        measured,
        key=lambda each: (each.summary.cell.repeat, places.get(names.get(each.summary.cell.cell_id, ""), last)),
    )


def _cells_of(run: Path) -> dict[str, tuple[str, ...]]:
    path = run / SPEC_NAME
    return variant_cells(path) if path.exists() else {}


def _over_first(base: Side, other: Side) -> Match:
    """One variant over the first, over the repeats that both have."""
    shared = {each.summary.cell.repeat for each in base.repeats} & {each.summary.cell.repeat for each in other.repeats}
    base, other = _of_repeats(base, shared), _of_repeats(other, shared)
    found = match(base, other)
    if len(shared) < 2 or found.refusal is not None:
        return found
    turns = [match(_alone(base, repeat), _alone(other, repeat)).comparisons for repeat in sorted(shared)]
    return Match(
        base=found.base,
        other=found.other,
        differences=found.differences,
        comparisons={
            mode: with_spread_of(_unspread(comparison), [turn[mode] for turn in turns if mode in turn])
            for mode, comparison in found.comparisons.items()
        },
        estimated=found.estimated,
        refusal=None,
    )


def _of_repeats(side: Side, repeats: set[int]) -> Side:
    """The side over some of its repeats; unchanged where none is left, so that a refusal can be told."""
    kept = tuple(each for each in side.repeats if each.summary.cell.repeat in repeats)
    return Side(label=side.label, run=side.run, account=kept[0], repeats=kept) if kept else side


def _alone(side: Side, repeat: int) -> Side:
    account = next(each for each in side.repeats if each.summary.cell.repeat == repeat)
    return Side(label=side.label, run=side.run, account=account)


def _unspread(comparison: Comparison) -> Comparison:
    """Without the spread of each side by itself, which holds the drift that both share."""
    return comparison.model_copy(
        update={
            name: getattr(comparison, name).model_copy(update={"half_width_runs": None})
            for name in ("energy", "duration")
        }
    )


def _column(side: Side, over: Match | None) -> VariantColumn:
    cell, manifest = side.cell, side.manifest
    executed = None if manifest is None else manifest.engine.executed_precision
    fallback = any(each.code is FindingCode.PRECISION_FALLBACK for each in side.summary.findings)
    return VariantColumn(
        name=side.label,
        executed=executed,
        fallback=fallback,
        summary=side.summary,
        modes={mode.mode: mode for mode in _modes(side)},
        comparisons={} if over is None else over.comparisons,
        differences=() if over is None else tuple(map(str, over.differences)),
        refusal=None if over is None else over.refusal,
        n_repeats=len(side.repeats),
        forced=cell.lengths is not None,
    )


def _modes(side: Side) -> list[ModeSummary]:
    """A variant's modes over all of its repeats."""
    summary = side.summary
    if len(side.repeats) < 2 or summary.cell.overlaps:
        return list(summary.modes)
    each = [figures_in(one.results.columns, summary.headline) for one in side.repeats]
    gains = gains_of(() if side.manifest is None else side.manifest.channels)
    modes = []
    for mode in summary.modes:
        pooled = mean_of_repeats([one.in_mode(mode.mode) for one in each])
        of_task = summary.cell.task is not None
        of_all = summarise_mode(mode.mode, mode.n_queries, pooled, gains, estimated=summary.estimated, of_task=of_task)
        busy = [
            other.gpu_busy_share
            for one in side.repeats
            for other in one.summary.modes
            if other.mode == mode.mode and other.gpu_busy_share is not None
        ]
        share = math.fsum(busy) / len(busy) if busy else None
        modes.append(of_all.model_copy(update={"gpu_busy_share": share, "invalid": mode.invalid}))
    return modes
