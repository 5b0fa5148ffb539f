"""The parts of an interval that are not over prompts: run to run, between jobs, the sensor, the board's gain.

Knows sides. Must not know metrics or limits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from harness.analysis.bootstrap import Z
from harness.analysis.interval import RunsPart, SystematicPart
from harness.analysis.measured import quadrature
from harness.analysis.student import chi_squared_upper
from harness.gate.evidence import FloatArray, Side
from harness.gate.tables import Table

LEVEL_REFUTED = 0.01
"""A stated spread is not believed where repeats that scatter so much would be rarer than this under it."""


def runs_part(logs: Sequence[FloatArray], stated_sd: float | None) -> RunsPart:
    """Run to run: a stated spread, or the sides' own, pooled. A stated one that the repeats refute is not believed.

    Args:
        logs: Each side's repeats.
        stated_sd: Relative standard deviation of one run.
    """
    n_runs = tuple(len(each) for each in logs)
    dof = sum(n - 1 for n in n_runs)
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in logs if np.isfinite(each).all())
    unknown = any(not np.isfinite(each).all() for each in logs)
    if stated_sd is not None:
        if dof and (unknown or squares > chi_squared_upper(LEVEL_REFUTED, dof) * stated_sd**2):
            note = (
                f"the repeats scatter by more than the stated {100 * stated_sd:g} % explains; their own spread counts"
            )
            return RunsPart(sd=None if unknown else math.sqrt(squares / dof), n_runs=n_runs, note=note)
        return RunsPart(sd=stated_sd, n_runs=n_runs, measured=False, note=f"stated: {100 * stated_sd:g} % a run")
    if not dof or unknown:
        return RunsPart(sd=None, n_runs=n_runs, note="one run has no spread" if not dof else "a run has no figure")
    return RunsPart(sd=math.sqrt(squares / dof), n_runs=n_runs, note=f"{' and '.join(map(str, n_runs))} repeats")


def session_part(session_sd: float, n_jobs: int) -> SystematicPart:
    """Between jobs, from the stated standard deviation of one."""
    note = f"stated: {100 * session_sd:g} % a job"
    return SystematicPart(name="between jobs", half_width=Z * session_sd * math.sqrt(n_jobs), note=note)


def reading_half_width(table: Table) -> float | None:
    """Relative, of a side's joules: the half-widths of its queries add up, as in `analysis.estimates`."""
    half_width_j = energy_j = 0.0
    for run in table.side.runs:
        if run.half_width_reading_j is None:
            return None
        half_widths_j, energies_j = run.half_width_reading_j, run.energy_j
        if run.prompt_ids != table.prompt_ids:
            wanted = set(table.prompt_ids)
            kept = np.array([prompt_id in wanted for prompt_id in run.prompt_ids], dtype=bool)
            half_widths_j, energies_j = half_widths_j[kept], energies_j[kept]
        half_width_j += float(half_widths_j.sum())
        energy_j += float(energies_j.sum())
    return half_width_j / energy_j if energy_j > 0 and math.isfinite(half_width_j) else None


def device_shares(side: Side) -> dict[str, float]:
    """Each device's share of a side's joules."""
    totals: dict[str, float] = {}
    for run in side.runs:
        for device, energy_j in run.by_device_j.items():
            totals[device] = totals.get(device, 0.0) + energy_j
    whole = math.fsum(totals.values())
    return {device: energy_j / whole for device, energy_j in totals.items()} if whole > 0 else {}


def gain_half_width(side: Side) -> float | None:
    """Relative: devices err independently."""
    gains: dict[str, float | None] = reduce(lambda one, run: {**one, **run.gains}, side.runs, {})
    shares = device_shares(side)
    return quadrature(_times(gains.get(device), share) for device, share in shares.items()) if shares else None


def ratio_gain(candidate: Side, reference: Side) -> SystematicPart:
    """A device's gain moves both sides, and what is left is the difference of its shares: nothing on one board."""
    above, below = device_shares(candidate), device_shares(reference)
    gains: dict[str, float | None] = {}
    for run in (*reference.runs, *candidate.runs):
        gains.update(run.gains)
    if not above or not below:
        return SystematicPart(name="board gain", half_width=None)
    if len({*above, *below}) == 1:
        return SystematicPart(name="board gain", half_width=0.0, note="cancels: the same board on both sides")
    moved = quadrature(
        _times(gains.get(device), above.get(device, 0.0) - below.get(device, 0.0))
        for device in dict.fromkeys((*above, *below))
    )
    note = None if set(above) & set(below) else "of two boards"
    return SystematicPart(name="board gain", half_width=moved, note=note)


def _times(gain: float | None, share: float) -> float | None:
    return None if gain is None else gain * share
