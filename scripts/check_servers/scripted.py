"""A server that only answers, and notes when: what each share must be is known without asking a client.

Its board draws a constant power, so a share is that power times the query's part of the time, to be had by hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from check_servers.by_hand import shared
from check_servers.outcome import Verdict
from harness.records import Timeline
from harness.results import load_run
from tests.fake_nvml.library import Truth
from tests.fake_openai import FakeServer, Reply, delta, sse, usage

STEP_S = 0.03
MATCH_S = 0.25
"""A query that the client says it sent then is one that the server got so soon after."""
MEDIAN_LIMIT, WORST_LIMIT = 0.03, 0.25
"""Of what a millisecond or two between server and client can do to a query of half a second, with 1:1 weights."""


@dataclass(slots=True)
class Told:
    """One query as the server saw it. Instants are CLOCK_MONOTONIC."""

    text: str
    mode: str
    time_begin_s: float
    n_prompt: int
    time_token_s: list[float] = field(default_factory=list)
    time_end_s: float = float("nan")


@dataclass(slots=True)
class Scripted:
    """Answers of 4 to 32 tokens, one every 30 ms, after 50 to 150 ms of reading the prompt; `on`: half is thinking."""

    told: list[Told] = field(default_factory=list)

    def server(self) -> FakeServer:
        """Ready to be entered."""
        model = {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "nobody"}]}
        return FakeServer(script=self.reply, answers={"/v1/models": model, "/health": {}})

    def reply(self, number: int, body: Mapping[str, Any]) -> Reply:
        """One answer, which notes when each of its tokens went out."""
        switched = body.get("chat_template_kwargs", {}).get("enable_thinking", True)
        told = Told(
            text=body["messages"][-1]["content"],
            mode="on" if switched else "off",
            time_begin_s=time.monotonic(),
            n_prompt=40 * (1 + number % 4),
        )
        self.told.append(told)
        n_tokens = min(4 + 7 * (number % 5), int(body.get("max_tokens", 32)))
        return Reply(pieces=self._pieces(told, n_tokens, 0.05 * (1 + number % 3)))  # type: ignore[arg-type]

    def _pieces(self, told: Told, n_tokens: int, prefill_s: float) -> Iterator[tuple[float, bytes]]:
        yield 0.0, sse(delta(role="assistant", content=""))
        for place in range(n_tokens):
            thinks = told.mode == "on" and place < n_tokens // 2
            text = f"{place % 10}"
            yield (
                (STEP_S if place else prefill_s),
                sse(delta(reasoning_content=text) if thinks else delta(content=text)),
            )
            told.time_token_s.append(time.monotonic())
        yield 0.0, sse(delta("stop"))
        yield 0.0, sse({"choices": [], "usage": usage(told.n_prompt, n_tokens)})
        yield 0.0, sse("[DONE]")
        told.time_end_s = time.monotonic()


def judge_scripted(run: Path, truth: Truth, told: list[Told], texts: Mapping[str, str], verdict: Verdict) -> None:
    """Hold every share against the one that follows from the server's own instants.

    Args:
        run: Its directory.
        truth: Of the board.
        told: What the server noted.
        texts: The prompt of each id.
        verdict: Is added to.
    """
    (cell,) = load_run(run)
    (session,) = cell.sessions
    weights = cell.directory.weights(session.number)
    assert session.manifest is not None
    assert weights is not None
    origin_s = session.manifest.origin_monotonic_s
    stored = {query.service.number: query for query in cell.queries if query.service is not None}
    timelines, left = [], list(told)
    late_s: list[float] = []
    for client in cell.directory.timelines(session.number):
        sent_s = origin_s + client.time_sent_s
        fitting = [
            each
            for each in left
            if client.mode == each.mode and texts[client.prompt_id] in each.text
            if abs(each.time_begin_s - sent_s) < MATCH_S
        ]
        if not fitting:
            continue
        found = min(fitting, key=lambda each: abs(each.time_begin_s - sent_s))
        left.remove(found)
        timelines.append(_as_timeline(found, client, origin_s))
        late_s += [
            origin_s + seen_s - sent_s
            for seen_s, sent_s in zip(client.time_chunk_s, found.time_token_s, strict=False)
            if len(client.time_chunk_s) == len(found.time_token_s)
        ]
    verdict.note(f"the server was asked {len(told)} queries; {len(timelines)} of them were found in the run")
    late_ms = 1e3 * np.array(late_s)
    verdict.note(
        f"tokens were seen {np.median(late_ms):+.2f} ms after the server had sent them, in the middle "
        f"({np.quantile(late_ms, 0.05):+.2f} to {np.quantile(late_ms, 0.95):+.2f} ms for 90 %)"
    )
    errors, widths = [], []
    for tile in session.intervals:
        if tile.name != "serving":
            continue
        there = [t for t in timelines if t.time_end_s > tile.time_start_s and t.time_start_s < tile.time_end_s]
        by_hand = shared(
            there,
            weights,
            tile.time_start_s,
            tile.time_end_s,
            lambda start_s, end_s: truth.energy_j(0, origin_s + start_s, origin_s + end_s),
        )
        for timeline in there:
            if timeline.number not in stored:
                continue
            reading = stored[timeline.number].readings[0]
            true_j = by_hand.energy_j[timeline.number]
            errors.append(((reading.energy_gross_j or 0.0) - true_j) / true_j)
            widths.append((reading.energy_gross_half_width_j or 0.0) / true_j)
    error, width = np.abs(errors), np.array(widths)
    verdict.ask(len(error) == len(stored), f"{len(error)} of {len(stored)} queries compared")
    verdict.ask(
        float(np.median(error)) < MEDIAN_LIMIT and float(np.max(error)) < WORST_LIMIT,
        f"shares against those by the server's own instants: median error {np.median(error):.3%}, worst "
        f"{np.max(error):.2%}, mean {np.mean(errors):+.4%}, inside half-widths {np.mean(error <= width):.0%}",
    )


def _as_timeline(told: Told, client: Timeline, origin_s: float) -> Timeline:
    return Timeline(
        session=client.session,
        number=client.number,
        prompt_id=client.prompt_id,
        mode=client.mode,
        time_sent_s=told.time_begin_s - origin_s,
        time_start_s=told.time_begin_s - origin_s,
        time_first_token_s=told.time_token_s[0] - origin_s,
        time_end_s=told.time_end_s - origin_s,
        n_prompt_tokens=told.n_prompt,
        n_cached_tokens=0,
        time_chunk_s=tuple(time_s - origin_s for time_s in told.time_token_s),
        n_chunk_tokens=(1,) * len(told.time_token_s),
    )
