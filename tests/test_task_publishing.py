"""What is made of a run of a task that is not text generation: references, exports, label, leaderboard, gate, sweep."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from harness.comparing import match, matches_of, sides_of
from harness.comparing.leads import match_leads
from harness.config import RunSpec
from harness.errors import UnknownName, UsageError
from harness.footprint.spec import ProjectionSpec
from harness.gate.budget import Budget, BudgetLine, Metric, ReferenceKind
from harness.gate.judging import judge
from harness.gate.verdict import Outcome
from harness.gate_measurement.admission import Entrant, admit, protocols
from harness.gating import evidence_of, load_budget, named_run
from harness.leaderboard.board import as_csv, as_json, build, collect, flat
from harness.leaderboard.entry import entries
from harness.leaderboard.ranking import stated
from harness.leaderboard.view import view_of
from harness.publish import accounts, publish
from harness.records import Summary
from harness.reference.conditions import BEFORE_THE_QUERY, conditions_of
from harness.reference.matching import Verdict
from harness.reference.report import reference_report
from harness.report.exports.aies import aies_files
from harness.report.exports.boamps import Surroundings, boamps_report
from harness.report.exports.cell import ExportCell, ExportMode, modes_of
from harness.report.exports.cyclonedx import cyclonedx_bom, cyclonedx_text
from harness.report.exports.eval_results import Ranked, eval_result_files
from harness.report.exports.hub_card import Publication, Table, card
from harness.report.exports.spdx import spdx_document
from harness.report.exports.statement import properties, sentence
from harness.report.exports.vocabulary import TASKS as NAMES
from harness.report.footprint.fleet import fleet_report
from harness.report.footprint.projection import projection_lead
from harness.report.footprint.subjects import Measured
from harness.report.label.wording import label_of
from harness.report.leaderboard.page import render_leaderboard
from harness.report.reference_lead import reference_lead
from harness.sweep.planning.checks import refuse_unknown
from harness.sweep.planning.plan import plan_of
from harness.sweep.planning.rough import rough
from harness.sweep.planning.spec import SweepSpec
from tests.exportable import CREATED, manifest
from tests.synthetic_leaderboard import Run, write_run
from tests.synthetic_sides import run_figures, side
from tests.synthetic_tasks import TASKS, task_queries, task_summary, write_task_run

TODAY = date(2030, 1, 2)
SPEECH, IMAGES, CLASSES = "automatic-speech-recognition", "image-generation", "image-classification"
THINKING = ("thinking", "reasoning", "mode default")


@pytest.fixture(scope="module")
def exported() -> dict[str, ExportMode]:
    """The one mode of a run of every task."""
    found = {}
    for task in TASKS:
        queries = task_queries(task)
        summary = task_summary(task, queries)
        cell = ExportCell(summary=summary, queries=queries, manifest=manifest(executed="float32"))
        (found[task],) = modes_of([cell])
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two models of speech, two that name images, one that finds things in the same images, two of text."""
    folder = tmp_path_factory.mktemp("results")
    subjects = [(SPEECH, "openai/whisper-tiny"), (SPEECH, "openai/whisper-base"), (CLASSES, "microsoft/resnet-18")]
    subjects += [
        (CLASSES, "google/mobilenet_v2_1.0_224"),
        ("object-detection", "hustvl/yolos-tiny"),
    ]  # of one prompt set
    for number, (task, model) in enumerate(subjects):
        queries = task_queries(task, 40, seed=number)
        run = write_task_run(folder, task, queries, run_id=f"task-{number}", model=model, source=model)
        publish(run, accounts(run))
    for number, model in enumerate(("Qwen/Qwen3-8B", "Qwen/Qwen3-4B")):
        write_run(folder, Run(run_id=f"text-{number}", model=model, energy_j={"off": [300.0 + 50 * number]}))
    return folder


# ---------------------------------------------------------------------------------------- references


def beside(task: str, source: str, table: Any, **changes: Any) -> Any:
    summary = task_summary(task, model=source, source=source, **changes)
    return reference_report(summary, manifest(executed="float32"), table)


