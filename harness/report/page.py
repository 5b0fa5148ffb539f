"""One self-contained HTML page of a run: receipt, table, charts, doubts, facts. It fetches nothing.

Names, prompts and answers come from outside. Text is escaped by the template, data for the scripts by
`script_json`, and a content security policy forbids the page every connection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.analysis.measured import QueryFigures, devices_by_session, figures_of, is_estimated
from harness.analysis.summary import failed
from harness.records import IntervalRecord, Method, QueryRecord, Summary
from harness.report.charts import power_charts, scatter_chart
from harness.report.facts import FactGroup
from harness.report.numbers import UNKNOWN, digits, half_width
from harness.report.receipt import Receipt, receipt_of
from harness.report.trace import Trace
from harness.report.wording import joules_label

N_QUERIES_LISTED = 1000
N_CHARACTERS_SHOWN = 160
"""Of an answer; the end is shown, where the result stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCell:
    """One cell at one site, with what its part of the page shows."""

    summary: Summary
    queries: Sequence[QueryRecord]
    traces: Sequence[Trace] = ()
    intervals: Sequence[IntervalRecord] = ()
    facts: Sequence[FactGroup] = ()
    command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLine:
    """One query in the list at the end of the page."""

    prompt_id: str
    mode: str
    cells: tuple[str, ...]
    answer: str
    doubts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cell of the page, ready for the template."""

    anchor: str
    summary: Summary
    receipt: Receipt
    charts: Markup
    has_power: bool
    power_estimated: bool
    has_scatter: bool
    bars: tuple[tuple[int, int], ...]
    joules: str
    facts: Sequence[FactGroup]
    command: str | None
    lines: tuple[QueryLine, ...]
    n_queries: int


def render_page(cells: Sequence[PageCell], *, title: str | None = None) -> str:
    """The page as a string.

    Args:
        cells: What was measured, in the order of the page.
        title: Of the browser's tab; the first run's id otherwise.

    Returns:
        HTML without any reference to another file or host.
    """
    environment = Environment(
        loader=PackageLoader("harness", "assets/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    assets = files("harness") / "assets" / "page"
    raw = {
        name: Markup((assets / path).read_text(encoding="utf-8"))  # noqa: S704 - the package's own files
        for name, path in {
            "chart_script": "uPlot.iife.min.js",
            "chart_style": "uPlot.min.css",
            "chart_license": "uPlot.LICENSE",
            "style": "page.css",
            "script": "page.js",
        }.items()
    }
    parts = [_part(f"cell-{index}", cell) for index, cell in enumerate(cells)]
    return environment.get_template("page.html.j2").render(
        parts=parts, title=title or (parts[0].summary.run_id if parts else "No results"), **raw
    )


def coded(text: str) -> Markup:
    """Text whose `quoted` parts are set as code; everything is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def script_json(data: object) -> Markup:
    """Data for a script block, in which no text can end the block or open a tag."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _part(anchor: str, cell: PageCell) -> Part:
    summary = cell.summary
    modes = [mode.mode for mode in summary.modes]
    devices = devices_by_session(cell.queries, summary.headline)
    drawn = [
        (figures_of(query, summary.headline, devices[query.session]), query.time_start_s)
        for query in sorted(cell.queries, key=lambda each: (each.session, each.time_start_s))
        if not failed(query) and query.mode in modes
    ]
    power = power_charts(cell.traces, drawn, cell.intervals, modes)
    scatter = scatter_chart(summary, drawn, modes)
    listed = sorted(cell.queries, key=lambda each: (each.prompt_index, modes.index(each.mode)))
    figures = {(query.prompt_id, query.mode): query for query, _ in drawn}
    return Part(
        anchor=anchor,
        summary=summary,
        receipt=receipt_of(summary),
        charts=script_json({"power": power, "scatter": scatter}),
        has_power=bool(power),
        power_estimated=any(trace.method is Method.ESTIMATED for trace in cell.traces),
        has_scatter=scatter is not None,
        bars=barcode(summary.cell.cell_id),
        joules=joules_label(summary),
        facts=cell.facts,
        command=cell.command,
        lines=tuple(_line(query, figures.get((query.prompt_id, query.mode))) for query in listed[:N_QUERIES_LISTED]),
        n_queries=len(listed),
    )


def barcode(cell_id: str) -> tuple[tuple[int, int], ...]:
    """Bars of the cell's hash as (start, width), so that two receipts of the same cell look the same."""
    bars, position = [], 0
    for digit in cell_id.rpartition("-")[2]:
        bits = int(digit, 16) if digit in "0123456789abcdef" else ord(digit) % 16
        for width, gap in ((1 + bits % 2, 1 + bits // 2 % 2), (1 + bits // 4 % 2, 1 + bits // 8)):
            bars.append((position, width))
            position += width + gap
    return tuple(bars)


def _line(query: QueryRecord, figures: QueryFigures | None) -> QueryLine:
    text = "" if query.output is None or query.output.text is None else " ".join(query.output.text.split())
    shown = text if len(text) <= N_CHARACTERS_SHOWN else f"…{text[-N_CHARACTERS_SHOWN:]}"
    codes = dict.fromkeys(
        finding.code.value for finding in (*query.findings, *(each for one in query.readings for each in one.findings))
    )
    return QueryLine(
        prompt_id=query.prompt_id,
        mode=query.mode,
        cells=_cells(query, figures),
        answer=shown,
        doubts=", ".join(codes),
    )


def _cells(query: QueryRecord, figures: QueryFigures | None) -> tuple[str, ...]:
    """Thinking tokens, answer tokens, seconds, joules, their reading error, right or wrong."""
    if figures is None:
        return ("–", "–", digits(query.duration_s), "failed", "", "–")
    score = {None: "–", True: "right", False: "wrong"}[figures.correct]
    error_j = None if is_estimated(query.readings) else figures.energy_half_width_j
    return (
        _count(figures.n_thinking_tokens),
        _count(figures.n_answer_tokens),
        digits(figures.duration_s),
        digits(figures.energy_j),
        "" if error_j is None else half_width(error_j),
        f"{score}, cut" if figures.cut else score,
    )


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
