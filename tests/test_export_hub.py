"""A run for the Hub: a data set that `datasets` loads, a card, and rows that the Hub's own classes read."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest
import yaml
from huggingface_hub import DatasetCard, eval_result_entries_to_yaml, parse_eval_result_entries

from harness import load_results
from harness.cli.parser import run_verb
from harness.errors import ExitCode, InvalidMeasurement, UsageError
from harness.records import Boundary, Comparison, Finding, FindingCode, Method, ModeFault, ServerFacts
from harness.report.exports.cell import ExportCell, modes_of
from harness.report.exports.eval_results import Ranked, eval_result_files
from harness.report.exports.hub import hub_files
from harness.report.exports.hub_card import Publication
from harness.report.exports.hub_columns import Kind, column, table_of_frame, table_of_rows
from harness.report.exports.hub_comparisons import comparison_rows
from harness.report.exports.rows import LAWS, mode_rows
from harness.units import J_PER_WH
from tests.exportable import changed, exportable
from tests.synthetic_runs import estimated_summary, query, run_of_queries
from tests.synthetic_tasks import TASKS, task_summary, write_task_run

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
DATASET = "someone/energy"
DIGEST = "0123456789abcdef" * 4
COMMIT = "b968826d9c46dd6066d109eabc6255188de91218"
TABLES = ("queries", "modes", "comparisons")
CARD_KEYS = {"license", "pretty_name", "size_categories", "tags", "configs"}
"""Of the Hub's data set metadata (hub-docs, datasetcard.md), those that are used here."""
ARROW = {Kind.TEXT: "string", Kind.COUNT: "int64", Kind.NUMBER: "double", Kind.TRUTH: "bool"}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden run as a data set."""
    folder = tmp_path_factory.mktemp("published")
    copy = Path(shutil.copytree(GOLDEN, folder / GOLDEN.name))
    stated = ("--dataset", DATASET, "--license", "cc-by-4.0", "--bundle-sha256", DIGEST)
    assert export(copy, "hub", "--output-dir", str(folder / "data-set"), *stated) == ExitCode.OK
    return folder / "data-set"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def rewritten(run: Path, **fields: str) -> None:
    """The run with other fields of its cell."""
    (path,) = run.glob("*/*/cell.yaml")
    text = path.read_text(encoding="utf-8")
    for name, value in fields.items():
        text, n_lines = re.subn(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.MULTILINE)
        assert n_lines == 1
    path.write_text(text, encoding="utf-8")


def export(run: Path, name: str, *arguments: str) -> int:
    return run_verb(["export", str(run), "--format", name, *arguments])


def card_tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of each table of columns in a card."""
    found = {}
    for part in text.split("## The columns of `")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        found[part.partition("`")[0]] = [re.split(r" \| ", line.strip("| ")) for line in lines[2:]]
    return found


