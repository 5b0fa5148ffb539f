"""Did the switch take effect? Judged by what models were given and what they wrote, never by the mode's name.

Knows rendered prompts and token counts per mode. Must not know how either came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from harness.records import Finding, FindingCode

EMPTY_BLOCK_TOKENS = 8
"""A model that is told not to think may still write an empty block: two marks (of up to three tokens each, as
in Harmony) and the blank lines between them. That many tokens are not thinking."""


def check_switch(
    rendered_prompts: Mapping[str, Sequence[str]], thinking_tokens: Mapping[str, Sequence[int]]
) -> tuple[Finding, ...]:
    """Doubts about whether the modes were really different.

    Args:
        rendered_prompts: By mode, what the model was given for the same prompts in the same order.
        thinking_tokens: By mode, how many tokens of thinking each query produced, marks included.

    Returns:
        A `SAME_PROMPT_IN_MODES` for every pair of modes with identical inputs, a `THINKING_IN_OFF_MODE` where
        `off` thought, a `NO_THINKING_IN_ON_MODE` where `on` never did.
    """
    findings = [
        Finding(code=FindingCode.SAME_PROMPT_IN_MODES, detail=f"{first} and {second}")
        for first, second in combinations(rendered_prompts, 2)
        if rendered_prompts[first] and list(rendered_prompts[first]) == list(rendered_prompts[second])
    ]
    off = thinking_tokens.get("off", ())
    thoughts = [n_tokens for n_tokens in off if n_tokens > EMPTY_BLOCK_TOKENS]
    if thoughts:
        detail = f"{len(thoughts)} of {len(off)} queries, up to {max(thoughts)} tokens"
        findings.append(Finding(code=FindingCode.THINKING_IN_OFF_MODE, detail=detail))
    on = thinking_tokens.get("on", ())
    if on and max(on) <= EMPTY_BLOCK_TOKENS:
        detail = f"{len(on)} queries, at most {max(on)} tokens of thinking"
        findings.append(Finding(code=FindingCode.NO_THINKING_IN_ON_MODE, detail=detail))
    return tuple(findings)
