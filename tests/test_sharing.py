"""Energy of queries in flight together: it is all given, to nobody too much, and by the rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.analysis.stored import query_columns
from harness.attribution import exclusive
from harness.attribution.baseline import Baseline, with_net
from harness.attribution.filled import Idle, with_idle
from harness.attribution.sharing.load import Load
from harness.attribution.sharing.ranges import RangeSums
from harness.attribution.sharing.shares import Shares, Split, read_shared, shares, shares_of, unattributed_j
from harness.attribution.sharing.swing import duration_ahead_s
from harness.meter.curve.builder import CurveBuilder
from harness.meter.curve.curve import Curve
from harness.records import (
    Attribution,
    Boundary,
    Channel,
    FindingCode,
    IntervalColumns,
    Output,
    Phase,
    QueryRecord,
    Reading,
    Timeline,
    TokenWeights,
)
from tests.synthetic_power import AVERAGED, COUNTER, ESTIMATE, Power, counter, tick_times

EVEN = TokenWeights(session=0, prompt=1.0, output=1.0, source="given")
END_S = 12.0
LAW = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def timeline(
    number: int,
    start_s: float,
    end_s: float,
    chunks: Sequence[tuple[float, int]] = (),
    n_prompt: int | None = 0,
    n_cached: int | None = None,
) -> Timeline:
    return Timeline(
        session=0,
        number=number,
        prompt_id=f"p{number}",
        mode="on",
        time_sent_s=start_s,
        time_start_s=start_s,
        time_first_token_s=chunks[0][0] if chunks else None,
        time_end_s=end_s,
        n_prompt_tokens=n_prompt,
        n_cached_tokens=n_cached,
        time_chunk_s=tuple(time_s for time_s, _ in chunks),
        n_chunk_tokens=tuple(n for _, n in chunks),
    )


def curve_of(
    times_s: Sequence[float],
    powers_w: Sequence[float],
    half_widths_j: Sequence[float] | None = None,
    gathered_j2: Sequence[float] | None = None,
    channel: Channel = COUNTER,
) -> Curve:
    """Of one power between each two instants."""
    times = np.array(times_s, dtype=np.float64)
    none = np.zeros(len(times))
    return Curve(
        channel=channel,
        time_s=times,
        energy_total_j=np.concatenate([[0.0], np.cumsum(np.diff(times) * np.array(powers_w))]),
        half_width_at_j=none if half_widths_j is None else np.array(half_widths_j),
        variance_total_j2=none if gathered_j2 is None else np.array(gathered_j2),
        variance_blind_j2=none,
        sample_time_s=times,
        duration_period_s=0.1,
    )


STEADY = curve_of([-1.0, 100.0], [100.0], [2.0, 2.0])


# ------------------------------------------------------------------------------------------ random loads

INSTANTS = st.one_of(
    st.integers(0, 40).map(lambda n: n / 4),  # many are the same
    st.floats(0.0, 10.0, allow_subnormal=False).map(lambda x: round(x, 6)),
)
TOKENS = st.one_of(st.integers(0, 3), st.integers(0, 10_000))


@st.composite
def timelines(draw: st.DrawFn) -> list[Timeline]:
    found = []
    for number in range(draw(st.integers(1, 9))):
        start_s, end_s = sorted((draw(INSTANTS), draw(INSTANTS)))
        times_s = sorted(min(max(draw(INSTANTS), start_s), end_s) for _ in range(draw(st.integers(0, 5))))
        chunks = [(time_s, draw(TOKENS)) for time_s in times_s]
        n_prompt = draw(st.one_of(st.none(), TOKENS))
        n_cached = None if n_prompt is None else draw(st.one_of(st.none(), st.integers(0, n_prompt)))
        found.append(timeline(number, start_s, end_s, chunks, n_prompt, n_cached))
    return found


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    n = draw(st.integers(1, 30))
    powers = draw(st.lists(st.floats(0.0, 700.0), min_size=n, max_size=n))
    widths = draw(st.lists(st.floats(0.0, 5.0), min_size=n + 1, max_size=n + 1))
    return curve_of(np.linspace(-0.5, END_S, n + 1).tolist(), powers, widths, np.linspace(0.0, 3.0, n + 1).tolist())


WEIGHTS = st.tuples(st.sampled_from([0.0, 1e-3, 0.2, 1.0, 7.0]), st.sampled_from([0.0, 1e-3, 1.0])).map(
    lambda pair: TokenWeights(session=0, prompt=pair[0], output=pair[1], source="given")
)


def rates(each: Timeline, weights: TokenWeights) -> list[tuple[float, float, float]]:
    """(from, to, weighted tokens a second), by the words of the rule."""
    came: dict[float, float] = {}
    for time_s, n in zip(each.time_chunk_s, each.n_chunk_tokens, strict=True):
        came[time_s] = came.get(time_s, 0.0) + weights.output * n
    first_s = each.time_chunk_s[0] if each.time_chunk_s else each.time_end_s
    n_computed = 0 if each.n_prompt_tokens is None else each.n_prompt_tokens - (each.n_cached_tokens or 0)
    bounds = [each.time_start_s, *(time_s for time_s in sorted(came) if time_s > each.time_start_s)]
    found = []
    for from_s, to_s in pairwise(bounds):
        rate = came[to_s] / (to_s - from_s)
        if to_s <= first_s:
            rate += weights.prompt * n_computed / (first_s - each.time_start_s)
        found.append((from_s, to_s, rate))
    if each.time_end_s > bounds[-1]:
        rate = 0.0
        if not each.time_chunk_s:
            rate = weights.prompt * n_computed / (each.time_end_s - each.time_start_s)
        found.append((bounds[-1], each.time_end_s, rate))
    return found


def reference(
    curve: Curve, load: Sequence[Timeline], weights: TokenWeights
) -> tuple[list[float], list[float], list[float]]:
    """Shares, equal shares and shares of the time: everybody in every slice, one by one."""
    stretches = [rates(each, weights) for each in load]
    bounds = sorted({time_s for each in stretches for stretch in each for time_s in stretch[:2]})
    parts: list[list[tuple[float, float, float]]] = [[] for _ in load]
    for from_s, to_s in pairwise(bounds):
        now: dict[int, float] = {}
        for row, own in enumerate(stretches):
            for a, b, rate in own:
                if a <= from_s and to_s <= b:
                    now[row] = rate
        total = math.fsum(now.values())
        energy_j = curve.energy_j(from_s, to_s)
        for row, rate in now.items():
            part = rate / total if total > 0 else 1.0 / len(now)
            parts[row].append((part * energy_j, energy_j / len(now), part * (to_s - from_s)))
    sums = [tuple(math.fsum(column) for column in zip(*own, strict=True)) if own else (0.0,) * 3 for own in parts]
    shared, equal, times = zip(*sums, strict=True)
    return list(shared), list(equal), list(times)


def busy_s(load: Sequence[Timeline]) -> float:
    bounds = sorted({time_s for each in load for time_s in (each.time_start_s, each.time_end_s)})
    return math.fsum(
        b - a for a, b in pairwise(bounds) if any(each.time_start_s <= a and b <= each.time_end_s for each in load)
    )


# ------------------------------------------------------------------------------------------------- laws


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS, before=st.floats(0, 0.4), after=st.floats(0, 1.9))
def test_all_energy_is_given_once(
    curve: Curve, load: list[Timeline], weights: TokenWeights, before: float, after: float
) -> None:
    start_s, end_s = -before, 10.0 + after
    arrays = Load.of(load)
    found = shares(curve, arrays, weights)
    whole_j = curve.energy_j(start_s, end_s)
    nobody_j = unattributed_j(curve, arrays, start_s, end_s)
    close = pytest.approx(whole_j, rel=1e-12, abs=1e-10)
    assert found.energy_j.sum() + nobody_j == close
    assert found.energy_equal_j.sum() + nobody_j == close
    assert found.duration_share_s.sum() == pytest.approx(busy_s(load), rel=1e-12, abs=1e-12)
    for column in (found.energy_j, found.energy_equal_j, found.duration_share_s, found.half_width_j):
        assert (column >= 0).all()
    assert nobody_j >= -1e-9


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS)
def test_it_is_the_rule_applied_slice_by_slice(curve: Curve, load: list[Timeline], weights: TokenWeights) -> None:
    found = shares(curve, Load.of(load), weights)
    columns = (found.energy_j, found.energy_equal_j, found.duration_share_s)
    for got, expected in zip(columns, reference(curve, load, weights), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-9)


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS)
def test_twice_the_power_is_twice_the_share(curve: Curve, load: list[Timeline], weights: TokenWeights) -> None:
    twice = replace(
        curve,
        energy_total_j=2 * curve.energy_total_j,
        half_width_at_j=2 * curve.half_width_at_j,
        variance_total_j2=4 * curve.variance_total_j2,
    )
    one, two = (shares(each, Load.of(load), weights) for each in (curve, twice))
    np.testing.assert_allclose(two.energy_j, 2 * one.energy_j, rtol=1e-12)
    np.testing.assert_allclose(two.energy_equal_j, 2 * one.energy_equal_j, rtol=1e-12)
    np.testing.assert_allclose(two.half_width_j, 2 * one.half_width_j, rtol=1e-9)
    np.testing.assert_array_equal(two.duration_share_s, one.duration_share_s)


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS, factor=st.sampled_from([1e-9, 3.0, 1e9]))
def test_only_the_ratio_of_the_weights_matters(
    curve: Curve, load: list[Timeline], weights: TokenWeights, factor: float
) -> None:
    scaled = weights.model_copy(update={"prompt": factor * weights.prompt, "output": factor * weights.output})
    one, other = (shares(curve, Load.of(load), each) for each in (weights, scaled))
    np.testing.assert_allclose(other.energy_j, one.energy_j, rtol=1e-10, atol=1e-10)


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS, shift=st.sampled_from([-64.0, 4096.0]))
def test_when_it_happens_does_not_matter(
    curve: Curve, load: list[Timeline], weights: TokenWeights, shift: float
) -> None:
    moved = [
        timeline(
            each.number,
            each.time_start_s + shift,
            each.time_end_s + shift,
            [(time_s + shift, n) for time_s, n in zip(each.time_chunk_s, each.n_chunk_tokens, strict=True)],
            each.n_prompt_tokens,
            each.n_cached_tokens,
        )
        for each in load
    ]
    later = replace(curve, time_s=curve.time_s + shift, sample_time_s=curve.sample_time_s + shift)
    one, other = shares(curve, Load.of(load), weights), shares(later, Load.of(moved), weights)
    # An instant at 4096 s is known to 5e-13 s; at 1e-6 s and below, which some stretches are, that moves a rate.
    np.testing.assert_allclose(other.energy_j, one.energy_j, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other.duration_share_s, one.duration_share_s, rtol=1e-5, atol=1e-8)


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS, data=st.data())
def test_the_order_of_the_rows_does_not_matter(
    curve: Curve, load: list[Timeline], weights: TokenWeights, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(load))))
    one = shares(curve, Load.of(load), weights)
    other = shares(curve, Load.of([load[row] for row in order]), weights)
    for name in ("energy_j", "energy_equal_j", "duration_share_s", "half_width_j"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name)[list(order)], rtol=1e-12, atol=1e-12)


@LAW
@given(curve=curves(), load=timelines(), weights=WEIGHTS, inside=st.lists(INSTANTS, max_size=5), data=st.data())
def test_parts_of_a_query_add_up_to_it(
    curve: Curve, load: list[Timeline], weights: TokenWeights, inside: list[float], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(load) - 1))
    found = shares(curve, Load.of(load), weights)
    own = load[row]
    bounds = np.array([own.time_start_s, *sorted(inside), own.time_end_s])
    bounds = np.clip(bounds, own.time_start_s, own.time_end_s)
    energy_j, half_width_j = found.between(np.full(len(bounds) - 1, row), bounds[:-1], bounds[1:])
    assert (energy_j >= 0).all()
    assert (half_width_j >= 0).all()
    assert energy_j.sum() == pytest.approx(found.energy_j[row], rel=1e-12, abs=1e-11)
    cut = list(rates(own, weights))  # each stretch by itself, where others' chunks cut it too
    for from_s, to_s, _ in cut:
        middle_s = (from_s + to_s) / 2
        (whole_j, *halves_j), _ = found.between(
            np.full(3, row), np.array([from_s, from_s, middle_s]), np.array([to_s, middle_s, to_s])
        )
        assert sum(halves_j) == pytest.approx(whole_j, rel=1e-9, abs=1e-10)


@LAW
@given(curve=curves(), load=timelines())
def test_a_phase_has_what_the_rule_gives_it(curve: Curve, load: list[Timeline]) -> None:
    """A query that ends where its phase does, with the same rates until then, has the same share."""
    found = shares(curve, Load.of(load), EVEN)
    for row, own in enumerate(load):
        if not own.time_chunk_s:
            continue
        prefill_j, _ = found.between(np.array([row]), np.array([own.time_start_s]), np.array([own.time_chunk_s[0]]))
        n_first = sum(
            n for at_s, n in zip(own.time_chunk_s, own.n_chunk_tokens, strict=True) if at_s == own.time_chunk_s[0]
        )
        short = timeline(
            own.number,
            own.time_start_s,
            own.time_chunk_s[0],
            [(own.time_chunk_s[0], n_first)],
            own.n_prompt_tokens,
            own.n_cached_tokens,
        )
        cut = shares(curve, Load.of([short if each is own else each for each in load]), EVEN)
        assert prefill_j[0] == pytest.approx(cut.energy_j[row], rel=1e-9, abs=1e-9)


@settings(LAW, max_examples=15)
@given(
    start=st.floats(1.0, 5.0),
    lengths=st.lists(st.floats(0.0, 2.0), min_size=2, max_size=4),
    n_prompt=st.one_of(st.none(), st.integers(0, 100)),
    seed=st.integers(0, 20),
)
def test_alone_it_is_the_reading_by_itself(start: float, lengths: list[float], n_prompt: int | None, seed: int) -> None:
    edges = np.cumsum([start, *lengths]).tolist()
    power = Power.steps(70.0, *((a, b, 100.0 + 150.0 * n) for n, (a, b) in enumerate(pairwise(edges))))
    curve = built(power, seed=seed)
    phases = [Phase(name=str(n), time_start_s=a, time_end_s=b) for n, (a, b) in enumerate(pairwise(edges))]
    own = timeline(3, edges[0], edges[-1], [(time_s, 5) for time_s in edges[1:]], n_prompt)
    others = [timeline(4, 0.1, 0.9, [(0.5, 9)]), timeline(5, edges[-1], edges[-1] + 1.0, [(edges[-1] + 0.5, 9)])]
    reading = read_shared(curve, [*others, own], EVEN, {3: phases})[3]
    alone = exclusive.read(curve, edges[0], edges[-1], phases, Attribution.SHARED_TOKENS)
    assert reading.energy_shared_equal_j == alone.energy_gross_j
    assert reading.duration_share_s == pytest.approx(edges[-1] - edges[0], rel=1e-12)
    same = {"energy_shared_equal_j": None, "duration_share_s": None}
    assert reading.model_copy(update=same) == alone
    found = shares(curve, Load.of([*others, own]), EVEN)
    assert found.energy_j[2] == pytest.approx(alone.energy_gross_j, rel=1e-9, abs=1e-9)


def built(power: Power, seed: int = 0, end_s: float = 16.0, channel: Channel = COUNTER) -> Curve:
    builder = CurveBuilder(channel)
    builder.extend(counter(power, tick_times(0.0, end_s), seed=seed))
    builder.close()
    return builder.curve()


def test_the_bulk_half_width_of_a_lone_query_is_that_of_its_two_ends() -> None:
    curve = built(Power.steps(70.0, (2.03, 5.07, 400.0)))
    own = timeline(0, 2.03, 5.07, [(3.0, 5), (5.0, 5)], 100)
    found = shares(curve, Load.of([own]), EVEN, is_marked=True)
    assert found.half_width_j[0] == pytest.approx(curve.half_width_j(2.03, 5.07), rel=1e-9)
    assert found.half_width_j[0] > 0


@given(
    values=st.lists(st.floats(0.0, 1e6) | st.floats(0.0, 1e-9), min_size=1, max_size=200),
    bounds=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=20),
)
def test_sums_over_ranges_are_those_of_their_numbers(values: list[float], bounds: list[tuple[int, int]]) -> None:
    first = np.array([min(a, len(values)) for a, _ in bounds], dtype=np.int64)
    last = np.array([min(b, len(values)) for _, b in bounds], dtype=np.int64)
    sums = RangeSums.of(np.column_stack([values, values[::-1]])).between(first, last)
    for (a, b), row in zip(zip(first.tolist(), last.tolist(), strict=True), sums.tolist(), strict=True):
        assert row[0] == pytest.approx(math.fsum(values[a:b]), rel=1e-14, abs=1e-30)
        assert row[1] == pytest.approx(math.fsum(values[::-1][a:b]), rel=1e-14, abs=1e-30)


def test_what_is_small_is_not_lost_beside_what_is_huge() -> None:
    values = np.full(1_000_000, 1e9)
    values[500_000:] = 1e-9
    sums = RangeSums.of(values).between(np.array([0, 500_000, 499_999]), np.array([500_000, 1_000_000, 500_001]))
    np.testing.assert_allclose(sums[:, 0], [5e14, 5e-4, 1e9], rtol=1e-14)
    assert RangeSums.of(np.zeros((0, 2))).between(np.zeros(1, np.int64), np.zeros(1, np.int64)).tolist() == [[0.0, 0.0]]


# ------------------------------------------------------------------------------------- worked by hand


def test_one_prefills_while_the_other_decodes() -> None:
    """Power rises from 0 to 300 W in 3 s: E(t) = 50 t^2.

    A is alone for 1 s. Then B's prefill of 30 tokens in 1 s is worth 6 a second at 0.2:1, and A decodes 2 a second: a
    quarter of 150 J is A's. In the third second each decodes 2 a second: half of 250 J. B is alone in the fourth.
    """
    ramp = replace(STEADY, time_s=np.linspace(0, 4, 401), energy_total_j=50 * np.linspace(0, 4, 401) ** 2)
    ramp = replace(
        ramp, half_width_at_j=np.zeros(401), variance_total_j2=np.zeros(401), variance_blind_j2=np.zeros(401)
    )
    a = timeline(0, 0.0, 3.0, [(0.5, 1), (1.0, 1), (2.0, 2), (3.0, 2)], 10)
    b = timeline(1, 1.0, 4.0, [(2.0, 0), (3.0, 2), (4.0, 8)], 35, 5)
    weights = TokenWeights(session=0, prompt=0.2, output=1.0, source="given")
    found = shares(ramp, Load.of([a, b]), weights)
    np.testing.assert_allclose(found.energy_j, [50 + 0.25 * 150 + 125, 0.75 * 150 + 125 + 350], rtol=1e-12)
    np.testing.assert_allclose(found.energy_equal_j, [50 + 75 + 125, 75 + 125 + 350], rtol=1e-12)
    np.testing.assert_allclose(found.duration_share_s, [1 + 0.25 + 0.5, 0.75 + 0.5 + 1], rtol=1e-12)
    phases_j, _ = found.between(np.array([1, 1]), np.array([1.0, 2.0]), np.array([2.0, 9.0]))
    np.testing.assert_allclose(phases_j, [0.75 * 150, 475], rtol=1e-12)
    half_j, _ = found.between(np.array([1]), np.array([1.0]), np.array([1.5]))
    assert half_j[0] == pytest.approx(0.75 * 50 * (1.5**2 - 1.0))


def test_where_nobody_progresses_all_in_flight_are_alike() -> None:
    waiting = timeline(0, 0.0, 2.0, n_prompt=None)
    failed = timeline(1, 1.0, 2.0)
    found = shares(STEADY, Load.of([waiting, failed]), EVEN)
    assert found.energy_j.tolist() == [150.0, 50.0]
    assert found.duration_share_s.tolist() == [1.5, 0.5]


def test_who_waits_for_nothing_gets_nothing_while_others_progress() -> None:
    """After its last chunk, or with a prompt of which nothing is known, a query is in flight without progress."""
    busy = timeline(0, 0.0, 4.0, [(1.0, 5), (4.0, 5)], 10)
    idle = timeline(1, 0.0, 4.0, n_prompt=None)
    done = timeline(2, 0.0, 3.0, [(1.0, 5)], 10)
    found = shares(STEADY, Load.of([busy, idle, done]), EVEN)
    assert found.energy_j.tolist() == [350.0, 0.0, 50.0]


def test_a_queued_query_gets_nothing_before_its_service_begins() -> None:
    """Its service begins when it leaves the queue: what was drawn until then is others' or nobody's."""
    load = Load.of([timeline(0, 2.0, 3.0, [(3.0, 5)], 10)])
    assert shares(STEADY, load, EVEN).energy_j.tolist() == [100.0]
    assert unattributed_j(STEADY, load, 0.0, 5.0) == pytest.approx(400.0)
    assert unattributed_j(STEADY, load, 2.25, 2.75) == 0.0
    assert unattributed_j(STEADY, Load.of([]), 0.0, 5.0) == pytest.approx(500.0)


def test_cached_prompt_tokens_are_no_work() -> None:
    cold = timeline(0, 0.0, 1.0, [(1.0, 0)], 100)
    warm = timeline(1, 0.0, 1.0, [(1.0, 0)], 100, 75)
    assert shares(STEADY, Load.of([cold, warm]), EVEN).energy_j.tolist() == [80.0, 20.0]


def test_a_row_that_leaves_its_batch_early_leaves_the_rest_to_the_others() -> None:
    steps = [(float(step), 1) for step in range(1, 5)]
    short = timeline(0, 0.0, 2.0, steps[:2])
    long = [timeline(number, 0.0, 4.0, steps) for number in (1, 2, 3)]
    found = shares(STEADY, Load.of([short, *long]), EVEN)
    np.testing.assert_allclose(found.energy_j, [50.0, *[50 + 200 / 3] * 3], rtol=1e-12)


def test_tiny_rates_beside_huge_ones_are_kept() -> None:
    """One token in ten seconds beside a million in a microsecond."""
    slow = [timeline(0, 0.0, 10.0, [(10.0, 1)]), timeline(1, 0.0, 10.0, [(10.0, 3)])]
    fast = timeline(2, 5.0, 5.000001, [(5.000001, 1_000_000)])
    found = shares(STEADY, Load.of([*slow, fast]), EVEN)
    np.testing.assert_allclose(found.energy_j[:2], [250.0, 750.0], rtol=1e-6)
    assert found.energy_j[1] / found.energy_j[0] == pytest.approx(3.0, rel=1e-12)
    assert found.energy_j[2] == pytest.approx(1e-4, rel=1e-6)
    assert found.energy_j.sum() == pytest.approx(1000.0, rel=1e-14)


def test_chunks_of_a_millisecond_are_as_exact_after_ten_hours() -> None:
    def sharing(origin_s: float) -> Shares:
        rng = np.random.default_rng(1)
        load = []
        for number in range(40):
            start_s = origin_s + number * 0.01
            times_s = start_s + np.cumsum(rng.uniform(0.0005, 0.0015, 50))
            chunks = [(time_s, int(n)) for time_s, n in zip(times_s.tolist(), rng.integers(1, 4, 50), strict=True)]
            load.append(timeline(number, start_s, chunks[-1][0], chunks, 100))
        power_w = rng.uniform(300, 700, 100)
        # What was drawn in the hours before is in the curve, as in a session.
        knots_s = [-1.0, *(origin_s + 0.01 * np.arange(101)).tolist()]
        return shares(curve_of(knots_s, [650.0, *power_w.tolist()]), Load.of(load), EVEN)

    early, late = sharing(0.0), sharing(36_000.0)
    np.testing.assert_allclose(late.energy_j, early.energy_j, rtol=1e-6)
    drawn_j = late.curve.energy_j(36_000.0, float(late.split.load.time_end_s.max()))
    assert late.energy_j.sum() == pytest.approx(drawn_j, rel=1e-9)


def test_two_devices_share_one_cut() -> None:
    load = [timeline(0, 0.0, 2.0, [(1.0, 1), (2.0, 2)], 5), timeline(1, 1.0, 3.0, [(2.0, 1), (3.0, 1)], 9)]
    split = Split.of(Load.of(load), EVEN)
    other = curve_of([-1.0, 1.5, 9.0], [50.0, 80.0])
    for curve in (STEADY, other):
        np.testing.assert_array_equal(shares_of(curve, split).energy_j, shares(curve, Load.of(load), EVEN).energy_j)


def test_chunks_that_come_backwards_or_outside_do_not_break_the_sums() -> None:
    odd = timeline(0, 1.0, 2.0, [(0.5, 1), (1.8, 2), (1.2, 3), (7.0, 4)], 5)
    found = shares(STEADY, Load.of([odd, timeline(1, 0.0, 3.0, [(1.5, 1), (3.0, 5)], 5)]), EVEN)
    assert found.energy_j.sum() == pytest.approx(300.0, rel=1e-12)
    assert (found.energy_j > 0).all()


# ------------------------------------------------------------------------------------------ half-widths


def test_each_change_of_a_part_counts_by_its_size() -> None:
    """A is alone until B comes and halves its part; both end together. The error is 2 J at every instant."""
    a, b = timeline(0, 0.0, 4.0, [(4.0, 4)]), timeline(1, 2.0, 4.0, [(4.0, 2)])
    found = shares(STEADY, Load.of([a, b]), EVEN, is_marked=True)
    np.testing.assert_allclose(found.half_width_j, [2 * math.sqrt(1 + 0.5**2 + 0.5**2), 2 * math.sqrt(0.5**2 + 0.5**2)])
    _, halves = found.between(np.array([0, 0]), np.array([0.0, 2.0]), np.array([2.0, 4.0]))
    np.testing.assert_allclose(halves, [2 * math.sqrt(2), 2 * math.sqrt(0.5)])


def test_where_edges_were_not_marked_power_may_step_as_high_as_it_swings() -> None:
    """Power goes to and fro by 200 W around: at an instant, 0.35 ticks of that are open. Far away it is steady."""
    times_s = np.arange(0.0, 20.0, 0.1).round(6)
    powers_w = np.where((times_s[1:] < 5.05) & (np.arange(1, len(times_s)) % 2 == 0), 500.0, 300.0)
    curve = curve_of(times_s.tolist(), powers_w.tolist())
    load = Load.of([timeline(0, 1.0, 3.0, [(3.0, 4)]), timeline(1, 12.0, 14.0, [(14.0, 4)])])
    found = shares(curve, load, EVEN)
    assert found.half_width_j[0] == pytest.approx(0.35 * 0.1 * 200.0 * 2, rel=1e-6)
    assert found.half_width_j[1] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_array_equal(shares(curve, load, EVEN, is_marked=True).half_width_j, [0.0, 0.0])


def test_where_marked_edges_crowd_a_part_of_the_swing_is_open_as_well() -> None:
    """A quarter of a second each, one after the other beside a long one: 12 events a second and more."""
    times_s = np.arange(0.0, 20.0, 0.1).round(6)
    powers_w = np.where(np.arange(1, len(times_s)) % 2 == 0, 500.0, 300.0)
    curve = curve_of(times_s.tolist(), powers_w.tolist())
    beside = timeline(0, 1.0, 15.0, [(15.0, 100)])
    short = [timeline(1 + n, 2 + n / 5, 2.19 + n / 5, [(2.1 + n / 5, 1), (2.19 + n / 5, 1)], 5) for n in range(20)]
    long = [timeline(50 + n, 8 + 2 * n, 9.9 + 2 * n, [(8.5 + 2 * n, 1), (9.9 + 2 * n, 1)], 5) for n in range(3)]
    load = Load.of([beside, *short, *long])
    marked, unmarked = (shares(curve, load, EVEN, is_marked=each).half_width_j for each in (True, False))
    assert (marked[1:21] > 0.2 * 0.35 * 0.1 * 200.0).all()
    assert (marked[1:21] < unmarked[1:21]).all()
    np.testing.assert_array_equal(marked[21:], np.zeros(3))


def test_what_comes_at_one_instant_is_no_crowd() -> None:
    """A static batch of 16: all begin together and have their first token together; the curve can tell two steps."""
    times_s = np.arange(0.0, 20.0, 0.1).round(6)
    powers_w = np.where(np.arange(1, len(times_s)) % 2 == 0, 500.0, 300.0)
    curve = curve_of(times_s.tolist(), powers_w.tolist())
    rows = [timeline(n, 5.0, 8.0, [(6.0, 1), (8.0, 9)], 5) for n in range(16)]
    np.testing.assert_array_equal(shares(curve, Load.of(rows), EVEN, is_marked=True).half_width_j, np.zeros(16))


def test_half_widths_do_not_change_any_more_once_the_curve_is_final_as_far_as_they_look() -> None:
    """Neither by what comes later, nor by a better idea of the sensor's period, nor by those who come later."""
    rng = np.random.default_rng(3)
    times_s = 0.05 + np.arange(300) * 0.1
    powers_w = rng.uniform(100.0, 600.0, len(times_s) - 1)
    whole = curve_of(times_s.tolist(), powers_w.tolist())
    own = [timeline(n, 2.0 + n / 7, 4.0 + n / 7, [(2.5 + n / 7, 1), (4.0 + n / 7, 9)], 5) for n in range(12)]
    later = [timeline(20 + n, 5.6 + n / 9, 6.0 + n / 9, [(5.7 + n / 9, 1), (6.0 + n / 9, 9)], 5) for n in range(12)]
    end_s = 4.0 + 11 / 7
    n_kept = int(np.searchsorted(times_s, end_s + duration_ahead_s(whole)))
    begun = replace(curve_of(times_s[: n_kept + 1].tolist(), powers_w[:n_kept].tolist()), duration_period_s=0.1003)
    for is_marked in (True, False):
        early = shares(begun, Load.of(own), EVEN, is_marked=is_marked).half_width_j
        final = shares(whole, Load.of([*own, *later]), EVEN, is_marked=is_marked).half_width_j[: len(own)]
        np.testing.assert_allclose(early, final, rtol=1e-9)
        assert (early > 0).all()


