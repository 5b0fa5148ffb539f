"""Runs beside each other: which cells can be compared, in what they differ, and what the difference is.

A cell is compared with the first one before it that answered the same prompts, preferably of the same model; mode by
mode and prompt by prompt. Everything in which the two differ is named, because the ratio is of all of it together.
Knows what is on disk, the analysis and the report. Must not know how a line is laid out.
"""

from __future__ import annotations

import math
import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.comparison import compare, effort
from harness.analysis.estimates import Gains, gains_of
from harness.analysis.figures import Figures, figures_in
from harness.analysis.pooled import mean_of_repeats
from harness.analysis.sequential import inflation, widened_comparison
from harness.analysis.serving.serving import load_words
from harness.errors import ExitCode, UsageError
from harness.publish import Account, accounts, flying_of, shown_on_page
from harness.records import Cell, Comparison, Estimate, Finding, FindingCode, ModeSummary, RunManifest, Summary
from harness.reference.report import TableName, reference_report
from harness.report.compared import not_as_called
from harness.report.facts import command_of, facts_of
from harness.report.leads import match_lead, modes_lead, subjects_lead
from harness.report.page import Lead, PageCell, render_page
from harness.report.receipt import notices_of
from harness.report.reference_lead import reference_lead
from harness.report.serving.loads import loads_leads
from harness.report.wording import models
from harness.store.run_directory import writing

SUBJECT = ("model", "source", "revision", "reasoning", "pair", "trust_remote_code")
"""Fields of a cell that say which model it is; the model's name stands for all of them."""
NOT_COMPARED = {*SUBJECT, "repeat", "modes", "prompt_set", "prompt_set_sha256", "engine"}
GPU = "GPU-"
"""Names of boards begin so and are the same in every run; those of a host's parts are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One cell at one site, under the letter that stands for it."""

    label: str
    run: Path
    account: Account
    repeats: Sequence[Account] = ()
    """Whose means are compared, its own account among them; empty: it stands for itself."""

    @property
    def summary(self) -> Summary:
        """What it says."""
        return self.account.summary

    @property
    def cell(self) -> Cell:
        """What was measured."""
        return self.account.summary.cell

    @property
    def manifest(self) -> RunManifest | None:
        """Of its newest session."""
        return self.account.results.manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A condition in which two sides differ, as they state it."""

    what: str
    base: str
    other: str

    def __str__(self) -> str:
        return f"{self.what} {self.base} → {self.other}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One side over another, a comparison per shared mode; where it is refused there are none."""

    base: Side
    other: Side
    differences: tuple[Difference, ...]
    comparisons: Mapping[str, Comparison]
    estimated: bool
    refusal: str | None = None


def sides_of(runs: Sequence[Path]) -> list[Side]:
    """Every cell of the runs, lettered in order. Of repeats the first stands for all.

    Raises:
        SchemaError: Damaged, or written by a newer version.
        UsageError: A run without a finished query, or more cells than letters.
    """
    found: list[tuple[Path, Account]] = []
    for run in runs:
        measured = accounts(run)
        if not measured:
            raise UsageError(f"{run} holds no finished query.", f"Resume it: harness run --resume {run}")
        first: dict[object, Account] = {}
        for account in measured:
            cell = account.summary.cell.model_copy(update={"repeat": 0})
            first.setdefault((cell.cell_id, account.summary.site_id), account)
        found += [(run, account) for account in first.values()]
    if len(found) > len(string.ascii_uppercase):
        raise UsageError(f"{len(found)} cells are too many for one table.", "Name fewer runs.")
    return [
        Side(label=label, run=run, account=account)
        for label, (run, account) in zip(string.ascii_uppercase, found, strict=False)
    ]


def matches_of(sides: Sequence[Side]) -> list[Match]:
    """Every side but the first, over the side before it that it is to be compared with."""
    return [match(_base(side, sides[:index]), side) for index, side in enumerate(sides) if index]


def match(base: Side, other: Side) -> Match:
    """Two sides, prompt by prompt in each mode that both have.

    Args:
        base: Below the line.
        other: Above it.

    Returns:
        Comparisons, or the reason why there is none.
    """
    differences = tuple(differences_of(base, other))
    refusal = _refusal(base, other)
    comparisons = {} if refusal else _comparisons(base, other)
    if not refusal and not any(each.n_pairs for each in comparisons.values()):
        refusal = "They have no answered prompt in common."
    return Match(
        base=base,
        other=other,
        differences=differences,
        comparisons={} if refusal else comparisons,
        estimated=base.summary.estimated,
        refusal=refusal,
    )


