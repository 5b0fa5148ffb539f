"""Is each answer right? Judged again where its text and the reference are at hand.

Only by the scorers that ship with the program. A user's own scorer is code from nowhere, and is never executed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from harness.errors import EnvironmentFault, HarnessError, ScoringFailed
from harness.protocols import Reasoning, Scorer
from harness.reasoning.answer import answer_in
from harness.reasoning.switch import FamilyReasoning
from harness.records import Cell, FindingCode, LengthRecord, Output, Prompt, QueryRecord, Score
from harness.scoring.catalogue import SCORERS
from harness.verify.check import Check, Kind
from harness.verify.prompts import NO_TEXTS, AtHand
from harness.verify.stored import StoredCell, called

OWN_SCORER = "judged by a scorer of the user's own, and code from a bundle is never executed"
SCORER_COULD_NOT_SAY = "the scorer could not say, which may depend on the machine"
NO_ANSWER_FOUND = "the stored text does not show where the thinking ends"

_check = partial(Check, kind=Kind.SCORES)


def scores(stored: StoredCell, at_hand: AtHand) -> Iterator[Check]:
    """Every score of a cell."""
    judge = _Judge(cell=stored.cell)
    for record in chain[QueryRecord | LengthRecord](stored.queries, stored.lengths):
        if record.output is None:
            yield _check(where=called(record), figure="score", stored=_correct(record.score), again="none")
        elif at_hand.why_not:
            yield from _unchecked(record, at_hand.why_not)
        elif record.prompt_id in at_hand.prompts:  # otherwise it has been named
            yield from judge.judged(record, record.output, at_hand.prompts[record.prompt_id])


@dataclass(slots=True, kw_only=True)
class _Judge:
    """The scorers of one cell, made when they are first needed."""

    cell: Cell
    scorers: dict[str, Scorer | str] = field(default_factory=dict)
    """By name; words where it cannot be used here."""
    families: dict[str, Reasoning] = field(default_factory=dict)

    def judged(self, record: QueryRecord | LengthRecord, output: Output, prompt: Prompt) -> Iterator[Check]:
        """One answer once more."""
        where = called(record)
        name = self._name(prompt)
        if name is None:
            yield _check(where=where, figure="score", stored=_correct(record.score), again="none")
            return
        scorer = self._scorer(name)
        if isinstance(scorer, str):
            yield from _unchecked(record, scorer)
        elif output.text is None:
            yield from _unchecked(record, NO_TEXTS)
        elif any(finding.code is FindingCode.SCORER_FAILED for finding in record.findings):
            yield from _unchecked(record, SCORER_COULD_NOT_SAY)
        elif (answer := self._answer(record.mode, output)) is None:
            yield from _unchecked(record, NO_ANSWER_FOUND)
        else:
            try:
                again = scorer.score(answer, prompt.reference or "")
            except ScoringFailed:
                yield from _unchecked(record, SCORER_COULD_NOT_SAY)
                return
            except HarnessError as error:
                yield _check(where=where, figure="score", stored=_correct(record.score), again=str(error))
                return
            extracted = None if record.score is None else record.score.extracted
            yield _check(where=where, figure="score.correct", stored=_correct(record.score), again=_correct(again))
            yield _check(where=where, figure="score.extracted", stored=extracted, again=again.extracted)

    def _name(self, prompt: Prompt) -> str | None:
        """Who judges: the cell's scorer where there is a reference, else the prompt's own."""
        asked = self.cell.scorer
        if asked is None or (asked in SCORERS and prompt.reference is None):
            return prompt.scorer
        return asked

    def _scorer(self, name: str) -> Scorer | str:
        if name not in self.scorers:
            try:
                self.scorers[name] = SCORERS[name]() if name in SCORERS else OWN_SCORER
            except EnvironmentFault as error:
                self.scorers[name] = str(error)
        return self.scorers[name]

    def _answer(self, mode: str, output: Output) -> str | None:
        if mode not in self.families:
            pair = self.cell.pair
            of_pair = pair is not None and mode in pair.modes
            self.families[mode] = FamilyReasoning(pair.reasoning if of_pair and pair else self.cell.reasoning)
        thought = output.sizes.get("thinking_tokens", 0) > 0
        return answer_in(output.text or "", output.rendered_prompt or "", self.families[mode], thought=thought)


def _unchecked(record: QueryRecord | LengthRecord, why: str) -> Iterator[Check]:
    if record.score is not None:
        yield _check(where=called(record), figure="score", why_not=why)


def _correct(score: Score | None) -> str:
    return "none" if score is None else "right" if score.correct else "wrong"
