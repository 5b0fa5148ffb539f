"""Sides with known joules, for the tests of the gate. No run, no sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.gate.evidence import RunFigures, Side, SideKind
from harness.records import Boundary

BOARD = "GPU-11111111-2222-3333-4444-555555555555"
OTHER_BOARD = "GPU-66666666-7777-8888-9999-000000000000"
GAIN = 0.05


def run_figures(
    energy_j: Sequence[float] | np.ndarray[Any, Any],
    *,
    repeat: int = 0,
    tokens: Sequence[float] | None = None,
    correct: Sequence[float] | None = None,
    half_width: float | None = 0.0,
    board: str = BOARD,
    gain: float | None = GAIN,
    prompt_ids: Sequence[str] | None = None,
    n_failed: int = 0,
) -> RunFigures:
    """One repeat; `half_width` is relative."""
    values = np.asarray(energy_j, dtype=np.float64)
    gains: Mapping[str, float | None] = {board: gain}
    return RunFigures(
        run=f"repeat {repeat + 1}",
        repeat=repeat,
        prompt_ids=tuple(prompt_ids or (f"p{index:04d}" for index in range(len(values)))),
        energy_j=values,
        output_tokens=None if tokens is None else np.asarray(tokens, dtype=np.float64),
        correct=None if correct is None else np.asarray(correct, dtype=np.float64),
        half_width_reading_j=None if half_width is None else half_width * values,
        by_device_j={board: float(np.nansum(values))},
        gains=gains,
        n_failed=n_failed,
    )


def side(
    runs: Sequence[RunFigures],
    kind: SideKind = SideKind.CANDIDATE,
    *,
    together: bool = True,
    **changes: Any,
) -> Side:
    """A side on an H100; a reference is measured in turn with the candidate, unless it is said that it is not."""
    fields: dict[str, Any] = {
        "kind": kind,
        "words": f"model-{kind.value}",
        "model": "model",
        "mode": "on",
        "prompt_set": "everyday",
        "prompt_set_sha256": "0" * 64,
        "boards": ("NVIDIA H100 80GB HBM3",),
        "driver": "580.65",
        "protocol": "paired-1",
        "site_id": "site-a",
        "boundary": Boundary.GPU_BOARD,
        "estimated": False,
        "replayed": False,
        "runs": tuple(runs),
        "interleaved_with": "model-candidate" if together and kind is not SideKind.CANDIDATE else None,
    }
    return Side(**{**fields, **changes})


def constant(
    level_j: float, n: int = 40, effects: Sequence[float] = (1.0, 1.0, 1.0), **changes: Any
) -> list[RunFigures]:
    """Repeats whose prompts all cost the same, each repeat times its effect: nothing but run to run is uncertain."""
    return [run_figures([level_j * effect] * n, repeat=index, **changes) for index, effect in enumerate(effects)]


def drawn(
    level_j: float,
    n: int = 100,
    *,
    seed: int = 1,
    prompt_seed: int = 0,
    log_sd: float = 0.4,
    run_sd: float = 0.005,
    n_repeats: int = 3,
    **changes: Any,
) -> list[RunFigures]:
    """Repeats of log-normal joules; the same `prompt_seed` gives the same prompts."""
    means = np.exp(log_sd * np.random.default_rng(prompt_seed).standard_normal(n))
    rng = np.random.default_rng(seed)
    return [
        run_figures(
            level_j * means * np.exp(run_sd * rng.standard_normal() + 0.02 * rng.standard_normal(n)),
            repeat=index,
            **changes,
        )
        for index in range(n_repeats)
    ]
