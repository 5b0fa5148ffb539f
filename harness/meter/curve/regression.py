"""Bayesian linear regression of the power around one tick, averaged over the accounts of it.

Every account is a linear Gaussian model, so its evidence, mean and covariance are exact. With K the covariance of what
was seen (y) under slow drift alone, U the footprints of the account's atoms on it, V their prior variances,
M = V^-1 + U' K^-1 U and z = U' K^-1 y,

    log evidence = (z' M^-1 z - log |V M|) / 2 + that of drift alone,    atoms ~ N(M^-1 z, M^-1)

(Bishop, Pattern Recognition and Machine Learning, 2006, sections 3.3 to 3.5; model averaging: Hoeting et al.,
Statistical Science 14(4), 1999.) Power is in units of the highest that was seen, so that the answer to twice the
power is twice the energy.

Pure: it knows intervals of time and mean powers, not where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.meter.curve.accounts import N_MANNERS, Account, Accounts, cumulative, more_steps

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

LEVEL_SD = 1.0
"""Prior of the level, in units of the highest power seen."""
DRIFTS = ((0.002, 0.002), (0.02, 0.02), (0.01, 0.3), (0.2, 0.3))
"""Priors of slow drift: standard deviation of the level's change over a quarter of a tick, in the same unit; near the
tick, and further away, where something may have happened that says nothing about the tick. The last is for power that
steps more often than any account here; its prior weight is the probability of so many steps."""
GAIN_SD = 0.03
"""Prior of how far power readings and counter disagree on this board, relative."""
MOST_KNOTS = 400
NEAR = 1.5
"""From the tick's middle, in ticks."""
LEAST = 1e-9
"""No account is given up before it was looked at."""
BELIEF, BELIEF_HALVES_S = 0.75, 1.0
"""Power to which an evidence is raised: below 1, because no account is quite true, and the less so the longer the tick
is: half as much for one of so many seconds."""
N_GROWN = 10
"""So many of the most likely accounts are tried with one step more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Mean powers over intervals, arrays of one length: the ticks of a counter in order, then readings of power.

    `sd_w` is their noise, without that of a tick's uncertain instants: `boundary_sd_j` is the energy that may have
    passed between the nominal and the true instants of the ticks' ends, and `before` names, for each tick, the
    position of its start in there; its end is the next one. Times in seconds on the session clock.
    """

    start_s: FloatArray
    end_s: FloatArray
    mean_w: FloatArray
    sd_w: FloatArray
    boundary_sd_j: FloatArray
    before: IntArray

    @property
    def highest_w(self) -> float:
        """The highest mean power."""
        return float(np.max(self.mean_w, initial=0.0))

    @property
    def extent_s(self) -> tuple[float, float]:
        """Start of the first interval, end of the last."""
        return float(self.start_s.min()), float(self.end_s.max())


@dataclass(frozen=True, slots=True)
class Average:
    """Energies wanted, in joules: mean and covariance over all accounts.

    `manners` are the probabilities of each manner of following the edges; None where no account does.
    """

    mean_j: FloatArray
    covariance_j2: FloatArray
    manners: FloatArray | None


@dataclass(frozen=True, slots=True)
class _Base:
    """Slow drift alone: K^-1, and what it says of what is wanted."""

    precision: FloatArray
    across: FloatArray
    mean: FloatArray
    covariance: FloatArray
    log_evidence: float
    belief: float


@dataclass(frozen=True, slots=True)
class _Answers:
    """What accounts say of what is wanted, one row each."""

    log_weight: FloatArray
    mean: FloatArray
    covariance: FloatArray
    accounts: Sequence[Account]


