"""The plan of another run, measured again: what is taken from it, and what the user has to say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import SchemaError, UsageError
from harness.prompts.catalogue import is_of_a_file, parse
from harness.repeat import Plan, plan_of
from harness.study import Study

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
Changed = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a run that was measured somewhere else."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


@pytest.fixture
def asked(run: Path) -> Changed:
    """The run, had it been asked for with other keys."""

    def changed(**keys: Any) -> Path:
        path = run / "run.yaml"
        fields = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**fields, **keys}))
        return run

    return changed


def planned(run: Path, flags: dict[str, Any]) -> Plan:
    """What is to be measured again; prompts that came along are kept beside the run."""
    return plan_of(run, flags, keep=run.parent)


def change_cells(run: Path, **fields: Any) -> None:
    for path in run.glob("*/*/cell.yaml"):
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}, sort_keys=False))


def test_the_cell_is_the_same(run: Path, tmp_path: Path) -> None:
    plan = planned(run, {"output_dir": str(tmp_path / "here")})
    (cell,) = plan.cells
    assert cell.cell_id == next(run.glob("*/*/cell.yaml")).parent.parent.name
    assert plan.spec.num_prompts == 6
    assert plan.spec.repeat_of is not None
    assert plan.spec.repeat_of.bundle_sha256 is None


def test_nothing_of_the_other_place_is_taken(asked: Changed) -> None:
    run = asked(models="/their/models.yaml", tariff=0.5, cross_check="codecarbon", external_meter="log.csv")
    spec = planned(run, {}).spec
    assert (spec.models, spec.tariff, spec.cross_check, spec.external_meter) == (None, None, None, None)
    assert (spec.output_dir, spec.working_dir) == ("results", None)


def test_boards_by_name_are_looked_for_anew(asked: Changed) -> None:
    assert planned(asked(meter_gpus="all"), {}).spec.meter_gpus == "all"
    assert planned(asked(meter_gpus="GPU-11111111-0000-4000-8000-000000000001"), {}).spec.meter_gpus == "auto"


def test_what_was_really_asked_counts(run: Path) -> None:
    for path in run.glob("*/*/sessions/*/manifest.json"):  # the run was extended: run.yaml says 6
        path.write_text(path.read_text().replace('"n_prompts": 6', '"n_prompts": 40'))
    assert planned(run, {}).spec.num_prompts == 40
    assert planned(run, {"num_prompts": 10}).spec.num_prompts == 10


@pytest.mark.parametrize("flag", [{"seed": 1}, {"mode": "on"}, {"max_new_tokens": 5}, {"dtype": "float16"}])
def test_another_plan_is_refused(run: Path, flag: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="would change what that run measured"):
        planned(run, flag)


SERVER = {"engine": {"name": "openai"}, "model": ["small"]}


@pytest.mark.parametrize(
    ("keys", "needed"),
    [
        ({**SERVER, "serve": "sh -c 'touch /tmp/owned' --port 8000"}, "--serve"),
        ({**SERVER, "base_url": "http://127.0.0.1:8000/v1"}, "--base-url"),
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"scorer": "evil.py:judge"}, "--scorer"),
        ({"lengths": "replay:/their/run"}, "--lengths"),
        ({"power_limit_w": 100.0}, "--power-limit 100"),
        ({"engine": {"attention": "someone/kernel"}}, "engine.attention"),
        ({"variants": {"a": {"serve": "sh --port 1"}, "b": {"dtype": "float16"}}}, "each variant by itself"),
        ({"variants": {"a": {"model": "/their/dir"}, "b": {"dtype": "float16"}}}, "each variant by itself"),
    ],
)
def test_what_only_the_user_may_say_is_asked_for(asked: Changed, keys: dict[str, Any], needed: str) -> None:
    run = asked(**keys)
    with pytest.raises(UsageError, match="not taken from a file") as error:
        planned(run, {})
    assert needed in error.value.next_step


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"power_limit_w": 100.0}, "--power-limit"),
        ({"engine": {"device": "cpu", "attention": "someone/kernel"}}, "engine.attention"),
        ({"engine": {"name": "openai", "device": "served"}}, "--base-url"),
        ({"source": "/home/them/finetune"}, "--model"),
        ({"source": "embedded:../../../home/them/finetune"}, "--model"),
        ({"source": "../finetune"}, "--model"),
    ],
)
def test_a_cell_that_says_more_than_its_run_file_is_believed_no_more(
    run: Path, fields: dict[str, Any], needed: str
) -> None:
    change_cells(run, **fields)
    with pytest.raises(UsageError, match="not taken from a file") as error:
        planned(run, {})
    assert needed in error.value.next_step


def test_code_of_the_model_has_to_be_trusted_by_whoever_runs_it(asked: Changed) -> None:
    assert planned(asked(trust_remote_code=True), {"trust_remote_code": True}).spec.trust_remote_code


def test_a_cell_does_no_more_than_the_user_was_asked_for(asked: Changed) -> None:
    run = asked(power_limit_w=200.0)
    change_cells(run, power_limit_w=900.0)
    with pytest.raises(SchemaError, match=r"limits power to 900.0 W, and its plan to 200.0 W"):
        planned(run, {"power_limit_w": 200.0})
    change_cells(run, power_limit_w=200.0, trust_remote_code=True)
    with pytest.raises(SchemaError, match="executes the model's own code"):
        planned(run, {"power_limit_w": 200.0, "trust_remote_code": False})


def test_another_model_is_another_plan(run: Path) -> None:
    with pytest.raises(UsageError, match="--model would change"):
        planned(run, {"model": ["qwen3-8b"]})


def test_a_cell_brings_no_template_of_its_own(run: Path) -> None:
    modes = {"on": {"template": {"chat_template": "{% for a in range(9) %}x{% endfor %}"}}}
    change_cells(run, reasoning={"modes": modes})
    with pytest.raises(SchemaError, match="a chat template is executed"):
        planned(run, {})


def test_a_server_is_the_users_own(asked: Changed) -> None:
    run = asked(**SERVER, serve="theirs --port 8000", base_url="http://127.0.0.1:8000/v1", tokenizer="/their/dir")
    change_cells(run, engine={"name": "openai", "device": "served", "serve": ["theirs", "--port", "8000"]})
    plan = planned(run, {"serve": "mine --port 9000"})
    assert (plan.spec.serve, plan.spec.base_url, plan.spec.tokenizer) == ("mine --port 9000", None, None)
    assert plan.cells[0].engine.serve == ("mine", "--port", "9000")


def test_a_bundle_does_not_say_where_their_server_was(asked: Changed) -> None:
    run = asked(**SERVER, base_url=None)
    change_cells(run, engine={"name": "openai", "device": "served"})
    with pytest.raises(UsageError, match="a server"):
        planned(run, {})
    assert planned(run, {"base_url": "http://127.0.0.1:8000/v1"}).spec.base_url == "http://127.0.0.1:8000/v1"


def test_weights_of_another_machine_are_the_users_own_copy(asked: Changed, tmp_path: Path) -> None:
    run = asked(model=["/home/them/finetune"])
    change_cells(run, source="/home/them/finetune")
    with pytest.raises(UsageError, match="a model of its own machine") as error:
        planned(run, {})
    assert "--model" in error.value.next_step
    (cell,) = planned(run, {"model": [str(tmp_path / "mine")]}).cells
    assert cell.source == str(tmp_path / "mine")


def test_other_weights_are_refused_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    change_cells(run, revision="0" * 64)
    plan = planned(run, {"output_dir": str(tmp_path / "here"), "meter_gpus": "none"})
    with pytest.raises(UsageError, match="are at"):
        Study.repeated(plan, "bundle.zip").run(pilot_only=False)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("prompts", "own"),
    [
        ("chains", False),
        ("gsm8k", False),
        ("gsm8k@abc", False),
        ("gsm8k=/their/copy.jsonl", False),
        ("hub:a/b@c:text", False),
        ("./mine.jsonl", True),
        ("mine.csv:question", True),
    ],
)
def test_only_a_file_of_ones_own_has_to_come_along(prompts: str, own: bool) -> None:
    assert is_of_a_file(prompts) is own


def test_a_copy_of_a_named_set_is_looked_for_by_its_name(asked: Changed) -> None:
    assert planned(asked(prompts="gsm8k=/their/copy.jsonl"), {}).spec.prompts == "gsm8k"


def test_prompts_come_along_or_are_asked_for(asked: Changed, tmp_path: Path) -> None:
    run = asked(prompts="/their/mine.jsonl")
    with pytest.raises(UsageError, match=r"'mine.jsonl', and did not come with the run") as error:
        planned(run, {})
    assert "--prompts FILE" in error.value.next_step
    text = '{"prompt_id": "a", "text": "1+1=", "reference": "2"}\n'
    (cell,) = run.glob("*/*/cell.yaml")
    (cell.parent / "prompts.jsonl").write_text(text)
    plan = planned(run, {})
    assert plan.prompts_file == run.parent / "prompts.jsonl"
    assert parse(plan.spec.prompts or "").load(None).prompts[0].reference == "2"
    (tmp_path / "copy.jsonl").write_text(text)
    assert planned(run, {"prompts": str(tmp_path / "copy.jsonl")}).prompts_file is None


def test_other_prompts_are_refused(asked: Changed, tmp_path: Path) -> None:
    run = asked(prompts="/their/mine.jsonl")
    (tmp_path / "copy.jsonl").write_text('{"prompt_id": "a", "text": "1+2=", "reference": "3"}\n')
    flags = {"prompts": str(tmp_path / "copy.jsonl"), "output_dir": str(tmp_path / "here"), "meter_gpus": "none"}
    with pytest.raises(UsageError, match="is not the one that this run began with"):
        Study.repeated(planned(run, flags), "bundle.zip").run(pilot_only=False)
    assert not (tmp_path / "here").exists()


def test_a_run_without_a_plan_or_a_measurement_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "run.yaml").unlink()
    with pytest.raises(SchemaError, match=r"has no run\.yaml"):
        planned(run, {})
    with pytest.raises(UsageError, match="Nothing was measured"):
        planned(tmp_path, {})


def test_a_part_of_a_sweep_is_one_cell(tmp_path: Path) -> None:
    for keys in ({"model": ["a", "b"]}, {"variants": {"x": {"dtype": "float16"}, "y": {"dtype": "bfloat16"}}}):
        with pytest.raises(UsageError, match="of a run with one cell"):
            Study.placed(None, tmp_path / "part", keys, (), only_repeat=0)
    assert not (tmp_path / "part").exists()
