"""A sweep as a person sees it run: a live table in a terminal, a line per event in a pipe or a narrow window."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from harness.records import CellOutcome, PlannedCell
from harness.report.numbers import duration
from harness.report.sweep.outcomes import energy_words, name_of
from harness.report.terminal import shown
from harness.sweep.driver import Observer
from harness.sweep.planning.estimate import Estimates

WIDTH_LEAST = 72
"""A live table in less would break its lines."""


class Watch(Observer):
    """Shows a sweep on a console for as long as it is entered.

    Args:
        console: Where.
        estimates: What cells are expected to take; None: nothing is.
        n_at_once: How many cells run side by side.
    """

    def __init__(self, console: Console, *, estimates: Estimates | None = None, n_at_once: int = 1) -> None:
        self._console = console
        self._estimates = estimates or Estimates({})
        self._n_at_once = n_at_once
        self._cells: dict[str, PlannedCell] = {}
        self._finished: set[str] = set()
        self._failed: dict[str, CellOutcome] = {}
        self._outcomes: list[CellOutcome] = []
        self._begun: dict[str, tuple[float, int]] = {}
        self._again_s: dict[str, float] = {}
        self._is_live = console.is_terminal and console.width >= WIDTH_LEAST
        self._live = Live(console=console, auto_refresh=False, transient=True) if self._is_live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def planned(self, cells: Sequence[PlannedCell], finished: set[str], outcomes: Sequence[CellOutcome]) -> None:
        """What is to be measured, and what of it is finished already."""
        self._cells = {cell.key: cell for cell in cells}
        self._finished, self._outcomes = set(finished), [each for each in outcomes if each.key in self._cells]
        if finished:
            self._say(f"{len(finished):,} of {len(cells):,} cells are finished already.")

    def set_aside(self, path: Path, why: str) -> None:
        """A run directory was damaged."""
        self._say(f"Damaged, and measured again: {why} What is left of it is in {path}.")

    def began(self, cell: PlannedCell, attempt: int) -> None:
        """A cell has been begun."""
        self._begun[cell.key] = (time.monotonic(), attempt)
        self._again_s.pop(cell.key, None)
        self._failed.pop(cell.key, None)
        if not self._is_live:
            number = f"{len(self._finished) + len(self._begun)}/{len(self._cells)}"
            self._say(f"[{number}] {name_of(cell)}{f', attempt {attempt}' if attempt > 1 else ''}")

    def ended(self, cell: PlannedCell, outcome: CellOutcome, again_s: float | None) -> None:
        """An attempt has ended."""
        self._begun.pop(cell.key, None)
        self._outcomes.append(outcome)
        if outcome.status == "finished":
            self._finished.add(cell.key)
            if not self._is_live:
                self._say(f"  finished in {duration(outcome.duration_s)}{self._cost(outcome)}: {name_of(cell)}")
            return
        if again_s is not None:
            self._again_s[cell.key] = time.monotonic() + again_s
        else:
            self._failed[cell.key] = outcome
        again = f" It is tried again{f' in {duration(again_s)}' if again_s else ''}." if again_s is not None else ""
        step = f"\n    → {outcome.next_step}" if outcome.next_step and again_s is None else ""
        self._say(f"  {outcome.status.replace('_', ' ')}: {name_of(cell)}: {outcome.error}{again}{step}")

    def lost(self, n_lost: int, n_boards: int) -> None:
        """Boards are gone."""
        self._say(f"{n_lost} of {n_boards} boards are gone: the reference counts as measured by the others.")

    def looked(self, running: Sequence[PlannedCell]) -> None:
        """Draw the table anew."""
        if self._live is not None:
            self._live.update(self._drawn(running), refresh=True)

    def stopping(self, running: Sequence[PlannedCell]) -> None:
        """It was interrupted."""
        if running:
            self._say("Interrupted: what runs is being ended. Once more kills it.")

    def _drawn(self, running: Sequence[PlannedCell]) -> RenderableType:
        grid = Grid.grid(padding=(0, 2, 0, 0))
        n_left = len(self._cells) - len(self._finished) - len(self._failed) - len(running)
        grid.add_row("done", f"{len(self._finished):,} of {len(self._cells):,}")
        now_s = time.monotonic()
        for cell in running:
            begun_s, attempt = self._begun.get(cell.key, (now_s, 1))
            tried = f", attempt {attempt}" if attempt > 1 else ""
            grid.add_row("running", shown(f"{name_of(cell)}{tried}, {duration(now_s - begun_s)}"))
        for key, again_s in self._again_s.items():
            grid.add_row(
                "waiting", shown(f"{name_of(self._cells[key])}, again in {duration(max(0.0, again_s - now_s))}")
            )
        for key, outcome in self._failed.items():
            grid.add_row(Text("failed", style="red"), shown(f"{name_of(self._cells[key])}: {outcome.error}"))
        grid.add_row("to do", f"{max(n_left, 0):,}")
        grid.add_row("energy", energy_words(self._outcomes))
        grid.add_row("left", self._left())
        return Group(grid)

    def _left(self) -> str:
        cells = [c for key, c in self._cells.items() if key not in self._finished and key not in self._failed]
        span = self._estimates.remaining(cells, self._outcomes, n_at_once=self._n_at_once)
        if span is None:
            return "not known before a cell has ended"
        elapsed_s = [time.monotonic() - begun_s for begun_s, _ in self._begun.values()]
        gone_s = sum(elapsed_s) / self._n_at_once
        low, high = (duration(max(end_s - gone_s, 0.0)) for end_s in (span.low, span.high))
        return f"about {low}" if low == high else f"{low} to {high}"

    def _cost(self, outcome: CellOutcome) -> str:
        return f", {energy_words([outcome])}" if outcome.energy_j is not None else ""

    def _say(self, line: str) -> None:
        self._console.print(shown(line) if "\n" not in line else line, soft_wrap=True, highlight=False, markup=False)
