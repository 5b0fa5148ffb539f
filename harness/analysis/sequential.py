"""When a run with `--until-ci` may stop, and what its interval is worth then.

After each of at most ten looks at whole prompts the run stops if the relative half-width of its statistic is at most
the target. The statistic is the ratio of total joules (seconds, where joules are only estimated) of each mode over
the one that thinks least, and the widest of these intervals decides; with one mode, its mean.

A run that stops when its interval looks narrow stops a little too often where the spread came out small by chance, and
its plain 95 % interval then holds less. Every half-width of such a run is therefore widened by `inflation`, before it
is held against the target and when it is reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.bootstrap import FloatArray, ratio_interval
from harness.analysis.comparison import compared_modes
from harness.analysis.decomposition import log_share_tokens
from harness.analysis.figures import Figures, Queries, as_figures
from harness.records import Comparison, Estimate, Stopping

N_FIRST = 30
"""Prompts at the first look: with fewer, the spread is not known well enough to stop on."""
LOOKS_MOST = 10
STEP_LEAST = 1.15
"""A look at fewer prompts more than the last, relatively, could hardly decide otherwise."""
RATIO_INFLATION = 1.08
MEAN_INFLATION = 1.10
"""Found by `scripts/check_statistics.py --calibrate`: 20,000 studies of log-normal joules (log sd 0.3, 0.6, 0.9) that
stop at 5, 10, 15 or 20 %, at most 100, 400 or 1,000 prompts. These are the smallest factors, in steps of 0.02, with
which the interval at stopping held the truth in at least 95 % of the studies of every row. Without them the worst row
had 93.2 % (ratio) and 92.4 % (mean), both at 20 %; at 5 % they had 93.6 to 95.3 %.

