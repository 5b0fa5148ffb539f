"""Is each answer right? Judged again where its text and the reference are at hand.

Only by the scorers that ship with the program. A user's own scorer is code from nowhere, and is never executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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

VALUE_TOLERANCE = 1e-9
"""Relative: a score is made of a few words or boxes, which every machine counts alike."""
Values = Mapping[str, float | tuple[float, ...]]

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
        elif any(finding.code is FindingCode.LABEL_UNKNOWN for finding in record.findings):
            yield _check(where=where, figure="score", stored=_correct(record.score), again="none")
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
            yield from _values(where, {} if record.score is None else record.score.values, again.values)

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
        if self.cell.task is not None:
            return output.text
        if mode not in self.families:
            pair = self.cell.pair
            of_pair = pair is not None and mode in pair.modes
            self.families[mode] = FamilyReasoning(pair.reasoning if of_pair and pair else self.cell.reasoning)
        thought = output.sizes.get("thinking_tokens", 0) > 0
        return answer_in(output.text or "", output.rendered_prompt or "", self.families[mode], thought=thought)


def _unchecked(record: QueryRecord | LengthRecord, why: str) -> Iterator[Check]:
    if record.score is not None:
        yield _check(where=called(record), figure="score", why_not=why)


def _values(where: str, stored: Values, again: Values) -> Iterator[Check]:
    """Each value of a score; of a list the number that is furthest off."""
    for name in dict.fromkeys((*stored, *again)):
        one, other = stored.get(name), again.get(name)
        figure = f"score.values.{name}"
        if one and isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
            furthest = max(range(len(one)), key=[abs(a - b) for a, b in zip(one, other, strict=True)].__getitem__)
            yield _value(where, f"{figure}[{furthest}]", one[furthest], other[furthest])
        elif isinstance(one, tuple) or isinstance(other, tuple):
            yield _check(where=where, figure=figure, stored=json.dumps(one), again=json.dumps(other))
        else:
            yield _value(where, figure, one, other)


def _value(where: str, figure: str, stored: float | None, again: float | None) -> Check:
    return _check(where=where, figure=figure, stored=stored, again=again, relative_tolerance=VALUE_TOLERANCE)


def _correct(score: Score | None) -> str:
    if score is None:
        return "none"
    return "graded" if score.correct is None else "right" if score.correct else "wrong"
