"""A run in the formats of other tools, read back by kept parsers: BoAmps, SPDX, CycloneDX, CSV and Parquet."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest
import spdx_python_model
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InvalidMeasurement
from harness.footprint.grids import grids
from harness.records import Boundary, Estimate, Finding, FindingCode, Method, PairedCheckpoint
from harness.report.exports.boamps import FORMAT_VERSION, INFRASTRUCTURES, Surroundings, boamps_report, boamps_text
from harness.report.exports.cell import ExportCell, ExportMode, first_of_repeats, modes_of, named_apart
from harness.report.exports.cyclonedx import cyclonedx_bom, cyclonedx_text
from harness.report.exports.parquet import parquet_of_rows
from harness.report.exports.rows import mode_rows
from harness.report.exports.sheet import csv_of_frame, csv_of_rows, harmless, restored
from harness.report.exports.spdx import spdx_document, spdx_text
from harness.report.exports.statement import PREFIX, plain, properties
from harness.report.wording import estimated_words
from tests.exportable import CREATED, changed, exportable
from tests.synthetic_runs import POWER_IDLE_W, estimated_summary, query, run_of_queries

KWH_PER_J = 1 / 3.6e6
REVISION = "b968826d9c46dd6066d109eabc6255188de91218"
SCRIPT = "<script>alert(1)</script>"
NOWHERE = Surroundings()
(FRANCE,) = grids(("mine=56",))


def two_modes(**changes: Any) -> list[ExportMode]:
    """Off: 720 J; on: 3,600 J."""
    off = query(0, "off", 720.0, duration_s=2.0, answer_tokens=100, correct=True)
    on = query(0, "on", 3600.0, duration_s=10.0, thinking_tokens=400, answer_tokens=100, correct=False)
    return modes_of([exportable([off, on], **changes)])


def estimated() -> list[ExportMode]:
    queries = run_of_queries(6, method=Method.ESTIMATED, boundary=Boundary.HOST, power_w=45.0, net=False)
    return modes_of([replace(exportable(queries), summary=estimated_summary(6))])


def stated(pairs: list[tuple[str, str]]) -> dict[str, str]:
    return {name.removeprefix(PREFIX): text for name, text in pairs}


# ------------------------------------------------------------------------------------------- BoAmps


@pytest.fixture(scope="module")
def parser() -> ModuleType:
    """codecarbon's own classes of the format, which refuse unknown keys; without the rest of codecarbon."""
    package = importlib.util.find_spec("codecarbon")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "output_methods" / "boamps" / "models.py"
    spec = importlib.util.spec_from_file_location("boamps_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["boamps_models"] = module
    spec.loader.exec_module(module)
    return module


def test_boamps_is_read_back_by_their_classes(parser: ModuleType) -> None:
    for mode in (*two_modes(), *estimated()):
        for around in (NOWHERE, Surroundings(country="FR", infrastructure="onPremise", grid=FRANCE)):
            fields = json.loads(boamps_text(mode, around, created_utc=CREATED))
            assert parser.BoAmpsReport.from_dict(fields).to_dict() == fields


def test_boamps_has_what_their_schema_requires() -> None:
    """By model/*.json: required names, and the words of its enumerations that are used here."""
    report: Any = boamps_report(two_modes()[1], NOWHERE, created_utc=CREATED)
    assert {"task", "measures", "infrastructure"} <= report.keys()
    assert {"taskStage", "taskFamily", "algorithms", "dataset"} <= report["task"].keys()
    assert {(each["dataUsage"], each["dataType"]) for each in report["task"]["dataset"]} == {
        ("input", "token"),
        ("output", "token"),
    }
    assert report["infrastructure"]["infraType"] in INFRASTRUCTURES
    assert all({"componentType", "nbComponent"} <= each.keys() for each in report["infrastructure"]["components"])
    assert report["header"]["reportDatetime"] == "2026-11-29 17:00:00"
    assert report["header"]["formatVersion"] == FORMAT_VERSION
    assert report["quality"] in ("high", "medium", "low")


def test_boamps_energy_is_of_all_counted_queries_in_kwh() -> None:
    queries = [*run_of_queries(20), query(20, "on", 1e6, failed=True), query(21, "on", None)]
    mode = modes_of([exportable(queries)], "on")[0]
    report: Any = boamps_report(mode, NOWHERE, created_utc=CREATED)
    mine = [each for each in queries if each.mode == "on" and each.output and each.readings[0].energy_gross_j]
    total_j = sum(each.readings[0].energy_gross_j or 0.0 for each in mine)
    (measure,) = report["measures"]
    assert report["task"]["nbRequest"] == 20
    assert measure["powerConsumption"] == pytest.approx(total_j * KWH_PER_J, rel=1e-8)
    assert measure["measurementDuration"] == pytest.approx(sum(each.duration_s for each in mine), rel=1e-8)
    assert measure["gpuTrackingMode"] == "nvml"
    assert "cpuTrackingMode" not in measure
    assert "2 more queries failed or have no known energy" in report["task"]["taskDescription"]


def test_one_query_is_a_query() -> None:
    queries = [query(0, "off", 720.0), query(1, "off", None)]
    report: Any = boamps_report(modes_of([exportable(queries)])[0], NOWHERE, created_utc=CREATED)
    said = report["task"]["taskDescription"]
    assert "1 query of everyday" in said
    assert "1 more query failed or has no known energy" in said


def test_boamps_calibration_is_the_idle_baseline() -> None:
    report: Any = boamps_report(two_modes()[0], NOWHERE, created_utc=CREATED)
    measure = report["measures"][0]
    assert measure["durationCalibrationMeasurement"] == pytest.approx(12.0)
    assert measure["powerCalibrationMeasurement"] == pytest.approx(12.0 * POWER_IDLE_W * KWH_PER_J)
    never_idle = replace(two_modes()[0].cell, idle=())
    report = boamps_report(modes_of([never_idle])[0], NOWHERE, created_utc=CREATED)
    assert not {name for name in report["measures"][0] if "Calibration" in name}


def test_boamps_leaves_out_what_is_not_known() -> None:
    report: Any = boamps_report(two_modes()[0], NOWHERE, created_utc=CREATED)
    assert report["infrastructure"]["infraType"] == "other"
    assert "environment" not in report
    assert not {"publisher", "licensing"} & report["header"].keys()
    assert "share" not in report["infrastructure"]["components"][0]
    # Without a country their schema allows no environment, so no carbon intensity either.
    report = boamps_report(two_modes()[0], Surroundings(grid=FRANCE), created_utc=CREATED)
    assert "environment" not in report
    local = two_modes(source="/models/mine", revision="0" * 64)[0]
    report = boamps_report(local, NOWHERE, created_utc=CREATED)
    assert "foundationModelUri" not in report["task"]["algorithms"][0]
    assert "/models/mine" not in json.dumps(report)


def test_boamps_names_model_and_hardware() -> None:
    report: Any = boamps_report(two_modes()[0], NOWHERE, created_utc=CREATED)
    (algorithm,) = report["task"]["algorithms"]
    assert algorithm["foundationModelUri"] == f"https://huggingface.co/Qwen/Qwen3-8B/tree/{REVISION}"
    assert (algorithm["parametersNumber"], algorithm["quantization"]) == (8.0, "fp16")
    gpu, cpu, ram = report["infrastructure"]["components"]
    assert (gpu["componentName"], gpu["nbComponent"], gpu["memorySize"]) == ("NVIDIA H100 80GB HBM3", 1, 80.0)
    assert (cpu["nbComponent"], ram["memorySize"]) == (56, 512.0)
    assert report["task"]["measuredAccuracy"] == 1.0


def test_boamps_quality_follows_the_known_errors() -> None:
    mode = two_modes()[0]
    found = {}
    for error in (0.01, 0.2, 0.45, 0.6):
        energy = Estimate(value=100.0, half_width_reading=0.0, half_width_gain=100.0 * error)
        worse = replace(mode, summary=mode.summary.model_copy(update={"energy_j": energy}))
        found[error] = boamps_report(worse, NOWHERE, created_utc=CREATED).get("quality")
    assert found == {0.01: "high", 0.2: "medium", 0.45: "low", 0.6: None}


# --------------------------------------------------------------------------------------------- SPDX


def spdx_package(mode: ExportMode) -> Any:
    """The package, as the bindings of the standard read it; they refuse what the model does not have."""
    _, objects = spdx_python_model.load_data(json.loads(spdx_text(mode, created_utc=CREATED)))
    assert objects.missing_ids == set()
    (package,) = objects.foreach_type("ai_AIPackage")
    return package


def test_spdx_is_read_by_the_bindings() -> None:
    for mode, wh in zip(two_modes(), (200.0, 1000.0), strict=True):
        package = spdx_package(mode)
        (energy,) = package.ai_energyConsumption.ai_inferenceEnergyConsumption
        assert energy.ai_energyQuantity == pytest.approx(wh / 1000)
        assert energy.ai_energyUnit.endswith("/kilowattHour")
        assert (package.name, package.software_packageVersion) == ("Qwen/Qwen3-8B", REVISION)
        assert package.software_packageUrl == f"pkg:huggingface/Qwen/Qwen3-8B@{REVISION}"
        assert package.software_primaryPurpose.endswith("/model")
        (extension,) = package.extension
        read = {each.extension_cdxPropName: each.extension_cdxPropValue for each in extension.extension_cdxProperty}
        assert read == dict(properties(mode))
        assert read["harness:energy_per"] == "1,000 queries"


def test_spdx_does_not_claim_the_profile_whose_demands_it_cannot_meet() -> None:
    graph: Any = spdx_document(two_modes()[0], created_utc=CREATED)["@graph"]
    (document,) = [each for each in graph if each["type"] == "SpdxDocument"]
    assert "ai" not in document["profileConformance"]
    identities = [each["spdxId"] for each in graph if "spdxId" in each]
    assert len(set(identities)) == len(identities)
    assert set(document["element"]) == set(identities) - {document["spdxId"]}


def test_spdx_of_local_weights_has_no_address() -> None:
    package = spdx_package(two_modes(source="/models/mine", revision="0" * 64)[0])
    assert package.software_downloadLocation is None
    assert package.software_packageUrl is None


@given(st.floats(min_value=1e-12, max_value=1e12, allow_nan=False))
def test_decimals_have_no_exponent_and_nine_digits(value: float) -> None:
    text = plain(value)
    assert set(text) <= set("0123456789.")
    assert float(Decimal(text)) == pytest.approx(value, rel=1e-8)


# ---------------------------------------------------------------------------------------- CycloneDX


def valid(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def energies(bom: Any) -> list[Any]:
    found: list[Any] = []
    for component in bom["components"]:
        found += component["modelCard"]["considerations"]["environmentalConsiderations"]["energyConsumptions"]
    return found


def test_cyclonedx_is_valid_by_the_strict_schema() -> None:
    for modes in (two_modes(), estimated(), two_modes(model=SCRIPT, source="x", revision="0" * 64)):
        for grid in (None, FRANCE, *grids(("mine=0",))):
            valid(cyclonedx_text(modes, created_utc=CREATED, grid=grid))


def test_the_validator_would_see_a_wrong_field() -> None:
    bom: Any = cyclonedx_bom(two_modes(), created_utc=CREATED)
    del energies(bom)[0]["energyProviders"]
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is not None


def test_cyclonedx_has_an_energy_per_mode_and_1000_queries() -> None:
    bom: Any = cyclonedx_bom(two_modes(), created_utc=CREATED)
    (component,) = bom["components"]
    assert (component["type"], component["name"]) == ("machine-learning-model", "Qwen/Qwen3-8B")
    off, on = energies(bom)
    assert off["activityEnergyCost"] == {"value": pytest.approx(0.2), "unit": "kWh"}
    assert on["activityEnergyCost"] == {"value": pytest.approx(1.0), "unit": "kWh"}
    assert [each["energySource"] for each in on["energyProviders"]] == ["unknown"]
    said = stated([(each["name"], each["value"]) for each in on["properties"]])
    assert (said["mode"], said["energy_per"], said["energy_estimated"]) == ("on", "1,000 queries", "no, measured")
    assert float(said["energy_total_kwh"]) == pytest.approx(0.001)
    assert all(each["name"].startswith(PREFIX) for each in on["properties"])
    metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [each["value"] for each in metrics] == ["1", "0"]


def test_cyclonedx_has_carbon_only_by_a_stated_grid() -> None:
    assert "co2CostEquivalent" not in energies(cyclonedx_bom(two_modes(), created_utc=CREATED))[0]
    off = energies(cyclonedx_bom(two_modes(), created_utc=CREATED, grid=FRANCE))[0]
    assert off["co2CostEquivalent"] == {"value": pytest.approx(0.2 * 56e-6), "unit": "tCO2eq"}
    said = stated([(each["name"], each["value"]) for each in off["properties"]])
    assert (said["carbon_g_per_kwh"], said["carbon_source"]) == ("56", "stated by the user")
    assert (said["carbon_grid"], "no facility" in said["carbon_of"]) == ("mine", True)
    ranged = energies(cyclonedx_bom(two_modes(), created_utc=CREATED, grid=grids(("mine=20..45",))[0]))[0]
    said = stated([(each["name"], each["value"]) for each in ranged["properties"]])
    assert (said["carbon_low_g_per_kwh"], said["carbon_high_g_per_kwh"]) == ("20", "45")


def test_each_checkpoint_of_a_pair_is_a_component() -> None:
    pair = PairedCheckpoint(model="org/instruct", source="org/instruct", revision="1" * 40, modes=("off",))
    bom: Any = cyclonedx_bom(two_modes(pair=pair), created_utc=CREATED)
    named = [(each["name"], each["version"], each["purl"]) for each in bom["components"]]
    assert named == [
        ("org/instruct", "1" * 40, f"pkg:huggingface/org/instruct@{'1' * 40}"),
        ("Qwen/Qwen3-8B", REVISION, f"pkg:huggingface/Qwen/Qwen3-8B@{REVISION}"),
    ]
    assert len({each["bom-ref"] for each in bom["components"]}) == 2


# --------------------------------------------------------------------------------- all the documents


def test_an_estimate_has_its_word_wherever_it_goes() -> None:
    off = estimated()[0]
    words = estimated_words(off.cell.summary)
    assert words.startswith("estimated: ")
    report: Any = boamps_report(off, NOWHERE, created_utc=CREATED)
    assert words in report["measures"][0]["measurementMethod"]
    assert words in report["task"]["taskDescription"]
    assert report["quality"] == "low"
    package = spdx_package(off)
    assert words in package.description
    assert stated(properties(off))["energy_estimated"] == words
    bom: Any = cyclonedx_bom([off], created_utc=CREATED)
    assert words in bom["components"][0]["description"]
    assert ("harness:energy_estimated", words) in properties(off)
    assert "energy_low_kwh" not in stated(properties(off))


def test_the_interval_parts_are_apart_and_in_kwh() -> None:
    (off, _) = modes_of([exportable()])
    said, wh = stated(properties(off)), off.summary.energy_wh_per_1000
    assert float(said["energy_low_kwh"]) == pytest.approx((wh.low or 0.0) / 1000)
    assert float(said["energy_half_width_gain_kwh"]) == pytest.approx((wh.half_width_gain or 0.0) / 1000)
    assert "energy_half_width_runs_kwh" not in said  # one run: not known, and not nought


def test_what_a_document_cannot_say_is_refused() -> None:
    cell = exportable()
    thought = Finding(code=FindingCode.THINKING_IN_OFF_MODE)
    doubted = tuple(
        mode.model_copy(update={"invalid": (thought,) if mode.mode == "off" else ()}) for mode in cell.summary.modes
    )
    wrong = replace(cell, summary=cell.summary.model_copy(update={"modes": doubted}))
    two_phase = replace(cell, summary=changed(cell.summary, lengths_batch_size=8))
    for part, cells in (("mode off of .* is not what it is called", [wrong]), ("two-phase", [two_phase])):
        with pytest.raises(InvalidMeasurement, match=part) as caught:
            modes_of(cells)
        assert caught.value.next_step
    assert [mode.mode for mode in modes_of([wrong], "on")] == ["on"]
    unknown = modes_of([exportable([query(0, "off", None)])])
    makers: list[Callable[[], object]] = [
        lambda: boamps_report(unknown[0], NOWHERE, created_utc=CREATED),
        lambda: spdx_document(unknown[0], created_utc=CREATED),
        lambda: cyclonedx_bom(unknown, created_utc=CREATED),
    ]
    for make in makers:
        with pytest.raises(InvalidMeasurement, match="known"):
            make()


def test_a_model_is_described_once_for_all_its_repeats() -> None:
    first, second = exportable(), exportable(repeat=1)
    assert [cell.summary.cell.repeat for cell in first_of_repeats([second, first])] == [0]
    other = exportable(model="another")
    assert len(first_of_repeats([first, other, second])) == 2
    assert modes_of([second])[0].stem == "Qwen-Qwen3-8B-off-repeat-2"


def test_no_two_files_have_one_name() -> None:
    assert named_apart(["a", "a", "a-2", "b", "a"]) == ["a", "a-2", "a-2-2", "b", "a-3"]


def test_equal_runs_give_equal_documents() -> None:
    makers: list[Callable[[], object]] = [
        lambda: boamps_text(two_modes()[0], NOWHERE, created_utc=CREATED),
        lambda: spdx_text(two_modes()[0], created_utc=CREATED),
        lambda: cyclonedx_text(two_modes(), created_utc=CREATED),
    ]
    for make in makers:
        assert make() == make()


# ------------------------------------------------------------------------------------ CSV and Parquet


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\r=1", "\n=1", "＝1", "'=1", "'"])
def test_formulas_are_made_harmless(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert restored(harmless(text)) == text


@given(st.text())
def test_harmless_text_can_be_restored(text: str) -> None:
    assert restored(harmless(text)) == text
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1), min_size=1))
def test_any_text_is_guarded_and_read_back(texts: list[str]) -> None:
    written = (csv_of_rows([{"text": text} for text in texts]), csv_of_frame(pd.DataFrame({"text": texts})))
    for text in written:
        head, *cells = csv.reader(io.StringIO(text, newline=""))
        assert head == ["text"]
        assert cells == [[harmless(each)] for each in texts]


