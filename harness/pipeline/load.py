"""Several queries at once, whose energy is shared among them: static batches, or a server under load.

What is asked comes in blocks of one mode, each a tile of the session (`serving`). How a query was served is written
when it ends, its energy once that cannot change any more: when the curves have passed its end, and so has everybody who
was in flight with it. Warm-ups run under the same load; what a prompt token weighs against an output token is fitted to
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from harness.attribution import exclusive
from harness.attribution.host import HostLoad, withheld
from harness.attribution.sharing.shares import read_shared
from harness.attribution.sharing.swing import duration_ahead_s
from harness.attribution.sharing.weights import fit_weights
from harness.errors import HarnessError
from harness.meter.meter import SessionMeter
from harness.pipeline.observer import Observer
from harness.pipeline.output import output_findings, score_of, stored, stored_score
from harness.pipeline.recording import Recording
from harness.protocols import Clock, EnergyCurve, LoadEngine, RunStore, Scorer
from harness.records import (
    Asked,
    Attribution,
    Cell,
    Channel,
    CpuUse,
    Edge,
    EngineFacts,
    Finding,
    Prompt,
    QueryRecord,
    Reading,
    Score,
    Served,
    Timeline,
    TokenWeights,
)
from harness.schedule import Block, Place, Schedule, query_seed

WARM_UP_TOKENS = 16
WARM_UP_LOAD_TOKENS = 256
WARM_UP_LOADS = 3
"""Under load so many queries per place in flight are warmed up with: enough to fit the weights of tokens to."""
WARM_UP_OPEN_S, ARRIVALS_MOST = 30.0, 12
TAKE_S = 0.25
GIVE_UP_S = 5.0
"""So long the ends of queries that are given up are waited for."""
MARKED_IN_FLIGHT_MOST, MARKED_RATE_MOST_PER_SECOND = 16, 8.0
"""With more queries in flight, or more of them a second, only the load's beginning and end are marked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A query that has ended and whose energy is not final."""

    served: Served
    block: int
    score: Score | None
    findings: tuple[Finding, ...]

    @property
    def time_end_s(self) -> float:
        """When it ended."""
        return self.served.timeline.time_end_s


