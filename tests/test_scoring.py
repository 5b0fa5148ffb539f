"""What counts as right. Each table row is an answer as a model might give it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownName, UsageError
from harness.prompts.rows import is_number
from harness.records import Score
from harness.scoring.catalogue import SCORERS, scorer

NUMERIC = [  # answer, reference, correct, extracted
    ("42", "42", True, "42"),
    ("The total is 1,234.", "1234", True, "1,234"),
    ("1234", "1,234", True, "1234"),
    (r"1{,}234", "1234", True, "1,234"),
    ("1\u202f234 people", "1234", True, "1234"),
    ("1 234", "234", False, None),
    ("12,34,567", "1234567", True, "12,34,567"),
    ("She pays $5.00", "5", True, "$5.00"),
    (r"\$1{,}234.50", "1234.50", True, "$1,234.50"),
    ("-$5", "-5", True, "-$5"),
    ("$-5", "-5", True, "$-5"),
    ("€ 7", "7", True, "€ 7"),
    ("25%", "25", True, "25"),
    ("25%", "0.25", False, "25"),
    ("25", "25%", True, "25"),
    ("3/4", "0.75", True, "3/4"),
    ("0.75", "3/4", True, "0.75"),
    ("6/8", "3/4", True, "6/8"),
    (r"\frac{3}{4}", "3/4", True, "3/4"),
    (r"\boxed{-\dfrac{3}{4}}", "-0.75", True, "-3/4"),
    ("1 3/4 cups", "1.75", True, "1 3/4"),
    (r"1\frac{3}{4}", "1.75", True, "1 3/4"),
    ("0.3333", "1/3", True, "0.3333"),
    ("0.333", "1/3", False, "0.333"),
    ("0.7501", "3/4", False, "0.7501"),
    ("3.14159", "3.14", True, "3.14159"),
    ("3.146", "3.14", False, "3.146"),
    ("0.54", "0.5", False, "0.54"),
    ("7.0", "7", True, "7.0"),
    ("7.0000001", "7", False, "7.0000001"),
    ("x = -7.", "-7", True, "-7"),
    ("x = \u22127", "-7", True, "-7"),
    ("It is 7!", "7", True, "7"),
    ("10 km", "10", True, "10"),
    ("10km", "10", True, "10"),
    ("12 m^2", "12", True, "12"),
    ("2 litres of H2O", "2", True, "2"),
    ("1.5e3", "1500", True, "1.5e3"),
    (r"1.5 \times 10^{3}", "1500", True, "1.5 × 10^{3}"),
    (".5", "0.5", True, ".5"),
    ("2 + 3 = 5", "5", True, "5"),
    ("2 + 3 = 5\n#### 5", "5", True, "5"),
    ("**42**", "42", True, "42"),
    (r"So \(x = 5\).", "5", True, "5"),
    (r"\boxed{5 \text{ cm}} since 3 + 4", "5", True, "5"),
    (r"First \boxed{3}, no: \boxed{4}", "4", True, "4"),
    (r"The answer is 5. \boxed{5", "5", True, "5"),
    ("The answer is 42. I used 3 steps.", "42", True, "42"),
    ("Answer: 7 (because 3 + 4)", "7", True, "7"),
    ("**Answer:** 7", "7", True, "7"),
    ("The answer is 3 + 4 = 7", "7", True, "7"),
    ("The answer is 2 x 3 = 6", "6", True, "6"),
    ("The answer is 5. Wait, the answer is 6.", "6", True, "6"),
    ("The answer is:\n\n12", "12", True, "12"),
    ("The answer is not 5 but 7", "7", True, "7"),
    ("7, not 5", "7", True, "7"),
    ("It is not 5", "5", False, None),
    ("5 or 6", "6", False, None),
    ("5 or 6", "5", False, None),
    ("The answer is 5 or 6.", "5", False, None),
    ("5 apples or 6 apples", "6", False, None),
    (r"\boxed{5 or 6}", "6", False, None),
    ("between 5 and 6", "6", False, None),
    ("5-6", "6", False, None),
    ("5\u20136", "6", False, None),
    ("10 - 4", "4", False, None),
    ("10 - 4 = 6", "6", True, "6"),
    ("5 or 5.0", "5", True, "5.0"),
    ("3,5", "5", False, None),
    ("3,5", "3.5", False, None),
    ("1.234,56", "56", False, None),
    ("at 12:30", "30", False, None),
    ("version 1.2.3", "3", False, None),
    ("5/0", "5", False, None),
    ("3/4/2024", "2024", False, None),
    ("2^10", "10", False, None),
    ("10²", "10", False, None),
    ("9" * 5000, "9", False, None),
    ("1e999", "1", False, None),
    ("log_2", "2", False, None),
    ("seven", "7", False, None),
    (r"\boxed{seven} 7", "7", False, None),
    ("", "7", False, None),
    ("   \n", "7", False, None),
    ("0", "0", True, "0"),
    ("-0", "0", True, "-0"),
]

CHOICE = [
    ("B", "B", True, "B"),
    ("b", "B", True, "B"),
    ("(B)", "B", True, "B"),
    ("B.", "B", True, "B"),
    ("**B**", "B", True, "B"),
    ("**B.**", "B", True, "B"),
    (r"\boxed{B}", "B", True, "B"),
    (r"$\boxed{\text{B}}$", "B", True, "B"),
    (r"\boxed{(b)} and not A", "B", True, "B"),
    (r"\boxed{A or B}", "A", False, None),
    (r"A is wrong. \boxed{C", "A", False, None),
    ("#### D", "D", True, "D"),
    ("Answer: B", "B", True, "B"),
    ("**Answer:** (B)", "B", True, "B"),
    ("answer: **B**", "B", True, "B"),
    ("The answer is:\n\n**B**", "B", True, "B"),
    ("The correct answer is option B, Paris.", "B", True, "B"),
    ("The answer is A because A is a vowel.", "A", True, "A"),
    ("The answer is B, I think", "B", True, "B"),
    ("A looks right, but B fits. The answer is B.", "B", True, "B"),
    ("The answer is A. Wait. The answer is C.", "C", True, "C"),
    ("B) Paris", "B", True, "B"),
    ("B. Paris, because A is wrong", "B", True, "B"),
    ("A) Rome\nB) Paris", "A", False, None),
    ("A is right", "A", True, "A"),
    ("[B] Paris", "B", True, "B"),
    ("It must be C.", "C", True, "C"),
    ("I think it is (A)", "A", True, "A"),
    ("A dog chose D", "D", True, "D"),
    ("The answer is not A but C", "C", False, None),
    ("The answer is not A but C", "A", False, None),
    ("Not A", "A", False, None),
    ("It isn't B", "B", False, None),
    ("A or B", "A", False, None),
    ("The answer is A or B", "A", False, None),
    ("Answer: A/B", "B", False, None),
    ("Answer: A, B and C", "A", False, None),
    ("A, B", "A", False, None),
    ("AB", "A", False, None),
    ("Answer: BC", "B", False, None),
    ("A dog is an animal", "A", False, None),
    ("I do not know", "I", False, None),
    ("", "A", False, None),
]

EXACT = [
    ("Paris", "paris", True, "Paris"),
    (" Paris.\n", "Paris", True, "Paris."),
    ("**Paris**", "Paris", True, "**Paris**"),
    ("New   York", "new york", True, "New   York"),
    ("The answer is Paris.", "Paris", True, "Paris"),
    ("It is Paris", "Paris", False, "It is Paris"),
    (r"So \boxed{\frac{1}{2}}.", r"\frac{1}{2}", True, r"\frac{1}{2}"),
    (r"\boxed{ $x+1$ }", "x+1", True, "$x+1$"),
    (r"\boxed{1} then \boxed{2}", "1", False, "2"),
    (r"\boxed{\{1\}}", r"\{1\}", True, r"\{1\}"),
    ("1/2", "0.5", False, "1/2"),
    ("", "Paris", False, None),
]

CONTAINS = [
    ("It is Paris, of course", "paris", True, "paris"),
    ("Parisian", "Paris", False, None),
    ("not Paris", "Paris", True, "paris"),
    ("C++ it is", "C++", True, "c++"),
    ("", "Paris", False, None),
]

TABLE = [
    (name, *row)
    for name, rows in {"numeric": NUMERIC, "choice": CHOICE, "exact": EXACT, "contains": CONTAINS}.items()
    for row in rows
]


@pytest.mark.parametrize(("name", "answer", "reference", "correct", "extracted"), TABLE)
def test_what_counts_as_right(name: str, answer: str, reference: str, correct: bool, extracted: str | None) -> None:
    assert scorer(name).score(answer, reference) == Score(correct=correct, extracted=extracted)


def test_an_unknown_scorer_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName) as caught:
        scorer("numerical")
    assert "'numeric'" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("numeric", "seven"),
        ("numeric", ""),
        ("numeric", "5 or 6"),
        ("numeric", "5 km"),
        ("numeric", "5/0"),
        ("choice", "K"),
        ("choice", "b"),
        ("choice", ""),
        ("exact", " . "),
        ("contains", ""),
    ],
)
def test_a_reference_that_cannot_be_compared_with_is_refused(name: str, reference: str) -> None:
    with pytest.raises(UsageError):
        scorer(name).score("7", reference)


# `math` has tests of its own; what a detector or a similarity model answers is not any text.
PURE = sorted(set(SCORERS) - {"math", "detections", "similarity"})


@pytest.mark.parametrize("name", PURE)
@given(answer=st.text(alphabet=r"AB12/.,-$%*_ {}\()n^:#" + "\n", max_size=60))
def test_no_answer_breaks_a_scorer(name: str, answer: str) -> None:
    score = scorer(name).score(answer, "A" if name == "choice" else "1")
    assert score.extracted is not None or not score.correct


NOISE = (" ", "\n", "*", "_", "\\boxed{", "$", "#", "1", "1 ", "A ", "( ", "answer: ", "{", "1,", "-", "Answer: *")


@pytest.mark.timeout(30)  # a pattern that is more than linear takes minutes on these
@pytest.mark.parametrize("name", PURE)
@pytest.mark.parametrize("noise", NOISE)
def test_a_model_in_a_loop_can_be_scored(name: str, noise: str) -> None:
    answer = "The answer is 5" + noise * (30_000 // len(noise)) + "!"
    scorer(name).score(answer, "A" if name == "choice" else "1")


@given(st.integers(-(10**12), 10**12))
def test_an_integer_is_right_however_it_is_grouped(value: int) -> None:
    numeric = scorer("numeric")
    for spelling in (f"{value:,}", f"{value}.0", f"\\boxed{{{value}}}", f"#### {value}", f"The answer is {value}."):
        assert numeric.score(spelling, str(value)).correct
        assert not numeric.score(spelling, str(value + 1)).correct


@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=999))
def test_a_fraction_equals_itself_in_any_terms(value: Fraction) -> None:
    numeric = scorer("numeric")
    same = f"{value.numerator * 3}/{value.denominator * 3}"
    assert numeric.score(same, f"{value.numerator}/{value.denominator}").correct


@given(st.from_regex(r"[-+]?[$€]?[0-9]{1,6}(,[0-9]{3}){0,3}(\.[0-9]{1,4})?%?|-?[0-9]{1,4}/[0-9]{1,4}", fullmatch=True))
def test_a_reference_that_prompts_call_a_number_can_be_scored(reference: str) -> None:
    """The two stages do not import each other; this holds their grammars together."""
    if is_number(reference):
        assert scorer("numeric").score(reference, reference).correct
