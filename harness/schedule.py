"""What one session asks, in which order and with which seed: the measuring protocol as a value.

Prompts come in the set's order, in rounds: some prompts, each in every mode, mode after mode. A round's modes come in a
random order and the next round's in the reverse of it (ABBA), so that whatever drifts steadily, such as the board's
temperature, weighs on all modes alike. A round is long enough that each of its blocks (one mode's queries) lasts at
least 20 of the sensor's updates, and short enough that there are about four rounds. Pilots, and the looks of a run that
stops by itself, end a round, so that whole prompts are finished there.

Of two checkpoints one is resident at a time, so their rounds are half of the prompts each: A B, B A.

What is asked does not depend on the order: a query's seed comes from its prompt, and nothing here depends on how many
prompts are asked for but the length of the rounds.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.records import Cell, Prompt

TICKS_PER_BLOCK = 20
ROUNDS_LEAST = 4
"""Drift does not cancel in one round: blocks are rather shorter than 20 updates than fewer than this."""

LOAD_BLOCK = 4
"""A block of a load has at least so many queries for each place in flight, where there are two of them."""

Place = tuple[int, Prompt]
"""A prompt and its position in the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Queries of one mode that follow each other."""

    mode: str
    prompts: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The same prompts in every mode; `n_prompts` of the run are finished after it."""

    blocks: tuple[Block, ...]
    n_prompts: int


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
    looks: tuple[int, ...] = ()
    """Numbers of prompts after which the run may stop."""
    chosen: frozenset[str] | None = None
    """Of a two-phase run: the prompts that are measured one by one; None: all."""

    def n_queries(self) -> int:
        """How many queries are still to be asked, if the run does not stop before."""
        return sum(len(self._missing(prompt)) for _, prompt in self._places())

    def rounds(self, n_prompts_per_round: Callable[[], int]) -> Iterator[Round]:
        """What is still to be asked, round by round.

        Args:
            n_prompts_per_round: Asked before each round how many prompts make its blocks long enough.
        """
        left = [place for place in self._places() if self._missing(place[1])]
        number = 0
        while left:
            n_round = self._n_round(left, n_prompts_per_round)
            taken, left = left[:n_round], left[n_round:]
            modes = self._modes(number)
            blocks = tuple(
                Block(mode=mode, prompts=asked)
                for mode in modes
                if (asked := tuple(place for place in taken if mode in self._missing(place[1])))
            )
            yield Round(blocks=blocks, n_prompts=left[0][0] if left else len(self.prompts))
            number += 1

    def load_rounds(self) -> Iterator[Round]:
        """The same for queries that are in flight together: blocks are long, as each has to get going and to run dry.

        One round; two where several modes are to be compared and both halves are long enough.
        """
        left = [place for place in self._places() if self._missing(place[1])]
        n_least = LOAD_BLOCK * max(self.cell.batch_size, self.cell.concurrency or 1)
        n_rounds = 2 if len(self.cell.modes) > 1 and self.cell.order == "blocks" and len(left) >= 2 * n_least else 1
        n_round = max(1, math.ceil(len(left) / n_rounds))
        for number, begin in enumerate(range(0, len(left), n_round)):
            taken = left[begin : begin + n_round]
            blocks = tuple(
                Block(mode=mode, prompts=asked)
                for mode in self._modes(number)
                if (asked := tuple(place for place in taken if mode in self._missing(place[1])))
            )
            yield Round(blocks=blocks, n_prompts=taken[-1][0] + 1)

    def measuring(self, chosen: frozenset[str]) -> Schedule:
        """The same schedule for some of the prompts."""
        return replace(self, chosen=chosen)

    def _places(self) -> list[Place]:
        prompts = self.prompts[: self.n_pilot] if self.pilot_only else self.prompts
        return [
            (index, prompt)
            for index, prompt in enumerate(prompts)
            if self.chosen is None or prompt.prompt_id in self.chosen
        ]

    def _missing(self, prompt: Prompt) -> list[str]:
        return [mode for mode in self.cell.modes if (prompt.prompt_id, mode) not in self.finished]

    def _n_round(self, left: Sequence[Place], n_prompts_per_round: Callable[[], int]) -> int:
        """How many of the prompts that are left make the next round."""
        if self.cell.order == "stored":
            return len(left)
        n_all = len(self._places())
        if self.cell.pair is not None:
            wanted = math.ceil(n_all / 2)
        else:
            wanted = max(1, min(n_prompts_per_round(), math.ceil(n_all / ROUNDS_LEAST)))
        ends = [*self.looks, *([] if self.cell.pair is not None else [self.n_pilot])]
        next_end = min((end for end in ends if end > left[0][0]), default=len(self.prompts))
        return max(1, min(wanted, sum(index < next_end for index, _ in left)))

    def _modes(self, number: int) -> list[str]:
        """The order of the modes in a round: as the cell has them where the order is somebody else's."""
        modes = list(self.cell.modes)
        if self.cell.order == "stored":
            return modes
        pair = self.cell.pair
        # Checkpoints always go back and forth, so that each round begins with the one that is resident.
        drawn = number // 2 if pair is None else 0
        random.Random(f"{self.cell.seed}/{self.cell.repeat}/{drawn}").shuffle(modes)  # noqa: S311
        if pair is not None:
            modes.sort(key=lambda mode: mode in pair.modes)  # the cell's own checkpoint was loaded last
        return modes[::-1] if number % 2 else modes


def n_prompts_for_block(duration_query_shortest_s: float | None, duration_tick_s: float) -> int:
    """How many queries of the shortest mode last as long as a block should.

    Args:
        duration_query_shortest_s: Mean seconds of a query of the mode whose queries are shortest; None: not known.
        duration_tick_s: Between updates of the slowest sensor; 0: there is nothing to wait for.
    """
    if not duration_query_shortest_s or duration_tick_s <= 0:
        return 1
    return max(1, math.ceil(TICKS_PER_BLOCK * duration_tick_s / duration_query_shortest_s))


def query_seed(cell: Cell, prompt_id: str) -> int:
    """The sampling seed of a query: the same in every mode, another for every prompt and repeat."""
    digest = hashlib.sha256(f"{cell.seed}/{cell.repeat}/{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def batch_seed(cell: Cell, mode: str, first_prompt_id: str) -> int:
    """The sampling seed of a batch."""
    return query_seed(cell, f"{mode}/{first_prompt_id}")
