"""All checks of a run, in order, and what they come to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.publish import accounts
from harness.records import Bundle, RunManifest
from harness.store.run_directory import RunDirectory
from harness.verify.check import Check, Figure, Kind
from harness.verify.energies import energies
from harness.verify.hashes import Origin, bundled, origin_of, taken_down
from harness.verify.identity import identity
from harness.verify.page import page
from harness.verify.program import other_program
from harness.verify.prompts import prompts, prompts_of
from harness.verify.scores import scores
from harness.verify.shares import A_PART_IS_NULL
from harness.verify.stored import BEYOND_READING, StoredCell, damaged, read_cell
from harness.verify.summaries import called_in, summaries

DERIVED = ("queries.parquet", "intervals.parquet", "straight.npz")
"""What may be made again at any time, and is therefore not looked at, whatever it says."""
N_KEPT_MOST = 10_000
"""Differences that are named; of a run in which everything is wrong the first ones say enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A stored figure that the files do not bear out. None: null, or not there."""

    kind: Kind
    where: str
    figure: str
    stored: Figure
    recomputed: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """What could not be checked for one reason: how many figures, and one of them by name."""

    kind: Kind
    why: str
    n_figures: int
    example: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Of one kind: how many figures were checked, and how many of them agree."""

    n_figures: int = 0
    n_agree: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How many figures were checked, which differ, and which could not be checked."""

    n_figures: int
    n_agree: int
    differences: tuple[Difference, ...]
    """The first `N_KEPT_MOST` of them."""
    kinds: dict[Kind, Tally]
    unchecked: tuple[Unchecked, ...]
    """By reason; without the sums of `not_checked`."""
    not_checked: tuple[str, ...] = ()
    """Sums that hold a null, and so say nothing."""
    origin: Origin | None = None
    """The bundle that it came out of; None: it is a run directory."""

    @property
    def n_differences(self) -> int:
        """Also those that are not named."""
        return self.n_figures - self.n_agree


@dataclass(slots=True, kw_only=True)
class _Gathering:
    """Checks as they come."""

    kinds: dict[Kind, Tally] = field(default_factory=lambda: {kind: Tally() for kind in Kind})
    differences: list[Difference] = field(default_factory=list)
    unchecked: dict[tuple[Kind, str], Unchecked] = field(default_factory=dict)
    not_checked: list[str] = field(default_factory=list)

    def take(self, check: Check) -> None:
        """Count it, and keep what is to be named."""
        if check.why_not == A_PART_IS_NULL:
            self.not_checked.append(f"{check.figure}, {check.where}")
        elif check.why_not:
            key = check.kind, check.why_not
            before = self.unchecked.get(key)
            self.unchecked[key] = Unchecked(
                kind=check.kind,
                why=check.why_not,
                n_figures=1 if before is None else before.n_figures + 1,
                example=f"{check.figure}, {check.where}" if before is None else before.example,
            )
        else:
            tally, agrees = self.kinds[check.kind], check.agrees
            tally.n_figures += 1
            tally.n_agree += agrees
            if not agrees and len(self.differences) < N_KEPT_MOST:
                self.differences.append(
                    Difference(
                        kind=check.kind,
                        where=check.where,
                        figure=check.figure,
                        stored=check.stored,
                        recomputed=check.again,
                    )
                )


def verify(run: Path) -> Verification:
    """Check everything that a run's files say against everything else in them.

    Args:
        run: A run directory, one that came out of a bundle too.
    """
    gathering, run = _Gathering(), run.resolve()
    origin, damage = origin_of(run)
    bundle = None if origin is None else origin.bundle
    for check in _hashes(run, bundle, damage):
        gathering.take(check)
    with _without_derived(run) as plain:
        for check in _figures(plain, run.name, bundle):
            gathering.take(check)
    tallies = gathering.kinds.values()
    return Verification(
        n_figures=sum(tally.n_figures for tally in tallies),
        n_agree=sum(tally.n_agree for tally in tallies),
        differences=tuple(gathering.differences),
        kinds={kind: tally for kind, tally in gathering.kinds.items() if tally.n_figures},
        unchecked=tuple(gathering.unchecked.values()),
        not_checked=tuple(gathering.not_checked),
        origin=origin,
    )


def _hashes(run: Path, bundle: Bundle | None, damage: Check | None) -> Iterator[Check]:
    if damage is not None:
        yield damage
    if bundle is not None:
        yield from bundled(run, bundle)
    for directory in _directories(run):
        yield from taken_down(run, directory, bundle)


def _figures(run: Path, name: str, bundle: Bundle | None) -> Iterator[Check]:
    manifests = list[RunManifest]()
    for directory in _directories(run):
        stored = yield from read_cell(run, directory)
        if stored is not None:
            manifests += [session.manifest for session in stored.sessions if session.manifest is not None]
            yield from _of_cell(stored)
        del stored  # before the next one is read
    yield from _published(run, name, bundle, manifests)


def _directories(run: Path) -> list[RunDirectory]:
    """Cells at their sites, also those that have lost their cell.yaml."""
    return [RunDirectory(path) for path in sorted(run.glob("*/*")) if (path / "sessions").is_dir()]


def _of_cell(stored: StoredCell) -> Iterator[Check]:
    yield from identity(stored)
    at_hand = yield from prompts_of(stored)
    yield from prompts(stored, at_hand)
    yield from energies(stored)
    yield from scores(stored, at_hand)


def _published(run: Path, name: str, bundle: Bundle | None, manifests: Sequence[RunManifest]) -> Iterator[Check]:
    """What people look at: the summaries and the page."""
    other = other_program(manifests, bundle)
    try:
        known = {name, *(manifest.run_id for manifest in manifests)} if bundle is None else {bundle.run_id}
        measured = accounts(run, called_in(run, known))
        yield from summaries(run, measured, other)
        yield from page(run, measured, other, is_bundle=bundle is not None)
    except BEYOND_READING as error:
        yield damaged(run, "summary.json and report.html", error, Kind.SUMMARIES)


@contextmanager
def _without_derived(run: Path) -> Iterator[Path]:
    """The run as its raw files alone have it: figures are not to be taken from what was derived from them."""
    if not any(next(run.rglob(name), None) for name in DERIVED):
        yield run
        return
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as folder:
        plain = Path(folder).resolve() / "run"
        for path in run.rglob("*"):
            place = plain / path.relative_to(run)
            if path.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif path.name not in DERIVED:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path)
        yield plain
