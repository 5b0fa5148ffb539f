"""The card of the board's sensor, as an idle board shows it."""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench
from .streams import Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling

COUNTER = Claim(
    "counter_ticks_steadily",
    "The board has an energy counter, and its ticks scatter by less than 10 % of their period.",
)
POWER = Claim("has_instant_power", "The board has instantaneous power, not only a mean over 1 s.")
JITTER_LIMIT = 0.1


def run(bench: Bench, duration_s: float) -> None:  # noqa: ARG001 - it takes two to five seconds by itself
    """Look at the idle board, by the meter's own probe."""
    from harness.meter.card.characterize import characterize

    start_s = bench.now_s()
    bench.card = characterize([bench.uuid]).get(bench.uuid)
    fields = {} if bench.card is None else bench.card.model_dump(mode="json")
    facts = {name: value for name, value in fields.items() if value is None or isinstance(value, int | float | str)}
    bench.did("card", start_s, bench.now_s(), **facts)


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:  # noqa: ARG001 - the card came from a probe of its own
    """What the card says of the two readings."""
    facts = schedule[0].facts
    if not facts:
        words = "The board did not answer the probe."
        return Judgement(tuple(claim.ruled("sensor", Ruling.UNDECIDED, words) for claim in (COUNTER, POWER)))
    tick_s, jitter_s = _number(facts, "duration_tick_s"), _number(facts, "duration_tick_jitter_s")
    figures = (
        Figure(name="duration_tick", value=tick_s, unit="s"),
        Figure(name="duration_tick_jitter", value=jitter_s, unit="s"),
        Figure(name="resolution", value=_number(facts, "resolution_j"), unit="J"),
        Figure(name="duration_counter_call", value=_number(facts, "duration_counter_call_s"), unit="s"),
    )
    if not facts["counter"]:
        counter = COUNTER.ruled("sensor", Ruling.REFUTED, "There is no energy counter.")
    elif tick_s is None or jitter_s is None:
        counter = COUNTER.ruled(
            "sensor", Ruling.UNDECIDED, "There is a counter; it ticked too rarely to say more.", *figures
        )
    else:
        ruling = Ruling.CONFIRMED if jitter_s < JITTER_LIMIT * tick_s else Ruling.REFUTED
        sentence = f"It ticks every {tick_s * 1e3:.1f} ms, scatter {jitter_s * 1e3:.2f} ms."
        counter = COUNTER.ruled("sensor", ruling, sentence, *figures)
    period_s = _number(facts, "duration_power_period_s")
    updates = (
        "its update period was not seen on the idle board"
        if period_s is None
        else f"it changes every {period_s * 1e3:.0f} ms"
    )
    power = POWER.ruled(
        "sensor",
        Ruling.CONFIRMED if facts["instant_power"] else Ruling.REFUTED,
        f"Instantaneous power is there; {updates}." if facts["instant_power"] else "There is no instantaneous power.",
        Figure(name="duration_power_period", value=period_s, unit="s"),
        Figure(name="duration_power_call", value=_number(facts, "duration_power_call_s"), unit="s"),
    )
    return Judgement((counter, power))


def _number(facts: dict[str, float | str | None], name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) else None
