"""The page's study: which panels there are, what they say, and that they hold for any number of modes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.measured import QueryFigures, devices_by_session, figures_of
from harness.records import (
    AccuracyDifference,
    Boundary,
    Comparison,
    EnergyLaw,
    Estimate,
    Finding,
    FindingCode,
    LengthRecord,
    Method,
    Output,
    Part,
    QueryRecord,
    Stopping,
    Summary,
    TwoPhase,
    TwoPhaseMode,
)
from harness.report.across import across_panels
from harness.report.charts import scatter_panel
from harness.report.compared import Answer
from harness.report.measure import measure_of
from harness.report.page import Lead, render_page, tight
from harness.report.panel import Panel, Scale
from harness.report.receipt import receipt_of
from harness.report.savings import stopping_panel, two_phase_panel
from harness.report.spread import spread_panel
from harness.report.study_bars import factors_panel, split_panel
from harness.report.study_charts import front_panel, lengths_panel, pairs_panel
from harness.report.table import Figure, Table, TableRow
from tests.synthetic_runs import estimated_summary, page_cell, query, run_of_queries, summary_of

FOUR = ("off", "budget:64", "budget:256", "on")
NAMES = ("factors", "pairs", "split", "spread", "front", "lengths", "scatter")
ATTACK = "</script><img src=x onerror=alert(1)>"


def near(value: float, share: float = 0.1) -> Estimate:
    low, high = sorted((value * (1 - share), value * (1 + share)))
    return Estimate(value=value, low=low, high=high, half_width_reading=abs(value) / 100)


def compared(summary: Summary, numerator: str, **changes: Any) -> Comparison:
    """A comparison over the first mode, with figures that follow from the two modes' means."""
    by_name = {mode.mode: mode for mode in summary.modes}
    above, under = by_name[numerator], summary.modes[0]
    joules, seconds = (
        (one.value or 0) / (other.value or 1)
        for one, other in ((above.energy_j, under.energy_j), (above.duration_s, under.duration_s))
    )
    tokens = (above.output_tokens or 0) / (under.output_tokens or 1)
    measured = not summary.estimated
    phases = dict.fromkeys((*under.phases_j, *above.phases_j))
    fields: dict[str, Any] = {
        "numerator": numerator,
        "denominator": under.mode,
        "n_pairs": above.n_queries,
        "energy": near(joules) if measured else Estimate(value=None),
        "duration": near(seconds),
        "tokens": near(tokens),
        "energy_per_token": near(joules / tokens, 0.01) if measured else Estimate(value=None),
        "duration_per_token": seconds / tokens,
        "difference_j": near((above.energy_j.value or 0) - (under.energy_j.value or 0))
        if measured
        else Estimate(value=None),
        "parts": tuple(
            Part(name=name, difference_j=near(above.phases_j.get(name, 0.0) - under.phases_j.get(name, 0.0)))
            for name in phases
        )
        if measured
        else (),
        "accuracy": AccuracyDifference(
            n=above.n_scored,
            n_both=under.n_correct,
            n_only_numerator=max(0, above.n_correct - under.n_correct),
            n_only_denominator=0,
            difference=near((above.n_correct - under.n_correct) / max(above.n_scored, 1)),
            p_value=0.0004,
        ),
        "energy_per_correct": near(2.4),
        "smallest_detectable": 0.12,
    }
    return Comparison(**{**fields, **changes})


def law(modes: Sequence[str], **changes: Any) -> EnergyLaw:
    fields: dict[str, Any] = {
        "modes": tuple(modes),
        "n_queries": 200,
        "per_query_j": near(12.0),
        "per_prompt_token_j": near(0.55),
        "per_output_token_j": near(7.9),
        "per_attended_token_j": near(2e-4),
        "residual_relative_sd": 0.021,
        "residual_relative_by_mode": dict.fromkeys(modes, 0.004),
    }
    return EnergyLaw(**{**fields, **changes})


def study(
    modes: Sequence[str] = ("off", "on"), n_prompts: int = 50, **changes: Any
) -> tuple[list[QueryRecord], Summary]:
    """A run and its summary with everything that a study says."""
    queries = run_of_queries(n_prompts, modes)
    plain = summary_of(queries, modes)
    comparisons = tuple(compared(plain, mode) for mode in reversed(modes[1:]))
    return queries, plain.model_copy(update={"comparisons": comparisons, "law": law(modes), **changes})


