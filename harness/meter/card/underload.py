"""Completes a sensor's card with what shows only under load, from a session's own readings.

Whether the counter sees all of the time (`counter_sight.py`), how far it and integrated power disagree
(`counter_ratio.py`), over how long a power reading averages and how late it comes (`power_window.py`). Each is answered
where the load allows it, and stays None otherwise.

Pure: it knows rows and marks, no driver and no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.meter.card.board_trace import BoardTrace
from harness.meter.card.card import resolution_j, tick_and_jitter_s, update_period_s
from harness.meter.card.counter_ratio import counter_over_power
from harness.meter.card.counter_sight import FEWEST_STEPS, evidence, steps
from harness.meter.card.power_window import power_window_s
from harness.records import Channel, LoadStep, Segment, SensorCard

STEPS_KEPT = 60
"""The latest; a verdict can change with them."""


def completed(
    card: SensorCard, channels: Sequence[Channel], segments: Iterable[Segment], *, load_utc: str
) -> SensorCard:
    """The card with what this session's readings add to it.

    Args:
        card: What is known so far; its board is looked up among the channels.
        channels: The session's.
        segments: Its raw readings and marks.
        load_utc: When that was; the card is dated with it if something was learnt under load.
    """
    trace = BoardTrace(card.uuid, channels, segments)
    tick_s, jitter_s = tick_and_jitter_s(trace.ticks)
    seen = {
        "duration_tick_s": tick_s,
        "duration_tick_jitter_s": jitter_s,
        "resolution_j": resolution_j(trace.tick_j),
        "duration_power_period_s": update_period_s(trace.power_changes),
    }
    learnt: dict[str, object] = {
        name: value for name, value in seen.items() if value is not None and getattr(card, name) is None
    }
    if tick_s is None:
        return card.model_copy(update=learnt)
    found = steps(trace, tick_s)
    sight = evidence([step.seen for step in found[-STEPS_KEPT:]])
    # Many steps that do not come at the marks tell nothing, and would spoil what other sessions saw.
    are_astray = len(found) >= FEWEST_STEPS and max(sight.integrates_log10, sight.part_time_log10) < 0.0
    is_evident = card.counter and bool(found) and not are_astray
    if is_evident:
        learnt |= _judged((*card.load_steps, *(step.seen for step in found))[-STEPS_KEPT:], tick_s)
    integrates = learnt.get("integrates", card.integrates)
    window = power_window_s(trace, () if integrates is False else found, seen["duration_power_period_s"])
    if window is not None:
        learnt["duration_power_window_s"], learnt["duration_power_lag_s"] = window
    window_s = window[0] if window else card.duration_power_window_s or trace.power_window_s
    ratio = counter_over_power(trace, tick_s, card.power_idle_w, window_s)
    if ratio is not None and _narrower(ratio[1], card.ratio_counter_to_power_half_width):
        learnt["ratio_counter_to_power"], learnt["ratio_counter_to_power_half_width"] = ratio
    if is_evident or window is not None or ratio is not None:
        learnt["load_utc"] = load_utc
    return card.model_copy(update=learnt)


def _judged(load_steps: tuple[LoadStep, ...], tick_s: float) -> dict[str, object]:
    """A run offers few steps, several runs enough: they are judged together."""
    sight = evidence(load_steps)
    verdict, share = sight.verdict, sight.window_share
    window_s = share * tick_s if verdict is False and share is not None else None
    return {"load_steps": load_steps, "integrates": verdict, "duration_counter_window_s": window_s}


def _narrower(half_width: float, known: float | None) -> bool:
    """Whether a new half-width is worth replacing the known one: narrower, or nearly so and newer."""
    return known is None or half_width <= 1.5 * known
