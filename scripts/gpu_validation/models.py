"""Queries on models of real shape with random weights: joules per token, repeatability, the law of output length.

The shapes are those of published models; the weights are random, so the text is noise and its length is forced. Energy
depends on shapes and kernels, hardly on what the weights say; what a trained model's routing, stopping and text would
change is not here. Knows torch and transformers.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .bench import Bench, Experiment
from .streams import FloatArray, Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table, Verdict, below, mean_with_half_width

N_PROMPT_TOKENS = 128
LENGTHS = (10, 128, 1024)
LENGTHS_TINY = (2, 8, 16)
N_REPEATS = 3
SD_LIMIT, SD_TOO_MUCH = 0.02, 0.05
LAW_LIMIT = 0.05
BYTES_PER_PARAMETER = 2
MEMORY_SPARE_BYTES = 1_500_000_000
CLOSING_S = 8.0
"""Kept back for reading the last energies and writing the report."""
BUILD_LEAST_S = 15.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's architecture: the configuration class of transformers, and what it is given."""

    name: str
    config_class: str
    options: dict[str, Any] = field(default_factory=dict)


SHAPES = (
    Shape(
        "qwen3-0.6b",
        "Qwen3Config",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
    ),
    Shape(
        "qwen3-4b",
        "Qwen3Config",
        {
            "hidden_size": 2560,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 9728,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
    ),
    Shape(
        "llama3-8b",
        "LlamaConfig",
        {
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "vocab_size": 128256,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": False,
        },
    ),
)
SHAPES_TINY = tuple(
    Shape(
        f"tiny-{name}",
        config_class,
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "intermediate_size": 64,
            "vocab_size": 256,
        },
    )
    for name, config_class in (("qwen3", "Qwen3Config"), ("llama", "LlamaConfig"))
)


def experiment(tiny: bool) -> Experiment:
    """The queries, with two claims a shape."""
    shapes = SHAPES_TINY if tiny else SHAPES
    return Experiment(
        name="models",
        title="Queries on real model shapes, random weights",
        claims=tuple(claim for shape in shapes for claim in claims_of(shape.name)),
        duration_nominal_s=np.inf,
        duration_least_s=3.0 if tiny else BUILD_LEAST_S + CLOSING_S,
        run=run,
        judge=judge,
    )


def claims_of(name: str) -> tuple[Claim, Claim]:
    """What is claimed of one shape."""
    return (
        Claim(f"repeatable_{name}", f"{name}: repeats of one query differ by less than 2 % (standard deviation)."),
        Claim(f"affine_{name}", f"{name}: energy is a fixed part plus a part per token, within 5 % at every length."),
    )


