"""From one cell's `summary.json` and newest manifest to rows of the index, one per mode."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from harness.analysis.serving.serving import is_under_load, load_words
from harness.errors import SchemaError
from harness.leaderboard.columns import OF_A_MODE, parts_of
from harness.records import (
    SCHEMA_VERSION,
    Boundary,
    Cell,
    EngineFacts,
    FindingCode,
    ModeSummary,
    Record,
    RunManifest,
    Summary,
)
from harness.reference.conditions import AS_PUBLISHED, OWN_LIMIT, conditions_of
from harness.report.compared import not_as_called
from harness.report.task.quality import main_quality
from harness.report.task.words import options_words

OWN_SCORER = "the prompts’ own"
EXACT = "exactly the boards that do the work"
OTHERS = "not exactly the boards that do the work"
ALARM = "The metered boards are not exactly the boards that do the work: read it as their energy, not as the model’s."
HOST_PARTS = {Boundary.HOST, Boundary.GPU_BOARD_AND_HOST}


def read(kind: type[Record], path: str) -> Any:
    """One record from its file.

    Raises:
        SchemaError: Damaged, with NaN in it, or written by a newer version.
    """
    name = path.rpartition("/")[2]
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - ten thousand of them, and no Path for each
            content = file.read()
    except OSError as error:
        raise SchemaError(f"{name} cannot be read: {error.strerror}", "Look at its permissions.") from error
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        raise SchemaError(f"{name} {_why(content, error)}", "Make it again: harness report RUN") from error
    version = getattr(record, "schema_version", SCHEMA_VERSION)
    if version > SCHEMA_VERSION:
        raise SchemaError(f"{name} {_newer(version)}", "Update the harness.")
    return record


def entries(summary: Summary, manifest: RunManifest | None) -> list[dict[str, Any]]:
    """One row per mode.

    Args:
        summary: Of the cell at its site.
        manifest: Of its newest session; None: what only that knows is null.
    """
    faults = not_as_called(summary)
    codes = list(dict.fromkeys(finding.code for finding in summary.findings))
    common = {
        "run_id": summary.run_id,
        "repeat_of": _repeat_of(summary.cell),
        "site_id": summary.site_id,
        "task": summary.cell.task,
        "task_options": None if summary.cell.task is None else options_words(summary.cell) or "none",
        "prompts": summary.cell.prompt_set,
        "prompts_sha256": summary.cell.prompt_set_sha256,
        "protocol": summary.cell.protocol,
        "repeat": summary.cell.repeat,
        "seed": summary.cell.seed,
        "n_planned": summary.n_prompts_planned,
        "boundary": summary.headline.value,
        "method": summary.method.value,
        "estimated": summary.estimated,
        "scorer": summary.cell.scorer or OWN_SCORER,
        "two_phase": summary.two_phase is not None or summary.cell.lengths_batch_size is not None,
        "stopped_early": summary.stopping is not None and summary.stopping.settled,
        "metered": OTHERS if FindingCode.OTHER_BOARDS_METERED in codes else EXACT,
        "findings": ",".join(code.value for code in codes),
        **_site(summary, manifest),
    }
    return [
        {
            **common,
            **_subject(summary, manifest, mode),
            **_figures(mode),
            "faults": ",".join(dict.fromkeys(finding.code.value for finding in faults.get(mode.mode, ()))),
        }
        for mode in summary.modes
    ]


def _repeat_of(cell: Cell) -> str:
    """The same for all repeats of a cell."""
    return hashlib.sha256(cell.model_dump_json(exclude={"repeat"}).encode()).hexdigest()[:12]


def _site(summary: Summary, manifest: RunManifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    site = manifest.site
    return {
        "started_utc": manifest.started_utc,
        "harness_version": manifest.harness_version,
        "driver": site.driver,
        "cpu": f"{site.cpu}, {site.n_cpu_cores} cores",
        "boards": _boards(summary, manifest),
    }


def _boards(summary: Summary, manifest: RunManifest) -> str:
    """The devices whose gain is in the energy; a host's parts are called alike on every machine, so with their site."""
    wanted = {summary.headline}
    if summary.headline is Boundary.GPU_BOARD_AND_HOST:
        wanted = {Boundary.GPU_BOARD, Boundary.HOST}
    devices = {
        channel.device
        for channel in manifest.channels
        if channel.makes_energy and channel.boundary in wanted and channel.method is summary.method
    } or {channel.device for channel in manifest.channels if channel.makes_energy and channel.boundary in wanted}
    return ", ".join(
        device if device.startswith("GPU-") else f"{device} of site {summary.site_id}" for device in sorted(devices)
    )


def _load(cell: Cell) -> str:
    """How queries were sent, where they were not answered one by one in this process: another condition."""
    shared = ", energy shared by tokens" if cell.overlaps else ""
    return f", {load_words(cell)}{shared}" if is_under_load(cell) else ""


