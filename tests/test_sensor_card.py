"""The card of a sensor: what polls of an idle board tell, what a load adds, and what is never claimed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.meter.card.aliasing import aliased, locked, tick_counts
from harness.meter.card.board_trace import BoardTrace
from harness.meter.card.card import (
    Changes,
    Polls,
    card_findings,
    idle_findings,
    merged,
    resolution_j,
    tick_and_jitter_s,
    update_period_s,
)
from harness.meter.card.card_cache import cache_directory, load_card, save_card
from harness.meter.card.underload import completed
from harness.records import (
    MARK_CHANNEL,
    Channel,
    Edge,
    FindingCode,
    Segment,
    SensorCard,
)
from harness.report.sensor import Word, account_of
from harness.wiring.sensor_cards import doubts_of, learn
from tests.fake_nvml import library as fake
from tests.synthetic_power import AVERAGED, COUNTER, GPU, POWER, joined, portion

if TYPE_CHECKING:
    from harness.records import FloatArray

PROJECT = Path(__file__).parents[1]
CARD = SensorCard(
    uuid=GPU,
    name="made up",
    driver="570",
    idle_utc="2026-11-24T12:00:00Z",
    counter=True,
    duration_tick_s=0.1,
    instant_power=True,
    duration_power_call_s=1e-4,
    power_idle_w=70.0,
)
NOW = "2026-11-24T13:00:00Z"

# --------------------------------------------------------------------------------- an idle board's polls


def polls(values_at: Callable[[FloatArray], FloatArray], duration_s: float, every_s: float = 0.001) -> Polls:
    """Polls with an uneven pace, each taking 20 µs."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.7, 1.3, int(duration_s / every_s))) * every_s
    return Polls(time_before_s=times, time_after_s=times + 2e-5, value=values_at(times))


def ticking(period_s: float, power_w: float = 70.0, noise_j: float = 0.004) -> Callable[[FloatArray], FloatArray]:
    """A counter in whole millijoules."""

    def value_j(times_s: FloatArray) -> FloatArray:
        count = np.floor((times_s + 0.013) / period_s)
        noise = np.cumsum(np.abs(np.random.default_rng(2).normal(0.0, noise_j, int(count.max()) + 2)))
        return np.asarray(np.floor(1e3 * (count * period_s * power_w + noise[count.astype(int)])) / 1e3)

    return value_j


@pytest.mark.parametrize("period_s", [0.02, 0.1, 0.5])
def test_the_tick_and_the_resolution_are_found(period_s: float) -> None:
    found = idle_findings(polls(ticking(period_s), 4.0), Polls.of([]))
    assert found.duration_tick_s == pytest.approx(period_s, rel=0.01)
    assert found.duration_tick_jitter_s is not None
    assert found.duration_tick_jitter_s < 0.001
    assert found.resolution_j == pytest.approx(0.001)
    # No power reading: idle power is what the counter gained.
    assert found.power_idle_w == pytest.approx(70.0, rel=0.01)


def test_missed_and_late_ticks_do_not_move_the_median() -> None:
    all_polls = polls(ticking(0.1), 3.0)
    # Nothing is polled for 0.35 s: two ticks are missed, one is seen late.
    seen = (all_polls.time_before_s < 1.0) | (all_polls.time_before_s > 1.35)
    found = idle_findings(
        Polls(
            time_before_s=all_polls.time_before_s[seen],
            time_after_s=all_polls.time_after_s[seen],
            value=all_polls.value[seen],
        ),
        Polls.of([]),
    )
    assert found.duration_tick_s == pytest.approx(0.1, rel=0.01)
    assert found.duration_tick_jitter_s == pytest.approx(0.0, abs=0.001)


def test_jitter_is_seen() -> None:
    times = np.cumsum(np.random.default_rng(3).normal(0.1, 0.01, 400))
    _, jitter_s = tick_and_jitter_s(Changes(time_s=times, bracket_s=np.full(400, 0.001), step=np.ones(400)))
    assert jitter_s == pytest.approx(0.01, rel=0.2)


def test_what_cannot_be_told_is_none() -> None:
    still = polls(lambda times: np.full(len(times), 1234.5), 3.0)
    found = idle_findings(still, still)
    assert (found.duration_tick_s, found.resolution_j, found.duration_power_period_s) == (None, None, None)
    assert found.power_idle_w == 1234.5
    nothing = idle_findings(Polls.of([]), Polls.of([]))
    assert (nothing.duration_tick_s, nothing.duration_power_period_s, nothing.power_idle_w) == (None, None, None)
    # Under steady power every increment is the same, whatever the resolution.
    assert resolution_j(np.full(20, 7.0)) is None
    assert resolution_j(np.array([7.0, 7.001, 7.0, 7.001])) is None
    # A counter that jumps back has moved, but not by a tick.
    assert resolution_j(np.array([-5.0, 0.06, 0.09, 0.15, 0.12])) == pytest.approx(0.03)


