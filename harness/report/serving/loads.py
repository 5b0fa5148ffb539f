"""Several loads of one model beside each other: what a query takes, what comes out, and how long one waits.

Cells belong together where they differ in their load alone, at one site. Knows summaries. Must not know where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis.serving.serving import load_words
from harness.records import Cell, Estimate, ModeSummary, ServingSummary, Summary
from harness.report.numbers import UNKNOWN, Unit, digits, ends_of, unit_for, value_of
from harness.report.page import Lead
from harness.report.panel import Curve, Dot, Grid, Panel, Plane, Scale, ends
from harness.report.table import Figure, Table, TableRow
from harness.report.wording import joules_label, models

LOADS = ("concurrency", "request_rate_per_second", "batch_size")
"""Fields of a cell that are its load."""
WIDE = 4.0
"""The axis of loads turns logarithmic where the largest is so many times the smallest."""
ROOM = 1.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mode at one load."""

    load: float
    words: str
    mode: ModeSummary
    serving: ServingSummary | None

    def energy_j(self, *, steady: bool) -> Estimate:
        """Joules per query: of the steady state, or of all queries."""
        return self.serving.energy_steady_j if steady and self.serving is not None else self.mode.energy_j

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens."""
        return None if self.serving is None else self.serving.output_tokens_per_second

    @property
    def first_token_s(self) -> float | None:
        """TTFT, half of the queries."""
        return None if self.serving is None or self.serving.first_token is None else self.serving.first_token.p50_s


def loads_leads(summaries: Sequence[Summary]) -> list[Lead]:
    """One per model and site that was measured under several loads."""
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        kind = kind_of(summary.cell)
        if kind is not None and summary.two_phase is None and summary.cell.lengths_batch_size is None:
            fields = {**summary.cell.model_dump(mode="json"), kind: 1, "repeat": 0}
            fields["engine"] = {**fields["engine"], "serve": []}
            groups.setdefault(f"{kind} {summary.site_id} {summary.estimated} {summary.headline} {fields}", []).append(
                summary
            )
    found = []
    for group in groups.values():
        by_load: dict[float, Summary] = {}
        for summary in sorted(group, key=lambda each: each.cell.repeat):
            by_load.setdefault(load_of(summary.cell), summary)
        if len(by_load) > 1:
            found.append(_lead([by_load[load] for load in sorted(by_load)]))
    return found


def kind_of(cell: Cell) -> str | None:
    """The field that is the cell's load; None: it has no load that could be varied."""
    if cell.request_rate_per_second is not None:
        return "request_rate_per_second"
    return "concurrency" if cell.concurrency is not None else "batch_size"


def load_of(cell: Cell) -> float:
    """The load as a number."""
    return float(getattr(cell, kind_of(cell) or "batch_size") or 1)


def _lead(summaries: Sequence[Summary]) -> Lead:
    first = summaries[0]
    modes = [mode.mode for mode in first.modes]
    points = {mode: [point for each in summaries if (point := _point(each, mode)) is not None] for mode in modes}
    steady = all(
        each.serving is not None and each.serving.energy_steady_j.value is not None
        for own in points.values()
        for each in own
    )
    unit = unit_for([each.energy_j(steady=steady).value for own in points.values() for each in own], "J")
    label = _label(summaries, unit)
    of = "steady state" if steady else "all queries, ramp and drain included"
    notes = [f"Joules per query: of {of}."]
    if any(each.cell.overlaps for each in summaries):
        alone = "no energy is shared" if first.estimated else "they are measured"
        notes.append(f"Where queries were in flight together their joules are shares by tokens; alone {alone}.")
    panel = _panel(points, unit, label, steady=steady, kind=kind_of(first.cell) or "")
    return Lead(
        title=f"{models(first.cell)} under {len(summaries)} loads",
        tables=tuple(
            _table(mode, own, unit, label, steady=steady, several=len(modes) > 1) for mode, own in points.items() if own
        ),
        notes=tuple(notes),
        panels=() if panel is None else (panel,),
    )


def _label(summaries: Sequence[Summary], unit: Unit) -> str:
    """`shared` where any of them is."""
    return next(
        (joules_label(each, unit.name) for each in summaries if each.cell.overlaps),
        joules_label(summaries[0], unit.name),
    )


def _point(summary: Summary, mode: str) -> Point | None:
    own = next((each for each in summary.modes if each.mode == mode), None)
    if own is None:
        return None
    serving = next((each for each in summary.serving if each.mode == mode), None)
    return Point(load=load_of(summary.cell), words=_short(summary.cell), mode=own, serving=serving)


def _short(cell: Cell) -> str:
    """A load as the head of a column."""
    rate = cell.request_rate_per_second
    return load_words(cell) if rate is None else f"{rate:g} a second"


