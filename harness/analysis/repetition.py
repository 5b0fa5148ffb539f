"""Does a run that was measured again agree with the first? A verdict per figure, and one over all.

The headline is joules per query in each mode (seconds, where joules are estimated). Where these cannot be compared, it
is the ratio between modes, in which the gain of a board cancels. All other figures are named where they differ. The
figures of the headline are judged together at 5 %, each at 5 % over their number (C. E. Bonferroni), and so are
the others: where nothing differs, at most one repetition of 20 is said to differ.

- Agrees: 1 lies within what is known of reading, prompts, run to run and gain. Said is the first of these with which
  it does.
- Differs: it lies outside, also where an unknown spread from run to run is as large as 2 %.
- Undecided: outside what is known, but a spread of 2 % or less, which nobody measured, would explain it; or inside of
  so much that not even twice the joules would have been seen.
- Not comparable: the two did not measure the same thing, or too little of it is known; the reasons are words.

Knows figures. Must not know runs, sites or how anything is laid out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from harness.analysis.accuracy import accuracy_difference
from harness.analysis.comparison import mode_pairs
from harness.analysis.figures import paired
from harness.analysis.paired_ratio import JOULES, SECONDS, TOKENS, Amount, RepeatedFigures, paired_ratio
from harness.analysis.repeated_figure import Kind, RepeatedFigure, Verdict, Within, judged
from harness.records import Record

LEVEL = 0.05
"""Of the headline's figures together, and of all others together: how often they may differ where nothing does."""
OTHER_WORK = 0.1
"""Relative difference in output tokens from which on other work was done, where it is told from none."""


class Repetition(Record):
    """A run over the run that it repeats."""

    verdict: Verdict
    within: Within | None = Field(default=None, description="the widest that a figure of the headline needs")
    headline: Kind = Field(description="cost, or ratio where no cost can be compared")
    estimated: bool = Field(description="joules are a hardware model's on both sides: costs are seconds")
    smallest_seen: float | None = Field(default=None, description="the largest of the headline's figures")
    reasons: tuple[str, ...] = Field(default=(), description="why something is not comparable, each once")
    n_runs: tuple[int, int] = Field(description="repeats of the base and of the repetition")
    n_texts_same: int = Field(description="answers that are the same word for word")
    n_texts: int = Field(description="answers of which that is known")
    figures: tuple[RepeatedFigure, ...]

    @property
    def beside(self) -> tuple[RepeatedFigure, ...]:
        """Figures that are not the headline's and differ all the same."""
        return tuple(
            each for each in self.figures if each.kind is not self.headline and each.verdict is Verdict.DIFFERS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """Why two sides, or something of them, cannot be compared, in words."""

    everything: tuple[str, ...] = ()
    cost: tuple[str, ...] = ()
    """Joules or seconds as such; their ratio between modes may be."""
    by_mode: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def repetition_of(
    base: RepeatedFigures,
    repetition: RepeatedFigures,
    obstacles: Obstacles,
    *,
    estimated: bool,
    texts: tuple[int, int] = (0, 0),
) -> Repetition:
    """The verdict.

    Args:
        base: What was repeated.
        repetition: The same plan, measured again.
        obstacles: What its conditions say against a comparison.
        estimated: Whether the joules of both are a hardware model's; then seconds speak.
        texts: Answers that are the same word for word, and those of which it is known.
    """
    modes = [] if obstacles.everything else [mode for mode in base.by_mode if mode in repetition.by_mode]
    pairs = mode_pairs(modes)
    amount = SECONDS if estimated else JOULES
    level = LEVEL / max(1, 2 * len(modes) + len(pairs))

    def held(kind: Kind, of: tuple[str, ...], what: Amount, at: float, against: Sequence[str]) -> RepeatedFigure:
        pair = paired_ratio(base, repetition, of, what)
        wanted = min(side.n_planned.get(mode, 0) for side in (base, repetition) for mode in of)
        own = [reason for mode in of for reason in obstacles.by_mode.get(mode, ())]
        return judged(kind, " over ".join(of), pair, wanted, at, (*against, *own))

    tokens = {mode: held(Kind.TOKENS, (mode,), TOKENS, level, ()) for mode in modes}
    other_work = {mode: _other_work(each) for mode, each in tokens.items()}
    costs = [
        held(Kind.COST, (mode,), amount, LEVEL / len(modes), (*obstacles.cost, *other_work[mode])) for mode in modes
    ]
    headline = Kind.COST if any(each.is_judged for each in costs) or not pairs else Kind.RATIO
    of_ratios = level if headline is Kind.COST else LEVEL / len(pairs)
    ratios = [
        held(Kind.RATIO, pair, amount, of_ratios, [reason for mode in pair for reason in other_work[mode]])
        for pair in pairs
    ]
    rights = [_right(base, repetition, mode, level, obstacles.by_mode.get(mode, ())) for mode in modes]
    figures = (*costs, *ratios, *tokens.values(), *filter(None, rights))
    leading = [each for each in figures if each.kind is headline and each.is_judged]
    seen, verdict = [each.smallest_seen for each in leading], _worst(leading)
    needed = [each.within for each in leading if each.within is not None and verdict is Verdict.AGREES]
    return Repetition(
        verdict=verdict,
        within=max(needed, key=list(Within).index, default=None),
        headline=headline,
        estimated=estimated,
        smallest_seen=max((each for each in seen if each is not None), default=None) if None not in seen else None,
        reasons=tuple(dict.fromkeys((*obstacles.everything, *(why for each in figures for why in each.reasons)))),
        n_runs=(_n_runs(base), _n_runs(repetition)),
        n_texts_same=texts[0],
        n_texts=texts[1],
        figures=figures,
    )


def _right(
    base: RepeatedFigures, repetition: RepeatedFigures, mode: str, level: float, reasons: Sequence[str]
) -> RepeatedFigure | None:
    """Right answers of the first repeats, by the exact paired test; None where no answer is scored on both sides."""
    above, below = paired(repetition.by_mode[mode][0], base.by_mode[mode][0])
    found = accuracy_difference(above.correct, below.correct)
    if found is None or found.p_value is None:
        return None
    verdict = Verdict.DIFFERS if found.p_value <= level else Verdict.AGREES
    return RepeatedFigure(
        kind=Kind.RIGHT,
        of=mode,
        verdict=Verdict.NOT_COMPARABLE if reasons else verdict,
        reasons=tuple(reasons),
        n_prompts=found.n,
        base=found.n_both + found.n_only_denominator,
        repetition=found.n_both + found.n_only_numerator,
        level=level,
        within=Within.READING_AND_PROMPTS if verdict is Verdict.AGREES and not reasons else None,
        p_value=found.p_value,
    )


def _other_work(tokens: RepeatedFigure) -> tuple[str, ...]:
    """Why joules say nothing where much more or less was written."""
    if tokens.verdict is not Verdict.DIFFERS or tokens.ratio is None:
        return ()
    if abs(math.log(tokens.ratio)) <= math.log1p(OTHER_WORK):
        return ()
    return (f"{tokens.of}: other work was done, {tokens.ratio:.2f} × the output tokens",)


def _worst(figures: Sequence[RepeatedFigure]) -> Verdict:
    verdicts = {each.verdict for each in figures}
    order = (Verdict.DIFFERS, Verdict.UNDECIDED, Verdict.AGREES)
    return next((verdict for verdict in order if verdict in verdicts), Verdict.NOT_COMPARABLE)


def _n_runs(side: RepeatedFigures) -> int:
    return max(map(len, side.by_mode.values()), default=0)
