"""Recorded output lengths: what an earlier run wrote, prompt by prompt and mode by mode, to be written again.

Lengths are those of the run's first repeat; of a run of variants, of its first variant. Every prompt that is asked
needs one: an answer that ends by itself among others that are forced would be compared with them. A run that lacks some
is refused, with the number of prompts that it has in full.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from harness.analysis.measured import OUTPUT_TOKENS
from harness.config import RunSpec, variant_cells
from harness.errors import UsageError
from harness.records import Cell, Prompt
from harness.results import CellResults, load_run
from harness.store.run_directory import run_path

REPLAY = "replay:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many tokens each answer is to have."""

    run: str
    prompt_set: str
    prompt_set_sha256: str
    sha256: str
    """Over prompts, modes and lengths."""
    by_query: Mapping[tuple[str, str], int]
    """By prompt id and mode."""


def lengths_of(spec: RunSpec) -> Lengths | None:
    """What a run's `--lengths` says; None: each answer ends by itself.

    Raises:
        UsageError: Neither `natural` nor `replay:RUN`, or a run without lengths.
    """
    if spec.lengths == "natural":
        return None
    run = spec.lengths.removeprefix(REPLAY)
    if run == spec.lengths or not run:
        raise UsageError(f"--lengths {spec.lengths}: not understood.", "Write natural, or replay:RUN.")
    return recorded_lengths(run, Path(spec.output_dir))


def recorded_lengths(run: str, output_dir: Path) -> Lengths:
    """The output lengths that a run recorded.

    Args:
        run: A path, a run id under `output_dir`, or `latest`.
        output_dir: Where run ids are looked up.

    Raises:
        UsageError: No such run, no answered query in it, or several cells of which none is the first.
        SchemaError: Damaged, or written by a newer version.
    """
    path = run_path(run, output_dir, measured=True)
    results = _recorded(path)
    columns = results.columns
    sizes = columns.sizes.get(OUTPUT_TOKENS)
    prompts, modes = columns.prompt, columns.mode
    by_query = {
        (prompts.names[prompt], modes.names[mode]): int(size)
        for prompt, mode, size, answered in zip(
            prompts.codes.tolist(),
            modes.codes.tolist(),
            [] if sizes is None else sizes.tolist(),
            columns.answered.tolist(),
            strict=sizes is not None,
        )
        if answered and size > 0  # NaN: not counted
    }
    if not by_query:
        raise UsageError(f"{path.name} recorded no output lengths.", "Name a run whose queries were answered.")
    text = json.dumps([[*key, by_query[key]] for key in sorted(by_query)], separators=(",", ":"))
    return Lengths(
        run=path.name,
        prompt_set=results.cell.prompt_set,
        prompt_set_sha256=results.cell.prompt_set_sha256,
        sha256=sha256(text.encode()).hexdigest(),
        by_query=by_query,
    )


def _recorded(path: Path) -> CellResults:
    """The cell whose lengths are the run's: of the first repeat; of variants, the first one's."""
    found = [results for results in load_run(path) if results.cell.repeat == 0 and len(results.columns)]
    variants = variant_cells(path / "run.yaml") if (path / "run.yaml").exists() else {}
    for cells in variants.values():
        named = [results for results in found if results.cell.cell_id in cells]
        if named:
            found = named
            break
    if len({results.cell.cell_id for results in found}) > 1:
        raise UsageError(
            f"{path.name} holds {len(found)} cells, and each has lengths of its own.",
            "Name a run of one model under one load.",
        )
    if not found:
        raise UsageError(f"{path.name} holds no finished query.", "Complete it (--resume), or name another run.")
    return max(found, key=lambda results: len(results.columns))  # of several sites, the one that got furthest


def refuse_lengths(lengths: Lengths, cell: Cell, prompts: Sequence[Prompt]) -> None:
    """Refuse lengths that are not of these queries, or longer than the cap lets them be.

    Args:
        lengths: Recorded.
        cell: What is to be measured.
        prompts: All that are asked.

    Raises:
        UsageError: With what to do.
    """
    if lengths.prompt_set_sha256 != cell.prompt_set_sha256:
        raise UsageError(
            f"--lengths replay:{lengths.run}: that run answered {lengths.prompt_set}, and this one {cell.prompt_set} "
            "asks other prompts, or another version of them.",
            "Name a run of the same prompts, or --prompts.",
        )
    if cell.lengths_batch_size is not None:
        raise UsageError("--two-phase counts tokens, and --lengths fixes them.", "Leave one of them out.")
    for mode in cell.modes:
        whole = next((n for n, prompt in enumerate(prompts) if (prompt.prompt_id, mode) not in lengths.by_query), None)
        if whole == 0:
            raise UsageError(
                f"--lengths replay:{lengths.run}: that run recorded no length in the mode {mode}.",
                "Ask the modes that it has (--mode).",
            )
        if whole is not None:
            raise UsageError(
                f"--lengths replay:{lengths.run}: that run has no length for {prompts[whole].prompt_id} in the mode "
                f"{mode}, and an answer that ended by itself would not compare with the others.",
                f"Complete that run (--resume), or ask the first {whole} (--num-prompts {whole}).",
            )
        longest = max(lengths.by_query[prompt.prompt_id, mode] for prompt in prompts)
        if longest > cell.cap(mode):
            raise UsageError(
                f"--lengths replay:{lengths.run}: up to {longest:,} tokens were recorded in the mode {mode}, and at "
                f"most {cell.cap(mode):,} are allowed.",
                f"Raise --max-new-tokens to {longest}.",
            )
