"""What a gate refuses before it measures: whatever could never be judged, told now instead of in an hour.

Knows run files, jobs and budgets. Must not know how a cell is measured or judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import RunSpec, load_run_spec
from harness.environment.machine import site
from harness.errors import NoSensor, UsageError
from harness.gate.budget import Budget, BudgetLine, Difference, Metric, ReferenceKind
from harness.gate.comparable import OF_TOKENS, TEXT_GENERATION
from harness.records import Cell, Site
from harness.report.wording import models
from harness.wiring.jobs import Job, jobs_of
from harness.wiring.session import has_sensor, sampled_boards
from harness.wiring.subject import with_default_model

NOT_HERE = {
    "repeats": "both sides are repeated alike: give the gate --repeats",
    "until_ci": "a side that stops by itself asks other prompts than the other",
    "two_phase": "most of its joules would be computed, and a gate judges measured ones",
    "external_meter": "add its log later: `harness report GATE_DIR/candidate --external-meter FILE`",
}
"""Keys of a run file that a gate has no use for, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A side before it is measured: its run file, and the job of its first repeat."""

    file: str
    job: Job

    def __str__(self) -> str:
        return f"{models(self.job.cell)} ({self.file})"


def entrant(file: str, flags: Mapping[str, Any], overrides: tuple[str, ...]) -> Entrant:
    """One side from its run file, with the flags that hold for both over it.

    Raises:
        HarnessError: The file cannot be read or meant, or asks for what a gate cannot judge.
    """
    asked = with_default_model(load_run_spec(file, flags, overrides))
    spec = asked.model_copy(update={"working_dir": str(Path.cwd())})
    if len(spec.model) != 1:
        raise UsageError(
            f"{file} names {len(spec.model)} models ({', '.join(spec.model)}), and a side of a gate is one.",
            "Write a run file for each.",
        )
    for key, why in NOT_HERE.items():
        if getattr(spec, key) != RunSpec.model_fields[key].default:
            raise UsageError(f"{file} has {key}: {why}.", f"Take {key} out of it.")
    (job,) = jobs_of(spec)
    return Entrant(file=file, job=job)


def stored_job(spec: RunSpec, cell: Cell) -> Job:
    """The job of a side that was begun before.

    Raises:
        UsageError: Its prompts, its scorer or its device are not what they were.
    """
    with chdir(spec.working_dir or "."):
        (job,) = jobs_of(spec, [cell])
    return job


def admit(
    candidate: Entrant, reference: Entrant, budget: Budget, *, allow: Sequence[Difference], n_repeats: int
) -> Site:
    """Refuse what could never be judged.

    Args:
        candidate: The one side.
        reference: The other.
        budget: What it will be judged by.
        allow: In which they may differ, besides what the budget allows.
        n_repeats: Of the first look.

    Returns:
        The site at which both are measured.

    Raises:
        UsageError: They could not be compared, or the budget not be judged.
        NoSensor: Joules are limited, and nothing here measures them.
    """
    allowed = {*budget.allow, *allow}
    _same_task(candidate, reference, budget)
    measured_at = _one_board(candidate, reference)
    _same_questions(candidate, reference, allowed)
    _enough(candidate, reference, budget, n_repeats)
    for line in budget.lines:
        _in_files(line, candidate, reference)
    if any(line.metric.in_joules for line in budget.lines) and not has_sensor(candidate.job):
        raise NoSensor(
            "Nothing here can be measured, and a budget of joules is never judged by an estimate.",
            "`harness doctor` shows what is missing; a budget of output_tokens_per_query alone needs no sensor.",
        )
    boards = [board.name for board in measured_at.boards]
    if boards and not any(line.gpu is None or _is_named(line.gpu, boards) for line in budget.lines):
        asked = ", ".join(dict.fromkeys(line.gpu for line in budget.lines if line.gpu is not None))
        raise UsageError(
            f"No line of the budget is of this board ({', '.join(dict.fromkeys(boards))}): they are of {asked}.",
            "Measure on another machine, or add a line without `gpu`.",
        )
    return measured_at


def _is_named(part: str, boards: Sequence[str]) -> bool:
    return any(part.casefold() in board.casefold() for board in boards)


def _one_board(candidate: Entrant, reference: Entrant) -> Site:
    """Both sides on the same boards, as far as that is known before a model is loaded."""
    sites = [site(sampled_boards(each.job.spec, each.job.device)) for each in (candidate, reference)]
    if candidate.job.device != reference.job.device or sites[0].site_id != sites[1].site_id:
        places = [f"{each.job.device}, meter_gpus {each.job.spec.meter_gpus}" for each in (candidate, reference)]
        raise UsageError(
            f"The two sides would be measured in two places: {places[0]} against {places[1]}.",
            "Give one for both: --device and --meter-gpus.",
        )
    return sites[0]


def _same_task(candidate: Entrant, reference: Entrant, budget: Budget) -> None:
    """One task on both sides, and the budget's: nothing lets these differ."""
    own, other = (task_of(each.job.cell) for each in (candidate, reference))
    if own != other:
        raise UsageError(
            f"The candidate's task is {own}, the reference's {other}: they are never held against each other.",
            "Write the same `task` into both run files.",
        )
    asked = budget.other_task or TEXT_GENERATION
    if own != asked:
        raise UsageError(
            f"The budget is of {asked}, and both sides do {own}.", f"Write `task: {own}` into a budget of its own."
        )


