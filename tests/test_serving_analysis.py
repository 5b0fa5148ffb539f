"""Statistics of cells under load: steady windows, latencies, shares and sums with known answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness import publish
from harness.analysis.bootstrap import ratio_interval
from harness.analysis.serving.company import company_interval, equal_shares_j
from harness.analysis.serving.flights import Flights, level
from harness.analysis.serving.latency import between_tokens, end_to_end, first_token, latency_of, per_output_token
from harness.analysis.serving.serving import SessionLoad, is_under_load, load_words, serving_summaries
from harness.analysis.serving.window import steady_window
from harness.meter.meter import rebuilt
from harness.publish import Account
from harness.records import (
    Boundary,
    EngineOptions,
    FindingCode,
    ServingSummary,
    SteadyWindow,
    Timeline,
)
from harness.store import straight
from harness.store.run_directory import RunDirectory
from tests.synthetic_runs import GAIN, cell, channel
from tests.synthetic_serving import (
    WEIGHTS,
    closed_loop,
    drawn_j,
    load_cell,
    open_loop,
    paired_blocks,
    paired_run,
    power_w,
    readings_of,
    shares_of,
    timeline,
    write_run,
)


def account_of(store: RunDirectory) -> Account:
    (account,) = publish.accounts(store.path.parent.parent)
    return account


def serving_of(store: RunDirectory, mode: str = "off") -> ServingSummary:
    return next(each for each in account_of(store).summary.serving if each.mode == mode)


def codes(account: Account) -> set[FindingCode]:
    return {finding.code for finding in account.summary.findings}


@pytest.fixture(scope="module")
def blocks() -> list[list[Timeline]]:
    return paired_blocks(4, 80)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, blocks: list[list[Timeline]]) -> Account:
    """Two modes, four at once; query 5 failed after it had been served."""
    run = tmp_path_factory.mktemp("load") / "run"
    return account_of(write_run(run, load_cell(4), blocks, failed={5: FindingCode.RATE_LIMITED}))


def in_mode(blocks: Sequence[Sequence[Timeline]], mode: str) -> list[list[Timeline]]:
    return [list(block) for block in blocks if block[0].mode == mode]


# ---------------------------------------------------------------------------------------- steady windows


def test_a_closed_loop_is_steady_from_the_first_tokens_to_the_drain() -> None:
    """One slot works from 0 to 20 s, the other from 1 to 19 s; every query takes 2 s, its first token half a second."""
    times = {"prefill_s": 0.5, "chunk_s": 1.5, "n_chunks": 2}
    sent_s = [*(2.0 * index for index in range(10)), *(1.0 + 2.0 * index for index in range(9))]
    queries = [timeline(number, time_s, **times) for number, time_s in enumerate(sent_s)]  # type: ignore[arg-type]
    flights = Flights.of(queries)
    assert steady_window(flights, load_cell(2)) == pytest.approx((1.5, 19.0))
    assert steady_window(flights, load_cell(3)) is None  # never three at once
    assert steady_window(flights, load_cell(1)) == pytest.approx((0.5, 20.0))


@pytest.mark.parametrize("concurrency", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", [1, 2])
def test_inside_a_window_the_load_is_full_and_after_it_never_again(concurrency: int, seed: int) -> None:
    queries = closed_loop(concurrency, 12 * concurrency, start_s=3.0, seed=seed)
    window = steady_window(Flights.of(queries), load_cell(concurrency))
    assert window is not None
    instants_s = np.unique([time_s for one in queries for time_s in (one.time_sent_s, one.time_end_s)])
    for middle_s in (instants_s[1:] + instants_s[:-1]) / 2:
        n_open = sum(one.time_sent_s <= middle_s < one.time_end_s for one in queries)
        if window[0] < middle_s < window[1]:
            assert n_open == concurrency
        if middle_s > window[1]:
            assert n_open < concurrency
    begun = [one.time_first_token_s or math.inf for one in queries[:concurrency]]
    assert window[0] == pytest.approx(max(begun))


def test_a_queue_does_not_hide_the_load_and_a_failed_query_does_not_hold_it_up() -> None:
    queries = closed_loop(4, 60, queued_s=0.2)
    window = steady_window(Flights.of(queries), load_cell(4))
    assert window is not None
    assert window[0] == pytest.approx(max(one.time_first_token_s or 0.0 for one in queries[:4]))
    broken = queries[2].model_copy(update={"time_first_token_s": None, "time_chunk_s": (), "n_chunk_tokens": ()})
    again = steady_window(Flights.of([*queries[:2], broken, *queries[3:]]), load_cell(4))
    assert again == pytest.approx((max(window[0], broken.time_end_s), window[1]))


def test_an_open_loop_is_steady_from_its_first_end_to_its_last_sending() -> None:
    queries = open_loop(2.0, 60, start_s=5.0)
    assert steady_window(Flights.of(queries), load_cell(None, 2.0)) == pytest.approx(
        (min(one.time_end_s for one in queries), max(one.time_sent_s for one in queries))
    )
    assert steady_window(Flights.of(queries[:3]), load_cell(None, 2.0)) is None


def test_too_short_a_block_and_a_static_batch_have_no_window() -> None:
    queries = closed_loop(8, 16)
    assert steady_window(Flights.of(queries), load_cell(8)) is None
    assert steady_window(Flights.of(queries), load_cell(None, batch_size=8)) is None
    assert steady_window(Flights.of(queries[:7]), load_cell(8)) is None
    assert steady_window(Flights.of([]), load_cell(8)) is None


# ------------------------------------------------------------------------------------ flights, latencies


def test_flights_keep_each_querys_chunks_whatever_the_order() -> None:
    queries = [timeline(index, 10.0 - index, n_chunks=index + 1) for index in range(5)]
    flights = Flights.of(queries)
    assert flights.number.tolist() == [4, 3, 2, 1, 0]
    assert np.diff(flights.chunk_first).tolist() == [5, 4, 3, 2, 1]
    own = flights.at(np.array([3, 0]))
    assert own.number.tolist() == [1, 4]
    assert own.time_chunk_s.tolist() == pytest.approx([*queries[1].time_chunk_s, *queries[4].time_chunk_s])
    assert flights.n_tokens_between(-math.inf, math.inf) == 5 * (1 + 2 + 3 + 4 + 5)


def test_tokens_belong_to_the_stretch_in_which_they_came() -> None:
    flights = Flights.of([timeline(0, 0.0, prefill_s=0.3, n_chunks=4)])  # at 0.3, 0.4, 0.5 and 0.6 s
    assert flights.n_tokens_between(0.3, 0.45) == 5
    assert flights.n_tokens_between(0.0, 0.35) == 5
    assert flights.n_tokens_between(0.45, 9.0) == 10


def test_the_level_of_spans_that_touch() -> None:
    instants_s, n_open = level(np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0]))
    assert instants_s.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert n_open.tolist() == [1, 2, 1, 0]


def test_latencies_of_a_query_that_waited() -> None:
    one = timeline(0, 1.0, queued_s=0.5, prefill_s=0.25, chunk_s=0.2, n_chunks=3, tokens=4)
    flights = Flights.of([one])
    found = [each(flights) for each in (first_token, end_to_end, per_output_token, between_tokens)]
    assert [each.mean_s for each in found if each] == pytest.approx([0.75, 1.15, 0.4 / 8, 0.05])
    assert [each.n for each in found if each] == [1, 1, 1, 8]  # of two chunks of four tokens


def test_no_time_lies_between_two_queries_tokens() -> None:
    flights = Flights.of([timeline(0, 0.0, n_chunks=1), timeline(1, 50.0, n_chunks=1)])
    assert between_tokens(flights) is None
    assert per_output_token(flights) is None


def test_quantiles_are_numpys_and_unknown_waits_are_left_out() -> None:
    found = latency_of(np.array([3.0, np.nan, 1.0, 2.0]))
    assert found is not None
    assert (found.n, found.mean_s, found.p50_s) == (3, 2.0, 2.0)
    assert found.p90_s == pytest.approx(2.8)
    assert latency_of(np.array([np.nan])) is None


# ------------------------------------------------------------------------------------------ shared energy


def test_equal_shares_are_those_of_the_rule_and_all_of_the_energy(blocks: list[list[Timeline]]) -> None:
    every = [one for block in blocks for one in block]
    (curve,) = rebuilt((channel(),), [readings_of(every, max(one.time_end_s for one in every) + 5.0)])
    shares_j = equal_shares_j(Flights.of(every), [curve])
    assert shares_j == pytest.approx(shares_of(every).equal_j, rel=2e-2)
    first, last = min(one.time_start_s for one in every), max(one.time_end_s for one in every)
    gaps_j = curve.energy_j(first, last) - shares_j.sum()
    between = sum(after[0].time_sent_s - max(one.time_end_s for one in before) for before, after in pairwise(blocks))
    assert gaps_j == pytest.approx(between * power_w(0), rel=0.1)  # with a part of the ticks at their ends


def test_everything_that_is_said_of_a_mode_follows_from_its_timelines(
    measured: Account, blocks: list[list[Timeline]]
) -> None:
    for mode in ("off", "on"):
        serving = next(each for each in measured.summary.serving if each.mode == mode)
        own = in_mode(blocks, mode)
        every = [one for block in blocks for one in block]
        shares = dict(zip((one.number for one in every), shares_of(every).energy_j, strict=True))
        answered = [one for block in own for one in block if one.number != 5]
        spans = [(min(one.time_sent_s for one in block), max(one.time_end_s for one in block)) for block in own]
        drawn = sum(drawn_j(every, *span) for span in spans)
        assert serving.n_answered == len(answered)
        assert serving.n_blocks == 2
        assert serving.energy_drawn_j == pytest.approx(drawn)
        assert serving.energy_amortised_j == pytest.approx(drawn / len(answered))
        assert serving.energy_all_j.value == pytest.approx(np.mean([shares[one.number] for one in answered]))
        steady = [
            one
            for window in serving.windows
            for one in answered
            if window.time_start_s < one.time_end_s <= window.time_end_s
        ]
        assert sum(window.n_ended for window in serving.windows) == len(steady) > 40
        assert serving.energy_steady_j.value == pytest.approx(np.mean([shares[one.number] for one in steady]))
        for window in serving.windows:
            joules = drawn_j(every, window.time_start_s, window.time_end_s)
            assert window.energy_j == pytest.approx(joules, rel=1e-3)
            assert window.energy_j == pytest.approx(power_w(4) * window.duration_s, rel=1e-3)
        assert serving.power_w == pytest.approx(power_w(4), rel=1e-3)
        assert serving.n_in_flight == pytest.approx(4.0)
        duration_s = sum(window.duration_s for window in serving.windows)
        assert serving.queries_per_second == pytest.approx(len(steady) / duration_s)
        tokens = sum(
            n
            for window in serving.windows
            for block in own
            for one in block
            for time_s, n in zip(one.time_chunk_s, one.n_chunk_tokens, strict=True)
            if window.time_start_s < time_s <= window.time_end_s
        )
        assert serving.output_tokens_per_second == pytest.approx(tokens / duration_s)
        per_token = power_w(4) * duration_s / tokens
        mean_tokens = np.mean([one.n_output_tokens for one in answered])
        assert serving.energy_per_output_token_j.value == pytest.approx(per_token, rel=1e-3)
        assert serving.energy_mlenergy_j.value == pytest.approx(per_token * mean_tokens, rel=1e-3)
        assert serving.energy_mlenergy_j.half_width_gain == pytest.approx(GAIN * per_token * mean_tokens, rel=1e-3)
        assert serving.load == "4 at once"
        assert serving.attributed


def test_shares_of_all_queries_and_what_is_nobodys_are_everything_that_was_drawn(measured: Account) -> None:
    for serving in measured.summary.serving:
        failed_j = sum(each.energy_j or 0.0 for each in serving.failures)
        attributed_j = (serving.energy_all_j.value or 0.0) * serving.n_answered + failed_j
        left_j = serving.energy_unattributed_j
        assert left_j is not None
        assert serving.energy_drawn_j == pytest.approx(attributed_j + left_j, rel=1e-6)


def test_a_moment_without_a_query_is_nobodys(tmp_path: Path) -> None:
    first = closed_loop(2, 10, start_s=8.0)
    pause_s = 4.0
    second = closed_loop(2, 10, start_s=max(one.time_end_s for one in first) + pause_s, first=10)
    second = [one.model_copy(update={"prompt_id": f"everyday-{one.number:03d}"}) for one in second]
    serving = serving_of(write_run(tmp_path / "run", load_cell(2), [[*first, *second]]))
    assert serving.energy_unattributed_j == pytest.approx(pause_s * power_w(0))
    assert serving.n_answered == 20


def test_failures_are_told_apart_with_their_joules(measured: Account, blocks: list[list[Timeline]]) -> None:
    off, on = measured.summary.serving
    every = [one for block in blocks for one in block]
    row = next(place for place, one in enumerate(every) if one.number == 5)
    assert [(each.code, each.n) for each in off.failures] == [(FindingCode.RATE_LIMITED, 1)]
    assert off.failures[0].energy_j == pytest.approx(shares_of(every).energy_j[row])
    assert on.failures == ()


def test_the_other_rule_moves_single_queries_and_next_to_nothing_of_their_mean(measured: Account) -> None:
    serving = measured.summary.serving[0]
    assert serving.energy_shared_equal_j == pytest.approx(serving.energy_all_j.value, rel=0.02)
    assert serving.rule_share is not None
    assert 0.001 < serving.rule_share < 0.2


def test_the_reading_error_of_a_mean_share_shrinks_with_the_queries(measured: Account) -> None:
    serving = measured.summary.serving[0]
    single_j = 1.0  # each query's own half-width in these runs
    own_j = single_j / math.sqrt(serving.n_answered)
    width_j = serving.energy_all_j.half_width_reading
    assert width_j is not None
    assert own_j <= width_j < 2 * own_j
    mode = next(each for each in measured.summary.modes if each.mode == "off")
    assert mode.energy_j == serving.energy_all_j
    assert mode.energy_wh_per_1000.half_width_reading == pytest.approx(width_j / 3.6)


def test_where_queries_share_by_tokens_there_is_no_law_of_tokens_and_no_power_of_a_query(measured: Account) -> None:
    assert measured.summary.law is None
    assert all(mode.power_w is None for mode in measured.summary.modes)


# --------------------------------------------------------------------------------------------- intervals


def test_alike_neighbours_widen_the_interval_to_that_of_their_groups() -> None:
    rng = np.random.default_rng(5)
    groups = rng.lognormal(3.0, 0.4, 40)
    energy_j = np.repeat(groups, 16)
    ones = np.ones(len(energy_j))
    apart, together = ratio_interval(energy_j, ones), company_interval(energy_j, ones, size=16)
    assert together == ratio_interval(16 * groups, np.full(40, 16.0))
    assert None not in (apart.low, apart.high, together.low, together.high)
    widths = [(each.high or 0.0) - (each.low or 0.0) for each in (apart, together)]
    assert widths[1] / widths[0] == pytest.approx(4.0, rel=0.2)


def test_too_few_groups_have_no_interval() -> None:
    found = company_interval(np.arange(1.0, 80.0), np.ones(79), size=16)
    assert (found.low, found.high) == (None, None)
    assert [each.code for each in found.findings] == [FindingCode.TOO_FEW_QUERIES]
    assert "4 groups of 16" in found.findings[0].detail


def test_queries_that_ran_one_by_one_are_their_own_groups() -> None:
    energy_j = np.random.default_rng(3).lognormal(3.0, 0.4, 60)
    assert company_interval(energy_j, np.ones(60), size=1) == ratio_interval(energy_j, np.ones(60))


# ------------------------------------------------------------------------------------ loads and findings


def test_what_a_load_is_called_and_what_is_one() -> None:
    assert load_words(load_cell(16)) == "16 at once"
    assert load_words(load_cell(1)) == "one at a time"
    assert load_words(load_cell(None, 2.5)) == "2.5 queries a second, at random"
    assert load_words(load_cell(None, batch_size=8)) == "batches of 8"
    assert is_under_load(load_cell(1))
    assert not is_under_load(cell())
    assert is_under_load(cell().model_copy(update={"batch_size": 4}))


def test_a_shared_cell_says_so_once_and_that_its_queue_is_not_seen(measured: Account) -> None:
    said = [finding.code for finding in measured.summary.findings]
    assert said.count(FindingCode.SHARED_BY_TOKENS) == 1
    assert said.count(FindingCode.QUEUE_NOT_SEEN) == 1
    assert FindingCode.NO_STEADY_STATE not in said
    assert measured.summary.serving[0].weights[0].prompt == WEIGHTS[0]


def test_a_queue_that_is_seen_and_weights_that_are_not_fitted(tmp_path: Path) -> None:
    blocks = paired_blocks(2, 40, queued_s=0.1, n_cached=25)
    account = account_of(write_run(tmp_path / "run", load_cell(2), blocks, source="equal"))
    assert FindingCode.QUEUE_NOT_SEEN not in codes(account)
    assert {FindingCode.WEIGHTS_NOT_FITTED, FindingCode.PROMPT_CACHED} <= codes(account)
    serving = account.summary.serving[0]
    assert serving.cached_share == pytest.approx(0.25)
    assert serving.first_token is not None
    assert serving.first_token.mean_s > 0.3


def test_too_few_prompts_have_no_steady_state(tmp_path: Path) -> None:
    account = account_of(paired_run(tmp_path / "run", 8, 32))
    serving = account.summary.serving[0]
    assert serving.windows == ()
    assert serving.energy_steady_j.value is None
    assert serving.energy_mlenergy_j.value is None
    assert serving.energy_all_j.value is not None
    assert FindingCode.NO_STEADY_STATE in codes(account)
    assert serving.power_w == pytest.approx((serving.energy_drawn_j or 0.0) / serving.duration_blocks_s, rel=5e-3)


def test_a_mode_of_failures_alone_has_no_figures_and_the_other_keeps_its_own(tmp_path: Path) -> None:
    """A server that died as soon as the second mode began."""
    both = paired_blocks(4, 30)
    failed = {one.number: FindingCode.SERVER_REFUSED for block in both for one in block if one.mode == "on"}
    account = account_of(write_run(tmp_path / "run", load_cell(4), both, failed=failed))
    off, on = account.summary.serving
    assert off.energy_all_j.value is not None
    assert off.energy_all_j.half_width_reading is not None
    assert (on.n_answered, sum(each.n for each in on.failures)) == (0, len(failed))
    assert on.energy_all_j.value is None
    assert on.energy_all_j.half_width_reading is None
    assert on.energy_amortised_j is None


def test_a_server_that_answers_one_at_a_time_attributes_nothing(tmp_path: Path) -> None:
    account = account_of(paired_run(tmp_path / "run", 1, 30))
    serving = account.summary.serving[0]
    assert not serving.attributed
    assert serving.energy_shared_equal_j is None
    assert serving.weights == ()
    assert not {FindingCode.SHARED_BY_TOKENS, FindingCode.QUEUE_NOT_SEEN} & codes(account)
    assert account.summary.modes[0].power_w is not None


def test_static_batches_are_all_ramp_and_drain(tmp_path: Path) -> None:
    measured = load_cell(None, engine=EngineOptions(device="cuda"), batch_size=4)
    batches, time_s = [], 8.0
    for batch in range(6):
        rows = [
            timeline(4 * batch + row, time_s, prompt_id=f"everyday-{4 * batch + row:03d}", n_chunks=5 + 3 * row)
            for row in range(4)
        ]
        batches += rows
        time_s = max(one.time_end_s for one in rows) + 0.5
    account = account_of(write_run(tmp_path / "run", measured, [batches]))
    (serving,) = account.summary.serving
    assert serving.windows == ()
    assert FindingCode.NO_STEADY_STATE not in codes(account)
    assert FindingCode.QUEUE_NOT_SEEN not in codes(account)
    assert serving.energy_unattributed_j == pytest.approx(5 * 0.5 * power_w(0))
    assert serving.energy_all_j.value is not None


def test_an_open_loop_counts_whoever_is_there(tmp_path: Path) -> None:
    queries = open_loop(1.5, 60, start_s=8.0)
    serving = serving_of(write_run(tmp_path / "run", load_cell(None, 1.5), [queries]))
    (window,) = serving.windows
    spent_s = sum(
        max(0.0, min(one.time_end_s, window.time_end_s) - max(one.time_start_s, window.time_start_s)) for one in queries
    )
    assert serving.n_in_flight == pytest.approx(spent_s / window.duration_s)
    assert isinstance(window, SteadyWindow)


def test_a_stretch_that_the_sensor_missed_has_no_energy(tmp_path: Path, blocks: list[list[Timeline]]) -> None:
    account = account_of(write_run(tmp_path / "run", load_cell(4), blocks))
    without = [
        SessionLoad(number=load.number, flights=load.flights, blocks=load.blocks, weights=load.weights)
        for load in account.loads
    ]
    found = serving_summaries(
        account.results.cell,
        account.results.columns,
        without,
        headline=Boundary.GPU_BOARD,
        gains={},
        estimated=False,
        modes=("off", "on"),
    )
    assert [each.windows[0].energy_j for each in found] == [None, None]
    assert [each.energy_mlenergy_j.value for each in found] == [None, None]
    assert [each.energy_unattributed_j for each in found] == [0.0, 0.0]  # everybody's share is known
    assert [each.energy_all_j.half_width_reading for each in found] == [None, None]
    assert all(each.energy_amortised_j is not None for each in found)  # the blocks' own readings know it


# ------------------------------------------------------------------------------------------- kept curves


def test_a_kept_curve_is_the_curve_and_is_made_again_for_other_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: list[list[Timeline]]
) -> None:
    store = write_run(tmp_path / "run", load_cell(4), blocks)
    first = account_of(store).summary
    folder = store.path / "sessions" / "01"
    assert not (folder / straight.NAME).exists()  # few knots
    monkeypatch.setattr(straight, "N_KNOTS_KEPT", 10)
    publish._straight.cache_clear()
    assert account_of(store).summary == first
    assert (folder / straight.NAME).exists()
    monkeypatch.setattr(publish, "rebuilt", None)  # nothing is read again
    publish._straight.cache_clear()
    assert account_of(store).summary == first
    monkeypatch.undo()
    (folder / straight.NAME).write_bytes(b"damaged")
    publish._straight.cache_clear()
    assert account_of(store).summary == first
    assert straight.read(folder, (1, 1)) is None