An asymptotic confidence sequence (I. Waudby-Smith et al., Annals of Statistics 52, 2024) needs no simulation and holds
at every prompt instead of ten looks. Its factor is 1.55 at best and 2 to 3 far from the number it is tuned for: two to
four times the prompts.
"""


def looks(n_most: int) -> tuple[int, ...]:
    """How many prompts have been asked at each look.

    Args:
        n_most: Prompts that the run asks at most.

    Returns:
        At most `LOOKS_MOST` counts, growing by an even factor from `N_FIRST` to `n_most`; below `N_FIRST`, one look
        at the end.
    """
    if n_most <= N_FIRST:
        return (n_most,)
    growth = math.log(n_most / N_FIRST)
    n_steps = max(1, min(LOOKS_MOST - 1, int(growth / math.log(STEP_LEAST))))
    return tuple(round(N_FIRST * math.exp(growth * step / n_steps)) for step in range(n_steps + 1))


def inflation(n_most: int, *, one_mode: bool = False) -> float:
    """The factor on every half-width of a run that may stop at a look; 1 where there is only the last one.

    Args:
        n_most: Prompts that the run asks at most.
        one_mode: Whether the statistic is a mean instead of a ratio.
    """
    if len(looks(n_most)) < 2:
        return 1.0
    return MEAN_INFLATION if one_mode else RATIO_INFLATION


def stopping_of(
    queries: Mapping[str, Queries],
    *,
    modes: Sequence[str],
    target: float,
    n_most: int,
    asked: Sequence[str],
    estimated: bool,
) -> Stopping:
    """How far a run has come, from the queries that it has so far; the same live and afterwards.

    Args:
        queries: Answered, by mode.
        modes: Of the run.
        target: Relative half-width at which it stops.
        n_most: Prompts that it asks at most.
        asked: Ids of the prompts that were asked in every mode, in the run's order, failed ones included.
        estimated: Whether the joules are a hardware model's; then seconds decide.

    Returns:
        Every look that these prompts reach, and what was saved if one of them settled it.
    """
    figures = {mode: as_figures(queries.get(mode, ())) for mode in modes}
    costs = {mode: _costs(figures[mode], asked, estimated) for mode in modes}
    pair = compared_modes(modes)
    factor = inflation(n_most, one_mode=pair is None)
    reached = [n for n in looks(n_most) if n <= len(asked)]
    half_widths = [_widest(costs, n, base=None if pair is None else pair[1], factor=factor) for n in reached]
    settled = any(half_width is not None and half_width <= target for half_width in half_widths)
    n_saved = n_most - len(asked) if settled else 0
    unit = "seconds" if estimated else "joules"
    if pair is None:
        of = f"mean {unit} per query"
    else:
        others = ", ".join(mode for mode in modes if mode != pair[1])
        of = f"ratio of total {unit}, {others} over {pair[1]}"
    return Stopping(
        target=target,
        of=of,
        n_prompts=len(asked),
        n_prompts_most=n_most,
        looks=tuple(zip(reached, half_widths, strict=True)),
        settled=settled,
        saved_s=_saved([each.duration_s for each in figures.values()], len(asked), n_saved),
        saved_j=_saved([each.energy_j for each in figures.values()], len(asked), n_saved),
    )


def widened(estimate: Estimate, factor: float, *, signed: bool = False, bound_of: Estimate | None = None) -> Estimate:
    """The estimate with its interval over prompts widened about the value; the other parts stay.

    Args:
        estimate: A ratio or a positive mean, whose ends move on the log scale; a difference if `signed`.
        factor: Of `inflation`.
        signed: Whether it may have either sign.
        bound_of: Where there is no value but a lower bound: the positive mean, as yet not widened, in whose lower end
            it is a multiple. Without it such a bound is dropped, for nothing says by how much it would move.
    """
    value = estimate.value
    if value is None:
        return (
            estimate
            if estimate.low is None
            else estimate.model_copy(update={"low": _bound(estimate, factor, bound_of)})
        )
    ends = {
        name: end if end is None else _moved(value, end, factor, signed)
        for name, end in (("low", estimate.low), ("high", estimate.high))
    }
    return estimate.model_copy(update=ends)


def widened_comparison(comparison: Comparison, factor: float) -> Comparison:
    """The comparison of a run that may have stopped early: every interval over prompts widened.

    Args:
        comparison: As of a run with a fixed number of prompts.
        factor: Of `inflation`.

    Returns:
        The share of the tokens is null where the widened interval of the ratio holds 1, and the smallest difference
        that could be told is that of the wider interval.
    """
    energy, accuracy = comparison.energy, comparison.accuracy
    ratios = ("energy", "duration", "tokens", "energy_per_token", "energy_per_correct")
    changed: dict[str, object] = {name: widened(getattr(comparison, name), factor) for name in ratios}
    changed["difference_j"] = widened(comparison.difference_j, factor, signed=True)
    changed["parts"] = tuple(
        part.model_copy(update={"difference_j": widened(part.difference_j, factor, signed=True)})
        for part in comparison.parts
    )
    if accuracy is not None:
        difference = widened(accuracy.difference, factor, signed=True)
        changed["accuracy"] = accuracy.model_copy(update={"difference": difference})
    if energy.value is not None:
        for name in ("energy_bca_low", "energy_bca_high"):
            end = getattr(comparison, name)
            changed[name] = end if end is None else _moved(energy.value, end, factor, signed=False)
    if comparison.log_share_tokens is not None:
        changed["log_share_tokens"] = log_share_tokens(comparison.tokens, widened(energy, factor))
    if comparison.smallest_detectable is not None:
        changed["smallest_detectable"] = (1 + comparison.smallest_detectable) ** factor - 1
    return comparison.model_copy(update=changed)


def _costs(figures: Figures, asked: Sequence[str], estimated: bool) -> FloatArray:
    """Joules, or seconds, of each prompt that was asked; NaN where they are not known."""
    cost = figures.duration_s if estimated else figures.energy_j
    of_prompt = np.full(len(figures.prompt.names) + 1, np.nan)  # the last place is that of no answer
    of_prompt[figures.prompt.codes] = cost
    of_prompt[-1] = np.nan
    place = {name: code for code, name in enumerate(figures.prompt.names)}
    return of_prompt[[place.get(prompt_id, -1) for prompt_id in asked]]


def _widest(costs: Mapping[str, FloatArray], n: int, *, base: str | None, factor: float) -> float | None:
    """The largest relative half-width over the first n prompts, widened; None where one of them is unknown."""
    half_widths = []
    for mode, of_mode in costs.items():
        if mode == base:
            continue
        above = of_mode[:n]
        below = np.ones(n) if base is None else costs[base][:n]
        shared = ~(np.isnan(above) | np.isnan(below))
        half_widths.append(_half_width(above[shared], below[shared], factor))
    known = [half_width for half_width in half_widths if half_width is not None]
    return max(known) if known and len(known) == len(half_widths) else None


def _half_width(above: FloatArray, below: FloatArray, factor: float) -> float | None:
    interval = ratio_interval(above, below)
    if interval.low is None or interval.high is None:
        return None
    ratio = float(above.sum() / below.sum())
    low, high = (_moved(ratio, end, factor, signed=False) for end in (interval.low, interval.high))
    return (high - low) / (2 * ratio)


def _bound(estimate: Estimate, factor: float, bound_of: Estimate | None) -> float | None:
    """A lower bound without a value, moved by as much on the log scale as the lower end that it is a multiple of."""
    if estimate.low is None or bound_of is None or bound_of.value is None or bound_of.low is None:
        return None
    return estimate.low * _moved(bound_of.value, bound_of.low, factor, signed=False) / bound_of.low


def _moved(value: float, end: float, factor: float, signed: bool) -> float:
    if signed:
        return value + factor * (end - value)
    return value * (end / value) ** factor if value > 0 and end > 0 else end


def _saved(spent: Sequence[FloatArray], n_asked: int, n_saved: int) -> float | None:
    """What the prompts that were not asked would have cost at the mean of those that were."""
    total = float(sum(each.sum() for each in spent))
    return total / n_asked * n_saved if any(map(len, spent)) and not math.isnan(total) else None
