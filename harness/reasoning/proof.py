"""Did the switch take effect? Judged by what models were given and what they wrote, never by the mode's name.

Knows a cell's modes, rendered prompts, and outputs as token counts and hashes. Must not know how either came about.

A fault makes every comparison with its mode, or between its two modes, invalid: the figures are true of something,
but not of what the modes are called. A doubt is said and leaves the figures standing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.reasoning.outputs import EMPTY_BLOCK_TOKENS, ModeOutput, ModeOutputs, as_outputs, shared
from harness.reasoning.switch import budget_end, budget_of, canonical
from harness.records import Cell, Finding, FindingCode, ReasoningSpec

TOLERATED_SHARE = 1 / 20
"""Queries of a mode that may break its promise before the mode is not what it is called: a single answer in which a
model falls back into its habit changes a mean little, and is said. One of ten may, below twenty."""
FORGIVEN_FROM = 10
"""Queries from which on one may: of fewer, one is most of what the mode wrote."""

FEWEST_ALIKE = 5
"""Shared prompts from which on identical outputs are no coincidence."""

FEWEST_TOLD_APART, SIGNIFICANT = 20, 0.05
"""Prompts and level of the sign test by which two lengths of thinking are told apart."""
N_EXACT = 1000
"""Prompts beyond which the binomial is added up as floating-point numbers: whole ones grow by a digit with each."""

__all__ = ["EMPTY_BLOCK_TOKENS", "Fault", "ModeOutput", "ModeThinking", "Proof", "check_switch", "sign_test"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding that makes comparisons invalid: those with its one mode, or the one between its two."""

    modes: frozenset[str]
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeThinking:
    """What one mode's outputs show of thinking."""

    mode: str
    n_outputs: int
    n_thought: int
    n_cut: int
    n_forced: int
    median_tokens: float

    def __str__(self) -> str:
        forced = f", {self.n_forced} ended at the budget" if self.n_forced else ""
        return f"{self.mode}: thinking in {self.n_thought} of {self.n_outputs} outputs{forced}, {_tokens(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What speaks for and against the switch."""

    faults: tuple[Fault, ...] = ()
    doubts: tuple[Finding, ...] = ()
    thinking: tuple[ModeThinking, ...] = ()
    """By mode, in canonical order; modes without outputs are left out."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything, faults first."""
        return (*(fault.finding for fault in self.faults), *self.doubts)

    def invalid(self, numerator: str, denominator: str) -> tuple[Finding, ...]:
        """Why these two modes must not be compared; empty: they may be."""
        return tuple(fault.finding for fault in self.faults if fault.modes <= {numerator, denominator})


def check_switch(
    cell: Cell,
    *,
    rendered: Mapping[str, Sequence[str]] | None = None,
    outputs: Mapping[str, Sequence[ModeOutput] | ModeOutputs] | None = None,
) -> Proof:
    """Prove the switch, as far as what is there goes: before a run from prompts alone, after it from its outputs.

    Args:
        cell: Its modes, how they are asked for, by which checkpoint, and their caps.
        rendered: By mode, what the model would be given for the same prompts in the same order.
        outputs: By mode, what the model wrote, all in columns or none. Failed queries are left out.
    """
    by_mode = as_outputs({mode: (outputs or {}).get(mode, ()) for mode in canonical(cell.modes)})
    faults = [*_same_prompts(cell, rendered or {}, by_mode)]
    doubts: list[Finding] = []
    for mode, written in by_mode.items():
        for finding, is_fault in _of_mode(cell, mode, written):
            if is_fault:
                faults.append(Fault(frozenset({mode}), finding))
            else:
                doubts.append(finding)
    faults += _same_outputs(cell, by_mode)
    doubts += _efforts_alike(by_mode, {fault.modes for fault in faults})
    return Proof(
        faults=tuple(faults),
        doubts=tuple(doubts),
        thinking=tuple(_thinking(mode, written) for mode, written in by_mode.items() if len(written)),
    )


