"""The end of `harness meter` in a terminal: a few lines. Readable in 40 columns."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.records import CommandReport, Finding, MeterReading, Method, Reading
from harness.report.numbers import (
    N_DIGITS_MOST,
    UNKNOWN,
    decimals_of_digits,
    decimals_of_half_width,
    digits,
    number,
)
from harness.report.terminal import shown
from harness.report.wording import BOUNDARY, METHOD, doubts

WIDTH_LABEL = 11
WIDTH_MOST = 88
COMMAND_MOST = 60


def show(report: CommandReport, troubles: Sequence[str], console: Console) -> None:
    """Print what one command drew.

    Args:
        report: What is known of it.
        troubles: What went wrong beside it, such as a file that could not be written.
        console: Where to.
    """
    width = min(console.width, WIDTH_MOST)
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=WIDTH_LABEL, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text, style in _lines(report):
        grid.add_row(Text(label, style="dim"), shown(text, style=style))
    console.print()
    console.print(shown(f"harness meter: {_command(report)}", style="bold"), width=width)
    console.print(grid, width=width)
    for doubt in doubts(_findings(report)):
        details = f" ({'; '.join(doubt.details)})" if doubt.details else ""
        console.print(shown(f"• {doubt.sentence}{details}"), width=width)
        console.print(Padding(shown(f"→ {doubt.next_step}", style="dim"), (0, 0, 0, 2)), width=width)
    for trouble in troubles:
        console.print(shown(f"• {trouble}", style="yellow"), width=width)


def _lines(report: CommandReport) -> list[tuple[str, str, str]]:
    """Label, text and style of each line."""
    reading = report.reading
    ended = f", ended by {report.signal}" if report.signal else f", exit status {report.exit_status}"
    took = (("duration", f"{digits(report.duration_s, 4)} s{ended}", ""),)
    if reading is None:
        return [("energy", UNKNOWN, "bold"), *took]
    lines = [("energy", f"{_joules(reading)} {_what(reading)}", "bold")]
    if len(reading.per_device) > 1:
        lines += [("", f"{_joules(each)} {each.device}, {METHOD[each.method]}", "") for each in reading.per_device]
    if reading.energy_gross_j is not None and reading.duration_s > 0:
        mean_w = reading.energy_gross_j / reading.duration_s
        lines.append(("mean power", f"{digits(mean_w)} W{_word(reading)}", ""))
    if reading.energy_net_j is not None and reading.power_idle_w is not None:
        net = _with_half_width(reading.energy_net_j, reading.energy_net_half_width_j)
        lines.append(("above idle", f"{net}{_word(reading)} (idle {digits(reading.power_idle_w)} W)", ""))
    if reading.energy_tail_j is not None:
        lines.append(("afterwards", f"{digits(reading.energy_tail_j, 2)} J above idle, not included", ""))
    return [*lines, *took]


def _joules(reading: Reading) -> str:
    if reading.energy_gross_j is None:
        return UNKNOWN
    return _with_half_width(reading.energy_gross_j, reading.energy_gross_half_width_j)


def _with_half_width(value_j: float, half_width_j: float | None) -> str:
    """No more digits than the half-width justifies."""
    if half_width_j is None or half_width_j <= 0:
        return f"{digits(value_j)} J"
    decimals = min(decimals_of_half_width(half_width_j), decimals_of_digits(value_j, N_DIGITS_MOST))
    return f"{number(value_j, decimals)} ± {number(half_width_j, decimals)} J"


def _what(reading: MeterReading) -> str:
    if reading.method is Method.ESTIMATED:
        return f"({METHOD[Method.ESTIMATED]})"
    several = [each for each in reading.per_device if each.boundary is reading.boundary]
    what = f"{len(several)} GPU boards" if reading.device.count("GPU-") > 1 else BOUNDARY[reading.boundary]
    return f"({what}, {METHOD[reading.method]})"


def _word(reading: Reading) -> str:
    """No estimate without the word."""
    return ", estimated" if reading.method is Method.ESTIMATED else ""


def _command(report: CommandReport) -> str:
    line = shlex.join(report.command)
    return line if len(line) <= COMMAND_MOST else f"{line[: COMMAND_MOST - 1]}…"


def _findings(report: CommandReport) -> list[Finding]:
    return [*report.findings, *(() if report.reading is None else report.reading.findings)]
