"""The blocks of a gate: one repeat of one side each, one load and all prompts; their order, and what is on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.records import Boundary
from harness.store.run_directory import RunDirectory
from harness.wiring.jobs import Job


class Part(StrEnum):
    """A side's part in a gate, which names its run directory."""

    CANDIDATE = "candidate"
    REFERENCE = "reference"


def order(repeat: int) -> tuple[Part, Part]:
    """Which side comes first: each in turn, so that what drifts steadily weighs on both alike."""
    return (Part.CANDIDATE, Part.REFERENCE) if repeat % 2 == 0 else (Part.REFERENCE, Part.CANDIDATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One repeat of one side."""

    part: Part
    job: Job
    run: Path
    site_id: str

    @property
    def directory(self) -> RunDirectory:
        """Where it lies, whether it was begun or not."""
        return RunDirectory(self.run / self.job.cell.cell_id / self.site_id)

    @property
    def is_begun(self) -> bool:
        """Whether a session of it is on disk."""
        return bool(self.directory.sessions())

    @property
    def is_complete(self) -> bool:
        """Whether every query of it is on disk, with an energy or with a reason that would come again."""
        asked = {
            (prompt.prompt_id, mode)
            for prompt in self.job.prompt_set.prompts[: self.job.n_prompts]
            for mode in self.job.cell.modes
        }
        return asked <= self.directory.finished()

    def boards(self) -> frozenset[str]:
        """UUIDs of the boards that were read, and of those that held the model, over all its sessions."""
        directory = self.directory
        manifests = [each for number in directory.sessions() if (each := directory.manifest(number)) is not None]
        read = {
            channel.device
            for manifest in manifests
            for channel in manifest.channels
            if channel.makes_energy and channel.boundary is Boundary.GPU_BOARD
        }
        return frozenset(read.union(*(manifest.engine.device_uuids for manifest in manifests)))

    def duration_s(self) -> float:
        """Seconds for which its sessions held the machine, as far as they are on disk.

        Of a killed session that is until its last query that became final.
        """
        return sum(self._ends_s())

    def _ends_s(self) -> Iterator[float]:
        directory = self.directory
        queries = directory.queries()
        for number in directory.sessions():
            ends_s = [interval.time_end_s for interval in directory.intervals(number)]
            ends_s += [query.time_end_s for query in queries if query.session == number]
            yield max(ends_s, default=0.0)
