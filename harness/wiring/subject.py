"""Who answers in which mode: one checkpoint, or two that are compared as one subject."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config import RANDOM, Catalogue, ModelEntry, RunSpec
from harness.engine.task.catalogue import task_named
from harness.engine.task.description import Task
from harness.errors import UnknownName, UsageError
from harness.reasoning.switch import FamilyReasoning, canonical
from harness.records import ModeSwitch, ReasoningSpec

NOT_THINKING = ReasoningSpec(modes={"off": ModeSwitch()}, budget_mode=None)
"""A checkpoint that has no switch, beside one that thinks: asked for nothing, it answers without thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model, the modes asked of it, and how they are asked for; of a pair, the other checkpoint as well."""

    entry: ModelEntry
    reasoning: ReasoningSpec | None
    modes: tuple[str, ...]
    pair: ModelEntry | None = None
    pair_reasoning: ReasoningSpec | None = None
    pair_modes: tuple[str, ...] = ()


def other_task(spec: RunSpec) -> Task | None:
    """What a run does, where that is not a language model's continuing of text.

    Raises:
        UnknownName: There is no such task.
    """
    task = None if spec.task is None else task_named(spec.task)
    return None if task is None or task.is_text_generation else task


def with_default_model(spec: RunSpec) -> RunSpec:
    """The spec with its task's own model where none is named, so that what is written down names it.

    Raises:
        UnknownName: There is no such task.
    """
    if spec.task is None or "model" in spec.model_fields_set:
        return spec
    return spec.model_copy(update={"model": (task_named(spec.task).model,)})


def random_entry(spec: RunSpec) -> ModelEntry:
    """The stand-in of the run's task.

    Raises:
        UsageError: The run has no task with one.
    """
    task = other_task(spec)
    if task is None or task.stand_in is None:
        raise UsageError(
            "--model random is the stand-in of a task, which text generation has no need of: a model ships for it.",
            "Name the task (--task), or leave --model out.",
        )
    return ModelEntry(name=f"{RANDOM}-{task.stand_in.name}", source=f"{RANDOM}:{task.name}")


def subject_of(spec: RunSpec, catalogue: Catalogue, entry: ModelEntry) -> Subject:
    """What a run asks of one model of its list.

    Raises:
        UnknownName: A mode that the model does not have, nor its pair.
        UsageError: A budget that is no number of tokens, a protocol without a mode for this model, or a pair where
            none can be measured.
    """
    if spec.other_task is not None:
        return Subject(entry=entry, reasoning=None, modes=FamilyReasoning(None).modes)
    mechanism = spec.preset.reasoning(entry.source, catalogue.mechanism(entry, spec.reasoning))
    family = FamilyReasoning(mechanism)
    if spec.mode is None:
        return Subject(entry=entry, reasoning=mechanism, modes=_default_modes(spec, entry, family))
    asked = canonical(spec.mode)
    if entry.pair and not spec.preset.is_published and not all(family.allows(mode) for mode in asked):
        return _pair(spec, catalogue, entry, mechanism, asked)
    hint = "" if entry.reasoning else " If its family is known, name it: --reasoning qwen3."
    whose = f"{entry.name} under {spec.protocol}" if spec.preset.is_published else entry.name
    for mode in asked:
        _require(family, mode, f" These are the modes of {whose}.{hint}")
    return Subject(entry=entry, reasoning=mechanism, modes=asked)


def askable_modes(catalogue: Catalogue, entry: ModelEntry) -> tuple[str, ...]:
    """What `--mode` may say of a model, or of it and its pair; `budget:N` stands for every budget."""
    families = [FamilyReasoning(catalogue.mechanism(entry))]
    if entry.pair is not None:
        halves = (entry, catalogue.entry(entry.pair))
        families = [FamilyReasoning(catalogue.mechanism(half) or NOT_THINKING) for half in halves]
    modes = canonical(mode for family in families for mode in family.modes)
    return (*modes, "budget:N") if any(family.takes_budgets for family in families) else modes


def _default_modes(spec: RunSpec, entry: ModelEntry, family: FamilyReasoning) -> tuple[str, ...]:
    """Those that the protocol names, else off and on where the model has both, else all that it has.

    Of the tasks, text generation is the one that thinks least, and reasoning is at least two.
    """
    if spec.task == "text-generation" and not spec.preset.is_published:
        return family.modes[:1]
    if spec.task == "reasoning" and len(family.modes) < 2:
        raise UsageError(
            f"{entry.name} is not known to be asked to think or not: its one mode is {family.modes[0]}.",
            "Choose a model that has both (`harness models`), or say how its family is asked: --reasoning qwen3.",
        )
    wanted = spec.preset.modes
    if wanted is None:
        return ("off", "on") if {"off", "on"} <= set(family.modes) else family.modes
    modes = tuple(mode for mode in wanted if mode in family.modes)
    if not modes:
        raise UsageError(
            f"{spec.protocol} measures the modes {', '.join(wanted)}, and {entry.name} has {', '.join(family.modes)}.",
            "Choose another model, or --protocol paired.",
        )
    return modes


def _pair(
    spec: RunSpec, catalogue: Catalogue, entry: ModelEntry, mechanism: ReasoningSpec | None, asked: tuple[str, ...]
) -> Subject:
    """The two checkpoints of an entry as one subject, each with the modes that are its own."""
    other = catalogue.entry(entry.pair or "")
    own, others = mechanism or NOT_THINKING, catalogue.mechanism(other) or NOT_THINKING
    family, other_family = FamilyReasoning(own), FamilyReasoning(others)
    mine = tuple(mode for mode in asked if family.allows(mode))
    theirs = tuple(mode for mode in asked if mode not in mine and other_family.allows(mode))
    for mode in asked:
        if mode not in (*mine, *theirs):
            halves = ((entry, family), (other, other_family))
            known = "; ".join(f"{half.name} has {', '.join(its.modes)}" for half, its in halves)
            _require(family if family.takes_budgets else other_family, mode, f" Of the pair, {known}.")
    if not mine or not theirs:
        alone = entry if mine else other
        its_own = ", ".join(FamilyReasoning(catalogue.mechanism(alone)).modes)
        raise UsageError(
            f"--mode {','.join(asked)}: {alone.name} alone would answer, so there is no pair to compare.",
            f"Compare both (--mode off,on), or measure one: --model {alone.name}, whose own modes are: {its_own}.",
        )
    if spec.batch_size is not None and not spec.two_phase:
        raise UsageError(
            f"--batch-size is not built for two checkpoints ({entry.name} and {other.name}).",
            "Leave it out, or measure each alone.",
        )
    if spec.two_phase:
        raise UsageError(
            f"--two-phase is not built for two checkpoints ({entry.name} and {other.name}).",
            "Leave it out, or measure each alone.",
        )
    return Subject(entry=entry, reasoning=own, modes=asked, pair=other, pair_reasoning=others, pair_modes=theirs)


def _require(family: FamilyReasoning, mode: str, elsewhere: str) -> None:
    """Refuse a mode that a family does not have, in its own words and with whose modes it names."""
    try:
        family.switch(mode)
    except UnknownName as error:
        error.next_step += elsewhere
        raise
