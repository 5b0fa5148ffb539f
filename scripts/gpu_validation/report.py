"""The run directory: raw readings, schedules, results, a page, a picture where matplotlib is there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import SchemaError, StorageFull
from harness.records import SCHEMA_VERSION, Channel, Segment
from harness.store import segments

from .streams import Stream, Stretch
from .verdicts import Figure, Judgement, Ruling, Table, Verdict

WEIGHTS = (
    "The models' weights are random: shapes, kernels and lengths are real, the text is noise. "
    "No figure here says anything about a trained model's answers."
)
REHEARSAL = (
    "**Rehearsal on a processor.** The work did not run on the metered board, so every verdict here is about the "
    "program, not about a board."
)
_SIGNS = {Ruling.CONFIRMED: "confirmed", Ruling.REFUTED: "**refuted**"}


class Directory:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        """Make it; a name that is taken gets a number.

        Raises:
            StorageFull: It cannot be made.
        """
        self.path = path
        number = 1
        try:
            while True:
                try:
                    self.path.mkdir(parents=True)
                    break
                except FileExistsError:
                    number += 1
                    self.path = path.with_name(f"{path.name}-{number}")
            (self.path / "readings").mkdir()
            (self.path / "schedules").mkdir()
        except OSError as error:
            raise StorageFull(f"{path} cannot be made: {error}.", "Name another place with `--output-dir`.") from error

    def keep_raw(self, experiment: str, segment: Segment, schedule: Sequence[Stretch]) -> None:
        """Store one experiment's readings and what was done."""
        segments.write(self.path / "readings" / f"{experiment}.parquet", segment)
        self.write(f"schedules/{experiment}.json", [stretch.model_dump(mode="json") for stretch in schedule])

    def write(self, name: str, content: object) -> None:
        """Write a JSON file, or a text, so that it is whole or not there."""
        text = content if isinstance(content, str) else json.dumps(content, indent=2, allow_nan=False) + "\n"
        path = self.path / name
        draft = path.with_suffix(".partial")
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def judged_again(
    path: Path, judges: Mapping[str, Callable[[Stream, Sequence[Stretch]], Judgement]]
) -> tuple[Verdict, ...]:
    """The verdicts that today's program gives on a stored run's readings.

    Raises:
        SchemaError: It is no run of this script, or a newer version's.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["schema_version"] > SCHEMA_VERSION:
            raise SchemaError(f"{path} has schema version {manifest['schema_version']}.", "Update the harness.")
        channels = [Channel.model_validate(channel) for channel in manifest["channels"]]
        verdicts: list[Verdict] = []
        for schedule_path in sorted((path / "schedules").glob("*.json")):
            judge = judges[schedule_path.stem]
            schedule = [Stretch.model_validate(row) for row in json.loads(schedule_path.read_text(encoding="utf-8"))]
            segment = segments.read(path / "readings" / f"{schedule_path.stem}.parquet")
            verdicts += judge(Stream.of(channels, segment, manifest["uuid"]), schedule).verdicts
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise SchemaError(f"{path} is no run of this script: {error!r}.", "Name its directory.") from error
    return tuple(verdicts)


def page(manifest: Mapping[str, Any], experiments: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict],
         tables: Sequence[Table], *, picture: bool) -> str:  # fmt: skip
    """The report as Markdown."""
    board = manifest["board"]
    lines = [f"# {board} validated", ""]
    if manifest["rehearsal"]:
        lines += [REHEARSAL, ""]
    spent = f"{manifest['duration_s']:.0f} s of {manifest['budget_s']:.0f} s"
    about = f"{manifest['date_utc']}, driver {manifest['site']['driver']}, {spent}"
    lines += [f"{about}, commit {manifest['git_commit'] or 'unknown'}. {WEIGHTS}", ""]
    lines += [f"Note: {note}" for note in manifest["notes"]]
    if manifest["notes"]:
        lines.append("")
    lines += ["| claim | verdict | what was found | figures |", "|---|---|---|---|"]
    lines += [
        f"| {verdict.words} | {_SIGNS.get(verdict.verdict, verdict.verdict.value)} | {_cell(verdict.sentence)} "
        f"| {_cell('; '.join(figure_text(figure) for figure in verdict.figures))} |"
        for verdict in verdicts
    ]
    lines += ["", "## Experiments", "", "| experiment | status | seconds | readings |", "|---|---|--:|--:|"]
    lines += [
        f"| {row['title']} | {_cell(row['status'] + (': ' + row['reason'] if row['reason'] else ''))} "
        f"| {row['duration_s']:.1f} | {row['n_readings']} |"
        for row in experiments
    ]
    if picture:
        lines += ["", "![The experiments in pictures](plot.png)"]
    for table in tables:
        shown = table.rows if len(table.rows) <= 60 else table.rows[:: len(table.rows) // 60 + 1]
        lines += ["", f"## {table.title}", "", f"| {' | '.join(table.columns)} |", "|" + "--:|" * len(table.columns)]
        lines += [f"| {' | '.join(_number(value) for value in row)} |" for row in shown]
        if len(shown) < len(table.rows):
            lines += ["", f"Every {len(table.rows) // 60 + 1}th row; all are in results.json."]
    return "\n".join(lines) + "\n"


def terminal_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """The verdicts for a terminal, one claim and its sentence each."""
    return [f"{verdict.verdict.value:>9}  {verdict.words}\n{'':>9}  {verdict.sentence}" for verdict in verdicts]


def figure_text(figure: Figure) -> str:
    """A figure with its unit and interval."""
    unit = "" if figure.unit == "1" else f" {figure.unit}"
    interval = "" if figure.half_width is None else f" ± {figure.half_width:.2g}"
    return f"{figure.name} {_number(figure.value)}{interval}{unit}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _number(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.5g}"


def draw(path: Path, tables: Sequence[Table]) -> bool:
    """Draw what there is; False where matplotlib is not installed or there is nothing to draw."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return False
    by_name = {table.name: table for table in tables}
    plots = [(name, draw_one) for name, draw_one in _PLOTS.items() if name in by_name]
    if not plots:
        return False
    figure, axes = plt.subplots(len(plots), 1, figsize=(8, 3.6 * len(plots)), layout="constrained", squeeze=False)
    for (name, draw_one), (axis,) in zip(plots, axes, strict=True):
        draw_one(axis, by_name[name])
        axis.set_title(by_name[name].title, fontsize=9)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def _lines(axis: Any, table: Table, columns: Sequence[int], *, log: bool = False) -> None:
    for column in columns:
        points = [(row[0], row[column]) for row in table.rows if row[0] is not None and row[column] is not None]
        if points:
            axis.plot(*zip(*points, strict=True), "o-", ms=3, lw=1, label=table.columns[column])
    axis.set_xlabel(table.columns[0])
    if log:
        axis.set_xscale("log")


def _model_lines(axis: Any, table: Table) -> None:
    for name in dict.fromkeys(row[0] for row in table.rows):
        points = [(row[1], row[7]) for row in table.rows if row[0] == name and row[7] is not None]
        if points:
            axis.plot(*zip(*points, strict=True), "o-", ms=3, lw=1, label=f"{name} (random weights)")
    axis.set(xlabel=table.columns[1], ylabel=table.columns[7], xscale="log", yscale="log")


_PLOTS: dict[str, Callable[[Any, Table], None]] = {
    "square_wave": lambda axis, table: _lines(axis, table, (3, 4)),
    "levels": lambda axis, table: _lines(axis, table, (3,), log=True),
    "windows": lambda axis, table: _lines(axis, table, (5, 7), log=True),
    "tails": lambda axis, table: _lines(axis, table, (1,)),
    "models": _model_lines,
}
