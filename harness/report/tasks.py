"""Tasks in plain words: all of them in a table, or one in full with the commands that run it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from harness.config import RANDOM
from harness.engine.task.description import Task
from harness.prompts.named import NamedSet, named_sets
from harness.report.console import shown
from harness.report.task.sizes import size_words

INSTALL = "pip install 'inference-energy-harness[{extra}]'"


def print_tasks(console: Console, tasks: Iterable[Task]) -> None:
    """Of each what goes in and comes out, how it is judged, what it is measured in, which sets and model it has."""
    for task in tasks:
        console.print(shown(task.name, style="bold"))
        console.print(Padding(_labelled(_row(task)), (0, 0, 1, 2)))  # under the name: narrow terminals have room for it
    console.print("One in full: harness tasks NAME. To run it: harness run --task NAME.", soft_wrap=True)


def print_task(console: Console, task: Task) -> None:
    """Everything that one is, and how it is run."""
    console.print(shown(f"{task.name}: {task.title}", style="bold"))
    console.print()
    console.print(_labelled(described(task)))
    if task.note:
        console.print()
        console.print(shown(task.note), width=min(console.width, 100))
    console.print()
    console.print("Run it")
    for command, why in commands(task):
        console.print(shown(f"  {command}", style="bold"), soft_wrap=True)
        console.print(Padding(shown(why, style="dim"), (0, 0, 0, 6)))


def described(task: Task) -> list[tuple[str, str]]:
    """What there is to say of a task: what it is about, and the words."""
    rows = [
        ("takes", task.takes),
        ("returns", task.returns),
        ("quality", task.metric),
        ("size", _sizes(task)),
        ("phases", ", ".join(task.phases)),
        ("model", f"{task.model} unless --model names another; loaded by {task.loads}"),
    ]
    if task.stand_in is not None:
        words = f"--model {RANDOM}: the shape of {task.stand_in.name} with random weights, without any download"
        rows.append(("stand-in", words))
    rows += [("ships with", f"{task.prompts}: its own inputs, so that it runs offline"), *_columns(task)]
    if task.published is not None:
        rows.append(("AI Energy Score", published_words(task.published)))
    if task.max_new_tokens is not None:
        rows.append(("answer", f"at most {task.max_new_tokens:,} new tokens; --max-new-tokens sets it"))
    if not task.is_text_generation:
        options = [f"{name} = {value}" for name, value in task.options.items()]
        example = next((f" (--set task_options.{name}=...)" for name in task.options), "")
        rows.append(("options", ", ".join(options) + example if options else "none"))
    if task.extra is not None:
        rows.append(("needs", INSTALL.format(extra=task.extra)))
    return rows


def commands(task: Task) -> list[tuple[str, str]]:
    """Command lines that run a task, each with what it does."""
    run = f"harness run --task {task.name}"
    found = []
    if task.stand_in is not None:
        found.append((f"{run} --model {RANDOM}", "the shipped inputs, a stand-in with random weights: no download"))
    found.append((run, f"the shipped inputs, {task.model}"))
    found.append((f"{run} --model ID --prompts {_own(task)}", _own_words(task)))
    if task.published is not None:
        found.append((f"{run} --model ID --prompts {task.published}", "AI Energy Score's set, from the Hub"))
    return found


def published_words(name: str) -> str:
    """AI Energy Score's set of that name: where it is, and its columns."""
    named = named_sets().get(name)
    if named is None:
        return name
    return f"{name} ({named.repository}: {', '.join(columns_of(named))})"


def columns_of(named: NamedSet) -> list[str]:
    """The columns of a named set that are read, in the order of an input and its answer."""
    columns = {name: getattr(named, name, None) for name in ("text", "text_pair", "media", "reference")}
    return [column for column in columns.values() if isinstance(column, str) and column]


def _row(task: Task) -> list[tuple[str, str]]:
    published = [] if task.published is None else [("", f"AI Energy Score's set: {published_words(task.published)}")]
    return [
        ("", f"{task.takes} -> {task.returns}"),
        ("quality", task.metric),
        ("size", _sizes(task)),
        ("model", task.model),
        ("ships with", task.prompts),
        *published,
    ]


def _labelled(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Labels and words under each other; a row without a label has the whole width."""
    parts: list[RenderableType] = []
    for has_label, some in groupby(rows, key=lambda row: bool(row[0])):
        grid = Table.grid(padding=(0, 1, 0, 0))
        if has_label:
            grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        for label, words in some:
            grid.add_row(*([label] if has_label else []), shown(words))
        parts.append(grid)
    return Group(*parts)


def _sizes(task: Task) -> str:
    return ", ".join(map(size_words, task.sizes))


def _columns(task: Task) -> list[tuple[str, str]]:
    """What the columns of a user's own table may be called."""
    inputs = task.inputs
    media = "image" if inputs.media_kind == "image" else "sound"
    named = (
        ("text", inputs.text),
        ("second text", inputs.text_pair),
        (media, inputs.media),
        ("reference", inputs.reference),
    )
    words = "; ".join(f"{what}: {' or '.join(columns)}" for what, columns in named if columns)
    return [("columns", f"{words} (of a table of your own: the first of them that it has)")] if words else []


def _own(task: Task) -> str:
    """What a user's own inputs are called in an example."""
    if task.inputs.media_kind == "image":
        return "my_images/"
    return "my_sounds/" if task.inputs.media_kind == "audio" else "my_inputs.csv"


def _own_words(task: Task) -> str:
    if task.inputs.media_kind is None:
        return "your own table, and another model"
    return "your own folder, with or without a CSV of references (column file_name), and another model"
