"""Under which conditions a figure was found, ours or a published one, and in which two differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from harness.records import Board, Cell, EngineFacts, ModeSummary, RunManifest, Sampling, Summary

AS_PUBLISHED = "as published"
"""The precision in which a checkpoint's weights are published, whichever it is."""
MEASURED = "measured"
OWN_LIMIT = "the board's own"
TEXT = "text"
"""As a task: a language model continues text, with or without thinking."""
BEFORE_THE_QUERY, IN_THE_FIGURE = "before the query", "in the figure"
"""Where the work on an input is that is not the model's: decoding, resizing, tokenizing."""
MODELS_OWN = "the model's own"
"""Sampling by the model's own generation config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What decides an energy besides the board's silicon. None: unknown here, or not stated by who published.

    Field names are the words that a report uses, with blanks for underscores. A mode may be "one or another".
    """

    model: str | None = None
    task: str | None = TEXT
    energy: str | None = MEASURED
    boundary: str | None = "gpu_board"
    gpu: str | None = None
    number_of_gpus: int | None = None
    power_limit: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    protocol: str | None = None
    mode: str | None = None
    token_cap: int | None = None
    fewest_tokens: int | None = None
    sampling: str | None = None
    prompts: str | None = None
    number_of_prompts: int | None = None
    preprocessing: str | None = None
    resolution: str | None = None
    steps: int | None = None


