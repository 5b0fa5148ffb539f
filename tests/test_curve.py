"""The energy curve: laws over random readings and edges, and cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.attribution import exclusive
from harness.meter.curve.builder import CurveBuilder
from harness.meter.curve.curve import Curve
from harness.meter.curve.unfollowed import unfollowed_j
from harness.meter.meter import rebuilt, with_marks
from harness.records import MARK_CHANNEL, Boundary, Channel, Edge, FindingCode, Method, Quantity, Segment
from tests.synthetic_power import (
    AVERAGED,
    COUNTER,
    ESTIMATE,
    POWER,
    Power,
    counter,
    joined,
    marks,
    portion,
    power_readings,
    tick_times,
)

GRID_S = 1 / 1024
"""Instants on a binary grid: shifting and doubling them is exact, so that a law is not blurred by rounding."""


def curve_of(channel: Channel, *segments: Segment) -> Curve:
    builder = CurveBuilder(channel)
    for segment in segments:
        builder.extend(segment)
    builder.close()
    return builder.curve()


def readings(times: list[int], brackets: list[int], values: list[float]) -> Segment:
    """One channel's readings, times and brackets in steps of the grid."""
    before_s = np.array(times) * GRID_S
    return Segment(
        channel=np.zeros(len(times), dtype=np.int64),
        time_before_s=before_s,
        time_after_s=before_s + np.array(brackets) * GRID_S / 16,
        value=np.array(values, dtype=np.float64),
    )


class Stream:
    """Random readings of one channel and random edges."""

    def __init__(self, channel: Channel, times: list[int], brackets: list[int], powers: list[float], edges: list[int]):
        self.channel = channel
        self.times, self.brackets, self.edges = times, brackets, edges
        self.powers = powers
        """Watts before each reading; for a channel of power, its value."""

    def segment(self, *, shift: int = 0, factor: float = 1.0, more: tuple[int, float] | None = None) -> Segment:
        """The readings, moved by `shift` grid steps, multiplied, and with watts added to one of them."""
        powers = [factor * power_w for power_w in self.powers]
        if more is not None:
            powers[more[0]] += more[1]
        # A reading of power that does not change is the same update read again.
        values = [power_w + factor * index / 1024 for index, power_w in enumerate(powers)]
        if self.channel.quantity is Quantity.ENERGY_J:
            lengths_s = np.diff(self.times, prepend=self.times[0]) * GRID_S
            values = (1024.0 + np.cumsum(np.array(powers) * lengths_s)).tolist()
        shifted = [time + shift for time in self.times]
        return joined(
            marks(*((edge + shift) * GRID_S for edge in self.edges)), readings(shifted, self.brackets, values)
        )

    def __repr__(self) -> str:
        return f"Stream({self.channel.quantity}, {self.times}, {self.brackets}, {self.powers}, {self.edges})"


@st.composite
def streams(draw: st.DrawFn, channel: Channel | None = None) -> Stream:
    chosen = channel or draw(st.sampled_from([COUNTER, POWER, ESTIMATE]))
    gaps = draw(st.lists(st.integers(2, 200), min_size=2, max_size=24))
    times = np.cumsum([1000, *gaps]).tolist()
    n_readings = len(times)
    brackets = draw(st.lists(st.integers(0, 16), min_size=n_readings, max_size=n_readings))
    levels = st.one_of(st.sampled_from([0.0, 64.0, 320.0, 700.0]), st.integers(0, 700).map(float))
    powers = draw(st.lists(levels, min_size=n_readings, max_size=n_readings))
    edges = draw(st.lists(st.integers(times[0] - 50, times[-1] + 50), max_size=30))
    return Stream(chosen, times, brackets, powers, sorted(edges))


def bounds(curve: Curve) -> tuple[float, float]:
    assert curve.time_first_s is not None
    assert curve.time_last_s is not None
    return curve.time_first_s, curve.time_last_s


fractions = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8).map(sorted)


