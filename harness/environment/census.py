"""Who else is on the boards, and what a board's sensor covers: from what NVML lists to findings. Pure.

Process numbers are not enough: in a container they may be another's or missing. So what is listed before a model is
loaded is foreign, what appears with the load is ours, and what appears later is foreign again. A process that only
draws a screen is a note; only one that computes makes a board's energy more than the model's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from harness.environment.nvml import BoardState, GpuProcess
from harness.records import Board, Finding, FindingCode

BUSY_PERCENT = 10.0
"""A board that is less busy than this is idle, or shows itself on a screen."""
MEMORY_UNLISTED_BYTES = 2**30
"""More than this in use, and nobody listed: somebody is not listed. A board alone holds some hundred megabytes."""
MEMORY_GROWN_BYTES = 2**30

NOT_THE_MODELS_ALONE = frozenset(
    {
        FindingCode.OTHER_BOARDS_METERED,
        FindingCode.OTHER_PROCESSES,
        FindingCode.MIG_PARENT,
        FindingCode.VGPU_GUEST,
        FindingCode.MODULE_SCOPE,
    }
)
"""With these a board's energy is more than the model's."""


def scope_findings(boards: Iterable[Board], states: Mapping[str, BoardState]) -> list[Finding]:
    """What the sensors of these boards cover beside the board that a model sees.

    Args:
        boards: The metered boards.
        states: What every board shows, by UUID.
    """
    findings = []
    for board in boards:
        state = states.get(board.uuid)
        for code, applies in (
            (FindingCode.MIG_PARENT, board.mig),
            (FindingCode.VGPU_GUEST, state is not None and state.vgpu),
            (FindingCode.MODULE_SCOPE, state is not None and state.module_scope),
        ):
            if applies:
                findings.append(Finding(code=code, detail=f"{board.uuid}, {board.name}"))
    return findings


def bystanders(boards: Iterable[Board], states: Mapping[str, BoardState]) -> list[Finding]:
    """Who is on these boards now beside this process and what it started, where no load of ours is waited for.

    A number that means nothing here, as in a container, may be this process's own.
    """
    findings = []
    for board in boards:
        state = states.get(board.uuid)
        if state is None:
            continue
        others = _computing(state)
        strange = {pid for pid, process in others.items() if process.name is None and not state.lists_us}
        if strange:
            detail = f"{board.uuid}: {len(strange)} under numbers of another namespace, perhaps this one among them"
            findings.append(Finding(code=FindingCode.PROCESSES_NOT_LISTED, detail=detail))
        known = {pid: process for pid, process in others.items() if pid not in strange}
        if known:
            findings.append(Finding(code=FindingCode.OTHER_PROCESSES, detail=f"{board.uuid}: {_named(known)}"))
        findings += _display(board.uuid, state)
    return findings


class Census:
    """The processes on the boards from before a load to the end of what it was loaded for.

    One lives as long as the program: what an earlier load of ours put on a board is still ours.
    """

    def __init__(self) -> None:
        self._ours: set[tuple[str, int]] = set()
        self._before: Mapping[str, BoardState] = {}
        self._loaded: Mapping[str, BoardState] = {}
        self._told: set[tuple[str, int]] = set()
        self._metered: tuple[str, ...] = ()
        self._holders: frozenset[str] = frozenset()
        self._shared = False

    def before_load(self, states: Mapping[str, BoardState]) -> None:
        """Take down who is there.

        Args:
            states: What every board shows, by UUID.
        """
        self._before, self._told, self._shared = states, set(), False

    def after_load(
        self, states: Mapping[str, BoardState], metered: Sequence[str], holders: Collection[str]
    ) -> list[Finding]:
        """Tell ours from others', once the model is loaded.

        Args:
            states: What every board shows now.
            metered: The boards whose energy is read.
            holders: The boards that hold the model.
        """
        self._loaded, self._metered, self._holders = states, tuple(metered), frozenset(holders)
        findings = []
        for uuid in dict.fromkeys((*metered, *holders)):
            before, now = self._before.get(uuid), states.get(uuid)
            if now is None:
                continue
            known = _computing(before)
            new = {pid: process for pid, process in _computing(now).items() if pid not in known}
            ours = None
            if uuid in self._holders and not now.lists_us and new:
                # Under a number that is not ours, as in a container: ours is the one that took the most.
                ours = max(new, key=lambda pid: (new[pid].memory_bytes or 0, -pid))
                self._ours.add((uuid, ours))
            if uuid in metered:
                others = {**known, **{pid: process for pid, process in new.items() if pid != ours}}
                findings += self._foreign(uuid, others, "")
                findings += _display(uuid, now)
            listed = now.lists_us or ours is not None or any((uuid, pid) in self._ours for pid in known)
            if uuid in self._holders and not listed:
                findings.append(Finding(code=FindingCode.PROCESSES_NOT_LISTED, detail=f"{uuid}{_unlisted(before)}"))
        return [*findings, *self._neighbours(self._before, states)]

    def at_end(self, states: Mapping[str, BoardState]) -> list[Finding]:
        """Who has come since the model was loaded.

        Args:
            states: What every board shows now; a board that is lost is missing.
        """
        findings = []
        for uuid in self._metered:
            now = states.get(uuid)
            if now is not None:
                findings += self._foreign(uuid, _computing(now), " (came while it was measured)")
        return [*findings, *self._neighbours(self._loaded, states)]

    def _foreign(self, uuid: str, processes: Mapping[int, GpuProcess], when: str) -> list[Finding]:
        others = {
            pid: process
            for pid, process in processes.items()
            if (uuid, pid) not in self._ours and (uuid, pid) not in self._told
        }
        self._told |= {(uuid, pid) for pid in others}
        if not others:
            return []
        return [Finding(code=FindingCode.OTHER_PROCESSES, detail=f"{uuid}: {_named(others)}{when}")]

    def _neighbours(self, earlier: Mapping[str, BoardState], states: Mapping[str, BoardState]) -> list[Finding]:
        """Once is enough."""
        found = [] if self._shared else neighbours(earlier, states, {*self._metered, *self._holders})
        self._shared = self._shared or bool(found)
        return found


def neighbours(
    earlier: Mapping[str, BoardState], states: Mapping[str, BoardState], ours: Collection[str]
) -> list[Finding]:
    """Boards other than these, busy at either of two moments or filled between them."""
    busy = []
    for uuid, now in states.items():
        if uuid in ours:
            continue
        before = earlier.get(uuid)
        busiest = max(state.utilization_percent or 0.0 for state in (before or now, now))
        if busiest >= BUSY_PERCENT:
            busy.append(f"{uuid} {busiest:.0f} % busy")
        elif grown_bytes(before, now) > MEMORY_GROWN_BYTES:
            busy.append(f"{uuid} was filled")
    return [Finding(code=FindingCode.NEIGHBOURS_SHARE, detail=", ".join(busy))] if busy else []


def grown_bytes(before: BoardState | None, now: BoardState) -> int:
    """By how much a board's used memory grew between two moments; 0 where it does not say."""
    if before is None or before.memory_used_bytes is None or now.memory_used_bytes is None:
        return 0
    return now.memory_used_bytes - before.memory_used_bytes


def _computing(state: BoardState | None) -> dict[int, GpuProcess]:
    processes = () if state is None else state.processes or ()
    return {process.pid: process for process in processes if process.kind == "compute"}


def _display(uuid: str, state: BoardState) -> list[Finding]:
    shown = {process.pid: process for process in state.processes or () if process.kind == "display"}
    return [Finding(code=FindingCode.DISPLAY_ON_BOARD, detail=f"{uuid}: {_named(shown)}")] if shown else []


def _named(processes: Mapping[int, GpuProcess]) -> str:
    return ", ".join(f"{process.name or 'process'} {pid}" for pid, process in sorted(processes.items()))


def _unlisted(before: BoardState | None) -> str:
    """What there is to be said of a board's use before the load, where its users are not listed."""
    if before is None:
        return ""
    parts = []
    if (before.memory_used_bytes or 0) > MEMORY_UNLISTED_BYTES:
        parts.append(f"{(before.memory_used_bytes or 0) / 2**30:.1f} GiB in use")
    if (before.utilization_percent or 0.0) >= BUSY_PERCENT:
        parts.append(f"{before.utilization_percent:.0f} % busy")
    return f": {' and '.join(parts)} before the model was loaded" if parts else ""
