"""Everything of every request of a log, as columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.attributing.device_shares import DeviceShares
from harness.records import Finding, FindingCode

if TYPE_CHECKING:
    from harness.attribution.sharing.load import Load
    from harness.records import BoolArray, FloatArray
    from harness.request_log.rows import RequestLog
    from harness.store.attributed import Column
    from harness.store.trace_reading import Trace


@dataclass(frozen=True, kw_only=True)  # no slots: what is asked for more than once is kept
class RequestTable:
    """Everything of every request, in the order of the log."""

    trace: Trace
    log: RequestLog
    load: Load
    own: Sequence[DeviceShares]
    """Those of the boundary."""
    devices: Sequence[DeviceShares]
    lone: BoolArray

    @cached_property
    def energy_j(self) -> FloatArray:
        """By tokens, gross, of all devices of the boundary."""
        total: FloatArray = np.sum([device.energy_j for device in self.own], axis=0)
        return total

    @cached_property
    def energy_equal_j(self) -> FloatArray:
        """In equal parts."""
        total: FloatArray = np.sum(
            [np.where(device.known, device.shares.energy_equal_j, np.nan) for device in self.own], axis=0
        )
        return total

    @cached_property
    def energy_net_j(self) -> FloatArray:
        """Above idle, by tokens."""
        total: FloatArray = np.sum([device.energy_net_j for device in self.own], axis=0)
        return total

    @cached_property
    def half_width_j(self) -> FloatArray:
        """Of `energy_j`, by sensor and clock."""
        return _root([device.half_width_j for device in self.own])

    @cached_property
    def net_half_width_j(self) -> FloatArray:
        """Of `energy_net_j`."""
        return _root([device.net_half_width_j for device in self.own])

    @cached_property
    def duration_first_token_s(self) -> FloatArray:
        """NaN where the log does not say when the first token came."""
        known = np.fromiter((row.time_first_token_s is not None for row in self.log.rows), np.bool_, len(self.load))
        return np.where(known, self.load.time_prefilled_s - self.load.time_start_s, np.nan)

    @cached_property
    def phases_j(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Energy and half-width of each phase; NaN where the log does not say when the one became the other."""
        load, rows = self.load, np.arange(len(self.load))
        known = np.all([device.known for device in self.own], axis=0) & ~np.isnan(self.duration_first_token_s)
        found = {}
        for name, start_s, end_s in (
            ("prefill", load.time_start_s, load.time_prefilled_s),
            ("decode", load.time_prefilled_s, load.time_end_s),
        ):
            parts = [device.shares.between(rows, start_s, end_s) for device in self.own]
            energy_j: FloatArray = np.sum([part[0] for part in parts], axis=0)
            half_width_j = _root([part[1] for part in parts])
            found[name] = np.where(known, energy_j, np.nan), np.where(known, half_width_j, np.nan)
        return found

    @cached_property
    def states(self) -> dict[str, BoolArray]:
        """Which rows ended how."""
        names = [row.state for row in self.log.rows]
        return {
            state: np.fromiter((name == state for name in names), np.bool_, len(names))
            for state in ("ok", "failed", "warm_up")
        }

    @cached_property
    def n_prompt_tokens(self) -> FloatArray:
        """NaN where the log does not say."""
        return _counts(row.n_prompt_tokens for row in self.log.rows)

    @cached_property
    def n_output_tokens(self) -> FloatArray:
        """NaN where the log does not say."""
        return _counts(row.n_output_tokens for row in self.log.rows)

    def findings(self) -> list[Finding]:
        """What the requests leave open that no device does."""
        if np.isnan(self.n_output_tokens[self.states["ok"]]).any():
            return [Finding(code=FindingCode.NO_USAGE, detail="of some requests the log has no output tokens")]
        return []

    def notes(self) -> tuple[str, ...]:
        """What the log leaves open of its own times."""
        n_instants = int(np.sum((self.load.time_end_s <= self.load.time_start_s) & self.states["ok"]))
        if not n_instants:
            return ()
        note = (
            f"{n_instants:,} answered requests end when they start, by the log: its times are too coarse for them, and "
            "their energy is unknown. What they drew is in the shares of others, or nobody's. Log milliseconds."
        )
        return (note,)

    def columns(self) -> dict[str, Column]:
        """One row a request. Every energy is a share: `attribution` says by which rule."""
        rows, load = self.log.rows, self.load
        zero_s = self.trace.origin_monotonic_s
        prefill_j, prefill_half_width_j = self.phases_j["prefill"]
        decode_j, decode_half_width_j = self.phases_j["decode"]
        found: dict[str, Column] = {
            "request_id": [row.request_id for row in rows],
            "group": [row.group for row in rows],
            "state": [row.state for row in rows],
            "error": [row.error for row in rows],
            "time_start_unix_s": load.time_start_s + zero_s + self.trace.offset_unix_s,
            "time_start_monotonic_s": load.time_start_s + zero_s,
            "duration_s": load.time_end_s - load.time_start_s,
            "duration_first_token_s": self.duration_first_token_s,
            "n_prompt_tokens": _whole(self.n_prompt_tokens),
            "n_output_tokens": _whole(self.n_output_tokens),
            "attribution": ["shared_tokens"] * len(rows),
            "alone": self.lone,
            "energy_gross_j": self.energy_j,
            "energy_gross_half_width_j": self.half_width_j,
            "energy_shared_equal_j": self.energy_equal_j,
            "energy_net_j": self.energy_net_j,
            "energy_net_half_width_j": self.net_half_width_j,
            "energy_prefill_j": prefill_j,
            "energy_prefill_half_width_j": prefill_half_width_j,
            "energy_decode_j": decode_j,
            "energy_decode_half_width_j": decode_half_width_j,
            "duration_share_s": self.own[0].shares.duration_share_s,
        }
        if len(self.devices) > 1:
            for device in self.devices:
                found[f"energy_gross_j:{device.curve.channel.device}"] = device.energy_j
        return found


def _counts(counts: Iterable[int | None]) -> FloatArray:
    return np.array([math.nan if count is None else count for count in counts], dtype=np.float64)


def _root(columns: Sequence[FloatArray]) -> FloatArray:
    root: FloatArray = np.sqrt(np.sum(np.square(columns), axis=0))
    return root


def _whole(counts: FloatArray) -> list[int | None]:
    return [None if math.isnan(count) else int(count) for count in counts.tolist()]
