"""Variants of one model as one study: a spec becomes one spec per variant, and their cells take turns.

Repeats go forth and back (a b c, c b a, ...), so that what drifts meanwhile weighs on all variants alike. All variants
answer the same prompts under the same cap.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.config import Catalogue, RunSpec, Variant
from harness.errors import UsageError
from harness.records import Cell

if TYPE_CHECKING:
    from harness.wiring.jobs import Job

OF_THE_ENGINE = {"engine": "name", "attention": "attention", "compile": "compile"}
"""Keys of a variant that are parts of the engine."""


def variant_specs(spec: RunSpec, catalogue: Catalogue) -> dict[str, RunSpec]:
    """One spec per variant, by its name, in the order in which they were named.

    Args:
        spec: With variants.
        catalogue: For the prompts, which are those of the first variant's model where none are named.

    Raises:
        UsageError: A variant that contradicts itself or the run.
        UnknownName: The first variant's model does not exist.
    """
    first = next(iter(spec.variants.values()))
    prompts = spec.prompts or spec.preset.prompts or catalogue.entry(first.model or spec.model[0]).prompts
    common = {**spec.model_dump(mode="python"), "variants": {}, "variant_cells": {}, "prompts": prompts}
    return {name: _spec(name, variant, common) for name, variant in spec.variants.items()}


def _spec(name: str, variant: Variant, common: Mapping[str, object]) -> RunSpec:
    changes = variant.model_dump(exclude_none=True)
    fields = {**common, "engine": {**_mapping(common["engine"])}}
    for key, value in changes.items():
        if key in OF_THE_ENGINE:
            fields["engine"] = {**_mapping(fields["engine"]), OF_THE_ENGINE[key]: value}
        else:
            fields[key] = value
    if "serve" in changes:
        fields["base_url"] = changes.get("base_url")
    elif "base_url" in changes:
        fields["serve"] = None
    try:
        return RunSpec.model_validate(fields)
    except UsageError as error:
        raise UsageError(f"The variant {name}: {error}", error.next_step) from error


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def in_turn(jobs: Mapping[str, Sequence[Job]]) -> list[Job]:
    """The jobs of all variants in the order in which they are measured, each under its variant's name.

    Args:
        jobs: By variant, one per repeat.

    Raises:
        UsageError: Two variants are the same cell, or they cannot be compared.
    """
    _refuse_same(jobs)
    _refuse_apart({name: own[0].cell for name, own in jobs.items() if own})
    repeats = sorted({job.cell.repeat for own in jobs.values() for job in own})
    ordered = []
    for repeat in repeats:
        names = list(jobs) if repeat % 2 == 0 else list(reversed(list(jobs)))
        ordered += [replace(job, variant=name) for name in names for job in jobs[name] if job.cell.repeat == repeat]
    return ordered


def _refuse_same(jobs: Mapping[str, Sequence[Job]]) -> None:
    for (name, own), (other, others) in itertools.combinations(jobs.items(), 2):
        if {job.cell.cell_id for job in own} & {job.cell.cell_id for job in others}:
            raise UsageError(
                f"The variants {name} and {other} are the same: nothing that is measured differs.",
                "Leave one of them out, or write what it changes.",
            )


def _refuse_apart(cells: Mapping[str, Cell]) -> None:
    if not set.intersection(*(set(cell.modes) for cell in cells.values())):
        modes = "; ".join(f"{name} has {', '.join(cell.modes)}" for name, cell in cells.items())
        raise UsageError(f"The variants have no mode in common: {modes}.", "Choose modes that all have (--mode).")
    caps = {name: cell.max_new_tokens for name, cell in cells.items()}
    if len(set(caps.values())) > 1:
        each = ", ".join(f"{name} {cap:,}" for name, cap in caps.items())
        raise UsageError(
            f"The variants would be capped at unequal lengths: {each} tokens.",
            f"Give all of them the same cap: --max-new-tokens {min(caps.values())}.",
        )


def with_variant_cells(spec: RunSpec, jobs: Sequence[Job]) -> RunSpec:
    """The spec with the cells of each variant written down, by which the report names them."""
    if not spec.variants:
        return spec
    cells = {name: tuple(job.cell.cell_id for job in jobs if job.variant == name) for name in spec.variants}
    return spec.model_copy(update={"variant_cells": cells})


def resumed_cells(spec: RunSpec, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of a run that exists, by their variants.

    Raises:
        UsageError: A cell that no variant of run.yaml names.
    """
    names = {cell_id: name for name, ids in spec.variant_cells.items() for cell_id in ids}
    for cell in cells:
        if cell.cell_id not in names:
            raise UsageError(
                f"The cell {cell.cell_id} belongs to no variant of this run's run.yaml.", "Start a new run."
            )
    return {name: [cell for cell in cells if names[cell.cell_id] == name] for name in spec.variants}
