"""A gate from files: the budget, what the runs say, the verdict over both, and the files that it is written to."""

from harness.gating.budget_file import golden_of, load_budget
from harness.gating.looking import power_tables
from harness.gating.named import GATE_FILE, NamedRun, named_run
from harness.gating.sides import Evidence
from harness.gating.verdict import evidence_of, verdict_of

__all__ = [
    "GATE_FILE",
    "Evidence",
    "NamedRun",
    "evidence_of",
    "golden_of",
    "load_budget",
    "named_run",
    "power_tables",
    "verdict_of",
]
