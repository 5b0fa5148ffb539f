"""The receipt's sections about the study: ratio, additive split, answers, stopping, two phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records import Comparison, Estimate, Finding, FindingCode, Stopping, Summary, TwoPhase, TwoPhaseMode
from harness.report.compared import accuracy_words, detectable_words, of_two_phases, per_token, reasons, whole
from harness.report.numbers import (
    UNKNOWN,
    digits,
    duration,
    ends_of,
    energy,
    percent,
    signed_ends_of,
    times,
    unit_for,
    value_of,
)
from harness.report.rows import Row, Section, wide
from harness.report.study import split
from harness.report.wording import statistic


def comparison_sections(summary: Summary) -> Iterator[Section]:
    """The headline comparison in full, the others in a line each; an invalid one in words."""
    headline = summary.comparison
    if headline is None:
        return
    caps = ", unequal caps" if _has(summary, FindingCode.UNEQUAL_CAPS) else ""
    title = f"{headline.numerator} over {headline.denominator}, {headline.n_pairs:,} prompts{caps}"
    others = [row for each in summary.comparisons[1:] for row in _in_a_line(summary, each)]
    if headline.invalid:
        yield Section(title=title, rows=(wide(f"No comparison. {headline.invalid[0].code.sentence}"), *others))
        return
    yield Section(title=title, rows=(*_factors(summary, headline), *others, *_detectable(headline)))
    yield from _split_section(headline)


def answer_rows(summary: Summary) -> tuple[Row, ...]:
    """What the headline's mode buys: the difference in right answers, and what one more costs."""
    headline = summary.comparison
    if headline is None or headline.invalid:
        return ()
    names = f"{headline.numerator} against {headline.denominator}"
    words = accuracy_words(headline)
    compared = f"{headline.numerator}/{headline.denominator}"
    rows = [wide(names, words, behind=f"{compared}.accuracy")] if words else []
    ratio = headline.energy_per_correct
    if not summary.estimated and ratio.value is not None:
        text = _with_ends(times(ratio), ends_of(ratio))
        rows.append(wide("joules per right answer", text, behind=f"{compared}.energy_per_correct"))
    return tuple(rows)


def stopping_section(stopping: Stopping) -> Section:
    """How far `--until-ci` has come, and what it saved."""
    n_looks = len(stopping.looks)
    last = stopping.looks[-1][1] if stopping.looks else None
    reached = UNKNOWN if last is None else f"± {percent(last)}"
    ended = "settled" if stopping.settled else "not settled"
    rows = [
        wide("prompts asked", f"{stopping.n_prompts:,} of at most {stopping.n_prompts_most:,}"),
        wide(f"interval of {statistic(stopping)}", f"{reached}, {ended} in {n_looks} look{'s' * (n_looks != 1)}"),
    ]
    saved = [duration(stopping.saved_s)] if stopping.saved_s else []
    saved += [energy(stopping.saved_j)] if stopping.saved_j else []
    if saved:
        rows.append(wide("saved, at the mean", " and ".join(saved)))
    return Section(title=f"Until ± {100 * stopping.target:g} %", rows=tuple(rows))


def two_phase_sections(two_phase: TwoPhase, modes: tuple[str, ...]) -> Iterator[Section]:
    """The figures that were not measured query by query, named as such in every heading.

    Without joules where they do not hold; what was counted and how far the law was off stands all the same.
    """
    by_name = {each.mode: each for each in two_phase.modes}
    shown = [by_name.get(mode) for mode in modes]
    held = tuple(
        "–" if each is None or each.held_out_deviation is None else _deviation(each.held_out_deviation)
        for each in shown
    )
    limits = tuple(
        "–" if each is None or each.held_out_limit is None else f"± {percent(each.held_out_limit)}" for each in shown
    )
    joules = [*_two_phase_joules(shown, modes)] if two_phase.valid else []
    rows = joules[:2]
    if any(each is not None and each.n_scored for each in shown):
        right = tuple("–" if each is None else f"{each.n_correct:,} of {each.n_scored:,}" for each in shown)
        rows += [Row(label="right answers", cells=right), *joules[2:]]
    if any(each is not None and each.n_cut for each in shown):
        cut = tuple("–" if each is None else f"{each.n_cut:,} of {each.n_prompts - each.n_failed:,}" for each in shown)
        rows.append(Row(label="cut by the cap", cells=cut))
    if any(each is not None and each.held_out_deviation is not None for each in shown):
        named = tuple(f"{mode}.two_phase.held_out" for mode in modes)
        rows += [
            Row(label="held out, off the law", cells=held, behind=named),
            Row(label="allowed", cells=limits, behind=named, part="allowed"),
        ]
    if rows:
        yield Section(title=f"Two-phase: {two_phase.n_prompts:,} prompts, not measured one by one", rows=tuple(rows))
    yield Section(title="Two-phase: token counts × energy law", rows=tuple(_two_phase_rows(two_phase)))


def _two_phase_joules(shown: Sequence[TwoPhaseMode | None], modes: Sequence[str]) -> Iterator[Row]:
    """Joules per query and per right answer; of modes without a right answer the lower bound, where there is one."""
    known = [each for each in shown if each is not None]
    unit = unit_for([each.energy_j.value for each in known], "J")
    per_query = [None if each is None else unit.estimate(each.energy_j) for each in shown]
    named = tuple(f"{mode}.two_phase.energy_j" for mode in modes)
    cells = tuple("–" if each is None else value_of(each) for each in per_query)
    yield Row(label=f"{unit.name} per query", cells=cells, behind=named)
    cells = tuple("–" if each is None else ends_of(each) or UNKNOWN for each in per_query)
    yield Row(label="95 %", cells=cells, behind=named, part="other prompts")
    if any(each.n_scored for each in known):
        per_right = [None if each is None else unit.estimate(each.energy_per_correct_j) for each in shown]
        cells = tuple("–" if each is None else _or_bound(each) for each in per_right)
        named = tuple(f"{mode}.two_phase.energy_per_correct_j" for mode in modes)
        yield Row(label=f"{unit.name} per right answer", cells=cells, behind=named)


