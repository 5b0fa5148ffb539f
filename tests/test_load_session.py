"""Whole loads in virtual time: scripted queries that overlap, a counter of known power, real files, real verify.

When queries run does not depend on the readings, so a rehearsal on an idle board tells the timelines, and the same load
on a board whose power follows them is compared with the exact answer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.clock import ManualClock
from harness.engine.scripted import Turn
from harness.engine.scripted_load import ScriptedLoadEngine
from harness.errors import ServerLost, StorageFull
from harness.meter.meter import SessionMeter
from harness.meter.replay import ReplayRecorder
from harness.pipeline.load import LoadSession
from harness.pipeline.observer import Observer
from harness.records import (
    Attribution,
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    EngineOptions,
    FindingCode,
    Prompt,
    QueryRecord,
    Reading,
    RunManifest,
    Served,
    ServerFacts,
    Timeline,
    TokenWeights,
)
from harness.schedule import Schedule
from harness.scoring.catalogue import scorer
from harness.store.run_directory import RunDirectory
from harness.verify import verify
from tests.synthetic_power import COUNTER, NO_POWER, Power, counter, tick_times
from tests.test_pipeline import SITE, prompts
from tests.test_pipeline import cell as lone_cell

IDLE_W, BUSY_W = 70.0, 400.0
FACTS = EngineFacts(
    device_name="a board",
    device_uuids=(COUNTER.device,),
    revision="unknown",
    n_parameters=None,
    bytes_per_parameter=None,
    executed_precision=None,
    requested_precision=None,
    layer_classes={},
    attention=None,
    context_length=None,
    weights_format=None,
    generation_config={},
    server=ServerFacts(kind="scripted", version=None, model="scripted", base_url="http://127.0.0.1:1/v1"),
)


def load_cell_of(**changes: object) -> Cell:
    engine = EngineOptions(name="openai", device="served")
    return lone_cell(**({"engine": engine, "concurrency": 4, "modes": ("on",)} | changes))


@dataclass(kw_only=True)
class Rig:
    """A cell under load in a run directory, and how its sessions go."""

    path: Path
    power: Power = field(default_factory=lambda: Power.constant(IDLE_W))
    n_prompts: int = 16
    cell: Cell = field(default_factory=load_cell_of)
    duration_s: float = 120.0
    weights: tuple[float, float] | None = (0.5, 1.0)

    @property
    def store(self) -> RunDirectory:
        return RunDirectory.create(self.path, self.cell, SITE.site_id)

    def session(
        self,
        *,
        failures: frozenset[int] = frozenset(),
        lost_after: int | None = None,
        lost_at_s: Mapping[str, float] | None = None,
        observer: Observer | None = None,
        interrupt_after: int | None = None,
    ) -> str:
        clock, store = ManualClock(), self.store
        number = store.begin_session()
        readings = [counter(self.power, tick_times(0.1, self.duration_s, 0.1), channel=0, bracket_s=0.0005)]
        engine = ScriptedLoadEngine(
            clock=clock,
            script=turn,
            facts=FACTS,
            session=number,
            concurrency=self.cell.concurrency or 1,
            request_rate_per_second=self.cell.request_rate_per_second,
            failures=failures,
            lost_after=lost_after,
        )
        session = LoadSession(
            number=number,
            schedule=Schedule(
                cell=self.cell,
                prompts=prompts(self.n_prompts),
                finished=store.finished(),
                n_pilot=2,
                pilot_only=False,
                idle_duration_s=2.0,
                n_warm_up=2,
                store_text="full",
            ),
            engine=engine,
            meter=SessionMeter(ReplayRecorder(clock, [COUNTER], readings, lost_at_s)),
            clock=clock,
            store=store,
            scorers={"numeric": scorer("numeric")},
            observer=observer or Interrupting(interrupt_after),
            weights=self.weights,
        )
        return session.run(lambda facts, channels: self.announce(store, number, facts, channels), lambda _facts: None)

    def announce(
        self, store: RunDirectory, number: int, facts: tuple[EngineFacts, ...], channels: tuple[Channel, ...]
    ) -> None:
        store.write_manifest(
            RunManifest(
                harness_version="0",
                run_id=self.path.name,
                cell_id=self.cell.cell_id,
                session=number,
                started_utc="2030-01-01T00:00:00Z",
                origin_unix_s=0.0,
                origin_monotonic_s=0.0,
                command=("harness", "run"),
                git_commit=None,
                site=SITE,
                engine=facts[0],
                channels=channels,
                headline=Boundary.GPU_BOARD,
                meter_gpus="auto",
                n_prompts=self.n_prompts,
                store_text="full",
                tariff_per_kwh=None,
                findings=(),
            )
        )


class Interrupting(Observer):
    """Ctrl-C once so many queries are there."""

    def __init__(self, after: int | None) -> None:
        self._after = after

    def served(self, n_done: int, n_queries: int, mode: str, n_failed: int) -> None:
        if n_done == self._after:
            raise KeyboardInterrupt


def turn(prompt: Prompt, _mode: str, _seed: int) -> Turn:
    """Irregular, so that edges fall on all phases of the counter."""
    index = int(prompt.prompt_id[1:])
    return Turn(
        duration_prefill_s=0.21 + 0.0173 * index,
        duration_token_s=0.0307,
        n_prompt_tokens=10 + 7 * index,
        n_answer_tokens=9 + index,
        answer="42",
    )


def shares_by_hand(power: Power, timelines: Sequence[Timeline], weights: TokenWeights) -> dict[int, float]:
    """The rule as it is written, slice by slice, on the exact integral."""
    edges = sorted({edge for each in timelines for edge in (each.time_start_s, *each.time_chunk_s, each.time_end_s)})
    shares: dict[int, float] = defaultdict(float)
    for start_s, end_s in pairwise(edges):
        middle_s, rates = (start_s + end_s) / 2, {}
        for each in timelines:
            if not each.time_start_s < middle_s < each.time_end_s:
                continue
            rate, before_s = 0.0, each.time_start_s
            first_s = each.time_first_token_s
            if first_s is not None and middle_s < first_s:
                rate += weights.prompt * (each.n_prompt_tokens or 0) / (first_s - each.time_start_s)
            for time_s, n_tokens in zip(each.time_chunk_s, each.n_chunk_tokens, strict=True):
                if before_s < middle_s < time_s:
                    rate += weights.output * n_tokens / (time_s - before_s)
                before_s = time_s
            rates[each.number] = rate
        total = math.fsum(rates.values())
        for number, rate in rates.items():
            share = rate / total if total > 0 else 1 / len(rates)
            shares[number] += share * power.energy_j(start_s, end_s)
    return shares


def the_reading(record: QueryRecord) -> Reading:
    (reading,) = record.readings
    return reading


def busy_power(rig: Rig) -> Power:
    """Of a board that works whenever a query of a rehearsal is in flight."""
    timelines = rig.store.timelines(1)
    spans: list[list[float]] = []
    for each in sorted(timelines, key=lambda each: each.time_start_s):
        if spans and each.time_start_s <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], each.time_end_s)
        else:
            spans.append([each.time_start_s, each.time_end_s])
    return Power.steps(IDLE_W, *((start_s, end_s, BUSY_W) for start_s, end_s in spans))


@pytest.mark.parametrize(
    "changes",
    [{}, {"concurrency": None, "request_rate_per_second": 2.0}, {"concurrency": 16}, {"concurrency": 20}],
    ids=["closed", "open", "a crowd", "unmarked"],
)
def test_every_share_is_that_of_the_rule_and_together_they_are_the_whole(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    rehearsal = Rig(path=tmp_path / "rehearsal", cell=load_cell_of(**changes), n_prompts=24, power=NO_POWER)
    rehearsal.session()
    rig = replace(rehearsal, path=tmp_path / "run", power=busy_power(rehearsal))
    assert rig.session() == "finished"

    store, records = rig.store, rig.store.queries()
    timelines, weights = store.timelines(1), store.weights(1)
    assert weights is not None
    assert (weights.prompt, weights.output, weights.source) == (0.5, 1.0, "given")
    assert len(records) == rig.n_prompts
    exact = shares_by_hand(rig.power, timelines, weights)
    for record in records:
        reading = the_reading(record)
        assert record.service is not None
        assert reading.attribution is Attribution.SHARED_TOKENS
        assert reading.energy_gross_j is not None
        assert reading.energy_gross_half_width_j is not None
        error_j = abs(reading.energy_gross_j - exact[record.service.number])
        assert error_j <= 2.0 * reading.energy_gross_half_width_j + 1e-6, record.prompt_id
        assert math.fsum(phase.energy_gross_j or 0.0 for phase in reading.phases) == pytest.approx(
            reading.energy_gross_j, rel=1e-9
        )
        assert reading.duration_share_s is not None
        assert 0 < reading.duration_share_s <= record.duration_s * (1 + 1e-12)

    served = [interval for interval in store.intervals(1) if interval.name == "serving"]
    drawn_j = math.fsum(interval.readings[0].energy_gross_j or 0.0 for interval in served)
    shared_j = math.fsum(the_reading(record).energy_gross_j or 0.0 for record in records)
    nobodys_j = drawn_j - shared_j
    if rig.cell.concurrency:
        assert nobodys_j == pytest.approx(0.0, abs=1e-6)
    else:
        assert nobodys_j > 0
    result = verify(rig.path)
    assert result.differences == ()
    assert result.n_figures > 10 * rig.n_prompts


def test_queries_that_come_one_after_the_other_are_measured_and_not_shared(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", cell=load_cell_of(concurrency=1), n_prompts=4)
    assert rig.session() == "finished"
    assert {the_reading(record).attribution for record in rig.store.queries()} == {Attribution.EXCLUSIVE}
    assert rig.store.weights(1) is None
    assert verify(rig.path).differences == ()


def test_failed_queries_keep_their_share_and_are_asked_again(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", weights=None)
    n_warm_up = 2 + 3 * 4
    rig.session(failures=frozenset({n_warm_up + 2, n_warm_up + 7}))
    failed = [record for record in rig.store.queries() if record.output is None]
    assert len(failed) == 2
    assert {finding.code for record in failed for finding in record.findings} == {FindingCode.SERVER_REFUSED}
    assert all((the_reading(record).energy_gross_j or 0.0) > 0 for record in failed)
    rig.session()
    counted = Counter(record.prompt_id for record in rig.store.queries())
    assert {counted[record.prompt_id] for record in failed} == {2}
    assert sum(counted.values()) == rig.n_prompts + 2


def test_a_server_that_dies_leaves_what_was_final_and_a_resume_asks_the_rest(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run")
    n_warm_up = 2 + 3 * 4
    with pytest.raises(ServerLost):
        rig.session(lost_after=n_warm_up + 9)
    check_the_block_that_was_cut_off(rig)
    first = {record.prompt_id for record in rig.store.queries()}
    assert 0 < len(first) <= 9
    end = rig.store.end(1)
    assert end is not None
    assert end.status == "failed"
    assert rig.session() == "finished"
    assert Counter(record.prompt_id for record in rig.store.queries()) == Counter(
        prompt.prompt_id for prompt in prompts(rig.n_prompts)
    )
    assert verify(rig.path).differences == ()


def test_an_interruption_loses_nothing_that_has_ended_and_doubles_nothing(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        rig.session(interrupt_after=11)
    check_the_block_that_was_cut_off(rig)
    done = Counter(record.prompt_id for record in rig.store.queries())
    assert 8 <= sum(done.values()) <= 11
    assert rig.session() == "finished"
    assert set(Counter(record.prompt_id for record in rig.store.queries()).values()) == {1}
    assert verify(rig.path).differences == ()


def test_an_interruption_while_energies_are_written_doubles_nothing(tmp_path: Path) -> None:
    class Impatient(Observer):
        n_seen = 0

        def query(self, record: QueryRecord) -> None:
            self.n_seen += 1
            if self.n_seen == 3:
                raise KeyboardInterrupt

    rig = Rig(path=tmp_path / "run", power=NO_POWER)
    with pytest.raises(KeyboardInterrupt):
        rig.session(observer=Impatient())
    assert len(rig.store.queries()) >= 3
    assert set(Counter(record.prompt_id for record in rig.store.queries()).values()) == {1}


def test_a_lost_sensor_stops_the_load_and_its_queries_are_asked_again(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run")
    assert rig.session(lost_at_s={COUNTER.device: 9.0}) == "stopped"
    assert rig.session() == "finished"
    known = {record.prompt_id for record in rig.store.queries() if the_reading(record).energy_gross_j is not None}
    assert known == {prompt.prompt_id for prompt in prompts(rig.n_prompts)}


def check_the_block_that_was_cut_off(rig: Rig) -> None:
    """It is a tile all the same."""
    (tile,) = [interval for interval in rig.store.intervals(1) if interval.name == "serving"]
    spans = [(record.time_start_s, record.time_end_s) for record in rig.store.queries()]
    assert tile.time_start_s == min(start_s for start_s, _ in spans)
    assert tile.time_end_s >= max(end_s for _, end_s in spans)
    assert verify(rig.path).differences == ()


def test_a_disk_that_is_full_for_a_moment_leaves_no_share_without_those_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    append = RunDirectory.append_timelines

    def full_once(store: RunDirectory, timelines: Sequence[Timeline]) -> None:
        calls.append(len(timelines))
        if len(calls) == 20:
            raise StorageFull("The disk is full.", "Make room.")
        append(store, timelines)

    monkeypatch.setattr(RunDirectory, "append_timelines", full_once)
    rig = Rig(path=tmp_path / "run")
    with pytest.raises(StorageFull):
        rig.session()
    numbers = [timeline.number for timeline in rig.store.timelines(1)]
    assert sorted(numbers) == list(range(len(numbers)))
    assert rig.store.queries()
    assert verify(rig.path).differences == ()


def test_the_host_is_looked_at_when_the_last_query_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_s: list[float] = []
    monkeypatch.setattr(LoadSession, "_look_at_host", lambda session: looked_s.append(session.clock.now_s()))
    rig = Rig(path=tmp_path / "run", n_prompts=4, power=NO_POWER)
    rig.session()
    assert looked_s[-1] >= max(record.time_end_s for record in rig.store.queries())


class _SlowToStop(ScriptedLoadEngine):
    """What is cut off is reported after a while, as by another process on a busy machine."""

    def stop(self) -> None:
        now_s = self.clock.now_s()
        self._cut = [
            served.__class__(
                asked=served.asked,
                generation=None,
                timeline=served.timeline.model_copy(
                    update={
                        "time_end_s": now_s,
                        "time_first_token_s": None,
                        "time_chunk_s": (),
                        "n_chunk_tokens": (),
                    }
                ),
                service=served.service,
                findings=served.findings,
            )
            for served in self._open
            if served.timeline.time_start_s < now_s
        ]
        self._n_silent = 8
        self._open = []

    def take(self, timeout_s: float) -> tuple[Served, ...]:
        if not self._cut:
            return super().take(timeout_s)
        self.clock.sleep_until(self.clock.now_s() + timeout_s)
        self._n_silent -= 1
        if self._n_silent:
            return ()
        cut, self._cut = tuple(self._cut), []
        return cut

    @property
    def n_left(self) -> int:
        return len(self._open) + len(self._cut)

    _cut: list[Served] = []  # noqa: RUF012
    _n_silent = 0


def test_those_that_an_interruption_cuts_off_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_load_session.ScriptedLoadEngine", _SlowToStop)
    rig = Rig(path=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        rig.session(interrupt_after=11)
    asked = {record.service.number for record in rig.store.queries() if record.service is not None}
    cut_off = [line for line in rig.store.timelines(1) if line.number > max(asked)]
    assert len(cut_off) == 3  # the fourth place's query had just ended
    assert verify(rig.path).differences == ()


def test_an_interruption_stays_one_whatever_has_become_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: ScriptedLoadEngine) -> None:
        raise ServerLost("It is gone.", "See its log.")

    monkeypatch.setattr(ScriptedLoadEngine, "stop", stop)
    rig = Rig(path=tmp_path / "run", power=NO_POWER)
    with pytest.raises(KeyboardInterrupt):
        rig.session(interrupt_after=11)
    assert len(rig.store.queries()) >= 8


def test_modes_come_in_long_blocks_there_and_back(tmp_path: Path) -> None:
    what = load_cell_of(modes=("off", "on"), concurrency=2)
    rig = Rig(path=tmp_path / "run", cell=what, n_prompts=20, power=NO_POWER)
    rig.session()
    blocks = {record.block: record.mode for record in sorted(rig.store.queries(), key=lambda each: each.time_start_s)}
    modes = list(blocks.values())
    assert len(modes) == 4
    assert modes[0] == modes[3] != modes[1] == modes[2]


def test_the_weights_are_fitted_to_the_warm_up_where_it_tells(tmp_path: Path) -> None:
    """A board on which a prompt token costs a tenth of an output token."""
    rehearsal = Rig(path=tmp_path / "rehearsal", weights=None, n_prompts=16, power=NO_POWER)
    rehearsal.session()
    levels = []
    timelines = rehearsal.store.timelines(1)
    edges = sorted(
        {edge for each in timelines for edge in (each.time_start_s, each.time_first_token_s or 0.0, each.time_end_s)}
    )
    for start_s, end_s in pairwise(edges):
        power_w = IDLE_W
        for each in timelines:
            first_s = each.time_first_token_s or each.time_end_s
            if each.time_start_s <= start_s < first_s:
                power_w += 0.3 * (each.n_prompt_tokens or 0) / (first_s - each.time_start_s)
            elif first_s <= start_s < each.time_end_s:
                power_w += 3.0 * (each.n_output_tokens - 1) / (each.time_end_s - first_s)
        levels.append((start_s, end_s, power_w))
    rig = Rig(path=tmp_path / "run", weights=None, n_prompts=16, power=Power.steps(IDLE_W, *levels))
    rig.session()
    weights = rig.store.weights(1)
    assert weights is not None
    if weights.source == "fitted":
        assert weights.ratio_half_width is not None
        assert abs(weights.prompt / weights.output - 0.1) < 3 * weights.ratio_half_width
    else:
        assert (weights.prompt, weights.output) == (1.0, 1.0)
