"""The classes that a model tells apart, in its own words."""

from __future__ import annotations

from collections.abc import Sequence

from harness.labels import is_known
from harness.records import Finding, FindingCode

N_SHOWN = 5


class Classes:
    """Of a classifier or a detector, by the numbers that it gives them."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take them over, in the order of their numbers."""
        self.names = tuple(names)

    @classmethod
    def of(cls, config: object) -> Classes:
        """Those that a configuration of transformers names; a number that it leaves out has itself for a name."""
        own = {int(number): str(name) for number, name in getattr(config, "id2label", {}).items()}
        return cls([own.get(number, str(number)) for number in range(max(own, default=-1) + 1)])

    def __len__(self) -> int:
        """How many."""
        return len(self.names)

    def __getitem__(self, number: int) -> str:
        """The name of one."""
        return self.names[number]

    def doubts(self, wanted: Sequence[str], hint: str = "") -> tuple[Finding, ...]:
        """Why an answer cannot be compared with a reference: the model knows none of its labels.

        Args:
            wanted: Labels of the reference; empty: it has none, or there is no reference.
            hint: What may help, in brackets.
        """
        if not wanted or any(is_known(label, self.names) for label in wanted):
            return ()
        some = ", ".join(self.names[:N_SHOWN]) + (", ..." if len(self) > N_SHOWN else "")
        detail = f"{', '.join(wanted)} is not among {some}{hint}"
        return (Finding(code=FindingCode.LABEL_UNKNOWN, detail=detail),)
