"""From a run to what the footprint starts from: each mode's joules and seconds, and what was measured beside them.

Host and wall are taken as joules per joule of the headline, over the same queries.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.figures import figures_in
from harness.errors import InvalidMeasurement, UnknownName
from harness.footprint.spread import Spread, from_deviations
from harness.footprint.subject import RUNS, Subject, joined, parts_of
from harness.records import (
    Boundary,
    Estimate,
    ExternalMeter,
    Method,
    ModeSummary,
    NodeGain,
    QueryColumns,
    RunManifest,
    Summary,
)
from harness.report.compared import not_as_called, reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One cell at one site: its summary, and the queries and the manifest behind it."""

    summary: Summary
    columns: QueryColumns
    manifest: RunManifest


def subjects_of(measured: Measured, modes: Sequence[str] = ()) -> tuple[tuple[Subject, ...], tuple[str, ...]]:
    """The modes of a cell whose joules can be carried on, and why others cannot.

    Args:
        measured: The cell.
        modes: Only these; none: all.

    Raises:
        UnknownName: A mode that the cell does not have.
        InvalidMeasurement: No mode can, or one that was asked for cannot.
    """
    summary = measured.summary
    if summary.two_phase is not None:
        raise InvalidMeasurement(
            f"{summary.run_id} is two-phase: its joules per query are a law's, and are not carried further.",
            "Measure every prompt one by one: leave --two-phase out.",
        )
    names = [mode.mode for mode in summary.modes]
    for mode in modes:
        if mode not in names:
            raise UnknownName("mode", mode, names)
    wanted = [mode for mode in summary.modes if not modes or mode.mode in modes]
    doubts = {mode.mode: _why_not(summary, mode) for mode in wanted}
    left_out = [f"{mode} is left out: {why}" for mode, why in doubts.items() if why]
    if left_out and (modes or len(left_out) == len(wanted)):
        raise InvalidMeasurement(" ".join(left_out), "`harness report` has the findings and what to do about them.")
    if not wanted:
        raise InvalidMeasurement(f"{summary.run_id} has no mode with an answered query.", "Resume the run.")
    hosts = _host(measured)
    subjects = [_subject(measured, mode, hosts.get(mode.mode)) for mode in wanted if not doubts[mode.mode]]
    return tuple(subjects), tuple(left_out)


def repeats_of(measured: Sequence[Measured]) -> list[list[Measured]]:
    """Cells that are repeats of each other at one site, together; in the order of the run."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        cell = one.summary.cell.model_copy(update={"repeat": 0})
        groups.setdefault((cell.cell_id, one.summary.site_id), []).append(one)
    return list(groups.values())


def pooled(repeats: Sequence[Sequence[Subject]]) -> tuple[Subject, ...]:
    """The mean over the repeats of one cell, of each mode that all of them have.

    A repeat's run-to-run half-width, in joules, says how far one more run may lie from the mean of n; the mean itself
    is known sqrt(n + 1) times better. The other parts are the same in every repeat: prompts and sensor do not change.
    """
    by_mode = [{subject.mode: subject for subject in repeat} for repeat in repeats]
    shared = [mode for mode in by_mode[0] if all(mode in each for each in by_mode)]
    return tuple(_mean([each[mode] for each in by_mode]) for mode in shared)


def _mean(peers: Sequence[Subject]) -> Subject:
    first, n = peers[0], len(peers)
    if n == 1:
        return first
    mean_j = statistics.fmean(peer.energy_j for peer in peers)
    parts = []
    for name, part in first.parts:
        if name == RUNS:
            half_width_j = first.energy_j * math.expm1(part.log_deviations[1])
            part = _with_half_width(1.0, half_width_j / math.sqrt(n + 1) / mean_j)
        parts.append((name, part))
    return replace(
        first,
        energy_j=mean_j,
        parts=tuple(parts),
        duration=_mean_of([peer.duration for peer in peers]),
        host_per_board=_mean_of([peer.host_per_board for peer in peers]),
        node_per_board=_mean_of([peer.node_per_board for peer in peers]),
    )


def _mean_of(spreads: Sequence[Spread | None]) -> Spread | None:
    """The mean, with the first one's range; unknown where one is."""
    known = [each for each in spreads if each is not None]
    if len(known) < len(spreads):
        return None
    return from_deviations(statistics.fmean(each.value for each in known), *known[0].log_deviations)


def _why_not(summary: Summary, mode: ModeSummary) -> str:
    found = not_as_called(summary).get(mode.mode, ())
    if found:
        return f"it is not what it is called. {reasons(found)}"
    if mode.energy_j.value is None or mode.energy_j.value <= 0:
        return "its joules per query are unknown."
    return ""


def _subject(measured: Measured, mode: ModeSummary, host_per_board: Spread | None) -> Subject:
    summary = measured.summary
    if mode.energy_j.value is None:
        raise InvalidMeasurement("The joules per query are unknown.", "`harness report` says why.")
    parts, unknown = ((), ()) if summary.estimated else parts_of(mode.energy_j)
    boards = {
        channel.device
        for channel in measured.manifest.channels
        if channel.makes_energy and channel.boundary is Boundary.GPU_BOARD
    }
    node_per_board, node_source = _node(summary, mode, host_per_board)
    task = summary.cell.task
    return Subject(
        mode=mode.mode if task is None else task.replace("-", " "),
        energy_j=mode.energy_j.value,
        parts=parts,
        unknown=unknown,
        duration=_duration(mode.duration_s),
        boundary=summary.headline,
        estimated=summary.estimated,
        n_boards=len(boards),
        host_per_board=host_per_board,
        node_per_board=node_per_board,
        node_source=node_source,
        is_alone=not summary.cell.overlaps,
    )


