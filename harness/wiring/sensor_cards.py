"""Sensor cards between sessions: found before one, completed after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from harness.clock import utc_now
from harness.environment.nvml import Nvml, open_nvml
from harness.errors import NoSensor
from harness.meter.card.aliasing import aliased
from harness.meter.card.board_trace import BoardTrace
from harness.meter.card.card import card_findings, merged
from harness.meter.card.card_cache import load_card, save_card
from harness.meter.card.underload import completed
from harness.records import Channel, Finding, Segment, SensorCard


def cards_of(uuids: Sequence[str], looking: Callable[[], None] = lambda: None) -> dict[str, SensorCard]:
    """What is known of these boards' sensors, by UUID; a board that is new here is looked at for two to five seconds.

    Args:
        uuids: Full NVML UUIDs. A board that does not answer has no card.
        looking: Called before boards are looked at.
    """
    nvml = open_nvml() if uuids else None
    driver = nvml.driver if isinstance(nvml, Nvml) else None
    if driver is None:
        return {}
    cached = {uuid: load_card(uuid, driver) for uuid in uuids}
    known = {uuid: card for uuid, card in cached.items() if card is not None and _is_whole(card)}
    missing = [uuid for uuid in uuids if uuid not in known]
    if missing:
        looking()
        with suppress(NoSensor):  # the sampler meets the same driver next, and says why
            known |= _looked_at(missing)
    return {uuid: known[uuid] for uuid in uuids if uuid in known}


def looked_at_again() -> dict[str, SensorCard]:
    """Every board's card, by UUID in NVML's order: looked at now, with what earlier runs saw under load.

    Raises:
        NoSensor: There is no board.
    """
    nvml = open_nvml()
    if not isinstance(nvml, Nvml):
        raise NoSensor(nvml.what, nvml.next_step)
    cards = _looked_at(list(nvml.handles()))
    if not cards:
        raise NoSensor("NVML lists no GPU that answers.", "`harness doctor` shows what the driver says.")
    return cards


def learn(
    cards: Mapping[str, SensorCard],
    channels: Sequence[Channel],
    segments: Iterable[Segment],
    devices: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Complete cards by what a session's raw readings show, keep them, and say what is to be doubted.

    Args:
        cards: By UUID, as they were known before the session.
        channels: The session's.
        segments: Its raw readings and marks, all of them.
        devices: Those that were attributed; the others are learnt about and not doubted. None: all.
    """
    if not cards:
        return ()
    findings: list[Finding] = []
    kept = list(segments)
    for uuid, before in cards.items():
        card = completed(before, channels, kept, load_utc=utc_now())
        if card != before:
            save_card(card)
        if devices is None or uuid in devices:
            told = card_findings(before)
            findings += [finding for finding in card_findings(card) if finding.code not in {old.code for old in told}]
            doubt = aliased(card, BoardTrace(uuid, channels, kept))
            findings += [doubt] if doubt is not None else []
    return tuple(findings)


def doubts_of(cards: Mapping[str, SensorCard], devices: Collection[str]) -> list[Finding]:
    """What is known against these devices' sensors before a session."""
    return [finding for uuid, card in cards.items() if uuid in devices for finding in card_findings(card)]


def _looked_at(uuids: Sequence[str]) -> dict[str, SensorCard]:
    from harness.meter.card.characterize import characterize  # the one that needs the driver's library

    cards = {uuid: merged(card, load_card(uuid, card.driver)) for uuid, card in characterize(uuids).items()}
    for card in cards.values():
        save_card(card)
    return cards


def _is_whole(card: SensorCard) -> bool:
    """Whether looking again could show no more: a counter that stood still may move today."""
    return not card.counter or card.duration_tick_s is not None
