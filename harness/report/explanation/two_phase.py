"""Explanations of a two-phase run's figures: token counts of all prompts, times an energy law of a few queries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness.analysis.measured import QueryFigures
from harness.records import Estimate, FindingCode, TwoPhase, TwoPhaseMode
from harness.report.explanation.parts import about, exact, printed, prompts_part, some_of
from harness.report.explanation.record import Explanation, IntervalPart, Make
from harness.report.numbers import digits, percent, signed
from harness.report.study import law_words
from harness.report.wording import doubts

MADE = "other prompts, and the law's own uncertainty, both in its ends"
NAME = "two_phase"


def two_phase_figures(two_phase: TwoPhase, figures: Sequence[QueryFigures]) -> dict[str, Make]:
    """Every figure by its name. Without joules where the law does not hold."""
    found: dict[str, Make] = {}
    for mode in two_phase.modes:
        own = [query for query in figures if query.mode == mode.mode]
        for figure, title, estimate in (
            ("energy_j", "joules per query", mode.energy_j),
            ("energy_per_correct_j", "joules per right answer", mode.energy_per_correct_j),
        ):
            if two_phase.valid and (estimate.value is not None or estimate.low is not None):
                name = f"{mode.mode}.{NAME}.{figure}"
                found[name] = partial(_of_mode, two_phase, mode, name, title, estimate, own)
        if mode.held_out_deviation is not None:
            name = f"{mode.mode}.{NAME}.held_out"
            found[name] = partial(_held_out, mode, name, own)
    known = {mode.mode for mode in two_phase.modes}
    if two_phase.valid and two_phase.energy.value is not None and {two_phase.numerator, two_phase.denominator} <= known:
        name = f"{two_phase.numerator}/{two_phase.denominator}.{NAME}.energy"
        found[name] = partial(_ratio, two_phase, name)
    return found


def _of_mode(
    two_phase: TwoPhase,
    mode: TwoPhaseMode,
    name: str,
    title: str,
    estimate: Estimate,
    own: Sequence[QueryFigures],
) -> Explanation:
    per_right = "" if name.endswith(".energy_j") else f", times all prompts, over {mode.n_correct:,} right answers"
    lengths = [f"prompt tokens {digits(mode.prompt_tokens)}", f"output tokens {digits(mode.output_tokens)}"]
    return Explanation(
        name=name,
        title=f"{mode.mode}: two-phase {title}",
        value=printed(estimate, "J"),
        words=f"Not measured query by query: the lengths of the answers to {mode.n_prompts:,} prompts, put into an "
        f"energy law that {two_phase.n_law:,} measured queries gave{per_right}.",
        formula=("J = a + b p + c o + d (p o + o² / 2), the mean over all prompts", f"means: {', '.join(lengths)}"),
        parts=(prompts_part(estimate, "J", MADE),),
        rests_on=law_words(two_phase.law),
        groups=some_of("Measured one by one, for the law or to check it", own, about),
        doubts=doubts([finding for finding in estimate.findings if finding.code is not FindingCode.TWO_PHASE]),
        names_next=(f"{mode.mode}.{NAME}.held_out",) if mode.held_out_deviation is not None else (),
    )


def _held_out(mode: TwoPhaseMode, name: str, own: Sequence[QueryFigures]) -> Explanation:
    share = mode.held_out_deviation or 0.0
    return Explanation(
        name=name,
        title=f"{mode.mode}: held-out queries against the law",
        value=signed(percent(share)) if share >= 0 else f"−{percent(-share)}",
        words="Measured joules of queries kept out of the fit, over what the law says of their lengths, less 1.",
        formula=(f"{mode.n_held_out:,} queries, mean deviation {exact(share)}",),
        parts=(
            IntervalPart(
                label="allowed",
                text="unknown" if mode.held_out_limit is None else f"± {percent(mode.held_out_limit)}",
                source="what the law's own uncertainty allows; beyond it no two-phase figure is given",
            ),
        ),
        groups=some_of("Measured one by one, for the law or to check it", own, about),
    )


def _ratio(two_phase: TwoPhase, name: str) -> Explanation:
    modes = {mode.mode: mode for mode in two_phase.modes}
    above, under = modes[two_phase.numerator or ""], modes[two_phase.denominator or ""]
    values = [each.energy_j.value or 0.0 for each in (above, under)]
    line = f"{exact(values[0])} J / {exact(values[1])} J = {exact(two_phase.energy.value or 0.0)}"
    return Explanation(
        name=name,
        title=f"{two_phase.numerator} over {two_phase.denominator}: two-phase, times the joules",
        value=printed(two_phase.energy, "×"),
        words="The ratio of what all prompts take in the two modes, by their lengths and the energy law.",
        formula=(line,),
        parts=(prompts_part(two_phase.energy, "×", MADE),),
        rests_on=law_words(two_phase.law),
        doubts=doubts([each for each in two_phase.energy.findings if each.code is not FindingCode.TWO_PHASE]),
        names_next=tuple(f"{mode.mode}.{NAME}.energy_j" for mode in (above, under)),
    )
