"""Of queries that were in flight together: the shares of each once more, and that those of a block add up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from harness.attribution.sharing.load import Load
from harness.attribution.sharing.shares import read_shared, shares, unattributed_j
from harness.meter.curve.curve import Curve
from harness.records import IntervalRecord, Phase, QueryRecord, Reading, Timeline, TokenWeights
from harness.store.run_directory import RunDirectory
from harness.verify.check import Check, Kind
from harness.verify.stored import called

A_PART_IS_NULL = "a part of it is null"

_check = partial(Check, kind=Kind.ENERGIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLoad:
    """Of one session: what was in flight when, and what it was shared by."""

    timelines: Mapping[int, Timeline]
    weights: TokenWeights | None

    @classmethod
    def of(cls, directory: RunDirectory, session: int) -> Self:
        """From its files."""
        timelines = directory.timelines(session)
        return cls(timelines={timeline.number: timeline for timeline in timelines}, weights=directory.weights(session))

    def readings(self, curve: Curve, queries: Sequence[QueryRecord]) -> dict[int, Reading]:
        """Every query's share of one device once more, by its number."""
        if self.weights is None:
            return {}
        phases = {
            query.service.number: [
                Phase(name=phase.name, time_start_s=phase.time_start_s, time_end_s=phase.time_end_s)
                for phase in query.readings[0].phases
            ]
            for query in queries
            if query.service is not None and query.service.number in self.timelines and query.readings
        }
        is_marked = self.weights.edges_marked
        return read_shared(curve, list(self.timelines.values()), self.weights, phases, is_marked=is_marked)

    def spans(self, queries: Sequence[QueryRecord]) -> Iterator[Check]:
        """Whether every query, its latency and its readings say what its timeline does."""
        for query in queries:
            if query.service is None:
                continue
            where, service = called(query), query.service
            timeline = self.timelines.get(service.number)
            for figure, time_s in (("time_start_s", query.time_start_s), ("time_end_s", query.time_end_s)):
                again_s = None if timeline is None else getattr(timeline, figure)
                yield _check(where=where, figure=figure, stored=time_s, again=again_s)
                for reading in query.readings:
                    yield _check(
                        where=where,
                        figure=f"{figure} of {reading.device}",
                        stored=getattr(reading, figure),
                        again=time_s,
                    )
            first_s = None if timeline is None else timeline.time_first_token_s
            again_s = None if first_s is None or timeline is None else first_s - timeline.time_sent_s
            yield _check(
                where=where, figure="duration_first_token_s", stored=service.duration_first_token_s, again=again_s
            )

    def sums(
        self, interval: IntervalRecord, queries: Sequence[QueryRecord], curves: Mapping[str, Curve]
    ) -> Iterator[Check]:
        """Whether what the queries of a block got, and what nobody did, is all that was drawn in it."""
        start_s, end_s = interval.time_start_s, interval.time_end_s
        inside = {
            number: timeline
            for number, timeline in self.timelines.items()
            if timeline.time_end_s > start_s and timeline.time_start_s < end_s
        }
        stored = {query.service.number: query for query in queries if query.service is not None}
        for reading in interval.readings:
            curve = curves.get(reading.device)
            if curve is None or self.weights is None or reading.energy_gross_j is None:
                continue
            load = Load.of(list(inside.values()))
            again = dict(zip(inside, shares(curve, load, self.weights).energy_j.tolist(), strict=True))
            energies_j = [
                next((each.energy_gross_j for each in stored[number].readings if each.device == reading.device), None)
                if number in stored
                else again[number]  # cut off, and so without a line of its own
                for number in inside
            ]
            figure = f"shares and the rest of {reading.device}"
            where = f"{interval.name} of session {interval.session} at {start_s:.3f} s"
            known = [energy_j for energy_j in energies_j if energy_j is not None]
            if len(known) < len(energies_j):
                yield _check(where=where, figure=figure, why_not=A_PART_IS_NULL)
                continue
            whole_j = math.fsum(known) + unattributed_j(curve, load, start_s, end_s)
            yield _check(where=where, figure=figure, stored=whole_j, again=reading.energy_gross_j)
