"""`harness gate` as a pipeline starts it: exit codes, what is printed, and the files that a CI job reads."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt
from rich.cells import cell_len

from harness import gating
from harness.cli.parser import build_parser, run_verb
from harness.errors import ExitCode
from harness.gate.budget import BudgetLine, Metric, ReferenceKind
from harness.gate.power import MetricPower, Needed, PowerTable
from harness.gate.verdict import Component, LineVerdict, Outcome, Verdict
from harness.gating import selection
from harness.records import Method
from harness.report.gate.annotations import N_SHOWN_MOST, workflow_commands
from harness.report.gate.explanation import explanations
from harness.report.gate.junit import render_junit
from harness.report.gate.markdown import N_BYTES_OF_COMMENT, N_BYTES_OF_SUMMARY, render_gate
from harness.report.gate.power import power_lead
from harness.report.gate.rows import GateRow, gate_row
from harness.report.gate.sheet import GateSheet, gate_sheet, next_step
from tests.gate_runs import A100, accounts_once, write_run

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SCRIPT = "<script>alert(1)</script>|x"
ENERGY = {"name": "energy", "metric": "energy_per_query_j", "mode": "off", "at_most_over_reference": "+3%"}
TOKENS = {"name": "tokens", "metric": "output_tokens_per_query", "mode": "off", "at_most": 1000}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, each named for what it is."""
    path = tmp_path_factory.mktemp("results")
    write_run(path / "reference")
    write_run(path / "cheaper", factor=0.9, seed=2)
    write_run(path / "dearer", factor=1.2, seed=3)
    write_run(path / "once", repeats=1, seed=4)
    write_run(path / "once-before", repeats=1, seed=5)
    write_run(path / "estimated", method=Method.ESTIMATED)
    write_run(path / "elsewhere", board=A100)
    write_run(path / "script", model=SCRIPT, seed=6)
    return path


ACCOUNTS = accounts_once()


class Job:
    """A budget, and a command line over it in the folder of the runs."""

    def __init__(self, root: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.results, self.capsys = root, results, capsys
        self.budget = root / "budget.yaml"
        self.with_budget(ENERGY, TOKENS)

    def with_budget(self, *lines: dict[str, Any], **fields: Any) -> None:
        self.budget.write_text(yaml.safe_dump({"name": "small model", "lines": list(lines), **fields}))

    def run(self, candidate: str, reference: str | None = "reference", *more: str) -> tuple[int, str, str]:
        """The exit code, standard output and standard error."""
        given = () if reference is None else ("--reference", reference)
        code = run_verb(
            [
                *("gate", "--budget", str(self.budget), "--output-dir", str(self.results)),
                *("--candidate", candidate, *given, *more),
            ]
        )
        said = self.capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def job(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Job:
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(selection, "accounts", ACCOUNTS)
    monkeypatch.chdir(tmp_path)
    return Job(tmp_path, results, capsys)


# ------------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(
    ("candidate", "reference", "more", "code", "word"),
    [
        ("cheaper", "reference", (), ExitCode.OK, "PASS"),
        ("dearer", "reference", (), ExitCode.GATE_FAILED, "FAIL"),
        ("once", "once-before", (), ExitCode.INCONCLUSIVE, "INCONCLUSIVE"),
        ("estimated", "reference", (), ExitCode.INVALID, "INVALID"),
        ("cheaper", "estimated", (), ExitCode.INVALID, "INVALID"),
        ("cheaper", "elsewhere", (), ExitCode.INVALID, "INVALID"),
        ("cheaper", "elsewhere", ("--allow", "gpu"), ExitCode.INCONCLUSIVE, "INCONCLUSIVE"),
        ("cheaper", None, (), ExitCode.INVALID, "INVALID"),
    ],
)
def test_the_exit_code_says_what_the_first_line_says(
    job: Job, candidate: str, reference: str | None, more: tuple[str, ...], code: ExitCode, word: str
) -> None:
    found, text, _ = job.run(candidate, reference, *more)
    assert found == code
    assert re.search(rf"[✓✗?!] {word} ", text.splitlines()[2])


def test_a_waived_line_lets_the_gate_pass(job: Job) -> None:
    waiver = {"line": "energy", "until": "2999-01-01", "owner": "mk", "reason": "see 12"}
    job.with_budget(ENERGY, TOKENS, waivers=[waiver])
    code, text, _ = job.run("dearer")
    assert code == ExitCode.OK
    assert "~ WAIVED  energy" in text
    assert "Waived by mk until 2999-01-01: see 12" in " ".join(text.split())


def test_the_golden_reference_of_the_budget_is_judged_too(job: Job) -> None:
    job.with_budget(ENERGY, golden=str(job.results / "cheaper"))
    code, text, _ = job.run("dearer")
    assert code == ExitCode.GATE_FAILED
    assert "over the golden reference" in text
    assert text.count("✗ FAIL  energy") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--candidate", "cheaper"],
        ["--budget", "nowhere.yaml"],
        ["--budget", "budget.yaml", "--candidate", "nothing"],
        ["--budget", "budget.yaml", "--candidate", "reference", "--reference", "reference"],
        ["--budget", "budget.yaml", "--allow", "gpus"],
        ["--budget", "budget.yaml", "--measure", "one.yaml"],
        ["--budget", "budget.yaml", "--measure", "one.yaml", "two.yaml", "--candidate", "cheaper"],
        ["--budget", "budget.yaml", "--candidate", "cheaper", "--until-decided"],
        ["--budget", "budget.yaml", "--resume", "latest", "--repeats", "5"],
    ],
)
def test_what_cannot_be_meant_is_usage(job: Job, arguments: list[str]) -> None:
    assert run_verb(["gate", "--output-dir", str(job.results), *arguments]) == ExitCode.USAGE
    said = job.capsys.readouterr()
    assert not said.out
    assert "  → " in said.err


