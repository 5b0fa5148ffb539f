r"""Is the answer the same mathematical object as the reference, however it is written?

`\frac{1}{2}`, `1/2` and `0.5` are; `x+1` and `1+x`; `\{1, 2\}` and `2, 1`; `[0,1)` and `0 \le x < 1`; `5\text{ cm}`
and 5; `50\%`, 50 and 0.5 where the reference is a percentage. The comparison is the library math-verify's (0.9, Hugging
Face; sympy underneath), in a process of its own with a limit on time and memory (`algebra_process.py`).

What is compared, in this order:

1. The last box, or the text after the last `####`, or after the last "The answer is" (`final.py`).
2. Nothing is marked so: the whole answer if it is but an expression, else the formula that the library chooses among
   those between `$`, `\(` or `\[`.
3. Running text without formulas ("The answer is 5 apples"): its number, by the rules of the scorer `numeric`.

Of a text the last 2,000 characters are looked at; an expression of more than 500 is wrong. An answer that equals the
reference as text is right without asking further, and a reference in words ("Evelyn") is compared as text alone. The
library rounds decimals to six places, does not tell the list 1, 2 from `(1, 2)`, leaves the base of `25_8` out, takes
capital letters for small ones, and does not know that `\sqrt{-1}` is `i`. What it cannot read is wrong: accuracy is a
lower bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.util import find_spec

from harness.errors import EnvironmentFault, UsageError
from harness.records import Score
from harness.scoring.algebra_process import AlgebraProcess, Question
from harness.scoring.exact import normalised
from harness.scoring.final import marked
from harness.scoring.numeric import answer_number

LONGEST_TEXT, LONGEST_EXPRESSION = 2000, 500
"""Characters. A result stands at an answer's end, and is not longer; the time to parse grows with the square."""

FORMULA = re.compile(
    r"(?<!\\)\$\$[^$]+\$\$|(?<!\\)\$(?=\S)[^$]*(?<=[^\s\\])\$(?![0-9])|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL
)
"""By Pandoc's rule for single `$`: no space inside of them and no digit behind, so that $5 and $7 are prices."""
TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\s*\{([^{}]*)\}")
COMMAND = re.compile(r"\\(?:begin|end|operatorname)\{[A-Za-z*]+\}|\\[A-Za-z]+")
WORD_IN_FORMULA = re.compile(r"[A-Za-z]{4,}")
"""Up to three letters beside each other are taken for variables: xyz."""
WORD_IN_TEXT = re.compile(r"[A-Za-z]{2,}")
WORDS = re.compile(r"[A-Za-z ,.'’()-]+")
PLAIN_TO_LATEX = (
    (re.compile(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\A-Za-z])(pi|sqrt|sin|cos|tan|log|ln)(?![A-Za-z])"), r"\\\1"),
    (re.compile(r"\\text\s*\{\s*(?:or|and)\s*\}|(?<![\\A-Za-z])(?:or|and)(?![A-Za-z])"), ","),
)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Right: the answer's expression equals the reference's.

    Raises:
        EnvironmentFault: The library is not installed.
    """

    process: AlgebraProcess = field(default_factory=AlgebraProcess)

    def __post_init__(self) -> None:
        if find_spec("math_verify") is None:
            raise EnvironmentFault(
                "The scorer `math` needs the package math-verify.", "pip install 'inference-energy-harness[math]'."
            )

    def score(self, answer: str, reference: str) -> Score:
        """Compare values, not spellings.

        Raises:
            UsageError: The reference is not an expression.
            ScoringFailed: The comparison took too long, or the library raised an error.
        """
        wanted = _inside(reference)
        if not wanted or not _has_balanced_braces(wanted):
            raise UsageError(
                f"The reference {reference!r} is not a mathematical expression.", "Correct it, or use `exact`."
            )
        mark = marked(answer)
        text = (answer if mark is None else mark.text).strip()[-LONGEST_TEXT:]
        if _as_text(_inside(text)) == _as_text(wanted):
            return Score(correct=True, extracted=_inside(text))
        said = _expression(answer, text, boxed=mark is not None and mark.whole)
        several = said is None and FORMULA.search(_inside(text)) is not None
        if (said is None and not several) or _is_words(wanted):
            return Score(correct=False, extracted=said)
        found = self.process.ask(Question(reference=wanted, answer=said or text, is_expression=not several))
        return Score(correct=found.correct, extracted=said or found.extracted)


def _has_balanced_braces(text: str) -> bool:
    r"""Whether braces that LaTeX groups with are closed; `\{` and `\}` are not such."""
    depth = 0
    for brace in re.findall(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0


def _expression(answer: str, text: str, *, boxed: bool) -> str | None:
    """The one expression that an answer gives; None: none, or there are several formulas to choose from.

    Args:
        answer: All of it.
        text: What it marks as its result, or its end.
        boxed: The text is the result and nothing else.
    """
    if FORMULA.search(text):
        inside = _inside(text)
        return None if FORMULA.search(inside) or len(inside) > LONGEST_EXPRESSION else inside
    if len(text) <= LONGEST_EXPRESSION:
        latex = text if boxed else text.strip("*_ ").removesuffix(".")
        for pattern, replacement in PLAIN_TO_LATEX:
            latex = pattern.sub(replacement, latex)
        letters = COMMAND.sub(" ", TEXT_COMMAND.sub(" ", latex))
        if latex and not (WORD_IN_FORMULA if boxed else WORD_IN_TEXT).search(letters):
            return latex
        if _is_words(latex):
            return text
    number = answer_number(answer)
    return None if number is None or number.value is None else number.text


def _inside(text: str) -> str:
    """An expression without the signs that set it apart from text, where they are around all of it."""
    text = text.strip().removesuffix(".").strip("* ") if FORMULA.search(text) else text.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and opening not in inner:
            return inner.strip()
    return text


def _as_text(expression: str) -> str:
    return normalised(TEXT_COMMAND.sub(r"\1", expression))


def _is_words(expression: str) -> bool:
    text = TEXT_COMMAND.sub(r"\1", expression)
    return bool(WORDS.fullmatch(text)) and bool(WORD_IN_FORMULA.search(text))
