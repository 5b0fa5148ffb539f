"""A cell's repeats as sides: the figures of each mode as arrays, and the conditions they were measured under.

What a query used is taken as the receipt takes it. Knows accounts. Must not know budgets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis.estimates import gains_of
from harness.analysis.figures import Figures, figures_in
from harness.analysis.sequential import inflation
from harness.analysis.serving.serving import SERVER, load_words
from harness.gate.evidence import RunFigures, Side, SideKind
from harness.gating.named import NamedRun
from harness.publish import Account
from harness.records import Boundary, Cell, Finding, FindingCode, Method, RunManifest, Summary
from harness.report.compared import not_as_called
from harness.report.task.words import options_words
from harness.report.wording import models

GPU = "GPU-"
"""Names of boards begin so and are the same in every run; those of a host's parts are not."""
EXPECTED = {
    FindingCode.SHORTER_THAN_TWO_TICKS,
    FindingCode.ONE_RUN,
    FindingCode.HEAVY_TAIL,
    FindingCode.FEW_CORRECT,
    FindingCode.NOTHING_CORRECT,
    FindingCode.DRAWS_WITHOUT_CORRECT,
    FindingCode.TOO_FEW_QUERIES,
    FindingCode.NOTHING_SCORED,
    FindingCode.LAW_NOT_CHECKED,
    FindingCode.LAW_NOT_TESTED,
    FindingCode.LAW_NOT_HELD,
    FindingCode.COLLINEAR,
    FindingCode.NO_IDLE_BASELINE,
    FindingCode.BUDGET_REACHED,
    FindingCode.OTHERS_PROTOCOL,
    FindingCode.TINY_MODEL_ON_GPU,
    FindingCode.HOST_NOT_READABLE,
    FindingCode.ESTIMATED_ENERGY,
    FindingCode.TWO_PHASE,
    FindingCode.SHARED_BY_TOKENS,
    FindingCode.GRADED,
    FindingCode.NO_QUALITY,
    FindingCode.LABEL_UNKNOWN,
    FindingCode.INPUT_UNUSABLE,
}
"""Doubts about what no gate reads, about what its intervals hold already, or about what it says in words of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One cell of a run at one site: a side per mode, and the doubts about what was measured."""

    run: NamedRun
    words: str
    sides: tuple[Side, ...]
    doubts: tuple[Finding, ...]


def evidence(run: NamedRun, kind: SideKind, group: Sequence[Account]) -> Evidence:
    """What a run says of a gate's candidate or reference.

    Args:
        run: As it was named.
        kind: Its part in the gate.
        group: The repeats of one cell at one site, one at least.
    """
    words = f"{models(group[0].summary.cell)} (run {run.path.name if run.model else run.words})"
    figures = [figures_in(account.results.columns, account.summary.headline) for account in group]
    modes = dict.fromkeys(mode.mode for account in group for mode in account.summary.modes if mode.n_queries)
    found = [finding for account in group for finding in account.summary.findings if finding.code not in EXPECTED]
    sides = []
    for mode in modes:
        asked = [
            (account, each.in_mode(mode)) for account, each in zip(group, figures, strict=True) if _n(account, mode)
        ]
        sides.append(_side(words, run, kind, asked, mode))
    return Evidence(run=run, words=words, sides=tuple(sides), doubts=tuple(dict.fromkeys(found)))


def _side(words: str, run: NamedRun, kind: SideKind, asked: Sequence[tuple[Account, Figures]], mode: str) -> Side:
    first, _ = asked[0]
    summary, cell, manifest = first.summary, first.summary.cell, _manifest(first)
    metered = {channel.device for channel in manifest.channels if channel.makes_energy}
    methods = {method for _, figures in asked for _, method in _energies(figures)}
    return Side(
        kind=kind,
        words=words,
        model=cell.model_of(mode),
        mode=mode,
        prompt_set=cell.prompt_set,
        prompt_set_sha256=cell.prompt_set_sha256,
        boards=tuple(board.name for board in manifest.site.boards if board.uuid in metered),
        driver=manifest.site.driver,
        protocol=_protocol(cell, manifest, mode),
        site_id=summary.site_id,
        boundary=summary.headline,
        estimated=any(account.summary.estimated for account, _ in asked),
        replayed=Method.REPLAYED in methods,
        runs=tuple(_run_figures(run, account, figures, mode) for account, figures in asked),
        invalid=tuple(dict.fromkeys(finding for account, _ in asked for finding in _faults(account.summary, mode))),
        boards_unmetered=tuple(dict.fromkeys(uuid for account, _ in asked for uuid in _unmetered(account))),
        inflation=max(_inflation(account.summary) for account, _ in asked),
        shared=load_words(cell) if cell.overlaps else "",
        task=cell.task,
    )


