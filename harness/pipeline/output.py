"""What an engine gave for a query, as it is stored, and what is to be doubted about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from harness.errors import InvalidMeasurement, ScoringFailed
from harness.protocols import Scorer
from harness.records import Finding, FindingCode, Generation, Output, Prompt, Score


def refuse_precision(finding: Finding | None, *, accepted: bool) -> None:
    """Stop before anything is measured in a precision that nobody asked for.

    Raises:
        InvalidMeasurement: The executed precision is not the requested one, and was not accepted.
    """
    if finding is not None and not accepted:
        raise InvalidMeasurement(f"{finding.code.sentence} {finding.detail}".strip(), finding.code.next_step)


def output_findings(generation: Generation) -> list[Finding]:
    """What an answer itself gives to doubt."""
    findings = list(generation.findings)
    if generation.forced_end:
        findings.append(Finding(code=FindingCode.BUDGET_REACHED))
    if generation.finish_reason == "length":
        findings.append(Finding(code=FindingCode.CUT_BY_CAP))
    if 0 < generation.sizes.get("thinking_tokens", 0) == generation.sizes.get("output_tokens"):
        findings.append(Finding(code=FindingCode.THINKING_NOT_CLOSED))
    return findings


def stored(generation: Generation, store_text: str) -> Output:
    """An answer as it goes to disk, with its text, the hash of it, or neither."""
    return Output(
        sizes=generation.sizes,
        finish_reason=generation.finish_reason,
        rendered_prompt_sha256=_sha256(generation.rendered_prompt),
        thought=bool(generation.thinking.strip()),
        rendered_prompt=generation.rendered_prompt if store_text == "full" else None,
        text=generation.text if store_text == "full" else None,
        text_sha256=_sha256(generation.text) if store_text != "none" else None,
    )


def score_of(
    scorers: Mapping[str, Scorer], prompt: Prompt, generation: Generation | None
) -> tuple[Score | None, tuple[Finding, ...]]:
    """Whether the answer is right; nothing, with the reason, where the scorer cannot say."""
    if generation is None or prompt.scorer is None or not generation.comparable:
        return None, ()
    try:
        return scorers[prompt.scorer].score(generation.answer, prompt.reference or ""), ()
    except ScoringFailed as error:
        return None, (Finding(code=FindingCode.SCORER_FAILED, detail=str(error)),)


def stored_score(score: Score | None, store_text: str) -> Score | None:
    """What was read as the answer is part of the text, and is stored where the text is."""
    if score is None or store_text == "full":
        return score
    return score.model_copy(update={"extracted": None})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