@pytest.mark.parametrize("period_s", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("share_repeated", [0.0, 0.3])
def test_power_that_often_stays_the_same_keeps_its_period(period_s: float, share_repeated: float) -> None:
    generator = np.random.default_rng(4)
    fresh = np.where(generator.random(1000) < share_repeated, 0.0, 1.0)
    held = 70.0 + np.cumsum(fresh)
    found = idle_findings(Polls.of([]), polls(lambda times: held[(times / period_s).astype(int)], 6.0, 0.0025))
    assert found.duration_power_period_s == pytest.approx(period_s, rel=0.03)


def test_no_period_is_made_of_changes_without_a_beat_or_seen_at_every_poll() -> None:
    times = np.cumsum(np.random.default_rng(5).exponential(0.1, 60))
    assert update_period_s(Changes(time_s=times, bracket_s=np.full(60, 0.002), step=np.ones(60))) is None
    every = polls(lambda times: times, 1.0)
    assert update_period_s(every.changes()) is None


def test_zero_watts_are_no_reading() -> None:
    def value_w(times_s: FloatArray) -> FloatArray:
        return np.where(np.arange(len(times_s)) % 2 == 0, 0.0, 70.0)

    found = idle_findings(Polls.of([]), polls(value_w, 1.0))
    assert (found.power_idle_w, found.duration_power_period_s) == (70.0, None)


# ------------------------------------------------------------------------------------ the probe, on fake boards

PROBE = """
import json, sys
from harness.meter.card.characterize import characterize
print(json.dumps([card.model_dump() for card in characterize(sys.argv[1:]).values()]))
"""


def probed(directory: Path, library: Path, boards: Sequence[fake.Board]) -> dict[str, SensorCard]:
    config = directory / "boards.conf"
    fake.write_config(config, boards)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *(board.uuid for board in boards)],
        env={**fake.environment(library.parent, config), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {card["uuid"]: SensorCard.model_validate(card) for card in json.loads(done.stdout)}


def test_fake_boards_are_characterized_together(tmp_path: Path, fake_nvml: Path) -> None:
    restless = {"power_noise_w": 1.0, "load": (fake.sinusoid(0.7, period_s=0.77),)}
    boards = [
        replace(fake.H100, **restless, tick_jitter_s=0.004),  # type: ignore[arg-type]
        replace(fake.V100, **restless),  # type: ignore[arg-type]
        replace(fake.RTX_4090, **restless, tick_s=0.5, power_period_s=0.5),  # type: ignore[arg-type]
        fake.P100,
        replace(fake.H100, uuid="GPU-frozen", counter_frozen_after_s=1.0),
        replace(fake.H100, uuid="GPU-averaged", faults=(fake.Fault("field:186", 3),)),
        replace(fake.H100, uuid="GPU-zeros", answers=(fake.Answer("field:186", 0),)),
        replace(fake.H100, uuid="GPU-busy", load=(fake.constant(300.0),)),
        replace(fake.H100, uuid="GPU-mute", counter=False, power=False),
        replace(fake.H100, uuid="GPU-lost", lost_after_s=0.0),
    ]
    for _ in range(3):  # a busy machine catches too few of the slow board's ticks in time, and says so by None
        cards = probed(tmp_path, fake_nvml, boards)
        if cards[fake.RTX_4090.uuid].duration_tick_s is not None:
            break
    assert list(cards) == [board.uuid for board in boards[:-1]]  # a lost board has no card
    h100, v100, ada, p100 = (cards[board.uuid] for board in boards[:4])
    assert (h100.name, h100.driver, h100.counter, h100.instant_power) == (fake.H100.name, "570.133.20", True, True)
    assert h100.duration_tick_s == pytest.approx(0.1, rel=0.05)
    assert h100.resolution_j == pytest.approx(0.001)
    assert h100.power_idle_w == pytest.approx(70.0, abs=5.0)
    assert h100.duration_power_period_s == pytest.approx(0.1, rel=0.1)
    assert v100.duration_tick_s == pytest.approx(0.02, rel=0.1)
    assert ada.duration_tick_s == pytest.approx(0.5, rel=0.05)
    assert (p100.counter, p100.duration_tick_s, p100.duration_counter_call_s) == (False, None, None)
    assert p100.power_idle_w == pytest.approx(26.0)
    assert p100.duration_power_period_s is None  # its power does not move: unknown
    frozen = cards["GPU-frozen"]
    assert (frozen.counter, frozen.duration_tick_s, frozen.resolution_j) == (True, None, None)
    for uuid in ("GPU-averaged", "GPU-zeros"):
        assert not cards[uuid].instant_power
        assert cards[uuid].power_idle_w == pytest.approx(70.0)
    assert cards["GPU-busy"].power_idle_w is None
    mute = cards["GPU-mute"]
    assert (mute.counter, mute.instant_power, mute.duration_power_call_s, mute.power_idle_w) == (
        (False, False, None, None)
    )
    for card in cards.values():
        assert (card.integrates, card.load_utc, card.ratio_counter_to_power) == (None, None, None)


# ---------------------------------------------------------------------------------------- what a load adds


@dataclass(frozen=True, slots=True)
class Load:
    """Watts on a fine grid, and the marks that a session would set."""

    time_s: FloatArray
    energy_j: FloatArray
    marks: Segment

    def until_j(self, times_s: FloatArray) -> FloatArray:
        return np.interp(times_s, self.time_s, self.energy_j)


def load_of(steps: Sequence[tuple[float, float]], marks: Sequence[tuple[float, Edge]], tail_s: float = 0.0) -> Load:
    """Levels from each instant on, reached with a time constant; 70 W before the first and 4 s after the last."""
    every_s, end_s = 0.0005, steps[-1][0] + 4.0
    times = np.arange(int(end_s / every_s)) * every_s
    levels = np.array([70.0, *(level_w for _, level_w in steps)])
    at = np.searchsorted([time_s for time_s, _ in steps], times, side="right")
    watts = levels[at]
    if tail_s:
        begun_s = np.array([-np.inf, *(time_s for time_s, _ in steps)])[at]
        before = levels[np.maximum(at - 1, 0)]
        watts = watts + (before - watts) * np.exp(-(times - begun_s) / tail_s)
    mark_s = np.array([time_s for time_s, _ in marks])
    return Load(
        np.append(times, end_s),
        np.concatenate([[0.0], np.cumsum(watts * every_s)]),
        Segment(
            channel=np.full(len(marks), MARK_CHANNEL, dtype=np.int64),
            time_before_s=mark_s,
            time_after_s=mark_s,
            value=np.array([float(edge) for _, edge in marks]),
        ),
    )


def queries(
    n_queries: int,
    seed: int,
    *,
    delay_s: float = 0.008,
    tail_s: float = 0.0,
    early_s: float = 0.0,
    at_random: bool = False,
) -> Load:
    """Queries of 0.5 to 2 s at 400 W with pauses; work begins up to `delay_s` after its mark.

    Args:
        n_queries: How many.
        seed: Of lengths, pauses and delays.
        delay_s: At most; at the end it is up to 3 ms.
        tail_s: Time constant with which power follows.
        early_s: All marks are set this much too early.
        at_random: The marks lie anywhere.
    """
    generator = np.random.default_rng(seed)
    steps: list[tuple[float, float]] = []
    marks: list[tuple[float, Edge]] = []
    time_s = 3.0
    for _ in range(n_queries):
        begin_s = time_s + generator.uniform(0.5, 1.5)
        end_s = begin_s + generator.uniform(0.5, 2.0)
        marks += [(begin_s - early_s, Edge.WORK_BEGINS), (end_s - early_s, Edge.WORK_ENDS)]
        steps += [(begin_s + generator.uniform(0.0, delay_s), 400.0), (end_s + generator.uniform(0.0, 0.003), 70.0)]
        time_s = end_s
    if at_random:
        edges = [edge for _, edge in marks]
        marks = list(zip(np.sort(generator.uniform(3.0, time_s, len(marks))).tolist(), edges, strict=True))
    return load_of(steps, marks, tail_s)


def sensed(
    load: Load,
    *,
    seed: int = 0,
    tick_s: float = 0.1,
    counter_window_s: float = 0.0,
    lag_s: float = 0.0,
    gain: float = 1.0,
    power_window_s: float = 0.025,
    power_lag_s: float = 0.0,
    power_period_s: float = 0.1,
    noise_w: float = 1.0,
) -> Segment:
    """What a board's counter (caught within 1 ms) and power (polled every 20 ms and a bit) say of a load."""
    generator = np.random.default_rng(seed)
    end_s = load.time_s[-1] - 0.5
    ticks = np.arange(3.0 * tick_s + 0.0371, end_s, tick_s)
    if counter_window_s:
        parts = (load.until_j(ticks) - load.until_j(ticks - counter_window_s)) / counter_window_s
        values = np.cumsum(tick_s * parts)
    else:
        values = load.until_j(ticks)
    before = ticks + lag_s - generator.uniform(0.0, 0.001, len(ticks))
    counter = Segment(
        channel=np.zeros(len(ticks), dtype=np.int64),
        time_before_s=before,
        time_after_s=before + 0.001,
        value=np.floor(1e3 * gain * values) / 1e3 + 1234.5,
    )
    polls_s = 1.3 + np.cumsum(0.02 + generator.uniform(0.0001, 0.0005, int((end_s - 1.4) / 0.0203)))
    latches = np.floor((polls_s - power_lag_s) / power_period_s)
    at_s = latches * power_period_s
    watts = (load.until_j(at_s) - load.until_j(at_s - power_window_s)) / power_window_s
    noise = generator.normal(0.0, noise_w, int(latches[-1]) + 1)
    power = Segment(
        channel=np.ones(len(polls_s), dtype=np.int64),
        time_before_s=polls_s,
        time_after_s=polls_s + 0.0003,
        value=watts + noise[latches.astype(int)],
    )
    return joined(counter, power, load.marks)


CHANNELS = (COUNTER, POWER)
USUAL = sensed(queries(4, 1))


def learnt(segment: Segment, card: SensorCard = CARD, channels: Sequence[Channel] = CHANNELS) -> SensorCard:
    return completed(card, channels, [segment], load_utc=NOW)


@cache
def usually_learnt(seed: int) -> SensorCard:
    """Of an integrating counter, under queries that begin a little after their marks."""
    return learnt(sensed(queries(12, seed), seed=seed))


LOADS = {
    "launch delay": {},
    "no delay": {"delay_s": 0.0},
    "marks set too early": {"early_s": 0.025},
    "marks set too late": {"early_s": -0.03},
    "power follows slowly": {"tail_s": 0.03},
}


@pytest.mark.parametrize("kind", list(LOADS))
@pytest.mark.parametrize("seed", range(2))
def test_an_integrating_counter_is_never_called_part_time(kind: str, seed: int) -> None:
    options = LOADS[kind]
    card = learnt(sensed(queries(12, seed, **options), seed=seed)) if options else usually_learnt(seed)  # type: ignore[arg-type]
    assert card.integrates is not False
    assert card.duration_counter_window_s is None
    if kind != "power follows slowly":
        assert card.integrates
        assert card.load_utc == NOW


@pytest.mark.parametrize("kind", list(LOADS))
@pytest.mark.parametrize("seed", range(2))
def test_a_part_time_counter_is_never_called_integrating(kind: str, seed: int) -> None:
    card = learnt(sensed(queries(12, seed, **LOADS[kind]), seed=seed, counter_window_s=0.025))  # type: ignore[arg-type]
    assert card.integrates is not True
    if kind != "power follows slowly":
        assert card.integrates is False
        assert card.duration_counter_window_s == pytest.approx(0.025, abs=0.0151)
        assert [finding.code for finding in card_findings(card)] == [FindingCode.PART_TIME_COUNTER]


@pytest.mark.parametrize("counter_window_s", [0.0, 0.025, 0.05])
@pytest.mark.parametrize("kind", ["marks at random", "tail of 150 ms", "delay up to 80 ms"])
def test_loads_that_do_not_follow_their_marks_give_no_wrong_verdict(kind: str, counter_window_s: float) -> None:
    options = {
        "marks at random": {"at_random": True},
        "tail of 150 ms": {"tail_s": 0.15},
        "delay up to 80 ms": {"delay_s": 0.08},
    }[kind]
    right = counter_window_s == 0.0
    for seed in range(2):
        card = learnt(
            sensed(queries(12, seed, **options), seed=seed, counter_window_s=counter_window_s)  # type: ignore[arg-type]
        )
        assert card.integrates in (None, right)
        if kind == "marks at random":
            assert card.integrates is None


def test_steps_at_one_phase_of_the_tick_settle_nothing() -> None:
    """Queries that begin right after a tick and end right after one: both kinds of counter say the same."""
    ticks_s = 3.0371 + np.arange(0.0, 400.0, 15.0) * 0.1
    steps, marks = [], []
    for begin_s, end_s in zip(ticks_s[::2], ticks_s[1::2], strict=False):
        steps += [(begin_s + 0.002, 400.0), (end_s + 0.002, 70.0)]
        marks += [(begin_s + 0.001, Edge.WORK_BEGINS), (end_s + 0.001, Edge.WORK_ENDS)]
    for counter_window_s in (0.0, 0.025):
        assert learnt(sensed(load_of(steps, marks), counter_window_s=counter_window_s)).integrates is None


def test_few_steps_add_up_over_sessions_and_old_verdicts_can_fall() -> None:
    card, n_sessions = CARD, 0
    while card.integrates is None:
        n_sessions += 1
        assert n_sessions < 12
        card = learnt(sensed(queries(1, n_sessions), seed=n_sessions), card)
    assert card.integrates
    assert n_sessions > 1
    assert len(card.load_steps) >= 6
    # The driver changed nothing but the counter's mind: enough of the other sort turns the verdict.
    for seed in range(4):
        card = learnt(sensed(queries(12, seed), seed=seed, counter_window_s=0.025), card)
    assert card.integrates is False
    assert len(card.load_steps) <= 60


def test_a_session_that_shows_nothing_changes_nothing() -> None:
    known = learnt(sensed(queries(12, 1)))
    idle = load_of([(1.0, 70.0), (40.0, 70.0)], [(5.0, Edge.WORK_BEGINS), (9.0, Edge.WORK_ENDS)])
    assert learnt(sensed(idle), known).integrates is True
    assert learnt(sensed(idle), known).load_utc == NOW
    empty = Segment(
        channel=np.empty(0, dtype=np.int64), time_before_s=np.empty(0), time_after_s=np.empty(0), value=np.empty(0)
    )
    assert learnt(empty, known) == known
    assert completed(known, (), [], load_utc=NOW) == known
    assert completed(
        known.model_copy(update={"uuid": "GPU-other"}), CHANNELS, [sensed(queries(3, 1))], load_utc=NOW
    ) == (known.model_copy(update={"uuid": "GPU-other"}))


def test_a_load_shows_what_idle_could_not() -> None:
    bare = CARD.model_copy(update={"duration_tick_s": None})
    card = learnt(sensed(queries(6, 1)), bare)
    assert card.duration_tick_s == pytest.approx(0.1, rel=0.01)
    assert card.resolution_j == pytest.approx(0.001)
    assert card.duration_power_period_s == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("window_s", [0.025, 0.1, 1.0])
def test_the_window_of_power_is_found(window_s: float) -> None:
    channels = (COUNTER, AVERAGED if window_s == 1.0 else POWER)
    card = learnt(sensed(queries(30, 2), seed=2, power_window_s=window_s), channels=channels)
    assert card.duration_power_window_s == pytest.approx(window_s, abs=max(0.01, 0.15 * window_s))
    assert card.duration_power_lag_s == pytest.approx(0.0, abs=max(0.01, 0.1 * window_s))


def test_the_lag_of_power_is_found() -> None:
    card = learnt(sensed(queries(30, 3), seed=3, power_lag_s=0.05))
    assert card.duration_power_lag_s == pytest.approx(0.05, abs=0.011)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sensed(queries(30, 4, tail_s=0.1)),
        lambda: sensed(queries(2, 4)),
        lambda: sensed(queries(20, 4), power_period_s=0.02),
    ],
)
def test_no_window_is_made_of_slow_power_few_steps_or_coarse_looks(make: Callable[[], Segment]) -> None:
    assert learnt(make()).duration_power_window_s is None