def _run_figures(run: NamedRun, account: Account, figures: Figures, mode: str) -> RunFigures:
    """One repeat: its answered queries in the order of the prompts."""
    repeat, site_id = account.summary.cell.repeat, account.summary.site_id
    gains: dict[tuple[str, Method], float | None] = {}
    for session in account.results.sessions:
        if session.manifest is not None:
            gains.update(gains_of(session.manifest.channels))
    return RunFigures(
        run=f"{run.words}, repeat {repeat + 1}",
        repeat=repeat,
        prompt_ids=tuple(figures.prompt.names[code] for code in figures.prompt.codes.tolist()),
        energy_j=figures.energy_j,
        output_tokens=figures.n_output_tokens,
        correct=np.where(figures.correct < 0, np.nan, figures.correct),
        half_width_reading_j=figures.energy_half_width_j,
        by_device_j={_device(*key, site_id): energy_j for key, energy_j in _energies(figures).items()},
        gains={_device(*key, site_id): gain for key, gain in gains.items()},
        n_failed=_n_without_answer(account, mode),
    )


def _n_without_answer(account: Account, mode: str) -> int:
    """Queries that failed, and those that a run was to ask and has not: it may have been killed by what they took."""
    failed = sum(each.n_failed for each in account.summary.modes if each.mode == mode)
    manifest = _manifest(account)
    could_stop = manifest.until_ci is not None or account.summary.stopping is not None
    return failed if could_stop else failed + max(0, manifest.n_prompts - _n(account, mode))


def _energies(figures: Figures) -> dict[tuple[str, Method], float]:
    """Joules of all queries by device, of those that are in any."""
    return {
        key: float(np.nansum(energy_j)) for key, energy_j in figures.by_device_j.items() if np.isfinite(energy_j).any()
    }


def _n(account: Account, mode: str) -> int:
    """How many queries were asked in a mode."""
    return sum(each.n_queries for each in account.summary.modes if each.mode == mode)


def _device(device: str, method: Method, site_id: str) -> str:
    """A name that two runs share only where it is the same sensor: a board's counter and its power readings are two."""
    name = device if device.startswith(GPU) else f"{site_id}/{device}"
    return name if method in (Method.NVML_COUNTER, Method.RAPL) else f"{name} by {method.value}"


def _protocol(cell: Cell, manifest: RunManifest, mode: str) -> str:
    """What a mode was asked under, besides its prompts and its model."""
    parts = [cell.protocol]
    parts += [f"at most {cap:,} new tokens"] if (cap := cell.cap(mode)) else []
    parts += [options] if (options := options_words(cell)) else []
    parts += [f"at least {cell.min_new_tokens[mode]:,}"] if mode in cell.min_new_tokens else []
    parts += [f"{load_words(cell)}, energy shared by tokens"] if cell.overlaps else []
    parts += [f"by a server, prompt cache {cell.prompt_cache}"] if cell.engine.name == SERVER else []
    parts += [f"output lengths forced ({cell.lengths[:8]})"] if cell.lengths is not None else []
    parts += [f"scored by {cell.scorer}"] if cell.scorer is not None else []
    limits_w = {
        cell.power_limit_w if cell.power_limit_w is not None else board.power_limit_w
        for board in manifest.site.boards
        if cell.power_limit_w is not None or board.power_limit_w != board.power_limit_default_w
    }
    parts += [f"boards held to {limit_w:g} W" for limit_w in sorted(each for each in limits_w if each is not None)]
    return ", ".join(parts)


def _unmetered(account: Account) -> Iterator[str]:
    """Boards that held the model and were not read; a meter of the whole machine reads them all.

    Of a slice of a board it is not stored which board it is of: one metered board answers for it.
    """
    if account.summary.headline is Boundary.NODE:
        return
    for manifest in (session.manifest for session in account.results.sessions):
        if manifest is not None:
            read = {each.device for each in manifest.channels if each.makes_energy}
            read_boards = {device for device in read if device.startswith(GPU)}
            for facts in filter(None, (manifest.engine, manifest.engine_of_pair)):
                for uuid in facts.device_uuids:
                    if uuid not in read_boards if uuid.startswith(GPU) else not read_boards:
                        yield uuid


def _faults(summary: Summary, mode: str) -> tuple[Finding, ...]:
    """Why a mode's figures are not what they are called."""
    two_phase = (Finding(code=FindingCode.TWO_PHASE),) if summary.cell.lengths_batch_size is not None else ()
    return (*not_as_called(summary).get(mode, ()), *two_phase)


def _inflation(summary: Summary) -> float:
    """By what its intervals are widened: it may have stopped when one looked narrow (`analysis.sequential`)."""
    stopping = summary.stopping
    return 1.0 if stopping is None else inflation(stopping.n_prompts_most, one_mode=len(summary.cell.modes) == 1)


def _manifest(account: Account) -> RunManifest:
    manifest = account.results.manifest
    assert manifest is not None, "only cells with a manifest have an account"
    return manifest
