"""Measuring protocols by name: what each one fixes, whose it is, and what of it cannot be reproduced here.

The facts are in `assets/protocols.yaml`, whose head says what the fields mean. Knows nothing of models, runs or
machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import Field

from harness.errors import UnknownName
from harness.records import ModeSwitch, ReasoningSpec, Record, Sampling

PAIRED = "paired"
"""This program's own protocol, and the default."""

ANY_OTHER = "*"

Count = Annotated[int, Field(gt=0)]


class Preset(Record):
    """One protocol. What is None or empty is left to the run and the model."""

    name: str
    title: str
    revision: Count
    whose: str | None = Field(description="who published it; None: this program's own")
    source: tuple[str, ...]
    prompts: str | None
    num_prompts: Count | None
    modes: tuple[str, ...] | None
    max_new_tokens: Count | None
    caps: dict[str, Count]
    min_new_tokens: dict[str, Count]
    sampling: Sampling | None
    order: Literal["blocks", "stored"]
    warm_up: bool
    warm_up_theirs: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    batch_size_theirs: str | None
    renderings: dict[str, dict[str, ModeSwitch]]
    differences: tuple[str, ...]

    @property
    def is_published(self) -> bool:
        """Whether it is somebody else's."""
        return self.whose is not None

    @property
    def protocol(self) -> str:
        """What a cell says of it: the name and the revision, `paired-1`."""
        return f"{self.name}-{self.revision}"

    def cap(self, mode: str) -> int | None:
        """Most new tokens of a query in `mode`; None: the run decides."""
        return self.caps.get(mode, self.max_new_tokens)

    def reasoning(self, source: str, mechanism: ReasoningSpec | None) -> ReasoningSpec | None:
        """How a model is asked to think under this protocol.

        Args:
            source: The model's Hub id or path; its last part is looked at.
            mechanism: How its own family is asked; None: nothing is known of its thinking.

        Returns:
            The mechanism as it is, or with the modes that this protocol has, and no budgets.
        """
        name = source.rpartition("/")[2].lower()
        fitting = (modes for part, modes in self.renderings.items() if part == ANY_OTHER or part in name)
        rendering = next(fitting, None)
        if rendering is None:
            return mechanism
        return (mechanism or ReasoningSpec(modes=rendering)).model_copy(
            update={"modes": rendering, "budget_mode": None, "budget_end": None}
        )


@cache
def presets() -> Mapping[str, Preset]:
    """Every protocol by name, this program's own first."""
    entries = yaml.safe_load((files("harness") / "assets" / "protocols.yaml").read_text("utf-8"))
    return {name: Preset.model_validate({"name": name, **fields}) for name, fields in entries.items()}


def preset(name: str) -> Preset:
    """The protocol of that name; `NAME-REVISION` is it too, while that is the revision here.

    Raises:
        UnknownName: There is none, or it is at another revision by now.
    """
    for known in presets().values():
        if name in (known.name, known.protocol):
            return known
    raise UnknownName("protocol", name, presets(), " `harness protocols` says what each does.")
