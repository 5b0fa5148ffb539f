"""What a query costs by its size, where that is a second of sound, a megapixel or a token: J = a + b x.

`energy_per_unit_j` is all joules over all units, and needs no law. The line is fitted to relative errors
(`relative_fit`): a is what a query costs whatever its size, b what a further unit costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.analysis.bootstrap import N_LEAST, FloatArray
from harness.analysis.estimates import ESTIMATED, ONE_RUN, Gains, divided, energy_per, left_out, total
from harness.analysis.figures import Figures
from harness.analysis.relative_fit import fit_relative
from harness.records import Estimate, Finding, FindingCode, SizeLaw

CONSTANT, SLOPE = 0, 1
PIXELS_PER_MEGAPIXEL = 1e6
INPUT_PIXELS, OUTPUT_PIXELS, STEPS, AUDIO = "input_pixels", "output_pixels", "denoising_steps", "audio_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a query's size may be measured in. `units` are of each query, NaN where it has no such size."""

    name: str
    unit: str
    units: Callable[[Figures], FloatArray]


def _prompt_tokens(figures: Figures) -> FloatArray:
    """Of a query that is text alone: beside a picture or a sound its words decide little."""
    larger = np.all([np.isnan(_of(figures, name)) for name in (INPUT_PIXELS, OUTPUT_PIXELS, AUDIO)], axis=0)
    return np.where(larger, figures.n_prompt_tokens, np.nan)


SIZES = (
    Size(name=AUDIO, unit="second of audio", units=lambda figures: _of(figures, AUDIO)),
    Size(
        name="output_megapixel_steps",
        unit="megapixel and step",
        units=lambda figures: _of(figures, OUTPUT_PIXELS) / PIXELS_PER_MEGAPIXEL * _of(figures, STEPS),
    ),
    Size(
        name="input_megapixels",
        unit="megapixel",
        units=lambda figures: _of(figures, INPUT_PIXELS) / PIXELS_PER_MEGAPIXEL,
    ),
    Size(name="output_tokens", unit="output token", units=lambda figures: figures.n_output_tokens),
    Size(name="prompt_tokens", unit="input token", units=_prompt_tokens),
)
"""In the order in which laws are named: what is written, token by token, costs more than what is read at once."""


def size_laws(figures: Figures, gains: Gains, *, estimated: bool) -> tuple[SizeLaw, ...]:
    """A law for each size that all of a mode's queries have.

    Args:
        figures: Answered queries of one mode of a task.
        gains: Of the devices.
        estimated: Whether the joules are a hardware model's: a law of them would be of its assumptions.

    Returns:
        Joules null with their reason where they are not known; seconds are always there.
    """
    found = [(size, size.units(figures)) for size in SIZES]
    return tuple(
        _law(size, units, figures, gains, estimated)
        for size, units in found
        if len(units) and not np.isnan(units).any() and units.sum() > 0
    )


def _law(size: Size, units: FloatArray, figures: Figures, gains: Gains, estimated: bool) -> SizeLaw:
    measured, of_measured = figures.at(figures.measured), units[figures.measured]
    missing = left_out(figures)
    constant, slope, residual = _line(of_measured, measured, gains, estimated)
    return SizeLaw(
        size=size.name,
        unit=size.unit,
        n_queries=len(figures),
        mean=float(units.mean()),
        energy_per_unit_j=Estimate(value=None, findings=(ESTIMATED,))
        if estimated
        else energy_per(measured, of_measured, gains, estimated=False, findings=missing),
        duration_per_unit_s=float(figures.duration_s.sum() / units.sum()),
        per_query_j=constant,
        per_unit_j=slope,
        residual_relative_sd=residual,
        findings=tuple(dict.fromkeys((*slope.findings, *missing))) if slope.value is None else missing,
    )


def _line(
    units: FloatArray, measured: Figures, gains: Gains, estimated: bool
) -> tuple[Estimate, Estimate, float | None]:
    """The constant, the slope, and the relative scatter about the line; null with the reason where there is none."""
    why = _why_no_line(measured, estimated)
    if why is None:
        terms = np.column_stack((np.ones(len(units)), units))
        fit = fit_relative(measured.energy_j, terms, dropped_first=(SLOPE,))
        if SLOPE in fit.kept:
            summed, one_mode = total(measured), np.zeros(len(units), dtype=np.int64)
            relative_gain = divided(summed.half_width_gain_j(gains), summed.energy_j)
            constant, slope = (
                _one_run(fit.coefficient(term, one_mode, measured.energy_half_width_j, relative_gain))
                for term in (CONSTANT, SLOPE)
            )
            return constant, slope, fit.relative_sd
        why = Finding(code=FindingCode.COLLINEAR, detail="all queries have about one size")
    unknown = Estimate(value=None, findings=(why,))
    return unknown, unknown, None


def _why_no_line(measured: Figures, estimated: bool) -> Finding | None:
    if estimated:
        return ESTIMATED
    if len(measured) < N_LEAST:
        return Finding(code=FindingCode.TOO_FEW_QUERIES, detail=f"{len(measured)} of {N_LEAST} that a line needs")
    if (measured.energy_j <= 0).any():
        return Finding(code=FindingCode.SHORTER_THAN_TWO_TICKS, detail="a query without joules follows no line")
    return None


def _one_run(estimate: Estimate) -> Estimate:
    return estimate.model_copy(update={"findings": (*estimate.findings, ONE_RUN)})


def _of(figures: Figures, name: str) -> FloatArray:
    return figures.sizes.get(name, np.full(len(figures), math.nan))
