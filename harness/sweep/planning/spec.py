"""What a sweep is asked to measure: `sweep.yaml` as a frozen, validated spec.

A sweep file says what all cells share (`run`), what is combined with what (`vary`) and what is left out (`exclude`).
The keys are those of a run file. Must not know in which order cells run, nor where.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeGuard

import yaml
from pydantic import BeforeValidator, Field, model_validator

from harness.config import EMBEDDED_MODEL, PositiveInt, RunSpec, load_yaml, validated
from harness.errors import UnknownName, UsageError
from harness.records import SCHEMA_VERSION, Record

SWEEP_FILE = "sweep.yaml"
OUTCOMES_FILE = "outcomes.jsonl"
"""Names in the sweep's own directory."""

EXAMPLE = "vary: {model: [qwen3-0.6b, qwen3-8b]}"

Fields = dict[str, Any]
"""Keys of a run file with their values."""

OF_THE_SWEEP = {
    "repeats": "Write `repeats` beside `run`: a sweep repeats all of its cells.",
    "output_dir": "Leave it out: every cell lies in the sweep's directory (`harness sweep --output-dir DIR`).",
    "working_dir": "Leave it out: relative paths begin where the sweep was started.",
    "variants": "Write them under `vary`, each with a name: `precision: {bf16: {dtype: bfloat16}, int8: {...}}`.",
    "variant_cells": "Leave it out.",
    "repeat_of": "Leave it out.",
}
"""Keys of a run file that a sweep decides, and what to write instead."""

REFERENCE: Fields = {"model": EMBEDDED_MODEL, "mode": ["on"], "num_prompts": 20}
"""What is measured on every GPU, first and last, where the file says nothing."""

DEFAULT_LABEL = "default"
"""How a null is called: as a run does without that key."""


def _keyed(value: object) -> object:
    """`batch-size` and `batch_size` are the same, as in a run file."""
    if not _is_map(value):
        raise ValueError("write keys of a run file with values")
    return {str(key).replace("-", "_"): each for key, each in value.items()}


def _axes(value: object) -> object:
    """Lists of values, and named values; null for a named value that changes nothing."""
    if not _is_map(value):
        raise ValueError("write keys with lists of values")
    axes: dict[str, object] = {}
    for axis, values in value.items():
        if _is_map(values):
            axes[str(axis)] = {str(name): _keyed({} if fields is None else fields) for name, fields in values.items()}
        elif isinstance(values, list | tuple):
            axes[str(axis).replace("-", "_")] = tuple(values)
        else:
            raise ValueError(f"write {axis}: [{values}], a list, or named values")
    return axes


def _excludes(value: object) -> object:
    """One combination need not be in a list."""
    return (value,) if _is_map(value) else value


def _reference(value: object) -> object:
    """`false` and null are the same: there is none."""
    return None if value is None or value is False else _keyed(value)


def _is_map(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping)


