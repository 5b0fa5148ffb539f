"""Whole sessions in virtual time: scripted engine, replayed counter, real run directory, real verify.

A scripted session's schedule does not depend on its readings. So a rehearsal on an idle board tells when its queries
run, and the same session on a board whose power steps at just these edges is compared with the integral.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.clock import ClockOffsets, ManualClock
from harness.engine.paired import PairedEngine
from harness.engine.scripted import ScriptedEngine, Turn
from harness.errors import (
    CellFailed,
    EnvironmentFault,
    HarnessError,
    InvalidMeasurement,
    NoSensor,
    OutOfMemory,
    StorageFull,
    UnusableInput,
    UsageError,
)
from harness.meter.curve.curve import Curve
from harness.meter.meter import SessionMeter, rebuilt
from harness.meter.replay import ReplayRecorder
from harness.meter.sampler_stats import late_findings
from harness.pipeline.observer import Observer
from harness.pipeline.output import refuse_precision
from harness.pipeline.session import Session
from harness.reasoning.switch import FamilyReasoning
from harness.records import (
    MARK_CHANNEL,
    Boundary,
    Cell,
    Channel,
    EngineFacts,
    EngineOptions,
    Finding,
    FindingCode,
    IntervalRecord,
    LengthRecord,
    ModeSwitch,
    Prompt,
    QueryRecord,
    Reading,
    ReasoningSpec,
    RunManifest,
    SamplerStats,
    Segment,
    Site,
    Stopping,
)
from harness.results import load_cell
from harness.schedule import Schedule, query_seed
from harness.scoring.catalogue import scorer
from harness.store import segments
from harness.store.run_directory import RunDirectory
from harness.verify import Difference, Kind, verify
from tests.synthetic_power import COUNTER, NO_POWER, PACKAGE, Power, counter, joined, tick_times

IDLE_W = 70.0
N_WARM_UP = 2
MODES = ("off", "on")
TOKENS = {"off": 9, "on": 60}
SWITCHES = {mode: ModeSwitch(template={"enable_thinking": mode == "on"}) for mode in MODES}
REASONING = FamilyReasoning(ReasoningSpec(thinking_start="<think>", thinking_end="</think>", modes=SWITCHES))
SITE = Site(
    hostname_sha256="0" * 64,
    platform="Linux",
    cpu="a processor",
    n_cpu_cores=8,
    memory_bytes=2**36,
    boards=(),
    driver=None,
    cuda=None,
    python="3.11",
    packages={},
)


def cell(**changes: object) -> Cell:
    fields: dict[str, object] = {
        "model": "scripted",
        "source": "embedded:scripted",
        "revision": "0" * 40,
        "engine": EngineOptions(device="cuda"),
        "dtype": "auto",
        "quantization": "none",
        "prompt_set": "chains",
        "prompt_set_sha256": "0" * 64,
        "protocol": "paired-1",
        "modes": MODES,
        "max_new_tokens": 256,
        "seed": 0,
    }
    return Cell.model_validate(fields | changes)


def prompts(n_prompts: int) -> list[Prompt]:
    """Every answer is 42, and every other reference."""
    return [
        Prompt(prompt_id=f"p{index}", text=f"{index}?", reference=str(42 - index % 2), scorer="numeric")
        for index in range(n_prompts)
    ]


@dataclass(kw_only=True)
class Rig:
    """A cell in a run directory, and how its sessions go."""

    path: Path
    power: Power = field(default_factory=lambda: Power.constant(IDLE_W))
    channels: Sequence[Channel] = (COUNTER,)
    n_prompts: int = 3
    store_text: str = "full"
    cell: Cell = field(default_factory=cell)
    tick_s: float = 0.1
    duration_s: float = 60.0
    largest_batch: int | None = None
    origin_unix_s: float = 0.0

    @property
    def store(self) -> RunDirectory:
        return RunDirectory.create(self.path, self.cell, SITE.site_id)

    def readings(self) -> list[Segment]:
        """The board's counter ticks every `tick_s`; any other draws a steady 50 W, read every 5 ms."""
        found = []
        for index, channel in enumerate(self.channels):
            is_board = channel.boundary is Boundary.GPU_BOARD
            power = self.power if is_board else Power.constant(50.0)
            ticks = tick_times(0.1, self.duration_s, self.tick_s if is_board else 0.005)
            found.append(counter(power, ticks, channel=index, bracket_s=0.0005 if is_board else 0.0))
        return found

    def session(
        self,
        *,
        store: RunDirectory | None = None,
        errors: Mapping[int, HarnessError] | None = None,
        interrupt_at: int | None = None,
        lost_at_s: Mapping[str, float] | None = None,
        pilot_only: bool = False,
        recorder_type: type[ReplayRecorder] = ReplayRecorder,
        refusal: HarnessError | None = None,
        observer: Observer | None = None,
        conclude: Callable[[], Sequence[Finding]] | None = None,
        looks: tuple[int, ...] = (),
        look: Callable[[], Stopping] | None = None,
        choose: Callable[[Sequence[LengthRecord]], frozenset[str]] | None = None,
    ) -> str:
        """Run one session. Queries are counted from 0, warm-up left out."""
        store = store or self.store
        clock = ManualClock()
        # Once more after the idle stretch, so that the first query need not wake anything.
        n_warm_up = (N_WARM_UP + 1) * len(self.cell.modes)
        n_calls = 0

        def script(prompt: Prompt, mode: str, _seed: int) -> Turn:
            nonlocal n_calls
            n_calls += 1
            if interrupt_at is not None and n_calls > n_warm_up + interrupt_at:
                raise KeyboardInterrupt
            # Irregular, so that the edges fall on all phases of the counter.
            index = int(prompt.prompt_id[1:])
            n_thinking = TOKENS[mode] + 7 * index if mode == "on" else 0
            return Turn(
                duration_prefill_s=0.031 + 0.0173 * index,
                duration_token_s=0.0107,
                n_thinking_tokens=n_thinking,
                n_answer_tokens=TOKENS["off"] + index,
                thinking="hm" * n_thinking,
                answer="42",
            )

        def scripted() -> ScriptedEngine:
            return ScriptedEngine(
                clock=clock,
                reasoning=REASONING,
                script=script,
                errors={n_warm_up + index: error for index, error in (errors or {}).items()},
                duration_load_s=0.73,
                largest_batch=self.largest_batch,
            )

        pair = self.cell.pair
        engine = scripted() if pair is None else PairedEngine(scripted(), scripted(), pair.modes)
        number = store.begin_session()
        plan = Schedule(
            cell=self.cell,
            prompts=prompts(self.n_prompts),
            finished=store.finished(),
            n_pilot=2,
            pilot_only=pilot_only,
            idle_duration_s=2.0,
            n_warm_up=N_WARM_UP,
            store_text=self.store_text,
            looks=looks,
        )
        session = Session(
            number=number,
            schedule=plan,
            engine=engine,
            meter=SessionMeter(recorder_type(clock, self.channels, self.readings(), lost_at_s)),
            clock=clock,
            store=store,
            scorers={"numeric": scorer("numeric")},
            observer=observer or Observer(),
            conclude=conclude,
            look=look,
            choose=choose,
        )

        def check(_facts: EngineFacts) -> None:
            if refusal is not None:
                raise refusal

        def announce(facts: tuple[EngineFacts, ...], channels: tuple[Channel, ...]) -> None:
            store.write_manifest(
                RunManifest(
                    harness_version="0",
                    run_id=self.path.name,
                    cell_id=self.cell.cell_id,
                    session=number,
                    started_utc="2030-01-01T00:00:00Z",
                    origin_unix_s=self.origin_unix_s,
                    origin_monotonic_s=0.0,
                    command=("harness", "run"),
                    git_commit=None,
                    site=SITE,
                    engine=facts[0],
                    engine_of_pair=facts[1] if len(facts) > 1 else None,
                    channels=channels,
                    headline=Boundary.GPU_BOARD,
                    meter_gpus="auto",
                    n_prompts=self.n_prompts,
                    store_text=self.store_text,
                    tariff_per_kwh=None,
                    findings=(),
                )
            )

        return session.run(announce, check)

    def wanted(self) -> Counter[tuple[str, str]]:
        return Counter((prompt.prompt_id, mode) for prompt in prompts(self.n_prompts) for mode in self.cell.modes)

    def on_disk(self) -> Counter[tuple[str, str]]:
        return Counter((query.prompt_id, query.mode) for query in self.store.queries())


