"""The same answer for less: token counts of all prompts, times an energy law measured on a few of them.

First phase: every prompt is answered in every mode by fast batched generation, with the same weights and sampling, and
only tokens are counted. Second phase: a few prompts are asked alone, as in any run, and their joules give the law
J(p, o) of `energy_law`. A query's energy is then the law at its counted lengths.

Estimand: total energy at batch size 1 in one mode over that in another, over the source that the prompts come from,
answers drawn by the model's own sampling. Two errors, independent of each other, are in the interval:

- Prompts: another sample of prompts, each with another draw of its answer, would have other lengths. The studentized
  interval of `bootstrap` over all prompts' predicted joules has both, because one draw per prompt varies by both.
- The law: its coefficients are known as well as a few measured queries allow. By the delta method, with the fit's
  covariance, on the log of the ratio.

A mode whose every query costs more by some factor than the law of the other modes says is not refused: it has that
factor in the law, and the factor's error in its interval. (A test of a law without it would hardly see 5 or 10 % in
a few queries, and the ratio would be wrong by as much.) What a single query scatters about the law is no error of the
estimand: it averages out over any source of prompts. What does not average out is a law that is wrong in its shape.
Therefore some measured queries are kept out of the fit, chosen at random, and their total in each mode must be within
what the law's covariance and the scatter allow. That is looked at once, when all that were planned have been asked.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.accuracy import accuracy_difference
from harness.analysis.bootstrap import (
    ROUNDING,
    TAIL,
    FloatArray,
    Interval,
    column,
    per_success_interval,
    ratio_interval,
    success_share_most,
)
from harness.analysis.comparison import compared_modes
from harness.analysis.energy_law import FittedLaw, fit_law, least_squares, lengths_of, terms
from harness.analysis.estimates import (
    ESTIMATED,
    ONE_RUN,
    EnergyTotal,
    Gains,
    divided,
    few_correct,
    heavy_tail,
    ratio_errors,
    total,
)
from harness.analysis.figures import Figures, Queries, as_figures
from harness.analysis.relative_fit import Fit, student_quantile
from harness.records import EnergyLaw, Estimate, Finding, FindingCode, TwoPhase, TwoPhaseMode

N_FITTED = 30
N_HELD_OUT = 10
"""Queries, over all modes together, that the law is fitted to and tested with, at least."""
LIMIT_MOST = 0.3
"""A test of the law that lets larger errors pass is none."""
N_PROMPTS_LEAST = 5
"""Prompts of either kind, at least: each mode is tested on as many queries."""
FACTOR_LEAST = 0.1
"""A mode whose tokens are so much cheaper, or dearer, than another's follows another law: such a fit is none."""
TWO_PHASE = Finding(code=FindingCode.TWO_PHASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFigures:
    """What one prompt's batched answer in one mode took in tokens."""

    prompt_id: str
    mode: str
    n_prompt_tokens: int
    n_output_tokens: int
    correct: bool | None
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutTest:
    """A mode's held-out joules over what the law says, minus 1, and what the law's own uncertainty allows."""

    deviation: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the law holds for them."""
        return abs(self.deviation) <= self.limit + ROUNDING


@dataclass(frozen=True, slots=True, kw_only=True)
class LawPrompts:
    """Prompts to measure one by one, in every mode, in the order of their ids."""

    fitted: tuple[str, ...]
    held_out: tuple[str, ...]


def law_prompts(lengths: Sequence[LengthFigures], *, modes: Sequence[str], seed: int) -> LawPrompts:
    """Which prompts to measure: for the law over all lengths, shortest and longest included; held out, at random.

    Args:
        lengths: Of all prompts in all modes.
        modes: Of the run; every chosen prompt is asked in each.
        seed: Of the held-out prompts' draw.

    Returns:
        30 to 60 queries together, at least ten of them and five prompts held out, as far as there are prompts.
    """
    answered: dict[str, dict[str, LengthFigures]] = {}
    for each in lengths:
        answered.setdefault(each.prompt_id, {})[each.mode] = each
    complete = {prompt_id: by_mode for prompt_id, by_mode in answered.items() if by_mode.keys() >= set(modes)}
    n_held_out = min(max(N_PROMPTS_LEAST, math.ceil(N_HELD_OUT / len(modes))), len(complete) // 4)
    n_fitted = min(max(N_PROMPTS_LEAST, math.ceil(N_FITTED / len(modes))), len(complete) - n_held_out)
    by_output = sorted(complete, key=lambda i: (sum(each.n_output_tokens for each in complete[i].values()), i))
    by_prompt = sorted(complete, key=lambda i: (max(each.n_prompt_tokens for each in complete[i].values()), i))
    # Evenly over the output lengths, ends included, and the ends of the prompts' lengths; the shortest fill up.
    ranks = np.linspace(0, len(by_output) - 1, max(n_fitted - 2, 2)).round().astype(int) if by_output else ()
    wanted = dict.fromkeys([*(by_output[rank] for rank in ranks), *by_prompt[-1:], *by_prompt[:1], *by_output])
    fitted = list(wanted)[:n_fitted]
    rest = sorted(complete.keys() - set(fitted))
    held_out = np.random.default_rng(seed).permutation(len(rest))[:n_held_out]
    return LawPrompts(fitted=tuple(sorted(fitted)), held_out=tuple(sorted(rest[index] for index in held_out)))


def held_out_test(
    fit: Fit,
    rows: npt.NDArray[np.bool_],
    energy_j: FloatArray,
    p: FloatArray,
    o: FloatArray,
    *,
    place: int,
    n_modes: int,
) -> HeldOutTest:
    """Whether one mode's held-out queries follow the law.

    Measured minus predicted total has two errors: the law's, and the scatter of each query about it, which is relative
    and as large as that of the mode's fitted queries. The limit is Student's with their degrees of freedom, its 5 %
    shared among the modes (Bonferroni), so that a law that holds is refused in at most one study of twenty.

    Args:
        fit: The law.
        rows: Which of the fitted queries are of this mode.
        energy_j: Measured joules, shape (n,).
        p: Prompt tokens, shape (n,).
        o: Output tokens, shape (n,).
        place: Of the mode's factor.
        n_modes: That are tested alike.
    """
    predicted_j = fit.predict(terms(p, o), place)
    predicted_total_j = float(predicted_j.sum())
    relative_sd, n_degrees = fit.scatter(rows)
    law_sd_j = fit.sd(fit.gradient(np.ones(len(p)), terms(p, o), place))
    sd_j = math.hypot(relative_sd * math.sqrt(float((predicted_j**2).sum())), law_sd_j)
    return HeldOutTest(
        deviation=float(energy_j.sum()) / predicted_total_j - 1,
        limit=student_quantile(n_degrees, TAIL / n_modes) * sd_j / abs(predicted_total_j),
    )


def two_phase(
    lengths: Sequence[LengthFigures],
    queries: Queries,
    chosen: LawPrompts,
    gains: Gains,
    *,
    modes: Sequence[str],
    asked: Collection[tuple[str, str]],
    n_failed: Mapping[str, int],
    batch_size: int,
    duration_batched_s: float,
    duration_measured_s: float,
    estimated: bool,
) -> TwoPhase:
    """What all prompts would have cost one by one, and how well that is known.

    Args:
        lengths: Of every prompt that the first phase answered.
        queries: The answered batch-1 queries of the second phase, those held out included.
        chosen: Prompts that the second phase measures, for the law and to test it, each in every mode.
        gains: Of the devices.
        modes: Of the run.
        asked: (prompt id, mode) of every batch-1 query that was asked, failed ones included.
        n_failed: Prompts that the first phase could not answer, by mode.
        batch_size: Of the first phase.
        duration_batched_s: The first phase took.
        duration_measured_s: The second phase took.
        estimated: Whether the joules are a hardware model's; then there is no law and nothing is said.

    Returns:
        Every figure null, the law's included, and `valid` false: until every planned query was asked; where the law
        does not hold for the queries that were held out, or none could test it; and where there is nothing to
        compare.
    """
    held_out = set(chosen.held_out)
    planned = {(prompt_id, mode) for prompt_id in (*chosen.fitted, *chosen.held_out) for mode in modes}
    n_measured = len(planned.intersection(asked))
    by_mode = {mode: [each for each in lengths if each.mode == mode] for mode in modes}
    figures = as_figures(queries)
    is_held_out = np.array([name in held_out for name in figures.prompt.names], dtype=np.bool_)
    kept_out = is_held_out[figures.prompt.codes] if len(figures) else np.zeros(0, dtype=np.bool_)
    tested = {mode: figures.at(kept_out).in_mode(mode) for mode in modes}
    pair = compared_modes(modes)
    law: FittedLaw | None = None
    tests: dict[str, HeldOutTest | None] = dict.fromkeys(modes)
    if not estimated and n_measured == len(planned):
        law = fit_law(figures.at(~kept_out), gains, base=modes[0] if pair is None else pair[1])
        tests = {mode: None if law is None else _tested(law, mode, tested[mode], n_modes=len(modes)) for mode in modes}
    doubts: tuple[Finding, ...]
    if estimated:
        doubts = (ESTIMATED,)
    elif n_measured < len(planned):
        detail = f"{n_measured} of {len(planned)} batch-1 queries were asked"
        doubts = (Finding(code=FindingCode.LAW_NOT_CHECKED, detail=detail),)
    else:
        doubts = (*_doubts_of_law(law, tests), *_doubts_of_lengths(by_mode, pair))
    findings = (TWO_PHASE, *doubts)
    held = None
    if law is not None and not doubts:
        totals = {mode: total(figures.at(figures.measured).in_mode(mode)) for mode in modes}
        held = _HeldLaw(law=law, totals=totals, gains=gains, findings=findings)
    unknown = Estimate(value=None, findings=findings)
    n_law = 0 if law is None else law.fit.n
    return TwoPhase(
        batch_size=batch_size,
        n_prompts=len({each.prompt_id for each in lengths}),
        n_law=n_law,
        n_planned=len(planned),
        n_measured=n_measured,
        law=_no_law(modes, n_law, findings) if held is None else held.law.record,
        modes=tuple(
            _mode(mode, by_mode[mode], tests[mode], held, unknown, n_failed.get(mode, 0), len(tested[mode]))
            for mode in modes
        ),
        numerator=None if pair is None else pair[0],
        denominator=None if pair is None else pair[1],
        energy=unknown if pair is None or held is None else held.ratio(by_mode, pair),
        tokens=unknown if pair is None else _token_ratio(*_in_both(by_mode, pair)),
        accuracy=None if pair is None else accuracy_difference(*map(_right, _in_both(by_mode, pair))),
        duration_batched_s=duration_batched_s,
        duration_measured_s=duration_measured_s,
        duration_saved_s=None
        if held is None
        else held.saved_s(by_mode, figures, duration_batched_s + duration_measured_s),
        valid=held is not None,
        findings=findings,
    )


def refused(two_phase: TwoPhase, faults: Sequence[Finding]) -> TwoPhase:
    """The same without a figure: the modes are not what they are called.

    Args:
        two_phase: Whatever it says.
        faults: Why.
    """
    findings = (*two_phase.findings, *faults)
    unknown = Estimate(value=None, findings=findings)
    return two_phase.model_copy(
        update={
            "law": _no_law(two_phase.law.modes, two_phase.n_law, findings),
            "modes": tuple(
                mode.model_copy(update={"energy_j": unknown, "energy_per_correct_j": unknown})
                for mode in two_phase.modes
            ),
            "energy": unknown,
            "tokens": unknown,
            "accuracy": None,
            "duration_saved_s": None,
            "valid": False,
            "findings": findings,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldLaw:
    """A law that passed its test, and the estimates that follow from it."""

    law: FittedLaw
    totals: Mapping[str, EnergyTotal]
    """Of the measured queries by mode: how their joules are shared by the devices."""
    gains: Gains
    findings: tuple[Finding, ...]

    def mean(self, mode: str, lengths: Sequence[LengthFigures]) -> Estimate:
        """Joules per query."""
        if not lengths:
            return Estimate(value=None, findings=self.findings)
        energy_j, gradient = self._predicted(mode, lengths)
        return self._estimate(
            float(energy_j.mean()),
            ratio_interval(energy_j, np.ones(len(lengths))),
            gradient,
            self._gain(mode),
            heavy_tail(energy_j),
        )

    def per_correct(self, mode: str, lengths: Sequence[LengthFigures]) -> Estimate:
        """Joules of the scored queries per right answer; where none is right, what one costs at least."""
        scored = [each for each in lengths if each.correct is not None]
        if not scored:
            return Estimate(value=None, findings=(*self.findings, Finding(code=FindingCode.NOTHING_SCORED)))
        correct = column([float(each.correct is True) for each in scored])
        if not correct.any():
            # The lower end of the mean has the law's part in it already.
            mean = self.mean(mode, scored)
            least = None if mean.low is None else mean.low / success_share_most(len(scored))
            findings = (*self.findings, Finding(code=FindingCode.NOTHING_CORRECT))
            return Estimate(value=None, low=least, findings=findings)
        energy_j, gradient = self._predicted(mode, scored)
        return self._estimate(
            float(energy_j.sum() / correct.sum()),
            per_success_interval(energy_j, correct),
            gradient,
            self._gain(mode),
            few_correct(int(correct.sum())),
        )

    def ratio(self, by_mode: Mapping[str, Sequence[LengthFigures]], pair: tuple[str, str]) -> Estimate:
        """Total joules of one mode over the other's, over the prompts that both answered.

        The law's part is that of log X - log Y: its gradient is the difference of the two modes' own, so whatever
        scales both modes alike cancels.
        """
        above, below = _in_both(by_mode, pair)
        x_j, gradient_x = self._predicted(pair[0], above)
        y_j, gradient_y = self._predicted(pair[1], below)
        return self._estimate(
            float(x_j.sum() / y_j.sum()),
            ratio_interval(x_j, y_j),
            gradient_x - gradient_y,
            ratio_errors(self.totals[pair[0]], self.totals[pair[1]], self.gains)[1],
            heavy_tail(x_j, y_j),
        )

    def saved_s(self, by_mode: Mapping[str, Sequence[LengthFigures]], figures: Figures, spent_s: float) -> float | None:
        """Batch-1 seconds of all prompts, by the same law fitted to seconds, minus what both phases took."""
        timed = figures.at(~np.isnan(figures.n_prompt_tokens + figures.n_output_tokens) & (figures.duration_s > 0))
        if len(timed) < self.law.fit.n:
            return None
        place = np.array([self.law.place(mode) for mode in timed.mode.names])
        fit = least_squares(timed.duration_s, *lengths_of(timed), place[timed.mode.codes])
        all_s = [
            fit.predict(terms(*_tokens(each)), self.law.place(mode)).sum() for mode, each in by_mode.items() if each
        ]
        return math.fsum(all_s) - spent_s

    def _predicted(self, mode: str, lengths: Sequence[LengthFigures]) -> tuple[FloatArray, FloatArray]:
        """Each prompt's joules, and how the log of their sum moves with the law."""
        p, o = _tokens(lengths)
        energy_j = self.law.predict_j(p, o, mode)
        weights = np.full(len(lengths), 1 / float(energy_j.sum()))
        return energy_j, self.law.fit.gradient(weights, terms(p, o), self.law.place(mode))

    def _gain(self, mode: str) -> float | None:
        """Relative."""
        return divided(self.totals[mode].half_width_gain_j(self.gains), self.totals[mode].energy_j)

    def _estimate(
        self,
        value: float,
        prompts: Interval,
        gradient: FloatArray,
        relative_gain: float | None,
        doubts: tuple[Finding, ...],
    ) -> Estimate:
        """Both parts of the error in the ends: independent, so their widths on the log scale add in quadrature.

        Args:
            value: Of a positive statistic.
            prompts: Its interval over prompts.
            gradient: Of its log, on what was fitted.
            relative_gain: Half-width of the gain; None: unknown.
            doubts: To add.
        """
        law_width = student_quantile(self.law.fit.n_degrees) * self.law.fit.sd(gradient)
        reading = self.law.half_width_reading(gradient)
        return Estimate(
            value=value,
            low=_moved(value, prompts.low, law_width),
            high=_moved(value, prompts.high, law_width),
            half_width_reading=None if reading is None else value * reading,
            half_width_gain=None if relative_gain is None else value * relative_gain,
            findings=(*self.findings, *doubts, *prompts.findings, ONE_RUN),
        )


def _token_ratio(above: Sequence[LengthFigures], below: Sequence[LengthFigures]) -> Estimate:
    """Total output tokens of one mode over the other's. They are counted, so only prompts are uncertain."""
    x, y = _tokens(above)[1], _tokens(below)[1]
    if not above or y.sum() <= 0:
        return Estimate(value=None, findings=(TWO_PHASE,))
    interval = ratio_interval(x, y)
    findings = (TWO_PHASE, *interval.findings, ONE_RUN)
    return Estimate(value=float(x.sum() / y.sum()), low=interval.low, high=interval.high, findings=findings)


def _moved(value: float, end: float | None, law_width: float) -> float | None:
    """An end of the prompts' interval, moved out by the law's part."""
    if end is None or end <= 0 or value <= 0:
        return None
    width = math.hypot(math.log(end / value), law_width)
    return value * math.exp(math.copysign(width, end - value))


def _right(lengths: Sequence[LengthFigures]) -> npt.NDArray[np.int64]:
    """1 right, 0 wrong, -1 not scored."""
    return np.array([-1 if each.correct is None else int(each.correct) for each in lengths], dtype=np.int64)


def _tested(law: FittedLaw, mode: str, held_out: Figures, *, n_modes: int) -> HeldOutTest | None:
    """The test of one mode; None where none of its queries, held out or fitted, has joules and lengths."""
    known = held_out.at(held_out.measured & ~np.isnan(held_out.n_prompt_tokens + held_out.n_output_tokens))
    if not len(known) or mode not in law.record.modes:
        return None
    rows = law.modes == law.record.modes.index(mode)
    place = law.place(mode)
    return held_out_test(law.fit, rows, known.energy_j, *lengths_of(known), place=place, n_modes=n_modes)


def _doubts_of_law(law: FittedLaw | None, tests: Mapping[str, HeldOutTest | None]) -> tuple[Finding, ...]:
    """Why there is no law, or none that may be used, when all its queries were asked."""
    if law is None:
        return (Finding(code=FindingCode.TOO_FEW_QUERIES, detail="too few measured queries for an energy law"),)
    untested = ", ".join(mode for mode, test in tests.items() if test is None)
    loose = {mode: test.limit for mode, test in tests.items() if test is not None and test.limit > LIMIT_MOST}
    wide = ", ".join(f"{limit:.0%} in {mode}" for mode, limit in loose.items())
    if not all(FACTOR_LEAST <= factor <= 1 / FACTOR_LEAST for factor in law.fit.factors.tolist()):
        return (Finding(code=FindingCode.LAW_NOT_HELD, detail="modes differ by more than a law with a factor can say"),)
    broken = ", ".join(mode for mode, test in tests.items() if test is not None and not test.passed)
    detail = f"no query has joules that could check it in {untested}"
    return (
        *((Finding(code=FindingCode.LAW_NOT_CHECKED, detail=detail),) if untested else ()),
        *((Finding(code=FindingCode.LAW_NOT_TESTED, detail=f"an error of {wide}"),) if wide else ()),
        *((Finding(code=FindingCode.LAW_NOT_HELD, detail=f"in {broken}"),) if broken else ()),
    )


def _doubts_of_lengths(
    by_mode: Mapping[str, Sequence[LengthFigures]], pair: tuple[str, str] | None
) -> tuple[Finding, ...]:
    """Whether the modes of the ratio, or the only mode, answered any prompt."""
    needed = tuple(by_mode) if pair is None else pair
    empty = [mode for mode in needed if not by_mode[mode]]
    if empty:
        detail = f"no prompt was answered in {', '.join(empty)}"
    elif pair is not None and not _in_both(by_mode, pair)[0]:
        detail = f"no prompt was answered in both {pair[0]} and {pair[1]}"
    else:
        return ()
    return (Finding(code=FindingCode.TOO_FEW_QUERIES, detail=detail),)


def _in_both(
    by_mode: Mapping[str, Sequence[LengthFigures]], pair: tuple[str, str]
) -> tuple[list[LengthFigures], list[LengthFigures]]:
    """The prompts that were answered in both modes, in each of them."""
    under = {each.prompt_id: each for each in by_mode[pair[1]]}
    above = [each for each in by_mode[pair[0]] if each.prompt_id in under]
    return above, [under[each.prompt_id] for each in above]


def _mode(
    mode: str,
    lengths: Sequence[LengthFigures],
    test: HeldOutTest | None,
    held: _HeldLaw | None,
    unknown: Estimate,
    n_failed: int,
    n_held_out: int,
) -> TwoPhaseMode:
    p, o = _tokens(lengths)
    return TwoPhaseMode(
        mode=mode,
        n_prompts=len(lengths) + n_failed,
        n_failed=n_failed,
        n_cut=sum(each.cut for each in lengths),
        n_scored=sum(each.correct is not None for each in lengths),
        n_correct=sum(each.correct is True for each in lengths),
        prompt_tokens=float(p.mean()) if lengths else None,
        output_tokens=float(o.mean()) if lengths else None,
        energy_j=unknown if held is None else held.mean(mode, lengths),
        energy_per_correct_j=unknown if held is None else held.per_correct(mode, lengths),
        n_held_out=n_held_out,
        held_out_deviation=None if test is None else test.deviation,
        held_out_limit=None if test is None else test.limit,
    )


def _tokens(lengths: Sequence[LengthFigures]) -> tuple[FloatArray, FloatArray]:
    """Prompt and output tokens, one per query."""
    return column([each.n_prompt_tokens for each in lengths]), column([each.n_output_tokens for each in lengths])


def _no_law(modes: Sequence[str], n_queries: int, findings: tuple[Finding, ...]) -> EnergyLaw:
    """The law where there is none, or none to show, with the reasons."""
    unknown = Estimate(value=None, findings=findings)
    return EnergyLaw(
        modes=tuple(modes),
        n_queries=n_queries,
        per_query_j=unknown,
        per_prompt_token_j=unknown,
        per_output_token_j=unknown,
        per_attended_token_j=unknown,
        findings=findings,
    )
