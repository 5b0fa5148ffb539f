"""BoAmps (AFNOR SPEC 2314): a report of a measured task, one per cell and mode.

Their energy is of the whole measurement, not per query: `powerConsumption` is in kWh, of the `nbRequest` queries whose
energy is known, and `measurementDuration` is the sum of their durations. Idle power, measured with the model loaded,
is their calibration. What their schema asks for and nobody here knows is left out, except for `infraType`, which is
required: `other` unless the user says so.

Source: github.com/Boavizta/BoAmps, model/*.json at commit eb9db5c (July 2025).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.analysis.measured import PARTS
from harness.errors import InvalidMeasurement
from harness.footprint.grids import Grid
from harness.records import Board, Boundary, Method
from harness.report.exports.cell import ExportMode, identity, rounded
from harness.report.exports.statement import accuracy, sentence
from harness.report.exports.vocabulary import BOAMPS_TYPES, Names, names_of, task_words
from harness.report.wording import METHOD, estimated_words
from harness.units import J_PER_KWH

FORMAT_VERSION = "1.1.0"
SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/eb9db5c38d8a335e867f39e39882db714c32ec6a/model"
INFRASTRUCTURES = ("publicCloud", "privateCloud", "onPremise", "other")
QUALITIES = (("high", 0.1), ("medium", 0.25), ("low", 0.5))
"""Their words for a relative error of at most so much."""
PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "b16"}
"""Precisions as their schema spells them; others keep their name."""
FAMILIES = {"automatic-speech-recognition": "speech recognition"}
"""Families that their schema names as examples; other tasks keep their name."""
DIFFUSERS = "diffusers"
BYTES_PER_GIB = 2**30
PARAMETERS_PER_BILLION = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What only the user knows. None: not stated, and left out.

    Their schema has a grid's carbon intensity only beside a country.
    """

    country: str | None = None
    infrastructure: str = "other"
    grid: Grid | None = None


def boamps_report(mode: ExportMode, around: Surroundings, *, created_utc: str) -> dict[str, object]:
    """The report.

    Args:
        mode: Of one cell.
        around: Where it was measured.
        created_utc: When it was exported, as `2026-11-29T17:00:00Z`.

    Raises:
        InvalidMeasurement: The energy of no query is known.
    """
    if mode.energy_kwh is None:
        raise InvalidMeasurement(
            f"The energy of no query of {mode.model}, mode {mode.mode}, is known.",
            "`harness report` says why; `--mode` exports another mode.",
        )
    summary, site = mode.cell.summary, mode.cell.manifest.site
    report: dict[str, object] = {
        "header": {
            "formatVersion": FORMAT_VERSION,
            "formatVersionSpecificationUri": SPECIFICATION,
            "reportId": identity("boamps", summary.run_id, summary.cell.cell_id, summary.site_id, mode.mode),
            "reportDatetime": _datetime(created_utc),
        },
        "task": _task(mode),
        "measures": [_measure(mode, mode.energy_kwh)],
        "system": {"os": site.platform.partition("-")[0]},
        "software": {"language": "python", "version": site.python},
        "infrastructure": {"infraType": around.infrastructure, "components": _components(mode)},
    }
    if around.country is not None:
        carbon = {} if around.grid is None else {"powerSourceCarbonIntensity": rounded(around.grid.intensity.value)}
        report["environment"] = {"country": around.country, **carbon}
    quality = _quality(mode)
    return report if quality is None else {**report, "quality": quality}


def boamps_text(mode: ExportMode, around: Surroundings, *, created_utc: str) -> str:
    """The report as a file."""
    return json.dumps(boamps_report(mode, around, created_utc=created_utc), indent=2, ensure_ascii=False) + "\n"


def _task(mode: ExportMode) -> dict[str, object]:
    cell = mode.cell.summary.cell
    score = accuracy(mode)
    task: dict[str, object] = {
        "taskStage": "inference",
        "taskFamily": FAMILIES.get(cell.task or "", task_words(cell)),
        "nbRequest": len(mode.counted),
        "algorithms": [_algorithm(mode)],
        "dataset": list(_data(mode)),
        "taskDescription": _description(mode),
    }
    return task if score is None or score.value is None else {**task, "measuredAccuracy": rounded(score.value)}


def _data(mode: ExportMode) -> Iterator[dict[str, object]]:
    """Their data quantity of an inference is the mean of one request: so many tokens, or one image."""
    task = mode.cell.summary.cell.task
    names = Names(pipeline="", theirs="") if task is None else names_of(task)
    sides = (
        ("input", names.inputs, mode.summary.prompt_tokens),
        ("output", names.outputs, mode.summary.output_tokens),
    )
    for usage, kinds, n_tokens in sides:
        kind = kinds[0]
        if task is None or (kind == "text" and n_tokens is not None):
            yield {"dataUsage": usage, "dataType": "token"} | (
                {} if n_tokens is None else {"dataQuantity": rounded(n_tokens)}
            )
        else:
            yield {"dataUsage": usage, "dataType": BOAMPS_TYPES.get(kind, "object"), "dataQuantity": len(kinds)}