def the_reading(record: QueryRecord | IntervalRecord, device: str = COUNTER.device) -> Reading:
    (found,) = (reading for reading in record.readings if reading.device == device)
    return found


def stepping(queries: Sequence[QueryRecord]) -> Power:
    """650 W while a prompt is read, 380 W while tokens are written, idle between."""
    levels = []
    for query in queries:
        for phase in the_reading(query).phases:
            power_w = 650.0 if phase.name == "prefill" else 380.0
            levels.append((phase.time_start_s, phase.time_end_s, power_w))
    return Power.steps(IDLE_W, *levels)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(path=tmp_path / "run")


@pytest.fixture
def idle(rig: Rig) -> Rig:
    """For what does not depend on joules."""
    return replace(rig, power=NO_POWER)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A finished run on a board whose power steps at the queries' edges. Not to be changed."""
    rehearsal = Rig(path=tmp_path_factory.mktemp("rehearsal") / "run", n_prompts=8, power=NO_POWER)
    rehearsal.session()
    rig = Rig(
        path=tmp_path_factory.mktemp("stepped") / "run",
        n_prompts=8,
        power=stepping(rehearsal.store.queries()),
        channels=(COUNTER, PACKAGE),
    )
    assert rig.session() == "finished"
    assert rig.on_disk() == rig.wanted()
    return rig


