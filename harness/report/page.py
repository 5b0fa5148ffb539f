"""One self-contained HTML page of a run: receipt, table, the study's charts, doubts, facts. It fetches nothing.

Names, prompts and answers come from outside. Text is escaped by the template, data for the scripts by
`script_json`, and a content security policy forbids the page every connection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.analysis.measured import THINKING_TOKENS, QueryFigures, devices_by_session, figures_of, is_estimated
from harness.analysis.serving.serving import is_under_load, load_words
from harness.analysis.summary import failed
from harness.records import IntervalRecord, LengthRecord, QueryRecord, Summary
from harness.report.charts import power_panel, scatter_panel
from harness.report.compared import Answer, answers
from harness.report.evidence import N_QUERIES_MOST, Behind, TrailSource, behind_lines, evidence_of, names_behind
from harness.report.explanation.statistics import Evidence, explanations_of
from harness.report.facts import FactGroup
from harness.report.measure import measure_of
from harness.report.numbers import UNKNOWN, digits, duration, half_width
from harness.report.panel import Panel
from harness.report.raw_data import raw_data
from harness.report.receipt import Receipt, receipt_of
from harness.report.rows import WIDE, Row
from harness.report.savings import stopping_panel, two_phase_panel
from harness.report.serving.flying import Flying
from harness.report.serving.panels import serving_panels
from harness.report.spread import spread_panel
from harness.report.study_bars import factors_panel, split_panel
from harness.report.study_charts import front_panel, lengths_panel, pairs_panel
from harness.report.table import Table
from harness.report.task.failed import FailedInput, failed_inputs
from harness.report.task.lines import answer_of, cells_of, columns_of
from harness.report.task.panels import size_panels
from harness.report.trace import Trace
from harness.report.wording import joules_label, models

N_QUERIES_LISTED = 1000
N_OPENED_LEAST = 10
"""Queries of a cell whose readings are in the page, however many cells it has."""
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
    label: str = ""
    """The letter that stands for it where a page sets several side by side."""
    lengths: Sequence[LengthRecord] = ()
    """Of a two-phase run: every prompt's token counts."""
    footprint: Lead | None = None
    """What its joules are at a server, on a grid, on a bill; only where somebody asked."""
    trails_of: TrailSource | None = None
    """Reads the sensor's readings around the queries that the page opens; None: they are not at hand."""
    flying: Sequence[Flying] = ()
    """Of a cell under load: how many queries were in flight, session by session."""
    n_queries: int | None = None
    """Of the run, where `queries` are only some of them: the page then lists and draws these. None: they are all."""
    number: int = 1
    """Which cell of its run: a command that explains one of its figures must name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """What stands above the cells where a page sets several of them side by side."""

    title: str
    answers: Sequence[Answer] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    panels: Sequence[Panel] = ()
    """Without a chart that a script draws: their data would lie with a cell."""


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
    prefix: str
    """What stands before the name of a figure or a query in a command: the cell's number, where it is not the first."""
    name: str
    link: str
    """The name, and whatever else tells it from the other cells of the page."""
    summary: Summary
    receipt: Receipt
    behind: Mapping[tuple[int, int], Behind]
    """By section and row of the receipt."""
    column: int
    """Characters of the widest figure of a mode on the receipt."""
    charts: Markup
    evidence: Markup
    raw: Markup
    n_left_out: int
    """Queries whose readings are not in the page."""
    answers: tuple[Answer, ...]
    study: tuple[Panel, ...]
    power: Panel | None
    bars: tuple[tuple[int, int], ...]
    joules: str
    facts: Sequence[FactGroup]
    command: str | None
    lines: tuple[QueryLine, ...]
    served_columns: tuple[str, ...]
    """More columns of the list, where queries were served."""
    n_queries: int
    footprint: Lead | None
    task_columns: tuple[str, ...] = ()
    """Of a task, the columns of the list between a query's input and its answer; it names no modes."""
    failed: tuple[FailedInput, ...] = ()
    """Of a task, the inputs that were not measured."""
    example: str = "MODE/PROMPT_ID"
    """What to put for one query in a command."""


