"""Power over time and energy against tokens, as plain values for the page's script. Nothing here is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.measured import QueryFigures, phase_names
from harness.records import EnergyLaw, IntervalRecord, Method, Summary
from harness.report.numbers import Unit, digits, percent, signed, unit_for, value_of
from harness.report.panel import Grid, Json, Panel
from harness.report.serving.flying import Flying, flying_chart
from harness.report.study import law_words
from harness.report.task.words import column_name
from harness.report.trace import SessionPower, Trace, thinned
from harness.report.wording import METHOD, joules_label

N_BINS_MOST = 6000
"""Of all sessions together; about 130 kB of page."""
N_BINS_LEAST = 200
N_QUERIES_MOST = 4000
"""Marked in a chart. Beyond it the page would grow past a megabyte."""
N_CORNERS = 24
"""Of a drawn law; it bends gently."""
SERVING = "serving"
"""The name of the intervals that are a load's blocks."""
POWER_CAPTION = "What each metered device drew, in W, since the session began; a query is a band in its mode's colour."
TASK_CAPTION = "What each metered device drew, in W, since the session began; a query is a band."
LOAD_CAPTION = (
    "What each metered device drew, in W, and how many queries were in flight, since the session began. "
    "A block of one mode is shaded in its colour, and its steady state darker."
)
SHARED_POINTS = (
    "The joules are shares by tokens, so that they follow the tokens by the rule itself; a query far above the others "
    "was in flight with few, as in the drain at a block's end."
)
LOG_FROM = 30.0
"""Axes turn logarithmic where the largest value is so many times the smallest."""


