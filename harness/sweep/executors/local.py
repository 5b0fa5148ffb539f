"""The executor on this machine: one cell at a time, or one on each of several boards.

A slot is what a cell has to itself: a board, several boards for a model that is spread over them, or, where there is no
board, the CPU. Boards are named by their UUIDs, which no other process and no reboot renumbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.environment.machine import visible_gpus
from harness.errors import UnknownName
from harness.records import Board, CellOutcome, PlannedCell
from harness.sweep.cell.process import LOOK_S, CellProcess
from harness.sweep.cell.task import PROGRAM, CellTask
from harness.sweep.directory import SweepDirectory

Slot = tuple[str, ...]
"""UUIDs of the boards that a cell has to itself; empty: it runs on the CPU."""


def slots_of(choice: str | None, boards: Sequence[Board] | None = None) -> tuple[Slot, ...]:
    """The slots that a user means.

    Args:
        choice: `all`, `none`, or UUIDs (a unique beginning is enough) and numbers separated by commas, those of one
            slot joined by `+`; None: the first board.
        boards: Those that are visible; None: they are looked for.

    Raises:
        UnknownName: No such board, or one that is named twice.
    """
    uuids = [board.uuid for board in (visible_gpus() if boards is None else boards)] if choice != "none" else []
    if choice in (None, "all", "none"):
        chosen = uuids[:1] if choice is None else uuids
        return tuple((uuid,) for uuid in chosen) or ((),)
    assert choice is not None
    slots = tuple(tuple(_named(name.strip(), uuids) for name in slot.split("+")) for slot in choice.split(","))
    named = [uuid for slot in slots for uuid in slot]
    for uuid in named:
        if named.count(uuid) > 1:
            raise UnknownName("GPU", uuid, set(uuids), " It is named twice, and a board has one cell at a time.")
    return slots


def _named(name: str, uuids: Sequence[str]) -> str:
    if name.isdecimal() and int(name) < len(uuids):
        return uuids[int(name)]
    matches = [uuid for uuid in uuids if name and not name.isdecimal() and uuid.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    elsewhere = f" Numbers 0 to {len(uuids) - 1} count the visible GPUs." if uuids else " No GPU is visible here."
    raise UnknownName("GPU", name, ["all", "none", *uuids], elsewhere)


class LocalExecutor:
    """Implements `Executor` with processes of this machine. To be used from one thread that outlives its cells."""

    def __init__(
        self,
        directory: SweepDirectory,
        slots: Sequence[Slot] = ((),),
        *,
        working_dir: Path | None = None,
        time_limit_s: float | None = None,
        cooldown_c: float | None = None,
        program: tuple[str, ...] = PROGRAM,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            directory: Where results go.
            slots: What cells run on, one at a time each.
            working_dir: Where relative paths of run files begin; None: here.
            time_limit_s: Of one cell's process.
            cooldown_c: To how many degrees a board is let cool down before each of its cells.
            program: What is started as `harness`.
        """
        self._directory = directory
        self._slots = tuple(slots)
        self._working_dir = Path.cwd() if working_dir is None else working_dir
        self._time_limit_s, self._cooldown_c, self._program = time_limit_s, cooldown_c, program
        self._at: dict[Slot, CellProcess] = {}

    @property
    def n_free(self) -> int:
        """How many slots are free."""
        return len(self._slots) - len(self._at)

    def submit(self, cell: PlannedCell, attempt: int) -> None:
        """Begin one cell on a free slot.

        Raises:
            EnvironmentFault: Its log cannot be written.
        """
        slot = next(slot for slot in self._slots if slot not in self._at)
        process = CellProcess(
            CellTask(
                cell=cell,
                attempt=attempt,
                run_path=self._directory.run_path(cell),
                log_path=self._directory.log(cell, attempt),
                working_dir=self._working_dir,
                time_limit_s=self._time_limit_s,
                gpus=slot,
                neighbours=tuple(uuid for other in self._slots if other != slot for uuid in other),
                cooldown_c=self._cooldown_c,
                program=self._program,
            )
        )
        process.start()
        self._at[slot] = process

    def take(self, timeout_s: float) -> tuple[CellOutcome, ...]:
        """What has ended since the last call; waits for the first to end."""
        until_s = time.monotonic() + timeout_s
        while True:
            ended = {slot: outcome for slot, process in self._at.items() if (outcome := process.poll()) is not None}
            for slot in ended:
                del self._at[slot]
            left_s = until_s - time.monotonic()
            if ended or not self._at or left_s <= 0:
                return tuple(ended.values())
            time.sleep(min(LOOK_S, left_s))

    def running(self) -> tuple[PlannedCell, ...]:
        """What has begun and has not been taken."""
        return tuple(process.task.cell for process in self._at.values())

    def stop(self) -> None:
        """Interrupt every cell. `take` tells how each ended; those that do not end are killed."""
        for process in self._at.values():
            process.interrupt()

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._at.values():
            with suppress(OSError):
                process.kill()
        self._at.clear()