def run(bench: Bench, duration_s: float) -> None:  # noqa: ARG001 - it takes what is left, and splits it
    """Each shape gets an equal part of the time that is left."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    bench.forget_works()
    _empty(torch, bench.device)
    shapes = SHAPES_TINY if bench.tiny else SHAPES
    closing_s = 1.0 if bench.tiny else CLOSING_S
    with bench.meter() as meter:
        for number, shape in enumerate(shapes):
            share_s = (bench.budget.left_s - closing_s) / (len(shapes) - number)
            why_not = _why_not(bench, torch, shape, share_s)
            if why_not is not None:
                now_s = bench.now_s()
                bench.did("skipped", now_s, now_s, model=shape.name, reason=why_not)
                bench.say(f"    {shape.name}: skipped, {why_not}")
                continue
            try:
                _measure(bench, meter, torch, transformers, shape, bench.now_s() + share_s)
            except torch.OutOfMemoryError:
                now_s = bench.now_s()
                bench.did("skipped", now_s, now_s, model=shape.name, reason="the board's memory did not suffice")
            _empty(torch, bench.device)


def n_parameters(shape: Shape) -> int:
    """How many parameters a shape has; built without memory."""
    import torch
    import transformers

    with torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(_config(transformers, shape), dtype=torch.bfloat16)
    return sum(parameter.numel() for parameter in empty.parameters())


def _config(transformers: Any, shape: Shape) -> Any:
    return getattr(transformers, shape.config_class)(**shape.options)


def _dtype(torch: Any, device: str) -> Any:
    if not device.startswith("cuda"):
        return torch.float32
    # Before Ampere bfloat16 is emulated.
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def _why_not(bench: Bench, torch: Any, shape: Shape, share_s: float) -> str | None:
    if not bench.tiny and share_s < BUILD_LEAST_S:
        return f"{max(share_s, 0.0):.0f} s are left for it"
    if not bench.device.startswith("cuda"):
        return None
    needed = BYTES_PER_PARAMETER * n_parameters(shape) + MEMORY_SPARE_BYTES
    free, _ = torch.cuda.mem_get_info(bench.device)
    return None if needed < free else f"it needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"


def _measure(bench: Bench, meter: Any, torch: Any, transformers: Any, shape: Shape, until_s: float) -> None:
    built_s = bench.now_s()
    torch.manual_seed(0)
    with torch.device(bench.device):  # drawn where they will lie: on a processor 8 B numbers take minutes
        model = transformers.AutoModelForCausalLM.from_config(
            _config(transformers, shape), dtype=_dtype(torch, bench.device)
        ).eval()
    n_built = sum(parameter.numel() for parameter in model.parameters())
    ids = torch.randint(0, model.config.vocab_size, (1, N_PROMPT_TOKENS), device=bench.device)

    def generate(n_tokens: int) -> None:
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                min_new_tokens=n_tokens,
                max_new_tokens=n_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        if bench.device.startswith("cuda"):
            torch.cuda.synchronize(bench.device)
        if output.shape[1] != N_PROMPT_TOKENS + n_tokens:
            raise ValueError(f"{shape.name} gave {output.shape[1] - N_PROMPT_TOKENS} tokens instead of {n_tokens}.")

    lengths = LENGTHS_TINY if bench.tiny else LENGTHS
    generate(lengths[0])  # kernels are chosen and memory is taken at the first one
    started_s = bench.now_s()
    generate(lengths[0])
    per_token_s = (bench.now_s() - started_s) / lengths[0]
    bench.say(
        f"    {shape.name}: {n_built / 1e9:.2f} B parameters built in {started_s - built_s:.1f} s, "
        f"{per_token_s * 1e3:.1f} ms a token"
    )
    meter.measure_idle(0.2 if bench.tiny else 1.0)
    spans: list[tuple[int, int, float, float, Any]] = []
    try:
        for repeat in range(N_REPEATS):
            for n_tokens in lengths:
                if bench.now_s() + n_tokens * per_token_s + 0.5 > until_s:
                    continue
                bench.pause(0.1 + 0.1 * float(bench.random.random()))
                start_s = bench.now_s()
                with meter.span(shape.name) as span:
                    generate(n_tokens)
                end_s = bench.now_s()
                per_token_s = (end_s - start_s) / n_tokens if n_tokens > lengths[0] else per_token_s
                spans.append((n_tokens, repeat, start_s, end_s, span))
    finally:  # also after Ctrl-C: what was measured is read
        _read(bench, meter, shape.name, n_built, spans)
    if not spans:
        now_s = bench.now_s()
        bench.did("skipped", now_s, now_s, model=shape.name, reason="after it was built no time was left for a query")


def _read(
    bench: Bench, meter: Any, name: str, n_built: int, spans: Sequence[tuple[int, int, float, float, Any]]
) -> None:
    if spans:
        bench.pause(0.3)
    for n_tokens, repeat, start_s, end_s, span in spans:
        reading = meter.read(span)
        bench.did(
            "query",
            start_s,
            end_s,
            model=name,
            n_parameters=float(n_built),
            n_tokens=float(n_tokens),
            repeat=float(repeat),
            energy_j=reading.energy_gross_j,
            energy_half_width_j=reading.energy_gross_half_width_j,
            energy_net_j=reading.energy_net_j,
            findings=" ".join(finding.code.value for finding in reading.findings),
        )


def _empty(torch: Any, device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:  # noqa: ARG001 - the meter has read the spans
    """Per shape: scatter of the repeats, and how well two coefficients explain all lengths."""
    names = list(dict.fromkeys(str(stretch.facts["model"]) for stretch in schedule))
    verdicts: list[Verdict] = []
    rows: list[tuple[float | str | None, ...]] = []
    for name in names:
        mine = [stretch for stretch in schedule if stretch.facts["model"] == name]
        skipped = next((stretch for stretch in mine if stretch.name == "skipped"), None)
        queries = [stretch for stretch in mine if stretch.name == "query"]
        known = [query for query in queries if isinstance(query.facts["energy_j"], int | float)]
        repeatable, affine = claims_of(name)
        if not known:
            words = f"Skipped: {skipped.facts['reason']}." if skipped is not None else "No query has an energy."
            ruling = Ruling.SKIPPED if skipped is not None else Ruling.UNDECIDED
            verdicts += [claim.ruled("models", ruling, words) for claim in (repeatable, affine)]
            continue
        rows += [_row(name, queries, n_tokens) for n_tokens in sorted({query.number("n_tokens") for query in queries})]
        verdicts += [_repeatable(repeatable, known), _affine(affine, known)]
    table = Table(
        name="models",
        title=f"Real model shapes, random weights, batch 1, {N_PROMPT_TOKENS} prompt tokens, gross energy",
        columns=(
            "model",
            "output tokens",
            "queries",
            "seconds",
            "energy, J",
            "mean half-width, J",
            "standard deviation, J",
            "energy per token, J",
            "above idle, J",
        ),
        rows=tuple(rows),
    )
    return Judgement(tuple(verdicts), (table,) if rows else ())


def _row(name: str, queries: Sequence[Stretch], n_tokens: float) -> tuple[float | str | None, ...]:
    some = [query for query in queries if query.number("n_tokens") == n_tokens]
    energies = _numbers(some, "energy_j")
    widths, nets = _numbers(some, "energy_half_width_j"), _numbers(some, "energy_net_j")
    mean_j = float(np.mean(energies)) if energies else None
    return (
        name,
        n_tokens,
        float(len(some)),
        float(np.mean([query.time_end_s - query.time_start_s for query in some])),
        mean_j,
        float(np.mean(widths)) if widths else None,
        float(np.std(energies, ddof=1)) if len(energies) > 1 else None,
        None if mean_j is None else mean_j / n_tokens,
        float(np.mean(nets)) if nets else None,
    )


def _numbers(queries: Sequence[Stretch], fact: str) -> list[float]:
    return [float(value) for query in queries if isinstance(value := query.facts[fact], int | float)]


def _repeatable(claim: Claim, queries: Sequence[Stretch]) -> Verdict:
    scatter: dict[float, float] = {}
    for n_tokens in sorted({query.number("n_tokens") for query in queries}):
        energies = _numbers([query for query in queries if query.number("n_tokens") == n_tokens], "energy_j")
        if len(energies) > 1:
            scatter[n_tokens] = float(np.std(energies, ddof=1) / np.mean(energies))
    if not scatter:
        return claim.ruled("models", Ruling.UNDECIDED, "No length was repeated in the time there was.")
    worst = max(scatter.values())
    ruling = Ruling.UNDECIDED
    if worst < SD_LIMIT or worst > SD_TOO_MUCH:
        ruling = Ruling.CONFIRMED if worst < SD_LIMIT else Ruling.REFUTED
    listed = ", ".join(f"{share:.1%} at {n_tokens:.0f} tokens" for n_tokens, share in scatter.items())
    return claim.ruled(
        "models", ruling, f"Standard deviation: {listed}.", Figure(name="deviation_most", value=worst, unit="1")
    )


def _affine(claim: Claim, queries: Sequence[Stretch]) -> Verdict:
    n_tokens = np.array([query.number("n_tokens") for query in queries])
    energies = np.array([query.number("energy_j") for query in queries])
    lengths = np.unique(n_tokens)
    if len(lengths) < 3:
        return claim.ruled("models", Ruling.UNDECIDED, f"Only {len(lengths)} lengths were measured; a law needs three.")
    fixed_j, per_token_j = law(n_tokens, energies)
    misfits = []
    for length in lengths:
        expected_j = fixed_j + per_token_j * length
        mean_j, half_width_j = mean_with_half_width(energies[n_tokens == length].tolist())
        misfits.append((abs(mean_j / expected_j - 1.0), None if half_width_j is None else half_width_j / expected_j))
    worst, half_width = max(misfits, key=lambda pair: pair[0])
    rulings = [below(misfit, width, LAW_LIMIT) for misfit, width in misfits]
    if Ruling.REFUTED in rulings:
        ruling = Ruling.REFUTED
    else:
        ruling = Ruling.CONFIRMED if set(rulings) == {Ruling.CONFIRMED} else Ruling.UNDECIDED
    return claim.ruled(
        "models",
        ruling,
        f"{fixed_j:.3g} J + {per_token_j:.4g} J a token; the furthest length is off by {worst:.1%}.",
        Figure(name="energy_fixed", value=fixed_j, unit="J"),
        Figure(name="energy_per_token", value=per_token_j, unit="J"),
        Figure(name="misfit_most", value=worst, unit="1", half_width=half_width),
    )


def law(n_tokens: FloatArray, energies_j: FloatArray) -> tuple[float, float]:
    """Joules that do not depend on the output's length, and joules per output token.

    Least squares of the relative misfit: otherwise only the longest output would count.
    """
    design = np.column_stack((np.ones(len(n_tokens)), n_tokens)) / energies_j[:, None]
    (fixed_j, per_token_j), *_ = np.linalg.lstsq(design, np.ones(len(n_tokens)), rcond=None)
    return float(fixed_j), float(per_token_j)
