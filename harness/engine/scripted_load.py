"""A load engine without a model: queries that overlap as a script has it. For demonstrations and tests.

On a manual clock a whole load passes without waiting. A query's tokens come one by one, at the script's pace, however
many others are in flight; what it is answered does not depend on them either.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.engine.scripted import Script, Turn
from harness.errors import ServerLost
from harness.protocols import Clock
from harness.records import (
    Asked,
    EngineFacts,
    Finding,
    FindingCode,
    Generation,
    Phase,
    Prompt,
    Served,
    Service,
    Timeline,
)


@dataclass(slots=True)
class ScriptedLoadEngine:
    """Answers `concurrency` queries at once, or those that arrive at random.

    Args:
        clock: The session's.
        script: Prompt, mode and seed to what happens.
        facts: What `load` says.
        session: The session's number.
        concurrency: Queries in flight.
        request_rate_per_second: Of random arrivals, instead.
        failures: Numbers of queries that fail at their first token.
        lost_after: The server is gone once so many queries have ended.
    """

    clock: Clock
    script: Script
    facts: EngineFacts
    session: int = 1
    concurrency: int = 1
    request_rate_per_second: float | None = None
    failures: frozenset[int] = frozenset()
    lost_after: int | None = None
    _open: list[Served] = field(default_factory=list)
    _edges_s: set[float] = field(default_factory=set)
    _told_s: float = -1.0
    _n_ended: int = 0

    def load(self) -> EngineFacts:
        """At once."""
        return self.facts

    def render(self, prompt: Prompt, mode: str) -> str:
        """The prompt with its mode."""
        return f"<{mode}>{prompt.text}"

    def begin(self, asked: Sequence[Asked], *, alone: bool = False) -> None:
        """Work out everything that will happen."""
        start_s = self.clock.now_s()
        free_s = [start_s] * (1 if alone else self.concurrency)
        arrivals = random.Random(asked[0].seed if asked else 0)  # noqa: S311
        self._open = []
        for each in asked:
            if self.request_rate_per_second is not None and not alone:
                start_s += arrivals.expovariate(self.request_rate_per_second)
                served = self._served(each, start_s)
            else:
                served = self._served(each, heapq.heappop(free_s))
                heapq.heappush(free_s, served.timeline.time_end_s)
            self._open.append(served)
        for line in (served.timeline for served in self._open):
            self._edges_s |= {line.time_start_s, line.time_first_token_s or line.time_end_s, line.time_end_s}
        self._open.sort(key=lambda served: served.timeline.time_end_s)

    def take(self, timeout_s: float) -> tuple[Served, ...]:
        """Let the clock pass until the next query ends.

        Raises:
            ServerLost: As many as `lost_after` have ended.
        """
        if self.lost_after is not None and self._n_ended >= self.lost_after and self._open:
            raise ServerLost("The scripted server is gone.", "Resume the run.")
        if not self._open:
            return ()
        until_s = min(self.clock.now_s() + timeout_s, self._open[0].timeline.time_end_s)
        self.clock.sleep_until(until_s)
        ended = tuple(served for served in self._open if served.timeline.time_end_s <= until_s)
        self._open = self._open[len(ended) :]
        self._n_ended += len(ended)
        return ended

    def edges_s(self) -> tuple[float, ...]:
        """Those that the clock has passed."""
        now_s = self.clock.now_s()
        edges_s = tuple(sorted(edge_s for edge_s in self._edges_s if self._told_s < edge_s <= now_s))
        self._told_s = now_s
        return edges_s

    @property
    def n_left(self) -> int:
        """Those that have not ended."""
        return len(self._open)

    @property
    def time_open_s(self) -> float | None:
        """When the oldest open query began."""
        now_s = self.clock.now_s()
        return min(
            (each.timeline.time_start_s for each in self._open if each.timeline.time_start_s <= now_s), default=None
        )

    def stop(self) -> None:
        """Nothing more comes."""
        self._open = []

    def warnings(self) -> tuple[Finding, ...]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to let go of."""

    def _served(self, asked: Asked, start_s: float) -> Served:
        turn = self.script(asked.prompt, asked.mode, asked.seed)
        n_wanted = asked.n_forced_tokens or min(turn.n_thinking_tokens + turn.n_answer_tokens, asked.max_new_tokens)
        fails = asked.number in self.failures
        times_s = _token_times(turn, start_s, 0 if fails else n_wanted)
        end_s = times_s[-1] if times_s else start_s + turn.duration_prefill_s
        timeline = Timeline(
            session=self.session,
            number=asked.number,
            prompt_id=asked.prompt.prompt_id,
            mode=asked.mode,
            time_sent_s=start_s,
            time_start_s=start_s,
            time_first_token_s=times_s[0] if times_s else None,
            time_end_s=end_s,
            n_prompt_tokens=turn.n_prompt_tokens,
            time_chunk_s=times_s,
            n_chunk_tokens=(1,) * len(times_s),
        )
        service = Service(
            number=asked.number,
            time_sent_s=start_s,
            duration_first_token_s=times_s[0] - start_s if times_s else None,
            duration_per_output_token_s=turn.duration_token_s if len(times_s) > 1 else None,
            n_chunks=len(times_s),
        )
        if fails:
            finding = Finding(code=FindingCode.SERVER_REFUSED, detail="as the script has it")
            return Served(asked=asked, generation=None, timeline=timeline, service=service, findings=(finding,))
        n_thinking = min(turn.n_thinking_tokens, n_wanted)
        return Served(
            asked=asked,
            generation=Generation(
                phases=_phases(start_s, times_s, n_thinking),
                sizes={
                    "prompt_tokens": turn.n_prompt_tokens,
                    "thinking_tokens": n_thinking,
                    "answer_tokens": n_wanted - n_thinking,
                    "output_tokens": n_wanted,
                },
                finish_reason="stop" if n_wanted < asked.max_new_tokens else "length",
                text=turn.thinking + turn.answer,
                thinking=turn.thinking,
                answer=turn.answer,
                rendered_prompt=self.render(asked.prompt, asked.mode),
            ),
            timeline=timeline,
            service=service,
        )


def _token_times(turn: Turn, start_s: float, n_tokens: int) -> tuple[float, ...]:
    first_s = start_s + turn.duration_prefill_s
    return tuple(first_s + place * turn.duration_token_s for place in range(n_tokens))


def _phases(start_s: float, times_s: tuple[float, ...], n_thinking: int) -> tuple[Phase, ...]:
    phases = [Phase(name="prefill", time_start_s=start_s, time_end_s=times_s[0])]
    if n_thinking > 1:
        phases.append(Phase(name="thinking", time_start_s=times_s[0], time_end_s=times_s[n_thinking - 1]))
    if phases[-1].time_end_s < times_s[-1]:
        phases.append(Phase(name="answer", time_start_s=phases[-1].time_end_s, time_end_s=times_s[-1]))
    return tuple(phases)
