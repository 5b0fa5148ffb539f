"""The page of a comparison: what is said first, then each cell in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.comparing.side import Side
from harness.publish import flying_of, shown_on_page
from harness.report.facts import command_of, facts_of
from harness.report.page import Lead, PageCell, render_page
from harness.store.run_directory import writing


def write_page(path: Path, sides: Sequence[Side], leads: Sequence[Lead]) -> None:
    """Write the page: what is said first, then each cell in full, its modes included.

    Raises:
        StorageFull: It cannot be written.
    """
    cells = []
    for side in sides:
        results = side.account.results
        shown = shown_on_page(results)
        cells.append(
            PageCell(
                summary=side.summary,
                queries=shown.queries,
                n_queries=shown.n_queries,
                facts=(*shown.facts, *facts_of(side.summary, side.manifest, results.sampler)),
                command=command_of(side.manifest),
                label=side.label if len(sides) > 1 else "",
                lengths=results.lengths,
                number=side.account.number,
                flying=[flying_of(load) for load in side.account.loads],
            )
        )
    title = " and ".join(dict.fromkeys(side.run.name for side in sides))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_page(cells, title=title, leads=leads), encoding="utf-8")