OF_OTHER_TASKS = {"preprocessing", "resolution", "steps"}
"""Fields that say nothing of text."""
DIFFUSERS = "diffusers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One condition in which two figures are not alike, in words."""

    condition: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.condition}: {self.ours}, theirs {self.theirs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two figures' conditions beside each other: where they differ, and what the other side does not state."""

    differences: tuple[Difference, ...]
    unstated: tuple[str, ...]


def contrast(ours: Conditions, theirs: Conditions) -> Contrast:
    """Every condition in which the two differ.

    What they do not state cannot differ and is listed apart. What they state and we do not know does differ: nobody
    can say that it was the same. Of a task that is not text, what neither side has, such as a cap of tokens, is no
    condition.
    """
    differences, unstated = [], []
    for field in fields(Conditions):
        own, other = getattr(ours, field.name), getattr(theirs, field.name)
        if own is None and other is None and (ours.task != TEXT or field.name in OF_OTHER_TASKS):
            continue
        name = field.name.replace("_", " ").replace("gpu", "GPU")
        if other is None:
            unstated.append(name)
        elif own is None or not _SAME.get(field.name, _equal)(str(own), str(other)):
            said = "unknown" if own is None else str(own)
            differences.append(Difference(condition=name, ours=said, theirs=str(other)))
    return Contrast(differences=tuple(differences), unstated=tuple(unstated))


def conditions_of(summary: Summary, manifest: RunManifest | None, mode: str) -> Conditions:
    """The conditions of one mode of a run. Without its manifest, what only that knows stays unknown.

    Args:
        summary: Of the cell at its site.
        manifest: Of one of its sessions.
        mode: One of the summary's.
    """
    cell = summary.cell
    of_pair = cell.pair is not None and mode in cell.pair.modes
    engine = None if manifest is None else manifest.engine_of_pair if of_pair else manifest.engine
    boards = _boards(engine, manifest)
    kinds = sorted({_gpu(board) for board in boards or ()})
    answered = {each.mode: each.n_queries - each.n_failed for each in summary.modes}
    found = Conditions(
        model=model_of(cell, mode),
        energy=_energy(summary),
        boundary=summary.headline.value,
        gpu=None if boards is None else " and ".join(kinds) or "none",
        number_of_gpus=None if boards is None else len(boards),
        power_limit=_power_limit(cell, boards or ()),
        engine=cell.engine.name,
        engine_version=None if manifest is None else manifest.site.packages.get(cell.engine.name),
        precision=_precision(cell, engine),
        batch_size=cell.batch_size,
        protocol=protocol_family(cell.protocol),
        mode=mode,
        token_cap=cell.cap(mode),
        fewest_tokens=cell.min_new_tokens.get(mode, 0),
        sampling=sampling_words(cell.sampling),
        prompts=cell.prompt_set,
        number_of_prompts=answered.get(mode),
    )
    asked = next(each for each in summary.modes if each.mode == mode)
    return found if cell.task is None else _of_task(found, cell.task, cell, engine, asked)


def task_words(task: str | None) -> str:
    """A task as a condition says it: `image generation`; None is text."""
    return TEXT if task is None else task.replace("-", " ")


def _of_task(found: Conditions, task: str, cell: Cell, engine: EngineFacts | None, mode: ModeSummary) -> Conditions:
    """Those of a task that is not text: no modes, no tokens where it writes none, an image's size and steps."""
    libraries = {} if engine is None else engine.libraries
    writes = cell.max_new_tokens > 0
    steps = mode.sizes.get("denoising_steps")
    if DIFFUSERS in libraries:
        found = replace(found, engine=DIFFUSERS, engine_version=libraries[DIFFUSERS])
    return replace(
        found,
        task=task_words(task),
        mode=None,
        token_cap=found.token_cap if writes else None,
        fewest_tokens=None,
        sampling=found.sampling if writes else None,
        preprocessing=BEFORE_THE_QUERY,
        resolution=_resolution(cell, mode.sizes.get("output_pixels")),
        steps=None if steps is None else round(steps),
    )


def _resolution(cell: Cell, n_pixels: float | None) -> str | None:
    """Of the images that were made, as it was asked for; otherwise by how many pixels one has on average."""
    width, height = cell.task_options.get("width"), cell.task_options.get("height")
    if width and height:
        return f"{width}x{height}"
    return None if n_pixels is None else f"{n_pixels / 1e6:.3g} megapixels"


def _energy(summary: Summary) -> str:
    """How the joules were found. Those of a two-phase run are of prompts chosen for their lengths, no sample."""
    if summary.estimated:
        return "estimated"
    return MEASURED if summary.cell.lengths_batch_size is None else "two-phase"


def model_of(cell: Cell, mode: str) -> str:
    """Where the weights of a mode come from: a Hub id as a rule, otherwise the name that the run gave it."""
    pair = cell.pair
    model, source = (pair.model, pair.source) if pair is not None and mode in pair.modes else (cell.model, cell.source)
    return source if "/" in source and not source.startswith("/") else model


def protocol_family(protocol: str) -> str:
    """A protocol without our revision of it: `aies-v2-1` is `aies-v2`."""
    name, _, revision = protocol.rpartition("-")
    return name if name and revision.isdigit() else protocol


def sampling_words(sampling: Sampling | None) -> str:
    """How the next token is chosen, in words that are equal where the choice is."""
    if sampling is None:
        return MODELS_OWN
    if sampling.do_sample is False:
        return "greedy"
    parts = {
        "T": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition penalty": sampling.repetition_penalty,
    }
    return ", ".join(f"{name} {value:g}" for name, value in parts.items() if value is not None) or MODELS_OWN


def _boards(engine: EngineFacts | None, manifest: RunManifest | None) -> tuple[Board, ...] | None:
    """The boards that hold the model; None: not known."""
    if engine is None or manifest is None:
        return None
    return tuple(board for board in manifest.site.boards if board.uuid in engine.device_uuids)


def _gpu(board: Board) -> str:
    """A board's name with its memory in GB, which not every name holds."""
    name = board.name.removeprefix("NVIDIA ")
    memory = "" if board.memory_bytes is None else f"{round(board.memory_bytes / 2**30)}GB"
    if memory and memory not in name:
        name = f"{name} {memory}"
    return f"{name}, a MIG slice" if board.mig else name


def _power_limit(cell: Cell, boards: tuple[Board, ...]) -> str | None:
    """Whether the board could draw what it is made for; None: unknown, or no board."""
    limits_w = {cell.power_limit_w if cell.power_limit_w is not None else board.power_limit_w for board in boards}
    own_w = {board.power_limit_default_w for board in boards}
    if not boards or None in limits_w or None in own_w:
        return None
    capped_w = sorted(limit_w for limit_w in limits_w if limit_w is not None)
    return OWN_LIMIT if limits_w == own_w else " and ".join(f"{limit_w:g} W" for limit_w in capped_w)


def _precision(cell: Cell, engine: EngineFacts | None) -> str | None:
    """The executed precision, and whether it is the checkpoint's own; None: not known without the engine's facts."""
    own = cell.dtype == "auto" and cell.quantization == "none"
    if engine is None:
        return None if own or cell.quantization != "none" else cell.dtype
    kept = own and engine.executed_precision == engine.requested_precision
    return f"{engine.executed_precision}, {AS_PUBLISHED}" if kept else engine.executed_precision


def _equal(ours: str, theirs: str) -> bool:
    return ours.lower() == theirs.lower()


def _same_gpu(ours: str, theirs: str) -> bool:
    """Theirs says less, or the same: `H100 80GB` is `H100 80GB HBM3` as far as it goes."""
    words = ours.replace("-", " ").replace(",", " ").split()
    return set(theirs.split()) <= set(words) and "MIG" not in words


def _one_of(separator: str) -> Callable[[str, str], bool]:
    """Whether one side is among the words of the other."""
    return lambda ours, theirs: bool({*ours.split(separator)} & {*theirs.split(separator)})


def _same_resolution(ours: str, theirs: str) -> bool:
    """By the number of pixels, because one side may know no more."""
    return _megapixels(ours) == _megapixels(theirs)


def _megapixels(resolution: str) -> str:
    width, times, height = resolution.partition("x")
    return f"{int(width) * int(height) / 1e6:.3g}" if times and height.isdigit() else resolution.partition(" ")[0]


_SAME: Mapping[str, Callable[[str, str], bool]] = {
    "gpu": _same_gpu,
    "precision": _one_of(", "),
    "mode": _one_of(" or "),
    "resolution": _same_resolution,
}
"""Conditions that are alike without being equal as text."""
