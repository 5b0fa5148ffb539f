"""A budget from its file, and the run that it pins.

Knows YAML and paths. Must not know what a line means.
"""

from __future__ import annotations

from pathlib import Path

from harness.config import RecordType, load_yaml, validated
from harness.engine.task.catalogue import task_named
from harness.errors import UnknownName, UsageError
from harness.gate.budget import Budget, BudgetLine, Waiver
from harness.gating.named import NamedRun, named_run


def load_budget(path: Path) -> Budget:
    """A budget file.

    Raises:
        UnknownName: A key that does not exist, a task that does not, or a waiver of no line.
        UsageError: The file cannot be read, or a value that cannot be meant.
    """
    fields = load_yaml(path, "lines: [{metric: energy_per_query_j, at_most: 50}]")
    for key in fields:
        if key not in Budget.model_fields:
            raise UnknownName("key", str(key), Budget.model_fields, f" In {path}.")
    for key, kind, one in (("lines", BudgetLine, "line"), ("waivers", Waiver, "waiver")):
        parts = fields.get(key)
        if isinstance(parts, list):  # one by one: a wrong key is then told from those of its own kind
            fields[key] = [_part(kind, each, f"{one} {n} of {path}") for n, each in enumerate(parts, start=1)]
    if not fields.get("lines"):
        raise UsageError(
            f"{path} has no lines.", "Write one at least, such as: {metric: energy_per_query_j, at_most: 50}"
        )
    budget = validated(Budget, fields, str(path))
    if budget.task is not None:
        task_named(budget.task)
    return budget


def _part(kind: type[RecordType], fields: object, where: str) -> RecordType:
    if not isinstance(fields, dict):
        raise UsageError(f"{where} is {fields!r}, and not keys with values.", f"Keys: {', '.join(kind.model_fields)}.")
    return validated(kind, fields, where)


def golden_of(budget: Budget, file: Path) -> NamedRun | None:
    """The run that a budget pins, beside the budget's file; None: it pins none.

    Raises:
        UsageError: It is not there.
    """
    if budget.golden is None:
        return None
    try:
        return named_run(str(file.resolve().parent / budget.golden), Path())
    except UsageError as error:
        raise UsageError(
            f"The golden reference {budget.golden!r} of {file} is not a run.",
            f"It is looked up beside the budget, in {file.resolve().parent}; correct `golden`, or take it out.",
        ) from error
