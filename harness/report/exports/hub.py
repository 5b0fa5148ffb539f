"""A run as a data set of the Hugging Face Hub: three Parquet tables, and the card that says what they are.

    README.md                   the card; its head names the tables as configurations
    data/queries.parquet        a row per query, with texts where they may be published
    data/modes.parquet          a row per cell and mode
    data/comparisons.parquet    a row per cell and pair of modes; absent where nothing is compared

Three configurations and not three splits: their columns differ, and splits of one configuration share theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.report.exports.cell import ExportCell
from harness.report.exports.hub_card import Publication, Table, card
from harness.report.exports.hub_columns import table_of_frame, table_of_rows
from harness.report.exports.hub_comparisons import comparison_rows
from harness.report.exports.parquet import parquet_of_table
from harness.report.exports.rows import mode_rows

if TYPE_CHECKING:
    import pandas as pd


def hub_files(
    frame: pd.DataFrame, cells: Sequence[ExportCell], publication: Publication, mode: str | None = None
) -> dict[str, str | bytes]:
    """The folder, by path within it.

    Args:
        frame: The run's queries, as `load_results` gives them.
        cells: The same run's.
        publication: What is known of the data set beside the run.
        mode: Only this one; None: all.
    """
    chosen = frame if mode is None else frame[frame["mode"] == mode]
    tables = {
        "queries": table_of_frame(_with_texts(chosen, cells, is_withheld=bool(publication.withheld))),
        "modes": table_of_rows(mode_rows(cells, mode)),
        "comparisons": table_of_rows(comparison_rows(cells, mode)),
    }
    kept = {name: table for name, table in tables.items() if table.num_rows}
    described = [Table(name=name, n_rows=table.num_rows, columns=table.column_names) for name, table in kept.items()]
    text = card(cells, described, publication, mode)
    return {"README.md": text, **{f"data/{name}.parquet": parquet_of_table(table) for name, table in kept.items()}}


def _with_texts(frame: pd.DataFrame, cells: Sequence[ExportCell], *, is_withheld: bool) -> pd.DataFrame:
    """The frame with what each query was given and wrote, or with their hashes alone."""
    known = {
        (cell.summary.cell.cell_id, cell.summary.site_id, query.session, query.prompt_id, query.mode): query.output
        for cell in cells
        for query in cell.queries
    }
    keys = zip(*(frame[name] for name in ("cell_id", "site_id", "session", "prompt_id", "mode")), strict=True)
    outputs = [known.get(key) for key in keys]
    columns: dict[str, Any] = {
        "rendered_prompt_sha256": [None if each is None else each.rendered_prompt_sha256 for each in outputs],
        "text_sha256": [None if each is None else each.text_sha256 for each in outputs],
        "rendered_prompt": [None if each is None or is_withheld else each.rendered_prompt for each in outputs],
        "text": [None if each is None or is_withheld else each.text for each in outputs],
    }
    return frame.assign(**columns)
