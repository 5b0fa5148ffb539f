"""Two checkpoints as one subject: who answers, and that never both are loaded."""

from __future__ import annotations

import pytest

from harness.clock import ManualClock
from harness.engine.paired import PairedEngine
from harness.engine.scripted import ScriptedEngine, Turn, steady
from harness.errors import ModelUnavailable, UnknownName, UsageError
from harness.protocols import Engine
from harness.reasoning.switch import FamilyReasoning
from harness.records import EngineFacts, Finding, FindingCode, ModeSwitch, Prompt, ReasoningSpec

PROMPT = Prompt(prompt_id="p", text="Hi")


class Named(ScriptedEngine):
    """A scripted engine that knows its name, and notes when it is loaded and closed."""

    def __init__(self, name: str, mode: str, log: list[str], *, broken: bool = False) -> None:
        turn = Turn(answer=name)
        super().__init__(
            clock=ManualClock(),
            reasoning=FamilyReasoning(ReasoningSpec(modes={mode: ModeSwitch()})),
            script=steady(turn, turn),
            doubts=(Finding(code=FindingCode.LIBRARY_WARNING, detail=name),),
        )
        self._name, self._log, self._broken = name, log, broken

    def load(self, mode: str | None = None) -> EngineFacts:
        if self._broken:
            raise ModelUnavailable("It is gone.", "Look for it.")
        self._log.append(f"load {self._name}")
        return super().load(mode)

    def close(self) -> None:
        self._log.append(f"close {self._name}")
        super().close()


def pair(log: list[str], *, broken: bool = False) -> Engine:
    return PairedEngine(Named("instruct", "off", log), Named("thinker", "on", log, broken=broken), ("on",))


def test_each_mode_is_answered_by_its_checkpoint_and_one_is_resident_at_a_time() -> None:
    log: list[str] = []
    engine = pair(log)
    assert not engine.ready("off")
    answers = []
    for mode in ("off", "on", "on", "off"):
        if not engine.ready(mode):
            engine.load(mode)
        answers.append(engine.generate(PROMPT, mode, 9, 0).answer)
        answers.append(engine.generate_batch([PROMPT], mode, 9, 0, batch_size=1)[0].answer)
    assert answers == ["instruct"] * 2 + ["thinker"] * 4 + ["instruct"] * 2
    assert log == ["load instruct", "close instruct", "load thinker", "close thinker", "load instruct"]
    engine.close()
    assert log[-1] == "close instruct"
    assert not engine.ready("off")


def test_without_a_mode_the_first_is_loaded() -> None:
    log: list[str] = []
    engine = pair(log)
    engine.load()
    assert log == ["load instruct"]
    assert engine.ready("off")
    assert not engine.ready("on")


def test_the_absent_checkpoint_neither_renders_nor_answers() -> None:
    engine = pair([])
    engine.load("off")
    assert "Hi" in engine.render(PROMPT, "off")
    for ask in (
        lambda: engine.render(PROMPT, "on"),
        lambda: engine.generate(PROMPT, "on", 9, 0),
        lambda: engine.generate_batch([PROMPT], "on", 9, 0, batch_size=1),
    ):
        with pytest.raises(UsageError, match="'on' is not loaded"):
            ask()


def test_an_unknown_mode_is_refused_by_name() -> None:
    engine = pair([])
    engine.load()
    with pytest.raises(UnknownName):
        engine.generate(PROMPT, "medium", 9, 0)


def test_where_the_second_cannot_be_loaded_nothing_is_resident() -> None:
    log: list[str] = []
    engine = pair(log, broken=True)
    engine.load("off")
    with pytest.raises(ModelUnavailable):
        engine.load("on")
    assert log == ["load instruct", "close instruct"]
    assert not engine.ready("off")
    assert not engine.ready("on")


def test_both_are_listened_to() -> None:
    assert [finding.detail for finding in pair([]).warnings()] == ["instruct", "thinker"]
