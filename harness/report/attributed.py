"""What `harness attribute` says: the energy of a trace, shared among the requests of a log. Readable in 60 columns.

None of these joules is a query's own measurement: what was drawn is measured, and how it is shared is a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.records import SCHEMA_VERSION, Boundary, Finding, FindingCode, Method, Record, TokenWeights
from harness.report.numbers import UNKNOWN, decimals_of_digits, decimals_of_half_width, digits, number, parts_of
from harness.report.terminal import shown
from harness.report.wording import BOUNDARY, METHOD, doubts

WIDTH_LABEL = 17
WIDTH_MOST = 100
RULES = {"shared_tokens": "by tokens", "shared_equal": "in equal parts"}
STEPS = {
    FindingCode.SHARED_BY_TOKENS: "Read it as an attribution; *in equal parts* shows how much the rule decides.",
    FindingCode.QUEUE_NOT_SEEN: "Send no more at once than the server takes; or read a share as that of waiting and "
    "service together.",
    FindingCode.WEIGHTS_NOT_FITTED: "Give the ratio (`--weights 0.2:1`), or trace a longer load test with prompts and "
    "outputs of many lengths.",
    FindingCode.NO_READINGS: "Trace all of the load test (`harness meter --trace FILE -- COMMAND`). If it was, the log "
    "was timed by another clock: `--clock-offset S` adds S seconds to its times.",
    FindingCode.SHORTER_THAN_TWO_TICKS: "Believe the mean query, or let requests be longer.",
    FindingCode.NO_USAGE: "Let the log have a column of output tokens, or name it (`--columns output=NAME`).",
    FindingCode.NO_IDLE_BASELINE: "Let `harness meter` wait before the command: leave out `--no-baseline`.",
}
"""What to do about a finding, where that is another thing than after a run."""


class RuleFigures(Record):
    """One rule of sharing: of the answered queries, in joules of the boundary."""

    rule: Literal["shared_tokens", "shared_equal"]
    energy_mean_j: float | None
    energy_median_j: float | None
    energy_p95_j: float | None
    energy_wh_per_1000: float | None
    energy_per_output_token_j: float | None


class DeviceFigures(Record):
    """One device. `energy_shares_j + energy_unattributed_j` is `energy_drawn_j`."""

    device: str
    boundary: Boundary
    method: Method
    energy_drawn_j: float | None
    energy_drawn_half_width_j: float | None
    energy_shares_j: float
    energy_unattributed_j: float
    power_idle_w: float | None


class Percentiles(Record):
    """Of the answered queries, in seconds."""

    median_s: float
    p95_s: float
    p99_s: float


class AttributionReport(Record):
    """A trace, shared among the requests of a log. Energies are gross, of the boundary, and attributed."""

    schema_version: int = SCHEMA_VERSION
    harness_version: str
    trace: str
    requests: str
    log: str = Field(description="the kind of the log")
    clock: Literal["monotonic", "unix"] = Field(description="the log's")
    clock_offset_s: float = Field(description="that was added to the log's times, as the user gave it")
    n_queries: int
    n_answered: int
    n_failed: int
    n_warm_up: int
    n_without_energy: int = Field(description="of the answered")
    n_in_flight_mean: float
    n_in_flight_most: int
    n_prompt_tokens: int | None = Field(description="of the answered")
    n_output_tokens: int | None
    time_start_unix_s: float = Field(description="first start, or the trace's if that is later")
    time_end_unix_s: float = Field(description="last end, or the trace's if that is earlier")
    duration_s: float
    boundary: Boundary
    method: Method
    weights: TokenWeights
    energy_drawn_j: float | None = Field(description="measured, between these instants")
    energy_drawn_half_width_j: float | None
    energy_shares_j: float = Field(description="of all requests")
    energy_unattributed_j: float = Field(description="drawn while no request was in flight")
    energy_answered_j: float
    energy_failed_j: float
    energy_warm_up_j: float
    energy_half_width_median_j: float | None = Field(description="of one answered query's share by tokens")
    energy_prefill_mean_j: float | None
    energy_decode_mean_j: float | None
    energy_net_mean_j: float | None = Field(description="above idle, by tokens")
    energy_net_mean_half_width_j: float | None = Field(description="the idle power's error is common to all")
    energy_amortised_j: float | None = Field(
        description="all that was drawn, over the answered queries; null where some lie outside of the trace"
    )
    power_idle_w: float | None
    rules: tuple[RuleFigures, ...]
    first_token: Percentiles | None
    end_to_end: Percentiles | None
    devices: tuple[DeviceFigures, ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def show(report: AttributionReport, console: Console) -> None:
    """Print it."""
    width = min(console.width, WIDTH_MOST)
    console.print()
    title = (
        f"harness attribute: {report.n_queries:,} requests of {report.requests} ({report.log}), trace {report.trace}"
    )
    console.print(shown(title, style="bold"), width=width)
    console.print(_grid(_energy_lines(report)), width=width)
    console.print()
    console.print(_rules(report), width=width)
    console.print()
    console.print(_grid(_other_lines(report)), width=width)
    for doubt in doubts(report.findings, STEPS):
        details = f" ({'; '.join(doubt.details)})" if doubt.details else ""
        console.print(shown(f"• {doubt.sentence}{details}"), width=width)
        console.print(Padding(shown(f"→ {doubt.next_step}", style="dim"), (0, 0, 0, 2)), width=width)
    for note in report.notes:
        console.print(shown(f"• {note}", style="yellow"), width=width)


def _grid(lines: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=WIDTH_LABEL, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        grid.add_row(Text(label, style="dim"), shown(text))
    return grid


def _energy_lines(report: AttributionReport) -> list[tuple[str, str]]:
    kept_apart = [f"{report.n_without_energy:,} of them without energy"] if report.n_without_energy else []
    if report.n_failed:
        kept_apart.append(f"{report.n_failed:,} failed ({digits(report.energy_failed_j)} J, kept apart)")
    if report.n_warm_up:
        kept_apart.append(f"{report.n_warm_up:,} warm-ups ({digits(report.energy_warm_up_j)} J, kept apart)")
    lines = [
        ("queries", ", ".join([f"{report.n_answered:,} answered", *kept_apart])),
        ("in flight", _in_flight(report)),
        ("energy", _law(report)),
        ("", _source(report)),
    ]
    if len(report.devices) > 1:
        lines += [
            ("", f"{digits(each.energy_drawn_j, 4)} J drawn by {each.device}, {METHOD[each.method]}")
            for each in report.devices
        ]
    return lines


def _source(report: AttributionReport) -> str:
    """No estimate without the word."""
    boundary = BOUNDARY[report.boundary]
    if report.method is Method.ESTIMATED:
        return f"of {boundary}, {METHOD[report.method]}"
    return f"of {boundary}, by {METHOD[report.method]}"


def _in_flight(report: AttributionReport) -> str:
    numbers = f"{digits(report.n_in_flight_mean)} on average, {report.n_in_flight_most:,} at most"
    return f"{numbers}, over {digits(report.duration_s, 4)} s"


def _law(report: AttributionReport) -> str:
    """The sum, in figures that add up as they are printed."""
    drawn_j, half_width_j = report.energy_drawn_j, report.energy_drawn_half_width_j
    if drawn_j is None:
        return f"shares {digits(report.energy_shares_j, 4)} J; what was drawn in all is unknown"
    decimals = decimals_of_digits(drawn_j, 5)
    if half_width_j:
        decimals = min(decimals, decimals_of_half_width(half_width_j))
    decimals = max(decimals, 0)
    (shares, nobody), total = parts_of([report.energy_shares_j, report.energy_unattributed_j], drawn_j, decimals)
    width = f" ± {number(half_width_j, decimals)}" if half_width_j else ""
    return f"shares {shares} J + nobody's {nobody} J = drawn {total}{width} J"


def _rules(report: AttributionReport) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(width=WIDTH_LABEL + 8, no_wrap=True)
    for _ in report.rules:
        table.add_column(justify="right")
    table.add_row(Text("attributed", style="dim"), *(Text(RULES[rule.rule], style="bold") for rule in report.rules))
    rows = (
        ("mean query", "J", [rule.energy_mean_j for rule in report.rules]),
        ("median query", "J", [rule.energy_median_j for rule in report.rules]),
        ("95th percentile", "J", [rule.energy_p95_j for rule in report.rules]),
        ("1,000 queries", "Wh", [rule.energy_wh_per_1000 for rule in report.rules]),
        ("per output token", "J", [rule.energy_per_output_token_j for rule in report.rules]),
    )
    for label, unit, values in rows:
        cells = [UNKNOWN if value is None else f"{digits(value)} {unit}" for value in values]
        table.add_row(Text(label, style="dim"), *map(shown, cells))
    return table


def _other_lines(report: AttributionReport) -> list[tuple[str, str]]:
    lines = []
    if report.energy_half_width_median_j is not None:
        lines.append(
            ("each query", f"± {digits(report.energy_half_width_median_j, 2)} J of the sensor (the median one)")
        )
    if report.energy_prefill_mean_j is not None and report.energy_decode_mean_j is not None:
        phases = f"prefill {digits(report.energy_prefill_mean_j)} J, decode {digits(report.energy_decode_mean_j)} J"
        lines.append(("phases", f"{phases} (mean query, by tokens)"))
    if report.energy_net_mean_j is not None:
        idle = f"idle {digits(report.power_idle_w)} W"
        width_j = report.energy_net_mean_half_width_j
        decimals = decimals_of_digits(report.energy_net_mean_j, 3) if not width_j else decimals_of_half_width(width_j)
        width = f" ± {number(width_j, decimals)}" if width_j else ""
        net = f"{number(report.energy_net_mean_j, decimals)}{width} J"
        lines.append(("above idle", f"{net} (mean query, by tokens; {idle})"))
    if report.energy_amortised_j is not None:
        amortised = f"{digits(report.energy_amortised_j)} J per answered query: all that was drawn, over all of them"
        lines.append(("amortised", amortised))
    lines.append(("weights", _weights(report.weights)))
    for label, figures in (("first token", report.first_token), ("end to end", report.end_to_end)):
        if figures is not None:
            text = (
                f"median {digits(figures.median_s)} s, 95th {digits(figures.p95_s)} s, 99th {digits(figures.p99_s)} s"
            )
            lines.append((label, text))
    return lines


def _weights(weights: TokenWeights) -> str:
    if weights.source == "equal":
        return "a prompt token weighs as much as an output token (1:1)"
    ratio = "no output tokens count" if weights.output == 0 else f"{digits(weights.prompt / weights.output, 2)}:1"
    if weights.source == "given":
        return f"{ratio}, prompt to output token, as given"
    width = "" if weights.ratio_half_width is None else f" ± {digits(weights.ratio_half_width, 2)}"
    return f"{ratio}{width}, prompt to output token, fitted to this trace ({weights.n_windows} windows)"
