"""Every task by name: one per file of `harness.engine.tasks`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from harness.engine import tasks as files
from harness.engine.task.description import Task
from harness.errors import UnknownName, UsageError
from harness.records import InputColumns

ORDER = (
    *("text-generation", "reasoning", "summarization", "question-answering", "text-classification"),
    *("sentence-similarity", "image-classification", "object-detection", "image-captioning"),
    *("automatic-speech-recognition", "image-generation"),
)
"""AI Energy Score's own, in which tasks are listed; further ones follow by name."""


@cache
def tasks() -> Mapping[str, Task]:
    """Every task."""
    names = sorted(module.name for module in pkgutil.iter_modules(files.__path__))
    found = {task.name: task for name in names for task in [importlib.import_module(f"{files.__name__}.{name}").TASK]}
    listed = [name for name in ORDER if name in found]
    return {name: found[name] for name in [*listed, *(name for name in found if name not in listed)]}


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownName: There is none.
    """
    if name not in tasks():
        raise UnknownName("task", name, tasks(), " `harness tasks` says what each takes.")
    return tasks()[name]


def inputs_of(name: str | None) -> InputColumns | None:
    """What the task of that name takes; None: a text that is continued, with or without thinking.

    Raises:
        UnknownName: There is no such task.
    """
    task = None if name is None else task_named(name)
    return None if task is None or task.is_text_generation else task.inputs


def options_of(task: Task, given: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
    """All options of a task, as given or as they are otherwise.

    Raises:
        UnknownName: One that the task does not have.
        UsageError: One that is of another kind, or not above zero where a number is wanted.
    """
    options = dict(task.options)
    for name, value in given.items():
        if not options:
            raise UsageError(f"{task.name} has no options, and {name!r} is given.", "Leave task_options out.")
        if name not in options:
            raise UnknownName(f"option of {task.name}", name, options)
        wanted = options[name]
        is_number = not isinstance(value, str | bool)
        fits = isinstance(value, str) if isinstance(wanted, str) else is_number
        if isinstance(wanted, int) and fits and float(value) != int(float(value)):
            fits = False
        if not fits or (is_number and float(value) < 0) or (isinstance(wanted, int) and wanted and not value):
            kind = "text" if isinstance(wanted, str) else "a whole number" if isinstance(wanted, int) else "a number"
            raise UsageError(
                f"The option {name} of {task.name} is {kind}, not {value!r}.",
                f"Write `--set task_options.{name}={wanted}`, for example.",
            )
        options[name] = int(value) if isinstance(wanted, int) else float(value) if isinstance(wanted, float) else value
    return options


def chosen_options(task: Task, given: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
    """The options of a task that are not as they are otherwise: what makes another cell of it.

    Raises:
        UnknownName, UsageError: As `options_of`.
    """
    return {name: value for name, value in options_of(task, given).items() if value != task.options[name]}
