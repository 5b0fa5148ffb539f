"""Repeats of one cell as one: each prompt's mean over them.

Where two cells take turns, repeat by repeat, what drifts meanwhile weighs on both alike; so it is the means over all
repeats that are compared, and not the first of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.figures import Figures, PhaseEnergy, paired

if TYPE_CHECKING:
    from harness.records import FloatArray

MEANS = (
    *("duration_s", "energy_j", "net_j", "energy_tail_j"),
    *("n_prompt_tokens", "n_thinking_tokens", "n_answer_tokens", "n_output_tokens"),
)
ERRORS = ("energy_half_width_j", "net_half_width_own_j")
"""Half-widths: those of a mean are smaller, because each repeat was measured by itself."""


def mean_of_repeats(repeats: Sequence[Figures]) -> Figures:
    """One mode of several repeats: the prompts that all of them answered, each with its means.

    Sizes, scores and which answers are cut or forced are taken from the first repeat. A prompt whose energy is unknown
    in one of them is unknown.

    Args:
        repeats: Answered queries of one mode in each repeat, at least one.
    """
    if len(repeats) == 1:
        return repeats[0]
    first = repeats[0]
    for other in repeats[1:]:
        first, _ = paired(first, other)
    found = [first, *(paired(first, other)[1] for other in repeats[1:])]
    phases = first.phase_names()
    return Figures(
        prompt=first.prompt,
        mode=first.mode,
        session=first.session,
        by_device_j={device: _mean([_device(each, device) for each in found]) for device in first.by_device_j},
        net_half_width_baseline_j={
            name: _error([each.net_half_width_baseline_j.get(name, np.zeros(len(first))) for each in found])
            for name in first.net_half_width_baseline_j
        },
        phases_known=np.all([each.phases_known for each in found], axis=0),
        phases_j={name: _phase(found, name) for name in phases},
        has_phase={
            name: np.any([each.has_phase.get(name, np.zeros(len(first), dtype=np.bool_)) for each in found], axis=0)
            for name in phases
        },
        phases_s={
            name: _mean([each.phases_s.get(name, np.full(len(first), np.nan)) for each in found])
            for name in first.phases_s
        },
        sizes=first.sizes,
        correct=first.correct,
        graded=first.graded,
        values=first.values,
        lists=first.lists,
        cut=first.cut,
        forced=first.forced,
        why_no_energy=np.max([each.why_no_energy for each in found], axis=0),
        **{name: _over(found, name, _mean) for name in MEANS},
        **{name: _over(found, name, _error) for name in ERRORS},
    )


def _over(found: Sequence[Figures], name: str, of: Callable[[Sequence[FloatArray]], FloatArray]) -> FloatArray:
    return of([getattr(each, name) for each in found])


def _mean(values: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def _error(half_widths: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.sqrt(np.sum(np.square(half_widths), axis=0)) / len(half_widths), dtype=np.float64)


def _device(figures: Figures, device: tuple[str, object]) -> FloatArray:
    return next((each for own, each in figures.by_device_j.items() if own == device), np.full(len(figures), np.nan))


def _phase(found: Sequence[Figures], name: str) -> PhaseEnergy:
    """One phase; the joules of a repeat that did not have it are 0."""
    phases = [each.in_phase(name) for each in found]
    return PhaseEnergy(
        energy_j=_mean([each.energy_j for each in phases]),
        half_width_j=_error([each.energy_half_width_j for each in phases]),
        by_device_j={device: _mean([_device(each, device) for each in phases]) for device in found[0].by_device_j},
    )