# -------------------------------------------------------------------------------- a session that goes well


def test_every_query_is_the_integral_of_its_power(stepped: Rig) -> None:
    inside: list[bool] = []
    for query in stepped.store.queries():
        truth_j = stepped.power.energy_j(query.time_start_s, query.time_end_s)
        board, host = the_reading(query), the_reading(query, PACKAGE.device)
        codes = [finding.code for finding in board.findings]
        assert (codes == [FindingCode.SHORTER_THAN_TWO_TICKS]) == (query.duration_s < 0.2)
        assert board.energy_gross_j is not None
        if query.duration_s >= 0.2:
            inside.append(abs(board.energy_gross_j - truth_j) <= (board.energy_gross_half_width_j or 0.0))
            assert board.energy_gross_j == pytest.approx(truth_j, rel=0.02)
            assert (board.energy_gross_half_width_j or 0.0) < 0.15 * truth_j
        assert host.energy_gross_j == pytest.approx(50.0 * query.duration_s, abs=0.01)
        assert (board.time_start_s, board.time_end_s) == (query.time_start_s, query.time_end_s)
        phases_j = [phase.energy_gross_j or 0.0 for phase in board.phases]
        assert sum(phases_j) == pytest.approx(board.energy_gross_j, rel=1e-12)
        names = [phase.name for phase in board.phases]
        assert names == (["prefill", "answer"] if query.mode == "off" else ["prefill", "thinking", "answer"])
    assert len(inside) == 13
    assert sum(inside) >= 12  # of 95 % intervals; the share is checked at all phases below


def portion_of(rows: Segment, chosen: np.typing.NDArray[np.bool_]) -> Segment:
    return Segment(
        channel=rows.channel[chosen],
        time_before_s=rows.time_before_s[chosen],
        time_after_s=rows.time_after_s[chosen],
        value=rows.value[chosen],
    )


@pytest.fixture(scope="module")
def at_all_phases(stepped: Rig) -> list[Curve]:
    """The same run's curve, had the counter ticked earlier or later."""
    edges = [portion_of(rows, rows.channel == MARK_CHANNEL) for rows in stepped.store.segments(1)]
    curves: list[Curve] = []
    for seed, phase_s in enumerate(np.linspace(0.0, 0.1, 3, endpoint=False).tolist()):
        ticks = counter(stepped.power, tick_times(0.1, 30.0, phase_s=phase_s), bracket_s=0.0005, seed=seed)
        curves += rebuilt([COUNTER], [joined(*edges, ticks)])
    return curves


def errors_of(stepped: Rig, curves: Sequence[Curve], *, shorter_than_s: float, from_s: float) -> tuple[float, float]:
    """Mean relative error of queries of some length, and the share inside their intervals, over all curves."""
    chosen = [query for query in stepped.store.queries() if from_s <= query.duration_s < shorter_than_s]
    errors, inside = [], []
    for curve in curves:
        for query in chosen:
            span = (query.time_start_s, query.time_end_s)
            error_j = abs(curve.energy_j(*span) - stepped.power.energy_j(*span))
            errors.append(error_j / stepped.power.energy_j(*span))
            inside.append(error_j <= (curve.half_width_j(*span) or 0.0))
    return float(np.mean(errors)), float(np.mean(inside))


