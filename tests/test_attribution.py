"""Energy given to intervals, and idle power taken off: what adds up, what is doubted, what stays unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attribution import exclusive
from harness.attribution.baseline import baselines, pieces, with_net
from harness.meter.curve.builder import CurveBuilder
from harness.meter.curve.curve import Curve
from harness.records import (
    Attribution,
    Boundary,
    Channel,
    Finding,
    FindingCode,
    IntervalRecord,
    Method,
    Phase,
    PhaseReading,
    Reading,
    Segment,
)
from tests.synthetic_power import (
    AVERAGED,
    COUNTER,
    ESTIMATE,
    GPU,
    POWER,
    Power,
    counter,
    joined,
    marks,
    portion,
    power_readings,
    tick_times,
)


def curve_of(channel: Channel, segment: Segment) -> Curve:
    builder = CurveBuilder(channel)
    builder.extend(segment)
    builder.close()
    return builder.curve()


def codes(reading: Reading) -> list[FindingCode]:
    return [finding.code for finding in reading.findings]


STEADY = curve_of(COUNTER, counter(Power.constant(250.0), tick_times(0.0, 20.0)))


@given(
    start=st.floats(1.0, 5.0),
    lengths=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=5),
    seed=st.integers(0, 100),
)
def test_phases_add_up_to_their_query(start: float, lengths: list[float], seed: int) -> None:
    edges = np.cumsum([start, *lengths]).tolist()
    power = Power.steps(70.0, *((a, b, 100.0 + 150.0 * n) for n, (a, b) in enumerate(pairwise(edges))))
    curve = curve_of(COUNTER, joined(marks(*edges), counter(power, tick_times(0.0, 16.0), seed=seed)))
    phases = [Phase(name=str(n), time_start_s=a, time_end_s=b) for n, (a, b) in enumerate(pairwise(edges))]
    reading = exclusive.read(curve, edges[0], edges[-1], phases)
    parts = [phase.energy_gross_j for phase in reading.phases if phase.energy_gross_j is not None]
    assert len(parts) == len(lengths)
    assert sum(parts) == pytest.approx(reading.energy_gross_j, rel=1e-12, abs=1e-9)
    assert [phase.name for phase in reading.phases] == [phase.name for phase in phases]


def test_a_reading_says_what_it_is() -> None:
    reading = exclusive.read(STEADY, 2.0, 6.0, attribution=Attribution.WHOLE_BOARD)
    assert (reading.device, reading.boundary) == (GPU, Boundary.GPU_BOARD)
    assert (reading.method, reading.attribution) == (Method.NVML_COUNTER, Attribution.WHOLE_BOARD)
    assert (reading.time_start_s, reading.time_end_s, reading.duration_s) == (2.0, 6.0, 4.0)
    assert reading.energy_gross_j == pytest.approx(1000.0, abs=0.2)
    assert reading.n_samples == 40
    assert reading.duration_gap_largest_s == pytest.approx(0.1, abs=0.002)
    assert reading.findings == ()
    assert (reading.power_idle_w, reading.energy_net_j, reading.energy_net_half_width_j) == (None, None, None)


def test_power_averaged_over_a_second_cannot_resolve_less_than_three() -> None:
    times = np.arange(1.0, 12.0, 0.1).tolist()
    averaged = curve_of(AVERAGED, power_readings(Power.constant(300.0), times, 1.0))
    phases = [Phase(name="prefill", time_start_s=2.0, time_end_s=2.5)]
    short = exclusive.read(averaged, 2.0, 4.9, phases)
    assert (short.energy_gross_j, short.energy_gross_half_width_j) == (None, None)
    assert (short.phases[0].energy_gross_j, short.phases[0].energy_gross_half_width_j) == (None, None)
    assert FindingCode.AVERAGED_POWER_ONLY in codes(short)
    long = exclusive.read(averaged, 2.0, 5.1)
    assert long.energy_gross_j == pytest.approx(930.0)
    assert codes(long) == []
    # The same readings over 25 ms are good for it.
    instant = exclusive.read(curve_of(POWER, power_readings(Power.constant(300.0), times, 0.025)), 2.0, 2.5)
    assert instant.energy_gross_j == pytest.approx(150.0)


@pytest.mark.parametrize(("duration_s", "doubted"), [(0.19, True), (0.21, False)])
def test_a_query_of_less_than_two_ticks_is_doubted_and_still_known(duration_s: float, doubted: bool) -> None:
    reading = exclusive.read(STEADY, 3.0, 3.0 + duration_s)
    assert (codes(reading) == [FindingCode.SHORTER_THAN_TWO_TICKS]) is doubted
    assert reading.energy_gross_j == pytest.approx(250.0 * duration_s, abs=0.3)


@pytest.mark.parametrize(("n_missing", "doubted"), [(3, False), (6, True)])
def test_a_silent_sensor_is_doubted_where_it_was_silent(n_missing: int, doubted: bool) -> None:
    ticks = counter(Power.constant(250.0), tick_times(0.0, 20.0))
    curve = curve_of(COUNTER, joined(portion(ticks, 0, 60), portion(ticks, 60 + n_missing, 200)))
    inside = exclusive.read(curve, 5.0, 8.0)
    assert (codes(inside) == [FindingCode.READING_GAP]) is doubted
    assert inside.duration_gap_largest_s == pytest.approx(0.1 * (n_missing + 1), abs=0.002)
    assert inside.energy_gross_j == pytest.approx(750.0, abs=0.5)
    assert codes(exclusive.read(curve, 1.0, 4.0)) == []


def test_an_estimate_is_named_one() -> None:
    times = np.arange(0.0, 10.0, 0.5).tolist()
    reading = exclusive.read(curve_of(ESTIMATE, power_readings(Power.constant(40.0), times, 0.5)), 2.0, 2.1)
    assert reading.energy_gross_j == pytest.approx(4.0)
    assert reading.energy_gross_half_width_j is None
    assert codes(reading) == [FindingCode.ESTIMATED_ENERGY]


def test_unknown_is_null_all_the_way_and_never_zero() -> None:
    reading = exclusive.read(STEADY, 19.0, 21.0, [Phase(name="prefill", time_start_s=19.0, time_end_s=19.5)])
    netted = with_net(reading, baselines([idle("idle_before", 70.0)])[GPU])
    for found in (reading, netted):
        assert found.energy_gross_j is None
        assert found.energy_gross_half_width_j is None
        assert found.duration_gap_largest_s is None
        assert found.energy_net_j is None
        assert found.phases[0].energy_gross_j is None
        assert codes(found) == [FindingCode.NO_READINGS]


# ------------------------------------------------------------------------------------------- baseline


def reading(
    energy_j: float | None,
    *,
    duration_s: float = 3.0,
    half_width_j: float | None = 0.3,
    method: Method = Method.NVML_COUNTER,
    device: str = GPU,
) -> Reading:
    return Reading(
        device=device,
        boundary=Boundary.GPU_BOARD,
        method=method,
        attribution=Attribution.EXCLUSIVE,
        time_start_s=0.0,
        time_end_s=duration_s,
        energy_gross_j=energy_j,
        energy_gross_half_width_j=half_width_j if energy_j is not None else None,
        n_samples=0,
        findings=() if energy_j is not None else (Finding(code=FindingCode.NO_READINGS),),
    )


def idle(name: str, power_w: float | None, **options: float | None) -> IntervalRecord:
    energy_j = None if power_w is None else 3.0 * power_w
    found = reading(energy_j, half_width_j=options.get("half_width_j", 0.3))
    return IntervalRecord(session=1, name=name, time_start_s=0.0, time_end_s=3.0, readings=(found,))


def test_net_is_gross_less_idle_and_may_be_negative() -> None:
    baseline = baselines([idle("idle_before", 70.0), idle("idle_after", 72.0)])[GPU]
    assert baseline.power_idle_w == pytest.approx(71.0)
    assert not baseline.drifted
    net = with_net(reading(1000.0, duration_s=4.0, half_width_j=2.0), baseline)
    assert net.energy_gross_j == 1000.0
    assert net.power_idle_w == pytest.approx(71.0)
    assert net.energy_net_j == pytest.approx(1000.0 - 4 * 71.0)
    # Half the spread of the two baselines, with half the mean error of both (0.1 W each), times 4 s; the reading's 2 J.
    assert baseline.half_width_w == pytest.approx(math.hypot(1.0, math.hypot(0.1, 0.1) / 2))
    assert net.energy_net_half_width_j == pytest.approx(math.hypot(2.0, 4.0 * (baseline.half_width_w or 0.0)))
    assert with_net(reading(100.0, duration_s=4.0), baseline).energy_net_j == pytest.approx(-184.0)


def idle_in_pieces(name: str, powers_w: Sequence[float]) -> IntervalRecord:
    """An idle stretch of 3 s with the power of each of its pieces."""
    found = [
        PhaseReading(
            name=phase.name,
            time_start_s=phase.time_start_s,
            time_end_s=phase.time_end_s,
            energy_gross_j=power_w * (phase.time_end_s - phase.time_start_s),
            energy_gross_half_width_j=0.0,
        )
        for phase, power_w in zip(pieces(0.0, 3.0), powers_w, strict=True)
    ]
    whole = reading(3.0 * sum(powers_w) / len(powers_w), half_width_j=0.0).model_copy(update={"phases": tuple(found)})
    return IntervalRecord(session=1, name=name, time_start_s=0.0, time_end_s=3.0, readings=(whole,))


def test_idle_power_that_wanders_is_known_less_well() -> None:
    steady = [70.0, 70.0, 70.0, 70.0, 70.0, 70.0]
    fast = [69.0, 71.0, 69.0, 71.0, 69.0, 71.0]
    slow = [69.0, 69.0, 69.0, 71.0, 71.0, 71.0]
    widths = [
        baselines([idle_in_pieces("idle_before", each), idle_in_pieces("idle_after", each)])[GPU].half_width_w
        for each in (steady, fast, slow)
    ]
    assert widths[0] == 0.0
    # Three at a time: two blocks a stretch, each a third of a watt off. By ones it would be 2.228 * sqrt(12 / 10 / 12).
    assert widths[1] == pytest.approx(4.303 * math.sqrt(4 / 9 / 2 / 4))
    # Each 1 W off, two degrees of freedom.
    assert widths[2] == pytest.approx(4.303 * math.sqrt(4 / 2 / 4))


def test_what_two_stretches_differ_by_counts_where_it_is_more() -> None:
    before, after = idle_in_pieces("idle_before", [60.0] * 6), idle_in_pieces("idle_after", [70.0] * 6)
    assert baselines([before, after])[GPU].half_width_w == pytest.approx(5.0)


@given(
    shift_w=st.floats(-50, 50),
    factor=st.floats(0.1, 10),
    powers_w=st.lists(st.floats(50, 90), min_size=6, max_size=6),
)
def test_the_wander_knows_no_level_and_scales_with_power(shift_w: float, factor: float, powers_w: list[float]) -> None:
    def width_w(powers: Sequence[float]) -> float:
        both = [idle_in_pieces("idle_before", powers), idle_in_pieces("idle_after", powers)]
        return baselines(both)[GPU].half_width_w or 0.0

    assert width_w([each + shift_w + 60 for each in powers_w]) == pytest.approx(width_w(powers_w), abs=1e-9)
    assert width_w([each * factor for each in powers_w]) == pytest.approx(factor * width_w(powers_w), abs=1e-9)


def test_the_baseline_s_error_is_common_and_does_not_shrink_with_the_number_of_queries() -> None:
    baseline = baselines([idle("idle_before", 60.0), idle("idle_after", 70.0)])[GPU]
    exact = [with_net(reading(500.0, duration_s=2.0, half_width_j=0.0), baseline) for _ in range(100)]
    widths = {each.energy_net_half_width_j for each in exact}
    assert len(widths) == 1
    assert widths.pop() == pytest.approx(2.0 * (baseline.half_width_w or 0.0))
    assert (baseline.half_width_w or 0.0) >= 5.0  # the half of what the two differ by
    more = baselines([idle("idle_before", 60.0), idle("idle_after", 70.0), idle("idle_before", 65.0)])[GPU]
    assert (more.half_width_w or 0.0) >= 5.0


@pytest.mark.parametrize(("after_w", "drifted"), [(76.0, False), (80.0, True)])
def test_drift_of_more_than_a_tenth_is_noticed(after_w: float, drifted: bool) -> None:
    assert baselines([idle("idle_before", 70.0), idle("idle_after", after_w)])[GPU].drifted is drifted


def test_only_idle_stretches_with_known_energy_make_a_baseline() -> None:
    assert baselines([idle("gap", 70.0), idle("load", 300.0), idle("idle_before", None)]) == {}
    one = baselines([idle("gap", 500.0), idle("idle_before", 70.0), idle("idle_after", None)])[GPU]
    assert one.power_idle_w == pytest.approx(70.0)


def test_no_baseline_leaves_net_unknown() -> None:
    unchanged = with_net(reading(1000.0), None)
    assert (unchanged.power_idle_w, unchanged.energy_net_j, unchanged.energy_net_half_width_j) == (None, None, None)
    assert unchanged.energy_gross_j == 1000.0


def test_net_of_an_estimate_has_no_interval() -> None:
    found = reading(90.0, half_width_j=None, method=Method.ESTIMATED)
    interval = IntervalRecord(session=1, name="idle_before", time_start_s=0.0, time_end_s=3.0, readings=(found,))
    baseline = baselines([interval])[GPU]
    assert baseline.half_width_w is None
    net = with_net(reading(200.0, half_width_j=None, method=Method.ESTIMATED), baseline)
    assert net.energy_net_j == pytest.approx(110.0)
    assert net.energy_net_half_width_j is None
