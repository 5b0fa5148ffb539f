"""The study's charts of single queries and of modes: the data, a sentence in plain words, and the same as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.measured import QueryFigures
from harness.records import Comparison, ModeSummary, Summary
from harness.report.charts import N_QUERIES_MOST, is_wide, rounded
from harness.report.compared import accuracy_words, listed
from harness.report.measure import Measure
from harness.report.numbers import UNKNOWN, digits, ends_of, percent, unit_for, value_of
from harness.report.panel import Front, Grid, Json, Panel, Scale, Spot, ends, in_brackets, with_ends
from harness.report.table import PERCENT
from harness.report.wording import joules_label

N_STEPS_MOST = 200
"""Of one mode's distribution; beyond it only every so many-th query makes a step."""
QUANTILES = ((0.0, "least"), (0.25, "a quarter at most"), (0.5, "half at most"), (0.75, "three quarters at most"))
LEFT_ON_FRONT, LEFT_BEATEN = 27, 70
"""Percent from the left beyond which a point's name stands on its left: above the front there is room, below little."""
WIDE_FRONT = 8.0
"""The front's axis turns logarithmic where the dearest mode takes so many times the cheapest."""


def pairs_panel(
    summary: Summary, queries: Sequence[QueryFigures], comparisons: Sequence[Comparison], measure: Measure
) -> Panel | None:
    """A line per prompt from mode to mode."""
    if not comparisons:
        return None
    names = {name for each in comparisons for name in (each.numerator, each.denominator)}
    modes = [mode.mode for mode in summary.modes if mode.mode in names]
    by_prompt: dict[str, dict[str, float]] = {}
    for query in queries:
        value = measure.of(query)
        if query.mode in names and value is not None and value > 0:
            by_prompt.setdefault(query.prompt_id, {})[query.mode] = value
    paired = {prompt: values for prompt, values in by_prompt.items() if len(values) > 1}
    if not paired:
        return None
    n_most = N_QUERIES_MOST // len(modes)
    shown = list(paired.items())[:n_most]
    position = [mode.mode for mode in summary.modes]
    means = {mode.mode: measure.mean(mode).value for mode in summary.modes}
    first = comparisons[0]
    chart: Json = {
        "modes": modes,
        "colours": [position.index(mode) for mode in modes],
        "ids": [prompt for prompt, _ in shown],
        "values": [[rounded(values.get(mode), 3) for mode in modes] for _, values in shown],
        "mean": [means[mode] for mode in modes],
        "under": [modes.index(first.denominator), modes.index(first.numerator)],
        "axis": measure.axis,
        "unit": measure.unit.name,
        "log": is_wide([value for _, values in shown for value in values.values()]),
    }
    ratios = [
        (each, _ratios(paired, each))
        for each in comparisons
        if any(each.numerator in values and each.denominator in values for values in paired.values())
    ]
    left_out = len(paired) - len(shown)
    return Panel(
        name="pairs",
        title="Prompt by prompt",
        caption=_pairs_words(first, _ratios(paired, first), measure),
        chart=chart,
        grid=Grid(
            columns=(f"{measure.noun}, prompt by prompt", *(label for _, label in QUANTILES), "most"),
            rows=(
                *((f"{mode}, {measure.unit.name}", *_quantiles(_values(paired, mode))) for mode in modes),
                *((f"{each.numerator} over {each.denominator}", *_quantiles(values, " ×")) for each, values in ratios),
            ),
            caption="The list of all queries at the end of the page has each one.",
        ),
        notes=(f"{left_out:,} further prompts are not drawn.",) if left_out else (),
    )