@given(stream=streams(), places=fractions)
def test_intervals_add_up(stream: Stream, places: list[float]) -> None:
    curve = curve_of(stream.channel, stream.segment())
    first_s, last_s = bounds(curve)
    cuts = [first_s, *(first_s + place * (last_s - first_s) for place in places), last_s]
    parts = [curve.energy_j(start_s, end_s) for start_s, end_s in pairwise(cuts)]
    assert all(part >= -1e-9 for part in parts)
    assert sum(parts) == pytest.approx(curve.energy_j(first_s, last_s), rel=1e-12, abs=1e-9)


@example(stream=Stream(COUNTER, list(range(1000, 1015, 2)), [0, 0, 0, 0, 0, 1, 0, 1], [0.0] * 8, []))
@given(stream=streams(COUNTER))
def test_a_counter_curve_is_exact_at_every_tick(stream: Stream) -> None:
    segment = stream.segment()
    curve = curve_of(COUNTER, segment)
    is_reading = segment.channel == 0
    before_s, after_s = segment.time_before_s[is_reading], segment.time_after_s[is_reading]
    values_j = segment.value[is_reading]
    first_s, last_s = bounds(curve)
    # A tick lies somewhere between the two polls that bracket it; one that was polled late need not lie in the middle.
    assert before_s[0] <= first_s <= after_s[0]
    assert before_s[-1] <= last_s <= after_s[-1]
    for earliest_s, latest_s, value_j in zip(before_s.tolist(), after_s.tolist(), values_j.tolist(), strict=True):
        least_j = curve.energy_j(first_s, max(first_s, earliest_s))
        most_j = curve.energy_j(first_s, min(last_s, latest_s))
        slack_j = 1e-9 + 1e-12 * value_j
        assert least_j - slack_j <= value_j - values_j[0] <= most_j + slack_j


@given(stream=streams())
def test_energy_never_falls(stream: Stream) -> None:
    curve = curve_of(stream.channel, stream.segment())
    assert np.all(np.diff(curve.time_s) >= 0.0)
    assert np.all(np.diff(curve.energy_total_j) >= -1e-9)


@given(stream=streams(), places=fractions)
def test_twice_the_power_is_twice_the_energy(stream: Stream, places: list[float]) -> None:
    once, twice = curve_of(stream.channel, stream.segment()), curve_of(stream.channel, stream.segment(factor=2.0))
    first_s, last_s = bounds(once)
    for place in places:
        at_s = first_s + place * (last_s - first_s)
        assert twice.energy_j(first_s, at_s) == pytest.approx(2 * once.energy_j(first_s, at_s), rel=1e-6, abs=1e-6)


@given(stream=streams(), places=fractions, shift=st.integers(-1000, 10**6))
def test_a_time_shift_changes_nothing(stream: Stream, places: list[float], shift: int) -> None:
    curve, moved = (curve_of(stream.channel, stream.segment(shift=by)) for by in (0, shift))
    first_s, last_s = bounds(curve)
    for place in places:
        at_s = first_s + place * (last_s - first_s)
        shifted_j = moved.energy_j(first_s + shift * GRID_S, at_s + shift * GRID_S)
        assert shifted_j == pytest.approx(curve.energy_j(first_s, at_s), rel=1e-6, abs=1e-6)


@given(stream=streams(), which=st.integers(0, 10**6), more_w=st.floats(0.5, 500.0))
def test_more_at_any_reading_is_never_less_up_to_any_later_anchor(stream: Stream, which: int, more_w: float) -> None:
    index = which % len(stream.times)
    curve, raised = (curve_of(stream.channel, stream.segment(more=more)) for more in (None, (index, more_w)))
    first_s, last_s = bounds(curve)
    anchors_s = [time_s for time_s in np.array(stream.times) * GRID_S if first_s <= time_s <= last_s]
    for anchor_s in anchors_s:
        # An anchor is a reading's middle; half a bracket later is the latest that it can be.
        at_s = min(anchor_s + GRID_S / 2, last_s) if stream.channel.quantity is Quantity.ENERGY_J else anchor_s
        if stream.channel.quantity is Quantity.ENERGY_J:
            at_s = float(curve.time_s[np.searchsorted(curve.time_s, at_s, side="right") - 1])
            if at_s not in set(curve.sample_time_s.tolist()):
                continue
        assert raised.energy_j(first_s, at_s) >= curve.energy_j(first_s, at_s) - 1e-9
    if stream.channel.quantity is Quantity.ENERGY_J and index:
        assert raised.energy_j(first_s, last_s) > curve.energy_j(first_s, last_s)


