"""Mean powers over stretches of time, as a log of readings gives them, and the energy of any interval among them.

Pure arrays; it does not know whose clock the times are on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.records import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """A log's powers, each for a stretch, in seconds of a clock that is near the session's.

    `time_read_s` is when a reading of power was taken, which may be of an instant or a mean over the stretch around it;
    None: each is the mean over its stretch, because energy was read at both ends.
    """

    time_start_s: FloatArray
    time_end_s: FloatArray
    power_w: FloatArray
    duration_period_s: float
    time_read_s: FloatArray | None = None

    def shifted(self, duration_s: float) -> Stretches:
        """The same log with its clock set back."""
        return Stretches(
            time_start_s=self.time_start_s - duration_s,
            time_end_s=self.time_end_s - duration_s,
            power_w=self.power_w,
            duration_period_s=self.duration_period_s,
            time_read_s=None if self.time_read_s is None else self.time_read_s - duration_s,
        )

    def between(self, time_start_s: float, time_end_s: float) -> Stretches:
        """Those that touch an interval."""
        kept = (self.time_end_s > time_start_s) & (self.time_start_s < time_end_s)
        return Stretches(
            time_start_s=self.time_start_s[kept],
            time_end_s=self.time_end_s[kept],
            power_w=self.power_w[kept],
            duration_period_s=self.duration_period_s,
            time_read_s=None if self.time_read_s is None else self.time_read_s[kept],
        )

    def energy_j(self, time_start_s: float, time_end_s: float) -> float | None:
        """Joules over an interval; None: the log does not cover all of it."""
        starts, ends = np.maximum(self.time_start_s, time_start_s), np.minimum(self.time_end_s, time_end_s)
        lengths_s = np.maximum(ends - starts, 0.0)
        if time_end_s - time_start_s - float(np.sum(lengths_s)) > 1e-6 + 1e-9 * (time_end_s - time_start_s):
            return None
        return float(np.sum(lengths_s * self.power_w))

    def half_width_j(self, time_start_s: float, time_end_s: float, duration_edge_s: float) -> float:
        """Half-width of `energy_j`, without the meter's own gain.

        At both ends, so long may belong to either side; in between, a reading stands for the time around it.
        """
        ends_j = [
            duration_edge_s * self._spread_w(time_s, duration_edge_s + self.duration_period_s)
            for time_s in (time_start_s, time_end_s)
        ]
        inside = self.between(time_start_s, time_end_s)
        lengths_s = (inside.time_end_s - inside.time_start_s)[1:]
        gathered_j = np.abs(np.diff(inside.power_w)) * lengths_s / 4 if self.time_read_s is not None else np.zeros(1)
        return math.hypot(*ends_j, float(np.sqrt(np.sum(gathered_j**2))))

    def n_readings(self, time_start_s: float, time_end_s: float) -> int:
        """Stretches whose middle lies in an interval."""
        middles = (self.time_start_s + self.time_end_s) / 2
        return int(np.sum((middles >= time_start_s) & (middles < time_end_s)))

    def _spread_w(self, time_s: float, duration_s: float) -> float:
        """How far the power ranges around an instant, in watts."""
        near = self.between(time_s - duration_s, time_s + duration_s).power_w
        return float(np.ptp(near)) if len(near) else 0.0
