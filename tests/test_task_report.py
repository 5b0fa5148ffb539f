"""How a run of a task is shown: its own figures, its own words, and nothing of thinking, modes or token caps."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from harness.analysis.comparison import compare
from harness.analysis.measured import QueryFigures, devices_by_session, figures_of
from harness.cli.parser import run_verb
from harness.progress import Progress
from harness.records import (
    Boundary,
    Comparison,
    Finding,
    FindingCode,
    Media,
    Method,
    Prompt,
    QueryRecord,
    Summary,
)
from harness.report.across import across_panels
from harness.report.explanation.statistics import Evidence, explanations_of
from harness.report.facts import facts_of
from harness.report.leads import match_lead, subjects_lead
from harness.report.markdown import render_leads, render_markdown
from harness.report.measure import measure_of
from harness.report.page import PageCell, render_page
from harness.report.raw_data import raw_data
from harness.report.receipt import receipt_of
from harness.report.task.failed import failed_inputs
from harness.report.task.panels import size_panels
from harness.report.task.quality import score_words
from harness.report.terminal import PatientConsole, print_receipt
from harness.report.variants.column import VariantColumn
from harness.report.variants.lead import variants_lead
from harness.wiring.jobs import Job
from tests.synthetic_tasks import CONSTANT_J, MODE, TASKS, task_queries, task_summary, write_task_run

SPEECH, IMAGES, CLASSES = "automatic-speech-recognition", "image-generation", "image-classification"
FOREIGN = re.compile(r"\b(thinking|reasoning|modes?|default|cap|caps|MODE)\b")
"""Words of text generation."""
RANDOM = Finding(code=FindingCode.RANDOM_WEIGHTS)
ATTACK = "</script><img src=x onerror=alert(1)>"


def estimates(task: str, n: int = 12) -> list[QueryRecord]:
    return task_queries(task, n, method=Method.ESTIMATED, boundary=Boundary.HOST)


def figures(queries: Sequence[QueryRecord], summary: Summary) -> list[QueryFigures]:
    devices = devices_by_session(queries, summary.headline)
    return [figures_of(query, summary.headline, devices[query.session]) for query in queries if query.output]


def printed(summary: Summary, queries: Sequence[QueryRecord] = (), width: int = 80) -> str:
    console = PatientConsole(file=io.StringIO(), width=width, highlight=False)
    print_receipt(console, receipt_of(summary, queries))
    return cast("io.StringIO", console.file).getvalue()


def one_line(text: str) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯┃┏┓┗┛─━]", " ", text).split())


def page(summary: Summary, queries: Sequence[QueryRecord]) -> str:
    return render_page([PageCell(summary=summary, queries=queries, facts=facts_of(summary, None))])


def visible(html: str) -> str:
    """What a reader of a page sees, every panel and list opened."""
    body = re.sub(r"<(script|style|noscript)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("is_estimate", [False, True])
def test_nothing_is_said_in_the_words_of_text_generation(task: str, is_estimate: bool) -> None:
    queries = estimates(task) if is_estimate else task_queries(task)
    summary = task_summary(task, queries)
    said = [printed(summary, queries), render_markdown(receipt_of(summary, queries)), visible(page(summary, queries))]
    for text in said:
        # A query's name holds its mode, as in every command.
        assert not FOREIGN.findall(text.replace(f"{MODE}/", "")), text
        assert "unknown tokens" not in text
    writes = any("tokens" in size for query in queries if query.output for size in query.output.sizes)
    assert all(("token" in text) == writes for text in said)


def test_the_headline_says_task_model_joules_quality_and_what_size_costs() -> None:
    queries = task_queries(SPEECH, 24, noise=0)
    summary = task_summary(SPEECH, queries)
    (mode,) = summary.modes
    receipt = receipt_of(summary, queries)
    words = r"Automatic speech recognition with openai/whisper-tiny takes \d+ J per query \(95 %: \d+ to \d+\), "
    words += r"[\d.]+ Wh per 1,000 queries\. Word error rate 0\.1\d+ \(0\.[\d]+ to 0\.[\d]+\) over 24 answers\. "
    words += r"[\d.]+ J per second of audio \(95 %: [\d.]+ to [\d.]+\): 20\.\d* J whatever the size, "
    words += r"and 6\.0\d* J for each second of audio\."
    assert re.fullmatch(words, receipt.headline), receipt.headline
    assert f"{mode.quality[0].figure.value:.3f}" in receipt.headline
    titles = [section.title for section in receipt.sections]
    assert titles == [
        "One query, in J",
        "95 % interval of the total, J",
        "Size of one query",
        "What its size costs",
        "Quality",
    ]
    phases = [row.label for row in receipt.sections[0].rows[:3]]
    assert phases == ["encode", "decode", "total"]


def test_estimated_energy_lets_seconds_speak() -> None:
    summary = task_summary(SPEECH, estimates(SPEECH, 24))
    receipt = receipt_of(summary)
    assert re.search(
        r"takes \d+ ms per query \(95 %: \d+ to \d+\), an estimated [\d.]+ J and [\d.]+ Wh", receipt.headline
    )
    assert receipt.headline.endswith("ms per second of audio.")
    assert [row.label for row in receipt.table.rows[:2]] == ["ms per query", "ms per second of audio"]
    assert not any("J per second" in row.label for section in receipt.sections for row in section.rows)


def test_of_images_no_quality_is_claimed_and_nobody_is_told_to_use_references() -> None:
    queries = task_queries(IMAGES)
    summary = task_summary(IMAGES, queries)
    text = printed(summary, queries)
    assert "No quality is claimed." in one_line(text)
    assert "none is claimed" in text
    assert "Image generation, steps 20" in text
    assert "reference answers" not in text
    assert "scored" not in text


def test_graded_answers_are_not_called_wrong() -> None:
    queries = task_queries(SPEECH)
    text = printed(task_summary(SPEECH, queries), queries)
    assert "right" not in text
    assert FindingCode.GRADED.sentence not in one_line(text)


def test_without_references_the_quality_is_unknown_and_not_the_joules_of_right_answers() -> None:
    queries = [query.model_copy(update={"score": None}) for query in task_queries(SPEECH)]
    text = one_line(printed(task_summary(SPEECH, queries), queries))
    assert "No answer was scored, so how good they are is unknown." in text
    assert "correct answer" not in text


def test_right_answers_have_their_joules() -> None:
    queries = task_queries(CLASSES, 24)
    summary = task_summary(CLASSES, queries)
    (mode,) = summary.modes
    text = printed(summary, queries)
    assert f"{mode.n_correct} of 24" in text
    assert "J per right answer" in text


def test_random_weights_are_said_first_and_make_the_quality_mean_nothing() -> None:
    queries = task_queries(CLASSES)
    summary = task_summary(CLASSES, queries).model_copy(update={"findings": (RANDOM,)})
    receipt = receipt_of(summary, queries)
    assert receipt.notices == (f"{RANDOM.code.sentence} → {RANDOM.code.next_step}",)
    assert receipt.lines[2].startswith("random weights")
    assert "its weights are random, so the quality of its answers means nothing" in receipt.headline.replace(
        "Its", "its"
    )
    assert receipt.sections[-1].title == "Quality (random weights: it means nothing)"
    assert "per right answer" not in one_line(printed(summary, queries))
    assert "accuracy" not in {row.label for row in receipt.table.rows}
    html = page(summary, queries)
    assert html.index("answers mean nothing") < html.index("One query, in")


def damaged(n: int) -> list[QueryRecord]:
    """Speech of which the last `n` could not be read."""
    queries = task_queries(SPEECH, 12, n_unusable=n)
    return [
        query.model_copy(
            update={
                "findings": (
                    Finding(code=FindingCode.INPUT_UNUSABLE, detail=f"bad-{query.prompt_index}.wav is silent."),
                )
            }
        )
        if query.output is None
        else query
        for query in queries
    ]


def test_inputs_that_were_not_measured_are_named_with_their_reasons() -> None:
    queries = damaged(2)
    summary = task_summary(SPEECH, queries)
    words = "2 of 12 inputs were not measured: bad-10.wav is silent; bad-11.wav is silent."
    first = receipt_of(summary, queries).doubts[0]
    assert first.sentence == words
    assert words in one_line(printed(summary, queries))
    assert "2 of 12 inputs were not measured: bad" in render_markdown(receipt_of(summary, queries)).replace("\\", "")
    html = visible(page(summary, queries))
    assert "Inputs that were not measured spoken-010 bad-10.wav is silent. spoken-011 bad-11.wav is silent." in html
    assert [each.prompt_id for each in failed_inputs(queries)] == ["spoken-010", "spoken-011"]


def test_of_many_failed_inputs_a_few_are_named_and_the_rest_counted() -> None:
    queries = damaged(6)
    first = receipt_of(task_summary(SPEECH, queries), queries).doubts[0]
    assert first.sentence.startswith("6 of 12 inputs were not measured: bad-6.wav is silent; ")
    assert first.sentence.endswith("; and 3 more.")
    alone = receipt_of(task_summary(SPEECH, damaged(1))).doubts[0]  # without the queries: what the summary has
    assert alone.sentence == "1 of 12 inputs was not measured."
    assert "bad-11.wav is silent" in "".join(alone.details)


def test_the_points_lie_on_the_line_where_the_queries_follow_the_law() -> None:
    queries = task_queries(SPEECH, 24, noise=0)
    summary = task_summary(SPEECH, queries)
    panel = size_panels(summary, figures(queries, summary), measure_of(summary))[0]
    (plane,) = panel.planes
    (curve,) = plane.curves
    assert plane.x_axis == "seconds of audio"
    assert plane.y_axis == "energy, J"
    ends = [tuple(map(float, corner.split(","))) for corner in curve.path.removeprefix("M").split("L")]
    (x0, y0), (x1, y1) = ends
    assert x0 == 0.0
    for dot in curve.dots:
        on_line = 100 - (y0 + (y1 - y0) * (dot.left - x0) / (x1 - x0))
        assert dot.bottom == pytest.approx(on_line, abs=0.1)
    most = max(query.readings[0].energy_gross_j or 0.0 for query in queries)
    assert 100 - y0 == pytest.approx(100 * CONSTANT_J / (1.06 * most), abs=0.1)


def test_estimates_have_points_in_seconds_and_no_line() -> None:
    queries = estimates(SPEECH)
    summary = task_summary(SPEECH, queries)
    panel = size_panels(summary, figures(queries, summary), measure_of(summary))[0]
    (curve,) = panel.planes[0].curves
    assert panel.title == "Time against seconds of audio"
    assert curve.path == ""
    assert len(curve.dots) == len(queries)


def test_queries_of_one_size_make_no_chart_of_sizes() -> None:
    queries = [
        query.model_copy(update={"output": query.output.model_copy(update={"sizes": {"input_pixels": 50176}})})
        for query in task_queries(CLASSES)
        if query.output is not None
    ]
    summary = task_summary(CLASSES, queries)
    assert size_panels(summary, figures(queries, summary), measure_of(summary)) == ()
    assert "All queries are of about one size" in one_line(printed(summary))
    assert "whatever the size" not in receipt_of(summary).headline


@pytest.mark.parametrize("task", TASKS)
def test_every_figure_can_be_explained_down_to_its_queries(task: str) -> None:
    queries = task_queries(task, 24)
    summary = task_summary(task, queries)
    (mode,) = summary.modes
    found = explanations_of(Evidence(summary=summary, figures=figures(queries, summary)))
    named = {name for section in receipt_of(summary).sections for row in section.rows for name in row.behind}
    assert named <= {*found, *(name for name in named if "net" in name or "tail" in name)}
    for quality in mode.quality:
        name = "accuracy" if quality.metric == "accuracy" else f"quality.{quality.metric}"
        explained = found[f"{MODE}.{name}"]()
        assert not explained.title.startswith(MODE)
        assert explained.parts or quality.figure.low is None
    for law in mode.size_laws:
        explained = found[f"{MODE}.{law.size}.energy_per_unit_j"]()
        above, _, rest = explained.formula[0].partition(" / ")
        joules, units = (float(each.split()[0].replace(",", "")) for each in (above, rest))
        assert joules / units == pytest.approx(law.energy_per_unit_j.value, rel=1e-4)
    for each in (make() for make in found.values()):
        texts = [each.title, each.words, each.rests_on, *each.formula]
        assert not FOREIGN.findall(" ".join(texts).replace("the mode's mean", "")), texts


def test_a_scores_words_say_what_was_found() -> None:
    assert score_words(None, {"word_errors": 2.0, "reference_words": 14.0}) == "2 errors in 14 words"
    assert score_words(None, {"word_errors": 1.0, "reference_words": 1.0}) == "1 error in 1 word"
    assert score_words(None, {"similarity": 0.831, "reference": 4.2}) == "0.83, reference 4.2"
    assert score_words(False, {"f1": 0.4, "exact_match": 0.0}) == "wrong, F1 0.40"
    assert score_words(True, {}) == "right"
    assert score_words(None, {}) == "–"
    boxes = {"matched_50": (1.0, 0.0), "confidence": (0.9, 0.4), "objects": (3.0, 3.0, 5.0)}
    assert score_words(None, boxes) == "1 of 3 objects found, 2 boxes"


def test_the_page_lists_queries_by_their_input_and_lets_no_answer_break_out() -> None:
    queries = task_queries(SPEECH)
    output = queries[0].output
    assert output is not None
    queries[0] = queries[0].model_copy(update={"output": output.model_copy(update={"text": ATTACK})})
    html = page(task_summary(SPEECH, queries), queries)
    assert ATTACK not in html
    headings = re.findall(r"<th scope=\"col\">([^<]*)</th>", html.partition('class="queries"')[2])
    assert headings == [
        "input",
        "seconds of audio",
        "output tokens",
        "s",
        "J",
        "reading",
        "score",
        "answer",
        "findings",
    ]
    assert "src=" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL).replace("img src=x", "")


def test_the_downloaded_table_has_the_sizes_and_the_scores_of_the_task() -> None:
    queries = damaged(1)
    summary = task_summary(SPEECH, queries)
    known = {each.prompt_id: each for each in figures(queries, summary)}
    raw = cast(
        "dict[str, Any]", raw_data(summary, [(query, known.get(query.prompt_id)) for query in queries], len(queries))
    )
    rows = [dict(zip(raw["columns"], [*raw["constant"], *row], strict=True)) for row in raw["rows"]]
    first, output, score = rows[0], queries[0].output, queries[0].score
    assert output is not None
    assert score is not None
    assert first["audio_s"] == output.sizes["audio_s"]
    assert first["word_errors"] == score.values["word_errors"]
    assert "thinking_tokens" not in first
    assert rows[-1]["failed"] is True
    assert rows[-1]["audio_s"] is None


def over(above: Sequence[QueryRecord], below: Sequence[QueryRecord], summary: Summary) -> Comparison:
    """The same inputs in two cells."""
    found = compare(
        figures(above, summary), figures(below, summary), {}, modes=("B", "A"), estimated=summary.estimated, invalid=()
    )
    assert found is not None
    return found


@pytest.fixture(scope="module")
def two() -> tuple[list[QueryRecord], Summary, list[QueryRecord], Summary]:
    """Two classifiers over the same pictures."""
    one, other = task_queries(CLASSES, 24), task_queries(CLASSES, 24, seed=9)
    return one, task_summary(CLASSES, one), other, task_summary(CLASSES, other, model="microsoft/resnet-18")


def test_two_cells_are_compared_without_modes(
    two: tuple[list[QueryRecord], Summary, list[QueryRecord], Summary],
) -> None:
    one, below, other, above = two
    comparison = over(other, one, below)
    lead = match_lead(
        ("B", "A"), {MODE: comparison}, estimated=False, differences=["model"], refusal=None, task=CLASSES
    )
    subjects = subjects_lead([("A", below), ("B", above)])
    text = render_leads([subjects, lead])
    assert not FOREIGN.findall(text), text
    assert "A: Image classification, google/mobilenet" in text.replace("\\", "")
    assert re.search(r"B takes [\d.]+ × the joules of A", text)
    assert "token" not in text
    panels = across_panels([("A", below), ("B", above)])
    assert not any(FOREIGN.findall(f"{panel.caption} {panel.grid}") for panel in panels)
    html = visible(render_page([], leads=[subjects, lead]))
    assert not FOREIGN.findall(html)


def test_variants_have_seconds_joules_and_quality(
    two: tuple[list[QueryRecord], Summary, list[QueryRecord], Summary],
) -> None:
    one, base, other, changed = two
    columns = [
        VariantColumn(
            name=name,
            executed=executed,
            fallback=False,
            summary=summary,
            modes={mode.mode: mode for mode in summary.modes},
            comparisons=comparisons,
            differences=(),
            refusal=None,
            n_repeats=1,
            forced=False,
        )
        for name, executed, summary, comparisons in (
            ("fp32", "float32", base, {}),
            ("bf16", "bfloat16", changed, {MODE: over(other, one, base)}),
        )
    ]
    lead = variants_lead(columns)
    labels = [row.label for row in lead.tables[0].rows]
    assert labels == [
        "precision executed",
        "J per query",
        "s per query" if "s per query" in labels else "ms per query",
        "J per megapixel",
        "accuracy",
        "right answers",
        "J per right answer",
    ]
    assert all(figure.value != "unknown" for table in lead.tables for row in table.rows for figure in row.figures)
    html = visible(render_page([], leads=[lead]))
    assert not FOREIGN.findall(html), html
    assert "token" not in html


def progress(task: str) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    cell = task_summary(task).cell
    job = cast("Job", SimpleNamespace(cell=cell, n_prompts=12))
    return Progress(Console(file=out, width=80, force_terminal=True, no_color=True), job), out


def test_progress_says_inputs_and_the_name_of_an_image_or_a_sound() -> None:
    seen, out = progress(SPEECH)
    with seen:
        seen.stage("queries", MODE)
        sound = Media(name="hello.wav", sha256="0" * 64, path="hello.wav")
        seen.started(0, 12, Prompt(prompt_id="row-1", text="", media=sound), MODE)
        seen.ended(0)
        seen.started(1, 12, Prompt(prompt_id="again.wav", text="", media=sound), MODE)
        seen.ended(1)
    said = out.getvalue()
    assert "Measuring 12 inputs of spoken…" in said
    assert "row-1 hello.wav" in said
    assert MODE not in said


def test_the_commands_show_and_explain_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(write_task_run(tmp_path, SPEECH, damaged(1)))
    assert run_verb(["report", run]) == 0
    said = one_line(capsys.readouterr().out)
    assert "1 of 12 inputs was not measured: bad-11.wav is silent." in said
    assert "Word error rate" in said
    assert run_verb(["report", run, "--explain"]) == 0
    assert f"and {MODE}/PROMPT_ID for each of its 12 queries" in capsys.readouterr().out
    assert run_verb(["report", run, "--explain", f"{MODE}/spoken-003"]) == 0
    said = one_line(capsys.readouterr().out)
    assert re.search(r"size [\d.]+ seconds of audio, \d+ output tokens score \d+ errors? in \d+ words?", said)
    assert not FOREIGN.findall(said.replace(f"{MODE}.", "").replace(f"{MODE}/", ""))