@settings(max_examples=200)
@given(stream=streams(), data=st.data())
def test_portions_do_not_matter_bit_for_bit(stream: Stream, data: st.DataObject) -> None:
    """Readings and edges in the order in which they become known, cut anywhere, empty portions included."""
    segment = stream.segment()
    # An edge is marked before the reading that ends its tick is fetched.
    known = np.argsort(segment.time_before_s, kind="stable")
    ordered = Segment(
        channel=segment.channel[known],
        time_before_s=segment.time_before_s[known],
        time_after_s=segment.time_after_s[known],
        value=segment.value[known],
    )
    n_rows = len(known)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_rows), max_size=12)))
    chunks = [portion(ordered, start, end) for start, end in pairwise([0, *cuts, n_rows])]
    whole, chunked = curve_of(stream.channel, segment), curve_of(stream.channel, *chunks)
    for name in ("time_s", "energy_total_j", "half_width_at_j", "variance_total_j2", "sample_time_s"):
        assert getattr(whole, name).tobytes() == getattr(chunked, name).tobytes(), name


def test_edges_in_many_ticks_on_end_fed_reading_by_reading() -> None:
    edges = [1.0 + 0.07 * index for index in range(80)]  # longer than a cluster may get
    power = Power.steps(70.0, *((a, b, 400.0) for a, b in zip(edges[::2], edges[1::2], strict=True)))
    ticks = counter(power, tick_times(0.0, 8.0))
    whole = curve_of(COUNTER, marks(*edges), ticks)
    chunked = curve_of(COUNTER, marks(*edges), *(portion(ticks, row, row + 1) for row in range(len(ticks.channel))))
    assert whole.time_s.tobytes() == chunked.time_s.tobytes()
    assert whole.energy_total_j.tobytes() == chunked.energy_total_j.tobytes()
    assert whole.half_width_at_j.tobytes() == chunked.half_width_at_j.tobytes()


@given(stream=streams(), data=st.data())
def test_what_is_final_stays(stream: Stream, data: st.DataObject) -> None:
    segment = stream.segment()
    cut = data.draw(st.integers(0, len(segment.channel)))
    builder = CurveBuilder(stream.channel)
    builder.extend(portion(segment, 0, cut))
    early, until_s = builder.curve(), builder.final_until_s
    builder.extend(portion(segment, cut, len(segment.channel)))
    builder.close()
    n_early = len(early.time_s)
    assert n_early == 0 or early.time_s[-1] == until_s
    assert builder.curve().energy_total_j[:n_early].tobytes() == early.energy_total_j.tobytes()


# ---------------------------------------------------------------------------------------- exact cases


def test_constant_power_is_exact_anywhere() -> None:
    curve = curve_of(COUNTER, marks(2.01, 2.02, 3.5), counter(Power.constant(200.0), tick_times(0.0, 6.0)))
    for start_s, end_s in ((1.0, 2.0), (1.013, 1.0131), (2.015, 3.77), (0.2, 5.9)):
        assert curve.energy_j(start_s, end_s) == pytest.approx(200.0 * (end_s - start_s), abs=0.3)
        half_width_j = curve.half_width_j(start_s, end_s)
        assert half_width_j is not None
        assert 0.0 < half_width_j < 0.6


