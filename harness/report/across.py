"""Several runs in one chart: what a query takes in each mode of each, and how often it is right.

Only what may share an axis is set on one: the same boundary, and measured or estimated but never both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.records import ModeSummary, Summary
from harness.report.compared import not_as_called
from harness.report.measure import Measure
from harness.report.numbers import ends_of, unit_for, value_of
from harness.report.panel import Bars, Grid, Panel, Scale, ends
from harness.report.study_bars import in_order, split_bar
from harness.report.study_charts import front_of
from harness.report.task.words import column_name
from harness.report.wording import joules_label, models


def across_panels(sides: Sequence[tuple[str, Summary]]) -> tuple[Panel, ...]:
    """The charts of several cells together.

    Args:
        sides: Each cell with its short name, as in `A`.

    Returns:
        None of them where the cells may not share an axis, or where there are fewer than two. Two-phase cells are left
        out: the queries that were measured in them are no sample.
    """
    kept = [(name, summary) for name, summary in sides if summary.two_phase is None]
    if len(kept) < 2 or len({(summary.estimated, summary.headline) for _, summary in kept}) > 1:
        return ()
    estimated = kept[0][1].estimated
    values = [(m.duration_s if estimated else m.energy_j).value for _, summary in kept for m in summary.modes]
    measure = Measure(estimated, unit_for(values, "s" if estimated else "J"))
    named = [
        (_named(name, summary, mode), mode, index)
        for index, (name, summary) in enumerate(kept)
        for mode in summary.modes
        if mode.mode not in not_as_called(summary)
    ]
    panels = (_bars(kept, measure), front_of(named, measure, joules=joules_label(kept[0][1])))
    return tuple(panel for panel in panels if panel is not None)


def _bars(sides: Sequence[tuple[str, Summary]], measure: Measure) -> Panel | None:
    known = [
        (name, summary, [mode for mode in summary.modes if measure.mean(mode).value])
        for name, summary in sides
        if any(measure.mean(mode).value for mode in summary.modes)
    ]
    if not known:
        return None
    everything = [(_named(name, summary, mode), mode) for name, summary, modes in known for mode in modes]
    scale = Scale(low=0.0, high=1.04 * max(ends([measure.mean(mode) for _, mode in everything])))
    bars = tuple(
        replace(
            split_bar(mode, measure, scale, index, f"{name}: {models(summary.cell)}" if mode is modes[0] else ""),
            label=column_name(summary.cell, mode.mode),
        )
        for index, (name, summary, modes) in enumerate(known)
        for mode in modes
    )
    phases = in_order(phase for _, mode in everything for phase in measure.phases(mode))
    least, most = (end(everything, key=lambda each: measure.mean(each[1]).value or 0.0) for end in (min, max))
    return Panel(
        name="split",
        title=f"Where the {measure.noun} go",
        caption=f"A mean query takes least in {_words(least, measure)}, and most in {_words(most, measure)}.",
        bars=(
            Bars(
                bars=bars,
                axis=f"{measure.axis}, of a mean query",
                ticks=scale.ticks(),
                keys=tuple((phase, f"phase {phase}") for phase in phases),
            ),
        ),
        grid=Grid(
            columns=("", f"{measure.unit.name} of a mean query", "95 % over prompts"),
            rows=tuple(
                (name, value_of(measure.mean(mode)), ends_of(measure.mean(mode)) or "unknown")
                for name, mode in everything
            ),
        ),
    )


def _words(one: tuple[str, ModeSummary], measure: Measure) -> str:
    name, mode = one
    return f"{name} ({value_of(measure.mean(mode))} {measure.unit.name})"


def _named(name: str, summary: Summary, mode: ModeSummary) -> str:
    """`A on`; of a task only its letter."""
    return " ".join(filter(None, (name, column_name(summary.cell, mode.mode))))
