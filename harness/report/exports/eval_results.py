"""A run as rows of the Hub's decentralised leaderboards, and the leaderboards that they are rows of.

    dataset/eval.yaml                        for the data set repository: a task, that is a leaderboard, per figure
    models/MODEL/.eval_results/NAME.yaml     for the model's repository: a row per task

A row has a place for a number, a date, a source and notes, and for nothing else: no unit, no interval, no direction. So
the unit is in the task's name, interval, boundary and method are in the notes, and only figures are given of which more
is better, because the format does not say which end of a table is its top. Rows of one task may be compared: its name
ends in a hash of everything that the leaderboard of this program wants to be equal. A token that proves an evaluation
(`verifyToken`) is given by who ran it and checked it; none is written here.

Source: github.com/huggingface/hub-docs, eval_results.yaml and docs/hub/eval-results.md at 242f4a1 (August 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from harness.errors import InvalidMeasurement, UsageError
from harness.records import ModeSummary, json_hash, slug
from harness.report.exports.cell import ExportMode, named_apart, rounded
from harness.report.exports.hub_card import SPLIT
from harness.report.exports.statement import sentence
from harness.report.numbers import ends_of, half_width, value_of
from harness.units import J_PER_WH

FRAMEWORK = "inference-energy-harness"
HEAD = """\
# Goes to the root of the data set repository {dataset}; add these tasks to an eval.yaml that is already there.
# The Hub takes only evaluation frameworks of its own list (huggingface.js, packages/tasks/src/eval.ts) and only
# data sets that its team allows as benchmarks: ask for both before you push.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A mode, and what has to be equal for another one to stand beside it, in words."""

    mode: ExportMode
    conditions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of which more is better. `of` gives it from a mode's summary; None: not known."""

    name: str
    words: str
    of: Callable[[ModeSummary], float | None]


def _per(amount: float, of: float | None) -> float | None:
    return amount / of if of else None


FIGURES = (
    Figure(
        name="queries_per_wh",
        words="queries answered per Wh",
        of=lambda mode: _per(1000.0, mode.energy_wh_per_1000.value),
    ),
    Figure(
        name="right_answers_per_wh",
        words="right answers per Wh of all queries",
        of=lambda mode: _per(J_PER_WH, mode.energy_per_correct_j.value),
    ),
)


def eval_result_files(ranked: Sequence[Ranked], dataset: str, bundle_sha256: str | None = None) -> dict[str, str]:
    """What to write, by path within a folder.

    Args:
        ranked: Modes of one run; the first of repeats.
        dataset: The data set repository, `OWNER/NAME`, that has or shall have the leaderboards.
        bundle_sha256: What stands for the evidence, for the notes; None: not said.

    Raises:
        UsageError: A model is not on the Hub, so there is no repository for its row.
        InvalidMeasurement: Energy was estimated or is not known: a row has no field to say so.
    """
    for each in ranked:
        _refuse(each.mode)
    names = named_apart([each.mode.stem for each in ranked])
    files = {
        f"models/{slug(each.mode.hub_name or '')}/.eval_results/{name}.yaml": _yaml(
            [_entry(each, figure, value, dataset, bundle_sha256) for figure, value in _known(each.mode)]
        )
        for name, each in zip(names, ranked, strict=True)
    }
    return {"dataset/eval.yaml": HEAD.format(dataset=dataset) + _yaml(_benchmark(ranked)), **files}


def _refuse(mode: ExportMode) -> None:
    summary = mode.cell.summary
    if mode.hub_name is None:
        raise UsageError(
            f"{mode.model} was not loaded from the Hub at a commit, so there is no repository for its row.",
            "Publish the model and measure it by its Hub name; `--format hub` publishes the run's own tables.",
        )
    if summary.estimated:
        raise InvalidMeasurement(
            f"The energy of {mode.model} is estimated, and a leaderboard's row has no field to say so.",
            "Measure on a machine with an NVIDIA GPU; `--format hub` says it in every column.",
        )
    if not list(_known(mode)):
        raise InvalidMeasurement(
            f"The energy of {mode.model}, mode {mode.mode}, is not known.",
            "`harness report` says why; `--mode` exports another mode.",
        )