def test_a_ramp_is_exact_at_the_ticks_and_near_between_them() -> None:
    power = Power(((0.0, 0.0), (10.0, 1000.0)))  # 100 W more every second
    ticks = tick_times(0.0, 10.0)
    curve = curve_of(COUNTER, counter(power, ticks, bracket_s=0.0, resolution_j=0.0))
    for tick_s in ticks[1:]:
        assert curve.energy_j(ticks[0], tick_s) == pytest.approx(50.0 * (tick_s**2 - ticks[0] ** 2), abs=1e-6)
    # Within a tick the straight line is off by at most slope * period^2 / 8.
    middles = [(start_s + end_s) / 2 for start_s, end_s in pairwise(ticks)]
    for middle_s in middles:
        truth_j = 50.0 * (middle_s**2 - ticks[0] ** 2)
        assert abs(curve.energy_j(ticks[0], middle_s) - truth_j) <= 100.0 * 0.1**2 / 8 + 1e-6


@pytest.mark.parametrize(("late_s", "limit"), [(0.0, 0.010), (0.005, 0.015)])
def test_an_isolated_short_query_at_any_phase_of_the_counter(late_s: float, limit: float) -> None:
    """0.2 s at 400 W over 70 W idle: two ticks hold all of it, and the edges say where. Its work may begin late."""
    errors, inside = [], 0
    n_phases = 60
    for seed, phase_s in enumerate(np.random.default_rng(1).uniform(0.0, 0.1, n_phases).tolist()):
        start_s, end_s = 2.0 + phase_s, 2.2 + phase_s
        power = Power.steps(70.0, (start_s + late_s, end_s, 400.0))
        curve = curve_of(COUNTER, marks(start_s, end_s), counter(power, tick_times(0.0, 4.5), seed=seed))
        truth_j, found_j = power.energy_j(start_s, end_s), curve.energy_j(start_s, end_s)
        half_width_j = curve.half_width_j(start_s, end_s)
        assert half_width_j is not None
        errors.append(abs(found_j - truth_j) / truth_j)
        inside += abs(found_j - truth_j) <= half_width_j
        assert half_width_j < 0.1 * truth_j  # an interval that says something
    assert np.mean(errors) < limit
    assert inside >= 0.95 * n_phases


def test_a_tick_is_as_certain_as_the_polls_around_it_are_close() -> None:
    ticks = tick_times(0.0, 4.0)
    curve = curve_of(COUNTER, counter(Power.constant(200.0), ticks, bracket_s=0.020))
    caught_s = curve.sample_time_s.tolist()
    # Half of 20 ms at 200 W is 2 J, at both ends.
    assert curve.half_width_j(caught_s[10], caught_s[20]) == pytest.approx(np.hypot(2.0, 2.0), rel=0.2)


def test_two_polls_far_apart_widen_the_interval_and_nothing_else() -> None:
    power = Power.steps(70.0, (2.0, 2.5, 400.0))
    widths = []
    for bracket_s in (0.001, 0.020):
        curve = curve_of(COUNTER, marks(2.0, 2.5), counter(power, tick_times(0.0, 4.0), bracket_s=bracket_s))
        half_width_j = curve.half_width_j(2.0, 2.5)
        assert half_width_j is not None
        assert abs(curve.energy_j(2.0, 2.5) - 200.0) <= half_width_j
        widths.append(half_width_j)
    assert widths[1] > 2 * widths[0]


def test_instantaneous_power_of_a_constant_and_of_a_ramp() -> None:
    times = np.arange(1.0, 6.0, 0.02).tolist()
    flat = curve_of(POWER, power_readings(Power.constant(300.0), times, 0.025))
    assert flat.energy_j(1.5, 4.25) == pytest.approx(300.0 * 2.75, rel=1e-9)
    ramp = Power(((0.0, 0.0), (10.0, 1000.0)))
    curve = curve_of(POWER, power_readings(ramp, times, 0.025))
    # A reading is the mean of its window, so it belongs half a window earlier: without that the ramp is 1.25 W off.
    assert curve.energy_j(1.5, 4.5) == pytest.approx(ramp.energy_j(1.5, 4.5), rel=2e-4)
    half_width_j = curve.half_width_j(1.5, 4.5)
    assert half_width_j is not None
    assert abs(curve.energy_j(1.5, 4.5) - ramp.energy_j(1.5, 4.5)) <= half_width_j