def lengths_panel(summary: Summary, n_thinking: Mapping[str, Sequence[int]]) -> Panel | None:
    """For each mode that thinks, which share of its queries thinks for at most so many tokens.

    Args:
        summary: For the modes, and for what was cut or forced.
        n_thinking: By mode, the thinking tokens of its queries.
    """
    lengths = {mode.mode: np.sort(n_thinking.get(mode.mode, ())) for mode in summary.modes}
    thinking = {mode: values for mode, values in lengths.items() if len(values) and values[-1] > 0}
    if not thinking:
        return None
    position = [mode.mode for mode in summary.modes]
    positive = [float(value) for values in thinking.values() for value in values if value > 0]
    never = [mode for mode, values in lengths.items() if len(values) and values[-1] == 0]
    chart: Json = {
        "modes": list(thinking),
        "colours": [position.index(mode) for mode in thinking],
        "steps": [_steps(values) for values in thinking.values()],
        "log": is_wide(positive),
    }
    of_all = summary.modes if summary.two_phase is None else summary.two_phase.modes
    cut = [f"{mode.n_cut:,} in {mode.mode}" for mode in of_all if mode.n_cut]
    forced = [f"{mode.n_forced:,} in {mode.mode}" for mode in summary.modes if mode.n_forced]
    notes = [f"Cut by the token cap before their end: {', '.join(cut)}."] if cut else []
    notes += [f"Thinking ended by force at its budget: {', '.join(forced)}."] if forced else []
    return Panel(
        name="lengths",
        title="How long it thinks",
        caption=_lengths_words(thinking, never),
        chart=chart,
        grid=Grid(
            columns=("thinking tokens", "queries", *(label for _, label in QUANTILES), "most"),
            rows=tuple(
                (mode, f"{len(values):,}", *_quantiles(values)) for mode, values in lengths.items() if len(values)
            ),
        ),
        notes=tuple(notes),
    )


def front_panel(summary: Summary, comparisons: Sequence[Comparison], measure: Measure) -> Panel | None:
    """Modes by what a query takes and how often its answer is right, and those that no other mode beats."""
    names = {name for each in comparisons for name in (each.numerator, each.denominator)}
    named = [(mode.mode, mode, index) for index, mode in enumerate(summary.modes) if mode.mode in names]
    notes = tuple(text for text in map(_difference_words, comparisons) if text)
    return front_of(named, measure, joules=joules_label(summary), notes=notes)


def front_of(
    named: Sequence[tuple[str, ModeSummary, int]], measure: Measure, *, joules: str, notes: Sequence[str] = ()
) -> Panel | None:
    """Accuracy against what a query takes; None where fewer than two have both.

    Args:
        named: Each mode with the name of its point and the number of its colour.
        measure: Joules or seconds.
        joules: The unit of a joule, with the word where it is estimated.
        notes: To add.
    """
    known = [each for each in named if each[1].accuracy.value is not None and measure.mean(each[1]).value]
    if len(known) < 2:
        return None
    names, modes, colours = zip(*known, strict=True)
    costs, shares = [measure.mean(mode) for mode in modes], [PERCENT.estimate(mode.accuracy) for mode in modes]
    values = [value for value in ends(costs) if value > 0]
    log = max(values) / min(values) > WIDE_FRONT
    x = Scale(low=min(values) / 1.3, high=max(values) * 1.3, log=True) if log else Scale(low=0, high=1.1 * max(values))
    least, most = max(0.0, min(ends(shares)) - 6), min(100.0, max(ends(shares)) + 6)
    y = Scale(low=least, high=max(most, least + 10))
    points = [(cost.value or 0.0, share.value or 0.0) for cost, share in zip(costs, shares, strict=True)]
    on_front = [not any(_beats(other, point) for other in points) for point in points]
    spots = tuple(
        Spot(
            label=name,
            mode=colour,
            left=x.percent(point[0]),
            bottom=y.percent(point[1]),
            across=x.whisker(cost),
            upright=y.whisker(share),
            on_front=front,
            to_left=x.percent(point[0]) > (LEFT_ON_FRONT if front else LEFT_BEATEN),
        )
        for name, colour, point, cost, share, front in zip(names, colours, points, costs, shares, on_front, strict=True)
    )
    return Panel(
        name="front",
        title="What it buys",
        caption=_front_words(names, modes, measure, on_front),
        front=Front(
            spots=spots,
            path=_staircase([spot for spot in spots if spot.on_front]),
            x_axis=f"{measure.axis}, of a mean query{' (logarithmic)' if log else ''}",
            y_axis="right answers, %",
            x_ticks=x.ticks(),
            y_ticks=y.ticks(),
        ),
        grid=Grid(
            columns=(
                "",
                "right",
                "share right, %",
                f"{measure.unit.name} per query",
                f"{joules} per right answer",
                "beaten by none",
            ),
            rows=tuple(
                (
                    name,
                    f"{mode.n_correct:,} of {mode.n_scored:,}",
                    with_ends(share),
                    with_ends(cost),
                    _per_correct(mode),
                    "yes" if front else "no",
                )
                for name, mode, cost, share, front in zip(names, modes, costs, shares, on_front, strict=True)
            ),
            caption="In brackets: the 95 % interval over prompts.",
        ),
        notes=tuple(notes),
    )


