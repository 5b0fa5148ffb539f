"""What `harness compare` says, in order: who is compared, each cell's own modes, then one cell over another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records import Comparison, Summary
from harness.report.across import across_panels
from harness.report.compared import COSTS, Answer, answers, cost_words, invalid_words, of_two_phases
from harness.report.page import Lead
from harness.report.receipt import headline_of, notices_of, study_caption
from harness.report.study import Compared, columns_of, law_table, study_tables, two_phase_table
from harness.report.table import in_short
from harness.report.task.sections import task_line
from harness.report.wording import energy_source, subject


def subjects_lead(sides: Sequence[tuple[str, Summary]]) -> Lead:
    """The letters, and what stands behind each."""
    notes = tuple(
        f"{label}: {_task(summary)}{subject(summary)}, {summary.cell.prompt_set}, {energy_source(summary)} "
        f"(run {summary.run_id})"
        for label, summary in sides
    )
    return Lead(title="What is compared", notes=notes, panels=across_panels(sides))


def _task(summary: Summary) -> str:
    return "" if summary.cell.task is None else f"{task_line(summary)}, "


def modes_lead(title: str, summary: Summary) -> Lead:
    """One cell's modes: the headline's answers, a query in each mode, then every comparison.

    Of a two-phase run what the two phases say, where it holds: the queries that were measured one by one are no sample.
    """
    if summary.two_phase is not None:
        tables = (two_phase_table(summary.two_phase), law_table(summary.two_phase.law))
        counted = of_two_phases(summary.two_phase)
        rest = () if counted is None else answers(counted, estimated=False)[1:]
        return Lead(
            title=f"{title} (two-phase)",
            answers=(Answer(question=COSTS, text=headline_of(summary)), *rest),
            tables=tables if summary.two_phase.valid else (),
            notes=notices_of(summary),
        )
    headline = summary.comparison
    said = () if headline is None else answers(headline, estimated=summary.estimated)
    notes = [*notices_of(summary)[1 if headline is not None and headline.invalid else 0 :]]
    if summary.stopping is not None:
        notes.append(headline_of(summary))
    law = () if summary.law is None else (law_table(summary.law),)
    return Lead(
        title=title,
        answers=said,
        tables=(in_short(summary), *study_tables(columns_of(summary)), *law),
        notes=tuple(filter(None, (*notes, study_caption(summary)))),
    )


def match_lead(
    labels: tuple[str, str],
    comparisons: Mapping[str, Comparison],
    *,
    estimated: bool,
    differences: Sequence[str],
    refusal: str | None,
    notes: Sequence[str] = (),
    task: str | None = None,
) -> Lead:
    """One cell over another, a column per mode.

    Args:
        labels: What stands above the line, and below it.
        comparisons: By mode.
        estimated: Whether the joules are a hardware model's.
        differences: Conditions in which the two differ, each as it is to be read.
        refusal: Why there is no comparison.
        notes: To add.
        task: Of both cells; it has one mode, which is not named. None: text.
    """
    above, below = labels
    title = f"{above} over {below}, the same prompts{' in the same mode' if task is None else ''}"
    if refusal is not None:
        return Lead(title=title, notes=(f"Not compared. {refusal}",))
    named = "; ".join(differences)
    differ = f"They differ in: {named}." if named else "They differ in nothing that is recorded: this is a repeat."
    columns = [
        Compared(
            column=mode if task is None else f"{above} over {below}",
            comparison=comparison,
            estimated=estimated,
            apart=True,
        )
        for mode, comparison in comparisons.items()
    ]
    said = tuple(
        Answer(
            question=mode if task is None else COSTS,
            text=invalid_words(comparison) or cost_words(comparison, above, below, estimated=estimated),
        )
        for mode, comparison in comparisons.items()
    )
    return Lead(title=title, answers=said, tables=study_tables(columns), notes=(differ, *notes))
