"""Two-phase studies of an 8 B model: what their interval holds, whether a wrong law is caught, what they save."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .studies import LOG_SDS, studentized
from .tables import Table, percent
from .worlds import World, simulate

S_PER_MIN = 60.0
N_SCALED = 400
"""Prompts of the studies that minutes are scaled from; half-widths go with one over the root of their number."""
N_PROMPTS_MEANT = 20
"""Below it an interval over prompts means little."""
TARGET = 0.05
MINUTES_AIMED = 30.0
S_PER_MIN = 60.0


def coverage(n_studies: int, n_prompts: Sequence[int], seed: int) -> Table:
    """What the interval of the ratio holds, both parts of the error in it, in the studies whose law passes its test."""
    rows = []
    for log_sd in LOG_SDS:
        world = World(on_tokens=1000, log_sd=log_sd)
        truth = world.truth()
        for n in n_prompts:
            studies = simulate(world, n, n_studies, seed)
            intervals, accepted = studies.intervals(), studies.accepted()
            prompts = studentized(np.stack(studies.x_j), np.stack(studies.y_j))
            rows.append(
                [
                    f"{log_sd}",
                    str(n),
                    percent(float(intervals.hold(truth)[accepted].mean())),
                    percent(float(prompts.hold(truth)[accepted].mean())),
                    percent(float(np.median(intervals.half_width))),
                    percent(float(np.median(studies.law_width))),
                    percent(1 - float(accepted.mean())),
                    f"{np.mean(studies.first_s) / S_PER_MIN:.0f} + {np.mean(studies.second_s) / S_PER_MIN:.0f}",
                    f"{np.mean(studies.everything_s) / S_PER_MIN:.0f}",
                ]
            )
    return Table(
        "`--two-phase`: 8 B model on one H100, on 1,000 tokens, off 300, cap 8,192; 30 queries fitted, 10 held out",
        (
            "log sd",
            "prompts",
            "ratio",
            "without the law's part",
            "half-width",
            "law's part",
            "law refused",
            "minutes",
            "one by one",
        ),
        rows,
    )


def minutes(n_studies: int, on_tokens: Sequence[float], seed: int) -> Table:
    """GPU minutes for 5 % on the ratio, and what 30 minutes give: scaled from studies of `N_SCALED` prompts.

    Minutes are those of both phases; `static` is their sum if batches were not packed anew, `served` with a serving
    engine in the first, which has no padding.
    """
    rows = []
    for log_sd in LOG_SDS:
        for on in on_tokens:
            studies = simulate(World(on_tokens=on, log_sd=log_sd), N_SCALED, n_studies, seed)
            prompts = float(np.median(studentized(np.stack(studies.x_j), np.stack(studies.y_j)).half_width))
            law = float(np.median(studies.law_width))
            first, static, packed, second, alone = (
                float(np.mean(each)) / S_PER_MIN
                for each in (
                    studies.first_s,
                    studies.static_s,
                    studies.packed_s,
                    studies.second_s,
                    studies.everything_s,
                )
            )
            n_needed = N_SCALED * prompts**2 / (TARGET**2 - law**2)
            n_alone = N_SCALED * (prompts / TARGET) ** 2
            taken = first * n_needed / N_SCALED + second
            n_affordable = N_SCALED * max(MINUTES_AIMED - second, 0.0) / first
            within = math.sqrt(prompts**2 * N_SCALED / n_affordable + law**2) if n_affordable > 0 else math.nan
            n_afforded_alone = N_SCALED * MINUTES_AIMED / alone
            rows.append(
                [
                    f"{log_sd}",
                    f"{on:.0f}",
                    f"{n_needed:.0f}",
                    f"{first * n_needed / N_SCALED:.0f} + {second:.0f}",
                    f"{static * n_needed / N_SCALED + second:.0f}",
                    f"{alone * n_alone / N_SCALED:.0f}",
                    "yes" if taken <= MINUTES_AIMED else "no",
                    f"{packed * n_needed / N_SCALED + second:.0f}",
                    percent(within) if n_affordable >= N_PROMPTS_MEANT else "-",
                    percent(prompts * math.sqrt(N_SCALED / n_afforded_alone)),
                ]
            )
    return Table(
        "Two-phase minutes for 5 % on the ratio of an 8 B model, and the half-width that 30 minutes give",
        (
            "log sd",
            "on tokens",
            "prompts",
            "minutes",
            "static",
            "one by one",
            "in 30 min",
            "served",
            "30 min give",
            "30 min one by one",
        ),
        rows,
    )


def power(n_studies: int, seed: int) -> Table:
    """How often a law is refused, and what intervals hold in the studies that pass; with one law for all, beside it."""
    rows = []
    for scatter, scatter_off in ((0.01, 0.01), (0.02, 0.02), (0.05, 0.05), (0.01, 0.05)):
        for name, dearer_on, held_out_dearer in (
            ("holds", 0.0, 0.0),
            ("on 5 % dearer", 0.05, 0.0),
            ("on 10 % dearer", 0.1, 0.0),
            ("on 20 % dearer", 0.2, 0.0),
            ("held-out on 5 % off", 0.0, 0.05),
            ("held-out on 10 % off", 0.0, 0.1),
        ):
            world = World(on_tokens=2000, log_sd=0.6, dearer_on=dearer_on, scatter=scatter, scatter_off=scatter_off)
            row = [f"{percent(scatter, 0)}, {percent(scatter_off, 0)}", name]
            for factors in (True, False):
                studies = simulate(world, 200, n_studies, seed, held_out_dearer=held_out_dearer, factors=factors)
                accepted, intervals = studies.accepted(), studies.intervals()
                row.append(percent(1 - float(accepted.mean())))
                # Where only the held-out queries are off, the ratio has no truth to hold.
                row += (
                    [""] * 4
                    if held_out_dearer or not accepted.any()
                    else [
                        percent(float(intervals.hold(world.truth())[accepted].mean())),
                        percent(float(studies.law_holds()[accepted].mean())),
                        percent(float(np.median(intervals.half_width))),
                        percent(float(np.median(studies.law_width))),
                    ]
                )
            rows.append(row)
    figures = ("refused", "ratio holds", "law's part holds", "half-width", "law's part")
    return Table(
        "Two modes, 15 prompts fitted, 5 held out, of 200: a factor for each mode, then one law for both",
        ("scatter on, off", "the law", *figures, *(f"one law: {figure}" for figure in figures)),
        rows,
    )
