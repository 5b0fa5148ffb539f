r"""Is the number that an answer gives the right one?

Which number is the answer's: the last one in the last `\boxed{}`, or after the last `####`, or after the last
"The answer is" or "Answer:"; where nothing is marked so, the last number of the whole text. A number that is denied
("not 5") is passed over. After a phrase, a number that follows at once is taken ("Answer: 7 (3 + 4)"), unless a sum
begins there ("The answer is 3 + 4 = 7").

No number is taken, and the answer is wrong, where it is one of two different ones offered together ("5 or 6",
"5 to 6", "5-6", "5 and 6", "1 234"), where a sum was not done ("10 - 4"), and where it cannot be read for certain
(`number.py`). Numbers in words are not read, and units are not looked at: "5 million" is 5, "10 km" is 10.

When two numbers are equal:

- The reference is a whole number, or has one decimal: exactly equal in value (`7.0`, `14/2` and 7 are).
- It has two or more decimals: it is taken as rounded to them, and the answer may differ by half a unit of the last.
- It is a fraction whose decimals do not end (1/3): the answer may differ by one part in 10,000 (0.3333 is right,
  0.333 is not). Other fractions: exactly equal (3/4 and 0.75).
"""

from __future__ import annotations

import re
from fractions import Fraction

from harness.errors import UsageError
from harness.records import Score
from harness.scoring.final import marked
from harness.scoring.number import Number, numbers, plain

NEVER_ENDING_TOLERANCE = Fraction(1, 10_000)
"""Relative, for a reference such as 1/3: an answer with four significant digits is within it."""

OFFERED_TOGETHER = re.compile(
    r" |[*_$%\s]*(?:[^\W\d]+[*_\s]+)?or[*_$\s]*(?:maybe\s+|perhaps\s+)?"
    r"|[*_$%\s]*(?:to|and)[*_$\s]*|[*_$%\s]*[-+*/×÷~±][*_$\s]*",
    re.IGNORECASE,
)
LONGEST_BETWEEN = 40
"""Characters. Numbers further apart are not offered together; and the pattern is slow on thousands of blanks."""
DENIED = re.compile(r"(?:\bnot|n['’]t)\s+(?:be\s+|equal\s+to\s+)?[*_$\\({\s]*$", re.IGNORECASE)
AT_ONCE = re.compile(r"[*_$\\({\[\s≈~]*(?:[A-Za-z]\w?\s*=\s*)?[*_$\\({\[\s]*")
SUM_FOLLOWS = re.compile(r"[*_$%\s]*+(?:[A-Za-z]+\s*)?(?:[-+*/×÷=^]|(?<=\s)x)\s*[$(\\]?[0-9(]")


class Numeric:
    """Right: the answer's number equals the reference's, as the module says."""

    def score(self, answer: str, reference: str) -> Score:
        """Compare values, not spellings.

        Raises:
            UsageError: The reference is not one number.
        """
        wanted = reference_number(reference)
        given = answer_number(answer)
        if given is None or given.value is None or wanted.value is None:
            return Score(correct=False, extracted=None)
        close = abs(given.value - wanted.value) <= tolerance(wanted)
        return Score(correct=close, extracted=given.text)


def reference_number(reference: str) -> Number:
    """The number that a reference is.

    Raises:
        UsageError: It is not one number and nothing else.
    """
    text = plain(reference).strip()
    found = numbers(text)
    if len(found) == 1 and found[0].value is not None:
        rest = text[: found[0].start] + text[found[0].end :]
        if not rest.strip("% "):
            return found[0]
    raise UsageError(
        f"The reference {reference!r} is not one number.", "Correct it, or use the scorer `exact` or `contains`."
    )


def answer_number(answer: str) -> Number | None:
    """The number that an answer gives; None: none. Its value is None where it cannot be read for certain."""
    answer = plain(answer)
    mark = marked(answer)
    if mark is not None:
        at_once = None if mark.whole else _at_once(mark.text)
        given = at_once or _last(mark.text)
        if given is not None or mark.whole:
            return given
    return _last(answer)


def tolerance(wanted: Number) -> Fraction:
    """How far an answer may be from a reference."""
    if wanted.value is None:
        return Fraction(0)
    if wanted.decimals is None and _never_ends(wanted.value):
        return abs(wanted.value) * NEVER_ENDING_TOLERANCE
    if wanted.decimals is not None and wanted.decimals >= 2:
        return Fraction(1, 2 * 10**wanted.decimals)
    return Fraction(0)


def _last(text: str) -> Number | None:
    found = [number for number in numbers(text) if not DENIED.search(text[max(0, number.start - 24) : number.start])]
    if not found:
        return None
    last = found[-1]
    if len(found) > 1 and _together(text, found[-2], last):
        return None
    return last


def _at_once(text: str) -> Number | None:
    """The number that a phrase's text begins with."""
    found = numbers(text)
    start = AT_ONCE.match(text)
    if not found or start is None or start.end() < found[0].start or SUM_FOLLOWS.match(text, found[0].end):
        return None
    if len(found) > 1 and _together(text, found[0], found[1]):
        return None
    return found[0]


def _together(text: str, one: Number, other: Number) -> bool:
    between = text[one.end : other.start]
    return len(between) <= LONGEST_BETWEEN and one.value != other.value and bool(OFFERED_TOGETHER.fullmatch(between))


def _never_ends(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest != 1
