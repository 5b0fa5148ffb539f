"""Shares of a known power among overlapping queries, slice by slice, as one would do it with pencil and paper.

Written against the definition, not against `harness.attribution.sharing`: no sums over ranges, no fixed point. Between
two instants at which anybody begins, ends, gets its first token or gets a chunk, nothing changes: whoever is in flight
gets the slice's energy in proportion to the weighted tokens a second that it makes then; if nobody makes any, all get
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from harness.records import Timeline, TokenWeights


@dataclass(frozen=True, slots=True)
class Stretch:
    """So many weighted tokens, evenly over a while."""

    time_start_s: float
    time_end_s: float
    tokens: float


@dataclass(slots=True)
class ByHand:
    """Joules by query's number; what was drawn while nobody was in flight is `energy_nobody_j`."""

    energy_j: dict[int, float] = field(default_factory=dict)
    energy_equal_j: dict[int, float] = field(default_factory=dict)
    energy_nobody_j: float = 0.0


def stretches(timeline: Timeline, weights: TokenWeights) -> list[Stretch]:
    """Where one query makes progress: over its prompt until the first token, and over each chunk since the last."""
    first_s = timeline.time_chunk_s[0] if timeline.time_chunk_s else timeline.time_end_s
    n_computed = max((timeline.n_prompt_tokens or 0) - (timeline.n_cached_tokens or 0), 0)
    found = [Stretch(timeline.time_start_s, first_s, weights.prompt * n_computed)]
    last_s, waiting = timeline.time_start_s, 0
    for time_s, n_tokens in zip(timeline.time_chunk_s, timeline.n_chunk_tokens, strict=True):
        if time_s > last_s:
            found.append(Stretch(last_s, time_s, weights.output * (n_tokens + waiting)))
            last_s, waiting = time_s, 0
        elif found and len(found) > 1:  # at the same instant as the one before it: one chunk
            before = found.pop()
            found.append(Stretch(before.time_start_s, before.time_end_s, before.tokens + weights.output * n_tokens))
        else:
            waiting += n_tokens
    return [each for each in found if each.time_end_s > each.time_start_s]


def shared(
    timelines: Sequence[Timeline],
    weights: TokenWeights,
    time_start_s: float,
    time_end_s: float,
    energy_j: Callable[[float, float], float],
) -> ByHand:
    """Share what was drawn between two instants.

    Args:
        timelines: Everybody who was in flight at any time of it.
        weights: Of a prompt token and an output token.
        time_start_s: The first instant.
        time_end_s: The last.
        energy_j: What was drawn between two instants, in joules.
    """
    found = ByHand()
    progress = {each.number: stretches(each, weights) for each in timelines}
    edges = {time_start_s, time_end_s}
    for each in timelines:
        edges |= {each.time_start_s, each.time_end_s}
        edges |= {time_s for part in progress[each.number] for time_s in (part.time_start_s, part.time_end_s)}
        found.energy_j[each.number] = found.energy_equal_j[each.number] = 0.0
    instants_s = sorted(time_s for time_s in edges if time_start_s <= time_s <= time_end_s)
    ordered = sorted(timelines, key=lambda each: each.time_start_s)
    n_begun = 0
    in_flight: list[Timeline] = []
    for start_s, end_s in pairwise(instants_s):
        while n_begun < len(ordered) and ordered[n_begun].time_start_s <= start_s:
            in_flight.append(ordered[n_begun])
            n_begun += 1
        in_flight = [each for each in in_flight if each.time_end_s >= end_s and each.time_end_s > start_s]
        drawn_j = energy_j(start_s, end_s)
        if not in_flight:
            found.energy_nobody_j += drawn_j
            continue
        rates = {each.number: _rate(progress[each.number], start_s, end_s) for each in in_flight}
        total = sum(rates.values())
        for number, rate in rates.items():
            part = rate / total if total > 0 else 1 / len(rates)
            found.energy_j[number] += part * drawn_j
            found.energy_equal_j[number] += drawn_j / len(rates)
    return found


def _rate(parts: Sequence[Stretch], start_s: float, end_s: float) -> float:
    return sum(
        part.tokens / (part.time_end_s - part.time_start_s)
        for part in parts
        if part.time_start_s <= start_s and part.time_end_s >= end_s
    )
