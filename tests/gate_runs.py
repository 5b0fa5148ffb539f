"""Run directories with known joules for the tests of the gate, as a run writes them, on a board that is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.publish import Account, accounts
from harness.records import Boundary, Method, QueryRecord, RunManifest, Site
from harness.store.run_directory import RunDirectory
from tests.synthetic_runs import cell, channel, query, reading

GOLDEN = sorted((Path(__file__).parent / "golden").glob("schema-*"))[-1]
H100 = "GPU-11111111-2222-3333-4444-555555555555"
A100 = "GPU-99999999-2222-3333-4444-555555555555"
NAMES = {H100: "NVIDIA H100 80GB HBM3", A100: "NVIDIA A100-SXM4-80GB"}
JOULES = {"off": 40.0, "on": 200.0}
TOKENS = {"off": 50, "on": 250}
SD_PROMPTS = 0.3
"""Log standard deviation of what prompts take, the same prompts in every run."""
SD_QUERY = 0.005
"""What a query adds of its own."""


def accounts_once() -> Callable[[Path], list[Account]]:
    """What `publish.accounts` gives, read once of files that stay as they are: a module's tests share runs."""
    known: dict[tuple[object, ...], list[Account]] = {}

    def accounts_of(run: Path) -> list[Account]:
        files = [(file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in sorted(run.rglob("*"))]
        return known[key] if (key := tuple(files)) in known else known.setdefault(key, accounts(run))

    return accounts_of


def write_run(
    path: Path,
    *,
    factor: float = 1.0,
    n_prompts: int = 30,
    repeats: int = 3,
    sd_runs: float = 0.002,
    modes: Sequence[str] = ("off",),
    model: str = "Qwen/Qwen3-8B",
    method: Method = Method.NVML_COUNTER,
    board: str = H100,
    driver: str = "570.133.20",
    failed: Sequence[int] = (),
    without_energy: Sequence[int] = (),
    thinks: bool = True,
    n_correct: int | None = None,
    until_ci: float | None = None,
    seed: int = 1,
    **fields: Any,
) -> Path:
    """A run of one model, all repeats of it on one board.

    Args:
        path: Where to.
        factor: On every energy.
        n_prompts: In each mode.
        repeats: Of the cell.
        sd_runs: Relative, from repeat to repeat.
        modes: `off` and `on`, or one of them.
        model: Its name.
        method: How the joules are said to be found.
        board: Its UUID.
        driver: Its version.
        failed: Prompts whose query failed.
        without_energy: Prompts whose energy is null.
        thinks: Whether mode `on` does what it is called.
        n_correct: How many prompts are answered right, in every mode; None: they are not scored.
        until_ci: Relative half-width at which it was to stop.
        seed: Of what a repeat and a query add.
        fields: Of the cell.

    Returns:
        `path`.
    """
    estimated = method is Method.ESTIMATED
    device, boundary = ("codecarbon-host-model", Boundary.HOST) if estimated else (board, Boundary.GPU_BOARD)
    manifest = _manifest(path.name, device, method, boundary, driver, n_prompts)
    manifest = manifest.model_copy(update={"until_ci": until_ci})
    hardness = np.random.default_rng(0).lognormal(0.0, SD_PROMPTS, n_prompts)
    rng = np.random.default_rng(seed)
    for repeat in range(repeats):
        level = factor * (1 + sd_runs * (repeat - (repeats - 1) / 2))
        one = cell(modes, model).model_copy(update={"repeat": repeat, "max_new_tokens": 512, **fields})
        store = RunDirectory.create(path, one, manifest.site.site_id)
        session = store.begin_session()
        store.write_manifest(manifest.model_copy(update={"cell_id": one.cell_id, "session": session}))
        lines = []
        for index in range(n_prompts):
            for mode in modes:
                joules = JOULES[mode] * hardness[index] * level * (1 + SD_QUERY * rng.standard_normal())
                known = None if index in without_energy else joules
                lines.append(
                    _query(
                        session,
                        index,
                        mode,
                        known,
                        device,
                        method,
                        boundary,
                        hardness[index],
                        failed,
                        thinks,
                        n_correct,
                    )
                )
        text = "".join(line.model_dump_json() + "\n" for line in lines)
        (store.path / "queries.jsonl").write_text(text)
    return path


def _query(
    session: int,
    index: int,
    mode: str,
    energy_j: float | None,
    device: str,
    method: Method,
    boundary: Boundary,
    hardness: float,
    failed: Sequence[int],
    thinks: bool,
    n_correct: int | None,
) -> QueryRecord:
    tokens = round(TOKENS[mode] * hardness)
    thinking = tokens // 2 if mode == "on" and thinks else 0
    duration_s = tokens * 0.02
    one = query(
        index,
        mode,
        energy_j,
        thinking_tokens=thinking,
        answer_tokens=tokens - thinking,
        duration_s=duration_s,
        time_start_s=100.0 * index + (50.0 if mode == "on" else 0.0),
        correct=None if n_correct is None else index < n_correct,
        readings=[
            reading(
                energy_j,
                duration_s=duration_s,
                half_width_j=None if energy_j is None else 0.002 * energy_j,
                device=device,
                boundary=boundary,
                method=method,
            )
        ],
        failed=index in failed,
    )
    output = one.output
    if output is not None:
        sizes = {**output.sizes, "output_tokens": tokens}
        update = {
            "sizes": sizes,
            "thought": thinking > 0,
            "rendered_prompt_sha256": hashlib.sha256(f"{index} {mode}".encode()).hexdigest(),
            "text_sha256": hashlib.sha256(f"{index} {mode} answer".encode()).hexdigest(),
        }
        output = output.model_copy(update=update)
    return one.model_copy(update={"session": session, "output": output})


def _manifest(run_id: str, device: str, method: Method, boundary: Boundary, driver: str, n_prompts: int) -> RunManifest:
    (path,) = GOLDEN.glob("*/*/sessions/01/manifest.json")
    stored = RunManifest.model_validate(json.loads(path.read_text()))
    boards = tuple(
        board.model_copy(update={"uuid": device, "name": NAMES[device]})
        for board in stored.site.boards
        if device in NAMES
    )
    site = Site(**{**dict(stored.site), "boards": boards, "driver": driver if boards else None})
    return stored.model_copy(
        update={
            "run_id": run_id,
            "site": site,
            "channels": (channel(device, method, boundary),),
            "headline": boundary,
            "n_prompts": n_prompts,
            "findings": (),
        }
    )
