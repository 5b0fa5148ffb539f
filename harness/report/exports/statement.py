"""What must be said beside an energy that stands alone in a foreign field: per what, how sure, of what, and how found.

The properties of SPDX and CycloneDX documents carry it under the prefix `harness:`. Values are text; units are in the
names; what is not known has no property.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.serving.serving import is_under_load, load_words
from harness.records import Estimate
from harness.report.exports.cell import ExportMode, rounded
from harness.report.exports.vocabulary import task_words
from harness.report.numbers import UNKNOWN, ends_of, value_of
from harness.report.task.quality import main_quality, metric_words
from harness.report.task.words import options_words
from harness.report.wording import BOUNDARY, METHOD, SHARED, energy_source, estimated_words

PER = "1,000 queries"
"""What one exported number is the energy of: a model's, and not of however many queries happened to be asked."""
PREFIX = "harness:"
WH_PER_KWH = 1000.0


def energy_kwh_per_1000(mode: ExportMode) -> Estimate:
    """Kilowatt-hours per 1,000 queries, with the parts of the interval."""
    wh = mode.summary.energy_wh_per_1000
    parts = {name: getattr(wh, name) for name in type(wh).model_fields if name != "findings"}
    return Estimate(
        findings=wh.findings,
        **{name: None if value is None else rounded(value / WH_PER_KWH) for name, value in parts.items()},
    )


def sentence(mode: ExportMode) -> str:
    """The energy in words, for a field that people read."""
    summary, wh = mode.cell.summary, mode.summary.energy_wh_per_1000
    ends = ends_of(wh)
    interval = f" (95 % over prompts: {ends})" if ends else ""
    value = UNKNOWN if wh.value is None else f"{value_of(wh)} Wh per {PER}{interval}"
    cell, n = summary.cell, len(mode.counted)
    what = f"mode {mode.mode}" if cell.task is None else task_words(cell)
    conditions = [
        f"{n:,} {'query' if n == 1 else 'queries'} of {cell.prompt_set}",
        f"protocol {cell.protocol}",
        options_words(cell),
        f"at most {cap:,} new tokens" if (cap := cell.cap(mode.mode)) else "",
        load_words(cell) if is_under_load(cell) else "batch size 1",
    ]
    return (
        f"Inference energy, {what}: {value}; {energy_source(summary)}. {', '.join(filter(None, conditions))}."
        f"{_quality_sentence(mode)}"
    )


def _quality_sentence(mode: ExportMode) -> str:
    """How good the answers were, of a task that is not text generation; empty where that is not known."""
    quality = main_quality(mode.summary)
    if quality is None:
        return ""
    ends = ends_of(quality.figure)
    interval = f" (95 % over prompts: {ends})" if ends else ""
    better = "" if quality.higher_is_better else ", less is better"
    return f" {metric_words(quality.metric)} {value_of(quality.figure)}{interval} of {quality.n:,} answers{better}."


def properties(mode: ExportMode) -> list[tuple[str, str]]:
    """Everything beside the number, as (name, text)."""
    known = [(name, _text(value)) for name, value in _facts(mode) if value is not None and value != ""]
    return [(f"{PREFIX}{name}", text) for name, text in known]


def _facts(mode: ExportMode) -> Iterator[tuple[str, object]]:
    summary, manifest = mode.cell.summary, mode.cell.manifest
    cell, energy = summary.cell, energy_kwh_per_1000(mode)
    yield "energy_per", PER
    yield "energy_estimated", estimated_words(summary) if summary.estimated else "no, measured"
    if cell.overlaps:
        yield "energy_attribution", f"shared_tokens: {SHARED}, {load_words(cell)}"
    yield "energy_method", f"{METHOD[summary.method]} ({summary.method.value})"
    yield "energy_boundary", f"{BOUNDARY[summary.headline]} ({summary.headline.value}), gross: idle power is in it"
    yield "energy_low_kwh", energy.low
    yield "energy_high_kwh", energy.high
    yield "energy_half_width_reading_kwh", energy.half_width_reading
    yield "energy_half_width_runs_kwh", energy.half_width_runs
    yield "energy_half_width_gain_kwh", energy.half_width_gain
    yield "energy_interval", None if energy.low is None else "95 %: low and high over prompts; the other parts apart"
    yield "energy_total_kwh", None if mode.energy_kwh is None else rounded(mode.energy_kwh)
    yield "n_queries_in_total", len(mode.counted)
    yield "n_queries_failed", mode.summary.n_failed
    yield "n_queries_without_energy", mode.summary.n_without_energy
    yield "mode", mode.mode if cell.task is None else None
    yield "task", task_words(cell)
    yield "task_options", options_words(cell)
    yield "prompt_set", cell.prompt_set
    yield "prompt_set_sha256", cell.prompt_set_sha256
    yield "protocol", cell.protocol
    yield "max_new_tokens", cell.cap(mode.mode) or None
    yield "batch_size", cell.batch_size
    yield "prompt_tokens_per_query", mode.summary.prompt_tokens
    yield "output_tokens_per_query", mode.summary.output_tokens
    yield from _of_task(mode)
    yield "engine", _versioned(cell.engine.name, manifest.site.packages)
    yield "precision", None if mode.engine is None else mode.engine.executed_precision
    yield "quantization", None if cell.quantization == "none" else cell.quantization
    yield "hardware", ", ".join(boards(mode)) or manifest.site.cpu
    yield "driver", manifest.site.driver
    yield "started_utc", mode.cell.began_utc
    yield "run", summary.run_id
    yield "cell", cell.cell_id
    yield "site", summary.site_id
    yield "findings", ", ".join(sorted({finding.code.value for finding in summary.findings}))


def _of_task(mode: ExportMode) -> Iterator[tuple[str, object]]:
    """What a query's size is and costs, and how good the answers are; nothing of text generation."""
    for name, mean in mode.summary.sizes.items():
        yield f"{name}_per_query", mean
    for law in mode.summary.size_laws[:1]:
        yield "energy_per_size_j", law.energy_per_unit_j.value
        yield "energy_per_size_unit", law.unit
    for quality in mode.summary.quality:
        yield quality.metric, quality.figure.value
        yield f"{quality.metric}_low", quality.figure.low
        yield f"{quality.metric}_high", quality.figure.high


def boards(mode: ExportMode) -> list[str]:
    """Names of the boards that were metered."""
    return [board.name for board in mode.cell.boards]


def accuracy(mode: ExportMode) -> Estimate | None:
    """Share of right answers; None: nothing was scored."""
    return mode.summary.accuracy if mode.summary.n_scored and mode.summary.accuracy.value is not None else None


def plain(value: float) -> str:
    """Without an exponent: SPDX's decimals have none."""
    text = f"{value:.{_decimals(value)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals(value: float) -> int:
    """So many that nine significant digits are kept."""
    exponent = int(f"{value:.8e}".partition("e")[2])
    return max(0, 8 - exponent)


def _text(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _versioned(name: str, packages: dict[str, str]) -> str:
    return " ".join(filter(None, (name, packages.get(name))))