def estimated(modes: Sequence[str] = ("off", "on")) -> tuple[list[QueryRecord], Summary]:
    queries = run_of_queries(50, modes, method=Method.ESTIMATED, boundary=Boundary.HOST, power_w=45.0, net=False)
    plain = estimated_summary(50, modes)
    return queries, plain.model_copy(
        update={"comparisons": tuple(compared(plain, mode) for mode in reversed(modes[1:]))}
    )


def invalid(summary: Summary, numerator: str = "on") -> Comparison:
    """The switch did nothing: every figure is null."""
    nothing = Estimate(value=None)
    finding = Finding(code=FindingCode.SAME_OUTPUT_IN_MODES, detail="50 of 50 prompts")
    return compared(
        summary,
        numerator,
        energy=nothing,
        duration=nothing,
        tokens=nothing,
        energy_per_token=nothing,
        duration_per_token=None,
        difference_j=nothing,
        parts=(),
        accuracy=None,
        energy_per_correct=nothing,
        smallest_detectable=None,
        invalid=(finding,),
    )


STOPPING = Stopping(
    target=0.05,
    of="ratio of total joules, on over off",
    n_prompts=120,
    n_prompts_most=400,
    looks=((30, None), (50, 0.089), (80, 0.062), (120, 0.048)),
    settled=True,
    saved_s=2900.0,
    saved_j=1.16e6,
)


def two_phase(*, valid: bool = True) -> TwoPhase:
    nothing = Estimate(value=None)
    modes = tuple(
        TwoPhaseMode(
            mode=mode,
            n_prompts=400,
            n_failed=0,
            n_cut=3,
            n_scored=400,
            n_correct=right,
            prompt_tokens=51.0,
            output_tokens=tokens,
            energy_j=near(energy_j, 0.04) if valid else nothing,
            energy_per_correct_j=near(energy_j * 400 / right) if valid else nothing,
            n_held_out=8,
            held_out_deviation=deviation,
            held_out_limit=0.035,
        )
        for mode, right, tokens, energy_j, deviation in (
            ("off", 240, 158.0, 1310.0, 0.012),
            ("on", 368, 870.0, 7020.0, -0.008 if valid else 0.09),
        )
    )
    return TwoPhase(
        batch_size=32,
        n_prompts=400,
        n_law=44,
        n_planned=60,
        n_measured=60,
        law=law(("off", "on")),
        modes=modes,
        numerator="on",
        denominator="off",
        energy=near(5.36, 0.045) if valid else nothing,
        duration_batched_s=310.0,
        duration_measured_s=520.0,
        duration_saved_s=7400.0,
        valid=valid,
        findings=(
            Finding(code=FindingCode.TWO_PHASE),
            *(() if valid else (Finding(code=FindingCode.LAW_NOT_HELD, detail="on: + 9 %"),)),
        ),
    )


def figures(queries: Sequence[QueryRecord], summary: Summary) -> list[QueryFigures]:
    devices = devices_by_session(queries, summary.headline)
    return [figures_of(each, summary.headline, devices[each.session]) for each in queries]


def thinking_of(queries: Sequence[QueryRecord]) -> dict[str, list[int]]:
    by_mode: dict[str, list[int]] = {}
    for each in queries:
        if each.output is not None:
            by_mode.setdefault(each.mode, []).append(each.output.n_tokens("thinking_tokens") or 0)
    return by_mode


def rendered(queries: Sequence[QueryRecord], summary: Summary) -> str:
    return render_page([page_cell(queries, summary)])


