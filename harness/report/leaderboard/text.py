"""The top of each ranking, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from harness.report.leaderboard.view import LeaderboardView, RankingView
from harness.report.markdown import escaped
from harness.report.terminal import shown

N_RANKINGS, N_ROWS = 5, 5
N_REASONS, N_SENTENCES, N_PROBLEMS = 8, 8, 5
BRACKETS = "A rank in brackets: one run, so what a repeat would differ by is unknown (`--repeats 3`)."


def print_leaderboard(console: Console, view: LeaderboardView) -> None:
    """Print the best rows of the largest rankings, and what is not in any."""
    console.print(shown(view.headline, style="bold"))
    for ranking in view.rankings[:N_RANKINGS]:
        console.print()
        console.print(shown(f"{ranking.number}  {ranking.title}", style="bold"))
        console.print(shown(ranking.conditions, style="dim"))
        if ranking.alarm:
            console.print(shown(ranking.alarm, style="red"))
        console.print(_grid(ranking))
        if ranking.n_rows > N_ROWS:
            console.print(shown(f"   and {ranking.n_rows - N_ROWS:,} more", style="dim"))
    if any(line.rank.startswith("(") for ranking in view.rankings[:N_RANKINGS] for line in ranking.lines[:N_ROWS]):
        console.print(shown(BRACKETS, style="dim"))
    for title, lines in _sections(view):
        console.print()
        console.print(shown(title, style="bold"))
        for line in lines:
            console.print(shown(line))


def markdown_of(view: LeaderboardView) -> str:
    """The same as Markdown."""
    parts = [f"# {escaped(view.title)}", escaped(view.headline)]
    for ranking in view.rankings[:N_RANKINGS]:
        rows = [
            f"| {escaped(line.rank)} | {escaped(line.model)} | {escaped(line.energy)} | {escaped(line.interval)} "
            f"| {escaped(line.right)} |"
            for line in ranking.lines[:N_ROWS]
        ]
        more = f"\n\nand {ranking.n_rows - N_ROWS:,} more" if ranking.n_rows > N_ROWS else ""
        alarm = f"\n\n**{escaped(ranking.alarm)}**" if ranking.alarm else ""
        parts.append(
            f"## {ranking.number}. {escaped(ranking.title)}\n\n{escaped(ranking.conditions)}{alarm}\n\n"
            f"| rank | model | Wh per 1,000 queries | 95 % | {escaped(ranking.judged)} |\n|---:|:---|---:|---:|---:|\n"
            + "\n".join(rows)
            + more
        )
    if any(line.rank.startswith("(") for ranking in view.rankings[:N_RANKINGS] for line in ranking.lines[:N_ROWS]):
        parts.append(BRACKETS)
    parts += [
        f"## {escaped(title)}\n\n" + "\n".join(f"- {escaped(line.strip())}" for line in lines)
        for title, lines in _sections(view)
    ]
    return "\n\n".join(parts) + "\n"


def _grid(ranking: RankingView) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, header_style="dim")
    grid.add_column("", justify="right", no_wrap=True)
    grid.add_column("model", overflow="fold", ratio=1)
    grid.add_column("Wh per 1,000", justify="right", overflow="fold")
    grid.add_column(ranking.judged, justify="right", overflow="fold")
    for line in ranking.lines[:N_ROWS]:
        energy = shown(line.energy)
        if line.interval:
            energy.append("\n")
            energy.append_text(shown(line.interval, style="dim"))
        grid.add_row(shown(line.rank), shown(line.model), energy, shown(line.right))
    return grid


def _sections(view: LeaderboardView) -> Iterator[tuple[str, list[str]]]:
    left = len(view.rankings) - N_RANKINGS
    if left > 0:
        yield "Further rankings", [f"{left:,} more are on the page."]
    if view.generations:
        lines = [f"{one.model}, {one.subtitle}: {sentence}" for one in view.generations for sentence in one.sentences]
        yield "One model on several kinds of hardware", _most(lines, N_SENTENCES)
    if view.histories:
        yield "Over time", _most([f"{name}: {sentence}" for name, sentence in view.histories], N_SENTENCES)
    if view.unranked:
        n = sum(count for _, count in view.not_ranked)
        more = [f"and {n - len(view.unranked):,} more, on the page"] if n > len(view.unranked) else []
        yield "In no ranking", [*(f"{name}: {energy}" for name, energy in view.unranked), *more]
    if view.not_ranked:
        yield "Why not", _most([f"{count:>6,}  {reason}" for reason, count in view.not_ranked], N_REASONS)
    if view.problems:
        yield "Could not be read", _most([f"{path}: {problem}" for path, problem in view.problems], N_PROBLEMS)


def _most(lines: list[str], n: int) -> list[str]:
    return lines if len(lines) <= n else [*lines[:n], f"and {len(lines) - n:,} more, on the page"]
