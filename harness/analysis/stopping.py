"""How far a run that stops by itself has come, from its stored queries: asked at each look, and again afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.measured import devices_by_session, figures_of, headline_readings, is_estimated
from harness.analysis.sequential import inflation, stopping_of, widened, widened_comparison
from harness.analysis.summary import failed
from harness.records import Boundary, EnergyLaw, Estimate, ModeSummary, QueryRecord, Stopping, Summary


def stopping_now(
    queries: Sequence[QueryRecord], *, modes: Sequence[str], headline: Boundary, target: float, n_most: int
) -> Stopping:
    """Where the run stands.

    Args:
        queries: Of one cell at one site.
        modes: Of the cell.
        headline: The boundary of the energies.
        target: Relative half-width at which it stops.
        n_most: Prompts that it asks at most.
    """
    devices = devices_by_session(queries, headline)
    figures = [figures_of(query, headline, devices[query.session]) for query in queries if not failed(query)]
    modes_of: dict[str, set[str]] = {}
    for query in sorted(queries, key=lambda each: each.prompt_index):
        modes_of.setdefault(query.prompt_id, set()).add(query.mode)
    return stopping_of(
        {mode: [each for each in figures if each.mode == mode] for mode in modes},
        modes=modes,
        target=target,
        n_most=n_most,
        asked=[prompt_id for prompt_id, asked in modes_of.items() if asked >= set(modes)],
        estimated=is_estimated(reading for query in queries for reading in headline_readings(query, headline)),
    )


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