def differences_of(base: Side, other: Side) -> Iterator[Difference]:
    """Everything in which two sides differ, besides their modes and their prompts."""
    if models(base.cell) != models(other.cell):
        yield Difference(what="model", base=models(base.cell), other=models(other.cell))
    elif _revisions(base.cell) != _revisions(other.cell):
        yield Difference(what="revision", base=_revisions(base.cell), other=_revisions(other.cell))
    elif (base.cell.reasoning, base.cell.pair) != (other.cell.reasoning, other.cell.pair):
        yield Difference(what="reasoning mechanism", base="as in its cell.yaml", other="another")
    for what, (own, theirs) in _conditions(base, other):
        if own != theirs:
            yield Difference(what=what, base=own, other=theirs)


def _conditions(base: Side, other: Side) -> Iterator[tuple[str, tuple[str, str]]]:
    for name in Cell.model_fields:
        if name not in NOT_COMPARED:
            yield name.replace("_", " "), (_words(getattr(base.cell, name)), _words(getattr(other.cell, name)))
    for name in type(base.cell.engine).model_fields:
        own, theirs = getattr(base.cell.engine, name), getattr(other.cell.engine, name)
        what = "engine" if name == "name" else name.replace("_", " ")
        yield what, (_words(own), _words(theirs))
    if base.manifest is None or other.manifest is None or base.summary.site_id == other.summary.site_id:
        return
    here, there = base.manifest.site, other.manifest.site
    yield "board", (_boards(base.manifest), _boards(other.manifest))
    yield "driver", (_words(here.driver), _words(there.driver))
    yield "CPU", (here.cpu, there.cpu)
    for name in sorted({*here.packages, *there.packages}):
        yield name, (_words(here.packages.get(name)), _words(there.packages.get(name)))
    if here.hostname_sha256 != there.hostname_sha256:
        yield "machine", (here.hostname_sha256[:8], there.hostname_sha256[:8])


def _revisions(cell: Cell) -> str:
    """Of the model; of a pair both."""
    return " and ".join(each.revision[:12] for each in (cell, cell.pair) if each is not None)


