"""From a spec to jobs: which cells, with which prompts and modes, on which device."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harness.config import ModelEntry, RunSpec, load_catalogue
from harness.environment.machine import visible_gpus
from harness.environment.nvml import Nvml, open_nvml
from harness.errors import EnvironmentFault, UnknownName, UsageError
from harness.prompts.catalogue import parse
from harness.protocols import Engine, Reasoning
from harness.reasoning.switch import FamilyReasoning
from harness.records import (
    Cell,
    EngineOptions,
    PromptSet,
)

N_PILOT = 5
EMBEDDED_SET, EVERYDAY_SET = "chains", "everyday"
CAPS = {EMBEDDED_SET: 128}
CAP = 2048
COUNTS = {EMBEDDED_SET: 100}
COUNT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell, and what it takes to measure it."""

    cell: Cell
    entry: ModelEntry
    reasoning: Reasoning
    prompt_set: PromptSet
    device: str
    spec: RunSpec

    @property
    def n_prompts(self) -> int:
        """How many prompts the run takes."""
        wanted = self.spec.num_prompts or COUNTS.get(self.prompt_set.name, COUNT)
        return min(wanted, len(self.prompt_set.prompts))


def jobs_of(spec: RunSpec, cells: Sequence[Cell] = ()) -> list[Job]:
    """What a spec asks for: one cell per model and repeat.

    Args:
        spec: The run.
        cells: Those of a run that is resumed; they are taken as they are instead of being worked out again.

    Raises:
        HarnessError: A model, mode, prompt set or device that does not exist or cannot be used here.
    """
    device = _device(spec.device)
    catalogue = load_catalogue(spec.models)
    if cells:
        by_name = {cell.model: catalogue.entry(_reference(cell)) for cell in cells}
        return [_job(spec, device, by_name[cell.model], cell) for cell in cells]
    found = []
    for name in spec.model:
        entry = catalogue.entry(name)
        mechanism = catalogue.mechanism(entry, spec.reasoning)
        reasoning = FamilyReasoning(mechanism)
        modes = _modes(spec, entry, reasoning)
        prompt_set = _prompt_set(spec, entry)
        source = source_of(entry)
        for repeat in range(spec.repeats):
            cell = Cell(
                model=entry.name,
                source=entry.source,
                revision=_revision(source, entry),
                engine=EngineOptions(
                    device=device.partition(":")[0],
                    attention=spec.engine.attention,
                    n_threads=spec.engine.n_threads,
                ),
                dtype=spec.dtype,
                quantization=spec.quantization,
                trust_remote_code=spec.trust_remote_code,
                prompt_set=prompt_set.name,
                prompt_set_sha256=prompt_set.sha256,
                protocol="paired-1",
                modes=modes,
                reasoning=mechanism,
                max_new_tokens=spec.max_new_tokens or _cap(prompt_set, source),
                seed=spec.seed,
                repeat=repeat,
            )
            found.append(
                Job(cell=cell, entry=entry, reasoning=reasoning, prompt_set=prompt_set, device=device, spec=spec)
            )
    return found


def _job(spec: RunSpec, device: str, entry: ModelEntry, cell: Cell) -> Job:
    """The job of a cell that exists; refused where its prompts have changed."""
    prompt_set = _prompt_set(spec, entry)
    if prompt_set.sha256 != cell.prompt_set_sha256:
        raise UsageError(
            f"The prompt set {cell.prompt_set!r} is not the one that this run began with.",
            "Restore the file, or start a new run.",
        )
    if device.partition(":")[0] != cell.engine.device:
        raise UsageError(
            f"This run was measured on {cell.engine.device}, and here it would be {device}.",
            f"Add --device {cell.engine.device}, or start a new run.",
        )
    reasoning = FamilyReasoning(cell.reasoning)
    return Job(cell=cell, entry=entry, reasoning=reasoning, prompt_set=prompt_set, device=device, spec=spec)


def _reference(cell: Cell) -> str:
    return cell.source if cell.source.startswith(("embedded:", "/")) else f"{cell.source}@{cell.revision}"


def _cap(prompt_set: PromptSet, source: str) -> int:
    """The token cap where none is given: half of a small model's context is left to the prompt."""
    cap = CAPS.get(prompt_set.name, CAP)
    config = Path(source) / "config.json"
    if not config.is_file():
        return cap
    context = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
    return min(cap, context // 2) if isinstance(context, int) and context > 1 else cap


def _modes(spec: RunSpec, entry: ModelEntry, reasoning: Reasoning) -> tuple[str, ...]:
    """The modes asked for, or off and on where the model has both, or all that it has."""
    if spec.mode is None:
        return ("off", "on") if {"off", "on"} <= set(reasoning.modes) else reasoning.modes
    for mode in spec.mode:
        if mode not in reasoning.modes:
            family = "" if entry.reasoning else " If its family is known, name it: --reasoning qwen3."
            raise UnknownName("mode", mode, reasoning.modes, f" These are the modes of {entry.name}.{family}")
    return tuple(dict.fromkeys(spec.mode))


def _prompt_set(spec: RunSpec, entry: ModelEntry) -> PromptSet:
    return parse(spec.prompts or entry.prompts or EVERYDAY_SET).load(spec.seed)


def source_of(entry: ModelEntry) -> str:
    """Where the engine finds the weights: a Hub id or a path."""
    kind, _, name = entry.source.partition(":")
    if kind == "embedded":
        return str(resources.files("harness") / "assets" / name)
    return entry.source


def _revision(source: str, entry: ModelEntry) -> str:
    from harness.engine.revision import resolve_revision

    return resolve_revision(source, entry.revision)


def _device(requested: str) -> str:
    nvml = open_nvml()
    n_gpus = nvml.n_boards if isinstance(nvml, Nvml) else None
    if n_gpus and os.environ.get("CUDA_VISIBLE_DEVICES") is not None and not visible_gpus():
        n_gpus = 0  # hidden on purpose
    engine_class()
    from harness.engine.device import resolve_device

    return resolve_device(requested, n_gpus, nvml.driver if isinstance(nvml, Nvml) else None)


def engine_class() -> Callable[..., Engine]:
    """The engine in this process, imported only when something is to be run.

    Raises:
        EnvironmentFault: torch or transformers is not installed.
    """
    try:
        from harness.engine.transformers import TransformersEngine
    except ImportError as error:
        raise EnvironmentFault(
            f"The transformers engine needs {error.name}, which is not installed.",
            f"{sys.executable} -m pip install 'inference-energy-harness[transformers]'",
        ) from error
    return TransformersEngine
