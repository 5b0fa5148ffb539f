"""Whose work the host's energy is: accounts of CPU time, the judgement, and sessions on a shared host."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attribution.host import HostLoad, withheld
from harness.environment.cpu_time import CpuTime
from harness.pipeline.session import Session
from harness.records import Attribution, Boundary, CpuUse, FindingCode, Method, PhaseReading, Reading
from harness.verify import verify
from tests import test_pipeline
from tests.synthetic_power import COUNTER, ESTIMATE, PACKAGE
from tests.test_pipeline import Rig, the_reading

BUSY = "end = __import__('time').process_time() + 0.3\nwhile __import__('time').process_time() < end: pass"


def load(*cores: tuple[float, float, float], own: float = 1.0, step_s: float = 0.5, end_s: float = 30.0) -> HostLoad:
    """Accounts every `step_s`: `own` cores of ours, and others' cores over (start, end, cores) stretches."""
    found = HostLoad()
    for index in range(int(end_s / step_s) + 1):
        time_s = index * step_s
        others_s = sum(n * max(0.0, min(time_s, end) - start) for start, end, n in cores)
        found.note(time_s, CpuUse(duration_busy_s=100.0 + own * time_s + others_s, duration_own_s=3.0 + own * time_s))
    return found


def test_a_quiet_host_is_the_querys_and_a_busy_one_is_not() -> None:
    busy = load((10.0, 20.0, 0.8))
    assert busy.n_cores_others(2.1, 6.3) is None
    assert busy.n_cores_others(12.1, 16.3) == pytest.approx(0.8)
    assert busy.n_cores_others(24.0, 25.0) is None
    assert load((0.0, 30.0, 0.04)).n_cores_others(0.0, 30.0) is None


def test_little_beside_much_is_little() -> None:
    assert load((0.0, 30.0, 0.9), own=31.0).n_cores_others(5.0, 15.0) is None
    assert load((0.0, 30.0, 2.0), own=31.0).n_cores_others(5.0, 15.0) == pytest.approx(2.0)


def test_a_short_query_is_judged_with_its_neighbours() -> None:
    """Three of the kernel's ticks in 0.1 s would be a third of a core."""
    ticked = load((10.2, 10.23, 1.0), step_s=0.1)
    assert ticked.n_cores_others(10.2, 10.3) is None
    busy = load((9.0, 12.0, 1.0), step_s=0.1)
    assert busy.n_cores_others(10.2, 10.3) == pytest.approx(1.0)


def test_nothing_is_said_without_two_accounts() -> None:
    assert HostLoad().n_cores_others(0.0, 1.0) is None
    assert load(end_s=0.0).n_cores_others(0.0, 1.0) is None


@given(own=st.floats(0.0, 64.0), start=st.floats(0.0, 20.0), length=st.floats(0.01, 9.0))
def test_work_of_our_own_never_makes_a_host_shared(own: float, start: float, length: float) -> None:
    assert load(own=own).n_cores_others(start, start + length) is None


def reading(boundary: Boundary, method: Method) -> Reading:
    phase = PhaseReading(
        name="answer", time_start_s=0.0, time_end_s=1.0, energy_gross_j=50.0, energy_gross_half_width_j=1.0
    )
    return Reading(
        device="a device",
        boundary=boundary,
        method=method,
        attribution=Attribution.EXCLUSIVE,
        time_start_s=0.0,
        time_end_s=1.0,
        energy_gross_j=50.0,
        energy_gross_half_width_j=1.0,
        n_samples=100,
        phases=(phase,),
    )


def test_only_a_measured_host_is_withheld() -> None:
    host = reading(Boundary.HOST, Method.RAPL)
    assert withheld(host, None) == host
    for other in (
        reading(Boundary.GPU_BOARD, Method.NVML_COUNTER),
        reading(Boundary.HOST, Method.ESTIMATED),
    ):
        assert withheld(other, 2.0) == other
    null = withheld(host, 0.834)
    assert (null.energy_gross_j, null.energy_gross_half_width_j) == (None, None)
    assert [(phase.energy_gross_j, phase.energy_gross_half_width_j) for phase in null.phases] == [(None, None)]
    (finding,) = null.findings
    assert finding.code is FindingCode.HOST_SHARED
    assert "0.83 cores" in finding.detail


@pytest.mark.parametrize("others", [0.0, 0.7])
def test_a_session_withholds_queries_of_a_shared_host_and_keeps_its_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: float
) -> None:
    def watched(**fields: Any) -> Session:
        clock = fields["clock"]
        return Session(
            **fields,
            cpu_time=lambda: CpuUse(duration_busy_s=(1.0 + others) * clock.now_s(), duration_own_s=clock.now_s()),
        )

    monkeypatch.setattr(test_pipeline, "Session", watched)
    rig = Rig(path=tmp_path / "run", channels=(COUNTER, PACKAGE, ESTIMATE))
    assert rig.session() == "finished"
    for query in rig.store.queries():
        host = the_reading(query, PACKAGE.device)
        codes = {finding.code for finding in host.findings}
        assert (FindingCode.HOST_SHARED in codes) == (others > 0)
        if others:
            assert host.energy_gross_j is None
        else:
            assert host.energy_gross_j == pytest.approx(50.0 * query.duration_s, abs=0.01)
        assert the_reading(query).energy_gross_j is not None
        assert the_reading(query, ESTIMATE.device).energy_gross_j is not None
    for interval in rig.store.intervals(1):
        assert all(each.energy_gross_j is not None for each in interval.readings)
    assert rig.store.finished() == set(rig.wanted())
    assert verify(rig.path).differences == ()


def test_the_kernels_accounts_tell_our_work_from_all_work() -> None:
    accounts = CpuTime()
    before = accounts.read()
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    ended = accounts.read()
    assert 0.29 < ended.duration_own_s - before.duration_own_s < 2.0  # of a child that has ended
    with subprocess.Popen([sys.executable, "-c", BUSY + "\ninput()"], stdin=subprocess.PIPE) as child:
        deadline_s = time.monotonic() + 20.0
        while accounts.read().duration_own_s - ended.duration_own_s < 0.25 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        during = accounts.read()
        child.communicate(b"\n")
    assert during.duration_own_s - ended.duration_own_s > 0.24  # of one that lives
    # What is ours is part of what is everybody's, but for the kernel's ticks.
    assert during.duration_busy_s - before.duration_busy_s > during.duration_own_s - before.duration_own_s - 0.1


def test_without_the_kernels_accounts_nothing_is_looked_for(tmp_path: Path) -> None:
    assert CpuTime().is_readable
    assert not CpuTime(tmp_path).is_readable
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 50 60 70 0 0 0\ncpu0 1 2 3\n")
    assert CpuTime(tmp_path).is_readable
    assert CpuTime(tmp_path).read().duration_busy_s == pytest.approx(1.5)