def _ratios(paired: Mapping[str, Mapping[str, float]], comparison: Comparison) -> list[float]:
    return [
        values[comparison.numerator] / values[comparison.denominator]
        for values in paired.values()
        if comparison.numerator in values and comparison.denominator in values
    ]


def _values(paired: Mapping[str, Mapping[str, float]], mode: str) -> list[float]:
    return [values[mode] for values in paired.values() if mode in values]


def _quantiles(values: Sequence[float] | np.ndarray, suffix: str = "") -> tuple[str, ...]:
    shares = [*(share for share, _ in QUANTILES), 1.0]
    return tuple(f"{digits(float(np.quantile(values, share)))}{suffix}" for share in shares)


def _pairs_words(comparison: Comparison, ratios: Sequence[float], measure: Measure) -> str:
    line = "Each line is a prompt"
    if not ratios:
        return f"{line}, and its height the {measure.noun} that it took."
    n_more = sum(ratio > 1 for ratio in ratios)
    every = "all" if n_more == len(ratios) else f"{n_more:,} of"
    return (
        f"{line}: {every} {len(ratios):,} took more {measure.noun} in {comparison.numerator} than "
        f"in {comparison.denominator}, the middle one {digits(float(np.median(ratios)))} × as many."
    )


def _steps(lengths: np.ndarray) -> list[list[float]]:
    """Corners (tokens, percent of queries with at most so many)."""
    values, counts = np.unique(lengths, return_counts=True)
    shares = 100 * np.cumsum(counts) / len(lengths)
    if len(values) > N_STEPS_MOST:
        kept = np.unique(np.linspace(0, len(values) - 1, N_STEPS_MOST).round().astype(int))
        values, shares = values[kept], shares[kept]
    return [[int(value), round(float(share), 2)] for value, share in zip(values, shares, strict=True)]


def _lengths_words(thinking: Mapping[str, np.ndarray], never: Sequence[str]) -> str:
    halves = [f"{digits(float(np.median(values)))} in {mode}" for mode, values in thinking.items()]
    words = f"Half of the queries think for at most this many tokens: {', '.join(halves)}"
    return f"{words}; {listed(never)} never thinks." if never else f"{words}."


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    """Cheaper and right at least as often, or as cheap and right more often."""
    return other[0] <= point[0] and other[1] >= point[1] and other != point


def _staircase(spots: Sequence[Spot]) -> str:
    """The front as an SVG path: what is reached at most for a cost is what the last mode below it reaches."""
    ordered = sorted(spots, key=lambda spot: spot.left)
    if not ordered:
        return ""
    steps = [f"M{ordered[0].left},{100 - ordered[0].bottom:.2f}"]
    steps += [f"H{spot.left}V{100 - spot.bottom:.2f}" for spot in ordered[1:]]
    return "".join([*steps, "H100"])


def _front_words(names: Sequence[str], modes: Sequence[ModeSummary], measure: Measure, on_front: Sequence[bool]) -> str:
    unit = measure.unit.name
    parts = [
        f"{percent(mode.n_correct / mode.n_scored)} for {value_of(measure.mean(mode))} {unit} in {name}"
        for name, mode in zip(names, modes, strict=True)
    ]
    words = f"Right answers, and what a query takes for them: {', '.join(parts)}"
    beaten = [name for name, front in zip(names, on_front, strict=True) if not front]
    if not beaten:
        return f"{words}; whatever takes more is right more often."
    less = "faster" if measure.estimated else "cheaper"
    return f"{words}; another is both {less} and right at least as often as {listed(beaten)}."


def _difference_words(comparison: Comparison) -> str:
    words = accuracy_words(comparison)
    return f"{comparison.numerator} against {comparison.denominator}: {words}." if words else ""


def _per_correct(mode: ModeSummary) -> str:
    estimate = mode.energy_per_correct_j
    unit = unit_for([estimate.value, estimate.low], "J")
    scaled = unit.estimate(estimate)
    if scaled.value is None:
        return f"{ends_of(scaled)} {unit.name}" if scaled.low is not None else UNKNOWN
    return in_brackets(f"{value_of(scaled)} {unit.name}", ends_of(scaled))
