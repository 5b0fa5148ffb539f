"""What a plan will take, and the plan as it is shown: what is measured already, the estimates, the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from contextlib import chdir
from pathlib import Path

from harness.report.sweep.plan import Forecast, PlanLine, PlanSheet
from harness.sweep.planning.checks import catalogue_at
from harness.sweep.planning.estimate import CellEstimate, Estimates, Span
from harness.sweep.planning.plan import Plan, words_of
from harness.sweep.planning.precedent import measured_estimates
from harness.sweep.planning.rough import rough


def estimates_of(plan: Plan, output_dir: Path, *, on_gpus: bool, sweep: Path | None = None) -> Estimates:
    """What each planned run is expected to take, references included: by what was measured before, else roughly.

    Args:
        plan: The sweep.
        output_dir: Where other sweeps and runs lie.
        on_gpus: Whether GPUs will run it.
        sweep: The sweep's own directory; None: it has none yet.

    Raises:
        UsageError: A model, mode or budget that does not exist.
    """
    runs = (*plan.runs, *plan.references[:1])
    measured = measured_estimates(runs, output_dir.resolve(), None if sweep is None else sweep.resolve())
    by_run: dict[str, CellEstimate] = {}
    with chdir(plan.spec.working_dir or "."):
        for cell in runs:
            known = measured.get(cell.run_id)
            by_run[cell.run_id] = known or rough(cell, catalogue_at(cell.spec.get("models")), on_gpus=on_gpus)
    return Estimates(by_run)


def sheet_of(plan: Plan, estimates: Estimates, finished: AbstractSet[str], *, name: str, on_gpus: bool) -> PlanSheet:
    """A plan as it is shown.

    Args:
        plan: The sweep.
        estimates: What its runs are expected to take.
        finished: Keys of the cells that are.
        name: What the sweep is called.
        on_gpus: Whether GPUs will run it.
    """
    n_finished = Counter(cell.run_id for cell in plan.cells if cell.key in finished)
    left = [cell for cell in plan.cells if cell.key not in finished]
    total = estimates.total(left)
    lines = []
    for cell in plan.runs:
        expected = estimates.of(cell)
        lines.append(
            PlanLine(
                labels=tuple(cell.labels.values()) or (cell.spec["model"][0],),
                n_repeats=plan.spec.repeats,
                n_finished=n_finished[cell.run_id],
                duration_s=_shown(expected.duration_s),
                energy_j=_shown(expected.energy_j),
                basis=expected.basis if expected.kind == "measured" else f"{expected.kind}: {expected.basis}",
            )
        )
    reference = plan.spec.reference
    return PlanSheet(
        name=name,
        axes=tuple(plan.spec.vary) or ("model",),
        lines=tuple(lines),
        n_repeats=plan.spec.repeats,
        seed=plan.spec.seed,
        reference=None if reference is None else words_of({key: _word(value) for key, value in reference.items()}),
        duration_left_s=_shown(None if total.n_without_duration == total.n_cells else total.duration_s),
        energy_left_j=_shown(None if total.n_without_energy == total.n_cells else total.energy_j),
        n_left_without_duration=total.n_without_duration,
        n_left_without_energy=total.n_without_energy,
        joules_are_estimates=any(estimates.of(cell).estimated for cell in plan.runs),
        has_rough=any(estimates.of(cell).kind == "rough" for cell in left),
        on_gpus=on_gpus,
    )


def _word(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _shown(span: Span | None) -> Forecast:
    return Forecast(low=None, high=None) if span is None else Forecast(low=span.low, high=span.high)
