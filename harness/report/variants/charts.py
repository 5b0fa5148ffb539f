"""The charts of variants: bars of what a query takes, and its ratio to the first variant as a dot and its interval."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Estimate
from harness.report.measure import Measure
from harness.report.numbers import ends_of, times, unit_for, value_of
from harness.report.panel import Bar, Bars, Grid, Panel, Scale, ends, with_ends
from harness.report.task.words import behind_comma, column_name, heading_of
from harness.report.variants.column import VariantColumn
from harness.report.variants.words import in_one_sentence, standing


def cost_panel(columns: Sequence[VariantColumn], modes: Sequence[str]) -> Panel | None:
    """A bar per variant and mode: joules per query, or seconds where joules are estimated."""
    estimated = columns[0].summary.estimated
    known = [
        (mode, index, each)
        for mode in modes
        for index, each in enumerate(columns)
        if mode in each.modes and _mean(each, mode, estimated).value
    ]
    if not known:
        return None
    values = [_mean(each, mode, estimated).value for mode, _, each in known]
    measure = Measure(estimated, unit_for(values, "s" if estimated else "J"))
    means = [measure.mean(each.modes[mode]) for mode, _, each in known]
    scale = Scale(low=0.0, high=1.04 * max(ends(means)))
    seen: set[str] = set()
    bars = []
    for (mode, index, each), mean in zip(known, means, strict=True):
        bars.append(
            Bar(
                label=each.label,
                figure=value_of(mean),
                interval=ends_of(mean),
                spans=(scale.span(0.0, mean.value or 0.0, "phase whole"),),
                whisker=scale.whisker(mean),
                mode=index,
                heading="" if mode in seen else column_name(each.summary.cell, f"mode {mode}"),
            )
        )
        seen.add(mode)
    return Panel(
        name="variants-cost",
        title=f"What a query takes in each variant, in {measure.unit.name}",
        caption="A line is the 95 % interval over prompts. What can be told apart is said of the ratios.",
        bars=(Bars(bars=tuple(bars), axis=f"{measure.axis}, of a mean query", ticks=scale.ticks()),),
        grid=Grid(
            columns=("", f"{measure.unit.name} of a mean query"),
            rows=tuple(
                (f"{each.label}{behind_comma(each.summary.cell, mode)}", with_ends(mean))
                for (mode, _, each), mean in zip(known, means, strict=True)
            ),
            caption="In brackets: the 95 % interval over prompts.",
        ),
    )


def ratio_panel(columns: Sequence[VariantColumn], modes: Sequence[str]) -> Panel | None:
    """A dot and its interval per variant and mode, on an axis where equal factors are equal lengths."""
    base, others = columns[0], columns[1:]
    measure = Measure(base.summary.estimated, unit_for([], "J"))
    known = [
        (mode, index, each, measure.ratio(each.comparisons[mode]))
        for mode in modes
        for index, each in enumerate(others, start=1)
        if mode in each.comparisons and measure.ratio(each.comparisons[mode]).value
    ]
    if not known:
        return None
    values = [value for value in (1.0, *ends([ratio for *_, ratio in known])) if value > 0]
    scale = Scale(low=min(values) / 1.06, high=max(values) * 1.06, log=True)
    seen: set[str] = set()
    bars = []
    for mode, index, each, ratio in known:
        bars.append(
            Bar(
                label=each.label,
                figure=times(ratio),
                interval=ends_of(ratio),
                mark=scale.percent(ratio.value or 1.0),
                whisker=scale.whisker(ratio),
                mode=index,
                heading="" if mode in seen else column_name(each.summary.cell, f"mode {mode}"),
            )
        )
        seen.add(mode)
    said = [(mode, in_one_sentence(others, base, mode)) for mode in modes]
    return Panel(
        name="variants-ratio",
        title=f"The {measure.noun} of each variant over {base.label}",
        caption=" ".join(f"{heading_of(base.summary.cell, f'Mode {mode}')}{text}" for mode, text in said if text),
        bars=(
            Bars(
                bars=tuple(bars),
                axis=f"times the {measure.noun} of {base.name}, the same prompts (logarithmic)",
                ticks=scale.ticks(" ×"),
                line=(scale.percent(1.0), f"as {base.name}"),
            ),
        ),
        grid=Grid(
            columns=("", measure.noun, f"against {base.name}"),
            rows=tuple(
                (
                    f"{each.label}{behind_comma(each.summary.cell, mode)}",
                    f"{times(ratio)} ({ends_of(ratio)})" if ends_of(ratio) else times(ratio),
                    standing(each.comparisons[mode], estimated=base.summary.estimated),
                )
                for mode, _, each, ratio in known
            ),
            caption="In brackets: the 95 % interval over prompts.",
        ),
    )


def _mean(column: VariantColumn, mode: str, estimated: bool) -> Estimate:
    return column.modes[mode].duration_s if estimated else column.modes[mode].energy_j
