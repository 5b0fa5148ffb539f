"""RAPL through the kernel's powercap files: CPU packages and DRAM.

`psys` covers the whole platform and overlaps the packages, so it is never added; `core` and `uncore` are parts of
a package. A counter wraps at `max_energy_range_uj` (65 to 262 kJ, some minutes of a busy package), which is undone.
How often it wrapped cannot be seen, so a stretch in which nothing was polled for 30 s is unknown (`exclusive.read`).
A fall that no wrap explains is a reset, for one by a machine that slept, and is passed on as it is.

Zones of one package can be one counter shown once per die; they are told apart by watching them for a moment.
Since CVE-2020-8694 the files are readable by root only: an unreadable zone is named, never skipped in silence.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.environment.rapl import POWERCAP, READ_COMMAND, zone_paths
from harness.errors import NoSensor
from harness.records import Boundary, Channel, Method, Quantity, Sample
from harness.units import J_PER_UJ

PERIOD_S = 0.010
"""The counters move about every millisecond, so that a reading is up to so old."""
N_WATCHED, DURATION_WATCHED_S = 10, 0.2
"""How often, and over how long, zones are looked at before they are believed."""
MIRROR_TOLERANCE_J = 0.5
"""What a busy package draws between two updates: two views of one counter can differ by so much."""
STILL_LONGEST_S = 10.0
"""A powered package or memory moves its counter within milliseconds."""
WRAP_POWER_W, WRAP_SLACK_J = 5000.0, 100.0
"""No package draws this: a fall that needs more to be a wrap is a reset."""


class _Zone:
    """One counter, unwrapped."""

    def __init__(self, path: Path, device: str) -> None:
        self.device = device
        self._file = path / "energy_uj"
        self._range_uj = int((path / "max_energy_range_uj").read_text())
        self._wrapped_uj = 0
        self._last_uj = self._first_uj = int(self._file.read_text())
        self._last_s = self.time_moved_s = time.monotonic()
        self._is_fresh = True

    @property
    def has_moved(self) -> bool:
        """Whether any reading differed from the first."""
        return self._last_uj != self._first_uj or self._wrapped_uj != 0

    def read_j(self) -> float:
        """Joules since some fixed moment; falling only where the counter was reset."""
        now_uj, now_s = self._now_uj(), time.monotonic()
        if now_uj < self._last_uj:
            wrapped_j = (now_uj + self._range_uj - self._last_uj) * J_PER_UJ
            if wrapped_j <= WRAP_SLACK_J + WRAP_POWER_W * (now_s - self._last_s):
                self._wrapped_uj += self._range_uj
        if now_uj != self._last_uj:
            self.time_moved_s = now_s
        self._last_uj, self._last_s = now_uj, now_s
        return (now_uj + self._wrapped_uj) * J_PER_UJ

    def sample(self, channel: int) -> Sample | None:
        """A reading that is news; None: the counter stands where it stood.

        A counter that stops thus falls silent instead of claiming 0 W.
        """
        before_s, moved_s = time.monotonic(), self.time_moved_s
        energy_j = self.read_j()
        is_news = self._is_fresh or self.time_moved_s != moved_s
        self._is_fresh = False
        return Sample(channel, before_s, time.monotonic(), energy_j) if is_news else None

    def _now_uj(self) -> int:
        """Read without Python's text layers, which would cost more than the counter."""
        descriptor = os.open(self._file, os.O_RDONLY)
        try:
            return int(os.read(descriptor, 32))
        finally:
            os.close(descriptor)