def _subject(summary: Summary, manifest: RunManifest | None, mode: ModeSummary) -> dict[str, Any]:
    """What answered in this mode, under which conditions."""
    cell = summary.cell
    of_pair = cell.pair is not None and mode.mode in cell.pair.modes
    facts = None if manifest is None else manifest.engine_of_pair if of_pair else manifest.engine
    found = conditions_of(summary, manifest, mode.mode)
    engine = cell.engine
    threads = "" if engine.n_threads is None else f", {engine.n_threads} threads"
    attention = "" if engine.attention == "default" else f", attention {engine.attention}"
    return {
        "model": found.model,
        "revision": cell.pair.revision if cell.pair is not None and of_pair else cell.revision,
        "mode": mode.mode,
        "token_cap": found.token_cap,
        "fewest_tokens": found.fewest_tokens,
        "sampling": found.sampling,
        "batch_size": found.batch_size,
        "engine": f"{found.engine} on {engine.device}{attention}{threads}{_load(cell)}",
        "engine_version": found.engine_version,
        "precision": None if facts is None else facts.executed_precision,
        "precision_rule": _precision_rule(cell, facts),
        "n_parameters": None if facts is None else facts.n_parameters,
        **_hardware(summary, manifest, found.gpu, found.number_of_gpus, found.power_limit),
    }


def _precision_rule(cell: Cell, facts: EngineFacts | None) -> str:
    """How a row's precision was chosen: rows of one rule may stand beside each other, whatever it led to."""
    if cell.dtype == "auto" and cell.quantization == "none":
        if facts is None or facts.executed_precision == facts.requested_precision:
            return AS_PUBLISHED
        return f"{facts.executed_precision} instead of {facts.requested_precision}"
    asked = ", ".join(each for each in (cell.dtype, cell.quantization) if each not in ("auto", "none"))
    if facts is None or facts.executed_precision == facts.requested_precision:
        return asked
    return f"{facts.executed_precision}, asked for {asked}"


def _hardware(
    summary: Summary, manifest: RunManifest | None, gpu: str | None, n_gpus: int | None, power_limit: str | None
) -> dict[str, Any]:
    """The silicon whose energy it is: the boards that hold the model; without any the metered boards, or the CPU."""
    if manifest is None:
        return {"hardware": None, "power_limit": None, "number_of_gpus": None}
    holders = set(manifest.engine.device_uuids)
    if not n_gpus and summary.headline is not Boundary.HOST:
        holders = {channel.device for channel in manifest.channels if channel.makes_energy}
        lent = tuple(board.uuid for board in manifest.site.boards if board.uuid in holders)
        holding = manifest.engine.model_copy(update={"device_uuids": lent})
        stand_in = manifest.model_copy(update={"engine": holding})
        # Of a pair both checkpoints ran beside the same boards.
        whole = summary.model_copy(update={"cell": summary.cell.model_copy(update={"pair": None})})
        found = conditions_of(whole, stand_in, summary.modes[0].mode)
        gpu, n_gpus, power_limit = found.gpu, found.number_of_gpus, found.power_limit
    parts = []
    if n_gpus and gpu:
        parts.append(gpu if n_gpus == 1 else f"{n_gpus} × {gpu}")
    if summary.headline in HOST_PARTS or not parts:
        parts.append(f"{manifest.site.cpu}, {manifest.site.n_cpu_cores} cores")
    if power_limit == OWN_LIMIT:
        own_w = sorted({board.power_limit_default_w or 0.0 for board in manifest.site.boards if board.uuid in holders})
        power_limit = f"{OWN_LIMIT}, {own_w[0]:g} W" if len(own_w) == 1 else OWN_LIMIT
    elif power_limit is None:
        power_limit = "unknown" if n_gpus else "none"
    return {"hardware": " and ".join(parts), "power_limit": power_limit, "number_of_gpus": n_gpus}


def _figures(mode: ModeSummary) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(mode, name)
        for name in ("n_queries", "n_failed", "n_without_energy", "n_scored", "n_correct", "n_cut", "output_tokens")
    }
    for figure in OF_A_MODE:
        row |= parts_of(figure, getattr(mode, figure))
    return row | _of_task(mode)


def _of_task(mode: ModeSummary) -> dict[str, Any]:
    """The main figure of quality and what one unit of size costs; nothing of text generation."""
    quality, laws = main_quality(mode), mode.size_laws
    row: dict[str, Any] = {}
    if quality is not None:
        row |= {"quality_metric": quality.metric, "quality_higher_is_better": quality.higher_is_better}
        row |= parts_of("quality", quality.figure)
    if laws:
        row |= {"size_unit": laws[0].unit, **parts_of("energy_per_size_j", laws[0].energy_per_unit_j)}
    return row


def _why(content: bytes, refusal: ValidationError) -> str:
    """A newer version, or the first thing that is wrong."""
    try:
        version = json.loads(content).get("schema_version")
    except (ValueError, AttributeError):
        version = None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return _newer(version)
    first = refusal.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"is damaged: {f'{place}: ' if place else ''}{first['msg']}"


def _newer(version: int) -> str:
    return f"has schema version {version}; this program reads up to {SCHEMA_VERSION}."