def outputs_of(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What each query was given and wrote, by prompt and mode, as it is on disk."""
    lines = [line for path in run.glob("*/*/queries.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return {(each["prompt_id"], each["mode"]): each["output"] for each in map(json.loads, lines)}


def estimated_cell(**changes: Any) -> ExportCell:
    queries = run_of_queries(6, method=Method.ESTIMATED, boundary=Boundary.HOST, power_w=45.0, net=False)
    return replace(exportable(queries), summary=changed(estimated_summary(6), **changes))


def data_set(*cells: ExportCell) -> dict[str, Any]:
    """The card, and the rows of each table."""
    rows = [
        {
            "cell_id": cell.summary.cell.cell_id,
            "site_id": cell.summary.site_id,
            "session": each.session,
            "prompt_id": each.prompt_id,
            "mode": each.mode,
        }
        for cell in cells
        for each in cell.queries
    ]
    files: dict[str, Any] = hub_files(pd.DataFrame(rows), cells, Publication())
    tables = {name: pyarrow.parquet.read_table(io.BytesIO(files[f"data/{name}.parquet"])) for name in TABLES}
    return {"card": files["README.md"], **{name: table.to_pylist() for name, table in tables.items()}}


# ------------------------------------------------------------------------------------------ the data set


@pytest.fixture(scope="module")
def loaded(published: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every table as `datasets` loads it from the folder, without a network."""
    import datasets

    datasets.disable_progress_bars()
    cache = str(tmp_path_factory.mktemp("cache"))
    return {
        name: datasets.load_dataset(str(published), name, split="results", cache_dir=cache).to_pandas()
        for name in TABLES
    }


def test_datasets_loads_what_load_results_gives(loaded: dict[str, Any]) -> None:
    frame = load_results(GOLDEN)
    queries = loaded["queries"]
    pd.testing.assert_frame_equal(queries[list(frame.columns)], frame, check_dtype=False)
    assert list(queries.columns[len(frame.columns) :]) == [
        "rendered_prompt_sha256",
        "text_sha256",
        "rendered_prompt",
        "text",
    ]
    texts = outputs_of(GOLDEN)
    for row in queries.itertuples():
        output = texts[row.prompt_id, row.mode]
        assert (row.rendered_prompt, row.text) == (output["rendered_prompt"], output["text"])
        assert (row.rendered_prompt_sha256, row.text_sha256) == (
            output["rendered_prompt_sha256"],
            output["text_sha256"],
        )


def test_datasets_loads_modes_and_comparisons(loaded: dict[str, Any]) -> None:
    (path,) = GOLDEN.glob("*/*/summary.json")
    summary = json.loads(path.read_text(encoding="utf-8"))
    modes, comparisons = loaded["modes"], loaded["comparisons"]
    for row, mode in zip(modes.to_dict("records"), summary["modes"], strict=True):
        assert row["mode"] == mode["mode"]
        assert row["energy_per_query_low_j"] == pytest.approx(mode["energy_j"]["low"], rel=1e-9)
        assert row["energy_per_query_half_width_gain_j"] == pytest.approx(mode["energy_j"]["half_width_gain"], rel=1e-9)
    (row,) = comparisons.to_dict("records")
    (comparison,) = summary["comparisons"]
    assert (row["numerator"], row["denominator"], row["n_pairs"]) == ("on", "off", comparison["n_pairs"])
    assert row["energy_ratio"] == pytest.approx(comparison["energy"]["value"], rel=1e-9)
    assert row["energy_difference_thinking_per_query_j"] == pytest.approx(
        next(part["difference_j"]["value"] for part in comparison["parts"] if part["name"] == "thinking"), rel=1e-9
    )
    assert (row["n_scored_in_both"], row["p_value"]) == (comparison["accuracy"]["n"], comparison["accuracy"]["p_value"])


def test_the_hub_reads_the_head_of_the_card(published: Path) -> None:
    card = DatasetCard.load(published / "README.md")
    head = card.data.to_dict()
    assert head.keys() == CARD_KEYS
    assert head["license"] == "cc-by-4.0"
    assert head["size_categories"] == ["n<1K"]
    files = {
        config["config_name"]: [(each["split"], each["path"]) for each in config["data_files"]]
        for config in head["configs"]
    }
    assert files == {name: [("results", f"data/{name}.parquet")] for name in TABLES}
    assert [config["config_name"] for config in head["configs"] if config.get("default")] == ["queries"]
    assert sorted(path.name for path in (published / "data").iterdir()) == sorted(f"{name}.parquet" for name in TABLES)


def test_the_card_says_what_it_is_of_and_how_to_check_it(published: Path) -> None:
    text = DatasetCard.load(published / "README.md").text
    assert f'load_dataset("{DATASET}", "modes", split="results")' in text
    assert f"sha256 `{DIGEST}`" in text
    assert "harness verify" in text
    for said in ("paired-1", "NVIDIA H100", "nvml\\_counter", "gpu\\_board", "Run ", "inference-energy-harness 0.1.0"):
        assert said in text
    (manifest,) = GOLDEN.glob("*/*/sessions/*/manifest.json")
    assert json.loads(manifest.read_text(encoding="utf-8"))["started_utc"] in text


def test_the_card_describes_every_column_as_the_file_has_it(published: Path) -> None:
    described = card_tables((published / "README.md").read_text(encoding="utf-8"))
    assert set(described) == set(TABLES)
    units = {"_j": "J", "_wh": "Wh", "_w": "W", "_s": "s"}
    for name, rows in described.items():
        schema = pyarrow.parquet.read_schema(published / "data" / f"{name}.parquet")
        assert [row[0].strip("`") for row in rows] == schema.names
        for row, field in zip(rows, schema, strict=True):
            assert str(field.type) == ARROW[Kind(row[1])], field.name
            assert row[2].strip() == next((units[end] for end in units if field.name.endswith(end)), ""), field.name
            assert len(row[3]) > 5, field.name


def test_nothing_is_said_that_was_not_stated(run: Path) -> None:
    assert export(run, "hub") == ExitCode.OK
    card = DatasetCard.load(run / "export-hub" / "README.md")
    assert card.data.to_dict().keys() == CARD_KEYS - {"license"}
    assert "OWNER/NAME" in card.text
    assert "The digest of the bundle was not stated" in card.text


def test_one_mode_alone_has_nothing_to_compare_with(run: Path) -> None:
    assert export(run, "hub", "--mode", "on") == ExitCode.OK
    for name in ("queries", "modes"):
        assert set(pd.read_parquet(run / "export-hub" / "data" / f"{name}.parquet")["mode"]) == {"on"}
    # A ratio over the other mode is a figure of this one, and stays.
    assert pd.read_parquet(run / "export-hub" / "data" / "comparisons.parquet")["numerator"].tolist() == ["on"]


# --------------------------------------------------------------------------------- null, and estimated


def test_unknown_is_null_and_types_do_not_depend_on_it() -> None:
    queries = [*run_of_queries(6), query(6, "on", None), query(6, "off", 5.0, failed=True)]
    cells = [exportable(queries)]
    known, nothing = table_of_rows(mode_rows(cells)), table_of_rows([dict.fromkeys(mode_rows(cells)[0])])
    assert known.schema == nothing.schema
    assert known.column("energy_per_query_half_width_runs_j").null_count == 2  # one run
    frame = pd.DataFrame(
        {
            "prompt_id": ["a", "b"],
            "answer_tokens": [3.0, float("nan")],
            "correct": pd.array([True, None], dtype="object"),
            "gpu_board_energy_gross_j": [0.0, float("nan")],
        }
    )
    assert table_of_frame(frame).to_pylist() == [
        {"prompt_id": "a", "answer_tokens": 3, "correct": True, "gpu_board_energy_gross_j": 0.0},
        {"prompt_id": "b", "answer_tokens": None, "correct": None, "gpu_board_energy_gross_j": None},
    ]


def test_estimated_joules_share_no_column_with_measured_ones() -> None:
    measured, guessed = exportable(), estimated_cell()
    published = data_set(measured, guessed)
    modes, comparisons = published["modes"], published["comparisons"]
    joules = [
        name for name in modes[0] if name.startswith(("energy", "power")) and column(name).unit in ("J", "Wh", "W")
    ]
    assert len(joules) > 50
    for name in joules:
        others = modes[:2] if "estimated" in name else modes[2:]
        assert all(row[name] is None for row in others), name
    assert modes[2]["energy_per_query_estimated_j"] == guessed.summary.modes[0].energy_j.value
    assert "are no measurement" in published["card"]
    assert "estimated" in DatasetCard(published["card"]).data.tags
    assert comparisons[1]["energy_ratio"] is None
    assert comparisons[1]["duration_ratio"] is not None
    assert all(row is None for name, row in comparisons[1].items() if name.endswith("_j"))


def test_every_figure_of_a_comparison_is_a_column() -> None:
    """A field that is added to a comparison has to be given its column."""
    (row,) = comparison_rows([exportable(run_of_queries(20))])
    (comparison,) = exportable(run_of_queries(20)).summary.comparisons
    said = list(row.values())
    for name in Comparison.model_fields:
        value = getattr(comparison, name)
        if isinstance(value, float):
            assert value in said, name
    assert row["energy_per_output_token_ratio"] == comparison.energy_per_token.value
    assert row["accuracy_difference_low"] == (comparison.accuracy and comparison.accuracy.difference.low)
    assert comparison_rows([exportable(run_of_queries(20))], "budget:9") == []


@pytest.mark.parametrize("task", TASKS)
def test_every_column_of_a_task_has_a_meaning(task: str, tmp_path: Path) -> None:
    run = write_task_run(tmp_path, task)
    folder = tmp_path / "data-set"
    assert export(run, "hub", "--output-dir", str(folder), "--dataset", DATASET) == ExitCode.OK
    summary = task_summary(task)
    (mode,) = summary.modes
    (row,) = pyarrow.parquet.read_table(folder / "data" / "modes.parquet").to_pylist()
    assert row["task"] == task
    for quality in mode.quality:
        known = [row[f"quality_{quality.metric}{part}"] for part in ("", "_low", "_high")]
        assert known == [quality.figure.value, quality.figure.low, quality.figure.high]
        assert row[f"n_quality_{quality.metric}"] == quality.n
    for law in mode.size_laws:
        if law.size == "output_tokens":  # is there as for text
            assert row["energy_per_output_token_j"] == law.energy_per_unit_j.value
            continue
        name = f"energy_per_further_{LAWS[law.size]}_j"
        assert row[name] == law.per_unit_j.value
        assert row[name.replace("_further", "")] == law.energy_per_unit_j.value
        assert "line" in column(name).meaning
    for size in mode.sizes:
        assert row["audio_per_query_s" if size == "audio_s" else f"{size}_per_query"] == mode.sizes[size]


def test_the_units_of_a_task_s_columns_are_their_names() -> None:
    wanted = {
        "audio_s": (Kind.NUMBER, "s"),
        "audio_per_query_s": (Kind.NUMBER, "s"),
        "input_pixels": (Kind.COUNT, ""),
        "energy_per_second_of_audio_j": (Kind.NUMBER, "J"),
        "energy_per_further_output_megapixel_step_half_width_gain_j": (Kind.NUMBER, "J"),
        "duration_per_input_megapixel_s": (Kind.NUMBER, "s"),
        "quality_map_50_low": (Kind.NUMBER, ""),
        "n_quality_word_error_rate": (Kind.COUNT, ""),
        "score_f1": (Kind.NUMBER, ""),
    }
    assert {name: (column(name).kind, column(name).unit) for name in wanted} == wanted
    for name in ("quality_of_life", "score_of_the_game", "energy_per_further_mile_j"):
        with pytest.raises(LookupError, match="has no meaning"):
            column(name)


def test_a_column_without_a_meaning_cannot_be_published() -> None:
    with pytest.raises(LookupError, match="swap_per_query has no meaning"):
        column("swap_per_query_s")
    assert column("host_energy_net_estimated_j").meaning.endswith(
        "estimated: a hardware model's power × time, no sensor"
    )
    assert column("energy_per_query_low_estimated_j").meaning.startswith("`energy_per_query_estimated_j`: ")


def test_names_from_elsewhere_stay_text() -> None:
    name = 'x | <img src=x onerror=alert(1)> **"y": [z]**\n---\nlicense: mit'
    cell = exportable(run_of_queries(6), model=name, prompt_set="a | b")
    text = data_set(cell)["card"]
    card = DatasetCard(text)
    assert card.data.to_dict().keys() == CARD_KEYS - {"license"}
    assert card.data["pretty_name"] == f"Inference energy of {name}"
    assert re.search(r"(?<!\\)[<>]", card.text.replace("> Inference", "")) is None
    assert "\n---\nlicense" not in card.text
    for rows in card_tables(text).values():
        assert {len(row) for row in rows} == {4}


def test_a_card_does_not_say_where_a_model_or_a_server_is() -> None:
    server = ServerFacts(
        kind="vllm",
        version="0.20",
        model="served",
        base_url="http://10.1.2.3:8000/v1",
        command=("vllm", "/home/me/model"),
    )
    cell = exportable(run_of_queries(6), source="/home/me/model", revision="0" * 64)
    engine = cell.manifest.engine.model_copy(update={"server": server})
    card = data_set(replace(cell, manifest=cell.manifest.model_copy(update={"engine": engine})))["card"]
    assert "vllm 0.20" in card
    assert "/home/me" not in card
    assert "10.1.2.3" not in card


def test_what_is_wrong_with_a_mode_is_said() -> None:
    cell = exportable(run_of_queries(6), lengths_batch_size=8)
    fault = ModeFault(modes=("on",), finding=Finding(code=FindingCode.NO_THINKING_IN_ON_MODE, detail="quoted answer"))
    cell = replace(cell, summary=cell.summary.model_copy(update={"faults": (fault,)}))
    published = data_set(cell)
    text = published["card"]
    assert f"**The mode on is not what it is called.** {FindingCode.NO_THINKING_IN_ON_MODE.sentence}" in text
    assert "quoted answer" not in text
    assert "**Two-phase:**" in text
    assert [row["invalid"] for row in published["modes"]] == ["", "no_thinking_in_on_mode"]


# --------------------------------------------------------------------------------------- what is withheld


def texts_in(folder: Path) -> list[str]:
    """Texts of the golden run that some file of a folder holds, packed or not."""
    texts = {
        each[name]
        for each in outputs_of(GOLDEN).values()
        for name in ("rendered_prompt", "text")
        if len(each[name]) > 3
    }
    held = "".join(
        str(pyarrow.parquet.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()
        for path in folder.rglob("*.*")
    )
    return [text for text in texts if text in held or repr(text)[1:-1] in held]


@pytest.mark.parametrize(
    ("fields", "arguments", "because"),
    [
        ({"prompt_set": "gpqa-diamond"}, (), "because the authors of gpqa-diamond ask that no text of it be published"),
        ({}, ("--hash-texts",), "because it was asked for"),
    ],
)
def test_withheld_texts_are_in_no_file(
    run: Path, fields: dict[str, str], arguments: tuple[str, ...], because: str
) -> None:
    rewritten(run, **fields)
    assert export(run, "hub", *arguments) == ExitCode.OK
    folder = run / "export-hub"
    assert texts_in(folder) == []
    assert because in (folder / "README.md").read_text(encoding="utf-8")
    queries = pd.read_parquet(folder / "data" / "queries.parquet")
    assert queries["text"].isna().all()
    assert queries["text_sha256"].str.fullmatch("[0-9a-f]{64}").all()


def test_the_search_for_texts_finds_them_where_they_are(published: Path) -> None:
    assert len(texts_in(published)) > 10


def test_hashed_texts_have_no_place_in_other_formats(run: Path, capsys: Capture) -> None:
    assert export(run, "csv", "--hash-texts") == ExitCode.USAGE
    assert "--format hub" in capsys.readouterr().err


def test_the_bundle_that_lies_beside_a_run_is_the_one_that_is_cited(run: Path, capsys: Capture) -> None:
    assert run_verb(["export", str(run), "--bundle", str(run.parent / "run.zip")]) == ExitCode.OK
    digest = re.search(r"[0-9a-f]{64}", capsys.readouterr().out)
    assert digest is not None
    assert export(run, "hub") == ExitCode.OK
    assert f"sha256 `{digest[0]}`" in (run / "export-hub" / "README.md").read_text(encoding="utf-8")
    (session,) = run.glob("*/*/sessions/01")
    shutil.copy(session / "power-0009.parquet", session / "power-0010.parquet")  # measured since
    assert export(run, "hub") == ExitCode.OK
    assert digest[0] not in (run / "export-hub" / "README.md").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------- leaderboards' rows


def ranked(cell: ExportCell, mode: str | None = None, **conditions: str) -> list[Ranked]:
    return [Ranked(mode=each, conditions={"prompts": "everyday", **conditions}) for each in modes_of([cell], mode)]


def entries(files: dict[str, str]) -> list[Any]:
    """Rows as the Hub's own class reads them; what it has no field for would be lost on the way back."""
    found = []
    for path, text in files.items():
        if path.startswith("models/"):
            data = yaml.safe_load(text)
            read = parse_eval_result_entries(data)
            assert eval_result_entries_to_yaml(read) == data
            found += read
    return found


def test_the_hub_reads_the_rows_and_their_leaderboards() -> None:
    cell = exportable(run_of_queries(20))
    files = eval_result_files(ranked(cell), DATASET, DIGEST)
    assert [path for path in files if path.startswith("models/")] == [
        f"models/Qwen-Qwen3-8B/.eval_results/Qwen-Qwen3-8B-{mode}.yaml" for mode in ("off", "on")
    ]
    rows = entries(files)
    assert len(rows) == 4
    for mode, (energy, right) in zip(cell.summary.modes, (rows[:2], rows[2:]), strict=True):
        assert energy.value == pytest.approx(J_PER_WH / (mode.energy_j.value or 0.0), rel=1e-8)
        assert energy.task_id.endswith("-queries_per_wh")
        total_wh = (mode.energy_j.value or 0.0) * mode.n_queries / J_PER_WH
        assert right.value == pytest.approx(mode.n_correct / total_wh, rel=1e-8)
        assert right.task_id.endswith("-right_answers_per_wh")
        for row in (energy, right):
            assert row.dataset_id == DATASET
            assert row.verify_token is None
            assert row.source_url == f"https://huggingface.co/datasets/{DATASET}"
            assert row.date == cell.began_utc
            for said in ("the GPU board", "NVML energy counter", "95 %", "gain", mode.mode, COMMIT, DIGEST, "one_run"):
                assert said in row.notes
    benchmark = yaml.safe_load(files["dataset/eval.yaml"])
    assert benchmark.keys() == {"name", "description", "evaluation_framework", "tasks"}
    assert [task["id"] for task in benchmark["tasks"]] == [row.task_id for row in rows]
    assert all(task["id"] in benchmark["description"] for task in benchmark["tasks"])
    assert {(task["config"], task["split"]) for task in benchmark["tasks"]} == {("modes", "results")}


def test_rows_share_a_leaderboard_where_all_is_equal_and_only_there() -> None:
    def task(cell: ExportCell, **conditions: str) -> str:
        return str(entries(eval_result_files(ranked(cell, "on", **conditions), DATASET))[0].task_id)

    queries = run_of_queries(20)
    mine = task(exportable(queries))
    other_model = exportable(queries, model="other", source="Other/Model")
    assert task(other_model) == mine
    assert task(exportable(queries), **{"token cap": "64"}) != mine
    assert re.fullmatch(r"[a-z0-9._-]+", mine)


def test_what_would_mislead_has_no_row() -> None:
    with pytest.raises(InvalidMeasurement, match="is estimated"):
        eval_result_files(ranked(estimated_cell(source="Qwen/Qwen3-8B")), DATASET)
    with pytest.raises(InvalidMeasurement, match="is not known"):
        eval_result_files(ranked(exportable([query(index, "off", None) for index in range(6)])), DATASET)
    with pytest.raises(UsageError, match="no repository for its row"):
        eval_result_files(ranked(exportable(source="/models/mine", revision="0" * 64)), DATASET)
    unscored = exportable([query(index, "off", 5.0 + index) for index in range(6)])
    assert [row.task_id.rpartition("-")[2] for row in entries(eval_result_files(ranked(unscored), DATASET))] == [
        "queries_per_wh"
    ]


def test_a_run_becomes_rows_by_one_command(run: Path, capsys: Capture) -> None:
    rewritten(run, source="Someone/Model", revision=COMMIT)
    assert export(run, "eval-results", "--dataset", DATASET) == ExitCode.OK
    written = capsys.readouterr().out.split()
    folder = run / "export-eval-results"
    assert sorted(written) == sorted(str(path) for path in folder.rglob("*.yaml"))
    row = yaml.safe_load((folder / "models/Someone-Model/.eval_results/tiny-reasoner-on.yaml").read_text())[0]
    energy_j = load_results(run).query("mode == 'on'")["gpu_board_energy_gross_j"].mean()
    assert row["value"] == pytest.approx(J_PER_WH / energy_j, rel=1e-6)
    description = yaml.safe_load((folder / "dataset/eval.yaml").read_text())["description"]
    for condition in ("token cap 128", "method nvml_counter", "boundary gpu_board", "protocol paired-1", "seed 0"):
        assert condition in description


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Add --dataset OWNER/NAME"),
        (("--dataset", "energy"), "cannot be meant"),
        (("--dataset", DATASET, "--bundle-sha256", "abc"), "cannot be meant"),
        (("--dataset", DATASET, "--grid", "FRA"), "`co2_eq_emissions` of a model card is of the model's training"),
        (("--dataset", DATASET, "--license", "mit"), "--license has no place in the format eval-results"),
        (("--dataset", DATASET), "was not loaded from the Hub"),
    ],
)
def test_what_cannot_be_a_row_is_refused(run: Path, capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
    assert export(run, "eval-results", *arguments) == ExitCode.USAGE
    refused = capsys.readouterr().err
    assert said in " ".join(refused.split())
    assert not (run / "export-eval-results").exists()
