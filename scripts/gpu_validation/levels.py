"""The counter against integrated instantaneous power, at several steady levels."""

from __future__ import annotations

from collections.abc import Sequence

from .bench import Bench
from .streams import Stream, Stretch
from .verdicts import Claim, Figure, Judgement, Ruling, Table, below, mean_with_half_width

AGREE = Claim(
    "counter_agrees_with_power", "Under steady loads the counter and integrated instantaneous power agree within 2 %."
)
SIZES = (512, 1024, 2048, 8192)
SIZES_TINY = (48, 96)
LEVEL_S = 4.0
RISE_S = 1.0
"""Left out at a level's start: clocks rise, and a reading that is a mean over 1 s still shows what was before."""
N_BLOCKS = 6
LIMIT = 0.02


def run(bench: Bench, duration_s: float) -> None:
    """Products of growing size, each for some seconds without a pause."""
    sizes = SIZES_TINY if bench.tiny else SIZES
    level_s = min(LEVEL_S, duration_s / (len(sizes) + 1))
    bench.pause(min(1.0, level_s / 2))
    for size in sizes:
        work = bench.work(size)
        start_s = bench.now_s()
        n_products = bench.busy_until_s(work, start_s + level_s)
        bench.did("level", start_s, bench.now_s(), size=float(size), n_products=float(n_products))
        bench.pause(level_s / 8)


def judge(stream: Stream, schedule: Sequence[Stretch]) -> Judgement:
    """The ratio at each level, with an interval from its scatter over blocks of time."""
    rows: list[tuple[float | None, ...]] = []
    ratios: list[tuple[float, float | None]] = []
    for level in schedule:
        start_s = level.time_start_s + min(RISE_S, (level.time_end_s - level.time_start_s) / 3)
        blocks = _blocks(stream, start_s, level.time_end_s)
        power_w = stream.power_mean_w(start_s, level.time_end_s)
        counter_w = stream.counter_mean_w(start_s, level.time_end_s)
        ratio, half_width = mean_with_half_width(blocks) if blocks else (None, None)
        if ratio is not None:
            ratios.append((ratio, half_width))
        rows.append((level.number("size"), counter_w, power_w, ratio, half_width))
    table = Table(
        name="levels",
        title="Counter against integrated instantaneous power, steady loads",
        columns=("matrix size", "counter, W", "instantaneous power, W", "ratio", "half-width of the ratio"),
        rows=tuple(rows),
    )
    if not ratios:
        return Judgement(
            (AGREE.ruled("levels", Ruling.UNDECIDED, "There is no counter, or no power to compare."),), (table,)
        )
    rulings = [below(abs(ratio - 1.0), half_width, LIMIT) for ratio, half_width in ratios]
    if Ruling.REFUTED in rulings:
        ruling = Ruling.REFUTED
    else:
        ruling = Ruling.CONFIRMED if set(rulings) == {Ruling.CONFIRMED} else Ruling.UNDECIDED
    mean, half_width = mean_with_half_width([ratio for ratio, _ in ratios])
    worst = max(ratios, key=lambda pair: abs(pair[0] - 1.0))
    sentence = (
        f"Counter over power at {len(ratios)} levels: {', '.join(f'{ratio:.3f}' for ratio, _ in ratios)}; "
        f"the furthest is off by {worst[0] - 1.0:+.1%}."
    )
    verdict = AGREE.ruled(
        "levels",
        ruling,
        sentence,
        Figure(name="ratio_counter_to_power", value=mean, unit="1", half_width=half_width),
        Figure(name="ratio_furthest", value=worst[0], unit="1", half_width=worst[1]),
    )
    return Judgement((verdict,), (table,))


def _blocks(stream: Stream, start_s: float, end_s: float) -> list[float]:
    """Counter over power, block by block, each from tick to tick."""
    length_s = (end_s - start_s) / N_BLOCKS
    ratios = []
    for number in range(N_BLOCKS):
        found = stream.between_ticks(start_s + number * length_s, start_s + (number + 1) * length_s)
        if found is None:
            continue
        power_w = stream.power_mean_w(found[0], found[1])
        if power_w:
            ratios.append(found[2] / (found[1] - found[0]) / power_w)
    return ratios
