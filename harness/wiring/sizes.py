"""How much a run asks, and how much it lets a model write, where nobody says.

Apart from `jobs`, so that a sweep of a thousand cells is planned without loading what measures one.
"""

from __future__ import annotations

from harness.config import RunSpec

EMBEDDED_SET, EVERYDAY_SET = "chains", "everyday"
CAPS = {EMBEDDED_SET: 128}
CAP = 2048
COUNTS = {EMBEDDED_SET: 100}
COUNT = 50
LENGTHS_COUNT = 400
"""Prompts of a two-phase run, whose token counts cost a batch's share each."""


def prompts_asked(spec: RunSpec, prompt_set: str) -> int | None:
    """How many prompts a run asks of a set that holds as many; None: all, until its interval is narrow enough."""
    wanted = spec.num_prompts or spec.preset.num_prompts
    if wanted is not None:
        return wanted
    if spec.until_ci is not None:
        return None
    return LENGTHS_COUNT if spec.two_phase else COUNTS.get(prompt_set, COUNT)


def cap_of(prompt_set: str) -> int:
    """The most new tokens of a query over a set."""
    return CAPS.get(prompt_set, CAP)