class Page(HTMLParser):
    """Which panels a page has, and the words outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.panels: list[str] = []
        self.drawn: list[str] = []
        self.tables = 0
        self.words = ""
        self.banners = 0
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        names = given.get("class", "").split()
        self._silent += tag in ("script", "style")
        self.tables += tag == "details" and not {"line", "query"} & set(names)
        self.banners += "banner" in names
        if "panel" in names:
            self.panels.append(names[-1])
        if "data-chart" in given:
            self.drawn.append(given["data-chart"])

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words += data


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" class="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def present(panel: Panel | None) -> Panel:
    assert panel is not None
    return panel


# ---------------------------------------------------------------------------------------- which panels


@pytest.mark.parametrize("modes", [("off", "on"), FOUR])
def test_a_study_has_its_panels_and_each_has_a_table(modes: Sequence[str]) -> None:
    page = Page(rendered(*study(modes, 20)))
    assert page.panels == [*NAMES, "power"]
    assert page.drawn == ["pairs", "lengths", "scatter", "power"]
    assert page.tables == len(page.panels) + len(modes) // 2  # all queries; all comparisons where there are several
    for question in ("What it costs", "Why", "What it buys", "Is it real"):
        assert question in page.words


def test_what_the_script_draws_is_in_the_page_once() -> None:
    page = rendered(*study(FOUR, 20))
    assert sorted(data_of(page)) == ["lengths", "pairs", "power", "scatter"]
    for name in ("pairs", "lengths", "scatter"):
        assert page.count(f'data-chart="{name}"') == 1


def test_one_mode_has_no_comparison() -> None:
    queries = [each for each in run_of_queries(20) if each.mode == "on"]
    summary = summary_of(queries, ("on",))
    assert Page(rendered(queries, summary)).panels == ["split", "spread", "lengths", "scatter", "power"]


def test_without_thinking_there_are_no_lengths_and_without_scores_no_front() -> None:
    queries = [query(index, mode, 5.0 + index) for index in range(8) for mode in ("off", "other")]
    plain = summary_of(queries, ("off", "other"))
    summary = plain.model_copy(update={"comparisons": (compared(plain, "other", accuracy=None),)})
    panels = Page(rendered(queries, summary)).panels
    assert "lengths" not in panels
    assert "front" not in panels
    assert "pairs" in panels


def test_stopping_and_two_phase_have_panels_where_they_are() -> None:
    assert Page(rendered(*study(n_prompts=20, stopping=STOPPING))).panels == [*NAMES, "stopping", "power"]
    assert Page(rendered(*study(n_prompts=20, two_phase=two_phase()))).panels == ["two-phase", "scatter", "power"]


def test_in_a_two_phase_run_the_lengths_are_those_of_all_prompts() -> None:
    queries, summary = study(n_prompts=8, two_phase=two_phase())
    lengths = [
        LengthRecord(
            session=0,
            prompt_id=f"p{index}",
            prompt_index=index,
            mode="on",
            seed=1,
            batch_size=32,
            output=Output(
                sizes={"thinking_tokens": 100 + index}, finish_reason="stop", rendered_prompt_sha256="0" * 64
            ),
            score=None,
        )
        for index in range(11)
    ]
    page = render_page([page_cell(queries, summary, lengths=lengths)])
    assert data_of(page)["lengths"]["steps"][0][-1] == [110, 100.0]
    assert "105 in on" in Page(page).words
    assert "3 in off, 3 in on" in Page(page).words  # cut, of all prompts


def test_an_invalid_comparison_is_a_banner_and_no_figure() -> None:
    queries, summary = study(n_prompts=20)
    page = Page(rendered(queries, summary.model_copy(update={"comparisons": (invalid(summary),)})))
    assert page.banners == 1
    assert FindingCode.SAME_OUTPUT_IN_MODES.sentence in page.words
    assert "50 of 50 prompts" in page.words
    assert not {"factors", "pairs", "front"} & set(page.panels)
    assert "lengths" in page.panels  # they show what the switch did


def test_only_the_invalid_mode_leaves_the_charts_that_compare() -> None:
    queries, summary = study(FOUR, 20)
    kept = tuple(each for each in summary.comparisons if each.numerator != "on")
    summary = summary.model_copy(update={"comparisons": (invalid(summary), *kept)})
    page = rendered(queries, summary)
    assert data_of(page)["pairs"]["modes"] == ["off", "budget:64", "budget:256"]
    assert data_of(page)["lengths"]["modes"] == ["budget:64", "budget:256", "on"]
    assert Page(page).banners == 1


# --------------------------------------------------------------------------------------- what they say


def test_the_two_factors_end_where_the_whole_ends() -> None:
    _, summary = study(FOUR, 20)
    panel = present(factors_panel(summary, summary.comparisons, measure_of(summary)))
    bars = panel.bars[0].bars
    assert len(bars) == 3 * len(summary.comparisons)
    for tokens, each, whole in zip(bars[::3], bars[1::3], bars[2::3], strict=True):
        start, end = tokens.spans[0].left, tokens.spans[0].left + tokens.spans[0].width
        assert end - each.spans[0].width == pytest.approx(start + whole.spans[0].width, abs=0.03)
        assert whole.spans[0].left == start
    comparison = summary.comparisons[0]
    assert panel.caption.startswith("Reasoning on takes 1")
    assert f"{comparison.n_pairs} prompts" in bars[0].heading


@pytest.mark.parametrize(("each", "words"), [(0.8, "20 % cheaper"), (1.0, "same joules"), (1.25, "25 % dearer")])
def test_tokens_are_called_dearer_or_cheaper(each: float, words: str) -> None:
    _, summary = study(n_prompts=20)
    comparison = compared(summary, "on", tokens=near(4.0), energy_per_token=near(each), energy=near(4.0 * each))
    assert words in present(factors_panel(summary, [comparison], measure_of(summary))).caption


def test_a_ratio_below_one_lies_left_of_one() -> None:
    _, summary = study(n_prompts=20)
    comparison = compared(summary, "on", tokens=near(0.5), energy_per_token=near(0.8), energy=near(0.4))
    tokens, each, whole = present(factors_panel(summary, [comparison], measure_of(summary))).bars[0].bars
    one = whole.spans[0].left + whole.spans[0].width
    assert tokens.spans[0].left + tokens.spans[0].width == pytest.approx(one, abs=0.02)
    assert each.spans[0].left == whole.spans[0].left


def test_the_phases_of_a_bar_fill_it_and_its_table_adds_up() -> None:
    _, summary = study(FOUR, 20)
    panel = present(split_panel(summary, measure_of(summary)))
    longest = panel.bars[0].bars[-1]
    for before, after in zip(longest.spans, longest.spans[1:], strict=False):
        assert before.left + before.width == pytest.approx(after.left, abs=0.02)
    assert [row[0] for row in panel.grid.rows] == ["prefill", "thinking", "answer", "total"]
    assert panel.grid.rows[1][1] == "–"  # off does not think
    assert len(panel.grid.columns) == 1 + len(FOUR) + len(summary.comparisons)
    assert "of it is thinking" in panel.caption


def leading_number(text: str) -> float:
    found = re.match(r"[+−]?[\d,.]+", text)
    return 0.0 if found is None else float(found[0].replace(",", "").replace("−", "-"))


@pytest.mark.parametrize("seed", range(20))
def test_every_column_of_the_split_adds_up_and_is_the_terminals(seed: int) -> None:
    summary = summary_of(run_of_queries(30, FOUR, seed=seed), FOUR)
    grid = present(split_panel(summary, measure_of(summary))).grid
    for column in range(1, len(grid.columns)):
        *parts, total = (leading_number(row[column]) for row in grid.rows)
        assert sum(parts) == pytest.approx(total, abs=1e-6), grid.columns[column]
    headline = next(section for section in receipt_of(summary).sections if " minus " in section.title)
    printed = [row.cells[0] for row in headline.rows if row.label != "other prompts"]
    assert [row[1 + len(FOUR)].partition(" (")[0] for row in grid.rows] == printed
    assert [" (" in row[1 + len(FOUR)] for row in grid.rows] == [False, False, False, True]  # of a rounded part, none
    interval = next(row.cells[0] for row in headline.rows if row.label == "other prompts")
    assert grid.rows[-1][1 + len(FOUR)].endswith(f"({interval.removeprefix('95 %: ')})")


def test_phases_that_do_not_add_up_are_unknown() -> None:
    _, summary = study(n_prompts=20)
    torn = summary.modes[1].model_copy(update={"phases_j": {"prefill": 1.0, "answer": 2.0}})
    summary = summary.model_copy(update={"modes": (summary.modes[0], torn)})
    panel = present(split_panel(summary, measure_of(summary)))
    assert [row[2] for row in panel.grid.rows[:2]] == ["unknown"] * 2
    assert len(panel.bars[0].bars[1].spans) == 1


def test_pairs_count_the_prompts_that_took_more() -> None:
    queries = [
        query(index, mode, energy_j)
        for index, pair in enumerate([(10.0, 30.0), (10.0, 40.0), (10.0, 5.0), (None, 40.0)])
        for mode, energy_j in zip(("off", "on"), pair, strict=True)
    ]
    plain = summary_of(queries)
    panel = present(pairs_panel(plain, figures(queries, plain), [compared(plain, "on")], measure_of(plain)))
    assert "2 of 3 took more joules in on than in off, the middle one 3.00 × as many" in panel.caption
    assert isinstance(panel.chart, dict)
    assert panel.chart["values"] == [[10.0, 30.0], [10.0, 40.0], [10.0, 5.0]]
    assert panel.grid.rows[-1][1:] == ("0.500 ×", "1.75 ×", "3.00 ×", "3.50 ×", "4.00 ×")


def test_many_prompts_are_drawn_in_part_and_it_is_said() -> None:
    queries, summary = study(FOUR, 1010)
    panel = present(pairs_panel(summary, figures(queries, summary), summary.comparisons, measure_of(summary)))
    assert isinstance(panel.chart, dict)
    assert len(panel.chart["ids"]) == 1000  # type: ignore[arg-type]
    assert panel.notes == ("10 further prompts are not drawn.",)


def test_lengths_name_the_middle_and_the_modes_that_never_think() -> None:
    queries = [
        query(index, mode, 5.0, thinking_tokens=0 if mode == "off" else tokens)
        for index, tokens in enumerate((100, 200, 300))
        for mode in ("off", "on")
    ]
    plain = summary_of(queries)
    panel = present(lengths_panel(plain, thinking_of(queries)))
    assert panel.caption == "Half of the queries think for at most this many tokens: 200 in on; off never thinks."
    assert isinstance(panel.chart, dict)
    assert panel.chart["steps"] == [[[100, 33.33], [200, 66.67], [300, 100.0]]]
    assert panel.chart["colours"] == [1]


def test_cut_and_forced_queries_are_told_apart() -> None:
    queries, summary = study(n_prompts=20)
    on = summary.modes[1].model_copy(update={"n_cut": 3, "n_forced": 5})
    summary = summary.model_copy(update={"modes": (summary.modes[0], on)})
    notes = present(lengths_panel(summary, thinking_of(queries))).notes
    assert notes == (
        "Cut by the token cap before their end: 3 in on.",
        "Thinking ended by force at its budget: 5 in on.",
    )


def front_of(points: Sequence[tuple[float, int]]) -> Panel:
    """Modes by joules and right answers of 20."""
    names = ("off", "low", "medium", "on")[: len(points)]
    queries = [
        query(index, mode, energy_j, correct=index < right, thinking_tokens=10)
        for index in range(20)
        for mode, (energy_j, right) in zip(names, points, strict=True)
    ]
    plain = summary_of(queries, names)
    comparisons = [compared(plain, mode) for mode in names[1:]]
    return present(front_panel(plain, comparisons, measure_of(plain)))


def test_a_mode_that_another_beats_is_off_the_front() -> None:
    panel = front_of([(10.0, 8), (20.0, 12), (30.0, 11), (40.0, 18)])
    assert panel.front is not None
    assert [spot.on_front for spot in panel.front.spots] == [True, True, False, True]
    assert "another is both cheaper and right at least as often as medium" in panel.caption
    assert [row[-1] for row in panel.grid.rows] == ["yes", "yes", "no", "yes"]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 19)), min_size=2, max_size=4))
def test_the_front_rises_and_nothing_lies_above_it(points: list[tuple[int, int]]) -> None:
    panel = front_of([(float(energy_j), right) for energy_j, right in points])
    assert panel.front is not None
    spots = panel.front.spots
    kept = sorted((spot for spot in spots if spot.on_front), key=lambda spot: spot.left)
    assert kept
    assert [spot.bottom for spot in kept] == sorted(spot.bottom for spot in kept)
    for spot in spots:
        if not spot.on_front:
            assert any(one.left <= spot.left and one.bottom >= spot.bottom for one in kept)


def test_the_law_is_drawn_where_there_is_one() -> None:
    queries, summary = study(n_prompts=20)
    drawn = [(each, 0.0) for each in figures(queries, summary)]
    chart = present(scatter_panel(summary, drawn, ["off", "on"])).chart
    assert isinstance(chart, dict)
    assert chart["law"] is True
    lines = chart["lines"]
    assert isinstance(lines, list)
    tokens, joules = lines[1][-1]
    expected = 12.0 + 0.55 * 50 + 7.9 * tokens + 2e-4 * (50 * tokens + tokens**2 / 2)
    assert joules == pytest.approx(expected, rel=1e-3)


def test_a_coefficient_that_is_not_known_is_not_drawn() -> None:
    queries, summary = study(n_prompts=20)
    nothing = Estimate(value=None, findings=(Finding(code=FindingCode.COLLINEAR),))
    reduced = law(("off", "on"), per_prompt_token_j=nothing, per_attended_token_j=nothing)
    drawn = [(each, 0.0) for each in figures(queries, summary)]
    chart = present(scatter_panel(summary.model_copy(update={"law": reduced}), drawn, ["off", "on"])).chart
    assert isinstance(chart, dict)
    lines = chart["lines"]
    assert isinstance(lines, list)
    tokens, joules = lines[0][0]
    assert joules == pytest.approx(12.0 + 7.9 * tokens, rel=1e-3)


def test_a_law_that_does_not_hold_is_not_drawn() -> None:
    for valid in (True, False):
        queries, summary = study(n_prompts=20, two_phase=two_phase(valid=valid))
        drawn = [(each, 0.0) for each in figures(queries, summary)]
        panel = present(scatter_panel(summary, drawn, ["off", "on"]))
        assert isinstance(panel.chart, dict)
        assert (panel.chart["law"], bool(panel.chart["lines"])) == (valid, valid)
        assert bool(panel.notes) == valid


def test_a_switch_that_did_nothing_is_not_blamed_on_the_law() -> None:
    thought = Finding(code=FindingCode.THINKING_IN_OFF_MODE)
    held = two_phase().model_copy(
        update={"valid": False, "findings": (thought,), "energy": Estimate(value=None), "n_measured": 12}
    )
    _, summary = study(n_prompts=20)
    panel = two_phase_panel(summary, held)
    assert panel.caption == f"No figure. 12 of 60 queries measured. {thought.code.sentence}"
    assert len(panel.bars) == 1  # of the held-out queries; no joules


def test_without_a_law_each_mode_has_its_slope() -> None:
    queries, summary = study(n_prompts=20, law=None)
    drawn = [(each, 0.0) for each in figures(queries, summary)]
    panel = present(scatter_panel(summary, drawn, ["off", "on"]))
    assert isinstance(panel.chart, dict)
    assert panel.chart["law"] is False
    assert [len(line) for line in panel.chart["lines"]] == [2, 2]  # type: ignore[attr-defined]
    assert panel.notes == ("A dashed line is its mode's J per output token.",)


def test_stopping_says_what_was_saved_or_that_it_was_not_enough() -> None:
    caption = stopping_panel(STOPPING).caption
    assert caption.startswith(
        "After 120 of at most 400 prompts, the ratio of total joules (on over off) is known to ± 4.8 %, where 5.0 % "
    )
    for words in ("48 min", "1.16 MJ"):
        assert words in caption
    mean = STOPPING.model_copy(update={"of": "mean joules per query", "saved_s": 0.0, "saved_j": 0.0})
    assert stopping_panel(mean).caption == (
        "After 120 of at most 400 prompts, the mean joules per query is known to ± 4.8 %, where 5.0 % was asked for."
    )
    open_ended = STOPPING.model_copy(update={"settled": False, "saved_s": None, "saved_j": None})
    assert "was not reached" in stopping_panel(open_ended).caption


def test_two_phase_is_labelled_in_every_chart_and_table() -> None:
    _, summary = study(n_prompts=20)
    panel = two_phase_panel(summary, two_phase())
    assert panel.label == "two-phase"
    assert panel.caption.startswith("Two-phase: ")
    assert "two-phase" in panel.bars[0].axis
    assert sum("two-phase" in column for column in panel.grid.columns) == 2
    inside = panel.bars[1].bars[0]
    assert inside.mark is not None
    assert inside.spans[0].left < inside.mark < inside.spans[0].left + inside.spans[0].width


def test_a_law_that_does_not_hold_shows_no_joules() -> None:
    _, summary = study(n_prompts=20)
    panel = two_phase_panel(summary, two_phase(valid=False))
    assert panel.caption == f"No figure. {FindingCode.LAW_NOT_HELD.sentence}"
    assert any(FindingCode.LAW_NOT_HELD.sentence in note for note in panel.notes)
    assert not any("unknown" in cell for row in panel.grid.rows for cell in row)
    assert not any("J " in column for column in panel.grid.columns)
    assert [bars.axis for bars in panel.bars] == ["held-out joules against the law, %"]
    beyond = panel.bars[-1].bars[1]
    assert beyond.mark is not None
    assert beyond.mark > beyond.spans[0].left + beyond.spans[0].width


def spread_of(by_mode: dict[str, Sequence[float]]) -> Panel:
    n = max(len(values) for values in by_mode.values())
    queries = [
        query(index, mode, values[index], correct=True)
        for index in range(n)
        for mode, values in by_mode.items()
        if index < len(values)
    ]
    summary = summary_of(queries, tuple(by_mode))
    return present(spread_panel(summary, figures(queries, summary), measure_of(summary)))


def test_the_spread_says_the_quartiles_and_what_the_dearest_take() -> None:
    panel = spread_of({"off": [10.0] * 10, "on": [float(value) for value in range(10, 60, 5)]})
    assert panel.caption == (
        "The middle half of the queries takes between 10.0 and 10.0 J in off, between 21.2 and 43.8 J in on."
    )
    assert panel.notes == (
        "The dearest tenth of the queries takes this much of all joules: 10 % in off and 17 % in on.",
    )
    assert panel.grid.rows[1][1:] == ("10", "10.0", "21.2", "32.5", "43.8", "55.0", "32.5")
    lower, upper = panel.bars[0].bars[1].spans
    assert lower.left + lower.width == pytest.approx(upper.left, abs=0.02)
    assert panel.bars[0].bars[1].mark == pytest.approx(upper.left, abs=0.02)  # the mean is the middle here


def test_very_unequal_queries_have_a_logarithmic_axis_and_their_hills_end_inside() -> None:
    panel = spread_of({"on": [0.5, 1.0, 2.0, 700.0, 900.0]})
    assert panel.bars[0].axis.endswith("(logarithmic)")
    silhouette = panel.bars[0].bars[0].silhouette
    places = [float(each) for each in re.findall(r"H([\d.]+)", silhouette)]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 100
    assert min(float(each) for each in re.findall(r"V([\d.]+)", silhouette)) == 0  # each mode to its own height


def test_few_queries_or_none_with_energy_have_no_spread() -> None:
    queries = [query(index, "on", 5.0 if index < 2 else None) for index in range(6)]
    summary = summary_of(queries, ("on",))
    assert spread_panel(summary, figures(queries, summary), measure_of(summary)) is None


# --------------------------------------------------------------------------------------------- unknown

ESTIMATES = ("energy", "duration", "tokens", "energy_per_token", "difference_j", "energy_per_correct")


@pytest.mark.parametrize("unknown", ESTIMATES)
def test_an_unknown_figure_of_a_comparison_is_not_drawn_as_zero(unknown: str) -> None:
    queries, summary = study(n_prompts=8)
    comparison = compared(summary, "on", **{unknown: Estimate(value=None)})
    page = Page(rendered(queries, summary.model_copy(update={"comparisons": (comparison,)})))
    assert ("factors" in page.panels) == (unknown not in ("energy", "tokens", "energy_per_token"))
    assert "pairs" in page.panels


@pytest.mark.parametrize("n_prompts", [1, 2])
def test_a_page_of_very_few_prompts_renders(n_prompts: int) -> None:
    queries = run_of_queries(n_prompts)
    page = Page(rendered(queries, summary_of(queries)))
    assert {"split", "lengths", "scatter"} <= set(page.panels)


def test_without_energy_the_study_draws_no_joules() -> None:
    queries = [query(index, mode, None, correct=True) for index in range(6) for mode in ("off", "on")]
    page = Page(rendered(queries, summary_of(queries)))
    assert not {"factors", "pairs", "split", "front", "scatter"} & set(page.panels)


def test_held_out_queries_exactly_on_the_law_have_a_chart() -> None:
    _, summary = study(n_prompts=8)
    exact = two_phase()
    modes = tuple(mode.model_copy(update={"held_out_deviation": 0.0, "held_out_limit": 0.0}) for mode in exact.modes)
    panel = two_phase_panel(summary, exact.model_copy(update={"modes": modes}))
    assert panel.bars[-1].bars[0].mark == 50.0


# ------------------------------------------------------------------------------------------- estimated


def test_estimated_joules_are_never_shown_without_the_word() -> None:
    page = Page(rendered(*estimated(FOUR)))
    assert "Where the seconds go" in page.words
    assert "took more seconds in on than in off" in page.words
    study_words = page.words.partition("What thinking costs")[2].partition("What was measured")[0]
    for found in re.finditer(r"\bm?J\b(?! of the)", study_words):
        assert "estimated" in study_words[found.start() : found.start() + 40]


def test_the_measure_is_seconds_where_joules_are_estimated() -> None:
    queries, summary = estimated()
    data = data_of(rendered(queries, summary))
    assert data["pairs"]["axis"] == "time, s (measured)"
    assert "estimated" in data["scatter"]["unit"]
    assert data["scatter"]["law"] is False


# ------------------------------------------------------------------------------------- text and layout


def test_nothing_from_outside_becomes_markup() -> None:
    modes = ("off", ATTACK)
    queries = [
        query(
            index,
            mode,
            5.0 + index,
            correct=index % 2 == 0,
            thinking_tokens=0 if mode == "off" else 10 + index,
            prompt_id=f"{ATTACK}{index}",
        )
        for index in range(8)
        for mode in modes
    ]
    plain = summary_of(queries, modes)
    stopping = STOPPING.model_copy(update={"of": ATTACK})
    summary = plain.model_copy(
        update={
            "comparisons": (compared(plain, ATTACK),),
            "law": law(modes),
            "stopping": stopping,
        }
    )
    by_two = summary.model_copy(update={"two_phase": two_phase().model_copy(update={"numerator": ATTACK})})
    table = Table(
        caption=ATTACK,
        modes=(ATTACK,),
        rows=(TableRow(label=ATTACK, figures=(Figure(value=ATTACK, interval=ATTACK),)),),
    )
    lead = Lead(title=ATTACK, answers=[Answer(question=ATTACK, text=ATTACK)], tables=[table], notes=[ATTACK])
    lead = replace(lead, panels=across_panels([(ATTACK, summary), ("B", summary)]))
    page = render_page([page_cell(queries, summary), page_cell(queries, by_two)], leads=[lead])
    assert "<img" not in page
    assert page.count("<script") == 8  # charts, readings and raw data of two cells; uPlot, ours
    assert {"factors", "pairs", "split", "front", "lengths", "scatter", "stopping", "two-phase"} <= set(
        Page(page).panels
    )
    assert data_of(page)["pairs"]["ids"][0] == f"{ATTACK}0"


def test_a_lead_stands_above_the_cells() -> None:
    queries, summary = study(n_prompts=8)
    lead = Lead(title="Two models", answers=[Answer(question="What it costs", text="Twice as much.")], notes=["`x`"])
    page = render_page([page_cell(queries, summary)], leads=[lead])
    assert page.index("Two models") < page.index("Twice as much.") < page.index('id="cell-0"')
    assert "<code>x</code>" in page


def test_runs_beside_each_other_share_a_chart() -> None:
    sides = [(label, study(("off", "on"), 12, law=None)[1]) for label in ("A", "B")]
    bars, front = across_panels(sides)
    assert [bar.heading for bar in bars.bars[0].bars] == ["A: Qwen/Qwen3-8B", "", "B: Qwen/Qwen3-8B", ""]
    assert front.front is not None
    assert [spot.label for spot in front.front.spots] == ["A off", "A on", "B off", "B on"]
    assert [spot.mode for spot in front.front.spots] == [0, 0, 1, 1]


def test_estimates_and_measurements_never_share_a_chart() -> None:
    _, measured = study(n_prompts=12)
    _, guessed = estimated()
    assert across_panels([("A", measured), ("B", guessed)]) == ()
    assert across_panels([("A", measured)]) == ()
    by_two = measured.model_copy(update={"two_phase": two_phase()})
    assert across_panels([("A", measured), ("B", by_two)]) == ()


def test_a_page_of_100_prompts_in_four_modes_is_small() -> None:
    queries, summary = study(FOUR, 100, stopping=STOPPING)
    assert len(rendered(queries, summary).encode()) < 700_000


def test_a_number_keeps_its_sign_on_its_line() -> None:
    assert tight("5.4 × the joules, 3 % less, ± 2 J") == "5.4\u00a0× the joules, 3\u00a0% less, ±\u00a02 J"


@given(
    st.floats(1e-6, 1e6),
    st.floats(1.05, 1e6),
    st.booleans(),
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
)
def test_a_scale_keeps_order_and_its_ticks_are_few_and_inside(
    low: float, reach: float, log: bool, shares: list[float]
) -> None:
    scale = Scale(low=low, high=low * reach, log=log)
    values = sorted(low + share * (scale.high - low) for share in shares)
    places = [scale.percent(value) for value in values]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 8
    assert np.all(np.diff([place for place, _ in ticks]) > 0)
    assert len({text for _, text in ticks}) == len(ticks)
