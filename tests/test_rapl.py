"""RAPL over time: counters that move, stop, wrap, are reset, or are shown twice, in made-up trees of real files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from harness.attribution import exclusive
from harness.environment.rapl import rapl_zones, zone_paths
from harness.errors import NoSensor
from harness.meter.meter import rebuilt
from harness.meter.sensors import rapl
from harness.meter.sensors.rapl import RaplSensor
from harness.records import FindingCode, Segment
from tests.synthetic_power import PACKAGE

RANGE_UJ = 65_532_610_987


def zone(root: Path, place: str, name: str, energy_uj: int) -> Path:
    """A zone's directory below `root`, which may be another zone's."""
    directory = root / f"intel-rapl:{place}"
    directory.mkdir(exist_ok=True)
    (directory / "name").write_text(name + "\n")
    (directory / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    write(directory, energy_uj)
    return directory


def write(directory: Path, energy_uj: int) -> None:
    """As the kernel does it: no reader ever sees half a number."""
    partial = directory / "partial"
    partial.write_text(f"{energy_uj}\n")
    partial.rename(directory / "energy_uj")


@contextmanager
def moving(**counters: Callable[[float], int]) -> Iterator[None]:
    """Keep each directory's counter at a function of the seconds since the start."""
    stop = threading.Event()
    started_s = time.monotonic()

    def drive() -> None:
        while not stop.is_set():
            for path, counter in counters.items():
                write(Path(path), counter(time.monotonic() - started_s))
            time.sleep(0.001)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def watts(power_w: float, begins_uj: int) -> Callable[[float], int]:
    return lambda since_s: begins_uj + int(power_w * since_s * 1e6)


def devices(sensor: RaplSensor) -> list[str]:
    return [channel.device for channel in sensor.channels]


def test_two_dies_of_one_counter_are_one_and_two_counters_that_meet_are_two(tmp_path: Path) -> None:
    first = zone(tmp_path, "0", "package-0-die-0", 80_000_000)
    mirror = zone(tmp_path, "1", "package-0-die-1", 80_000_000)
    own = zone(tmp_path, "2", "package-0-die-2", 81_000_000)
    elsewhere = zone(tmp_path, "3", "package-1-die-0", 80_000_000)
    (mirror / "energy_uj").unlink()
    (mirror / "energy_uj").symlink_to(first / "energy_uj")
    same = watts(200.0, 80_000_000)
    # Five times as fast and a joule behind: it passes the first one while both are being watched.
    with moving(**{str(first): same, str(elsewhere): same, str(own): watts(1000.0, 79_000_000)}):
        sensor = RaplSensor(tmp_path)
    assert devices(sensor) == ["cpu-package-0-die-0", "cpu-package-0-die-2", "cpu-package-1-die-0"]
    assert any("package-0-die-1" in note and "counted once" in note for note in sensor.notes)


def test_a_zone_that_never_moves_is_left_out_and_named(tmp_path: Path) -> None:
    package = zone(tmp_path, "0", "package-0", 5_000_000)
    zone(tmp_path, "0:0", "dram", 0)
    with moving(**{str(package): watts(100.0, 5_000_000)}):
        sensor = RaplSensor(tmp_path)
    assert devices(sensor) == ["cpu-package-0"]
    still, no_memory = sensor.notes
    assert "dram-0" in still
    assert "does not move" in still
    assert "CPU packages alone" in no_memory


def test_a_processor_without_memory_zones_says_so(tmp_path: Path) -> None:
    """As AMD's do."""
    zone(tmp_path, "0", "package-0", 1)
    zone(tmp_path, "0:0", "core", 1)
    (note,) = RaplSensor(tmp_path).notes
    assert "CPU packages alone" in note
    zone(tmp_path, "0:1", "dram", 1)
    assert RaplSensor(tmp_path).notes == ()