def _or_bound(estimate: Estimate) -> str:
    return value_of(estimate) if estimate.value is not None else ends_of(estimate) or UNKNOWN


def two_phase_invalid_words(two_phase: TwoPhase) -> str:
    """Why there is no two-phase figure, and what to do."""
    return f"No two-phase figure. {reasons(_against(two_phase))}"


def _against(two_phase: TwoPhase) -> list[Finding]:
    """Why it does not hold."""
    return [each for each in two_phase.findings if each.code is not FindingCode.TWO_PHASE]


def _two_phase_rows(two_phase: TwoPhase) -> Iterator[Row]:
    if not two_phase.valid:
        sentences = dict.fromkeys(each.code.sentence for each in _against(two_phase))
        yield wide(" ".join(("No two-phase figure.", *sentences)))
    elif two_phase.numerator is not None:
        label = f"joules, {two_phase.numerator} over {two_phase.denominator}"
        figure = f"{two_phase.numerator}/{two_phase.denominator}.two_phase.energy"
        yield wide(label, _with_ends(times(two_phase.energy), ends_of(two_phase.energy)), total=True, behind=figure)
        counted = of_two_phases(two_phase)
        if counted is not None:
            yield wide("= output tokens", _with_ends(_factor(counted.tokens.value), ends_of(counted.tokens)))
            yield wide("× joules per token", _factor(counted.energy_per_token.value))
            words = accuracy_words(counted)
            if words:
                yield wide("right answers", words)
    yield wide("token counts in batches of", f"{two_phase.batch_size:,}, {duration(two_phase.duration_batched_s)}")
    if two_phase.valid:
        n_held_out = two_phase.n_measured - two_phase.n_law
        asked = f"{two_phase.n_law:,} fitted, {n_held_out:,} held out"
        yield wide("queries measured", f"{asked}, {duration(two_phase.duration_measured_s)}")
    else:
        asked = f"{two_phase.n_measured:,} of {two_phase.n_planned:,}"
        yield wide("queries measured", f"{asked}, {duration(two_phase.duration_measured_s)}")
    if two_phase.valid and two_phase.duration_saved_s is not None and two_phase.duration_saved_s > 0:
        yield wide("saved", duration(two_phase.duration_saved_s))


def _factors(summary: Summary, comparison: Comparison) -> Iterator[Row]:
    ratio = whole(comparison, estimated=summary.estimated)
    each = per_token(comparison, estimated=summary.estimated)
    what = "seconds" if summary.estimated else "joules"
    tokens = comparison.tokens
    compared = f"{comparison.numerator}/{comparison.denominator}"
    whole_name, each_name = ("duration", "duration_per_token") if summary.estimated else ("energy", "energy_per_token")
    yield wide(what, times(ratio), total=True, behind=f"{compared}.{whole_name}")
    ends = ends_of(ratio)
    text = f"95 %: {ends}" if ends else "95 %: unknown"
    yield wide("other prompts", text, behind=f"{compared}.{whole_name}", part="other prompts")
    text = _with_ends(_factor(tokens.value), ends_of(tokens))
    yield wide("= output tokens", text, behind=f"{compared}.tokens")
    text = _with_ends(_factor(each.value), ends_of(each))
    yield wide(f"× {what} per token", text, behind=f"{compared}.{each_name}")


def _factor(value: float | None) -> str:
    """A factor with digits enough that the printed factors multiply back, whatever its own interval justifies."""
    return UNKNOWN if value is None else f"{digits(value)} ×"


def _in_a_line(summary: Summary, comparison: Comparison) -> Iterator[Row]:
    names = f"{comparison.numerator} over {comparison.denominator}"
    if comparison.invalid:
        yield wide(f"{names}: no comparison. {comparison.invalid[0].code.sentence}")
        return
    ratio = whole(comparison, estimated=summary.estimated)
    what = "seconds" if summary.estimated else "joules"
    figure = f"{comparison.numerator}/{comparison.denominator}.{'duration' if summary.estimated else 'energy'}"
    yield wide(f"{names}, {what}", _with_ends(times(ratio), ends_of(ratio)), behind=figure)


def _detectable(comparison: Comparison) -> Iterator[Row]:
    words = detectable_words(comparison)
    if words:
        yield wide(words, behind=f"{comparison.numerator}/{comparison.denominator}.smallest_detectable")


def _split_section(comparison: Comparison) -> Iterator[Section]:
    found = split(comparison)
    if found is None:
        return
    unit, parts, total = found
    compared = f"{comparison.numerator}/{comparison.denominator}"
    rows = [wide(name, text, behind=f"{compared}.parts.{name}") for name, text in parts]
    ends = signed_ends_of(unit.estimate(comparison.difference_j))
    whole_name = f"{compared}.difference_j"
    rows.append(wide("together", total, total=True, behind=whole_name))
    rows += [wide("other prompts", f"95 %: {ends}", behind=whole_name, part="other prompts")] if ends else []
    title = f"{comparison.numerator} minus {comparison.denominator}, {unit.name} per query"
    yield Section(title=title, rows=tuple(rows))


def _with_ends(value: str, ends: str) -> str:
    return f"{value} ({ends})" if ends else value


def _deviation(share: float) -> str:
    return f"{'+' if share > 0 else '−' if share < 0 else ''}{percent(abs(share))}"


def _has(summary: Summary, code: FindingCode) -> bool:
    return any(finding.code is code for finding in summary.findings)
