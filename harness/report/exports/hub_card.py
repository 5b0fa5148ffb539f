"""The card of a run that is published as a data set of the Hub: its head for machines, its body for people.

The head has only keys of the Hub's data set metadata (github.com/huggingface/hub-docs, datasetcard.md, August 2026).
The body says what was measured and how, what every column means, how sure it is, and how anybody can check it. Names
that come from elsewhere are escaped; findings are told without their details, which may quote an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from harness.analysis.serving.serving import load_words
from harness.records import Cell, Finding, ModeSummary, Summary
from harness.report.compared import not_as_called
from harness.report.exports.cell import ExportCell, hub_page
from harness.report.exports.hub_columns import column
from harness.report.exports.vocabulary import names_of, task_words, title_of
from harness.report.facts import facts_of
from harness.report.markdown import escaped, own_sentence
from harness.report.numbers import UNKNOWN, ends_of, half_width, value_of
from harness.report.task.quality import main_quality, metric_words
from harness.report.task.words import options_words
from harness.report.wording import doubts, joules_label

SPLIT = "results"
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
"""The Hub's words, each for ten times as many rows as the one before."""
FACTS = ("Energy", "Load", "Server and load", "Site", "Run")
"""What the page says too and a card may: no path, no address of the machine."""
PRIVATE = ("Address", "Started by", "Container")
PROJECT = "inference-energy-harness"

UNCERTAINTY = """\
Every 95 % interval has four parts, and they are kept apart:

- **prompts** (`_low`, `_high`): another sample of prompts from the same source would give another figure;
- **reading** (`_half_width_reading`): what the sensor's ticks leave open;
- **runs** (`_half_width_runs`): how far a repeat on the same machine lies away; null with one run, which means unknown;
- **gain** (`_half_width_gain`): the board's own systematic error. It is common to all figures of a board, no repetition
  removes it, and it cancels in a ratio of two modes on the same board.

What is not known is null, never 0. Energies are gross: idle power during a query is in them. Nothing beyond the stated
boundary is: no other part of the machine, no cooling, no building."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is known of a data set beside the run that it holds. None: not said, and left out.

    `withheld` says why texts of prompts and answers are not in it; empty: they are, as far as the run stored them.
    """

    dataset: str | None = None
    license: str | None = None
    bundle_sha256: str | None = None
    withheld: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One of the files, as the card speaks of it."""

    name: str
    n_rows: int
    columns: Sequence[str]


def card(
    cells: Sequence[ExportCell], tables: Sequence[Table], publication: Publication, mode: str | None = None
) -> str:
    """The whole `README.md`.

    Args:
        cells: Of one run.
        tables: What the data set holds; the first is what is loaded where nobody says which.
        publication: What is known of the data set.
        mode: The only mode that is in it; None: all.
    """
    head = yaml.safe_dump(_head(cells, tables, publication), sort_keys=False, allow_unicode=True, width=120)
    blocks = [
        f"# {escaped(_title(cells))}",
        _opening(cells),
        "## What was measured",
        *(block for cell in cells for block in _measured(cell, mode)),
        "## How uncertain it is",
        UNCERTAINTY,
        "## How far to trust it",
        *_trust(cells),
        "## How to verify it",
        *_verification(cells, publication),
        "## How to load it",
        _loading(tables, publication),
        "## What was withheld",
        _withheld(publication),
        *(block for table in tables for block in _schema(table)),
        "## How to cite it",
        _citation(cells, publication),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(blocks) + "\n"


def _head(cells: Sequence[ExportCell], tables: Sequence[Table], publication: Publication) -> dict[str, object]:
    n_most = max(table.n_rows for table in tables)
    configs = [
        {
            "config_name": table.name,
            **({"default": True} if position == 0 else {}),
            "data_files": [{"split": SPLIT, "path": f"data/{table.name}.parquet"}],
        }
        for position, table in enumerate(tables)
    ]
    kinds = ["estimated" if any(cell.summary.estimated for cell in cells) else "measured"]
    return {
        **({} if publication.license is None else {"license": publication.license}),
        "pretty_name": _title(cells),
        "size_categories": [SIZES[min(max(len(str(n_most)) - 3, 0), len(SIZES) - 1)]],
        "tags": ["energy", "inference-energy", "benchmark-results", *kinds, *_pipelines(cells), PROJECT],
        "configs": configs,
    }


def _pipelines(cells: Sequence[ExportCell]) -> list[str]:
    """Tasks by the Hub's names; of text generation none is given."""
    tasks = (cell.summary.cell.task for cell in cells)
    return list(dict.fromkeys(names_of(task).pipeline for task in tasks if task is not None))


