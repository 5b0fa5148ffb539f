"""A rough law of a cell's time and joules, from the catalogue alone, between two assumed machines.

    seconds = start + weights / disk + idle baselines + steps x seconds per step
    steps = prompts / at once x sum over modes (tokens)
    seconds per step = weights that work on a token / memory bandwidth + layers x seconds per layer
    layers = 16 (parameters / 1e8)^(1/4)
    joules = steps x seconds per step x watts

Nothing here is measured. Bandwidths, watts and disks are assumed: those of a fast and a slow machine of each kind, with
half of the bandwidth that their makers print. The seconds per layer are what Python and the driver need to start a
layer's kernels, which is most of a small model's time. The layers are a curve that is near the 4 of 0.9 M parameters,
the 28 of 0.6 B, the 36 of 8 B and the 80 of 70 B. Prompts count as short, and an answer as a share of its cap. Both
ends are likely ones, no bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from harness.config import Catalogue, ModelEntry, RunSpec
from harness.reasoning.switch import budget_of
from harness.records import PlannedCell
from harness.sweep.planning.estimate import NOTHING, CellEstimate, Span, around, unknown
from harness.wiring.sizes import EVERYDAY_SET, cap_of, prompts_asked
from harness.wiring.subject import subject_of

SHARE_OF_CAP = {"off": Span(low=0.02, high=0.2), "default": Span(low=0.02, high=0.5)}
"""How much of its cap an answer takes, by mode."""
SHARE_THINKING = Span(low=0.15, high=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One end of the range."""

    bandwidth_bytes_per_s: float
    duration_layer_s: float
    duration_layer_served_s: float
    disk_bytes_per_s: float
    duration_start_s: float
    """Of a process besides its weights and its queries: to start, to warm up, to write its page."""
    power_w: float


GPUS = (
    Machine(
        bandwidth_bytes_per_s=2.4e12,  # half of an H200's
        duration_layer_s=0.3e-3,
        duration_layer_served_s=0.03e-3,
        disk_bytes_per_s=3e9,
        duration_start_s=12,
        power_w=350,
    ),
    Machine(
        bandwidth_bytes_per_s=0.3e12,  # half of an A10's
        duration_layer_s=0.8e-3,
        duration_layer_served_s=0.1e-3,
        disk_bytes_per_s=0.3e9,
        duration_start_s=60,
        power_w=150,
    ),
)
CPUS = (
    Machine(
        bandwidth_bytes_per_s=150e9,  # half of eight channels of DDR5
        duration_layer_s=0.3e-3,
        duration_layer_served_s=0.1e-3,
        disk_bytes_per_s=3e9,
        duration_start_s=12,
        power_w=300,
    ),
    Machine(
        bandwidth_bytes_per_s=25e9,  # half of two channels of DDR4
        duration_layer_s=1.2e-3,
        duration_layer_served_s=0.5e-3,
        disk_bytes_per_s=0.3e9,
        duration_start_s=60,
        power_w=30,
    ),
)


def rough(cell: PlannedCell, catalogue: Catalogue, *, on_gpus: bool) -> CellEstimate:
    """What a cell may take on a machine of which nothing is known.

    Args:
        cell: The cell.
        catalogue: Where the model's size is looked up.
        on_gpus: Whether a GPU will run it.

    Raises:
        UsageError: A model, mode or budget that does not exist.
    """
    run = RunSpec.model_validate(cell.spec)
    if run.other_task is not None:
        return unknown(f"no rough law is known of {run.other_task}; its first cell tells")
    entry = _entry(run, catalogue)
    prompt_set = run.prompts or run.preset.prompts or entry.prompts or EVERYDAY_SET
    n_prompts = prompts_asked(run, prompt_set)
    if n_prompts is None:
        return unknown("it stops when its interval is narrow enough")
    if run.two_phase:
        return unknown("a two-phase run measures some of its queries alone and counts the rest in batches")
    sized = _as_executed(entry, run)
    weights = _on_disk(sized) or sized.weight_bytes
    if weights is None:
        return unknown(f"the size of {entry.name} is in no catalogue")
    subject = subject_of(run, catalogue, entry)
    at_once = (run.batch_size or (run.concurrency[0] if run.concurrency else 1)) if not run.request_rate else n_prompts
    turns = math.ceil(n_prompts / at_once)
    cap = run.max_new_tokens or cap_of(prompt_set)
    tokens = sum((_tokens(mode, run.preset.cap(mode) or cap).times(turns) for mode in subject.modes), NOTHING)
    parameters = sized.parameters or weights / 2
    active = min(1.0, (sized.active_parameters or parameters) / parameters * min(at_once, n_prompts))
    machines = GPUS if on_gpus and run.device != "cpu" else CPUS
    n_layers = 16 * (parameters / 1e8) ** 0.25
    steps, joules, besides = [], [], []
    n_loads = 0 if run.base_url is not None else 1 if subject.pair is None else 2
    for machine in machines:
        layer_s = machine.duration_layer_served_s if run.is_served else machine.duration_layer_s
        step_s = weights * active / machine.bandwidth_bytes_per_s + n_layers * layer_s
        steps.append(step_s)
        joules.append(step_s * min(machine.power_w, run.power_limit_w or machine.power_w))
        load_s = n_loads * weights / machine.disk_bytes_per_s
        besides.append(machine.duration_start_s + load_s + 2 * run.idle_duration_s)
    queries_s, energy_j = tokens.by(around(steps)), tokens.by(around(joules))
    if run.request_rate:  # they arrive one after the other, however fast they are answered
        arriving_s = len(subject.modes) * n_prompts / run.request_rate[0]
        queries_s = Span(low=max(queries_s.low, arriving_s), high=max(queries_s.high, arriving_s))
    return CellEstimate(
        kind="rough",
        duration_s=around(besides) + queries_s,
        energy_j=energy_j,
        basis=f"{weights / 1e9:.3g} GB of weights",
    )


def _entry(run: RunSpec, catalogue: Catalogue) -> ModelEntry:
    """The catalogue's entry; of a server's model, that of the same name, or one without a size."""
    name = run.model[0]
    if not run.is_served:
        return catalogue.entry(name)
    known = (entry for entry in catalogue.models if name in (entry.name, entry.source))
    return next(known, ModelEntry(name=name, source=name))


def _as_executed(entry: ModelEntry, run: RunSpec) -> ModelEntry:
    """The entry with the precision that the run asks for."""
    dtype = run.preset.dtype if run.dtype == "auto" else run.dtype
    changed: dict[str, str | None] = {"dtype": dtype, "quantization": None} if dtype != "auto" else {}
    if run.quantization != "none":
        changed["quantization"] = run.quantization
    return entry.model_copy(update=changed)


def _on_disk(entry: ModelEntry) -> float | None:
    """Bytes of a checkpoint that is a directory or a file here; None: it is neither, or holds no weights."""
    path = Path(entry.source)
    if not path.is_absolute():
        return None
    files = (
        [path]
        if path.is_file()
        else [each for kind in ("safetensors", "bin", "gguf") for each in path.glob(f"*.{kind}")]
    )
    return float(sum(file.stat().st_size for file in files)) or None


def _tokens(mode: str, cap: int) -> Span:
    """New tokens of one answer."""
    budget = budget_of(mode)
    if budget is not None:
        answer = SHARE_OF_CAP["off"].times(cap)
        return Span(low=min(cap, answer.low + budget / 4), high=min(cap, answer.high + budget))
    return SHARE_OF_CAP.get(mode, SHARE_THINKING).times(cap)
