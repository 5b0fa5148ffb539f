"""Least squares of relative errors: what values with a few terms cost by each of them, and how well that is known.

A value's scatter about what is fitted is about proportional to it, so relative errors are made small: the weights
1 / fitted^2 are found in a few rounds. The covariance is a sandwich that holds whatever the scatter's true shape (HC3:
J. G. MacKinnon and H. White, Journal of Econometrics 29, 1985). Where the values do not tell two terms apart, one is
dropped and the rest is fitted again; it is this smaller law that predicts. Coefficients are not forced to be positive:
an interval that holds no sensible value says that the law is not this model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.analysis.bootstrap import TAIL, FloatArray
from harness.analysis.measured import quadrature
from harness.records import Estimate, Finding, FindingCode

IntArray = npt.NDArray[np.int64]
INFLATION_MOST = 1000.0
"""Variance inflation beyond which the other terms tell a term: a spread of lengths below about 3 %."""
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
    """Coefficients of terms, and a factor on all of them for each mode.

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

    def predict(self, terms: FloatArray, mode: int = 0) -> FloatArray:
        """Values of queries with these terms, shape (n, terms), in the unit that was fitted."""
        return np.asarray(self.factors[mode] * (terms @ self.beta))

    def gradient(self, weights: FloatArray, terms: FloatArray, mode: int = 0) -> FloatArray:
        """How a weighted sum of one mode's predictions moves with each fitted number; such gradients add up.

        Args:
            weights: One per query, shape (n,).
            terms: Of the queries, shape (n, terms).
            mode: Its place in `factors`.

        Returns:
            One per row of `covariance`.
        """
        sums = weights @ terms
        own = np.arange(1, len(self.factors)) == mode
        return np.concatenate((self.factors[mode] * sums, own * float(sums @ self.beta)))

    def sd(self, gradient: FloatArray) -> float:
        """Standard error of what has this gradient, as far as the fitted numbers are uncertain."""
        return math.sqrt(max(float(gradient @ self.covariance @ gradient), 0.0))

    def half_width_reading(self, gradient: FloatArray, modes: IntArray, half_widths: FloatArray) -> float | None:
        """How far the sensor may have moved what has this gradient; None: unknown.

        As in `estimates`: what is wrong with an edge is wrong the same way in every query of a mode, so these move
        the law together; the modes err apart, in quadrature.

        Args:
            gradient: On the fitted numbers.
            modes: Of each fitted query, shape (n,).
            half_widths: Of each fitted value, shape (n,); NaN: unknown.
        """
        moved = np.bincount(modes, weights=(gradient @ self.influence) * half_widths)
        return quadrature(None if math.isnan(each) else each for each in moved.tolist())

    def coefficient(self, term: int, modes: IntArray, half_widths: FloatArray, relative_gain: float | None) -> Estimate:
        """One coefficient; null where it was dropped.

        Args:
            term: Its place.
            modes: As for `half_width_reading`.
            half_widths: As for `half_width_reading`.
            relative_gain: Half-width of the gain that scales all values; None: unknown.
        """
        if term not in self.kept:
            return Estimate(value=None, findings=(Finding(code=FindingCode.COLLINEAR),))
        value = float(self.beta[term])
        half = student_quantile(self.n_degrees) * math.sqrt(float(self.covariance[term, term]))
        # Where prompts have one length, the constant holds what they cost: that is said beside it.
        held = "holds what was left out of the law"
        holds_more = term == 0 and len(self.kept) < len(self.beta)
        return Estimate(
            value=value,
            low=value - half,
            high=value + half,
            half_width_reading=self.half_width_reading(np.eye(len(self.covariance))[term], modes, half_widths),
            half_width_gain=None if relative_gain is None else relative_gain * abs(value),
            findings=(Finding(code=FindingCode.COLLINEAR, detail=held),) if holds_more else (),
        )


def fit_relative(
    values: FloatArray, terms: FloatArray, *, dropped_first: Sequence[int], places: IntArray | None = None
) -> Fit:
    """Fit terms, and factors on them, to positive values with relative errors.

    The factors make the law a product, which each round takes at its last solution (Gauss and Newton): beside the
    terms stands, for each mode but the base, what the terms said of its queries.

    Args:
        values: Joules or seconds, one per query, above zero, more of them than there are numbers to fit.
        terms: Of each query, shape (n, terms).
        dropped_first: Which term goes where several cannot be told apart; one that is not in it stays.
        places: Of each query's mode, 0 the base, shape (n,), every place taken; None: no factors.

    Returns:
        The fit, without the terms that the queries (and the factors) do not tell apart.
    """
    n_terms = terms.shape[1]
    place = np.zeros(len(values), dtype=np.int64) if places is None else places
    others = place[:, None] == np.arange(1, int(place.max()) + 1)
    told_apart = _told_apart(np.column_stack((terms / values[:, None], others)), dropped_first)
    kept = [term for term in told_apart if term < n_terms]
    factors, of_terms, fitted = np.ones(others.shape[1] + 1), values, values
    for _ in range(ROUNDS):
        last = fitted
        design = np.column_stack((factors[place][:, None] * terms[:, kept], others * of_terms[:, None]))
        weighted = design / last[:, None]
        scale = np.sqrt((weighted**2).sum(axis=0))
        solved = np.linalg.lstsq(weighted / scale, values / last, rcond=None)[0] / scale
        factors = factors + np.concatenate(([0.0], solved[len(kept) :]))
        of_terms = terms[:, kept] @ solved[: len(kept)]
        fitted = np.maximum(factors[place] * of_terms, FITTED_LEAST * values)
    inverse = np.linalg.pinv((weighted / scale).T @ (weighted / scale)) / np.outer(scale, scale)
    leverage = np.einsum("ij,jk,ik->i", weighted, inverse, weighted)
    moves = inverse @ (weighted / last[:, None]).T
    spread = moves * (values - factors[place] * of_terms) / (1 - np.clip(leverage, 0.0, LEVERAGE_MOST))
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


def _told_apart(weighted: FloatArray, dropped_first: Sequence[int]) -> tuple[int, ...]:
    """The terms that remain when those that the others tell are dropped one by one.

    The variance inflation factor of a term is 1 / (1 - R^2) of its regression on the others: the diagonal of the
    inverse of the scaled terms' products.
    """
    norms = np.sqrt((weighted**2).sum(axis=0))
    scaled = weighted / np.where(norms > 0, norms, 1.0)
    kept = list(range(scaled.shape[1]))
    while len(kept) > 1:
        inflation = _inflation(scaled[:, kept])
        unclear = [term for term in dropped_first if term in kept and inflation[kept.index(term)] > INFLATION_MOST]
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