def _title(cells: Sequence[ExportCell]) -> str:
    estimated = any(cell.summary.estimated for cell in cells)
    models = dict.fromkeys(cell.summary.cell.model_of(name) for cell in cells for name in cell.summary.cell.modes)
    return f"{'Estimated inference energy' if estimated else 'Inference energy'} of {', '.join(models)}"


def _opening(cells: Sequence[ExportCell]) -> str:
    first = cells[0]
    holds = "its tokens and whether its answer was right; beside it what each mode costs and how modes compare"
    if first.summary.cell.task is not None:
        holds = "its size and how its answer was judged; beside it what a query costs on average"
    text = (
        f"Every query of the run {escaped(first.summary.run_id)} of {escaped(first.began_utc)}, made with {PROJECT} "
        f"{escaped(first.manifest.harness_version)}: its energy, its time, {holds}."
    )
    if any(cell.summary.estimated for cell in cells):
        text += (
            " **Joules whose column says `estimated` are no measurement**: no sensor could be read, and they are a "
            "hardware model's power times the time."
        )
    return text


def _measured(cell: ExportCell, mode: str | None) -> Iterator[str]:
    summary, what = cell.summary, cell.summary.cell
    facts = [
        *([("Task", escaped(title_of(what)))] if what.task is not None else []),
        ("Model", ", ".join(_checkpoints(cell))),
        ("Executed by", escaped(f"{what.engine.name} on {what.engine.device}, {load_words(what)}")),
        ("Precision", escaped(_precision(cell))),
        ("Prompts", escaped(f"{what.prompt_set}, sha256 {what.prompt_set_sha256}")),
        ("Protocol", escaped(f"{what.protocol}, {_asked(what)}seed {what.seed}")),
        ("Repeat", f"{what.repeat + 1}"),
    ]
    known = {group.title: group.facts for group in facts_of(summary, cell.manifest)}
    facts += [
        (each.label, escaped(each.text))
        for title in FACTS
        for each in known.get(title, ())
        if each.label not in (*PRIVATE, "Load")
    ]
    yield f"### {escaped(what.cell_id)} at {escaped(summary.site_id)}"
    yield _grid(("", ""), facts)
    modes = [each for each in summary.modes if mode is None or each.mode == mode]
    unit = joules_label(summary, "Wh per 1,000 queries")
    named, judged = ("mode", "right answers") if what.task is None else ("task", "quality")
    head = (named, "queries", escaped(unit), "95 % over prompts", "reading", "runs", "gain", judged)
    yield _grid(head, [_figures(each, what) for each in modes])


def _asked(cell: Cell) -> str:
    """Under which limits and options."""
    options, cap = options_words(cell), cell.max_new_tokens
    parts = (f"at most {cap:,} new tokens" if cap else "", options)
    return "".join(f"{part}, " for part in parts if part)


def _checkpoints(cell: ExportCell) -> Iterator[str]:
    what = cell.summary.cell
    checkpoints = [(what.model, what.source, what.revision)]
    if what.pair is not None:
        checkpoints.append((what.pair.model, what.pair.source, what.pair.revision))
    for model, source, revision in checkpoints:
        page = hub_page(source, revision)
        name = escaped(model) if page is None else f"[{escaped(model)}]({page})"
        yield f"{name}, revision {escaped(revision)}"


def _precision(cell: ExportCell) -> str:
    what = cell.summary.cell
    asked = what.dtype if what.quantization in ("", "none") else f"{what.dtype}, {what.quantization}"
    engines = (cell.manifest.engine, cell.manifest.engine_of_pair)
    executed = dict.fromkeys(each.executed_precision or UNKNOWN for each in engines if each is not None)
    return f"asked for {asked}, executed {', '.join(executed)}"