def test_its_own_first_token_is_a_change_too() -> None:
    """B prefills at 3 a second beside A's 1, then decodes at 1: its part falls from 3/4 to 1/2."""
    a, b = timeline(0, 0.0, 4.0, [(4.0, 4)]), timeline(1, 0.0, 4.0, [(1.0, 0), (4.0, 3)], 3)
    found = shares(STEADY, Load.of([a, b]), EVEN, is_marked=True)
    np.testing.assert_allclose(found.half_width_j[1], 2 * math.sqrt(0.75**2 + 0.25**2 + 0.5**2))
    np.testing.assert_allclose(found.half_width_j[0], 2 * math.sqrt(0.25**2 + 0.25**2 + 0.5**2))
    # Nobody marked the prefill: its beginning and its end err together.
    open_j = shares(STEADY, Load.of([a, b]), EVEN).half_width_j[1]
    np.testing.assert_allclose(open_j, 2 * math.sqrt((0.75 + 0.25) ** 2 + 0.5**2))


def test_what_gathers_on_the_way_counts_by_the_part_squared() -> None:
    curve = curve_of([-1.0, 9.0], [100.0], gathered_j2=[0.0, 10.0])
    a, b = timeline(0, 0.0, 4.0, [(4.0, 4)]), timeline(1, 2.0, 4.0, [(4.0, 2)])
    found = shares(curve, Load.of([a, b]), EVEN)
    np.testing.assert_allclose(found.half_width_j**2, [2 + 2 * 0.25, 2 * 0.25])
    _, part = found.between(np.array([0]), np.array([1.0]), np.array([3.0]))
    assert part[0] ** 2 == pytest.approx(1 + 0.25)


