"""Connects the stages for one cell at one site: one session, from loading the model to the last final query.

    prompts -> engine -> meter -> attribution -> store

A session is tiled without holes: start_up, load, warm_up, idle_before, then queries with a gap before each,
idle_after, shut_down. The energies of the tiles add up to the sensor's last reading minus its first. A query is
written once its energy is final, after the raw readings it was computed from.

Of a pair of checkpoints each is loaded in turn; idle_after, load, warm_up and idle_before then stand between two
blocks. A two-phase session has its batches (lengths) before its queries.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.attribution import exclusive
from harness.attribution.host import HostLoad, withheld
from harness.clock import ClockOffsets, clock_offsets, utc_now
from harness.errors import CellFailed, HarnessError, InvalidMeasurement, OutOfMemory, ScoringFailed, UsageError
from harness.meter.meter import SessionMeter
from harness.meter.sampler_stats import late_findings
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
    IntervalRecord,
    LengthRecord,
    Method,
    Output,
    Prompt,
    QueryRecord,
    Reading,
    Score,
    Segment,
    SessionEnd,
    Stopping,
)
from harness.schedule import Block, Round, Schedule, batch_seed, n_prompts_for_block, query_seed

WARM_UP_TOKENS = 16
SETTLE_S = 0.5
"""Power lingers for up to 300 ms after work ends; the baseline begins after that."""
FINAL_WAIT_S, FINAL_WAIT_TICKS, FINAL_WAIT_MORE_S = 1.0, 4.0, 0.5
"""So long, or so many ticks of the slowest sensor and a little more, the last readings are waited for in the end."""
BATCHES_PER_CALL = 8
"""Two-phase: so many batches' worth of answers are generated, and stored, together. The last of them run in small
batches; and what is not stored yet is lost by a kill."""
SEGMENT_PERIOD_S = 2.0
"""Between two queries, raw readings older than this are put on disk."""


class Observer:
    """What a caller may want to see of a session while it runs. The default sees nothing."""

    def stage(self, name: str, mode: str | None = None) -> None:
        """The session enters a stage.

        Args:
            name: `sensor`, `load`, `warm_up`, `idle_before`, `lengths` (of a two-phase run), `queries`, `idle_after`.
            mode: Of a load: one that the loaded checkpoint answers in.
        """

    def lengths(self, n_done: int, n_all: int) -> None:
        """So many answers of a two-phase run were generated in batches."""

    def looked(self, n_prompts: int, stopping: Stopping) -> None:
        """A run that stops by itself has looked at its interval."""

    def query(self, record: QueryRecord) -> None:
        """A query is final and on disk."""

    def started(self, index: int, n_queries: int, prompt: Prompt, mode: str) -> None:
        """A query begins."""

    def ended(self, index: int) -> None:
        """A query's output is there; its energy is not yet."""


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
    _host: HostLoad = field(default_factory=HostLoad)
    _tile_start_s: float | None = None
    _next_segment_s: float = 0.0
    _unwritten: list[Segment] = field(default_factory=list)
    _offsets: ClockOffsets | None = None
    _pending: list[_Pending] = field(default_factory=list)
    _pending_tiles: list[tuple[str, float | None, float]] = field(default_factory=list)
    _durations_s: dict[str, list[float]] = field(default_factory=dict)
    _n_blocks: int = 0
    _n_looked: int = 0

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
        self.meter.start(self.clock.origin_monotonic_s)
        self._offsets = clock_offsets()
        status = "failed"
        try:
            self._prepare(announce, check)
            if self.schedule.cell.lengths_batch_size is not None:
                self._lengths()
            settled = self._queries()
            self.observer.stage("idle_after")
            self._settle()
            self._idle("idle_after")
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
        self._tile("start_up", self.clock.now_s())
        facts: list[EngineFacts] = []
        # The second of a pair first: its rounds begin with the cell's own, which stays.
        for modes in filter(None, (cell.pair.modes if cell.pair else (), self._own_modes())):
            self.observer.stage("load", modes[0])
            facts.insert(0, self.engine.load(modes[0]))
            self._tile("load", self.clock.now_s())
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
        self._settle()
        self._idle("idle_before")
        if self.schedule.cell.warm_up:
            # Clocks and threads went to sleep meanwhile; the first query must not pay for waking them.
            self._warm_up(1)

    def _warm_up(self, n_prompts: int) -> None:
        cell = self.schedule.cell
        for prompt in self.schedule.prompts[:n_prompts]:
            for mode in filter(self.engine.ready, cell.modes):
                try:
                    generation = self.engine.generate(prompt, mode, min(WARM_UP_TOKENS, cell.cap(mode)), cell.seed)
                except (UsageError, CellFailed):
                    continue  # a prompt that does not fit is reported where it is measured
                self._durations_s.setdefault(mode, []).append(generation.time_end_s - generation.time_start_s)
        self._tile("warm_up", self.clock.now_s())

    def _hold(self, mode: str) -> None:
        """Make the checkpoint that answers in `mode` the resident one. Nothing of that is in a query."""
        if self.engine.ready(mode):
            return
        self.observer.stage("idle_after")
        self._settle()
        self._idle("idle_after")
        self.observer.stage("load", mode)
        self.engine.load(mode)
        self._tile("load", self.clock.now_s())
        self._settle_in()
        self.observer.stage("queries")

    def _settle(self) -> None:
        self.clock.sleep_until(self.clock.now_s() + SETTLE_S)
        self._tile("gap", self.clock.now_s())

    def _idle(self, name: str) -> None:
        self.clock.sleep_until(self.clock.now_s() + self.schedule.idle_duration_s)
        self._tile(name, self.clock.now_s())

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
                n_tokens = length.output.sizes.get("output_tokens", 0)
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
            generations, findings = (None,), (_failure(error),)
        else:
            self._tile("gap", generations[0].time_start_s, Edge.WORK_BEGINS)
            self._tile("lengths", generations[0].time_end_s, Edge.WORK_ENDS)
            self._await_final()
            self._write_tiles()  # what it took is on disk before what it counted
            if n_rows < (cell.lengths_batch_size or 1):
                findings = (Finding(code=FindingCode.BATCH_SPLIT, detail=f"{n_rows} at once"),)
        for (index, prompt), generation in zip(batch, generations, strict=True):
            score, doubts = self._score(prompt, generation)
            own = _output_findings(generation) if generation else []
            self.store.append_length(
                LengthRecord(
                    session=self.number,
                    prompt_id=prompt.prompt_id,
                    prompt_index=index,
                    mode=mode,
                    seed=seed,
                    batch_size=n_rows,
                    output=_stored(generation, self.schedule.store_text) if generation else None,
                    score=self._stored_score(score),
                    findings=(*findings, *own, *doubts),
                )
            )
        return n_rows

    def _queries(self) -> bool:
        """Ask what is left; return whether the run stopped because its interval is as narrow as asked for."""
        n_queries = self.schedule.n_queries()
        position = 0
        self._write_readings(self.meter.collect())  # the idle stretch has shown how often the sensors update
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
            if self.clock.now_s() >= self._next_segment_s:
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
        try:
            generation = self.engine.generate(prompt, mode, cell.cap(mode), seed)
        except (OutOfMemory, CellFailed, UsageError) as error:
            findings.append(_failure(error))
        start_s = generation.time_start_s if generation else called_s
        end_s = generation.time_end_s if generation else self.clock.now_s()
        self._durations_s.setdefault(mode, []).append(end_s - start_s)
        self._tile("gap", start_s, Edge.WORK_BEGINS)
        self._tile_start_s = end_s
        self.meter.mark(end_s, edge=Edge.WORK_ENDS)
        if generation:
            self.meter.mark(*(phase.time_end_s for phase in generation.phases[:-1]), edge=Edge.PHASE)
            findings += _output_findings(generation)
        findings += self.engine.warnings()
        score, doubts = self._score(prompt, generation)
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

    def _score(self, prompt: Prompt, generation: Generation | None) -> tuple[Score | None, tuple[Finding, ...]]:
        """Whether the answer is right; nothing, with the reason, where the scorer cannot say."""
        if generation is None or prompt.scorer is None:
            return None, ()
        try:
            return self.scorers[prompt.scorer].score(generation.answer, prompt.reference or ""), ()
        except ScoringFailed as error:
            return None, (Finding(code=FindingCode.SCORER_FAILED, detail=str(error)),)

    def _tile(self, name: str, time_end_s: float, edge: Edge = Edge.UNKNOWN) -> None:
        """Close the stretch since the last tile or query. The first begins where the sensors' readings do."""
        self.meter.mark(time_end_s, edge=edge)
        self._pending_tiles.append((name, self._tile_start_s, time_end_s))
        self._tile_start_s = time_end_s

    def _write_final(self) -> None:
        self._write_readings(self.meter.collect())
        self._write_known(last=False)
        self._next_segment_s = self.clock.now_s() + SEGMENT_PERIOD_S

    def _write_readings(self, segment: Segment) -> None:
        """Put raw readings on disk, and first those that could not be written before: later ones build on them."""
        self._unwritten.append(segment)
        while self._unwritten:
            self.store.write_segment(self.number, self._unwritten[0])
            del self._unwritten[0]

    def _write_known(self, *, last: bool) -> None:
        """Append what cannot change any more: everything up to the end of the final curve, or simply everything."""
        last = last or bool(self.meter.lost)
        until_s = self.meter.final_until_s
        if not last and not any(query.time_end_s <= until_s for query in self._pending[:1]):
            return
        curves = self.meter.curves()
        self._write_tiles(last=last)
        while self._pending and (last or self._pending[0].time_end_s <= until_s):
            record = self._record(curves, self._pending[0])
            self.store.append_query(record)
            del self._pending[0]
            self.observer.query(record)

    def _write_tiles(self, *, last: bool = False) -> None:
        """Append the stretches that cannot change any more."""
        last = last or bool(self.meter.lost)
        curves = self.meter.curves()
        while self._pending_tiles and (last or self._pending_tiles[0][2] <= self.meter.final_until_s):
            self.store.append_interval(self._interval(curves, *self._pending_tiles[0]))
            del self._pending_tiles[0]

    def _interval(
        self, curves: Sequence[EnergyCurve], name: str, start_s: float | None, end_s: float
    ) -> IntervalRecord:
        begins = [_first(curve.time_first_s, end_s) if start_s is None else start_s for curve in curves]
        readings = [exclusive.read(curve, begin_s, end_s) for curve, begin_s in zip(curves, begins, strict=True)]
        begun_s = min(begins, default=end_s)
        return IntervalRecord(
            session=self.number, name=name, time_start_s=begun_s, time_end_s=end_s, readings=tuple(readings)
        )

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
            output=_stored(query.generation, self.schedule.store_text) if query.generation else None,
            score=self._stored_score(query.score),
            readings=readings,
            findings=(*query.findings, *(self.meter.lost if unknown else ())),
        )

    def _stored_score(self, score: Score | None) -> Score | None:
        """What was read as the answer is part of the text, and is stored where the text is."""
        if score is None or self.schedule.store_text == "full":
            return score
        return score.model_copy(update={"extracted": None})

    def _finish(self, status: str) -> None:
        """Let the last queries and the idle stretch after them become final, stop the meter, and write what is left."""
        self._await_final()
        stats, segment = self.meter.stop()
        self._write_readings(segment)
        self._write_known(last=True)
        self._shut_down()
        drifts = (finding for curve in self.meter.curves() for finding in curve.session_findings)
        findings = [*self.meter.lost, *drifts]
        if self.conclude is not None and status != "failed":
            try:
                findings += self.conclude()
            except Exception as error:  # noqa: BLE001 - a session that is measured has ended, whatever is made of it
                detail = f"what the session says of its sensors is not known: {type(error).__name__}: {error}"
                findings.append(Finding(code=FindingCode.LIBRARY_WARNING, detail=detail))
        findings += late_findings(stats)
        stepped_s = self._offsets.stepped_by_s(clock_offsets()) if self._offsets else None
        if stepped_s is not None:
            findings.append(Finding(code=FindingCode.CLOCK_STEP, detail=f"by {stepped_s:+.3f} s"))
        self.store.write_end(
            SessionEnd(session=self.number, ended_utc=utc_now(), status=status, sampler=stats, findings=tuple(findings))
        )

    def _await_final(self) -> None:
        """Wait until the curves reach the end of the last tile: a sensor stopped earlier leaves it without energy."""
        curves = self.meter.curves()
        if not curves:
            return
        slowest_s = max(curve.duration_period_s or 0.0 for curve in curves)
        deadline_s = self.clock.now_s() + max(FINAL_WAIT_S, FINAL_WAIT_TICKS * slowest_s + FINAL_WAIT_MORE_S)
        ends_s = [end_s for _, _, end_s in self._pending_tiles] + [query.time_end_s for query in self._pending]
        while self.meter.final_until_s < max(ends_s, default=0.0) and not self.meter.lost:
            if self.clock.now_s() >= deadline_s:
                return
            self.clock.sleep_until(self.clock.now_s() + max(0.05, slowest_s / 4))
            self._write_final()

    def _shut_down(self) -> None:
        """The last tile ends, for each device, at its last reading."""
        start_s = self._tile_start_s
        curves = [curve for curve in self.meter.curves() if start_s is not None and curve.covers(start_s, start_s)]
        if not curves or start_s is None:
            return
        readings = tuple(exclusive.read(curve, start_s, _first(curve.time_last_s, start_s)) for curve in curves)
        self.store.append_interval(
            IntervalRecord(
                session=self.number,
                name="shut_down",
                time_start_s=start_s,
                time_end_s=max(reading.time_end_s for reading in readings),
                readings=readings,
            )
        )


