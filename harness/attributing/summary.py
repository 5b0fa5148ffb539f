"""What a table of attributed requests comes to: the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

import harness
from harness.attributing.device_shares import DeviceShares, span_of
from harness.attributing.load import in_flight
from harness.attributing.request_table import RequestTable
from harness.attributing.wanted import Wanted
from harness.attribution.exclusive import read
from harness.attribution.sharing.shares import unattributed_j
from harness.attribution.total import BEST_FIRST
from harness.records import Boundary, TokenWeights
from harness.report.attributed import AttributionReport, DeviceFigures, Percentiles, RuleFigures
from harness.units import J_PER_WH

if TYPE_CHECKING:
    from harness.attribution.sharing.load import Load
    from harness.records import BoolArray, FloatArray


def report_of(wanted: Wanted, table: RequestTable, weights: TokenWeights, boundary: Boundary) -> AttributionReport:
    """The figures of all requests; what there is to doubt is not in it yet."""
    load, own = table.load, table.own
    answered = table.states["ok"]
    energy_j = table.energy_j
    counted = answered & ~np.isnan(energy_j)
    n_counted = int(np.sum(counted))
    figures = [_figures(device, load) for device in table.devices]
    of_boundary = [each for each in figures if each.boundary is boundary]
    drawn = [each.energy_drawn_j for each in of_boundary]
    drawn_j = None if None in drawn else math.fsum(each for each in drawn if each is not None)
    widths = [each.energy_drawn_half_width_j for each in of_boundary]
    spans = [span_of(device.curve, load) for device in own]
    start_s, end_s = max(span[0] for span in spans), min(span[1] for span in spans)
    inside = start_s <= load.time_start_s.min() and load.time_end_s.max() <= end_s
    amortised = drawn_j is not None and inside and answered.any()  # else what some of them drew is not in it
    zero_unix_s = table.trace.origin_monotonic_s + table.trace.offset_unix_s
    mean, most = in_flight(load)
    raw_j = np.sum([device.shares.energy_j for device in own], axis=0)
    baseline = [device.baseline for device in own]
    return AttributionReport(
        harness_version=harness.__version__,
        trace=wanted.trace.name,
        requests=wanted.requests.name,
        log=table.log.kind,
        clock=table.log.clock,
        clock_offset_s=wanted.clock_offset_s,
        n_queries=len(load),
        n_answered=int(np.sum(answered)),
        n_failed=int(np.sum(table.states["failed"])),
        n_warm_up=int(np.sum(table.states["warm_up"])),
        n_without_energy=int(np.sum(answered)) - n_counted,
        n_in_flight_mean=mean,
        n_in_flight_most=most,
        n_prompt_tokens=_sum(table.n_prompt_tokens[answered]),
        n_output_tokens=_sum(table.n_output_tokens[answered]),
        time_start_unix_s=start_s + zero_unix_s,
        time_end_unix_s=end_s + zero_unix_s,
        duration_s=end_s - start_s,
        boundary=boundary,
        method=max((device.curve.channel.method for device in own), key=BEST_FIRST.index),
        weights=weights,
        energy_drawn_j=drawn_j,
        energy_drawn_half_width_j=None
        if None in widths
        else math.hypot(*(each for each in widths if each is not None)),
        energy_shares_j=math.fsum(each.energy_shares_j for each in of_boundary),
        energy_unattributed_j=math.fsum(each.energy_unattributed_j for each in of_boundary),
        energy_answered_j=math.fsum(raw_j[answered]),
        energy_failed_j=math.fsum(raw_j[table.states["failed"]]),
        energy_warm_up_j=math.fsum(raw_j[table.states["warm_up"]]),
        energy_half_width_median_j=_median(table.half_width_j[counted]),
        energy_prefill_mean_j=_mean(table.phases_j["prefill"][0][counted]),
        energy_decode_mean_j=_mean(table.phases_j["decode"][0][counted]),
        energy_net_mean_j=_mean(table.energy_net_j[counted]),
        energy_net_mean_half_width_j=_mean(table.net_half_width_j[counted]),
        energy_amortised_j=drawn_j / int(np.sum(answered)) if drawn_j is not None and amortised else None,
        power_idle_w=None
        if None in baseline
        else math.fsum(each.power_idle_w for each in baseline if each is not None),
        rules=(
            _rule("shared_tokens", energy_j, counted, table),
            _rule("shared_equal", table.energy_equal_j, counted, table),
        ),
        first_token=_percentiles(table.duration_first_token_s[answered]),
        end_to_end=_percentiles((load.time_end_s - load.time_start_s)[answered]),
        devices=tuple(figures),
    )


def _figures(device: DeviceShares, load: Load) -> DeviceFigures:
    curve = device.curve
    start_s, end_s = span_of(curve, load)
    whole = read(curve, start_s, end_s) if end_s > start_s else None
    return DeviceFigures(
        device=curve.channel.device,
        boundary=curve.channel.boundary,
        method=curve.channel.method,
        energy_drawn_j=None if whole is None else whole.energy_gross_j,
        energy_drawn_half_width_j=None if whole is None else whole.energy_gross_half_width_j,
        energy_shares_j=math.fsum(device.shares.energy_j),
        energy_unattributed_j=unattributed_j(curve, load, start_s, end_s) if end_s > start_s else 0.0,
        power_idle_w=None if device.baseline is None else device.baseline.power_idle_w,
    )


def _rule(rule: str, energy_j: FloatArray, counted: BoolArray, table: RequestTable) -> RuleFigures:
    own_j, tokens = energy_j[counted], table.n_output_tokens[counted]
    mean_j = _mean(own_j)
    n_tokens = _sum(tokens)
    return RuleFigures.model_validate(
        {
            "rule": rule,
            "energy_mean_j": mean_j,
            "energy_median_j": _median(own_j),
            "energy_p95_j": float(np.percentile(own_j, 95)) if len(own_j) else None,
            "energy_wh_per_1000": None if mean_j is None else mean_j * 1000 / J_PER_WH,
            "energy_per_output_token_j": math.fsum(own_j) / n_tokens if n_tokens else None,
        }
    )


def _percentiles(durations_s: FloatArray) -> Percentiles | None:
    known_s = durations_s[~np.isnan(durations_s)]
    if not len(known_s):
        return None
    median_s, p95_s, p99_s = np.percentile(known_s, [50, 95, 99]).tolist()
    return Percentiles(median_s=median_s, p95_s=p95_s, p99_s=p99_s)


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return math.fsum(known) / len(known) if len(known) else None


def _median(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _sum(counts: FloatArray) -> int | None:
    """None where one of them is not known."""
    return None if not len(counts) or np.isnan(counts).any() else int(counts.sum())
