"""What people read: figures that add up, words that do not go missing, texts that cannot break out."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from rich.cells import cell_len
from rich.console import Console

from harness.records import (
    Boundary,
    EnergyLaw,
    EngineFacts,
    Estimate,
    Finding,
    FindingCode,
    Method,
    PairedCheckpoint,
    RunManifest,
    Site,
    Stopping,
    Summary,
    TwoPhase,
    TwoPhaseMode,
)
from harness.report.charts import N_BINS_MOST
from harness.report.compared import BUYS, COSTS, REAL, WHY, Verdict, answers, not_as_called, verdict
from harness.report.facts import facts_of
from harness.report.leads import modes_lead
from harness.report.markdown import escaped, render_markdown
from harness.report.numbers import (
    decimals_of_half_width,
    ends_of,
    number,
    parts_of,
    probability,
    signed,
    signed_ends_of,
    signed_value_of,
    unit_for,
    value_of,
)
from harness.report.page import coded, render_page, script_json
from harness.report.receipt import Receipt, receipt_of
from harness.report.study import columns_of, law_table, split, study_tables
from harness.report.terminal import PatientConsole, Place, print_receipt
from harness.report.trace import Trace, thinned
from tests.synthetic_runs import (
    GPU,
    channel,
    estimated_summary,
    page_cell,
    query,
    run_of_queries,
    summary_of,
    trace_of,
)

ATTACKS = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>'",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
)
MANY = ("off", "low", "medium", "high")


def measured() -> Summary:
    return summary_of(run_of_queries())


def printed(receipt: Receipt, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_receipt(
        console,
        receipt,
        places=[Place(what="page", path="results/" + "a-very-long-run-name/" * 6 + "report.html")],
        next_command="harness report latest --output-dir results/somewhere/else/again",
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rows_of(receipt: Receipt, title: str) -> dict[str, tuple[str, ...]]:
    section = next(each for each in receipt.sections if each.title.startswith(title))
    return {row.label: row.cells for row in section.rows}


def as_number(text: str) -> float:
    number = text.partition(" ×")[0].replace(",", "").replace("−", "-")
    return 0.0 if number == "–" or number[0] in "<>" else float(number)


# -------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("half_width", "decimals"), [(0.0123, 3), (1.2, 1), (9.94, 1), (9.96, 0), (99.6, -1), (350.0, -1), (1000.0, -2)]
)
def test_a_half_width_has_two_digits(half_width: float, decimals: int) -> None:
    assert decimals_of_half_width(half_width) == decimals


def test_digits_follow_the_interval() -> None:
    estimate = Estimate(value=914.4567, low=880.123, high=950.987)
    assert (value_of(estimate), ends_of(estimate)) == ("914", "880 to 951")
    assert value_of(Estimate(value=12345.6, low=10000.0, high=15000.0)) == "12,300"
    assert value_of(Estimate(value=914.4567)) == "914"
    assert ends_of(Estimate(value=45.0, low=30.2)) == "30 to no upper end"
    assert value_of(Estimate(value=None)) == "unknown"


@given(st.floats(min_value=1e-9, max_value=1e9), st.integers(-4, 6))
def test_what_is_not_zero_never_prints_as_zero(value: float, decimals: int) -> None:
    assert float(number(value, decimals).replace(",", "")) > 0


def test_a_figure_that_does_not_vary_has_no_interval() -> None:
    estimate = Estimate(value=7.0, low=7.0, high=7.0)
    assert (value_of(estimate), ends_of(estimate)) == ("7.00", "")


def test_a_lower_bound_alone_is_said_in_words() -> None:
    assert ends_of(Estimate(value=None, low=1234.5)) == "more than 1,234"


def test_differences_have_signs() -> None:
    estimate = Estimate(value=-3.1, low=-6.0, high=0.1)
    assert (signed_value_of(estimate), signed_ends_of(estimate)) == ("−3.1", "−6.0 to +0.1")
    assert [signed(text) for text in ("0.00", "5", "−5", "< 1", "unknown")] == ["0.00", "+5", "−5", "< 1", "unknown"]


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(1.0, "p = 1.0"), (0.0312, "p = 0.031"), (0.00042, "p = 0.0004"), (0.00002, "p < 0.0001")],
)
def test_a_probability_has_what_a_decision_needs(p_value: float, text: str) -> None:
    assert probability(p_value) == text


@given(st.lists(st.floats(min_value=-1e5, max_value=1e5), min_size=1, max_size=6), st.integers(-2, 4))
def test_printed_parts_add_up(values: list[float], decimals: int) -> None:
    items, total = parts_of(values, sum(values), decimals)
    assert sum(map(as_number, items)) == pytest.approx(as_number(total), abs=10.0**-decimals * 1e-6)


def test_units_suit_the_smallest_of_a_row() -> None:
    assert unit_for([0.0276, 0.254], "Wh").name == "mWh"
    assert unit_for([99.0, 914.0], "J").name == "J"
    assert unit_for([0.9e6, 2e6], "J").name == "kJ"
    assert unit_for([None, 0.0], "J").name == "J"


# -------------------------------------------------------------------------------------------- receipt


@pytest.mark.parametrize("modes", [("off",), ("off", "on"), MANY])
def test_the_items_add_up_to_the_total(modes: tuple[str, ...]) -> None:
    receipt = receipt_of(summary_of(run_of_queries(40, modes), modes))
    rows = rows_of(receipt, "One query, in")
    for column, _ in enumerate(modes):
        items = [cells[column] for label, cells in rows.items() if label in ("prefill", "thinking", "answer")]
        assert sum(map(as_number, items)) == pytest.approx(as_number(rows["total"][column]))
    assert list(rows)[:3] == [name for name in ("prefill", "thinking", "answer") if name in rows] + ["total"] * (
        "thinking" not in rows
    )


def test_the_printed_factors_multiply_to_the_printed_ratio() -> None:
    rows = rows_of(receipt_of(measured()), "on over off")
    product = as_number(rows["= output tokens"][0]) * as_number(rows["× joules per token"][0])
    assert product == pytest.approx(as_number(rows["joules"][0]), rel=0.01)


def test_an_estimated_receipt_says_so_everywhere() -> None:
    receipt = receipt_of(estimated_summary())
    words = "estimated: 45 W × time"
    assert receipt.title == f"Energy receipt: J ({words})"
    assert receipt.sections[0].title == "One query, in s (time is measured)"
    assert receipt.table.rows[0].label == "s per query"
    labels = [section.title for section in receipt.sections]
    labels += [row.label for section in receipt.sections for row in section.rows]
    labels += [row.label for row in receipt.table.rows]
    for label in labels:
        if re.search(r"\b[mkµM]?(J|Wh)\b|joules|per kWh", label):
            assert "estimated" in label, label
    ratio = rows_of(receipt, "on over off")
    assert "joules" not in ratio
    assert "× seconds per token" in ratio
    assert "joules" not in receipt.headline


def test_estimated_joules_have_no_interval() -> None:
    receipt = receipt_of(estimated_summary())
    for row in receipt.table.rows:
        if "estimated" in row.label:
            assert {figure.interval for figure in row.figures} == {""}
    for section in receipt.sections:
        if "estimated" in section.title or section.title == "What it buys":
            assert not any("95 %" in row.label or "±" in "".join(row.cells) for row in section.rows)


def test_measured_rows_carry_their_interval() -> None:
    rows = {row.label: row for row in receipt_of(measured()).table.rows}
    for label in ("J per query", "J per output token", "Wh per 1,000 queries", "J per correct answer"):
        assert all(" to " in figure.interval for figure in rows[label].figures), label
    parts = rows_of(receipt_of(measured()), "95 % interval")
    assert list(parts) == ["other prompts", "sensor reading", "run to run", "sensor gain"]
    assert set(parts["run to run"]) == {"unknown"}


def test_nothing_correct_is_undefined_in_words() -> None:
    queries = [query(i, "off", 5.0, correct=False) for i in range(6)]
    receipt = receipt_of(summary_of(queries, ("off",)))
    row = next(row for row in receipt.table.rows if row.label.endswith("per correct answer"))
    assert row.figures[0].value == "undefined: none correct"
    assert rows_of(receipt, "What it buys")["J per right answer"] == ("none right",)


def test_a_run_in_which_everything_failed_still_has_a_receipt() -> None:
    queries = [query(i, mode, None, failed=True, readings=()) for i in range(3) for mode in ("off", "on")]
    receipt = receipt_of(summary_of(queries, channels=(channel(),)))
    assert "3 failed" in receipt.table.rows[0].figures[0].interval
    assert printed(receipt, 60)
    assert render_markdown(receipt)


# ---------------------------------------------------------------------------------------------- study


SAME_OUTPUT = Finding(code=FindingCode.SAME_OUTPUT_IN_MODES, detail="off and on: 40 of 40 outputs are the same")
BUDGETS = ("off", "budget:64", "budget:256", "on")
EIGHT = ("off", *(f"budget:{tokens}" for tokens in (64, 256, 1024, 4096)), "low", "high", "on")


def study(modes: tuple[str, ...] = BUDGETS, **changes: object) -> Summary:
    return summary_of(run_of_queries(40, modes), modes).model_copy(update=changes)


def invalid_study() -> Summary:
    def invalid(numerator: str, denominator: str) -> tuple[Finding, ...]:
        return (SAME_OUTPUT,) if (numerator, denominator) == ("on", "off") else ()

    return summary_of(run_of_queries(40, BUDGETS), BUDGETS, invalid=invalid)


def two_phase_of(*, valid: bool) -> TwoPhase:
    unknown = Estimate(value=None)
    law = EnergyLaw(
        modes=("off", "on"),
        n_queries=40,
        per_query_j=Estimate(value=3.0),
        per_prompt_token_j=unknown,
        per_output_token_j=Estimate(value=1.1, low=1.0, high=1.2),
        per_attended_token_j=Estimate(value=1e-5),
        residual_relative_sd=0.02,
    )
    modes = tuple(
        TwoPhaseMode(
            mode=mode,
            n_prompts=400,
            n_failed=0,
            n_cut=3,
            n_scored=400,
            n_correct=300,
            prompt_tokens=50.0,
            output_tokens=500.0,
            energy_j=Estimate(value=1234.0, low=1100.0, high=1350.0) if valid else unknown,
            energy_per_correct_j=Estimate(value=1500.0, low=1400.0, high=1700.0) if valid else unknown,
            n_held_out=10,
            held_out_deviation=-0.012 if valid else 0.31,
            held_out_limit=0.03,
        )
        for mode in ("off", "on")
    )
    return TwoPhase(
        batch_size=16,
        n_prompts=400,
        n_law=40,
        n_planned=50,
        n_measured=50,
        law=law,
        modes=modes,
        numerator="on",
        denominator="off",
        energy=Estimate(value=8.81, low=8.37, high=9.27) if valid else unknown,
        duration_batched_s=900.0,
        duration_measured_s=700.0,
        duration_saved_s=9000.0,
        valid=valid,
        findings=(
            Finding(code=FindingCode.TWO_PHASE),
            *(() if valid else (Finding(code=FindingCode.LAW_NOT_HELD, detail="in on"),)),
        ),
    )


@pytest.mark.parametrize("modes", [("off", "on"), BUDGETS])
def test_the_printed_parts_of_the_difference_add_up(modes: tuple[str, ...]) -> None:
    summary = study(modes)
    rows = rows_of(receipt_of(summary), "on minus off")
    parts = [as_number(rows[name][0]) for name in ("prefill", "thinking", "answer")]
    assert sum(parts) == pytest.approx(as_number(rows["together"][0]))
    for comparison in summary.comparisons:
        found = split(comparison)
        assert found is not None
        _, printed_parts, total = found
        assert sum(as_number(text) for _, text in printed_parts) == pytest.approx(as_number(total))


def test_every_other_mode_has_a_line_and_a_column() -> None:
    receipt = receipt_of(study())
    lines = [label for label in rows_of(receipt, "on over off") if "over off" in label]
    assert lines == ["budget:256 over off, joules", "budget:64 over off, joules"]
    assert {table.modes for table in receipt.study} == {("on", "budget:256", "budget:64")}
    assert [table.caption.partition(":")[0] for table in receipt.study] == [COSTS, WHY, BUYS, REAL]
    assert receipt_of(study(("off", "on"))).study == ()  # the receipt says it all


def test_an_invalid_comparison_is_words_and_no_figure() -> None:
    summary = invalid_study()
    receipt = receipt_of(summary)
    (notice,) = receipt.notices
    assert "the switch changed nothing" in notice
    assert SAME_OUTPUT.detail in notice
    assert receipt.headline.startswith("No comparison of on with off")
    rows = rows_of(receipt, "on over off")
    assert "joules" not in rows
    assert "budget:256 over off, joules" in rows  # which is another comparison, and holds
    for row in (row for table in receipt.study for row in table.rows):
        expected = "no comparison" if row.label == "the cost differs" else "–"
        assert row.figures[0].value == expected, row.label
    terminal = " ".join(re.sub(r"[┃│]", "", printed(receipt, 60)).split())
    assert "the switch changed nothing" in terminal
    assert "the switch changed nothing" in render_markdown(receipt)
    (answer,) = answers(summary.comparisons[0], estimated=False)
    assert answer.text == notice


def test_what_a_study_answers() -> None:
    summary = study(("off", "on"))
    assert summary.comparison is not None
    texts = {answer.question: answer.text for answer in answers(summary.comparison, estimated=False)}
    assert list(texts) == [COSTS, WHY, BUYS, REAL]
    assert re.match(
        r"Reasoning on takes [\d.]+ × the joules of reasoning off \(95 %: .* more per query\.", texts[COSTS]
    )
    assert "more tokens, and cheaper ones" in texts[WHY]
    assert re.search(r"points \(.*\), p [=<] 0\.0", texts[BUYS])
    assert texts[REAL].startswith("Yes: ")
    assert "With these 40 prompts a difference under" in texts[REAL]


def test_estimated_studies_speak_of_seconds() -> None:
    summary = estimated_summary(40, BUDGETS)
    assert summary.comparison is not None
    texts = " ".join(answer.text for answer in answers(summary.comparison, estimated=True))
    assert "seconds" in texts
    assert "joule" not in texts
    labels = [row.label for table in study_tables(columns_of(summary)) for row in table.rows]
    assert "seconds" in labels
    assert not any("joule" in label or "J" in label for label in labels)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"low": 1.1, "high": 1.3}, Verdict.REAL),
        ({"low": 0.9, "high": 1.3}, Verdict.SAME),
        ({"low": 1.05, "high": 1.3, "half_width_reading": 0.1}, Verdict.UNCERTAIN),
        ({"low": 1.05, "high": 1.3, "half_width_runs": 0.1}, Verdict.UNCERTAIN),
        ({"low": 1.05, "high": 1.3, "half_width_gain": 0.04}, Verdict.REAL),
        ({"low": 1.05, "high": None}, Verdict.UNKNOWN),
        ({"value": 0.5, "low": 0.4, "high": 0.6}, Verdict.REAL),
    ],
)
def test_real_is_what_the_errors_do_not_reach(changes: dict[str, float | None], expected: Verdict) -> None:
    energy = Estimate.model_validate({"value": 1.2, **changes})
    comparison = study(("off", "on")).comparisons[0].model_copy(update={"energy": energy})
    assert verdict(comparison, estimated=False) is expected


def test_answers_cut_and_thinking_forced_are_counted_apart() -> None:
    cut = [query(i, "on", 5.0, correct=i == 0, finish_reason="length" if i < 3 else "stop") for i in range(12)]
    forced = Finding(code=FindingCode.BUDGET_REACHED)
    held = [query(i, "budget:8", 5.0, correct=True, findings=[forced] if i < 4 else ()) for i in range(12)]
    receipt = receipt_of(summary_of([*held, *cut], ("budget:8", "on")))
    rows = rows_of(receipt, "What it buys")
    assert rows["cut by the cap"] == ("0 of 12", "3 of 12")
    assert rows["thinking ended by force"] == ("4 of 12", "0 of 12")
    figure = next(row.figures[1] for row in receipt.table.rows if row.label == "cut by the token cap")
    assert (figure.value, figure.interval) == ("3 of 12", "1 of 3 right")


def test_stopping_says_what_was_saved() -> None:
    stopping = Stopping(
        target=0.05,
        of="ratio of total joules, on over off",
        n_prompts=120,
        n_prompts_most=400,
        looks=((30, 0.11), (60, 0.08), (120, 0.048)),
        settled=True,
        saved_s=7300.0,
        saved_j=523e3,
    )
    receipt = receipt_of(study(("off", "on"), stopping=stopping))
    rows = rows_of(receipt, "Until ± 5 %")
    assert rows["prompts asked"] == ("120 of at most 400",)
    assert rows["interval of the ratio of total joules (on over off)"] == ("± 4.8 %, settled in 3 looks",)
    assert rows["saved, at the mean"] == ("2.0 h and 523 kJ",)
    assert "± 5 % was reached with 120 of at most 400 prompts, which saved 2.0 h." in receipt.headline
    unsettled = stopping.model_copy(update={"settled": False, "saved_s": None, "saved_j": None})
    receipt = receipt_of(study(("off", "on"), stopping=unsettled))
    assert "saved, at the mean" not in rows_of(receipt, "Until")
    assert "± 5 % was not reached" in receipt.headline


def test_two_phase_is_said_in_every_heading() -> None:
    receipt = receipt_of(study(("off", "on"), two_phase=two_phase_of(valid=True)))
    assert receipt.headline.startswith("Two-phase: reasoning on takes 8.81 × the joules of reasoning off")
    assert any(line.startswith("two-phase: 400 prompts") for line in receipt.lines)
    assert all(section.title.startswith("Two-phase") for section in receipt.sections)
    assert "no sample of the prompts" in receipt.table.caption
    assert receipt.study == ()
    rows = rows_of(receipt, "Two-phase: 400")
    assert rows["held out, off the law"] == ("−1.2 %", "−1.2 %")
    assert rows["allowed"] == ("± 3.0 %", "± 3.0 %")
    assert not receipt.notices


def test_a_law_that_does_not_hold_gives_no_figure() -> None:
    receipt = receipt_of(study(("off", "on"), two_phase=two_phase_of(valid=False)))
    assert receipt.headline == "Two-phase: no figure."
    assert FindingCode.LAW_NOT_HELD.sentence in receipt.notices[0]
    rows = [row for section in receipt.sections for row in section.rows]
    labels = {row.label for row in rows}
    assert labels >= {"right answers", "held out, off the law", "allowed", "token counts in batches of"}
    assert not labels & {"J per query", "95 %", "J per right answer", "joules, on over off", "saved"}
    assert "unknown" not in {cell for row in rows for cell in row.cells}
    lead = modes_lead("A", study(("off", "on"), two_phase=two_phase_of(valid=False)))
    assert lead.tables == ()
    valid = modes_lead("A", study(("off", "on"), two_phase=two_phase_of(valid=True)))
    assert [table.caption.partition(":")[0] for table in valid.tables] == ["Two-phase", "Energy law of 40 queries"]


def test_a_two_phase_run_that_is_not_complete_says_how_far_it_came() -> None:
    unchecked = Finding(code=FindingCode.LAW_NOT_CHECKED)
    nothing = {"held_out_deviation": None, "held_out_limit": None, "n_scored": 0, "n_correct": 0, "n_cut": 0}
    invalid = two_phase_of(valid=False)
    two_phase = invalid.model_copy(
        update={
            "n_planned": 40,
            "n_measured": 12,
            "modes": tuple(mode.model_copy(update=nothing) for mode in invalid.modes),
            "findings": (Finding(code=FindingCode.TWO_PHASE), unchecked),
        }
    )
    receipt = receipt_of(study(("off", "on"), two_phase=two_phase))
    assert receipt.headline == "Two-phase: no figure, 12 of 40 queries measured."
    assert "12 of 40 queries measured" in receipt.lines
    (notice,) = receipt.notices
    assert notice == f"No two-phase figure. {unchecked.code.sentence} → {unchecked.code.next_step}"
    rows = {row.label: row.cells for section in receipt.sections for row in section.rows}
    assert list(rows) == [
        f"No two-phase figure. {unchecked.code.sentence}",
        "token counts in batches of",
        "queries measured",
    ]
    assert rows["queries measured"] == ("12 of 40, 12 min",)
    assert printed(receipt, 60)
    complete = receipt_of(study(("off", "on"), two_phase=two_phase_of(valid=True)))
    assert not any("queries measured" in line for line in (*complete.lines, complete.headline))


def test_what_happened_while_tokens_were_counted_is_said_once_with_counts() -> None:
    codes = (FindingCode.BATCH_SPLIT, FindingCode.OUT_OF_MEMORY, FindingCode.SCORER_FAILED, FindingCode.FEW_CORRECT)
    counted = [Finding(code=code, detail=f"{n} of 800 counted answers") for n, code in enumerate(codes, 3)]
    measured_too = Finding(code=FindingCode.OUT_OF_MEMORY, detail="1 of 40 queries")
    receipt = receipt_of(study(("off", "on"), two_phase=two_phase_of(valid=True), findings=(*counted, measured_too)))
    terminal = " ".join(printed(receipt, 120).split())
    for code, finding in zip(codes, counted, strict=True):
        assert terminal.count(code.sentence) == 1
        assert terminal.count(finding.detail) == 1
        assert code.next_step in terminal
    assert "(4 of 800 counted answers; 1 of 40 queries)" in terminal


THOUGHT = Finding(code=FindingCode.THINKING_IN_OFF_MODE, detail="20 of 20 queries in off, up to 60 tokens")


def off_that_thinks(modes: tuple[str, ...] = ("off",)) -> Summary:
    summary = summary_of(run_of_queries(20, modes), modes, invalid=lambda *_: (THOUGHT,))
    changed = [m.model_copy(update={"invalid": (THOUGHT,)}) if m.mode == "off" else m for m in summary.modes]
    return summary.model_copy(update={"modes": tuple(changed)})


def test_a_run_in_one_mode_that_is_not_what_it_is_called_has_a_notice() -> None:
    receipt = receipt_of(off_that_thinks())
    (notice,) = receipt.notices
    assert notice == (
        f"The mode off is not what it is called. {THOUGHT.code.sentence} ({THOUGHT.detail}) → {THOUGHT.code.next_step}"
    )
    assert "The mode off is not what it is called." in render_markdown(receipt)
    assert "The mode off is not what it is called." in printed(receipt, 120)
    page = render_page([page_cell(run_of_queries(20, ("off",)), off_that_thinks())])
    assert page.count('class="banner"') == 1
    assert receipt_of(summary_of(run_of_queries(20, ("off",)), ("off",))).notices == ()


def test_what_a_comparison_says_of_a_mode_is_not_said_twice() -> None:
    assert len(receipt_of(off_that_thinks(("off", "on"))).notices) == 1


def test_a_broken_switch_of_a_two_phase_run_is_said_once() -> None:
    two_phase = two_phase_of(valid=True).model_copy(
        update={"valid": False, "findings": (Finding(code=FindingCode.TWO_PHASE), THOUGHT)}
    )
    summary = off_that_thinks(("off", "on")).model_copy(update={"two_phase": two_phase, "comparisons": ()})
    (notice,) = receipt_of(summary).notices
    assert notice.startswith(f"No two-phase figure. {THOUGHT.code.sentence}")
    assert FindingCode.LAW_NOT_HELD.sentence not in notice
    assert "J per query" not in {row.label for section in receipt_of(summary).sections for row in section.rows}


def test_modes_not_as_called_are_those_at_fault_and_both_of_two_alike() -> None:
    assert set(not_as_called(off_that_thinks(("off", "on")))) == {"off"}
    assert not_as_called(invalid_study()) == {"on": (SAME_OUTPUT,), "off": (SAME_OUTPUT,)}
    alike = invalid_study()
    at_fault = tuple(
        mode.model_copy(update={"invalid": (THOUGHT,)}) if mode.mode == "off" else mode for mode in alike.modes
    )
    assert set(not_as_called(alike.model_copy(update={"modes": at_fault}))) == {"off"}
    assert not_as_called(study()) == {}


def test_a_pair_names_both_checkpoints() -> None:
    pair = PairedCheckpoint(model="tiny-instruct", source="org/instruct", revision="1" * 40, modes=("off",))
    summary = study(("off", "on"))
    summary = summary.model_copy(
        update={"cell": summary.cell.model_copy(update={"model": "tiny-thinking", "pair": pair})}
    )
    both = "tiny-thinking (on) and tiny-instruct (off)"
    assert receipt_of(summary).lines[0] == f"{both}, bfloat16 on cuda, transformers"
    page = render_page([page_cell(run_of_queries(6), summary)])
    assert f"<h1>{both}</h1>" in page
    facts = {fact.label: fact.text for group in facts_of(summary, None) for fact in group.facts}
    assert facts["Model in on"] == "tiny-thinking (hub)"
    assert facts["Model in off"] == "tiny-instruct (org/instruct)"
    assert facts["Revision in off"] == "1" * 40
    assert {"Model", "Revision"} & set(facts) == set()
    assert receipt_of(study()).lines[0] == "Qwen/Qwen3-8B (bfloat16) on cuda, transformers"


def test_both_executed_precisions_of_a_pair_are_facts() -> None:
    def engine(precision: str) -> EngineFacts:
        return EngineFacts(
            device_name="s",
            device_uuids=(),
            revision="0",
            n_parameters=1_000,
            bytes_per_parameter=2.0,
            executed_precision=precision,
            requested_precision="auto",
            layer_classes={},
            attention="sdpa",
            context_length=None,
            weights_format="safetensors",
            generation_config={},
        )

    pair = PairedCheckpoint(model="b", source="org/b", revision="1" * 40, modes=("off",))
    summary = study(("off", "on"))
    summary = summary.model_copy(update={"cell": summary.cell.model_copy(update={"pair": pair})})
    site = Site(
        hostname_sha256="0" * 64,
        platform="Linux",
        cpu="a CPU",
        n_cpu_cores=4,
        memory_bytes=2**30,
        boards=(),
        driver=None,
        cuda=None,
        python="3.11",
        packages={},
    )
    manifest = RunManifest(
        harness_version="0",
        run_id="r",
        cell_id="c",
        session=1,
        started_utc="2026-01-02T03:04:05Z",
        origin_unix_s=0.0,
        origin_monotonic_s=0.0,
        command=("harness", "run"),
        git_commit=None,
        site=site,
        engine=engine("bfloat16"),
        engine_of_pair=engine("float16"),
        channels=(channel(),),
        headline=Boundary.GPU_BOARD,
        meter_gpus="auto",
        n_prompts=40,
        store_text="full",
        tariff_per_kwh=None,
        findings=(),
    )
    facts = {fact.label: fact.text for group in facts_of(summary, manifest) for fact in group.facts}
    assert facts["Precision executed in on"].startswith("bfloat16")
    assert facts["Precision executed in off"].startswith("float16")
    alone = manifest.model_copy(update={"engine_of_pair": None})  # the second was not loaded yet
    labels = {fact.label for group in facts_of(summary, alone) for fact in group.facts}
    assert "Precision executed in on" in labels
    assert "Precision executed in off" not in labels


def test_somebody_elses_protocol_is_said_on_top() -> None:
    summary = study(("off", "on"), findings=(Finding(code=FindingCode.OTHERS_PROTOCOL, detail="aies-v2-1"),))
    theirs = summary.cell.model_copy(update={"protocol": "aies-v2-1", "caps": {"off": 10, "on": 8192}})
    receipt = receipt_of(summary.model_copy(update={"cell": theirs}))
    assert "protocol aies-v2-1, faults included; capped at off 10 and on 8,192 tokens" in receipt.lines
    assert not any("protocol" in line for line in receipt_of(measured()).lines)


def test_a_law_is_printed_coefficient_by_coefficient() -> None:
    rows = {row.label: row.figures[0] for row in law_table(two_phase_of(valid=True).law).rows}
    assert rows["per query"].value == "3.00 J"
    assert rows["per prompt token"].value == "not told apart"
    assert (rows["per output token"].value, rows["per output token"].interval) == ("1.10 J", "1.00 to 1.20")
    assert rows["per token attended to"].value == "10.0 µJ"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_a_study_is_wider_than_the_terminal(width: int) -> None:
    for summary in (
        study(EIGHT),
        invalid_study(),
        study(("off", "on"), two_phase=two_phase_of(valid=True)),
        study(("off", "on"), two_phase=two_phase_of(valid=False)),
        estimated_summary(20, BUDGETS),
    ):
        lines = printed(receipt_of(summary), width).splitlines()
        assert max(cell_len(line) for line in lines if not line.startswith(("page: ", "Next: "))) <= width


def test_a_narrow_column_never_breaks_the_number_of_a_budget() -> None:
    words = set(re.sub(r"[│:]", " ", printed(receipt_of(study(EIGHT)), 60)).split())
    assert words >= {"64", "256", "1024", "4096"}


# ------------------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("modes", [("default",), ("off", "on"), MANY])
def test_no_line_is_wider_than_the_terminal(width: int, modes: tuple[str, ...]) -> None:
    for summary in (summary_of(run_of_queries(20, modes), modes), estimated_summary(20, modes)):
        text = printed(receipt_of(summary), width)
        pasted = [line for line in text.splitlines() if line.startswith(("page: ", "Next: "))]
        assert [line.rsplit("/", 1)[-1] for line in pasted] == ["report.html", "again"]  # whole, to be copied
        assert max(cell_len(line) for line in text.splitlines() if line not in pasted) <= width
        assert "\x1b" not in text  # no colour in a pipe
        for wanted in ("total", "J per correct", "Next:", "harness report latest", "One run"):
            assert wanted in text or "estimated" in text


def test_the_terminal_ends_with_the_files_and_the_next_command() -> None:
    lines = printed(receipt_of(measured()), 120).rstrip().splitlines()
    assert lines[-1].startswith("Next: harness report latest")
    assert any(line.startswith("page: results/a-very-long-run-name/") for line in lines)


def test_a_name_cannot_steer_the_terminal() -> None:
    finding = Finding(code=FindingCode.LIBRARY_WARNING, detail="\x1b[2J[bold]boo[/bold]\x07")
    text = printed(receipt_of(summary_of(run_of_queries(6), findings=[finding])), 120)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]boo[/bold]" in text


def test_terminal_markdown_and_page_show_the_same_figures() -> None:
    queries = run_of_queries()
    summary = summary_of(queries)
    receipt = receipt_of(summary)
    page = render_page([page_cell(queries, summary)])
    for target in (printed(receipt, 120), render_markdown(receipt).replace("\\", ""), page):
        for section in receipt.sections:
            for row in section.rows:
                for cell in row.cells:
                    assert cell in target or str(escape(cell)) in target


# ------------------------------------------------------------------------------------------- Markdown


@given(st.text(max_size=40))
def test_markdown_text_stays_on_its_line_and_out_of_html(text: str) -> None:
    safe = escaped(text)
    assert len(safe.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>|`]", safe)
    assert safe.isprintable()  # a terminal shows it too: no colours, no other directions


def test_brackets_in_a_name_are_no_markup() -> None:
    out = io.StringIO()
    console = PatientConsole(file=out, width=80, highlight=False)
    console.rule("a[/]b [red]c")
    console.print("at [/home/them]: [link=x]")
    assert "a[/]b [red]c" in out.getvalue()
    assert "at [/home/them]: [link=x]" in out.getvalue()


def test_markdown_tables_are_rectangular() -> None:
    table: list[str] = []
    for line in [*render_markdown(receipt_of(measured())).splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            assert len({each.count("|") for each in table}) == 1
            table = []


# ----------------------------------------------------------------------------------------------- page


class Tags(HTMLParser):
    """Everything that a browser would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.fetches: list[str] = []
        self.handlers: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in ("src", "href", "srcset", "action", "data", "poster") and not (value or "").startswith("#"):
                self.fetches.append(value or "")


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_from_outside_becomes_markup(attack: str) -> None:
    queries = [
        query(
            i,
            mode,
            5.0 + i,
            text=attack,
            prompt_id=f"{attack}{i}",
            time_start_s=10.0 * i,
            findings=[Finding(code=FindingCode.LIBRARY_WARNING, detail=attack)],
        )
        for i in range(6)
        for mode in ("off", attack)
    ]
    summary = summary_of(queries, ("off", attack), model=attack)
    page = render_page([page_cell(queries, summary, command=attack)], title=attack)
    tags = parsed(page)
    assert tags.scripts == 5  # charts, readings, raw data; uPlot, ours
    assert tags.fetches == []
    assert tags.handlers == []
    assert "img" not in tags.tags
    assert "<" not in attack or attack not in page
    assert "{{" not in attack or attack in page  # shown as it is, not run as a template
    data = re.search(r'<script type="application/json" class="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["scatter"]["modes"] == ["off", attack]


def test_a_page_fetches_nothing_and_says_so_to_the_browser() -> None:
    queries = run_of_queries()
    page = render_page([page_cell(queries, summary_of(queries))])
    assert "default-src 'none'" in page
    assert parsed(page).fetches == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", page)
    links = [link for link in re.findall(r"https?://[^\s\"')]+", page) if "w3.org" not in link]
    assert links == ["https://github.com/leeoniya/uPlot"]  # the comment on top of the library
    assert "Copyright (c) 2022 Leon Sorokin" in page


def test_a_page_of_200_queries_is_small() -> None:
    queries = run_of_queries(100)
    page = render_page([page_cell(queries, summary_of(queries))])
    assert len(page) < 500_000


def links_of(page: str) -> list[str]:
    return re.findall(r'<a href="#cell-\d+">(.*?)</a>', page)


def test_several_cells_share_a_page() -> None:
    queries = run_of_queries(6)
    summary = summary_of(queries)
    page = render_page([page_cell(queries, summary), page_cell(queries, summary)])
    assert 'id="cell-0"' in page
    assert 'href="#cell-1"' in page


def test_no_two_cells_of_a_page_have_the_same_link() -> None:
    queries = run_of_queries(6)
    first = summary_of(queries)
    again = first.model_copy(update={"cell": first.cell.model_copy(update={"repeat": 1})})
    alone = summary_of([each for each in queries if each.mode == "on"], ("on",))
    other = summary_of(queries, model="another")
    only_on = [each for each in queries if each.mode == "on"]
    cells = [(queries, first), (queries, again), (only_on, alone), (queries, other)]
    page = render_page([page_cell(own, summary) for own, summary in cells])
    assert links_of(page) == [
        "Qwen/Qwen3-8B, off and on, repeat 1",
        "Qwen/Qwen3-8B, off and on, repeat 2",
        "Qwen/Qwen3-8B, on, repeat 1",
        "another",
    ]
    page = render_page([page_cell(queries, first, label=label) for label in ("A", "B")])
    assert links_of(page) == ["A: Qwen/Qwen3-8B", "B: Qwen/Qwen3-8B"]
    assert "<h1>B: Qwen/Qwen3-8B</h1>" in page


def test_a_page_without_cells_is_a_page() -> None:
    assert "No cell of this run" in render_page([])


def test_an_estimated_page_names_the_estimate_in_its_charts() -> None:
    summary = estimated_summary()
    queries = run_of_queries(method=Method.ESTIMATED, boundary=Boundary.HOST, net=False, power_w=45.0)
    page = render_page([page_cell(queries, summary)])
    assert "Power over time, estimated" in page
    assert '"estimated":true' in page
    assert '"unit":"J (estimated: 45 W \\u00d7 time)"' in page


def test_script_json_leaves_nothing_to_close_a_block() -> None:
    data = {"text": "</script><!-- & \u2028"}
    text = str(script_json(data))
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == data


def test_quoted_parts_become_code_and_stay_escaped() -> None:
    assert str(coded("run `a <b>` & go")) == "run <code>a &lt;b&gt;</code> &amp; go"


# ---------------------------------------------------------------------------------------------- trace


@given(st.integers(2, 300), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_thinning_keeps_the_energy(n_corners: int, n_bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time_s = np.cumsum(rng.uniform(0.01, 1.0, n_corners))
    power_w = rng.uniform(0.0, 700.0, n_corners - 1)
    trace = Trace(session=0, device=GPU, method=Method.NVML_COUNTER, time_s=time_s, power_w=power_w)
    (thin,) = thinned([trace], n_bins)
    assert thin.power_w.shape == (1, len(thin.time_s) - 1)
    assert len(thin.time_s) - 1 <= max(n_bins, 1)
    assert np.sum(np.diff(thin.time_s) * thin.power_w[0]) == pytest.approx(np.sum(np.diff(time_s) * power_w))
    assert (thin.duration_bin_s is None) == (n_corners - 1 <= n_bins)


def test_devices_of_a_session_share_a_grid_and_unread_time_is_unknown() -> None:
    early = Trace(
        session=1, device="a", method=Method.RAPL, time_s=np.array([0.0, 1.0, 2.0]), power_w=np.array([5.0, 7.0])
    )
    late = Trace(session=1, device="b", method=Method.RAPL, time_s=np.array([1.0, 3.0]), power_w=np.array([9.0]))
    (session,) = thinned([early, late], 100)
    assert session.time_s.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert np.array_equal(session.power_w, [[5.0, 7.0, np.nan], [np.nan, 9.0, 9.0]], equal_nan=True)


def test_a_long_trace_is_thinned_and_the_page_says_by_how_much() -> None:
    queries = run_of_queries(40)
    (session,) = thinned([trace_of(queries, period_s=0.02)], N_BINS_MOST)
    assert len(session.time_s) - 1 == N_BINS_MOST
    page = render_page([page_cell(queries, summary_of(queries))])
    assert "so that the area under the line is the energy" in page
