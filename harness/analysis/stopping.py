"""How far a run that stops by itself has come, from its stored queries: asked at each look, and again afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.figures import figures_in, headline_rows, is_estimated_in
from harness.analysis.sequential import inflation, stopping_of, widened, widened_comparison
from harness.analysis.stored import query_columns
from harness.records import Boundary, EnergyLaw, Estimate, ModeSummary, QueryColumns, QueryRecord, Stopping, Summary


def stopping_now(
    queries: QueryColumns | Sequence[QueryRecord],
    *,
    modes: Sequence[str],
    headline: Boundary,
    target: float,
    n_most: int,
) -> Stopping:
    """Where the run stands.

    Args:
        queries: Of one cell at one site.
        modes: Of the cell.
        headline: The boundary of the energies.
        target: Relative half-width at which it stops.
        n_most: Prompts that it asks at most.
    """
    columns = query_columns(queries)
    figures = figures_in(columns, headline)
    return stopping_of(
        {mode: figures.in_mode(mode) for mode in modes},
        modes=modes,
        target=target,
        n_most=n_most,
        asked=_asked(columns, modes),
        estimated=is_estimated_in(columns, headline_rows(columns, headline)),
    )


def _asked(columns: QueryColumns, modes: Sequence[str]) -> list[str]:
    """Ids of the prompts that were asked in every mode, in the order of the prompts."""
    in_all = np.ones(len(columns.prompt.names), dtype=np.bool_)
    for mode in modes:
        asked = np.zeros_like(in_all)
        if mode in columns.mode.names:
            asked[columns.prompt.codes[columns.mode.codes == columns.mode.names.index(mode)]] = True
        in_all &= asked
    first = columns.prompt.codes[np.argsort(columns.prompt_index, kind="stable")]
    codes, places = np.unique(first, return_index=True)
    return [columns.prompt.names[code] for code in codes[np.argsort(places)].tolist() if in_all[code]]


def with_stopping(summary: Summary, stopping: Stopping) -> Summary:
    """The summary of a run that could stop by itself: every interval over prompts widened for it."""
    n_most = stopping.n_prompts_most
    of_means, of_ratios = inflation(n_most, one_mode=True), inflation(n_most)
    return summary.model_copy(
        update={
            "stopping": stopping,
            "modes": tuple(_widened_mode(mode, of_means) for mode in summary.modes),
            "law": None if summary.law is None else _widened_law(summary.law, of_means),
            "comparisons": tuple(widened_comparison(comparison, of_ratios) for comparison in summary.comparisons),
        }
    )


def _widened_law(law: EnergyLaw, factor: float) -> EnergyLaw:
    estimates = {name: value for name in EnergyLaw.model_fields if isinstance(value := getattr(law, name), Estimate)}
    return law.model_copy(update={name: widened(value, factor, signed=True) for name, value in estimates.items()})


def _widened_mode(mode: ModeSummary, factor: float) -> ModeSummary:
    estimates = {name: value for name in ModeSummary.model_fields if isinstance(value := getattr(mode, name), Estimate)}
    signed = {"energy_net_j", "accuracy"}
    # Where nothing is right, what a right answer costs at least is a multiple of the lower end of the mean.
    return mode.model_copy(
        update={
            name: widened(value, factor, signed=name in signed, bound_of=mode.energy_j)
            for name, value in estimates.items()
        }
    )
