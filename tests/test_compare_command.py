"""`harness compare`: real run directories, changed on disk by what a test is about."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console

from harness import comparing
from harness.analysis.sequential import RATIO_INFLATION
from harness.cli.parser import run_verb
from harness.errors import ExitCode
from harness.records import Comparison, Finding, FindingCode, ModeFault
from harness.reference.report import reference_report
from harness.report.compared import Verdict, not_as_called, verdict
from harness.report.markdown import render_leads
from harness.report.page import Lead
from harness.report.receipt import notices_of
from harness.report.reference_lead import reference_lead
from harness.report.study_terminal import print_leads
from tests.synthetic_runs import run_of_queries, summary_of
from tests.test_report import two_phase_of

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))[-1]
GAIN = 0.05
"""Of the golden run's board."""
QUESTIONS = ("What it costs", "Why", "What it buys", "Is it real")


class Run:
    """A copy of the golden run, or one of its cells beside it, that can be changed."""

    def __init__(self, path: Path, *, into: str | None = None) -> None:
        (source,) = GOLDEN.glob("*/*/cell.yaml")
        self.path = path
        self.cell = path / (into or source.parent.parent.name) / source.parent.name
        shutil.copytree(source.parent, self.cell)
        shutil.copy(GOLDEN / "run.yaml", path / "run.yaml")

    def with_cell(self, **fields: Any) -> Run:
        """With other fields in its cell."""
        path = self.cell / "cell.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}, sort_keys=False))
        return self

    def with_queries(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Run:
        """With each query changed; None drops it."""
        path = self.cell / "queries.jsonl"
        changed = [change(json.loads(line)) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(query) + "\n" for query in changed if query is not None))
        return self

    def times(self, factor: float) -> Run:
        """With every energy multiplied."""

        def scaled(query: dict[str, Any]) -> dict[str, Any]:
            for reading in query["readings"]:
                for part in (reading, *reading["phases"]):
                    part["energy_gross_j"] *= factor
                    part["energy_gross_half_width_j"] *= factor
            return query

        return self.with_queries(scaled)

    def on_another_board(self) -> Run:
        """At a site of its own, on a board of its own."""
        for path in (self.cell / "queries.jsonl", *self.cell.glob("sessions/*/*.json*")):
            path.write_text(path.read_text().replace("GPU-1111", "GPU-2222"))
        self.cell = self.cell.rename(self.cell.with_name("0123456789ab"))
        return self


@pytest.fixture
def base(tmp_path: Path) -> Run:
    return Run(tmp_path / "base")


@pytest.fixture
def other(tmp_path: Path) -> Run:
    return Run(tmp_path / "other")


def matched(*runs: Run) -> list[comparing.Match]:
    return comparing.matches_of(comparing.sides_of([run.path for run in runs]))


