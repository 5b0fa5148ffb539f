"""From run directories to a verdict: what a gate takes of a run, what it refuses, and every outcome there is."""

from __future__ import annotations

import json
import math
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness import gating
from harness.analysis.sequential import MEAN_INFLATION
from harness.errors import ExitCode, SchemaError, UnknownName, UsageError
from harness.gate.budget import Budget, Metric, ReferenceKind
from harness.gate.evidence import Side, SideKind
from harness.gate.verdict import LineVerdict, Outcome, Verdict
from harness.gating import selection
from harness.gating.outputs import Outputs, write_outputs
from harness.records import FindingCode, Method
from harness.report.gate.sheet import gate_sheet
from tests.gate_runs import A100, GOLDEN, H100, JOULES, accounts_once, write_run

TODAY = date(2026, 11, 29)
OVER = {"metric": "energy_per_query_j", "mode": "off", "at_most_over_reference": "+3%"}


def budget_of(tmp_path: Path, *lines: dict[str, Any], **fields: Any) -> Budget:
    path = tmp_path / "budget.yaml"
    path.write_text(yaml.safe_dump({"lines": list(lines or [OVER]), **fields}, sort_keys=False))
    return gating.load_budget(path)


def judged(
    budget: Budget, candidate: Path, release: Path | None = None, golden: Path | None = None, today: date = TODAY
) -> Verdict:
    named = {
        kind: gating.NamedRun(path=path)
        for kind, path in ((ReferenceKind.RELEASE, release), (ReferenceKind.GOLDEN, golden))
        if path is not None
    }
    own, references = gating.evidence_of(gating.NamedRun(path=candidate), named)
    return gating.verdict_of(budget, own, references, today=today)


def only(verdict: Verdict) -> LineVerdict:
    (line,) = verdict.lines
    return line


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    return write_run(tmp_path_factory.mktemp("shared") / "reference")


ACCOUNTS = accounts_once()


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "accounts", ACCOUNTS)


# -------------------------------------------------------------------------------------------- outcomes


@pytest.mark.parametrize(
    ("factor", "outcome", "code"),
    [(0.97, Outcome.PASS, ExitCode.OK), (1.2, Outcome.FAIL, ExitCode.GATE_FAILED)],
)
def test_a_candidate_far_from_its_limit_is_decided(
    tmp_path: Path, reference: Path, factor: float, outcome: Outcome, code: ExitCode
) -> None:
    verdict = judged(budget_of(tmp_path), write_run(tmp_path / "new", factor=factor, seed=2), reference)
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    line = only(verdict)
    assert line.value == pytest.approx(factor - 1, abs=0.02)
    assert (line.n_queries, line.n_runs_candidate, line.n_runs_reference) == (30, 3, 3)
    assert line.value_candidate == pytest.approx(JOULES["off"] * factor, rel=0.2)


@pytest.mark.parametrize(
    ("policy", "code"), [("report", ExitCode.INCONCLUSIVE), ("fail", ExitCode.GATE_FAILED), ("pass", ExitCode.OK)]
)
def test_one_run_of_each_is_open_and_the_budget_says_what_that_means(
    tmp_path: Path, policy: str, code: ExitCode
) -> None:
    new, old = (write_run(tmp_path / name, repeats=1, seed=seed) for seed, name in enumerate(("new", "old")))
    verdict = judged(budget_of(tmp_path, inconclusive=policy), new, old)
    assert (verdict.outcome, verdict.exit_code) == (Outcome.INCONCLUSIVE, code)
    assert only(verdict).to_settle is not None


def test_estimated_and_replayed_joules_are_never_a_pass(tmp_path: Path, reference: Path) -> None:
    for method in (Method.ESTIMATED, Method.REPLAYED):
        run = write_run(tmp_path / method.value, method=method, factor=0.5)
        line = {"metric": "energy_per_query_j", "mode": "off", "at_most": 1e6}
        verdict = judged(budget_of(tmp_path, line), run)
        assert (verdict.outcome, verdict.exit_code) == (Outcome.INVALID, ExitCode.INVALID)
        assert only(judged(budget_of(tmp_path), reference, run)).outcome is Outcome.INVALID