def test_intervals_hold_the_truth_at_every_phase_of_the_counter(stepped: Rig, at_all_phases: list[Curve]) -> None:
    error, inside = errors_of(stepped, at_all_phases, from_s=0.2, shorter_than_s=60.0)
    assert error < 0.005
    assert inside >= 0.95


def test_intervals_of_queries_under_two_ticks_hold_the_truth_too(stepped: Rig, at_all_phases: list[Curve]) -> None:
    _, inside = errors_of(stepped, at_all_phases, from_s=0.0, shorter_than_s=0.2)
    assert inside >= 0.95


def test_the_tiles_on_disk_touch_and_add_up_to_the_counter(stepped: Rig) -> None:
    store = stepped.store
    intervals, queries = store.intervals(1), store.queries()
    assert [interval.name for interval in intervals[:5]] == ["start_up", "load", "warm_up", "gap", "idle_before"]
    assert [interval.name for interval in intervals[-2:]] == ["idle_after", "shut_down"]
    rows = list(store.segments(1))
    for index, channel in enumerate(stepped.channels):
        values_j = np.concatenate([segment.value[segment.channel == index] for segment in rows])
        readings = [the_reading(interval, channel.device) for interval in intervals]
        readings += [the_reading(query, channel.device) for query in queries]
        readings.sort(key=lambda reading: (reading.time_start_s, reading.time_end_s))
        assert all(one.time_end_s == other.time_start_s for one, other in pairwise(readings))
        energies_j = [reading.energy_gross_j for reading in readings if reading.energy_gross_j is not None]
        assert len(energies_j) == len(readings)
        assert sum(energies_j) == pytest.approx(values_j[-1] - values_j[0], rel=1e-12)
        assert values_j[-1] - values_j[0] > 500.0


def test_the_raw_readings_on_disk_are_those_of_the_sensor(stepped: Rig) -> None:
    rows = list(stepped.store.segments(1))
    assert len(rows) > 3  # collected as it went, not at the end
    for index, sensed in enumerate(stepped.readings()):
        stored = np.concatenate([segment.value[segment.channel == index] for segment in rows])
        assert stored.tobytes() == sensed.value[: len(stored)].tobytes()
    n_marks = sum(int((segment.channel == MARK_CHANNEL).sum()) for segment in rows)
    n_phase_edges = sum(len(the_reading(query).phases) + 1 for query in stepped.store.queries())
    assert n_marks >= n_phase_edges


def test_idle_power_is_taken_off_on_loading_and_not_stored(stepped: Rig) -> None:
    assert all(reading.energy_net_j is None for query in stepped.store.queries() for reading in query.readings)
    results = load_cell(stepped.store)
    assert results.sessions[0].status == "finished"
    for query in results.queries:
        board = the_reading(query)
        assert board.energy_gross_j is not None
        assert board.power_idle_w == pytest.approx(IDLE_W, abs=0.5)
        assert board.energy_net_j == pytest.approx(board.energy_gross_j - IDLE_W * query.duration_s, abs=0.5)


def test_verify_recomputes_everything_and_agrees(stepped: Rig) -> None:
    readings = [reading for interval in stepped.store.intervals(1) for reading in interval.readings]
    readings += [reading for query in stepped.store.queries() for reading in query.readings]
    n_figures = sum(2 + len(reading.phases) for reading in readings)
    found = verify(stepped.path)
    assert found.differences == ()
    assert found.n_agree == found.n_figures >= n_figures > 100
    assert found.not_checked == ()


def test_answers_are_scored_and_sampled_with_one_seed_per_prompt(stepped: Rig) -> None:
    queries = stepped.store.queries()
    assert all(query.score is not None for query in queries)
    assert {query.prompt_id: query.score.correct for query in queries if query.score} == {
        f"p{index}": index % 2 == 0 for index in range(8)
    }
    seeds = {(query.prompt_id, query.seed) for query in queries}
    assert len(seeds) == len({seed for _, seed in seeds}) == 8
    assert query_seed(stepped.cell, "p3") != query_seed(cell(repeat=1), "p3") != query_seed(cell(seed=1), "p3")


# ------------------------------------------------------------------------------------------- order and plan


