"""What may be done to a run after it was measured: edits of its files, and a forger who makes the rest right again."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.bundle.contents import BUNDLE_NAME, bundle_of, read_bundle
from harness.publish import accounts, publish
from harness.records import Segment
from harness.store import segments
from harness.store.run_directory import RunDirectory, cells
from tests.verifiable_run import RUN_ID

Fields = dict[str, Any]
PROMPT, MODE = "chains-0002", "on"
"""The query that is tampered with; its answer is right. In mode off it is wrong."""


def cell_of(run: Path) -> Path:
    """The directory of its only cell."""
    (directory,) = cells(run)
    return directory.path


def bundled(run: Path) -> Path:
    """The run as it comes out of its bundle."""
    earlier = read_bundle(run)
    bundle = bundle_of(run, RUN_ID if earlier is None else earlier.run_id, "stored", "")
    (run / BUNDLE_NAME).write_text(bundle.model_dump_json(indent=1) + "\n")
    return run


def rehashed(run: Path) -> None:
    """All hashes made right again, of the sessions and of the bundle."""
    for directory in cells(run):
        for session in directory.sessions():
            path = directory.path / "sessions" / f"{session:02d}" / "end.json"
            if path.exists():
                fields = json.loads(path.read_text())
                hashes = RunDirectory(directory.path)._hashes(session)
                fields["files"] = {name: known.model_dump() for name, known in hashes.items()}
                path.write_text(json.dumps(fields))
    bundled(run)


def published(run: Path) -> None:
    """Summaries and page made anew from what is there now."""
    bundle = read_bundle(run)
    publish(run, accounts(run, run_id=None if bundle is None else bundle.run_id))


# ------------------------------------------------------------------------------------- edits of one file


def in_lines(name: str, wanted: Callable[[Fields], bool], change: Callable[[Fields], None]) -> Callable[[Path], None]:
    """An edit of the first such line."""

    def edit(run: Path) -> None:
        path = cell_of(run) / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(next(line for line in lines if wanted(line)))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return edit


def in_query(change: Callable[[Fields], None], mode: str = MODE) -> Callable[[Path], None]:
    """An edit of one query."""
    return in_lines("queries.jsonl", lambda line: (line["prompt_id"], line["mode"]) == (PROMPT, mode), change)


def without_line(name: str, wanted: Callable[[Fields], bool], times: int = 0) -> Callable[[Path], None]:
    """A line removed; or with `times` 2, doubled."""

    def edit(run: Path) -> None:
        path = cell_of(run) / name
        lines = path.read_text().splitlines(keepends=True)
        place = next(place for place, line in enumerate(lines) if wanted(json.loads(line)))
        path.write_text("".join([*lines[:place], *lines[place : place + 1] * times, *lines[place + 1 :]]))

    return edit


def is_query(line: Fields) -> bool:
    return (line["prompt_id"], line["mode"]) == (PROMPT, MODE)


def in_json(name: str, change: Callable[[Fields], None]) -> Callable[[Path], None]:
    """An edit of a JSON file of the cell."""

    def edit(run: Path) -> None:
        path = cell_of(run) / name
        fields = json.loads(path.read_text())
        change(fields)
        path.write_text(json.dumps(fields))

    return edit


def in_cell_yaml(**changes: object) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        path = cell_of(run) / "cell.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))

    return edit


def in_page(before: str, after: str) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        path = run / "report.html"
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))

    return edit


def with_answer(text: str) -> Callable[[Fields], None]:
    """Another answer, its hash made right."""

    def change(line: Fields) -> None:
        line["output"] |= {"text": text, "text_sha256": sha256(text.encode()).hexdigest()}

    return change


def asked(text: str, *, hashed: bool) -> Callable[[Fields], None]:
    """Another prompt, its hash made right or not."""

    def change(line: Fields) -> None:
        line["output"]["rendered_prompt"] = text
        if hashed:
            line["output"]["rendered_prompt_sha256"] = sha256(text.encode()).hexdigest()

    return change


# ----------------------------------------------------------------------------------------- raw readings


def powers(run: Path) -> list[Path]:
    return sorted((cell_of(run) / "sessions" / "01").glob("power-*.parquet"))


def renumbered(run: Path, paths: list[Path]) -> None:
    """These files and no others, under the numbers from 0 on."""
    contents = [path.read_bytes() for path in paths]
    for path in powers(run):
        path.unlink()
    for place, content in enumerate(contents):
        (cell_of(run) / "sessions" / "01" / f"power-{place:04d}.parquet").write_bytes(content)


def without_segment(place: int) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        paths = powers(run)
        del paths[place]
        renumbered(run, paths)

    return edit


def swapped_segments(run: Path) -> None:
    first, second, third, *rest = powers(run)
    renumbered(run, [first, third, second, *rest])


def doubled_segment(run: Path) -> None:
    first, second, *rest = powers(run)
    renumbered(run, [first, second, second, *rest])


def edited_reading(run: Path) -> None:
    """One reading in the middle of a query doubled."""
    query = next(each for each in cells(run)[0].queries() if (each.prompt_id, each.mode) == (PROMPT, MODE))
    middle_s = (query.time_start_s + query.time_end_s) / 2
    for path in powers(run):
        segment = segments.read(path)
        near = np.flatnonzero((segment.channel == 0) & (np.abs(segment.time_after_s - middle_s) < 0.06))
        if len(near):
            value = segment.value.copy()
            value[near[0]] *= 2.0
            columns = {name: getattr(segment, name) for name in segments.COLUMNS} | {"value": value}
            segments.write(path, Segment(**columns))
            return
    raise AssertionError("no reading there")


# ---------------------------------------------------------------------------------------- files as such


def removed(name: str) -> Callable[[Path], None]:
    return lambda run: (cell_of(run) / name).unlink()


def cut(name: str, share: float) -> Callable[[Path], None]:
    """The end of a file gone."""

    def edit(run: Path) -> None:
        path = cell_of(run) / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return edit


def added_power(run: Path) -> None:
    (powers(run)[0].parent / "power-0099.parquet").write_bytes(powers(run)[-1].read_bytes())


def other_revision_everywhere(run: Path) -> None:
    """Another revision, and every name that follows from it."""
    in_cell_yaml(revision="1" * 40)(run)
    place = cell_of(run)
    cell_id = RunDirectory(place).cell().cell_id
    in_json("sessions/01/manifest.json", lambda fields: fields.update(cell_id=cell_id))(run)
    place.parent.rename(run / cell_id)
