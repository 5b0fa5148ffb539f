"""Which RAPL zones the kernel shows, and whether this user may read them. It measures nothing."""

from __future__ import annotations

import re
import time
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
    """Directory by device (`cpu-package-0`, `dram-0`), readable or not.

    Those of the `host` boundary: neither the cores, which are part of a package, nor psys, which overlaps it.
    """
    found: dict[str, Path] = {}
    for directory in sorted(powercap.glob("intel-rapl:*")):
        name = _read(directory / "name")
        if name is not None and re.fullmatch(r"package-\d+(-die-\d+)?", name):
            found[f"cpu-{name}"] = directory
        elif name == "dram":  # its number is that of the package above it
            found[f"dram-{directory.name.split(':')[1]}"] = directory
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


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