@pytest.mark.parametrize(
    ("source", "theirs"),
    [("stabilityai/sd-turbo", "sd-turbo"), ("stabilityai/stable-diffusion-2-1", "sd-2-1"), ("x/openjourney-v4", None)],
)
def test_a_model_is_found_by_its_name_without_its_owner(source: str, theirs: str | None) -> None:
    (mode,) = beside(IMAGES, source, "aies").modes
    assert [match.row.model for match in mode.others] == [theirs or "openjourney-v4"]  # and of no family
    assert not mode.matches
    differing = {each.condition for each in mode.others[0].differences}
    assert differing == {"prompts", "number of prompts", "preprocessing"}
    assert {"resolution", "steps", "engine"} <= set(mode.others[0].unstated)
    assert "token cap" not in mode.others[0].unstated
    assert mode.others[0].verdict is Verdict.NOT_COMPARABLE


def test_another_board_and_another_precision_are_named() -> None:
    summary = task_summary(IMAGES, model="a/sd-turbo", source="a/sd-turbo")
    (mode,) = reference_report(summary, manifest(executed="float16"), "aies").modes
    assert "precision: float16, theirs float32" in map(str, mode.others[0].differences)


def test_a_model_that_nobody_published_hears_what_was_published_of_its_task() -> None:
    (mode,) = beside(IMAGES, "a/b", "aies").modes
    assert "10 models" in mode.sentence
    assert "186.8 Wh per 1,000 queries (mitsua-diffusion-one" in mode.sentence
    assert len(mode.of_task) == 10
    assert [row.values for row in mode.of_task] == sorted(
        (row.values for row in mode.of_task), key=lambda v: min(v.values())
    )
    (mode,) = beside("object-detection", "a/b", "aies").modes
    assert not mode.of_task
    assert "no row of AI Energy Score could be read" in mode.sentence


def test_mlenergy_images_are_those_of_one_gpu_and_one_image() -> None:
    report = beside(IMAGES, "stabilityai/stable-diffusion-3.5-medium", "mlenergy")
    (mode,) = report.modes
    assert len(mode.of_task) == 14
    assert {(row.conditions.batch_size, row.conditions.number_of_gpus) for row in mode.of_task} == {(1, 1)}
    nearest = mode.others[0]
    assert {"precision", "steps", "resolution", "engine"} <= {each.condition for each in nearest.differences}
    assert [str(each.quantity) for each in nearest.figures] == ["J per image or video"]
    assert nearest.figures[0].ours == mode.estimates[nearest.figures[0].quantity].value
    (lead_table,) = [each for each in reference_lead("", report).tables if "any model" in each.caption]
    assert len(lead_table.rows) == 15
    assert lead_table.rows[0].label.startswith("this run")


def test_resolutions_are_compared_by_their_pixels() -> None:
    queries = [
        query.model_copy(
            update={
                "output": query.output.model_copy(
                    update={"sizes": {"output_pixels": 1024 * 1024, "denoising_steps": 28}}
                )
            }
        )
        for query in task_queries(IMAGES)
        if query.output is not None
    ]
    summary = task_summary(IMAGES, queries, source="stabilityai/stable-diffusion-3.5-medium")
    (mode,) = reference_report(summary, manifest(executed="bfloat16"), "mlenergy").modes
    own = conditions_of(summary, manifest(executed="bfloat16"), "default")
    assert (own.resolution, own.steps, own.preprocessing) == ("1.05 megapixels", 28, BEFORE_THE_QUERY)
    differing = {
        each.condition for match in mode.others for each in match.differences if match.row.conditions.batch_size == 1
    }
    assert not {"resolution", "steps", "precision"} & differing


@pytest.mark.parametrize("task", TASKS)
def test_no_task_but_text_has_stars(task: str) -> None:
    (mode,) = beside(task, "a/b", "aies").modes
    assert mode.rating.stars is None
    assert mode.rating.class_ is None
    assert "scale" in mode.rating.sentence


# ---------------------------------------------------------------------------------- exports and label