def _table(mode: str, points: Sequence[Point], unit: Unit, label: str, *, steady: bool, several: bool) -> Table:
    waits = unit_for([each.first_token_s for each in points], "s")

    def joules(point: Point) -> Figure:
        estimate = unit.estimate(point.energy_j(steady=steady))
        return Figure(value=value_of(estimate), interval=ends_of(estimate))

    def of(value: Callable[[Point], float | None]) -> tuple[Figure, ...]:
        return tuple(Figure(value=digits(value(each))) for each in points)

    def serving(name: str) -> Callable[[Point], float | None]:
        return lambda point: None if point.serving is None else getattr(point.serving, name)

    rows = [
        TableRow(label=f"{label} per query", figures=tuple(map(joules, points))),
        TableRow(label="output tokens a second", figures=of(lambda each: each.tokens_per_second)),
        TableRow(label="queries a second", figures=of(serving("queries_per_second"))),
        TableRow(
            label=f"TTFT p50, {waits.name}",
            figures=of(lambda each: None if each.first_token_s is None else waits.of(each.first_token_s)),
        ),
        TableRow(label="in flight, mean", figures=of(serving("n_in_flight"))),
        TableRow(label="W", figures=of(serving("power_w"))),
        TableRow(
            label="answered",
            figures=tuple(Figure(value=f"{each.mode.n_queries - each.mode.n_failed:,}") for each in points),
        ),
    ]
    known = [row for row in rows if any(figure.value != UNKNOWN for figure in row.figures)]
    return Table(
        caption=f"Mode {mode}" if several else "By load", modes=tuple(each.words for each in points), rows=tuple(known)
    )


def _panel(points: dict[str, list[Point]], unit: Unit, label: str, *, steady: bool, kind: str) -> Panel | None:
    every = [each for own in points.values() for each in own]
    loads = sorted({each.load for each in every})
    log = loads[0] > 0 and loads[-1] / loads[0] > WIDE
    room = ROOM if log else 1.0
    x = Scale(low=loads[0] / room, high=loads[-1] * room, log=log) if log else Scale(low=0.0, high=1.05 * loads[-1])
    x_axis = {
        "concurrency": "queries at once",
        "request_rate_per_second": "queries a second",
        "batch_size": "queries in a batch",
    }[kind]
    x_axis = f"{x_axis} (logarithmic)" if log else x_axis
    ticks = tuple((x.percent(load), f"{load:g}") for load in loads)
    waits = unit_for([each.first_token_s for each in every], "s")
    axes: list[tuple[str, Callable[[Point], Estimate]]] = [
        (f"{label} per query", lambda each: unit.estimate(each.energy_j(steady=steady))),
        ("output tokens a second", lambda each: Estimate(value=each.tokens_per_second)),
        (f"TTFT, {waits.name}, half at most", lambda each: waits.estimate(Estimate(value=each.first_token_s))),
    ]
    planes = tuple(plane for y_axis, of in axes if (plane := _plane(points, of, x, ticks, x_axis, y_axis)) is not None)
    if not planes:
        return None
    modes = list(points)
    return Panel(
        name="loads",
        title="What a higher load does to a query",
        caption=_words(points, unit, steady=steady),
        planes=planes,
        keys=tuple((mode, str(index % 6)) for index, mode in enumerate(modes)) if len(modes) > 1 else (),
        grid=Grid(
            columns=("load", "mode", f"{label} per query", "95 %", "output tokens/s", f"TTFT p50, {waits.name}"),
            rows=tuple(
                (
                    each.words,
                    mode,
                    value_of(unit.estimate(each.energy_j(steady=steady))),
                    ends_of(unit.estimate(each.energy_j(steady=steady))),
                    digits(each.tokens_per_second),
                    digits(None if each.first_token_s is None else waits.of(each.first_token_s)),
                )
                for mode, own in points.items()
                for each in own
            ),
        ),
    )


def _plane(
    points: dict[str, list[Point]],
    of: Callable[[Point], Estimate],
    x: Scale,
    ticks: tuple[tuple[float, str], ...],
    x_axis: str,
    y_axis: str,
) -> Plane | None:
    known = {mode: [(each, of(each)) for each in own if of(each).value is not None] for mode, own in points.items()}
    values = ends([estimate for own in known.values() for _, estimate in own])
    if not values or max(values) <= 0:
        return None
    y = Scale(low=0.0, high=1.08 * max(values))
    curves = []
    for index, (mode, own) in enumerate(known.items()):
        places = [(x.percent(each.load), y.percent(estimate.value or 0.0)) for each, estimate in own]
        path = " ".join(
            f"{'M' if at == 0 else 'L'}{left},{100 - bottom:.2f}" for at, (left, bottom) in enumerate(places)
        )
        dots = tuple(
            Dot(
                left=left,
                bottom=bottom,
                upright=y.whisker(estimate),
                title=f"{mode}, {each.words}: {value_of(estimate)} {y_axis}",
            )
            for (left, bottom), (each, estimate) in zip(places, own, strict=True)
        )
        curves.append(Curve(mode=index, path=path, dots=dots))
    return Plane(curves=tuple(curves), x_axis=x_axis, y_axis=y_axis, x_ticks=ticks, y_ticks=y.ticks())


def _words(points: dict[str, list[Point]], unit: Unit, *, steady: bool) -> str:
    """From the smallest load to the largest, in the first mode that has both."""
    for mode, own in points.items():
        first, last = own[0], own[-1]
        least, most = (each.energy_j(steady=steady).value for each in (first, last))
        at = "at " if last.words.endswith("second") else "in " if last.words.startswith("batches") else "with "
        if least and most:
            words = f"In {mode}, a query takes {digits(unit.of(least))} {unit.name} {at}{first.words}"
            words = f"{words} and {digits(unit.of(most))} {unit.name} {at}{last.words}"
            faster = first.tokens_per_second and last.tokens_per_second
            times = (
                f", at {digits(last.tokens_per_second / first.tokens_per_second)} × the output tokens a second"
                if (faster and last.tokens_per_second and first.tokens_per_second)
                else ""
            )
            return f"{words}{times}."
    return "What a query takes, what comes out, and how long one waits, by load."
