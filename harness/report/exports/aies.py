"""A run in the files of AI Energy Score's own tools (github.com/huggingface/AIEnergyScore, December 2025).

    master_results.csv                                  a row per model and reasoning state, their 21 columns
    individual_runs/MODEL_STATE/GPU_ENERGY_WH.txt       Wh of all queries together, not per 1,000
    individual_runs/MODEL_STATE/GPU_ENERGY_SUMMARY.json the same, by phase
    README.txt                                          what each figure means here

Their names are kept with their meanings, so that their readers read it; where theirs is not known here the cell is
empty (null in JSON), never 0. What differs from how they fill them: prefill and decode are measured apart, the time
to the first token is the prefill's, and a failed prompt's energy is not in the total of the others.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.measured import QueryFigures, devices_by_session, figures_of
from harness.analysis.serving.serving import load_words
from harness.errors import InvalidMeasurement
from harness.records import Boundary, Cell, slug
from harness.report.compared import not_as_called
from harness.report.exports.cell import ExportCell
from harness.report.exports.vocabulary import names_of, task_words
from harness.report.task.words import options_words
from harness.report.wording import models
from harness.units import J_PER_WH

COLUMNS = (
    "model_name",
    "model_class",
    "task",
    "reasoning_state",
    "total_prompts",
    "successful_prompts",
    "failed_prompts",
    "total_duration_seconds",
    "avg_total_time",
    "avg_time_to_first_token",
    "total_tokens",
    "total_prompt_tokens",
    "total_completion_tokens",
    "throughput_tokens_per_second",
    "gpu_energy_wh",
    "wh_per_1000_queries",
    "co2_emissions_g",
    "tokens_per_joule",
    "avg_energy_per_prompt_wh",
    "timestamp",
    "error_message",
)

COUNTS = frozenset({"total_tokens", "total_prompt_tokens", "total_completion_tokens"})
"""Their readers take these for integers."""

TASK = "text_gen"
"""Their name for text generation, with reasoning or without. Other tasks are called as their data sets are."""

EXPLANATION = """\
Measured by inference-energy-harness, written in the format of AI Energy Score's tools.

{terms}

gpu_energy_wh              gross energy of the GPU boards over the successful queries, in Wh; not above idle
successful_prompts         queries that were answered and whose energy is known; all other columns are of these
failed_prompts             the other queries; their energy is not in gpu_energy_wh
total_duration_seconds     sum of the queries' own durations, without the pauses between them
avg_time_to_first_token    {first_token}
throughput_tokens_per_second, tokens_per_joule
                           of prompt and completion tokens together, as AI Energy Score defines them: a long prompt
                           raises both. Joules per output token are in the run's own summary.json
{phases}
co2_emissions_g            empty: no carbon intensity is known here
error_message              empty unless the energy of no query is known

An empty cell or null is a figure that is not known. None is an estimate.

"""

OF_TEXT = {
    "terms": """\
Not every run here follows AI Energy Score's protocol: see "protocol" below. Only aies-v1 and aies-v2 do, and only on
an H100 are such figures comparable with those on their leaderboard.""",
    "first_token": "mean duration of the prefill, measured",
    "phases": """\
prefill_wh, decode_wh      split at the end of each query's prefill; together they are the total
preprocess_wh              null: the text is turned into tokens before a query's energy begins to count
model_class                empty: AI Energy Score assigns it by hand""",
}
OF_ANOTHER_TASK = {
    "terms": """\
No run here follows AI Energy Score's protocol: its figures of tasks other than text generation hold the work on an
input before the model's own, and are of 1,000 inputs of its own data sets on an H100.""",
    "first_token": "empty: this task has no prefill",
    "phases": """\
prefill_wh, decode_wh      null: this task has neither
preprocess_wh              null: an input is decoded, resized or turned into tokens before its energy begins to count
model_class                empty: AI Energy Score has classes of text generation only
reasoning_state            empty: this task has no thinking
task                       as AI Energy Score's data set for it is called""",
}
"""What the explanation says where the two kinds of tasks differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    """One mode's queries. `counted` have an answer and a known energy of the GPU boards."""

    cell: ExportCell
    name: str
    counted: Sequence[QueryFigures]
    n_queries: int

    @property
    def model(self) -> str:
        """The checkpoint that answered; a pair has two."""
        return self.cell.summary.cell.model_of(self.name)

    @property
    def task(self) -> str | None:
        """None: text generation."""
        return self.cell.summary.cell.task

    @property
    def state(self) -> str:
        """The mode as their tables spell it: On, Off; of a task without modes empty."""
        return self.name[:1].upper() + self.name[1:] if self.task is None else ""


