"""What there is to be said of one query, apart from its numbers. Knows errors and records; must not know torch."""

from __future__ import annotations

from harness.errors import CellFailed, HarnessError, OutOfMemory, UnusableInput
from harness.records import Finding, FindingCode


def failure(error: HarnessError) -> Finding:
    """Why a query has no answer."""
    if isinstance(error, OutOfMemory):
        return Finding(code=FindingCode.OUT_OF_MEMORY, detail=str(error))
    if isinstance(error, UnusableInput):
        return Finding(code=FindingCode.INPUT_UNUSABLE, detail=str(error))
    code = FindingCode.QUERY_FAILED if isinstance(error, CellFailed) else FindingCode.PROMPT_TOO_LONG
    return Finding(code=code, detail=str(error))


def length_findings(n_forced_tokens: int | None, n_output_tokens: int) -> tuple[Finding, ...]:
    """Whether an answer is as long as it was to be; nothing where it might end by itself.

    Args:
        n_forced_tokens: So long it was to be; None: of no certain length.
        n_output_tokens: So long it is.
    """
    if n_forced_tokens is None or n_output_tokens == n_forced_tokens:
        return ()
    return (Finding(code=FindingCode.LENGTHS_NOT_HELD, detail=f"{n_output_tokens} tokens for {n_forced_tokens}"),)
