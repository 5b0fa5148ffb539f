"""What is in a whole run's joules over N that is not in a query's: loading, warm-up, idle, pauses, failures.

A run of an 8 B model on one H100, at the rates of `check_statistics/machine.py` (57 tokens/s, 256 W alone). What is
assumed besides stands in the constants.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.check_statistics.machine import POWER_W, STEP_S
from scripts.check_statistics.tables import Table, percent

IDLE_W = 70.0
LOAD_S, LOAD_W = 60.0, 120.0
PAUSE_S = 0.2
"""Between two queries: tokens to text, scoring, writing."""
N_PROMPTS = (50, 200, 1000)
LENGTHS = (10, 300, 1000)
FAILED_PERCENT = (1, 2, 5)
CAP = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Queries of equal length, one after the other, of which some fail after running up to the cap."""

    n_queries: int
    n_tokens: int
    n_failed: int = 0

    @property
    def query_j(self) -> float:
        """What one answered query takes."""
        return self.n_tokens * STEP_S * POWER_W

    @property
    def failures_j(self) -> float:
        """What the failed ones took together."""
        return self.n_failed * CAP * STEP_S * POWER_W

    @property
    def answered(self) -> int:
        """How many have an answer."""
        return self.n_queries - self.n_failed

    def divided_j(self, *, loading: bool, pauses: bool = True) -> float:
        """Everything drawn over the queries that were answered."""
        work_j = self.answered * self.query_j + self.failures_j
        around_j = (self.n_queries * PAUSE_S * IDLE_W if pauses else 0.0) + (LOAD_S * LOAD_W if loading else 0.0)
        return (work_j + around_j) / self.answered


def whole_run() -> Table:
    """By answer length and number of queries: how far the divided figure lies above the query's own."""
    lines = []
    for n_tokens in LENGTHS:
        for n in N_PROMPTS:
            run = Run(n_queries=n, n_tokens=n_tokens)
            over = [run.divided_j(loading=loading) / run.query_j - 1 for loading in (False, True)]
            lines.append([f"{n_tokens:,}", f"{n:,}", f"{run.query_j:,.0f}", *(f"+{percent(each)}" for each in over)])
    return Table(
        f"A whole run over N: pauses of {PAUSE_S} s at {IDLE_W:.0f} W, loading {LOAD_S:.0f} s at {LOAD_W:.0f} W",
        ("tokens", "queries", "J per query", "pauses in it", "pauses and loading in it"),
        lines,
    )


def failures() -> Table:
    """Failed queries run up to the cap; their joules are in the total, and they are not in the number."""
    lines = []
    for share in FAILED_PERCENT:
        over = []
        for n_tokens in LENGTHS[1:]:
            run = Run(n_queries=100, n_tokens=n_tokens, n_failed=share)
            over.append(f"+{percent(run.divided_j(loading=False, pauses=False) / run.query_j - 1, 0)}")
        lines.append([percent(share / 100, 0), *over])
    return Table(
        f"Queries that fail after {CAP:,} tokens: all joules over the queries that were answered",
        ("failed", *(f"answers of {n:,} tokens" for n in LENGTHS[1:])),
        lines,
    )
