"""What the sampler's own figures give to doubt. Pure; one rule for a run and for `Meter`."""

from __future__ import annotations

from harness.records import Finding, FindingCode, SamplerStats

LATE_FEW = 3
"""So many late polls are nothing to speak of, however few there are in all."""
LATE_SHARE = 0.01
"""Of the regular polls. Most polls are fine ones around a tick, among which any number of late ones would drown."""


def late_findings(stats: SamplerStats | None) -> tuple[Finding, ...]:
    """Whether polls came late too often; empty where they did not, and where nothing is known."""
    if stats is None:
        return ()
    n_regular = stats.n_polls if stats.n_regular is None else stats.n_regular
    if stats.n_late <= max(LATE_FEW, LATE_SHARE * n_regular):
        return ()
    return (Finding(code=FindingCode.LATE_SAMPLES, detail=f"{stats.n_late} late polls to {n_regular} regular ones"),)