@pytest.mark.parametrize("task", TASKS)
def test_no_export_speaks_of_modes_or_thinking(task: str, exported: dict[str, ExportMode]) -> None:
    mode = exported[task]
    bom = cyclonedx_text([mode], created_utc=CREATED)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None
    texts = [
        sentence(mode),
        str(properties(mode)),
        bom,
        json.dumps(spdx_document(mode, created_utc=CREATED)),
        json.dumps(boamps_report(mode, Surroundings(), created_utc=CREATED)),
        label_of(mode).description,
        label_of(mode).title,
        card([mode.cell], [Table(name="modes", n_rows=1, columns=["model"])], Publication()).partition(
            "## How uncertain"
        )[0],
    ]
    for text in texts:
        assert not [word for word in THINKING if word in text]
        assert " 0 new tokens" not in text
    assert task.replace("-", " ") in sentence(mode)


def test_the_hub_s_names_of_tasks_and_metrics_are_used(exported: dict[str, ExportMode]) -> None:
    assert set(NAMES) == set(TASKS)
    model_card = cast("Any", cyclonedx_bom([exported[SPEECH]], created_utc=CREATED))["components"][0]["modelCard"]
    assert model_card["modelParameters"] == {
        "task": "automatic-speech-recognition",
        "inputs": [{"format": "audio"}],
        "outputs": [{"format": "text"}],
    }
    (metric,) = model_card["quantitativeAnalysis"]["performanceMetrics"]
    (quality,) = exported[SPEECH].summary.quality
    assert metric["type"] == "wer"
    assert float(metric["value"]) == pytest.approx(quality.figure.value)
    of_images = cast("Any", cyclonedx_bom([exported[IMAGES]], created_utc=CREATED))["components"][0]["modelCard"]
    assert of_images["modelParameters"]["task"] == "text-to-image"
    assert "quantitativeAnalysis" not in of_images  # no quality is claimed
    head = card([exported[IMAGES].cell], [Table(name="modes", n_rows=1, columns=["model"])], Publication())
    assert "- text-to-image\n" in head


def test_boamps_has_the_family_and_kinds_of_data(exported: dict[str, ExportMode]) -> None:
    reports: dict[str, Any] = {
        task: boamps_report(mode, Surroundings(), created_utc=CREATED) for task, mode in exported.items()
    }
    assert reports[SPEECH]["task"]["taskFamily"] == "speech recognition"
    assert [(each["dataUsage"], each["dataType"]) for each in reports[SPEECH]["task"]["dataset"]] == [
        ("input", "audio"),
        ("output", "token"),
    ]
    assert reports[IMAGES]["task"]["dataset"][1] == {"dataUsage": "output", "dataType": "image", "dataQuantity": 1}
    assert "measuredAccuracy" not in reports[SPEECH]["task"]  # a rate of errors is none
    assert reports[CLASSES]["task"]["measuredAccuracy"] == pytest.approx(exported[CLASSES].summary.accuracy.value)


def test_facts_hold_the_quality_with_its_direction_and_the_unit_of_size(exported: dict[str, ExportMode]) -> None:
    mode = exported[SPEECH]
    facts = dict(properties(mode))
    assert facts["harness:task"] == "automatic speech recognition"
    assert float(facts["harness:word_error_rate"]) == pytest.approx(mode.summary.quality[0].figure.value)
    assert facts["harness:energy_per_size_unit"] == "second of audio"
    assert "harness:mode" not in facts
    assert "less is better" in sentence(mode)
    assert dict(properties(exported[IMAGES]))["harness:task_options"] == "steps 20"


def test_aies_files_have_their_task_and_no_state_nor_phases(exported: dict[str, ExportMode]) -> None:
    for task, theirs in ((SPEECH, "ASR"), (IMAGES, "image_generation")):
        files = aies_files([exported[task].cell])
        (row,) = csv.DictReader(files["master_results.csv"].splitlines())
        assert (row["task"], row["model_class"], row["reasoning_state"]) == (theirs, "", "")
        assert row["avg_time_to_first_token"] == ""
        mean_wh = exported[task].summary.energy_wh_per_1000.value
        assert float(row["wh_per_1000_queries"]) == pytest.approx(mean_wh)
        assert "classes of text generation only" in files["README.txt"]
        assert "{" not in files["README.txt"]