def _description(mode: ExportMode) -> str:
    n_others = mode.summary.n_queries - len(mode.counted)
    queries = "1 more query failed or has" if n_others == 1 else f"{n_others:,} more queries failed or have"
    others = f" {queries} no known energy; theirs is not in it." if n_others else ""
    return (
        f"{sentence(mode)}{others} Gross energy over the queries' own spans; the calibration is the same boundary "
        f"without work, the model loaded. Run {mode.cell.summary.run_id}, cell {mode.cell.summary.cell.cell_id}."
    )


def _algorithm(mode: ExportMode) -> dict[str, object]:
    cell, engine = mode.cell.summary.cell, mode.engine
    kind = "llm" if cell.task is None else "neural network"
    algorithm: dict[str, object] = {"algorithmType": kind, "foundationModelName": mode.model}
    if mode.hub_url is not None:
        algorithm["foundationModelUri"] = mode.hub_url
    libraries = {} if engine is None else engine.libraries
    framework = DIFFUSERS if DIFFUSERS in libraries else cell.engine.name
    algorithm["framework"] = framework
    version = libraries.get(framework) or mode.cell.manifest.site.packages.get(framework)
    if version is not None:
        algorithm["frameworkVersion"] = version
    if engine is not None:
        if engine.n_parameters is not None:
            algorithm["parametersNumber"] = engine.n_parameters / PARAMETERS_PER_BILLION
        if engine.executed_precision is not None:
            algorithm["quantization"] = PRECISIONS.get(engine.executed_precision, engine.executed_precision)
    return algorithm


def _measure(mode: ExportMode, energy_kwh: float) -> dict[str, object]:
    summary = mode.cell.summary
    method = f"{estimated_words(summary)}, no sensor" if summary.estimated else METHOD[summary.method]
    measure: dict[str, object] = {
        "measurementMethod": f"inference-energy-harness, {method}",
        "version": mode.cell.manifest.harness_version,
        **_tracking(summary.headline, summary.method),
        "powerConsumption": rounded(energy_kwh),
        "measurementDuration": rounded(mode.duration_s),
        "measurementDateTime": _datetime(mode.cell.began_utc),
    }
    idle = _calibration(mode)
    if idle is not None:
        measure["powerCalibrationMeasurement"], measure["durationCalibrationMeasurement"] = idle
    return measure


def _tracking(boundary: Boundary, method: Method) -> dict[str, str]:
    """How each kind of device was read, in the words of their schema."""
    if method is Method.ESTIMATED:
        return {"cpuTrackingMode": "constant (estimated)"} if boundary is Boundary.HOST else {}
    if method not in (Method.NVML_COUNTER, Method.NVML_POWER, Method.RAPL):
        return {}
    gpu = {} if boundary is Boundary.HOST else {"gpuTrackingMode": "nvml"}
    return gpu if boundary is Boundary.GPU_BOARD else {"cpuTrackingMode": "rapl", **gpu}


def _calibration(mode: ExportMode) -> tuple[float, float] | None:
    """Kilowatt-hours and seconds of every idle stretch whose energy is known; None: there is none."""
    energies_j, durations_s = [], []
    for interval in mode.cell.idle:
        own = [reading for reading in interval.readings if reading.boundary in PARTS[mode.cell.summary.headline]]
        known = [reading.energy_gross_j for reading in own if reading.energy_gross_j is not None]
        duration_s = interval.time_end_s - interval.time_start_s
        if own and len(known) == len(own) and duration_s > 0:
            energies_j += known
            durations_s.append(duration_s)
    if not durations_s:
        return None
    return rounded(math.fsum(energies_j) / J_PER_KWH), rounded(math.fsum(durations_s))


def _quality(mode: ExportMode) -> str | None:
    """By the errors of sensor and board; an estimate has the lowest word, and its error may be larger still."""
    if mode.cell.summary.estimated:
        return QUALITIES[-1][0]
    energy = mode.summary.energy_j
    if not energy.value or energy.half_width_reading is None or energy.half_width_gain is None:
        return None
    error = math.hypot(energy.half_width_reading, energy.half_width_gain) / energy.value
    return next((word for word, most in QUALITIES if error <= most), None)


def _components(mode: ExportMode) -> list[dict[str, object]]:
    """The metered boards, alike ones together, the CPU by its cores (as their example counts it) and the memory."""
    alike: dict[tuple[str, int | None], list[Board]] = {}
    for board in mode.cell.boards:
        alike.setdefault((board.name, board.memory_bytes), []).append(board)
    components = [_gpu(name, memory_bytes, len(boards)) for (name, memory_bytes), boards in alike.items()]
    site = mode.cell.manifest.site
    components.append({"componentName": site.cpu, "componentType": "cpu", "nbComponent": site.n_cpu_cores})
    memory = {"memorySize": round(site.memory_bytes / BYTES_PER_GIB, 1)}
    return [*components, {"componentType": "ram", "nbComponent": 1, **memory}]


def _gpu(name: str, memory_bytes: int | None, count: int) -> dict[str, object]:
    gpu: dict[str, object] = {"componentName": name, "componentType": "gpu", "nbComponent": count}
    if memory_bytes is not None:
        gpu["memorySize"] = round(memory_bytes / BYTES_PER_GIB, 1)
    return gpu | ({"manufacturer": "nvidia"} if name.upper().startswith("NVIDIA") else {})


def _datetime(utc: str) -> str:
    """`2026-11-29T17:00:00Z` as they write it."""
    return utc.replace("T", " ").removesuffix("Z")
