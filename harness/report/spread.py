"""How unequal the queries of a mode are: how often which joules occur, the quartiles, and what the dearest take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis.measured import QueryFigures
from harness.records import Summary
from harness.report.compared import listed
from harness.report.measure import Measure
from harness.report.numbers import digits, percent
from harness.report.panel import Bar, Bars, Grid, Panel, Scale
from harness.report.task.words import column_name
from harness.report.wording import joules_label

N_BINS = 36
WIDE = 8.0
"""The axis turns logarithmic where the dearest query takes so many times the cheapest."""
N_LEAST = 3
"""Queries of a mode below which there is nothing to spread."""
DEAREST = 0.1
QUANTILES = ((0.0, "least"), (0.25, "a quarter at most"), (0.5, "half at most"), (0.75, "three quarters at most"))

_HILL = "how many take so much, each mode to its own height"

Values = npt.NDArray[np.float64]


def spread_panel(summary: Summary, queries: Sequence[QueryFigures], measure: Measure) -> Panel | None:
    """Each mode's queries along one axis; None where no mode has enough of them.

    Args:
        summary: For the modes, in the order of their colours.
        queries: Answered ones.
        measure: Joules, or seconds where joules are only estimated.
    """
    taken: dict[str, list[float]] = {}
    for query in queries:
        value = measure.of(query)
        if value:  # a query that took nothing at all has no place on an axis of logs
            taken.setdefault(query.mode, []).append(value)
    shown = [
        (index, column_name(summary.cell, mode.mode), np.sort(taken[mode.mode]))
        for index, mode in enumerate(summary.modes)
        if len(taken.get(mode.mode, ())) >= N_LEAST
    ]
    if not shown:
        return None
    everything = np.concatenate([values for _, _, values in shown])
    scale = _scale(everything)
    edges = _edges(scale)
    counts = [np.histogram(values, edges)[0] for _, _, values in shown]
    bars = tuple(
        _bar(scale, index, mode, values, _path(scale, edges, count / count.max()))
        for (index, mode, values), count in zip(shown, counts, strict=True)
    )
    axis = f"{measure.axis}, of a query{' (logarithmic)' if scale.log else ''}"
    dearest = [f"{percent(_dearest(values))}{_in(mode)}" for _, mode, values in shown if len(values) >= 1 / DEAREST]
    what = "longest" if measure.estimated else "dearest"
    return Panel(
        name="spread",
        title="How unequal the queries are",
        caption=_words([(mode, values) for _, mode, values in shown], measure),
        bars=(
            Bars(
                bars=bars,
                axis=axis,
                ticks=scale.ticks(),
                keys=(
                    (_HILL if summary.cell.task is None else "how many take so much", "hill"),
                    ("the middle half, split at the middle query; the mark is the mean", "quartiles"),
                ),
            ),
        ),
        grid=Grid(
            columns=(f"{measure.unit.name} of a query", "queries", *(label for _, label in QUANTILES), "most", "mean"),
            rows=tuple(
                (
                    mode,
                    f"{len(values):,}",
                    *(digits(float(np.quantile(values, share))) for share in (*(share for share, _ in QUANTILES), 1.0)),
                    digits(float(values.mean())),
                )
                for _, mode, values in shown
            ),
            caption=f"What was measured is the time; joules are {joules_label(summary)}." if summary.estimated else "",
        ),
        notes=(f"The {what} tenth of the queries takes this much of all {measure.noun}: {listed(dearest)}.",)
        if dearest
        else (),
    )


def _scale(values: Values) -> Scale:
    low, high = float(values.min()), float(values.max())
    if high / low > WIDE:
        return Scale(low=low / 1.1, high=high * 1.1, log=True)
    return Scale(low=0.0, high=1.05 * high)


def _edges(scale: Scale) -> Values:
    if scale.log:
        return np.geomspace(scale.low, scale.high, N_BINS + 1)
    return np.linspace(scale.low, scale.high, N_BINS + 1)


def _path(scale: Scale, edges: Values, heights: Values) -> str:
    """Steps from bin to bin; empty bins at the ends are left out."""
    filled = np.flatnonzero(heights)
    first, last = int(filled[0]), int(filled[-1])
    steps = [
        f"V{100 - 100 * float(heights[place]):.3g}H{scale.percent(float(edges[place + 1])):g}"
        for place in range(first, last + 1)
    ]
    return "".join([f"M{scale.percent(float(edges[first])):g},100", *steps, "V100Z"])


def _bar(scale: Scale, index: int, mode: str, values: Values, silhouette: str) -> Bar:
    quarter, half, three = (float(np.quantile(values, share)) for share in (0.25, 0.5, 0.75))
    title = f"half of the queries lie between {digits(quarter)} and {digits(three)}, half below {digits(half)}"
    return Bar(
        label=mode,
        figure=digits(half),
        interval=f"{digits(quarter)} to {digits(three)}",
        spans=(
            scale.span(quarter, half, "quartiles", title=title),
            scale.span(half, three, "quartiles upper", title=title),
        ),
        mark=scale.percent(float(values.mean())),
        mode=index,
        silhouette=silhouette,
    )


def _dearest(values: Values) -> float:
    """What the dearest tenth of the queries takes of the whole."""
    n = round(DEAREST * len(values))
    return float(values[len(values) - n :].sum() / values.sum())


def _words(shown: Sequence[tuple[str, Values]], measure: Measure) -> str:
    halves = [
        f"between {digits(float(np.quantile(values, 0.25)))} and {digits(float(np.quantile(values, 0.75)))} "
        f"{measure.unit.name}{_in(mode)}"
        for mode, values in shown
    ]
    return f"The middle half of the queries takes {', '.join(halves)}."


def _in(mode: str) -> str:
    """In which mode; a task's has no name."""
    return f" in {mode}" if mode else ""
