"""The same answer for less: token counts of all prompts, times an energy law measured on a few of them.

First phase: every prompt is answered in every mode by fast batched generation, with the same weights and sampling, and
only tokens are counted. Second phase: a few prompts are asked alone, as in any run, and their joules give the law
J(p, o) of `energy_law`. A query's energy is then the law at its counted lengths.

Estimand: total energy at batch size 1 in one mode over that in another, over the source that the prompts come from,
answers drawn by the model's own sampling. Two errors, independent of each other, are in the interval:

- Prompts: another sample of prompts, each with another draw of its answer, would have other lengths. The studentized
  interval of `bootstrap` over all prompts' predicted joules has both, because one draw per prompt varies by both.
- The law: its coefficients are known as well as a few measured queries allow. By the delta method, with the fit's
  covariance, on the log of the ratio; most of it cancels between the modes, because they share the law.

What a single query scatters about the law is no error of the estimand: it averages out over any source of prompts.
What does not average out is a law that is wrong. Therefore some measured queries are kept out of the fit, chosen at
random, and their total in each mode must be within what the law's covariance and the scatter allow.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.analysis.bootstrap import (
    ROUNDING,
    TAIL,
    FloatArray,
    Interval,
    column,
    per_success_interval,
    ratio_interval,
)
from harness.analysis.comparison import compared_modes
from harness.analysis.energy_law import (
    N_LEAST_LAW,
    Fit,
    FittedLaw,
    fit_law,
    least_squares,
    lengths_of,
    student_quantile,
)
from harness.analysis.estimates import ESTIMATED, ONE_RUN, Gains, divided, heavy_tail, total
from harness.analysis.measured import QueryFigures
from harness.records import EnergyLaw, Estimate, Finding, FindingCode, TwoPhase, TwoPhaseMode

N_FITTED = 30
N_HELD_OUT = 10
"""Queries, over all modes together, that the law is fitted to and tested with, at least."""
N_PROMPTS_LEAST = 5
"""Prompts of either kind, at least: each mode is tested on as many queries."""
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
        n_modes: That are tested alike.
    """
    predicted_j = fit.predict(p, o)
    predicted_total_j = float(predicted_j.sum())
    relative_sd, n_degrees = fit.scatter(rows)
    sd_j = math.hypot(relative_sd * math.sqrt(float((predicted_j**2).sum())), fit.sd_of_sum(np.ones(len(p)), p, o))
    return HeldOutTest(
        deviation=float(energy_j.sum()) / predicted_total_j - 1,
        limit=student_quantile(n_degrees, TAIL / n_modes) * sd_j / abs(predicted_total_j),
    )


