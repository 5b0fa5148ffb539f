"""Which RAPL zones the kernel shows, and whether this user may read them. It measures nothing.

The kernel lists packages (`intel-rapl:0`, of AMD processors too) and their parts (`intel-rapl:0:2`) side by side in
/sys/class/powercap; where only /sys/devices/virtual/powercap is mounted, parts lie inside their package.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from harness.records import Record

POWERCAP = Path("/sys/class/powercap")
READ_COMMAND = "sudo chmod a+r /sys/class/powercap/*/energy_uj"
"""Until the next boot; docs/where-it-runs.md has the rule that lasts."""


class RaplZone(Record):
    """One counter: a CPU package, or the memory beside it."""

    device: str
    readable: bool
    moving: bool | None


def zone_paths(powercap: Path = POWERCAP) -> dict[str, Path]:
    """Directory by device (`cpu-package-0`, `cpu-package-0-die-1`, `dram-0`), readable or not.

    Those of the `host` boundary: neither the cores, which are part of a package, nor psys, which overlaps it. The
    memory has the number of its package, and of its die where packages are shown die by die. Two zones of one name
    both appear (`cpu-package-0-zone-1`); whether they are one counter shown twice, only their readings can tell.
    """
    directories = dict(_directories(powercap))
    found: dict[str, Path] = {}
    for place, directory in sorted(directories.items(), key=lambda item: _numbers(item[0])):
        name = _read(directory / "name")
        if name is not None and re.fullmatch(r"package-\d+(-die-\d+)?", name):
            device = f"cpu-{name}"
        elif name == "dram":
            above = directories.get(place.rpartition(":")[0])
            package = (_read(above / "name") if above else None) or ""
            known = re.fullmatch(r"package-(\d+(?:-die-\d+)?)", package)
            device = f"dram-{known[1] if known else place.split(':')[1]}"
        else:
            continue
        found[f"{device}-zone-{place.partition(':')[2].replace(':', '-')}" if device in found else device] = directory
    return found


def rapl_zones(powercap: Path = POWERCAP, duration_s: float = 0.1) -> list[RaplZone]:
    """Whether each zone can be read and moves.

    Args:
        powercap: The kernel's directory.
        duration_s: How long to wait for the counters to move.
    """
    counters = {device: directory / "energy_uj" for device, directory in zone_paths(powercap).items()}
    before = {device: _read(counter) for device, counter in counters.items()}
    if any(value is not None for value in before.values()):
        time.sleep(duration_s)
    zones = []
    for device, value in before.items():
        moving = None if value is None else _read(counters[device]) != value
        zones.append(RaplZone(device=device, readable=value is not None, moving=moving))
    return zones


def _directories(powercap: Path) -> Iterator[tuple[str, Path]]:
    """(`intel-rapl:0:2`, its directory), each once however deep it lies. `intel-rapl-mmio` repeats the packages."""
    for pattern in ("intel-rapl:*", "intel-rapl/intel-rapl:*"):
        for directory in powercap.glob(pattern):
            yield directory.name, directory
            yield from ((part.name, part) for part in directory.glob("intel-rapl:*"))


def _numbers(place: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", place)]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
