"""The simulation's own parts: a table of coverage is worth what the simulated world and the simulated machine are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.energy_law import terms
from harness.analysis.estimates import heavy_tail
from scripts.check_statistics import machine, studies, until_ci
from scripts.check_statistics.tables import Table
from scripts.check_statistics.worlds import CAP, World

PROJECT = Path(__file__).resolve().parents[1]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = str(PROJECT / "scripts" / "check_statistics.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=120)


def test_the_script_prints_tables_for_the_docs() -> None:
    done = check("fixed", "--studies", "20", "--markdown")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].startswith("| log sd | prompts | ratio |")
    rows = [line for line in lines if line.startswith("| 0.")]
    assert len(rows) == 12
    assert all(len(row.split("|")) == len(lines[2].split("|")) for row in rows)


def test_an_unknown_part_is_refused_by_name() -> None:
    done = check("fxied")
    assert done.returncode == 2
    assert "fxied" in done.stderr
    assert "until-ci" in done.stderr


def test_simulated_joules_have_the_truth_that_they_are_said_to_have() -> None:
    x, y = studies.joules(200, 5000, 0.6, np.random.default_rng(1))
    assert x.mean() / y.mean() == pytest.approx(studies.RATIO, rel=0.01)
    assert np.log(x).std() == pytest.approx(0.6, rel=0.01)
    assert np.corrcoef(np.log(x[0]), np.log(y[0]))[0, 1] == pytest.approx(studies.CORRELATION, abs=0.05)


def test_the_finding_is_counted_as_the_analysis_gives_it() -> None:
    x, y = studies.joules(40, 100, 0.65, np.random.default_rng(3))
    single = [bool(heavy_tail(each_x.tolist(), each_y.tolist())) for each_x, each_y in zip(x, y, strict=True)]
    assert studies.heavy_tailed(x, y).tolist() == single
    assert any(single)
    assert not all(single)


def test_a_study_stops_at_its_first_narrow_look() -> None:
    ones, eights = np.ones(3), np.full(3, studies.RATIO)
    wide = studies.Intervals(eights, 0.5 * eights, 1.5 * eights)
    narrow = studies.Intervals(eights, eights * np.array([0.97, 0.5, 1.01]), eights * np.array([1.03, 1.5, 1.03]))
    last = studies.Intervals(eights, eights * ones * 1.1, eights * ones * 1.2)
    stopped = until_ci.stopped((30, 60, 100), (wide, narrow, last), target=0.05, factor=1.0)
    # The first stops right at 60, the third wrong at 60; the second goes on to the end, which does not hold the truth.
    assert stopped.held == pytest.approx(1 / 3)
    assert stopped.n_mean == pytest.approx((60 + 100 + 60) / 3)
    assert stopped.settled == 1.0


def test_a_confidence_sequence_is_wider_than_ten_looks_need() -> None:
    best = min(until_ci.sequence_factor(n, 400) for n in range(30, 1001, 10))
    assert best == pytest.approx(1.55, abs=0.05)
    assert until_ci.sequence_factor(30, 400) > best


def test_a_query_alone_is_between_the_published_ones() -> None:
    assert 52.7 < machine.TOKENS_PER_S < 61.1
    tokens, prompt = np.array([2000.0]), np.array([100.0])
    joules_per_token = float((terms(prompt, tokens) @ machine.LAW_J)[0]) / 2000
    assert 3.08 < joules_per_token < 6.46


def test_a_batch_takes_until_its_longest_row_ends() -> None:
    p, o = np.full(8, 100.0), np.array([100.0] * 7 + [1000.0])
    alone_s = float((terms(p[-1:], o[-1:]) @ machine.LAW_S)[0])
    batched_s = machine.batched_s(p, o, 8)
    assert alone_s < batched_s < 1.2 * alone_s
    assert machine.batched_s(p, np.full(8, 1000.0), 8) == pytest.approx(batched_s)
    assert machine.batched_s(p, o, 4) > batched_s
    assert machine.batched_s(p[-1:], o[-1:], 1) == pytest.approx(alone_s, rel=0.01)


def test_a_batch_fits_into_memory() -> None:
    for longest in (500.0, 1500.0, float(CAP)):
        size = machine.batch_size(longest)
        assert size * longest * machine.BYTES_PER_TOKEN <= machine.MEMORY_BYTES
        assert size == 128 or 2 * size * longest * machine.BYTES_PER_TOKEN > machine.MEMORY_BYTES


def test_the_true_ratio_is_that_of_the_law_and_the_lengths() -> None:
    world = World(on_tokens=1000, log_sd=0.3)
    assert world.truth() == pytest.approx(1000 / 300, rel=0.03)
    assert World(on_tokens=1000, log_sd=0.3, dearer_on=0.1).truth() == pytest.approx(1.1 * world.truth())


def test_tables_line_up() -> None:
    table = Table("A title", ("n", "share"), [["5", "95.0 %"], ["1000", "7 %"]])
    assert table.text().splitlines() == ["A title", "", "   n   share", "   5  95.0 %", "1000     7 %"]
    assert table.markdown().splitlines()[2:] == [
        "| n | share |",
        "| ---: | ---: |",
        "| 5 | 95.0 % |",
        "| 1000 | 7 % |",
    ]
