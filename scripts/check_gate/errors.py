"""How often a gate passes or fails whose truth lies exactly on the limit: each may be as often as alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from check_statistics.tables import Table, percent

from check_gate.gates import ALPHA, Rates, budget, looking, rates
from check_gate.worlds import World

LOG_SDS = (0.3, 0.6, 0.9)
N_PROMPTS = (50, 100, 200)
RUN_SDS = (0.005, 0.01, 0.02)
LIMIT = 0.03
LOOKS = (3, 4, 6, 8, 12)
RELATIVE = {"metric": "energy_per_query_j", "at_most_over_reference": LIMIT}
ABSOLUTE = {"metric": "energy_per_query_j", "at_most": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One world, the lines it is judged by, and what is said of it."""

    words: Sequence[str]
    world: World
    lines: Sequence[Mapping[str, Any]]
    shared: Mapping[str, Any] = field(default_factory=dict)
    looks: Sequence[int] = ()


def relative(n_studies: int, seed: int, pool: Executor) -> Table:
    """The candidate is dearer by exactly what the line allows; one board, one job."""
    rows = [Row(words=_words(*each), world=_world(*each, ratio=1 + LIMIT), lines=[RELATIVE]) for each in _settings()]
    title = "A relative line, the truth exactly at its limit of +3 %"
    return _pivoted(title, rows, n_studies, seed, pool)


def absolute(n_studies: int, seed: int, pool: Executor) -> Table:
    """The candidate's mean is exactly the limit; its board's gain is drawn anew in every study."""
    rows = [Row(words=_words(*each), world=_world(*each), lines=[ABSOLUTE]) for each in _settings()]
    title = "An absolute line, the truth exactly at its limit, board gain (5 %) in it"
    return _pivoted(title, rows, n_studies, seed, pool)


def other_lines(n_studies: int, seed: int, pool: Executor) -> Table:
    """What else a line can be, each at its limit."""
    return _table(
        "Other lines, the truth exactly at the limit",
        ("line", "log sd", "prompts"),
        [*_others()],
        n_studies,
        seed,
        pool,
    )


def families(n_studies: int, seed: int, pool: Executor) -> Table:
    """Several independent lines, all exactly at their limits: how often the whole gate passes or fails."""
    rows = []
    for n_lines in (2, 4, 8):
        modes = tuple(f"mode-{index}" for index in range(n_lines))
        world = World(n=100, log_sd=0.6, run_sd=0.01, ratio=1 + LIMIT, modes=modes)
        rows.append(Row(words=[str(n_lines)], world=world, lines=[RELATIVE]))
    title = "Several independent relative lines, all exactly at their limits (log sd 0.6, 100 prompts, run sd 1 %)"
    return _table(title, ("lines",), rows, n_studies, seed, pool)


def looks(n_studies: int, seed: int, pool: Executor) -> Table:
    """A gate that looks after 3, 4, 6, 8 and 12 repeats and stops when it can say something."""
    rows = [
        Row(
            words=_words(log_sd, 100, run_sd),
            world=_world(log_sd, 100, run_sd, ratio=1 + LIMIT),
            lines=[RELATIVE],
            looks=LOOKS,
        )
        for log_sd in LOG_SDS
        for run_sd in RUN_SDS
    ]
    title = (
        "--until-decided (looks after 3, 4, 6, 8, 12 repeats), the truth exactly at the limit of +3 %, (mean repeats)"
    )
    return _pivoted(title, rows, n_studies, seed, pool)


def _settings() -> Iterator[tuple[float, int, float]]:
    for log_sd in LOG_SDS:
        for n in N_PROMPTS:
            for run_sd in RUN_SDS:
                yield log_sd, n, run_sd


def _words(log_sd: float, n: int, run_sd: float) -> list[str]:
    return [f"{log_sd}", str(n), percent(run_sd)]


def _world(log_sd: float, n: int, run_sd: float, **others: Any) -> World:
    return World(n=n, log_sd=log_sd, run_sd=run_sd, **others)