def render_page(cells: Sequence[PageCell], *, title: str | None = None, leads: Sequence[Lead] = ()) -> str:
    """The page as a string.

    Args:
        cells: What was measured, in the order of the page.
        title: Of the browser's tab; the first run's id otherwise.
        leads: What to say before the first cell.

    Returns:
        HTML without any reference to another file or host.
    """
    assets = files("harness") / "assets" / "page"
    raw = {
        name: Markup((assets / path).read_text(encoding="utf-8"))  # noqa: S704 - the package's own files
        for name, path in {
            "chart_script": "uPlot.iife.min.js",
            "chart_style": "uPlot.min.css",
            "chart_license": "uPlot.LICENSE",
            "style": "page.css",
            "chart_tools": "chart.js",
            "power_script": "power.js",
            "study_script": "study.js",
            "evidence_script": "evidence.js",
            "data_script": "data.js",
            "task_style": "task.css",
            "script": "page.js",
        }.items()
    }
    links = _links(cells)
    n_opened = max(N_OPENED_LEAST, N_QUERIES_MOST // max(1, len(cells)))
    parts = [
        _part(f"cell-{index}", link, cell, n_opened)
        for index, (link, cell) in enumerate(zip(links, cells, strict=True))
    ]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(parts=parts, leads=leads, title=title or (parts[0].summary.run_id if parts else "No results"), **raw)
    )