def power_panel(
    summary: Summary,
    traces: Sequence[Trace],
    queries: Sequence[tuple[QueryFigures, float]],
    intervals: Sequence[IntervalRecord],
    modes: Sequence[str],
    flying: Sequence[Flying] = (),
) -> Panel | None:
    """One chart of power over time per session; None where no device was read.

    Args:
        summary: For the table beside the chart.
        traces: Power of every device.
        queries: Answered queries, each with its start in seconds on its session's clock.
        intervals: Load, warm-up and idle, to shade; gaps are not.
        modes: In the order of their colours.
        flying: Of a cell under load: how many were in flight when. It takes the place of the queries' bands, which lie
            over each other.

    Returns:
        Seconds, watts and joules, rounded to what can be seen.
    """
    n_sessions = max(1, len({trace.session for trace in traces}))
    sessions = thinned(traces, max(N_BINS_LEAST, N_BINS_MOST // n_sessions))
    loads = {each.session: each for each in flying if len(each.time_s)}
    charts = [
        _power_chart(session, queries, intervals, modes)
        if session.session not in loads
        else _load_chart(session, loads[session.session], summary, intervals, modes)
        for session in sessions
    ]
    if not charts:
        return None
    estimated = any(trace.method is Method.ESTIMATED for trace in traces)
    watts = joules_label(summary, "W")
    idle = [] if summary.power_idle_w.value is None else [("idle", "", "", value_of(summary.power_idle_w))]
    task = summary.cell.task
    if task is not None:  # its one mode has no name: its queries are called what they are
        charts = [{**chart, "modes": [task.replace("-", " ")]} for chart in charts]
    return Panel(
        name="power",
        title="Power over time, estimated" if estimated else "Power over time",
        caption=TASK_CAPTION if task is not None else LOAD_CAPTION if loads else POWER_CAPTION,
        chart=charts,
        grid=Grid(
            columns=("", "queries", "s per query", f"{watts} while it lasts"),
            rows=(
                *(
                    (
                        column_name(summary.cell, mode.mode) or "queries",
                        f"{mode.n_queries:,}",
                        value_of(mode.duration_s),
                        digits(mode.power_w),
                    )
                    for mode in summary.modes
                ),
                *idle,
            ),
        ),
    )


def scatter_panel(
    summary: Summary, queries: Sequence[tuple[QueryFigures, float]], modes: Sequence[str]
) -> Panel | None:
    """Energy against output tokens, a point per query, with the fitted law; None where nothing has both."""
    unit = unit_for([mode.energy_j.value for mode in summary.modes], "J")
    points = [
        (each.n_output_tokens, unit.of(each.energy_j), modes.index(each.mode), each.prompt_id)
        for each, _ in queries
        if each.n_output_tokens and each.energy_j
    ]
    if not points:
        return None
    shown = sorted(points[:N_QUERIES_MOST], key=lambda point: point[0])
    label = joules_label(summary, unit.name)
    log = [is_wide([point[0] for point in shown]), is_wide([point[1] for point in shown])]
    lines = _law_lines(summary, [each for each, _ in queries], unit, log=log[0])
    slopes = _slopes(summary, shown, unit) if summary.two_phase is None else []
    which = "A point is a query" if summary.two_phase is None else "A point is a query that was measured for the law"
    alone = (SHARED_POINTS,) if summary.cell.overlaps else ()
    dashed = (f"A dashed line is its mode's {label} per output token.",) if slopes else ()
    chart: Json = {
        "points": [[tokens, rounded(energy, 3), mode, prompt] for tokens, energy, mode, prompt in shown],
        "modes": list(modes),
        "lines": lines or slopes,
        "law": bool(lines),
        "unit": label,
        "log": log,
        "left_out": len(points) - len(shown),
    }
    return Panel(
        name="scatter",
        title="Energy against output tokens",
        caption=f"{which}: what it took in {label}, against the tokens that it wrote, thinking included.",
        chart=chart,
        grid=_per_token_grid(summary, unit),
        notes=(*(_law_notes(summary) if lines else dashed), *alone),
    )


def _law_lines(summary: Summary, queries: Sequence[QueryFigures], unit: Unit, *, log: bool) -> list[list[list[float]]]:
    """The fitted law over each mode's output lengths, at its median prompt; empty where there is no law."""
    law = _law(summary)
    if law is None or summary.estimated or law.per_output_token_j.value is None:
        return []
    a, b, c, d = (
        each.value or 0.0  # a coefficient that could not be told apart is not in the fitted law
        for each in (law.per_query_j, law.per_prompt_token_j, law.per_output_token_j, law.per_attended_token_j)
    )
    lines: list[list[list[float]]] = []
    for mode in summary.modes:
        own = [q for q in queries if q.mode == mode.mode and q.n_output_tokens and q.n_prompt_tokens is not None]
        if not own or (law.modes and mode.mode not in law.modes):
            lines.append([])
            continue
        p = float(np.median([q.n_prompt_tokens or 0 for q in own]))
        least, most = (float(end([q.n_output_tokens or 1 for q in own])) for end in (np.min, np.max))
        o = np.geomspace(least, most, N_CORNERS) if log else np.linspace(least, most, N_CORNERS)
        energy = law.factors.get(mode.mode, 1.0) * (a + b * p + c * o + d * (p * o + o**2 / 2))
        lines.append([[round(float(x), 1), float(f"{unit.of(y):.4g}")] for x, y in zip(o, energy, strict=True)])
    return lines


def _law(summary: Summary) -> EnergyLaw | None:
    """The law that may be drawn; of two phases only one that holds."""
    if summary.two_phase is None:
        return summary.law
    return summary.two_phase.law if summary.two_phase.valid else None


def _slopes(summary: Summary, points: Sequence[tuple[int, float, int, str]], unit: Unit) -> list[list[list[float]]]:
    """Each mode's joules per token, over its output lengths."""
    lines: list[list[list[float]]] = []
    for index, mode in enumerate(summary.modes):
        own, slope = [point[0] for point in points if point[2] == index], mode.energy_per_output_token_j.value
        ends = [] if slope is None or not own else [min(own), max(own)]
        lines.append([[float(tokens), float(f"{unit.of(tokens * (slope or 0.0)):.4g}")] for tokens in ends])
    return lines


def _per_token_grid(summary: Summary, unit: Unit) -> Grid:
    per_token = unit_for([mode.energy_per_output_token_j.value for mode in summary.modes], "J")
    return Grid(
        columns=(
            "mode",
            "queries",
            "output tokens, mean",
            f"{joules_label(summary, unit.name)}, mean",
            f"{joules_label(summary, per_token.name)} per output token",
        ),
        rows=tuple(
            (
                mode.mode,
                f"{mode.n_queries:,}",
                digits(mode.output_tokens),
                value_of(unit.estimate(mode.energy_j)),
                value_of(per_token.estimate(mode.energy_per_output_token_j)),
            )
            for mode in summary.modes
        ),
        caption="The list of all queries at the end of the page has each one.",
    )


def _law_notes(summary: Summary) -> tuple[str, ...]:
    law = _law(summary)
    if law is None:
        return ()
    off = [f"{mode} {signed(percent(share))}" for mode, share in law.residual_relative_by_mode.items() if share]
    residuals = (f"Measured joules against the law, by mode: {', '.join(off)}.",) if len(off) > 1 else ()
    return ("A line is the law at its mode's middle prompt length.", law_words(law), *residuals)


def _power_chart(
    power: SessionPower,
    queries: Sequence[tuple[QueryFigures, float]],
    intervals: Sequence[IntervalRecord],
    modes: Sequence[str],
) -> Json:
    own = [(query, start_s) for query, start_s in queries if query.session == power.session]
    phases = phase_names([query.phases_s for query, _ in own])
    bin_s = power.duration_bin_s
    return {
        "session": power.session,
        "t": [round(float(edge), 3) for edge in power.time_s],
        "devices": [_device(*pair) for pair in zip(power.devices, power.methods, strict=True)],
        "w": [[None if np.isnan(w) else round(float(w), 1) for w in row] for row in power.power_w],
        "bin_s": None if bin_s is None else float(f"{bin_s:.2g}"),
        "modes": list(modes),
        "phases": phases,
        "intervals": [
            [each.name.replace("_", " "), round(each.time_start_s, 2), round(each.time_end_s, 2)]
            for each in intervals
            if each.session == power.session and each.name != "gap"
        ],
        "queries": [
            [
                round(start_s, 3),
                round(start_s + query.duration_s, 3),
                modes.index(query.mode),
                query.prompt_id,
                rounded(query.energy_j, 2),
                query.n_output_tokens,
                *_phase_ends(query, phases),
            ]
            for query, start_s in own[:N_QUERIES_MOST]
        ],
        "left_out": max(0, len(own) - N_QUERIES_MOST),
        "estimated": Method.ESTIMATED in power.methods,
    }


def _load_chart(
    power: SessionPower,
    flying: Flying,
    summary: Summary,
    intervals: Sequence[IntervalRecord],
    modes: Sequence[str],
) -> Json:
    others = [each for each in intervals if each.name != SERVING]
    chart = _power_chart(power, (), others, modes)
    return chart | flying_chart(flying, summary.serving, power.time_s, modes)


def _phase_ends(query: QueryFigures, phases: Sequence[str]) -> list[float]:
    """Seconds from the query's start to the end of each phase; nothing where its phases are not known."""
    if not query.phases_s:
        return []
    lengths_s = [query.phases_s.get(name, 0.0) for name in phases]
    return [round(sum(lengths_s[: place + 1]), 3) for place in range(len(phases))]


def _device(device: str, method: Method) -> str:
    short = device if len(device) <= 20 else f"{device[:12]}…"
    return f"{short}, {METHOD[method]}"


def rounded(value: float | None, n_decimals: int) -> float | None:
    """To the figures that a tooltip shows; what is below 1 keeps three digits."""
    if value is None:
        return None
    return round(value, n_decimals) if value >= 1 else float(f"{value:.3g}")


def is_wide(values: Sequence[float]) -> bool:
    """Whether an axis over these values must be logarithmic."""
    return min(values) > 0 and max(values) / min(values) > LOG_FROM