def aies_files(cells: Sequence[ExportCell]) -> dict[str, str]:
    """What to write, by path within a folder.

    Raises:
        InvalidMeasurement: A cell's energy was estimated or is not of a GPU board, a mode is not what it is called, two
            are the same, or not all prompts were measured (two-phase). These files have no place to say so.
    """
    modes = [mode for cell in cells for mode in _modes(cell)]
    names: Counter[str] = Counter()
    files, described = {}, []
    for mode in modes:
        base = f"{slug(mode.model)}_{slug(mode.state or names_of(mode.task or '').theirs)}"
        names[base] += 1
        folder = base if names[base] == 1 else f"{base}_{names[base]}"
        energy_wh = _energy_wh(mode)
        if energy_wh is not None:
            files[f"individual_runs/{folder}/GPU_ENERGY_WH.txt"] = f"{_digits(energy_wh)}\n"
        files[f"individual_runs/{folder}/GPU_ENERGY_SUMMARY.json"] = json.dumps(_phases(mode), indent=2) + "\n"
        described.append(_description(mode, folder))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(mode) for mode in modes)
    return {**files, "master_results.csv": table.getvalue(), "README.txt": _readme(modes, described)}


def _readme(modes: Sequence[_Mode], described: Sequence[str]) -> str:
    of_text = all(mode.task is None for mode in modes)  # the cells of a run have one task
    return EXPLANATION.format(**(OF_TEXT if of_text else OF_ANOTHER_TASK)) + "\n".join(described) + "\n"


def _modes(cell: ExportCell) -> list[_Mode]:
    _refuse(cell)
    devices = devices_by_session(cell.queries, Boundary.GPU_BOARD)
    modes = []
    for name in cell.summary.cell.modes:
        queries = [query for query in cell.queries if query.mode == name]
        figures = [
            figures_of(query, Boundary.GPU_BOARD, devices[query.session])
            for query in queries
            if query.output is not None
        ]
        counted = [each for each in figures if each.energy_j is not None]
        if queries:
            modes.append(_Mode(cell=cell, name=name, counted=counted, n_queries=len(queries)))
    return modes


def _refuse(cell: ExportCell) -> None:
    summary = cell.summary
    name = models(summary.cell)
    boundaries = {reading.boundary for query in cell.queries for reading in query.readings}
    if summary.estimated:
        raise InvalidMeasurement(
            f"The energy of {name} is estimated, and AI Energy Score's files have no place to say so.",
            "Measure on a machine with an NVIDIA GPU; `harness doctor` says what can be read here.",
        )
    if Boundary.GPU_BOARD not in boundaries:
        raise InvalidMeasurement(
            f"The energy of {name} is not of a GPU board ({summary.headline.value}), which is all that AI Energy "
            f"Score counts.",
            "Measure on a machine with an NVIDIA GPU.",
        )
    if summary.cell.overlaps:
        raise InvalidMeasurement(
            f"The energy of {name} was shared among queries in flight together ({load_words(summary.cell)}), and AI "
            f"Energy Score's files have no place to say so.",
            "Export csv or parquet, which say so, or measure query by query.",
        )
    if summary.cell.lengths_batch_size is not None:
        raise InvalidMeasurement(
            f"Only some of the prompts of {name} were measured (two-phase), and they are no sample of all.",
            "Measure every prompt: leave `--two-phase` out.",
        )
    for mode, why in not_as_called(summary).items():
        raise InvalidMeasurement(
            f"The mode {mode} of {name} is not what it is called: {why[0].code.sentence}", why[0].code.next_step
        )


