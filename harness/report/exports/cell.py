"""What is exported: one cell at one site, and each of its modes with what was measured in it."""

from __future__ import annotations

import itertools
import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.measured import QueryFigures, devices_by_session, figures_of
from harness.errors import InvalidMeasurement
from harness.records import Board, EngineFacts, IntervalRecord, ModeSummary, QueryRecord, RunManifest, Summary, slug
from harness.report.compared import not_as_called
from harness.report.wording import models
from harness.units import J_PER_KWH

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
"""The revision of a model on the Hub; that of local files is a sha256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCell:
    """One cell at one site, as much of it as is exported.

    `idle` are the stretches in which the loaded model did nothing; `started_utc` is the first session's start, None:
    that of the manifest.
    """

    summary: Summary
    queries: Sequence[QueryRecord]
    manifest: RunManifest
    idle: Sequence[IntervalRecord] = ()
    started_utc: str | None = None

    @property
    def began_utc(self) -> str:
        """When it was first measured."""
        return self.started_utc or self.manifest.started_utc

    @property
    def boards(self) -> list[Board]:
        """Those that were metered."""
        metered = {channel.device for channel in self.manifest.channels}
        return [board for board in self.manifest.site.boards if board.uuid in metered]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportMode:
    """One mode of a cell. `counted` are its answered queries whose energy is known."""

    cell: ExportCell
    summary: ModeSummary
    counted: Sequence[QueryFigures]

    @property
    def mode(self) -> str:
        """Its name."""
        return self.summary.mode

    @property
    def model(self) -> str:
        """The checkpoint that answered; a pair has two."""
        return self.cell.summary.cell.model_of(self.mode)

    @property
    def revision(self) -> str:
        """Of that checkpoint: a commit, or the sha256 of the local files."""
        cell = self.cell.summary.cell
        return cell.pair.revision if cell.pair is not None and self._of_pair else cell.revision

    @property
    def hub_name(self) -> str | None:
        """`owner/name` on the Hugging Face Hub; None: from this machine, or not known."""
        cell = self.cell.summary.cell
        source = cell.pair.source if cell.pair is not None and self._of_pair else cell.source
        return _hub_name(source, self.revision)

    @property
    def hub_url(self) -> str | None:
        """Its page on the Hub, at the revision."""
        return None if self.hub_name is None else hub_page(self.hub_name, self.revision)

    @property
    def engine(self) -> EngineFacts | None:
        """What was executed."""
        manifest = self.cell.manifest
        return manifest.engine_of_pair if self._of_pair else manifest.engine

    @property
    def energy_kwh(self) -> float | None:
        """Of all counted queries together; None: there are none."""
        known = [each.energy_j for each in self.counted if each.energy_j is not None]
        return math.fsum(known) / J_PER_KWH if known else None

    @property
    def duration_s(self) -> float:
        """Of all counted queries together, without the pauses between them."""
        return math.fsum(each.duration_s for each in self.counted)

    @property
    def stem(self) -> str:
        """A harmless file name for it, with the number of its repeat after the first."""
        cell = self.cell.summary.cell
        repeat = (f"repeat-{cell.repeat + 1}",) if cell.repeat else ()
        return "-".join((slug(self.model), slug(cell.task or self.mode), *repeat))

    @property
    def _of_pair(self) -> bool:
        pair = self.cell.summary.cell.pair
        return pair is not None and self.mode in pair.modes


def hub_page(source: str, revision: str) -> str | None:
    """The page of a model on the Hub, at the revision; None: from this machine, or not known."""
    name = _hub_name(source, revision)
    return None if name is None else f"https://huggingface.co/{name}/tree/{revision}"


def modes_of(cells: Sequence[ExportCell], mode: str | None = None) -> list[ExportMode]:
    """The modes of the cells, in order.

    Args:
        cells: Of one run.
        mode: Only this one; None: all.

    Raises:
        InvalidMeasurement: One is not what it is called, or its queries were chosen for their lengths (two-phase): the
            formats of others have no place to say so.
    """
    return [_mode(cell, each) for cell in cells for each in cell.summary.modes if mode is None or each.mode == mode]


def first_of_repeats(cells: Sequence[ExportCell]) -> list[ExportCell]:
    """One cell for all its repeats at a site; its figures already hold how far a repeat lies from another."""
    first: dict[object, ExportCell] = {}
    for cell in sorted(cells, key=lambda each: each.summary.cell.repeat):
        same = cell.summary.cell.model_copy(update={"repeat": 0})
        first.setdefault((same.cell_id, cell.summary.site_id), cell)
    return list(first.values())


def identity(*parts: str) -> str:
    """A UUID that is the same whenever the same thing is exported."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("inference-energy-harness", *parts))))


def rounded(value: float) -> float:
    """Nine significant digits: what a double of joules added up can be believed to."""
    return float(f"{value:.9g}")


def named_apart(stems: Sequence[str]) -> list[str]:
    """File names of which no two are the same: later ones get a number."""
    names: list[str] = []
    for stem in stems:
        numbered = (f"{stem}-{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([stem], numbered) if name not in names))
    return names


def _hub_name(source: str, revision: str) -> str | None:
    return source if _HUB_NAME.fullmatch(source) and _COMMIT.fullmatch(revision) else None


def _mode(cell: ExportCell, mode: ModeSummary) -> ExportMode:
    summary = cell.summary
    if summary.cell.lengths_batch_size is not None:
        raise InvalidMeasurement(
            f"Only some of the prompts of {models(summary.cell)} were measured (two-phase), and they are no sample of "
            f"all.",
            "Export csv or parquet, which say so, or measure every prompt: leave `--two-phase` out.",
        )
    why = not_as_called(summary).get(mode.mode)
    if why:
        raise InvalidMeasurement(
            f"The mode {mode.mode} of {models(summary.cell)} is not what it is called: {why[0].code.sentence}",
            f"{why[0].code.next_step} `--mode` exports another mode; csv and parquet say what is wrong.",
        )
    devices = devices_by_session(cell.queries, summary.headline)
    figures = [
        figures_of(query, summary.headline, devices[query.session])
        for query in cell.queries
        if query.mode == mode.mode and query.output is not None
    ]
    counted = [each for each in figures if each.energy_j is not None]
    return ExportMode(cell=cell, summary=mode, counted=counted)
