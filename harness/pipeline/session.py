"""One query at a time, each with its devices to itself: from loading the model to the last final query.

A query is written once its energy is final, after the raw readings it was computed from.

Of a pair of checkpoints each is loaded in turn; idle_after, load, warm_up and idle_before then stand between two
blocks. A two-phase session has its batches (lengths) before its queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.attribution import exclusive
from harness.attribution.host import HostLoad, withheld
from harness.engine.findings import failure, length_findings
from harness.errors import CellFailed, OutOfMemory, UsageError
from harness.meter.meter import SessionMeter
from harness.pipeline.observer import Observer
from harness.pipeline.output import output_findings, score_of, stored, stored_score
from harness.pipeline.recording import Recording
from harness.protocols import Clock, EnergyCurve, Engine, RunStore, Scorer
from harness.records import (
    Attribution,
    Boundary,
    Channel,
    CpuUse,
    Edge,
    EngineFacts,
    Finding,
    FindingCode,
    Generation,
    LengthRecord,
    Method,
    Prompt,
    QueryRecord,
    Reading,
    Score,
    Stopping,
)
from harness.schedule import Block, Round, Schedule, batch_seed, n_prompts_for_block, query_seed

WARM_UP_TOKENS = 16
WARM_UP_SPARE = 8
"""Prompts that are tried beyond those that are to be asked, where some cannot be: half a picture warms nothing up."""
BATCHES_PER_CALL = 8
"""Two-phase: so many batches' worth of answers are generated, and stored, together. The last of them run in small
batches; and what is not stored yet is lost by a kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A query whose energy is not final."""

    index: int
    prompt: Prompt
    mode: str
    seed: int
    block: int
    time_start_s: float
    time_end_s: float
    generation: Generation | None
    score: Score | None
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class Session:
    """One process start of one cell. Use `run` once."""

    number: int
    schedule: Schedule
    engine: Engine
    meter: SessionMeter
    clock: Clock
    store: RunStore
    scorers: Mapping[str, Scorer]
    observer: Observer = field(default_factory=Observer)
    attribution: Attribution = Attribution.EXCLUSIVE
    cpu_time: Callable[[], CpuUse] | None = None
    """Asked between queries whether others use the host; None: they are not looked for."""
    conclude: Callable[[], Sequence[Finding]] | None = None
    """Asked once, when all raw readings are on disk, what they give to doubt about the session."""
    look: Callable[[], Stopping] | None = None
    """Of a run that stops by itself: asked, with whole prompts on disk, how far it has come."""
    choose: Callable[[Sequence[LengthRecord]], frozenset[str]] | None = None
    """Of a two-phase run: which prompts are measured one by one, once all token counts are known."""
    lengths: Mapping[tuple[str, str], int] | None = None
    """(prompt_id, mode) to how many tokens its answer is to have; None: each ends by itself."""
    _recording: Recording = field(init=False)
    _host: HostLoad = field(default_factory=HostLoad)
    _pending: list[_Pending] = field(default_factory=list)
    _durations_s: dict[str, list[float]] = field(default_factory=dict)
    _n_blocks: int = 0
    _n_looked: int = 0

    def __post_init__(self) -> None:
        self._recording = Recording(self.number, self.meter, self.clock, self.store)

    def run(
        self,
        announce: Callable[[tuple[EngineFacts, ...], tuple[Channel, ...]], None],
        check: Callable[[EngineFacts], None],
    ) -> str:
        """Measure everything that is not on disk yet.

        Args:
            announce: Called once every checkpoint was loaded, before the first query, with the facts of the cell's own
                first; writes the manifest.
            check: Called with the facts of each loaded checkpoint; raises where it must not be measured.

        Returns:
            How the session ended: `finished`; `settled` where the run's interval is as narrow as asked for; `stopped`
            after the pilot or for want of a sensor.

        Raises:
            HarnessError: Whatever the engine, the meter or the store cannot do. What is final is on disk.
            KeyboardInterrupt: After everything that could be made final is on disk.
        """
        self._recording.start()
        status = "failed"
        try:
            self._prepare(announce, check)
            if self.schedule.cell.lengths_batch_size is not None:
                self._lengths()
            settled = self._queries()
            self.observer.stage("idle_after")
            self._recording.settle()
            self._recording.idle("idle_after", self.schedule.idle_duration_s)
            status = "settled" if settled else "finished"
            if self.schedule.pilot_only or self.meter.lost:
                status = "stopped"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            try:
                self._finish(status)
            finally:
                self.meter.stop()
                self.engine.close()
        return status

    def _prepare(
        self,
        announce: Callable[[tuple[EngineFacts, ...], tuple[Channel, ...]], None],
        check: Callable[[EngineFacts], None],
    ) -> None:
        cell = self.schedule.cell
        self._recording.tile("start_up", self.clock.now_s())
        facts: list[EngineFacts] = []
        # The second of a pair first: its rounds begin with the cell's own, which stays.
        for modes in filter(None, (cell.pair.modes if cell.pair else (), self._own_modes())):
            self.observer.stage("load", modes[0])
            facts.insert(0, self.engine.load(modes[0]))
            self._recording.tile("load", self.clock.now_s())
            check(facts[0])
        announce(tuple(facts), self.meter.channels)
        self._settle_in()

    def _own_modes(self) -> tuple[str, ...]:
        """The modes of the cell's own checkpoint."""
        cell = self.schedule.cell
        return cell.modes if cell.pair is None else tuple(mode for mode in cell.modes if mode not in cell.pair.modes)

    def _settle_in(self) -> None:
        """Warm the resident checkpoint up, measure how much it draws idle, and wake it again."""
        self.observer.stage("warm_up")
        if self.schedule.cell.warm_up:
            self._warm_up(self.schedule.n_warm_up)
        self.observer.stage("idle_before")
        self._recording.settle()
        self._recording.idle("idle_before", self.schedule.idle_duration_s)
        if self.schedule.cell.warm_up:
            # Clocks and threads went to sleep meanwhile; the first query must not pay for waking them.
            self._warm_up(1)

    def _warm_up(self, n_prompts: int) -> None:
        """Ask the first prompts that can be asked; one that cannot is reported where it is measured."""
        for prompt in self.schedule.prompts[: n_prompts + WARM_UP_SPARE]:
            if not n_prompts:
                break
            n_prompts -= self._warmed(prompt)
        self._recording.tile("warm_up", self.clock.now_s())

    def _warmed(self, prompt: Prompt) -> bool:
        """Ask it in every mode that is ready; whether it has an answer in any."""
        cell, has_answer = self.schedule.cell, False
        for mode in filter(self.engine.ready, cell.modes):
            try:
                generation = self.engine.generate(prompt, mode, min(WARM_UP_TOKENS, cell.cap(mode)), cell.seed)
            except (UsageError, CellFailed):
                continue
            has_answer = True
            self._durations_s.setdefault(mode, []).append(generation.time_end_s - generation.time_start_s)
        return has_answer

    def _hold(self, mode: str) -> None:
        """Make the checkpoint that answers in `mode` the resident one. Nothing of that is in a query."""
        if self.engine.ready(mode):
            return
        self.observer.stage("idle_after")
        self._recording.settle()
        self._recording.idle("idle_after", self.schedule.idle_duration_s)
        self.observer.stage("load", mode)
        self.engine.load(mode)
        self._recording.tile("load", self.clock.now_s())
        self._settle_in()
        self.observer.stage("queries")

    def _lengths(self) -> None:
        """Two-phase: the token counts of all prompts, generated in batches; then only some are measured one by one."""
        cell, prompts = self.schedule.cell, self.schedule.prompts
        known = {(length.prompt_id, length.mode) for length in self.store.lengths()}
        n_done, n_all = len(known), len(prompts) * len(cell.modes)
        self.observer.stage("lengths")
        n_rows = cell.lengths_batch_size or 1
        for mode in cell.modes:
            left = [place for place in enumerate(prompts) if (place[1].prompt_id, mode) not in known]
            # The longest first, as far as other modes tell: what is left to the end runs in small batches.
            so_far = self._tokens_so_far()
            left.sort(key=lambda place: -so_far.get(place[1].prompt_id, 0))
            while left:
                taken, left = left[: BATCHES_PER_CALL * n_rows], left[BATCHES_PER_CALL * n_rows :]
                n_rows = self._batch(tuple(taken), mode, n_rows)
                n_done += len(taken)
                self.observer.lengths(n_done, n_all)
        if self.choose is not None:
            self.schedule = self.schedule.measuring(self.choose(self.store.lengths()))

    def _tokens_so_far(self) -> dict[str, int]:
        """Output tokens of each prompt over the modes that were counted."""
        tokens: dict[str, int] = {}
        for length in self.store.lengths():
            if length.output is not None:
                n_tokens = length.output.n_tokens("output_tokens") or 0
                tokens[length.prompt_id] = tokens.get(length.prompt_id, 0) + n_tokens
        return tokens

    def _batch(self, batch: tuple[tuple[int, Prompt], ...], mode: str, n_rows: int) -> int:
        """Generate these answers, at most `n_rows` at once, and store what they took.

        Returns:
            How many at once fit: too many are halved until they do.
        """
        cell = self.schedule.cell
        seed = batch_seed(cell, mode, batch[0][1].prompt_id)
        prompts = [prompt for _, prompt in batch]
        generations: tuple[Generation | None, ...]
        findings: tuple[Finding, ...] = ()
        try:
            generations = self.engine.generate_batch(prompts, mode, cell.cap(mode), seed, batch_size=n_rows)
        except (CellFailed, UsageError) as error:
            if isinstance(error, OutOfMemory) and n_rows > 1:
                return self._batch(batch, mode, n_rows // 2)
            if len(batch) > 1:  # one of them, perhaps
                half = len(batch) // 2
                return self._batch(batch[half:], mode, self._batch(batch[:half], mode, n_rows))
            generations, findings = (None,), (failure(error),)
        else:
            self._recording.tile("gap", generations[0].time_start_s, Edge.WORK_BEGINS)
            self._recording.tile("lengths", generations[0].time_end_s, Edge.WORK_ENDS)
            self._await_final()
            self._recording.write_tiles()  # what it took is on disk before what it counted
            if n_rows < (cell.lengths_batch_size or 1):
                findings = (Finding(code=FindingCode.BATCH_SPLIT, detail=f"{n_rows} at once"),)
        for (index, prompt), generation in zip(batch, generations, strict=True):
            score, doubts = score_of(self.scorers, prompt, generation)
            own = output_findings(generation) if generation else []
            self.store.append_length(
                LengthRecord(
                    session=self.number,
                    prompt_id=prompt.prompt_id,
                    prompt_index=index,
                    mode=mode,
                    seed=seed,
                    batch_size=n_rows,
                    output=stored(generation, self.schedule.store_text) if generation else None,
                    score=stored_score(score, self.schedule.store_text),
                    findings=(*findings, *own, *doubts),
                )
            )
        return n_rows

    def _queries(self) -> bool:
        """Ask what is left; return whether the run stopped because its interval is as narrow as asked for."""
        n_queries = self.schedule.n_queries()
        position = 0
        self._recording.collect()  # the idle stretch has shown how often the sensors update
        self.observer.stage("queries")
        for round_ in self.schedule.rounds(self._n_prompts_per_round):
            for block in round_.blocks:
                self._hold(block.mode)
                position = self._block(block, position, n_queries)
                if self.meter.lost:
                    return False  # what ran since is null; the rest waits for a sensor, and a resume
            if self._settled(round_):
                return True
        return False

    def _block(self, block: Block, position: int, n_queries: int) -> int:
        self._n_blocks += 1
        for index, prompt in block.prompts:
            self.observer.started(position, n_queries, prompt, block.mode)
            self._query(index, prompt, block.mode)
            self.observer.ended(position)
            position += 1
            if self._recording.is_segment_due:
                self._write_final()
            if self.meter.lost:
                break
        return position

    def _n_prompts_per_round(self) -> int:
        """By the shortest queries so far and the slowest sensor that is read; an estimate has nothing to wait for."""
        means_s = [math.fsum(durations_s) / len(durations_s) for durations_s in self._durations_s.values()]
        curves = self.meter.curves()
        boards = [curve for curve in curves if curve.channel.boundary is Boundary.GPU_BOARD]
        ticks_s = [
            curve.duration_period_s or 0.0 for curve in boards or curves if curve.channel.method is not Method.ESTIMATED
        ]
        return n_prompts_for_block(min(means_s, default=None), max(ticks_s, default=0.0))

    def _settled(self, round_: Round) -> bool:
        """At a look: wait until everything asked is on disk, and see whether that is enough."""
        due = [look for look in self.schedule.looks if self._n_looked < look <= round_.n_prompts]
        if self.look is None or not due:
            return False
        self._n_looked = round_.n_prompts
        self._await_final()
        self._write_final()
        stopping = self.look()
        self.observer.looked(round_.n_prompts, stopping)
        return stopping.settled

    def _query(self, index: int, prompt: Prompt, mode: str) -> None:
        cell = self.schedule.cell
        seed = query_seed(cell, prompt.prompt_id)
        self._look_at_host()
        called_s = self.clock.now_s()
        generation: Generation | None = None
        findings: list[Finding] = []
        n_forced = None if self.lengths is None else self.lengths[prompt.prompt_id, mode]
        try:
            generation = self.engine.generate(prompt, mode, cell.cap(mode), seed, n_forced_tokens=n_forced)
        except (OutOfMemory, CellFailed, UsageError) as error:
            findings.append(failure(error))
        start_s = generation.time_start_s if generation else called_s
        end_s = generation.time_end_s if generation else self.clock.now_s()
        self._durations_s.setdefault(mode, []).append(end_s - start_s)
        self._recording.tile("gap", start_s, Edge.WORK_BEGINS)
        self._recording.query_ended(end_s)
        if generation:
            self.meter.mark(*(phase.time_end_s for phase in generation.phases[:-1]), edge=Edge.PHASE)
            findings += output_findings(generation)
            findings += length_findings(n_forced, generation.n_tokens("output_tokens"))
        findings += self.engine.warnings()
        score, doubts = score_of(self.scorers, prompt, generation)
        self._look_at_host()
        self._pending.append(
            _Pending(
                index=index,
                prompt=prompt,
                mode=mode,
                seed=seed,
                block=self._n_blocks,
                time_start_s=start_s,
                time_end_s=end_s,
                generation=generation,
                score=score,
                findings=(*findings, *doubts),
            )
        )

    def _look_at_host(self) -> None:
        if self.cpu_time is not None:
            self._host.note(self.clock.now_s(), self.cpu_time())

    def _write_final(self) -> None:
        self._recording.collect()
        self._write_known(last=False)

    def _await_final(self) -> None:
        self._recording.await_final([query.time_end_s for query in self._pending], self._write_final)

    def _finish(self, status: str) -> None:
        """Let the last queries and the idle stretch after them become final, stop the meter, and write what is left."""
        self._await_final()
        self._recording.finish(status, lambda: self._write_known(last=True), self.conclude)

    def _write_known(self, *, last: bool) -> None:
        """Append what cannot change any more: everything up to the end of the final curve, or simply everything."""
        last = last or bool(self.meter.lost)
        until_s = self.meter.final_until_s
        if not last and not any(query.time_end_s <= until_s for query in self._pending[:1]):
            return
        curves = self.meter.curves()
        self._recording.write_tiles(last=last)
        while self._pending and (last or self._pending[0].time_end_s <= until_s):
            record = self._record(curves, self._pending[0])
            self.store.append_query(record)
            del self._pending[0]
            self.observer.query(record)

    def _record(self, curves: Sequence[EnergyCurve], query: _Pending) -> QueryRecord:
        phases = query.generation.phases if query.generation else ()
        n_cores_others = self._host.n_cores_others(query.time_start_s, query.time_end_s)
        readings: tuple[Reading, ...] = tuple(
            withheld(
                exclusive.read(curve, query.time_start_s, query.time_end_s, phases, self.attribution), n_cores_others
            )
            for curve in curves
        )
        unknown = any(reading.energy_gross_j is None for reading in readings)
        return QueryRecord(
            session=self.number,
            prompt_id=query.prompt.prompt_id,
            prompt_index=query.index,
            mode=query.mode,
            seed=query.seed,
            block=query.block,
            time_start_s=query.time_start_s,
            time_end_s=query.time_end_s,
            output=stored(query.generation, self.schedule.store_text) if query.generation else None,
            score=stored_score(query.score, self.schedule.store_text),
            readings=readings,
            findings=(*query.findings, *(self.meter.lost if unknown else ())),
        )
