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
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.analysis.bootstrap import TAIL, FloatArray, column
from harness.analysis.estimates import Gains, total
from harness.analysis.measured import QueryFigures
from harness.records import EnergyLaw, Estimate, Finding, FindingCode

N_LEAST_LAW = 8
"""Queries below which no law is fitted: twice its coefficients."""
TERM_NAMES = ("what every query costs", "prompt tokens", "output tokens", "attended tokens")
DROPPED_FIRST = (3, 1, 2)
"""Which term goes where several cannot be told apart: d, else b, else c. The constant stays and holds what went."""
INFLATION_MOST = 1000.0
"""Variance inflation beyond which the other terms tell a term: a spread of prompt lengths below about 3 %."""
ROUNDS = 4
"""Of reweighting; after three the weights move by less than a thousandth."""
FITTED_LEAST = 0.1
"""Of the measured value: below it a bad first round would give one query all the weight."""
N_DEGREES_LEAST = 3
"""Below it Student's quantile by its expansion is wrong; so few queries of a mode are not planned for."""
LEVERAGE_MOST = 0.99
"""A query that alone decides a coefficient has no residual; HC3 would divide by zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Least squares of relative errors. A dropped term has 0 in `beta` and in its row and column of `covariance`."""

    beta: FloatArray
    covariance: FloatArray
    kept: tuple[int, ...]
    n: int
    relative_residuals: FloatArray

    @property
    def n_degrees(self) -> int:
        """Degrees of freedom left for the scatter."""
        return self.n - len(self.kept)

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

    def predict(self, p: FloatArray, o: FloatArray) -> FloatArray:
        """Values by the fitted terms, in the unit that was fitted; p and o of shape (n,), so is the result."""
        return terms(p, o) @ self.beta

    def sd_of_sum(self, weights: FloatArray, p: FloatArray, o: FloatArray) -> float:
        """Standard error of a weighted sum of predictions, as far as the coefficients are uncertain.

        Args:
            weights: One per query, shape (n,); signed for a difference.
            p: Prompt tokens, shape (n,).
            o: Output tokens, shape (n,).

        Returns:
            In the unit that was fitted, times that of the weights.
        """
        gradient = weights @ terms(p, o)
        return math.sqrt(max(float(gradient @ self.covariance @ gradient), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedLaw:
    """The law as it is stored, and the fit behind it. Joules."""

    record: EnergyLaw
    fit: Fit
    modes: tuple[str, ...]
    """Of each fitted query."""

    @property
    def beta(self) -> FloatArray:
        """a, b, c, d; 0 where dropped."""
        return self.fit.beta

    @property
    def covariance(self) -> FloatArray:
        """Of a, b, c, d, shape (4, 4)."""
        return self.fit.covariance

    def predict_j(self, p: FloatArray, o: FloatArray) -> FloatArray:
        """Joules of queries with p prompt and o output tokens, each of shape (n,)."""
        return self.fit.predict(p, o)


def terms(p: FloatArray, o: FloatArray) -> FloatArray:
    """The law's four terms, 1, p, o and p o + o^2 / 2, of p prompt and o output tokens; shape (n, 4)."""
    return np.column_stack((np.ones(len(p)), p, o, p * o + o * o / 2))


def fit_law(figures: Sequence[QueryFigures], gains: Gains | None = None) -> FittedLaw | None:
    """The energy law of measured queries, all modes together: a token costs the same whatever it is part of.

    Args:
        figures: Answered queries. Those without joules or token counts are left out.
        gains: Of the devices; None: unknown.

    Returns:
        None with fewer than `N_LEAST_LAW` queries, or where one of them cost nothing.
    """
    known = [query for query in figures if query.energy_j is not None and _has_lengths(query)]
    energy_j = column([query.energy_j or 0.0 for query in known])
    if len(known) < N_LEAST_LAW or bool((energy_j <= 0).any()):
        return None
    fit = least_squares(energy_j, *lengths_of(known))
    summed = total(known)
    reading_j, gain_j = summed.half_width_reading_j, summed.half_width_gain_j(gains or {})
    coefficients = [
        _coefficient(
            fit,
            term,
            relative_reading=None if reading_j is None else reading_j / summed.energy_j,
            relative_gain=None if gain_j is None else gain_j / summed.energy_j,
        )
        for term in range(len(TERM_NAMES))
    ]
    modes = tuple(dict.fromkeys(query.mode for query in known))
    by_mode = {mode: float(fit.relative_residuals[[query.mode == mode for query in known]].mean()) for mode in modes}
    dropped = [TERM_NAMES[term] for term in range(len(TERM_NAMES)) if term not in fit.kept]
    collinear = (Finding(code=FindingCode.COLLINEAR, detail=f"left out of the law: {', '.join(dropped)}"),)
    record = EnergyLaw(
        modes=modes,
        n_queries=len(known),
        per_query_j=coefficients[0],
        per_prompt_token_j=coefficients[1],
        per_output_token_j=coefficients[2],
        per_attended_token_j=coefficients[3],
        residual_relative_sd=fit.relative_sd,
        residual_relative_by_mode=by_mode,
        findings=collinear if dropped else (),
    )
    return FittedLaw(record=record, fit=fit, modes=tuple(query.mode for query in known))


def least_squares(values: FloatArray, p: FloatArray, o: FloatArray) -> Fit:
    """Fit the law's terms to positive values with relative errors.

    Args:
        values: Joules or seconds, one per query, above zero, at least `N_LEAST_LAW` of them.
        p: Prompt tokens, shape (n,).
        o: Output tokens, shape (n,).

    Returns:
        The fit, without the terms that the lengths do not tell apart.
    """
    design = terms(p, o)
    kept = _told_apart(design / values[:, None])
    fitted = values
    for _ in range(ROUNDS):
        weighted = design[:, kept] / fitted[:, None]
        scale = np.sqrt((weighted**2).sum(axis=0))
        solved = np.linalg.lstsq(weighted / scale, values / fitted, rcond=None)[0] / scale
        last, fitted = fitted, np.maximum(design[:, kept] @ solved, FITTED_LEAST * values)
    weighted = design[:, kept] / last[:, None]
    inverse = np.linalg.pinv((weighted / scale).T @ (weighted / scale)) / np.outer(scale, scale)
    leverage = np.einsum("ij,jk,ik->i", weighted, inverse, weighted)
    residuals = (values - design[:, kept] @ solved) / last / (1 - np.clip(leverage, 0.0, LEVERAGE_MOST))
    spread = weighted * residuals[:, None]
    beta, covariance = np.zeros(design.shape[1]), np.zeros((design.shape[1], design.shape[1]))
    beta[list(kept)] = solved
    covariance[np.ix_(kept, kept)] = inverse @ (spread.T @ spread) @ inverse
    return Fit(beta=beta, covariance=covariance, kept=kept, n=len(values), relative_residuals=values / fitted - 1.0)


def lengths_of(figures: Sequence[QueryFigures]) -> tuple[FloatArray, FloatArray]:
    """Prompt and output tokens of queries whose counts are known."""
    p = column([float(query.n_prompt_tokens or 0) for query in figures])
    o = column([float(query.n_output_tokens or 0) for query in figures])
    return p, o


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


def _has_lengths(query: QueryFigures) -> bool:
    return query.n_prompt_tokens is not None and query.n_output_tokens is not None


def _coefficient(fit: Fit, term: int, *, relative_reading: float | None, relative_gain: float | None) -> Estimate:
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
        half_width_reading=None if relative_reading is None else relative_reading * abs(value),
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
