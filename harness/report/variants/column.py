"""What is said of one variant: a column of the tables, a colour of the charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.records import Comparison, ModeSummary, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantColumn:
    """One variant. The first of several is what the others stand over, and has no comparisons."""

    name: str
    executed: str | None
    """The precision in which it ran, whatever was asked for; None: a server that does not say."""
    fallback: bool
    """Not the precision that was asked for."""
    summary: Summary
    """Of its first repeat."""
    modes: Mapping[str, ModeSummary]
    """Over all of its repeats."""
    comparisons: Mapping[str, Comparison]
    """Over the first variant, by mode."""
    differences: tuple[str, ...]
    refusal: str | None
    n_repeats: int
    forced: bool
    """Whether its output lengths were recorded before and forced."""

    @property
    def label(self) -> str:
        """Its name, and the precision in which it really ran."""
        executed = (self.executed or "unknown precision").replace(" (", ", ").replace(")", "")
        return f"{self.name} ({executed})"