def _thinking(mode: str, written: ModeOutputs) -> ModeThinking:
    return ModeThinking(
        mode=mode,
        n_outputs=len(written),
        n_thought=int(written.thought.sum()),
        n_cut=int(written.cut.sum()),
        n_forced=int(written.forced.sum()),
        median_tokens=float(np.median(written.thinking_tokens)),
    )


# ------------------------------------------------------------------------------------------ two modes


def _same_prompts(
    cell: Cell, rendered: Mapping[str, Sequence[str]], by_mode: Mapping[str, ModeOutputs]
) -> Iterator[Fault]:
    """Two modes with the same input, although nothing else tells them apart."""
    for first, second in combinations(by_mode, 2):
        if _told_apart_elsewhere(cell, first, second):
            continue
        before = list(zip(rendered.get(first, ()), rendered.get(second, ()), strict=False))
        one, other = shared(by_mode[first], by_mode[second])
        known = (one.rendered >= 0) & (other.rendered >= 0)
        n_pairs = len(before) + int(known.sum())
        alike = all(given == given_too for given, given_too in before)
        if n_pairs and alike and (one.rendered == other.rendered)[known].all():
            detail = f"{first} and {second}, {n_pairs} prompts"
            finding = Finding(code=FindingCode.SAME_PROMPT_IN_MODES, detail=detail)
            yield Fault(frozenset({first, second}), finding)


def _same_outputs(cell: Cell, by_mode: Mapping[str, ModeOutputs]) -> Iterator[Fault]:
    """Two modes of one checkpoint that wrote the same, word for word.

    Both modes of a prompt sample with the same seed, so this is what a switch without effect looks like. Where caps
    are unequal, a difference may be the cap's alone, and nothing follows either way.
    """
    for first, second in combinations(by_mode, 2):
        if _by_second(cell, first) != _by_second(cell, second) or cell.cap(first) != cell.cap(second):
            continue
        one, other = shared(by_mode[first], by_mode[second])
        known = (one.text >= 0) & (other.text >= 0)
        if known.sum() >= FEWEST_ALIKE and (one.text == other.text)[known].all():
            detail = f"{first} and {second}, {known.sum()} prompts"
            finding = Finding(code=FindingCode.SAME_OUTPUT_IN_MODES, detail=detail)
            yield Fault(frozenset({first, second}), finding)


def _efforts_alike(by_mode: Mapping[str, ModeOutputs], known: set[frozenset[str]]) -> Iterator[Finding]:
    """Efforts and budgets whose lengths of thinking a sign test over the shared prompts does not tell apart."""
    efforts = [mode for mode in by_mode if mode in ("low", "medium", "high", "on") or budget_of(mode) is not None]
    for first, second in combinations(efforts, 2):
        one, other = shared(by_mode[first], by_mode[second])
        if len(one) < FEWEST_TOLD_APART or frozenset({first, second}) in known:
            continue
        n_less = int((one.thinking_tokens < other.thinking_tokens).sum())
        n_more = int((one.thinking_tokens > other.thinking_tokens).sum())
        p_value = sign_test(n_less, n_more)
        if p_value > SIGNIFICANT:
            lengths = ", ".join(f"{mode} {_tokens(_thinking(mode, by_mode[mode]))}" for mode in (first, second))
            detail = f"{lengths}, {len(one)} prompts, p = {p_value:.2g}"
            yield Finding(code=FindingCode.EFFORT_NOT_SEEN, detail=detail)


def sign_test(n_less: int, n_more: int) -> float:
    """Two-sided exact p of the sign test: how often a fair coin is as lopsided as this. Ties are left out of both.

    W. J. Dixon and A. M. Mood, The statistical sign test, J. Am. Stat. Assoc. 41 (1946) 557-566.
    """
    n, n_fewer = n_less + n_more, min(n_less, n_more)
    if n > N_EXACT:
        places = np.arange(1, n_fewer + 1)
        logs = np.concatenate(([0.0], np.cumsum(np.log((n - places + 1) / places)))) - n * math.log(2)
        return min(1.0, 2 * float(np.exp(logs).sum()))
    tail = sum(math.comb(n, k) for k in range(n_fewer + 1))
    return min(1.0, float(2 * tail / 2**n))