def test_chunks_alone_leave_nothing_open() -> None:
    """A part that goes to and fro with the chunks within its phase is taken as constant."""
    a = timeline(0, 0.0, 4.0, [(n / 10, 1 + n % 3) for n in range(1, 41)])
    b = timeline(1, 0.0, 4.0, [(n / 8, 2 - n % 2) for n in range(1, 33)])
    few = [timeline(0, 0.0, 4.0, [(0.1, 2), (4.0, sum(a.n_chunk_tokens) - 2)])]
    few += [timeline(1, 0.0, 4.0, [(0.125, 1), (4.0, sum(b.n_chunk_tokens) - 1)])]
    many, coarse = shares(STEADY, Load.of([a, b]), EVEN), shares(STEADY, Load.of(few), EVEN)
    np.testing.assert_allclose(many.half_width_j, coarse.half_width_j, rtol=1e-9)


# --------------------------------------------------------------------------------------------- readings


def two_at_once() -> list[Timeline]:
    return [timeline(7, 1.0, 9.0, [(2.0, 1), (9.0, 7)], 50), timeline(8, 3.0, 6.0, [(4.0, 2), (6.0, 4)], 20)]


def test_a_reading_says_that_it_is_shared() -> None:
    load = two_at_once()
    phases = [Phase(name="prefill", time_start_s=1.0, time_end_s=2.0)]
    phases += [Phase(name="answer", time_start_s=2.0, time_end_s=9.0)]
    curve = built(Power.constant(250.0))
    found = read_shared(curve, load, EVEN, {7: phases})
    assert list(found) == [7]
    reading, bulk = found[7], shares(curve, Load.of(load), EVEN)
    assert reading.attribution is Attribution.SHARED_TOKENS
    assert (reading.time_start_s, reading.time_end_s) == (1.0, 9.0)
    assert reading.energy_gross_j == bulk.energy_j[0]
    assert reading.energy_gross_half_width_j == bulk.half_width_j[0]
    assert reading.energy_shared_equal_j == bulk.energy_equal_j[0]
    assert reading.duration_share_s == bulk.duration_share_s[0]
    parts_j = [phase.energy_gross_j for phase in reading.phases if phase.energy_gross_j is not None]
    assert sum(parts_j) == pytest.approx(reading.energy_gross_j, rel=1e-12)
    assert all(phase.energy_gross_half_width_j is not None for phase in reading.phases)
    assert reading.n_samples == curve.n_samples(1.0, 9.0)