def said(leads: Sequence[Lead], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_leads(console, leads)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def leading(comparison: Comparison) -> float:
    assert comparison.energy.value is not None
    return comparison.energy.value


# --------------------------------------------------------------------------------------------- one run


def test_one_run_answers_the_four_questions(base: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["compare", str(base.path)]) == ExitCode.OK
    text = capsys.readouterr().out
    for question in QUESTIONS:
        assert question in text
    assert "One query in each mode" in text
    page = base.path / "compare.html"
    assert f"Page: {page}" in text
    assert "default-src 'none'" in page.read_text()


def test_what_is_printed_can_be_markdown_and_the_page_elsewhere(
    base: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "page.html"
    assert run_verb(["compare", str(base.path), "--markdown", "--output", str(page)]) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.startswith("### ")
    assert all(f"**{question}" in text for question in QUESTIONS)
    assert page.exists()
    assert not (base.path / "compare.html").exists()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(base: Run, other: Run, width: int) -> None:
    sides = comparing.sides_of([base.path, other.times(2.0).path])
    matches = comparing.matches_of(sides)
    leads = [*comparing.subject_leads(sides), *comparing.mode_leads(sides), *comparing.match_leads(matches)]
    leads += comparing.reference_leads(sides, "aies")
    text = said(leads, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "B over A" in text


def test_terminal_and_markdown_show_the_same_figures(base: Run, other: Run) -> None:
    leads = comparing.match_leads(matched(base, other.times(2.0)))
    terminal, markdown = said(leads, 120), render_leads(leads).replace("\\", "")
    for lead in leads:
        for table in lead.tables:
            for row in table.rows:
                for figure in row.figures:
                    assert figure.value in terminal
                    assert figure.value in markdown


def test_one_cell_in_one_mode_has_nothing_beside_it(base: Run, capsys: pytest.CaptureFixture[str]) -> None:
    base.with_cell(modes=["on"]).with_queries(lambda query: query if query["mode"] == "on" else None)
    assert run_verb(["compare", str(base.path)]) == ExitCode.USAGE
    assert "--mode off,on" in capsys.readouterr().err
    assert run_verb(["compare", str(base.path), "--reference", "mlenergy"]) == ExitCode.OK
    assert "No matching row" in in_one_line(capsys.readouterr().out)


def test_a_switch_that_did_nothing_is_exit_code_4(base: Run, capsys: pytest.CaptureFixture[str]) -> None:
    outputs: dict[str, Any] = {}

    def unswitched(query: dict[str, Any]) -> dict[str, Any]:
        query["output"] = outputs.setdefault(query["prompt_id"], query["output"])
        return query

    assert run_verb(["compare", str(base.with_queries(unswitched).path)]) == ExitCode.INVALID
    text = in_one_line(capsys.readouterr().out)
    assert "No comparison of on with off." in text
    assert "the cost differs no comparison" in text
    assert "No comparison of on with off." in (base.path / "compare.html").read_text()


def _alone(run: Run, *, thinking: int = 0) -> Run:
    """Only its `off`, which thinks so many tokens."""

    def changed(query: dict[str, Any]) -> dict[str, Any] | None:
        if query["mode"] != "off":
            return None
        query["output"]["sizes"].update(thinking_tokens=thinking, output_tokens=2 + thinking)
        return query

    return run.with_cell(modes=["off"]).with_queries(changed)


def test_a_mode_that_is_not_what_it_is_called_is_exit_code_4_without_any_comparison(
    base: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(_alone(base, thinking=40).path), "--reference", "aies"]
    assert run_verb(arguments) == ExitCode.INVALID
    text = in_one_line(capsys.readouterr().out)
    assert "The mode off is not what it is called." in text
    assert "Not compared. No mode is what it is called." in text
    assert run_verb(arguments[:2]) == ExitCode.INVALID
    assert run_verb(["compare", str(_alone(base).path)]) == ExitCode.USAGE  # one mode is no comparison
    assert run_verb(["compare", str(_alone(base).path), "--reference", "aies"]) == ExitCode.OK


def test_two_modes_that_gave_the_same_are_told_although_no_comparison_sets_them_side_by_side(
    base: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (side,) = comparing.sides_of([base.path])
    finding = Finding(code=FindingCode.SAME_OUTPUT_IN_MODES, detail="budget:64 and on, 12 prompts")
    summary = summary_of(run_of_queries(12, ("off", "budget:64", "on")), ("off", "budget:64", "on"))
    summary = summary.model_copy(update={"faults": (ModeFault(modes=("budget:64", "on"), finding=finding),)})
    side = replace(side, account=replace(side.account, summary=summary))
    assert comparing.exit_code([side], []) == ExitCode.INVALID
    assert set(not_as_called(summary)) == {"budget:64", "on"}
    (notice,) = notices_of(summary)
    assert notice.startswith("The modes budget:64 and on are not what they are called.")


def test_the_title_names_the_mode_that_is_below_the_line(base: Run) -> None:
    modes = ("off", "budget:64", "on")
    answered = run_of_queries(12, modes)
    queries = [
        each.model_copy(update={"output": None, "score": None}) if each.mode == "off" else each for each in answered
    ]
    (side,) = comparing.sides_of([base.path])
    side = replace(side, account=replace(side.account, summary=summary_of(queries, modes)))
    (lead,) = comparing.mode_leads([side])
    assert lead.title.endswith("each mode over budget:64")
    two_phase = side.summary.model_copy(update={"two_phase": two_phase_of(valid=True), "comparisons": ()})
    (lead,) = comparing.mode_leads([replace(side, account=replace(side.account, summary=two_phase))])
    assert lead.title.endswith("each mode over off (two-phase)")


def test_a_run_without_queries_is_refused(base: Run, capsys: pytest.CaptureFixture[str]) -> None:
    base.with_queries(lambda query: None)
    assert run_verb(["compare", str(base.path)]) == ExitCode.USAGE
    assert "--resume" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- two runs


def test_twice_the_energy_is_a_ratio_of_two_in_every_mode(base: Run, other: Run) -> None:
    (match,) = matched(base, other.with_cell(dtype="float32").times(2.0))
    assert list(match.comparisons) == ["off", "on"]
    assert [str(difference) for difference in match.differences] == ["dtype auto → float32"]
    for comparison in match.comparisons.values():
        assert leading(comparison) == pytest.approx(2.0)
        assert comparison.tokens.value == pytest.approx(1.0)
        assert comparison.energy.half_width_gain == 0.0  # one board: its gain cancels
        assert comparison.n_pairs == 6


def test_the_first_run_is_below_the_line(base: Run, other: Run) -> None:
    other.times(2.0)
    up, down = matched(base, other)[0].comparisons["on"], matched(other, base)[0].comparisons["on"]
    assert leading(up) * leading(down) == pytest.approx(1.0)
    assert up.difference_j.value == pytest.approx(-(down.difference_j.value or 0.0))


def _until_ci(run: Run, n_most: int) -> Run:
    """As if it could have stopped after fewer prompts."""
    for path in run.cell.glob("sessions/*/manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "until_ci": 0.05, "n_prompts": n_most}))
    return run


def test_a_run_that_could_stop_by_itself_is_compared_with_wider_intervals(tmp_path: Path) -> None:
    def noisy(run: Run) -> Run:
        def change(query: dict[str, Any]) -> dict[str, Any]:
            for reading in query["readings"]:
                reading["energy_gross_j"] *= 1.5 + 0.1 * (query["prompt_index"] % 3)
                reading["phases"] = []
            return query

        return run.with_queries(change)

    base = Run(tmp_path / "base")
    plain = matched(base, noisy(Run(tmp_path / "plain")))[0].comparisons["on"].energy
    stopped = _until_ci(noisy(Run(tmp_path / "stopped")), 400)
    (match,) = matched(base, stopped)
    (turned,) = matched(stopped, base)
    wide = match.comparisons["on"].energy
    assert wide.value == plain.value
    assert wide.low is not None
    assert plain.low is not None
    assert plain.value is not None
    assert math.log(wide.low / plain.value) == pytest.approx(RATIO_INFLATION * math.log(plain.low / plain.value))
    assert turned.comparisons["on"].energy.high == pytest.approx(1 / wide.low)  # whichever of the two it is
    assert "the intervals are widened for it" in in_one_line(said(comparing.match_leads([match])))
    assert "widened" not in said(comparing.match_leads(matched(base, Run(tmp_path / "other"))))


def test_every_cell_of_the_page_has_its_letter(base: Run, other: Run) -> None:
    assert run_verb(["compare", str(base.path), str(other.path)]) == ExitCode.OK
    page = (other.path / "compare.html").read_text()
    for letter in "AB":
        assert f">{letter}: tiny-reasoner</a>" in page
        assert f"<h1>{letter}: tiny-reasoner</h1>" in page


def test_another_second_checkpoint_is_a_difference(base: Run, other: Run) -> None:
    def pair(name: str) -> dict[str, Any]:
        return {"model": name, "source": f"org/{name}", "revision": "1" * 40, "modes": ["off"]}

    base.with_cell(pair=pair("one"))
    (match,) = matched(base, other.with_cell(pair=pair("two")))
    ours, theirs = (f"tiny-reasoner (on) and {name} (off)" for name in ("one", "two"))
    assert [str(difference) for difference in match.differences] == [f"model {ours} → {theirs}"]
    assert f"A: {ours}" in in_one_line(said(comparing.mode_leads(comparing.sides_of([base.path, other.path])), 120))


def test_two_boards_carry_both_gains(base: Run, other: Run) -> None:
    (match,) = matched(base, other.times(3.0).on_another_board())
    for comparison in match.comparisons.values():
        assert comparison.energy.half_width_gain == pytest.approx(3.0 * math.hypot(GAIN, GAIN))
    assert "gains of both sensors" in in_one_line(said(comparing.match_leads([match])))


def test_one_name_on_two_machines_is_two_devices(base: Run, other: Run) -> None:
    for run in (base, other.on_another_board()):
        for path in (run.cell / "queries.jsonl", *run.cell.glob("sessions/*/*.json*")):
            text = path.read_text().replace('"GPU-1111', '"cpu-1111').replace('"GPU-2222', '"cpu-1111')
            path.write_text(text)
    (match,) = matched(base, other)
    assert match.comparisons["on"].energy.half_width_gain == pytest.approx(math.hypot(GAIN, GAIN))


def test_runs_apart_are_not_called_different_without_repeats(tmp_path: Path) -> None:
    once = [Run(tmp_path / "base"), Run(tmp_path / "other").times(2.0)]
    comparison = matched(*once)[0].comparisons["on"]
    assert verdict(comparison, estimated=False) is Verdict.REAL
    assert verdict(comparison, estimated=False, apart=True) is Verdict.UNCERTAIN
    assert "not certain" in said(comparing.match_leads(matched(*once)))
    for run, factor in zip(once, (1.01, 2.02), strict=True):
        Run(run.path, into="repeat").with_cell(repeat=1).times(factor)
    (match,) = matched(*once)
    comparison = match.comparisons["on"]
    assert comparison.energy.half_width_runs is not None
    # Student's t of two runs, times the spread of each of both, times sqrt(3/2).
    relative = 12.706 * (0.01 / math.sqrt(2)) * math.sqrt(1.5)
    assert comparison.energy.half_width_runs == pytest.approx(2.0 * math.hypot(relative, relative), rel=1e-3)
    assert verdict(comparison, estimated=False, apart=True) is Verdict.REAL
    assert FindingCode.ONE_RUN not in {finding.code for finding in comparison.energy.findings}


def test_a_cell_is_set_beside_the_first_of_its_own_model(tmp_path: Path) -> None:
    first = Run(tmp_path / "first")
    Run(first.path, into="z-second").with_cell(model="second")
    last = Run(tmp_path / "last").with_cell(model="second", dtype="float32")
    pairs = [(match.base.label, match.other.label) for match in matched(first, last)]
    assert pairs == [("A", "B"), ("B", "C")]
    assert str(matched(first, last)[0].differences[0]) == "model tiny-reasoner → second"


# ----------------------------------------------------------------------------------- what is refused


def test_a_two_phase_run_has_no_sample_to_compare(base: Run, other: Run) -> None:
    first, second = comparing.sides_of([base.path, other.path])
    summary = second.summary.model_copy(update={"two_phase": two_phase_of(valid=True)})
    second = replace(second, account=replace(second.account, summary=summary))
    match = comparing.match(first, second)
    assert match.refusal is not None
    assert "chosen for their lengths: B has no sample" in match.refusal
    lead = comparing.mode_leads([first, second])[1]
    assert lead.title.endswith("(two-phase)")
    assert lead.answers[0].text.startswith("Two-phase: ")
    assert said([lead], 60)
    assert comparing.exit_code([first, second], []) == ExitCode.OK
    summary = summary.model_copy(update={"two_phase": two_phase_of(valid=False)})
    second = replace(second, account=replace(second.account, summary=summary))
    assert comparing.exit_code([first, second], []) == ExitCode.INVALID
    assert "No two-phase figure." in comparing.mode_leads([second])[0].notes[0]
    (lead,) = comparing.reference_leads([second], "aies")
    assert "chosen for their lengths" in lead.notes[0]
    assert not lead.tables


def test_the_mode_that_never_thinks_is_doubted_and_not_the_other(base: Run, other: Run) -> None:
    def efforts(query: dict[str, Any]) -> dict[str, Any]:
        return {**query, "mode": {"off": "medium", "on": "high"}[query["mode"]]}

    runs = [run.with_cell(modes=["medium", "high"]).with_queries(efforts) for run in (base, other.times(2.0))]
    sides = comparing.sides_of([run.path for run in runs])
    assert sides[0].summary.comparisons[0].invalid  # high over medium
    (match,) = comparing.matches_of(sides)
    assert {finding.code for finding in match.comparisons["medium"].invalid} == {FindingCode.NO_THINKING_IN_ON_MODE}
    assert not match.comparisons["high"].invalid
    assert leading(match.comparisons["high"]) == pytest.approx(2.0)
    assert comparing.exit_code(sides, [match]) == ExitCode.INVALID
    (lead,) = comparing.subject_leads(sides)
    assert [spot.label for panel in lead.panels if panel.front for spot in panel.front.spots] == ["A high", "B high"]


def test_every_differing_condition_of_the_nearest_rows_is_named() -> None:
    summary = summary_of(run_of_queries(50), model="Qwen/Qwen3-8B")
    report = reference_report(summary, None, "mlenergy")
    lead = reference_lead("", report)
    text = " ".join(answer.text for answer in lead.answers if "other conditions" in answer.question)
    nearest = [match for mode in report.modes for match in mode.others[:3]]
    assert len(nearest) == 6
    for match in nearest:
        assert match.differences
        for difference in match.differences:
            assert str(difference) in text
    assert "And 26 more." in text
    assert {figure.value for table in lead.tables for row in table.rows for figure in row.figures[2:]} == {
        "not comparable"
    }


def _other_prompts(run: Run) -> Run:
    return run.with_cell(prompt_set="mine", prompt_set_sha256="1" * 64)


def _estimated(run: Run) -> Run:
    (run.cell / "queries.jsonl").write_text(
        (run.cell / "queries.jsonl").read_text().replace("nvml_counter", "estimated")
    )
    return run


def _other_modes(run: Run) -> Run:
    return run.with_cell(modes=["low", "high"]).with_queries(
        lambda query: {**query, "mode": {"off": "low", "on": "high"}[query["mode"]]}
    )


def _other_ids(run: Run) -> Run:
    return run.with_queries(lambda query: {**query, "prompt_id": f"another-{query['prompt_id']}"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_prompts, "different prompts: chains and mine"),
        (_estimated, "The energy of B is estimated"),
        (_other_modes, "no mode in common"),
        (_other_ids, "no answered prompt in common"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(
    base: Run, other: Run, change: Callable[[Run], Run], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(other)
    assert run_verb(["compare", str(base.path), str(other.path)]) == ExitCode.OK
    text = in_one_line(capsys.readouterr().out)
    assert "Not compared." in text
    assert words in text


def test_a_mode_that_is_not_what_it_is_called_is_compared_with_nothing(
    base: Run, other: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def thinking(query: dict[str, Any]) -> dict[str, Any]:
        if query["mode"] == "off":
            query["output"]["sizes"].update(thinking_tokens=40, output_tokens=42)
        return query

    assert run_verb(["compare", str(base.path), str(other.with_queries(thinking).path)]) == ExitCode.INVALID
    (match,) = matched(base, other)
    assert {finding.code for finding in match.comparisons["off"].invalid} == {FindingCode.THINKING_IN_OFF_MODE}
    assert not match.comparisons["on"].invalid
    assert "No comparison of B off with A off." in in_one_line(capsys.readouterr().out)
