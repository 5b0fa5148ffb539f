"""The inputs of a task that were not measured, and why: each by its name, as far as there is room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.analysis.summary import failed
from harness.records import FindingCode, QueryRecord, Summary
from harness.report.task.words import claims_quality, random_weights
from harness.report.wording import Doubt, doubts

N_LISTED = 3
"""Reasons that a sentence holds; the page has all."""
LEFT_OUT = {FindingCode.GRADED, FindingCode.RANDOM_WEIGHTS}
"""Said already: joules per right answer are not printed where there is no right and wrong, and a notice is."""
OF_QUALITY = {
    FindingCode.NOTHING_SCORED,
    FindingCode.NOTHING_CORRECT,
    FindingCode.FEW_CORRECT,
    FindingCode.DRAWS_WITHOUT_CORRECT,
    FindingCode.NO_QUALITY,
}
"""Of answers that nobody judges, or that mean nothing."""
SENTENCES: Mapping[str, str] = {
    FindingCode.FEW_CORRECT: "Fewer than ten answers are right: joules per right answer, and their interval, are "
    "uncertain.",
    FindingCode.NOTHING_SCORED: "No answer was scored, so how good they are is unknown.",
}
STEPS = {
    FindingCode.SHORTER_THAN_TWO_TICKS: "Believe the mean of all queries, not a single one's joules.",
    FindingCode.OUT_OF_MEMORY: "Choose a smaller model, or smaller inputs.",
    FindingCode.NOTHING_CORRECT: "Choose another model, or references in its own words.",
    FindingCode.INPUT_UNUSABLE: "Correct or remove these inputs; other queries are not affected.",
}
"""In place of the codes' own, which speak of modes and of tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedInput:
    """An input that could not be measured."""

    prompt_id: str
    reason: str


def failed_inputs(queries: Iterable[QueryRecord]) -> tuple[FailedInput, ...]:
    """Those without an answer, in the order of the prompts."""
    found = sorted((query for query in queries if failed(query)), key=lambda query: query.prompt_index)
    return tuple(FailedInput(prompt_id=query.prompt_id, reason=_reason(query)) for query in found)


def task_doubts(summary: Summary, inputs: Sequence[FailedInput]) -> tuple[Doubt, ...]:
    """What is to be known before a task's figures are quoted: inputs that were not measured first, by name."""
    has_quality = claims_quality(summary.cell) and random_weights(summary) is None
    left_out = LEFT_OUT if has_quality else LEFT_OUT | OF_QUALITY
    found = [
        replace(each, sentence=SENTENCES.get(each.code, each.sentence))
        for each in doubts([finding for finding in summary.findings if finding.code not in left_out], STEPS)
    ]
    unusable = [each for each in found if each.code == FindingCode.INPUT_UNUSABLE.value]
    rest = [each for each in found if each.code != FindingCode.INPUT_UNUSABLE.value]
    return (*(_named(each, summary, inputs) for each in unusable), *rest)


def _named(doubt: Doubt, summary: Summary, inputs: Sequence[FailedInput]) -> Doubt:
    n_failed = sum(mode.n_failed for mode in summary.modes)
    n_asked = sum(mode.n_queries for mode in summary.modes)
    sentence = f"{n_failed:,} of {n_asked:,} inputs {'was' if n_failed == 1 else 'were'} not measured"
    if not inputs:  # only the summary is at hand: its finding has one of them
        return replace(doubt, sentence=f"{sentence}.")
    reasons = [each.reason.rstrip(".") for each in inputs[:N_LISTED]]
    more = len(inputs) - len(reasons)
    rest = f"; and {more:,} more" if more else ""
    return replace(doubt, sentence=f"{sentence}: {'; '.join(reasons)}{rest}.", details=())


def _reason(query: QueryRecord) -> str:
    """What its finding says; other findings than the one that made it fail come later."""
    said = (finding.detail or finding.code.sentence for finding in query.findings)
    return next(said, "it has no answer, and nothing says why")
