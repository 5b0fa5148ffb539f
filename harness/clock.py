"""The session clock: seconds on CLOCK_MONOTONIC since the session's origin.

CLOCK_MONOTONIC is one clock for all processes of a machine, so the sampler process and the engine agree
without any exchange. Wall time is read once, at the origin, and appears only in manifests.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

STEP_S = 0.05
"""A clock that moves against another by more than this was set, or the machine slept."""
_TIGHT_S = 0.0005
_N_TRIES = 5


class SessionClock:
    """Monotonic seconds since the session began."""

    def __init__(self) -> None:
        self.origin_monotonic_s = time.monotonic()
        self.origin_unix_s = time.time()

    def now_s(self) -> float:
        """Seconds since the origin."""
        return time.monotonic() - self.origin_monotonic_s

    def sleep_until(self, time_s: float) -> None:
        """Return once `now_s()` has reached `time_s`."""
        while (left_s := time_s - self.now_s()) > 0:
            time.sleep(left_s)


class ManualClock:
    """A clock for tests and replays: it moves when told to, and sleeping moves it."""

    def __init__(self, time_s: float = 0.0) -> None:
        self.origin_monotonic_s = 0.0
        self.origin_unix_s = 0.0
        self._time_s = time_s

    def now_s(self) -> float:
        """Seconds since the origin."""
        return self._time_s

    def sleep_until(self, time_s: float) -> None:
        """Move to `time_s`, never back."""
        self._time_s = max(self._time_s, time_s)


def utc_now() -> str:
    """The present as an ISO 8601 string in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class ClockOffsets:
    """How far other clocks are ahead of CLOCK_MONOTONIC, in seconds. `boottime_s` goes on while the machine sleeps."""

    unix_s: float
    boottime_s: float | None

    def stepped_by_s(self, later: ClockOffsets) -> float | None:
        """How far a clock was moved between here and `later`; None: none was, by more than `STEP_S`."""
        moves = [later.unix_s - self.unix_s]
        if self.boottime_s is not None and later.boottime_s is not None:
            moves.append(later.boottime_s - self.boottime_s)
        largest_s = max(moves, key=abs)
        return largest_s if abs(largest_s) > STEP_S else None


def clock_offsets() -> ClockOffsets:
    """The offsets now, read so that being put off between two clocks does not look like a step."""
    best: tuple[float, ClockOffsets] | None = None
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    for _ in range(_N_TRIES):
        before_s = time.monotonic()
        unix_s = time.time()
        boottime_s = None if boottime is None else time.clock_gettime(boottime)
        after_s = time.monotonic()
        middle_s, apart_s = (before_s + after_s) / 2, after_s - before_s
        if best is None or apart_s < best[0]:
            best = apart_s, ClockOffsets(unix_s - middle_s, None if boottime_s is None else boottime_s - middle_s)
        if apart_s < _TIGHT_S:
            break
    assert best is not None
    return best[1]
