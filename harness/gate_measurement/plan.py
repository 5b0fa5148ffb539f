"""What a gate measures, as `gate.yaml` holds it: written once, before the first query, and never changed.

The number of looks is in it, because alpha is divided by it; a number that could grow when a verdict does not please
would make alpha a word. Knows files. Must not know how a cell is measured or judged.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from harness.config import RunSpec, load_yaml, validated
from harness.errors import SchemaError, UsageError
from harness.gate.budget import Difference
from harness.gating import GATE_FILE
from harness.records import SCHEMA_VERSION, Cell, Record
from harness.store.run_directory import check_version, writing

BUDGET_NAME = "budget.yaml"
LOOKS = (3, 4, 6, 8, 12)
"""Repeats of both sides after which `--until-decided` looks, as far as they are more than the first look's."""


class PlannedSide(Record):
    """One side: the run file it came from, everything that it asks for, and the cell of its first repeat."""

    file: str
    spec: RunSpec
    cell: Cell


class Golden(Record):
    """The pinned run beside the reference; `model` where it holds several."""

    path: str
    model: str | None = None


class GatePlan(Record):
    """Two sides in turn on one site, up to a number of repeats, with looks that were fixed before the first query."""

    schema_version: int = SCHEMA_VERSION
    harness_version: str
    started_utc: str
    command: tuple[str, ...]
    budget_file: str = Field(description="where it was read; its copy lies beside this plan")
    budget_sha256: str
    allow: tuple[Difference, ...] = Field(default=(), description="besides what the budget allows")
    golden: Golden | None = None
    site_id: str
    looks: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = Field(
        description="repeats of both sides after which the budget is judged; alpha is divided by their number"
    )
    max_gpu_minutes: Annotated[float, Field(gt=0)] | None = None
    candidate: PlannedSide
    reference: PlannedSide

    @property
    def n_looks(self) -> int:
        """What alpha is divided by."""
        return len(self.looks)


def looks_of(repeats: int, *, until_decided: bool) -> tuple[int, ...]:
    """After how many repeats of both sides the budget is judged.

    Args:
        repeats: Of the first look.
        until_decided: Whether there are more looks; otherwise the first is the only one.
    """
    return (repeats, *(look for look in LOOKS if until_decided and look > repeats))


def write_plan(path: Path, plan: GatePlan, budget: bytes) -> None:
    """Put down the plan and the budget's copy; the plan last, because a directory with a plan is a gate.

    Raises:
        StorageFull: They cannot be written.
    """
    with writing(path):
        (path / BUDGET_NAME).write_bytes(budget)
        partial = path / f"{GATE_FILE}.partial"
        partial.write_text(yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        partial.rename(path / GATE_FILE)


def read_plan(path: Path) -> GatePlan:
    """The plan of a gate's directory.

    Raises:
        SchemaError: Damaged, or written by a newer version; or the budget's copy is another than it was.
    """
    file = path / GATE_FILE
    try:
        fields = load_yaml(file)
        check_version(fields.get("schema_version"), file)
        plan = validated(GatePlan, fields, str(file))
    except SchemaError:
        raise
    except UsageError as error:
        raise SchemaError(f"{file} is damaged: {error}", "Restore it from a copy, or measure anew.") from error
    copy = path / BUDGET_NAME
    if sha256_of(read_bytes(copy)) != plan.budget_sha256:
        raise SchemaError(f"{copy} is not the budget that this gate began with.", "Restore it, or measure anew.")
    return plan


def gate_path(name: str, output_dir: Path) -> Path:
    """The directory that a gate's name stands for: a path, an id under the output directory, or `latest`.

    Raises:
        UsageError: There is no such gate.
    """
    if name == "latest":
        found = sorted(output_dir.glob(f"*/{GATE_FILE}"), key=lambda plan: plan.parent.name)
        if not found:
            raise UsageError(
                f"There is no measured gate in {output_dir}.",
                "Begin one: harness gate --measure CANDIDATE.yaml REFERENCE.yaml --budget FILE",
            )
        return found[-1].parent.resolve()
    for path in (output_dir / name, Path(name)):
        if (path / GATE_FILE).is_file():
            return path.resolve()
    raise UsageError(
        f"No measured gate {name!r} in {output_dir} or as a path.", f"Look into {output_dir}, or say `latest`."
    )


def read_bytes(path: Path) -> bytes:
    """A file that the user named, or that belongs to a gate.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error


def sha256_of(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()
