"""From what a user wants metered to a sampler process, and what is known of it beforehand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from harness.environment.company import Company
from harness.environment.machine import device_order_doubt, visible_gpus
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.rapl import READ_COMMAND, RaplZone, rapl_zones
from harness.environment.visibility import choose_boards
from harness.errors import NoSensor
from harness.meter.recorder import SamplerProcess
from harness.records import Board, Finding, FindingCode, SensorCard
from harness.wiring.sensor_cards import cards_of, doubts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """A sampler that is not started yet, on which boards, and the doubts that exist before it is."""

    recorder: SamplerProcess
    boards: tuple[Board, ...]
    cards: tuple[SensorCard, ...]
    driver: str | None
    company: Company | None
    findings: tuple[Finding, ...]


def metered(gpus: str | None, *, host: bool, allow_estimate: bool) -> Metered:
    """Choose the sensors. A board that is new on this machine is looked at for a few seconds.

    Args:
        gpus: `all`, `none`, or UUIDs and numbers in NVML's order, separated by commas; None: the boards that CUDA
            shows to this process.
        host: Meter CPU packages and memory too.
        allow_estimate: Where nothing can be measured, take a hardware model's figure.

    Raises:
        NoSensor: Nothing that was asked for can be read.
        UnknownName: No such board.
    """
    nvml = open_nvml()
    listed = nvml.boards() if isinstance(nvml, Nvml) else []
    boards = tuple(visible_gpus()) if gpus is None else _named(gpus, listed)
    company = Company(nvml, boards) if isinstance(nvml, Nvml) and boards else None
    findings = [] if company is None else company.at_start()
    order = device_order_doubt() if gpus is None else None
    findings += [order] if order is not None else []
    zones = rapl_zones() if host or (allow_estimate and not boards) else []
    rapl = any(zone.moving for zone in zones) and all(zone.readable for zone in zones)
    if host and boards and not rapl:
        findings.append(Finding(code=FindingCode.HOST_NOT_READABLE, detail=_why_no_host(zones)))
    if not boards and not rapl and not allow_estimate:
        raise _no_sensor(gpus, host=host, locked=any(not zone.readable for zone in zones))
    uuids = tuple(board.uuid for board in boards)
    cards = cards_of(uuids)
    findings += doubts_of(cards, uuids)
    return Metered(
        recorder=SamplerProcess(nvml_uuids=uuids, cards=cards, rapl=rapl, estimate=not boards and not rapl),
        boards=boards,
        cards=tuple(cards.values()),
        driver=nvml.driver if isinstance(nvml, Nvml) else None,
        company=company,
        findings=tuple(findings),
    )


def _named(gpus: str, listed: Sequence[Board]) -> tuple[Board, ...]:
    if gpus != "none" and not listed:
        raise _no_sensor(gpus, host=False, locked=False)
    chosen = choose_boards(gpus, listed, tuple(board.uuid for board in visible_gpus()))
    return tuple(board for board in listed if board.uuid in chosen)


def _why_no_host(zones: Sequence[RaplZone]) -> str:
    if not zones:
        return "this machine shows none"
    return "they stand still" if all(zone.readable for zone in zones) else "they are for root only"


def _no_sensor(gpus: str | None, *, host: bool, locked: bool) -> NoSensor:
    """Why there is nothing to read, and what would change that."""
    nvml = open_nvml()
    if host and locked:
        return NoSensor("The host's RAPL counters are readable by root only, and no GPU is metered.", READ_COMMAND)
    if host:
        return NoSensor(
            "This machine shows no RAPL counters that move, and no GPU is metered.",
            "Virtual machines and containers often hide them; `harness doctor` says what is missing.",
        )
    otherwise = "Or meter the host (`host=True`, `--host`), or accept an estimate (`allow_estimate=True`)."
    if gpus == "none":
        return NoSensor("No GPU is metered, because none was wanted, and nothing else is.", otherwise)
    if not isinstance(nvml, Nvml):
        return NoSensor(f"No GPU can be metered: {nvml.what}", f"{nvml.next_step} {otherwise}")
    if not nvml.boards():
        return NoSensor("No GPU can be metered: NVML lists none.", f"`harness doctor` says more. {otherwise}")
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return NoSensor(
        f"CUDA_VISIBLE_DEVICES={shown!r} shows no GPU to this process.",
        f"Change it, or name a board (`gpus=[...]`, `--meter-gpus`). {otherwise}",
    )