def _duration(estimate: Estimate) -> Spread | None:
    if estimate.value is None or estimate.value <= 0:
        return None
    parts, _ = parts_of(estimate)
    return joined(estimate.value, [part for _, part in parts])


def _host(measured: Measured) -> dict[str, Spread]:
    """By mode: joules of the host beside the boards, per joule of theirs; only where a sensor measured both.

    What the curve assumes of an edge is wrong the same way for each query, so half-widths add up. A gain that nobody
    knows is not in the range.
    """
    channels = [channel for channel in measured.manifest.channels if channel.makes_energy]
    hosts = [channel for channel in channels if channel.boundary is Boundary.HOST]
    headline = measured.summary.headline
    if headline is not Boundary.GPU_BOARD or not hosts or any(each.method is Method.ESTIMATED for each in hosts):
        return {}
    board, host = (figures_in(measured.columns, boundary) for boundary in (Boundary.GPU_BOARD, Boundary.HOST))
    gains = {(channel.device, channel.method): channel.gain_half_width or 0.0 for channel in hosts}
    found = {}
    for mode in board.mode.names:
        wanted = board.in_mode(mode).measured
        board_j, beside = board.in_mode(mode).energy_j[wanted], host.in_mode(mode)
        host_j, half_widths_j = beside.energy_j[wanted], beside.energy_half_width_j[wanted]
        total_j = float(board_j.sum())
        if total_j <= 0 or not host_j.sum() > 0 or np.isnan(half_widths_j).any():  # the sum of an unknown is unknown
            continue
        moved_j = [
            gains.get(device, 0.0) * float(energy_j[wanted].sum()) for device, energy_j in beside.by_device_j.items()
        ]
        error_j = math.hypot(float(half_widths_j.sum()), *moved_j)
        found[mode] = _with_half_width(float(host_j.sum()) / total_j, error_j / total_j)
    return found


def _node(summary: Summary, mode: ModeSummary, host_per_board: Spread | None) -> tuple[Spread | None, str]:
    """Joules at the wall per joule of the headline, and where that is from.

    The queries themselves where the log resolves each of them; else the machine's gain and what it draws beside; else
    those queries that are long enough.
    """
    resolved = _resolved(summary, mode)
    if resolved is not None and resolved[1] == resolved[2]:
        return resolved[0], "wall meter, over the same queries"
    for external in reversed(summary.external):
        by_gain = _by_gain(external, summary.headline, mode, host_per_board)
        if by_gain is not None:
            return by_gain, "wall meter: the machine's gain, and what it draws beside its boards"
    if resolved is not None:
        return resolved[0], f"wall meter, over the {resolved[1]} of {resolved[2]} queries that it resolves"
    return None, ""


def _resolved(summary: Summary, mode: ModeSummary) -> tuple[Spread, int, int] | None:
    """The ratio over the resolved queries, how many those are, and of how many."""
    own = [each for external in summary.external for each in external.modes if each.mode == mode.mode]
    known = [each for each in own if each.energy_node_j and each.energy_board_j]
    board_j = math.fsum(each.energy_board_j or 0.0 for each in known)
    if not known or summary.headline is not Boundary.GPU_BOARD:
        return None
    node_j = math.fsum(each.energy_node_j or 0.0 for each in known)
    half_width_j = math.fsum(each.energy_node_half_width_j or 0.0 for each in known)
    n_resolved, n_queries = sum(each.n_resolved for each in known), sum(each.n_queries for each in own)
    return _with_half_width(node_j / board_j, half_width_j / board_j), n_resolved, n_queries


def _by_gain(
    external: ExternalMeter, headline: Boundary, mode: ModeSummary, host_per_board: Spread | None
) -> Spread | None:
    """Base power over the query's seconds, and the gain on what the sensor saw."""
    gain, energy_j, duration_s = external.gain, mode.energy_j.value, mode.duration_s.value
    if gain is None or not energy_j or duration_s is None:
        return None
    host = _host_part(gain, host_per_board) if headline is Boundary.GPU_BOARD else (0.0, 0.0)
    expected = {Boundary.GPU_BOARD: (Boundary.GPU_BOARD.value, Boundary.GPU_BOARD_AND_HOST.value)}
    if external.reference not in expected.get(headline, (headline.value,)) or host is None:
        return None
    seconds_per_j = duration_s / energy_j
    value = gain.power_base_w * seconds_per_j + gain.gain + host[0]
    half_width = math.hypot(gain.power_base_half_width_w * seconds_per_j, gain.gain_half_width, host[1])
    return _with_half_width(value, half_width) if value > 0 else None


def _host_part(gain: NodeGain, host_per_board: Spread | None) -> tuple[float, float] | None:
    """The host's watts at the wall; None where the gain needs the host's joules and they are not there."""
    if gain.gain_host is None:
        return 0.0, 0.0
    if host_per_board is None:
        return None
    return gain.gain_host * host_per_board.value, (gain.gain_host_half_width or 0.0) * host_per_board.value


def _with_half_width(value: float, half_width: float) -> Spread:
    distance = math.log1p(half_width / value)
    return from_deviations(value, distance, distance)
