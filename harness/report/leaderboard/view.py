"""What a leaderboard shows, ready to be laid out: on its page, in a terminal, as Markdown. Figures are text here.

Knows nothing of runs or files. `data` is what the page's script sorts, filters and draws: columns, not rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedLine:
    """One row of a ranking. A rank in brackets is provisional: one run."""

    rank: str
    model: str
    energy: str
    """Wh per 1,000 queries."""
    interval: str
    right: str
    """Right answers in percent, or what `RankingView.judged` names; empty where nothing was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingView:
    """One ranking: what is equal in it, and its best rows."""

    number: int
    title: str
    conditions: str
    lines: tuple[RankedLine, ...]
    n_rows: int
    n_earlier: int
    alarm: str = ""
    """What must be said beside every figure of it."""
    judged: str = "right, %"
    """What the last figure of a line is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationView:
    """One model in one mode on several kinds of hardware."""

    model: str
    subtitle: str
    lines: tuple[tuple[str, str, str], ...]
    """Hardware, Wh per 1,000 queries with its interval, ratio over the least."""
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardView:
    """Everything a leaderboard says."""

    title: str
    headline: str
    rankings: tuple[RankingView, ...]
    unranked: tuple[tuple[str, str], ...]
    """Some of the rows in no ranking, and their Wh per 1,000 queries."""
    not_ranked: tuple[tuple[str, int], ...]
    """Reasons in words, without what is particular to one row, and how many rows each has."""
    generations: tuple[GenerationView, ...]
    n_generations_left_out: int
    histories: tuple[tuple[str, str], ...]
    """Model and ranking, and the sentence about its last run against its first."""
    problems: tuple[tuple[str, str], ...]
    """Path and what is wrong with it."""
    conditions: tuple[str, ...]
    """What must be equal in a ranking, in words."""
    n_queries_least: int
    quality: str = "accuracy"
    """What energy is set against: rows of other tasks than text generation have other figures of it."""
    data: Mapping[str, object]