def two_phase(
    lengths: Sequence[LengthFigures],
    figures: Sequence[QueryFigures],
    held_out: Collection[str],
    gains: Gains,
    *,
    modes: Sequence[str],
    n_failed: Mapping[str, int],
    batch_size: int,
    duration_batched_s: float,
    duration_measured_s: float,
    estimated: bool,
) -> TwoPhase:
    """What all prompts would have cost one by one, and how well that is known.

    Args:
        lengths: Of every prompt that the first phase answered.
        figures: The answered batch-1 queries of the second phase, those held out included.
        held_out: Ids of the prompts that are kept out of the law's fit.
        gains: Of the devices.
        modes: Of the run.
        n_failed: Prompts that the first phase could not answer, by mode.
        batch_size: Of the first phase.
        duration_batched_s: The first phase took.
        duration_measured_s: The second phase took.
        estimated: Whether the joules are a hardware model's; then there is no law and nothing is said.

    Returns:
        Every figure null, and `valid` false, where the law does not hold for the queries that were held out.
    """
    law = None if estimated else fit_law([query for query in figures if query.prompt_id not in held_out], gains)
    tested = {
        mode: [query for query in figures if query.mode == mode and query.prompt_id in held_out] for mode in modes
    }
    tests = {mode: None if law is None else _tested(law, tested[mode], n_modes=len(modes)) for mode in modes}
    broken = [mode for mode, test in tests.items() if test is None or not test.passed]
    findings = [TWO_PHASE]
    if estimated:
        findings.append(ESTIMATED)
    elif law is None:
        findings.append(Finding(code=FindingCode.TOO_FEW_QUERIES, detail="too few measured queries for an energy law"))
    elif broken:
        findings.append(Finding(code=FindingCode.LAW_NOT_HELD, detail=f"in {', '.join(broken)}"))
    held = (
        None if law is None or broken else _HeldLaw(law=law, common=_errors(figures, gains), findings=tuple(findings))
    )
    by_mode = {mode: [each for each in lengths if each.mode == mode] for mode in modes}
    pair = compared_modes(modes)
    unknown = Estimate(value=None, findings=tuple(findings))
    return TwoPhase(
        batch_size=batch_size,
        n_prompts=len({each.prompt_id for each in lengths}),
        n_law=0 if law is None else law.fit.n,
        law=_no_law(modes, findings) if law is None else law.record,
        modes=tuple(
            _mode(mode, by_mode[mode], tests[mode], held, unknown, n_failed.get(mode, 0), len(tested[mode]))
            for mode in modes
        ),
        numerator=None if pair is None else pair[0],
        denominator=None if pair is None else pair[1],
        energy=unknown if pair is None or held is None else held.ratio(by_mode[pair[0]], by_mode[pair[1]], figures),
        duration_batched_s=duration_batched_s,
        duration_measured_s=duration_measured_s,
        duration_saved_s=_saved_s(lengths, figures, duration_batched_s + duration_measured_s),
        valid=held is not None,
        findings=tuple(findings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommonErrors:
    """Relative 95 % half-widths of what no number of queries averages out; None: unknown."""

    reading: float | None
    gain: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldLaw:
    """A law that passed its test, and the estimates that follow from it."""

    law: FittedLaw
    common: _CommonErrors
    findings: tuple[Finding, ...]

    def mean(self, lengths: Sequence[LengthFigures]) -> Estimate:
        """Joules per query."""
        if not lengths:
            return Estimate(value=None, findings=self.findings)
        p, o = _tokens(lengths)
        energy_j = self.law.predict_j(p, o)
        return self._estimate(
            float(energy_j.mean()),
            ratio_interval(energy_j, np.ones(len(lengths))),
            self.law.fit.sd_of_sum(np.full(len(lengths), 1 / float(energy_j.sum())), p, o),
            heavy_tail(energy_j.tolist()),
        )

    def per_correct(self, lengths: Sequence[LengthFigures]) -> Estimate:
        """Joules of the scored queries per right answer."""
        scored = [each for each in lengths if each.correct is not None]
        correct = column([float(each.correct is True) for each in scored])
        if not scored:
            return Estimate(value=None, findings=(*self.findings, Finding(code=FindingCode.NOTHING_SCORED)))
        if not correct.any():
            return Estimate(value=None, findings=(*self.findings, Finding(code=FindingCode.NOTHING_CORRECT)))
        p, o = _tokens(scored)
        energy_j = self.law.predict_j(p, o)
        total_j = float(energy_j.sum())
        return self._estimate(
            total_j / float(correct.sum()),
            per_success_interval(energy_j, correct),
            self.law.fit.sd_of_sum(np.full(len(scored), 1 / total_j), p, o),
        )

    def ratio(
        self, above: Sequence[LengthFigures], below: Sequence[LengthFigures], figures: Sequence[QueryFigures]
    ) -> Estimate:
        """Total joules of one mode over the other's, over the prompts that both answered.

        The law's part is that of log X - log Y: its gradient is the two modes' mean terms, each over its mean joules,
        so whatever scales both modes alike cancels.
        """
        under = {each.prompt_id: each for each in below}
        pairs = [(each, under[each.prompt_id]) for each in above if each.prompt_id in under]
        if not pairs:
            return Estimate(value=None, findings=self.findings)
        (p_x, o_x), (p_y, o_y) = _tokens([pair[0] for pair in pairs]), _tokens([pair[1] for pair in pairs])
        x_j, y_j = self.law.predict_j(p_x, o_x), self.law.predict_j(p_y, o_y)
        weights = np.concatenate((np.full(len(pairs), 1 / x_j.sum()), np.full(len(pairs), -1 / y_j.sum())))
        law_sd = self.law.fit.sd_of_sum(weights, np.concatenate((p_x, p_y)), np.concatenate((o_x, o_y)))
        estimate = self._estimate(
            float(x_j.sum() / y_j.sum()), ratio_interval(x_j, y_j), law_sd, heavy_tail(x_j.tolist(), y_j.tolist())
        )
        # One device's gain is in both totals. With several, how their shares differ between modes is not known here.
        devices = {(device.device, device.method) for query in figures for device in query.devices}
        return estimate.model_copy(update={"half_width_gain": 0.0 if len(devices) == 1 else None})

    def _estimate(self, value: float, prompts: Interval, law_sd: float, doubts: tuple[Finding, ...] = ()) -> Estimate:
        """Both parts of the error in the ends: independent, so their widths on the log scale add in quadrature."""
        law_width = student_quantile(self.law.fit.n_degrees) * law_sd
        common = {"half_width_reading": self.common.reading, "half_width_gain": self.common.gain}
        return Estimate(
            value=value,
            low=_moved(value, prompts.low, law_width),
            high=_moved(value, prompts.high, law_width),
            **{name: None if share is None else share * value for name, share in common.items()},
            findings=(*self.findings, *doubts, *prompts.findings, ONE_RUN),
        )


def _moved(value: float, end: float | None, law_width: float) -> float | None:
    """An end of the prompts' interval, moved out by the law's part."""
    if end is None or end <= 0 or value <= 0:
        return None
    width = math.hypot(math.log(end / value), law_width)
    return value * math.exp(math.copysign(width, end - value))


def _tested(law: FittedLaw, held_out: Sequence[QueryFigures], *, n_modes: int) -> HeldOutTest | None:
    """The test of one mode; None where none of its queries, held out or fitted, has joules and lengths."""
    known = [
        query
        for query in held_out
        if query.energy_j is not None and query.n_prompt_tokens is not None and query.n_output_tokens is not None
    ]
    rows = np.array([mode == known[0].mode for mode in law.modes]) if known else np.zeros(0, dtype=np.bool_)
    if not rows.any():
        return None
    energy_j = column([query.energy_j or 0.0 for query in known])
    return held_out_test(law.fit, rows, energy_j, *lengths_of(known), n_modes=n_modes)


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
        prompt_tokens=float(p.mean()) if lengths else 0.0,
        output_tokens=float(o.mean()) if lengths else 0.0,
        energy_j=unknown if held is None else held.mean(lengths),
        energy_per_correct_j=unknown if held is None else held.per_correct(lengths),
        n_held_out=n_held_out,
        held_out_deviation=None if test is None else test.deviation,
        held_out_limit=None if test is None else test.limit,
    )


def _errors(figures: Sequence[QueryFigures], gains: Gains) -> _CommonErrors:
    summed = total([query for query in figures if query.energy_j is not None])
    return _CommonErrors(
        reading=divided(summed.half_width_reading_j, summed.energy_j),
        gain=divided(summed.half_width_gain_j(gains), summed.energy_j),
    )


def _tokens(lengths: Sequence[LengthFigures]) -> tuple[FloatArray, FloatArray]:
    """Prompt and output tokens, one per query."""
    return column([each.n_prompt_tokens for each in lengths]), column([each.n_output_tokens for each in lengths])


def _saved_s(lengths: Sequence[LengthFigures], figures: Sequence[QueryFigures], spent_s: float) -> float | None:
    """Batch-1 seconds of all prompts, by the same law fitted to seconds, minus what both phases took."""
    known = [q for q in figures if q.n_prompt_tokens is not None and q.n_output_tokens is not None and q.duration_s > 0]
    if len(known) < N_LEAST_LAW:
        return None
    fit = least_squares(column([query.duration_s for query in known]), *lengths_of(known))
    return float(fit.predict(*_tokens(lengths)).sum()) - spent_s


def _no_law(modes: Sequence[str], findings: Sequence[Finding]) -> EnergyLaw:
    """The law of a run that has none, with the reasons."""
    unknown = Estimate(value=None)
    return EnergyLaw(
        modes=tuple(modes),
        n_queries=0,
        per_query_j=unknown,
        per_prompt_token_j=unknown,
        per_output_token_j=unknown,
        per_attended_token_j=unknown,
        findings=tuple(findings),
    )
