"""Candidates and references whose true joules are known, as the gate is shown them.

A prompt's joules are log-normal, and its logs on the two sides are correlated: a long answer of one release is rather
long in the next. A run multiplies all its queries by one effect, a query scatters by 2 % about that, the sensor
misreads a whole side by a common error, and a board's gain multiplies everything that is measured on it; a board
without a name has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.gate.evidence import FloatArray, RunFigures, Side, SideKind
from harness.records import Boundary

QUERY_LOG_SD = 0.02
READING_HALF_WIDTH = 0.005
GAIN_HALF_WIDTH = 0.05
Z = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where studies come from. The truth is that the candidate's mean is `ratio` times the reference's, which is 1."""

    n: int
    log_sd: float
    run_sd: float
    ratio: float = 1.0
    correlation: float = 0.5
    n_repeats: int = 3
    share_correct: float = 1.0
    boards: tuple[str, str] = ("GPU-1", "GPU-1")
    session_sd: float = 0.0
    same_prompts: bool = True
    together: bool = True
    modes: tuple[str, ...] = ("on",)

    def study(self, rng: np.random.Generator) -> tuple[list[Side], list[Side]]:
        """The sides of one candidate and of one reference, a side for each mode."""
        pairs = [self._mode(mode, rng) for mode in self.modes]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def _mode(self, mode: str, rng: np.random.Generator) -> tuple[Side, Side]:
        first, own = rng.standard_normal(self.n), rng.standard_normal(self.n)
        second = self.correlation * first + np.sqrt(1 - self.correlation**2) * own
        centre = -(self.log_sd**2) / 2
        errors = {board: rng.standard_normal() * GAIN_HALF_WIDTH / Z for board in sorted(set(self.boards) - {""})}
        means = self.ratio * np.exp(centre + self.log_sd * first), np.exp(centre + self.log_sd * second)
        kinds = (SideKind.CANDIDATE, SideKind.RELEASE)
        candidate, reference = (
            self._side(kind, mode, joules, board, 1 + errors.get(board, 0.0), rng)
            for kind, joules, board in zip(kinds, means, self.boards, strict=True)
        )
        return candidate, reference

    def _side(
        self, kind: SideKind, mode: str, means_j: FloatArray, board: str, gain: float, rng: np.random.Generator
    ) -> Side:
        common = gain * (1 + rng.standard_normal() * READING_HALF_WIDTH / Z) * self._effect(self.session_sd, rng)
        correct = (rng.random(self.n) < self.share_correct).astype(np.float64)
        runs = tuple(self._run(kind, index, common * means_j, correct, board, rng) for index in range(self.n_repeats))
        other = None if self.same_prompts or kind is SideKind.CANDIDATE else "1" * 64
        return Side(
            kind=kind,
            words=kind.value,
            model="simulated",
            mode=mode,
            prompt_set="simulated",
            prompt_set_sha256=other or "0" * 64,
            boards=("NVIDIA H100",),
            driver="580",
            protocol="paired-1",
            site_id=board,
            boundary=Boundary.GPU_BOARD,
            estimated=False,
            replayed=False,
            runs=runs,
            interleaved_with=SideKind.CANDIDATE.value if self.together and kind is not SideKind.CANDIDATE else None,
        )

    def _run(
        self,
        kind: SideKind,
        repeat: int,
        means_j: FloatArray,
        correct: FloatArray,
        board: str,
        rng: np.random.Generator,
    ) -> RunFigures:
        scatter = np.exp(QUERY_LOG_SD * rng.standard_normal(self.n) - QUERY_LOG_SD**2 / 2)
        energy_j = means_j * self._effect(self.run_sd, rng) * scatter
        return RunFigures(
            run=f"{kind}, repeat {repeat + 1}",
            repeat=repeat,
            prompt_ids=_ids(self.n),
            energy_j=energy_j,
            output_tokens=None,
            correct=correct,
            half_width_reading_j=READING_HALF_WIDTH * energy_j,
            by_device_j={board: float(energy_j.sum())},
            gains={board: GAIN_HALF_WIDTH},
        )

    @staticmethod
    def _effect(sd: float, rng: np.random.Generator) -> float:
        return float(np.exp(sd * rng.standard_normal() - sd**2 / 2))


_IDS: dict[int, tuple[str, ...]] = {}


def _ids(n: int) -> tuple[str, ...]:
    return _IDS.setdefault(n, tuple(f"{index:05d}" for index in range(n)))
