#!/usr/bin/env python3
"""How often a query's interval holds the truth when the board's power follows the queries. Simulated, in seconds.

    python scripts/check_inference_load.py

200 queries a row: a prefill at 650 W for 30 to 50 ms, then 380 W, then 70 W until the next query. Work may begin late
after its edge, and power may linger after the end. An exact counter ticks every 100 ms and is caught within 1 ms.
Printed: mean absolute error and mean half-width of a query, the share of truths inside, and for the sum of all
queries its error and its half-width.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.meter.meter import rebuilt, with_marks
from harness.records import Boundary, Channel, Method, Quantity, Segment

BOARD = Channel(device="GPU", boundary=Boundary.GPU_BOARD, method=Method.NVML_COUNTER, quantity=Quantity.ENERGY_J)
N_QUERIES, TICK_S, BRACKET_S = 200, 0.1, 0.001
IDLE_W, PREFILL_W, DECODE_W = 70.0, 650.0, 380.0


def main() -> None:
    print("query, s  gap, s      late, s  linger, s  error  half-width  inside  sum: error  half-width")
    for length_s, gap_s, (late_s, linger_s) in product(
        (0.5, 1.0), ((0.03, 0.06), (0.05, 0.1), (0.3, 0.6)), ((0.0, 0.0), (0.003, 0.0), (0.0, 0.03))
    ):
        row(length_s, gap_s, late_s, linger_s)


def row(length_s: float, gap_range_s: tuple[float, float], late_s: float, linger_s: float) -> None:
    rng = np.random.default_rng(0)
    knots, energies, spans, time_s = [0.0], [0.0], [], 2.0
    for _ in range(N_QUERIES):
        duration_s, prefill_s = length_s * rng.uniform(0.7, 1.3), rng.uniform(0.03, 0.05)
        gap_s = max(rng.uniform(*gap_range_s), linger_s + 0.001)
        end_s = time_s + duration_s
        steps = ((time_s + late_s, IDLE_W), (time_s + late_s + prefill_s, PREFILL_W), (end_s + linger_s, DECODE_W))
        for until_s, power_w in steps:
            energies.append(energies[-1] + power_w * (until_s - knots[-1]))
            knots.append(until_s)
        spans.append((time_s, time_s + prefill_s, end_s))
        time_s = end_s + gap_s
    knots.append(time_s + 2.0)
    energies.append(energies[-1] + IDLE_W * (knots[-1] - knots[-2]))
    ticks_s = np.arange(rng.uniform(0.0, TICK_S), knots[-1], TICK_S)
    before_s = ticks_s - BRACKET_S * rng.random(len(ticks_s))
    segment = Segment(
        channel=np.zeros(len(ticks_s), dtype=np.int64),
        time_before_s=before_s,
        time_after_s=before_s + BRACKET_S,
        value=np.round(np.interp(ticks_s, knots, energies), 3),
    )
    (curve,) = rebuilt([BOARD], [with_marks(segment, [edge_s for span in spans for edge_s in span])])
    starts_s, _, ends_s = np.array(spans).T
    truth_j = np.interp(ends_s, knots, energies) - np.interp(starts_s, knots, energies)
    error_j = np.array([curve.energy_j(start_s, end_s) for start_s, _, end_s in spans]) - truth_j
    width_j = np.array([curve.half_width_j(start_s, end_s) for start_s, _, end_s in spans], dtype=float)
    print(
        f"{length_s:8g}  {gap_range_s[0]:g} to {gap_range_s[1]:<4g}  {late_s:7g}  {linger_s:9g}  "
        f"{np.mean(np.abs(error_j) / truth_j):5.2%}  {np.mean(width_j / truth_j):10.2%}  "
        f"{np.mean(np.abs(error_j) <= width_j):6.1%}  {error_j.sum() / truth_j.sum():+10.2%}  "
        f"{width_j.sum() / truth_j.sum():10.2%}"
    )


if __name__ == "__main__":
    main()
