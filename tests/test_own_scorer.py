"""The user's own scorer: `FILE.py:FUNCTION`."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import ScoringFailed, UsageError
from harness.records import Score
from harness.scoring.catalogue import scorer, scorer_identity

JUDGE = """
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Mark:
    value: bool | None


def right(answer: str, reference: str) -> bool | None:
    if answer == "boom":
        raise ValueError("no\\nsuch thing")
    if answer == "?":
        return None
    if answer == "number":
        return 1
    return Mark(answer == reference).value


def alone(answer): ...


def loud(answer, reference, *, volume): ...


number = 5
"""


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    path = tmp_path / "judge.py"
    path.write_text(JUDGE, "utf-8")
    return path


def test_its_verdict_counts(judge: Path) -> None:
    own = scorer(f"{judge}:right")
    assert own.score("a", "a") == Score(correct=True, extracted=None)
    assert own.score("a", "b") == Score(correct=False, extracted=None)
    assert own.score("", "") == Score(correct=True, extracted=None)


def test_its_identity_is_its_text_and_not_its_place(judge: Path, tmp_path: Path) -> None:
    digest = sha256(JUDGE.encode()).hexdigest()[:12]
    assert scorer_identity(f"{judge}:right") == f"judge.py:right sha256:{digest}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy = elsewhere / "judge.py"
    copy.write_text(JUDGE, "utf-8")
    assert scorer_identity(f"{copy}:right") == scorer_identity(f"{judge}:right")
    copy.write_text(JUDGE + "\n", "utf-8")
    assert scorer_identity(f"{copy}:right") != scorer_identity(f"{judge}:right")
    assert scorer_identity("numeric") == "numeric"


def test_what_is_hashed_is_what_is_executed(tmp_path: Path) -> None:
    """Two texts of one length within one tick of the file's clock: cached bytecode would be the first one's."""
    path = tmp_path / "flip.py"
    for verdict in (True, False, True):
        path.write_text(f"def right(answer, reference): return {verdict!s:>5}\n", "utf-8")
        assert scorer(f"{path}:right").score("", "").correct is verdict


def test_an_error_concerns_one_answer(judge: Path) -> None:
    own = scorer(f"{judge}:right")
    with pytest.raises(ScoringFailed, match=r"judge\.py:right: ValueError: no such thing$"):
        own.score("boom", "a")
    with pytest.raises(ScoringFailed, match="cannot say"):
        own.score("?", "a")
    assert own.score("a", "a").correct


def test_a_verdict_that_is_none_of_the_three_is_refused(judge: Path) -> None:
    with pytest.raises(UsageError, match="returned int"):
        scorer(f"{judge}:right").score("number", "a")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("judge.py:wrong", "no function 'wrong'"),
        ("judge.py:number", "no function 'number'"),
        ("judge.py:alone", "cannot be called with an answer and a reference"),
        ("judge.py:loud", "cannot be called with an answer and a reference"),
        ("nothing.py:right", "cannot be read: No such file"),
        ("broken.py:right", "cannot be executed: SyntaxError"),
        ("raises.py:right", "cannot be executed: ModuleNotFoundError: No module named 'judge'"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(judge: Path, name: str, part: str) -> None:
    (judge.parent / "broken.py").write_text("def right(", "utf-8")
    (judge.parent / "raises.py").write_text("import judge", "utf-8")
    for use in (scorer, scorer_identity):
        with pytest.raises(UsageError) as caught:
            use(f"{judge.parent / name}")
        assert part in str(caught.value)
        assert caught.value.next_step


@pytest.mark.parametrize("name", ["judge.py", "judge:right", "judge.py:", "judge.py:a b", "numerc"])
def test_another_form_is_an_unknown_name(name: str) -> None:
    for use in (scorer, scorer_identity):
        with pytest.raises(UsageError, match="Unknown scorer") as caught:
            use(name)
        assert "FILE.py:FUNCTION" in caught.value.next_step


@pytest.mark.parametrize(
    ("body", "words"),
    [("import sys; sys.exit(7)", "SystemExit: 7"), ("import time; time.sleep(60)", "took longer than 0.2 s")],
)
def test_a_function_can_neither_end_nor_hold_up_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    monkeypatch.setattr("harness.scoring.own.LONGEST_S", 0.2)
    path = tmp_path / "judge.py"
    path.write_text(f"def right(answer, reference):\n    {body}\n")
    judge = scorer(f"{path}:right")
    with pytest.raises(ScoringFailed, match=words):
        judge.score("4", "4")
    path.write_text("def right(answer, reference):\n    return answer == reference\n")
    assert scorer(f"{path}:right").score("4", "4").correct
