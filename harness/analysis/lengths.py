"""What two-phase statistics need of a stored token count."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.measured import OUTPUT_TOKENS, PROMPT_TOKENS
from harness.analysis.two_phase import LengthFigures
from harness.records import LengthRecord


def length_figures(lengths: Sequence[LengthRecord]) -> list[LengthFigures]:
    """Token counts as numbers, in the order of the prompts; prompts that failed are left out."""
    return [
        LengthFigures(
            prompt_id=length.prompt_id,
            mode=length.mode,
            n_prompt_tokens=int(length.output.sizes[PROMPT_TOKENS]),
            n_output_tokens=int(length.output.sizes[OUTPUT_TOKENS]),
            correct=None if length.score is None else length.score.correct,
            cut=length.output.finish_reason == "length",
        )
        for length in sorted(lengths, key=lambda each: (each.prompt_index, each.mode))
        if length.output is not None
    ]
