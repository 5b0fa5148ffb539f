"""What a run directory holds of a planned cell: whether it is whole, what it cost, whether it can be read.

A thousand cells are looked through at every resume, so the end of the last session and the number of lines are looked
at first. Only where they do not say it all are the queries themselves read.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import SPEC_NAME, load_yaml
from harness.errors import HarnessError, SchemaError
from harness.records import Method, PlannedCell, QueryRecord, RunManifest
from harness.store.run_directory import RunDirectory, cells

IN_GOOD_ORDER = ("finished", "settled")
"""How a session ends that has asked all that it was to ask."""
UNKNOWN_MARKS = (b'"energy_gross_j":null', b'"output":null')
"""In a line of `queries.jsonl`: something about it is unknown, and may be asked again. No text can hold them."""
PIECE_BYTES = 16 * 2**20
NEWER = re.compile(r"has schema version \d+;")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One repeat of a run at one site, as it stands on disk."""

    is_whole: bool
    n_queries: int
    energy_j: float | None
    """Of its queries, gross, at the headline boundary; None: one of them is unknown."""
    estimated: bool


def repeats_of(run: Path, planned: PlannedCell) -> Counter[int]:
    """By repeat of a planned run, at how many sites it is whole. What cannot be read is not."""
    found: set[tuple[int, str]] = set()
    for directory in cells(run):
        try:
            repeat, n_modes = _in_short(directory)
            if _is_whole(directory, planned.spec, n_modes):
                found.add((repeat, directory.site_id))
        except (HarnessError, OSError):
            continue  # damaged, and so not finished; `fault_of` says what is wrong with it
    return Counter(repeat for repeat, _ in found)


def measured_of(run: Path, planned: PlannedCell, gpus: Collection[str] = ()) -> Measured | None:
    """What was measured of one repeat, where it was last worked on; None: no query of it is there.

    Args:
        run: The run's directory.
        planned: The cell.
        gpus: UUIDs; if a board of these was metered somewhere, it is there.

    Raises:
        SchemaError: It cannot be read.
    """
    own = [directory for directory in cells(run) if directory.sessions() and _in_short(directory)[0] == planned.repeat]
    if not own:
        return None
    here = [each for each in own if _boards(each) & set(gpus)] or own
    newest = max(here, key=lambda each: (each.path / "sessions").stat().st_mtime)
    queries = {(query.prompt_id, query.mode): query for query in newest.queries()}  # asked again: the last one
    manifest = _manifest(newest)
    if not queries or manifest is None:
        return None
    return Measured(
        is_whole=_is_whole(newest, planned.spec, _in_short(newest)[1]),
        n_queries=len(queries),
        energy_j=_energy_j(queries.values(), manifest),
        estimated=any(each.method is Method.ESTIMATED for query in queries.values() for each in query.readings),
    )


def fault_of(run: Path, *, thorough: bool = False) -> str | None:
    """What is wrong with a run directory that a process would stumble over; None: nothing.

    What a kill leaves behind is no fault. Cells whose last session took down what its files hold are compared with
    that; the others are read.

    Args:
        run: Its directory.
        thorough: Read all of them.

    Raises:
        SchemaError: It was written by a newer version.
    """
    try:
        if thorough and (run / SPEC_NAME).exists():
            load_yaml(run / SPEC_NAME)
        for place in run.glob("*/*"):
            if (place / "sessions").is_dir() and not (place / "cell.yaml").is_file():
                return f"{place.relative_to(run)} has no cell.yaml"
        for directory in cells(run):
            if thorough or not _is_as_it_ended(directory):
                _read(directory)
    except HarnessError as error:
        if NEWER.search(str(error)):
            raise
        return str(error)
    return None


def _in_short(directory: RunDirectory) -> tuple[int, int]:
    """A cell's repeat and its number of modes, found without reading all of its YAML.

    Raises:
        SchemaError: It cannot be read.
    """
    text = (directory.path / "cell.yaml").read_text(encoding="utf-8")
    repeat = re.search(r"^repeat: (\d+)$", text, re.MULTILINE)
    modes = re.search(r"^modes:\n((?:- .*\n)+)", text, re.MULTILINE)
    if repeat is None or modes is None:
        cell = directory.cell()
        return cell.repeat, len(cell.modes)
    return int(repeat[1]), modes[1].count("\n")


