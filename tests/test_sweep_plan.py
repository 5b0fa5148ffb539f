"""`harness sweep FILE --plan`: which cells, in which order, what they are expected to take, and what is refused."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.parser import run_verb
from harness.config import RunSpec, load_catalogue, load_run_spec
from harness.errors import ExitCode, HarnessError, UnknownName, UsageError
from harness.records import CellOutcome, PlannedCell
from harness.report.sweep.plan import plan_text
from harness.sweep.planning import checks
from harness.sweep.planning.estimate import CellEstimate, Estimates, Span, around
from harness.sweep.planning.forecast import estimates_of, sheet_of
from harness.sweep.planning.plan import Plan, plan_of
from harness.sweep.planning.precedent import measured_estimates
from harness.sweep.planning.rough import rough
from harness.sweep.planning.spec import SweepSpec, frozen, load_sweep_spec

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
MODELS = ("qwen3-0.6b", "qwen3-8b", "qwen3-14b", "phi-4")
TEXT = """
run: {num_prompts: 50, mode: [off, on]}
vary:
  model: [qwen3-0.6b, qwen3-8b]
  prompts: [chains, everyday]
  precision: {bf16: {dtype: bfloat16}, int8: {quantization: int8}}
  batch-size: [1, 8]
  power_limit_w: [null, 300.0]