def test_rows_of_the_hub_name_the_task_and_how_much_a_wh_is_enough_for(exported: dict[str, ExportMode]) -> None:
    mode = exported[SPEECH]
    files = eval_result_files([Ranked(mode=mode, conditions={"task": SPEECH})], "lab/energy")
    assert SPEECH in files["dataset/eval.yaml"]
    assert "audio_s_per_wh" in files["dataset/eval.yaml"]
    (row,) = [text for name, text in files.items() if name.startswith("models/")]
    per_unit_j = mode.summary.size_laws[0].energy_per_unit_j.value
    assert per_unit_j is not None
    assert f"value: {3600 / per_unit_j:.4f}"[:12] in row


def test_the_label_names_the_task(exported: dict[str, ExportMode]) -> None:
    label = label_of(exported[IMAGES])
    assert (label.task, label.stars, label.verdict) == ("Image generation", None, "No stars")
    assert label.protocol == "paired-1, steps 20"
    assert "per 1,000 queries" in label.title


# ----------------------------------------------------------------------------------------- leaderboard


def test_a_ranking_never_mixes_tasks(results: Path, tmp_path: Path) -> None:
    board = build(collect([results], tmp_path / "index.parquet"))
    rows = flat(board).to_pylist()
    tasks = [{rows[place]["task"] for place in ranking.places} for ranking in board.ranked.rankings]
    assert sorted(map(tuple, tasks)) == [(SPEECH,), (CLASSES,), ("text-generation",)]
    assert not board.problems
    (alone,) = [row for row in rows if row["task"] == "object-detection"]
    assert "task object-detection, there image-classification" in alone["not_ranked"]
    for row in rows:
        of_text = row["task"] == "text-generation"
        assert (row["quality_metric"] is None) is of_text
        assert (row["class"] is None) is not of_text
        assert "scale of" in row["stars_words"] or of_text
    assert {row["quality_metric"] for row in rows if row["task"] == SPEECH} == {"word_error_rate"}
    assert {row["size_unit"] for row in rows if row["task"] == SPEECH} == {"second of audio"}
    assert all(row["energy_per_size_j"] > 0 for row in rows if row["task"] == SPEECH)
    assert "word_error_rate" in as_csv(board)
    assert json.loads(as_json(board))["rankings"]


def test_a_row_states_the_conditions_that_its_task_has(exported: dict[str, ExportMode]) -> None:
    cell = exported[IMAGES].cell
    (row,) = entries(cell.summary, cell.manifest)
    said = stated(row)
    assert (said["task"], said["options of the task"]) == (IMAGES, "steps 20")
    assert not {"mode", "token cap", "sampling"} & set(said)
    text = stated({**row, "task": None, "task_options": None, "mode": "off"})
    assert not {"task", "options of the task"} & set(text)
    assert text["mode"] == "off"


def test_rows_that_differ_in_nothing_but_an_option_are_not_ranked_together(tmp_path: Path) -> None:
    for number, steps in enumerate((20, 50)):
        queries = task_queries(IMAGES, 40)
        run = write_task_run(tmp_path / "runs", IMAGES, queries, run_id=f"run-{number}", task_options={"steps": steps})
        publish(run, accounts(run))
    board = build(collect([tmp_path / "runs"], tmp_path / "index.parquet"))
    assert not board.ranked.rankings
    assert all("Nothing else was measured" in text for text in board.ranked.reason)


def test_fewer_errors_lead_the_front(results: Path, tmp_path: Path) -> None:
    """Of two transcribers the one is on the front that takes less, or that makes fewer errors: less is better there."""
    board = build(collect([results], tmp_path / "index.parquet"))
    rows = [row for row in flat(board).to_pylist() if row["task"] == SPEECH]
    cheap, dear = sorted(rows, key=lambda row: row["energy_j"])
    assert cheap["on_front"]
    assert dear["on_front"] is (dear["quality"] < cheap["quality"])


def test_the_page_filters_by_task_and_heads_a_ranking_with_its_figure(results: Path, tmp_path: Path) -> None:
    view = view_of(build(collect([results], tmp_path / "index.parquet")))
    judged = {ranking.title.partition(" ·")[0]: ranking.judged for ranking in view.rankings}
    assert judged["automatic speech recognition"] == "word error rate"
    assert judged["image classification"] == "accuracy"
    assert judged["everyday"] == "right, %"
    page = render_leaderboard(view)
    assert 'id="by-task"' in page
    assert "Energy against quality" in page
    columns = cast("Any", view.data)["columns"]
    assert {"automatic speech recognition", "image classification", "text generation"} <= set(columns["task"]["texts"])
    assert "default" not in columns["mode"]["texts"]