def test_the_command_as_a_shell_starts_it(job: Job) -> None:
    command = [sys.executable, "-m", "harness", "gate", "--budget", "budget.yaml", "--output-dir", str(job.results)]
    found = subprocess.run(
        [*command, "--candidate", "dearer", "--reference", "reference"], cwd=job.root, capture_output=True, text=True
    )
    assert found.returncode == ExitCode.GATE_FAILED
    assert "FAIL" in found.stdout
    assert found.stderr == ""


# -------------------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [60, 100])
def test_no_line_is_wider_than_the_terminal(job: Job, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for candidate, more in (("dearer", ()), ("dearer", ("--explain",)), ("estimated", ()), ("script", ("--explain",))):
        _, text, _ = job.run(candidate, "reference", *more)
        shown = [line for line in text.splitlines() if not line.startswith("Next: ")]
        assert max(map(cell_len, shown)) <= width


def test_a_line_shows_value_interval_limit_and_margin(job: Job) -> None:
    _, text, _ = job.run("dearer")
    row = text[text.index("✗ FAIL  energy") :]
    assert re.search(r"\+\d\d\.\d+ %  \(\+\d\d\.\d+ to \+\d\d\.\d+\)  at most \+3 %", row)
    assert re.search(r"over by at least 1\d\.\d+ points", row)
    assert "30 prompts, 3 repeats against 3" in row
    assert "harness compare" in text


def test_explain_says_what_the_interval_is_of_and_what_would_settle_it(job: Job) -> None:
    _, text, _ = job.run("dearer", "reference", "--explain")
    for said in ("Asked", "Found", "Why", "prompts", "run to run", "sensor reading", "board gain", "cancels"):
        assert said in text
    _, text, _ = job.run("once", "once-before", "--explain")
    assert "To settle it" in text
    assert "--repeats 3" in text


@pytest.mark.parametrize("width", [60, 100])
def test_power_says_how_many_queries_show_what(job: Job, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code = run_verb(
        ["gate", "--power", "--output-dir", str(job.results), "--candidate", "cheaper", "--reference", "reference"]
    )
    text = job.capsys.readouterr().out
    assert code == ExitCode.OK  # without a budget nothing is judged
    assert "What a gate can see: mode off, everyday" in text
    assert max(map(cell_len, text.splitlines())) <= width
    for said in ("Queries, at 3 repeats", "Repeats of each side, at 30 queries", "a rise of 10 %", "one run"):
        assert said in text


def test_power_of_what_was_not_measured_is_refused(job: Job) -> None:
    code = run_verb(["gate", "--power", "--output-dir", str(job.results), "--candidate", "estimated"])
    assert code == ExitCode.INVALID
    assert "not measured" in job.capsys.readouterr().err


def test_power_needs_the_same_prompts(job: Job, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", prompt_set_sha256="1" * 64, n_prompts=6)
    command = ["gate", "--power", "--output-dir", str(job.results), "--candidate", "cheaper", "--reference", str(other)]
    assert run_verb(command) == ExitCode.USAGE


def test_more_queries_show_less() -> None:
    needed = tuple(
        Needed(difference=difference, power=power, n_queries=None if difference < 0.02 else 10, n_repeats=3)
        for difference in (0.01, 0.02, 0.03, 0.05, 0.1)
        for power in (0.8, 0.9)
    )
    row = MetricPower(
        metric=Metric.ENERGY_PER_QUERY_J, prompt_sd=0.3, run_sd=0.01, half_width_reading=0.0, needed=needed
    )
    lead = power_lead(
        PowerTable(
            mode="off", prompt_set="x", alpha=0.05, n_queries=40, n_repeats=3, metrics=(row,), notes=("Assumed.",)
        )
    )
    first = lead.tables[0]
    assert [each.figures[0].value for each in first.rows] == ["> 1 M", "10", "10", "10", "10"]
    assert "Assumed." in lead.notes


# ------------------------------------------------------------------------------------- what a CI job reads


def test_the_verdict_is_added_to_the_summary_of_the_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = job.root / "summary.md"
    summary.write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    code, _, error = job.run("dearer")
    assert (code, error) == (ExitCode.GATE_FAILED, "")
    text = summary.read_text()
    assert text.startswith("# Before\n\n<!-- harness-gate: small-model -->\n")
    assert "✗ FAIL: gate small model" in text


def test_a_full_or_missing_summary_changes_no_verdict(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = job.root / "summary.md"
    summary.write_text("x" * (N_BYTES_OF_SUMMARY - 100))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    code, _, error = job.run("cheaper")
    assert code == ExitCode.OK
    assert "is full" in error
    assert summary.stat().st_size == N_BYTES_OF_SUMMARY - 100
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job.root / "no" / "summary.md"))
    code, _, error = job.run("cheaper")
    assert code == ExitCode.OK
    assert "cannot be written" in error


def test_annotations_point_at_the_budget(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text, _ = job.run("dearer")
    assert "::error" not in text
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(job.root))
    _, text, _ = job.run("dearer")
    (command,) = (line for line in text.splitlines() if line.startswith("::"))
    assert command.startswith("::error file=budget.yaml,title=Gate small model%3A FAIL::energy: +")
    assert "%25" in command
    _, text, _ = job.run("once", "once-before")
    assert "::warning file=budget.yaml" in text


def test_markdown_and_junit_and_json_say_the_same(job: Job) -> None:
    _, text, _ = job.run(
        "dearer", "reference", "--markdown", "out/gate.md", "--junit", "out/gate.xml", "--json", "out/gate.json"
    )
    value = re.search(r"\+\d\d\.\d+ %", text[text.index("✗ FAIL  energy") :])
    assert value is not None
    assert value.group().replace("+", r"\+") in (job.root / "out" / "gate.md").read_text()
    assert value.group() in (job.root / "out" / "gate.xml").read_text()
    verdict = Verdict.model_validate(json.loads((job.root / "out" / "gate.json").read_text()))
    assert verdict.outcome is Outcome.FAIL


def test_markdown_can_be_printed_instead(job: Job) -> None:
    code, text, _ = job.run("dearer", "reference", "--markdown")
    assert code == ExitCode.GATE_FAILED
    assert text.startswith("<!-- harness-gate: small-model -->\n")
    assert "┏" not in text


def test_a_file_that_cannot_be_written_is_said_after_the_verdict(job: Job) -> None:
    (job.root / "file").write_text("")
    code, text, error = job.run("cheaper", "reference", "--junit", "file/gate.xml")
    assert code == ExitCode.ENVIRONMENT
    assert "✓ PASS" in text
    assert "cannot be written" in error


# --------------------------------------------------------------------------------- names from outside


class Page(HTMLParser):
    """What a browser would see: elements, and the text of each table row's cells."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.rows: list[list[str]] = []
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def test_a_model_that_is_a_script_stays_text(job: Job) -> None:
    name = f"a {SCRIPT} `code` [link](http://x) @team"
    job.with_budget({**ENERGY, "name": name}, TOKENS)
    code, text, _ = job.run("script", "reference", "--markdown", "gate.md", "--junit", "gate.xml")
    assert code == ExitCode.OK
    assert SCRIPT in text
    page = Page((job.root / "gate.md").read_text())
    assert not page.seen & {"script", "a", "img"}
    assert page.seen >= {"table", "details", "h2"}
    lines = [row for row in page.rows if row[0] == "PASS"]
    assert [len(row) for row in lines] == [6, 6]
    assert lines[0][1].startswith(name)
    (suite,) = JUnitXml.fromfile(str(job.root / "gate.xml"))
    assert any(SCRIPT in case.name for case in suite)


# ------------------------------------------------------------------- what is rendered, of made-up verdicts


def line_of(outcome: Outcome, name: str = "energy", **fields: Any) -> LineVerdict:
    relative = BudgetLine(metric=Metric.ENERGY_PER_QUERY_J, at_most_over_reference="3%")
    figures = {
        "value": 0.05,
        "low": 0.04,
        "high": 0.06,
        "limit": 0.03,
        "value_candidate": 42.0,
        "value_reference": 40.0,
    }
    shown = {} if outcome in (Outcome.INVALID, Outcome.NOT_APPLIED) else {**figures, "n_queries": 40, "p_over": 0.001}
    return LineVerdict(
        **{
            "line": relative,
            "name": name,
            "subject": "model (run new)",
            "mode": "on",
            "prompt_set": "everyday",
            "against": ReferenceKind.RELEASE,
            "outcome": outcome,
            "unit": "",
            "n_runs_candidate": 3,
            "n_runs_reference": 3,
            "reasons": ("The ends against the limit.", "A note."),
            **shown,
            **fields,
        }
    )


def sheet_of(*lines: LineVerdict, inconclusive: Any = "report", n_looks: int = 1) -> GateSheet:
    order = (Outcome.FAIL, Outcome.INVALID, Outcome.INCONCLUSIVE, Outcome.PASS)
    outcome = next((each for each in order if each in {line.outcome for line in lines}), Outcome.PASS)
    verdict = Verdict(
        budget="b",
        alpha=0.05,
        n_looks=n_looks,
        lines=lines,
        outcome=outcome,
        exit_code=ExitCode.OK,
        candidate=("model (run new)",),
        references={ReferenceKind.RELEASE: ("model (run old)",)},
        date_utc=date(2026, 11, 29),
    )
    return gate_sheet(verdict, name="b", inconclusive=inconclusive, next_step="Look: harness compare old new")


def row_of(**fields: Any) -> GateRow:
    return gate_row(line_of(Outcome.INCONCLUSIVE, **fields))


@pytest.mark.parametrize(
    ("figures", "value", "interval", "margin"),
    [
        ({"value": 0.05, "low": 0.04, "high": 0.06}, "+5.0 %", "+4.0 to +6.0", "over by at least 1.0 points"),
        ({"value": 0.01, "low": -0.01, "high": 0.029}, "+1.0 %", "−1.0 to +2.9", "0.1 points to spare"),
        (
            {"value": 0.02, "low": 0.0, "high": 0.05},
            "+2.0 %",
            "0.0 to +5.0",
            "the upper end is 2.0 points over the limit",
        ),
        # An end that is not the limit never prints as the limit.
        ({"value": 0.01, "low": -0.01, "high": 0.030004}, "+1.0000 %", "−1.0000 to +3.0004", "the upper end is 0.0004"),
        ({"value": 0.01, "low": -0.01, "high": None}, "+1.0 %", "−1.0 to no upper end", "no end on that side"),
        ({"value": 0.01, "low": None, "high": None}, "+1.00 %", "no interval", ""),
        ({"value": 0.0, "low": 0.0, "high": 0.0}, "0 %", "0 to 0", "3 points to spare"),
        # Percentages keep their ones.
        ({"value": 0.117, "low": -0.54, "high": 1.727}, "+12 %", "−54 to +173", "the upper end is 170 points over"),
    ],
)
def test_figures_are_printed_with_the_digits_that_their_interval_justifies(
    figures: dict[str, Any], value: str, interval: str, margin: str
) -> None:
    row = row_of(**figures)
    assert (row.value, row.interval) == (value, interval)
    assert margin in row.margin
    assert bool(margin) == bool(row.margin)


def test_a_limit_is_never_rounded() -> None:
    line = BudgetLine(metric=Metric.ENERGY_PER_OUTPUT_TOKEN_J, at_most=0.123456789)
    row = gate_row(
        line_of(Outcome.PASS, line=line, against=None, value=0.1, low=0.09, high=0.11, limit=0.123456789, unit="J")
    )
    assert row.limit == "at most 0.123456789 J"
    assert row.value == "0.100 J"


def test_an_equivalence_shows_both_sides() -> None:
    line = BudgetLine(metric=Metric.ENERGY_PER_QUERY_J, equivalent="3%")
    inside = gate_row(line_of(Outcome.PASS, line=line, value=-0.01, low=-0.02, high=0.0, limit=0.03, limit_low=-0.03))
    assert inside.limit == "within ±3 %"
    assert inside.margin == "1.0 points to spare"
    below = gate_row(line_of(Outcome.FAIL, line=line, value=-0.05, low=-0.06, high=-0.04, limit=0.03, limit_low=-0.03))
    assert below.margin == "under by at least 1.0 points"


def test_own_sensor_lines_say_so_wherever_they_show() -> None:
    line = BudgetLine(metric=Metric.ENERGY_PER_QUERY_J, at_most=50, board_gain=False)
    sheet = sheet_of(line_of(Outcome.PASS, line=line, against=None, value=40.0, low=39.0, high=41.0, limit=50.0))
    for text in (render_gate(sheet), render_junit(sheet), sheet.rows[0].about):
        assert "as this board's own sensor reads them" in text.replace("\\", "")


def test_an_invalid_line_has_no_figure() -> None:
    row = gate_row(line_of(Outcome.INVALID, value=12.0, low=1.0, high=30.0, limit=3.0))
    assert row.value == "no figure"
    assert not row.interval
    assert row.scale is None


def test_every_outcome_has_its_junit_element() -> None:
    lines = [line_of(outcome, name=outcome.value) for outcome in Outcome]
    for policy, of_open in (("report", Failure), ("fail", Failure), ("pass", Skipped)):
        (suite,) = JUnitXml.fromstring(render_junit(sheet_of(*lines, inconclusive=policy)).encode())
        found = {case.name.split(" (")[0]: [type(each) for each in case.result] for case in suite}
        assert found == {
            "pass": [],
            "fail": [Failure],
            "inconclusive": [of_open],
            "invalid": [Error],
            "waived": [Skipped],
            "not applied": [Skipped],
        }
        results = [each for case in suite for each in case.result]
        assert suite.tests == len(lines)
        assert suite.failures == sum(isinstance(each, Failure) for each in results)
        assert suite.errors == sum(isinstance(each, Error) for each in results)
        assert suite.skipped == sum(isinstance(each, Skipped) for each in results)


def test_control_characters_do_not_break_the_xml() -> None:
    line = line_of(Outcome.FAIL, name='a\x1b[31m & "quoted" <b>\uffff', reasons=("x\x00y",))
    (suite,) = JUnitXml.fromstring(render_junit(sheet_of(line)).encode())
    (case,) = suite
    assert '& "quoted" <b>' in case.name
    assert "\x1b" not in case.name


def test_a_thousand_lines_fit_into_a_comment_and_the_worst_are_kept() -> None:
    lines = [line_of(Outcome.PASS, name=f"line {index}") for index in range(1000)]
    sheet = sheet_of(*lines, line_of(Outcome.FAIL, name="the one that fails"))
    text = render_gate(sheet)
    assert len(text.encode()) <= N_BYTES_OF_COMMENT
    assert "the one that fails" in text
    assert re.search(r"\d+ more lines are in the JUnit file", text)
    assert "<details>" not in text
    assert len(render_gate(sheet, n_bytes_most=200).encode()) <= 200
    assert "<details>" in render_gate(sheet_of(*lines[:2]))


def test_annotations_are_at_most_ten_of_a_level_and_the_worst_come_first() -> None:
    lines = [line_of(Outcome.INCONCLUSIVE, name=f"open {index}") for index in range(20)]
    sheet = sheet_of(*lines, line_of(Outcome.FAIL, name="100% over\n::error::x"), line_of(Outcome.PASS))
    commands = workflow_commands(sheet, file="a,b:c.yaml")
    assert len(commands) == N_SHOWN_MOST + 1
    assert commands[0].startswith("::error file=a%2Cb%3Ac.yaml,title=")
    assert "100%25 over%0A::error::x" in commands[0]
    assert all("\n" not in command for command in commands)
    assert workflow_commands(sheet_of(lines[0], inconclusive="fail"), file="b")[0].startswith("::error ")
    assert workflow_commands(sheet_of(lines[0], inconclusive="pass"), file="b")[0].startswith("::notice ")


def test_what_is_said_of_several_lines_is_said_once() -> None:
    note = "The reference was measured in another job."
    lines = [line_of(Outcome.PASS, name=str(index), reasons=("Ends.", note)) for index in range(3)]
    sheet = sheet_of(*lines)
    assert sheet.notes == (note,)
    assert not any(row.notes for row in sheet.rows)
    assert render_gate(sheet, n_bytes_most=2500).count("another job") == 1


def test_holm_is_explained_where_it_decides() -> None:
    stays_open = line_of(Outcome.INCONCLUSIVE, p_over=0.03, holm_level=0.0125)
    (explanation,) = explanations(sheet_of(stays_open))
    (many,) = (each for each in explanation.paragraphs if each.heading == "Several lines")
    assert "p = 0.03" in many.text
    assert "stays open" in many.text
    assert "although its own interval" in next(each.text for each in explanation.paragraphs if each.heading == "Why")
    (explanation,) = explanations(sheet_of(line_of(Outcome.FAIL, p_over=0.01, holm_level=0.05)))
    assert "Several lines" not in {each.heading for each in explanation.paragraphs}


def test_parts_of_an_interval_say_where_they_are_from() -> None:
    parts = (
        Component(name="prompts", low=0.02, high=0.021),
        Component(name="run to run", low=None, high=None, note="one run of each side"),
        Component(name="board gain", low=0.0, high=0.0, note="cancels: the same board on both sides"),
    )
    (explanation,) = explanations(sheet_of(line_of(Outcome.INCONCLUSIVE, components=parts)))
    assert [(part.down, part.up) for part in explanation.parts] == [
        ("−2.0 %", "+2.1 %"),
        ("unknown", "unknown"),
        ("0 %", "0 %"),
    ]
    assert "one run of each side" in explanation.parts[1].note
    assert "run to run has no end" in explanation.parts_note


def test_a_gate_in_which_nothing_applies_says_so() -> None:
    verdict = sheet_of(line_of(Outcome.NOT_APPLIED)).verdict.model_copy(update={"outcome": Outcome.INVALID})
    sheet = gate_sheet(verdict, name="b")
    assert sheet.sentence == "No line of the budget applies to what was measured."
    assert "b.yaml" in next_step(verdict, candidate="new", reference=None, budget="b.yaml")


def test_a_pass_with_a_waiver_says_both() -> None:
    assert "or waived" in sheet_of(line_of(Outcome.WAIVED), line_of(Outcome.PASS)).sentence
    assert "waived" not in sheet_of(line_of(Outcome.PASS)).sentence


def test_looks_are_said() -> None:
    assert "looks up to 5 times, each at 1 %" in sheet_of(line_of(Outcome.PASS), n_looks=5).level


# ------------------------------------------------------------------------------------ docs and examples


def commands_in(text: str) -> list[list[str]]:
    """Every `harness` command of a script, line continuations joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = (line.strip().removeprefix("- ") for line in joined.splitlines())
    return [shlex.split(line, comments=True) for line in lines if re.match(r"harness [a-z]", line)]


@pytest.mark.parametrize("name", ["gate-github-actions.yml", "gate-gitlab-ci.yml"])
def test_every_command_of_an_example_can_be_parsed(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert yaml.safe_load(text)
    commands = commands_in(text)
    assert any(command[:2] == ["harness", "gate"] for command in commands)
    for command in commands:
        build_parser().parse_args(command[1:])


def test_the_example_budget_can_be_used() -> None:
    budget = gating.load_budget(EXAMPLES / "budget.yaml")
    assert {line.metric for line in budget.lines} == set(Metric)
    assert budget.waivers
    assert budget.lines[0].mode == "off"


def test_every_command_of_the_guide_can_be_parsed() -> None:
    commands = commands_in((EXAMPLES.parent / "gate.md").read_text())
    assert len(commands) > 5
    for command in commands:
        build_parser().parse_args(command[1:])