def test_counter_over_power_holds_the_truth_and_knows_its_noise() -> None:
    inside, half_widths = 0, []
    for seed in range(8):
        card = usually_learnt(seed)
        assert card.ratio_counter_to_power is not None
        assert card.ratio_counter_to_power_half_width is not None
        inside += abs(card.ratio_counter_to_power - 1.0) <= card.ratio_counter_to_power_half_width
        half_widths.append(card.ratio_counter_to_power_half_width)
        assert card_findings(card) == ()
    assert inside >= 7
    # Looks of 25 of every 100 ms at stepping power are worth much less than whole means of it.
    whole = learnt(sensed(queries(12, 0), power_window_s=0.1)).ratio_counter_to_power_half_width
    assert whole is not None
    assert whole < 0.5 * np.median(half_widths)


def test_a_counter_that_disagrees_with_power_is_a_finding() -> None:
    card = learnt(sensed(queries(25, 5), seed=5, gain=1.12))
    assert card.ratio_counter_to_power == pytest.approx(1.12, abs=0.03)
    assert [finding.code for finding in card_findings(card)] == [FindingCode.COUNTER_AGAINST_POWER]
    # A wide interval that reaches the tolerance is none.
    vague = card.model_copy(update={"ratio_counter_to_power_half_width": 0.08})
    assert card_findings(vague) == ()


