"""The session clock: seconds on CLOCK_MONOTONIC since the session's origin.

CLOCK_MONOTONIC is one clock for all processes of a machine, so the sampler process and the engine agree
without any exchange. Wall time is read once, at the origin, and appears only in manifests.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


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
