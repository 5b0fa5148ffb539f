"""Runs from many machines in one sweep directory: nothing copied twice, nothing overwritten, nothing pooled.

The same cell at another site is another row. The same cell measured again at the same site is a repeat: it lies beside
the first as `<site_id>-2`. A copy of a measurement is taken once; of a copy that was completed later, the later one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from harness.bundle.archive import is_bundle, opened
from harness.config import FIXED, SPEC_NAME, load_yaml
from harness.errors import SchemaError, UsageError
from harness.records import SCHEMA_VERSION, CellOutcome
from harness.results import load_results
from harness.store.run_directory import MEASURED_AGAIN, append_lines, check_version, read_lines, writing
from harness.sweep.directory import SweepDirectory
from harness.sweep.planning.spec import OUTCOMES_FILE
from harness.variants import publish_run

DERIVED = ("*.partial", ".lock", "queries.parquet", "intervals.parquet", "straight-*", "report.html", "compare.html")
"""What is not copied: it can be made again, or belongs to whoever measured."""
FRAMES = "frames"
DEPTH_MOST = 4
"""How deep below a named folder runs are looked for: results/sweep/run and one more."""
SET_ASIDE = re.compile(r"\.damaged-\d+$|\.partial$")


@dataclass(slots=True)
class Collected:
    """What became of the cells that were found."""

    n_taken: int = 0
    n_copies: int = 0
    """Not taken: the same measurement was there."""
    n_completed: int = 0
    """Taken in place of an earlier copy of themselves."""
    n_repeats: int = 0
    """Taken beside another measurement of the same cell at the same site."""
    sites: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)


def collect(sources: Sequence[Path], target: Path, tell: Callable[[str], None]) -> Collected:
    """Copy every cell of the runs below some folders into a sweep directory, which is made where it is not there.

    Args:
        sources: Sweeps, runs, folders of these, or bundles.
        target: The sweep directory.
        tell: Given a line for whatever is not simply taken.

    Raises:
        UsageError: No run below a source, or cells of several schema versions.
        SchemaError: A cell that cannot be read, or one of a newer version; nothing has been copied then.
        StorageFull: The directory cannot be written.
    """
    collected = Collected()
    with ExitStack() as stack:
        folders = [
            stack.enter_context(opened(str(each), each.parent)) if is_bundle(str(each)) else each for each in sources
        ]
        runs = [(folder, run) for source, folder in zip(sources, folders, strict=True) for run in _runs(folder, source)]
        _refuse_versions([run for _, run in runs])
        with writing(target):
            target.mkdir(parents=True, exist_ok=True)
        joined: set[Path] = set()
        for _, run in runs:
            place = _place(target, run)
            if any(place.glob("*/*/cell.yaml")):
                joined.add(place)
            for cell in sorted(run.glob("*/*/cell.yaml")):
                _take(cell.parent, place / cell.parent.relative_to(run), collected, tell)
            collected.runs.add(place.name)
        for place in sorted(joined):
            publish_run(place)  # its repeats and sites are now known together
        for sweep in dict.fromkeys(run.parent for folder, run in runs if run.parent.is_relative_to(folder)):
            _take_plan(sweep, target)
    return collected


def write_frames(target: Path) -> list[Path]:
    """One Parquet file per run with a row per query, so that all of it can be looked through without loading it.

        select model, mode, avg(duration_s) from read_parquet('DIR/frames/*.parquet', union_by_name = true) group by all

    Args:
        target: A sweep directory, or a folder of runs.

    Returns:
        The files.

    Raises:
        StorageFull: They cannot be written.
    """
    folder, written = target / FRAMES, []
    with writing(target):
        folder.mkdir(exist_ok=True)
        for run in _runs(target, target):
            frame = load_results(run)
            if len(frame):
                path = folder / f"{run.name}.parquet"
                frame.to_parquet(path, index=False)
                written.append(path)
    return written


def _runs(folder: Path, named: Path) -> list[Path]:
    """The run directories at or below a folder.

    Raises:
        UsageError: There is none.
    """
    found = list(_walk(folder, DEPTH_MOST))
    if not found:
        raise UsageError(f"There is no run in {named}.", "Name a sweep, a run, a folder of them, or a bundle.")
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if any(folder.glob("*/*/cell.yaml")):
        yield folder
    elif depth:
        for each in sorted(folder.iterdir()) if folder.is_dir() else ():
            if each.is_dir() and not each.is_symlink() and not SET_ASIDE.search(each.name):
                yield from _walk(each, depth - 1)


def _refuse_versions(runs: Sequence[Path]) -> None:
    first: dict[int, Path] = {}
    for run in runs:
        for path in sorted(run.glob("*/*/cell.yaml")):
            version = load_yaml(path).get("schema_version")
            check_version(version, path)
            first.setdefault(int(version), path) if isinstance(version, int) else None
    if len(first) > 1:
        listed = "; ".join(f"{version} in {path}" for version, path in sorted(first.items()))
        raise UsageError(
            f"These runs are of several schema versions, whose figures may mean different things: {listed}.",
            f"Collect those of one version together; new runs have version {SCHEMA_VERSION}.",
        )


def _place(target: Path, run: Path) -> Path:
    """Where a run goes: one of its name, unless that asks for something else."""
    place, number = target / run.name, 1
    while place.exists() and _asked(place) != _asked(run):
        number += 1
        place = target / f"{run.name}-{number}"
    if not (place / SPEC_NAME).exists() and (run / SPEC_NAME).exists():
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / SPEC_NAME, place / SPEC_NAME)
    return place


def _asked(run: Path) -> dict[str, object]:
    """What a run measures, by its run file. How many prompts is not of it: a run can be extended."""
    path = run / SPEC_NAME
    fields = load_yaml(path) if path.exists() else {}
    return {key: fields.get(key) for key in FIXED}


def _take(cell: Path, wanted: Path, collected: Collected, tell: Callable[[str], None]) -> None:
    """One cell at one site."""
    again = MEASURED_AGAIN.fullmatch(wanted.name)  # it was a repeat in another collection, too
    wanted = wanted if again is None else wanted.with_name(again[1])
    place, number = wanted, 1
    collected.sites.add(wanted.name)
    while place.exists():
        here, there = _sessions(place), _sessions(cell)
        if there.items() <= here.items() and _n_bytes(cell) <= _n_bytes(place):
            collected.n_copies += 1
            return
        if here.items() <= there.items():
            tell(f"{cell}: a later copy of {place.name} in {place.parent.name}; it takes its place.")
            _copy(cell, place, replace=True)
            collected.n_completed += 1
            return
        number += 1
        place = wanted.with_name(f"{wanted.name}-{number}")
    if number > 1:
        tell(f"{cell}: the same cell at the same site, measured again: repeat {number}, {place.name}.")
        collected.n_repeats += 1
    _copy(cell, place)
    collected.n_taken += 1


def _sessions(cell: Path) -> dict[str, bytes]:
    """Each session's manifest, which no other session has: it holds when it began."""
    return {path.parent.name: path.read_bytes() for path in sorted(cell.glob("sessions/*/manifest.json"))}


def _n_bytes(cell: Path) -> int:
    path = cell / "queries.jsonl"
    return path.stat().st_size if path.exists() else 0


def _copy(cell: Path, place: Path, *, replace: bool = False) -> None:
    partial = place.with_name(f"{place.name}.partial")
    with writing(place):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(cell, partial, ignore=shutil.ignore_patterns(*DERIVED))
        if replace:
            shutil.rmtree(place)
        partial.rename(place)


def _take_plan(sweep: Path, target: Path) -> None:
    """A sweep's plan and its attempts, so that the collection can be resumed as a sweep."""
    here = SweepDirectory(target)
    known = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in here.plans()]
    for path in SweepDirectory(sweep).plans():
        text = path.read_text(encoding="utf-8")
        if yaml.safe_load(text) not in known:
            here.freeze(text)
    try:
        attempts = read_lines(sweep / OUTCOMES_FILE, CellOutcome)
    except SchemaError:
        return  # how an attempt went; nothing measured is in it
    taken = set(here.outcomes()) if (target / OUTCOMES_FILE).exists() else set()
    new = [attempt for attempt in attempts if attempt not in taken]
    if new:
        append_lines(target / OUTCOMES_FILE, *new)
