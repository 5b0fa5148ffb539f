"""What is said, in order: verdicts on repetitions, letters, each cell's own modes, then one side over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.serving.serving import load_words
from harness.comparing.match import Match
from harness.comparing.repetition import RepeatedSide
from harness.comparing.side import Side
from harness.records import Quality, Summary
from harness.reference.report import TableName, reference_report
from harness.report.compared import not_as_called
from harness.report.leads import match_lead, modes_lead, subjects_lead
from harness.report.numbers import ends_of, value_of
from harness.report.page import Lead
from harness.report.receipt import notices_of
from harness.report.reference_lead import reference_lead
from harness.report.repetition import repetition_lead
from harness.report.serving.loads import loads_leads
from harness.report.task.quality import metric_words
from harness.report.wording import models


def subject_leads(sides: Sequence[Side]) -> list[Lead]:
    """The cells behind the letters; nothing where there is one."""
    return [subjects_lead([(side.label, side.summary) for side in sides])] if len(sides) > 1 else []


def repetition_leads(repetitions: Sequence[RepeatedSide]) -> list[Lead]:
    """One side as a repetition of another: the verdict first."""
    return [
        repetition_lead((each.base.label, each.other.label), each.repetition, notes=each.notes, is_copy=each.is_copy)
        for each in repetitions
    ]


def load_leads(sides: Sequence[Side]) -> list[Lead]:
    """Models that were measured under several loads; nothing where none was."""
    return loads_leads([side.summary for side in sides])


def mode_leads(sides: Sequence[Side]) -> list[Lead]:
    """Each cell's own modes; of a cell in one mode what does not hold."""
    leads = []
    for side in sides:
        name = f"{side.label}: {models(side.cell)}" if len(sides) > 1 else models(side.cell)
        if len(side.cell.modes) > 1:
            over = _below(side.summary)
            leads.append(modes_lead(f"{name}, each mode over {over}" if over else name, side.summary))
        elif notices := notices_of(side.summary):
            leads.append(Lead(title=name, notes=notices))
    return leads


def _below(summary: Summary) -> str | None:
    """The mode that the others stand over; None where nothing is compared."""
    if summary.two_phase is not None:
        return summary.two_phase.denominator
    return None if summary.comparison is None else summary.comparison.denominator


def match_leads(matches: Sequence[Match]) -> list[Lead]:
    """One cell over another."""
    return [
        match_lead(
            (each.other.label, each.base.label),
            each.comparisons,
            estimated=each.estimated,
            differences=[str(difference) for difference in each.differences],
            refusal=each.refusal,
            notes=tuple(_notes(each)),
            task=each.base.cell.task,
        )
        for each in matches
    ]


def reference_leads(sides: Sequence[Side], table: TableName) -> list[Lead]:
    """Each side beside the rows that somebody published: the modes that are what they are called, all prompts asked."""
    return [_reference_lead(side.label if len(sides) > 1 else "", side, table) for side in sides]


def _reference_lead(label: str, side: Side, table: TableName) -> Lead:
    title = f"{label} beside what was published" if label else "Beside what was published"
    if side.summary.two_phase is not None:
        note = "Not compared. A two-phase run measures few queries, chosen for their lengths: they are no sample."
        return Lead(title=title, notes=(note,))
    doubted = not_as_called(side.summary)
    kept = tuple(mode for mode in side.summary.modes if mode.mode not in doubted)
    if not kept:
        return Lead(title=title, notes=("Not compared. No mode is what it is called.",))
    summary = side.summary.model_copy(update={"modes": kept})
    return reference_lead(label, reference_report(summary, side.manifest, table))


def _notes(match: Match) -> Iterator[str]:
    """What a reader of a comparison of two cells must know about these two."""
    if match.base.summary.site_id != match.other.summary.site_id and not match.estimated:
        yield "Two sites: the systematic gains of both sensors are in the row `sensor gain`."
    leading = [each.duration if match.estimated else each.energy for each in match.comparisons.values()]
    if any(each.value is not None and each.half_width_runs is None for each in leading):
        yield (
            "The two were measured one after the other, and how far a repeat of each would differ is unknown: "
            "no difference between them is called real. Repeat both (`--repeats 3`)."
        )
    if not all(side.inflation == 1 for side in (match.base, match.other)):
        yield "A run could stop as soon as its interval was narrow enough: the intervals are widened for it."
    yield from _load_notes(match.base, match.other)
    yield from _quality_notes(match)
    caps = {mode: (match.base.cell.cap(mode), match.other.cell.cap(mode)) for mode in match.comparisons}
    unequal = {mode: pair for mode, pair in caps.items() if pair[0] != pair[1]}
    if unequal:
        of_modes = match.base.cell.task is None
        listed = ", ".join(
            f"{f'{mode} ' if of_modes else ''}{other:,} against {base:,}" for mode, (base, other) in unequal.items()
        )
        yield f"Their caps differ ({listed} tokens), so the ratio is one of caps too."


def _quality_notes(match: Match) -> Iterator[str]:
    """How good the answers of both are, of a task that is not text generation, by the figures that both have."""
    sides = (match.other, match.base) if match.comparisons else ()
    found = [{each.metric: each for mode in side.summary.modes for each in mode.quality} for side in sides]
    for metric in [name for name in found[0] if name in found[1]] if found else []:
        known = [(side.label, qualities[metric]) for side, qualities in zip(sides, found, strict=True)]
        if any(quality.figure.value is None for _, quality in known):
            continue
        figures = ", ".join(f"{label} {_with_ends(quality)}" for label, quality in known)
        better = "" if known[0][1].higher_is_better else ", less is better"
        yield f"{metric_words(metric)} ({known[0][1].n:,} and {known[1][1].n:,} answers{better}): {figures}."


def _with_ends(quality: Quality) -> str:
    ends = ends_of(quality.figure)
    return f"{value_of(quality.figure)} ({ends})" if ends else value_of(quality.figure)


def _load_notes(base: Side, other: Side) -> Iterator[str]:
    """What joules that were shared mean for a comparison."""
    sides = [side for side in (base, other) if side.cell.overlaps]
    if len(sides) == 1:
        alone = base if sides[0] is other else other
        yield (
            f"The joules of {sides[0].label} are shares by tokens ({load_words(sides[0].cell)}); "
            f"those of {alone.label} are {'estimated' if alone.summary.estimated else 'measured'} query by query. "
            "The ratio is of both, with ramp and drain of the load in it."
        )
    elif len(sides) == 2:
        yield (
            "The joules of both are shares by tokens, ramp and drain of the load in them. Neighbours are not "
            "independent, so the interval over prompts may hold less."
        )