def _of_size(mode: ModeSummary) -> Iterator[Figure]:
    """Of a task with a size of its own: how much of it a Wh is enough for."""
    for law in mode.size_laws[:1]:
        yield Figure(
            name=f"{law.size}_per_wh",
            words=f"how many times one {law.unit} per Wh",
            of=lambda mode: _per(J_PER_WH, mode.size_laws[0].energy_per_unit_j.value),
        )


def _known(mode: ExportMode) -> Iterator[tuple[Figure, float]]:
    for figure in (*FIGURES, *_of_size(mode.summary)):
        value = figure.of(mode.summary)
        if value is not None:
            yield figure, rounded(value)


def task_id(ranked: Ranked, figure: Figure) -> str:
    """Names the leaderboard: what people ask for first, a hash of all that is equal in its rows, figure and unit."""
    summary = ranked.mode.cell.summary
    board = next((board.name for board in ranked.mode.cell.boards), summary.headline.value)
    said = (summary.cell.prompt_set, summary.cell.protocol, summary.cell.task or ranked.mode.mode, board)
    return "-".join((*map(slug, said), json_hash(dict(ranked.conditions)), figure.name)).lower()


def _entry(ranked: Ranked, figure: Figure, value: float, dataset: str, bundle_sha256: str | None) -> dict[str, object]:
    cell = ranked.mode.cell
    return {
        "dataset": {"id": dataset, "task_id": task_id(ranked, figure)},
        "value": value,
        "date": cell.began_utc,
        "source": {
            "url": f"https://huggingface.co/datasets/{dataset}",
            "name": f"{FRAMEWORK} {cell.manifest.harness_version}, run {cell.summary.run_id}",
        },
        "notes": _notes(ranked.mode, bundle_sha256),
    }


def _notes(mode: ExportMode, bundle_sha256: str | None) -> str:
    """Boundary, method and interval of the energy behind the number, and of what exactly it is."""
    wh = mode.summary.energy_wh_per_1000
    parts = (
        ("reading", wh.half_width_reading),
        ("run to run", wh.half_width_runs),
        ("board's gain", wh.half_width_gain),
    )
    said = [
        sentence(mode),
        f"95 % half-widths in Wh: {', '.join(f'{name} {half_width(part)}' for name, part in parts)}.",
    ]
    correct = mode.summary.energy_per_correct_j
    if correct.value is not None:
        ends = ends_of(correct)
        said.append(f"{value_of(correct)} J per right answer{f' (95 % over prompts: {ends})' if ends else ''}.")
    executed = None if mode.engine is None else mode.engine.executed_precision
    boards = ", ".join(board.name for board in mode.cell.boards)
    said.append(f"{boards or mode.cell.manifest.site.cpu}, executed {executed or 'in an unknown precision'}.")
    said.append(f"Model revision {mode.revision}.")
    codes = sorted({finding.code.value for finding in mode.cell.summary.findings})
    said += [f"To know first: {', '.join(codes)}."] if codes else []
    said += [f"Evidence: bundle sha256 {bundle_sha256}, `harness verify`."] if bundle_sha256 else []
    return " ".join(said)


def _benchmark(ranked: Sequence[Ranked]) -> dict[str, object]:
    tasks: dict[str, str] = {}
    for each in ranked:
        equal = "; ".join(f"{label} {text}" for label, text in each.conditions.items())
        for figure, _ in _known(each.mode):
            tasks[task_id(each, figure)] = f"{figure.words}, more is better. Equal in all its rows: {equal}."
    return {
        "name": "Inference energy",
        "description": "\n".join(
            [
                "Energy of inference, measured query by query; how sure each figure is stands in its notes.",
                *(f"{name}: {words}" for name, words in tasks.items()),
            ]
        ),
        "evaluation_framework": FRAMEWORK,
        "tasks": [{"id": name, "config": "modes", "split": SPLIT} for name in tasks],
    }


def _yaml(content: object) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return text
