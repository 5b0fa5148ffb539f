"""The cells of a sweep and the order in which they are to run.

    SweepSpec -> every combination, less the excluded -> blocks of repeats, each in a random order of its own

The order inside a block is by a hash of the seed, the block and the cell, so that temperature and time of day do not
line up with a model, and so that a model that is added or taken away leaves the order of the others as it was. Must
not know what is measured already, nor where cells run.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config import RunSpec, validated
from harness.errors import UnknownName, UsageError
from harness.records import PlannedCell
from harness.sweep.planning.spec import OF_THE_SWEEP, Fields, SweepSpec, labels_of
from harness.wiring.subject import with_default_model

N_MOST = 100_000
"""More combinations than this are a slip of the pen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep is to measure."""

    spec: SweepSpec
    cells: tuple[PlannedCell, ...]
    """Every repeat of every combination, in the order in which they are to run; without references."""
    references: tuple[PlannedCell, ...]
    """The reference at the start and at the end, which every GPU measures; empty: there is none."""

    @property
    def runs(self) -> tuple[PlannedCell, ...]:
        """The first repeat of each combination, in the order of its block."""
        return tuple(cell for cell in self.cells if cell.repeat == 0)


def plan_of(spec: SweepSpec) -> Plan:
    """All that a sweep file asks for, each cell checked as the run file that it is.

    Raises:
        UsageError: A cell that cannot be meant, two that are the same, none at all, or a reference that is a cell.
        UnknownName: A value that does not exist.
    """
    combined: dict[str, PlannedCell] = {}
    for labels, fields in _combinations(spec):
        cell = PlannedCell(labels=labels, spec=cell_fields(fields, words_of(labels) or "run"))
        same = combined.setdefault(cell.run_id, cell)
        if same is not cell:
            raise UsageError(
                f"Two cells would be one measurement: {words_of(same.labels)}, and {words_of(labels)}.",
                "Take one of them out (`exclude`). A run is extended by num_prompts, so that alone makes no cell.",
            )
    if not combined:
        raise UsageError("Every cell is excluded.", "Take an exclude out.")
    references = _references(spec)
    if references and references[0].run_id in combined:
        raise UsageError(
            f"The reference is also a cell: {words_of(combined[references[0].run_id].labels) or 'run'}.",
            "Give it something of its own, such as `mode: [on]`, or write `reference: false`.",
        )
    ordered = [
        cell.model_copy(update={"repeat": repeat})
        for repeat in range(spec.repeats)
        for cell in sorted(combined.values(), key=lambda cell: _draw(spec.seed, repeat, cell.run_id))
    ]
    return Plan(spec=spec, cells=tuple(ordered), references=references)


def cell_fields(fields: Mapping[str, Any], where: str) -> Fields:
    """The run file of one cell, in one spelling: what is measured decides it, not how it was written.

    Args:
        fields: Keys of a run file.
        where: The cell, for whoever has to mend it.

    Raises:
        UsageError: A value that does not validate, or more than one model or load.
        UnknownName: A part of a key that does not exist.
    """
    try:
        run = with_default_model(validated(RunSpec, dict(fields), "the sweep file"))
    except UnknownName:
        raise
    except UsageError as error:
        raise UsageError(f"In the cell {where}: {error}", error.next_step) from error
    several = {"model": run.model, "concurrency": run.concurrency, "request_rate": run.request_rate}
    for key, values in several.items():
        if len(values) > 1:
            raise UsageError(
                f"{key}: {', '.join(map(str, values))} would be {len(values)} cells in one.",
                f"Write them under `vary`: `{key}: [{', '.join(map(str, values))}]`.",
            )
    kept = run.model_dump(mode="json", exclude_defaults=True, exclude=set(OF_THE_SWEEP))
    return {"model": list(run.model), **kept}


def _combinations(spec: SweepSpec) -> Iterator[tuple[dict[str, str], Fields]]:
    """The labels and the run-file keys of every combination that is not excluded."""
    axes = list(spec.vary)
    sizes = [len(spec.vary[axis]) for axis in axes]
    n = 1
    for size in sizes:
        n *= size
    if n > N_MOST:
        raise UsageError(f"{n:,} combinations are more than {N_MOST:,}.", "Vary less at once.")
    excluded = [{axis: set(labels_of(wanted)) for axis, wanted in each.items()} for each in spec.exclude]
    per_axis = [list(zip(spec.labels[axis], spec.changes(axis), strict=True)) for axis in axes]
    for chosen in itertools.product(*per_axis):
        labels = dict(zip(axes, (label for label, _ in chosen), strict=True))
        if any(all(labels[axis] in wanted for axis, wanted in each.items()) for each in excluded):
            continue
        fields: Fields = dict(spec.run)
        for _, changes in chosen:
            for key, value in changes.items():
                fields[key] = _merged(fields.get(key), value)
        yield labels, fields


def _merged(below: object, above: object) -> object:
    """A value over another. Of `engine`, the keys of both: `{compile: true}` under `{attention: sdpa}`, or its name."""
    if isinstance(below, str) and isinstance(above, Mapping):
        below = {"name": below}
    if isinstance(below, Mapping) and isinstance(above, str):
        above = {"name": above}
    return {**below, **above} if isinstance(below, Mapping) and isinstance(above, Mapping) else above


def _references(spec: SweepSpec) -> tuple[PlannedCell, ...]:
    """One run with two repeats: the first before all cells of a GPU, the second after them."""
    if spec.reference is None:
        return ()
    fields = cell_fields(spec.reference, "reference")
    start = PlannedCell(labels={}, spec=fields, role="reference_start")
    return start, PlannedCell(labels={}, spec=fields, repeat=1, role="reference_end")


def _draw(seed: int, repeat: int, run_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{repeat}\n{run_id}".encode()).digest()


def words_of(labels: Mapping[str, str]) -> str:
    """What a cell is called: each of its labels with its value; empty where nothing is varied."""
    return ", ".join(f"{axis} {label}" for axis, label in labels.items())
