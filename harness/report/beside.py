"""What others say of the same session: an external meter, another program. Beside the figures, never in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records import Boundary, CrossCheck, ExternalMeter, Method, NodeGain, NodeMode, Reading, Summary
from harness.report.numbers import UNKNOWN, digits, half_width

WARNED = "it warned: "


def beside_lines(summary: Summary) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """(heading, labelled figures) of everything that was joined with the run; nothing where nothing was."""
    several = len(summary.external) > 1
    for external in summary.external:
        place = f", session {external.session}" if several else ""
        yield f"External meter {external.log}{place}, beside the figures above", tuple(_external(external))
    several = len(summary.cross_checks) > 1
    for check in summary.cross_checks:
        place = f", session {check.session}" if several else ""
        yield f"Cross-check by {check.tool} {check.version}{place}", tuple(_cross_check(check))


def _external(external: ExternalMeter) -> Iterator[tuple[str, str]]:
    if external.total is None:
        yield "the log could not be aligned with the load", UNKNOWN
        return
    yield "the whole machine over the session", _joules(external.total)
    for mode in external.modes:
        yield from _mode(mode)
    if external.gain is not None:
        yield from _gain(external.gain, external.reference)
    offset = f"{external.duration_offset_s or 0.0:+.1f} s {half_width(external.duration_offset_half_width_s)}"
    lag = f", smoothed over {digits(external.duration_lag_s, 2)} s" if external.duration_lag_s else ""
    correlation = f"correlation {external.correlation or 0.0:.3f} with {external.reference}"
    yield f"the log's clock against ours ({correlation}{lag})", offset
    yield from ((note, "") for note in external.notes)


def _mode(mode: NodeMode) -> Iterator[tuple[str, str]]:
    if mode.energy_node_j is None:
        yield f"one query, {mode.mode}: shorter than the log resolves", UNKNOWN
        return
    which = "" if mode.n_resolved == mode.n_queries else f", the {mode.n_resolved} of {mode.n_queries} long enough"
    width_j = mode.energy_node_half_width_j
    error = "" if width_j is None else f" {half_width(width_j / mode.n_resolved)}"
    board = "" if mode.energy_board_j is None else f" (boards {digits(mode.energy_board_j / mode.n_resolved)} J)"
    yield f"one query, {mode.mode}{which}", f"{digits(mode.energy_node_j / mode.n_resolved)} J{error}{board}"


def _gain(gain: NodeGain, reference: str) -> Iterator[tuple[str, str]]:
    what = "host" if reference == Boundary.HOST.value else "board"
    yield f"watts at the wall per {what} watt", f"{gain.gain:.3f} ± {gain.gain_half_width:.3f}"
    if gain.gain_host is not None:
        yield "watts at the wall per host watt", f"{gain.gain_host:.3f} ± {gain.gain_host_half_width or 0.0:.3f}"
    base = f"{digits(gain.power_base_w)} W {half_width(gain.power_base_half_width_w)}"
    yield "the rest of the machine", base


def _cross_check(check: CrossCheck) -> Iterator[tuple[str, str]]:
    boards = [reading for reading in check.own if reading.boundary is Boundary.GPU_BOARD]
    host = [reading for reading in check.own if reading.boundary is Boundary.HOST]
    over = f"over {digits((check.time_end_s or 0.0) - (check.time_start_s or 0.0))} s"
    if boards:
        yield _compared(
            f"{check.tool} says {_energy(check.energy_gpu_j)} for the GPU {over}", boards, check.energy_gpu_j
        )
    if host:
        estimated = any(reading.method is Method.ESTIMATED for reading in host)
        has_memory = estimated or any(reading.device.startswith("dram") for reading in host)
        other_j = check.energy_cpu_j
        if has_memory and other_j is not None and check.energy_memory_j is not None:
            other_j += check.energy_memory_j
        what = "CPU and memory" if has_memory else "CPU"
        said = f"{check.tool} {'estimates' if estimated else 'says'} {_energy(other_j)} for {what} {over}"
        yield _compared(said, host, other_j, ", an estimate as well" if estimated else "")
    # What it warned of while it looked at the machine is on disk; here the words for its figures are enough.
    yield from ((note, "") for note in check.notes if not note.startswith(WARNED))


def _compared(said: str, readings: Sequence[Reading], other_j: float | None, word: str = "") -> tuple[str, str]:
    """Both figures in one line, and the other's over ours."""
    known = [reading.energy_gross_j for reading in readings if reading.energy_gross_j is not None]
    if len(known) < len(readings):
        return f"{said}; this meter does not know", UNKNOWN
    own_j = sum(known)
    ratio = f"{digits(other_j / own_j)} ×" if other_j is not None and own_j > 0 else UNKNOWN
    return f"{said}, this meter {digits(own_j)} J{word}", ratio


def _joules(reading: Reading) -> str:
    error = reading.energy_gross_half_width_j
    return _energy(reading.energy_gross_j) + ("" if error is None else f" {half_width(error)}")


def _energy(energy_j: float | None) -> str:
    return UNKNOWN if energy_j is None else f"{digits(energy_j)} J"
