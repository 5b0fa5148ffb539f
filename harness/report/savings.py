"""What the run did not need to measure: how far it had to go, and what two phases say of all prompts."""

from __future__ import annotations

from harness.records import FindingCode, Stopping, Summary, TwoPhase
from harness.report.compared import listed
from harness.report.numbers import (
    UNKNOWN,
    digits,
    duration,
    ends_of,
    energy,
    percent,
    signed,
    times,
    unit_for,
    value_of,
)
from harness.report.panel import Bar, Bars, Grid, Panel, Scale, ends, with_ends
from harness.report.wording import doubts, n_asked, statistic


def stopping_panel(stopping: Stopping) -> Panel:
    """The half-width at each look against what was asked for."""
    known = [width for _, width in stopping.looks if width is not None]
    scale = Scale(low=0.0, high=1.08 * max([*known, stopping.target]))
    bars = tuple(
        Bar(
            label=f"{n_prompts:,} prompts",
            figure="unknown" if width is None else f"± {percent(width)}",
            spans=() if width is None else (scale.span(0.0, width, "plain"),),
            strong=index == len(stopping.looks) - 1,
        )
        for index, (n_prompts, width) in enumerate(stopping.looks)
    )
    target = percent(stopping.target)
    return Panel(
        name="stopping",
        title="How far it had to go",
        caption=_stopping_words(stopping, target),
        bars=(
            Bars(
                bars=bars,
                axis=f"relative half-width of {statistic(stopping)}, %",
                ticks=Scale(low=0.0, high=100 * scale.high).ticks(),
                line=(scale.percent(stopping.target), f"asked for: {target}"),
            ),
        ),
        grid=Grid(
            columns=("look", "prompts", "relative half-width"),
            rows=tuple(
                (str(index), f"{n_prompts:,}", UNKNOWN if width is None else f"± {percent(width)}")
                for index, (n_prompts, width) in enumerate(stopping.looks, 1)
            ),
            caption="The half-widths are widened so that they hold at every look.",
        ),
    )


def two_phase_panel(summary: Summary, two_phase: TwoPhase) -> Panel:
    """Each mode's joules by two phases, where they hold, and how the held-out queries fit the law."""
    unit = unit_for([mode.energy_j.value for mode in two_phase.modes], "J")
    position = {mode.mode: index for index, mode in enumerate(summary.modes)}
    energies = [unit.estimate(mode.energy_j) for mode in two_phase.modes]
    charts = []
    if two_phase.valid and any(each.value is not None for each in energies):
        scale = Scale(low=0.0, high=1.04 * max(ends(energies)))
        bars = tuple(
            Bar(
                label=mode.mode,
                figure=value_of(each),
                interval=ends_of(each),
                spans=() if each.value is None else (scale.span(0.0, each.value, "phase whole"),),
                whisker=scale.whisker(each),
                mode=position.get(mode.mode),
            )
            for mode, each in zip(two_phase.modes, energies, strict=True)
        )
        charts.append(Bars(bars=bars, axis=f"{unit.name} per query, two-phase", ticks=scale.ticks()))
    joules = tuple(f"{unit.name} per {what}, two-phase" for what in ("query", "right answer") if two_phase.valid)
    held = _held_out(two_phase, position)
    return Panel(
        name="two-phase",
        title="From the token counts of all prompts",
        label="two-phase",
        caption=_two_phase_words(two_phase),
        bars=(*charts, *([held] if held else [])),
        grid=Grid(
            columns=(
                "mode",
                "prompts",
                "right",
                "output tokens",
                *joules,
                "held-out queries",
                "their joules against the law",
                "allowed",
            ),
            rows=tuple(
                (
                    mode.mode,
                    f"{mode.n_prompts:,}",
                    f"{mode.n_correct:,} of {mode.n_scored:,}",
                    digits(mode.output_tokens),
                    *(with_ends(unit.estimate(each)) for each in (mode.energy_j, mode.energy_per_correct_j) if joules),
                    str(mode.n_held_out),
                    UNKNOWN if mode.held_out_deviation is None else signed(percent(mode.held_out_deviation)),
                    UNKNOWN if mode.held_out_limit is None else f"± {percent(mode.held_out_limit)}",
                )
                for mode in two_phase.modes
            ),
            caption="In brackets: the 95 % interval, which carries the prompts' part and the law's." if joules else "",
        ),
        notes=tuple(f"{each.sentence} {each.next_step}" for each in doubts(two_phase.findings)),
    )


def _stopping_words(stopping: Stopping, target: str) -> str:
    last = stopping.looks[-1][1] if stopping.looks else None
    known = "is not known" if last is None else f"is known to ± {percent(last)}"
    asked = f"After {stopping.n_prompts:,} of at most {stopping.n_prompts_most:,} prompts"
    words = f"{asked}, {statistic(stopping)} {known}"
    if not stopping.settled:
        return f"{words}; the {target} asked for was not reached."
    saved = [duration(stopping.saved_s)] if stopping.saved_s else []
    saved += [energy(stopping.saved_j)] if stopping.saved_j else []
    return f"{words}, where {target} was asked for" + (f"; stopping there saved {listed(saved)}." if saved else ".")


def _two_phase_words(two_phase: TwoPhase) -> str:
    source = (
        f"token counts of {two_phase.n_prompts:,} prompts from batches of {two_phase.batch_size}, times an energy law "
        f"measured on {two_phase.n_law} queries"
    )
    if not two_phase.valid:
        found = [each.code.sentence for each in two_phase.findings if each.code is not FindingCode.TWO_PHASE]
        asked = n_asked(two_phase)
        return " ".join(("No figure.", *([f"{asked}."] if asked else []), *dict.fromkeys(found)))
    spent_s = two_phase.duration_batched_s + two_phase.duration_measured_s
    saved = f"; it took {duration(spent_s)}"
    if two_phase.duration_saved_s is not None and two_phase.duration_saved_s > 0:
        saved += f" and saved {duration(two_phase.duration_saved_s)}"
    ratio = two_phase.energy
    if ratio.value is None or two_phase.numerator is None:
        return f"Two-phase: {source}{saved}."
    interval = f" (95 %: {ends_of(ratio)})" if ends_of(ratio) else ""
    return (
        f"Two-phase: {two_phase.numerator} takes {times(ratio)} the joules of {two_phase.denominator}{interval}, "
        f"by {source}{saved}."
    )


def _held_out(two_phase: TwoPhase, position: dict[str, int]) -> Bars | None:
    known = [
        (mode, mode.held_out_deviation, mode.held_out_limit)
        for mode in two_phase.modes
        if mode.held_out_deviation is not None and mode.held_out_limit is not None
    ]
    if not known:
        return None
    reach = 1.15 * max(max(abs(deviation), limit) for _, deviation, limit in known) or 0.01
    scale = Scale(low=-reach, high=reach)
    bars = tuple(
        Bar(
            label=mode.mode,
            figure=signed(percent(deviation)),
            interval=f"± {percent(limit)} allowed",
            spans=(scale.span(-limit, limit, "zone"),),
            mark=scale.percent(deviation),
            mode=position.get(mode.mode),
        )
        for mode, deviation, limit in known
    )
    ticks = Scale(low=-100 * reach, high=100 * reach).ticks()
    return Bars(bars=bars, axis="held-out joules against the law, %", ticks=ticks, keys=(("allowed", "zone"),))