def _row(mode: _Mode) -> dict[str, str]:
    """One row; columns that are not in it are not known."""
    row = {
        "model_name": mode.model,
        "task": TASK if mode.task is None else names_of(mode.task).theirs,
        "reasoning_state": mode.state,
        "total_prompts": str(mode.n_queries),
        "successful_prompts": str(len(mode.counted)),
        "failed_prompts": str(mode.n_queries - len(mode.counted)),
        "timestamp": mode.cell.manifest.started_utc,
    }
    energy_wh = _energy_wh(mode)
    if energy_wh is None:
        return {**row, "error_message": "no query has a known energy"}
    n_queries = len(mode.counted)
    duration_s = math.fsum(each.duration_s for each in mode.counted)
    prefill_s = _total(each.phases_s.get("prefill") for each in mode.counted)
    n_prompt = _total(each.n_prompt_tokens for each in mode.counted)
    n_output = _total(each.n_output_tokens for each in mode.counted)
    n_tokens = None if n_prompt is None or n_output is None else n_prompt + n_output
    figures = {
        "total_duration_seconds": duration_s,
        "avg_total_time": duration_s / n_queries,
        "avg_time_to_first_token": None if prefill_s is None else prefill_s / n_queries,
        "total_tokens": n_tokens,
        "total_prompt_tokens": n_prompt,
        "total_completion_tokens": n_output,
        "throughput_tokens_per_second": _over(n_tokens, duration_s),
        "gpu_energy_wh": energy_wh,
        "wh_per_1000_queries": 1000 * energy_wh / n_queries,
        "tokens_per_joule": _over(n_tokens, energy_wh * J_PER_WH),
        "avg_energy_per_prompt_wh": energy_wh / n_queries,
    }
    known = {name: value for name, value in figures.items() if value is not None}
    return row | {name: f"{value:.0f}" if name in COUNTS else _digits(value) for name, value in known.items()}


def _phases(mode: _Mode) -> dict[str, object]:
    """Wh by phase; prefill and decode add up to the total, or neither is known."""
    energy_wh = _energy_wh(mode)
    prefill_j = _total(None if each.phases_j is None else each.phases_j.get("prefill") for each in mode.counted)
    prefill_wh = None if prefill_j is None else prefill_j / J_PER_WH
    return {
        "units": "Wh",
        "total": energy_wh,
        "format": "inference-energy-harness",
        "preprocess_wh": None,
        "prefill_wh": prefill_wh,
        "decode_wh": None if energy_wh is None or prefill_wh is None else energy_wh - prefill_wh,
        "preprocess_note": "null: the text is turned into tokens before a query's energy begins to count"
        if mode.task is None
        else "null: work on the input before the model's own is not in a query's energy",
    }


def _description(mode: _Mode, folder: str) -> str:
    summary = mode.cell.summary
    cell = summary.cell
    of_task = {"mode": mode.name} if mode.task is None else {"task": task_words(cell), "options": options_words(cell)}
    facts = {
        "model": f"{mode.model}, revision {_revision(cell, mode.name)}",
        "protocol": cell.protocol,
        **of_task,
        "prompts": f"{cell.prompt_set}, {mode.n_queries:,} asked, {len(mode.counted):,} in these figures",
        "token cap": f"{cell.cap(mode.name):,}" if cell.cap(mode.name) else "",
        "boards": ", ".join(board.name for board in mode.cell.boards) or "unknown",
        "method": summary.method.value,
        "run": f"{summary.run_id}, cell {cell.cell_id}, site {summary.site_id}",
    }
    return "\n".join([folder, *(f"  {label:<10} {text}" for label, text in facts.items() if text), ""])


def _revision(cell: Cell, mode: str) -> str:
    return cell.pair.revision if cell.pair is not None and mode in cell.pair.modes else cell.revision


def _energy_wh(mode: _Mode) -> float | None:
    energy_j = _total(each.energy_j for each in mode.counted)
    return None if energy_j is None else energy_j / J_PER_WH


def _total(values: Iterable[float | None]) -> float | None:
    """The sum; None where there is nothing to add or a part is not known."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return math.fsum(known) if known and len(known) == len(listed) else None


def _over(amount: float | None, of: float) -> float | None:
    return None if amount is None or of <= 0.0 else amount / of


def _digits(value: float) -> str:
    return f"{value:.9g}"