def test_a_pilot_stops_and_is_completed_without_repeating_it(rig: Rig) -> None:
    assert rig.session(pilot_only=True) == "stopped"
    assert rig.on_disk() == Counter((f"p{index}", mode) for index in range(2) for mode in MODES)
    end = rig.store.end(1)
    assert end is not None
    assert end.status == "stopped"
    assert rig.session() == "finished"
    assert rig.on_disk() == rig.wanted()
    assert [query.session for query in rig.store.queries()] == [1] * 4 + [2] * 2
    assert verify(rig.path).differences == ()


@pytest.mark.parametrize("store_text", ["full", "hash", "none"])
def test_texts_are_kept_as_asked(idle: Rig, store_text: str) -> None:
    idle.store_text, idle.n_prompts = store_text, 1
    idle.session()
    for query in idle.store.queries():
        assert query.output is not None
        assert (query.output.text is not None) == (store_text == "full")
        assert (query.output.text_sha256 is not None) == (store_text != "none")
        assert query.output.sizes["answer_tokens"] == TOKENS["off"]
    raw = (idle.store.path / "queries.jsonl").read_text()
    assert ("hmhm" in raw) == (store_text == "full")


def test_a_cut_answer_and_an_open_thinking_are_findings(idle: Rig) -> None:
    idle.cell = cell(max_new_tokens=20)
    idle.n_prompts = 1
    idle.session()
    findings = {query.mode: {finding.code for finding in query.findings} for query in idle.store.queries()}
    assert findings == {"off": set(), "on": {FindingCode.CUT_BY_CAP, FindingCode.THINKING_NOT_CLOSED}}


# ------------------------------------------------------------------------------------------------ faults


def test_a_query_that_fails_is_a_finding_and_the_others_go_on(rig: Rig) -> None:
    errors: dict[int, tuple[HarnessError, FindingCode]] = {
        1: (OutOfMemory("It wanted 90 GB.", "Lower the cap."), FindingCode.OUT_OF_MEMORY),
        3: (CellFailed("The model raised an error.", "Try it alone."), FindingCode.QUERY_FAILED),
        4: (UsageError("It has 9,999 tokens.", "Drop it."), FindingCode.PROMPT_TOO_LONG),
    }
    assert rig.session(errors={index: error for index, (error, _) in errors.items()}) == "finished"
    queries = rig.store.queries()
    assert rig.on_disk() == rig.wanted()
    for index, query in enumerate(queries):
        if index not in errors:
            assert not query.findings
            assert query.output is not None
            continue
        error, code = errors[index]
        assert [finding.code for finding in query.findings] == [code]
        assert str(error) in query.findings[0].detail
        assert query.output is None
        assert query.score is None
        assert query.duration_s > 0.0
        assert the_reading(query).energy_gross_j is not None  # what it drew until then is known
    assert verify(rig.path).differences == ()


def test_where_the_first_prompt_cannot_be_asked_the_next_one_warms_up(idle: Rig) -> None:
    n_modes = len(idle.cell.modes)
    before = range(-n_modes * (N_WARM_UP + 1), -n_modes * N_WARM_UP)
    after_idle = range(n_modes)  # the first two calls of each warm-up are of the first prompt
    damaged = UnusableInput("It is half a picture.", "Remove it.")
    idle.session(errors=dict.fromkeys((*before, *after_idle), damaged))
    warm_ups = [each for each in idle.store.intervals(1) if each.name == "warm_up"]
    long, short = (each.time_end_s - each.time_start_s for each in warm_ups)
    assert long > 0.7  # two prompts that can be asked, in both modes
    assert short > 0.3  # one


def test_any_other_error_ends_the_session_with_what_is_final_on_disk(idle: Rig) -> None:
    with pytest.raises(EnvironmentFault, match="fell off"):
        idle.session(errors={4: EnvironmentFault("The GPU fell off the bus.", "Reboot.")})
    assert sum(idle.on_disk().values()) == 4
    end = idle.store.end(1)
    assert end is not None
    assert end.status == "failed"


