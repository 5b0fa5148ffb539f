"""How busy the GPU was: read from the board, told by mode, and doubted where the host decides."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.busy import busy_by_mode, busy_shares, host_bound
from harness.analysis.stored import query_columns
from harness.meter.recorder import SamplerProcess
from harness.records import (
    Boundary,
    BusyShare,
    BusyShares,
    Channel,
    FindingCode,
    Method,
    Quantity,
    Segment,
)
from harness.report.facts import facts_of
from harness.store.run_directory import RunDirectory
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, Answer
from tests.synthetic_runs import GPU, cell, query, summary_of

OTHER = "GPU-22222222-2222-3333-4444-555555555555"


def channel(device: str = GPU, quantity: Quantity = Quantity.BUSY_SHARE) -> Channel:
    return Channel(device=device, boundary=Boundary.GPU_BOARD, method=Method.NVML_COUNTER, quantity=quantity)


def segment(rows: Sequence[tuple[int, float, float]]) -> Segment:
    """Rows of (channel, seconds, value)."""
    numbers, times_s, values = (np.array(column) for column in zip(*rows, strict=True))
    return Segment(channel=numbers, time_before_s=times_s - 1e-4, time_after_s=times_s, value=values)


def told(
    rows: Sequence[tuple[int, float, float]], channels: Sequence[Channel], devices: Sequence[str] = (GPU,)
) -> dict[str, tuple[float, float]]:
    queries = query_columns(
        [
            query(0, "off", 1.0, time_start_s=1.0, duration_s=1.0),
            query(1, "off", 1.0, time_start_s=2.0, duration_s=1.0),
            query(0, "on", 1.0, time_start_s=3.0, duration_s=2.0),
            query(1, "on", 1.0, time_start_s=4.0, duration_s=2.0),  # in flight with the one before
        ]
    )
    busy = busy_shares(0, channels, [segment(rows[:3]), segment(rows[3:])], queries, devices)
    return {} if busy is None else {each.mode: (each.duration_s, each.share) for each in busy.modes}


ONCE_A_SECOND = [(0, 1.0, 0.9), (0, 2.0, 1.0), (0, 3.0, 0.5), (0, 4.0, 0.2), (0, 5.0, 0.4), (0, 6.0, 0.0)]


def test_what_a_board_says_holds_since_it_was_asked_before() -> None:
    said = told(ONCE_A_SECOND, [channel()])
    assert said["off"] == pytest.approx((2.0, (1.0 + 0.5) / 2))
    assert said["on"] == pytest.approx((3.0, (0.2 + 0.4 + 0.0) / 3))  # each second once


def test_boards_are_averaged_and_those_of_others_are_left_out() -> None:
    rows = [*ONCE_A_SECOND, *((1, time_s, 1.0) for _, time_s, _ in ONCE_A_SECOND)]
    channels = [channel(), channel(OTHER)]
    assert told(rows, channels)["off"][1] == pytest.approx(0.75)
    assert told(rows, channels, (GPU, OTHER))["off"][1] == pytest.approx((0.75 + 1.0) / 2)


def test_other_channels_and_silence_say_nothing() -> None:
    assert told(ONCE_A_SECOND, [channel(quantity=Quantity.TEMPERATURE_C)]) == {}
    assert told([(0, 0.1, 1.0), (0, 0.2, 1.0), (0, 0.3, 1.0), (0, 0.4, 1.0)], [channel()]) == {}


def test_sessions_weigh_by_their_time_and_a_waiting_gpu_is_a_doubt() -> None:
    sessions = [
        BusyShares(session=0, modes=(BusyShare(mode="on", duration_s=3.0, share=0.2),)),
        BusyShares(
            session=1,
            modes=(BusyShare(mode="on", duration_s=1.0, share=0.6), BusyShare(mode="off", duration_s=1.0, share=0.9)),
        ),
    ]
    busy = busy_by_mode(sessions)
    assert busy == {"on": pytest.approx(0.3), "off": pytest.approx(0.9)}
    (doubt,) = host_bound(busy)
    assert doubt.code is FindingCode.HOST_BOUND
    assert doubt.detail == "mode on: busy 30 % of the time"
    assert host_bound({"on": 0.5}) == ()


def test_it_is_kept_beside_the_session_and_listed_among_the_facts(tmp_path: Path) -> None:
    store = RunDirectory.create(tmp_path, cell(), "0123456789ab")
    number = store.begin_session()
    assert store.busy(number) is None
    busy = BusyShares(session=number, modes=(BusyShare(mode="on", duration_s=3.0, share=0.34),))
    store.write_busy(busy)
    assert store.busy(number) == busy
    summary = summary_of([query(0, "on", 1.0)])
    modes = tuple(mode.model_copy(update={"gpu_busy_share": 0.34}) for mode in summary.modes)
    facts = facts_of(summary.model_copy(update={"modes": modes}), None)[0].facts
    assert [fact.text for fact in facts if fact.label == "GPU busy while answering"] == [
        "off 34 %, on 34 % of the time"
    ]
    assert not [fact for fact in facts_of(summary, None)[0].facts if "busy" in fact.label]  # unknown has no line


def test_the_sampler_asks_the_board_once_a_second(
    fake_nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "boards.conf"
    fake.write_config(config, [replace(H100, answers=(Answer("nvmlDeviceGetUtilizationRates", 34),))])
    for name, value in fake.environment(fake_nvml.parent, config).items():
        monkeypatch.setenv(name, value)
    recorder = SamplerProcess(nvml_uuids=(H100.uuid,))
    recorder.start(0.0)
    time.sleep(2.2)
    recorder.stop()
    rows = recorder.drain()
    (number,) = [index for index, each in enumerate(recorder.channels) if each.quantity is Quantity.BUSY_SHARE]
    values = rows.value[rows.channel == number].tolist()
    assert values == [pytest.approx(0.34)] * len(values)
    assert 1 <= len(values) <= 4  # fewer where the machine is busy, never many
