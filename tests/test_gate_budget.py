"""What a budget can say, and what it cannot mean."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import validated
from harness.errors import HarnessError, UnknownName, UsageError
from harness.gate.budget import Budget, Metric, ReferenceKind
from harness.gate.words import figure, listed, signed_share

LINE = {"metric": "energy_per_query_j", "at_most": 450}


def budget(*lines: dict[str, Any], **shared: Any) -> Budget:
    return validated(Budget, {"lines": list(lines), **shared}, "budget.yaml")


def refused(*lines: dict[str, Any], **shared: Any) -> HarnessError:
    with pytest.raises(UsageError) as caught:
        budget(*lines, **shared)
    return caught.value


def test_a_line_of_every_metric_has_a_name_that_says_it() -> None:
    found = budget(*({"metric": metric.value, "mode": "on", "at_most": 1.5} for metric in Metric))
    labels = [line.label for line in found.lines]
    assert labels[0] == "energy_per_query_j on at most 1.5 J"
    assert labels[1] == "energy_wh_per_1000 on at most 1.5 Wh"
    assert labels[2] == "output_tokens_per_query on at most 1.5 tokens"
    assert len(set(labels)) == len(Metric)


@pytest.mark.parametrize(
    ("written", "share"),
    [("+3%", 0.03), ("3%", 0.03), (0.03, 0.03), ("0%", 0.0), (0, 0.0), ("-5%", -0.05), ("−5 %", -0.05)],
)
def test_a_relative_limit_can_be_written_in_several_ways(written: object, share: float) -> None:
    line = budget({"metric": "energy_per_query_j", "at_most_over_reference": written}).lines[0]
    assert line.at_most_over_reference == pytest.approx(share)
    assert line.is_relative
    assert line.label == f"energy_per_query_j at most {signed_share(share)} over the reference"


@pytest.mark.parametrize("written", [3, "3", 1.03, "-100%", True, "three", "", None])
def test_a_share_that_may_be_a_percentage_is_refused(written: object) -> None:
    refused({"metric": "energy_per_query_j", "at_most_over_reference": written})


@pytest.mark.parametrize("written", ["0%", 0, "-3%", "100%", 3])
def test_an_equivalence_needs_a_margin(written: object) -> None:
    refused({"metric": "energy_per_query_j", "equivalent": written})


def test_a_line_needs_exactly_one_limit() -> None:
    assert "no limit" in str(refused({"metric": "energy_per_query_j"}))
    both = refused({**LINE, "equivalent": "3%"})
    assert "at_most and equivalent" in str(both)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"at_most": 0}, "at_most"),
        ({"at_most": -1}, "at_most"),
        ({"at_most": float("inf")}, "at_most"),
        ({"at_most": float("nan")}, "at_most"),
        ({"against": "release"}, "against"),
        ({"metric": "output_tokens_per_query", "board_gain": False}, "board gain"),
        ({"name": ""}, "name"),
        ({"name": " padded "}, "name"),
        ({"run_sd": 0}, "run_sd"),
        ({"run_sd": "200%"}, "run_sd"),
    ],
)
def test_a_line_that_cannot_be_meant_is_refused(change: dict[str, Any], words: str) -> None:
    assert words in str(refused({**LINE, **change}))


@pytest.mark.parametrize(("written", "words"), [("3 J", "in the metric's unit"), ("3%", "at_most_over_reference")])
def test_a_limit_with_a_unit_is_refused_with_what_to_write(written: str, words: str) -> None:
    assert words in str(refused({**LINE, "at_most": written}))
    assert budget({**LINE, "at_most": "3"}).lines[0].at_most == 3


def test_alpha_may_be_a_percentage() -> None:
    assert budget(LINE, alpha="5%").alpha == 0.05


def test_a_budget_may_allow_no_query_to_be_missing() -> None:
    assert budget(LINE, missing_at_most="0%").missing_at_most == 0
    refused(LINE, missing_at_most="-1%")


@pytest.mark.parametrize("key", ["gpu", "mode", "prompts"])
def test_a_filter_of_nothing_is_refused(key: str) -> None:
    assert key in str(refused({**LINE, key: ""}))


def test_the_gain_of_a_relative_line_cannot_be_left_out() -> None:
    error = refused({"metric": "energy_per_query_j", "equivalent": "3%", "board_gain": False})
    assert "cancels" in error.next_step


def test_unknown_keys_are_refused_with_the_nearest_one() -> None:
    line = refused({"metric": "energy_per_query_j", "at_mots": 450})
    assert isinstance(line, UnknownName)
    assert "'at_most'" in line.next_step
    whole = refused(LINE, alhpa=0.05)
    assert "'alpha'" in whole.next_step
    waiver = refused(LINE, waivers=[{"line": "x", "until": "2026-12-31", "owner": "a", "reason": "b", "untill": 1}])
    assert "'until'" in waiver.next_step


@pytest.mark.parametrize("alpha", [0, 0.5, 1, -0.05, "much"])
def test_alpha_is_between_none_and_a_half(alpha: object) -> None:
    assert "alpha" in str(refused(LINE, alpha=alpha))


def test_a_budget_has_lines_and_each_its_own_name() -> None:
    refused()
    assert "Two lines" in str(refused(LINE, LINE))
    assert "Two lines" in str(refused({**LINE, "name": "a"}, {**LINE, "name": "a", "at_most": 3}))
    assert len(budget(LINE, {**LINE, "mode": "on"}).lines) == 2


def test_a_waiver_is_of_a_line_that_exists_once() -> None:
    waiver = {
        "line": "energy_per_query_j at most 450 J",
        "until": "2026-12-31",
        "owner": "ann",
        "reason": "new kernels",
    }
    assert budget(LINE, waivers=[waiver]).waivers[0].until == date(2026, 12, 31)
    unknown = refused(LINE, waivers=[{**waiver, "line": "energy_per_query_j at most 45 J"}])
    assert "energy_per_query_j at most 450 J" in unknown.next_step
    assert "two waivers" in str(refused(LINE, waivers=[waiver, waiver]))
    refused(LINE, waivers=[{**waiver, "owner": ""}])
    refused(LINE, waivers=[{**waiver, "until": "soon"}])


def test_lists_of_one_may_be_written_without_brackets() -> None:
    line = {"metric": "energy_per_query_j", "equivalent": "3%", "against": "golden"}
    found = budget(line, allow="driver")
    assert found.lines[0].against == (ReferenceKind.GOLDEN,)
    assert found.allow == ("driver",)
    refused(LINE, allow=["everything"])
    refused({**line, "against": []})
    refused({**line, "against": ["golden", "golden"]})


@given(st.floats(min_value=1e-6, max_value=1e9), st.integers(min_value=3, max_value=12))
def test_a_printed_figure_is_the_figure(value: float, n_digits: int) -> None:
    assert float(figure(value, n_digits).replace(",", "")) == pytest.approx(value, rel=10.0 ** (1 - n_digits))


def test_figures_in_sentences() -> None:
    assert figure(1234567.0, 3) == "1,234,567"
    assert figure(0.0) == "0"
    assert figure(450.0) == "450"
    assert signed_share(-0.05) == "−5 %"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == "nothing"
