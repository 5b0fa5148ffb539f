"""Whether a query had the host to itself: what other processes did while it ran.

RAPL counts whole packages. Where others worked, a query's host energy is the machine's, not the query's, and is
withheld; what lies between the queries and the session's total stay what was measured.

Pure: accounts of CPU time in, a judgement out.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from harness.records import Boundary, CpuUse, Finding, FindingCode, Method, Reading

OTHERS_LIMIT = 0.05
"""Of one core, or of everything that was busy, whichever is more: less moves a package's energy by less than that."""
WINDOW_SHORTEST_S = 2.0
TICKS_S = 0.05
"""The kernel keeps its accounts in ticks of 10 ms, so that short windows are uncertain by a few of them."""


@dataclass(slots=True)
class HostLoad:
    """The accounts at instants of a session, in order."""

    _times_s: list[float] = field(default_factory=list)
    _uses: list[CpuUse] = field(default_factory=list)

    def note(self, time_s: float, use: CpuUse) -> None:
        """Keep the accounts at an instant."""
        self._times_s.append(time_s)
        self._uses.append(use)

    def n_cores_others(self, time_start_s: float, time_end_s: float) -> float | None:
        """Cores that others kept busy around an interval; None: so few that it had the host to itself.

        The interval is widened to the instants around it, and over its neighbours until it is long enough to be judged.
        """
        if len(self._times_s) < 2:
            return None
        first = max(bisect.bisect_right(self._times_s, time_start_s) - 1, 0)
        last = min(bisect.bisect_left(self._times_s, time_end_s), len(self._times_s) - 1)
        while self._times_s[last] - self._times_s[first] < WINDOW_SHORTEST_S:
            if first == 0 and last == len(self._times_s) - 1:
                break
            first, last = max(first - 1, 0), min(last + 1, len(self._times_s) - 1)
        duration_s = self._times_s[last] - self._times_s[first]
        busy_s = self._uses[last].duration_busy_s - self._uses[first].duration_busy_s
        others_s = busy_s - (self._uses[last].duration_own_s - self._uses[first].duration_own_s)
        is_shared = others_s > OTHERS_LIMIT * max(duration_s, busy_s) + TICKS_S
        return others_s / duration_s if is_shared and duration_s > 0 else None


def withheld(reading: Reading, n_cores_others: float | None) -> Reading:
    """A host's reading without its energies, where others used the host; any other reading as it is.

    An estimate is the machine's by its making, and says so already.
    """
    if n_cores_others is None or reading.boundary is not Boundary.HOST or reading.method is Method.ESTIMATED:
        return reading
    unknown = {"energy_gross_j": None, "energy_gross_half_width_j": None}
    finding = Finding(code=FindingCode.HOST_SHARED, detail=f"other processes kept {n_cores_others:.2f} cores busy")
    return reading.model_copy(
        update={
            **unknown,
            "energy_blind_half_width_j": None,
            "energy_shared_equal_j": None,
            "energy_tail_j": None,
            "phases": tuple(phase.model_copy(update=unknown) for phase in reading.phases),
            "findings": (*reading.findings, finding),
        }
    )