def test_unknown_is_null_with_its_reason() -> None:
    curve = built(Power.constant(250.0), end_s=5.0)
    found = read_shared(
        curve, two_at_once(), EVEN, {7: [Phase(name="answer", time_start_s=1.0, time_end_s=9.0)], 8: []}
    )
    for reading in found.values():
        assert reading.energy_gross_j is None
        assert reading.energy_shared_equal_j is None
        assert reading.energy_gross_half_width_j is None
        assert [finding.code for finding in reading.findings] == [FindingCode.NO_READINGS]
    assert [phase.energy_gross_j for phase in found[7].phases] == [None]
    hole = replace(built(Power.constant(250.0)), holes=((2.0, 2.5),))
    found = read_shared(hole, two_at_once(), EVEN, {7: (), 8: ()})
    assert found[7].energy_gross_j is None
    assert found[8].energy_gross_j is not None  # the hole was before it


def test_an_estimate_has_no_half_width() -> None:
    curve = curve_of([0.0, 20.0], [40.0], channel=ESTIMATE)
    reading = read_shared(curve, two_at_once(), EVEN, {8: [Phase(name="answer", time_start_s=3.0, time_end_s=6.0)]})[8]
    assert reading.energy_gross_j is not None
    assert reading.energy_gross_half_width_j is None
    assert reading.phases[0].energy_gross_half_width_j is None