@pytest.mark.parametrize("channels", [(COUNTER,), (COUNTER, PACKAGE)], ids=["alone", "beside another"])
def test_a_lost_sensor_leaves_nulls_with_the_reason_and_resuming_repeats_just_these(
    rig: Rig, channels: Sequence[Channel]
) -> None:
    rig.channels, rig.n_prompts = channels, 4
    rehearsal = Rig(path=rig.path.parent / "rehearsal", n_prompts=3, power=NO_POWER)
    rehearsal.session()
    rehearsed = rehearsal.store.queries()
    lost_s = rehearsed[4].time_start_s + 0.1
    rig.power = Power.constant(200.0)
    assert rig.session(lost_at_s={COUNTER.device: lost_s}) == "stopped"
    queries = rig.store.queries()
    assert 4 < len(queries) < sum(rig.wanted().values())  # it does not run on without a sensor
    for position, query in enumerate(queries):
        board = the_reading(query)
        if position < 4:
            assert board.energy_gross_j == pytest.approx(200.0 * query.duration_s, abs=1.0)
            assert query.findings == ()
        else:
            assert board.energy_gross_j is None
            assert board.energy_gross_half_width_j is None
            assert [finding.code for finding in board.findings] == [FindingCode.NO_READINGS]
            assert FindingCode.SENSOR_LOST in {finding.code for finding in query.findings}
            assert query.output is not None  # the answer is there all the same
    end = rig.store.end(1)
    assert end is not None
    assert FindingCode.SENSOR_LOST in {finding.code for finding in end.findings}
    verification = verify(rig.path)
    assert verification.differences == ()  # nulls included
    assert any(COUNTER.device in sum_of for sum_of in verification.not_checked)

    assert rig.session() == "finished"
    missed = Counter((query.prompt_id, query.mode) for query in queries[4:])
    assert rig.on_disk() == rig.wanted() + missed
    results = load_cell(rig.store)
    assert Counter((query.prompt_id, query.mode) for query in results.queries) == rig.wanted()
    assert all(the_reading(query).energy_gross_j is not None for query in results.queries)
    assert verify(rig.path).differences == ()


def test_a_sensor_without_a_reading_is_refused_before_anything_runs(rig: Rig) -> None:
    with pytest.raises(NoSensor):
        rig.session(lost_at_s={COUNTER.device: 0.0})
    assert rig.on_disk() == Counter()


def test_an_interrupt_keeps_what_is_final_and_the_rest_is_resumed(rig: Rig) -> None:
    with pytest.raises(KeyboardInterrupt):
        rig.session(interrupt_at=5)
    queries = rig.store.queries()
    assert len(queries) == 5
    assert all(the_reading(query).energy_gross_j is not None for query in queries)
    end = rig.store.end(1)
    assert end is not None
    assert end.status == "interrupted"
    assert verify(rig.path).differences == ()
    rig.session()
    assert rig.on_disk() == rig.wanted()


@pytest.mark.parametrize("tick_s", [0.1, 0.7])
def test_the_idle_power_after_the_queries_is_measured_whatever_the_sensors_tick(rig: Rig, tick_s: float) -> None:
    rig.tick_s, rig.n_prompts = tick_s, 1
    rig.session()
    (after,) = [interval for interval in rig.store.intervals(1) if interval.name == "idle_after"]
    (board,) = after.readings
    assert board.energy_gross_j == pytest.approx(IDLE_W * board.duration_s, abs=1.0)


class FullOnce(RunDirectory):
    """The disk is full for the n-th segment, and then there is room again."""

    n_left = 0

    def write_segment(self, session: int, segment: Segment) -> None:
        self.n_left -= 1
        if self.n_left == 0:
            raise StorageFull("The disk is full.", "Make room.")
        super().write_segment(session, segment)


@pytest.mark.parametrize("n_full", [2, 3])  # the first is the idle stretch's
def test_readings_that_could_not_be_written_are_written_before_what_follows_from_them(rig: Rig, n_full: int) -> None:
    rig.n_prompts = 5
    store = FullOnce(rig.store.path)
    store.n_left = n_full
    with pytest.raises(StorageFull):
        rig.session(store=store)
    assert sum(rig.on_disk().values()) > 0
    end = rig.store.end(1)
    assert end is not None
    assert end.status == "failed"
    times_s = np.concatenate([rows.time_after_s[rows.channel == 0] for rows in rig.store.segments(1)])
    assert np.max(np.diff(times_s)) < 0.15  # no tick is missing
    assert verify(rig.path).differences == ()


class Killed(BaseException):
    """Stands for kill -9: nothing that comes after it reaches the disk."""


