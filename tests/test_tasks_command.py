"""`harness tasks`: every task with all that a user must know, and one in full with commands that are right."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from harness.cli import tasks as verb
from harness.cli.parser import build_parser
from harness.engine.task.catalogue import ORDER, task_named, tasks
from harness.engine.task.description import Task
from harness.errors import UnknownName
from harness.prompts.catalogue import names as prompt_sets
from harness.prompts.named import named_sets
from harness.report.task.sizes import SIZES, size_words
from harness.report.tasks import columns_of, commands, described

EVERY = tuple(tasks().values())


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str, width: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    options = parser.parse_args(["tasks", *arguments])
    assert options.main(options) == 0
    return capsys.readouterr().out


def words(text: str) -> str:
    """Without line breaks: a long word may be broken anywhere."""
    return "".join(text.split())


def test_all_eleven_are_there_in_the_order_of_ai_energy_score() -> None:
    assert tuple(tasks())[: len(ORDER)] == ORDER


def test_a_task_that_ai_energy_score_does_not_have_says_nothing_of_its_sets() -> None:
    own = replace(task_named("image-classification"), name="sorting", published=None)
    assert "AI Energy Score" not in dict(described(own))
    assert not any("aies-" in command or "None" in command for command, _ in commands(own))


def test_the_list_says_of_each_what_it_takes_its_sets_metric_size_and_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown(capsys, monkeypatch)
    assert max(map(len, said.splitlines())) <= 80
    for task in EVERY:
        block = words(said.partition(f"{task.name} ")[2].partition("\n\n")[0] or said)
        sizes = ", ".join(map(size_words, task.sizes))
        published = task.published or ""
        for fact in (f"{task.takes} -> {task.returns}", task.metric, sizes, task.model, task.prompts, published):
            assert words(fact) in words(said), (task.name, fact, block)


def test_a_narrow_terminal_hides_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(capsys, monkeypatch, width=40)
    for task in EVERY:
        for fact in (task.metric, task.model, task.prompts, ", ".join(map(size_words, task.sizes))):
            assert words(fact) in words(said), (task.name, fact)


def test_a_wide_terminal_has_room_for_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown(capsys, monkeypatch, width=200)
    assert all(f"{task.takes} -> {task.returns}" in said for task in EVERY)


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.name)
def test_one_in_full_says_its_options_phases_note_and_commands(
    task: Task, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown(capsys, monkeypatch, task.name)
    assert said.startswith(f"{task.name}: {task.title}\n")
    assert words(task.note) in words(said)
    assert words(", ".join(task.phases)) in words(said)
    assert all(words(f"{name} = {value}") in words(said) for name, value in task.options.items())
    assert all(f"  {command}\n" in said for command, _ in commands(task))


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.name)
def test_what_is_shown_exists(task: Task) -> None:
    assert task.prompts in prompt_sets()
    if task.published is not None:
        named = named_sets()[task.published]
        assert columns_of(named)
        assert named.repository in dict(described(task))["AI Energy Score"]
    assert all(size in SIZES or size.endswith("_tokens") for size in task.sizes)
    for command, _ in commands(task):
        options = build_parser().parse_args(shlex.split(command)[1:])
        assert (options.verb, options.task) == ("run", task.name)


def test_an_unknown_task_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="speech-recognition"):
        task_named("speech-recognition")


def test_listing_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from harness.cli.parser import run_verb; run_verb(['tasks']);"
        "heavy = {'torch', 'transformers', 'diffusers', 'pandas', 'pyarrow', 'numpy', 'scipy', 'PIL', 'soundfile',"
        "'jiwer', 'rouge_score', 'datasets'}; print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "object-detection" in done.stdout
