"""How one query of a task is run: made ready before the window, run inside it, read after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.engine.source import ModelSource
from harness.engine.task.stopwatch import Stopwatch
from harness.records import Finding, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which checkpoint is to be opened, and how. The values are those of the command line."""

    source: ModelSource
    revision: str
    device: str
    dtype: str = "auto"
    attention: str = "default"
    trust_remote_code: bool = False
    options: Mapping[str, int | float | str] = field(default_factory=dict)
    """Of the task, all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A query that is ready to be run: decoded, tokenized, resized, on the device."""

    inputs: Any
    rendered: str
    """What the model is given, in words that are equal where the input is: its text, or the sha256 of its file."""
    sizes: Mapping[str, int | float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came back. `sizes` are what only the answer tells, such as its tokens."""

    text: str
    """As a scorer reads it."""
    sizes: Mapping[str, int | float] = field(default_factory=dict)
    finish_reason: str = "stop"
    """`length` where the cap cut the answer."""
    findings: tuple[Finding, ...] = ()
    comparable: bool = True
    """False where it cannot be compared with the reference; the findings say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A loaded model and what it was before. `model` is a torch module, or a list of them as one."""

    model: Any
    weights_format: str = "safetensors"
    requested_precision: str | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    remote_code_commit: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    """How answers are generated, for the manifest: steps, guidance, beams."""


class Runner(Protocol):
    """One loaded model that does one task, one query at a time."""

    @property
    def opened(self) -> Opened:
        """The model."""
        ...

    @property
    def last_phase(self) -> str:
        """The name of the phase that lasts until the end."""
        ...

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:
        """Everything that can be done before the window opens.

        Raises:
            UnusableInput: The input is not what the task takes: a text as image, silence, an empty text.
        """
        ...

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:
        """The model's work and nothing else, in inference mode, its random numbers seeded; synchronized around it."""
        ...

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:
        """What `run` gave, as an answer."""
        ...
