#!/usr/bin/env python3
"""What the load generator costs beside a plain client, on a loopback server that streams made-up tokens.

    python scripts/bench_load.py [--requests N] [--chunks N] [--concurrency N] [--wait-ms MS] [--json FILE]

Three clients meet the same server in turn, each in a process of its own, at the same concurrency:

- ours: the engine with its load generator, every instant noted, every answer read and counted.
- aiohttp: the least loop that a load test can be: post, read lines, note the first.
- sockets: asyncio's streams and no HTTP library; it counts blank lines.

Two loads: `paced` waits between chunks, as a model does; `flat out` does not, and shows where each client ends. The
server writes the instant into every chunk, so that the delay from its writing to the client's noting is known. It
includes the kernel and the server's own loop, which are the same for all; what a client adds is the difference. CPU
seconds are the client's alone; those of our parent process, which reads the answers, stand beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CLIENTS = ("ours", "aiohttp", "sockets")
PATH = "/v1/chat/completions"


# ------------------------------------------------------------------------------------------------ server


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: every chat request is answered with as many chunks as it asks for."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().lower().split("\r\n")
            length = next((int(line.partition(":")[2]) for line in lines if line.startswith("content-length")), 0)
            body = json.loads(await reader.readexactly(length)) if length else {}
            if not head.startswith(b"POST"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            n_chunks, wait_s = body["max_tokens"], float(body["messages"][-1]["content"])
            write(writer, {"choices": [{"delta": {"role": "assistant"}}]})
            for _ in range(n_chunks):
                await asyncio.sleep(wait_s)
                write(writer, {"choices": [{"delta": {"content": f"{time.monotonic():.6f} "}}]})
                await writer.drain()
            write(writer, {"choices": [{"delta": {}, "finish_reason": "length"}]})
            write(writer, {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": n_chunks}})
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def write(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    data = (
        b"data: " + json.dumps({"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", **event}).encode()
    )
    writer.write(f"{len(data) + 2:x}\r\n".encode() + data + b"\n\n\r\n")


async def serve() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ----------------------------------------------------------------------------------------------- clients


async def plain(client: str, port: int, load: dict[str, Any]) -> dict[str, Any]:
    """A client without anything that is not needed. It notes the delay of every chunk, as ours can."""
    delays_s, firsts_s = list[float](), list[float]()
    left = load["requests"]
    body = json.dumps(
        {"max_tokens": load["chunks"], "messages": [{"role": "user", "content": str(load["wait_s"])}], "stream": True}
    ).encode()

    def note(line: bytes) -> None:
        now_s = time.monotonic()
        place = line.find(b'"content": "')
        if place >= 0:
            delays_s.append(now_s - float(line[place + 12 : line.index(b" ", place + 12)]))

    async def by_aiohttp() -> None:
        nonlocal left
        import aiohttp

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

            async def work() -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    sent_s, n_before = time.monotonic(), False
                    async with session.post(f"http://127.0.0.1:{port}{PATH}", data=body) as response:
                        async for line in response.content:
                            if line != b"\n":
                                note(line)
                                if not n_before and b'"content"' in line:
                                    firsts_s.append(time.monotonic() - sent_s)
                                    n_before = True

            await asyncio.gather(*(work() for _ in range(load["concurrency"])))

    async def by_sockets() -> None:
        request = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                sent_s, seen = time.monotonic(), False
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                async for line in reader:
                    if line == b"0\r\n":
                        break
                    if line.startswith(b"data: "):
                        note(line)
                        if not seen and b'"content"' in line:
                            firsts_s.append(time.monotonic() - sent_s)
                            seen = True
                writer.close()

        await asyncio.gather(*(work() for _ in range(load["concurrency"])))

    begun_s, cpu_s = time.monotonic(), time.process_time()
    await (by_aiohttp() if client == "aiohttp" else by_sockets())
    return figures(load, time.monotonic() - begun_s, time.process_time() - cpu_s, delays_s, firsts_s, 0.0)


def ours(port: int, load: dict[str, Any]) -> dict[str, Any]:
    import psutil

    from harness.clock import SessionClock
    from harness.engine.openai.engine import OpenAIEngine
    from harness.reasoning.switch import FamilyReasoning
    from harness.records import Asked, Prompt, ServerFacts

    clock = SessionClock()
    url = f"http://127.0.0.1:{port}/v1"
    facts = ServerFacts(kind="unknown", version=None, model="m", base_url=url)
    engine = OpenAIEngine(
        base_url=url, model="m", reasoning=FamilyReasoning(None), clock=clock, session=1, facts=facts,
        concurrency=load["concurrency"],
    )  # fmt: skip
    engine.load()
    prompt = Prompt(prompt_id="p", text=str(load["wait_s"]))
    asked = [
        Asked(number=number, index=number, prompt=prompt, mode="default", max_new_tokens=load["chunks"], seed=1)
        for number in range(load["requests"])
    ]
    process = psutil.Process(engine._generator._process.pid)  # type: ignore[union-attr]
    before, parent_s = process.cpu_times(), time.process_time()
    served = []
    begun_s = time.monotonic()
    engine.begin(asked)
    while engine.n_left:
        served += engine.take(1.0)
    wall_s = max(one.timeline.time_end_s for one in served) - min(one.timeline.time_sent_s for one in served)
    after = process.cpu_times()
    parent_s = time.process_time() - parent_s
    engine.close()
    assert all(one.generation is not None for one in served), [one.findings for one in served if one.findings][:1]
    delays_s = [
        time_s + clock.origin_monotonic_s - float(said)
        for one in served
        if one.generation is not None
        for time_s, said in zip(one.timeline.time_chunk_s, one.generation.text.split(), strict=False)
        if len(one.timeline.time_chunk_s) == load["chunks"]
    ]
    firsts_s = [one.service.duration_first_token_s or 0.0 for one in served]
    cpu_s = after.user + after.system - before.user - before.system
    return figures(load, wall_s, cpu_s, delays_s, firsts_s, parent_s) | {"all_s": time.monotonic() - begun_s}


def figures(
    load: dict[str, Any], wall_s: float, cpu_s: float, delays_s: list[float], firsts_s: list[float], parent_s: float
) -> dict[str, Any]:
    ordered = sorted(delays_s)
    return {
        "requests_per_s": load["requests"] / wall_s,
        "chunks_per_s": load["requests"] * load["chunks"] / wall_s,
        "cpu_share": cpu_s / wall_s,
        "cpu_us_per_chunk": 1e6 * cpu_s / (load["requests"] * load["chunks"]),
        "parent_cpu_share": parent_s / wall_s,
        "delay_median_ms": 1e3 * median(ordered) if ordered else None,
        "delay_p99_ms": 1e3 * ordered[int(0.99 * (len(ordered) - 1))] if ordered else None,
        "first_token_median_ms": 1e3 * median(firsts_s),
    }


# ------------------------------------------------------------------------------------------------- bench


def measure(client: str, port: int, load: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--client", client, "--port", str(port), "--load", json.dumps(load)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def show(name: str, load: dict[str, Any], results: dict[str, dict[str, Any]]) -> None:
    print(f"\n{name}: {load['requests']} requests of {load['chunks']} chunks, {load['concurrency']} in flight")
    print(f"{'':10}{'req/s':>9}{'chunks/s':>10}{'CPU':>8}{'us/chunk':>10}{'delay ms':>10}{'p99 ms':>9}{'TTFT ms':>9}")
    for client, found in results.items():
        delay, late = (
            f"{found[key]:.3f}" if found[key] is not None else "-" for key in ("delay_median_ms", "delay_p99_ms")
        )
        print(
            f"{client:10}{found['requests_per_s']:9.1f}{found['chunks_per_s']:10.0f}{found['cpu_share']:8.1%}"
            f"{found['cpu_us_per_chunk']:10.1f}{delay:>10}{late:>9}{found['first_token_median_ms']:9.2f}"
        )
    mine, best = results["ours"], results["aiohttp"]
    print(
        f"ours / aiohttp: requests/s {mine['requests_per_s'] / best['requests_per_s']:.2f}, "
        f"CPU a chunk {mine['cpu_us_per_chunk'] / best['cpu_us_per_chunk']:.2f}, "
        f"TTFT {mine['first_token_median_ms'] - best['first_token_median_ms']:+.2f} ms; "
        f"our parent reads at {mine['parent_cpu_share']:.1%} of a core"
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--wait-ms", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=json.loads, help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.serve:
        asyncio.run(serve())
        return 0
    if flags.client:
        found = (
            ours(flags.port, flags.load)
            if flags.client == "ours"
            else asyncio.run(plain(flags.client, flags.port, flags.load))
        )
        print(json.dumps(found))
        return 0
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline())
        size = {"requests": flags.requests, "chunks": flags.chunks, "concurrency": flags.concurrency}
        loads = {"paced": {**size, "wait_s": flags.wait_ms / 1e3}, "flat out": {**size, "wait_s": 0.0}}
        kept = {}
        for name, load in loads.items():
            kept[name] = {client: measure(client, port, load) for client in CLIENTS}
            show(name, load, kept[name])
    finally:
        server.terminate()
        server.wait()
    if flags.json:
        flags.json.write_text(json.dumps({"machine": platform.platform(), "loads": loads, "results": kept}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