def test_csv_keeps_numbers_and_guards_text() -> None:
    rows: list[dict[str, object]] = [
        {"model": '=HYPERLINK("http://x")', "energy_net_j": -1.5, "none": None, "nothing": None},
        {"model": "a,b\n", "energy_net_j": None, "none": "@", "nothing": None},
    ]
    (head, first, second) = csv.reader(io.StringIO(csv_of_rows(rows), newline=""))
    assert head == ["model", "energy_net_j", "none", "nothing"]
    assert first == ['\'=HYPERLINK("http://x")', "-1.5", "", ""]
    assert second == ["a,b\n", "", "'@", ""]


def test_a_frame_as_csv_is_read_back_by_pandas() -> None:
    frame = pd.DataFrame(
        {
            "model": ["=cmd", None, SCRIPT],
            "energy_j": [-1.25, None, 0.1 + 0.2],
            "correct": [True, None, False],
            "@column": ["x", "-y", "'z"],
        }
    )
    read = pd.read_csv(io.StringIO(csv_of_frame(frame)))
    assert list(read.columns) == ["model", "energy_j", "correct", "'@column"]
    assert read["model"].tolist()[0] == "'=cmd"
    assert [restored(text) for text in read["'@column"]] == ["x", "-y", "'z"]
    assert read["energy_j"].tolist()[::2] == [-1.25, 0.1 + 0.2]
    assert read.isna().sum().tolist() == [1, 1, 1, 0]
    categories = csv_of_frame(frame.astype({"model": "category"}))
    assert categories == csv_of_frame(frame)
    assert frame["model"][0] == "=cmd"  # the frame itself is left as it was


