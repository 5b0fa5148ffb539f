"""Scorers by name, and the user's own. A prompt names its scorer; None there means that it is not scored.

numeric, choice, exact, contains, math     those that ship with the package
label, detections                          is the class right; how well were a picture's objects found
words                                      how many words of a transcript are wrong
extractive, rouge, similarity              an answer out of a passage; a summary; how alike two sentences are
FILE.py:FUNCTION                           a function of the user's own (own.py)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.errors import UnknownName
from harness.protocols import Scorer
from harness.scoring.choice import Choice
from harness.scoring.detections import Detections
from harness.scoring.equivalence import Equivalence
from harness.scoring.exact import Contains, Exact
from harness.scoring.extractive import Extractive
from harness.scoring.label import Label
from harness.scoring.numeric import Numeric
from harness.scoring.own import OwnScorer, is_own
from harness.scoring.rouge import Rouge
from harness.scoring.similarity import Similarity
from harness.scoring.words import Words

SCORERS: Mapping[str, Callable[[], Scorer]] = MappingProxyType(
    {
        "numeric": Numeric,
        "choice": Choice,
        "exact": Exact,
        "contains": Contains,
        "math": Equivalence,
        "label": Label,
        "detections": Detections,
        "words": Words,
        "extractive": Extractive,
        "rouge": Rouge,
        "similarity": Similarity,
    }
)

ELSEWHERE = " Or a function of your own: FILE.py:FUNCTION."


def scorer(name: str) -> Scorer:
    """The scorer of that name, ready to be used.

    Raises:
        UnknownName: There is none.
        UsageError: The user's file or function cannot be used.
        EnvironmentFault: It needs a package that is not installed.
    """
    if is_own(name):
        return OwnScorer.load(name)
    if name not in SCORERS:
        raise UnknownName("scorer", name, SCORERS, ELSEWHERE)
    return SCORERS[name]()


def scorer_identity(name: str) -> str:
    """What a cell says of the scorer that was asked for: its name; for the user's own also what its file held.

    Returns:
        `numeric`, or `judge.py:right sha256:0123456789ab`. The file's folder is not in it: the same file judges
        alike wherever it lies.

    Raises:
        UnknownName: There is no such scorer.
        UsageError: The user's file or function cannot be used.
    """
    if is_own(name):
        return OwnScorer.load(name).identity
    if name not in SCORERS:
        raise UnknownName("scorer", name, SCORERS, ELSEWHERE)
    return name