def task_of(cell: Cell) -> str:
    """By its name; a cell without one is of text generation."""
    return cell.task or TEXT_GENERATION


def _same_questions(candidate: Entrant, reference: Entrant, allowed: set[Difference]) -> None:
    own, other = candidate.job, reference.job
    if "prompts" not in allowed:
        _same_prompts(own, other)
    if "protocol" in allowed:
        return
    for what, flag, here, there in protocols(own.cell, other.cell):
        if here != there:
            raise UsageError(
                f"The candidate's {what} is {here}, the reference's {there}.",
                f"Give both the same (as with {flag} of `harness run`), or let them differ: --allow protocol.",
            )


def _same_prompts(own: Job, other: Job) -> None:
    if own.cell.prompt_set_sha256 != other.cell.prompt_set_sha256:
        raise UsageError(
            f"They would answer different prompts: {own.cell.prompt_set} and {other.cell.prompt_set}.",
            "Give one set for both (--prompts), or let them differ: --allow prompts.",
        )
    asked = [{prompt.prompt_id for prompt in job.prompt_set.prompts[: job.n_prompts]} for job in (own, other)]
    if asked[0] != asked[1]:
        raise UsageError(
            f"They would answer {len(asked[0])} and {len(asked[1])} prompts of {own.cell.prompt_set}, "
            f"{len(asked[0] & asked[1])} of them the same.",
            "Give both the same --num-prompts and --seed.",
        )


def protocols(own: Cell, other: Cell) -> Iterator[tuple[str, str, str, str]]:
    """What two cells are asked under, besides their prompts: in words, by which flag, of each."""
    yield "protocol", "--protocol", own.protocol, other.protocol
    for name in sorted({*own.task_options, *other.task_options}):
        here, there = (str(cell.task_options.get(name, "none")) for cell in (own, other))
        yield f"option {name}", f"--set task_options.{name}=...", here, there
    for mode in own.modes:
        if mode in other.modes:
            cap, cap_other = (f"{cell.cap(mode):,} new tokens" for cell in (own, other))
            in_mode = f" in mode {mode}" if own.task is None else ""
            yield f"cap{in_mode}", "--max-new-tokens", cap, cap_other
            least, least_other = (f"{cell.min_new_tokens.get(mode, 0):,}" for cell in (own, other))
            yield f"least number of new tokens in mode {mode}", "--protocol", least, least_other
    yield "scorer", "--scorer", own.scorer or "the prompts' own", other.scorer or "the prompts' own"


def _enough(candidate: Entrant, reference: Entrant, budget: Budget, n_repeats: int) -> None:
    """As many prompts and repeats as the budget asks for at least."""
    n_prompts = min(candidate.job.n_prompts, reference.job.n_prompts)
    if n_prompts < budget.min_queries:
        raise UsageError(
            f"{n_prompts} prompts are fewer than the budget's min_queries, {budget.min_queries}: "
            "every line would be inconclusive.",
            f"Ask at least so many: --num-prompts {budget.min_queries}.",
        )
    unstated = [line.label for line in budget.lines if line.run_sd is None and budget.run_sd is None]
    if n_repeats < 2 and unstated:
        raise UsageError(
            f"One repeat says nothing about how far the next would differ, and {unstated[0]!r} states no run_sd.",
            "Repeat both sides (--repeats 3), or state run_sd in the budget.",
        )


def _in_files(line: BudgetLine, candidate: Entrant, reference: Entrant) -> None:
    """A line is of something that the two files ask for."""
    relative = line.is_relative and (line.against is None or ReferenceKind.RELEASE in line.against)
    judged = [candidate, *([reference] if relative else [])]
    modes = dict.fromkeys(mode for each in judged for mode in each.job.cell.modes)
    for each in judged:
        for mode in [line.mode] if line.mode is not None else modes:
            if mode not in each.job.cell.modes:
                raise UsageError(
                    f"Line {line.label!r} is of mode {mode}, which {each} is not asked in: it has "
                    f"{', '.join(each.job.cell.modes)}.",
                    f"Give both the same modes ({','.join(modes)}), or the line the `mode` that it is of.",
                )
        if line.prompts is not None and line.prompts != each.job.cell.prompt_set:
            raise UsageError(
                f"Line {line.label!r} is of the prompts {line.prompts}, and {each} would answer "
                f"{each.job.cell.prompt_set}.",
                f"Ask these (--prompts {line.prompts}), or take the line into a budget of its own.",
            )
    if candidate.job.cell.max_new_tokens == 0 and line.metric in OF_TOKENS:
        raise UsageError(
            f"Line {line.label!r} is of output tokens, and {task_of(candidate.job.cell)} writes none.",
            "Limit energy_per_query_j.",
        )
    if line.metric is Metric.ENERGY_PER_CORRECT_J and not any(_scored(candidate)):
        raise UsageError(
            f"Line {line.label!r} is of right answers, and no prompt of {candidate.job.cell.prompt_set} has one to "
            "be held against.",
            "Choose a prompt set with reference answers, or another metric.",
        )


def _scored(side: Entrant) -> Iterator[bool]:
    own = side.job.spec.scorer is not None
    for prompt in side.job.prompt_set.prompts[: side.job.n_prompts]:
        yield own or (prompt.reference is not None and prompt.scorer is not None)