def test_error_of_integrated_power_grows_with_length_and_that_of_a_counter_does_not() -> None:
    power = Power(tuple((index * 0.25, 100.0 + 300.0 * (index % 2)) for index in range(400)))
    times = np.arange(1.0, 60.0, 0.02).tolist()
    integrated = curve_of(POWER, power_readings(power, times, 0.025))
    counted = curve_of(COUNTER, counter(power, tick_times(0.0, 60.0)))
    widths = {
        (name, end_s): curve.half_width_j(2.0, end_s) or 0.0
        for name, curve in (("power", integrated), ("counter", counted))
        for end_s in (4.0, 54.0)
    }
    assert widths["power", 54.0] > 3 * widths["power", 4.0] > 0.0
    assert widths["counter", 54.0] < 3 * widths["counter", 4.0]


def test_an_estimate_is_power_times_time_since_the_one_before_and_has_no_interval() -> None:
    values = Segment(
        channel=np.zeros(3, dtype=np.int64),
        time_before_s=np.array([1.0, 1.5, 2.0]),
        time_after_s=np.array([1.0, 1.5, 2.0]),
        value=np.array([999.0, 40.0, 60.0]),
    )
    curve = curve_of(ESTIMATE, values)
    assert curve.energy_j(1.0, 2.0) == pytest.approx(40.0 * 0.5 + 60.0 * 0.5)
    assert curve.energy_j(1.25, 1.75) == pytest.approx(40.0 * 0.25 + 60.0 * 0.25)
    assert curve.half_width_j(1.0, 2.0) is None


@pytest.mark.parametrize("channel", [COUNTER, POWER, AVERAGED, ESTIMATE])
def test_where_there_are_no_readings_there_is_no_energy(channel: Channel) -> None:
    readings = (
        counter(Power.constant(100.0), tick_times(1.0, 6.0))
        if channel.quantity is Quantity.ENERGY_J
        else power_readings(Power.constant(100.0), np.arange(1.0, 6.0, 0.1).tolist(), 0.1)
    )
    for curve in (curve_of(channel, readings), curve_of(channel), curve_of(channel, portion(readings, 0, 1))):
        for start_s, end_s in ((0.0, 4.0), (4.0, 7.0), (0.1, 0.2), (8.0, 9.0)):
            assert not curve.covers(start_s, end_s)
            reading = exclusive.read(curve, start_s, end_s)
            assert reading.energy_gross_j is None
            assert reading.energy_gross_half_width_j is None
            assert [finding.code for finding in reading.findings] == [FindingCode.NO_READINGS]


def test_the_half_width_of_many_queries_sum_holds_although_their_errors_have_one_sign() -> None:
    """A prefill at 650 W, then 380 W, idle in between: what the curve assumes is wrong the same way each time."""
    rng = np.random.default_rng(3)
    time_s, knots, energies, spans = 2.0, [0.0], [0.0], []
    for _ in range(40):
        length_s, prefill_s, gap_s = 0.5 * rng.uniform(0.7, 1.3), rng.uniform(0.03, 0.05), rng.uniform(0.03, 0.06)
        for until_s, power_w in ((time_s, 70.0), (time_s + prefill_s, 650.0), (time_s + length_s, 380.0)):
            energies.append(energies[-1] + power_w * (until_s - knots[-1]))
            knots.append(until_s)
        spans.append((time_s, time_s + prefill_s, time_s + length_s))
        time_s += length_s + gap_s
    ticks_s = np.arange(0.03, time_s + 2.0, 0.1)
    total_j = np.interp(ticks_s, [*knots, time_s + 3.0], [*energies, energies[-1] + 70.0 * (time_s + 3.0 - knots[-1])])
    segment = Segment(
        channel=np.zeros(len(ticks_s), dtype=np.int64),
        time_before_s=ticks_s - 0.0005,
        time_after_s=ticks_s + 0.0005,
        value=total_j,
    )
    board = Channel(device="GPU-1", boundary=Boundary.GPU_BOARD, method=Method.NVML_COUNTER, quantity=Quantity.ENERGY_J)
    edges = [Edge.WORK_BEGINS, Edge.PHASE, Edge.WORK_ENDS] * len(spans)
    (curve,) = rebuilt([board], [with_marks(segment, [edge_s for span in spans for edge_s in span], edges)])
    error_j = sum(
        curve.energy_j(start_s, end_s) - float(np.diff(np.interp([start_s, end_s], knots, energies))[0])
        for start_s, _, end_s in spans
    )
    half_widths_j = [curve.half_width_j(start_s, end_s) or 0.0 for start_s, _, end_s in spans]
    assert abs(error_j) <= sum(half_widths_j)
    assert abs(error_j) > float(np.hypot.reduce(half_widths_j)) / 2  # so adding squares would not be safe


