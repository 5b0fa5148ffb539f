"""What the receipt of a task says beside joules and seconds: how large a query is, what its size costs, how good it is.

A task has one mode, which is not named; so these sections have one figure a line.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.records import ModeSummary, Quality, Summary
from harness.report.numbers import digits, ends_of, percent, unit_for, value_of
from harness.report.panel import in_brackets, with_ends
from harness.report.rows import Row, Section, wide
from harness.report.task.law import shown_laws
from harness.report.task.quality import main_quality, metric_words, quality_figure, quality_words
from harness.report.task.sizes import mean_sizes, size_text, size_words
from harness.report.task.words import claims_quality, options_words, random_weights, task_title
from harness.report.wording import joules_label

NONE_CLAIMED = "none is claimed"
NO_REFERENCES = "no answer was compared with a reference"


def task_lines(summary: Summary, subject: str) -> tuple[str, ...]:
    """The task and the model that does it; `subject` is the model and how it is executed."""
    if random_weights(summary) is None:
        return task_line(summary), subject
    return task_line(summary), subject, "random weights: its energy is that of the work, its answers mean nothing"


def task_line(summary: Summary) -> str:
    """The task and its options, in one line."""
    options = options_words(summary.cell)
    return f"{task_title(summary.cell)}{f', {options}' if options else ''}"


def task_sections(summary: Summary) -> list[Section]:
    """The sections below joules and seconds, in order."""
    (mode,) = summary.modes
    found = [
        Section(title="Size of one query", rows=tuple(_sizes(summary, mode))),
        Section(title="What its size costs", rows=tuple(_laws(summary, mode))),
        _quality(summary, mode),
    ]
    return [section for section in found if section.rows]


def task_headline(summary: Summary) -> str:
    """What a query takes and how good its answers are, in a few sentences."""
    (mode,) = summary.modes
    sentences = [f"{task_title(summary.cell)} with {summary.cell.model} takes {_cost(summary, mode)}."]
    sentences.append(f"{_first_upper(quality_sentence(summary, mode))}.")
    sentences += [f"{law.words}." for law in shown_laws(mode.size_laws[:1], estimated=summary.estimated)]
    return " ".join(sentences)


def quality_sentence(summary: Summary, mode: ModeSummary) -> str:
    """How good the answers are: the main figure, or why there is none."""
    main = main_quality(mode)
    if not claims_quality(summary.cell):
        return "no quality is claimed"
    if random_weights(summary) is not None:
        return "its weights are random, so the quality of its answers means nothing"
    return NO_REFERENCES if main is None else f"{quality_words(main)} over {main.n:,} answers"


def _cost(summary: Summary, mode: ModeSummary) -> str:
    if summary.estimated:
        unit = unit_for([mode.duration_s.value], "s")
        seconds = unit.estimate(mode.duration_s)
        text = f"{value_of(seconds)} {unit.name} per query{_within(ends_of(seconds))}"
        if mode.energy_j.value is None:
            return text
        return f"{text}, an estimated {_with_unit(mode.energy_j.value)} and {_wh(mode)}"
    if mode.energy_j.value is None:
        return "an unknown number of joules per query"
    unit = unit_for([mode.energy_j.value], "J")
    joules = unit.estimate(mode.energy_j)
    return f"{value_of(joules)} {unit.name} per query{_within(ends_of(joules))}, {_wh(mode)}"


def _wh(mode: ModeSummary) -> str:
    unit = unit_for([mode.energy_wh_per_1000.value], "Wh")
    return f"{value_of(unit.estimate(mode.energy_wh_per_1000))} {unit.name} per 1,000 queries"


def _sizes(summary: Summary, mode: ModeSummary) -> Iterator[Row]:
    for key, value in mean_sizes(mode).items():
        yield wide(size_words(key), size_text(key, value), behind=f"{mode.mode}.{key}")
    if not summary.estimated and mode.duration_s.value is not None:
        unit = unit_for([mode.duration_s.value], "s")
        label = "seconds" if unit.name == "s" else unit.name
        yield wide(label, with_ends(unit.estimate(mode.duration_s)), behind=f"{mode.mode}.duration_s")


def _laws(summary: Summary, mode: ModeSummary) -> Iterator[Row]:
    for shown in shown_laws(mode.size_laws, estimated=summary.estimated):
        law, base = shown.law, shown.base
        unit = unit_for([shown.per_unit.value], base)
        name = f"{mode.mode}.{law.size}.{'duration_per_unit_s' if base == 's' else 'energy_per_unit_j'}"
        yield wide(f"{unit.name} per {law.unit}", with_ends(unit.estimate(shown.per_unit)), total=True, behind=name)
        if shown.why_no_line:
            yield wide(shown.why_no_line)
        if not shown.is_fitted:
            continue
        for words, each in (("whatever the size", shown.at_zero), (f"each {law.unit}", shown.more)):
            unit = unit_for([each.value], base)
            yield wide(f"{words}, {unit.name}", with_ends(unit.estimate(each)))
        if law.residual_relative_sd is not None:
            yield wide("queries' own scatter about this", percent(law.residual_relative_sd))


def _quality(summary: Summary, mode: ModeSummary) -> Section:
    if not claims_quality(summary.cell):
        return Section(title="Quality", rows=(wide("quality", NONE_CLAIMED),))
    is_random = random_weights(summary) is not None
    rows = [
        wide(metric_words(each.metric), quality_figure(each), behind=_name(mode, each))
        for each in mode.quality
        if each.figure.value is not None
    ]
    if not rows:
        return Section(title="Quality", rows=(wide(f"{_first_upper(NO_REFERENCES)}."),))
    if is_random:
        return Section(title="Quality (random weights: it means nothing)", rows=tuple(rows))
    if mode.accuracy.value is not None:
        right = f"{mode.n_correct:,} of {mode.n_scored:,}"
        rows.append(wide("right answers", right))
        each = mode.energy_per_correct_j
        unit = unit_for([each.low if each.value is None else each.value], "J")
        figure = in_brackets(
            "none right" if not mode.n_correct else value_of(unit.estimate(each)), ends_of(unit.estimate(each))
        )
        label = f"{joules_label(summary, unit.name)} per right answer"
        rows.append(wide(label, figure, total=True, behind=f"{mode.mode}.energy_per_correct_j"))
    return Section(title="Quality", rows=tuple(rows))


def _with_unit(energy_j: float | None) -> str:
    unit = unit_for([energy_j], "J")
    return f"{digits(None if energy_j is None else unit.of(energy_j))} {unit.name}"


def _name(mode: ModeSummary, quality: Quality) -> str:
    """Of a figure of quality, to explain it; accuracy has one for every kind of run."""
    return f"{mode.mode}.{'' if quality.metric == 'accuracy' else 'quality.'}{quality.metric}"


def _within(ends: str) -> str:
    return f" (95 %: {ends})" if ends else ""


def _first_upper(sentence: str) -> str:
    """With a capital, where it begins with a word; `F1` and `ROUGE` have theirs."""
    return sentence[:1].upper() + sentence[1:]
