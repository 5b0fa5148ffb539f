"""One cell at one site with its repeats, under the letter that stands for it in a comparison."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.sequential import inflation
from harness.errors import UsageError
from harness.publish import Account, accounts
from harness.records import Cell, RunManifest, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One cell at one site, under the letter that stands for it."""

    label: str
    run: Path
    account: Account
    repeats: Sequence[Account] = ()
    """Whose means are compared, its own account among them; empty: it stands for itself."""
    group: Sequence[Account] = ()
    """All repeats of its cell at its site, its own account first; empty: there is no other."""

    @property
    def summary(self) -> Summary:
        """What it says."""
        return self.account.summary

    @property
    def cell(self) -> Cell:
        """What was measured."""
        return self.account.summary.cell

    @property
    def manifest(self) -> RunManifest | None:
        """Of its newest session."""
        return self.account.results.manifest

    @property
    def every_repeat(self) -> Sequence[Account]:
        """All repeats that are known of it, its own account first."""
        return self.group or self.repeats or (self.account,)

    @property
    def manifests(self) -> list[RunManifest]:
        """Of all sessions of all its repeats."""
        sessions = (session for account in self.every_repeat for session in account.results.sessions)
        return [session.manifest for session in sessions if session.manifest is not None]

    @property
    def inflation(self) -> float:
        """By what its intervals are widened: it may have stopped when one looked narrow (`analysis.sequential`)."""
        return max(map(_inflation, (self.account, *self.repeats)))


def sides_of(runs: Sequence[Path]) -> list[Side]:
    """Every cell of the runs, lettered in order. Of repeats the first stands for all.

    Raises:
        SchemaError: Damaged, or written by a newer version.
        UsageError: A run without a finished query, or more cells than letters.
    """
    found: list[tuple[Path, list[Account]]] = []
    for run in runs:
        measured = accounts(run)
        if not measured:
            raise UsageError(f"{run} holds no finished query.", f"Resume it: harness run --resume {run}")
        groups: dict[object, list[Account]] = {}
        for account in measured:
            cell = account.summary.cell.model_copy(update={"repeat": 0})
            groups.setdefault((cell.cell_id, account.summary.site_id), []).append(account)
        found += [(run, group) for group in groups.values()]
    if len(found) > len(string.ascii_uppercase):
        raise UsageError(f"{len(found)} cells are too many for one table.", "Name fewer runs.")
    return [
        Side(label=label, run=run, account=group[0], group=tuple(group))
        for label, (run, group) in zip(string.ascii_uppercase, found, strict=False)
    ]


def _inflation(account: Account) -> float:
    stopping = account.summary.stopping
    return (
        1.0 if stopping is None else inflation(stopping.n_prompts_most, one_mode=len(account.summary.cell.modes) == 1)
    )
