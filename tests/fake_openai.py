"""A loopback server that speaks like an OpenAI-compatible one: scripted answers, instants and faults.

    with FakeServer(lambda number, body: vllm_reply(["Hel", "lo"])) as server:
        server.base_url, server.requests

A reply is a list of pieces of bytes with the seconds to wait before each, so that a test decides where the network cuts
them, and how it ends. The builders make what real servers were seen to send.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One response. `end`: in good order, by an abort of the connection, or never."""

    pieces: Sequence[tuple[float, bytes]]
    status: int = 200
    content_type: str = "text/event-stream"
    end: Literal["whole", "abort", "hang"] = "whole"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None


Script = Callable[[int, dict[str, Any]], Reply]


@dataclass
class FakeServer:
    """Serves from a thread of its own. `script` gets the number of the chat request, from 0, and its body."""

    script: Script
    api_key: str | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    """JSON by path, of everything but chat; a callable gets the request's body. What is not in here is a 404."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """By path, what is answered with an error."""
    requests: list[Request] = field(default_factory=list)
    n_open: int = 0
    n_open_most: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self._call(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Bodies of the chat requests, in the order in which they came."""
        return [request.body for request in self.requests if request.path.endswith("/chat/completions")]

    def die(self) -> None:
        """Close the port and cut every connection, as a killed process does."""
        self._call(self._die())

    def release(self) -> None:
        """Let the replies that hang end."""
        self._loop.call_soon_threadsafe(self._released.set)

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _die(self) -> None:
        for listening in self._server.sockets:
            self._loop.remove_reader(listening)
        for _ in range(3):  # those that were accepted are taken up first: asyncio forgets them once it has closed
            await asyncio.sleep(0)
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _settle(self) -> None:
        """Every task ends by itself once its connection is cut; one that is cancelled may leave its socket open."""
        self._released.set()
        for _ in range(2000):
            if len(asyncio.all_tasks()) == 1:
                break
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            said = json.dumps({"error": {"message": f"bad key: {request.headers.get('authorization')}"}})
            await self._send(Reply(pieces=[(0, said.encode())], status=401, content_type="application/json"), writer)
        elif request.path == "/v1/chat/completions":
            number = len(self.chats) - 1
            self.n_open += 1
            self.n_open_most = max(self.n_open_most, self.n_open)
            try:
                await self._send(self.script(number, request.body), writer)
            finally:
                self.n_open -= 1
        elif request.path in self.statuses:
            refusal = Reply(pieces=[(0, b"{}")], status=self.statuses[request.path], content_type="application/json")
            await self._send(refusal, writer)
        elif request.path in self.answers:
            answer = self.answers[request.path]
            said = json.dumps(answer(request.body) if callable(answer) else answer)
            await self._send(Reply(pieces=[(0, said.encode())], content_type="application/json"), writer)
        else:
            await self._send(
                Reply(pieces=[(0, b'{"detail":"Not Found"}')], status=404, content_type="text/plain"), writer
            )

    async def _send(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        head = (
            f"HTTP/1.1 {reply.status} Said\r\nContent-Type: {reply.content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(head.encode())
        for wait_s, piece in reply.pieces:
            if wait_s:
                await asyncio.sleep(wait_s)
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        if reply.end == "abort":
            await asyncio.sleep(0.01)  # what was written is to arrive
            writer.transport.abort()
        elif reply.end == "hang":
            await self._released.wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    length = int(headers.get("content-length", "0"))
    body = await reader.readexactly(length) if length else b""
    return Request(method=method, path=path, headers=headers, body=json.loads(body) if body else None)


# ------------------------------------------------------------------------------------------------ events


def sse(event: Mapping[str, Any] | str) -> bytes:
    """One event as bytes."""
    return f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()


DONE = sse("[DONE]")


def delta(finish_reason: str | None = None, *, extra: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """An event of one choice; `extra` stands beside the choices, `token_ids` inside of the choice."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
    if "token_ids" in fields:
        choice["token_ids"] = fields.pop("token_ids")
    return {"choices": [{**choice, "delta": fields}], **(extra or {})}


def _thinking(field_name: str, text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": None, "delta": {field_name: text}}]}


def usage(n_prompt: int, n_output: int, *, cached: int | None = None, reasoning: int | None = None) -> dict[str, Any]:
    """A usage object."""
    said: dict[str, Any] = {"prompt_tokens": n_prompt, "completion_tokens": n_output}
    if cached is not None:
        said["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        said["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return said


def timed(events: Sequence[Mapping[str, Any] | str], wait_s: float = 0.0) -> list[tuple[float, bytes]]:
    """Each event as a piece of its own."""
    return [(wait_s, sse(event)) for event in events]


def plain_events(
    answer: Sequence[str],
    thinking: Sequence[str] = (),
    *,
    field_name: str = "reasoning_content",
    finish_reason: str = "stop",
    said_usage: Mapping[str, Any] | None = None,
) -> list[Mapping[str, Any] | str]:
    """A role alone, thinking, answer, the reason of the end, usage in an event of its own, and the end."""
    events: list[Mapping[str, Any] | str] = [delta(role="assistant", content=None)]
    events += [_thinking(field_name, text) for text in thinking]
    events += [delta(content=text) for text in answer]
    events.append(delta(finish_reason))
    if said_usage is not None:
        events.append({"choices": [], "usage": said_usage})
    return [*events, "[DONE]"]


def answering(n_prompt: int = 5, wait_s: float = 0.0, words: Sequence[str] = ("4", "2")) -> Script:
    """The same short answer to everything."""
    events = plain_events(words, said_usage=usage(n_prompt, len(words)))
    return lambda _number, _body: Reply(pieces=timed(events, wait_s))