def average(tick_s: tuple[float, float], targets_s: FloatArray, observed: Observed, accounts: Accounts) -> Average:
    """Energy from a tick's start to each target and to its end, over all accounts.

    Args:
        tick_s: Start and end of the tick.
        targets_s: Instants in it, in seconds.
        observed: What was seen around it.
        accounts: What may have happened; the most likely ones are grown here.
    """
    unit_w = observed.highest_w
    n_seen = len(observed.mean_w)
    points_s = np.concatenate([observed.start_s, observed.end_s, targets_s, [tick_s[1], tick_s[0]]])
    bases = _bases(tick_s, points_s, observed)
    prints = _footprints(cumulative(accounts.atoms, points_s), n_seen, observed)
    regressions = [_Regression(base, prints, observed.mean_w / unit_w, accounts) for base in bases]
    sized = _by_size(accounts.known)
    known = [regression.answers(sized) for regression in regressions]
    highest = [max(float(answer.log_weight.max()) for answer in answers) for answers in known]
    best = highest.index(max(highest))
    grown = accounts.grown(_likeliest(known[best]))
    answers = [answer for each in (*known, regressions[best].answers(_by_size(grown))) for answer in each]
    log_weight = np.concatenate([answer.log_weight for answer in answers])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    means = np.concatenate([answer.mean for answer in answers])
    mean = weight @ means
    within = np.einsum("h,hij->ij", weight, np.concatenate([answer.covariance for answer in answers]))
    apart = means - mean
    covariance = within + (apart * weight[:, None]).T @ apart
    return Average(mean * unit_w, covariance * unit_w**2, _manners(weight, answers))


def _manners(weight: FloatArray, answers: Sequence[_Answers]) -> FloatArray | None:
    manners = [account.manner for answer in answers for account in answer.accounts]
    following = np.array([manner is not None for manner in manners])
    if not following.any():
        return None
    found = np.zeros(N_MANNERS)
    np.add.at(found, [manner for manner in manners if manner is not None], weight[following])
    return found


def _belief(tick_s: tuple[float, float]) -> float:
    return BELIEF / (1.0 + (tick_s[1] - tick_s[0]) / BELIEF_HALVES_S)


def _likeliest(answers: Sequence[_Answers]) -> list[Account]:
    accounts = [account for answer in answers for account in answer.accounts]
    order = np.argsort(-np.concatenate([answer.log_weight for answer in answers]), kind="stable")
    return [accounts[place] for place in order[:N_GROWN].tolist()]


def _footprints(integral: FloatArray, n_seen: int, observed: Observed) -> FloatArray:
    """From integrals at every point: means over what was seen, then energies from the tick's start on."""
    length_s = (observed.end_s - observed.start_s)[:, None]
    seen = (integral[n_seen : 2 * n_seen] - integral[:n_seen]) / length_s
    return np.concatenate([seen, integral[2 * n_seen : -1] - integral[-1]])


def _bases(tick_s: tuple[float, float], points_s: FloatArray, observed: Observed) -> list[_Base]:
    n_seen, unit_w = len(observed.mean_w), observed.highest_w
    length_s, middle_s = tick_s[1] - tick_s[0], sum(tick_s) / 2
    first_s, last_s = observed.extent_s
    # Beside a tick that was cut short, or a long silence, there would be thousands.
    apart_s = max(length_s / 4, (last_s - first_s) / MOST_KNOTS)
    knots_s = tick_s[0] + apart_s * np.arange(
        -int((tick_s[0] - first_s) / apart_s), int((last_s - tick_s[0]) / apart_s) + 1
    )
    drift = _footprints(np.maximum(points_s[:, None] - knots_s, 0.0), n_seen, observed)
    level = _footprints(points_s[:, None] - first_s, n_seen, observed)
    moved = _moved(tick_s, observed, len(drift)) / unit_w
    far = np.abs(knots_s - middle_s) > NEAR * length_s
    seen_unit = observed.mean_w / unit_w
    common = LEVEL_SD**2 * level @ level.T + moved @ moved.T
    common[np.arange(n_seen), np.arange(n_seen)] += (observed.sd_w / unit_w) ** 2
    readings = np.where(np.arange(n_seen) >= len(observed.before), seen_unit, 0.0)
    common[:n_seen, :n_seen] += GAIN_SD**2 * np.outer(readings, readings)
    wild = min(max(more_steps(last_s - first_s), LEAST), 1.0 - LEAST)
    weights = [*[1.0 - wild] * (len(DRIFTS) - 1), wild]
    bases = []
    for (near_sd, far_sd), weight in zip(DRIFTS, weights, strict=True):
        everything = common + (drift * np.where(far, far_sd, near_sd) ** 2) @ drift.T
        precision = np.linalg.inv(everything[:n_seen, :n_seen])
        across = everything[n_seen:, :n_seen] @ precision
        wanted = everything[n_seen:, n_seen:] - across @ everything[:n_seen, n_seen:]
        _, log_determinant = np.linalg.slogdet(everything[:n_seen, :n_seen])
        fit = seen_unit @ precision @ seen_unit
        log_evidence = -_belief(tick_s) * float(fit + log_determinant) / 2 + math.log(weight)
        bases.append(_Base(precision, across, across @ seen_unit, wanted, log_evidence, _belief(tick_s)))
    return bases


