"""Statistics of very many prompts: the same answers by means that do not grow with them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from harness.analysis import accuracy, bootstrap
from harness.analysis.accuracy import exact_p_value
from harness.analysis.bootstrap import (
    Interval,
    bca_ratio_interval,
    grouped,
    mean_interval,
    per_success_interval,
    per_success_ratio_interval,
    ratio_interval,
)
from harness.reasoning import proof
from harness.reasoning.proof import sign_test
from scripts.check_statistics import large

N = 3000


@pytest.fixture
def early_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "N_LIMIT", N)
    monkeypatch.setattr(bootstrap, "N_GROUPS", N // 2)


def joules(n: int = N, log_sd: float = 0.3, seed: int = 4) -> tuple[bootstrap.FloatArray, bootstrap.FloatArray]:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    return 800 * np.exp(log_sd * common), 100 * np.exp(log_sd * (common + rng.standard_normal(n)))


def right(share: float, n: int = N, seed: int = 9) -> bootstrap.FloatArray:
    return (np.random.default_rng(seed).random(n) < share).astype(np.float64)


INTERVALS: dict[str, Callable[[], Interval]] = {
    "ratio": lambda: ratio_interval(*joules()),
    "ratio by BCa": lambda: bca_ratio_interval(*joules()),
    "mean": lambda: ratio_interval(joules()[0], np.ones(N)),
    "signed mean": lambda: mean_interval(np.subtract(*joules())),
    "per correct": lambda: per_success_interval(joules()[0], right(0.6)),
    "per rarely correct": lambda: per_success_interval(joules()[0], right(0.01)),
    "ratio per correct": lambda: per_success_ratio_interval(
        (joules()[0], right(0.9)), (joules()[1], right(0.6, seed=8))
    ),
}


@pytest.mark.parametrize("name", INTERVALS)
def test_the_limit_is_what_resampling_comes_to(name: str, request: pytest.FixtureRequest) -> None:
    resampled = INTERVALS[name]()
    request.getfixturevalue("early_limit")
    limit = INTERVALS[name]()
    assert resampled.low is not None
    assert resampled.high is not None
    half_width = (resampled.high - resampled.low) / 2
    # 4,000 resamples know an end to about 3 % of the half-width, and both ends to each other no better.
    assert limit.low == pytest.approx(resampled.low, abs=0.12 * half_width)
    assert limit.high == pytest.approx(resampled.high, abs=0.12 * half_width)


def test_no_more_than_so_many_rows_are_ever_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    drawn = bootstrap.drawn_counts

    def counted(n: int, n_resamples: int, seed: int) -> object:
        asked.append(n)
        return drawn(n, n_resamples, seed)

    monkeypatch.setattr(bootstrap, "N_LIMIT", 300)
    monkeypatch.setattr(bootstrap, "N_GROUPS", 150)
    monkeypatch.setattr(bootstrap, "drawn_counts", counted)
    for make in INTERVALS.values():
        interval = make()
        assert interval.low is not None
    assert asked
    assert set(asked) == {150}


def test_groups_are_of_one_size_and_hold_everything(early_limit: None) -> None:
    columns = np.column_stack((np.ones(N + 700), np.arange(N + 700.0)))
    groups = grouped(columns)
    assert groups.shape == (N // 2, 2)
    assert set(groups[:, 0].tolist()) == {2.0, 3.0}
    np.testing.assert_allclose(groups.sum(axis=0), columns.sum(axis=0))
    few = columns[: N - 1]
    assert grouped(few) is few


@pytest.mark.parametrize("test", [exact_p_value, sign_test])
def test_a_binomial_of_many_is_added_up_in_floating_point(
    test: Callable[[int, int], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(700, 500), (601, 600), (1200, 0), (640, 560)]
    in_floats = [test(*pair) for pair in pairs]
    for module in (accuracy, proof):
        monkeypatch.setattr(module, "N_EXACT", 10**6)
    assert in_floats == pytest.approx([test(*pair) for pair in pairs], rel=1e-9)
    monkeypatch.undo()
    assert test(250_000, 250_000) == 1.0
    z = 1000 / math.sqrt(500_000)
    assert test(250_500, 249_500) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def test_the_table_of_the_limit_has_a_row_per_spread() -> None:
    table = large.coverage(20, seed=1, n_prompts=(bootstrap.N_LIMIT,))
    assert [row[0] for row in table.rows] == ["0.3", "0.6", "0.9"]
    assert all(len(row) == len(table.header) for row in table.rows)
