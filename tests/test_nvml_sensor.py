"""Everything that a board can do to its sensor, done to real sampler processes by the fake NVML library."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import NoSensor
from harness.meter.recorder import SamplerProcess
from harness.records import Channel, FindingCode, Method, Quantity, SamplerStats, SensorCard, SensorEvent
from tests.fake_nvml.library import (
    A100,
    GH200,
    H100,
    P100,
    RTX_4090,
    RTX_4090_SLOW,
    V100,
    Answer,
    Board,
    Fault,
    System,
    Throttle,
    Truth,
    constant,
    square_wave,
    write_config,
)

UNKNOWN, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND = 999, 3, 4, 13
Rows = list[tuple[float, float, float]]


@pytest.fixture(scope="module")
def surroundings(fake_nvml: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What processes started from now on need to find the fake; the path of the boards' configuration."""
    config = tmp_path_factory.mktemp("boards") / "boards.conf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(fake_nvml.parent))
        patch.setenv("FAKE_NVML_CONFIG", str(config))
        yield config


@pytest.fixture
def config(surroundings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAKE_NVML_CONFIG", str(surroundings))  # which every test begins without
    return surroundings


def numbered(board: Board, number: int) -> Board:
    return replace(board, uuid=f"GPU-00000000-0000-4000-8000-{number:012d}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """Everything that one sampler said."""

    channels: tuple[Channel, ...]
    rows: dict[int, Rows]
    stats: SamplerStats | None

    @classmethod
    def of(cls, recorder: SamplerProcess) -> Recorded:
        stats = recorder.stop()
        segment = recorder.drain()
        rows = {}
        for index in range(len(recorder.channels)):
            mine = segment.channel == index
            columns = (segment.time_before_s[mine], segment.time_after_s[mine], segment.value[mine])
            rows[index] = list(zip(*(column.tolist() for column in columns), strict=True))
        return cls(recorder.channels, rows, stats)

    def of_board(self, board: Board, quantity: Quantity) -> Rows:
        return next(
            self.rows[index]
            for index, channel in enumerate(self.channels)
            if (channel.device, channel.quantity) == (board.uuid, quantity)
        )

    def events(self, board: Board, kind: SensorEvent) -> list[tuple[float, float]]:
        rows = self.of_board(board, Quantity.SENSOR_EVENT)
        return [(before_s, after_s) for before_s, after_s, value in rows if value == kind]


# ---------------------------------------------------------------------------------------------- many ills at once


@dataclass(frozen=True, slots=True)
class Ward:
    """Boards that each had one thing wrong with them, in one sampler, between `time_ill_s` and the end."""

    time_ill_s: float
    time_shutdown_s: float
    boards: dict[str, Board]
    recorded: Recorded
    slow: Recorded
    lost: tuple[object, ...]
    truth: Truth


SLOW = replace(H100, call_duration_s=0.004)
LOAD = (constant(100.0), square_wave(150.0, period_s=0.73, duty=0.4))


def ill(now_s: float) -> dict[str, Board]:
    """The boards, whose ills begin at `now_s`."""
    counter = ("nvmlDeviceGetTotalEnergyConsumption", "field:83")
    changes: dict[str, dict[str, object]] = {
        "healthy": {},
        "frozen": {"counter_frozen_after_s": now_s},
        "backwards": {"counter_reset_at_s": now_s + 1.0},
        "zero": {"answers": (Answer("field:186", 0, now_s, now_s + 2.5),)},
        "impossible": {"answers": (Answer("field:186", 1_050_001, now_s, now_s + 2.5),)},
        "possible": {"answers": (Answer("field:186", 1_049_999, now_s, now_s + 2.5),)},
        "counter refused": {"faults": tuple(Fault(call, UNKNOWN, now_s, now_s + 0.7) for call in counter)},
        "power refused for long": {"faults": (Fault("field:186", UNKNOWN, now_s, now_s + 3.5),)},
        "all refused": {"faults": (Fault("*", UNKNOWN, now_s, now_s + 0.7),)},
        "shy with zeros": {"power_shy_s": 0.05},
        "shy with refusals": {"power_shy_s": 0.05, "power_shy_code": NOT_SUPPORTED},
        "capped": {"throttles": (Throttle(0x4, now_s + 1.0, now_s + 1.0001),)},
        "hot": {
            "throttles": (Throttle(0x40, now_s + 2.0, now_s + 2.0001),),
            "temperature_end_c": 80.0,
            "temperature_start_s": now_s,
            "temperature_time_constant_s": 1.0,
        },
    }
    return {
        name: replace(numbered(H100, number), load=LOAD, power_noise_w=0.5, tick_phase_s=0.007 * number, **change)  # type: ignore[arg-type]
        for number, (name, change) in enumerate(changes.items(), 1)
    }


@pytest.fixture(scope="module")
def ward(surroundings: Path, fake_nvml: Path) -> Ward:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_NVML_CONFIG", str(surroundings))
        write_config(surroundings, [*ill(1e9).values(), SLOW])
        slow = SamplerProcess(nvml_uuids=(SLOW.uuid,))
        slow.start(0.0)
        recorder = SamplerProcess(nvml_uuids=tuple(board.uuid for board in ill(1e9).values()))
        recorder.start(0.0)
        now_s = time.monotonic() + 0.4
        boards = ill(now_s)
        # The last thing that happens, after the frozen counter was found out: somebody shuts NVML down.
        write_config(surroundings, [*boards.values(), SLOW], System(shutdown_at_s=now_s + 6.5))
        time.sleep(now_s + 5.4 - time.monotonic())
        slow.drain()
        time.sleep(now_s + 6.4 - time.monotonic())
        settled = Recorded.of(slow)
        time.sleep(now_s + 7.4 - time.monotonic())
        lost = recorder.lost()
        recorded = Recorded.of(recorder)
        truth = Truth(fake_nvml, surroundings)
        return Ward(now_s, now_s + 6.5, boards, recorded, settled, lost, truth)


def test_none_of_these_ends_the_recording(ward: Ward) -> None:
    assert ward.lost == ()
    assert ward.recorded.stats is not None
    assert ward.recorded.stats.n_missed is not None
    assert ward.recorded.stats.n_missed > 50  # what the refusing boards refused
    for name, board in ward.boards.items():
        powers = ward.recorded.of_board(board, Quantity.POWER_W)
        assert powers[-1][1] > ward.time_shutdown_s, name


def test_every_row_of_every_counter_holds_a_tick_and_the_true_energy(ward: Ward) -> None:
    for index, (name, board) in enumerate(ward.boards.items()):
        rows = ward.recorded.of_board(board, Quantity.ENERGY_J)
        assert len(rows) > (3 if name == "frozen" else 10), name
        first_s = ward.truth.last_tick_s(index, rows[0][1])
        for before_s, after_s, value_j in rows:
            tick_s = ward.truth.last_tick_s(index, after_s)
            if name == "backwards" and after_s > ward.time_ill_s + 1.0:
                assert value_j < 5_000.0
                continue
            if name == "frozen" and after_s > ward.time_ill_s + 0.2:
                pytest.fail("a counter that stands still ticks")
            assert before_s <= tick_s <= after_s
            expected_j = ward.truth.energy_j(index, first_s, tick_s)
            assert value_j - rows[0][2] == pytest.approx(expected_j, abs=0.0021)


EVENTS: dict[str, dict[SensorEvent, tuple[int, int]]] = {
    "frozen": {SensorEvent.COUNTER_FROZEN: (1, 1)},
    "backwards": {SensorEvent.COUNTER_BACKWARDS: (1, 1)},
    "zero": {SensorEvent.POWER_ZERO: (1, 3)},
    "impossible": {SensorEvent.POWER_IMPOSSIBLE: (1, 3)},
    "counter refused": {SensorEvent.CALL_FAILED: (1, 1)},
    "power refused for long": {SensorEvent.CALL_FAILED: (2, 2)},  # once it is given up, once it is back
    "all refused": {SensorEvent.CALL_FAILED: (2, 2)},  # counter and power
    "shy with zeros": {SensorEvent.POWER_ZERO: (1, 20)},  # fewer where a slow machine spreads the polls
}


def test_what_happened_is_said_once_and_nothing_else(ward: Ward) -> None:
    for name, board in ward.boards.items():
        for kind in SensorEvent:
            found = ward.recorded.events(board, kind)
            if kind is SensorEvent.REINITIALIZED:
                assert len(found) == 1, name
                continue
            least, most = EVENTS.get(name, {}).get(kind, (0, 0))
            assert least <= len(found) <= most, (name, kind.name, found)
            assert all(before_s <= after_s for before_s, after_s in found)


def test_events_span_what_they_are_about(ward: Ward) -> None:
    def of(name: str, kind: SensorEvent) -> list[tuple[float, float]]:
        return ward.recorded.events(ward.boards[name], kind)

    ((before_s, after_s),) = of("backwards", SensorEvent.COUNTER_BACKWARDS)
    assert before_s <= ward.time_ill_s + 1.0 + 0.1 + 1e-6
    assert after_s >= ward.time_ill_s + 1.0
    ((before_s, after_s),) = of("frozen", SensorEvent.COUNTER_FROZEN)
    assert before_s < ward.time_ill_s + 0.2
    assert after_s - before_s >= 5.0
    ((before_s, after_s),) = of("counter refused", SensorEvent.CALL_FAILED)
    assert before_s <= ward.time_ill_s
    assert after_s >= ward.time_ill_s + 0.7
    given_up, back = of("power refused for long", SensorEvent.CALL_FAILED)
    assert given_up[0] == back[0] <= ward.time_ill_s
    assert given_up[1] < ward.time_ill_s + 3.5 <= back[1]
    for name in ward.boards:
        ((before_s, after_s),) = of(name, SensorEvent.REINITIALIZED)
        assert before_s <= ward.time_shutdown_s <= after_s


def test_no_power_that_a_board_cannot_draw_is_passed_on(ward: Ward) -> None:
    for name, board in ward.boards.items():
        powers = ward.recorded.of_board(board, Quantity.POWER_W)
        most_w = 1_050.0 if name == "possible" else 330.0
        assert all(160.0 < power_w < most_w for _, _, power_w in powers), name
    for name in ("zero", "impossible"):
        times_s = [after_s for _, after_s, _ in ward.recorded.of_board(ward.boards[name], Quantity.POWER_W)]
        assert not [time_s for time_s in times_s if ward.time_ill_s + 0.01 < time_s < ward.time_ill_s + 2.49]
    for name in ("shy with zeros", "shy with refusals"):  # what they do say is enough to follow them
        times_s = [after_s for _, after_s, _ in ward.recorded.of_board(ward.boards[name], Quantity.POWER_W)]
        assert len([time_s for time_s in times_s if time_s > ward.time_ill_s + 2.0]) > 15


def test_what_lasted_less_than_a_poll_of_the_clocks_is_seen(ward: Ward) -> None:
    for name, mask in (("capped", 0x4), ("hot", 0x20), ("healthy", 0)):
        rows = ward.recorded.of_board(ward.boards[name], Quantity.CLOCK_EVENTS)
        seen = [int(value) for _, after_s, value in rows if after_s > ward.time_ill_s]
        assert len(seen) > 15
        assert sum(value == mask for value in seen if value) == (1 if mask else 0)
        assert set(seen) <= {0, mask}


def test_temperature_is_followed(ward: Ward) -> None:
    rows = ward.recorded.of_board(ward.boards["hot"], Quantity.TEMPERATURE_C)
    assert rows[0][2] == 34.0
    assert rows[-1][2] == 80.0
    values = [value for _, _, value in rows]
    assert values == sorted(values)
    assert {value for _, _, value in ward.recorded.of_board(ward.boards["healthy"], Quantity.TEMPERATURE_C)} == {34.0}


# ---------------------------------------------------------------------------------------------- catching


def test_ticks_and_changes_of_power_are_bracketed_finely_at_few_polls(config: Path, fake_nvml: Path) -> None:
    board = replace(H100, load=LOAD, power_noise_w=0.5, power_phase_s=0.0123)
    write_config(config, [board])
    recorder = SamplerProcess(nvml_uuids=(board.uuid,))
    recorder.start(0.0)
    learnt_s = time.monotonic() + 2.0
    time.sleep(5.0)
    recorded = Recorded.of(recorder)
    assert recorded.stats is not None
    assert recorded.stats.n_polls / recorded.stats.duration_s < 400.0
    assert recorded.stats.duration_cpu_s / recorded.stats.duration_s < 0.1  # 0.01 where nothing else runs
    ticks = [row for row in recorded.of_board(board, Quantity.ENERGY_J) if row[0] > learnt_s]
    assert np.median([after_s - before_s for before_s, after_s, _ in ticks]) < 0.005  # 0.0005 on a quiet machine
    powers = [row for row in recorded.of_board(board, Quantity.POWER_W) if row[0] > learnt_s]
    changes = [(powers[k - 1][0], powers[k][1]) for k in range(1, len(powers)) if powers[k][2] != powers[k - 1][2]]
    assert len(changes) > 20
    # Between the changes, every regular poll is there. Where a slow machine makes polls dear they are further apart,
    # and changes of power are no longer waited for.
    gap_s = np.median(np.diff([after_s for _, after_s, _ in powers]))
    assert gap_s < 0.06  # 0.02
    chased = gap_s < 0.03
    assert np.median([after_s - before_s for before_s, after_s in changes]) < (0.02 if chased else 0.06)  # 0.001
    for before_s, after_s in changes:
        latch_s = 0.0123 + 0.1 * np.floor((after_s - 0.0123) / 0.1)
        assert before_s <= latch_s + 1e-6


def test_a_call_that_takes_long_is_made_seldom(ward: Ward) -> None:
    called_s = sum(
        after_s - before_s
        for quantity in (Quantity.POWER_W, Quantity.CLOCK_EVENTS, Quantity.TEMPERATURE_C, Quantity.BUSY_SHARE)
        for before_s, after_s, _ in ward.slow.of_board(SLOW, quantity)
    )
    # Of a second; a busy machine makes calls longer. There may be none: regular polls are by then a second apart.
    assert called_s < 0.25
    ticks = ward.slow.of_board(SLOW, Quantity.ENERGY_J)
    assert len(ticks) > 4  # and still the ticks are caught
    assert np.median([after_s - before_s for before_s, after_s, _ in ticks]) < 0.1


KINDS = {
    "A100": A100,
    "V100": V100,
    "P100": P100,
    "Ada": RTX_4090,
    "Ada, refreshed every 500 ms": RTX_4090_SLOW,
    "a module": GH200,
    "late": replace(H100, counter_lag_s=0.03, power_lag_s=0.02),
    "uneven": replace(H100, tick_jitter_s=0.02),
}


def test_every_kind_of_board_gives_true_rows(config: Path, fake_nvml: Path) -> None:
    boards = {
        name: numbered(replace(board, load=LOAD, power_noise_w=0.5), number)
        for number, (name, board) in enumerate(KINDS.items(), 1)
    }
    write_config(config, list(boards.values()))
    recorder = SamplerProcess(nvml_uuids=tuple(board.uuid for board in boards.values()))
    recorder.start(0.0)
    time.sleep(3.0)
    recorded = Recorded.of(recorder)
    truth = Truth(fake_nvml, config)
    for index, (name, board) in enumerate(boards.items()):
        assert recorded.of_board(board, Quantity.SENSOR_EVENT) == [], name
        powers = recorded.of_board(board, Quantity.POWER_W)
        assert len(powers) > 40, name
        if not board.counter:
            continue
        rows = recorded.of_board(board, Quantity.ENERGY_J)
        assert len(rows) > 1.5 / board.tick_s, name
        first_s = truth.last_tick_s(index, rows[0][1])
        for before_s, after_s, value_j in rows:
            tick_s = truth.last_tick_s(index, after_s)
            assert before_s <= tick_s + board.counter_lag_s <= after_s, name
            expected_j = truth.energy_j(index, first_s, tick_s) + board.module_w * (tick_s - first_s)
            assert value_j - rows[0][2] == pytest.approx(expected_j, abs=0.0021), name


# ---------------------------------------------------------------------------------------------- given up


@dataclass(frozen=True, slots=True)
class Case:
    board: Board
    change: Callable[[float], dict[str, object]]
    words: str


CASES = [
    Case(H100, lambda now_s: {"lost_after_s": now_s}, "GPU is lost"),
    Case(H100, lambda now_s: {"faults": (Fault("*", UNKNOWN, now_s),)}, "stopped answering"),
    Case(replace(H100, power=False), lambda now_s: {"counter_reset_at_s": now_s}, "went backwards"),
    Case(replace(V100, power=False), lambda now_s: {"counter_frozen_after_s": now_s}, "has not moved for 5 s"),
    Case(P100, lambda now_s: {"answers": (Answer("field:186", 0, now_s),)}, "no power that can be believed for 5 s"),
]


def test_a_board_is_given_up_when_nothing_it_says_can_be_used(config: Path) -> None:
    cases = {number: replace(case, board=numbered(case.board, number)) for number, case in enumerate(CASES, 1)}
    write_config(config, [case.board for case in cases.values()])
    recorders = {number: SamplerProcess(nvml_uuids=(case.board.uuid,)) for number, case in cases.items()}
    try:
        for recorder in recorders.values():
            recorder.start(0.0)
        now_s = time.monotonic() + 0.4
        write_config(config, [replace(case.board, **case.change(now_s)) for case in cases.values()])  # type: ignore[arg-type]
        deadline_s = now_s + 20.0
        while not all(recorder.lost() for recorder in recorders.values()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        for number, recorder in recorders.items():
            (finding,) = recorder.lost()
            assert finding.code is FindingCode.SENSOR_LOST
            assert cases[number].words in finding.detail
            recorded = Recorded.of(recorder)
            rows = [row for index in (0, 1) if index in recorded.rows for row in recorded.rows[index]]
            assert len(rows) > 3  # what came before stays
    finally:
        for recorder in recorders.values():
            recorder.stop()


def test_a_lost_board_takes_no_readings_of_others_along(config: Path) -> None:
    other = numbered(A100, 2)
    write_config(config, [H100, other])
    recorder = SamplerProcess(nvml_uuids=(H100.uuid, other.uuid))
    recorder.start(0.0)
    lost_s = time.monotonic() + 0.8
    write_config(config, [replace(H100, lost_after_s=lost_s), other])
    while not recorder.lost() and time.monotonic() < lost_s + 10.0:
        time.sleep(0.05)
    recorded = Recorded.of(recorder)
    powers = recorded.of_board(other, Quantity.POWER_W)
    assert powers[-1][1] > lost_s - 0.1
    assert {power_w for _, _, power_w in powers} == {60.0}


# ---------------------------------------------------------------------------------------------- opening


def test_a_counter_that_stands_still_from_the_start_is_no_reason_not_to_start(config: Path) -> None:
    board = replace(H100, counter_frozen_after_s=1.0)
    write_config(config, [board])
    recorder = SamplerProcess(nvml_uuids=(board.uuid,))
    recorder.start(0.0)
    recorded = Recorded.of(recorder)
    assert recorded.of_board(board, Quantity.ENERGY_J) == []
    assert len(recorded.of_board(board, Quantity.POWER_W)) > 10


def test_a_counter_that_is_refused_at_the_start_is_not_there_and_said_so(config: Path) -> None:
    board = replace(H100, faults=(Fault("nvmlDeviceGetTotalEnergyConsumption", UNKNOWN),))
    other = numbered(replace(A100, faults=(Fault("field:186", NO_PERMISSION),)), 2)
    write_config(config, [board, other])
    recorder = SamplerProcess(nvml_uuids=(board.uuid, other.uuid))
    recorder.start(0.0)
    recorded = Recorded.of(recorder)
    makes_energy = [(channel.device, channel.quantity) for channel in recorder.channels if channel.makes_energy]
    assert makes_energy == [
        (board.uuid, Quantity.POWER_W),
        (other.uuid, Quantity.ENERGY_J),
        (other.uuid, Quantity.POWER_W),
    ]
    assert len(recorded.of_board(board, Quantity.POWER_W)) > 0
    counter, power = (finding.detail for finding in recorder.notes())
    assert counter.startswith(f"{board.uuid}: the energy counter was refused (Unknown")
    assert power.startswith(f"{other.uuid}: instantaneous power was refused (Insufficient Permissions")


def test_a_board_that_is_refused_altogether_says_why(config: Path) -> None:
    calls = ("nvmlDeviceGetTotalEnergyConsumption", "field:186", "nvmlDeviceGetPowerUsage")
    write_config(config, [replace(H100, faults=tuple(Fault(call, NO_PERMISSION) for call in calls))])
    with pytest.raises(NoSensor, match=r"neither energy nor power: .*Insufficient Permissions"):
        SamplerProcess(nvml_uuids=(H100.uuid,)).start(0.0)


def card(**known: object) -> SensorCard:
    return SensorCard.model_validate(
        {
            "uuid": H100.uuid,
            "name": H100.name,
            "driver": "1",
            "idle_utc": "2026-11-24T00:00:00Z",
            "counter": True,
            "instant_power": True,
            **known,
        }
    )


@pytest.mark.parametrize(
    ("known", "counter_s", "power_s"),
    [
        (None, (None, None), (None, 0.025)),
        (card(duration_tick_s=0.1, integrates=True), (0.1, None), (None, 0.025)),
        (
            card(
                duration_tick_s=0.1,
                duration_power_period_s=0.1,
                duration_power_window_s=0.02,
                integrates=False,
                duration_counter_window_s=0.03,
            ),
            (0.1, 0.03),
            (0.1, 0.02),
        ),
    ],
    ids=["unknown", "integrates", "part-time"],
)
def test_channels_say_what_the_card_knows(
    config: Path,
    known: SensorCard | None,
    counter_s: tuple[float | None, float | None],
    power_s: tuple[float | None, float | None],
) -> None:
    write_config(config, [H100])
    recorder = SamplerProcess(nvml_uuids=(H100.uuid,), cards={H100.uuid: known} if known else None)
    recorder.start(0.0)
    recorder.stop()
    counter, power, *_ = recorder.channels
    assert (counter.duration_period_s, counter.duration_window_s) == counter_s
    assert (power.duration_period_s, power.duration_window_s) == power_s
    assert [channel.quantity for channel in recorder.channels] == list(Quantity)
    assert {channel.device for channel in recorder.channels} == {H100.uuid}


def test_what_a_board_does_not_have_is_no_channel(config: Path) -> None:
    refused = {
        "nvmlDeviceGetTemperature": NOT_SUPPORTED,
        "nvmlDeviceGetTemperatureV": FUNCTION_NOT_FOUND,
        "nvmlDeviceGetCurrentClocksEventReasons": NO_PERMISSION,
        "nvmlDeviceGetCurrentClocksThrottleReasons": NO_PERMISSION,
        "nvmlDeviceGetUtilizationRates": NOT_SUPPORTED,
        "nvmlDeviceGetPowerManagementLimit": NO_PERMISSION,
        "nvmlDeviceGetPowerManagementDefaultLimit": NOT_SUPPORTED,
    }
    bare = replace(P100, faults=tuple(Fault(call, code) for call, code in refused.items()))
    write_config(config, [bare])
    recorder = SamplerProcess(nvml_uuids=(bare.uuid,))
    recorder.start(0.0)
    recorder.stop()
    assert [(channel.quantity, channel.method) for channel in recorder.channels] == [
        (Quantity.POWER_W, Method.NVML_POWER),
        (Quantity.SENSOR_EVENT, Method.NVML_POWER),
    ]


def test_without_the_counters_field_its_own_call_is_made(config: Path, fake_nvml: Path) -> None:
    board = replace(H100, faults=(Fault("field:83", NOT_SUPPORTED),), load=LOAD)
    write_config(config, [board])
    recorder = SamplerProcess(nvml_uuids=(board.uuid,))
    recorder.start(0.0)
    time.sleep(1.0)
    recorded = Recorded.of(recorder)
    truth = Truth(fake_nvml, config)
    rows = recorded.of_board(board, Quantity.ENERGY_J)
    assert len(rows) > 6
    assert all(before_s <= truth.last_tick_s(0, after_s) <= after_s for before_s, after_s, _ in rows)
    assert recorded.of_board(board, Quantity.SENSOR_EVENT) == []


def test_a_board_that_is_not_there_is_refused(config: Path) -> None:
    write_config(config, [H100])
    with pytest.raises(NoSensor, match="NVML refused"):
        SamplerProcess(nvml_uuids=("GPU-nowhere",)).start(0.0)
