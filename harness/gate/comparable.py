"""Which sides may be held against each other, and what it says where they may not.

Knows the conditions that sides carry. Must not know figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.gate.budget import Budget, BudgetLine, Metric
from harness.gate.evidence import FloatArray, Side
from harness.gate.words import listed

TEXT_GENERATION = "text-generation"
OF_TOKENS = (Metric.OUTPUT_TOKENS_PER_QUERY, Metric.ENERGY_PER_OUTPUT_TOKEN_J)


def of_another_task(side: Side, budget: Budget) -> str | None:
    """Why a budget says nothing of what a side did, in words; None: it is of the same task."""
    if side.task == budget.other_task:
        return None
    own, other = (task or TEXT_GENERATION for task in (side.task, budget.other_task))
    return (
        f"{_name(side)}: its task is {own}, and the budget is of {other}. Write `task: {own}` into a budget of its own."
    )


def unfit(side: Side, line: BudgetLine) -> str | None:
    """Why a line cannot be judged on a side at all, in words."""
    if not side.runs:
        return f"{_name(side)}: there is no repeat of it."
    if side.invalid:
        finding = side.invalid[0]
        detail = f" ({finding.detail})" if finding.detail else ""
        return f"{_name(side)}: {finding.code.sentence}{detail} {finding.code.next_step}"
    if side.task is not None and (lacking := _lacking(side, line.metric)) is not None:
        return f"{_name(side)}: {lacking}"
    if line.metric.in_joules and side.estimated:
        return f"{_name(side)}: its energy is estimated, not measured, and a gate judges measured energy only."
    if line.metric.in_joules and side.replayed:
        return f"{_name(side)}: its energy is replayed from a recording, and a gate judges measured energy only."
    if line.metric.in_joules and side.boards_unmetered:
        return (
            f"{_name(side)}: the model was on {listed(side.boards_unmetered)} too, and that energy was not measured. "
            "Meter every board that holds it: --meter-gpus auto."
        )
    return None


def _lacking(side: Side, metric: Metric) -> str | None:
    """Why a task has no such figure at all; None: it has."""
    tokens = [run.output_tokens for run in side.runs]
    if metric in OF_TOKENS and not any(_any_known(each) for each in tokens):
        return f"{side.task} writes no tokens, and there are no {metric.words}. Limit energy_per_query_j instead."
    correct = [run.correct for run in side.runs]
    if metric is Metric.ENERGY_PER_CORRECT_J and not any(_any_known(each) for each in correct):
        return (
            f"no answer of it is right or wrong: they are graded, or had no reference. There are no {metric.words}. "
            "Limit energy_per_query_j instead."
        )
    return None


def _any_known(values: FloatArray | None) -> bool:
    return values is not None and bool(np.isfinite(values).any())


def refusals(candidate: Side, reference: Side, budget: Budget) -> list[str]:
    """In what two sides differ that they may not, each with how it is asked for."""
    if candidate.task != reference.task:
        own, theirs = (side.task or TEXT_GENERATION for side in (candidate, reference))
        return [f"Candidate and reference do two tasks, {own} and {theirs}: they are never held against each other."]
    found = [
        f"Candidate and reference differ in {what}: {own} and {theirs}. "
        f"Where that is meant, put `allow: [{key}]` into the budget or give --allow {key}."
        for key, what, own, theirs in _differences(candidate, reference)
        if key not in budget.allow
    ]
    if candidate.boundary is not reference.boundary:
        found.append(
            f"Their energies include different things: {candidate.boundary.value} and {reference.boundary.value}. "
            "Measure both with the same --meter-gpus and the same sensors."
        )
    return found


def allowed_differences(candidate: Side, reference: Side, budget: Budget) -> list[str]:
    """What differs and was asked for, in words, because the ratio is of it too."""
    return [
        f"The {what} differs, as the budget allows: {own} and {theirs}."
        for key, what, own, theirs in _differences(candidate, reference)
        if key in budget.allow
    ]


def chosen_reference(candidate: Side, sides: Sequence[Side]) -> Side | str:
    """The side of a reference that answers for a candidate's side; or why there is none, in words.

    Of several that fit, one of the same site, then of the same model.
    """
    same_mode = [side for side in sides if side.mode == candidate.mode]
    if not same_mode:
        modes = ", ".join(dict.fromkeys(side.mode for side in sides)) or "none"
        return f"The reference has no mode {candidate.mode!r}; it has {modes}. Measure it: --mode {candidate.mode}."
    fitting = [side for side in same_mode if side.prompt_set_sha256 == candidate.prompt_set_sha256]
    fitting = fitting or [side for side in same_mode if side.prompt_set == candidate.prompt_set] or same_mode
    fitting = [side for side in fitting if side.site_id == candidate.site_id] or fitting
    fitting = [side for side in fitting if side.model == candidate.model] or fitting
    if len(fitting) > 1:
        return (
            f"{len(fitting)} cells of the reference would fit: {', '.join(side.words for side in fitting)}. "
            "Name a run of one model and one prompt set."
        )
    return fitting[0]


def measured_together(candidate: Side, reference: Side) -> bool:
    """Whether their repeats took turns in one job, so that what differs between jobs is the same for both."""
    return candidate.interleaved_with == reference.words or reference.interleaved_with == candidate.words


def _differences(candidate: Side, reference: Side) -> Iterator[tuple[str, str, str, str]]:
    pairs = (
        ("gpu", "GPU", ", ".join(candidate.boards) or "none", ", ".join(reference.boards) or "none"),
        ("driver", "driver", candidate.driver or "none", reference.driver or "none"),
        ("protocol", "protocol", candidate.protocol, reference.protocol),
    )
    yield from (each for each in pairs if each[2] != each[3])
    if candidate.prompt_set_sha256 != reference.prompt_set_sha256:
        own, theirs = (f"{side.prompt_set} ({side.prompt_set_sha256[:8]})" for side in (candidate, reference))
        yield "prompts", "prompt set", own, theirs


def _name(side: Side) -> str:
    mode = f", mode {side.mode}" if side.task is None else ""
    return f"{side.kind.value.capitalize()} {side.words}{mode}"