@pytest.mark.parametrize(
    ("query_s", "gap_s", "most_off"),
    [(0.010, 0.030, 0.1), (0.005, 0.005, 0.25), (0.003, 0.006, None)],
    ids=["followed", "followed among the nearest", "too many"],
)
def test_short_queries_with_gaps_are_no_cheaper_than_they_say(
    query_s: float, gap_s: float, most_off: float | None
) -> None:
    """300 W for each query and 100 W in between: spread evenly over a tick, a query would look half as dear."""
    lengths_s = np.random.default_rng(0).uniform(0.7, 1.3, (40, 2)) * (gap_s, query_s)
    edges_s = 3.0 + np.cumsum(lengths_s.ravel())
    spans = [*zip(edges_s[::2].tolist(), edges_s[1::2].tolist(), strict=True)]
    power = Power.steps(100.0, *((begin_s, end_s, 300.0) for begin_s, end_s in spans))
    last_s = spans[-1][1] + 2.0
    marked = marks(*edges_s.tolist())
    kinds = np.tile([float(Edge.WORK_BEGINS), float(Edge.WORK_ENDS)], len(spans))
    marked = replace(marked, value=kinds)
    builder = CurveBuilder(COUNTER, 0, {1: POWER})
    builder.extend(in_time(marked, counter(power, tick_times(0.0, last_s)), power_polls(power, last_s)))
    builder.close()
    readings_ = [exclusive.read(builder.curve(), *span) for span in spans]
    truth_j = sum(power.energy_j(*span) for span in spans)
    energy_j = sum(each.energy_gross_j or 0.0 for each in readings_)
    assert abs(energy_j - truth_j) <= sum(each.energy_gross_half_width_j or 0.0 for each in readings_)
    if most_off is not None:
        assert energy_j == pytest.approx(truth_j, rel=most_off)


def test_what_is_not_followed_may_all_have_been_spent_in_the_work() -> None:
    begins_and_ends = [(1.02, Edge.WORK_ENDS), (1.05, Edge.PHASE), (1.06, Edge.WORK_BEGINS), (1.08, Edge.WORK_ENDS)]
    targets_s = np.array([1.02, 1.06, 1.07, 1.08])
    more_j = unfollowed_j((1.0, 1.1), 8.0, targets_s, begins_and_ends)
    # Work from the tick's start to 1.02 and from 1.06 to 1.08: half of it is done at 1.02, three quarters at 1.07.
    assert more_j == pytest.approx([4.0 - 1.6, 4.0 - 4.8, 6.0 - 5.6, 8.0 - 6.4])
    assert unfollowed_j((1.0, 1.1), 8.0, targets_s, [(1.05, Edge.UNKNOWN)]) == pytest.approx(0.0)  # no gap is known


def power_polls(power: Power, last_s: float) -> Segment:
    """The readings of power beside a counter, as channel 1."""
    return power_readings(power, tick_times(0.1, last_s, phase_s=0.02), 0.025, channel=1)


def in_time(*segments: Segment) -> Segment:
    """Segments as one whose rows are in order of time, a mark before a reading of the same instant."""
    whole = joined(*segments)
    order = np.lexsort((whole.channel != MARK_CHANNEL, whole.time_after_s))
    return Segment(
        channel=whole.channel[order],
        time_before_s=whole.time_before_s[order],
        time_after_s=whole.time_after_s[order],
        value=whole.value[order],
    )
