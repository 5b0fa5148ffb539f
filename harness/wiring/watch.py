"""What a session finds out about its machine: whose boards these are, who else is on them, what its sensors learn.

And the manifest, which says all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
from harness.analysis.busy import busy_shares
from harness.clock import SessionClock, utc_now
from harness.environment.census import NOT_THE_MODELS_ALONE, Census, scope_findings
from harness.environment.machine import git_commit
from harness.environment.nvml import Nvml, open_nvml
from harness.environment.visibility import choose_boards
from harness.meter.meter import SessionMeter
from harness.power_limit.limit import PowerLimit
from harness.records import (
    Attribution,
    Boundary,
    Channel,
    EngineFacts,
    Finding,
    FindingCode,
    RunManifest,
    SensorCard,
    Site,
)
from harness.store.run_directory import RunDirectory
from harness.wiring.jobs import Job
from harness.wiring.sensor_cards import doubts_of, learn

_census = Census()
"""Of this process: what it loads in one session is still its own in the next."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """One session's."""

    job: Job
    store: RunDirectory
    session: int
    meter: SessionMeter
    clock: SessionClock
    run_id: str
    command: Sequence[str]
    boards: tuple[str, ...]
    """That are sampled."""
    site: Site
    cards: dict[str, SensorCard]
    limit: PowerLimit
    pids: Callable[[], Collection[int]]
    """Of a server: its processes are the model's own."""
    findings: list[Finding] = field(default_factory=list)
    attribution: Attribution = Attribution.EXCLUSIVE
    headline: Boundary = Boundary.HOST
    read_boards: set[str] = field(default_factory=set)
    """Of the boards, those whose energy is read."""

    def __post_init__(self) -> None:
        self.read_boards = set(self.boards)

    def before_load(self) -> None:
        """Take down who is on the boards."""
        if self.boards:
            _census.before_load(boards_known().states(served_by=self.pids()))

    def loaded(self, facts: EngineFacts) -> None:
        """A model is on its boards, or a server's: keep those, lower their power if asked, see who else is there."""
        if self.boards:
            self._look_at_boards(facts)
        if any(finding.code in NOT_THE_MODELS_ALONE for finding in self.findings):
            self.attribution = Attribution.WHOLE_BOARD

    def _look_at_boards(self, facts: EngineFacts) -> None:
        known, is_auto = boards_known(), self.job.spec.meter_gpus == "auto"
        holders = choose_boards("auto", known.boards(), facts.device_uuids, known.mig_parents())
        metered = holders if is_auto else self.boards
        states = known.states(served_by=self.pids())
        self.findings += scope_findings([board for board in known.boards() if board.uuid in metered], states)
        self.findings += _census.after_load(states, metered, holders)
        self.findings += self.limit.lower(metered)
        if is_auto:
            others = set(self.boards) - set(holders)
            self.meter.keep({channel.device for channel in self.meter.channels} - others)
            self.read_boards.difference_update(others)
        elif set(self.boards) != set(holders):
            held = ", ".join(holders) or "no board"
            detail = f"metered: {', '.join(self.boards)}; holding the model: {held}"
            self.findings.append(Finding(code=FindingCode.OTHER_BOARDS_METERED, detail=detail))

    def announce(self, facts: tuple[EngineFacts, ...], channels: tuple[Channel, ...]) -> None:
        """Write the manifest: everything is loaded, nothing is asked yet."""
        job, spec = self.job, self.job.spec
        gpu = any(channel.boundary is Boundary.GPU_BOARD for channel in channels)
        self.headline = Boundary.GPU_BOARD if gpu else Boundary.HOST
        if gpu and job.entry.source.startswith("embedded:"):
            self.findings.append(Finding(code=FindingCode.TINY_MODEL_ON_GPU))
        self.findings += doubts_of(self.cards, self.read_boards)
        self.store.write_manifest(
            RunManifest(
                harness_version=harness.__version__,
                run_id=self.run_id,
                cell_id=job.cell.cell_id,
                session=self.session,
                started_utc=utc_now(),
                origin_unix_s=self.clock.origin_unix_s,
                origin_monotonic_s=self.clock.origin_monotonic_s,
                command=tuple(self.command),
                git_commit=git_commit(Path(harness.__file__).parent),
                site=self.site,
                engine=facts[0],
                engine_of_pair=facts[1] if len(facts) > 1 else None,
                channels=channels,
                headline=self.headline,
                meter_gpus=spec.meter_gpus,
                n_prompts=job.n_prompts,
                until_ci=spec.until_ci,
                store_text=spec.store_text,
                tariff_per_kwh=spec.tariff,
                sensor_cards=tuple(self.cards.values()),
                findings=tuple(self.findings),
            )
        )

    def conclude(self) -> list[Finding]:
        """Once all raw readings are on disk: what they teach of the sensors, and who has come meanwhile."""
        if not self.boards:
            return []
        segments = list(self.store.segments(self.session))
        learnt = learn(self.cards, self.meter.channels, segments, self.read_boards)
        busy = busy_shares(self.session, self.meter.channels, segments, self.store.query_columns(), self.read_boards)
        if busy is not None:
            self.store.write_busy(busy)
        return [*learnt, *_census.at_end(boards_known().states(served_by=self.pids()))]


def boards_known() -> Nvml:
    """NVML, whose boards are being sampled."""
    nvml = open_nvml()
    assert isinstance(nvml, Nvml)
    return nvml