def test_gaps_and_resets_make_no_ratio_and_no_step() -> None:
    segment = sensed(queries(12, 6), seed=6)
    middle_s = float(np.median(segment.time_after_s))
    after = (segment.channel == 0) & (segment.time_after_s > middle_s)
    reset = replace(segment, value=np.where(after, segment.value - segment.value[after].min(), segment.value))
    card = learnt(reset)
    assert card.ratio_counter_to_power == pytest.approx(1.0, abs=0.05)
    assert card.integrates in (None, True)
    silent = (segment.channel == 1) & (segment.time_after_s > 6.0) & (np.floor(segment.time_after_s) % 3 == 0)
    kept = Segment(
        channel=segment.channel[~silent],
        time_before_s=segment.time_before_s[~silent],
        time_after_s=segment.time_after_s[~silent],
        value=segment.value[~silent],
    )
    assert learnt(kept).ratio_counter_to_power is None


@settings(deadline=None, max_examples=20)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-1, 2),
            st.floats(0.0, 30.0),
            st.floats(0.0, 0.3),
            st.one_of(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), st.floats(0.0, 2000.0)),
        ),
        max_size=60,
    ),
    on_top=st.booleans(),
)
def test_no_readings_however_odd_stop_a_session(rows: list[tuple[int, float, float, float]], on_top: bool) -> None:
    kept = [row for row in rows if row[0] != MARK_CHANNEL or row[3] in set(Edge)]
    columns = np.array(kept, dtype=np.float64).reshape(-1, 4)
    odd = Segment(
        channel=columns[:, 0].astype(np.int64),
        time_before_s=columns[:, 1],
        time_after_s=columns[:, 1] + columns[:, 2],
        value=columns[:, 3],
    )
    segment = joined(USUAL, odd) if on_top else odd
    card = learnt(segment)
    assert SensorCard.model_validate_json(card.model_dump_json()) == card  # no NaN, no infinity
    aliased(card, BoardTrace(GPU, CHANNELS, [segment]))


