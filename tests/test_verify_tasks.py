"""What `harness verify` says of a task's scores and figures: judged again, and found where somebody changed them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engine.task.catalogue import inputs_of
from harness.errors import EnvironmentFault
from harness.prompts.embedded import EmbeddedSource
from harness.publish import accounts, publish
from harness.records import Finding, FindingCode, QueryRecord, Score
from harness.scoring.catalogue import SCORERS
from harness.store.run_directory import cells
from harness.verify import Kind, Verification, verify
from harness.verify import scores as judging
from tests.synthetic_tasks import TASKS, task_query, write_task_run

N = 6
SPEECH = "automatic-speech-recognition"
Fields = dict[str, Any]


def write_judged(folder: Path, task: str) -> Path:
    """A published run of the first prompts of the set that ships, half of them answered as the reference says."""
    whole = EmbeddedSource(TASKS[task].prompts, inputs_of(task)).load(None)
    queries = []
    for index, prompt in enumerate(whole.prompts[:N]):
        assert prompt.scorer is not None
        assert prompt.reference is not None
        answer = _answer(prompt.scorer, prompt.reference, as_it_is=index % 2 == 0)
        score = SCORERS[prompt.scorer]().score(answer, prompt.reference)
        queries.append(_asked(task, index, prompt.prompt_id, answer, score))
    run = write_task_run(folder, task, queries, prompt_set_sha256=whole.sha256)
    publish(run, accounts(run))
    return run


def _answer(scorer: str, reference: str, *, as_it_is: bool) -> str:
    if scorer == "detections":
        boxes = json.loads(reference)
        rows = zip(boxes["bbox"], boxes["category"], strict=True)
        return json.dumps([{"label": label, "score": 0.5 + as_it_is / 4, "box": box} for box, label in rows])
    if scorer == "similarity":
        return str(float(reference) / 7 + as_it_is)
    words = reference.split()
    return reference if as_it_is else " ".join(words[: len(words) // 2]) or "nothing"


def _asked(task: str, index: int, prompt_id: str, answer: str, score: Score) -> QueryRecord:
    asked = task_query(task, index, 9.0 + index, sizes={"audio_s": 1.0 + index}, text=answer)
    return asked.model_copy(update={"prompt_id": prompt_id, "score": score})


def found_in(run: Path, kind: Kind) -> dict[str, tuple[object, object]]:
    """The figures of a kind that differ."""
    return {each.figure: (each.stored, each.recomputed) for each in verify(run).differences if each.kind is kind}


def change(run: Path, edit: Callable[[Fields], object], line: int = 0) -> None:
    (directory,) = cells(run)
    path = directory.path / "queries.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    fields = json.loads(lines[line])
    edit(fields)
    lines[line] = json.dumps(fields)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("task", [task for task, kind in TASKS.items() if kind.scorer is not None])
def test_every_score_and_figure_comes_out_again(tmp_path: Path, task: str) -> None:
    run = write_judged(tmp_path, task)
    found = verify(run)
    for kind in (Kind.SCORES, Kind.SUMMARIES):
        assert found.kinds[kind].n_figures == found.kinds[kind].n_agree >= 2 * N
    assert not [each for each in found.unchecked if each.kind in (Kind.SCORES, Kind.SUMMARIES)]


@pytest.mark.parametrize(
    ("task", "edit", "figure"),
    [
        (SPEECH, lambda score: score["values"].update(word_errors=1.0), "score.values.word_errors"),
        (SPEECH, lambda score: score["values"].pop("word_errors"), "score.values.word_errors"),
        (SPEECH, lambda score: score["values"].update(more=1.0), "score.values.more"),
        (SPEECH, lambda score: score.update(correct=True), "score.correct"),
        ("summarization", lambda score: score["values"].update(rougeL=1.0 - 1e-8), "score.values.rougeL"),
        (
            "object-detection",
            lambda score: score["values"]["matched_75"].__setitem__(0, 0.0),
            "score.values.matched_75[0]",
        ),
        ("object-detection", lambda score: score["values"]["objects"].pop(), "score.values.objects"),
        ("text-classification", lambda score: score.update(correct=False), "score.correct"),
    ],
)
def test_a_changed_score_is_found(tmp_path: Path, task: str, edit: Callable[[Fields], object], figure: str) -> None:
    run = write_judged(tmp_path, task)
    change(run, lambda fields: edit(fields["score"]))
    publish(run, accounts(run))  # a forger makes the figures fit
    assert list(found_in(run, Kind.SCORES)) == [figure]


def test_a_score_of_an_answer_that_cannot_be_compared_is_found(tmp_path: Path) -> None:
    run = write_judged(tmp_path, "text-classification")
    doubt = Finding(code=FindingCode.LABEL_UNKNOWN).model_dump(mode="json")
    change(run, lambda fields: fields.update(findings=[doubt]))
    change(run, lambda fields: fields.update(findings=[doubt], score=None), line=1)
    assert found_in(run, Kind.SCORES) == {"score": ("right", "none")}


def test_changed_qualities_and_laws_are_found(tmp_path: Path) -> None:
    run = write_judged(tmp_path, SPEECH)
    (directory,) = cells(run)
    path = directory.path / "summary.json"
    fields = json.loads(path.read_text())
    (mode,) = fields["modes"]
    mode["quality"][0]["figure"]["value"] *= 0.5
    mode["size_laws"][0]["energy_per_unit_j"]["value"] *= 0.5
    mode["sizes"]["audio_s"] *= 2
    path.write_text(json.dumps(fields))
    assert list(found_in(run, Kind.SUMMARIES)) == [
        "modes[default].quality[word_error_rate].figure.value",
        "modes[default].sizes.audio_s",
        "modes[default].size_laws[audio_s].energy_per_unit_j.value",
    ]


def test_a_library_that_is_missing_is_named_and_the_rest_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_judged(tmp_path, SPEECH)

    def missing() -> None:
        raise EnvironmentFault("The scorer `words` needs the package jiwer.", "Install it.")

    monkeypatch.setattr(judging, "SCORERS", {**SCORERS, "words": missing})
    found: Verification = verify(run)
    (unchecked,) = (each for each in found.unchecked if each.kind is Kind.SCORES)
    assert "jiwer" in unchecked.why
    assert unchecked.n_figures == N
    assert found.kinds[Kind.SUMMARIES].n_agree == found.kinds[Kind.SUMMARIES].n_figures > N