def test_a_board_of_text_alone_states_no_task(tmp_path: Path) -> None:
    for number, model in enumerate(("Qwen/Qwen3-8B", "Qwen/Qwen3-4B")):
        write_run(tmp_path / "runs", Run(run_id=f"text-{number}", model=model, energy_j={"off": [300.0 + number]}))
    board = build(collect([tmp_path / "runs"], tmp_path / "index.parquet"))
    (ranking,) = board.ranked.rankings
    assert not {"task", "options of the task"} & set(ranking.conditions)
    assert view_of(board).quality == "accuracy"


# ------------------------------------------------------------------------------------------- comparing


def test_two_tasks_are_never_compared(results: Path) -> None:
    speech, classes = sides_of([results / "task-0", results / "task-2"])
    found = match(speech, classes)
    assert found.refusal is not None
    assert "automatic speech recognition and image classification" in found.refusal
    assert "task automatic-speech-recognition → image-classification" in map(str, found.differences)


def test_two_models_of_one_task_are_compared_with_their_quality(results: Path) -> None:
    (found,) = matches_of(sides_of([results / "task-0", results / "task-1"]))
    assert found.refusal is None
    assert found.comparisons["default"].n_pairs == 40
    (lead,) = match_leads([found])
    (note,) = [note for note in lead.notes if note.startswith("word error rate")]
    assert "less is better" in note


# ------------------------------------------------------------------------------------------------ gate


def line(metric: Metric = Metric.ENERGY_PER_QUERY_J, at_most: float = 1e9) -> BudgetLine:
    return BudgetLine(metric=metric, at_most=at_most)


def outcomes(budget: Budget, candidate: Any, reference: Any = None) -> list[tuple[Outcome, str]]:
    references = {} if reference is None else {ReferenceKind.RELEASE: [reference]}
    verdict = judge(budget, [candidate], references, today=TODAY)
    return [(each.outcome, " ".join(each.reasons)) for each in verdict.lines]


def of_task(task: str | None, **changes: Any) -> Any:
    return replace(
        side([run_figures([100.0 + index % 7 for index in range(50)], repeat=n) for n in range(3)]),
        task=task,
        **changes,
    )


@pytest.mark.parametrize(
    ("budgets", "measured", "judged"),
    [
        (None, None, True),
        ("reasoning", None, True),
        (SPEECH, SPEECH, True),
        (None, SPEECH, False),
        (SPEECH, None, False),
        (CLASSES, SPEECH, False),
    ],
)
def test_a_budget_judges_runs_of_its_own_task_alone(budgets: str | None, measured: str | None, judged: bool) -> None:
    ((outcome, why),) = outcomes(Budget(task=budgets, lines=(line(),)), of_task(measured))
    assert (outcome is Outcome.PASS) is judged
    assert (outcome is Outcome.INVALID) is not judged
    assert judged or "the budget is of" in why


def test_nothing_lets_candidate_and_reference_do_two_tasks() -> None:
    relative = BudgetLine(metric=Metric.ENERGY_PER_QUERY_J, at_most_over_reference=0.5)
    budget = Budget(task=SPEECH, lines=(relative,), allow=("gpu", "driver", "protocol", "prompts"))
    ((outcome, why),) = outcomes(budget, of_task(SPEECH), of_task(CLASSES))
    assert outcome is Outcome.INVALID
    assert "two tasks" in why


@pytest.mark.parametrize("metric", [Metric.OUTPUT_TOKENS_PER_QUERY, Metric.ENERGY_PER_CORRECT_J])
def test_a_line_of_what_a_task_has_not_says_so(metric: Metric) -> None:
    ((outcome, why),) = outcomes(Budget(task=IMAGES, lines=(line(metric),)), of_task(IMAGES))
    assert outcome is Outcome.INVALID
    assert "energy_per_query_j" in why


def test_a_run_s_task_and_options_reach_the_gate(results: Path) -> None:
    candidate, others = evidence_of(named_run("task-1", results), {ReferenceKind.RELEASE: named_run("task-0", results)})
    (own,), (other,) = candidate.sides, others[ReferenceKind.RELEASE].sides
    assert own.task == other.task == SPEECH
    assert own.protocol == "paired-1, at most 200 new tokens"
    ((outcome, _),) = outcomes(Budget(task=SPEECH, run_sd=0.01, lines=(line(),)), own)
    assert outcome is Outcome.PASS


