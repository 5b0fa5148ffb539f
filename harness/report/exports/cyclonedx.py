"""CycloneDX 1.6 (ECMA-424): a machine-learning bill of materials with the energy of inference.

One document per run: a component per checkpoint, in its model card an energy consumption per mode. `energyProviders`
must be there, at least one by the XML schema; since nobody here knows who provided the energy, its source is `unknown`
and its organization empty. Carbon only where the user names a grid.

Source: the JSON schema bom-1.6, definitions energyConsumption, energyProvider, co2Measure, performanceMetric.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from harness.errors import InvalidMeasurement
from harness.footprint.grids import Grid
from harness.records import Estimate
from harness.report.exports.cell import ExportMode, identity, rounded
from harness.report.exports.spdx import package_url
from harness.report.exports.statement import PREFIX, accuracy, energy_kwh_per_1000, properties, sentence
from harness.report.exports.vocabulary import TEXT_GENERATION, Names, hub_metric, names_of

G_PER_TONNE = 1e6


def cyclonedx_bom(modes: Sequence[ExportMode], *, created_utc: str, grid: Grid | None = None) -> dict[str, object]:
    """The bill of materials.

    Args:
        modes: Of one run; the first of repeats.
        created_utc: When it was exported, as `2026-11-29T17:00:00Z`.
        grid: What a kWh emits, where the user names a grid; None: no carbon.

    Raises:
        InvalidMeasurement: No mode's energy is known.
    """
    known = [mode for mode in modes if mode.summary.energy_wh_per_1000.value is not None]
    if not known:
        raise InvalidMeasurement("No mode's energy is known.", "`harness report` says why.")
    components: dict[tuple[str, str], list[ExportMode]] = {}
    for mode in known:
        cell = mode.cell.summary
        components.setdefault((f"{cell.cell.cell_id}/{cell.site_id}", mode.model), []).append(mode)
    version = known[0].cell.manifest.harness_version
    run_id = known[0].cell.summary.run_id
    tool = {"type": "application", "name": "inference-energy-harness", "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{identity('cyclonedx', run_id, created_utc)}",
        "version": 1,
        "metadata": {"timestamp": created_utc, "tools": {"components": [tool]}},
        "components": [_component(found, grid) for found in components.values()],
    }


def cyclonedx_text(modes: Sequence[ExportMode], *, created_utc: str, grid: Grid | None = None) -> str:
    """The bill of materials as a file."""
    bom = cyclonedx_bom(modes, created_utc=created_utc, grid=grid)
    return json.dumps(bom, indent=2, ensure_ascii=False) + "\n"


def _component(modes: Sequence[ExportMode], grid: Grid | None) -> dict[str, object]:
    first = modes[0]
    summary = first.cell.summary
    energies = [_consumption(mode, grid) for mode in modes]
    scores = [metric for mode in modes for metric in (_accuracy(mode), *_qualities(mode)) if metric is not None]
    card: dict[str, object] = {
        "modelParameters": _parameters(summary.cell.task),
        "considerations": {"environmentalConsiderations": {"energyConsumptions": energies}},
    }
    if scores:
        card["quantitativeAnalysis"] = {"performanceMetrics": scores}
    component: dict[str, object] = {
        "type": "machine-learning-model",
        "bom-ref": identity("component", summary.run_id, summary.cell.cell_id, summary.site_id, first.model),
        "name": first.model,
        "version": first.revision,
        "description": " ".join(sentence(mode) for mode in modes),
        "modelCard": card,
    }
    if first.hub_url is not None:
        component["purl"] = package_url(first)
        component["externalReferences"] = [{"type": "distribution", "url": first.hub_url}]
    return component


def _parameters(task: str | None) -> dict[str, object]:
    """The task by the Hub's name of it, and what goes in and comes out."""
    names = Names(pipeline=TEXT_GENERATION, theirs="") if task is None else names_of(task)
    inputs, outputs = ([{"format": kind} for kind in kinds] for kinds in (names.inputs, names.outputs))
    return {"task": names.pipeline, "inputs": inputs, "outputs": outputs}


def _consumption(mode: ExportMode, grid: Grid | None) -> dict[str, object]:
    energy_kwh = energy_kwh_per_1000(mode).value
    assert energy_kwh is not None, "modes without energy were left out"
    energy = {"value": energy_kwh, "unit": "kWh"}
    stated = properties(mode)
    consumption: dict[str, object] = {
        "activity": "inference",
        "energyProviders": [{"organization": {}, "energySource": "unknown", "energyProvided": energy}],
        "activityEnergyCost": energy,
    }
    if grid is not None:
        tonnes = rounded(energy_kwh * grid.intensity.value / G_PER_TONNE)
        consumption["co2CostEquivalent"] = {"value": tonnes, "unit": "tCO2eq"}
        stated = [*stated, *((f"{PREFIX}{name}", text) for name, text in _carbon(grid))]
    return {**consumption, "properties": [{"name": name, "value": text} for name, text in stated]}


def _carbon(grid: Grid) -> list[tuple[str, str]]:
    """Where the carbon comes from, and that it is of this energy alone."""
    intensity = grid.intensity
    facts = [
        ("carbon_grid", grid.name),
        ("carbon_g_per_kwh", f"{intensity.value:.9g}"),
        (
            "carbon_source",
            ", ".join(filter(None, (grid.source, grid.note, "" if grid.year is None else f"{grid.year}"))),
        ),
        ("carbon_of", "the energy of this activity as it stands: no other parts of the server, no facility"),
    ]
    if intensity.low is not None and intensity.high is not None:
        facts += [("carbon_low_g_per_kwh", f"{intensity.low:.9g}"), ("carbon_high_g_per_kwh", f"{intensity.high:.9g}")]
    return facts


def _accuracy(mode: ExportMode) -> dict[str, object] | None:
    score = accuracy(mode)
    if score is None or score.value is None or mode.summary.quality:
        return None
    return _metric(mode, "accuracy", score, mode.summary.n_scored)


def _qualities(mode: ExportMode) -> list[dict[str, object]]:
    """Of a task that is not text generation, by the Hub's names of metrics."""
    known = (each for each in mode.summary.quality if each.figure.value is not None)
    return [_metric(mode, hub_metric(each.metric), each.figure, each.n) for each in known]


def _metric(mode: ExportMode, kind: str, score: Estimate, n: int) -> dict[str, object]:
    cell = mode.cell.summary.cell
    of_mode = f"mode {mode.mode}, " if cell.task is None else ""
    metric: dict[str, object] = {
        "type": kind,
        "value": f"{score.value:.9g}",
        "slice": f"{of_mode}{n} scored answers to {cell.prompt_set}",
    }
    if score.low is not None and score.high is not None:
        metric["confidenceInterval"] = {"lowerBound": f"{score.low:.9g}", "upperBound": f"{score.high:.9g}"}
    return metric