@cache
def _environment() -> Environment:
    """Jinja, with its templates compiled once."""
    environment = Environment(
        loader=PackageLoader("harness", "assets/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    environment.filters["tight"] = tight
    return environment


def coded(text: str) -> Markup:
    """Text whose `quoted` parts are set as code; everything is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def tight(text: str) -> str:
    """Text in which a number is not parted from the sign after it at the end of a line."""
    return re.sub(r"(?<=\d) (?=[%×])|(?<=[±=]) (?=\d)", "\N{NO-BREAK SPACE}", text)


def script_json(data: object) -> Markup:
    """Data for a script block, in which no text can end the block or open a tag."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _name(cell: PageCell) -> str:
    """Its letter, and its model or both."""
    return ": ".join(filter(None, (cell.label, models(cell.summary.cell))))


def _links(cells: Sequence[PageCell]) -> list[str]:
    """What each cell is called in the list of cells; those of one name by all in which they differ."""
    by_name: dict[str, list[PageCell]] = {}
    for cell in cells:
        by_name.setdefault(_name(cell), []).append(cell)
    links = []
    for cell in cells:
        columns = zip(*map(_told_apart_by, by_name[_name(cell)]), strict=True)
        own = zip(_told_apart_by(cell), columns, strict=True)
        links.append(", ".join((_name(cell), *(text for text, column in own if len(set(column)) > 1))))
    return links


def _told_apart_by(cell: PageCell) -> tuple[str, ...]:
    """In the order in which it is said."""
    own = cell.summary.cell
    return (
        " and ".join(own.modes),
        load_words(own) if is_under_load(own) else "",
        own.dtype,
        own.quantization,
        own.protocol,
        f"repeat {own.repeat + 1}",
        f"run {cell.summary.run_id}",
        f"site {cell.summary.site_id}",
    )


def _part(anchor: str, link: str, cell: PageCell, n_opened: int) -> Part:
    summary = cell.summary
    modes = [mode.mode for mode in summary.modes]
    devices = devices_by_session(cell.queries, summary.headline)
    drawn = [
        (figures_of(query, summary.headline, devices[query.session]), query.time_start_s)
        for query in sorted(cell.queries, key=lambda each: (each.session, each.time_start_s))
        if not failed(query) and query.mode in modes
    ]
    power = power_panel(summary, cell.traces, drawn, cell.intervals, modes, cell.flying)
    study = _study(cell, drawn)
    receipt = receipt_of(summary, cell.queries)
    headline = None if summary.two_phase is not None else summary.comparison
    listed = sorted(cell.queries, key=lambda each: (each.prompt_index, modes.index(each.mode)))
    figures = {(query.prompt_id, query.mode): query for query, _ in drawn}
    by_prompt = [figures[key] for query in listed if (key := (query.prompt_id, query.mode)) in figures]
    is_whole = cell.n_queries is None  # some of the queries explain no figure of all of them
    whole = Evidence(summary=summary, figures=by_prompt, intervals=cell.intervals)
    behind = behind_lines(receipt, explanations_of(whole) if is_whole else {})
    evidence = evidence_of(
        listed, summary.headline, names_behind(behind), cell.trails_of, n_opened, cell.flying, summary.cell.task
    )
    n_queries = len(listed) if cell.n_queries is None else cell.n_queries
    is_task = summary.cell.task is not None
    task_columns = columns_of(listed[:N_QUERIES_LISTED], joules_label(summary)) if is_task else ()
    raw = raw_data(summary, [(each, figures.get((each.prompt_id, each.mode))) for each in listed], n_queries)
    return Part(
        anchor=anchor,
        prefix=f"{cell.number}:" if cell.number > 1 else "",
        name=_name(cell),
        link=link,
        summary=summary,
        receipt=receipt,
        behind=behind,
        column=_widest(
            [row for part in receipt.sections for row in part.rows if not (is_task and row.kind in WIDE)],
            len(receipt.modes),
        ),
        evidence=script_json(evidence),
        n_left_out=n_queries - len(evidence["queries"]),
        raw=script_json(raw),
        charts=script_json({panel.name: panel.chart for panel in (*study, power) if panel and panel.chart}),
        answers=answers(headline, estimated=summary.estimated) if headline and not headline.invalid else (),
        study=study,
        power=power,
        bars=barcode(summary.cell.cell_id),
        joules=joules_label(summary),
        facts=cell.facts,
        command=cell.command,
        lines=tuple(
            _line(query, figures.get((query.prompt_id, query.mode)), task_columns)
            for query in listed[:N_QUERIES_LISTED]
        ),
        served_columns=SERVED_COLUMNS if any(map(_is_served, listed[:N_QUERIES_LISTED])) else (),
        n_queries=n_queries,
        footprint=cell.footprint,
        task_columns=task_columns,
        failed=failed_inputs(listed) if is_task else (),
        example=f"{'MODE' if not is_task else modes[0]}/PROMPT_ID",
    )


def _study(cell: PageCell, drawn: Sequence[tuple[QueryFigures, float]]) -> tuple[Panel, ...]:
    """The panels between the receipt and the power, in the order of the questions that they answer."""
    summary = cell.summary
    if summary.cell.task is not None:
        return _of_task(cell, [query for query, _ in drawn])
    scatter = scatter_panel(summary, drawn, [mode.mode for mode in summary.modes])
    lengths = lengths_panel(summary, _thinking(cell, drawn))
    if summary.two_phase is not None:  # the measured queries were chosen for their lengths: they compare nothing
        panels = [two_phase_panel(summary, summary.two_phase), scatter, lengths]
    else:
        measure = measure_of(summary)
        comparisons = [each for each in summary.comparisons if not each.invalid]
        panels = [
            factors_panel(summary, comparisons, measure),
            pairs_panel(summary, [query for query, _ in drawn], comparisons, measure),
            split_panel(summary, measure),
            _of_some(spread_panel(summary, [query for query, _ in drawn], measure), cell, len(drawn)),
            front_panel(summary, comparisons, measure),
            lengths,
            scatter,
        ]
    panels = [*serving_panels(summary), *panels]
    panels += [stopping_panel(summary.stopping)] if summary.stopping else []
    return tuple(panel for panel in panels if panel is not None)


def _of_task(cell: PageCell, queries: Sequence[QueryFigures]) -> tuple[Panel, ...]:
    """The panels of a task: its phases, how unequal its queries are, and what its sizes cost."""
    summary, measure = cell.summary, measure_of(cell.summary)
    panels = [
        split_panel(summary, measure),
        _of_some(spread_panel(summary, queries, measure), cell, len(queries)),
        *size_panels(summary, queries, measure),
        stopping_panel(summary.stopping) if summary.stopping else None,
    ]
    return tuple(panel for panel in panels if panel is not None)


def _widest(rows: Sequence[Row], n_modes: int) -> int:
    """Of the figures that stand in a mode's own column, and of the modes' names as far as they are not long."""
    return max((len(cell) for row in rows if len(row.cells) == n_modes for cell in row.cells), default=0)


def _of_some(panel: Panel | None, cell: PageCell, n_drawn: int) -> Panel | None:
    """Says so where a panel's own figures are not of all queries."""
    if panel is None or cell.n_queries is None:
        return panel
    note = f"Of the {n_drawn:,} answered queries on this page; the run has {cell.n_queries:,}."
    return replace(panel, notes=(*panel.notes, note))


def _thinking(cell: PageCell, drawn: Sequence[tuple[QueryFigures, float]]) -> dict[str, list[int]]:
    """Thinking tokens by mode: of the batched queries in a two-phase run, otherwise of those measured one by one."""
    n_thinking: dict[str, list[int]] = {}
    if cell.summary.two_phase is not None:
        counts = [(each.mode, each.output.n_tokens(THINKING_TOKENS)) for each in cell.lengths if each.output]
    else:
        counts = [(query.mode, query.n_thinking_tokens) for query, _ in drawn]
    for mode, count in counts:
        if count is not None:
            n_thinking.setdefault(mode, []).append(count)
    return n_thinking


def barcode(cell_id: str) -> tuple[tuple[int, int], ...]:
    """Bars of the cell's hash as (start, width), so that two receipts of the same cell look the same."""
    bars, position = [], 0
    for digit in cell_id.rpartition("-")[2]:
        bits = int(digit, 16) if digit in "0123456789abcdef" else ord(digit) % 16
        for width, gap in ((1 + bits % 2, 1 + bits // 2 % 2), (1 + bits // 4 % 2, 1 + bits // 8)):
            bars.append((position, width))
            position += width + gap
    return tuple(bars)


def _line(query: QueryRecord, figures: QueryFigures | None, task_columns: Sequence[str]) -> QueryLine:
    text = "" if query.output is None or query.output.text is None else " ".join(query.output.text.split())
    shown = text if len(text) <= N_CHARACTERS_SHOWN else f"…{text[-N_CHARACTERS_SHOWN:]}"
    if task_columns:
        shown = answer_of(query, N_CHARACTERS_SHOWN)
    codes = dict.fromkeys(
        finding.code.value for finding in (*query.findings, *(each for one in query.readings for each in one.findings))
    )
    return QueryLine(
        prompt_id=query.prompt_id,
        mode=query.mode,
        cells=cells_of(query, figures, task_columns)
        if task_columns
        else (*_cells(query, figures), *_served_cells(query)),
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


SERVED_COLUMNS = ("TTFT", "J equally")
"""Of the list of queries, for those that were served."""


def _served_cells(query: QueryRecord) -> tuple[str, ...]:
    """How long it waited, and its joules by the other rule; nothing for a query that ran alone in this process."""
    if not _is_served(query):
        return ()
    service = query.service
    first_s = None if service is None else service.duration_first_token_s
    equal = [each.energy_shared_equal_j for each in query.readings if each.energy_shared_equal_j is not None]
    return (UNKNOWN if first_s is None else duration(first_s), digits(sum(equal)) if equal else "–")


def _is_served(query: QueryRecord) -> bool:
    return query.service is not None


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