VIRTUAL = """
import json, sys, os
from pathlib import Path
from tests.fake_nvml import library as fake
library, end_s = Path(sys.argv[1]), float(sys.argv[2])
lib = fake.preload(library)
import pynvml as n
n.nvmlInit()
h = n.nvmlDeviceGetHandleByIndex(0)
counter, power, last, t, due_s, before_s = [], [], None, 1000.3, 1000.3, 1000.3
while t < end_s:
    fake.set_clock(lib, t)
    value = n.nvmlDeviceGetTotalEnergyConsumption(h)
    if last is not None and value != last:
        counter.append((before_s, t, value / 1000))
    last, before_s = value, t
    if t >= due_s:
        (field,) = n.nvmlDeviceGetFieldValues(h, [n.NVML_FI_DEV_POWER_INSTANT])
        power.append((t, t, field.value.uiVal / 1000))
        due_s = t + 0.0203
    t += 0.001
print(json.dumps([counter, power]))
"""


@pytest.mark.parametrize("counter_window_s", [0.0, 0.025])
def test_the_fake_library_is_seen_through(tmp_path: Path, fake_nvml: Path, counter_window_s: float) -> None:
    """The same judgement on streams of the C model, under its virtual clock, with launch delays and tails."""
    generator = np.random.default_rng(7)
    components: list[fake.Component] = []
    marks: list[tuple[float, Edge]] = []
    time_s = 1001.0
    for _ in range(12):
        begin_s = time_s + generator.uniform(0.5, 1.2)
        end_s = begin_s + generator.uniform(0.5, 1.5)
        components += fake.query(
            begin_s, end_s, 330.0, launch_delay_s=generator.uniform(0.0, 0.008), tail_w=60.0, tail_time_constant_s=0.02
        )
        marks += [(begin_s, Edge.WORK_BEGINS), (end_s, Edge.WORK_ENDS)]
        time_s = end_s
    config = tmp_path / "boards.conf"
    board = replace(
        fake.H100,
        load=tuple(components),
        counter_window_s=counter_window_s,
        counter_origin_s=1000.0,
        tick_jitter_s=0.001,
        power_noise_w=1.0,
    )
    fake.write_config(config, [board])
    done = subprocess.run(
        [sys.executable, "-c", VIRTUAL, str(fake_nvml), str(time_s + 1.5)],
        env={**fake.environment(fake_nvml.parent, config), "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [(0, *row) for row in json.loads(done.stdout)[0]] + [(1, *row) for row in json.loads(done.stdout)[1]]
    rows += [(MARK_CHANNEL, mark_s, mark_s, float(edge)) for mark_s, edge in marks]
    columns = list(zip(*rows, strict=True))
    segment = Segment(
        channel=np.array(columns[0], dtype=np.int64),
        time_before_s=np.array(columns[1]),
        time_after_s=np.array(columns[2]),
        value=np.array(columns[3]),
    )
    card = learnt(segment)
    assert card.integrates is (counter_window_s == 0.0)
    if counter_window_s:
        assert card.duration_counter_window_s == pytest.approx(counter_window_s, abs=0.0151)
    else:
        assert card.ratio_counter_to_power == pytest.approx(1.0, abs=0.05)


# ---------------------------------------------------------------------------------------------------- aliasing


@settings(deadline=None, max_examples=60)
@given(
    phase=st.floats(0.0, 1.0),
    n_spans=st.integers(12, 60),
    stride=st.sampled_from([1.0, 2.0, 0.5, 1.5, 1.0 / 3.0, 4.0 / 3.0]),
    seed=st.integers(0, 1000),
)
def test_a_locked_load_is_seen_and_a_shift_of_time_changes_nothing(
    phase: float, n_spans: int, stride: float, seed: int
) -> None:
    jitter = np.random.default_rng(seed).normal(0.0, 0.01, n_spans)
    starts = 0.1 * (phase + stride * np.arange(n_spans) + jitter)
    assert locked(starts.tolist(), 0.1)
    assert locked((starts + 17.3).tolist(), 0.1)
    assert not locked(starts[:7].tolist(), 0.1)


def test_loads_at_random_phases_are_not_locked() -> None:
    generator = np.random.default_rng(8)
    n_locked = sum(locked(np.cumsum(generator.uniform(0.3, 0.9, 20)).tolist(), 0.1) for _ in range(2000))
    assert n_locked == 0
    # A period that drifts through the tick is not locked either.
    assert not locked((0.1037 * np.arange(60)).tolist(), 0.1)
    assert not locked([0.1 * index for index in range(20)], 0.0)


def test_long_sessions_are_judged_on_the_sensors_own_time() -> None:
    """A true tick of 100.05 ms known as 100: after 1,000 ticks the difference is half a turn."""
    ticks_s = 0.10005 * np.arange(4000)
    seen_s = ticks_s[np.random.default_rng(9).random(4000) > 0.05]
    starts_s = 0.10005 * (0.3 + 9.0 * np.arange(400))
    assert not locked(starts_s.tolist(), 0.1)
    turns = tick_counts(starts_s.tolist(), seen_s.tolist(), 0.1)
    assert locked(turns, 1.0)
    assert turns[10] == pytest.approx(90.3, abs=1.01)
    assert tick_counts([5.0, 500.0], [1.0, 1.1], 0.1) == []


@pytest.mark.parametrize(
    ("update", "is_doubted"),
    [
        ({}, True),
        ({"integrates": False}, True),
        ({"integrates": True}, False),
        ({"counter": False, "duration_tick_s": None}, True),
    ],
)
def test_only_a_sensor_that_may_be_blind_is_doubted(update: dict[str, object], is_doubted: bool) -> None:
    starts = [(4.0 + 0.6 * index, Edge.WORK_BEGINS) for index in range(20)]
    ends = [(time_s + 0.25, Edge.WORK_ENDS) for time_s, _ in starts]
    load = load_of(
        [(time_s, 400.0 if edge is Edge.WORK_BEGINS else 70.0) for time_s, edge in sorted(starts + ends)],
        sorted(starts + ends),
    )
    card = CARD.model_copy(update=update)
    doubt = aliased(card, BoardTrace(GPU, CHANNELS, [sensed(load)]))
    assert (doubt is not None) is is_doubted
    if doubt is not None:
        assert doubt.code is FindingCode.ALIASED
        assert "20 queries" in doubt.detail
    assert aliased(card, BoardTrace(GPU, CHANNELS, [sensed(queries(20, 1))])) is None


# ------------------------------------------------------------------------------------------------ merge and cache


def test_a_new_look_keeps_what_a_load_showed() -> None:
    known = learnt(sensed(queries(12, 1)))
    fresh = CARD.model_copy(update={"idle_utc": "2027-01-01T00:00:00Z", "duration_tick_s": 0.101})
    both = merged(fresh, known)
    assert (both.idle_utc, both.duration_tick_s) == ("2027-01-01T00:00:00Z", 0.101)
    assert (both.integrates, both.load_utc) == (True, NOW)
    assert both.ratio_counter_to_power == known.ratio_counter_to_power
    assert merged(fresh, None) == fresh
    for other in ({"driver": "580"}, {"uuid": "GPU-other"}):
        assert merged(fresh.model_copy(update=other), known).integrates is None
    gone = merged(fresh.model_copy(update={"counter": False, "duration_tick_s": None}), known)
    assert (gone.duration_tick_s, gone.ratio_counter_to_power) == (None, None)


def test_a_card_comes_back_from_its_cache(tmp_path: Path) -> None:
    assert load_card(GPU, "570", tmp_path) is None
    assert save_card(CARD, tmp_path)
    assert load_card(GPU, "570", tmp_path) == CARD
    assert load_card(GPU, "571", tmp_path) is None
    assert save_card(CARD.model_copy(update={"integrates": True}), tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]  # one file, no draft left
    loaded = load_card(GPU, "570", tmp_path)
    assert loaded is not None
    assert loaded.integrates


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b'{"schema_version": 99}',
        CARD.model_dump_json().replace("0.1", "NaN").encode(),
    ],
)
def test_a_damaged_or_foreign_cache_is_looked_past(tmp_path: Path, content: bytes) -> None:
    save_card(CARD, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert load_card(GPU, "570", tmp_path) is None
    assert save_card(CARD, tmp_path)
    assert load_card(GPU, "570", tmp_path) == CARD


def test_a_card_of_another_schema_or_board_is_not_taken(tmp_path: Path) -> None:
    for update in ({"schema_version": 2}, {"uuid": "GPU-other"}, {"driver": "571"}):
        save_card(CARD, tmp_path)
        (path,) = tmp_path.iterdir()
        path.write_text(CARD.model_copy(update=update).model_dump_json())
        assert load_card(GPU, "570", tmp_path) is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert not save_card(CARD, tmp_path / "file" / "sensors")
    assert load_card(GPU, "570", tmp_path / "file" / "sensors") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    elsewhere = cache_directory()
    assert elsewhere is not None
    assert elsewhere.is_absolute()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "inference-energy-harness" / "sensors"


def test_without_a_home_the_cache_is_private_or_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert save_card(CARD)
    assert load_card(GPU, "570") == CARD
    (base,) = tmp_path.iterdir()
    assert base.stat().st_mode & 0o777 == 0o700
    base.chmod(0o777)  # anybody may have written into it
    assert load_card(GPU, "570") is None
    assert not save_card(CARD)
    base.chmod(0o700)
    monkeypatch.setattr("os.getuid", lambda: 12345)
    theirs = tmp_path / "inference-energy-harness-12345"
    theirs.mkdir(mode=0o700)  # and its owner is another
    assert cache_directory() is None
    theirs.rmdir()
    theirs.symlink_to(base)
    assert cache_directory() is None


@pytest.mark.parametrize(
    "name", ["duration_tick_s", "duration_power_period_s", "duration_power_window_s", "duration_counter_window_s"]
)
def test_a_card_with_a_duration_of_nothing_is_no_card(tmp_path: Path, name: str) -> None:
    save_card(CARD.model_copy(update={name: 0.0}), tmp_path)
    assert load_card(GPU, "570", tmp_path) is None


def test_a_session_completes_the_cached_card_and_tells_each_doubt_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    part_time = sensed(queries(12, 1), counter_window_s=0.025)
    cut = len(part_time.channel) // 2
    portions = (portion(part_time, 0, cut), portion(part_time, cut, len(part_time.channel)))
    new = learn({GPU: CARD}, CHANNELS, iter(portions))
    assert [finding.code for finding in new] == [FindingCode.PART_TIME_COUNTER]
    known = load_card(GPU, "570")
    assert known is not None
    assert known.integrates is False
    # The manifest of the next session has it already.
    assert [finding.code for finding in doubts_of({GPU: known}, [GPU])] == [FindingCode.PART_TIME_COUNTER]
    assert learn({GPU: known}, CHANNELS, [part_time]) == ()
    # Of a board that holds no part of the model something is learnt, and nothing told.
    assert learn({GPU: CARD}, CHANNELS, [part_time], devices=()) == ()
    assert doubts_of({GPU: known}, ()) == []
    assert learn({}, CHANNELS, [part_time]) == ()


# --------------------------------------------------------------------------------------------------------- words


def test_what_is_unknown_is_said_to_be_unknown() -> None:
    account = account_of(CARD, card_findings(CARD))
    said = {line.name: line for line in account.lines}
    assert said["counter"].what.startswith("moves every 100.0 ms")
    assert said["counter sees all of the time"].word is Word.UNKNOWN
    assert "unknown until seen under load" in said["power averages over"].what
    assert "aliased" in account.verdict


def test_every_verdict_has_its_words() -> None:
    seen = learnt(sensed(queries(12, 1)))
    assert "misses nothing" in account_of(seen, card_findings(seen)).verdict
    part_time = learnt(sensed(queries(12, 1), counter_window_s=0.025))
    account = account_of(part_time, card_findings(part_time))
    assert "only a part of each tick" in account.verdict
    assert any("about the last" in line.what for line in account.lines)
    no_counter = CARD.model_copy(update={"counter": False, "duration_tick_s": None})
    assert "added-up power" in account_of(no_counter, ()).verdict
    mute = no_counter.model_copy(update={"instant_power": False, "duration_power_call_s": None, "power_idle_w": None})
    assert "cannot be measured" in account_of(mute, ()).verdict
