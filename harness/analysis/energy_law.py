"""What a query costs by its lengths: a law of four coefficients, fitted to measured queries.

    J = a + b p + c o + d (p o + o^2 / 2)

with p prompt and o output tokens. Why these four: a decode step reads every weight once (c), and every key and value
that it attends to (d): p + i of them at the i-th step, which add up to p o + o^2 / 2. The prefill multiplies every
prompt token by every weight (b). What does not depend on lengths is a. (Operations and bytes per token: J. Kaplan et
al., Scaling Laws for Neural Language Models, 2020, section 2.1; R. Pope et al., Efficiently Scaling Transformer
Inference, 2022, section 2.) Seconds have the same terms.

How it is fitted, and what is known of the coefficients then: `relative_fit`.

A law of all modes is one law: a token costs the same whatever it is part of, and `residual_relative_by_mode` shows
where that is not so. What predicts one mode's joules must not lean on it: there each mode but one, the base, has a
factor g on the four terms, J = g (a + b p + c o + d (p o + o^2 / 2)), found with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.bootstrap import FloatArray
from harness.analysis.estimates import Gains, divided, total
from harness.analysis.figures import Queries, as_figures
from harness.analysis.relative_fit import Fit, IntArray, fit_relative
from harness.records import EnergyLaw, Finding, FindingCode

QUERIES_PER_NUMBER = 2
"""Of a law, coefficients and factors, at least: 8 queries for a law without factors."""
N_LEAST_MODE = 3
"""Queries of a mode that has its own factor: one would be its factor, and scatter about nothing."""
TERM_NAMES = ("what every query costs", "prompt tokens", "output tokens", "attended tokens")
DROPPED_FIRST = (3, 1, 2)
"""Which term goes where several cannot be told apart: d, else b, else c. The constant stays and holds what went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLaw:
    """The law as it is stored, and the fit behind it. Joules."""

    record: EnergyLaw
    fit: Fit
    modes: IntArray
    """Of each fitted query: its place in `record.modes`."""
    half_widths_j: FloatArray
    """What the sensor leaves open of each fitted query's joules; NaN: unknown."""

    @property
    def beta(self) -> FloatArray:
        """a, b, c, d; 0 where dropped."""
        return self.fit.beta

    def place(self, mode: str) -> int:
        """Of a fitted mode's factor in `Fit.factors`."""
        return self.record.modes.index(mode) if len(self.fit.factors) > 1 else 0

    def predict_j(self, p: FloatArray, o: FloatArray, mode: str) -> FloatArray:
        """Joules of one mode's queries with p prompt and o output tokens, each of shape (n,)."""
        return self.fit.predict(terms(p, o), self.place(mode))

    def half_width_reading(self, gradient: FloatArray) -> float | None:
        """How far the sensor may have moved what has this gradient; None: unknown."""
        return self.fit.half_width_reading(gradient, self.modes, self.half_widths_j)


def terms(p: FloatArray, o: FloatArray) -> FloatArray:
    """The law's four terms, 1, p, o and p o + o^2 / 2, of p prompt and o output tokens; shape (n, 4)."""
    return np.column_stack((np.ones(len(p)), p, o, p * o + o * o / 2))


def fit_law(
    queries: Queries, gains: Gains | None = None, *, base: str | None = None, modes: Sequence[str] = ()
) -> FittedLaw | None:
    """The energy law of measured queries, of all modes together.

    Args:
        queries: Answered. Those without joules or token counts are left out.
        gains: Of the devices; None: unknown.
        base: The mode whose law it is where the others have a factor each; None: one law for all, without factors.
        modes: The order in which they are named and fitted; otherwise that of the queries.

    Returns:
        None with fewer than two queries per coefficient and factor (8 without factors), with fewer than three of a
        mode that has one, or where a query cost nothing.
    """
    figures = as_figures(queries)
    rows = np.flatnonzero(figures.measured & ~np.isnan(figures.n_prompt_tokens + figures.n_output_tokens))
    # Mode by mode, so that not even the rounding depends on the order in which modes were asked.
    rank = np.array([modes.index(name) if name in modes else len(modes) for name in figures.mode.names], dtype=np.int64)
    known = figures.at(rows[np.argsort(rank[figures.mode.codes[rows]], kind="stable")])
    first = known.mode.codes[np.sort(np.unique(known.mode.codes, return_index=True)[1])]
    found = [known.mode.names[code] for code in first.tolist()]
    ordered = [*(mode for mode in modes if mode in found), *(mode for mode in found if mode not in modes)]
    fitted = tuple(sorted(ordered, key=lambda mode: mode != base))
    n_factors = 0 if base is None else len(fitted) - 1
    if len(known) < QUERIES_PER_NUMBER * (len(TERM_NAMES) + n_factors) or bool((known.energy_j <= 0).any()):
        return None
    place = np.array([fitted.index(name) if name in fitted else -1 for name in known.mode.names], dtype=np.int64)
    of_query = place[known.mode.codes]
    if n_factors and np.bincount(of_query).min() < N_LEAST_MODE:
        return None
    fit = least_squares(known.energy_j, *lengths_of(known), None if base is None else of_query)
    summed = total(known)
    gain_j = summed.half_width_gain_j(gains or {})
    relative_gain, half_widths_j = divided(gain_j, summed.energy_j), known.energy_half_width_j
    coefficients = [fit.coefficient(term, of_query, half_widths_j, relative_gain) for term in range(len(TERM_NAMES))]
    over = fit.relative_residuals
    dropped = [TERM_NAMES[term] for term in range(len(TERM_NAMES)) if term not in fit.kept]
    collinear = (Finding(code=FindingCode.COLLINEAR, detail=f"left out of the law: {', '.join(dropped)}"),)
    record = EnergyLaw(
        modes=fitted,
        n_queries=len(known),
        per_query_j=coefficients[0],
        per_prompt_token_j=coefficients[1],
        per_output_token_j=coefficients[2],
        per_attended_token_j=coefficients[3],
        residual_relative_sd=fit.relative_sd,
        factors={} if base is None else dict(zip(fitted, fit.factors.tolist(), strict=True)),
        residual_relative_by_mode={mode: float(over[of_query == code].mean()) for code, mode in enumerate(fitted)},
        findings=collinear if dropped else (),
    )
    return FittedLaw(record=record, fit=fit, modes=of_query, half_widths_j=half_widths_j)


def least_squares(values: FloatArray, p: FloatArray, o: FloatArray, places: IntArray | None = None) -> Fit:
    """Fit the law's terms, and factors on them, to positive values with relative errors.

    Args:
        values: Joules or seconds, one per query, above zero, more of them than there are numbers to fit.
        p: Prompt tokens, shape (n,).
        o: Output tokens, shape (n,).
        places: Of each query's mode, 0 the base, shape (n,), every place taken; None: no factors.
    """
    return fit_relative(values, terms(p, o), dropped_first=DROPPED_FIRST, places=places)


def lengths_of(queries: Queries) -> tuple[FloatArray, FloatArray]:
    """Prompt and output tokens of queries whose counts are known."""
    figures = as_figures(queries)
    return figures.n_prompt_tokens, figures.n_output_tokens
