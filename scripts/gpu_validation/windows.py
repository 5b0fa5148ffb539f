"""The same matrix product in short and in long windows: does a short window give the same joules per product?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.bootstrap import wilson_interval

from .bench import Bench
from .streams import Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table, Verdict

AGREE = Claim(
    "short_windows_agree",
    "Joules per product from short windows agree with the longest (5 s if time allows) within their half-widths.",
)
CLOSER = Claim(
    "closer_than_plain_counter",
    "Short windows by this meter are closer to the longest ones than plain counter differences are.",
)
PLAN = ((0.05, 8), (0.1, 8), (0.2, 8), (0.5, 5), (1.0, 4), (5.0, 2))
"""Seconds and repeats."""
PAUSE_S = 0.45
SHARE_INSIDE = 0.9


def run(bench: Bench, duration_s: float) -> None:
    """Windows of all lengths in a random order, at random phases, each alone; all are read at the end."""
    nominal_s = sum((length_s + PAUSE_S) * n for length_s, n in PLAN)
    share = min(1.0, duration_s / (nominal_s * 1.15))
    work = bench.work()
    bench.busy_until_s(work, bench.now_s() + min(1.0, 0.05 * duration_s))
    per_product_s = work.duration_product_s(min(0.5, 0.05 * duration_s))
    # With less time there are fewer windows, and the longest ones are shorter.
    lengths = [
        round(min(length_s, max(0.2, 5.0 * share)), 2) for length_s, n in PLAN for _ in range(max(1, round(n * share)))
    ]
    bench.random.shuffle(lengths)
    with bench.meter() as meter:
        windows = []
        try:
            for length_s in lengths:
                bench.pause(PAUSE_S * (0.6 + 0.8 * float(bench.random.random())) * max(share, 0.4))
                n_products = max(1, round(length_s / per_product_s))
                start_s = bench.now_s()
                with meter.span("window") as span:
                    work.products(n_products)
                windows.append((length_s, n_products, start_s, bench.now_s(), span))
        finally:  # also after Ctrl-C: what was measured is read
            bench.pause(0.3)
            for length_s, n_products, start_s, end_s, span in windows:
                reading = meter.read(span)
                bench.did(
                    "window",
                    start_s,
                    end_s,
                    length_s=length_s,
                    n_products=float(n_products),
                    energy_j=reading.energy_gross_j,
                    energy_half_width_j=reading.energy_gross_half_width_j,
                    findings=" ".join(finding.code.value for finding in reading.findings),
                )


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:
    """Each short window against the longest ones."""
    windows = [stretch for stretch in schedule if stretch.name == "window"]
    longest_s = max(window.number("length_s") for window in windows)
    known = [window for window in windows if _energy(window) is not None]
    long = [window for window in known if window.number("length_s") == longest_s]
    short = [window for window in known if window.number("length_s") < longest_s]
    if not long or not short:
        words = "No long window, or no short one, has an energy."
        return Judgement(tuple(claim.ruled("windows", Ruling.UNDECIDED, words) for claim in (AGREE, CLOSER)))
    reference_j = float(np.mean([_per_product(window)[0] for window in long]))
    reference_half_width_j = max(_per_product(window)[1] for window in long)
    n_inside = n_closer = n_compared = 0
    for window in short:
        energy_j, half_width_j = _per_product(window)
        n_inside += abs(energy_j - reference_j) <= half_width_j + reference_half_width_j
        plain_j = _plain_per_product(stream, window)
        if plain_j is not None:
            n_compared += 1
            n_closer += abs(energy_j - reference_j) < abs(plain_j - reference_j)
    table = Table(
        name="windows",
        title="Joules per product by the length of the window",
        columns=(
            "window, s",
            "windows",
            "null",
            "this meter, J",
            "mean half-width, J",
            "mean distance from the longest",
            "plain counter, J",
            "mean distance from the longest, plain counter",
        ),
        rows=tuple(
            _row(stream, windows, length_s, reference_j)
            for length_s in sorted({window.number("length_s") for window in windows})
        ),
    )
    reference = Figure(name="energy_per_product", value=reference_j, unit="J", half_width=reference_half_width_j)
    return Judgement(
        (_agree(n_inside, len(short), longest_s, reference), _closer(n_closer, n_compared, reference)), (table,)
    )


def _agree(n_inside: int, n: int, longest_s: float, reference: Figure) -> Verdict:
    interval = wilson_interval(n_inside, n)
    share = n_inside / n
    if interval.high is None:
        ruling = Ruling.UNDECIDED
    elif interval.high < SHARE_INSIDE:
        ruling = Ruling.REFUTED
    else:
        ruling = Ruling.CONFIRMED if share >= SHARE_INSIDE else Ruling.UNDECIDED
    sentence = f"{n_inside} of {n} windows agree with those of {longest_s:g} s within the half-widths."
    return AGREE.ruled("windows", ruling, sentence, Figure(name="share_inside", value=share, unit="1"), reference)


def _closer(n_closer: int, n: int, reference: Figure) -> Verdict:
    if n == 0:
        return CLOSER.ruled("windows", Ruling.UNDECIDED, "There is no counter to compare with.")
    interval = wilson_interval(n_closer, n)
    if interval.low is not None and interval.low > 0.5:
        ruling = Ruling.CONFIRMED
    elif interval.high is not None and interval.high < 0.5:
        ruling = Ruling.REFUTED
    else:
        ruling = Ruling.UNDECIDED
    return CLOSER.ruled(
        "windows",
        ruling,
        f"This meter is closer in {n_closer} of {n} windows.",
        Figure(name="share_closer", value=n_closer / n, unit="1"),
        reference,
    )


def _row(stream: Stream, windows: Sequence[Stretch], length_s: float, reference_j: float) -> tuple[float | None, ...]:
    some = [window for window in windows if window.number("length_s") == length_s]
    ours = [_per_product(window) for window in some if _energy(window) is not None]
    plain = [value for window in some if (value := _plain_per_product(stream, window)) is not None]
    return (
        length_s,
        float(len(some)),
        float(len(some) - len(ours)),
        float(np.mean([energy_j for energy_j, _ in ours])) if ours else None,
        float(np.mean([half_width_j for _, half_width_j in ours])) if ours else None,
        float(np.mean([abs(energy_j - reference_j) for energy_j, _ in ours])) / reference_j if ours else None,
        float(np.mean(plain)) if plain else None,
        float(np.mean([abs(value - reference_j) for value in plain])) / reference_j if plain else None,
    )


def _energy(window: Stretch) -> float | None:
    value = window.facts["energy_j"]
    return float(value) if isinstance(value, int | float) and window.facts["energy_half_width_j"] is not None else None


def _per_product(window: Stretch) -> tuple[float, float]:
    n_products = window.number("n_products")
    return window.number("energy_j") / n_products, window.number("energy_half_width_j") / n_products


def _plain_per_product(stream: Stream, window: Stretch) -> float | None:
    """What the difference of two reads of the counter at the window's edges gives."""
    start_j, end_j = stream.shown_j(window.time_start_s), stream.shown_j(window.time_end_s)
    return None if start_j is None or end_j is None else (end_j - start_j) / window.number("n_products")
