"""`harness.Meter` as its user has it: programs of their own, with the fake NVML library beneath them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import Meter
from harness.attribution.total import total
from harness.clock import ClockOffsets, clock_offsets
from harness.errors import NoSensor, UsageError
from harness.records import Attribution, Boundary, Finding, FindingCode, MeterReading, Method, Reading
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, Board, Truth, constant, write_config

ROOT = Path(__file__).parents[1]
FIRST = replace(H100, load=(constant(130.0),))
SECOND = replace(
    H100, uuid="GPU-99999999-0000-4000-8000-000000000002", tick_phase_s=0.0771, idle_w=40.0, load=(constant(10.0),)
)
TIMEOUT_S = 60.0


FORKING = """
import json, os, sys
import harness.metering
for line in sys.stdin:
    asked = json.loads(line)
    if not os.fork():
        os.environ.clear()
        os.environ.update(asked["environ"])
        for number, name in enumerate((os.devnull, asked["output"], asked["errors"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        exec(compile(asked["program"], "<string>", "exec"), {"__name__": "__main__"})
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
"""Runs programs one after the other. They are forked because most of what a short one does is to import the meter."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with fake boards, on which programs are run."""

    library: Path
    config: Path
    forking: subprocess.Popen[str]

    @property
    def environ(self) -> dict[str, str]:
        return {
            **fake.environment(self.library.parent, self.config),
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(self.library.parent / "cache"),
        }

    def run(self, program: str, environ: Mapping[str, str] | None = None, *, stdin: bool = False) -> dict[str, Any]:
        """What a program printed last, as JSON. Warnings are errors in it, as here."""
        text = textwrap.dedent(program)
        wanted = {**self.environ, **(environ or {})}
        is_forked = not stdin and wanted["PYTHONPATH"] == str(ROOT)  # what is imported depends on that path
        code, output, errors = self._forked(text, wanted) if is_forked else self._started(text, wanted, stdin=stdin)
        assert code == 0, errors
        assert errors == ""
        printed: dict[str, Any] = json.loads(output.splitlines()[-1])
        return printed

    def _started(self, text: str, environ: Mapping[str, str], *, stdin: bool) -> tuple[int, str, str]:
        finished = subprocess.run(
            [sys.executable, "-W", "error", *(["-"] if stdin else ["-c", text])],
            input=text if stdin else None,
            env=environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return finished.returncode, finished.stdout, finished.stderr

    def _forked(self, text: str, environ: Mapping[str, str]) -> tuple[int, str, str]:
        assert self.forking.stdin is not None
        assert self.forking.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            asked = {"program": text, "environ": dict(environ), "output": str(output), "errors": str(errors)}
            self.forking.stdin.write(json.dumps(asked) + "\n")
            self.forking.stdin.flush()
            return int(self.forking.stdout.readline()), output.read_text(), errors.read_text()

    def true_j(self, printed: dict[str, Any], reading: dict[str, Any], board: int) -> float:
        origin_s = printed["origin_s"]
        times_s = (reading["time_start_s"] + origin_s, reading["time_end_s"] + origin_s)
        return Truth(self.library, self.config).energy_j(board, *times_s)


@pytest.fixture(scope="module")
def forking(tmp_path_factory: pytest.TempPathFactory, fake_nvml: Path) -> Iterator[subprocess.Popen[str]]:
    environ = {**fake.environment(fake_nvml.parent, tmp_path_factory.mktemp("none")), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", FORKING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        yield process


@pytest.fixture
def machine(tmp_path: Path, fake_nvml: Path, forking: subprocess.Popen[str]) -> Machine:
    write_config(tmp_path / "boards.conf", [FIRST])
    return Machine(fake_nvml, tmp_path / "boards.conf", forking)


def codes(reading: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in reading["findings"]}


# ------------------------------------------------------------------------------ one session, many spans

MANY_SPANS = """
import asyncio, json, os, sys, threading, time
import psutil
from harness import Meter

def busy(duration_s):
    end_s = time.monotonic() + duration_s
    while time.monotonic() < end_s:
        pass

async def query(name, duration_s):
    with meter.span(name) as spans[name]:
        await asyncio.sleep(duration_s)

async def two_queries():
    await asyncio.gather(query("task a", 0.3), query("task b", 0.2))

def worker(inside_s):
    with meter.span("worker") as spans["worker"]:
        time.sleep(inside_s)

spans, asked = {}, {}
with Meter() as meter:
    asked["before_unix_s"] = time.time()
    with meter.span("alone") as spans["alone"]:
        time.sleep(0.8)
    asked["after_unix_s"] = time.time()
    time.sleep(0.2)
    with meter.span("parent") as spans["parent"]:
        time.sleep(0.1)
        with meter.span("child") as spans["child"]:
            time.sleep(0.3)
        time.sleep(0.1)
    first = spans["first"] = meter.begin("first")
    time.sleep(0.2)
    second = spans["second"] = meter.begin("second")
    time.sleep(0.2)
    meter.end(first)
    time.sleep(0.2)
    meter.end(second)
    with meter.span("around a thread") as spans["around a thread"]:
        thread = threading.Thread(target=worker, args=(0.2,))
        thread.start()
        thread.join()
    with meter.span("around tasks") as spans["around tasks"]:
        asyncio.run(two_queries())
    before_s = time.monotonic()
    with meter.span("isolated", isolated=True) as spans["isolated"]:
        began_s = time.monotonic()
        time.sleep(0.05)
        ended_s = time.monotonic()
    asked["quiet_s"] = [began_s - before_s, time.monotonic() - ended_s]
    try:
        with meter.span("raises") as spans["raises"]:
            time.sleep(0.1)
            raise KeyError("inside")
    except KeyError:
        pass
    with meter.span("busy") as spans["busy"]:
        threads = [threading.Thread(target=busy, args=(0.4,)) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    readings = {name: meter.read(span) for name, span in spans.items()}
    left_open = meter.begin("closed with the meter")
again = meter.read(spans["alone"])
assert meter.read(left_open).time_end_s == left_open.time_end_s
print(json.dumps({
    "origin_s": meter.origin_monotonic_s,
    "again_j": again.energy_gross_j,
    "children": len(psutil.Process().children()),
    "n_samples": meter.stats.n_samples,
    **asked,
    "spans": {name: reading.model_dump(mode="json") for name, reading in readings.items()},
}))
"""


@dataclass(frozen=True, slots=True)
class ManySpans:
    """What one program with two boards printed."""

    machine: Machine
    printed: dict[str, Any]

    def __getitem__(self, name: str) -> dict[str, Any]:
        reading: dict[str, Any] = self.printed["spans"][name]
        return reading


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, fake_nvml: Path, forking: subprocess.Popen[str]) -> ManySpans:
    config = tmp_path_factory.mktemp("machine") / "boards.conf"
    write_config(config, [FIRST, SECOND])
    machine = Machine(fake_nvml, config, forking)
    return ManySpans(machine, machine.run(MANY_SPANS))


SPANS = (
    *("alone", "parent", "child", "first", "second", "around a thread", "worker", "around tasks", "task a", "task b"),
    *("isolated", "raises", "busy"),
)


def test_the_truth_lies_within_the_half_width(many: ManySpans) -> None:
    """Nineteen times in twenty, so not every time."""
    apart = []
    for reading in map(many.__getitem__, SPANS):
        assert (reading["boundary"], reading["method"]) == ("gpu_board", "nvml_counter")
        assert reading["attribution"] == "whole_board"
        truths_j = [many.machine.true_j(many.printed, reading, board) for board in (0, 1)]
        for each, truth_j in ((reading, sum(truths_j)), *zip(reading["per_device"], truths_j, strict=True)):
            assert each["energy_gross_j"] == pytest.approx(truth_j, rel=0.05)
            apart.append(abs(each["energy_gross_j"] - truth_j) / each["energy_gross_half_width_j"])
    assert sum(share <= 1.0 for share in apart) >= 0.8 * len(apart)


def test_two_boards_are_added_and_each_is_told(many: ManySpans) -> None:
    reading = many["alone"]
    parts = reading["per_device"]
    assert [part["device"] for part in parts] == [FIRST.uuid, SECOND.uuid]
    assert reading["energy_gross_j"] == pytest.approx(sum(part["energy_gross_j"] for part in parts))
    assert reading["energy_gross_half_width_j"] == pytest.approx(
        math.hypot(*(part["energy_gross_half_width_j"] for part in parts))
    )
    assert reading["n_samples"] == sum(part["n_samples"] for part in parts)


def test_energy_above_idle_is_none_where_the_load_is_constant(many: ManySpans) -> None:
    reading = many["alone"]
    assert reading["power_idle_w"] == pytest.approx(200.0 + 50.0, rel=0.02)
    assert abs(reading["energy_net_j"]) <= 3 * reading["energy_net_half_width_j"]
    assert abs(reading["energy_tail_j"]) < 5.0
    # Nobody can tell a span's tail from the work of another one around it.
    assert many["child"]["energy_tail_j"] is None
    assert many["parent"]["energy_tail_j"] is not None


def test_a_finding_is_on_spans_that_overlap_and_not_on_those_that_nest(many: ManySpans) -> None:
    overlapping = {name for name in SPANS if "spans_overlap" in codes(many[name])}
    assert overlapping == {"first", "second", "around a thread", "worker", "task a", "task b"}


def test_wall_time_is_that_of_the_span(many: ManySpans) -> None:
    reading = many["alone"]
    assert reading["time_start_unix_s"] == pytest.approx(many.printed["before_unix_s"], abs=0.1)
    assert reading["time_end_unix_s"] == pytest.approx(many.printed["after_unix_s"], abs=0.1)
    assert reading["time_end_s"] - reading["time_start_s"] >= 0.8


def test_isolation_waits_two_ticks_on_either_side(many: ManySpans) -> None:
    for quiet_s in many.printed["quiet_s"]:
        assert quiet_s >= 0.19
    reading = many["isolated"]
    assert 0.05 <= reading["time_end_s"] - reading["time_start_s"] < 0.15  # the quiet is not in it


def test_an_exception_ends_the_span_and_a_closed_meter_still_answers(many: ManySpans) -> None:
    assert many["raises"]["energy_gross_j"] > 0
    assert many.printed["again_j"] == pytest.approx(many["alone"]["energy_gross_j"])
    assert many.printed["children"] == 0  # no zombie
    assert many.printed["n_samples"] > 50


# ------------------------------------------------------------------------------------- what is metered

CHOSEN = """
import json, sys
from harness import Meter
with Meter({arguments}) as meter:
    with meter.span() as span:
        pass
    reading = meter.read(span)
print(json.dumps({{"devices": [each.device for each in reading.per_device], "driver": meter.driver,
                   "boards": [board.name for board in meter.boards],
                   "findings": [finding.code for finding in reading.findings]}}))
"""


@pytest.mark.parametrize(
    ("visible", "arguments", "boards"),
    [
        (None, "baseline_s=0, tail_s=0", [FIRST, SECOND]),
        (SECOND.uuid[:12], "baseline_s=0, tail_s=0", [SECOND]),
        ("1", "gpus=['GPU-1111'], baseline_s=0, tail_s=0", [FIRST]),
        ("0", "gpus=[1, 0], baseline_s=0, tail_s=0", [FIRST, SECOND]),
    ],
)
def test_the_visible_boards_are_metered_or_those_that_are_named(
    machine: Machine, visible: str | None, arguments: str, boards: list[Board]
) -> None:
    write_config(machine.config, [FIRST, SECOND])
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    printed = machine.run(CHOSEN.format(arguments=arguments), environ)
    assert printed["devices"] == [board.uuid for board in boards]
    assert printed["boards"] == [board.name for board in boards]
    assert printed["driver"] == fake.System().driver_version
    assert "no_idle_baseline" in printed["findings"]


def test_a_board_with_somebody_on_it_is_doubted(machine: Machine) -> None:
    stranger = fake.GpuProcess(pid=1, memory_bytes=1, name="other")
    write_config(machine.config, [replace(FIRST, processes=(stranger,), mig_current=1, mig_pending=1)])
    printed = machine.run(CHOSEN.format(arguments="baseline_s=0, tail_s=0"))
    assert {"other_processes", "mig_parent"} <= set(printed["findings"])


AT_ITS_END = """
import json, os, time
from dataclasses import replace
from pathlib import Path
from harness import Meter
from harness.meter.recorder import SamplerProcess
from tests.fake_nvml.library import H100, GpuProcess, constant, write_config

stop = SamplerProcess.stop
def late(sampler):
    stats = stop(sampler)
    return stats and stats.model_copy(update={"n_late": stats.n_polls})
SamplerProcess.stop = late

def boards(first, second, **more):
    write_config(Path(os.environ["FAKE_NVML_CONFIG"]), [
        replace(H100, load=(constant(130.0),), processes=tuple(GpuProcess(pid, 1) for pid in first), **more),
        replace(H100, uuid="GPU-99999999-0000-4000-8000-000000000002",
                processes=tuple(GpuProcess(pid, 1) for pid in second), **more),
    ])

def told(findings):
    return {finding.code: finding.detail for finding in findings}

boards([], [])
with Meter(baseline_s=0, tail_s=0) as meter:
    with meter.span() as first:
        before = told(meter.findings)
        warmer = dict(temperature_start_s=time.monotonic(), temperature_end_c=80.0, temperature_time_constant_s=1.5)
        boards([os.getpid()], [], **warmer)
        deadline_s = time.monotonic() + 20.0
        while not meter.findings and time.monotonic() < deadline_s:  # nobody reads: the meter looks by itself
            time.sleep(0.1)
        while_open = told(meter.findings)
        time.sleep(1.5)  # temperature is read once a second
    reading = meter.read(first)
    boards([os.getpid()], [os.getppid()], **warmer)
    time.sleep(0.1)
print(json.dumps({"before": before, "while_open": while_open, "reading": told(reading.findings),
                  "after": told(meter.findings)}))
"""


def test_what_a_run_finds_at_its_end_a_meter_finds_too(machine: Machine) -> None:
    printed = machine.run(AT_ITS_END)
    assert printed["before"] == {}
    nothing = f"nothing of this program was seen on {SECOND.uuid}"
    for moment in ("while_open", "reading", "after"):
        assert printed[moment]["other_boards_metered"] == nothing
    assert "temperature_drift" in printed["reading"]
    assert printed["after"]["other_processes"].startswith(SECOND.uuid)
    assert "came" in printed["after"]["other_processes"]
    assert "late_samples" in printed["after"]


@pytest.mark.parametrize(
    ("gpus", "words"),
    [(None, "no NVIDIA driver"), ([0], "no NVIDIA driver"), ("none", "none was wanted"), ([], "none was wanted")],
)
def test_without_a_gpu_the_refusal_names_the_ways_out(gpus: Any, words: str) -> None:
    before = psutil.Process().children()
    with pytest.raises(NoSensor, match=r"^No GPU") as caught:
        Meter(gpus).start()
    assert words in str(caught.value)
    assert "allow_estimate=True" in caught.value.next_step
    assert "host=True" in caught.value.next_step
    assert psutil.Process().children() == before


def test_a_board_that_is_hidden_or_not_there_is_refused(machine: Machine) -> None:
    program = """
    import json
    from harness import Meter
    from harness.errors import HarnessError
    try:
        Meter({arguments}).start()
    except HarnessError as error:
        print(json.dumps({{"kind": type(error).__name__, "words": str(error), "next": error.next_step}}))
    """
    hidden = machine.run(program.format(arguments=""), {"CUDA_VISIBLE_DEVICES": ""})
    assert hidden["kind"] == "NoSensor"
    assert "CUDA_VISIBLE_DEVICES=''" in hidden["words"]
    unknown = machine.run(program.format(arguments="gpus=[3]"))
    assert unknown["kind"] == "UnknownName"
    assert FIRST.uuid in unknown["next"]
    silent = replace(FIRST, uuid="GPU-77777777-0000-4000-8000-000000000001", counter=False, power=False)
    write_config(machine.config, [silent])
    assert machine.run(program.format(arguments=""))["kind"] == "NoSensor"


def test_an_estimate_is_named_one_everywhere() -> None:
    pytest.importorskip("codecarbon")
    with Meter(allow_estimate=True, baseline_s=0) as meter:
        if meter.channels[0].method is not Method.ESTIMATED:
            pytest.skip("this machine has RAPL, which is measured instead")
        with meter.span(isolated=True) as span:
            time.sleep(0.3)
        reading = meter.read(span)
    assert (reading.boundary, reading.method) == (Boundary.HOST, Method.ESTIMATED)
    assert reading.energy_gross_j is not None
    assert reading.energy_gross_j > 0
    assert reading.energy_gross_half_width_j is None
    assert FindingCode.ESTIMATED_ENERGY in {finding.code for finding in reading.findings}


# --------------------------------------------------------------------------------------- host by RAPL

ZONES = {"intel-rapl:0": ("package-0", 20.0), "intel-rapl:0:0": ("dram", 5.0)}
PATCH = """
import os, sys
from pathlib import Path
root = (Path(os.environ["FAKE_POWERCAP"]),)
import harness.environment.rapl as zones
zones.zone_paths.__defaults__ = root
zones.rapl_zones.__defaults__ = (*root, *zones.rapl_zones.__defaults__[1:])
if "harness.meter.sampler" in sys.orig_argv:
    import harness.meter.sensors.rapl as sensor
    sensor.RaplSensor.__init__.__defaults__ = root
"""
"""For each new interpreter: RAPL lies elsewhere."""


@pytest.fixture
def powercap(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of programs on a machine whose packages draw 20 W and whose memory draws 5 W."""
    root, site = tmp_path / "powercap", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(PATCH)
    for place, (name, _) in ZONES.items():
        (root / place).mkdir(parents=True)
        (root / place / "name").write_text(f"{name}\n")
        (root / place / "max_energy_range_uj").write_text("262143328850\n")
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(0.003):
            for place, (_, power_w) in ZONES.items():
                draft = root / place / "draft"
                draft.write_text(f"{int(power_w * time.monotonic() * 1e6)}\n")
                draft.rename(root / place / "energy_uj")

    thread = threading.Thread(target=count)
    thread.start()
    time.sleep(0.05)
    yield {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "FAKE_POWERCAP": str(root)}
    ended.set()
    thread.join()


WITH_HOST = """
import json, time
from harness import Meter
from harness.errors import UsageError
with Meter({arguments}) as meter:
    with meter.span() as span:
        time.sleep(0.6)
    reading = meter.read(span)
    try:
        both = meter.read(span, boundary="gpu_board+host").model_dump(mode="json")
    except UsageError as error:
        both = str(error)
print(json.dumps({{"origin_s": meter.origin_monotonic_s, "both": both, **reading.model_dump(mode="json")}}))
"""


def test_the_host_alone_is_its_packages_and_memory(machine: Machine, powercap: dict[str, str]) -> None:
    printed = machine.run(WITH_HOST.format(arguments="gpus='none', host=True, baseline_s=0, tail_s=0"), powercap)
    assert (printed["boundary"], printed["method"]) == ("host", "rapl")
    assert [each["device"] for each in printed["per_device"]] == ["cpu-package-0", "dram-0"]
    truth_j = 25.0 * (printed["time_end_s"] - printed["time_start_s"])
    assert printed["energy_gross_j"] == pytest.approx(truth_j, abs=3.0)  # a busy machine writes its counters late
    assert "gpu_board+host is not metered" in printed["both"]


def test_the_host_stands_beside_the_gpu_and_is_added_on_request(machine: Machine, powercap: dict[str, str]) -> None:
    printed = machine.run(WITH_HOST.format(arguments="host=True, baseline_s=0, tail_s=0"), powercap)
    assert (printed["boundary"], printed["method"]) == ("gpu_board", "nvml_counter")
    assert len(printed["per_device"]) == 3
    assert printed["energy_gross_j"] == pytest.approx(machine.true_j(printed, printed, 0), rel=0.05)
    both = printed["both"]
    assert (both["boundary"], both["method"]) == ("gpu_board+host", "rapl")
    assert both["energy_gross_j"] == pytest.approx(sum(each["energy_gross_j"] for each in printed["per_device"]))


def test_a_host_that_cannot_be_read_beside_a_gpu_is_told(machine: Machine, powercap: dict[str, str]) -> None:
    place = Path(powercap["FAKE_POWERCAP"])
    still = place.with_name("still") / "intel-rapl:0"
    still.mkdir(parents=True)
    (still / "name").write_text("package-0\n")
    (still / "energy_uj").write_text("5\n")
    program = """
    import json, os
    import harness.environment.rapl as zones
    from pathlib import Path
    from harness.wiring.metering import metered
    said = []
    for root in json.loads(os.environ["ROOTS"]):
        zones.zone_paths.__defaults__ = (Path(root),)
        zones.rapl_zones.__defaults__ = (Path(root), 0.05)
        said.append([f"{each.code} {each.detail}" for each in metered("0", host=True, allow_estimate=False).findings])
    print(json.dumps({"said": said}))
    """
    roots = [str(place.with_name("none")), str(still.parent), str(place)]
    none, still_said, moving = machine.run(program, {**powercap, "ROOTS": json.dumps(roots)})["said"]
    assert none == ["host_not_readable this machine shows none"]
    assert still_said == ["host_not_readable they stand still"]
    assert moving == []


# -------------------------------------------------------------------------------- what may go wrong


def test_misuse_is_answered_with_what_to_do() -> None:
    meter = Meter()
    with pytest.raises(UsageError, match="was not started") as caught:
        meter.begin("early")
    assert "with Meter()" in caught.value.next_step
    with pytest.raises(UsageError, match="was not started"), meter.span("early"):
        pass
    with pytest.raises(UsageError, match="was not started"):
        meter.measure_idle()
    meter.close()  # nothing was started: nothing to do
    with pytest.raises(UsageError, match="baseline_s"):
        Meter(baseline_s=-1.0)
    with pytest.raises(UsageError, match="tail_s"):
        Meter(tail_s=math.inf)


MISUSE = """
import json, threading, time
from harness import Meter
from harness.errors import HarnessError

def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except HarnessError as error:
        return f"{type(error).__name__}: {error} -> {error.next_step}"
    return "nothing"

said = {}
meter, other = Meter(baseline_s=0), Meter(baseline_s=0)
meter.start()
said["twice"] = refused(meter.start)
span = meter.begin("q")
said["open"] = refused(meter.read, span)
said["idle"] = refused(meter.measure_idle)
meter.end(span)
said["ended"] = refused(meter.end, span)
timer = threading.Timer(0.7, lambda: meter.end(meter.begin("meanwhile")))
timer.start()
began_s = time.monotonic()
said["disturbed"] = refused(meter.measure_idle, 0.5)
assert time.monotonic() - began_s >= 1.0  # the power of earlier work dies away first
assert meter._idle is None
said["boundary"] = refused(meter.read, span, boundary="room")
said["host"] = refused(meter.read, span, boundary="host")
other.start()
said["foreign"] = refused(other.read, span)
other.close()
meter.close()
meter.close()
said["closed"] = refused(meter.begin, "late")
print(json.dumps(said))
"""


def test_misuse_of_a_running_meter_is_answered_too(machine: Machine) -> None:
    said = machine.run(MISUSE)
    assert all(words.startswith("UsageError: ") for words in said.values())
    for key, words in {
        "twice": "started before",
        "open": "'q' has not ended",
        "idle": "'q' is open",
        "ended": "ended before",
        "disturbed": "begun while the idle power was measured",
        "boundary": "no boundary 'room'",
        "host": "Meter(host=True)",
        "foreign": "not one of this meter",
        "closed": "was closed",
    }.items():
        assert words in said[key]


FORK = """
import json, os, time, warnings
from harness import Meter
from harness.errors import EnvironmentFault
with Meter(baseline_s=0, tail_s=0) as meter:
    with meter.span("before") as before:
        time.sleep(0.3)
    reader, writer = os.pipe()
    held = meter.begin("across the fork")
    pid = os.fork()
    if pid == 0:
        said = []
        for call in (lambda: meter.begin("child"), lambda: meter.end(held), lambda: meter.read(before)):
            try:
                call()
            except EnvironmentFault as error:
                said.append(f"{error} -> {error.next_step}")
        meter.close()
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    said = json.loads(os.read(reader, 100000))
    time.sleep(0.2)
    meter.end(held)
    reading = meter.read(held)
print(json.dumps({"said": said, "energy_j": reading.energy_gross_j}))
"""


def test_a_forked_process_is_refused_and_does_its_parent_no_harm(machine: Machine) -> None:
    printed = machine.run(FORK)
    assert printed["said"] == [f"{FindingCode.FORKED.sentence} -> {FindingCode.FORKED.next_step}"] * 3
    assert printed["energy_j"] > 0


THREAD = """
import json, threading, time
from harness import Meter
meter = Meter(baseline_s=0, tail_s=0)
starter = threading.Thread(target=meter.start)
starter.start()
starter.join()
with meter.span() as span:
    time.sleep(0.4)
closer = threading.Thread(target=meter.close)
closer.start()
closer.join()
reading = meter.read(span)
print(json.dumps({"origin_s": meter.origin_monotonic_s, **reading.model_dump(mode="json")}))
"""


def test_a_thread_may_start_it_and_end_in_a_program_without_a_file(machine: Machine) -> None:
    """A kernel can tie a child to the thread that started it, and Python a worker to the main module's file.

    What ended just before the meter did can be read afterwards.
    """
    printed = machine.run(THREAD, stdin=True)
    assert printed["energy_gross_j"] == pytest.approx(machine.true_j(printed, printed, 0), rel=0.05)


def test_an_interactive_session_leaves_nothing_behind(machine: Machine) -> None:
    lines = """
    import psutil
    from harness import Meter
    meter = Meter(baseline_s=0)
    meter.start()
    span = meter.begin("typed")
    meter.end(span)
    print(meter.read(span).n_samples >= 0, psutil.Process().children()[0].pid)
    """
    finished = subprocess.run(
        [sys.executable, "-q", "-i"],
        input=textwrap.dedent(lines),
        env=machine.environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in finished.stderr, finished.stderr
    answered, pid = finished.stdout.split()
    assert answered == "True"
    assert not psutil.pid_exists(int(pid))


def test_a_killed_program_takes_its_sampler_with_it(machine: Machine) -> None:
    program = """
    import time, psutil
    from harness import Meter
    meter = Meter(baseline_s=0)
    meter.start()
    print(psutil.Process().children()[0].pid, flush=True)
    time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, env=machine.environ
    )
    with parent:
        assert parent.stdout is not None
        sampler = psutil.Process(int(parent.stdout.readline()))
        assert "harness.meter.sampler" in sampler.cmdline()
        parent.kill()
    _, alive = psutil.wait_procs([sampler], timeout=5.0)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


STEPS = """
import json, time
from harness import Meter
real, ahead = time.time, 0.0
time.time = lambda: real() + ahead
with Meter(baseline_s=0, tail_s=0) as meter:
    with meter.span() as steady:
        time.sleep(0.1)
    with meter.span() as stepped:
        ahead = -3600.0
        time.sleep(0.1)
    with meter.span() as after:
        time.sleep(0.1)
    found = [[f"{each.code} {each.detail}" for each in meter.read(span).findings] for span in (steady, stepped, after)]
print(json.dumps({"found": found}))
"""


def test_a_clock_that_is_set_is_found_in_the_span_in_which_it_was(machine: Machine) -> None:
    steady, stepped, after = machine.run(STEPS)["found"]
    assert any(words == "clock_step by -3600.000 s" for words in stepped)
    assert not any("clock_step" in words for words in (*steady, *after))


LOST = """
import json, time
import psutil
from harness import Meter
with Meter(baseline_s=0, tail_s=0) as meter:
    with meter.span() as before:
        time.sleep(0.3)
    meter.read(before)
    with meter.span() as across:
        time.sleep(0.2)
        psutil.Process().children()[0].kill()
        time.sleep(0.2)
    began_s = time.monotonic()
    lost = meter.read(across)
    with meter.span(isolated=True) as isolated:
        pass
    assert meter.read(isolated).energy_gross_j is None
    took_s = time.monotonic() - began_s
    kept = meter.read(before)
print(json.dumps({"took_s": took_s, "kept_j": kept.energy_gross_j, **lost.model_dump(mode="json")}))
"""


def test_a_lost_sensor_is_said_at_once_and_what_came_before_stays(machine: Machine) -> None:
    printed = machine.run(LOST)
    assert printed["energy_gross_j"] is None
    assert "sensor_lost" in codes(printed)
    assert printed["took_s"] < 10.0  # it does not wait for what cannot come
    assert printed["kept_j"] > 0


STREAM = """
import json, time
import harness.metering
from harness.metering import Meter
harness.metering.STREAM_PERIOD_S = harness.metering.COLLECT_PERIOD_S = 0.2
seen = []
def broken(segment):
    raise ValueError("no room")
with (
    Meter(baseline_s=0, sink=lambda segment: seen.append(len(segment.channel))) as meter,
    Meter(baseline_s=0) as other,
    Meter(baseline_s=0, sink=broken) as unheard,
):
    time.sleep(0.9)
    while_open = sum(seen)
    curved_s = [each._session.final_until_s for each in (other, unheard)]
print(json.dumps({
    "while_open": while_open, "all": sum(seen), "n_samples": meter.stats.n_samples, "curved_s": curved_s,
    "errors": [repr(each.sink_error) for each in (meter, unheard)],
}))
"""


def test_raw_readings_do_not_wait_for_somebody_to_read(machine: Machine) -> None:
    printed = machine.run(STREAM)
    assert printed["while_open"] > 10
    assert printed["all"] == printed["n_samples"]
    assert min(printed["curved_s"]) > 0.3  # nor do those that nobody wants, or can take
    assert printed["errors"] == ["None", repr(ValueError("no room"))]


AVERAGED = """
import json, time
from harness import Meter
with Meter(tail_s=0) as meter:
    with meter.span(isolated=True) as short:
        time.sleep(0.1)
    with meter.span() as span:
        time.sleep(3.2)
reading, short = meter.read(span), meter.read(short)
print(json.dumps({"idle_w": reading.power_idle_w, "net_j": reading.energy_net_j, "short_j": short.energy_gross_j}))
"""


def test_a_sensor_that_averages_over_a_second_has_a_baseline_too(machine: Machine) -> None:
    averaging = replace(
        FIRST, uuid="GPU-88888888-0000-4000-8000-000000000001", counter=False, faults=(fake.Fault("field:186", 3),)
    )
    write_config(machine.config, [averaging])
    printed = machine.run(AVERAGED)
    assert printed["idle_w"] == pytest.approx(200.0, rel=0.02)
    assert printed["net_j"] == pytest.approx(0.0, abs=20.0)
    assert printed["short_j"] is None


IMPATIENT = """
import json, time
from harness import Meter
with Meter(baseline_s=0.3, tail_s=0) as meter:
    with meter.span() as span:
        time.sleep(0.7)
    early, late = meter.read(span, timeout_s=0.0), meter.read(span)
print(json.dumps({"early": [each.power_idle_w for each in early.per_device],
                  "late": [each.power_idle_w for each in late.per_device]}))
"""


def test_a_baseline_that_is_not_known_yet_is_known_later(machine: Machine) -> None:
    slow = replace(fake.RTX_4090_SLOW, load=(constant(80.0),), tick_s=0.9, power_period_s=0.9)
    write_config(machine.config, [FIRST, slow])
    printed = machine.run(IMPATIENT)
    assert printed["early"][1] is None
    assert printed["late"] == pytest.approx([200.0, 100.0], rel=0.05)


HANDLED = """
import json, signal, time
from harness import Meter
names = []
def handler(number, frame):
    if len(names) < len(wanted):
        names.append(len(names))
        with meter.span("in a handler", isolated=len(names) == 1) as span:
            pass
        spans.append(span)
spans, wanted = [], range(6)
signal.signal(signal.SIGUSR1, handler)
with Meter(baseline_s=0, tail_s=0) as meter:
    now_s, collect = meter._clock.now_s, meter._session.collect
    def interrupted(inner):
        def call():
            value = inner()
            signal.raise_signal(signal.SIGUSR1)
            return value
        return call
    meter._session.collect = interrupted(collect)
    with meter.span("isolated", isolated=True):
        pass
    meter._session.collect, meter._clock.now_s = collect, interrupted(now_s)
    with meter.span("outer") as outer:
        pass
    meter._clock.now_s = now_s
    time.sleep(0.1)
    found = [sorted(finding.code for finding in meter.read(span).findings) for span in (outer, *spans)]
print(json.dumps({"open": len(meter._open), "n": len(spans), "found": found}))
"""


def test_a_signal_handler_may_use_spans_while_one_begins_or_ends(machine: Machine) -> None:
    """As in the worst moment: in the midst of what a lock guards."""
    printed = machine.run(HANDLED)
    assert printed["open"] == 0
    assert printed["n"] >= 3
    assert not any("spans_overlap" in each for each in printed["found"])


IN_STEP = """
import json, time
from harness import Meter
with Meter(baseline_s=0, tail_s=0) as meter:
    time.sleep(0.3)
    for index in range(12):
        now_s = time.monotonic()
        time.sleep(0.1 - (now_s - 0.0371) % 0.1 + 0.04)
        with meter.span():
            time.sleep(0.01)
print(json.dumps({"codes": [finding.code for finding in meter.findings]}))
"""


def test_spans_in_step_with_the_sensor_are_doubted(machine: Machine) -> None:
    assert "aliased" in machine.run(IN_STEP)["codes"]


TAIL = """
import json, os, time
from dataclasses import replace
from pathlib import Path
from harness import Meter
from tests.fake_nvml.library import H100, burst, write_config

with Meter(tail_s=0.5) as meter:
    at_s = time.monotonic() + 0.4
    write_config(Path(os.environ["FAKE_NVML_CONFIG"]), [replace(H100, load=(burst(at_s, at_s + 0.6, 300.0),))])
    time.sleep(at_s - time.monotonic())
    with meter.span() as span:
        time.sleep(0.4)
    reading = meter.read(span)
    after_s = meter.origin_monotonic_s + span.time_end_s
print(json.dumps({"lingering_s": at_s + 0.6 - after_s, **reading.model_dump(mode="json")}))
"""


def test_energy_after_the_end_is_a_tail_and_not_the_spans(machine: Machine) -> None:
    write_config(machine.config, [H100])
    printed = machine.run(TAIL)
    lingering_j = 300.0 * printed["lingering_s"]
    assert lingering_j > 20.0
    # Which side of the span's end a part of a tick is on is not known: a tick of 300 W is 30 J.
    assert printed["energy_tail_j"] == pytest.approx(lingering_j, abs=30.0)
    duration_s = printed["time_end_s"] - printed["time_start_s"]
    assert printed["energy_net_j"] == pytest.approx(300.0 * duration_s, abs=35.0)


# ------------------------------------------------------------------------------------------ pure parts


def reading_of(energy_j: float | None, half_width_j: float | None, **more: Any) -> Reading:
    fields: dict[str, Any] = {
        "device": "GPU-a",
        "boundary": Boundary.GPU_BOARD,
        "method": Method.NVML_COUNTER,
        "attribution": Attribution.WHOLE_BOARD,
        "time_start_s": 1.0,
        "time_end_s": 2.0,
        "energy_gross_j": energy_j,
        "energy_gross_half_width_j": half_width_j,
        "n_samples": 3,
        **more,
    }
    return Reading(**fields)


WATTS = st.floats(0.0, 1e6)


@given(parts=st.lists(st.tuples(WATTS, WATTS), min_size=1, max_size=8))
def test_a_sum_adds_energies_and_squares_of_half_widths(parts: list[tuple[float, float]]) -> None:
    readings = [reading_of(energy_j, half_width_j) for energy_j, half_width_j in parts]
    whole = total(readings, Boundary.GPU_BOARD, time_start_unix_s=0.0, time_end_unix_s=1.0)
    assert whole.energy_gross_j == pytest.approx(sum(energy_j for energy_j, _ in parts))
    assert whole.energy_gross_half_width_j is not None
    assert whole.energy_gross_half_width_j**2 == pytest.approx(sum(width**2 for _, width in parts))
    assert whole.per_device == tuple(readings)


def test_a_sum_knows_no_more_than_its_parts_and_is_called_by_the_worst() -> None:
    doubt = Finding(code=FindingCode.NO_READINGS)
    parts = [
        reading_of(10.0, 1.0),
        reading_of(None, None, device="GPU-b", method=Method.NVML_POWER, findings=(doubt,)),
        reading_of(5.0, 0.5, device="cpu-package-0", boundary=Boundary.HOST, method=Method.RAPL),
    ]

    def summed(parts: Sequence[Reading], boundary: Boundary) -> MeterReading:
        return total(parts, boundary, time_start_unix_s=0.0, time_end_unix_s=1.0)

    boards = summed(parts, Boundary.GPU_BOARD)
    assert boards.energy_gross_j is None
    assert boards.energy_gross_half_width_j is None
    assert boards.method is Method.NVML_POWER
    assert [(finding.code, finding.detail) for finding in boards.findings] == [(FindingCode.NO_READINGS, "GPU-b")]
    assert summed(parts, Boundary.HOST).energy_gross_j == 5.0
    both = summed([parts[0], parts[2]], Boundary.GPU_BOARD_AND_HOST)
    assert (both.energy_gross_j, both.method) == (15.0, Method.RAPL)


def test_only_a_real_step_of_a_clock_is_one() -> None:
    before = ClockOffsets(unix_s=1000.0, boottime_s=5.0)
    assert before.stepped_by_s(ClockOffsets(unix_s=1000.04, boottime_s=5.0)) is None
    assert before.stepped_by_s(ClockOffsets(unix_s=1000.0, boottime_s=65.0)) == pytest.approx(60.0)
    assert before.stepped_by_s(ClockOffsets(unix_s=999.0, boottime_s=None)) == pytest.approx(-1.0)
    assert clock_offsets().stepped_by_s(clock_offsets()) is None
