"""One model over its runs under the same conditions: what changed between them, and whether its energy did."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.leaderboard.distance import Errors, Ratio, errors_of, ratio
from harness.leaderboard.entry import ALARM, OTHERS
from harness.leaderboard.ranking import Ranked
from harness.leaderboard.rows import IntArray, Rows, grouped
from harness.report.numbers import digits, percent

WATCHED = {
    "boards": "card",
    "driver": "driver",
    "engine_version": "engine",
    "revision": "revision",
    "harness_version": "harness",
}
"""What may differ within a ranking, and is marked where it does."""
N_SHOWN = 12
"""Characters of an identifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Rows of one model in order of time, what changed before each of them, and the last against the first.

    `steps` are the rows before which something changed, over the row before them; None elsewhere.
    """

    places: IntArray
    changes: tuple[tuple[str, ...], ...]
    steps: tuple[Ratio | None, ...]
    last_over_first: Ratio
    sentence: str


def histories(rows: Rows, ranked: Ranked) -> list[History]:
    """Of every model with two dated runs or more, those with the most runs first."""
    dates = np.array(rows.texts("started_utc"))
    usable = np.flatnonzero(ranked.sound & (dates != ""))
    found = []
    for _, group in grouped(ranked.subject[usable]):
        if len(group) < 2:
            continue
        places = usable[group]
        places = places[np.argsort(dates[places], kind="stable")]
        errors = errors_of(rows, places)
        found.append(_history(rows, places, errors))
    return sorted(found, key=lambda history: (-len(history.places), str(rows["path"][history.places[0]])))


def _history(rows: Rows, places: IntArray, errors: Errors) -> History:
    changes = ((), *(_changes(rows, int(one), int(two)) for one, two in pairwise(places)))
    whole = ratio(errors, len(places) - 1, 0)
    return History(
        places=places,
        changes=changes,
        steps=tuple(ratio(errors, at, at - 1) if changed else None for at, changed in enumerate(changes)),
        last_over_first=whole,
        sentence=_sentence(whole) + (f" {ALARM}" if rows["metered"][places[0]] == OTHERS else ""),
    )


def step_words(step: Ratio) -> str:
    """What the first run after a change takes, over the last before it."""
    figure = f"{digits(step.value)} × ({interval_words(step)})"
    if not step.is_told:
        return f"{figure}, not distinguishable"
    return f"{figure}, not known to be real: one of them is one run" if step.one_run else figure


def _changes(rows: Rows, before: int, after: int) -> tuple[str, ...]:
    return tuple(
        f"{label} {' → '.join(_short(rows[name][before], rows[name][after]))}"
        for name, label in WATCHED.items()
        if rows[name][before] != rows[name][after]
    )


def _short(*values: str | None) -> tuple[str, ...]:
    """As much of two identifiers as tells them apart: their beginnings, or their ends."""
    texts = tuple("unknown" if value is None else value for value in values)
    beginnings = tuple(text if len(text) <= N_SHOWN else f"{text[:N_SHOWN]}…" for text in texts)
    ends = tuple(text if len(text) <= N_SHOWN else f"…{text[-N_SHOWN:]}" for text in texts)
    return next((short for short in (beginnings, ends) if len(set(short)) > 1), texts)


def _sentence(whole: Ratio) -> str:
    figure = f"The last run takes {digits(whole.value)} × the first ({interval_words(whole)})"
    if not whole.is_told:
        return f"{figure}: not distinguishable{gain_words(whole)}."
    direction = "more" if whole.value > 1 else "less"
    change = f"{percent(abs(whole.value - 1))} {direction}"
    if whole.one_run:
        return f"{figure}: {change}, but one of them is one run, so it is not known to be real{gain_words(whole)}."
    return f"{figure}: {change}{gain_words(whole)}."


def interval_words(one: Ratio) -> str:
    """Both ends, in words where there are none."""
    if not np.isfinite(one.high):
        return "no interval: a part of it is unknown"
    return f"95 %: {digits(one.low)} to {digits(one.high)}"


def gain_words(one: Ratio) -> str:
    """What became of the gains."""
    if not np.isfinite(one.high):
        return ""
    return ", on one card, whose gain cancels" if one.same_board else ", both cards' gains included"
