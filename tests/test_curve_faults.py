"""What a curve makes of a counter that fails, of a board that throttles, and of a sensor that sees only a part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.attribution import exclusive
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


@pytest.mark.parametrize("resumes", [True, False])
def test_a_frozen_counter_is_replaced_by_power_while_it_stands_still(resumes: bool) -> None:
    """From 3.2 s on it shows nothing new; at 13 s it goes on, or it never does."""
    ticks = without(counter(LOAD, tick_times(0.0, 15.0)), 3.2, 13.0 if resumes else 99.0)
    curve = curve_of(marks(4.0, 6.0, 1.0, 2.0), ticks, READINGS)
    assert curve.time_last_s is not None
    assert curve.time_last_s > 8.0
    reading = exclusive.read(curve, 4.0, 6.0)
    assert {FindingCode.COUNTER_FROZEN, FindingCode.POWER_FILLED} <= codes(reading.findings)
    assert reading.energy_gross_j is not None
    assert reading.energy_gross_half_width_j is not None
    # Power alone: within a reading's period at either end of the work.
    assert abs(reading.energy_gross_j - 800.0) <= max(reading.energy_gross_half_width_j, 14.0)
    assert codes(exclusive.read(curve, 1.0, 2.0).findings) == set()


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
def test_a_board_that_warms_up_by_more_than_ten_degrees_is_said_of_the_session(hottest_c: float, found: bool) -> None:
    warming = rows(2, (1.0, 1.0, 40.0), (5.0, 5.0, hottest_c), (9.0, 9.0, 45.0))
    curve = curve_of(counter(LOAD, tick_times(0.0, 15.0)), READINGS, warming)
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
