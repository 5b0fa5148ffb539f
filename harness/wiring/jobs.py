"""From a spec to jobs: which cells, with which prompts and modes, on which device."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.two_phase import N_FITTED, N_HELD_OUT
from harness.config import RANDOM, SERVED, Catalogue, ModelEntry, RunSpec, load_catalogue
from harness.engine.task.catalogue import chosen_options, task_named
from harness.engine.task.description import Task
from harness.environment.machine import visible_gpus
from harness.environment.nvml import Nvml, open_nvml
from harness.errors import EnvironmentFault, ModelUnavailable, UsageError
from harness.prompts.catalogue import parse
from harness.protocols import Reasoning
from harness.reasoning.switch import FamilyReasoning, budget_end, budget_of
from harness.records import Cell, EngineOptions, PairedCheckpoint, Prompt, PromptSet, Sampling
from harness.scoring.catalogue import scorer_identity
from harness.wiring.lengths import Lengths, lengths_of, refuse_lengths
from harness.wiring.sizes import EVERYDAY_SET, cap_of, prompts_asked
from harness.wiring.subject import Subject, other_task, random_entry, subject_of
from harness.wiring.variants import in_turn, resumed_cells, variant_specs

if TYPE_CHECKING:
    from harness.engine.transformers import TransformersEngine

N_PILOT = 5
LENGTHS_BATCH_SIZE = 32
N_ONE_BY_ONE = N_FITTED + N_HELD_OUT
"""Queries of a two-phase run that are measured all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell, and what it takes to measure it. `pair_*`: of the other checkpoint, where there are two."""

    cell: Cell
    entry: ModelEntry
    reasoning: Reasoning
    prompt_set: PromptSet
    device: str
    spec: RunSpec
    pair_entry: ModelEntry | None = None
    pair_reasoning: Reasoning | None = None
    lengths: Lengths | None = None
    """Recorded ones, which the answers are to have; None: each ends by itself."""
    variant: str | None = None
    """Which of the run's variants this is; None: it has none."""

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Those that the run takes at most, in order."""
        return self.prompt_set.prompts[: self.n_prompts]

    @property
    def n_prompts(self) -> int:
        """How many prompts the run takes at most."""
        n_all = len(self.prompt_set.prompts)
        return min(prompts_asked(self.spec, self.prompt_set.name) or n_all, n_all)

    @property
    def hint(self) -> str | None:
        """What else could be measured with this model; None: nothing that one would not think of."""
        if self.entry.pair is None or self.spec.mode is not None or self.spec.preset.is_published:
            return None
        return f"{self.entry.name} has a pair, {self.entry.pair}: --mode off,on compares the two."


def jobs_of(spec: RunSpec, cells: Sequence[Cell] = ()) -> list[Job]:
    """What a spec asks for: one cell per model and repeat, or per variant and repeat.

    Args:
        spec: The run.
        cells: Those of a run that is resumed; they are taken as they are instead of being worked out again.

    Raises:
        HarnessError: A model, mode, prompt set, scorer or device that does not exist or cannot be used here.
    """
    device = SERVED if spec.is_served else _device(spec.device)
    _refuse_missing(other_task(spec))
    catalogue = load_catalogue(spec.models)
    if spec.variants:
        specs = variant_specs(spec, catalogue)
        known = resumed_cells(spec, cells) if cells else dict.fromkeys(specs, ())
        return in_turn({name: jobs_of(own, known[name]) for name, own in specs.items() if known[name] or not cells})
    if cells:
        return [_resumed(spec, device, catalogue, cell) for cell in cells]
    return [job for name in spec.model for job in _of_model(spec, device, catalogue, _entry(spec, catalogue, name))]


def _of_model(spec: RunSpec, device: str, catalogue: Catalogue, entry: ModelEntry) -> list[Job]:
    """One job per repeat of a model."""
    protocol, subject = spec.preset, subject_of(spec, catalogue, entry)
    task = other_task(spec)
    prompt_set, source = _prompt_set(spec, entry, protocol.order), source_of(entry)
    max_new_tokens, caps = _caps(spec, subject, prompt_set, source) if task is None else (_task_cap(spec, task), {})
    lengths = lengths_of(spec)
    cell = Cell(
        model=entry.name,
        source=entry.source,
        revision=_served_revision(spec, entry) if spec.is_served else _revision(source, entry, task),
        engine=EngineOptions(
            name=spec.engine.name,
            device=device.partition(":")[0],
            attention=spec.engine.attention,
            compile=spec.engine.compile,
            n_threads=spec.engine.n_threads,
            serve=spec.served_by,
        ),
        dtype=protocol.dtype if spec.dtype == "auto" else spec.dtype,
        quantization=spec.quantization,
        trust_remote_code=spec.trust_remote_code,
        prompt_set=prompt_set.name,
        prompt_set_sha256=prompt_set.sha256,
        protocol=protocol.protocol,
        modes=subject.modes,
        reasoning=subject.reasoning,
        pair=_paired_checkpoint(subject),
        max_new_tokens=max_new_tokens,
        caps=caps,
        min_new_tokens={mode: least for mode, least in protocol.min_new_tokens.items() if mode in subject.modes},
        sampling=protocol.sampling if task is None or task.max_new_tokens is None else Sampling(do_sample=False),
        order=protocol.order,
        warm_up=protocol.warm_up,
        scorer=scorer_identity(spec.scorer) if spec.scorer is not None else None,
        seed=spec.seed,
        batch_size=1 if spec.two_phase else spec.batch_size or 1,
        prompt_cache=spec.prompt_cache,
        power_limit_w=spec.power_limit_w,
        task=spec.other_task,
        task_options={} if task is None else chosen_options(task, spec.task_options),
        lengths=None if lengths is None else lengths.sha256,
        lengths_batch_size=(spec.batch_size or LENGTHS_BATCH_SIZE) if spec.two_phase else None,
    )
    for mode in cell.modes:
        budget = budget_of(mode)
        spec_of_mode = subject.pair_reasoning if mode in subject.pair_modes else subject.reasoning
        if budget is None or spec_of_mode is None:
            continue
        room = cell.cap(mode) - len(budget_end(spec_of_mode).encode())  # at most so many tokens
        if budget >= room:
            raise UsageError(
                f"--mode {mode}: at most {cell.cap(mode):,} new tokens leave no room for an answer after its budget.",
                f"Choose a budget below {room:,}, or raise --max-new-tokens.",
            )
    jobs = [
        Job(
            cell=cell.model_copy(update={"repeat": repeat, **load}),
            entry=entry,
            reasoning=FamilyReasoning(subject.reasoning),
            prompt_set=prompt_set,
            device=device,
            spec=spec,
            pair_entry=subject.pair,
            pair_reasoning=FamilyReasoning(subject.pair_reasoning) if subject.pair else None,
            lengths=lengths,
        )
        for repeat in range(spec.repeats)
        for load in _loads(spec)
    ]
    if lengths is not None:
        refuse_lengths(lengths, jobs[0].cell, jobs[0].prompts)
    n_alone = math.ceil(N_ONE_BY_ONE / len(cell.modes))
    if spec.two_phase and jobs and jobs[0].n_prompts < 2 * n_alone:
        raise UsageError(
            f"--two-phase measures about {n_alone} prompts one by one, so with {jobs[0].n_prompts} it saves nothing.",
            f"Leave it out, or ask at least {2 * n_alone} (--num-prompts).",
        )
    return jobs


def _loads(spec: RunSpec) -> list[dict[str, object]]:
    """The loads of a run, each as fields of its cell."""
    if not spec.is_served:
        return [{}]
    if spec.request_rate:
        return [{"request_rate_per_second": rate} for rate in spec.request_rate]
    return [{"concurrency": concurrency} for concurrency in spec.concurrency or (1,)]


def _resumed(spec: RunSpec, device: str, catalogue: Catalogue, cell: Cell) -> Job:
    """The job of a cell that exists; refused where its prompts or its scorer have changed."""
    entry = _entry(spec, catalogue, cell.source if spec.is_served else _reference(cell))
    prompt_set = _prompt_set(spec, entry, cell.order)
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
    for checkpoint in (cell, cell.pair):
        if checkpoint is not None and checkpoint.source.startswith(("embedded:", "/")) and not spec.is_served:
            own = _entry(spec, catalogue, _reference(checkpoint)).model_copy(update={"revision": checkpoint.revision})
            _revision(source_of(own), own)  # files that have changed are refused
    scorer = scorer_identity(spec.scorer) if spec.scorer is not None else None
    if scorer != cell.scorer:
        raise UsageError(
            f"This run was scored by {cell.scorer or 'the scorers of its prompts'}, and here it would be {scorer}.",
            "Restore the scorer's file, or start a new run.",
        )
    lengths = lengths_of(spec)
    if cell.lengths != (None if lengths is None else lengths.sha256):
        raise UsageError(
            f"The recorded lengths of {spec.lengths} are not those that this run began with.",
            "Restore that run, or start a new one.",
        )
    return Job(
        cell=cell,
        entry=entry,
        reasoning=FamilyReasoning(cell.reasoning),
        prompt_set=prompt_set,
        device=device,
        spec=spec,
        pair_entry=catalogue.entry(_reference(cell.pair)) if cell.pair else None,
        pair_reasoning=FamilyReasoning(cell.pair.reasoning) if cell.pair else None,
        lengths=lengths,
    )


def _reference(checkpoint: Cell | PairedCheckpoint) -> str:
    if checkpoint.source.startswith(("embedded:", "/")):
        return checkpoint.source
    if checkpoint.source.startswith(f"{RANDOM}:"):
        return RANDOM
    return f"{checkpoint.source}@{checkpoint.revision}"


def _paired_checkpoint(subject: Subject) -> PairedCheckpoint | None:
    if subject.pair is None:
        return None
    return PairedCheckpoint(
        model=subject.pair.name,
        source=subject.pair.source,
        revision=_revision(source_of(subject.pair), subject.pair),
        reasoning=subject.pair_reasoning,
        modes=subject.pair_modes,
    )


def _caps(spec: RunSpec, subject: Subject, prompt_set: PromptSet, source: str) -> tuple[int, dict[str, int]]:
    """The token cap, and by mode where a protocol's modes have unequal ones.

    Raises:
        UsageError: The protocol's cap is more than the model's whole context.
    """
    by_mode = {mode: cap for mode in subject.modes if (cap := spec.preset.cap(mode)) is not None}
    if not by_mode:
        return spec.max_new_tokens or _cap(prompt_set, source), {}
    most, context = max(by_mode.values()), _context(source)
    if context is not None and most >= context:
        raise UsageError(
            f"{spec.protocol} lets a model write {most:,} tokens, and the context of {subject.entry.name} holds "
            f"{context:,}.",
            "Choose another model, or --protocol paired.",
        )
    return most, by_mode if len(set(by_mode.values())) > 1 else {}


def _cap(prompt_set: PromptSet, source: str) -> int:
    """The token cap where none is given: half of a small model's context is left to the prompt."""
    cap, context = cap_of(prompt_set.name), _context(source)
    return min(cap, context // 2) if context is not None else cap


def _context(source: str) -> int | None:
    """Tokens that a model on this machine's disk can hold; None: not known before it is loaded."""
    config = Path(source) / "config.json"
    if not config.is_file():
        return None
    context = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
    return context if isinstance(context, int) and context > 1 else None


def _task_cap(spec: RunSpec, task: Task) -> int:
    """The most new tokens of a task's answer; 0: it writes none."""
    if task.max_new_tokens is None and spec.max_new_tokens is not None:
        raise UsageError(f"{task.name} writes no tokens that --max-new-tokens could limit.", "Leave it out.")
    return spec.max_new_tokens or task.max_new_tokens or 0


def _prompt_set(spec: RunSpec, entry: ModelEntry, order: str) -> PromptSet:
    task = other_task(spec)
    asked = spec.prompts or spec.preset.prompts
    if task is None:
        source = parse(asked or entry.prompts or EVERYDAY_SET)
    else:  # a catalogue's entry names prompts of text generation
        source = parse(asked or task.prompts, task.inputs)
    return source.load(None if order == "stored" else spec.seed)


def _entry(spec: RunSpec, catalogue: Catalogue, name: str) -> ModelEntry:
    """The catalogue's entry; of a server, whatever name it serves the model by; `random`: the task's stand-in."""
    if name == RANDOM:
        return random_entry(spec)
    if not spec.is_served:
        return catalogue.entry(name)
    known = [entry for entry in catalogue.models if name in (entry.name, entry.source)]
    return ModelEntry(
        name=name,
        source=name,
        reasoning=known[0].reasoning if known else None,
        prompts=known[0].prompts if known else None,
    )


def _served_revision(spec: RunSpec, entry: ModelEntry) -> str:
    """Of the weights that the user says a server serves; otherwise only the server knows, and says in the manifest."""
    return "unknown" if spec.weights_dir is None else _revision(spec.weights_dir, entry)


def source_of(entry: ModelEntry) -> str:
    """Where the engine finds the weights: a Hub id or a path."""
    kind, _, name = entry.source.partition(":")
    if kind == "embedded":
        return str(resources.files("harness") / "assets" / name)
    if kind == RANDOM:
        from harness.engine.task.stand_in import stand_in_path

        return str(stand_in_path(task_named(name)))
    return entry.source


def _revision(source: str, entry: ModelEntry, task: Task | None = None) -> str:
    """The commit or the digest of what lies at `source`; of a task, an error offers its stand-in too."""
    from harness.engine.revision import resolve_revision
    from harness.engine.source import locate

    if entry.source.startswith(f"{RANDOM}:"):
        from harness.engine.task.stand_in import RECIPE

        return RECIPE  # its weights are drawn anew on every machine, and mean nothing
    try:
        return resolve_revision(source, entry.revision)
    except ModelUnavailable as error:
        if task is None or task.stand_in is None or locate(source).path is not None:
            raise
        step = f"Without any download: `--model {RANDOM}`, a stand-in with random weights. {error.next_step}"
        raise ModelUnavailable(str(error), step) from error


def _device(requested: str) -> str:
    nvml = open_nvml()
    n_gpus = nvml.n_boards if isinstance(nvml, Nvml) else None
    if n_gpus and os.environ.get("CUDA_VISIBLE_DEVICES") is not None and not visible_gpus():
        n_gpus = 0  # hidden on purpose
    engine_class()
    from harness.engine.device import resolve_device

    return resolve_device(requested, n_gpus, nvml.driver if isinstance(nvml, Nvml) else None)


def _refuse_missing(task: Task | None) -> None:
    missing = [name for name in task.imports if find_spec(name) is None] if task else []
    if task and missing:
        raise EnvironmentFault(
            f"{task.name} needs {' and '.join(missing)}, not installed here.",
            f"{sys.executable} -m pip install 'inference-energy-harness[{task.extra}]'",
        )


def engine_class() -> type[TransformersEngine]:
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
