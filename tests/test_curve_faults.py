"""What a curve makes of a counter that fails, of a board that throttles, and of a sensor that sees only a part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.attribution import exclusive
from harness.meter.curve.builder import CurveBuilder
from harness.meter.curve.curve import Curve
from harness.meter.meter import rebuilt
from harness.records import Channel, Edge, Finding, FindingCode, Quantity, Segment, SensorEvent
from tests.synthetic_power import COUNTER, POWER, Power, counter, joined, marks, power_readings, tick_times

TEMPERATURE = COUNTER.model_copy(update={"quantity": Quantity.TEMPERATURE_C})
CLOCKS = COUNTER.model_copy(update={"quantity": Quantity.CLOCK_EVENTS})
EVENTS = COUNTER.model_copy(update={"quantity": Quantity.SENSOR_EVENT})
CHANNELS = (COUNTER, POWER.model_copy(update={"device": COUNTER.device}), TEMPERATURE, CLOCKS, EVENTS)
LOAD = Power.steps(70.0, (4.0, 6.0, 400.0), (9.0, 9.5, 400.0))
READINGS = power_readings(LOAD, np.arange(0.05, 15.0, 0.02).tolist(), 0.02, channel=1)


def rows(channel: int, *triples: tuple[float, float, float]) -> Segment:
    before, after, values = (np.array(column, dtype=float) for column in zip(*triples, strict=True))
    return Segment(
        channel=np.full(len(before), channel, dtype=np.int64), time_before_s=before, time_after_s=after, value=values
    )


def in_order(*segments: Segment) -> Segment:
    """As the sampler writes them: marks first, then everything by the time at which it became known."""
    whole = joined(*segments)
    order = np.lexsort((whole.time_after_s, whole.channel >= 0))
    return Segment(
        channel=whole.channel[order],
        time_before_s=whole.time_before_s[order],
        time_after_s=whole.time_after_s[order],
        value=whole.value[order],
    )


def curve_of(*segments: Segment, channels: Sequence[Channel] = CHANNELS) -> Curve:
    (curve,) = rebuilt(channels, [in_order(*segments)])
    return curve


def without(segment: Segment, start_s: float, end_s: float) -> Segment:
    """The same without the rows known within a stretch."""
    kept = (segment.time_after_s < start_s) | (segment.time_after_s >= end_s)
    return Segment(
        channel=segment.channel[kept],
        time_before_s=segment.time_before_s[kept],
        time_after_s=segment.time_after_s[kept],
        value=segment.value[kept],
    )


def codes(findings: Sequence[Finding]) -> set[FindingCode]:
    return {finding.code for finding in findings}


def restarted(segment: Segment, at_s: float) -> Segment:
    """A counter that begins anew at 0 J."""
    values = segment.value.copy()
    after = segment.time_after_s >= at_s
    values[after] -= values[after][0] - 3.0
    return Segment(
        channel=segment.channel,
        time_before_s=segment.time_before_s,
        time_after_s=segment.time_after_s,
        value=values,
    )


def test_a_counter_that_begins_anew_is_bridged_by_power_and_says_so() -> None:
    ticks = restarted(counter(LOAD, tick_times(0.0, 15.0)), 5.0)
    curve = curve_of(marks(4.0, 6.0, 9.0, 9.5), ticks, READINGS)
    reading = exclusive.read(curve, 4.0, 6.0)
    assert {FindingCode.COUNTER_RESET, FindingCode.POWER_FILLED} <= codes(reading.findings)
    assert reading.energy_gross_j is not None
    assert reading.energy_gross_half_width_j is not None
    assert reading.energy_gross_j == pytest.approx(800.0, rel=0.01)
    assert abs(reading.energy_gross_j - 800.0) <= reading.energy_gross_half_width_j
    later = exclusive.read(curve, 9.0, 9.5)
    assert FindingCode.COUNTER_RESET not in codes(later.findings)
    assert later.energy_gross_j == pytest.approx(200.0, rel=0.01)


def test_a_counter_that_begins_anew_without_power_readings_leaves_a_hole() -> None:
    ticks = restarted(counter(LOAD, tick_times(0.0, 15.0)), 5.0)
    curve = curve_of(marks(4.0, 6.0, 9.0, 9.5), ticks, channels=(COUNTER,))
    reading = exclusive.read(curve, 4.0, 6.0)
    assert reading.energy_gross_j is None
    assert reading.energy_gross_half_width_j is None
    assert FindingCode.COUNTER_RESET in codes(reading.findings)
    assert exclusive.read(curve, 9.0, 9.5).energy_gross_j == pytest.approx(200.0, rel=0.01)


@pytest.mark.parametrize(("from_s", "until_s"), [(3.2, 13.0), (3.2, 99.0), (0.0, 99.0)])
def test_a_frozen_counter_is_replaced_by_power_while_it_stands_still(from_s: float, until_s: float) -> None:
    """It shows nothing new for ten seconds, or to the end, or it never moved at all."""
    ticks = without(counter(LOAD, tick_times(0.0, 15.0)), from_s, until_s)
    curve = curve_of(marks(4.0, 6.0, 1.0, 2.0), ticks, READINGS)
    assert curve.time_last_s is not None
    assert curve.time_last_s > 14.8
    for start_s, end_s, truth_j in ((4.0, 6.0, 800.0), (4.5, 4.7, 80.0), (8.9, 9.6, 221.0)):
        reading = exclusive.read(curve, start_s, end_s)
        assert {FindingCode.COUNTER_FROZEN, FindingCode.POWER_FILLED} <= codes(reading.findings)
        assert reading.energy_gross_j is not None
        assert reading.energy_gross_half_width_j is not None
        assert reading.energy_gross_j == pytest.approx(truth_j, abs=7.0)  # a reading's period at either end
        assert abs(reading.energy_gross_j - truth_j) <= reading.energy_gross_half_width_j + 1e-9
        assert reading.energy_gross_half_width_j < 0.25 * truth_j
    assert (codes(exclusive.read(curve, 1.0, 2.0).findings) == set()) is (from_s > 0.0)


def test_an_average_over_a_second_does_not_stand_in_for_a_counter() -> None:
    slow = power_readings(LOAD, np.arange(1.05, 15.0, 0.1).tolist(), 1.0, channel=1)
    channels = (COUNTER, POWER.model_copy(update={"device": COUNTER.device, "duration_window_s": 1.0}))
    ticks = without(counter(LOAD, tick_times(0.0, 15.0)), 3.2, 99.0)
    reading = exclusive.read(curve_of(marks(4.0, 6.0), ticks, slow, channels=channels), 4.0, 6.0)
    assert reading.energy_gross_j is None
    assert FindingCode.COUNTER_FROZEN in codes(reading.findings)


@pytest.mark.parametrize("length_s", [3.1, 5.0, 10.0])
def test_what_an_average_over_a_second_leaks_at_the_ends_is_in_the_half_width(length_s: float) -> None:
    load = Power.steps(70.0, (5.0, 5.0 + length_s, 400.0))
    slow = power_readings(load, np.arange(1.05, 22.0, 0.1).tolist(), 1.0, channel=0)
    channel = POWER.model_copy(update={"duration_window_s": 1.0})
    reading = exclusive.read(curve_of(marks(5.0, 5.0 + length_s), slow, channels=(channel,)), 5.0, 5.0 + length_s)
    assert reading.energy_gross_j is not None
    assert reading.energy_gross_half_width_j is not None
    error_j = abs(reading.energy_gross_j - 400.0 * length_s)
    assert error_j <= reading.energy_gross_half_width_j
    assert reading.energy_gross_half_width_j < 3 * max(error_j, 40.0)


def test_looking_at_a_long_curve_copies_nothing() -> None:
    ticks = counter(LOAD, tick_times(0.0, 2_000.0))
    builder = CurveBuilder(COUNTER)
    builder.extend(ticks)
    early, again = builder.curve(), builder.curve()
    assert len(early.time_s) > 10_000
    assert np.shares_memory(early.time_s, again.time_s)
    assert np.shares_memory(early.energy_total_j, again.energy_total_j)


def test_a_counter_that_jumps_by_more_than_a_board_can_draw_is_not_believed() -> None:
    ticks = counter(LOAD, tick_times(0.0, 15.0))
    values = ticks.value.copy()
    values[ticks.time_after_s >= 5.0] += 5_000.0
    jumped = Segment(
        channel=ticks.channel, time_before_s=ticks.time_before_s, time_after_s=ticks.time_after_s, value=values
    )
    reading = exclusive.read(curve_of(marks(4.0, 6.0), jumped, READINGS), 4.0, 6.0)
    assert FindingCode.COUNTER_JUMPED in codes(reading.findings)
    assert reading.energy_gross_j == pytest.approx(800.0, rel=0.01)


def test_what_happened_to_the_board_is_said_of_the_intervals_that_it_happened_in() -> None:
    clocks = rows(3, *((time_s, time_s, 4.0 if 4.1 < time_s < 5.1 else 0.0) for time_s in np.arange(0.2, 15.0, 0.2)))
    hot = rows(3, (9.25, 9.25, float(0x40)))
    zeros = rows(4, (9.1, 9.3, float(SensorEvent.POWER_ZERO)), (1.0, 1.1, float(SensorEvent.REINITIALIZED)))
    curve = curve_of(counter(LOAD, tick_times(0.0, 15.0)), READINGS, clocks, hot, zeros)
    assert codes(curve.findings(4.0, 6.0)) == {FindingCode.POWER_CAPPED}
    assert codes(curve.findings(9.0, 9.5)) == {FindingCode.THROTTLED, FindingCode.POWER_ZERO}
    assert codes(curve.findings(6.5, 8.5)) == set()
    assert codes(curve.findings(0.9, 1.2)) == {FindingCode.SENSOR_REINITIALIZED}


@pytest.mark.parametrize(("hottest_c", "found"), [(68.0, True), (44.0, False)])
def test_a_board_that_warms_up_from_its_first_work_to_its_last_is_said_of_the_session(
    hottest_c: float, found: bool
) -> None:
    """What it was before is no drift: an idle board is cold."""
    warming = rows(2, (1.0, 1.0, 20.0), (4.1, 4.1, 40.0), (5.0, 5.0, hottest_c), (9.2, 9.2, 45.0))
    edges = rows(-1, (4.0, 4.0, Edge.WORK_BEGINS), (6.0, 6.0, Edge.WORK_ENDS), (9.5, 9.5, Edge.WORK_ENDS))
    curve = curve_of(edges, counter(LOAD, tick_times(0.0, 15.0)), READINGS, warming)
    assert (FindingCode.TEMPERATURE_DRIFT in codes(curve.session_findings)) is found


def test_a_part_time_counter_says_how_much_it_may_have_missed() -> None:
    """It looks at the last 25 of every 100 ms; 330 W for 0.2 s begin and end where it may not look."""
    part_time = COUNTER.model_copy(update={"duration_window_s": 0.025})
    inside, errors, blind = 0, [], []
    for seed, phase_s in enumerate(np.random.default_rng(2).uniform(0.0, 0.1, 60).tolist()):
        start_s, end_s = 2.0 + phase_s, 2.2 + phase_s
        load = Power.steps(70.0, (start_s, end_s, 400.0))
        ticks_s = tick_times(0.0, 4.5)
        caught = counter(load, ticks_s, seed=seed)
        seen_j = np.cumsum([0.1 * load.mean_w(time_s - 0.025, time_s) for time_s in ticks_s])
        ticks = Segment(
            channel=caught.channel,
            time_before_s=caught.time_before_s,
            time_after_s=caught.time_after_s,
            value=np.floor(seen_j * 1000) / 1000,
        )
        edges = rows(-1, (start_s, start_s, Edge.WORK_BEGINS), (end_s, end_s, Edge.WORK_ENDS))
        curve = curve_of(edges, ticks, channels=(part_time,))
        reading = exclusive.read(curve, start_s, end_s)
        assert reading.energy_gross_j is not None
        assert reading.energy_gross_half_width_j is not None
        assert reading.energy_blind_half_width_j is not None
        assert reading.energy_blind_half_width_j <= reading.energy_gross_half_width_j
        errors.append(abs(reading.energy_gross_j - 80.0))
        blind.append(reading.energy_blind_half_width_j)
        inside += errors[-1] <= reading.energy_gross_half_width_j
    assert np.mean(errors) > 2.0  # so the half-width is needed
    assert inside >= 54
    assert np.mean(blind) > np.mean(errors)
    whole = exclusive.read(curve_of(marks(2.0, 3.0), counter(LOAD, tick_times(0.0, 5.0))), 2.0, 3.0)
    assert whole.energy_blind_half_width_j is None


def test_readings_of_power_place_a_step_that_no_edge_announces() -> None:
    """Two steps within 120 ms: the ticks alone leave open where they are, the readings beside them tell."""
    errors = {}
    for name, channels in (("ticks alone", (COUNTER,)), ("with power", CHANNELS)):
        found = []
        for seed, moved_s in enumerate(np.linspace(0.0, 0.095, 20).tolist()):
            load = Power.steps(90.0, (3.0 + moved_s, 3.12 + moved_s, 400.0))
            power = power_readings(load, np.arange(0.113, 6.0, 0.1).tolist(), 0.025, channel=1)
            segments = [marks(3.05, 3.5), counter(load, tick_times(0.0, 6.0), seed=seed)]
            curve = curve_of(*segments, *([power] if len(channels) > 1 else []), channels=channels)
            found.append(abs(curve.energy_j(3.05, 3.5) - load.energy_j(3.05, 3.5)))
        errors[name] = float(np.mean(found))
    assert errors["with power"] < 0.75 * errors["ticks alone"]


def test_one_tick_alone_is_a_straight_line() -> None:
    curve = curve_of(marks(0.08), rows(0, (0.05, 0.05, 1.0), (0.15, 0.15, 21.0)), channels=(COUNTER,))
    assert curve.energy_j(0.05, 0.15) == pytest.approx(20.0)
    assert curve.energy_j(0.05, 0.10) == pytest.approx(10.0, abs=3.0)
    half_width_j = curve.half_width_j(0.05, 0.08)
    assert half_width_j is not None
    assert math.isfinite(half_width_j)


def test_a_marked_tick_beside_a_long_silence_and_a_short_tick_is_shaped() -> None:
    """The sampler was away for two minutes, and a tick came half a millisecond after another."""
    times_s = [0.05, 0.15, 0.25, 0.35, 120.0, 120.0005, 120.1, 120.2, 120.3, 120.4]
    ticks = rows(0, *((time_s, time_s, 100.0 * time_s) for time_s in times_s))
    curve = curve_of(rows(-1, (0.3, 0.3, 1), (120.0002, 120.0002, -1), (120.15, 120.15, 1)), ticks, channels=(COUNTER,))
    assert curve.energy_j(0.3, 120.15) == pytest.approx(100.0 * (120.15 - 0.3), rel=1e-3)
    half_width_j = curve.half_width_j(0.3, 120.15)
    assert half_width_j is not None
    assert math.isfinite(half_width_j)


# ------------------------------------------------------------------------------------------ late polls


def caught_late(late_s: float, *, n: int = 60, seed: int = 3) -> tuple[Segment, list[float]]:
    """A counter at a steady 400 W whose 40th change was caught `late_s` too late, and the true instants of all."""
    rng = np.random.default_rng(seed)
    times_s = [0.0371 + 0.1 * index + rng.normal(0.0, 0.0002) for index in range(n)]
    triples = []
    for index, time_s in enumerate(times_s):
        after_s = time_s + (late_s if index == 40 else 0.0003)
        triples.append((time_s - 0.0002, after_s, 40.0 * index))
    return rows(0, *triples), times_s


@pytest.mark.parametrize("offset_s", [-0.012, -0.005, 0.0, 0.004])
def test_a_change_caught_late_costs_a_query_beside_it_nothing(offset_s: float) -> None:
    """Without the rhythm the change is put into the middle of 16 ms, and a query of 10 ms there is off by half."""
    changes, times_s = caught_late(0.016)
    start_s, end_s = times_s[40] + offset_s, times_s[40] + offset_s + 0.010
    curve = curve_of(changes, marks(start_s, end_s), channels=CHANNELS[:1])
    truth_j = 400.0 * (end_s - start_s)
    assert curve.energy_j(start_s, end_s) == pytest.approx(truth_j, abs=0.5)
    assert abs(curve.energy_j(start_s, end_s) - truth_j) <= 1.5 * (curve.half_width_j(start_s, end_s) or 0.0)


@pytest.mark.parametrize("offset_s", [-0.012, -0.005, 0.0, 0.004])
def test_a_counter_without_a_rhythm_says_how_little_is_known_there(offset_s: float) -> None:
    rng = np.random.default_rng(5)
    times_s = np.cumsum(rng.uniform(0.06, 0.14, 60)).tolist()
    triples = [
        (time_s - 0.0002, time_s + (0.016 if index == 40 else 0.0003), 400.0 * time_s)
        for index, time_s in enumerate(times_s)
    ]
    start_s, end_s = times_s[40] + offset_s, times_s[40] + offset_s + 0.010
    curve = curve_of(rows(0, *triples), marks(start_s, end_s), channels=CHANNELS[:1])
    assert abs(curve.energy_j(start_s, end_s) - 4.0) <= 1.5 * (curve.half_width_j(start_s, end_s) or 0.0)


@pytest.mark.parametrize("until_s", [2.15, 2.20, 2.225, 2.25, 2.30])
def test_a_hole_that_hides_two_changes_ends_at_the_second(until_s: float) -> None:
    """Polls are missing from 2.05 s on; the next shows the last change before it."""
    changes_s = [0.0371 + 0.1 * index for index in range(40)]
    seen = [time_s for time_s in changes_s if time_s < 2.05]
    last = [time_s for time_s in changes_s if time_s < until_s][-1]
    triples = [(time_s - 0.0002, time_s + 0.0003, 400.0 * time_s) for time_s in seen]
    triples.append((2.05, until_s, 400.0 * last))
    triples += [(time_s - 0.0002, time_s + 0.0003, 400.0 * time_s) for time_s in changes_s if time_s > until_s]
    curve = curve_of(rows(0, *triples), channels=CHANNELS[:1])
    for start_s, end_s in ((2.00, 2.14), (2.14, 2.34), (1.90, 2.20)):
        error_j = abs(curve.energy_j(start_s, end_s) - 400.0 * (end_s - start_s))
        assert error_j <= 1.5 * (curve.half_width_j(start_s, end_s) or 0.0)


def test_the_rhythm_is_not_believed_against_a_bracket() -> None:
    """A counter that skipped its beat: the change is where it was seen, however late that is."""
    triples = [(0.0369 + 0.1 * index, 0.0374 + 0.1 * index, 40.0 * index) for index in range(40)]
    triples += [
        (4.0869 + 0.1 * index, 4.0869 + (0.02 if index == 0 else 0.0005) + 0.1 * index, 1600.0 + 40.0 * index)
        for index in range(20)
    ]
    curve = curve_of(rows(0, *triples), channels=CHANNELS[:1])
    assert np.any(np.abs(curve.time_s - 4.0969) < 1e-9)