@dataclass(slots=True)
class LoadSession:
    """One process start of one cell whose queries are in flight together. Use `run` once."""

    number: int
    schedule: Schedule
    engine: LoadEngine
    meter: SessionMeter
    clock: Clock
    store: RunStore
    scorers: Mapping[str, Scorer]
    observer: Observer = field(default_factory=Observer)
    attribution: Attribution = Attribution.EXCLUSIVE
    """Of a load whose queries come one after the other; otherwise it is by tokens."""
    cpu_time: Callable[[], CpuUse] | None = None
    """Asked now and then whether others use the host; None: they are not looked for."""
    conclude: Callable[[], Sequence[Finding]] | None = None
    """Asked once, when all raw readings are on disk, what they give to doubt about the session."""
    lengths: Mapping[tuple[str, str], int] | None = None
    """(prompt_id, mode) to how many tokens its answer is to have; None: each ends by itself."""
    weights: tuple[float, float] | None = None
    """Of a prompt and of an output token, as the user gave them; None: they are fitted."""
    _recording: Recording = field(init=False)
    _host: HostLoad = field(default_factory=HostLoad)
    _timelines: list[Timeline] = field(default_factory=list)
    _unwritten: list[Timeline] = field(default_factory=list)
    _pending: list[_Pending] = field(default_factory=list)
    _weights: TokenWeights | None = None
    _is_open: bool = False
    _n_asked: int = 0
    _n_blocks: int = 0
    _n_done: int = 0
    _n_failed: int = 0
    _block_start_s: float | None = None
    """When the block in progress first sent a query; None: none is in progress."""
    _block_end_s: float = -math.inf

    def __post_init__(self) -> None:
        self._recording = Recording(self.number, self.meter, self.clock, self.store)

    def run(
        self,
        announce: Callable[[tuple[EngineFacts, ...], tuple[Channel, ...]], None],
        check: Callable[[EngineFacts], None],
    ) -> str:
        """Measure everything that is not on disk yet.

        Args:
            announce: Called once the engine is ready, before the first query, with its facts; writes the manifest.
            check: Called with the same facts; raises where it must not be measured.

        Returns:
            How the session ended: `finished`, or `stopped` for want of a sensor.

        Raises:
            HarnessError: Whatever the engine, the meter or the store cannot do. What is final is on disk.
            KeyboardInterrupt: After everything that could be made final is on disk.
        """
        self._recording.start()
        status = "failed"
        try:
            self._recording.tile("start_up", self.clock.now_s())
            self.observer.stage("load", self.schedule.cell.modes[0])
            facts = self.engine.load()
            self._recording.tile("load", self.clock.now_s())
            check(facts)
            announce((facts,), self.meter.channels)
            self._settle_in()
            self._blocks()
            self.observer.stage("idle_after")
            self._recording.settle()
            self._recording.idle("idle_after", self.schedule.idle_duration_s)
            status = "stopped" if self.meter.lost else "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            self._give_up()
            raise
        except HarnessError:
            self._give_up()
            raise
        finally:
            try:
                self._await_final()
                self._recording.finish(status, lambda: self._write_known(last=True), self.conclude)
            finally:
                self.meter.stop()
                self.engine.close()
        return status

    def _settle_in(self) -> None:
        """Wake everything up, measure what is drawn idle, and warm up again, under the load that is measured."""
        cell, prompts = self.schedule.cell, self.schedule.prompts
        if cell.warm_up:
            self.observer.stage("warm_up")
            for mode in cell.modes:
                self._warm_up(repeated(prompts, self.schedule.n_warm_up), mode, WARM_UP_TOKENS, alone=True)
            self._recording.tile("warm_up", self.clock.now_s())
        self.observer.stage("idle_before")
        self._recording.settle()
        self._recording.idle("idle_before", self.schedule.idle_duration_s)
        warmed: list[Timeline] = []
        time_start_s = self.clock.now_s()
        if cell.warm_up:
            self.observer.stage("load_warm_up")
            taken = repeated(prompts, n_warm_ups(cell))
            n_tokens = WARM_UP_LOAD_TOKENS if cell.overlaps else WARM_UP_TOKENS
            for mode in cell.modes:
                warmed += self._warm_up(taken, mode, n_tokens)
            self._recording.tile("warm_up", self.clock.now_s())
        if cell.overlaps:
            self._weigh(warmed, time_start_s)

    def _warm_up(self, places: Sequence[Place], mode: str, n_tokens: int, *, alone: bool = False) -> list[Timeline]:
        """Ask for answers that nobody keeps; how they were served is kept, as they draw energy too."""
        cap = min(n_tokens, self.schedule.cell.cap(mode))
        self.engine.begin([self._asked(place, mode, cap) for place in places], alone=alone)
        timelines = []
        while self.engine.n_left:
            served = self.engine.take(TAKE_S)
            timelines += [each.timeline for each in served]
            self._note_edges(served)
            self._look_at_host()
        self.store.append_timelines(timelines)
        return timelines

    def _weigh(self, warmed: Sequence[Timeline], time_start_s: float) -> None:
        """Settle what a prompt token weighs against an output token, and put it on disk."""
        if self.weights is not None:
            prompt, output = self.weights
            weights = TokenWeights(session=self.number, prompt=prompt, output=output, source="given")
        else:
            fitted = None
            if self.schedule.cell.batch_size == 1:  # the rows of a static batch read their prompts at the same time
                ends_s = [timeline.time_end_s for timeline in warmed]
                self._recording.await_final(ends_s, self._recording.collect)
                curves = self.meter.curves()
                end_s = max(ends_s, default=time_start_s)
                fitted = fit_weights(curves, warmed, time_start_s, end_s, session=self.number)
            weights = fitted or TokenWeights(session=self.number, prompt=1.0, output=1.0, source="equal")
        self._weights = weights.model_copy(update={"edges_marked": marks_edges(self.schedule.cell)})
        self.store.write_weights(self._weights)

    def _blocks(self) -> None:
        """Ask what is left, block by block."""
        n_queries = self.schedule.n_queries()
        self._recording.collect()  # the idle stretch has shown how often the sensors update
        self.observer.stage("queries")
        for round_ in self.schedule.load_rounds():
            for block in round_.blocks:
                self._block(block, n_queries)
                if self.meter.lost:
                    return  # what ran since is null; the rest waits for a sensor, and a resume

    def _block(self, block: Block, n_queries: int) -> None:
        cell = self.schedule.cell
        self._n_blocks += 1
        self.engine.begin([self._asked(place, block.mode, cell.cap(block.mode)) for place in block.prompts])
        self._block_end_s = -math.inf
        while self.engine.n_left:
            served = self.engine.take(TAKE_S)
            begun_s = [self.engine.time_open_s, *(each.timeline.time_sent_s for each in served)]
            known_s = [time_s for time_s in begun_s if time_s is not None]
            if self._block_start_s is None and known_s:
                self._block_start_s = min(known_s)
                self._recording.tile("gap", self._block_start_s)
            self._note_edges(served)
            self._take(served, n_queries)
            if self._block_start_s is not None and self._recording.is_segment_due:
                self._look_at_host()
                self._write_final()
            if self.meter.lost:
                self._give_up()
                break
        self._end_block()
        self._await_final()
        self._write_final()

    def _end_block(self) -> None:
        """Close the tile of the block in progress, if there is one."""
        if self._block_start_s is not None and self._block_end_s > self._block_start_s:
            self._recording.tile("serving", self._block_end_s, Edge.WORK_ENDS)
            self._look_at_host()  # those that ended last are judged by what others did until then
        self._block_start_s = None

    def _asked(self, place: Place, mode: str, cap: int) -> Asked:
        index, prompt = place
        n_forced = self.lengths.get((prompt.prompt_id, mode)) if self.lengths is not None else None
        asked = Asked(
            number=self._n_asked,
            index=index,
            prompt=prompt,
            mode=mode,
            max_new_tokens=cap,
            seed=query_seed(self.schedule.cell, prompt.prompt_id),
            n_forced_tokens=None if n_forced is None else min(n_forced, cap),
        )
        self._n_asked += 1
        return asked

    def _note_edges(self, served: Sequence[Served]) -> None:
        """Mark where the engine turned from idle to busy and back; and, where they are few, every edge of a query."""
        open_s, named_s = self.engine.time_open_s, set[float]()
        if not self._is_open and (open_s is not None or served):
            begun_s = [each.timeline.time_start_s for each in served]
            named_s.add(self._mark(min([*begun_s, *([] if open_s is None else [open_s])]), Edge.WORK_BEGINS))
        if open_s is None and served:
            named_s.add(self._mark(max(each.timeline.time_end_s for each in served), Edge.WORK_ENDS))
        self._is_open = open_s is not None
        edges_s = self.engine.edges_s()
        if marks_edges(self.schedule.cell):
            self.meter.mark(*(edge_s for edge_s in edges_s if edge_s not in named_s))

    def _mark(self, time_s: float, edge: Edge) -> float:
        self.meter.mark(time_s, edge=edge)
        return time_s

    def _take(self, served: Sequence[Served], n_queries: int) -> None:
        """Put down how queries were served, and keep them until their energy is known."""
        self._keep(served)
        warnings = self.engine.warnings() if served else ()
        for place, each in enumerate(served):
            prompt, generation = each.asked.prompt, each.generation
            score, unscored = score_of(self.scorers, prompt, generation)
            own = output_findings(generation) if generation else ()
            findings = (*each.findings, *own, *unscored, *(warnings if place == 0 else ()))
            self._pending.append(_Pending(served=each, block=self._n_blocks, score=score, findings=findings))
            self._n_done += 1
            self._n_failed += generation is None
            self.observer.served(self._n_done, n_queries, each.asked.mode, self._n_failed)

    def _give_up(self) -> None:
        """Stop the load. Queries that are cut off by that have not failed: a resume asks them again."""
        deadline_s = self.clock.now_s() + GIVE_UP_S
        with suppress(HarnessError):  # why the load is stopped is said already
            self.engine.stop()
            while self.engine.n_left and self.clock.now_s() < deadline_s:
                self._keep(self.engine.take(TAKE_S))
        self._end_block()

    def _keep(self, served: Sequence[Served]) -> None:
        """Put down how queries were served: those in flight with them need it too."""
        timelines = [each.timeline for each in served]
        self._timelines += timelines
        self._unwritten += timelines
        self._block_end_s = max([self._block_end_s, *(timeline.time_end_s for timeline in timelines)])
        self._write_timelines()

    def _write_timelines(self) -> None:
        """Put them on disk, and first those that could not be written before."""
        self.store.append_timelines(self._unwritten)
        self._unwritten = []

    def _look_at_host(self) -> None:
        if self.cpu_time is not None:
            self._host.note(self.clock.now_s(), self.cpu_time())

    def _await_final(self) -> None:
        self._recording.await_final([each.time_end_s for each in self._pending], self._write_final)

    def _write_final(self) -> None:
        self._recording.collect()
        self._write_known(last=False)

    def _write_known(self, *, last: bool) -> None:
        """Append what cannot change any more: those whom the curves, and all in flight with them, have passed."""
        last = last or bool(self.meter.lost)
        until_s, open_s = self.meter.final_until_s - self._ahead_s(), self.engine.time_open_s
        if not last and open_s is not None:
            until_s = min(until_s, open_s)
        known = [each for each in self._pending if last or each.time_end_s <= until_s]
        self._recording.write_tiles(last=last)
        if not known:
            return
        self._write_timelines()
        curves = self.meter.curves()
        readings = [self._readings(curve, known) for curve in curves]
        records = [
            self._record(each, tuple(by_number[each.served.timeline.number] for by_number in readings))
            for each in known
        ]
        left = [] if last else [each for each in self._pending if each.time_end_s > until_s]
        self.store.append_query(*records)
        self._pending = left  # at once: an interruption from here on must not have them written twice
        for record in records:
            self.observer.query(record)
        begun_s = min((each.served.timeline.time_start_s for each in self._pending), default=math.inf)
        if open_s is not None:
            begun_s = min(begun_s, open_s)
        self._timelines = [each for each in self._timelines if each.time_end_s > begun_s]

    def _ahead_s(self) -> float:
        """How far beyond a query's end the curves have to be final: so far its half-width looks."""
        if self._weights is None:
            return 0.0
        return max((duration_ahead_s(curve) for curve in self.meter.curves()), default=0.0)

    def _readings(self, curve: EnergyCurve, known: Sequence[_Pending]) -> dict[int, Reading]:
        """One device's energy of some queries, by number."""
        phases = {
            each.served.timeline.number: each.served.generation.phases if each.served.generation else ()
            for each in known
        }
        if self._weights is not None:
            return read_shared(curve, self._timelines, self._weights, phases, is_marked=self._weights.edges_marked)
        return {
            timeline.number: exclusive.read(
                curve, timeline.time_start_s, timeline.time_end_s, phases[timeline.number], self.attribution
            )
            for timeline in (each.served.timeline for each in known)
        }

    def _record(self, pending: _Pending, readings: tuple[Reading, ...]) -> QueryRecord:
        served, timeline = pending.served, pending.served.timeline
        n_cores_others = self._host.n_cores_others(timeline.time_start_s, timeline.time_end_s)
        readings = tuple(withheld(reading, n_cores_others) for reading in readings)
        unknown = any(reading.energy_gross_j is None for reading in readings)
        store_text = self.schedule.store_text
        return QueryRecord(
            session=self.number,
            prompt_id=timeline.prompt_id,
            prompt_index=served.asked.index,
            mode=timeline.mode,
            seed=served.asked.seed,
            block=pending.block,
            time_start_s=timeline.time_start_s,
            time_end_s=timeline.time_end_s,
            output=stored(served.generation, store_text) if served.generation else None,
            score=stored_score(pending.score, store_text),
            readings=readings,
            findings=(*pending.findings, *(self.meter.lost if unknown else ())),
            service=served.service,
        )


def marks_edges(cell: Cell) -> bool:
    """Whether every edge of a query is marked: a curve weighs all steps of a tick, and can do so for a few of them."""
    if cell.request_rate_per_second is not None:
        return cell.request_rate_per_second <= MARKED_RATE_MOST_PER_SECOND
    return max(cell.batch_size, cell.concurrency or 1) <= MARKED_IN_FLIGHT_MOST


def n_warm_ups(cell: Cell) -> int:
    """How many queries of each mode the load is warmed up with: of an open loop, those of half a minute at most."""
    if cell.request_rate_per_second is not None:
        return min(ARRIVALS_MOST, max(1, math.ceil(WARM_UP_OPEN_S * cell.request_rate_per_second)))
    return WARM_UP_LOADS * max(cell.batch_size, cell.concurrency or 1)


def repeated(prompts: Sequence[Prompt], n_prompts: int) -> list[Place]:
    """So many prompts with their positions, from the beginning again after the last."""
    return [(index % len(prompts), prompts[index % len(prompts)]) for index in range(n_prompts)]
