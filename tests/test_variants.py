"""Variants of one model as one study: from a flag to cells that take turns, and what the report says of them.

The runs are the golden run's cell, copied and changed on disk; nothing is measured.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from harness import publish
from harness.cli.parser import run_verb
from harness.config import RunSpec, load_catalogue, load_run_spec
from harness.errors import UnknownName, UsageError
from harness.records import Cell, EngineOptions, Prompt
from harness.report.page import Lead
from harness.report.study_terminal import print_leads
from harness.store.run_directory import cells
from harness.variants import VariantStudy, in_order, leads_of, names_of, study_of
from harness.wiring.jobs import Job, jobs_of
from harness.wiring.lengths import Lengths, recorded_lengths, refuse_lengths
from harness.wiring.variants import resumed_cells, variant_specs, with_variant_cells

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))[-1]
BF16, INT8 = "bf16:dtype=bfloat16", "int8:quantization=int8"


def spec(*variants: str, **flags: object) -> RunSpec:
    return load_run_spec(None, {"variants": list(variants), **flags})


# ------------------------------------------------------------------------------------ what is asked for


def test_flags_and_run_files_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("variants:\n  fp32: {dtype: float32}\n  capped: {power-limit-w: 300}\n  plain:\n".replace("-", "_"))
    flags = spec("fp32:dtype=float32", "capped:power-limit-w=300", "plain")
    assert load_run_spec(str(file), {}).variants == flags.variants
    assert list(flags.variants) == ["fp32", "capped", "plain"]
    assert flags.variants["capped"].power_limit_w == 300.0


def test_a_comma_in_a_command_or_an_address_parts_nothing() -> None:
    variants = spec(BF16, "vllm:engine=openai,serve=vllm serve M --a 1,2 --port 8000,concurrency=8").variants
    assert variants["vllm"].serve == "vllm serve M --a 1,2 --port 8000"
    assert variants["vllm"].concurrency == 8


@pytest.mark.parametrize(
    ("variants", "flags", "message"),
    [
        ((BF16,), {}, "compared with nothing"),
        ((BF16, BF16), {}, "two variants are called bf16"),
        ((BF16, "int8:int8"), {}, "key=value"),
        ((BF16, "../x:dtype=float32"), {}, "does not name a variant"),
        ((BF16, INT8), {"model": "a,b"}, "of one model"),
        ((BF16, INT8), {"engine": "openai", "base_url": "http://127.0.0.1:1/v1", "concurrency": "1,8"}, "one load"),
        ((BF16, INT8), {"two_phase": True}, "two-phase"),
        ((BF16, "int9:quantization=int9"), {}, "variants.int9.quantization"),
    ],
)
def test_what_cannot_be_compared_is_refused(variants: Sequence[str], flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec(*variants, **flags)


def test_a_key_that_no_variant_has_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="dtpye"):
        spec(BF16, "int8:dtpye=float16")


def test_a_variant_changes_its_keys_and_nothing_else() -> None:
    run = spec(BF16, "eager:attention=eager,compile=true", "served:engine=openai,base_url=http://127.0.0.1:1/v1")
    specs = variant_specs(run, load_catalogue())
    assert specs["bf16"].dtype == "bfloat16"
    assert specs["eager"].engine.attention == "eager"
    assert specs["eager"].engine.compile
    assert specs["eager"].dtype == "auto"
    assert specs["served"].is_served
    assert {each.prompts for each in specs.values()} == {"chains"}  # the embedded model's, named for all
    assert not any(each.variants for each in specs.values())


def test_a_variant_that_contradicts_itself_is_refused_under_its_name() -> None:
    with pytest.raises(UsageError, match="The variant served: --engine openai needs a server"):
        variant_specs(spec(BF16, "served:engine=openai"), load_catalogue())


def test_variants_take_turns_forth_and_back_over_the_same_prompts() -> None:
    run = spec("fp32:dtype=float32", BF16, "eager:attention=eager", repeats=3, device="cpu")
    jobs = jobs_of(run)
    assert [(job.variant, job.cell.repeat) for job in jobs] == [
        *(("fp32", 0), ("bf16", 0), ("eager", 0)),
        *(("eager", 1), ("bf16", 1), ("fp32", 1)),
        *(("fp32", 2), ("bf16", 2), ("eager", 2)),
    ]
    assert len({job.cell.cell_id for job in jobs}) == 9
    assert len({job.cell.prompt_set_sha256 for job in jobs}) == 1
    assert jobs[0].cell == jobs_of(spec("other:dtype=float32", BF16, device="cpu"))[0].cell  # the name is not in it
    written = with_variant_cells(run, jobs)
    again = jobs_of(load_run_spec(None, written.model_dump(mode="json")), [job.cell for job in reversed(jobs)])
    assert [(job.variant, job.cell) for job in again] == [(job.variant, job.cell) for job in jobs]


def test_variants_of_nothing_and_cells_of_none_are_refused() -> None:
    with pytest.raises(UsageError, match="a and b are the same"):
        jobs_of(spec("a", "b:dtype=auto", device="cpu"))
    with pytest.raises(UsageError, match="belongs to no variant"):
        resumed_cells(spec(BF16, INT8), [jobs_of(load_run_spec(None, {"device": "cpu"}))[0].cell])


def test_a_power_limit_is_part_of_the_cell() -> None:
    jobs = jobs_of(spec("full", "capped:power_limit_w=300", device="cpu"))
    assert [job.cell.power_limit_w for job in jobs] == [None, 300.0]


# ------------------------------------------------------------------------------------ recorded lengths


def golden_sizes() -> dict[tuple[str, str], int]:
    (path,) = GOLDEN.glob("*/*/queries.jsonl")
    queries = [json.loads(line) for line in path.read_text().splitlines()]
    return {(each["prompt_id"], each["mode"]): each["output"]["sizes"]["output_tokens"] for each in queries}


def replaying(**flags: object) -> list[Job]:
    return jobs_of(load_run_spec(None, {"device": "cpu", "num_prompts": 6, "lengths": f"replay:{GOLDEN}", **flags}))


def test_recorded_lengths_are_read_and_named_by_their_hash() -> None:
    lengths = recorded_lengths(str(GOLDEN), Path("results"))
    assert lengths.by_query == golden_sizes()
    (job,) = replaying()
    assert job.lengths == lengths
    assert job.cell.lengths == lengths.sha256
    natural = jobs_of(load_run_spec(None, {"device": "cpu", "num_prompts": 6}))[0]
    assert natural.cell.lengths is None
    assert natural.cell.cell_id != job.cell.cell_id


def test_prompts_without_a_length_are_refused_with_how_many_have_one() -> None:
    with pytest.raises(UsageError, match="no length for") as refused:
        replaying(num_prompts=20)
    assert "--num-prompts 6" in refused.value.next_step


def test_a_cap_below_a_recorded_length_is_refused() -> None:
    longest = max(golden_sizes().values())
    with pytest.raises(UsageError, match=f"up to {longest} tokens") as refused:
        replaying(max_new_tokens=longest - 1)
    assert str(longest) in refused.value.next_step
    assert replaying(max_new_tokens=longest)


def test_lengths_of_other_prompts_or_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="asks other prompts"):
        replaying(prompts="everyday", num_prompts=5)
    only_on = Lengths(run="r", prompt_set="p", prompt_set_sha256="0" * 64, sha256="1" * 64, by_query={("a", "on"): 3})
    asked = Cell(
        **dict.fromkeys(("model", "source", "revision", "dtype", "quantization", "prompt_set", "protocol"), "x"),
        engine=EngineOptions(device="cpu"), prompt_set_sha256="0" * 64, modes=("off", "on"), max_new_tokens=9, seed=0,
    )  # fmt: skip
    with pytest.raises(UsageError, match="no length in the mode off"):
        refuse_lengths(only_on, asked, [Prompt(prompt_id="a", text="")])
    refuse_lengths(only_on, asked.model_copy(update={"modes": ("on",)}), [Prompt(prompt_id="a", text="")])


def test_lengths_that_are_no_run_are_refused() -> None:
    with pytest.raises(UsageError, match="not understood"):
        replaying(lengths="replay")


# ------------------------------------------------------------------------------------ what is said of it


def scaled(query: dict[str, Any], factor: float) -> dict[str, Any]:
    for reading in query["readings"]:
        for part in (reading, *reading["phases"]):
            part["energy_gross_j"] *= factor
            part["energy_gross_half_width_j"] *= 0.01 * factor  # a reading that is far better than the effects here
    return query


N_PROMPTS = 12


def measured(root: Path, variants: Mapping[str, Sequence[float]], **executed: str) -> Path:
    """A run of variants, each with a factor on its joules per repeat."""
    (source,) = GOLDEN.glob("*/*/cell.yaml")
    fields = yaml.safe_load(source.read_text())
    run_cells: dict[str, list[str]] = {}
    for place, (name, factors) in enumerate(variants.items()):
        dtype = executed.get(name, "float32")
        for repeat, factor in enumerate(factors):
            directory = root / f"cell-{9 - place}{repeat}" / source.parent.name  # names that sort the wrong way
            shutil.copytree(source.parent, directory)
            changed = {**fields, "dtype": f"asked-{name}", "repeat": repeat}
            (directory / "cell.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
            path = directory / "queries.jsonl"
            golden = [json.loads(line) for line in path.read_text().splitlines()]
            queries = [
                scaled({**json.loads(json.dumps(each)), "prompt_id": f"{each['prompt_id']}-{copy}"}, factor)
                for copy in range(N_PROMPTS // 6)
                for each in golden
            ]
            if name == "same":  # on the whole, not prompt by prompt
                queries = [scaled(query, 1.1 if place % 2 else 0.9) for place, query in enumerate(queries)]
            path.write_text("".join(json.dumps(query) + "\n" for query in queries))
            for manifest in directory.glob("sessions/*/manifest.json"):
                said = json.loads(manifest.read_text())
                said["engine"]["executed_precision"] = dtype
                for channel in said["channels"]:
                    channel["gain_half_width"] = channel["gain_half_width"] and 0.001
                manifest.write_text(json.dumps(said))
    for each in cells(root):
        cell = each.cell()
        run_cells.setdefault(cell.dtype.removeprefix("asked-"), []).append(cell.cell_id)
    written = {
        **yaml.safe_load((GOLDEN / "run.yaml").read_text()),
        "variants": {name: {"dtype": "float32"} for name in variants},
        "variant_cells": {name: run_cells[name] for name in variants},
    }
    (root / "run.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return root


def study(root: Path, variants: Mapping[str, Sequence[float]], **executed: str) -> VariantStudy:
    run = measured(root, variants, **executed)
    found = study_of(run, publish.accounts(run))
    assert found is not None
    return found


def lead_of(found: VariantStudy) -> Lead:
    (lead,) = leads_of(found)
    return lead


DRIFTING = {"fp32": (1.0, 1.5, 2.0), "int8": (1.3, 1.95, 2.6), "bf16": (0.5, 0.75, 1.0), "same": (1.0, 1.5, 2.0)}


def test_drift_that_all_share_cancels_and_each_stands_over_the_first(tmp_path: Path) -> None:
    found = study(tmp_path, DRIFTING)
    assert [side.label for side in found.sides] == ["fp32", "int8", "bf16", "same"]
    ratios = {each.other.label: each.comparisons["on"].energy for each in found.matches}
    assert {each.base.label for each in found.matches} == {"fp32"}
    assert {name: ratio.value for name, ratio in ratios.items()} == {
        "int8": pytest.approx(1.3),
        "bf16": pytest.approx(0.5),
        "same": pytest.approx(1.0, abs=0.1),
    }
    # The joules double from the first turn to the last; their ratio does not move.
    assert {name: ratio.half_width_runs for name, ratio in ratios.items()} == {
        name: pytest.approx(0.0, abs=1e-6) for name in ratios
    }


def test_the_sentence_says_cheaper_dearer_and_not_told_apart(tmp_path: Path) -> None:
    lead = lead_of(study(tmp_path, DRIFTING, bf16="bfloat16"))
    said = {answer.question: answer.text for answer in lead.answers}
    for mode in ("off", "on"):
        text = said[f"Joules of a query in mode {mode}"]
        assert text.startswith("Cheaper than fp32: bf16. Dearer than fp32: int8. Not told apart from fp32: same.")
        assert "bf16 (bfloat16) takes 0.5" in text
    assert "A lower precision is not assumed to be cheaper: it was measured." in lead.notes


def test_one_run_of_each_is_never_certain(tmp_path: Path) -> None:
    lead = lead_of(study(tmp_path, {"fp32": (1.0,), "bf16": (0.5,)}))
    assert all(answer.text.startswith("Not certain: bf16.") for answer in lead.answers)
    assert all("--repeats 3" in answer.text for answer in lead.answers)


def test_what_ran_is_the_label_and_the_tables_hold_both_sides(tmp_path: Path) -> None:
    lead = lead_of(study(tmp_path, DRIFTING, bf16="float16"))
    assert lead.title == "Variants of tiny-reasoner, each over fp32 (float32)"
    absolute, relative = lead.tables[0], lead.tables[1]
    assert absolute.modes == ("fp32", "int8", "bf16", "same")
    assert relative.modes == ("int8", "bf16", "same")
    rows = {row.label: [figure.value for figure in row.figures] for row in absolute.rows}
    assert rows["precision executed"] == ["float32", "float32", "float16", "float32"]
    assert "output tokens, natural lengths" in rows
    labels = {row.label for row in relative.rows}
    assert {"joules per query", "joules per output token", "seconds per query", "joules per right answer"} <= labels
    assert [figure.value for figure in relative.rows[-1].figures] == ["dearer", "cheaper", "not told apart"]
    assert {panel.name for panel in lead.panels} == {"variants-cost", "variants-ratio"}


def test_a_label_holds_no_brackets_in_brackets(tmp_path: Path) -> None:
    lead = lead_of(study(tmp_path, {"fp32": (1.0, 1.0), "int8": (2.0, 3.0)}, int8="int8 (bitsandbytes)"))
    assert lead.answers[0].text.startswith("Not certain: int8. int8 (int8, bitsandbytes) takes")
    assert "two repeats say little of their spread: `--repeats 3`" in lead.answers[0].text


def test_estimated_joules_are_not_compared_and_seconds_speak(tmp_path: Path) -> None:
    run = measured(tmp_path, {"fp32": (1.0, 1.0), "bf16": (0.5, 0.5)})
    for path in (*run.glob("*/*/queries.jsonl"), *run.glob("*/*/sessions/*/*.json*")):
        path.write_text(path.read_text().replace('"nvml_counter"', '"estimated"'))
    found = study_of(run, publish.accounts(run))
    assert found is not None
    lead = lead_of(found)
    assert all(each.comparisons["on"].energy.value is None for each in found.matches)
    assert [answer.question for answer in lead.answers] == [f"Seconds of a query in mode {m}" for m in ("off", "on")]
    assert all("Not told apart from fp32: bf16." in answer.text for answer in lead.answers)
    printed = " ".join(row.label for table in lead.tables for row in table.rows)
    assert "oules" not in printed
    assert "J per" not in printed
    assert "estimated" in lead.notes[0]


def test_terminal_page_and_compare_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = measured(tmp_path / "run", {"fp32": (1.0, 1.02), "bf16": (0.5, 0.51)})
    accounts = in_order(run, publish.accounts(run))
    names = names_of(run)
    assert [names[each.summary.cell.cell_id] for each in accounts] == ["fp32", "bf16", "fp32", "bf16"]
    found = study_of(run, accounts)
    page = publish.publish(run, accounts, above=leads_of(found), names=names).read_text()
    assert "Variants of tiny-reasoner" in page
    assert "bf16: tiny-reasoner" in page
    sentence = leads_of(found)[0].answers[0].text
    assert run_verb(["compare", str(run), "--markdown"]) == 0
    assert sentence in capsys.readouterr().out.replace("\\", "")
    out = io.StringIO()
    print_leads(Console(file=out, width=60), leads_of(found))
    assert max(map(len, out.getvalue().splitlines())) <= 60


def test_a_run_without_variants_is_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(GOLDEN, run)
    accounts = publish.accounts(run)
    assert study_of(run, accounts) is None
    assert leads_of(None) == []
    assert names_of(run) == {}
    assert in_order(run, accounts) == accounts