def test_a_row_per_mode_has_every_figure_and_its_parts() -> None:
    cell = exportable()
    rows = mode_rows([cell])
    assert [row["mode"] for row in rows] == ["off", "on"]
    for row, mode in zip(rows, cell.summary.modes, strict=True):
        for column, estimate in (
            ("energy_per_query{}_j", mode.energy_j),
            ("energy_net_per_query{}_j", mode.energy_net_j),
            ("energy_per_output_token{}_j", mode.energy_per_output_token_j),
            ("energy_per_correct{}_j", mode.energy_per_correct_j),
            ("energy_per_1000_queries{}_wh", mode.energy_wh_per_1000),
        ):
            assert row[column.format("")] == estimate.value
            for part in ("low", "high", "half_width_reading", "half_width_runs", "half_width_gain"):
                assert row[column.format(f"_{part}")] == getattr(estimate, part)
        assert (row["n_queries"], row["accuracy"]) == (20, mode.accuracy.value)
        assert row["energy_thinking_per_query_j"] == mode.phases_j.get("thinking")
    assert rows[0].keys() == rows[1].keys()
    assert [row["mode"] for row in mode_rows([cell], "on")] == ["on"]


def test_estimates_have_columns_of_their_own() -> None:
    guessed = ExportCell(**{name: getattr(estimated()[0].cell, name) for name in ("summary", "queries", "manifest")})
    measured = exportable()
    rows = mode_rows([measured, guessed])
    energy = [name for name in rows[0] if name.startswith(("energy", "power")) and name.endswith(("_j", "_wh", "_w"))]
    assert energy
    for name in energy:
        of_estimate = "estimated" in name
        assert all(row[name] is None for row in (rows[:2] if of_estimate else rows[2:])), name
    assert rows[2]["energy_per_query_estimated_j"] == guessed.summary.modes[0].energy_j.value


def test_rows_as_parquet_are_read_back() -> None:
    rows = mode_rows([exportable(model="=1+1")])
    table = pyarrow.parquet.read_table(io.BytesIO(parquet_of_rows(rows)))
    assert table.to_pylist() == rows
    assert table.column("model").to_pylist()[1] == "=1+1"