def _is_whole(directory: RunDirectory, spec: Mapping[str, Any], n_modes: int) -> bool:
    """Whether every planned prompt is there in every mode, with its energy.

    A session that was killed after its last query has left nothing to be measured, and counts.
    """
    sessions = directory.sessions()
    manifests = [
        path for n in sessions if (path := directory.path / "sessions" / f"{n:02d}" / "manifest.json").exists()
    ]
    if not manifests:
        return False
    n_asked = int(_field(manifests[-1], "n_prompts"))
    end = directory.path / "sessions" / f"{sessions[-1]:02d}" / "end.json"
    ended_well = end.exists() and _field(end, "status") in IN_GOOD_ORDER
    n_lines, is_plain = _lines(directory.path / "queries.jsonl")
    if spec.get("until_ci") or spec.get("two_phase"):  # how many it takes is known when it has ended
        return (ended_well and is_plain and n_lines > 0) or _is_complete(directory)
    n_planned = int(spec.get("num_prompts") or n_asked)
    if n_asked < n_planned or n_lines < n_planned * n_modes:
        return False
    if ended_well and is_plain and n_lines == n_asked * n_modes:
        return True
    finished = directory.finished()
    queries = directory.query_columns()
    wanted = queries.prompt_index < n_planned
    ids = {queries.prompt.names[code] for code in np.unique(queries.prompt.codes[wanted])}
    return sum(prompt_id in ids for prompt_id, _ in finished) >= n_planned * n_modes


def _is_complete(directory: RunDirectory) -> bool:
    """The same of a run that decides itself how much it asks."""
    from harness.publish import accounts  # costs a second, and few sweeps need it
    from harness.study import is_complete

    run, repeat = directory.path.parents[1], directory.cell().repeat
    return any(
        is_complete(account.summary)
        for account in accounts(run)
        if account.summary.cell.repeat == repeat and account.summary.site_id == directory.site_id
    )


def _lines(path: Path) -> tuple[int, bool]:
    """How many finished lines a file has, and whether nothing in it is unknown."""
    n_lines, is_plain, before = 0, True, b""
    if not path.exists():
        return 0, True
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            n_lines += piece.count(b"\n")
            is_plain = is_plain and not any(mark in before + piece for mark in UNKNOWN_MARKS)
            before = piece[-max(map(len, UNKNOWN_MARKS)) :]
    return n_lines, is_plain


def _field(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_bytes())[name]
    except (ValueError, TypeError, KeyError) as error:
        raise SchemaError(f"{path} is damaged: {error}", "Restore it from a copy of the run.") from error


def _is_as_it_ended(directory: RunDirectory) -> bool:
    """Whether the last session ended in good order and every file is at least as long as it says."""
    sessions = directory.sessions()
    end = directory.end(sessions[-1]) if sessions else None
    if end is None or not end.files:
        return False
    own = directory.path / "sessions" / f"{sessions[-1]:02d}"
    for name, said in end.files.items():
        path = own / name if (own / name).exists() else directory.path / name
        if not path.exists() or path.stat().st_size < said.n_bytes:
            raise SchemaError(f"{path} is shorter than when it was measured.", "Restore it from a copy of the run.")
    return True


def _read(directory: RunDirectory) -> None:
    directory.cell()
    for number in directory.sessions():
        directory.manifest(number)
        directory.end(number)
        directory.intervals(number)
    directory.queries()
    directory.lengths()


def _manifest(directory: RunDirectory) -> RunManifest | None:
    """Of the newest session that has one."""
    return next((found for n in reversed(directory.sessions()) if (found := directory.manifest(n))), None)


def _boards(directory: RunDirectory) -> set[str]:
    manifest = _manifest(directory)
    return {board.uuid for board in manifest.site.boards} if manifest else set()


def _energy_j(queries: Iterable[QueryRecord], manifest: RunManifest) -> float | None:
    parts = [
        reading.energy_gross_j
        for query in queries
        for reading in query.readings
        if reading.boundary is manifest.headline
    ]
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known and len(known) == len(parts) else None