def test_what_an_average_cannot_resolve_stays_null() -> None:
    curve = curve_of([0.0, 20.0], [40.0], channel=AVERAGED)
    phases = [Phase(name="prefill", time_start_s=1.0, time_end_s=2.0)]
    phases += [Phase(name="answer", time_start_s=2.0, time_end_s=9.0)]
    reading = read_shared(curve, two_at_once(), EVEN, {7: phases})[7]
    assert reading.energy_gross_j is not None
    assert [phase.energy_gross_j is None for phase in reading.phases] == [True, False]


def test_a_query_without_a_timeline_is_refused() -> None:
    with pytest.raises(KeyError):
        read_shared(STEADY, two_at_once(), EVEN, {9: ()})


# -------------------------------------------------------------------------------------------- net energy

BASELINE = Baseline(
    device=COUNTER.device, boundary=Boundary.GPU_BOARD, power_idle_w=70.0, half_width_w=2.0, drifted=False
)


def test_net_takes_idle_power_off_the_share_of_the_time() -> None:
    found = read_shared(built(Power.constant(250.0)), two_at_once(), EVEN, {7: (), 8: ()})
    for reading in found.values():
        net = with_net(reading, BASELINE)
        assert reading.energy_gross_j is not None
        assert reading.duration_share_s is not None
        assert reading.energy_gross_half_width_j is not None
        assert reading.duration_share_s < reading.duration_s
        assert net.energy_net_j == pytest.approx(reading.energy_gross_j - 70.0 * reading.duration_share_s)
        assert net.energy_net_half_width_j == pytest.approx(
            math.hypot(reading.energy_gross_half_width_j, 2.0 * reading.duration_share_s)
        )
        assert net.energy_tail_j is None
    # Idle power is taken off once: all that was in flight for 8 s.
    assert sum(each.duration_share_s or 0.0 for each in found.values()) == pytest.approx(8.0)


