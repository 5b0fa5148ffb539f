"""What a reader needs to believe and repeat a run, as labels and texts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.serving.serving import SERVER, is_under_load, load_words
from harness.records import EngineFacts, Estimate, RunManifest, SamplerStats, ServerFacts, Summary
from harness.report.numbers import digits, half_width
from harness.report.serving.sections import weights_words
from harness.report.task.sections import task_line
from harness.report.wording import BOUNDARY, METHOD, estimated_words

BYTES_PER_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of a list of facts."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactGroup:
    """Facts under a heading."""

    title: str
    facts: tuple[Fact, ...]


def facts_of(
    summary: Summary, manifest: RunManifest | None, sampler: SamplerStats | None = None
) -> tuple[FactGroup, ...]:
    """Everything that the page lists; what is unknown has no line.

    Args:
        summary: What was found.
        manifest: The newest session's.
        sampler: What reading the sensors took in that session.
    """
    energy = [*_energy(summary, manifest), *_sampler(sampler)]
    groups = [("Energy", energy), ("Model and protocol", _cell(summary, manifest))]
    server = None if manifest is None else manifest.engine.server
    load = [*([] if server is None else _server(server)), *(_load(summary) if is_under_load(summary.cell) else [])]
    groups += [("Server and load" if server else "Load", load)] if load else []
    if manifest is not None:
        groups += [("Site", _site(manifest, summary.site_id)), ("Run", _run(manifest))]
    return tuple(
        FactGroup(title=title, facts=tuple(Fact(label=label, text=text) for label, text in facts if text))
        for title, facts in groups
    )


def command_of(manifest: RunManifest | None) -> str | None:
    """The command line that was run, ready to copy."""
    return None if manifest is None else shlex.join(manifest.command)


def _energy(summary: Summary, manifest: RunManifest | None) -> list[tuple[str, str]]:
    method = estimated_words(summary) if summary.estimated else METHOD[summary.method]
    facts = [
        ("Boundary", f"{BOUNDARY[summary.headline]} ({summary.headline.value}), gross"),
        ("Method", f"{method} ({summary.method.value})"),
        ("Idle power, model loaded", f"{_watts(summary.power_idle_w)}{', estimated' if summary.estimated else ''}"),
        ("Sessions", f"{summary.n_sessions}"),
    ]
    if manifest is not None:
        facts.append(("Boards metered", f"--meter-gpus {manifest.meter_gpus}"))
    if summary.cell.power_limit_w is not None:
        facts.append(("Power limit", f"{summary.cell.power_limit_w:g} W per board, set for this cell"))
    busy = [
        f"{'' if summary.cell.task else f'{mode.mode} '}{100 * mode.gpu_busy_share:.0f} %"
        for mode in summary.modes
        if mode.gpu_busy_share is not None
    ]
    if busy:
        facts.append(("GPU busy while answering", f"{', '.join(busy)} of the time"))
    for channel in () if manifest is None else filter(lambda channel: channel.makes_energy, manifest.channels):
        period = channel.duration_period_s
        parts = [METHOD[channel.method], BOUNDARY[channel.boundary]]
        parts += [f"every {digits(period)} s"] if period is not None else []
        gain = channel.gain_half_width
        parts += [f"gain ± {digits(gain * 100, 2)} %"] if gain is not None else ["gain unknown"]
        facts.append((f"Sensor {channel.device}", ", ".join(parts)))
    return facts


def _sampler(sampler: SamplerStats | None) -> list[tuple[str, str]]:
    if sampler is None or sampler.duration_s <= 0.0:
        return []
    share = 100 * sampler.duration_cpu_s / sampler.duration_s
    text = f"{digits(share, 2)} % of a core, {sampler.n_late:,} of {sampler.n_polls:,} polls late"
    return [("Reading the sensors", text + (f", {sampler.n_missed:,} missed" if sampler.n_missed else ""))]


def _cell(summary: Summary, manifest: RunManifest | None) -> list[tuple[str, str]]:
    cell, served = summary.cell, summary.cell.engine.name == SERVER
    pair = cell.pair
    own = "" if pair is None else f" in {', '.join(mode for mode in cell.modes if mode not in pair.modes)}"
    facts = _checkpoint(own, cell.model, cell.source, cell.revision, None if manifest is None else manifest.engine)
    if pair is not None:
        engine = None if manifest is None else manifest.engine_of_pair
        facts += _checkpoint(f" in {', '.join(pair.modes)}", pair.model, pair.source, pair.revision, engine)
    cap = f", at most {cell.max_new_tokens:,} new tokens" if cell.task is None or cell.max_new_tokens else ""
    return [
        *([] if cell.task is None else [("Task", task_line(summary))]),
        *facts,
        ("Precision asked for", "" if served else ", ".join(filter(None, (cell.dtype, cell.quantization)))),
        ("Prompt set", f"{cell.prompt_set}, sha256 {cell.prompt_set_sha256[:16]}…"),
        ("Protocol", f"{cell.protocol}{cap}, seed {cell.seed}"),
        ("Output lengths", "" if cell.lengths is None else f"recorded before and forced, sha256 {cell.lengths[:16]}…"),
        ("Cell", cell.cell_id),
    ]


def _checkpoint(
    where: str, model: str, source: str, revision: str, engine: EngineFacts | None
) -> list[tuple[str, str]]:
    """One checkpoint, and what was executed of it; `where` names its modes if it is one of a pair."""
    facts = [(f"Model{where}", f"{model} ({source})"), (f"Revision{where}", revision)]
    if engine is not None:
        each = engine.bytes_per_parameter
        bytes_each = [] if each is None else [f"{digits(each)} bytes per parameter"]
        precision = engine.executed_precision or ("not said by the server" if engine.server is not None else "unknown")
        facts.append((f"Precision executed{where}", ", ".join((precision, *bytes_each))))
        count = [] if engine.n_parameters is None else [f"{engine.n_parameters:,}"]
        attention = [] if engine.attention is None else [f"attention {engine.attention}"]
        facts.append((f"Parameters{where}", ", ".join((*count, *attention))))
        context = engine.context_length if engine.server is not None else None
        facts.append((f"Context{where}", "" if context is None else f"{context:,} tokens"))
    return facts


def _server(server: ServerFacts) -> list[tuple[str, str]]:
    """The server that answered, as far as it says what it is."""
    boards = {
        "processes": "those that its processes are on",
        "power": "those whose power rose during one query",
        "user": "as named by the user",
        "none": "",
    }[server.boards_by]
    return [
        ("Server", " ".join((server.kind, server.version or "of an unknown version"))),
        ("Served as", server.model),
        ("Address", server.base_url),
        ("Started by", shlex.join(server.command) if server.command else "somebody else: it was running"),
        ("Its boards", boards),
    ]


def _load(summary: Summary) -> list[tuple[str, str]]:
    """How the queries were sent, and what was done to their prompts and lengths."""
    cell = summary.cell
    weights = weights_words([each for serving in summary.serving for each in serving.weights])
    return [
        ("Load", load_words(cell)),
        ("Shared by", weights if cell.batch_size == 1 else "tokens; all rows of a batch read their prompts together"),
        ("Prompt cache", cell.prompt_cache if cell.engine.name == SERVER else ""),
    ]


def _site(manifest: RunManifest, site_id: str) -> list[tuple[str, str]]:
    site, libraries = manifest.site, manifest.engine.libraries
    boards = ", ".join(board.name for board in site.boards)
    versions: Sequence[str] = [
        f"{name} {site.packages[name]}" for name in ("torch", "transformers") if name in site.packages
    ]
    return [
        ("Boards", boards or "none"),
        ("Driver", ", ".join(filter(None, (site.driver, site.cuda and f"CUDA {site.cuda}")))),
        ("CPU", f"{site.cpu}, {site.n_cpu_cores} cores, {site.memory_bytes / BYTES_PER_GIB:.0f} GiB"),
        ("Software", ", ".join((f"Python {site.python}", *versions, *map(" ".join, libraries.items())))),
        ("Platform", site.platform),
        ("Container", site.container or ""),
        ("Site", site_id),
    ]


def _run(manifest: RunManifest) -> list[tuple[str, str]]:
    return [
        ("Run", manifest.run_id),
        ("Started", manifest.started_utc),
        ("Harness", manifest.harness_version),
        ("Git commit", manifest.git_commit or ""),
    ]


def _watts(estimate: Estimate) -> str:
    if estimate.value is None:
        return "unknown"
    error = estimate.half_width_reading
    return f"{digits(estimate.value)} W" + ("" if error is None else f" {half_width(error)}")
