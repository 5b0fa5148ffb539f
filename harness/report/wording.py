"""The words for what an energy includes and how it was found. One place, so that they never differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.serving.serving import SERVER, load_words
from harness.records import Boundary, Cell, Finding, FindingCode, Method, Stopping, Summary, TwoPhase

BOUNDARY = {
    Boundary.GPU_BOARD: "the GPU board",
    Boundary.HOST: "the host (CPU packages and memory)",
    Boundary.GPU_BOARD_AND_HOST: "the GPU board and the host",
    Boundary.NODE: "the whole machine",
}
METHOD = {
    Method.NVML_COUNTER: "NVML energy counter",
    Method.NVML_POWER: "NVML power readings",
    Method.RAPL: "RAPL",
    Method.EXTERNAL_METER: "external meter",
    Method.ESTIMATED: "estimated, no sensor",
    Method.REPLAYED: "replayed from a recording",
}


SHARED = "shared by tokens among the queries in flight"
"""What is said of a joule that was attributed to a query and not measured on it alone."""
ENERGIES = ("J", "Wh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Findings of one code, as sentences."""

    code: str
    sentence: str
    details: tuple[str, ...]
    next_step: str


def doubts(findings: Sequence[Finding], steps: Mapping[FindingCode, str] | None = None) -> tuple[Doubt, ...]:
    """Findings grouped by code, in the order of their first appearance.

    Args:
        findings: Of one report.
        steps: Next steps that stand in for those of the codes, where these speak of another verb's flags.
    """
    steps = steps or {}
    details: dict[FindingCode, dict[str, None]] = {}
    for finding in findings:
        known = details.setdefault(finding.code, {})
        if finding.detail:
            known[finding.detail] = None
    return tuple(
        Doubt(code=code.value, sentence=code.sentence, details=tuple(texts), next_step=steps.get(code, code.next_step))
        for code, texts in details.items()
    )


def energy_source(summary: Summary) -> str:
    """What the joules include and where they come from."""
    boundary, shared = BOUNDARY[summary.headline], f", {SHARED}" if summary.cell.overlaps else ""
    if summary.estimated:
        return f"energy of {boundary}, {estimated_words(summary)}{shared}"
    return f"gross energy of {boundary}, by {METHOD[summary.method]}{shared}"


def estimated_words(summary: Summary) -> str:
    """`estimated: N W × time`, the words without which an estimated joule is never shown."""
    powers_w = sorted({round(mode.power_w) for mode in summary.modes if mode.power_w is not None})
    if not powers_w:
        return "estimated: power × time"
    power = f"{powers_w[0]}" if len(powers_w) == 1 else f"{powers_w[0]}–{powers_w[-1]}"
    return f"estimated: {power} W × time"


def joules_label(summary: Summary, unit: str = "J") -> str:
    """The unit of an energy, with the word where it is an estimate, or where queries share it."""
    words = [estimated_words(summary)] if summary.estimated else []
    words += ["shared"] if summary.cell.overlaps and unit.endswith(ENERGIES) else []
    return f"{unit} ({', '.join(words)})" if words else unit


def models(cell: Cell) -> str:
    """The model; of a pair both checkpoints, each with its modes."""
    pair = cell.pair
    if pair is None:
        return cell.model
    own = ", ".join(mode for mode in cell.modes if mode not in pair.modes)
    return f"{cell.model} ({own}) and {pair.model} ({', '.join(pair.modes)})"


def tokens_label(cell: Cell, kind: str) -> str:
    """What tokens are called: those of answers whose lengths were forced say so wherever they are shown."""
    return f"{kind} tokens" if cell.lengths is None else f"{kind} tokens (forced lengths)"


def subject(summary: Summary) -> str:
    """The model, or both checkpoints of a pair, and how it is executed, in one line."""
    cell = summary.cell
    precision = cell.dtype if cell.quantization in ("", "none") else f"{cell.dtype}, {cell.quantization}"
    if cell.task is not None:
        return f"{cell.model} ({precision}) on {cell.engine.device}"
    if cell.engine.name == SERVER:  # what it executes is the server's, and not the cell's to say
        return f"{models(cell)} by a server, {load_words(cell)}"
    named = f"{cell.model} ({precision})" if cell.pair is None else f"{models(cell)}, {precision}"
    batches = f", {load_words(cell)}" if cell.overlaps else ""
    return f"{named} on {cell.engine.device}, {cell.engine.name}{batches}"


def statistic(stopping: Stopping) -> str:
    """What a run with `--until-ci` had to know, as a sentence names it: `the ratio of total joules (on over off)`."""
    name, _, which = stopping.of.partition(", ")
    return f"the {name} ({which})" if which else f"the {name}"


def n_asked(two_phase: TwoPhase) -> str:
    """`12 of 40 queries measured`, where a two-phase run is not complete; empty where it is."""
    if two_phase.n_measured >= two_phase.n_planned:
        return ""
    return f"{two_phase.n_measured:,} of {two_phase.n_planned:,} queries measured"
