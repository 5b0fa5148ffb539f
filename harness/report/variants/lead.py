"""What terminal and page say of a run's variants: the sentence first, then the tables, then what to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.report.compared import Answer, listed
from harness.report.page import Lead
from harness.report.table import Table
from harness.report.task.words import of_mode
from harness.report.variants.charts import cost_panel, ratio_panel
from harness.report.variants.column import VariantColumn
from harness.report.variants.tables import absolute_table, relative_table
from harness.report.variants.words import LOWER, details, in_one_sentence


def variants_lead(columns: Sequence[VariantColumn], *, n_elsewhere: int = 0) -> Lead:
    """The variants of one run beside each other.

    Args:
        columns: At least two; the others stand over the first.
        n_elsewhere: Cells of other sites, which are left out.
    """
    base, others = columns[0], columns[1:]
    modes = list(dict.fromkeys(mode for each in columns for mode in each.modes))
    tables: list[Table] = []
    for mode in modes:
        tables.append(absolute_table(columns, mode))
        relative = relative_table(others, base, mode)
        tables += [] if relative is None else [relative]
    panels = (cost_panel(columns, modes), ratio_panel(columns, modes))
    return Lead(
        title=f"Variants of {base.summary.cell.model}, each over {base.label}",
        answers=tuple(_answers(columns, modes)),
        tables=tuple(tables),
        notes=tuple(_notes(columns, n_elsewhere)),
        panels=tuple(panel for panel in panels if panel is not None),
    )


def _answers(columns: Sequence[VariantColumn], modes: Sequence[str]) -> Iterator[Answer]:
    base, others = columns[0], columns[1:]
    for mode in modes:
        text = " ".join(filter(None, (in_one_sentence(others, base, mode), details(others, base, mode))))
        if text:
            what = "Seconds" if base.summary.estimated else "Joules"
            yield Answer(question=f"{what} of a query{of_mode(base.summary.cell, mode)}", text=text)


def _notes(columns: Sequence[VariantColumn], n_elsewhere: int) -> Iterator[str]:
    base, others = columns[0], columns[1:]
    is_text = base.summary.cell.task is None
    if base.summary.estimated:
        yield (
            "The energy is estimated from a hardware model and the time, so joules are not compared: "
            f"{'seconds and right answers' if is_text else 'seconds and quality'} speak."
        )
    yield LOWER
    n_repeats = min(each.n_repeats for each in columns)
    if n_repeats > 1:
        names = [each.name for each in columns]
        yield (
            f"{n_repeats} repeats in turn ({', '.join(names)}, then back), so that drift cancels: "
            + (
                "joules, seconds and tokens are means over them, right answers those of the first."
                if is_text
                else "joules and seconds are means over them, the quality of the answers that of the first."
            )
        )
    for each in others:
        if each.refusal is not None:
            yield f"{each.name} is not compared. {each.refusal}"
        elif each.differences:
            yield f"{each.name} differs from {base.name} in: {'; '.join(each.differences)}."
    fallen = [each.name for each in columns if each.fallback]
    if fallen:
        yield f"{listed(fallen)} did not run in the precision that was asked for: the label says what ran."
    if any(each.forced for each in columns):
        yield "Output lengths were recorded before and forced: tokens are equal by design, and answers may end early."
    if n_elsewhere:
        yield f"{n_elsewhere} cells were measured on another site, and are left out."
