"""What a query costs by its lengths: a law of four coefficients, fitted to measured queries.

    J = a + b p + c o + d (p o + o^2 / 2)

with p prompt and o output tokens. Why these four: a decode step reads every weight once (c), and every key and value
that it attends to (d): p + i of them at the i-th step, which add up to p o + o^2 / 2. The prefill multiplies every
prompt token by every weight (b). What does not depend on lengths is a. (Operations and bytes per token: J. Kaplan et
al., Scaling Laws for Neural Language Models, 2020, section 2.1; R. Pope et al., Efficiently Scaling Transformer
Inference, 2022, section 2.) Seconds have the same terms.

A query's scatter about the law is about proportional to its joules, so the fit is by least squares of relative
errors, its weights 1 / fitted^2 found in a few rounds. The covariance is a sandwich that holds whatever the scatter's
true shape (HC3: J. G. MacKinnon and H. White, Journal of Econometrics 29, 1985). Where the lengths do not tell two
terms apart, one is dropped and the rest is fitted again; it is this smaller law that predicts. Coefficients are not
forced to be positive: an interval that holds no sensible value says that the law is not this model's.

A law of all modes is one law: a token costs the same whatever it is part of, and `residual_relative_by_mode` shows
where that is not so. What predicts one mode's joules must not lean on it: there each mode but one, the base, has a
factor g on the four terms, J = g (a + b p + c o + d (p o + o^2 / 2)), found with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.analysis.bootstrap import TAIL, FloatArray
from harness.analysis.estimates import Gains, total
from harness.analysis.figures import Queries, as_figures
from harness.analysis.measured import quadrature
from harness.records import EnergyLaw, Estimate, Finding, FindingCode

QUERIES_PER_NUMBER = 2
"""Of a law, coefficients and factors, at least: 8 queries for a law without factors."""
N_LEAST_MODE = 3
"""Queries of a mode that has its own factor: one would be its factor, and scatter about nothing."""
IntArray = npt.NDArray[np.int64]
TERM_NAMES = ("what every query costs", "prompt tokens", "output tokens", "attended tokens")
DROPPED_FIRST = (3, 1, 2)
"""Which term goes where several cannot be told apart: d, else b, else c. The constant stays and holds what went."""
INFLATION_MOST = 1000.0
"""Variance inflation beyond which the other terms tell a term: a spread of prompt lengths below about 3 %."""
ROUNDS = 8
"""Of reweighting; after three the weights move by less than a thousandth, factors of 0.3 to 3 after six."""
FITTED_LEAST = 0.1
"""Of the measured value: below it a bad first round would give one query all the weight."""
N_DEGREES_LEAST = 3
"""Below it Student's quantile by its expansion is wrong; so few queries of a mode are not planned for."""
LEVERAGE_MOST = 0.99
"""A query that alone decides a coefficient has no residual; HC3 would divide by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Least squares of relative errors: four coefficients, and a factor on them for each mode.

    A dropped term has 0 in `beta`, in `covariance` and in `influence`.
    """

    beta: FloatArray
    factors: FloatArray
    """One per mode; that of the base, the first, is 1. One alone: the modes are not told apart."""
    covariance: FloatArray
    """Of `beta` and then of all factors but the first, square."""
    influence: FloatArray
    """By how much the same numbers move with each fitted value, shape (numbers, n)."""
    kept: tuple[int, ...]
    n: int
    relative_residuals: FloatArray

    @property
    def n_degrees(self) -> int:
        """Degrees of freedom left for the scatter."""
        return self.n - len(self.kept) - len(self.factors) + 1

    @property
    def relative_sd(self) -> float:
        """Of measured over fitted values."""
        return self.scatter(np.ones(self.n, dtype=np.bool_))[0]

    def scatter(self, rows: npt.NDArray[np.bool_]) -> tuple[float, int]:
        """Relative standard deviation of some of the queries about the law, and its degrees of freedom.

        The fit's own degrees of freedom are shared among the queries, at least 3 to those asked for.

        Args:
            rows: Which of the fitted queries, shape (n,), at least one.
        """
        share = float(rows.mean()) * self.n_degrees
        return math.sqrt(float((self.relative_residuals[rows] ** 2).sum()) / share), max(int(share), N_DEGREES_LEAST)

    def predict(self, p: FloatArray, o: FloatArray, mode: int = 0) -> FloatArray:
        """Values by the fitted terms, in the unit that was fitted; p and o of shape (n,), so is the result."""
        return np.asarray(self.factors[mode] * (terms(p, o) @ self.beta))

    def gradient(self, weights: FloatArray, p: FloatArray, o: FloatArray, mode: int = 0) -> FloatArray:
        """How a weighted sum of one mode's predictions moves with each fitted number; such gradients add up.

        Args:
            weights: One per query, shape (n,).
            p: Prompt tokens, shape (n,).
            o: Output tokens, shape (n,).
            mode: Its place in `factors`.

        Returns:
            One per row of `covariance`.
        """
        sums = weights @ terms(p, o)
        own = np.arange(1, len(self.factors)) == mode
        return np.concatenate((self.factors[mode] * sums, own * float(sums @ self.beta)))

    def sd(self, gradient: FloatArray) -> float:
        """Standard error of what has this gradient, as far as the fitted numbers are uncertain."""
        return math.sqrt(max(float(gradient @ self.covariance @ gradient), 0.0))


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
        return self.fit.predict(p, o, self.place(mode))

    def half_width_reading(self, gradient: FloatArray) -> float | None:
        """How far the sensor may have moved what has this gradient; None: unknown.

        As in `estimates`: what is wrong with an edge is wrong the same way in every query of a mode, so these move
        the law together; the modes err apart, in quadrature.
        """
        return _reading(self.fit, gradient, self.modes, self.half_widths_j)


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
    half_widths_j = known.energy_half_width_j
    gradients = np.eye(len(fit.covariance))
    coefficients = [
        _coefficient(
            fit,
            term,
            reading=_reading(fit, gradients[term], of_query, half_widths_j),
            relative_gain=None if gain_j is None else gain_j / summed.energy_j,
        )
        for term in range(len(TERM_NAMES))
    ]
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

    The factors make the law a product, which each round takes at its last solution (Gauss and Newton): beside the
    terms stands, for each mode but the base, what the terms said of its queries.

    Args:
        values: Joules or seconds, one per query, above zero, more of them than there are numbers to fit.
        p: Prompt tokens, shape (n,).
        o: Output tokens, shape (n,).
        places: Of each query's mode, 0 the base, shape (n,), every place taken; None: no factors.

    Returns:
        The fit, without the terms that the lengths (and the factors) do not tell apart.
    """
    common = terms(p, o)
    place = np.zeros(len(values), dtype=np.int64) if places is None else places
    others = place[:, None] == np.arange(1, int(place.max()) + 1)
    kept = [term for term in _told_apart(np.column_stack((common / values[:, None], others))) if term < len(TERM_NAMES)]
    factors, of_terms, fitted = np.ones(others.shape[1] + 1), values, values
    for _ in range(ROUNDS):
        last = fitted
        design = np.column_stack((factors[place][:, None] * common[:, kept], others * of_terms[:, None]))
        weighted = design / last[:, None]
        scale = np.sqrt((weighted**2).sum(axis=0))
        solved = np.linalg.lstsq(weighted / scale, values / last, rcond=None)[0] / scale
        factors = factors + np.concatenate(([0.0], solved[len(kept) :]))
        of_terms = common[:, kept] @ solved[: len(kept)]
        fitted = np.maximum(factors[place] * of_terms, FITTED_LEAST * values)
    inverse = np.linalg.pinv((weighted / scale).T @ (weighted / scale)) / np.outer(scale, scale)
    leverage = np.einsum("ij,jk,ik->i", weighted, inverse, weighted)
    moves = inverse @ (weighted / last[:, None]).T
    spread = moves * (values - factors[place] * of_terms) / (1 - np.clip(leverage, 0.0, LEVERAGE_MOST))
    n_terms = common.shape[1]
    numbers = [*kept, *range(n_terms, n_terms + others.shape[1])]
    beta, covariance = np.zeros(n_terms), np.zeros((n_terms + others.shape[1],) * 2)
    influence = np.zeros((len(covariance), len(values)))
    beta[kept] = solved[: len(kept)]
    covariance[np.ix_(numbers, numbers)] = spread @ spread.T
    influence[numbers] = moves
    return Fit(
        beta=beta,
        factors=factors,
        covariance=covariance,
        influence=influence,
        kept=tuple(kept),
        n=len(values),
        relative_residuals=values / fitted - 1.0,
    )


def lengths_of(queries: Queries) -> tuple[FloatArray, FloatArray]:
    """Prompt and output tokens of queries whose counts are known."""
    figures = as_figures(queries)
    return figures.n_prompt_tokens, figures.n_output_tokens


def student_quantile(n_degrees: int, tail: float = TAIL) -> float:
    """The upper quantile of Student's t, for at least 3 degrees of freedom.

    The normal one and four terms of its expansion in 1 / n_degrees (M. Abramowitz and I. A. Stegun, Handbook of
    Mathematical Functions, 1964, 26.7.5): 0.1 % off with 3 degrees of freedom, 0.001 % with 8.

    Args:
        n_degrees: Of freedom.
        tail: Probability above the quantile.

    Returns:
        A number of standard errors.
    """
    z, n = NormalDist().inv_cdf(1 - tail), float(n_degrees)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


def _reading(fit: Fit, gradient: FloatArray, modes: IntArray, half_widths_j: FloatArray) -> float | None:
    """As `FittedLaw.half_width_reading`; `modes` and `half_widths_j` are the fitted queries'."""
    moved = np.bincount(modes, weights=(gradient @ fit.influence) * half_widths_j)
    return quadrature(None if math.isnan(each) else each for each in moved.tolist())


