"""The load generator: a process of its own that sends a server its queries and notes when each piece of answer came.

It is a process so that nothing that the parent computes delays a sending or an instant, and it leaves the meaning of
the answers to the parent for the same reason. Its HTTP parser is written in C.

It reads lines of JSON: a target, a block of requests with a load, `stop`; the end of its input ends it. It writes such:
`ready`, or `refused` with the reason; `started`, `first` (text came) and `ended` for each query; `lost` when so much
fails that it gave up; `broken` on an error of its own; `idle` at the end of a block. Times are of CLOCK_MONOTONIC,
which all processes of a machine share. A thread does the writing, so that a parent that is slow to read delays nothing.

The API key is in the environment of this process, and in the header of its requests, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.engine.openai.sse import EventReader

KEY_VARIABLES = ("HARNESS_API_KEY", "OPENAI_API_KEY")
REFUSED_IN_A_ROW = 5
"""So many refused connections with nothing else between them: the server is gone."""
FEWEST_JUDGED = 10
"""Queries that must have ended before the share of failures says anything."""
AFTER_DONE_S = 0.05
"""The body's end comes with [DONE], or is not waited for longer."""
TEXT = re.compile(rb'"(?:content|reasoning|reasoning_content)"\s*:\s*"[^"]')
HEAD_BYTES = 2000
PARENT_CHECK_S = 2.0


class Generator:
    """Sends blocks of requests to a target."""

    def __init__(self, parent: int) -> None:
        """Nothing is sent before a target is named.

        Args:
            parent: Its process id.
        """
        self._parent = parent
        self._url = ""
        self._timeout_s = 0.0
        self._max_failures = 1.0
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._out: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._session: Any = None
        self._block: asyncio.Task[None] | None = None
        self._n_ended = 0
        self._n_failed = 0
        self._n_refused_in_a_row = 0
        self._ending = False
        self._n_block = 0
        self._lost = False

    async def run(self) -> None:
        """Serve the parent until its end of the pipe is closed."""
        import aiohttp

        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), daemon=True).start()
        writer = threading.Thread(target=self._write, daemon=True)
        writer.start()
        watch = loop.create_task(self._watch_parent())
        # A connection for each query: llama.cpp promises to keep one and closes it after a stream, and any server may
        # close one in the instant in which it is used again. That query would be lost, and look like its failure.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), trust_env=False, headers=_headers()
        ) as self._session:
            gc.collect()
            gc.freeze()  # what is alive now stays alive: later collections need not look at it
            self._out.put({"event": "ready"})
            while (line := await self._lines.get()) is not None:
                message = json.loads(line)
                await self._end_block()
                if message["kind"] == "target":
                    self._aim(message)
                elif message["kind"] == "block":
                    self._lost, self._n_block = False, message["block"]
                    self._begin(message)
            await self._end_block()
        watch.cancel()
        self._out.put(None)
        await asyncio.to_thread(writer.join, 5.0)

    def _aim(self, target: Mapping[str, Any]) -> None:
        """Where queries go, how long one may take, and the share of failures at which a block is given up."""
        self._url, self._timeout_s = target["url"], target["timeout_s"]
        self._max_failures = target["max_failures"]
        self._n_ended = self._n_failed = self._n_refused_in_a_row = 0

    # ------------------------------------------------------------------------------------------- the load

    def _begin(self, message: Mapping[str, Any]) -> None:
        """Start a block; `idle` is said whatever becomes of it, even if it is stopped before it has begun."""
        task = asyncio.get_running_loop().create_task(self._run_block(message["load"], message["requests"]))
        task.add_done_callback(lambda _: self._out.put({"event": "idle", "block": message["block"]}))
        self._block, self._ending = task, False

    async def _run_block(self, load: Mapping[str, Any], requests: Sequence[tuple[int, str]]) -> None:
        """All queries of a block."""
        waiting = [(number, body.encode()) for number, body in requests]
        tasks: list[asyncio.Task[None]] = []
        try:
            if "arrivals_s" in load:
                await self._arrive(load["arrivals_s"], waiting, tasks)
            else:
                waiting.reverse()
                loop = asyncio.get_running_loop()
                tasks += [loop.create_task(self._one_by_one(waiting)) for _ in range(load["concurrency"])]
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._ending = True
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    self._out.put({"event": "broken", "words": f"{type(outcome).__name__}: {outcome}"})

    async def _one_by_one(self, waiting: list[tuple[int, bytes]]) -> None:
        while waiting and not self._lost:
            await self._ask(*waiting.pop())

    async def _arrive(
        self, arrivals_s: Sequence[float], waiting: Sequence[tuple[int, bytes]], tasks: list[asyncio.Task[None]]
    ) -> None:
        """Send each at its instant, counted from now, whatever has become of those before it."""
        loop = asyncio.get_running_loop()
        begun_s = time.monotonic()
        for arrival_s, (number, body) in zip(arrivals_s, waiting, strict=True):
            left_s = begun_s + arrival_s - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
            if self._lost:
                return
            tasks.append(loop.create_task(self._ask(number, body)))

    async def _end_block(self) -> None:
        if self._block is not None:
            self._cancel_block()
            with contextlib.suppress(asyncio.CancelledError):
                await self._block
            self._block = None

    def _cancel_block(self) -> None:
        """Once at most: it is not to be interrupted while it waits for its queries to end."""
        if self._block is not None and not self._ending:
            self._ending = True
            self._block.cancel()

    # ------------------------------------------------------------------------------------------ one query

    async def _ask(self, number: int, body: bytes) -> None:
        """Send one query and report all that came back."""
        import aiohttp

        answer = _Answer(number, time.monotonic())
        self._out.put({"event": "started", "number": number, "time_s": answer.time_sent_s})
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                    answer.status, answer.content_type = response.status, response.content_type
                    await (self._stream(answer, response) if response.status == 200 else _refusal(answer, response))
        except TimeoutError:
            answer.fail("timeout", f"no end after {self._timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            answer.fail("refused", str(getattr(error, "os_error", None) or error))
        except (aiohttp.ClientError, OSError) as error:
            answer.fail("cut", f"{type(error).__name__}: {error}".strip().rstrip(":"))
        except asyncio.CancelledError:
            answer.fail("stopped", "given up")
            raise
        finally:
            self._report(answer)

    async def _stream(self, answer: _Answer, response: Any) -> None:
        reader = EventReader()
        async for piece in response.content.iter_any():
            now_s = time.monotonic()
            if len(answer.head) < HEAD_BYTES and not answer.data:
                answer.head += piece[:HEAD_BYTES]
            answer.take(now_s, reader.feed(piece))
            if not answer.has_begun and any(TEXT.search(data) for data in answer.data):
                answer.has_begun = True
                self._out.put({"event": "first", "number": answer.number, "time_s": now_s})
            if answer.done:
                break
        else:
            answer.take(time.monotonic(), reader.end())
        answer.time_end_s = time.monotonic()
        if answer.done and not response.content.at_eof():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AFTER_DONE_S):
                    await response.content.read()

    def _report(self, answer: _Answer) -> None:
        self._out.put(answer.event())
        if answer.fault is None:
            self._n_ended, self._n_refused_in_a_row = self._n_ended + 1, 0
            return
        if answer.fault["kind"] == "stopped":
            return
        self._n_ended, self._n_failed = self._n_ended + 1, self._n_failed + 1
        refused = answer.fault["kind"] == "refused"
        self._n_refused_in_a_row = self._n_refused_in_a_row + 1 if refused else 0
        if self._n_refused_in_a_row >= REFUSED_IN_A_ROW:
            self._give_up(f"nothing listens any more ({answer.fault['words']})")
        elif self._n_ended >= FEWEST_JUDGED and self._n_failed > self._max_failures * self._n_ended:
            self._give_up(f"{self._n_failed} of {self._n_ended} queries failed")

    def _give_up(self, reason: str) -> None:
        """What is open is given up too; not at once, because one of these is whose end is being reported."""
        if not self._lost:
            self._lost = True
            self._out.put({"event": "lost", "block": self._n_block, "reason": reason})
            asyncio.get_running_loop().call_soon(self._cancel_block)

    # --------------------------------------------------------------------------------------- the parent

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(self._lines.put_nowait, line)
        with contextlib.suppress(RuntimeError):  # the loop is over already
            loop.call_soon_threadsafe(self._lines.put_nowait, None)

    def _write(self) -> None:
        while (event := self._out.get()) is not None:
            try:
                _write_line(event)
            except OSError:
                os._exit(1)  # nobody reads any more

    async def _watch_parent(self) -> None:
        """A process that was forked from the parent keeps our input open after the parent's end."""
        while os.getppid() == self._parent:
            await asyncio.sleep(PARENT_CHECK_S)
        self._lines.put_nowait(None)


