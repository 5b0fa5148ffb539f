"""Many gates over one world through `harness.gate.judging.judge`, and how often they said what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from check_gate.worlds import World
from harness.gate.budget import Budget, ReferenceKind
from harness.gate.evidence import Side
from harness.gate.judging import judge
from harness.gate.verdict import Outcome, Verdict

TODAY = date(2026, 1, 1)
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of all gates, and their standard error where the true share is alpha."""

    passed: float
    failed: float
    n: int

    @property
    def error(self) -> float:
        return float(np.sqrt(ALPHA * (1 - ALPHA) / self.n))


def budget(*lines: dict[str, Any], **shared: Any) -> Budget:
    """A budget of simulated lines: nothing is left out for being small."""
    return Budget.model_validate({"min_queries": 1, "alpha": ALPHA, "lines": lines, **shared})


def verdict(what: Budget, candidate: Sequence[Side], reference: Sequence[Side], n_looks: int = 1) -> Verdict:
    return judge(what, candidate, {ReferenceKind.RELEASE: reference}, today=TODAY, n_looks=n_looks)


def rates(world: World, what: Budget, n_studies: int, seed: int) -> Rates:
    """How often the whole gate passes and fails."""
    rng = np.random.default_rng([seed, world.n, round(1000 * world.log_sd), round(10_000 * world.run_sd)])
    said = Counter(verdict(what, *world.study(rng)).outcome for _ in range(n_studies))
    if said[Outcome.INVALID]:
        raise AssertionError("a simulated gate is never invalid")
    return Rates(said[Outcome.PASS] / n_studies, said[Outcome.FAIL] / n_studies, n_studies)


def looking(world: World, what: Budget, looks: Sequence[int], n_studies: int, seed: int) -> tuple[Rates, float]:
    """Gates that stop at the first look that decides: their rates, and the mean repeats of a side."""
    rng = np.random.default_rng([seed, world.n, round(1000 * world.log_sd), round(10_000 * world.run_sd), len(looks)])
    said: Counter[Outcome] = Counter()
    n_repeats = 0
    for _ in range(n_studies):
        candidate, reference = replace(world, n_repeats=looks[-1]).study(rng)
        for look in looks:
            outcome = verdict(what, _first(candidate, look), _first(reference, look), len(looks)).outcome
            if outcome is not Outcome.INCONCLUSIVE:
                break
        said[outcome] += 1
        n_repeats += look
    return Rates(said[Outcome.PASS] / n_studies, said[Outcome.FAIL] / n_studies, n_studies), n_repeats / n_studies


def _first(sides: Sequence[Side], n_repeats: int) -> list[Side]:
    return [replace(side, runs=side.runs[:n_repeats]) for side in sides]
