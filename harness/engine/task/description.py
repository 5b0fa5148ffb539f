"""What a task is: its inputs, its data, how one query is run, what it returns, how it is judged, what its size is.

Must not import torch or transformers: the listing reads every description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records import InputColumns

if TYPE_CHECKING:
    from harness.engine.task.runner import Place, Runner

Options = Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A model of a real one's shape with random weights, for machines that cannot download any."""

    name: str
    """Of the real model whose shape it has: `whisper-tiny`."""
    write: Callable[[Path], None]
    """Puts it into an empty directory, as the Hub would have it: weights, configuration, tokenizer or processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task. Words in here are shown to the user as they are."""

    name: str
    """As `--task` takes it, and as the Hub calls it where it has a name for it."""
    title: str
    takes: str
    """A query's input: `a sound`."""
    returns: str
    """What comes back: `its words`."""
    inputs: InputColumns = field(default_factory=InputColumns)
    prompts: str
    """The set that ships with the package."""
    published: str | None = None
    """AI Energy Score's set for it, by its name in `assets/prompts/hub.yaml`; None: it has no such task."""
    metric: str
    """How good an answer is: `word error rate (jiwer)`; `none is claimed`."""
    sizes: tuple[str, ...]
    """What a query's size is measured in: keys of `Generation.sizes`."""
    model: str
    """The default: a small model of the Hub, or the embedded one."""
    loads: str
    """The class that loads a model for it: `AutoModelForSpeechSeq2Seq or AutoModelForCTC`."""
    phases: tuple[str, ...]
    max_new_tokens: int | None = None
    """The cap of an answer; None: it writes no tokens."""
    options: Options = field(default_factory=dict)
    """What a run may set (`--set task_options.steps=20`), with what it is otherwise."""
    extra: str | None = "tasks"
    """Of the package: what has to be installed for it."""
    imports: tuple[str, ...] = ()
    """Modules of that extra without which no query can be run: looked for before anything is loaded."""
    note: str = ""
    """What to know before comparing: what is inside a query and what is not."""
    open: Callable[[Place], Runner] | None = None
    """Loads a checkpoint; None: text that a language model continues, which the transformers engine does."""
    stand_in: StandIn | None = None

    @property
    def is_text_generation(self) -> bool:
        """Whether a language model continues text, with or without thinking."""
        return self.open is None
