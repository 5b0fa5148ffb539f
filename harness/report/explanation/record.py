"""What stands behind a figure: what it is, the numbers in it, where its interval comes from, the queries it is of.

The page and the terminal lay the same explanation out, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.report.wording import Doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one query puts into a figure. `name` is what to ask for to see the query itself."""

    name: str
    prompt_id: str
    mode: str
    amount: str
    share: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some of the queries, and why these."""

    title: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalPart:
    """One part of a figure's 95 % interval, as it is printed, and where it comes from."""

    label: str
    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One figure, explained. Every text is printed as it stands."""

    name: str
    title: str
    value: str
    words: str
    formula: tuple[str, ...] = ()
    parts: tuple[IntervalPart, ...] = ()
    rests_on: str = ""
    groups: tuple[Group, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    names_next: tuple[str, ...] = ()
    """What to ask for next: other figures, or queries."""


Make = Callable[[], Explanation]
"""A figure is explained when it is asked for."""