def _coefficient(fit: Fit, term: int, *, reading: float | None, relative_gain: float | None) -> Estimate:
    if term not in fit.kept:
        return Estimate(value=None, findings=(Finding(code=FindingCode.COLLINEAR),))
    value = float(fit.beta[term])
    half = student_quantile(fit.n_degrees) * math.sqrt(float(fit.covariance[term, term]))
    # Where prompts have one length, the constant holds what they cost: that is said beside it.
    held = "holds what was left out of the law"
    holds_more = term == 0 and len(fit.kept) < len(TERM_NAMES)
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        half_width_reading=reading,
        half_width_gain=None if relative_gain is None else relative_gain * abs(value),
        findings=(Finding(code=FindingCode.COLLINEAR, detail=held),) if holds_more else (),
    )


def _told_apart(weighted: FloatArray) -> tuple[int, ...]:
    """The terms that remain when those that the others tell are dropped one by one.

    The variance inflation factor of a term is 1 / (1 - R^2) of its regression on the others: the diagonal of the
    inverse of the scaled terms' products.
    """
    norms = np.sqrt((weighted**2).sum(axis=0))
    scaled = weighted / np.where(norms > 0, norms, 1.0)
    kept = list(range(scaled.shape[1]))
    while len(kept) > 1:
        inflation = _inflation(scaled[:, kept])
        unclear = [term for term in DROPPED_FIRST if term in kept and inflation[kept.index(term)] > INFLATION_MOST]
        if not unclear:
            break
        kept.remove(unclear[0])
    return tuple(kept)


def _inflation(scaled: FloatArray) -> FloatArray:
    """Variance inflation of each column of unit length; infinity where a column is a sum of the others."""
    singular, rotation = np.linalg.svd(scaled, full_matrices=False)[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(rotation**2 > 0, rotation**2 / singular[:, None] ** 2, 0.0)
    return np.asarray(shares.sum(axis=0))
