"""One figure of a repetition, held against 1: whether it agrees, and within what.

Knows a ratio and the parts of its error. Must not know which other figures are judged beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from pydantic import Field

from harness.analysis.bootstrap import N_LEAST, ROUNDING, TAIL
from harness.analysis.interval import Part, RunsPart, SystematicPart
from harness.analysis.paired_ratio import PairedRatio
from harness.analysis.student import z_upper
from harness.records import Record

RUN_SD_MOST = 0.02
"""Relative standard deviation of one run up to which an unknown spread counts as an explanation."""
MISSING_MOST = 0.05
"""Share of the prompts that may lack a figure on either side."""
UNKNOWN_SENSOR = (
    "it takes a sensor's own error to explain the ratio, and how far one of the sensors may read off is not known"
)
SEEN_MOST = 1.0
"""Relative difference that must have been seen for an agreement to say anything; beyond, it is undecided."""
POWER_TAIL = 0.2
"""A smallest difference is one that is seen in four of five repetitions."""


class Verdict(StrEnum):
    """Of a figure, or of the whole."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "undecided"
    NOT_COMPARABLE = "not comparable"


class Within(StrEnum):
    """What it takes to explain a ratio that is not 1, the parts before it included."""

    READING_AND_PROMPTS = "reading and prompts"
    RUN_TO_RUN = "run to run"
    GAIN = "gain"


class Kind(StrEnum):
    """What a figure is of."""

    COST = "cost"
    RATIO = "ratio"
    TOKENS = "tokens"
    RIGHT = "right"


class RepeatedFigure(Record):
    """One figure of the base and of the repetition. Half-widths are of 95 % each by itself, relative to the ratio."""

    kind: Kind
    of: str = Field(description="the mode, or `on over off`")
    verdict: Verdict
    reasons: tuple[str, ...] = Field(default=(), description="why it is not comparable")
    n_prompts: int = Field(default=0, description="known on both sides, in every repeat")
    base: float | None = Field(default=None, description="J or s per query, their ratio, tokens or right answers")
    repetition: float | None = None
    ratio: float | None = Field(default=None, description="the repetition over the base")
    low: float | None = Field(default=None, description="of the ratio, by all parts that are known, at `level`")
    high: float | None = None
    level: float | None = Field(default=None, description="two-sided, at which it is judged among its peers")
    within: Within | None = None
    half_width_reading: float | None = None
    half_width_prompts: float | None = None
    half_width_runs: float | None = Field(default=None, description="null: no side was repeated")
    half_width_gain: float | None = Field(default=None, description="null: how far a sensor may read off is not known")
    excess: float | None = Field(default=None, description="relative: by how much it is beyond what is known")
    run_sd_needed: float | None = Field(
        default=None, description="relative standard deviation of one run that would explain it, where that is unknown"
    )
    smallest_seen: float | None = Field(
        default=None, description="relative: so large a difference is seen in 80 % of such repetitions"
    )
    p_value: float | None = Field(default=None, description="of right answers: exact, two-sided")

    @property
    def is_judged(self) -> bool:
        """Whether there is a verdict on it."""
        return self.verdict is not Verdict.NOT_COMPARABLE


def judged(
    kind: Kind, of: str, pair: PairedRatio | None, wanted: int, level: float, reasons: Sequence[str]
) -> RepeatedFigure:
    """One figure at its level; where something stands against it, its values without a verdict.

    Args:
        kind: What it is of.
        of: Its mode, or its modes.
        pair: Its ratio; None: too few prompts have one.
        wanted: Prompts that both sides were to answer.
        level: Two-sided.
        reasons: Why it cannot be compared.
    """
    if pair is None:
        few = f"{of}: fewer than {N_LEAST} prompts have a figure on both sides"
        return RepeatedFigure(kind=kind, of=of, verdict=Verdict.NOT_COMPARABLE, reasons=tuple(reasons) or (few,))
    if pair.n_prompts < (1 - MISSING_MOST) * wanted:
        missing = f"{of}: {wanted - pair.n_prompts} of {wanted} prompts have no figure on one side or the other"
        reasons = (*reasons, f"{missing}, and at most {100 * MISSING_MOST:.0f} % may")
    values = _values(kind, of, pair)
    if reasons:
        return values.model_copy(update={"verdict": Verdict.NOT_COMPARABLE, "reasons": tuple(reasons)})
    return values.model_copy(update={"level": level, **_held(pair, level / 2)})


def _values(kind: Kind, of: str, pair: PairedRatio) -> RepeatedFigure:
    prompts, runs = pair.prompts.reach(TAIL), pair.runs.reach(TAIL).low
    per_query = pair.n_prompts if kind is Kind.TOKENS else 1
    return RepeatedFigure(
        kind=kind,
        of=of,
        verdict=Verdict.NOT_COMPARABLE,
        n_prompts=pair.n_prompts,
        base=pair.base * per_query,
        repetition=pair.repetition * per_query,
        ratio=pair.ratio,
        half_width_reading=pair.reading.half_width,
        half_width_prompts=max(prompts.low, prompts.high),
        half_width_runs=runs if math.isfinite(runs) else None,
        half_width_gain=pair.gain.half_width,
    )


def _held(pair: PairedRatio, alpha: float) -> dict[str, Any]:
    """A ratio held against 1, part after part.

    Args:
        pair: The ratio.
        alpha: One-sided level.
    """
    parts: list[Part] = []
    distance, below = abs(pair.distance), pair.distance > 0
    within = None
    for name, added in (
        (Within.READING_AND_PROMPTS, (pair.reading, pair.prompts)),
        (Within.RUN_TO_RUN, (pair.runs,)),
        (Within.GAIN, (pair.gain,)),
    ):
        parts += [part for part in added if _is_known(part)]
        if within is None and distance <= pair.reach(parts, alpha, below=below) + ROUNDING:
            within = name
    known = pair.reach(parts, alpha, below=below)
    found: dict[str, Any] = {
        "low": pair.ratio * math.exp(-pair.reach(parts, alpha, below=True)),
        "high": pair.ratio * math.exp(pair.reach(parts, alpha, below=False)),
    }
    sensors_known = _is_known(pair.reading) and _is_known(pair.gain)
    if not _is_known(pair.runs):
        parts.append(replace(pair.runs, sd=RUN_SD_MOST, measured=False))
    if sensors_known:
        ends = [
            pair.reach(parts, alpha, below=each) + pair.reach(parts, POWER_TAIL, below=each) for each in (True, False)
        ]
        found["smallest_seen"] = math.expm1(max(ends))
    if within is not None:
        blind = sensors_known and found["smallest_seen"] > SEEN_MOST
        return {**found, "verdict": Verdict.UNDECIDED if blind else Verdict.AGREES, "within": None if blind else within}
    found["excess"] = math.expm1(distance - known)
    if not sensors_known:
        return {**found, "verdict": Verdict.NOT_COMPARABLE, "reasons": (UNKNOWN_SENSOR,)}
    if _is_known(pair.runs):
        return {**found, "verdict": Verdict.DIFFERS}
    of_one = z_upper(alpha) * math.sqrt(sum(1 / n for n in pair.runs.n_runs))
    explained = distance <= pair.reach(parts, alpha, below=below)
    return {
        **found,
        "verdict": Verdict.UNDECIDED if explained else Verdict.DIFFERS,
        "run_sd_needed": math.sqrt(distance**2 - known**2) / of_one,
    }


def _is_known(part: Part) -> bool:
    return not isinstance(part, RunsPart | SystematicPart) or part.reach(TAIL).low < math.inf
