"""When a value that updates in a rhythm will change next, learnt from the changes themselves.

A change is known by the two polls that bracket it. From narrow brackets comes the period; from then on a phase and
a period follow the changes, and the guard (how long before the expected change polling turns fine) follows how far
off the expectation was lately. A sensor with an even tick needs a few polls per tick, one that trembles gets more,
and one without a rhythm is searched. Pure: instants in, instants out.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

GUARD_LEAST_S = 0.0005
PHASE_GAIN, PERIOD_GAIN = 0.4, 0.08
"""How much of a surprise moves the phase and the period: small enough to average a tick's jitter away."""
FORGET = 0.92
"""Per change: an exceptional surprise widens the guard for some twenty changes."""
NARROW = 0.15
"""A bracket this wide, relative to the distance between changes, still says when the change was."""
N_TO_LEARN, N_TO_REMEMBER = 4, 12
MUCH_WIDER = 4.0
"""Than the narrowest bracket: polls came late there, and such a change is left out of the learning."""
UNEVEN = 0.25
LOST_AFTER, TRUSTED_AFTER = 3, 3
"""So many changes in a row far from where they were expected: the rhythm is another one; near: it is this one."""


class Rhythm:
    """The changes of one value."""

    __slots__ = (
        "_brackets",
        "_fine_s",
        "_n_far",
        "_n_near",
        "_overdue_s",
        "_search_s",
        "_spread_s",
        "_time_s",
        "period_s",
    )

    def __init__(self, *, fine_s: float, search_s: float, overdue_s: float, period_s: float | None = None) -> None:
        """A value that has not been seen to change yet.

        Args:
            fine_s: Between polls around an expected change.
            search_s: Between polls while nothing is expected; inf: do not poll for it.
            overdue_s: How long after the guard a change that did not come is still waited for.
            period_s: Seconds between updates where they are known beforehand.
        """
        self._fine_s, self._search_s, self._overdue_s = fine_s, search_s, overdue_s
        self.period_s = period_s
        self._time_s = math.nan
        self._spread_s = 0.0
        self._n_far = self._n_near = 0
        self._brackets: deque[tuple[float, float]] = deque(maxlen=N_TO_REMEMBER)

    @property
    def learnt(self) -> bool:
        """Whether the next change can be expected."""
        return self.period_s is not None and not math.isnan(self._time_s)

    @property
    def trusted(self) -> bool:
        """Whether changes have come where they were expected."""
        return self.learnt and self._n_near >= TRUSTED_AFTER

    def next_poll_s(self, now_s: float, stretch: float = 1.0) -> float:
        """When to poll next.

        Args:
            now_s: The present, after the last poll.
            stretch: Every distance between polls is so much longer than asked for.
        """
        if self.period_s is None or math.isnan(self._time_s):
            return now_s + self._search_s * stretch
        guard_s = self.guard_s * stretch
        # The first expected change whose time of waiting is not over.
        n = max(1, math.ceil((now_s - guard_s - self._overdue_s - self._time_s) / self.period_s))
        begin_s = self._time_s + n * self.period_s - guard_s
        return begin_s if now_s < begin_s else now_s + self._fine_s * stretch

    def expects(self, time_s: float) -> bool:
        """Whether a change may come just now."""
        if self.period_s is None or math.isnan(self._time_s):
            return False
        off_s = (time_s - self._time_s + self.period_s / 2) % self.period_s - self.period_s / 2
        return abs(off_s) <= self.guard_s

    @property
    def guard_s(self) -> float:
        """How long before an expected change polling is fine."""
        return max(GUARD_LEAST_S, 1.25 * self._spread_s) + self._fine_s / 2

    def changed(self, before_s: float, after_s: float) -> int:
        """Take in a change between two polls.

        Returns:
            How many updates there were since the last change that was taken in, this one included.
        """
        if not self.learnt:
            self._learn(before_s, after_s)
            return 1
        assert self.period_s is not None
        middle_s, half_s = (before_s + after_s) / 2, (after_s - before_s) / 2
        n = max(1, round((middle_s - self._time_s) / self.period_s))
        expected_s = self._time_s + n * self.period_s
        if before_s <= expected_s <= after_s and half_s > NARROW * self.period_s:
            self._time_s = expected_s  # a late poll, and nothing to learn from it
            return n
        surprise_s = middle_s - expected_s
        far = abs(surprise_s) - half_s > UNEVEN * self.period_s
        self._n_far, self._n_near = (self._n_far + 1, 0) if far else (0, self._n_near + 1)
        if self._n_far >= LOST_AFTER:
            self.forget()
            self._learn(before_s, after_s)
            return n
        self._time_s = expected_s + PHASE_GAIN * surprise_s
        self.period_s += PERIOD_GAIN * surprise_s / n
        self._spread_s = max(FORGET * self._spread_s, min(abs(surprise_s) + half_s, self.period_s / 4))
        return n

    def forget(self) -> None:
        """Search anew."""
        self.period_s, self._time_s, self._n_far, self._n_near = None, math.nan, 0, 0
        self._brackets.clear()

    def _learn(self, before_s: float, after_s: float) -> None:
        self._brackets.append((before_s, after_s))
        if self.period_s is not None:  # told beforehand: only the phase is missing
            if (after_s - before_s) / 2 <= NARROW * self.period_s:
                self._time_s, self._spread_s = (before_s + after_s) / 2, (after_s - before_s) / 2
            return
        widest_s = MUCH_WIDER * min(after - before for before, after in self._brackets)
        narrow = [(before, after) for before, after in self._brackets if after - before <= widest_s]
        if len(narrow) < N_TO_LEARN or narrow[-1] != (before_s, after_s):
            return
        middles_s = [(before + after) / 2 for before, after in narrow]
        halves_s = [(after - before) / 2 for before, after in narrow]
        steps_s = [later - earlier for earlier, later in pairwise(middles_s)]
        shortest_s = sorted(steps_s)[len(steps_s) // 4]  # not the very shortest: one late poll makes it too short
        if max(halves_s) > NARROW * shortest_s:
            return
        counts = [max(1, round(step_s / shortest_s)) for step_s in steps_s]
        off_s = [abs(step_s / n - shortest_s) for step_s, n in zip(steps_s, counts, strict=True)]
        if max(off_s) > UNEVEN * shortest_s:
            return
        self.period_s = sum(steps_s) / sum(counts)
        self._time_s = middles_s[-1]
        self._spread_s = max(*halves_s, *off_s)
        self._n_near = len(steps_s)
        self._brackets.clear()
