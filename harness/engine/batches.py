"""Static batches in this process: queries of one mode that begin together, each with its own end.

Knows how queries are put together, and what is done with those that cannot be. Must not know torch: it asks an engine
that answers rows.

A row that has ended stays in the batch as padding until the last one ends, and costs as good as nothing more there. So
it is in flight until its own last token: what is drawn afterwards is shared among those that still write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256

from harness.engine.findings import failure, length_findings
from harness.engine.rows import Row, RowEngine
from harness.errors import CellFailed, OutOfMemory, UsageError
from harness.protocols import Clock
from harness.records import Asked, EngineFacts, Finding, FindingCode, Prompt, Served, Service, Timeline


class BatchEngine:
    """A load of static batches. Nothing is in flight between two calls of `take`."""

    def __init__(self, *, engine: RowEngine, clock: Clock, session: int, batch_size: int) -> None:
        """Take over an engine that is not loaded yet.

        Args:
            engine: Answers the rows.
            clock: The session's, which `engine` uses too.
            session: Its number, for the timelines.
            batch_size: Rows of a batch; fewer where no more queries of one mode are left.
        """
        self._engine = engine
        self._clock = clock
        self._session = session
        self._batch_size = batch_size
        self._waiting: deque[Asked] = deque()
        self._n_rows = self._n_rows_wanted = batch_size
        self._edges_s: set[float] = set()

    def load(self) -> EngineFacts:
        """Bring the model onto its device and say what was really loaded.

        Raises:
            HarnessError: What the engine raises.
        """
        return self._engine.load()

    def render(self, prompt: Prompt, mode: str) -> str:
        """The text that the model is given for `prompt` in `mode`, marks included."""
        return self._engine.render(prompt, mode)

    def begin(self, asked: Sequence[Asked], *, alone: bool = False) -> None:
        """Take the queries of one block; neighbours of one mode go into a batch.

        Args:
            asked: In the order in which they wait.
            alone: One after the other instead.
        """
        self._waiting = deque(asked)
        self._n_rows = self._n_rows_wanted = 1 if alone else self._batch_size

    def take(self, timeout_s: float) -> tuple[Served, ...]:  # noqa: ARG002 - a batch cannot be left alone
        """Run the next batch to its end, and give its rows in the order of their ends."""
        batch: list[Asked] = []
        while self._waiting and len(batch) < self._n_rows and (not batch or batch[0].mode == self._waiting[0].mode):
            batch.append(self._waiting.popleft())
        split = f"{self._n_rows} at once" if self._n_rows < self._n_rows_wanted else None
        served = self._answer_those_that_fit(batch, split)
        for each in served:
            timeline = each.timeline
            first_s = timeline.time_first_token_s
            self._edges_s |= {timeline.time_start_s, timeline.time_end_s, *([] if first_s is None else [first_s])}
        return tuple(sorted(served, key=lambda each: (each.timeline.time_end_s, each.timeline.number)))

    def edges_s(self) -> tuple[float, ...]:
        """Starts, first tokens and ends of the batches since the last call."""
        edges_s, self._edges_s = tuple(sorted(self._edges_s)), set()
        return edges_s

    @property
    def n_left(self) -> int:
        """How many of the block have not been taken."""
        return len(self._waiting)

    @property
    def time_open_s(self) -> float | None:
        """None: a batch has ended before anybody can ask."""
        return None

    def stop(self) -> None:
        """Give up what waits."""
        self._waiting.clear()

    def warnings(self) -> tuple[Finding, ...]:
        """What was found to be doubted since the last call."""
        return self._engine.warnings()

    def close(self) -> None:
        """Free the device's memory."""
        self._engine.close()

    def _answer_those_that_fit(self, batch: Sequence[Asked], split: str | None) -> list[Served]:
        served, fitting = list[Served](), list[Asked]()
        for asked in batch:
            called_s = self._clock.now_s()
            try:
                self._engine.n_prompt_tokens(asked)
            except UsageError as error:
                served.append(self._failed(asked, called_s, None, failure(error)))
            else:
                fitting.append(asked)
        return served + (self._answer(fitting, split) if fitting else [])

    def _answer(self, batch: Sequence[Asked], split: str | None) -> list[Served]:
        """Answer some queries together; where that cannot be, a half of them after the other.

        What is too much for the memory once would be again, so later batches of the block are no larger. Any other
        error may be that of one row, which is found by halving.
        """
        called_s = self._clock.now_s()
        try:
            rows = self._engine.answer_together(batch, batch_seed(batch))
        except (CellFailed, UsageError) as error:
            n_half = (len(batch) + 1) // 2
            if len(batch) == 1:
                n_prompt = self._engine.n_prompt_tokens(batch[0])
                return [self._failed(batch[0], called_s, n_prompt, failure(error))]
            if isinstance(error, OutOfMemory):
                self._n_rows = min(self._n_rows, n_half)
                why = f"{n_half} at once"
            else:
                why = f"{n_half} at once, because of an error among {len(batch)}"
            return self._answer(batch[:n_half], why) + self._answer(batch[n_half:], why)
        split_findings = () if split is None else (Finding(code=FindingCode.BATCH_SPLIT, detail=split),)
        return [self._served(asked, row, split_findings) for asked, row in zip(batch, rows, strict=True)]

    def _served(self, asked: Asked, row: Row, findings: tuple[Finding, ...]) -> Served:
        generation, times_s = row.generation, row.times_s
        start_s, n_tokens = generation.time_start_s, len(times_s)
        return Served(
            asked=asked,
            generation=generation,
            timeline=Timeline(
                session=self._session,
                number=asked.number,
                prompt_id=asked.prompt.prompt_id,
                mode=asked.mode,
                time_sent_s=start_s,
                time_start_s=start_s,
                time_first_token_s=times_s[0] if times_s else None,
                time_end_s=generation.time_end_s,
                n_prompt_tokens=generation.sizes["prompt_tokens"],
                n_cached_tokens=0,
                time_chunk_s=times_s,
                n_chunk_tokens=(1,) * n_tokens,
            ),
            service=Service(
                number=asked.number,
                time_sent_s=start_s,
                duration_first_token_s=times_s[0] - start_s if times_s else None,
                duration_per_output_token_s=(times_s[-1] - times_s[0]) / (n_tokens - 1) if n_tokens > 1 else None,
                n_chunks=n_tokens,
                n_cached_tokens=0,
            ),
            findings=(*findings, *length_findings(asked.n_forced_tokens, n_tokens)),
        )

    def _failed(self, asked: Asked, called_s: float, n_prompt_tokens: int | None, why: Finding) -> Served:
        return Served(
            asked=asked,
            generation=None,
            timeline=Timeline(
                session=self._session,
                number=asked.number,
                prompt_id=asked.prompt.prompt_id,
                mode=asked.mode,
                time_sent_s=called_s,
                time_start_s=called_s,
                time_first_token_s=None,
                time_end_s=self._clock.now_s(),
                n_prompt_tokens=n_prompt_tokens,
                time_chunk_s=(),
                n_chunk_tokens=(),
            ),
            service=Service(
                number=asked.number,
                time_sent_s=called_s,
                duration_first_token_s=None,
                duration_per_output_token_s=None,
                n_chunks=0,
            ),
            findings=(why,),
        )


def batch_seed(batch: Sequence[Asked]) -> int:
    """Of a batch's sampling. A query alone keeps its own; the same queries together always get the same one."""
    if len(batch) == 1:
        return batch[0].seed
    seeds = " ".join(str(asked.seed) for asked in batch)
    return int.from_bytes(sha256(seeds.encode()).digest()[:4], "big")
