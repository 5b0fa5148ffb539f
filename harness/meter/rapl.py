"""RAPL through the kernel's powercap files: CPU packages and DRAM.

`psys` covers the whole platform and overlaps the packages, so it is never added; `core` and `uncore` are parts of
a package. A counter wraps at `max_energy_range_uj`, which is undone as long as no two wraps fall between two
polls (minutes apart at any power). Zones that mirror each other (one per die) are counted once.
Since CVE-2020-8694 the files are readable by root only: an unreadable zone is named, never skipped in silence.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from harness.environment.rapl import POWERCAP, READ_COMMAND, zone_paths
from harness.errors import NoSensor
from harness.records import Boundary, Channel, Method, Quantity, Sample
from harness.units import J_PER_UJ

PERIOD_S = 0.005


class _Zone:
    """One counter, unwrapped."""

    def __init__(self, path: Path, device: str) -> None:
        self.device = device
        self._file = path / "energy_uj"
        self._range_uj = int((path / "max_energy_range_uj").read_text())
        self._wrapped_uj = 0
        self._last_uj = int(self._file.read_text())

    def read_j(self) -> float:
        """Joules since some fixed moment, never falling."""
        now_uj = int(self._file.read_text())
        if now_uj < self._last_uj:
            self._wrapped_uj += self._range_uj
        self._last_uj = now_uj
        return (now_uj + self._wrapped_uj) * J_PER_UJ


class RaplSensor:
    """Every readable package and DRAM zone of this machine."""

    def __init__(self, root: Path = POWERCAP) -> None:
        """Open the zones.

        Raises:
            NoSensor: No zones, or none that may be read.
        """
        paths = zone_paths(root)
        if not paths:
            raise NoSensor("This machine shows no RAPL zones.", "Virtual machines and containers often hide them.")
        try:
            zones = [_Zone(path, device) for device, path in paths.items()]
        except PermissionError as error:
            raise NoSensor(
                f"{error.filename} is readable by root only.",
                READ_COMMAND,
            ) from error
        except (OSError, ValueError) as error:
            raise NoSensor(f"RAPL cannot be read: {error}.", "`harness doctor` shows the zones.") from error
        self._zones = [zone for index, zone in enumerate(zones) if not _mirrors(zone, zones[:index])]
        self._due_s = time.monotonic()

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing to tell."""
        return ()

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
            NoSensor: A zone cannot be read any more.
        """
        samples = []
        for channel, zone in enumerate(self._zones):
            before_s = time.monotonic()
            try:
                energy_j = zone.read_j()
            except (OSError, ValueError) as error:
                raise NoSensor(f"RAPL stopped answering: {error}.", "Check the permissions of powercap.") from error
            samples.append(Sample(channel, before_s, time.monotonic(), energy_j))
        self._due_s = time.monotonic() + PERIOD_S
        return samples

    def close(self) -> None:
        """Nothing is held."""


def _mirrors(zone: _Zone, earlier: list[_Zone]) -> bool:
    """Whether a die's zone shows the same counter as another one of the same package."""
    siblings = [other for other in earlier if other.device.split("-die-")[0] == zone.device.split("-die-")[0]]
    return any(abs(zone.read_j() - other.read_j()) < 1.0 for other in siblings)