class KilledStore(RunDirectory):
    """Dies at the n-th write; a query's or an interval's line is torn in the middle."""

    n_writes_left: int

    def _write(self, torn: Path | None) -> None:
        self.n_writes_left -= 1
        if self.n_writes_left < 0:
            if torn is not None and self.n_writes_left == -1:
                with torn.open("ab") as file:
                    file.write(b'{"schema_version": 1, "sess')
            raise Killed

    def write_segment(self, session: int, segment: Segment) -> None:
        self._write(None)
        super().write_segment(session, segment)

    def append_query(self, *queries: QueryRecord) -> None:
        self._write(self.path / "queries.jsonl")
        super().append_query(*queries)

    def append_interval(self, interval: IntervalRecord) -> None:
        self._write(self.path / "sessions" / f"{interval.session:02d}" / "intervals.jsonl")
        super().append_interval(interval)

    def write_manifest(self, manifest: RunManifest) -> None:
        self._write(None)
        super().write_manifest(manifest)


@pytest.mark.parametrize("n_writes", [0, 7, 16])
def test_a_killed_run_is_resumed_with_nothing_lost_and_nothing_repeated(rig: Rig, n_writes: int) -> None:
    store = KilledStore(rig.store.path)
    for n_writes_left in (n_writes, n_writes // 2):  # killed twice, at different places
        store.n_writes_left = n_writes_left
        with pytest.raises(Killed):
            rig.session(store=store)
        assert all(query in rig.wanted() for query in rig.on_disk())
        assert verify(rig.path).differences == ()  # what is there can be recomputed
    assert rig.session() == "finished"
    assert rig.on_disk() == rig.wanted()
    results = load_cell(rig.store)
    assert [session.status for session in results.sessions] == [None, None, "finished"]
    assert verify(rig.path).differences == ()


def test_a_model_that_is_refused_leaves_no_query(rig: Rig) -> None:
    with pytest.raises(InvalidMeasurement):
        rig.session(refusal=InvalidMeasurement("It runs in bf16.", "--accept-precision"))
    assert rig.on_disk() == Counter()
    assert rig.store.manifest(1) is None


def test_a_precision_that_nobody_asked_for_is_refused_unless_accepted() -> None:
    finding = Finding(code=FindingCode.PRECISION_FALLBACK, detail="fp8 runs as bf16")
    with pytest.raises(InvalidMeasurement, match="fp8 runs as bf16"):
        refuse_precision(finding, accepted=False)
    refuse_precision(finding, accepted=True)
    refuse_precision(None, accepted=False)


class LateRecorder(ReplayRecorder):
    """Says that five polls in a hundred came late."""

    def stop(self) -> SamplerStats:
        return super().stop().model_copy(update={"n_polls": 100, "n_late": 5})


def test_late_polls_are_a_finding_of_the_session(idle: Rig) -> None:
    idle.n_prompts = 1
    for recorder_type in (ReplayRecorder, LateRecorder):
        idle.session(recorder_type=recorder_type)
    ends = [idle.store.end(number) for number in (1, 2)]
    codes = [[finding.code for finding in end.findings] for end in ends if end is not None]
    assert codes == [[], [FindingCode.LATE_SAMPLES]]


@pytest.mark.parametrize(
    ("n_late", "n_polls", "n_regular", "is_said"),
    [(3, 10, 10, False), (4, 10, 10, True), (40, 100_000, 5_000, False), (60, 100_000, 5_000, True)],
)
def test_late_polls_are_held_against_the_regular_ones(n_late: int, n_polls: int, n_regular: int, is_said: bool) -> None:
    stats = SamplerStats(
        n_polls=n_polls, n_samples=1, n_late=n_late, duration_cpu_s=1.0, duration_s=100.0, n_regular=n_regular
    )
    assert [finding.code for finding in late_findings(stats)] == [FindingCode.LATE_SAMPLES] * is_said
    assert late_findings(None) == ()


def test_a_session_whose_sensors_cannot_be_judged_has_ended_all_the_same(rig: Rig) -> None:
    def conclude() -> Sequence[Finding]:
        raise ZeroDivisionError("a tick of nothing")

    rig.n_prompts = 1
    assert rig.session(conclude=conclude) == "finished"
    end = rig.store.end(1)
    assert end is not None
    assert end.status == "finished"
    (finding,) = end.findings
    assert finding.code is FindingCode.LIBRARY_WARNING
    assert "ZeroDivisionError: a tick of nothing" in finding.detail


def test_a_wall_clock_that_was_set_is_a_finding_of_the_session(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = iter([ClockOffsets(1e9, 0.0), ClockOffsets(1e9 - 3600.0, 0.0)])
    monkeypatch.setattr("harness.pipeline.recording.clock_offsets", lambda: next(offsets))
    rig.n_prompts = 1
    rig.session()
    end = rig.store.end(1)
    assert end is not None
    assert [finding.code for finding in end.findings] == [FindingCode.CLOCK_STEP]
    assert "-3600.000 s" in end.findings[0].detail


class Witness(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.final: list[tuple[str, str]] = []
        self.n_ended = 0

    def stage(self, name: str, mode: str | None = None) -> None:
        self.stages.append(name)

    def query(self, record: QueryRecord) -> None:
        self.final.append((record.prompt_id, record.mode))

    def ended(self, index: int) -> None:
        self.n_ended += 1


def test_an_observer_sees_every_stage_and_every_final_query(idle: Rig) -> None:
    witness = Witness()
    idle.session(observer=witness)
    assert witness.stages == ["load", "warm_up", "idle_before", "queries", "idle_after"]
    assert Counter(witness.final) == idle.wanted()
    assert witness.n_ended == 6


# ---------------------------------------------------------------------------------------------- tampering


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """Not to be changed."""
    rig = Rig(path=tmp_path_factory.mktemp("untouched") / "run", n_prompts=2, power=Power.constant(300.0))
    rig.session()
    assert verify(rig.path).differences == ()
    return rig


@pytest.fixture
def measured(untouched: Rig, tmp_path: Path) -> Rig:
    return replace(untouched, path=Path(shutil.copytree(untouched.path, tmp_path / "run")))


def wrong_energies(rig: Rig) -> list[Difference]:
    """Beside the hashes, which know of every edit."""
    return [each for each in verify(rig.path).differences if each.kind is Kind.ENERGIES]


@pytest.mark.parametrize(
    ("field", "figure"), [("energy_gross_j", "energy_gross_j"), ("energy_gross_half_width_j", "half_width")]
)
def test_verify_names_an_edited_query(measured: Rig, field: str, figure: str) -> None:
    path = measured.store.path / "queries.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]["readings"][0][field] *= 1.001
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    difference, *sums = wrong_energies(measured)
    assert [each.figure.partition(" of ")[0] for each in sums] == ["sum over everything"] * (field == "energy_gross_j")
    assert difference.where == f"{lines[2]['prompt_id']} in mode {lines[2]['mode']}"
    assert figure in difference.figure
    assert difference.stored == pytest.approx(lines[2]["readings"][0][field])
    assert difference.recomputed == pytest.approx(lines[2]["readings"][0][field] / 1.001)


def test_verify_names_an_edited_phase_and_a_null_made_up(measured: Rig) -> None:
    path = measured.store.path / "queries.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["readings"][0]["phases"][0]["energy_gross_j"] += 0.1
    lines[1]["readings"][0]["energy_gross_j"] = None
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    phase, null = wrong_energies(measured)
    assert "prefill" in phase.figure
    assert null.stored is None
    assert null.recomputed is not None


def test_verify_names_what_an_edited_raw_reading_no_longer_supports(measured: Rig) -> None:
    query = measured.store.queries()[2]
    edited = 0
    for path in sorted(measured.store.path.glob("sessions/01/power-*.parquet")):
        segment = segments.read(path)
        near = np.flatnonzero((segment.channel == 0) & (np.abs(segment.time_after_s - query.time_end_s) < 0.05))
        if len(near):
            value = segment.value.copy()
            value[near[0]] += 2.0
            columns = {name: getattr(segment, name) for name in segments.COLUMNS} | {"value": value}
            segments.write(path, Segment(**columns))
            edited += 1
    assert edited == 1
    differences = verify(measured.path).differences
    assert f"{query.prompt_id} in mode {query.mode}" in {difference.where for difference in differences}


def test_verify_notices_a_raw_file_that_is_gone(measured: Rig) -> None:
    first, *_ = sorted(measured.store.path.glob("sessions/01/power-*.parquet"))
    assert pq.read_metadata(first).num_rows > 0
    first.unlink()
    assert verify(measured.path).differences != ()
