"""The loop of a sweep: begin cells in their order, take what has ended, try again what may pass, stop in good order.

It places cells and keeps the books; an executor runs them, and an observer shows them. What is finished is read from
the run directories at the start, so a sweep that was killed at any moment goes on where it was, and one whose plan has
changed measures the difference.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import EnvironmentFault, ExitCode
from harness.protocols import Executor
from harness.records import CellOutcome, PlannedCell
from harness.sweep.directory import SweepDirectory

LOOK_S = 1.0
"""Between two looks of whoever watches."""
BACKOFF_S, BACKOFF_MOST_S = 15.0, 300.0
"""Before a second attempt, doubled for each further one: a disk is cleared or a network is back within minutes."""
MISREAD = (1, int(ExitCode.USAGE))
"""How a cell's process ends that stumbles over its own run directory."""


class Observer:
    """Told what happens; does nothing with it."""

    def planned(self, cells: Sequence[PlannedCell], finished: set[str], outcomes: Sequence[CellOutcome]) -> None:
        """What is to be measured, what of it is finished already, and how earlier attempts went."""

    def set_aside(self, path: Path, why: str) -> None:
        """A run directory was damaged, and is now there."""

    def began(self, cell: PlannedCell, attempt: int) -> None:
        """A cell has been begun."""

    def ended(self, cell: PlannedCell, outcome: CellOutcome, again_s: float | None) -> None:
        """An attempt has ended; in so many seconds there will be another one."""

    def lost(self, n_lost: int, n_boards: int) -> None:
        """So many of the boards that were there at the start are gone, and the reference is asked of the others."""

    def looked(self, running: Sequence[PlannedCell]) -> None:
        """Time has passed."""

    def stopping(self, running: Sequence[PlannedCell]) -> None:
        """It was interrupted: what runs is being ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """How a sweep stands when its driver leaves it."""

    cells: tuple[PlannedCell, ...]
    """All that are planned, references included."""
    finished: frozenset[str]
    """Keys of those that are."""
    outcomes: dict[str, CellOutcome]
    """By key, how the last attempt went."""
    interrupted: bool = False

    @property
    def failed(self) -> tuple[PlannedCell, ...]:
        """Cells whose last attempt went wrong."""
        went_wrong = ("failed", "timed_out", "lost")
        return tuple(
            cell
            for cell in self.cells
            if cell.key not in self.finished
            and cell.key in self.outcomes
            and self.outcomes[cell.key].status in went_wrong
        )

    @property
    def exit_code(self) -> ExitCode:
        """What a pipeline is told."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.OK if all(cell.key in self.finished for cell in self.cells) else ExitCode.CELLS_FAILED


def run(
    directory: SweepDirectory,
    cells: Sequence[PlannedCell],
    executor: Executor,
    *,
    references: Sequence[PlannedCell] = (),
    n_boards: int = 1,
    retries: int = 1,
    observer: Observer | None = None,
    backoff_s: float = BACKOFF_S,
    plan: str | None = None,
) -> SweepResult:
    """Measure every cell that is not finished. The executor is closed afterwards, whatever happened.

    Ctrl-C ends what runs in good order; the result then says that it was interrupted.

    Args:
        directory: The sweep's; nobody else may be at it.
        cells: In the order in which they are to begin.
        executor: Where they run.
        references: Cells that every board measures: those of role `reference_start` before all others, those of role
            `reference_end` after them.
        n_boards: How many boards the executor has, each free at the start.
        retries: How often a cell that failed of what may pass is tried again.
        observer: Told what happens.
        backoff_s: Before the first of these.
        plan: The sweep file that asks for all this; kept as another version where it has changed.

    Raises:
        UsageError: Another driver is at this sweep.
        EnvironmentFault: Nothing can be begun here any more. What was running has ended by itself.
        SchemaError: A run of the sweep was written by a newer version.
    """
    try:
        with directory.locked():
            if plan is not None:
                directory.freeze(plan)
            driver = _Driver(directory, executor, observer or Observer(), retries, backoff_s)
            return driver.drive(cells, references, n_boards)
    finally:
        executor.close()


