"""What would stop a sweep in the night, found out before its first cell: names that do not exist, a full disk."""

from __future__ import annotations

import shutil
from contextlib import chdir
from functools import cache
from pathlib import Path

from harness.config import RANDOM, Catalogue, RunSpec, load_catalogue
from harness.engine.task.catalogue import inputs_of, options_of
from harness.errors import StorageFull
from harness.prompts.catalogue import parse
from harness.sweep.planning.plan import Plan
from harness.wiring.subject import other_task, random_entry, subject_of

FREE_LEAST_BYTES = 1e9
"""With less on the disk no sweep is begun. 20 queries in two modes left 0.4 MB behind: this is two thousand of them."""

NAMING = (
    *("models", "model", "mode", "reasoning", "prompts", "protocol", "engine", "batch_size", "two_phase"),
    *("task", "task_options"),
)
"""Keys of a run file by which a name is looked up, or which decide whether it can be had."""


@cache
def catalogue_at(path: str | None) -> Catalogue:
    """A catalogue, read once however many cells name it."""
    return load_catalogue(path)


def refuse_unknown(plan: Plan) -> None:
    """Refuse a model, mode, reasoning mechanism or prompt set that does not exist. Nothing is fetched.

    Raises:
        UnknownName: One that does not, with the nearest that does.
        UsageError: A path that leads to nothing.
    """
    seen: set[str] = set()
    with chdir(plan.spec.working_dir or "."):
        for cell in (*plan.runs, *plan.references):
            named = str([cell.spec.get(key) for key in NAMING])
            if named in seen:
                continue
            seen.add(named)
            run = RunSpec.model_validate(cell.spec)
            if (task := other_task(run)) is not None:
                options_of(task, run.task_options)
            if run.model == (RANDOM,):
                random_entry(run)
            elif not run.is_served:  # a server's models are the server's to name
                catalogue = catalogue_at(run.models)
                subject_of(run, catalogue, catalogue.entry(run.model[0]))
            if run.prompts is not None:
                parse(run.prompts, inputs_of(run.task))


def refuse_full(output_dir: Path) -> None:
    """Refuse a disk on which a night's results would find no room.

    Raises:
        StorageFull: Too little is free.
    """
    existing = next(path for path in (output_dir.absolute(), *output_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < FREE_LEAST_BYTES:
        raise StorageFull(
            f"Only {free / 1e6:,.0f} MB are free in {existing}; a sweep begins with {FREE_LEAST_BYTES / 1e6:,.0f}.",
            "Make room, or name another place (--output-dir DIR).",
        )
