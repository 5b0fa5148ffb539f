"""A sweep from its plan to its last table: directory, executor, driver, and whoever watches."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness.errors import ExitCode
from harness.leaderboard import build, collect
from harness.leaderboard.index import store
from harness.leaderboard.view import view_of
from harness.report.leaderboard.page import render_leaderboard
from harness.report.sweep.outcomes import print_outcomes
from harness.report.sweep.references import CardRow, print_cards
from harness.report.terminal import Place
from harness.store.run_directory import writing
from harness.study import program
from harness.sweep.directory import SweepDirectory
from harness.sweep.driver import SweepResult, run
from harness.sweep.executors.local import LocalExecutor, slots_of
from harness.sweep.planning.forecast import estimates_of
from harness.sweep.planning.plan import Plan
from harness.sweep.planning.spec import frozen
from harness.sweep.references import cards_of
from harness.sweep.watch import Watch
from harness.sweep.weights import fetch_weights

if TYPE_CHECKING:
    from harness.protocols import Executor


def launch(
    console: Console,
    plan: Plan,
    path: Path,
    *,
    executor: str = "local",
    gpus: str | None = None,
    placement: Mapping[str, Any] | None = None,
    is_resumed: bool = False,
) -> ExitCode:
    """Measure what of a plan is not measured yet, and say how it went.

    Args:
        console: Where it is shown.
        plan: What is asked for.
        path: The sweep's directory; of a new one its wanted name.
        executor: local, ray or slurm.
        gpus: What the user said of this machine's boards.
        placement: What else the executor of a cluster is told: keywords of its own.
        is_resumed: Whether the directory is there; a plan that has changed is kept in it as another version.

    Raises:
        UsageError: A board that is not there, or another driver at this sweep.
        EnvironmentFault: Nothing can be begun.
    """
    if executor != "ray":  # whose nodes fetch what they need, and whose driver may have no room for all of it
        with chdir(plan.spec.working_dir or "."):
            fetch_weights(plan, lambda line: console.print(line, soft_wrap=True, markup=False))
    directory = SweepDirectory(path) if is_resumed else SweepDirectory.create(path, frozen(plan.spec))
    try:
        places, n_boards = _executor(executor, directory, plan, gpus, placement or {})
    except BaseException:
        if not is_resumed:
            shutil.rmtree(directory.path)  # nothing has begun, and `--resume latest` is to find the sweep before it
        raise
    on_gpus = executor != "local" or n_boards > 0
    estimates = estimates_of(plan, directory.path.parent, on_gpus=on_gpus, sweep=directory.path)
    console.print(f"Sweep: {directory.path}", soft_wrap=True, markup=False, highlight=False)
    with Watch(console, estimates=estimates, n_at_once=max(1, places.n_free)) as watch:
        result = run(
            directory,
            plan.cells,
            places,
            references=plan.references,
            n_boards=max(1, n_boards),
            retries=plan.spec.retries,
            observer=watch,
            plan=frozen(plan.spec),
        )
    _tell(console, directory, plan, result)
    return result.exit_code


def _executor(
    name: str, directory: SweepDirectory, plan: Plan, gpus: str | None, placement: Mapping[str, Any]
) -> tuple[Executor, int]:
    """Where cells run, and on how many boards as far as that is known here."""
    options: dict[str, Any] = {
        "working_dir": Path(plan.spec.working_dir or "."),
        "time_limit_s": plan.spec.time_limit_s,
        "cooldown_c": plan.spec.cooldown_c,
        **placement,
    }
    if name == "ray":
        from harness.sweep.executors.ray_cluster import RayExecutor

        cluster = RayExecutor(directory, **options)
        return cluster, cluster.n_free
    if name == "slurm":
        from harness.sweep.executors.slurm_jobs import SlurmExecutor

        return SlurmExecutor(directory, **options), 1
    slots = slots_of(gpus)
    return LocalExecutor(directory, slots, **options), sum(1 for slot in slots if slot)


def _tell(console: Console, directory: SweepDirectory, plan: Plan, result: SweepResult) -> None:
    cards = cards_of(directory.path, plan.references)
    if cards is not None:
        rows = [
            CardRow(
                name=card.name,
                uuids=card.uuids,
                per_query=card.per_query,
                drift=card.drift,
                over_first=card.over_first,
                is_off=card in cards.drifted,
            )
            for card in cards.cards
        ]
        print_cards(console, rows, in_seconds=cards.in_seconds)
    page = _write_leaderboard(directory.path)
    place = shlex.quote(os.path.relpath(directory.path))
    if result.exit_code is ExitCode.OK:
        following = f"{program()} leaderboard {place}"
    else:
        following = f"{program()} sweep --resume {place}"
    places = [Place(what="Leaderboard", path=str(page))] if page is not None else []
    print_outcomes(console, result.cells, result.outcomes, result.finished, places=places, next_command=following)


def _write_leaderboard(sweep: Path) -> Path | None:
    """The page that ranks a sweep's runs; None: nothing is measured yet."""
    page = sweep / "leaderboard.html"
    index = collect([sweep], page.with_suffix(".parquet"))
    if not index.n_cells:
        return None
    with writing(page):
        page.write_text(render_leaderboard(view_of(build(index))), encoding="utf-8")
        store(index, page.with_suffix(".parquet"))
    return page
