"""Explanations of two modes over the same prompts: ratios of totals, their factors, the difference and its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from harness.analysis.bootstrap import Z_POWER, Z
from harness.analysis.measured import QueryFigures
from harness.records import Comparison, Estimate, Finding, FindingCode, Summary
from harness.report.compared import POINTS, reasons
from harness.report.explanation.parts import (
    Amount,
    dearest_and_typical,
    exact,
    gain_part,
    printed,
    prompts_part,
    reading_part,
    runs_part,
    some_of,
)
from harness.report.explanation.record import Explanation, Group, IntervalPart, Make
from harness.report.explanation.words import on_the_log, percentile, plain
from harness.report.numbers import digits, percent, probability, signed, signed_ends_of, signed_value_of
from harness.report.wording import doubts

CANCELS = "moves both totals alike: on one board nothing of it is left in a ratio"
QUADRATURE = "of the two totals, each its queries' half-widths added up, in quadrature"

Pair = tuple[QueryFigures, QueryFigures]


def comparison_figures(summary: Summary, comparison: Comparison, figures: Sequence[QueryFigures]) -> dict[str, Make]:
    """Every figure of a comparison by its name; of an invalid one, why there is none."""
    name = f"{comparison.numerator}/{comparison.denominator}"
    if comparison.invalid:
        return {f"{name}.energy": partial(_invalid, comparison, f"{name}.energy")}
    of = _Comparison(name, comparison, figures)
    found: dict[str, Make] = {}
    for figure, estimate, make in (
        ("energy", comparison.energy, of.energy),
        ("duration", comparison.duration, of.duration),
        ("tokens", comparison.tokens, of.tokens),
        ("energy_per_token", comparison.energy_per_token, of.energy_per_token),
        ("duration_per_token", Estimate(value=comparison.duration_per_token), of.duration_per_token),
        ("difference_j", comparison.difference_j, of.difference_j),
    ):
        if estimate.value is not None:
            found[f"{name}.{figure}"] = make
    for part in comparison.parts:
        found[f"{name}.parts.{part.name}"] = partial(of.part, part.name, part.difference_j)
    if comparison.accuracy is not None:
        found[f"{name}.accuracy"] = of.accuracy
    if comparison.energy_per_correct.value is not None and not summary.estimated:
        found[f"{name}.energy_per_correct"] = of.energy_per_correct
    if comparison.smallest_detectable is not None:
        found[f"{name}.smallest_detectable"] = of.smallest_detectable
    return found


def _invalid(comparison: Comparison, name: str) -> Explanation:
    return Explanation(
        name=name,
        title=f"{comparison.numerator} over {comparison.denominator}",
        value="no comparison",
        words=reasons(comparison.invalid),
        names_next=tuple(f"{mode}.energy_j" for mode in (comparison.numerator, comparison.denominator)),
    )


class _Comparison:
    """The pairs of one comparison, and an explanation of each of its figures."""

    def __init__(self, name: str, comparison: Comparison, figures: Sequence[QueryFigures]) -> None:
        self._name, self._own = name, comparison
        self._above, self._under = comparison.numerator, comparison.denominator
        below = {query.prompt_id: query for query in figures if query.mode == self._under}
        self._answered: list[Pair] = [
            (query, below[query.prompt_id])
            for query in figures
            if query.mode == self._above and query.prompt_id in below
        ]
        known = [pair for pair in self._answered if all(query.energy_j is not None for query in pair)]
        self._pairs = known or self._answered
        n_out = len(self._answered) - len(self._pairs)
        out = f"; left out: {n_out:,} whose joules are not known in both" if n_out else ""
        self._rests_on = f"It rests on {len(self._pairs):,} prompts{out}."

    def energy(self) -> Explanation:
        bca = ""
        if self._own.energy_bca_low is not None and self._own.energy_bca_high is not None:
            ends = (self._own.energy_bca_low, self._own.energy_bca_high)
            bca = f"; by another method (BCa): {' to '.join(digits(end) for end in ends)}"
        return self._ratio(
            "energy",
            "times the joules",
            "All joules of one mode over all joules of the other, over the prompts answered in both.",
            self._own.energy,
            self._quotient(_energy, "J"),
            (
                prompts_part(self._own.energy, "×", on_the_log(len(self._pairs)) + bca),
                reading_part(self._own.energy, "×", QUADRATURE),
                runs_part(self._own.energy, "×"),
                gain_part(self._own.energy, "×", CANCELS),
            ),
            self._shares(_energy, "J"),
        )

    def duration(self) -> Explanation:
        return self._ratio(
            "duration",
            "times the seconds",
            "All seconds of one mode over all seconds of the other, over the prompts answered in both.",
            self._own.duration,
            self._quotient(lambda query: query.duration_s, "s"),
            (
                prompts_part(self._own.duration, "×", on_the_log(len(self._pairs))),
                runs_part(self._own.duration, "×"),
            ),
            self._shares(lambda query: query.duration_s, "s"),
        )

    def tokens(self) -> Explanation:
        return self._ratio(
            "tokens",
            "times the output tokens",
            "All output tokens of one mode, thinking included, over all of the other, for the same prompts.",
            self._own.tokens,
            self._quotient(_tokens, "tokens"),
            (prompts_part(self._own.tokens, "×", on_the_log(len(self._pairs))), runs_part(self._own.tokens, "×")),
            self._shares(_tokens, "tokens"),
        )

    def energy_per_token(self) -> Explanation:
        return self._each("energy_per_token", "joules", _energy, "J", self._own.energy_per_token)

    def duration_per_token(self) -> Explanation:
        estimate = Estimate(value=self._own.duration_per_token)
        return self._each("duration_per_token", "seconds", lambda query: query.duration_s, "s", estimate)

    def difference_j(self) -> Explanation:
        return self._difference("difference_j", "joules more, per query", _energy, self._own.difference_j)

    def part(self, phase: str, estimate: Estimate) -> Explanation:
        def of(query: QueryFigures) -> float | None:
            return None if query.phases_j is None else query.phases_j.get(phase, 0.0)

        return self._difference(f"parts.{phase}", f"joules more for {phase}, per query", of, estimate)

    def accuracy(self) -> Explanation:
        own = self._own.accuracy
        assert own is not None, "asked for only where answers were scored in both"
        scaled = POINTS.estimate(own.difference)
        points = f"{signed(exact(scaled.value or 0.0))} points"
        only = [
            [pair[side] for pair in self._answered if (pair[0].correct, pair[1].correct) == outcome]
            for side, outcome in ((0, (True, False)), (1, (False, True)))
        ]
        only_of_one = f"{own.n_only_numerator:,} − {own.n_only_denominator:,}"
        ends = signed_ends_of(scaled)
        exactly = "" if own.p_value is None else f"; exact test of no difference (McNemar): {probability(own.p_value)}"
        return Explanation(
            name=f"{self._name}.accuracy",
            title=f"{self._above} against {self._under}: points of right answers",
            value=f"{signed_value_of(scaled)} points{f' (95 %: {ends})' if ends else ''}",
            words="The share of right answers in one mode less that in the other, over the prompts scored in both. "
            f"Only prompts that one of the two gets right can tell them apart{exactly}.",
            formula=(
                f"({only_of_one} right in one only) / {own.n:,} × 100 = {points}",
                f"{own.n_both:,} are right in both",
            ),
            parts=(
                IntervalPart(
                    label="other prompts",
                    text=f"{ends} points" if ends else "none",
                    source="both shares' Wilson limits, less what the answers' correlation takes away (Newcombe)",
                ),
            ),
            rests_on=f"It rests on {own.n:,} prompts.",
            groups=(
                *some_of(f"Right only in {self._above}", only[0], _length),
                *some_of(f"Right only in {self._under}", only[1], _length),
            ),
        )

    def energy_per_correct(self) -> Explanation:
        pairs = [pair for pair in self._pairs if all(query.correct is not None for query in pair)]
        terms = []
        for side, mode in enumerate((self._above, self._under)):
            total_j = math.fsum(pair[side].energy_j or 0.0 for pair in pairs)
            terms.append(f"{exact(total_j)} J / {sum(pair[side].correct is True for pair in pairs):,} right in {mode}")
        estimate = self._own.energy_per_correct
        return self._ratio(
            "energy_per_correct",
            "times the joules per right answer",
            "Joules per right answer in one mode over those in the other, over the prompts scored in both.",
            estimate,
            (f"({terms[0]}) / ({terms[1]}) = {exact(estimate.value or 0.0)}",),
            (
                prompts_part(estimate, "×", percentile(len(pairs))),
                reading_part(estimate, "×", QUADRATURE),
                runs_part(estimate, "×"),
                gain_part(estimate, "×", CANCELS),
            ),
            self._shares(_energy, "J"),
        )

    def smallest_detectable(self) -> Explanation:
        least = self._own.smallest_detectable or 0.0
        deviation = math.log1p(least) / (Z + Z_POWER)
        return Explanation(
            name=f"{self._name}.smallest_detectable",
            title=f"{self._above} over {self._under}: the smallest difference that could be seen",
            value=percent(least),
            words="A true ratio of joules so far from 1 is told from 1, at 5 % on two sides, in 80 of 100 studies with "
            "as many prompts. Four times the prompts see half of it.",
            formula=(f"exp(({digits(Z)} + {digits(Z_POWER)}) × {digits(deviation, 4)}) − 1 = {digits(least, 4)}",),
            parts=(
                IntervalPart(
                    label="standard error",
                    text=digits(deviation, 4),
                    source="of the log of the ratio of totals, from the prompts' own scatter (delta method)",
                ),
            ),
            rests_on=self._rests_on,
            names_next=(f"{self._name}.energy",),
        )

    def _each(
        self, figure: str, what: str, of: Callable[[QueryFigures], float | None], unit: str, estimate: Estimate
    ) -> Explanation:
        """What a token takes in one mode over the other."""
        totals = [(self._sum(of, side), self._sum(_tokens, side)) for side in (0, 1)]
        line = " / ".join(f"({exact(above)} {unit} / {exact(below)} tokens)" for above, below in totals)
        in_joules = unit == "J"
        parts = (
            (
                prompts_part(estimate, "×", on_the_log(len(self._pairs))),
                reading_part(estimate, "×", QUADRATURE),
                runs_part(estimate, "×"),
                gain_part(estimate, "×", CANCELS),
            )
            if in_joules
            else ()
        )
        return self._ratio(
            figure,
            f"times the {what} per output token",
            f"The {what} of an output token in one mode over those in the other, each of totals over the same prompts. "
            f"Times the ratio of tokens it is the ratio of {what}, exactly.",
            estimate,
            (f"{line} = {exact(estimate.value or 0.0)}",),
            parts,
            self._shares(of, unit),
        )

    def _difference(
        self, figure: str, title: str, of: Callable[[QueryFigures], float | None], estimate: Estimate
    ) -> Explanation:
        above, under, n = self._sum(of, 0), self._sum(of, 1), len(self._pairs)
        return Explanation(
            name=f"{self._name}.{figure}",
            title=f"{self._above} minus {self._under}: {title}",
            value=printed(estimate, "J"),
            words="The mean joules of a query in one mode less those in the other, over the prompts answered in both. "
            "The parts of the phases add up to the whole.",
            formula=(f"({exact(above)} J − {exact(under)} J) / {n:,} prompts = {exact((above - under) / n)} J",),
            parts=(
                prompts_part(estimate, "J", plain(n)),
                reading_part(estimate, "J", QUADRATURE),
                *_runs(estimate, self._own),
                gain_part(estimate, "J", "scales the difference on each board"),
            ),
            rests_on=self._rests_on,
            groups=self._shares(of, "J"),
            doubts=doubts(_own_findings(estimate)),
        )

    def _ratio(
        self,
        figure: str,
        title: str,
        words: str,
        estimate: Estimate,
        formula: tuple[str, ...],
        parts: tuple[IntervalPart, ...],
        groups: tuple[Group, ...],
    ) -> Explanation:
        return Explanation(
            name=f"{self._name}.{figure}",
            title=f"{self._above} over {self._under}: {title}",
            value=printed(estimate, "×"),
            words=words,
            formula=formula,
            parts=parts,
            rests_on=f"{self._rests_on} Shares are of the difference of the two totals.",
            groups=groups,
            doubts=doubts(_own_findings(estimate)),
        )

    def _sum(self, of: Callable[[QueryFigures], float | None], side: int) -> float:
        return math.fsum(of(pair[side]) or 0.0 for pair in self._pairs)

    def _quotient(self, of: Callable[[QueryFigures], float | None], unit: str) -> tuple[str, ...]:
        above, under = self._sum(of, 0), self._sum(of, 1)
        return (f"{exact(above)} {unit} / {exact(under)} {unit} = {exact(above / under)}",) if under else ()

    def _shares(self, of: Callable[[QueryFigures], float | None], unit: str) -> tuple[Group, ...]:
        """The prompts by what they put into the difference; each is named by its query above the line."""
        amounts: list[Amount] = []
        sides: dict[str, tuple[float, float]] = {}
        for above, under in self._pairs:
            x, y = of(above), of(under)
            if x is None or y is None:
                continue
            amounts.append((above, x - y))
            sides[above.prompt_id] = (x, y)

        def note(query: QueryFigures) -> str:
            x, y = sides[query.prompt_id]
            return f"{_short(x)} − {_short(y)} {unit}"

        return dearest_and_typical(amounts, unit=unit, notes=note)


def _runs(estimate: Estimate, comparison: Comparison) -> tuple[IntervalPart, ...]:
    """Not of a single phase where there are repeats: of those only the whole difference is compared."""
    unknown = estimate.half_width_runs is None and comparison.difference_j.half_width_runs is not None
    return () if unknown else (runs_part(estimate, "J"),)


def _own_findings(estimate: Estimate) -> list[Finding]:
    return [finding for finding in estimate.findings if finding.code is not FindingCode.ONE_RUN]


def _length(query: QueryFigures) -> str:
    return "" if query.n_output_tokens is None else f"{query.n_output_tokens:,} tokens"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else digits(value)


def _energy(query: QueryFigures) -> float | None:
    return query.energy_j


def _tokens(query: QueryFigures) -> float | None:
    return query.n_output_tokens
