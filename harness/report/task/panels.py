"""What queries of a task take against their size: a point each, and the fitted line."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.measured import QueryFigures
from harness.records import Summary
from harness.report.measure import Measure
from harness.report.numbers import UNKNOWN, digits, percent, unit_for
from harness.report.panel import Curve, Dot, Grid, Panel, Plane, Scale, with_ends
from harness.report.task.law import ShownLaw, shown_laws
from harness.report.task.sizes import units_of

N_POINTS_MOST = 1000
"""Drawn; each is an element of the page."""
ROOM = 1.06
"""Of an axis beyond its largest value."""

Line = tuple[float, float]
"""What a query takes whatever its size, and each unit more, in the unit of the chart."""


def size_panels(summary: Summary, queries: Sequence[QueryFigures], measure: Measure) -> tuple[Panel, ...]:
    """A panel for each size that the joules follow; none where all queries have about one size.

    Args:
        summary: Of a task.
        queries: Answered ones.
        measure: Joules, or seconds where joules are only estimated.
    """
    laws = [law for mode in summary.modes for law in shown_laws(mode.size_laws, estimated=measure.estimated)]
    panels = [_panel(law, queries, measure) for law in laws]
    return tuple(panel for panel in panels if panel is not None)


def _panel(law: ShownLaw, queries: Sequence[QueryFigures], measure: Measure) -> Panel | None:
    points = [
        (size, value, query.prompt_id)
        for query in queries
        if (size := units_of(query, law.law.size)) is not None and (value := measure.of(query)) is not None
    ]
    if len({size for size, _, _ in points}) < 2:
        return None
    noun = law.noun
    x = Scale(low=0.0, high=ROOM * max(size for size, _, _ in points))
    y = Scale(low=0.0, high=ROOM * max(value for _, value, _ in points))
    dots = tuple(
        Dot(
            left=x.percent(size),
            bottom=y.percent(value),
            upright=None,
            title=f"{prompt_id}: {digits(value)} {measure.unit.name}, {digits(size)} {noun}",
        )
        for size, value, prompt_id in points[:N_POINTS_MOST]
    )
    left_out = len(points) - len(dots)
    notes = [f"{law.words}{'; that is the line' if law.has_fixed_part else ', of all queries together'}."]
    if law.is_fitted and not law.has_fixed_part:
        notes.append("The line is fitted to them: whether it begins above zero is not certain.")
    notes.append(law.why_no_line)
    notes += [f"{left_out:,} further queries are not drawn."] if left_out else []
    return Panel(
        name="size",
        title=f"{'Time' if measure.estimated else 'Energy'} against {noun}",
        caption=f"A point is a query: what it took in {measure.unit.name}, against its {noun}.",
        planes=(
            Plane(
                curves=(Curve(mode=0, path=_path(_line(law, measure), x, y) if law.is_fitted else "", dots=dots),),
                x_axis=noun,
                y_axis=measure.axis,
                x_ticks=x.ticks(),
                y_ticks=y.ticks(),
            ),
        ),
        grid=_grid(law),
        notes=tuple(filter(None, notes)),
    )


def _line(law: ShownLaw, measure: Measure) -> Line:
    """The fitted line, in the unit of the chart."""
    return measure.unit.of(law.at_zero.value or 0.0), measure.unit.of(law.more.value or 0.0)


def _path(line: Line, x: Scale, y: Scale) -> str:
    """The line as an SVG path, as far as it lies within the axes."""
    start, slope = line
    ends = {0.0, x.high}
    for edge in (y.low, y.high):
        if slope and 0.0 < (edge - start) / slope < x.high:
            ends.add((edge - start) / slope)
    inside = [
        (at, start + slope * at) for at in sorted(ends) if y.low - 1e-9 <= start + slope * at <= y.high * (1 + 1e-9)
    ]
    corners = [f"{x.percent(at):g},{100 - y.percent(value):g}" for at, value in inside]
    return f"M{'L'.join(corners)}" if len(corners) > 1 else ""


def _grid(shown: ShownLaw) -> Grid:
    law = shown.law
    rows = [("queries", f"{law.n_queries:,}"), (f"{shown.noun} of a query, mean", digits(law.mean))]
    for words, each in (
        (f"per {law.unit}", shown.per_unit),
        ("whatever the size, by the line", shown.at_zero),
        (f"each {law.unit}, by the line", shown.more),
    ):
        unit = unit_for([each.value], shown.base)
        rows.append((f"{words}, {unit.name}", UNKNOWN if each.value is None else with_ends(unit.estimate(each))))
    if law.residual_relative_sd is not None:
        rows.append(("queries' own scatter about the line", percent(law.residual_relative_sd)))
    return Grid(
        columns=("", "figure"),
        rows=tuple(rows),
        caption="In brackets: the 95 % interval over prompts. The list of all queries has each one.",
    )