class _Answer:
    """What came of one query so far."""

    def __init__(self, number: int, time_sent_s: float) -> None:
        self.number = number
        self.time_sent_s = time_sent_s
        self.time_end_s: float | None = None
        self.status: int | None = None
        self.content_type: str | None = None
        self.times_s: list[float] = []
        self.data: list[bytes] = []
        self.done = False
        self.has_begun = False
        self.head = b""
        self.fault: dict[str, str] | None = None

    def take(self, time_s: float, events: Sequence[bytes]) -> None:
        for data in events:
            if data.strip() == b"[DONE]":
                self.done = True
                return
            self.times_s.append(time_s)
            self.data.append(data)

    def fail(self, kind: str, words: str) -> None:
        """An answer that is complete stays so, whatever happened to its connection afterwards."""
        if not self.done:
            self.fault = {"kind": kind, "words": words}
            self.time_end_s = time.monotonic()

    def event(self) -> dict[str, Any]:
        return {
            "event": "ended",
            "number": self.number,
            "time_sent_s": self.time_sent_s,
            "time_end_s": self.time_end_s if self.time_end_s is not None else time.monotonic(),
            "status": self.status,
            "content_type": self.content_type,
            "times_s": self.times_s,
            "data": [_words(data) for data in self.data],
            "done": self.done,
            "head": "" if self.data else _words(self.head),
            "fault": self.fault,
        }


async def _refusal(answer: _Answer, response: Any) -> None:
    answer.head = await response.content.read(HEAD_BYTES)
    answer.fail("status", _words(answer.head))


def _key() -> str | None:
    """As `harness.environment.secrets.api_key` has it, which would bring half of the program along."""
    return next((key for name in KEY_VARIABLES if (key := os.environ.get(name, "").strip())), None)


def _headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    key = _key()
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def _words(said: bytes) -> str:
    """What the server said, without the key: some servers quote one that they do not accept."""
    words, key = said.decode(errors="replace"), _key()
    return words.replace(key, "***") if key else words


def _write_line(event: Mapping[str, Any]) -> None:
    line = memoryview(json.dumps(event, separators=(",", ":")).encode() + b"\n")
    while line:
        line = line[os.write(1, line) :]


def main(arguments: Sequence[str]) -> int:
    """Serve the parent.

    Args:
        arguments: One, the parent's process id.
    """
    try:
        import aiohttp  # noqa: F401 - to say what is missing before anything begins
    except ImportError as error:
        message = f"The load generator needs a package that is not installed: {error}"
        _write_line({"event": "refused", "message": message, "next_step": "pip install 'aiohttp>=3.10'"})
        return 3
    asyncio.run(Generator(int(arguments[0])).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