def test_tokens_of_an_estimated_run_can_be_judged(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", method=Method.ESTIMATED)
    line = {"metric": "output_tokens_per_query", "mode": "off", "at_most": 1000}
    assert judged(budget_of(tmp_path, line), run).outcome is Outcome.PASS


def test_a_waiver_holds_until_its_day_and_never_covers_what_is_invalid(tmp_path: Path, reference: Path) -> None:
    waiver = {"line": "energy", "until": "2026-12-01", "owner": "mk", "reason": "new tokenizer"}
    budget = budget_of(tmp_path, {**OVER, "name": "energy"}, waivers=[waiver])
    worse = write_run(tmp_path / "worse", factor=1.2, seed=3)
    verdict = judged(budget, worse, reference)
    assert (only(verdict).outcome, verdict.exit_code) == (Outcome.WAIVED, ExitCode.OK)
    assert judged(budget, worse, reference, today=date(2026, 12, 1)).exit_code == ExitCode.OK
    assert judged(budget, worse, reference, today=date(2026, 12, 2)).outcome is Outcome.FAIL
    estimated = write_run(tmp_path / "estimated", method=Method.ESTIMATED)
    assert judged(budget, estimated, reference).outcome is Outcome.INVALID


def test_another_board_is_refused_unless_it_is_asked_for(tmp_path: Path, reference: Path) -> None:
    other = write_run(tmp_path / "other", board=A100, factor=0.5)
    assert judged(budget_of(tmp_path), other, reference).outcome is Outcome.INVALID
    asked = judged(budget_of(tmp_path, allow=["gpu"], session_sd="1%"), other, reference)
    assert asked.outcome is Outcome.PASS
    gain = next(part for part in only(asked).components if part.name == "board gain")
    assert gain.low is not None
    assert gain.low > 0.04  # both boards' 5 %, at one-sided 5 %


@pytest.mark.parametrize(
    ("fields", "key"),
    [({"max_new_tokens": 256}, "protocol"), ({"prompt_set_sha256": "1" * 64}, "prompts"), ({}, "driver")],
)
def test_another_protocol_prompt_set_or_driver_is_refused(
    tmp_path: Path, reference: Path, fields: dict[str, Any], key: str
) -> None:
    driver = "999.1" if key == "driver" else "570.133.20"
    other = write_run(tmp_path / "other", driver=driver, factor=0.5, **fields)
    line = only(judged(budget_of(tmp_path), other, reference))
    assert line.outcome is Outcome.INVALID
    assert f"--allow {key}" in " ".join(line.reasons)


def test_a_golden_reference_stands_beside_the_release(tmp_path: Path, reference: Path) -> None:
    golden = write_run(tmp_path / "golden", factor=0.9)
    verdict = judged(budget_of(tmp_path), write_run(tmp_path / "new", seed=5), reference, golden)
    assert {line.against: line.outcome for line in verdict.lines} == {
        ReferenceKind.RELEASE: Outcome.PASS,
        ReferenceKind.GOLDEN: Outcome.FAIL,
    }


def test_a_line_of_another_board_does_not_apply_and_nothing_that_applies_is_no_pass(tmp_path: Path) -> None:
    line = {"metric": "energy_per_query_j", "at_most": 1e6, "gpu": "B200"}
    verdict = judged(budget_of(tmp_path, line), write_run(tmp_path / "run"))
    assert only(verdict).outcome is Outcome.NOT_APPLIED
    assert (verdict.outcome, verdict.exit_code) == (Outcome.INVALID, ExitCode.INVALID)


# ------------------------------------------------------------------------------------- what a run holds


def sides_of(path: Path) -> dict[str, Side]:
    own, _ = gating.evidence_of(gating.NamedRun(path=path), {})
    return {side.mode: side for side in own.sides}


def test_every_repeat_is_a_column_of_its_own(tmp_path: Path) -> None:
    sides = sides_of(write_run(tmp_path / "run", n_prompts=12, repeats=4, modes=("off", "on")))
    assert list(sides) == ["off", "on"]
    off = sides["off"]
    assert off.kind is SideKind.CANDIDATE
    assert [run.repeat for run in off.runs] == [0, 1, 2, 3]
    assert off.boards == ("NVIDIA H100 80GB HBM3",)
    assert off.protocol == "paired-1, at most 512 new tokens"
    first = off.runs[0]
    assert first.prompt_ids == tuple(f"everyday-{index:03d}" for index in range(12))
    assert first.half_width_reading_j == pytest.approx(0.002 * first.energy_j)
    assert first.by_device_j == {H100: pytest.approx(first.energy_j.sum())}
    assert first.gains == {H100: 0.05}
    assert not off.invalid
    assert not off.estimated
    assert not off.replayed


def test_failed_queries_and_unknown_energies_are_in_no_mean(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_prompts=40, failed=[3], without_energy=[5])
    first = sides_of(run)["off"].runs[0]
    assert (first.n_failed, len(first.prompt_ids)) == (1, 39)
    assert "everyday-003" not in first.prompt_ids
    assert math.isnan(first.energy_j[first.prompt_ids.index("everyday-005")])
    assert np.isfinite(first.energy_j).sum() == 38


def test_too_many_without_a_figure_are_no_verdict(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", factor=0.5, n_prompts=40, failed=range(30, 36))
    line = {"metric": "energy_per_query_j", "mode": "off", "at_most": 1e6}
    assert judged(budget_of(tmp_path, line), run).outcome is Outcome.INCONCLUSIVE


def test_queries_that_a_killed_run_never_came_to_are_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", factor=0.5, n_prompts=60)
    for queries in run.glob("*/*/queries.jsonl"):
        queries.write_text("".join(queries.read_text().splitlines(keepends=True)[:40]))
    line = {"metric": "energy_per_query_j", "mode": "off", "at_most": 1e6}
    found = only(judged(budget_of(tmp_path, line), run))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons[0].startswith("33.3 % of the queries asked")
    assert found.to_settle is not None
    assert "Resume the run" in found.to_settle.sentence


def test_a_board_held_to_less_power_is_another_protocol(tmp_path: Path, reference: Path) -> None:
    held = write_run(tmp_path / "held", power_limit_w=300.0)
    line = only(judged(budget_of(tmp_path, session_sd="1%"), held, reference))
    assert line.outcome is Outcome.INVALID
    assert "boards held to 300 W" in " ".join(line.reasons)


@pytest.mark.parametrize(("holders", "fits"), [([H100], True), ([H100, A100], False), (["MIG-1"], True)])
def test_joules_of_some_of_the_boards_are_never_a_pass(tmp_path: Path, holders: list[str], fits: bool) -> None:
    run = write_run(tmp_path / "run")
    for path in run.glob("*/*/sessions/*/manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["engine"]["device_uuids"] = holders
        path.write_text(json.dumps(manifest))
    joules = {"metric": "energy_per_query_j", "mode": "off", "at_most": 1e6}
    tokens = {"metric": "output_tokens_per_query", "mode": "off", "at_most": 1e6}
    found = judged(budget_of(tmp_path, joules, tokens), run)
    assert [line.outcome for line in found.lines] == [Outcome.PASS if fits else Outcome.INVALID, Outcome.PASS]
    assert fits or A100 in found.lines[0].reasons[0]


def test_a_mode_that_is_not_what_it_is_called_is_invalid(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", thinks=False, modes=("off", "on"))
    assert FindingCode.NO_THINKING_IN_ON_MODE in {finding.code for finding in sides_of(run)["on"].invalid}
    line = {"metric": "output_tokens_per_query", "mode": "on", "at_most": 1e6}
    assert judged(budget_of(tmp_path, line), run).outcome is Outcome.INVALID


def test_a_two_phase_run_has_no_sample(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", lengths_batch_size=8)
    assert [finding.code for finding in sides_of(run)["off"].invalid] == [FindingCode.TWO_PHASE]


def test_a_run_that_could_stop_early_has_a_wider_interval(tmp_path: Path) -> None:
    assert sides_of(write_run(tmp_path / "fixed", n_prompts=60))["off"].inflation == 1
    assert sides_of(write_run(tmp_path / "until", n_prompts=60, until_ci=0.1))["off"].inflation == MEAN_INFLATION


def test_joules_per_right_answer_are_of_scored_queries(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_correct=15)
    line = {"metric": "energy_per_correct_j", "mode": "off", "at_most": 1e6}
    figure = only(judged(budget_of(tmp_path, line), run))
    assert figure.outcome is Outcome.PASS
    joules = sides_of(run)["off"].runs
    assert figure.value == pytest.approx(np.mean([each.energy_j.sum() / 15 for each in joules]), rel=1e-6)
    per_query = {"metric": Metric.ENERGY_PER_QUERY_J.value, "mode": "off", "at_most": 1e6}
    single = only(judged(budget_of(tmp_path, per_query), run)).value
    assert single is not None
    assert figure.value == pytest.approx(2 * single, rel=1e-6)


def test_a_host_s_parts_are_told_apart_by_their_machine(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", method=Method.ESTIMATED)
    side = sides_of(run)["off"]
    (device,) = side.runs[0].by_device_j
    assert device.startswith(f"{side.site_id}/")


def test_the_golden_run_on_disk_can_be_read(tmp_path: Path) -> None:
    sides = sides_of(GOLDEN)
    assert set(sides) == {"off", "on"}
    assert all(np.isfinite(side.runs[0].energy_j).all() for side in sides.values())


# ---------------------------------------------------------------------------------------- which run it is


def test_a_run_of_two_models_needs_a_name(tmp_path: Path, reference: Path) -> None:
    run = write_run(tmp_path / "two", model="a/one", n_prompts=6)
    write_run(run, model="b/two", n_prompts=6, factor=2)
    with pytest.raises(UsageError, match="holds 2 models") as refused:
        gating.evidence_of(gating.NamedRun(path=run), {})
    assert "two:a/one" in refused.value.next_step
    named = gating.named_run("two:b/two", tmp_path)
    own, _ = gating.evidence_of(named, {})
    assert own.sides[0].model == "b/two"
    with pytest.raises(UnknownName, match="b/tow"):
        gating.evidence_of(gating.named_run("two:b/tow", tmp_path), {})
    with pytest.raises(UsageError, match="No run 'three'"):
        gating.named_run("three:b/two", tmp_path)
    # Two models of one run can be held against each other.
    gating.evidence_of(named, {ReferenceKind.RELEASE: gating.named_run("two:a/one", tmp_path)})


def test_a_run_is_not_compared_with_itself(tmp_path: Path, reference: Path) -> None:
    (tmp_path / "link").symlink_to(reference)
    named = gating.named_run("link", tmp_path)
    with pytest.raises(UsageError, match="both the candidate and the release reference"):
        gating.evidence_of(named, {ReferenceKind.RELEASE: gating.named_run("reference", reference.parent)})
    shutil.copytree(reference, tmp_path / "copy")
    with pytest.raises(UsageError, match="copy and reference are one measurement"):
        gating.evidence_of(
            gating.named_run("copy", tmp_path), {ReferenceKind.RELEASE: gating.named_run("reference", reference.parent)}
        )


def test_a_reference_of_two_sites_answers_from_the_candidate_s(tmp_path: Path, reference: Path) -> None:
    both = write_run(tmp_path / "both", n_prompts=30)
    write_run(both, n_prompts=30, board=A100, factor=3)
    with pytest.raises(UsageError, match="measured at 2 sites") as refused:
        gating.evidence_of(gating.NamedRun(path=both), {})
    assert "A100" in str(refused.value)
    _, references = gating.evidence_of(
        gating.NamedRun(path=reference), {ReferenceKind.RELEASE: gating.NamedRun(path=both)}
    )
    assert references[ReferenceKind.RELEASE].sides[0].boards == ("NVIDIA H100 80GB HBM3",)


def test_a_run_under_two_conditions_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_prompts=6)
    write_run(run, n_prompts=6, seed=2, dtype="float16")
    with pytest.raises(UsageError, match="under 2 conditions"):
        gating.evidence_of(gating.NamedRun(path=run), {})


def test_a_run_without_a_query_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_prompts=3, repeats=1)
    for queries in run.glob("*/*/queries.jsonl"):
        queries.write_text("")
    with pytest.raises(UsageError, match="no finished query"):
        gating.evidence_of(gating.NamedRun(path=run), {})


def test_the_parts_of_a_measured_gate_belong_together(tmp_path: Path) -> None:
    gate = tmp_path / "20260101-000000-gate"
    new, old = write_run(gate / "candidate", factor=0.9, seed=2), write_run(gate / "reference")
    apart = judged(budget_of(tmp_path), new, old)
    assert "another job" in " ".join(only(apart).reasons)
    (gate / "gate.yaml").write_text(yaml.safe_dump({"looks": [3, 4, 6]}))
    verdict = judged(budget_of(tmp_path), new, old)
    assert "another job" not in " ".join(only(verdict).reasons)
    assert verdict.n_looks == 3  # alpha was divided by them when they were planned
    assert "20260101-000000-gate/candidate" in verdict.candidate[0]


@pytest.mark.parametrize("looks", ["5", "[]", "[0]", "[three]"])
def test_a_plan_whose_looks_are_damaged_divides_alpha_by_nothing_it_says(tmp_path: Path, looks: str) -> None:
    gate = tmp_path / "gate"
    new, old = write_run(gate / "candidate", seed=2), write_run(gate / "reference")
    (gate / "gate.yaml").write_text(f"looks: {looks}")
    with pytest.raises(SchemaError, match=r"gate\.yaml is damaged"):
        judged(budget_of(tmp_path), new, old)


# ------------------------------------------------------------------------------------------ budget files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("liness: []", "Unknown key 'liness'"),
        ("name: x", "has no lines"),
        ("lines: []", "has no lines"),
        ("lines: 3", "lines"),
        ("lines: [energy]", "line 1 of"),
        ("lines: [{metric: energy_per_query_j, at_mots: 3}]", "Unknown key 'at_mots'"),
        ("lines: [{metric: joules, at_most: 3}]", "metric"),
        ("lines: [{metric: energy_per_query_j}]", "has no limit"),
        ("lines: [{metric: energy_per_query_j, at_most: .nan}]", "at_most"),
        ("lines: [{metric: energy_per_query_j, at_most: 3, mode: [off]}]", "mode"),
        ("lines: [{metric: energy_per_query_j, at_most: 3}]\nwaivers: [{line: x}]", "until"),
        ("lines: [{metric: energy_per_query_j, at_most: 3}]\nwaivers: [{until: 2026-13-40}]", "month must be in 1..12"),
        ("[1, 2]", "holds no keys"),
        ("lines: [{metric: energy_per_query_j, at_most: 3, at_most: 300}]", "the key 'at_most' stands twice"),
        ("lines: [{metric: energy_per_query_j, at_most_over_reference: banana}]", "write a percentage such as 3%"),
    ],
)
def test_what_a_budget_cannot_mean_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        gating.load_budget(path)
    assert said in f"{refused.value} {refused.value.next_step}"


def test_the_nearest_key_is_one_of_the_line_s(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text("lines: [{metric: energy_per_query_j, at_most: 3}, {metric: energy_per_query_j, at_mots: 3}]")
    with pytest.raises(UnknownName) as refused:
        gating.load_budget(path)
    assert "'at_most'" in refused.value.next_step
    assert "line 2" in refused.value.next_step


def test_off_and_on_are_modes_in_a_budget(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text("lines:\n  - metric: energy_per_query_j\n    mode: off\n    at_most: 3\n")
    assert gating.load_budget(path).lines[0].mode == "off"


def test_the_golden_reference_lies_beside_its_budget(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(reference, repository / "golden" / "v1")
    path = repository / "budget.yaml"
    path.write_text(yaml.safe_dump({"lines": [OVER], "golden": "golden/v1"}))
    monkeypatch.chdir(tmp_path)
    golden = gating.golden_of(gating.load_budget(path), path)
    assert golden is not None
    assert golden.path == (repository / "golden" / "v1").resolve()
    path.write_text(yaml.safe_dump({"lines": [OVER], "golden": "golden/v2"}))
    with pytest.raises(UsageError, match=r"golden/v2") as refused:
        gating.golden_of(gating.load_budget(path), path)
    assert str(repository) in refused.value.next_step


def test_the_verdict_is_read_back_from_its_file(tmp_path: Path, reference: Path) -> None:
    verdict = judged(budget_of(tmp_path), write_run(tmp_path / "new", seed=2), reference)
    path = tmp_path / "out" / "verdict.json"
    write_outputs(gate_sheet(verdict, name="x"), Outputs(json=path))
    assert Verdict.model_validate(json.loads(path.read_text())) == verdict
