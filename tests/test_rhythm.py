"""The rhythm of a value's updates, on instants alone: no clock, no sensor, no waiting."""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.meter.sensors.rhythm import Rhythm

FINE_S, SEARCH_S, REGULAR_S = 0.00045, 0.001, 0.02


@dataclass(frozen=True, slots=True)
class Followed:
    """What polling by a rhythm saw of a value's updates."""

    rhythm: Rhythm
    polls_s: list[float]
    brackets_s: list[tuple[float, float]]

    def late_half(self) -> list[float]:
        """Widths of the brackets once everything is learnt, in order of size."""
        half_s = self.polls_s[-1] / 2
        return sorted(after_s - before_s for before_s, after_s in self.brackets_s if before_s > half_s)


def followed(updates_s: Sequence[float], rhythm: Rhythm, *, lateness_s: Callable[[], float] = lambda: 5e-5) -> Followed:
    """Polls an ascending list of updates until it ends, as a board does: by the rhythm, and regularly."""
    polls_s: list[float] = []
    brackets_s: list[tuple[float, float]] = []
    now_s, due_s, regular_s, seen = 0.0, 0.0, 0.0, 0
    while now_s < updates_s[-1] - 1.0:
        now_s = max(now_s, min(due_s, regular_s)) + lateness_s()
        if now_s >= regular_s:
            regular_s = now_s + REGULAR_S
        n_updates = bisect.bisect_right(updates_s, now_s)
        if n_updates != seen and polls_s:
            brackets_s.append((polls_s[-1], now_s))
            rhythm.changed(polls_s[-1], now_s)
        seen = n_updates
        polls_s.append(now_s)
        due_s = rhythm.next_poll_s(now_s)
    return Followed(rhythm, polls_s, brackets_s)


def fresh(period_s: float | None = None) -> Rhythm:
    return Rhythm(fine_s=FINE_S, search_s=SEARCH_S, overdue_s=0.004, period_s=period_s)


@settings(max_examples=25, deadline=None)
@given(period_s=st.sampled_from([0.01, 0.02, 0.1, 0.5]), phase=st.floats(0.0, 1.0), early=st.floats(0.998, 1.002))
@example(period_s=0.5, phase=0.04518144173319084, early=1.0)
def test_an_even_tick_is_caught_within_a_fine_poll_whatever_its_phase(
    period_s: float, phase: float, early: float
) -> None:
    # Learning takes updates, not seconds; and of fewer than a hundred 98 % would be all of them.
    updates_s = [(phase + k) * period_s for k in range(max(int(14.0 / period_s), 220))]
    for rhythm in (fresh(), fresh(period_s * early)):
        seen = followed(updates_s, rhythm)
        assert rhythm.period_s == pytest.approx(period_s, rel=0.01)
        widths_s = seen.late_half()
        assert widths_s[len(widths_s) // 2] <= FINE_S + 1e-4
        assert widths_s[int(0.98 * len(widths_s))] <= FINE_S + 1e-4
        late = [time_s for time_s in seen.polls_s if time_s > seen.polls_s[-1] / 2]
        fine_per_tick = (len(late) / (late[-1] - late[0]) - 1 / REGULAR_S) * period_s
        assert fine_per_tick < 25.0  # 4 on the average


@pytest.mark.parametrize("jitter_s", [0.001, 0.004, 0.01])
def test_the_guard_follows_the_jitter(jitter_s: float) -> None:
    chance = random.Random(1)
    updates_s = [0.1 * k + jitter_s * (chance.random() - 0.5) for k in range(1, 300)]
    seen = followed(updates_s, fresh())
    assert jitter_s / 2 < seen.rhythm.guard_s < 1.5 * jitter_s + 0.002
    widths_s = seen.late_half()
    assert widths_s[len(widths_s) // 2] <= FINE_S + 1e-4
    assert widths_s[int(0.9 * len(widths_s))] <= 0.001


def test_every_bracket_holds_an_update_even_if_polls_are_put_off() -> None:
    chance = random.Random(2)
    updates_s = [0.0371 + 0.1 * k for k in range(300)]
    seen = followed(updates_s, fresh(), lateness_s=lambda: 1e-4 if chance.random() > 0.02 else 0.3 * chance.random())
    assert all(
        bisect.bisect_right(updates_s, after_s) > bisect.bisect_right(updates_s, before_s)
        for before_s, after_s in seen.brackets_s
    )
    assert seen.rhythm.period_s == pytest.approx(0.1, rel=0.02)


def test_another_period_is_noticed() -> None:
    updates_s = [0.1 * k for k in range(100)]
    updates_s += [updates_s[-1] + 0.173 * k for k in range(1, 100)]
    seen = followed(updates_s, fresh())
    assert seen.rhythm.period_s == pytest.approx(0.173, rel=0.01)
    assert seen.rhythm.trusted
    widths_s = seen.late_half()
    assert widths_s[len(widths_s) // 2] <= FINE_S + 1e-4


def test_a_value_that_often_stays_the_same_still_shows_its_rhythm() -> None:
    chance = random.Random(3)
    updates_s = [0.1 * k for k in range(400) if chance.random() < 0.5]
    rhythm = Rhythm(fine_s=0.001, search_s=0.002, overdue_s=0.0)
    seen = followed(updates_s, rhythm)
    assert rhythm.period_s == pytest.approx(0.1, rel=0.01)
    widths_s = seen.late_half()
    assert widths_s[len(widths_s) // 2] <= 0.0015


def test_updates_that_were_slept_through_are_counted() -> None:
    rhythm = fresh(0.1)
    assert rhythm.changed(0.0999, 0.1001) == 1
    assert rhythm.changed(0.1999, 0.2001) == 1
    assert rhythm.changed(0.25, 0.7001) == 3 or rhythm.period_s == pytest.approx(0.1, rel=0.01)
    assert rhythm.changed(0.7999, 0.8001) >= 1
    assert rhythm.expects(0.9)
    assert not rhythm.expects(0.95)


def test_nothing_is_expected_of_what_never_changed() -> None:
    rhythm = fresh()
    assert not rhythm.learnt
    assert not rhythm.expects(1.0)
    assert rhythm.next_poll_s(1.0) == 1.0 + SEARCH_S
    assert rhythm.next_poll_s(1.0, stretch=3.0) == 1.0 + 3 * SEARCH_S


def test_with_a_known_period_one_change_is_enough() -> None:
    rhythm = fresh(0.1)
    assert rhythm.next_poll_s(0.1) == 0.1 + SEARCH_S
    rhythm.changed(0.2, 0.2005)
    assert rhythm.learnt
    assert not rhythm.trusted
    assert 0.29 < rhythm.next_poll_s(0.21) < 0.3003
    assert math.isclose(rhythm.next_poll_s(0.3), 0.3 + FINE_S)
    rhythm.forget()
    assert rhythm.next_poll_s(1.0) == 1.0 + SEARCH_S
