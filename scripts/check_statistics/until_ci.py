"""Studies that stop when their interval is narrow enough: what it then holds, and the factor that mends it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.sequential import inflation, looks

from .studies import LOG_SDS, RATIO, Intervals, joules, studentized
from .tables import Table, percent

STUDIES_AT_ONCE = 2000
N_MOST = (100, 400, 1000)
TARGETS = (0.05, 0.1, 0.15, 0.2)
FACTORS = tuple(1 + step / 100 for step in range(21))
COVERAGE_WANTED = 0.95
SEQUENCE_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Looks:
    """The plain intervals of every study at every look."""

    counts: tuple[int, ...]
    ratios: tuple[Intervals, ...]
    means: tuple[Intervals, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What the studies had when they stopped."""

    held: float
    n_mean: float
    settled: float


def studies(n_studies: int, n_most: int, log_sd: float, seed: int) -> Iterator[Looks]:
    """Blocks of studies, looked at as a run would."""
    rng = np.random.default_rng([seed, n_most, round(log_sd * 10)])
    for first in range(0, n_studies, STUDIES_AT_ONCE):
        x, y = joules(min(STUDIES_AT_ONCE, n_studies - first), n_most, log_sd, rng)
        at = looks(n_most)
        yield Looks(
            at,
            tuple(studentized(x[:, :n], y[:, :n]) for n in at),
            tuple(studentized(x[:, :n], np.ones((len(x), n))) for n in at),
        )


def stopped(counts: Sequence[int], intervals: Sequence[Intervals], target: float, factor: float) -> Stopped:
    """Stop at the first look whose widened half-width is at most the target, else at the last; the truth is `RATIO`."""
    wide = [each.widened(factor) for each in intervals]
    narrow = np.stack([each.half_width <= target for each in wide])
    settled = narrow.any(axis=0)
    at = np.where(settled, narrow.argmax(axis=0), len(counts) - 1)
    holds = np.stack([each.hold(RATIO) for each in wide])[at, np.arange(len(at))]
    return Stopped(float(holds.mean()), float(np.array(counts)[at].mean()), float(settled.mean()))


def averaged(parts: Sequence[Stopped]) -> Stopped:
    """Of blocks of the same size."""
    return Stopped(*(float(np.mean([getattr(p, name) for p in parts])) for name in ("held", "n_mean", "settled")))


def calibration(n_studies: int, seed: int) -> Table:
    """Coverage of the stopped interval by factor: the smallest factor whose worst row is at least 95 % is wanted."""
    rows: list[list[str]] = []
    worst = {(kind, factor): 1.0 for kind in ("ratio", "mean") for factor in FACTORS}
    for n_most in N_MOST:
        for log_sd in LOG_SDS:
            blocks = list(studies(n_studies, n_most, log_sd, seed))
            for kind in ("ratio", "mean"):
                for target in TARGETS:
                    held = []
                    for factor in FACTORS:
                        parts = [
                            stopped(b.counts, b.ratios if kind == "ratio" else b.means, target, factor) for b in blocks
                        ]
                        held.append(averaged(parts).held)
                        worst[kind, factor] = min(worst[kind, factor], held[-1])
                    rows.append(
                        [kind, str(n_most), f"{log_sd}", percent(target, 0), *(percent(each) for each in held[::2])]
                    )
            print(*("  ".join(row) for row in rows[-2 * len(TARGETS) :]), sep="\n", flush=True)
    rows += [
        [kind, "worst", "", "", *(percent(worst[kind, factor]) for factor in FACTORS[::2])]
        for kind in ("ratio", "mean")
    ]
    return Table(
        "Coverage of the interval at stopping, by the factor on its half-width",
        ("of", "most", "log sd", "target", *(f"{factor:.2f}" for factor in FACTORS[::2])),
        rows,
    )


def sequence_factor(n: int, n_best: int) -> float:
    """How much wider than the plain interval an asymptotic confidence sequence is, which holds at every n at once.

    I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy and A. Ramdas, Time-uniform central limit theory and asymptotic
    confidence sequences, Annals of Statistics 52, 2024, equation 6, with rho chosen for `n_best` (their equation 10).
    """
    log_alpha = -2 * math.log(SEQUENCE_ALPHA)
    rho_squared = (log_alpha + math.log(log_alpha + 1)) / n_best
    scale = n * rho_squared
    return math.sqrt((scale + 1) / scale * math.log((scale + 1) / SEQUENCE_ALPHA**2)) / 1.959964


def coverage(n_studies: int, n_mosts: Sequence[int], seed: int) -> Table:
    """What the rule as it is in the program gives."""
    rows = []
    for n_most in n_mosts:
        for log_sd in LOG_SDS:
            blocks = list(studies(n_studies, n_most, log_sd, seed))
            for target in (0.05, 0.1):
                ratio = averaged([stopped(b.counts, b.ratios, target, inflation(n_most)) for b in blocks])
                mean = averaged([stopped(b.counts, b.means, target, inflation(n_most, one_mode=True)) for b in blocks])
                plain = averaged([stopped(b.counts, b.ratios, target, 1.0) for b in blocks])
                rows.append(
                    [
                        str(n_most),
                        f"{log_sd}",
                        percent(target, 0),
                        percent(ratio.held),
                        f"{ratio.n_mean:.0f}",
                        percent(ratio.settled, 0),
                        percent(plain.held),
                        percent(mean.held),
                        f"{mean.n_mean:.0f}",
                    ]
                )
    return Table(
        "`--until-ci`: coverage at stopping and prompts asked",
        ("most", "log sd", "target", "ratio holds", "mean n", "settled", "unwidened", "mean holds", "mean n"),
        rows,
    )


def alternatives() -> Table:
    """The calibrated factor beside that of an asymptotic confidence sequence, which needs no simulation."""
    rows = []
    for n_best in (100, 400, 1000):
        factors = [sequence_factor(n, n_best) for n in (30, 100, 200, 400, 1000)]
        rows.append([f"confidence sequence, best at {n_best}", *(f"{factor:.2f}" for factor in factors)])
    rows.append(["calibrated, ratio", *[f"{inflation(1000):.2f}"] * 5])
    rows.append(["calibrated, mean", *[f"{inflation(1000, one_mode=True):.2f}"] * 5])
    return Table(
        "Factor on the half-width, by prompts at stopping; prompts needed grow with its square",
        ("method", "30", "100", "200", "400", "1000"),
        rows,
    )