class _Driver:
    def __init__(
        self, directory: SweepDirectory, executor: Executor, observer: Observer, retries: int, backoff_s: float
    ) -> None:
        self._directory, self._executor, self._observer = directory, executor, observer
        self._retries, self._backoff_s = retries, backoff_s
        self._cells: dict[str, PlannedCell] = {}
        self._finished: set[str] = set()
        self._outcomes: dict[str, CellOutcome] = {}
        self._attempts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._n_sites: dict[str, int] = {}
        self._waiting: list[tuple[float, PlannedCell]] = []
        self._mended: set[str] = set()
        self._fault: EnvironmentFault | None = None

    def drive(self, cells: Sequence[PlannedCell], references: Sequence[PlannedCell], n_boards: int) -> SweepResult:
        self._cells = {cell.key: cell for cell in (*references, *cells)}
        everything = tuple(self._cells.values())
        for path, why in self._directory.set_aside(everything):
            self._observer.set_aside(path, why)
        self._n_sites = {cell.key: n_boards for cell in references}
        outcomes = self._directory.outcomes()
        self._attempts.update(outcome.key for outcome in outcomes)
        self._outcomes = {outcome.key: outcome for outcome in outcomes}
        whole = self._directory.finished(cells) | self._directory.finished(references, n_sites=n_boards)
        self._finished = {key for key in whole if not self._is_invalid(key)}
        self._observer.planned(everything, set(self._finished), outcomes)
        first = [cell for cell in references if cell.role != "reference_end"] * n_boards
        last = [cell for cell in references if cell.role == "reference_end"]
        interrupted = False
        try:
            self._measure([cell for cell in (*first, *cells) if cell.key not in whole])
            if self._fault is None:
                self._measure([cell for cell in last * self._n_there(n_boards) if cell.key not in whole])
            if self._fault is None and references:
                self._forgive_the_lost(references, n_boards)
        except KeyboardInterrupt:
            interrupted = True
            self._stop()
        if self._fault is not None:
            raise self._fault
        return SweepResult(
            cells=everything,
            finished=frozenset(self._finished),
            outcomes=self._outcomes,
            interrupted=interrupted,
        )

    def _n_there(self, n_boards: int) -> int:
        """How many of the boards are left. Nothing may be running."""
        return max(1, min(n_boards, self._executor.n_free))

    def _forgive_the_lost(self, references: Sequence[PlannedCell], n_boards: int) -> None:
        """A board that is gone for good owes no reference: those are finished that all others have measured."""
        n_there = self._n_there(n_boards)
        if n_there < n_boards:
            self._finished |= self._directory.finished(references, n_sites=n_there)
            self._observer.lost(n_boards - n_there, n_boards)

    def _measure(self, cells: Sequence[PlannedCell]) -> None:
        """Return once each of them has come to an end."""
        self._waiting = [(0.0, cell) for cell in cells]
        while self._waiting or self._executor.running():
            self._begin()
            for outcome in self._executor.take(LOOK_S):
                self._ended(outcome)
            running = self._executor.running()
            self._observer.looked(running)
            if self._waiting and not running:  # `take` waits for what runs
                wait_s = min(due_s for due_s, _ in self._waiting) - time.monotonic()
                time.sleep(min(max(wait_s, 0.0), LOOK_S) if self._executor.n_free else LOOK_S)

    def _begin(self) -> None:
        """Begin what is due, as far as there is room."""
        while self._executor.n_free > 0:
            now_s = time.monotonic()
            place = next((place for place, (due_s, _) in enumerate(self._waiting) if due_s <= now_s), None)
            if place is None:
                return
            _, cell = self._waiting.pop(place)
            attempt = self._attempts[cell.key] + 1
            try:
                self._executor.submit(cell, attempt)
            except EnvironmentFault as error:
                self._fault = error
                self._waiting.clear()
                return
            self._attempts[cell.key] = attempt
            self._observer.began(cell, attempt)

    def _ended(self, outcome: CellOutcome) -> None:
        cell = self._cells[outcome.key]
        self._directory.append(outcome)
        self._outcomes[cell.key] = outcome
        again_s = None
        if outcome.status == "finished":
            self._is_finished(cell)
        elif self._fault is None and self._is_mended(cell, outcome):
            again_s = 0.0
        elif self._fault is None and outcome.may_pass and self._failures[cell.key] < self._retries:
            again_s = min(self._backoff_s * 2 ** self._failures[cell.key], BACKOFF_MOST_S)
            self._failures[cell.key] += 1
        if again_s is not None:
            self._waiting.append((time.monotonic() + again_s, cell))
        self._observer.ended(cell, outcome, again_s)

    def _is_invalid(self, key: str) -> bool:
        """Whether a cell was measured to its end with figures that must not be used: it would be the same again."""
        last = self._outcomes.get(key)
        return last is not None and last.status == "failed" and last.exit_code == ExitCode.INVALID

    def _is_finished(self, cell: PlannedCell) -> None:
        """Put down that it is; a reference is once every board has measured it."""
        n_sites = self._n_sites.get(cell.key, 1)
        self._finished |= {cell.key} if n_sites == 1 else self._directory.finished([cell], n_sites=n_sites)

    def _is_mended(self, cell: PlannedCell, outcome: CellOutcome) -> bool:
        """Whether it stumbled over a damaged run directory, which is now out of its way. Once for each cell."""
        if outcome.exit_code not in MISREAD or cell.key in self._mended:
            return False
        if any(other.run_id == cell.run_id for other in self._executor.running()):
            return False
        self._mended.add(cell.key)
        moved = self._directory.set_aside([cell], thorough=True)
        for path, why in moved:
            self._observer.set_aside(path, why)
        return bool(moved)

    def _stop(self) -> None:
        """End what runs; how it ended is put down."""
        self._waiting.clear()
        self._observer.stopping(self._executor.running())
        try:
            self._executor.stop()
            while self._executor.running():
                for outcome in self._executor.take(LOOK_S):
                    self._directory.append(outcome)
                    self._outcomes[outcome.key] = outcome
                    if outcome.status == "finished":
                        self._is_finished(self._cells[outcome.key])
                self._observer.looked(self._executor.running())
        except KeyboardInterrupt:
            self._executor.close()