# ------------------------------------------------------------------------------------------- one mode


def _of_mode(cell: Cell, mode: str, written: ModeOutputs) -> Iterator[tuple[Finding, bool]]:
    """What one mode's outputs say against its name, and whether that is a fault."""
    if not len(written):
        return
    if mode == "off":
        yield from _thought_in_off(mode, written)
    n_tokens = budget_of(mode)
    if n_tokens is not None:
        yield from _over_budget(cell, mode, n_tokens, written)
    if n_tokens is not None or mode in ("on", "medium", "high"):
        yield from _did_not_think(mode, written)


def _thought_in_off(mode: str, written: ModeOutputs) -> Iterator[tuple[Finding, bool]]:
    thoughts = written.thinking_tokens[written.thought]
    if len(thoughts):
        detail = f"{len(thoughts)} of {len(written)} queries in {mode}, up to {thoughts.max()} tokens"
        finding = Finding(code=FindingCode.THINKING_IN_OFF_MODE, detail=detail)
        yield finding, _too_many(len(thoughts), len(written))


def _did_not_think(mode: str, written: ModeOutputs) -> Iterator[tuple[Finding, bool]]:
    """An output that was cut may not have come to its thinking, so it speaks only where it shows some."""
    judged = written.at(written.thought | ~written.cut)
    n_thought = int(judged.thought.sum())
    if 2 * n_thought < len(judged):
        longest = judged.thinking_tokens.max()
        detail = f"{len(judged) - n_thought} of {len(judged)} queries in {mode}, at most {longest} tokens of thinking"
        yield Finding(code=FindingCode.NO_THINKING_IN_ON_MODE, detail=detail), n_thought == 0


def _over_budget(cell: Cell, mode: str, n_tokens: int, written: ModeOutputs) -> Iterator[tuple[Finding, bool]]:
    """A model may go on after the end that was forced and close its thinking once more, or open another one.

    The forced text has at most as many tokens as bytes.
    """
    spec = _spec(cell, mode)
    limit = n_tokens + (len(budget_end(spec).encode()) if spec else 0)
    over = written.thinking_tokens[written.thinking_tokens > limit]
    if len(over):
        detail = f"{len(over)} of {len(written)} queries in {mode}, up to {over.max()} tokens"
        yield Finding(code=FindingCode.BUDGET_NOT_HELD, detail=detail), _too_many(len(over), len(written))


def _too_many(n_broken: int, n: int) -> bool:
    """Whether a promise is broken so often that the mode is not what it is called."""
    return n_broken > max(float(n >= FORGIVEN_FROM), TOLERATED_SHARE * n)


# ------------------------------------------------------------------------------------ a cell's modes


def _by_second(cell: Cell, mode: str) -> bool:
    """Whether the second checkpoint of a pair answers in this mode."""
    return cell.pair is not None and mode in cell.pair.modes


def _spec(cell: Cell, mode: str) -> ReasoningSpec | None:
    return cell.pair.reasoning if cell.pair is not None and mode in cell.pair.modes else cell.reasoning


def _told_apart_elsewhere(cell: Cell, first: str, second: str) -> bool:
    """Whether two modes may well have the same input: they are two checkpoints, or one is cut short by force."""
    if _by_second(cell, first) != _by_second(cell, second):
        return True
    spec = _spec(cell, first)
    budgets = [budget_of(mode) is not None for mode in (first, second)]
    base = spec.budget_mode if spec else None
    return all(budgets) or (any(budgets) and base in (first, second))


def _tokens(thinking: ModeThinking) -> str:
    return f"median {thinking.median_tokens:g} tokens"