def _moved(tick_s: tuple[float, float], observed: Observed, n_prints: int) -> FloatArray:
    """Footprints of the energies that passed between the nominal and the true instants of the ticks' ends, in joules.

    What is wanted counts from the counter's value at the tick's start, whenever that was.
    """
    n_seen, n_ticks = len(observed.mean_w), len(observed.before)
    prints = np.zeros((n_prints, len(observed.boundary_sd_j)))
    ticks = np.arange(n_ticks)
    length_s = (observed.end_s - observed.start_s)[:n_ticks]
    prints[ticks, observed.before] -= 1.0 / length_s
    prints[ticks, observed.before + 1] += 1.0 / length_s
    own = int(np.searchsorted(observed.end_s[:n_ticks], sum(tick_s) / 2))
    prints[n_seen:, observed.before[own]] -= 1.0
    prints[-1, observed.before[own] + 1] += 1.0
    return prints * observed.boundary_sd_j


@dataclass(frozen=True, slots=True)
class _OfOneSize:
    """Accounts with as many atoms each: the atoms' numbers and the prior log weights, one row each."""

    atoms: IntArray
    log_weight: FloatArray
    accounts: Sequence[Account]


def _by_size(accounts: Sequence[Account]) -> list[_OfOneSize]:
    by_size: dict[int, list[Account]] = {}
    for account in accounts:
        by_size.setdefault(len(account.atoms), []).append(account)
    return [
        _OfOneSize(
            np.array([account.atoms for account in alike], dtype=np.int64),
            np.array([account.log_weight for account in alike]),
            alike,
        )
        for _, alike in sorted(by_size.items())
    ]


class _Regression:
    """All atoms against one base."""

    def __init__(self, base: _Base, prints: FloatArray, seen: FloatArray, accounts: Accounts) -> None:
        n_seen = len(seen)
        half = base.precision @ prints[:n_seen]
        self._base = base
        self._gram = prints[:n_seen].T @ half
        self._fit = half.T @ seen
        self._towards = prints[n_seen:] - base.across @ prints[:n_seen]
        self._precision = 1.0 / np.array(accounts.sd) ** 2

    def answers(self, sized: Sequence[_OfOneSize]) -> list[_Answers]:
        """What each account says, by number of atoms."""
        return [self._answer(alike) for alike in sized]

    def _answer(self, alike: _OfOneSize) -> _Answers:
        base, n_wanted = self._base, len(self._base.mean)
        rows, prior, accounts = alike.atoms, alike.log_weight, alike.accounts
        size = rows.shape[1]
        if size == 0:
            log_weight = prior + base.log_evidence
            return _Answers(log_weight, base.mean[None], base.covariance[None], accounts)
        matrix = self._gram[rows[:, :, None], rows[:, None, :]]
        precision = self._precision[rows]
        matrix[:, np.arange(size), np.arange(size)] += precision
        inverse = np.linalg.inv(matrix)
        fit = self._fit[rows]
        heights = np.einsum("hij,hj->hi", inverse, fit)
        _, log_determinant = np.linalg.slogdet(matrix)
        log_evidence = (np.einsum("hi,hi->h", fit, heights) - log_determinant + np.log(precision).sum(axis=1)) / 2
        towards = np.moveaxis(self._towards[:, rows], 0, 1)  # account, wanted, atom
        mean = base.mean + np.einsum("hwi,hi->hw", towards, heights)
        covariance = base.covariance + (towards @ inverse) @ np.swapaxes(towards, 1, 2)
        assert mean.shape == (len(accounts), n_wanted)
        return _Answers(prior + base.log_evidence + base.belief * log_evidence, mean, covariance, accounts)