def _words(value: object) -> str:
    if value is None or value == {}:
        return "none"
    if value == ():
        return "none"
    if isinstance(value, tuple):
        return shlex.join(str(each) for each in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _boards(manifest: RunManifest) -> str:
    return ", ".join(board.name for board in manifest.site.boards) or "none"


def _base(side: Side, before: Sequence[Side]) -> Side:
    """The first earlier side that it can be compared with, of the same model if there is one."""
    comparable = [each for each in before if _refusal(each, side) is None]
    same = [each for each in comparable if each.cell.model == side.cell.model]
    return (same or comparable or list(before))[0]


def _refusal(base: Side, other: Side) -> str | None:
    """Why two sides cannot be compared, in words."""
    if base.cell.prompt_set_sha256 != other.cell.prompt_set_sha256:
        return f"They answered different prompts: {base.cell.prompt_set} and {other.cell.prompt_set}."
    if base.summary.estimated != other.summary.estimated:
        one = base if base.summary.estimated else other
        return f"The energy of {one.label} is estimated, the other's is measured: these are never compared."
    if base.summary.headline is not other.summary.headline:
        boundaries = f"{base.summary.headline.value} and {other.summary.headline.value}"
        return f"Their energies include different things: {boundaries}."
    two_phase = [side.label for side in (base, other) if side.summary.two_phase is not None]
    if two_phase:
        return f"Two-phase runs measure few queries, chosen for their lengths: {' and '.join(two_phase)} has no sample."
    loads = (load_words(base.cell), load_words(other.cell))
    if loads[0] != loads[1] and models(base.cell) != models(other.cell):
        return (
            f"Two models under two loads ({loads[0]} and {loads[1]}): their ratio would be of both. Measure one load."
        )
    if not _shared_modes(base, other):
        modes = (", ".join(base.cell.modes), ", ".join(other.cell.modes))
        return f"They have no mode in common: {base.label} has {modes[0]}, {other.label} has {modes[1]}."
    return None


def _shared_modes(base: Side, other: Side) -> list[str]:
    """In the order of how much they think, as far as that is known."""
    shared = [mode for mode in base.cell.modes if mode in other.cell.modes]
    return sorted(shared, key=lambda mode: effort(mode) or (0, 0))


def _comparisons(base: Side, other: Side) -> dict[str, Comparison]:
    below, above = _Figures.of(base), _Figures.of(other)
    if base.summary.site_id != other.summary.site_id:
        below, above = below.named_apart(), above.named_apart()
    factor = max(_inflation(side) for side in (base, other))
    return {
        mode: _with_runs(
            widened_comparison(
                compare(
                    above.by_mode.get(mode, []),
                    below.by_mode.get(mode, []),
                    {**below.gains, **above.gains},
                    modes=(f"{other.label} {mode}", f"{base.label} {mode}"),
                    estimated=base.summary.estimated,
                    invalid=_doubted(mode, base, other),
                ),
                factor,
            ),
            *(next(each for each in side.summary.modes if each.mode == mode) for side in (other, base)),
        )
        for mode in _shared_modes(base, other)
    }


def _load_notes(base: Side, other: Side) -> Iterator[str]:
    """What joules that were shared mean for a comparison."""
    sides = [side for side in (base, other) if side.cell.overlaps]
    if len(sides) == 1:
        alone = base if sides[0] is other else other
        yield (
            f"The joules of {sides[0].label} are shares by tokens ({load_words(sides[0].cell)}); "
            f"those of {alone.label} are {'estimated' if alone.summary.estimated else 'measured'} query by query. "
            "The ratio is of both, with ramp and drain of the load in it."
        )
    elif len(sides) == 2:
        yield (
            "The joules of both are shares by tokens, ramp and drain of the load in them. Neighbours are not "
            "independent, so the interval over prompts may hold less."
        )


def _inflation(side: Side) -> float:
    """By what its intervals are widened: it may have stopped when one looked narrow (`analysis.sequential`)."""
    stopping = side.summary.stopping
    return 1.0 if stopping is None else inflation(stopping.n_prompts_most, one_mode=len(side.cell.modes) == 1)


def _with_runs(comparison: Comparison, above: ModeSummary, below: ModeSummary) -> Comparison:
    """The comparison with what a repeat of both may differ by: their relative spreads in quadrature.

    Unknown unless both were repeated; each side's spread is that of its own mean (`analysis.repeats`).
    """
    spreads = {
        "energy": _ratio_runs(comparison.energy, above.energy_j, below.energy_j),
        "duration": _ratio_runs(comparison.duration, above.duration_s, below.duration_s),
    }
    return comparison.model_copy(update=spreads)


def _ratio_runs(ratio: Estimate, above: Estimate, below: Estimate) -> Estimate:
    spreads = [each.half_width_runs / each.value for each in (above, below) if each.half_width_runs and each.value]
    if ratio.value is None or len(spreads) < 2:
        return ratio
    findings = tuple(finding for finding in ratio.findings if finding.code is not FindingCode.ONE_RUN)
    return ratio.model_copy(update={"half_width_runs": ratio.value * math.hypot(*spreads), "findings": findings})


def _doubted(mode: str, *sides: Side) -> tuple[Finding, ...]:
    """Why a mode is not what its name says in one of the runs; then it is compared with nothing."""
    return tuple(
        Finding(code=finding.code, detail=": ".join(filter(None, (side.label, finding.detail))))
        for side in sides
        for finding in not_as_called(side.summary).get(mode, ())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """A side's answered queries by mode, and the gains of its devices."""

    site_id: str
    by_mode: Mapping[str, Figures]
    gains: Gains

    @classmethod
    def of(cls, side: Side) -> _Figures:
        each = [figures_in(one.results.columns, side.summary.headline) for one in side.repeats or (side.account,)]
        by_mode = {mode: mean_of_repeats([one.in_mode(mode) for one in each]) for mode in each[0].mode.names}
        channels = () if side.manifest is None else side.manifest.channels
        return cls(site_id=side.summary.site_id, by_mode=by_mode, gains=gains_of(channels))

    def named_apart(self) -> _Figures:
        """Devices under names that no other machine has: `cpu-package-0` of two hosts are two devices."""
        devices = dict.fromkeys(device for each in self.by_mode.values() for device, _ in each.by_device_j)
        names = {device: self._name(device) for device in devices}
        by_mode = {mode: each.renamed(names) for mode, each in self.by_mode.items()}
        gains = {(self._name(device), method): gain for (device, method), gain in self.gains.items()}
        return replace(self, by_mode=by_mode, gains=gains)

    def _name(self, device: str) -> str:
        return device if device.startswith(GPU) else f"{self.site_id}/{device}"


def subject_leads(sides: Sequence[Side]) -> list[Lead]:
    """The cells behind the letters; nothing where there is one."""
    return [subjects_lead([(side.label, side.summary) for side in sides])] if len(sides) > 1 else []


def load_leads(sides: Sequence[Side]) -> list[Lead]:
    """Models that were measured under several loads; nothing where none was."""
    return loads_leads([side.summary for side in sides])


def mode_leads(sides: Sequence[Side]) -> list[Lead]:
    """Each cell's own modes; of a cell in one mode what does not hold."""
    leads = []
    for side in sides:
        name = f"{side.label}: {models(side.cell)}" if len(sides) > 1 else models(side.cell)
        if len(side.cell.modes) > 1:
            over = _below(side.summary)
            leads.append(modes_lead(f"{name}, each mode over {over}" if over else name, side.summary))
        elif notices := notices_of(side.summary):
            leads.append(Lead(title=name, notes=notices))
    return leads


def _below(summary: Summary) -> str | None:
    """The mode that the others stand over; None where nothing is compared."""
    if summary.two_phase is not None:
        return summary.two_phase.denominator
    return None if summary.comparison is None else summary.comparison.denominator


def match_leads(matches: Sequence[Match]) -> list[Lead]:
    """One cell over another."""
    return [
        match_lead(
            (each.other.label, each.base.label),
            each.comparisons,
            estimated=each.estimated,
            differences=[str(difference) for difference in each.differences],
            refusal=each.refusal,
            notes=tuple(_notes(each)),
        )
        for each in matches
    ]


def reference_leads(sides: Sequence[Side], table: TableName) -> list[Lead]:
    """Each side beside the rows that somebody published: the modes that are what they are called, all prompts asked."""
    return [_reference_lead(side.label if len(sides) > 1 else "", side, table) for side in sides]


def _reference_lead(label: str, side: Side, table: TableName) -> Lead:
    title = f"{label} beside what was published" if label else "Beside what was published"
    if side.summary.two_phase is not None:
        note = "Not compared. A two-phase run measures few queries, chosen for their lengths: they are no sample."
        return Lead(title=title, notes=(note,))
    doubted = not_as_called(side.summary)
    kept = tuple(mode for mode in side.summary.modes if mode.mode not in doubted)
    if not kept:
        return Lead(title=title, notes=("Not compared. No mode is what it is called.",))
    summary = side.summary.model_copy(update={"modes": kept})
    return reference_lead(label, reference_report(summary, side.manifest, table))


def write_page(path: Path, sides: Sequence[Side], leads: Sequence[Lead]) -> None:
    """Write the page: what is said first, then each cell in full, its modes included.

    Raises:
        StorageFull: It cannot be written.
    """
    cells = []
    for side in sides:
        results = side.account.results
        shown = shown_on_page(results)
        cells.append(
            PageCell(
                summary=side.summary,
                queries=shown.queries,
                n_queries=shown.n_queries,
                facts=(*shown.facts, *facts_of(side.summary, side.manifest, results.sampler)),
                command=command_of(side.manifest),
                label=side.label if len(sides) > 1 else "",
                lengths=results.lengths,
                number=side.account.number,
                flying=[flying_of(load) for load in side.account.loads],
            )
        )
    title = " and ".join(dict.fromkeys(side.run.name for side in sides))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_page(cells, title=title, leads=leads), encoding="utf-8")


def exit_code(sides: Sequence[Side], matches: Sequence[Match]) -> ExitCode:
    """4 where a mode or a comparison is invalid, of a cell's own or of two, or a two-phase figure does not hold."""
    if any(not_as_called(side.summary) for side in sides):
        return ExitCode.INVALID
    if any(side.summary.two_phase is not None and not side.summary.two_phase.valid for side in sides):
        return ExitCode.INVALID
    own = [comparison for side in sides for comparison in side.summary.comparisons]
    between = [comparison for each in matches for comparison in each.comparisons.values()]
    return ExitCode.INVALID if any(each.invalid for each in (*own, *between)) else ExitCode.OK


def _notes(match: Match) -> Iterator[str]:
    """What a reader of a comparison of two cells must know about these two."""
    if match.base.summary.site_id != match.other.summary.site_id and not match.estimated:
        yield "Two sites: the systematic gains of both sensors are in the row `sensor gain`."
    leading = [each.duration if match.estimated else each.energy for each in match.comparisons.values()]
    if any(each.value is not None and each.half_width_runs is None for each in leading):
        yield (
            "The two were measured one after the other, and how far a repeat of each would differ is unknown: "
            "no difference between them is called real. Repeat both (`--repeats 3`)."
        )
    if not all(_inflation(side) == 1 for side in (match.base, match.other)):
        yield "A run could stop as soon as its interval was narrow enough: the intervals are widened for it."
    yield from _load_notes(match.base, match.other)
    caps = {mode: (match.base.cell.cap(mode), match.other.cell.cap(mode)) for mode in match.comparisons}
    unequal = {mode: pair for mode, pair in caps.items() if pair[0] != pair[1]}
    if unequal:
        listed = ", ".join(f"{mode} {other:,} against {base:,}" for mode, (base, other) in unequal.items())
        yield f"Their caps differ ({listed} tokens), so the ratio is one of caps too."