def test_columns_take_the_same_off() -> None:
    found = read_shared(built(Power.constant(250.0)), two_at_once(), EVEN, {7: (), 8: ()})
    alone = exclusive.read(built(Power.constant(250.0)), 10.0, 12.0)
    records = [record(place, reading) for place, reading in enumerate([found[7], found[8], alone])]
    gap = exclusive.read(built(Power.constant(250.0)), 9.0, 9.5)
    gaps = IntervalColumns(
        time_start_s=np.array([9.0, 12.0]),
        time_end_s=np.array([9.5, 12.5]),
        readings=query_columns([record(0, gap), record(1, gap)]).readings,
    )
    idle = Idle(baselines={COUNTER.device: BASELINE}, by_load=(), gaps=gaps)
    readings = with_idle(query_columns(records), {0: idle}).readings
    for row, reading in enumerate([found[7], found[8], alone]):
        expected = with_net(reading, BASELINE)
        assert readings.energy_net_j[row] == pytest.approx(expected.energy_net_j, rel=1e-12)
        assert readings.energy_net_half_width_j[row] == pytest.approx(expected.energy_net_half_width_j, rel=1e-12)
    # What follows one of several is no tail of it, even where a gap begins at its very end.
    np.testing.assert_array_equal(np.isnan(readings.energy_tail_j), [True, True, False])
    assert readings.energy_shared_equal_j[:2].tolist() == [
        found[7].energy_shared_equal_j,
        found[8].energy_shared_equal_j,
    ]
    np.testing.assert_array_equal(np.isnan(readings.duration_share_s), [False, False, True])


def record(place: int, reading: Reading) -> QueryRecord:
    return QueryRecord(
        session=0,
        prompt_id=f"p{place}",
        prompt_index=place,
        mode="on",
        seed=0,
        block=0,
        time_start_s=reading.time_start_s,
        time_end_s=reading.time_end_s,
        output=Output(sizes={}, finish_reason="stop", rendered_prompt_sha256="0" * 64),
        score=None,
        readings=(reading,),
        findings=(),
    )
