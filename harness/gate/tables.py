"""One side's figures for one metric, over the prompts that every repeat knows.

A query counts where what the metric needs of it is known in every repeat; each prompt is the mean over its repeats.
Knows arrays. Must not know intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.gate.budget import Metric
from harness.gate.evidence import FloatArray, RunFigures, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One side's figures for one metric: what is above and below the line, per repeat and prompt.

    `asked` are the prompts that any repeat answered, and `wanted` those of them that the metric is of in any repeat;
    `n_lost` were asked and are in neither, because no repeat answered them.
    """

    side: Side
    prompt_ids: tuple[str, ...]
    above: FloatArray
    below: FloatArray
    asked: frozenset[str]
    wanted: frozenset[str]
    n_lost: int

    @property
    def n_missing(self) -> int:
        """Prompts that should have a figure, and have none in one of the repeats."""
        return len(self.wanted) + self.n_lost - len(self.prompt_ids)

    @property
    def share_missing(self) -> float:
        """The same, of those that should."""
        return _share(self.n_missing, len(self.wanted) + self.n_lost)

    def at(self, prompt_ids: Sequence[str]) -> Table:
        """Only these prompts, in this order."""
        place = {prompt_id: index for index, prompt_id in enumerate(self.prompt_ids)}
        kept = [place[prompt_id] for prompt_id in prompt_ids]
        return Table(
            side=self.side,
            prompt_ids=tuple(prompt_ids),
            above=self.above[:, kept],
            below=self.below[:, kept],
            asked=self.asked,
            wanted=self.wanted,
            n_lost=self.n_lost,
        )

    @property
    def columns(self) -> FloatArray:
        """Means over the repeats, one row per prompt."""
        return np.column_stack((self.above.mean(axis=0), self.below.mean(axis=0)))

    @property
    def value(self) -> float | None:
        """Total over total; None where there is nothing above or below."""
        above, below = self.columns.sum(axis=0)
        return float(above / below) if above > 0 and below > 0 else None

    @property
    def run_logs(self) -> FloatArray:
        """Each repeat's own log; infinite where it has nothing above or below."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.above.sum(axis=1)) - np.log(self.below.sum(axis=1)), dtype=np.float64)


def table_of(side: Side, metric: Metric) -> Table:
    """The prompts that every repeat of a side knows, and those that should be among them."""
    pairs = [_pair(run, metric) for run in side.runs]
    whole = [np.isfinite(above) & np.isfinite(below) for above, below in pairs]
    common, places = _common([run.prompt_ids for run in side.runs], whole)
    asked = frozenset().union(*(run.prompt_ids for run in side.runs))
    wanted = asked
    if metric is Metric.ENERGY_PER_CORRECT_J:
        # A query without a score was never to be one of joules per right answer, unless another repeat has one.
        scored = [np.flatnonzero(~np.isnan(below)) for _, below in pairs]
        wanted = frozenset(
            run.prompt_ids[place] for run, places_ in zip(side.runs, scored, strict=True) for place in places_
        )
    n_asked = max((len(run.prompt_ids) + run.n_failed for run in side.runs), default=0)
    return Table(
        side=side,
        prompt_ids=common,
        above=np.array([above[place] for (above, _), place in zip(pairs, places, strict=True)]),
        below=np.array([below[place] for (_, below), place in zip(pairs, places, strict=True)]),
        asked=asked,
        wanted=wanted,
        n_lost=max(0, n_asked - len(asked)),
    )


def missing_of_pairs(above: Table, below: Table) -> tuple[int, float]:
    """Of prompts that both sides were asked: how many should have a figure on both and lack one, and their share.

    What fails on one side costs the other its figure too: a candidate is not made cheap by answers that it lost.
    """
    wanted = above.asked & below.asked & (above.wanted | below.wanted)
    # Lost on both sides is one prompt; those that the other side answered are told from it by their names.
    lost_above = min(above.n_lost, len(below.asked - above.asked))
    lost_below = min(below.n_lost, len(above.asked - below.asked))
    lost_on_both = max(above.n_lost - lost_above, below.n_lost - lost_below)
    n_wanted = len(wanted) + lost_above + lost_below + lost_on_both
    n_missing = n_wanted - len(wanted.intersection(above.prompt_ids, below.prompt_ids))
    return n_missing, _share(n_missing, n_wanted)


def _share(n_missing: int, n_wanted: int) -> float:
    return n_missing / n_wanted if n_wanted else 0.0


def _common(
    prompt_ids: Sequence[tuple[str, ...]], whole: Sequence[npt.NDArray[np.bool_]]
) -> tuple[tuple[str, ...], list[npt.NDArray[np.intp]]]:
    """The prompts that every repeat knows, in the first one's order, and where each repeat has them."""
    if all(ids == prompt_ids[0] for ids in prompt_ids):
        kept = np.flatnonzero(np.logical_and.reduce(whole))
        return tuple(prompt_ids[0][index] for index in kept), [kept] * len(prompt_ids)
    places = [
        {ids[index]: int(index) for index in np.flatnonzero(known)}
        for ids, known in zip(prompt_ids, whole, strict=True)
    ]
    common = tuple(prompt_id for prompt_id in places[0] if all(prompt_id in other for other in places))
    return common, [np.array([place[prompt_id] for prompt_id in common], dtype=np.intp) for place in places]


def _pair(run: RunFigures, metric: Metric) -> tuple[FloatArray, FloatArray]:
    """What is above and below the line of a metric, per query; NaN where it is not known."""
    unknown = np.full(len(run.prompt_ids), np.nan)
    tokens = unknown if run.output_tokens is None else run.output_tokens
    correct = unknown if run.correct is None else run.correct
    ones = np.ones(len(run.prompt_ids))
    pairs: Mapping[Metric, tuple[FloatArray, FloatArray]] = {
        Metric.ENERGY_PER_QUERY_J: (run.energy_j, ones),
        Metric.ENERGY_WH_PER_1000: (run.energy_j, ones),
        Metric.OUTPUT_TOKENS_PER_QUERY: (tokens, ones),
        Metric.ENERGY_PER_OUTPUT_TOKEN_J: (run.energy_j, tokens),
        Metric.ENERGY_PER_CORRECT_J: (run.energy_j, correct),
    }
    return pairs[metric]