class SweepSpec(Record):
    """Everything that a sweep file can say."""

    schema_version: int = SCHEMA_VERSION
    run: Annotated[Fields, BeforeValidator(_keyed)] = Field(default={}, description="keys of a run file, for all cells")
    vary: Annotated[dict[str, tuple[Any, ...] | dict[str, Fields]], BeforeValidator(_axes)] = Field(
        default={},
        description="every combination: a key of a run file with its values, or a word of your own with named values, "
        "each of which sets several keys",
    )
    exclude: Annotated[tuple[Fields, ...], BeforeValidator(_excludes)] = Field(
        default=(), description="combinations that are left out: label: value, or a list of values; all must match"
    )
    repeats: PositiveInt = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(default=0, description="of the order of the cells")
    reference: Annotated[Fields | None, BeforeValidator(_reference)] = Field(
        default=REFERENCE, description="run-file keys of a short cell on every GPU, first and last; None: there is none"
    )
    cooldown_c: Annotated[float, Field(gt=0, lt=120)] | None = Field(
        default=None, description="a board is let cool down to this many degrees Celsius before each of its cells"
    )
    time_limit_s: Annotated[float, Field(gt=0)] | None = Field(default=None, description="of one cell's process")
    retries: Annotated[int, Field(ge=0)] = Field(default=1, description="of a cell that failed of what may pass")
    working_dir: str | None = Field(default=None, description="where relative paths begin; set by the sweep")

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        """Refuse keys that a run file does not have, and values that cannot be told apart.

        Raises:
            UnknownName: A key or a label that does not exist.
            UsageError: What contradicts itself, or is no sweep's to say.
        """
        _refuse_keys(self.run, "run")
        for axis in self.vary:
            self._check_axis(axis)
        for each in self.exclude:
            self._check_exclude(each)
        if self.reference is not None:
            _refuse_keys(self.reference, "reference")
        return self

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """How the values of each axis are called, in the order of the file."""
        return {axis: tuple(map(label_of, values)) for axis, values in self.vary.items()}

    def changes(self, axis: str) -> tuple[Fields, ...]:
        """What each value of an axis changes of the run, in the order of the file."""
        values = self.vary[axis]
        if isinstance(values, Mapping):
            return tuple(values.values())
        return tuple({axis: value} for value in values)

    def _check_axis(self, axis: str) -> None:
        values = self.vary[axis]
        if not values:
            raise UsageError(f"vary: {axis} has no values.", "Write at least one, or leave it out.")
        if isinstance(values, Mapping):
            for name, fields in values.items():
                _refuse_keys(fields, f"vary: {axis}: {name}")
            return
        _refuse_keys({axis: None}, "vary", " A word of your own needs named values: `{bf16: {dtype: bfloat16}}`.")
        if axis == "mode":
            raise UsageError(
                "vary: mode would measure each mode alone, and modes are compared within one cell.",
                "Write it under `run`: `mode: [off, on]`.",
            )
        labels = [label_of(value) for value in values]
        twice = [label for label in labels if labels.count(label) > 1]
        if twice:
            raise UsageError(f"vary: {axis} names {twice[0]} twice.", "Write each value once; `repeats` repeats all.")
        for value in values:
            if isinstance(value, list | tuple | dict):
                raise UsageError(
                    f"vary: {axis}: {value!r} is no single value.",
                    "Write one value for each cell, or named values: `{name: {key: value}}`.",
                )

    def _check_exclude(self, exclude: Mapping[str, Any]) -> None:
        if not exclude:
            raise UsageError("exclude: {} would leave out every cell.", "Write `label: value`.")
        for axis, wanted in exclude.items():
            if axis not in self.vary:
                raise UnknownName("label", axis, self.vary, " In exclude, which speaks of what `vary` varies.")
            for label in labels_of(wanted):
                if label not in self.labels[axis]:
                    raise UnknownName(
                        f"value of {axis}", label, self.labels[axis], " In exclude, which would match no cell."
                    )


def label_of(value: object) -> str:
    """How a value is called in tables: 300.0 and 300 are the same, and null is what a run does by itself."""
    if value is None:
        return DEFAULT_LABEL
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def labels_of(wanted: object) -> tuple[str, ...]:
    """What an exclude names of one axis: a value, or a list of values."""
    return tuple(map(label_of, wanted)) if isinstance(wanted, list | tuple) else (label_of(wanted),)


def load_sweep_spec(file: Path) -> SweepSpec:
    """A sweep file.

    Raises:
        UnknownName: A key, label or value that does not exist, with the nearest that does.
        UsageError: No such file, or something in it that cannot be meant.
    """
    fields = {str(key).replace("-", "_"): value for key, value in load_yaml(file, EXAMPLE).items()}
    return validated(SweepSpec, fields, str(file))


def _refuse_keys(fields: Mapping[str, object], where: str, elsewhere: str = "") -> None:
    for key in fields:
        if key in OF_THE_SWEEP:
            raise UsageError(f"{where}: {key} is not a cell's to say.", OF_THE_SWEEP[key])
        if key not in RunSpec.model_fields:
            valid = [name for name in RunSpec.model_fields if name not in OF_THE_SWEEP]
            raise UnknownName("key", key, valid, f" In {where}.{elsewhere}")


def frozen(spec: SweepSpec) -> str:
    """The text of a sweep file that asks for exactly this."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
