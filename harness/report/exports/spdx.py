"""SPDX 3.0.1 JSON-LD: an AI package with the energy of its inference.

One document per mode: the energy's own class has a quantity and a unit and nothing else. What the quantity means
stands in the package's description and, for machines, in its properties (an SPDX `CdxPropertiesExtension`). The
document claims the profiles core, software and extension; not `ai`, which asks for a supplier, a release time and
licences that nobody here knows.

Source: spdx.github.io/spdx-spec/v3.0.1, classes AIPackage, EnergyConsumption, EnergyConsumptionDescription.
"""

from __future__ import annotations

import json

from harness.errors import InvalidMeasurement
from harness.report.exports.cell import ExportMode, identity
from harness.report.exports.statement import PREFIX, accuracy, energy_kwh_per_1000, plain, properties, sentence
from harness.report.exports.vocabulary import task_words

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
CREATION = "_:creation"


def spdx_document(mode: ExportMode, *, created_utc: str) -> dict[str, object]:
    """The document as JSON-LD.

    Args:
        mode: Of one cell.
        created_utc: When it was exported, as `2026-11-29T17:00:00Z`.

    Raises:
        InvalidMeasurement: The mode's energy is not known.
    """
    energy = energy_kwh_per_1000(mode)
    if energy.value is None:
        raise InvalidMeasurement(
            f"The energy of {mode.model}, mode {mode.mode}, is not known.",
            "`harness report` says why; `--mode` exports another mode.",
        )
    summary, version = mode.cell.summary, mode.cell.manifest.harness_version
    cell, task = summary.cell, summary.cell.task
    parts = (summary.run_id, summary.cell.cell_id, summary.site_id, mode.mode)
    package_id, document_id = _iri("package", *parts), _iri("document", *parts, created_utc)
    agent_id, tool_id = _iri("agent", version), _iri("tool", version)
    creation = {
        "type": "CreationInfo",
        "@id": CREATION,
        "specVersion": "3.0.1",
        "created": created_utc,
        "createdBy": [agent_id],
        "createdUsing": [tool_id],
    }
    named = {"creationInfo": CREATION, "name": f"inference-energy-harness {version}"}
    elements = [agent_id, tool_id, package_id]
    document = {
        "type": "SpdxDocument",
        "spdxId": document_id,
        "creationInfo": CREATION,
        "name": f"Inference energy of {mode.model}, {f'mode {mode.mode}' if task is None else task_words(cell)}",
        "profileConformance": ["core", "software", "extension"],
        "rootElement": [package_id],
        "element": elements,
    }
    return {
        "@context": CONTEXT,
        "@graph": [
            creation,
            {"type": "SoftwareAgent", "spdxId": agent_id, **named},
            {"type": "Tool", "spdxId": tool_id, **named},
            _package(mode, package_id, plain(energy.value)),
            document,
        ],
    }


def spdx_text(mode: ExportMode, *, created_utc: str) -> str:
    """The document as a file."""
    return json.dumps(spdx_document(mode, created_utc=created_utc), indent=2, ensure_ascii=False) + "\n"


def _package(mode: ExportMode, spdx_id: str, quantity: str) -> dict[str, object]:
    inference = {
        "type": "ai_EnergyConsumptionDescription",
        "ai_energyQuantity": quantity,
        "ai_energyUnit": "kilowattHour",
    }
    package: dict[str, object] = {
        "type": "ai_AIPackage",
        "spdxId": spdx_id,
        "creationInfo": CREATION,
        "name": mode.model,
        "description": sentence(mode),
        "software_packageVersion": mode.revision,
        "software_primaryPurpose": "model",
        "ai_energyConsumption": {"type": "ai_EnergyConsumption", "ai_inferenceEnergyConsumption": [inference]},
        "extension": [
            {
                "type": "extension_CdxPropertiesExtension",
                "extension_cdxProperty": [
                    {
                        "type": "extension_CdxPropertyEntry",
                        "extension_cdxPropName": name,
                        "extension_cdxPropValue": text,
                    }
                    for name, text in properties(mode)
                ],
            }
        ],
    }
    if mode.hub_url is not None:
        package["software_downloadLocation"] = mode.hub_url
        package["software_packageUrl"] = package_url(mode)
    if mode.cell.summary.cell.task is not None:
        package["ai_domain"] = [task_words(mode.cell.summary.cell)]
    entries = [
        {"type": "DictionaryEntry", "key": f"{PREFIX}{name}", "value": f"{value:.9g}"}
        for name, value in _metrics(mode).items()
    ]
    if entries:
        package["ai_metric"] = entries
    return package


def _metrics(mode: ExportMode) -> dict[str, float]:
    """The figures of quality that are known."""
    score = accuracy(mode)
    found = {} if score is None or score.value is None else {"accuracy": score.value}
    return found | {each.metric: each.figure.value for each in mode.summary.quality if each.figure.value is not None}


def package_url(mode: ExportMode) -> str | None:
    """The package URL of a model on the Hub (type `huggingface`); None: it is not from there."""
    return None if mode.hub_name is None else f"pkg:huggingface/{mode.hub_name}@{mode.revision}"


def _iri(*parts: str) -> str:
    return f"urn:uuid:{identity('spdx', *parts)}"
