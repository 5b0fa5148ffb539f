"""What a sweep ends with in a terminal: what each finished cell costs, which cells failed and why, what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid

from harness.records import CellOutcome, PlannedCell
from harness.report.numbers import UNKNOWN, digits, duration, energy, unit_for
from harness.report.terminal import WIDTH_TEXT, Place, print_ends, shown

ROWS_MOST = 40
"""Finished cells of a larger sweep are on the leaderboard; a terminal would scroll them away."""
STATUS = {"timed_out": "too long", "lost": "lost", "failed": "failed", "interrupted": "interrupted"}
ROLES = {"reference_start": "reference, at the start", "reference_end": "reference, at the end"}


def name_of(cell: PlannedCell) -> str:
    """A cell as a person would call it: what the sweep varies, and which repeat it is."""
    if cell.role != "cell":
        return ROLES[cell.role]
    labels = ", ".join(
        f"{axis} {label}" if label == "default" or label[:1].isdigit() else label for axis, label in cell.labels.items()
    )
    return f"{labels or cell.run_id}, repeat {cell.repeat + 1}"


def energy_words(outcomes: Iterable[CellOutcome]) -> str:
    """The joules of finished cells; measured ones and estimates are never added up."""
    latest = {(outcome.key, outcome.gpu): outcome for outcome in outcomes if outcome.status == "finished"}
    parts = []
    for is_estimated, words in ((False, ""), (True, " (estimated)")):
        known = [
            outcome.energy_j
            for outcome in latest.values()
            if outcome.energy_j is not None and bool(outcome.estimated) is is_estimated
        ]
        if known:
            parts.append(f"{energy(math.fsum(known))}{words}")
    return " and ".join(parts) or UNKNOWN


def print_outcomes(
    console: Console,
    cells: Sequence[PlannedCell],
    outcomes: Mapping[str, CellOutcome],
    finished: frozenset[str],
    *,
    places: Sequence[Place] = (),
    next_command: str,
) -> None:
    """Print how a sweep stands.

    Args:
        console: Where to.
        cells: All that are planned.
        outcomes: By key, how the last attempt went; of a finished cell without one nothing but that is known.
        finished: Keys of the finished cells.
        places: Where more can be looked at.
        next_command: A complete command line.
    """
    done = [cell for cell in cells if cell.key in finished]
    tried = [cell for cell in cells if cell.key not in finished and cell.key in outcomes]
    failed = [cell for cell in tried if outcomes[cell.key].status != "finished"]  # it may have been extended since
    n_open = len(cells) - len(done) - len(failed)
    if done and len(done) <= ROWS_MOST:
        console.print()
        console.print(finished_table(done, outcomes))
    if failed:
        console.print()
        console.print(failed_table(failed, outcomes))
        for step, names in _steps(failed, outcomes).items():
            named = "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")
            console.print(Padding(shown(f"→ {step} ({named})", style="dim"), (0, 0, 0, 2)), width=_width(console))
    console.print()
    counts = [f"{len(done):,} of {len(cells):,} cells are finished"]
    counts += [f"{len(failed):,} failed or were interrupted"] if failed else []
    counts += [f"{n_open:,} are left"] if n_open else []
    used = energy_words(outcomes[cell.key] for cell in done if cell.key in outcomes)
    console.print(shown(f"{', '.join(counts)}. Energy of their queries: {used}."), width=_width(console))
    print_ends(console, places, next_command)


def finished_table(cells: Sequence[PlannedCell], outcomes: Mapping[str, CellOutcome]) -> Grid:
    """Finished cells with their joules per query, in all modes together."""
    per_query = {cell.key: _per_query_j(outcomes.get(cell.key)) for cell in cells}
    unit = unit_for(list(per_query.values()), "J")
    has_estimates = any(outcome.estimated for cell in cells if (outcome := outcomes.get(cell.key)) is not None)
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    grid.add_column("finished", overflow="fold")
    grid.add_column("queries", justify="right")
    grid.add_column(f"{'estimated ' if has_estimates else ''}{unit.name} per query", justify="right")
    grid.add_column("time", justify="right")
    for cell in cells:
        outcome, energy_j = outcomes.get(cell.key), per_query[cell.key]
        is_measured = has_estimates and outcome is not None and not outcome.estimated
        grid.add_row(
            shown(name_of(cell)),
            f"{outcome.n_queries:,}" if outcome is not None and outcome.n_queries is not None else UNKNOWN,
            f"{digits(unit.of(energy_j))}{' (measured)' if is_measured else ''}" if energy_j is not None else UNKNOWN,
            duration(outcome.duration_s) if outcome is not None else UNKNOWN,
        )
    return grid


def failed_table(cells: Sequence[PlannedCell], outcomes: Mapping[str, CellOutcome]) -> Grid:
    """Cells that came to nothing, and why."""
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold underline")
    grid.add_column("not finished", overflow="fold")
    grid.add_column("how")
    grid.add_column("attempts", justify="right")
    grid.add_column("why", overflow="fold")
    for cell in cells:
        outcome = outcomes[cell.key]
        how = STATUS.get(outcome.status, outcome.status)
        grid.add_row(shown(name_of(cell)), how, str(outcome.attempt), shown(outcome.error))
    return grid


def _steps(cells: Sequence[PlannedCell], outcomes: Mapping[str, CellOutcome]) -> dict[str, list[str]]:
    """What to do next, each step once, and for which cells."""
    steps: dict[str, list[str]] = {}
    for cell in cells:
        if outcomes[cell.key].next_step:
            steps.setdefault(outcomes[cell.key].next_step, []).append(name_of(cell))
    return steps


def _per_query_j(outcome: CellOutcome | None) -> float | None:
    if outcome is None or outcome.energy_j is None or not outcome.n_queries:
        return None
    return outcome.energy_j / outcome.n_queries


def _width(console: Console) -> int:
    return min(console.width, WIDTH_TEXT)