def _first(time_s: float | None, otherwise_s: float) -> float:
    return otherwise_s if time_s is None else time_s


def refuse_precision(finding: Finding | None, *, accepted: bool) -> None:
    """Stop before anything is measured in a precision that nobody asked for.

    Raises:
        InvalidMeasurement: The executed precision is not the requested one, and was not accepted.
    """
    if finding is not None and not accepted:
        raise InvalidMeasurement(f"{finding.code.sentence} {finding.detail}".strip(), finding.code.next_step)


def _failure(error: HarnessError) -> Finding:
    """Why a query has no answer."""
    if isinstance(error, OutOfMemory):
        return Finding(code=FindingCode.OUT_OF_MEMORY, detail=str(error))
    code = FindingCode.QUERY_FAILED if isinstance(error, CellFailed) else FindingCode.PROMPT_TOO_LONG
    return Finding(code=code, detail=str(error))


def _output_findings(generation: Generation) -> list[Finding]:
    findings = []
    if generation.forced_end:
        findings.append(Finding(code=FindingCode.BUDGET_REACHED))
    if generation.finish_reason == "length":
        findings.append(Finding(code=FindingCode.CUT_BY_CAP))
    if 0 < generation.sizes.get("thinking_tokens", 0) == generation.sizes.get("output_tokens"):
        findings.append(Finding(code=FindingCode.THINKING_NOT_CLOSED))
    return findings


def _stored(generation: Generation, store_text: str) -> Output:
    return Output(
        sizes=generation.sizes,
        finish_reason=generation.finish_reason,
        rendered_prompt_sha256=_sha256(generation.rendered_prompt),
        thought=bool(generation.thinking.strip()),
        rendered_prompt=generation.rendered_prompt if store_text == "full" else None,
        text=generation.text if store_text == "full" else None,
        text_sha256=_sha256(generation.text) if store_text != "none" else None,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