def _figures(mode: ModeSummary, cell: Cell) -> tuple[str, ...]:
    energy = mode.energy_wh_per_1000
    parts = (energy.half_width_reading, energy.half_width_runs, energy.half_width_gain)
    scored = f"{mode.n_correct:,} of {mode.n_scored:,}" if mode.n_scored else "not judged"
    ends = ends_of(energy) or UNKNOWN
    name = mode.mode if cell.task is None else task_words(cell)
    if cell.task is not None:
        quality = main_quality(mode)
        scored = "not judged" if quality is None else f"{metric_words(quality.metric)} {value_of(quality.figure)}"
    return tuple(map(escaped, (name, f"{mode.n_queries:,}", value_of(energy), ends, *map(half_width, parts), scored)))


def _trust(cells: Sequence[ExportCell]) -> Iterator[str]:
    for cell in cells:
        for name, why in not_as_called(cell.summary).items():
            yield f"**The mode {escaped(name)} is not what it is called.** {_sentences(why)}"
        if cell.summary.cell.lengths_batch_size is not None:
            yield "**Two-phase:** the measured queries were chosen by their lengths and are no sample of all prompts."
        if cell.summary.cell.overlaps:
            yield "**Shared:** queries ran together, so a query's joules are a share by tokens, not measured alone."
    found = doubts([finding for cell in cells for finding in cell.summary.findings])
    if found:
        yield "To know before a figure is quoted (the column `findings` has these codes):"
        yield "\n".join(f"- `{doubt.code}`: {own_sentence(doubt.sentence)}" for doubt in found)
    else:
        yield "Nothing was found that would have to be said before a figure is quoted."
    yield (
        "Energies of different boards, boundaries or methods do not belong in one ranking without the gain of each; "
        "neither do those of different prompts, protocols or token caps."
    )


def _sentences(findings: Sequence[Finding]) -> str:
    return " ".join(own_sentence(finding.code.sentence) for finding in findings)


def _verification(cells: Sequence[ExportCell], publication: Publication) -> Iterator[str]:
    run_id = cells[0].summary.run_id
    yield (
        "These tables are derived. What they are derived from, the sensor's own readings and every query's record, is "
        "in the run's bundle. This recomputes every figure from it, without a GPU:"
    )
    yield _code("sh", f"pip install {PROJECT}\nharness verify {run_id}.zip")
    if publication.bundle_sha256 is None:
        yield "The digest of the bundle was not stated when this card was written; ask its author for the bundle."
    else:
        yield f"It has to print the bundle's digest, sha256 `{publication.bundle_sha256}`."


def _loading(tables: Sequence[Table], publication: Publication) -> str:
    name = publication.dataset or "OWNER/NAME"
    lines = [f'{table.name} = load_dataset("{name}", "{table.name}", split="{SPLIT}")' for table in tables]
    return _code("python", "\n".join(["from datasets import load_dataset", "", *lines]))


def _withheld(publication: Publication) -> str:
    if publication.withheld:
        return (
            f"The texts of prompts and answers, because {escaped(publication.withheld)}. Their sha256 are in `queries` "
            "as far as the run kept them, so whoever has the texts can tell that they are these."
        )
    return (
        "Nothing: `queries` has the texts of prompts and answers as far as the run stored them, and their sha256. "
        "References (the right answers) are not in it; they are the prompt set's."
    )


def _schema(table: Table) -> Iterator[str]:
    rows = "row" if table.n_rows == 1 else "rows"
    yield f"## The columns of `{table.name}` ({table.n_rows:,} {rows})"
    described = map(column, table.columns)
    yield _grid(
        ("column", "kind", "unit", "meaning"),
        [(f"`{each.name}`", each.kind.value, each.unit, own_sentence(each.meaning)) for each in described],
    )


def _citation(cells: Sequence[ExportCell], publication: Publication) -> str:
    summary: Summary = cells[0].summary
    digest = "" if publication.bundle_sha256 is None else f" Bundle sha256 {publication.bundle_sha256}."
    where = "" if publication.dataset is None else f" https://huggingface.co/datasets/{publication.dataset}."
    year = cells[0].began_utc[:4]
    return (
        f"> {escaped(_title(cells))}. Run {escaped(summary.run_id)}, {PROJECT} "
        f"{escaped(cells[0].manifest.harness_version)}, {escaped(year)}.{digest}{where}"
    )


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
