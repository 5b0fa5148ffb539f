"""Everything that a table has to say of one run, mode by mode."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.errors import UnknownName
from harness.records import Estimate, ModeSummary, PairedCheckpoint, RunManifest, Summary
from harness.reference.aies import RELEASES, aies_rows
from harness.reference.ceiling import Ceiling, ceilings
from harness.reference.conditions import TEXT, Conditions, conditions_of, task_words
from harness.reference.matching import TOLERANCE, ReferenceMatch, estimates_of, matches
from harness.reference.mlenergy import mlenergy_rows
from harness.reference.rows import PublishedRow, Quantity
from harness.reference.stars import StarRating, star_rating

TableName = Literal["aies", "mlenergy"]


AIES_CAUTIONS = (
    "Its two releases share one leaderboard but not one method: 28.7 Wh for Phi-4 in v1, 18.4 for its successor in v2.",
    "Its reasoning rows are capped at 8,192 tokens and the others at 10, and thinking is never switched off.",
    "Its reasoning rows were measured on 10 prompts in one run, without a seed or an interval.",
    "Energy may be of idle GPUs beside the one that worked, or lack some that did; class C does not state how many.",
    "Its v1 configuration asks for random weights; 10 forced tokens should cost the same with them (inferred).",
)
AIES_TASK_CAUTIONS = (
    "Its rows of other tasks are of February 2025, and not all of them could be read.",
    "Its documentation asks for ten runs; the tool that was released does one, and no spread is published.",
    "Work on an input before the model's own (resizing, tokenizing) is in its figure, and not in a query here.",
    "Most of its v1 configurations ask for random weights, which cost the same where the work is fixed (inferred).",
)
MLENERGY_TASK_CAUTIONS = (
    "Where it published a cell twice, the two differ by 5 to 19 %.",
    "Rows of one image on several GPUs are left out of the list: how an image was spread over them is not stated.",
)
MLENERGY_CAUTIONS = (
    "No row of text is below batch 8: nothing here checks single queries, except for a ceiling.",
    "Its joules per request are joules per token times the mean length, not measured apart.",
    "Where it published a cell twice, the two differ by 5 to 19 %.",
    "Thinking and not thinking were measured on different prompts, caps and batches.",
)


TASK_CAUTIONS = {"aies": AIES_TASK_CAUTIONS, "mlenergy": MLENERGY_TASK_CAUTIONS}
"""Of runs of a task that is not text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A publisher's rows, and what to know before believing them."""

    name: str
    title: str
    rows: tuple[PublishedRow, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeReference:
    """One mode beside the table. `matches` have no difference; `others` are of the same model, nearest first.

    `of_task` is what was published of the task with one input at a time on one GPU, whatever the model, the least
    energy first; of text it is empty: there the rows are too many, and the model's own are what counts.
    """

    mode: str
    own: Conditions
    estimates: dict[Quantity, Estimate]
    matches: tuple[ReferenceMatch, ...]
    others: tuple[ReferenceMatch, ...]
    ceilings: tuple[Ceiling, ...]
    rating: StarRating | None
    sentence: str
    of_task: tuple[PublishedRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceReport:
    """A run beside one table."""

    table: Table
    modes: tuple[ModeReference, ...]
    tolerance: float


def table_named(name: str) -> Table:
    """A table by name.

    Raises:
        UnknownName: There is no such table.
    """
    if name == "aies":
        return Table(name=name, title="AI Energy Score", rows=aies_rows(), cautions=AIES_CAUTIONS)
    if name == "mlenergy":
        return Table(name=name, title="ML.ENERGY Benchmark", rows=mlenergy_rows(), cautions=MLENERGY_CAUTIONS)
    raise UnknownName("reference table", name, ("aies", "mlenergy"))


def reference_report(summary: Summary, manifest: RunManifest | None, table: TableName) -> ReferenceReport:
    """A run beside what was published.

    Args:
        summary: Of the cell at its site.
        manifest: Of one of its sessions; None: the board, its number and the executed precision stay unknown, and
            nothing that states them matches.
        table: `aies` or `mlenergy`.

    Raises:
        UnknownName: There is no such table.
    """
    published = table_named(table)
    if summary.cell.task is not None:
        has_rows = any(row.conditions.task == task_words(summary.cell.task) for row in published.rows)
        published = replace(published, cautions=TASK_CAUTIONS[published.name] if has_rows else ())
    modes = tuple(_mode(summary, manifest, published, mode) for mode in summary.modes)
    return ReferenceReport(table=published, modes=modes, tolerance=TOLERANCE)


def _mode(summary: Summary, manifest: RunManifest | None, table: Table, mode: ModeSummary) -> ModeReference:
    own = conditions_of(summary, manifest, mode.mode)
    estimates = estimates_of(mode, summary.cell.task)
    of_task = () if summary.cell.task is None else rows_of_task(table, own)
    found = matches(own, estimates, table.rows)
    alike = tuple(match for match in found if match.matches)
    return ModeReference(
        mode=mode.mode,
        own=own,
        estimates=estimates,
        matches=alike,
        others=tuple(match for match in found if not match.matches),
        ceilings=ceilings(own, estimates[Quantity.J_PER_OUTPUT_TOKEN], table.rows),
        rating=_rating(own, estimates, manifest, summary.cell.pair) if table.name == "aies" else None,
        sentence=_sentence(own, alike, found, table) + _of_task(own, of_task, table),
        of_task=of_task,
    )


def rows_of_task(table: Table, own: Conditions) -> tuple[PublishedRow, ...]:
    """What was published of a task with one input at a time on one GPU, the least energy first."""
    rows = [
        row
        for row in table.rows
        if row.sound
        and (row.conditions.task, row.conditions.batch_size, row.conditions.number_of_gpus) == (own.task, 1, 1)
    ]
    return tuple(sorted(rows, key=lambda row: next(iter(row.values.values()))))


def _of_task(own: Conditions, rows: Sequence[PublishedRow], table: Table) -> str:
    """What was published of a task at all, in a sentence; of text nothing is said."""
    if own.task == TEXT:
        return ""
    if not rows:
        return f" Of {own.task} no row of {table.title} could be read."
    least, most = rows[0], rows[-1]
    n_models = len({row.model for row in rows})
    if n_models == 1:
        return f" Of {own.task} it has one model, at one input at a time: {_published(least)}."
    return (
        f" Of {own.task} it has {n_models} models, at one input at a time: {_published(least)} to {_published(most)}."
    )


def _published(row: PublishedRow) -> str:
    quantity, value = next(iter(row.values.items()))
    return f"{value:,.4g} {quantity} ({row.model}, {row.conditions.gpu})"


def _rating(
    own: Conditions,
    estimates: dict[Quantity, Estimate],
    manifest: RunManifest | None,
    pair: PairedCheckpoint | None,
) -> StarRating:
    """By the release whose protocol the run followed, otherwise by the latest."""
    release = next((name for name, rule in RELEASES.items() if rule.protocol == own.protocol), list(RELEASES)[-1])
    of_pair = pair is not None and own.mode in pair.modes
    engine = None if manifest is None else manifest.engine_of_pair if of_pair else manifest.engine
    n_parameters = None if engine is None else engine.n_parameters
    return star_rating(own, estimates[Quantity.WH_PER_1000], release, n_parameters=n_parameters)


def _sentence(
    own: Conditions, alike: tuple[ReferenceMatch, ...], found: tuple[ReferenceMatch, ...], table: Table
) -> str:
    """The answer in short."""
    if alike:
        return " ".join(match.sentence for match in alike)
    if found:
        nearest = found[0]
        differing = "; ".join(str(each) for each in nearest.differences)
        rows = "row" if len(found) == 1 else "rows"
        count = f"{table.title} has {len(found)} {rows} of {own.model}"
        if not differing:
            return f"No matching row: {count}; the nearest is {nearest.row.status} ({nearest.row.note})."
        return f"No matching row: {count}; the nearest differs in {differing}."
    names = sorted({row.model for row in table.rows})
    near = difflib.get_close_matches(own.model or "", names, n=3, cutoff=0.75)
    hint = f" Names like it there: {', '.join(near)}." if near else ""
    return f"No matching row: {table.title} has none of {own.model}.{hint}"