def test_a_budget_file_names_a_task_that_exists(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text("task: image-clasification\nlines: [{metric: energy_per_query_j, at_most: 50}]\n")
    with pytest.raises(UnknownName) as refused:
        load_budget(path)
    assert "image-classification" in refused.value.next_step
    path.write_text("task: image-classification\nlines: [{metric: energy_per_query_j, at_most: 50}]\n")
    assert load_budget(path).other_task == CLASSES


def entrant(summary: Summary) -> Entrant:
    return Entrant(file="run.yaml", job=cast("Any", SimpleNamespace(cell=summary.cell)))


def test_a_gate_that_is_to_measure_refuses_two_tasks_and_another_budget() -> None:
    speech, classes = (entrant(task_summary(task)) for task in (SPEECH, CLASSES))
    with pytest.raises(UsageError, match="never held against each other"):
        admit(speech, classes, Budget(task=SPEECH, lines=(line(),)), allow=(), n_repeats=3)
    with pytest.raises(UsageError, match="budget is of text-generation"):
        admit(speech, speech, Budget(lines=(line(),)), allow=(), n_repeats=3)
    few, many = (task_summary(IMAGES, task_options={"steps": steps}).cell for steps in (20, 50))
    assert ("option steps", "--set task_options.steps=...", "20", "50") in list(protocols(few, many))


# ----------------------------------------------------------------------------------------------- sweep


def sweep_of(**fields: Any) -> Any:
    return plan_of(SweepSpec.model_validate({"reference": False, **fields}))


def test_a_sweep_varies_the_task_and_each_has_its_own_model() -> None:
    plan = sweep_of(vary={"task": [SPEECH, CLASSES, "text-generation"]}, run={"num_prompts": 3})
    models: Sequence[tuple[str, str]] = sorted((cell.labels["task"], cell.spec["model"][0]) for cell in plan.runs)
    assert len({model for _, model in models}) == 3
    for cell in plan.runs:
        again = RunSpec.model_validate(cell.spec)
        assert (again.task, list(again.model)) == (cell.labels["task"], cell.spec["model"])
    refuse_unknown(plan)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"task": SPEECH, "model": ["random"]}, None),
        ({"model": ["random"]}, "stand-in"),
        ({"task": CLASSES, "task_options": {"steps": 3}}, "steps"),
        ({"task": "speech"}, "speech"),
        ({"task": SPEECH, "prompts": "nowhere"}, "nowhere"),
    ],
)
def test_what_would_stop_a_task_in_the_night_is_found_before(run: dict[str, Any], said: str | None) -> None:
    if said is None:
        refuse_unknown(sweep_of(run=run))
    else:
        with pytest.raises(UsageError, match=said):
            refuse_unknown(sweep_of(run=run))


def test_nothing_is_guessed_of_what_a_task_takes() -> None:
    (cell,) = sweep_of(run={"task": SPEECH, "model": ["random"]}).runs
    found = rough(cell, cast("Any", None), on_gpus=False)
    assert (found.kind, found.duration_s, found.energy_j) == ("unknown", None, None)
    assert SPEECH in found.basis


# ------------------------------------------------------------------------------------------- footprint


def test_a_fleet_of_a_task_has_no_factor_of_text_generation(results: Path) -> None:
    (account,) = accounts(results / "task-0")
    found = account.results.manifest
    assert found is not None
    measured = [Measured(summary=account.summary, columns=account.results.columns, manifest=found)]
    with pytest.raises(UsageError, match="may cost more than on a busy server"):
        fleet_report(measured, ProjectionSpec.model_validate({"queries_per_day": 1e6}))
    report = fleet_report(measured, ProjectionSpec.model_validate({"queries_per_day": 1e6, "as_batch_1": True}))
    lead = projection_lead(report)
    assert {table.modes for table in lead.tables} == {("automatic speech recognition",)}
    assert "published of text generation only" in lead.answers[0].text
    assert not [row for table in lead.tables for row in table.rows if "busy server" in row.label]
