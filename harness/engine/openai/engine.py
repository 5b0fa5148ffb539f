"""A server on this node that speaks OpenAI's interface, under a load.

The load generator is a process of its own (`child.py`), so that what is computed here delays no query and no instant.
This side turns queries into requests and reports into results, when it is asked for them.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.engine.openai.address import ServerAddress
from harness.engine.openai.arrivals import poisson_arrivals
from harness.engine.openai.child import FEWEST_JUDGED
from harness.engine.openai.dialect import CHAT_PATH, caches_anyway, conversation, dialect_of, request_body
from harness.engine.openai.faults import STOPPED
from harness.engine.openai.generator import LoadGenerator
from harness.engine.openai.rendering import Rendered, Renderer
from harness.engine.openai.served import Reader
from harness.engine.openai.stream import Stream
from harness.engine.openai.tokenizer import NamedTokenizer
from harness.errors import EnvironmentFault, ModelUnavailable, ServerLost, UsageError
from harness.protocols import Clock, Reasoning
from harness.records import Asked, EngineFacts, Finding, FindingCode, Prompt, Sampling, Served, ServerFacts

HEALTH_PATHS = ("/health", "/v1/models", "/")
DENIED = {401, 403}
NOT_READY = 503
SETTLE_S = 5.0
LOST_STEP = "See the server's log, start it again, and resume the run: exactly the queries that are missing run again."


class OpenAIEngine:
    """A server that answers queries whose spans overlap."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        reasoning: Reasoning,
        clock: Clock,
        session: int,
        facts: ServerFacts,
        concurrency: int | None = None,
        request_rate_per_second: float | None = None,
        seed: int = 0,
        prompt_cache: str = "off",
        sampling: Sampling | None = None,
        min_new_tokens: Mapping[str, int] | None = None,
        request_timeout_s: float = 600.0,
        max_failures: float = 0.1,
        tokenizer: str | None = None,
        engine_facts: EngineFacts | None = None,
        generator: LoadGenerator | None = None,
    ) -> None:
        """Note what is wanted; nothing is started yet.

        Args:
            base_url: Of the server, with or without `/v1`.
            model: The name that it has for the model.
            reasoning: How this model is asked to think, and its marks.
            clock: The session's.
            session: Its number, for the timelines.
            facts: What the server is; its kind decides how it is spoken to.
            concurrency: Closed loop: so many queries in flight; None with a rate.
            request_rate_per_second: Open loop: queries arrive at random, so many a second.
            seed: Of the arrivals.
            prompt_cache: `off`: no prompt may find itself in the cache, as far as the server can be asked; `on`.
            sampling: How tokens are chosen; None: as the server does by itself.
            min_new_tokens: By mode, output tokens before which an answer may not end.
            request_timeout_s: Seconds that one query may take.
            max_failures: Share of failed queries at which the load is stopped.
            tokenizer: Of the served model: a directory or Hub name; it counts where the server does not.
            engine_facts: What `load` is to return, where more is known than the server's facts.
            generator: One that runs already and outlives this engine; None: one of its own.

        Raises:
            UsageError: A value that cannot be meant.
        """
        if (concurrency is None) == (request_rate_per_second is None):
            raise UsageError(
                "A load is either so many queries in flight or so many a second.",
                "Give one of `--concurrency` and `--request-rate`.",
            )
        self._address = ServerAddress(base_url)
        self._model = model
        self._reasoning = reasoning
        self._clock = clock
        self._session = session
        self._facts = facts
        self._dialect = dialect_of(facts)
        self._concurrency = concurrency
        self._rate_per_second = request_rate_per_second
        self._seed = seed
        self._prompt_cache = prompt_cache
        self._sampling = sampling
        self._min_new_tokens = dict(min_new_tokens or {})
        self._max_failures = max_failures
        self._tokenizer_name = tokenizer
        self._engine_facts = engine_facts
        self._renderer = Renderer(self._address, self._dialect, model)
        self._rendered: dict[tuple[str, str], Rendered] = {}
        self._salt = secrets.token_hex(16)
        self._timeout_s = request_timeout_s
        self._owns_generator = generator is None
        self._generator = generator or LoadGenerator()
        self._reader: Reader | None = None
        self._asked: dict[int, Asked] = {}
        self._open_s: dict[int, float] = {}
        self._edges_s: list[float] = []
        self._busy = False
        """Something of the block is still to come that is wanted."""
        self._settled = True
        """Nothing at all is still to come of it."""
        self._alone = False
        self._n_blocks = 0
        self._n_ended = 0
        self._n_failed = 0
        self._lost: str | None = None
        self._said: set[FindingCode] = set()
        self._doubts: list[Finding] = []

    def load(self) -> EngineFacts:
        """Find the server healthy, and start the load generator.

        Raises:
            EnvironmentFault: The server does not answer, refuses the key, or the load generator does not start.
            ModelUnavailable: The tokenizer that was named cannot be read, or the server has no model of that name.
        """
        self._check_health()
        self._reader = Reader(
            session=self._session,
            origin_monotonic_s=self._clock.origin_monotonic_s,
            dialect=self._dialect,
            reasoning=self._reasoning,
            prompt_cache=self._prompt_cache,
            tokenizer=NamedTokenizer(self._tokenizer_name) if self._tokenizer_name else None,
        )
        if not self._generator.alive:
            self._generator.start()
        url = f"{self._address.api}{CHAT_PATH}"
        target = {"url": url, "timeout_s": self._timeout_s, "max_failures": self._max_failures}
        self._generator.send({"kind": "target", **target})
        return self._engine_facts or self._facts_alone()

    def render(self, prompt: Prompt, mode: str) -> str:
        """What the model is given for `prompt` in `mode`: its text where the server tells it, else the request.

        Raises:
            UnknownName: The model does not have this mode.
            UsageError: The mode cannot be asked of such a server.
        """
        return self._render(prompt, mode).text

    def begin(self, asked: Sequence[Asked], *, alone: bool = False) -> None:
        """Take the queries of one block, to be answered in this order at the engine's load.

        Args:
            asked: Numbered throughout the session.
            alone: One after the other instead, as warm-ups are.

        Raises:
            UsageError: A mode or a length that cannot be asked of this server; the last block is not over.
            EnvironmentFault: The load generator has ended.
        """
        if self._asked:
            raise UsageError("The last block is not over.", "Take its queries first, or stop it.")
        requests = [(each.number, self._request(each)) for each in asked]
        for each in asked:
            self._render(each.prompt, each.mode)
        load: dict[str, Any] = {"concurrency": 1 if alone else self._concurrency}
        if self._rate_per_second is not None and not alone:
            arrivals_s = poisson_arrivals(len(asked), self._rate_per_second, self._seed, self._n_blocks)
            load = {"arrivals_s": arrivals_s}
        self._alone = alone
        self._asked = {each.number: each for each in asked}
        if asked:
            self._n_blocks += 1
            self._busy, self._settled = True, False
            self._generator.send({"kind": "block", "block": self._n_blocks, "load": load, "requests": requests})

    def take(self, timeout_s: float) -> tuple[Served, ...]:
        """What has been answered or has failed since the last call, in the order of their ends.

        Raises:
            ServerLost: The server is gone, or so many queries failed that the run has to stop. All that had ended by
                then has been taken before.
            EnvironmentFault: The load generator has ended. What was open then can be taken afterwards, as failed.
        """
        deadline_s = time.monotonic() + timeout_s
        served: list[Served] = []
        if not self._busy and self._open_s and not self._generator.alive:
            return self._cut_off()
        while self._busy and not served:
            left_s = deadline_s - time.monotonic()
            events = self._generator.events(max(left_s, 0.0))
            for event in events:
                self._heed(event, served)
            if not events and not self._generator.alive:
                self._busy = False
                if not self._open_s:
                    self._asked.clear()
                raise self._generator.ended()
            if left_s <= 0:
                break
        if not served and not self._busy and self._lost is not None:
            reason, self._lost = self._lost, None
            self._asked.clear()
            raise ServerLost(f"The server at {self._address.api} is lost: {reason}.", LOST_STEP)
        return tuple(sorted(served, key=lambda one: one.timeline.time_end_s))

    def edges_s(self) -> tuple[float, ...]:
        """Starts, first texts and ends that were reported since the last call."""
        edges_s, self._edges_s = tuple(dict.fromkeys(self._edges_s)), []
        return edges_s

    @property
    def n_left(self) -> int:
        """How many of the block have not been taken; not 0 while it is still to be said that the server is lost."""
        return max(len(self._asked), int(self._lost is not None))

    @property
    def time_open_s(self) -> float | None:
        """No query that began before this instant is still open or untaken; None: none is open at all."""
        return min(self._open_s.values(), default=None)

    def stop(self) -> None:
        """Give up what is still to be sent and what is open, which then can be taken as failed."""
        if not self._settled and self._generator.alive:
            with contextlib.suppress(EnvironmentFault):  # it has just ended, as is said by `take`
                self._generator.send({"kind": "stop"})

    def warnings(self) -> tuple[Finding, ...]:
        """What was found to be doubted since the last call, each once."""
        doubts, self._doubts = tuple(self._doubts), []
        return doubts

    def close(self) -> None:
        """End the load generator and let go of the connections."""
        if self._owns_generator:
            self._generator.close()
        else:
            self._settle()
        self._address.close()
        self._busy = False
        self._asked.clear()
        self._open_s.clear()

    def _settle(self) -> None:
        """Give up the block, and read all that is still said of it: the next engine is not to hear it."""
        self.stop()
        deadline_s = time.monotonic() + SETTLE_S
        while not self._settled and self._generator.alive and time.monotonic() < deadline_s:
            for event in self._generator.events(SETTLE_S):
                self._settled = self._settled or (event["event"] == "idle" and event["block"] == self._n_blocks)

    # --------------------------------------------------------------------------------------------- requests

    def _request(self, asked: Asked) -> str:
        body = request_body(
            self._dialect,
            asked,
            self._reasoning.switch(asked.mode),
            model=self._model,
            sampling=self._sampling,
            n_least=self._min_new_tokens.get(asked.mode, 0),
            salt=f"{self._salt}-{asked.number}" if self._prompt_cache == "off" else None,
        )
        return json.dumps(body, ensure_ascii=False)

    def _render(self, prompt: Prompt, mode: str) -> Rendered:
        key = (prompt.prompt_id, mode)
        if key not in self._rendered:
            asked = conversation(self._dialect, prompt, self._reasoning.switch(mode), mode)
            self._rendered[key] = self._renderer.render(asked)
        return self._rendered[key]

    # ---------------------------------------------------------------------------------------------- reports

    def _heed(self, event: Mapping[str, Any], served: list[Served]) -> None:
        kind = event["event"]
        if kind == "started" and event["number"] in self._asked:
            self._open_s[event["number"]] = self._edge_s(event["time_s"])
        elif kind == "first" and event["number"] in self._asked:
            self._edge_s(event["time_s"])
        elif kind == "ended" and event["number"] in self._asked:
            served.append(self._ended(event))
        elif kind == "lost" and event["block"] == self._n_blocks:
            self._lost = self._lost or event["reason"]
        elif kind == "broken":
            raise EnvironmentFault(
                f"The load generator failed: {event['words']}",
                "Run again; report it if it recurs, with the server's kind.",
            )
        elif kind == "idle" and event["block"] == self._n_blocks:
            self._busy, self._settled = False, True
            self._open_s.clear()
            if self._lost is None:
                self._asked.clear()  # those that were given up before they were sent

    def _edge_s(self, time_monotonic_s: float) -> float:
        """Keep an instant for `edges_s`, and return it on the session clock."""
        time_s: float = time_monotonic_s - self._clock.origin_monotonic_s
        self._edges_s.append(time_s)
        return time_s

    def _ended(self, event: Mapping[str, Any]) -> Served:
        assert self._reader is not None
        number = event["number"]
        self._open_s.pop(number, None)
        asked = self._asked.pop(number)
        self._edge_s(event["time_end_s"])
        self._busy = self._busy and (bool(self._asked) or self._lost is not None)
        one, stream = self._reader.served(asked, self._render(asked.prompt, asked.mode), event)
        self._judge(one)
        self._doubt(one, stream)
        return one

    def _cut_off(self) -> tuple[Served, ...]:
        """Those whose end the load generator cannot report any more: they drew energy all the same."""
        origin_s, now_s = self._clock.origin_monotonic_s, time.monotonic()
        nothing: dict[str, Any] = {
            "status": None,
            "content_type": None,
            "times_s": [],
            "data": [],
            "done": False,
            "head": "",
        }
        fault = {"kind": "stopped", "words": ""}
        served = tuple(
            self._ended(
                {**nothing, "number": number, "time_sent_s": origin_s + sent_s, "time_end_s": now_s, "fault": fault}
            )
            for number, sent_s in list(self._open_s.items())
        )
        self._asked.clear()
        return served

    def _judge(self, one: Served) -> None:
        """The generator judges by what it sees; an answer that proves to be none counts as a failure here."""
        failed = one.generation is None
        if failed and any(finding.detail == STOPPED for finding in one.findings):
            return
        self._n_ended += 1
        self._n_failed += failed
        too_many = self._n_failed > self._max_failures * self._n_ended
        if failed and too_many and self._n_ended >= FEWEST_JUDGED and self._lost is None:
            self._lost = f"{self._n_failed} of {self._n_ended} queries failed"
            self.stop()

    def _doubt(self, one: Served, stream: Stream) -> None:
        """Doubts that concern the whole session."""
        if one.generation is None:
            return
        if self._prompt_cache == "off" and stream.n_cached_tokens is None and caches_anyway(self._dialect, self._facts):
            self._say(FindingCode.CACHE_NOT_CONTROLLED, self._dialect.kind)
        overlaps = (self._concurrency or 1) > 1 or self._rate_per_second is not None
        if overlaps and not self._alone and stream.duration_queued_s is None:
            self._say(FindingCode.QUEUE_NOT_SEEN)
        if stream.begins_with_prompt:
            self._say(FindingCode.LIBRARY_WARNING, "the server's streams begin with the prompt, which was left out")

    def _say(self, code: FindingCode, detail: str = "") -> None:
        if code not in self._said:
            self._said.add(code)
            self._doubts.append(Finding(code=code, detail=detail))

    # ----------------------------------------------------------------------------------------------- health

    def _check_health(self) -> None:
        statuses = []
        for path in HEALTH_PATHS:
            answer = self._address.ask("GET", path)
            if answer is None:
                raise EnvironmentFault(
                    f"Nothing answers at {self._address.api}.",
                    "Start the server, or let harness start it (`--serve`); check host and port of `--base-url`.",
                )
            if answer[0] == NOT_READY:
                raise EnvironmentFault(
                    f"The server at {self._address.api} is not ready: it answers 503.",
                    "Wait until it has loaded the model, or let harness start it and wait (`--serve`).",
                )
            if answer[0] == 200:
                break
            statuses.append(answer[0])
        if DENIED.intersection(statuses):
            raise self._denied()
        if len(statuses) == len(HEALTH_PATHS) and all(status >= 500 for status in statuses):
            raise EnvironmentFault(
                f"The server at {self._address.api} answers with errors ({', '.join(map(str, statuses))}).",
                "Wait until it is ready; its log says why it is not.",
            )
        status, served = self._served_names()
        if status in DENIED:
            raise self._denied()
        if served and self._model not in served and self._dialect.kind == "vllm":
            raise ModelUnavailable(
                f"The server at {self._address.api} has no model {self._model!r}; it serves {', '.join(served)}.",
                "Name the model as the server does (`--served-model-name`).",
            )

    def _denied(self) -> EnvironmentFault:
        return EnvironmentFault(
            f"The server at {self._address.api} wants another API key.",
            "Set it in the environment (HARNESS_API_KEY or OPENAI_API_KEY); it is written nowhere.",
        )

    def _served_names(self) -> tuple[int | None, list[str]]:
        answer = self._address.ask("GET", "/v1/models")
        if answer is None:
            return None, []
        listed = answer[1].get("data") if isinstance(answer[1], dict) else None
        named = listed if isinstance(listed, list) else []
        return answer[0], [str(one["id"]) for one in named if isinstance(one, dict) and "id" in one]

    def _facts_alone(self) -> EngineFacts:
        """What an engine can say that knows its server's name and no more."""
        self._say(FindingCode.SERVED_NOT_KNOWN)
        return EngineFacts(
            device_name="server",
            device_uuids=(),
            revision="unknown",
            n_parameters=None,
            bytes_per_parameter=None,
            executed_precision=None,
            requested_precision=None,
            layer_classes={},
            attention=None,
            context_length=None,
            weights_format=None,
            generation_config={},
            server=self._facts,
        )
