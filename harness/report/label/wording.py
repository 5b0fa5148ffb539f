"""What an energy label says of one model in one mode, in the style of AI Energy Score's and never to be taken for it.

Stars only where their rule allows them (`reference.stars`): their protocol, their prompts, their board, measured.
Otherwise the label says that there are none, and the first reason. Knows what is said. Must not know how it is drawn.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime

from harness.errors import InvalidMeasurement
from harness.records import Cell, Estimate
from harness.reference.matching import outer_interval
from harness.reference.report import reference_report
from harness.reference.stars import STARS, StarRating
from harness.report.compared import listed
from harness.report.exports.cell import ExportMode
from harness.report.exports.statement import boards
from harness.report.exports.vocabulary import task_words, title_of
from harness.report.numbers import ends_of, value_of
from harness.report.task.words import options_words
from harness.report.wording import BOUNDARY, METHOD, estimated_words

NAME = "inference-energy-harness"
DISCLAIMER = "indicative, not AI Energy Score's label"
UNIT = "Wh per 1,000 queries"
REASONING = {"off": "reasoning off", "on": "reasoning on", "default": "the model's own way"}
ERRORS = (("half_width_reading", "sensor"), ("half_width_runs", "repeats"), ("half_width_gain", "board gain"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The texts of a label. `stars` is None where the rule refuses them; `verdict` then has the reason.

    `interval` is empty where there is none; `estimated` holds the words without which an estimate is never shown.
    """

    model: str
    task: str
    prompts: str
    protocol: str
    hardware: str
    month: str
    value: str
    interval: str
    interval_of: str
    boundary: str
    method: str
    estimated: str
    stars: int | None
    verdict: str
    note: str
    run: str
    version: str
    link: str

    @property
    def title(self) -> str:
        """What a screen reader says first."""
        return f"Energy label of {self.model}, {self.task}: {self.value} {UNIT}"

    @property
    def description(self) -> str:
        """Everything on the label, in sentences."""
        found = f"{self.stars} of {STARS} stars: {self.verdict}" if self.stars is not None else f"No stars: {self.note}"
        measured = self.estimated or f"{self.interval} ({self.interval_of})"
        return (
            f"{NAME} {self.version}, {DISCLAIMER}. {self.value} {UNIT}, {measured}. {self.boundary}, {self.method}. "
            f"{found}. {self.prompts}, protocol {self.protocol}, on {self.hardware}, {self.month}. Run {self.run}."
        )


def label_of(mode: ExportMode, *, link: str | None = None) -> Label:
    """What the label of a mode says.

    Args:
        mode: Of one cell; its run-to-run part is that of all repeats.
        link: To print at the foot; None: nothing.

    Raises:
        InvalidMeasurement: Its energy is not known.
    """
    summary, manifest = mode.cell.summary, mode.cell.manifest
    energy = mode.summary.energy_wh_per_1000
    if energy.value is None:
        raise InvalidMeasurement(
            f"The energy of {mode.model}, mode {mode.mode}, is not known: there is nothing to put on a label.",
            "`harness report` says why; `--mode` takes another mode.",
        )
    outer = outer_interval(energy)
    shown = Estimate(value=energy.value) if outer is None else Estimate(value=energy.value, low=outer[0], high=outer[1])
    ends = ends_of(shown)
    rating = _rating(mode)
    verdict, note = _verdict(rating, summary.cell)
    return Label(
        model=printable(mode.model),
        task=_task(mode),
        prompts=printable(f"{len(mode.counted):,} of {summary.cell.prompt_set}"),
        protocol=printable(", ".join(filter(None, (summary.cell.protocol, options_words(summary.cell))))),
        hardware=printable(_counted(boards(mode)) or manifest.site.cpu),
        month=_month(mode.cell.began_utc),
        value=value_of(shown),
        interval=f"95 %: {ends}" if ends else "no interval",
        interval_of=_interval_of(energy, ends, estimated=summary.estimated),
        boundary=f"Gross energy of {BOUNDARY[summary.headline].split(' (')[0]}",
        method=METHOD[summary.method],
        estimated=estimated_words(summary) if summary.estimated else "",
        stars=rating.stars,
        verdict=verdict,
        note=printable(note),
        run=printable(summary.run_id),
        version=manifest.harness_version,
        link=printable(link or ""),
    )


def _task(mode: ExportMode) -> str:
    """The task; of text generation also how it was asked to think."""
    cell = mode.cell.summary.cell
    if cell.task is not None:
        return printable(title_of(cell))
    return f"{title_of(cell)}, {REASONING.get(mode.mode, f'reasoning {mode.mode}')}"


def printable(text: str) -> str:
    """Text on one line, without control and direction characters, which would hide or turn what follows them."""
    kept = (" " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char)[0] != "C")
    return "".join(kept).strip()


def _rating(mode: ExportMode) -> StarRating:
    report = reference_report(mode.cell.summary, mode.cell.manifest, "aies")
    rating = next(each.rating for each in report.modes if each.mode == mode.mode)
    assert rating is not None, "the table of AI Energy Score rates every mode"
    return rating


def _verdict(rating: StarRating, cell: Cell) -> tuple[str, str]:
    """The line beside the stars, and the one beneath."""
    if cell.task is not None:
        return "No stars", f"Not rated: AI Energy Score's scale of {task_words(cell)} is not known"
    if rating.stars is None:
        more = len(rating.refused) - 1
        others = f" (and {more} more reason{'s' if more > 1 else ''})" if more else ""
        return "No stars", f"Not on AI Energy Score's terms: {rating.refused[0]}{others}"
    fewest, most = rating.stars_fewest, rating.stars_most
    between = f"; {fewest} to {most} over the interval" if fewest != most else ""
    scale = f"{rating.least:.4g} to {rating.most:.4g} Wh, {rating.n_models} models"
    outside = "; this lies outside" if rating.moves_scale else ""
    note = f"Release {rating.release}, class {rating.class_}: {scale}{between}{outside}"
    return "by AI Energy Score's rule", note


def _interval_of(energy: Estimate, ends: str, *, estimated: bool) -> str:
    """What the interval is over, and what is missing in it."""
    if not ends:
        return "" if estimated else "too few queries, or none that differ"
    known = [words for part, words in ERRORS if getattr(energy, part) is not None]
    single = ", one run" if energy.half_width_runs is None else ""
    return f"over {listed(['prompts', *known])}{single}"


def _counted(names: list[str]) -> str:
    counts = {name: names.count(name) for name in names}
    return ", ".join(name if count == 1 else f"{count} × {name}" for name, count in counts.items())


def _month(utc: str) -> str:
    return datetime.fromisoformat(utc).strftime("%B %Y")
