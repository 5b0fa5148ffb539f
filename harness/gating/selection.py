"""Which cell of a run a gate means: one model under one set of conditions at one site, with all its repeats.

Knows accounts. Must not know sides or figures.
"""

from __future__ import annotations

from harness.errors import UnknownName, UsageError
from harness.gating.named import NamedRun
from harness.publish import Account, accounts
from harness.report.compared import listed
from harness.report.wording import models


def repeats_of(run: NamedRun, site_id: str | None = None) -> list[Account]:
    """The repeats of the one cell at one site that a RUN means, first repeat first.

    Args:
        run: With a model, where it holds several.
        site_id: Of several sites, the one to take; None: there may be one only.

    Raises:
        UsageError: It holds several models, conditions or sites, or no finished query.
        UnknownName: It does not hold that model.
        SchemaError: Damaged, or written by a newer version.
    """
    measured = accounts(run.path)
    if not measured:
        raise UsageError(f"{run.path} holds no finished query.", f"Resume it: harness run --resume {run.path}")
    by_model: dict[str, list[Account]] = {}
    for account in measured:
        by_model.setdefault(models(account.summary.cell), []).append(account)
    if run.model is not None and run.model not in by_model:
        raise UnknownName("model", run.model, by_model, f" In run {run.path.name}.")
    if run.model is None and len(by_model) > 1:
        first = next(iter(by_model))
        raise UsageError(
            f"{run.path.name} holds {len(by_model)} models, and a gate judges one: {listed(list(by_model))}.",
            f"Name one: {run.path.name}:{first}",
        )
    of_model = by_model[run.model] if run.model is not None else next(iter(by_model.values()))
    cells: dict[str, list[Account]] = {}
    for account in of_model:
        cells.setdefault(account.summary.cell.model_copy(update={"repeat": 0}).cell_id, []).append(account)
    if len(cells) > 1:
        raise UsageError(
            f"{run.path.name} measured {models(of_model[0].summary.cell)} under {len(cells)} conditions: "
            f"{listed(list(cells))}. A gate judges one.",
            "Measure each in a run of its own.",
        )
    sites: dict[str, list[Account]] = {}
    for account in of_model:
        sites.setdefault(account.summary.site_id, []).append(account)
    if len(sites) > 1 and site_id not in sites:
        where = listed([f"{each} ({_boards_words(group[0])})" for each, group in sites.items()])
        raise UsageError(
            f"{run.path.name} was measured at {len(sites)} sites: {where}. A gate judges one.",
            "Measure it in one place, or name a copy of the run with that site's folders alone.",
        )
    group = sites[site_id] if site_id in sites else next(iter(sites.values()))
    return sorted(group, key=lambda account: account.summary.cell.repeat)


def _boards_words(account: Account) -> str:
    manifest = account.results.manifest
    return ", ".join(board.name for board in manifest.site.boards) if manifest and manifest.site.boards else "no board"