class RaplSensor:
    """Every readable package and DRAM zone of this machine that moves, each counter once."""

    def __init__(self, root: Path = POWERCAP) -> None:
        """Open the zones and watch them for a moment.

        Raises:
            NoSensor: No zones, or none that may be read.
        """
        paths = zone_paths(root)
        if not paths:
            raise NoSensor("This machine shows no RAPL zones.", "Virtual machines and containers often hide them.")
        try:
            zones = [_Zone(path, device) for device, path in paths.items()]
            mirrors = _mirrors(zones)
        except PermissionError as error:
            raise NoSensor(
                f"{error.filename} is readable by root only.",
                READ_COMMAND,
            ) from error
        except (OSError, ValueError) as error:
            raise NoSensor(f"RAPL cannot be read: {error}.", "`harness doctor` shows the zones.") from error
        moving = any(zone.has_moved for zone in zones)
        still = [zone for zone in zones if moving and not zone.has_moved]
        self._zones = [zone for zone in zones if zone not in still and zone not in mirrors]
        self._notes = tuple(_notes(self._zones, still, mirrors))
        self._due_s = time.monotonic()

    @property
    def notes(self) -> tuple[str, ...]:
        """Zones that are left out, and memory that is not measured."""
        return self._notes

    @property
    def channels(self) -> tuple[Channel, ...]:
        """One energy channel per zone."""
        return tuple(
            Channel(
                device=zone.device,
                boundary=Boundary.HOST,
                method=Method.RAPL,
                quantity=Quantity.ENERGY_J,
                duration_period_s=PERIOD_S,
            )
            for zone in self._zones
        )

    def next_poll_s(self, now_s: float) -> float:  # noqa: ARG002 - a fixed period
        """A fixed period after the last poll."""
        return self._due_s

    def poll(self) -> Iterable[Sample]:
        """Read every zone.

        Raises:
            NoSensor: A zone cannot be read any more, or stands still.
        """
        samples = []
        for channel, zone in enumerate(self._zones):
            try:
                sample = zone.sample(channel)
            except (OSError, ValueError) as error:
                raise NoSensor(f"RAPL stopped answering: {error}.", "Check the permissions of powercap.") from error
            if sample is not None:
                samples.append(sample)
            elif time.monotonic() - zone.time_moved_s > STILL_LONGEST_S:
                raise NoSensor(
                    f"The RAPL counter of {zone.device} has not moved for {STILL_LONGEST_S:g} s.",
                    "Measure on another kernel, or keep powercap hidden from this run.",
                )
        self._due_s = time.monotonic() + PERIOD_S
        return samples

    def close(self) -> None:
        """Nothing is held."""


def _mirrors(zones: Sequence[_Zone]) -> list[_Zone]:
    """Zones that show the same counter as an earlier one of the same package.

    Two counters of their own can stand at about the same number once, and cannot stay there. Each look lies
    between two looks at the other, so that one counter must lie between their values.
    """
    pairs = [
        (earlier, zone)
        for index, zone in enumerate(zones)
        for earlier in zones[:index]
        if _package(earlier.device) == _package(zone.device)
    ]
    same = [True] * len(pairs)
    for _ in range(N_WATCHED):
        for zone in zones:
            zone.read_j()
        for index, (earlier, zone) in enumerate(pairs):
            low_j, value_j, high_j = earlier.read_j(), zone.read_j(), earlier.read_j()
            same[index] &= low_j - MIRROR_TOLERANCE_J <= value_j <= high_j + MIRROR_TOLERANCE_J
        time.sleep(DURATION_WATCHED_S / N_WATCHED)
    return [zone for (_, zone), mirrored in zip(pairs, same, strict=True) if mirrored]


def _package(device: str) -> str:
    """`cpu-package-0` of `cpu-package-0-die-1`; packages and their memories are different things."""
    return re.split(r"-(?:die|zone)-", device)[0]


def _notes(kept: Sequence[_Zone], still: Sequence[_Zone], mirrors: Sequence[_Zone]) -> Iterable[str]:
    for zone in still:
        yield f"RAPL shows {zone.device}, but its counter does not move: it is left out of the host's energy"
    for zone in mirrors:
        if zone not in still:
            yield f"RAPL shows {zone.device}, which is the counter of another die of its package: it is counted once"
    if not any(zone.device.startswith("dram") for zone in kept):
        yield "RAPL shows no memory here, as on AMD processors: the host's energy is that of the CPU packages alone"
