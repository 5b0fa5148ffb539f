"""The scorer `math`: equal expressions however they are written, and what a hostile one may cost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import EnvironmentFault, ScoringFailed, UsageError
from harness.prompts.rows import Table, prompts_of
from harness.scoring.algebra_process import AlgebraProcess, Question
from harness.scoring.catalogue import scorer
from harness.scoring.equivalence import Equivalence

PATIENT_S = 120.0
"""No verdict depends on how busy the machine is."""


@pytest.fixture(scope="module")
def equivalence() -> Iterator[Equivalence]:
    found = Equivalence(AlgebraProcess(PATIENT_S))
    yield found
    found.process.close()


@pytest.fixture(scope="module")
def impatient() -> Iterator[Equivalence]:
    found = Equivalence(AlgebraProcess(0.5))
    yield found
    found.process.close()


EQUAL = [  # an answer's box, reference
    (r"\frac12", "1/2"),
    ("0.5", r"\frac{1}{2}"),
    (r"\frac{2}{4}", "0.5"),
    ("1+x", "x+1"),
    ("(x-1)(x+1)", "x^2-1"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"2\sqrt2", r"\sqrt{8}"),
    (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{3}}{3}"),
    (r"\{2,1\}", r"\{1,2\}"),
    ("-2, 1", "1,-2"),
    (r"x=1 \text{ or } x=-2", "1,-2"),
    (r"\pm 2", "2,-2"),
    ("( 3, \\pi/2 )", r"\left( 3, \frac{\pi}{2} \right)"),
    (r"0\le x<1", "[0,1)"),
    (r"(3,\infty)", "x>3"),
    ("x>3", r"(3,\infty)"),
    (r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"5\text{ cm}", "5"),
    ("5", r"5\text{ cm}"),
    ("42 apples", "42"),
    ("90", r"90^\circ"),
    ("50", r"50\%"),
    ("0.5", r"50\%"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("3+2x", "y=2x+3"),
    ("10,080", r"10,\!080"),
    ("32348", r"\$32,\!348"),
    ("1024", "2^{10}"),
    ("120", "5!"),
    ("1.8", r"1\frac{4}{5}"),
    ("0.333333", "1/3"),
    ("Evelyn", r"\text{Evelyn}"),
    ("June 20", r"\text{June 20}"),
    ("C", r"\text{(C)}"),
    (r"\emptyset", r"\{\}"),
]
UNEQUAL = [
    ("13", "12"),
    ("3", "-3"),
    ("y", "x"),
    ("(2,1)", "(1,2)"),
    ("(0,1)", "[0,1)"),
    ("2", "1,2"),
    ("1,2,3", "1,2"),
    (r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("4", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("0.333", "1/3"),
    ("50", "0.5"),
    (r"2\pi", "2"),
    ("100000001", "100000000"),
    ("1.0000001", "1"),
    ("y=1", "x=1"),
    ("neve", "even"),
    ("even", r"\text{odd}"),
    ("", "5"),
]


@pytest.mark.parametrize(("box", "reference"), EQUAL)
def test_equal_expressions_are_right(equivalence: Equivalence, box: str, reference: str) -> None:
    assert equivalence.score(rf"So it is \boxed{{{box}}}.", reference).correct
    assert equivalence.score(rf"So it is \boxed{{{reference}}}.", reference).correct


@pytest.mark.parametrize(("box", "reference"), UNEQUAL)
def test_other_expressions_are_wrong(equivalence: Equivalence, box: str, reference: str) -> None:
    assert not equivalence.score(rf"So it is \boxed{{{box}}}.", reference).correct


ANSWERS = [  # answer, reference, correct, extracted
    (r"First \boxed{3}, no: \boxed{4}", "4", True, "4"),
    ("3 + 4 = 7\n#### 7/2", "3.5", True, "7/2"),
    ("The answer is $x+1$.", "1+x", True, "x+1"),
    ("**Answer:** $7$", "7", True, "7"),
    ("The answer is:\n\n12", "12", True, "12"),
    ("The answer is x + 1", "1", False, "x + 1"),
    ("The answer is sqrt(3)/2", r"\frac{\sqrt{3}}{2}", True, r"\sqrt{3}/2"),
    ("The answer is 2pi.", r"2\pi", True, r"2\pi"),
    ("The answer is 3 or 4", "4", False, "3 , 4"),
    ("The answer is 5 apples", "5", True, "5"),
    ("It is not 5", "5", False, None),
    ("She pays $5 and $7, so $12.", "12", True, "$12"),
    ("The answers are $3$ and $4$.", "3,4", True, "3 and 4"),
    ("So $x=3$ and then $y = 4$.", "4", True, "y = 4"),
    (r"$$\frac{3}{4}$$", "0.75", True, r"\frac{3}{4}"),
    (r"\[ x + 1 \]", "1+x", True, "x + 1"),
    ("x = 1 or x = 2", "1,2", True, "x = 1 , x = 2"),
    ("No solution.", r"\text{no solution}", True, "No solution."),
    ("", "7", False, None),
]


@pytest.mark.parametrize(("answer", "reference", "correct", "extracted"), ANSWERS)
def test_which_expression_is_the_answer(
    equivalence: Equivalence, answer: str, reference: str, correct: bool, extracted: str | None
) -> None:
    score = equivalence.score(answer, reference)
    assert (score.correct, score.extracted) == (correct, extracted)


@pytest.mark.parametrize("reference", ["", " ", "$ $", r"\frac{1", "}1{"])
def test_a_reference_that_is_no_expression_is_refused(equivalence: Equivalence, reference: str) -> None:
    with pytest.raises(UsageError, match="not a mathematical expression"):
        equivalence.score("5", reference)


@given(reference=st.text(alphabet="{}\\12x", min_size=1, max_size=12).filter(lambda text: bool(text.strip())))
def test_a_reference_that_prompts_accept_is_not_refused(reference: str) -> None:
    """The two stages do not import each other; this holds their rules together."""
    row = {"text": "a", "answer": reference, "scorer": "math"}
    table = Table(origin="t", unit="line", rows=[(1, row)], columns=tuple(row))
    try:
        prompts_of(table)
    except UsageError:
        with pytest.raises(UsageError):
            Equivalence().score("", reference)
    else:
        Equivalence().score("", reference)


@settings(max_examples=40, deadline=None)
@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=999))
def test_a_fraction_equals_itself_in_any_terms_and_no_other(equivalence: Equivalence, value: Fraction) -> None:
    same = rf"\boxed{{\frac{{{value.numerator * 3}}}{{{value.denominator * 3}}}}}"
    other = rf"\boxed{{\frac{{{value.numerator + 1}}}{{{value.denominator}}}}}"
    assert equivalence.score(same, f"{value.numerator}/{value.denominator}").correct
    assert not equivalence.score(other, f"{value.numerator}/{value.denominator}").correct


HOSTILE = [
    *("{" * 5000, "(" * 10_000, "9" * 10_000, "1+" * 5000 + "1", "x" * 10_000, r"\boxed{" * 3000, "$" * 10_000),
    *("\x00", "\\", "&", "\N{SNOWMAN}", r"\frac{1}{0}", r"\begin{pmatrix}", r"\left(", "_^", "=" * 500, "\ud800"),
]


@pytest.mark.parametrize("noise", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("form", ["{}", "${}$", r"\boxed{{{}}}", "The answer is {}", "$1$ and ${}$"])
def test_no_answer_breaks_it(impatient: Equivalence, noise: str, form: str) -> None:
    """Wrong, or not comparable within the limit: nothing else."""
    with contextlib.suppress(ScoringFailed):
        assert not impatient.score(form.format(noise), "7").correct


def test_a_comparison_without_end_is_given_up_and_the_next_one_is_not_affected() -> None:
    equivalence = Equivalence(AlgebraProcess(0.5))
    with pytest.raises(ScoringFailed, match=r"9\^\{9.*took longer than 0.5 s"):
        equivalence.score(r"\boxed{9^{9^{9^9}}}", "5")
    equivalence = Equivalence(AlgebraProcess(PATIENT_S))
    assert equivalence.score(r"\boxed{\frac{10}{2}}", "5").correct


def question(answer: str) -> Question:
    return Question(reference="7", answer=answer, is_expression=True)


def test_the_child_is_kept_and_started_anew_when_it_was_lost() -> None:
    process = AlgebraProcess(PATIENT_S)
    assert process.ask(question("14/2")).correct
    first = process.pid
    assert not process.ask(question("8")).correct
    assert process.pid == first
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(ScoringFailed, match="ended it"):
        process.ask(question("14/2"))
    assert process.ask(question("14/2")).correct
    assert process.pid != first
    process.close()


def test_the_child_ends_with_its_owner() -> None:
    process = AlgebraProcess(PATIENT_S)
    process.ask(question("7.0"))
    pid = process.pid
    assert pid is not None
    del process
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_child_imports_no_engine() -> None:
    process = AlgebraProcess(PATIENT_S)
    process.ask(question("7.0"))
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    assert "libtorch" not in maps.read_text()
    process.close()


def test_without_the_library_the_way_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(EnvironmentFault, match="math-verify") as caught:
        scorer("math")
    assert "inference-energy-harness[math]" in caught.value.next_step


def test_the_child_imports_nothing_that_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    process = AlgebraProcess(PATIENT_S)
    assert process.ask(question("14/2")).correct
    process.close()