def test_parts_are_found_inside_their_package_and_once_where_both_are_shown(tmp_path: Path) -> None:
    package = zone(tmp_path, "0", "package-0-die-1", 1)
    dram = zone(package, "0:1", "dram", 2)
    zone(package, "0:0", "core", 3)
    zone(tmp_path, "1", "psys", 4)
    expected = {"cpu-package-0-die-1": package, "dram-0-die-1": dram}
    assert zone_paths(tmp_path) == expected
    (tmp_path / "intel-rapl:0:1").symlink_to(dram)  # as /sys/class/powercap lists it as well
    assert list(zone_paths(tmp_path)) == list(expected)
    nested = tmp_path / "virtual"
    (nested / "intel-rapl").mkdir(parents=True)
    (nested / "intel-rapl" / "intel-rapl:0").symlink_to(package)
    assert list(zone_paths(nested)) == list(expected)


def test_memory_has_the_number_of_its_package_not_of_its_directory(tmp_path: Path) -> None:
    zone(tmp_path, "0", "psys", 1)
    zone(tmp_path, "1", "package-0", 2)
    zone(tmp_path, "1:0", "dram", 3)
    zone(tmp_path, "10", "package-1", 4)
    zone(tmp_path, "2", "package-1", 5)
    assert list(zone_paths(tmp_path)) == ["cpu-package-0", "dram-0", "cpu-package-1", "cpu-package-1-zone-10"]


def test_zones_tell_whether_they_move(tmp_path: Path) -> None:
    package = zone(tmp_path, "0", "package-0", 1)
    zone(tmp_path, "0:0", "dram", 1)
    with moving(**{str(package): watts(100.0, 5_000_000)}):
        zones = rapl_zones(tmp_path)
    assert {each.device: each.moving for each in zones} == {"cpu-package-0": True, "dram-0": False}


def values(sensor: RaplSensor) -> list[float]:
    return [sample.value for sample in sensor.poll()]


def test_a_fall_is_a_wrap_where_a_package_can_have_drawn_it_and_a_reset_elsewhere(tmp_path: Path) -> None:
    package = zone(tmp_path, "0", "package-0", RANGE_UJ - 2_000_000)
    sensor = RaplSensor(tmp_path)
    (begins_j,) = values(sensor)
    write(package, 1_000_000)
    (wrapped_j,) = values(sensor)
    assert wrapped_j - begins_j == pytest.approx(3.0)
    write(package, 30_000_000_000)
    (risen_j,) = values(sensor)
    write(package, 4_000_000)  # the machine slept: 35 kJ cannot have been drawn in an instant
    (reset_j,) = values(sensor)
    assert reset_j < risen_j


def test_a_counter_that_stops_falls_silent_and_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rapl, "STILL_LONGEST_S", 0.2)
    package = zone(tmp_path, "0", "package-0", 1_000_000)
    sensor = RaplSensor(tmp_path)
    assert values(sensor) == [1.0]
    write(package, 2_000_000)
    assert values(sensor) == [2.0]
    assert values(sensor) == []
    time.sleep(0.25)
    with pytest.raises(NoSensor, match="cpu-package-0 has not moved"):
        sensor.poll()


@pytest.mark.parametrize(("gap_s", "known"), [(29.0, True), (31.0, False)])
def test_a_stretch_in_which_the_counter_may_have_wrapped_unseen_is_unknown(gap_s: float, known: bool) -> None:
    times = np.concatenate([np.arange(0.0, 10.0, 0.01), np.arange(10.0 + gap_s, 20.0 + gap_s, 0.01)])
    segment = Segment(
        channel=np.zeros(len(times), dtype=np.int64), time_before_s=times, time_after_s=times, value=100.0 * times
    )
    (curve,) = rebuilt([PACKAGE], [segment])
    across, before = exclusive.read(curve, 5.0, 15.0 + gap_s), exclusive.read(curve, 1.0, 9.0)
    assert before.energy_gross_j == pytest.approx(800.0)
    assert (across.energy_gross_j is not None) is known
    codes = {finding.code for finding in across.findings}
    assert (FindingCode.NO_READINGS in codes) is not known