exclude: [{model: qwen3-8b, precision: int8}, {batch_size: 8, power_limit_w: [300]}]
repeats: 3
"""


def spec_of(text: str, folder: Path) -> SweepSpec:
    file = folder / "sweep.yaml"
    file.write_text(text, encoding="utf-8")
    return load_sweep_spec(file)


def plan(**fields: Any) -> Plan:
    return plan_of(SweepSpec.model_validate({"reference": None, **fields}))


# ---------------------------------------------------------------------------------------- which cells


def test_a_plan_is_every_combination_but_the_excluded_ones(tmp_path: Path) -> None:
    found = plan_of(spec_of(TEXT, tmp_path))
    wanted = {
        combination
        for combination in itertools.product(
            ("qwen3-0.6b", "qwen3-8b"), ("chains", "everyday"), ("bf16", "int8"), ("1", "8"), ("default", "300")
        )
        if not (combination[0] == "qwen3-8b" and combination[2] == "int8")
        and not (combination[3] == "8" and combination[4] == "300")
    }
    assert {tuple(cell.labels.values()) for cell in found.runs} == wanted
    assert list(found.cells[0].labels) == ["model", "prompts", "precision", "batch_size", "power_limit_w"]
    assert len(found.cells) == 3 * len(wanted) == len({cell.key for cell in found.cells})


def test_every_cell_is_a_valid_run_file_that_says_what_its_labels_say(tmp_path: Path) -> None:
    for cell in plan_of(spec_of(TEXT, tmp_path)).cells:
        file = tmp_path / "cell.yaml"
        file.write_text(yaml.safe_dump(cell.spec), encoding="utf-8")
        run = load_run_spec(str(file), {})
        assert run.model == (cell.labels["model"],)
        assert run.mode == ("off", "on")
        assert run.prompts == cell.labels["prompts"]
        assert (run.dtype, run.quantization) == {"bf16": ("bfloat16", "none"), "int8": ("auto", "int8")}[
            cell.labels["precision"]
        ]
        assert run.power_limit_w == (None if cell.labels["power_limit_w"] == "default" else 300)


def test_a_cell_never_says_where_it_lies_nor_how_often_it_is_repeated(tmp_path: Path) -> None:
    fields = spec_of(TEXT, tmp_path).model_copy(update={"working_dir": str(tmp_path)})
    assert not {"output_dir", "working_dir", "repeats"} & plan_of(fields).cells[0].spec.keys()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"mode": "off,on"}, {"mode": ["off", "on"]}),
        ({"batch_size": 8}, {"batch_size": "8"}),
        ({"power_limit_w": 300}, {"power_limit_w": 300.0}),
        ({"protocol": "paired"}, {}),
        ({"protocol": "paired-1"}, {"dtype": "auto"}),
        ({"until_ci": "5%"}, {"until_ci": 0.05}),
        ({"engine": "transformers"}, {"engine": {"compile": False}}),
        ({"num_prompts": 20}, {"num_prompts": 50}),  # a run can be extended, so it is one run
        ({"tariff": 0.3}, {}),  # what a kWh costs is not measured
    ],
)
def test_a_run_id_does_not_depend_on_how_a_thing_is_written(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    named = [plan(run={"model": "qwen3-8b", **fields}).cells[0].run_id for fields in (one, other)]
    assert named[0] == named[1]


def test_what_is_measured_decides_the_run_id() -> None:
    changes: list[dict[str, Any]] = [{}, {"seed": 1}, {"batch_size": 2}, {"model": "qwen3-14b"}, {"mode": "on"}]
    assert len({plan(run={"model": "qwen3-8b", **fields}).cells[0].run_id for fields in changes}) == len(changes)


def test_keys_of_the_engine_add_up() -> None:
    vary = {"attention": {"sdpa": {"engine": {"attention": "sdpa"}}, "as_is": None}}
    found = plan(run={"model": "qwen3-8b", "engine": {"compile": True}}, vary=vary)
    engines = {cell.labels["attention"]: RunSpec.model_validate(cell.spec).engine for cell in found.cells}
    assert engines["sdpa"].compile
    assert (engines["sdpa"].attention, engines["as_is"].attention) == ("sdpa", "default")


def test_loads_make_a_cell_each() -> None:
    run = {"model": "m", "engine": "openai", "base_url": "http://127.0.0.1:8000/v1"}
    found = plan(run=run, vary={"concurrency": [1, 8]})
    assert sorted(cell.spec["concurrency"] for cell in found.cells) == [[1], [8]]


# ---------------------------------------------------------------------------------------- the order


def order(found: Plan, repeat: int = 0) -> list[str]:
    return [cell.labels["model"] for cell in found.cells if cell.repeat == repeat]


def test_blocks_are_repeats_and_each_has_an_order_of_its_own() -> None:
    found = plan(vary={"model": MODELS, "batch_size": [1, 2, 3, 4]}, repeats=4)
    assert [cell.repeat for cell in found.cells] == sorted(cell.repeat for cell in found.cells)
    blocks = [tuple(cell.run_id for cell in found.cells if cell.repeat == repeat) for repeat in range(4)]
    assert len({frozenset(block) for block in blocks}) == 1
    assert len(set(blocks)) == 4


@given(st.permutations(MODELS), st.sets(st.sampled_from(MODELS), min_size=1), st.integers(0, 1000))
def test_the_order_depends_on_content_alone(listed: list[str], kept: set[str], seed: int) -> None:
    """Neither the place in the file, nor what else is in it, nor more repeats change who comes before whom."""
    full = plan(vary={"model": MODELS}, seed=seed, repeats=2)
    some = plan(vary={"model": [model for model in listed if model in kept]}, seed=seed, repeats=3)
    for repeat in range(2):
        assert order(some, repeat) == [model for model in order(full, repeat) if model in kept]


def test_the_seed_changes_the_order() -> None:
    assert len({tuple(order(plan(vary={"model": MODELS}, seed=seed))) for seed in range(20)}) > 5


def test_references_are_one_run_with_a_repeat_at_each_end() -> None:
    found = plan_of(SweepSpec(vary={"model": MODELS}))
    first, last = found.references
    assert (first.role, last.role) == ("reference_start", "reference_end")
    assert first.run_id == last.run_id
    assert first.repeat != last.repeat
    assert first.run_id not in {cell.run_id for cell in found.cells}
    assert plan(vary={"model": MODELS}).references == ()


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "said", "step"),
    [
        ("vary: {modell: [a]}", "Unknown key 'modell'", "Did you mean 'model'?"),
        ("run: {num_promts: 5}", "Unknown key 'num_promts'", "Did you mean 'num_prompts'? "),
        ("repeat: 3", "Unknown key 'repeat'", "Did you mean 'repeats'?"),
        ("reference: {modell: x}", "Unknown key 'modell'", "In reference."),
        ("vary: {p: {a: {quantisation: int8}}}", "Unknown key 'quantisation'", "In vary: p: a."),
        ("vary: {model: [a], p: {a: {engine: {atention: x}}}}", "Unknown key 'atention'", "'attention'"),
        ("vary: {model: [a]}\nexclude: [{modell: a}]", "Unknown label 'modell'", "Did you mean 'model'?"),
        ("vary: {model: [qwen3-8b]}\nexclude: {model: qwen3-8}", "Unknown value of model 'qwen3-8'", "'qwen3-8b'"),
        ("vary: {batch_size: [1]}\nexclude: {batch_size: [1, 2]}", "Unknown value of batch_size '2'", "match no cell"),
        ("vary: {batch_size: [1]}\nexclude: [{}]", "exclude: {} would leave out every cell", "label: value"),
        ("vary: {batch_size: [1]}\nexclude: [{batch_size: 1}]", "Every cell is excluded", "Take an exclude out"),
        ("vary: {model: qwen3-8b}", "write model: [qwen3-8b]", "Correct it in"),
        ("vary: {model: []}", "model has no values", "at least one"),
        ("vary: {mode: [off, on]}", "modes are compared within one cell", "under `run`"),
        ("vary: {batch_size: [8, 8.0]}", "batch_size names 8 twice", "once"),
        ("vary: {batch_size: [0]}", "In the cell batch_size 0: batch_size:", "Correct it in"),
        ("vary: {precision: [int8]}", "Unknown key 'precision'", "named values"),
        ("run: {repeats: 3}", "repeats is not a cell's to say", "beside `run`"),
        ("run: {output_dir: x}", "output_dir is not a cell's to say", "--output-dir"),
        ("run: {variants: {a: {}, b: {}}}", "variants is not a cell's to say", "under `vary`"),
        ("run: {model: [a, b]}", "would be 2 cells in one", "`model: [a, b]`"),
        ("vary: {num_prompts: [10, 20]}", "Two cells would be one measurement", "extended by num_prompts"),
        ("vary: {dtype: [auto, null]}", "dtype", "Correct it in"),
        ("reference: {model: tiny-reasoner}", "The reference is also a cell", "reference: false"),
        ("vary: {concurrency: [1, 8]}", "In the cell concurrency 1: --concurrency is a load on a server", "--engine"),
        ("repeats: 0", "repeats", "Correct it in"),
        ("vary: {seed: [" + ",".join(map(str, range(400))) + "], batch_size: [" + ",".join(map(str, range(1, 400)))
         + "]}", "159,600 combinations", "Vary less"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_the_users_words(text: str, said: str, step: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(spec_of(text, tmp_path))
    assert said in str(caught.value)
    assert step in caught.value.next_step


def test_names_that_do_not_exist_are_found_before_the_night(tmp_path: Path) -> None:
    for fields in (
        {"model": "qwen3-9b"},
        {"model": "qwen3-8b", "prompts": "chians"},
        {"model": "phi-4", "mode": "off"},
    ):
        with pytest.raises(UnknownName):
            checks.refuse_unknown(plan(run=fields))
    with pytest.raises(UsageError, match="no file or directory"):
        checks.refuse_unknown(plan(run={"model": str(tmp_path / "nothing")}))
    checks.refuse_unknown(plan(vary={"model": MODELS, "prompts": ["chains", "gsm8k"]}))


def test_a_sweep_does_not_begin_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks.refuse_full(tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(checks, "FREE_LEAST_BYTES", 1e30)
    with pytest.raises(HarnessError, match="MB are free") as caught:
        checks.refuse_full(tmp_path / "not" / "there" / "yet")
    assert caught.value.exit_code == ExitCode.ENVIRONMENT


def test_a_frozen_sweep_reads_as_it_was_asked(tmp_path: Path) -> None:
    asked = spec_of(TEXT, tmp_path)
    assert spec_of(frozen(asked), tmp_path) == asked
    without = spec_of(f"{TEXT}\nreference: false", tmp_path)
    assert spec_of(frozen(without), tmp_path).reference is None


def test_the_examples_are_what_they_say(tmp_path: Path) -> None:
    embedded, night = (plan_of(load_sweep_spec(EXAMPLES / name)) for name in ("sweep-embedded.yaml", "sweep.yaml"))
    assert len(embedded.cells) == 24
    assert len({cell.labels["model"] for cell in night.cells}) == 10
    for found in (embedded, night):
        checks.refuse_unknown(found)


# ---------------------------------------------------------------------------------------- estimates


def guess(on_gpus: bool = True, **fields: Any) -> CellEstimate:
    return rough(plan(run=fields).cells[0], load_catalogue(), on_gpus=on_gpus)


def seconds(estimate: CellEstimate) -> Span:
    assert estimate.duration_s is not None
    return estimate.duration_s


def joules(estimate: CellEstimate) -> Span:
    assert estimate.energy_j is not None
    return estimate.energy_j


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"model": "qwen3-0.6b"}, {"model": "qwen3-8b"}),
        ({"model": "qwen3-8b", "quantization": "int8"}, {"model": "qwen3-8b"}),
        ({"model": "qwen3-8b", "num_prompts": 20}, {"model": "qwen3-8b", "num_prompts": 50}),
        ({"model": "qwen3-8b", "batch_size": 8}, {"model": "qwen3-8b"}),
        ({"model": "qwen3-8b", "mode": "off"}, {"model": "qwen3-8b", "mode": "on"}),
        ({"model": "qwen3-8b", "max_new_tokens": 256}, {"model": "qwen3-8b", "max_new_tokens": 512}),
        ({"model": "qwen3-8b", "mode": "budget:16"}, {"model": "qwen3-8b", "mode": "budget:512"}),
    ],
)
def test_a_rough_estimate_grows_with_the_work(less: dict[str, Any], more: dict[str, Any]) -> None:
    for on_gpus in (True, False):
        small, large = guess(on_gpus, **less), guess(on_gpus, **more)
        assert small.kind == large.kind == "rough"
        assert seconds(small).low < seconds(large).low
        assert seconds(small).high < seconds(large).high
        assert joules(small).low < joules(large).low
        assert joules(small).high < joules(large).high


def test_a_power_limit_lowers_the_joules_and_not_the_seconds_that_nobody_knows() -> None:
    free, limited = guess(model="qwen3-8b"), guess(model="qwen3-8b", power_limit_w=100)
    assert seconds(free) == seconds(limited)
    assert joules(limited).high < joules(free).high


def test_queries_that_arrive_slowly_take_their_time() -> None:
    served: dict[str, Any] = {
        "model": "qwen3-0.6b",
        "engine": "openai",
        "base_url": "http://127.0.0.1:1/v1",
        "mode": "off",
    }
    assert seconds(guess(**served, request_rate=0.01, num_prompts=50)).low > 50 / 0.01
    assert seconds(guess(**served, concurrency=8, num_prompts=50)).low < 50 / 0.01


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model": "someone/unheard-of"}, "the size of someone/unheard-of is in no catalogue"),
        ({"model": "qwen3-8b", "until_ci": "5%"}, "narrow enough"),
        ({"model": "qwen3-8b", "two_phase": True}, "two-phase"),
    ],
)
def test_what_is_not_known_says_why(fields: dict[str, Any], why: str) -> None:
    found = guess(**fields)
    assert found.kind == "unknown"
    assert found.duration_s is None
    assert found.energy_j is None
    assert why in found.basis


def test_weights_on_disk_are_weighed(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 3_000_000)
    assert guess(model=str(tmp_path)).basis == "0.003 GB of weights"


@pytest.fixture
def measured_before(tmp_path: Path) -> tuple[Plan, Path, Path]:
    """A plan, a folder in which another sweep has measured its only run, and that measurement."""
    fields = {key: value for key, value in yaml.safe_load((GOLDEN / "run.yaml").read_text()).items() if value}
    known = {
        key: fields[key] for key in ("model", "num_prompts", "device", "idle_duration_s", "meter_gpus") if key in fields
    }
    asked = plan(run=known, repeats=3)
    other = tmp_path / "results" / "another"
    run = other / asked.cells[0].run_id
    shutil.copytree(GOLDEN, run)
    (other / "sweep.yaml").write_text("{}", encoding="utf-8")
    return asked, tmp_path / "results", run


def test_what_was_measured_stands_before_any_law(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, run = measured_before
    summary = json.loads(next(run.glob("*/*/summary.json")).read_bytes())
    cost = sum(mode["n_queries"] * mode["energy_j"]["value"] for mode in summary["modes"])
    expected = estimates_of(asked, results, on_gpus=False).of(asked.cells[0])
    assert expected.kind == "measured"
    assert expected.estimated is summary["estimated"]
    assert joules(expected).low == joules(expected).high == pytest.approx(cost)
    intervals = [json.loads(line) for line in next(run.rglob("intervals.jsonl")).read_text().splitlines()]
    assert seconds(expected).low == pytest.approx(max(each["time_end_s"] for each in intervals))


def test_what_was_measured_is_scaled_by_prompts(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, _ = measured_before
    n_prompts = asked.cells[0].spec["num_prompts"]
    more = [cell.model_copy(update={"spec": {**cell.spec, "num_prompts": 3 * n_prompts}}) for cell in asked.runs]
    once, thrice = (measured_estimates(cells, results)[asked.cells[0].run_id] for cells in (asked.runs, more))
    assert joules(thrice).low == pytest.approx(3 * joules(once).low)
    assert seconds(once).low < seconds(thrice).low < 3 * seconds(once).low  # loading is not done thrice


def test_a_run_of_its_own_counts_too(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, run = measured_before
    run.rename(results / "20261124-101500-tiny-reasoner")
    assert measured_estimates(asked.runs, results)[asked.cells[0].run_id].kind == "measured"
    assert not measured_estimates(plan(run={"model": "tiny-reasoner", "seed": 9}).runs, results)


def test_this_sweep_counts_before_the_others(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, run = measured_before
    own = results / "this" / run.name
    shutil.copytree(run, own)
    for file in own.glob("*/*/summary.json"):
        summary = json.loads(file.read_bytes())
        for mode in summary["modes"]:
            mode["energy_j"]["value"] *= 2
        file.write_text(json.dumps(summary))
    elsewhere, here = (measured_estimates(asked.runs, results, sweep)[run.name] for sweep in (None, results / "this"))
    assert joules(here).low == pytest.approx(2 * joules(elsewhere).low)
    assert "in this sweep" in here.basis


def test_a_process_takes_longer_than_its_session(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, run = measured_before
    of_session = seconds(measured_estimates(asked.runs, results)[run.name]).low
    attempts = [
        outcome(asked.cells[0], of_session + 7),
        outcome(asked.cells[0], 1.0, "failed"),
        outcome(asked.cells[1], 999.0),  # of another repeat
    ]
    lines = [attempt.model_dump_json() for attempt in attempts]
    (run.parent / "outcomes.jsonl").write_text("\n".join([*lines, '{"key": "torn']))
    assert seconds(measured_estimates(asked.runs, results)[run.name]).low == pytest.approx(of_session + 7)


def test_a_session_that_was_killed_foretells_no_time(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, run = measured_before
    next(run.rglob("end.json")).unlink()
    assert estimates_of(asked, results, on_gpus=False).of(asked.cells[0]).kind == "rough"


spans = st.builds(lambda low, more: Span(low=low, high=low * more), st.floats(1, 1e6), st.floats(1, 100))


@given(spans, spans)
def test_errors_of_two_factors_add_as_squares(one: Span, other: Span) -> None:
    product = one.by(other)
    assert product.middle == pytest.approx(one.middle * other.middle)
    assert product.low >= one.low * other.low * (1 - 1e-9)
    assert product.high <= one.high * other.high * (1 + 1e-9)
    assert product.high / product.low >= max(one.high / one.low, other.high / other.low) * (1 - 1e-9)


def outcome(cell: PlannedCell, duration_s: float, status: str = "finished") -> CellOutcome:
    return CellOutcome.model_validate(
        {"key": cell.key, "attempt": 1, "status": status, "started_unix_s": 0.0, "duration_s": duration_s}
    )


def expecting(found: Plan, low: float = 10.0, high: float = 1000.0) -> Estimates:
    span = Span(low=low, high=high)
    return Estimates(
        {cell.run_id: CellEstimate(kind="rough", duration_s=span, energy_j=None, basis="") for cell in found.runs}
    )


def test_time_left_begins_as_the_estimate_and_ends_as_what_was_measured() -> None:
    found = plan(vary={"model": MODELS}, repeats=2)
    estimates = expecting(found)
    before = estimates.remaining(found.cells, [])
    assert before == Span(low=80.0, high=8000.0)
    block, rest = found.cells[:4], found.cells[4:]
    taken = {cell.run_id: 40.0 + place for place, cell in enumerate(block)}
    after = estimates.remaining(rest, [outcome(cell, taken[cell.run_id]) for cell in block])
    assert after == Span(low=sum(taken.values()), high=sum(taken.values()))


def test_rough_estimates_are_corrected_by_how_far_others_were_off() -> None:
    found = plan(vary={"model": MODELS})
    left = expecting(found).remaining(found.cells[2:], [outcome(found.cells[0], 20), outcome(found.cells[1], 40)])
    assert left is not None
    assert (left.low, left.high) == pytest.approx((40, 80))


def test_failed_attempts_foretell_nothing_and_cells_side_by_side_share_the_time() -> None:
    found = plan(vary={"model": MODELS})
    estimates = expecting(found, 10.0, 20.0)
    assert estimates.remaining(found.cells, [outcome(found.cells[0], 1.0, "failed")]) == Span(low=40.0, high=80.0)
    assert estimates.remaining(found.cells, [], n_at_once=2) == Span(low=20.0, high=40.0)
    assert estimates.remaining(found.cells, [], n_at_once=100) == Span(low=10.0, high=20.0)
    assert Estimates({}).remaining(found.cells, []) is None
    assert Estimates({}).remaining(found.cells[1:], [outcome(found.cells[0], 7.0)]) == around([21.0])


# ---------------------------------------------------------------------------------------- what is shown


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sweep(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_verb(["sweep", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_plan_shows_every_run_and_writes_nothing(sweep: Said, in_folder: Path) -> None:
    (in_folder / "night.yaml").write_text(TEXT, encoding="utf-8")
    code, out, _ = sweep("night.yaml", "--plan", "--gpus", "none")
    assert code == ExitCode.OK
    assert [path.name for path in in_folder.iterdir()] == ["night.yaml"]
    rows = [line for line in out.splitlines() if " of 3 " in line]
    asked = plan_of(load_sweep_spec(in_folder / "night.yaml"))
    assert [row.split()[1:6] for row in rows] == [list(cell.labels.values()) for cell in asked.runs]
    assert "54 cells = 18 runs × 3 repeats" in out
    assert "rough: 16.4 GB of weights" in out
    assert "Left: 54 cells" in out
    assert "GPU hours" not in out
    assert "of one GPU" in sweep("night.yaml", "--plan", "--emit", "slurm")[1]


def test_a_changed_plan_leaves_the_difference(
    sweep: Said, in_folder: Path, measured_before: tuple[Plan, Path, Path]
) -> None:
    asked, results, run = measured_before
    shutil.copyfile(run / "run.yaml", results / "run.yaml")
    (results / "another" / "sweep.yaml").write_text(frozen(asked.spec.model_copy(update={"repeats": 1})))
    assert "Everything is finished." in sweep("--resume", "another", "--plan", "--output-dir", str(results))[1]
    (in_folder / "more.yaml").write_text(frozen(asked.spec.model_copy(update={"repeats": 2})))
    out = sweep("more.yaml", "--resume", "latest", "--plan", "--output-dir", str(results))[1]
    assert "2 cells = 1 runs × 2 repeats" in out
    assert "1 of 2" in out
    assert "Left: 1 cells" in out
    assert "measured in this sweep" in out


def test_joules_that_rest_on_an_estimate_say_so(measured_before: tuple[Plan, Path, Path]) -> None:
    asked, results, run = measured_before
    for file in run.glob("*/*/summary.json"):
        file.write_text(json.dumps(json.loads(file.read_bytes()) | {"estimated": True}))
    estimates = estimates_of(asked, results, on_gpus=False)
    text = plan_text(sheet_of(asked, estimates, set(), name="x", on_gpus=False))
    assert "energy (estimated) each" in text
    assert "Their queries: estimated " in text


def test_no_name_moves_the_terminal() -> None:
    found = plan(run={"model": "a"}, vary={"colour": {"\x1b[31mred\nline": {"seed": 3}}})
    text = plan_text(sheet_of(found, expecting(found), set(), name="x", on_gpus=False))
    assert "\x1b" not in text
    assert "[31mred line" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "What is to be measured?"),
        (("none.yaml",), "none.yaml cannot be read"),
        (("--resume", "latest"), "There is no sweep in results"),
        (("x.yaml", "--executor", "ray", "--gpus", "all"), "--gpus belongs to --executor local"),
        (("x.yaml", "--address", "auto"), "--address belongs to --executor ray"),
        (("x.yaml", "--slurm", "partition=gpu"), "--slurm belongs to --executor slurm"),
        (("x.yaml", "--executor", "slurm", "--slurm", "gpu"), "names no option of sbatch"),
        (("x.yaml", "--collect", "a"), "--collect measures nothing"),
    ],
)
def test_flags_that_cannot_be_meant(sweep: Said, arguments: tuple[str, ...], said: str) -> None:
    code, _, error = sweep(*arguments)
    assert code == ExitCode.USAGE
    assert said in error


def test_a_plan_is_shown_without_loading_what_measures(tmp_path: Path) -> None:
    """What keeps a thousand cells under two seconds; `scripts/bench_sweep.py` has the seconds."""
    (tmp_path / "sweep.yaml").write_text(TEXT, encoding="utf-8")
    program = (
        "import sys; from harness.cli.parser import run_verb; run_verb(['sweep', 'sweep.yaml', '--plan']);"
        "print(*sorted({'numpy', 'pandas', 'pyarrow', 'rich', 'torch', 'ray', 'submitit'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
