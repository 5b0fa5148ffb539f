"""What one session asks, in which order and with which seed: the measuring protocol as a value.

Prompts come in the set's order, each in every mode; the order of the modes is shuffled per prompt, so that drift of
temperature or clocks falls on all of them alike. Nothing here depends on how many prompts are asked for.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Cell, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What one session of a cell has to do. `prompts` are the run's, in order; `finished` needs no repeat."""

    cell: Cell
    prompts: Sequence[Prompt]
    finished: set[tuple[str, str]]
    n_pilot: int
    pilot_only: bool
    idle_duration_s: float
    n_warm_up: int
    store_text: str

    def queries(self) -> list[tuple[int, Prompt, str]]:
        """(index, prompt, mode) in the order in which they run: prompt by prompt, modes shuffled by the seed."""
        prompts = self.prompts[: self.n_pilot] if self.pilot_only else self.prompts
        ordered = []
        for index, prompt in enumerate(prompts):
            modes = list(self.cell.modes)
            random.Random(f"{self.cell.seed}/{self.cell.repeat}/{prompt.prompt_id}").shuffle(modes)  # noqa: S311
            ordered += [(index, prompt, mode) for mode in modes]
        return [query for query in ordered if (query[1].prompt_id, query[2]) not in self.finished]


def query_seed(cell: Cell, prompt_id: str) -> int:
    """The sampling seed of a query: the same in every mode, another for every prompt and repeat."""
    digest = hashlib.sha256(f"{cell.seed}/{cell.repeat}/{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
