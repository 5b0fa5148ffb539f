"""Prompts from a data set on the Hugging Face Hub, always at a commit.

    hub:ID[@REVISION][:COLUMN[:SPLIT[:CONFIGURATION]]]

`ID` is `owner/name` or `name`. `REVISION` is a branch, a tag or a commit (default `main`) and is resolved to a commit
before anything is read. `COLUMN` holds the prompts (default: found by its name). `SPLIT` defaults to the only one,
else `test`. `CONFIGURATION` defaults to the data set's own. A part may be left empty to reach the next:
`hub:openai/gsm8k::train:main`. For a task that takes images or sounds, `COLUMN` is theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self

from harness.errors import UsageError
from harness.prompts.huggingface import Hub, HuggingFace
from harness.prompts.inputs import task_prompts
from harness.prompts.named import NamedSet, named_prompts
from harness.prompts.rows import prompts_of
from harness.prompts.sets import ordered
from harness.records import InputColumns, PromptSet

PREFIX = "hub:"
GRAMMAR = "hub:ID[@REVISION][:COLUMN[:SPLIT[:CONFIGURATION]]]"
REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAddress:
    """Which rows of the Hub. None: the default that the module names."""

    repository: str
    revision: str = "main"
    column: str | None = None
    split: str | None = None
    configuration: str | None = None

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Read the grammar above.

        Raises:
            UsageError: It does not follow the grammar.
        """
        head, *rest = spec.removeprefix(PREFIX).split(":")
        repository, at, revision = head.partition("@")
        # ".." and leading dots are refused because the libraries also take directories where they take ids.
        harmless = REPOSITORY.fullmatch(repository) and ".." not in repository
        if not spec.startswith(PREFIX) or not harmless or len(rest) > 3 or (at and not revision):
            raise UsageError(f"{spec!r} is not a data set of the Hub.", f"Write `{GRAMMAR}`.")
        column, split, configuration = (part or None for part in [*rest, "", "", ""][:3])
        return cls(
            repository=repository,
            revision=revision or "main",
            column=column,
            split=split,
            configuration=configuration,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A data set of the Hub, free or named, for a task (None: a text is continued).

    `hub` is the client; tests put a local stand-in there.
    """

    name: str
    address: HubAddress
    named: NamedSet | None = None
    inputs: InputColumns | None = None
    hub: Hub = field(default_factory=HuggingFace)

    @classmethod
    def of_named(
        cls,
        name: str,
        named: NamedSet,
        revision: str = "main",
        hub: Hub | None = None,
        inputs: InputColumns | None = None,
    ) -> Self:
        """The source of one entry of `hub.yaml`."""
        address = HubAddress(
            repository=named.repository,
            revision=revision,
            column=named.main_column,
            split=named.split,
            configuration=named.configuration,
        )
        return cls(name=name, address=address, named=named, inputs=inputs, hub=hub or HuggingFace())

    def load(self, seed: int | None) -> PromptSet:
        """The whole split in the order that `seed` gives it; None: as it is stored.

        Raises:
            EnvironmentFault: The `hub` extra is not installed.
            ModelUnavailable: Unknown, gated or not reachable.
            UsageError: No such revision, configuration, split or column, a row that is not text, or no rows.
        """
        address = self.address
        snapshot = self.hub.resolve(address.repository, address.revision)
        whole = self.inputs is not None
        split, table = self.hub.read(snapshot, address.configuration, address.split, whole=whole)
        if self.named is not None:
            prompts = named_prompts(self.named, table, self.inputs)
        elif self.inputs is not None:
            prompts = task_prompts(table, self.inputs, address.column)
        else:
            prompts = prompts_of(table, address.column)
        parts = (address.column or "", split, address.configuration or "")
        source = f"{PREFIX}{address.repository}@{snapshot.commit}:{':'.join(parts)}".rstrip(":")
        return ordered(self.name, source, prompts, seed)
