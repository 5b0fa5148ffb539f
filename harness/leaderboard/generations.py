"""The same model on several kinds of hardware: its energy on each over the least, both boards' gains included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.leaderboard.distance import Ratio, errors_of, ratio
from harness.leaderboard.entry import ALARM, OTHERS
from harness.leaderboard.over_time import interval_words
from harness.leaderboard.ranking import CONDITIONS, Ranked
from harness.leaderboard.rows import IntArray, Rows, codes, grouped
from harness.reference.conditions import OWN_LIMIT
from harness.report.numbers import digits, percent

OF_THE_MACHINE = {"hardware", "power_limit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generations:
    """One model in one mode on several boards, the least energy first. `ratios` are of the others over the first."""

    places: IntArray
    ratios: tuple[Ratio, ...]
    sentences: tuple[str, ...]


def generations(rows: Rows, ranked: Ranked) -> list[Generations]:
    """Of every model that was measured on GPUs of several kinds, otherwise alike; the newest run on each."""
    usable = np.flatnonzero(ranked.sound & ~ranked.earlier & (rows["number_of_gpus"] > 0))
    others = [rows[name][usable] for name in CONDITIONS if name not in OF_THE_MACHINE]
    found = []
    for _, group in grouped(codes([*others, rows["model"][usable]])):
        places = _one_each(rows, usable[group])
        if len(places) < 2:
            continue
        errors = errors_of(rows, places)
        order = np.argsort(errors.log_energy, kind="stable")
        ratios = tuple(ratio(errors, int(place), int(order[0])) for place in order[1:])
        places = places[order]
        sentences = tuple(
            _sentence(rows, int(places[0]), int(place), one) for place, one in zip(places[1:], ratios, strict=True)
        )
        found.append(Generations(places=places, ratios=ratios, sentences=sentences))
    return sorted(found, key=lambda one: (str(rows["model"][one.places[0]]).lower(), str(rows["path"][one.places[0]])))


def _one_each(rows: Rows, places: IntArray) -> IntArray:
    """One row per kind of hardware: at the board's own power limit if there is one, and the newest of those."""
    chosen: dict[str, int] = {}
    for place in sorted(places, key=lambda each: _preference(rows, int(each))):
        chosen[rows["hardware"][place]] = int(place)
    return np.array(sorted(chosen.values()), np.int64)


def _preference(rows: Rows, place: int) -> tuple[bool, str]:
    return (rows["power_limit"][place] or "").startswith(OWN_LIMIT), rows["started_utc"][place] or ""


def _sentence(rows: Rows, least: int, other: int, one: Ratio) -> str:
    there, here = rows["hardware"][other], rows["hardware"][least]
    gains = ", both boards’ gains included" if np.isfinite(one.high) else ""
    figure = f"{digits(one.value)} × as much on {there} as on {here} ({interval_words(one)}{gains})"
    differing = [
        f"{label} {rows[name][other] or 'unknown'} there, {rows[name][least] or 'unknown'} here"
        for name, label in (("precision", "precision"), ("power_limit", "power limit"))
        if rows[name][other] != rows[name][least] and not _both_own(rows, name, least, other)
    ]
    if rows["revision"][other] != rows["revision"][least]:
        differing.append("another revision of the model")
    note = f" Besides the board: {'; '.join(differing)}." if differing else ""
    note += f" {ALARM}" if rows["metered"][least] == OTHERS else ""
    if not one.is_told:
        return f"Not distinguishable: {figure}.{note}"
    if one.one_run:
        return f"{figure}; not known to be real: one of them is one run.{note}"
    return f"{percent(one.value - 1)} more: {figure}.{note}"


def _both_own(rows: Rows, name: str, least: int, other: int) -> bool:
    """Boards of two kinds have power limits of their own; that they differ is no other condition."""
    return name == "power_limit" and all((rows[name][place] or "").startswith(OWN_LIMIT) for place in (least, other))