def _others() -> Iterator[Row]:
    """The rows of `other_lines`."""
    at = {"ratio": 1 + LIMIT}
    own_sensor = {**ABSOLUTE, "board_gain": False}
    correct, correct_most = (
        {"metric": "energy_per_correct_j", "at_most_over_reference": LIMIT},
        {"metric": "energy_per_correct_j"},
    )
    equivalent = {"metric": "energy_per_query_j", "equivalent": LIMIT}
    twins = {"correlation": 0.999}

    def row(what: str, world: World, line: Mapping[str, Any], **shared: Any) -> Row:
        return Row(words=[what, f"{world.log_sd}", str(world.n)], world=world, lines=[line], shared=shared)

    for log_sd in (0.3, 0.6, 0.9):
        yield row("equivalent: 3%, at +3 %", _world(log_sd, 200, 0.005, **at, **twins), equivalent)
        yield row("equivalent: 3%, at -3 %", _world(log_sd, 200, 0.005, ratio=1 - LIMIT, **twins), equivalent)
    for log_sd in (0.3, 0.9):
        yield row(
            "one run each, run_sd stated (1 %)", _world(log_sd, 100, 0.01, n_repeats=1, **at), RELATIVE, run_sd=0.01
        )
    for log_sd in (0.3, 0.6, 0.9):
        world = _world(log_sd, 100, 0.01, boards=("GPU-1", "GPU-2"), session_sd=0.01, together=False, **at)
        yield row("reference on another board, session_sd 1 %", world, RELATIVE, session_sd=0.01)
    for log_sd in (0.3, 0.6, 0.9):
        for n in (50, 200):
            world = _world(log_sd, n, 0.01, same_prompts=False, correlation=0.0, **at)
            yield row("other prompts on each side", world, RELATIVE, allow=("prompts",))
    for share in (0.2, 0.7):
        for log_sd in (0.3, 0.9):
            for n in (50, 200):
                world = _world(log_sd, n, 0.01, share_correct=share)
                words = f"{share:.0%} right"
                yield row(
                    f"joules per correct answer, +3 %, {words}",
                    _world(log_sd, n, 0.01, share_correct=share, **at),
                    correct,
                )
                yield row(
                    f"joules per correct answer, absolute, {words}", world, {**correct_most, "at_most": 1 / share}
                )
    for log_sd in (0.3, 0.6, 0.9):
        for n in (10, 19):
            yield row("few prompts, +3 %", _world(log_sd, n, 0.01, **at), RELATIVE)
            yield row("few prompts, board_gain: false", _world(log_sd, n, 0.01, boards=("", "")), own_sensor)
    # The board's gain is not in the truth of such a line, so it is not drawn: a gain of nothing on a board without one.
    for log_sd in (0.3, 0.6, 0.9):
        yield row("absolute, board_gain: false", _world(log_sd, 100, 0.01, boards=("", "")), own_sensor)


def _table(title: str, header: Sequence[str], rows: Sequence[Row], n_studies: int, seed: int, pool: Executor) -> Table:
    """Rates of every row."""
    found = _found(rows, n_studies, seed, pool)
    cells = [
        [*row.words, *(_marked(share, shares) for share in (shares.passed, shares.failed))]
        for row, (shares, _) in zip(rows, found, strict=True)
    ]
    return Table(f"{title} ({_counts(n_studies)})", (*header, "pass", "fail"), cells)


def _pivoted(title: str, rows: Sequence[Row], n_studies: int, seed: int, pool: Executor) -> Table:
    """Rates of every row, pass / fail, those that differ in the spread from run to run beside each other."""
    found = _found(rows, n_studies, seed, pool)
    cells: dict[tuple[str, ...], list[str]] = {}
    for row, (shares, repeats) in zip(rows, found, strict=True):
        shown = f"{_marked(shares.passed, shares)} / {_marked(shares.failed, shares)}"
        cells.setdefault(tuple(row.words[:2]), []).append(f"{shown} ({repeats:.1f})" if row.looks else shown)
    header = ("log sd", "prompts", *(f"run sd {percent(run_sd)}" for run_sd in RUN_SDS))
    return Table(
        f"{title}: pass / fail ({_counts(n_studies)})", header, [[*key, *shown] for key, shown in cells.items()]
    )


def _found(rows: Sequence[Row], n_studies: int, seed: int, pool: Executor) -> list[tuple[Rates, float]]:
    return list(pool.map(_rates, rows, [n_studies] * len(rows), [seed] * len(rows)))


def _marked(share: float, shares: Rates) -> str:
    """A share, marked where it is above alpha by more than three standard errors."""
    return percent(share) + ("*" if share > ALPHA + 3 * shares.error else "")


def _counts(n_studies: int) -> str:
    return f"{n_studies:,} gates each; * above 5 % by more than three standard errors"


def _rates(row: Row, n_studies: int, seed: int) -> tuple[Rates, float]:
    what = budget(*(dict(line) for line in row.lines), **row.shared)
    if row.looks:
        return looking(row.world, what, row.looks, n_studies, seed)
    return rates(row.world, what, n_studies, seed), float(row.world.n_repeats)
