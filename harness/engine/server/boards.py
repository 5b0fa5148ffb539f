"""Which boards a server uses: by its processes, or by whose power rises while it works."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.environment.nvml import Nvml
from harness.environment.process_tree import starter, tree, use_cuda
from harness.errors import EnvironmentFault, HarnessError, NoSensor
from harness.records import Finding, FindingCode

RISE_LEAST_W = 15.0
"""A board in use draws far more than this above its idling; others wander less."""
RISE_DEVIATIONS = 5.0
"""Of the idle readings: a board that somebody else uses has to rise out of that."""
IDLE_S = 2.0
LOAD_S = 3.0
"""The load is repeated until it lasted so long: a reading can be the mean of a whole second."""
PERIOD_S = 0.1
SETTLE_S = 1.0
"""What a load's beginning does not show yet."""
_STEPS_UP = 3
"""How far above the process that listens the one may be that started all of a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBoards:
    """UUIDs of a server's boards, in NVML's order, and how they were found.

    `roots`: its processes here, with all that they started. `listed`: numbers under which the boards list it where
    these are another namespace's.
    """

    uuids: tuple[str, ...]
    by: Literal["processes", "power", "none"]
    roots: frozenset[int] = frozenset()
    listed: frozenset[int] = frozenset()
    findings: tuple[Finding, ...] = ()


def boards_of_server(
    nvml: Nvml | None,
    roots: Collection[int],
    *,
    visible: bool,
    probe: Callable[[], object],
    tell: Callable[[str], None],
) -> ServerBoards:
    """The boards that a server holds, once its model is loaded.

    Args:
        nvml: Lists the boards; None: there is no driver.
        roots: The server's processes, as far as they are known.
        visible: They are the whole server.
        probe: Sends one long request and returns when it is answered; only called where processes tell nothing.
        tell: Given a line of progress before that.

    Raises:
        NoSensor: There are boards, and which of them is the server's cannot be told.
    """
    roots = frozenset(roots)
    listed = {} if nvml is None else nvml.computing()
    if nvml is None or not listed:
        return ServerBoards(uuids=(), by="none", roots=roots)
    found = by_processes(listed, roots)
    if found is not None:
        return found
    if visible and use_cuda(tree(roots)) is False:
        return ServerBoards(uuids=(), by="none", roots=roots)
    tell("asking for a long answer, to see which boards' power rises")
    rises = power_rises(nvml.powers_w, probe)
    uuids = tuple(uuid for uuid in listed if uuid in rises and rises[uuid].is_clear)
    words = "; ".join(f"{uuid} {rise}" for uuid, rise in rises.items())
    if not uuids:
        raise NoSensor(
            f"Which boards the server uses cannot be told: none of its processes is on one of them as far as can be "
            f"seen from here, and no power rose clearly while it answered ({words or 'no board shows its power'}).",
            "Name them (--meter-gpus UUID, or 0,1 in the order of `nvidia-smi`), or --meter-gpus none for a server on "
            "the CPU.",
        )
    finding = Finding(code=FindingCode.BOARDS_BY_POWER, detail=words)
    return ServerBoards(uuids=uuids, by="power", roots=roots, listed=_foreign(listed, uuids), findings=(finding,))


def by_processes(listed: Mapping[str, frozenset[int] | None], roots: frozenset[int]) -> ServerBoards | None:
    """The boards on which one of these processes computes, or one that they started.

    Where it is none of them the processes are tried that started them: what listens may be one part of a server among
    several.

    Args:
        listed: The numbers of those that compute on every board, by UUID.
        roots: The server's processes.
    """
    for _ in range(_STEPS_UP + 1):
        all_of_it = tree(roots)
        uuids = tuple(uuid for uuid, pids in listed.items() if pids and pids & all_of_it)
        if uuids:
            return ServerBoards(uuids=uuids, by="processes", roots=roots)
        above = frozenset(above for pid in roots if (above := starter(pid)) is not None)
        if not above:
            return None
        roots = above
    return None


def _foreign(listed: Mapping[str, frozenset[int] | None], uuids: Collection[str]) -> frozenset[int]:
    """Numbers that mean nobody here, one on each of these boards; with more than one, whose they are is not known."""
    alone = [pids for uuid in uuids if (pids := listed[uuid]) is not None and len(pids) == 1]
    return frozenset(pid for pids in alone for pid in pids if not tree(pids))


@dataclass(frozen=True, slots=True)
class Rise:
    """Mean power of a board, idle and under load, in watts, and the scatter of the idle readings."""

    idle_w: float
    load_w: float
    scatter_w: float

    @property
    def is_clear(self) -> bool:
        """Whether the load is the likely reason."""
        return self.load_w - self.idle_w > max(RISE_LEAST_W, RISE_DEVIATIONS * self.scatter_w)

    def __str__(self) -> str:
        how = "rose" if self.is_clear else "stayed"
        return f"{how} from {self.idle_w:.0f} W to {self.load_w:.0f} W"


def power_rises(
    read: Callable[[], Mapping[str, float]],
    probe: Callable[[], object],
    *,
    duration_idle_s: float = IDLE_S,
    duration_load_s: float = LOAD_S,
    duration_settle_s: float = SETTLE_S,
    period_s: float = PERIOD_S,
) -> dict[str, Rise]:
    """How much every board's power rises while `probe` runs.

    Args:
        read: Power of every board now, in watts, by UUID.
        probe: Returns when the load is over. It is repeated until the load was long enough.
        duration_idle_s: How long to look before.
        duration_load_s: How long to look at least during the load.
        duration_settle_s: What is left out at the load's beginning.
        period_s: Between two readings.

    Raises:
        EnvironmentFault: The probe failed.
    """
    before: dict[str, list[float]] = {}
    during: dict[str, list[float]] = {}
    end_s = time.monotonic() + duration_idle_s
    while time.monotonic() < end_s:
        _note(before, read())
        time.sleep(period_s)
    load = _Load(probe, duration_load_s)
    load.start()
    start_s = time.monotonic()
    while load.is_alive():
        if time.monotonic() - start_s >= duration_settle_s:
            _note(during, read())
        time.sleep(period_s)
    load.join()
    if load.error is not None:
        raise load.error
    return {
        uuid: Rise(statistics.fmean(idle), statistics.fmean(during[uuid]), statistics.pstdev(idle))
        for uuid, idle in before.items()
        if during.get(uuid)
    }


def _note(into: dict[str, list[float]], powers_w: Mapping[str, float]) -> None:
    for uuid, power_w in powers_w.items():
        into.setdefault(uuid, []).append(power_w)


class _Load(threading.Thread):
    def __init__(self, probe: Callable[[], object], duration_s: float) -> None:
        super().__init__(daemon=True)
        self._probe = probe
        self._duration_s = duration_s
        self.error: HarnessError | None = None

    def run(self) -> None:
        end_s = time.monotonic() + self._duration_s
        try:
            self._probe()
            while time.monotonic() < end_s:
                self._probe()
        except HarnessError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - of a thread, which would only print it
            self.error = EnvironmentFault(f"The request that was to show the boards failed: {error}.", "See the log.")
