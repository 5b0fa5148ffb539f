"""Who is on the boards while a meter runs, and on which of them this program is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from harness.environment.census import MEMORY_UNLISTED_BYTES, bystanders, grown_bytes, neighbours, scope_findings
from harness.environment.nvml import BoardState, GpuProcess, Nvml
from harness.records import Board, Finding, FindingCode

HELD_BYTES = 64 * 2**20
"""A program that computes on a board takes more of its memory than this."""


class Company:
    """Looks at the metered boards' processes at the start, now and then, and at the end."""

    def __init__(self, nvml: Nvml, boards: Sequence[Board]) -> None:
        """Look for the first time.

        Args:
            nvml: Lists every board.
            boards: The metered ones, at least one.
        """
        self._nvml, self._boards = nvml, tuple(boards)
        self._before = nvml.states()
        self._ours = {uuid for uuid, state in self._before.items() if state.lists_us}
        self._listed = {uuid for uuid, state in self._before.items() if state.processes or state.lists_us}
        self._looked_s: float | None = None
        self._looking = threading.RLock()

    def at_start(self) -> list[Finding]:
        """What the boards' sensors cover, and who was on them already."""
        return [*scope_findings(self._boards, self._before), *bystanders(self._boards, self._before)]

    def look(self, period_s: float = 0.0) -> None:
        """Note on which boards this program, or one that it started, is now.

        Args:
            period_s: Not if the last look is less than this ago.
        """
        with self._looking:
            now_s = time.monotonic()
            if self._looked_s is not None and now_s - self._looked_s < period_s:
                return
            self._looked_s = now_s
            tenants = self._nvml.tenants()
            self._listed.update(tenants)
            self._ours.update(uuid for uuid, ours in tenants.items() if ours)

    def elsewhere(self) -> list[Finding]:
        """Metered boards on which nothing of this program was seen until now, while it was on others.

        Silent as long as it was seen nowhere: its work may be another program's, or its numbers another container's.
        """
        if not self._ours:
            return []
        lists = [board.uuid for board in self._boards if self._lists(board.uuid)]
        return _elsewhere([uuid for uuid in lists if uuid not in self._ours])

    def at_end(self) -> list[Finding]:
        """Who has come since the start, and metered boards that did nothing of this program's."""
        self.look()
        states = self._nvml.states()
        new = {uuid: state.model_copy(update={"processes": self._new(uuid, state)}) for uuid, state in states.items()}
        came = [
            finding.model_copy(update={"detail": f"{finding.detail} (came while it was measured)"})
            for finding in bystanders(self._boards, new)
        ]
        found = [*came, *neighbours(self._before, states, {board.uuid for board in self._boards})]
        if self._ours:
            return [*found, *self.elsewhere()]
        # Numbers of processes may mean nothing here, or ours be missing: memory tells which boards are surely empty.
        there = {board.uuid: states[board.uuid] for board in self._boards if board.uuid in states}
        used = {uuid for uuid, now in there.items() if uuid in self._listed or now.processes}
        used |= {uuid for uuid, now in there.items() if grown_bytes(self._before.get(uuid), now) > HELD_BYTES}
        empty = [uuid for uuid, now in there.items() if uuid not in used and self._lists(uuid) and _is_empty(now)]
        return [*found, *(_elsewhere(empty) if used else ())]

    def _new(self, uuid: str, now: BoardState) -> tuple[GpuProcess, ...]:
        before = self._before.get(uuid)
        known = set() if before is None else {process.pid for process in before.processes or ()}
        # Where numbers mean something, one without a name has just ended, and may have been ours.
        return tuple(
            process
            for process in now.processes or ()
            if process.pid not in known and (process.name is not None or not self._ours)
        )

    def _lists(self, uuid: str) -> bool:
        before = self._before.get(uuid)
        return before is not None and before.processes is not None


def _is_empty(state: BoardState) -> bool:
    return state.memory_used_bytes is not None and state.memory_used_bytes < MEMORY_UNLISTED_BYTES


def _elsewhere(uuids: Sequence[str]) -> list[Finding]:
    if not uuids:
        return []
    detail = f"nothing of this program was seen on {', '.join(uuids)}"
    return [Finding(code=FindingCode.OTHER_BOARDS_METERED, detail=detail)]
