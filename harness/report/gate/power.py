"""How many queries or repeats show how small a difference, as tables: what `harness gate --power` prints.

Knows power tables. Must not know how they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from harness.gate.budget import Metric
from harness.gate.power import DIFFERENCES, N_QUERIES_MOST, N_REPEATS_MOST, POWERS, MetricPower, Needed, PowerTable
from harness.report.gate.sheet import share_words
from harness.report.numbers import percent
from harness.report.page import Lead
from harness.report.table import Figure, Table, TableRow
from harness.report.terminal import WIDTH_TEXT, print_tables, shown

COLUMNS = {
    Metric.ENERGY_PER_QUERY_J: "J per query",
    Metric.OUTPUT_TOKENS_PER_QUERY: "tokens per query",
    Metric.ENERGY_PER_OUTPUT_TOKEN_J: "J per token",
    Metric.ENERGY_PER_CORRECT_J: "J per correct",
}


def power_lead(table: PowerTable) -> Lead:
    """One mode's tables and notes."""
    often, oftener = (percent(power) for power in (POWERS[0], POWERS[-1]))
    how = (
        f"Upper figure: a rise of that size is shown in {often} of gates; lower: in {oftener}. One-sided "
        f"{share_words(table.alpha)}, both sides on one board, in one job."
    )
    return Lead(
        title=f"What a gate can see: {table.task or f'mode {table.mode}'}, {table.prompt_set}",
        tables=(
            _table(
                f"Queries, at {table.n_repeats} repeats of each side",
                table,
                lambda needed: needed.n_queries,
                more=f"> {N_QUERIES_MOST // 1_000_000} M",
            ),
            _table(
                f"Repeats of each side, at {table.n_queries:,} queries",
                table,
                lambda needed: needed.n_repeats,
                more=f"> {N_REPEATS_MOST}",
            ),
            _spreads(table),
        ),
        notes=(how, *table.notes),
    )


def print_power(console: Console, tables: Sequence[PowerTable]) -> None:
    """Print every mode's tables. No line is wider than the console.

    Args:
        console: Where to.
        tables: One per mode.
    """
    width = min(console.width, WIDTH_TEXT)
    for table in tables:
        lead = power_lead(table)
        console.print()
        console.print(shown(lead.title, style="bold"), width=width)
        if not table.metrics:
            console.print(shown("Too few queries have figures to say.", style="dim"), width=width)
            continue
        print_tables(console, lead.tables)
        for note in lead.notes:
            console.print()
            console.print(shown(note), width=width)


def _table(caption: str, table: PowerTable, of: Callable[[Needed], int | None], *, more: str) -> Table:
    return Table(
        caption=caption,
        modes=tuple(COLUMNS[row.metric] for row in table.metrics),
        rows=tuple(
            TableRow(
                label=f"a rise of {percent(difference, 1)}",
                figures=tuple(_needed(row, difference, of, more) for row in table.metrics),
            )
            for difference in DIFFERENCES
        ),
    )


def _needed(row: MetricPower, difference: float, of: Callable[[Needed], int | None], more: str) -> Figure:
    by_power = {each.power: of(each) for each in row.needed if each.difference == difference}
    first, last = (more if (n := by_power[power]) is None else f"{n:,}" for power in (POWERS[0], POWERS[-1]))
    return Figure(value=first, interval=last)


def _spreads(table: PowerTable) -> Table:
    """What the counts follow from, relative."""
    parts: tuple[tuple[str, Callable[[MetricPower], float]], ...] = (
        ("one prompt", lambda row: row.prompt_sd),
        ("one run", lambda row: row.run_sd),
        ("sensor, 95 %", lambda row: row.half_width_reading),
    )
    return Table(
        caption="Spread that this follows from (standard deviations)",
        modes=tuple(COLUMNS[row.metric] for row in table.metrics),
        rows=tuple(
            TableRow(label=label, figures=tuple(Figure(value=_share(of(row))) for row in table.metrics))
            for label, of in parts
        ),
    )


def _share(share: float) -> str:
    return percent(share) if share else "0 %"
