#!/usr/bin/env python3
"""Real servers on this machine, a made-up board of known power: measure loads end to end, and hold them to the truth.

    python scripts/check_servers.py --llama 'CMD --port 18081' [--transformers CMD] [--vllm CMD] [--scripted]
        [--only concurrency,rate,boards,killed] [--num-prompts 100] [--rate 4] [--load steps|steady] [--keep DIR]

Each command must stay in the foreground and name its port (`--port N`). The server runs on a CPU; what draws is the
fake NVML library's board, whose power is a function of the clock alone, so that every joule is known while nothing of
it is true of the server. For each server:

    concurrency  harness starts it (--serve), 8 at once, both modes: shares and what nobody used against the true energy
                 of the block; single shares against shares of the true power computed by hand from the timelines
    rate         the same with arrivals at random
    boards       it runs already (--base-url), two boards, its processes on the second: which one is metered?
    killed       it gets SIGKILL in mid-run: what the queries in flight are called, what they drew, whether `--resume`
                 completes the run

With --scripted, also a server that does nothing but answer, at instants that it notes: each share against what follows
from the server's own notes.
Exit status 1 if anything that must hold does not. Not part of the tests: minutes, and it needs the servers.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "scripts")]

from check_servers.board import LOADS, OTHER, Boards  # noqa: E402
from check_servers.outcome import Verdict, judge  # noqa: E402
from check_servers.scripted import Scripted, judge_scripted  # noqa: E402
from check_servers.servers import Server, end  # noqa: E402

CHECKS = ("concurrency", "rate", "boards", "killed")
LIMIT_S = 1500.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to run."""

    n_prompts: int
    rate: float
    concurrency: int
    load: str
    extra: tuple[str, ...]


def main() -> int:
    """Run what was asked for; the number of servers of which something did not hold is not 0: exit 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("llama", "transformers", "vllm"):
        parser.add_argument(f"--{name}", metavar="CMD")
        parser.add_argument(f"--{name}-model", metavar="NAME", default="tiny-reasoner")
    parser.add_argument("--scripted", action="store_true")
    parser.add_argument("--only", default=",".join(CHECKS))
    parser.add_argument("--num-prompts", type=int, default=100, help="of each mode: two modes make 200 queries")
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--load", choices=LOADS, default="steps")
    parser.add_argument("--keep", type=Path, help="leave the runs there")
    parser.add_argument("--set", action="append", default=[], help="of harness run, for all runs")
    given = parser.parse_args()
    options = Options(
        n_prompts=given.num_prompts,
        rate=given.rate,
        concurrency=given.concurrency,
        load=given.load,
        extra=tuple(word for each in given.set for word in ("--set", each)),
    )
    servers = [
        Server(name, command, getattr(given, f"{name}_model"))
        for name in ("llama", "transformers", "vllm")
        if (command := getattr(given, name))
    ]
    wanted = [(server, name) for server in servers for name in given.only.split(",")]
    if given.scripted:
        wanted.append((Server("scripted", "", "scripted"), "scripted"))
    n_failed = 0
    for server, name in wanted:
        home = given.keep / f"{server.name}-{name}" if given.keep else None
        if home:
            home.mkdir(parents=True, exist_ok=True)
        with nullcontext(str(home)) if home else tempfile.TemporaryDirectory() as scratch:
            verdict = Verdict()
            started_s = time.monotonic()
            try:
                load = "steady" if name == "scripted" else options.load
                CHECK[name](server, Boards(Path(scratch), load), options, verdict)
            except (subprocess.TimeoutExpired, RuntimeError, OSError) as error:
                verdict.ask(False, f"{type(error).__name__}: {error}")
            verdict.print(f"{server.name}: {name} ({time.monotonic() - started_s:.0f} s)")
            n_failed += verdict.n_failed
    print(f"\n{n_failed} did not hold" if n_failed else "\nall held")
    return 1 if n_failed else 0


def arguments(server: Server, options: Options, *load: str, serve: bool = True) -> list[str]:
    """Of `harness run`."""
    place = ["--serve", server.command] if serve else ["--base-url", f"{server.root}/v1"]
    return [
        *("run", "--engine", "openai", *place, "--model", server.model, "--prompts", "chains"),
        *("--num-prompts", str(options.n_prompts), "--max-new-tokens", "96", "--seed", "7", *load, *options.extra),
        *("--output-dir", "results"),
    ]


def ran(process: subprocess.CompletedProcess[str], verdict: Verdict, *, returncode: int = 0) -> bool:
    """Whether the harness ended as it should; its last words if not."""
    verdict.ask(process.returncode == returncode, f"harness ended with {process.returncode}")
    if process.returncode != returncode:
        verdict.note(f"$ {shlex.join(process.args[2:])}")
        for line in (process.stdout[-2500:] + process.stderr[-2500:]).splitlines():
            verdict.note(f"| {line}")
    return process.returncode == returncode


def only_run(boards: Boards) -> Path:
    """The one that is there."""
    (run,) = (path for path in (boards.scratch / "results").iterdir() if path.is_dir() and not path.is_symlink())
    return run


def concurrency(server: Server, boards: Boards, options: Options, verdict: Verdict) -> None:
    """A closed loop, from the start of the server to its end."""
    load = ("--concurrency", str(options.concurrency), "--meter-gpus", "all")
    process = boards.run(*arguments(server, options, *load), timeout_s=LIMIT_S)
    (boards.scratch / "out.txt").write_text(process.stdout + "\n----\n" + process.stderr)
    if ran(process, verdict):
        judge(only_run(boards), boards.truth, verdict, n_queries=2 * options.n_prompts)
        verify(boards, verdict)
    verdict.ask(not server.listening(), "nobody listens on its port afterwards")


def rate(server: Server, boards: Boards, options: Options, verdict: Verdict) -> None:
    """An open loop."""
    load = ("--request-rate", str(options.rate), "--meter-gpus", "all")
    process = boards.run(*arguments(server, options, *load), timeout_s=LIMIT_S)
    (boards.scratch / "out.txt").write_text(process.stdout + "\n----\n" + process.stderr)
    if ran(process, verdict):
        judge(only_run(boards), boards.truth, verdict, n_queries=2 * options.n_prompts)
        verify(boards, verdict)


def verify(boards: Boards, verdict: Verdict) -> None:
    """`harness verify` and `harness report` on what was measured."""
    for words in (("verify", "latest"), ("report", "latest")):
        process = boards.run(*words, "--output-dir", "results", timeout_s=300)
        verdict.ask(process.returncode == 0, f"harness {words[0]} ended with {process.returncode}")
        if process.returncode:
            verdict.note("| " + (process.stdout + process.stderr)[-600:].replace("\n", "\n      | "))
        (boards.scratch / f"{words[0]}.txt").write_text(process.stdout + process.stderr)


def which_boards(server: Server, boards: Boards, options: Options, verdict: Verdict) -> None:
    """A server that runs already, on the second of two boards."""
    with server.running(boards.scratch / "server.log") as pids:
        boards.write(pids, n_boards=2)
        few = Options(min(options.n_prompts, 10), options.rate, options.concurrency, options.load, options.extra)
        load = ("--concurrency", str(options.concurrency), "--meter-gpus", "auto")
        process = boards.run(*arguments(server, few, *load, serve=False), timeout_s=LIMIT_S)
        (boards.scratch / "out.txt").write_text(process.stdout + "\n----\n" + process.stderr)
        verdict.ask(server.is_healthy(), "a server that harness did not start still runs afterwards")
    if ran(process, verdict):
        (cell,) = judge(only_run(boards), boards.truth, verdict, n_queries=2 * few.n_prompts, board=1)
        devices = {reading.device for query in cell.queries for reading in query.readings}
        verdict.ask(devices == {OTHER.uuid}, f"metered: {', '.join(sorted(devices))}; it ran on {OTHER.uuid}")


def killed(server: Server, boards: Boards, options: Options, verdict: Verdict) -> None:
    """SIGKILL to all of the server's processes while queries are in flight, then a resume."""
    load = ("--concurrency", str(options.concurrency), "--meter-gpus", "all")
    words = boards.command(*arguments(server, options, *load))
    n_before = options.n_prompts // 2
    with (boards.scratch / "out.txt").open("w") as out:
        process = subprocess.Popen(
            words, env=boards.environment, cwd=boards.scratch, stdout=out, stderr=subprocess.STDOUT
        )
        until_s = time.monotonic() + LIMIT_S
        n_seen = 0
        while process.poll() is None and time.monotonic() < until_s and n_seen < n_before + 30:
            files = (boards.scratch / "results").glob("*/*/*/sessions/*/timelines.jsonl")
            n_seen = sum(path.read_bytes().count(b"\n") for path in files)
            time.sleep(0.05)
        victims = server.listening()
        end(victims, signal.SIGKILL)
        verdict.note(f"SIGKILL to {len(victims)} processes after {n_seen} queries, warm-up included")
        try:
            returncode = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            verdict.ask(False, "harness did not end after its server was killed")
            return
    said = (boards.scratch / "out.txt").read_text()
    verdict.ask(returncode not in (0, None), f"harness ended with {returncode}, and says:")
    for line in said.strip().splitlines()[-8:]:
        verdict.note(f"| {line[:160]}")
    verdict.ask("Traceback" not in said, "without a traceback")
    verdict.ask(not server.listening(), "nobody listens on its port afterwards")
    run = only_run(boards)
    results = judge(run, boards.truth, verdict, n_queries=None)
    failed = [query for cell in results for query in cell.queries if query.output is None]
    codes = Counter(finding.code.value for query in failed for finding in query.findings)
    drawn = sum(reading.energy_gross_j or 0.0 for query in failed for reading in query.readings)
    verdict.note(f"failed queries on disk: {len(failed)} ({dict(codes)}), {drawn:.1f} J")
    resumed = boards.run("run", "--resume", run.name, "--output-dir", "results", timeout_s=LIMIT_S)
    (boards.scratch / "resumed.txt").write_text(resumed.stdout + "\n----\n" + resumed.stderr)
    if ran(resumed, verdict):
        results = judge(run, boards.truth, verdict, n_queries=2 * options.n_prompts)
        n_known = sum(q.output is not None and q.readings[0].energy_gross_j is not None for q in results[0].queries)
        verdict.ask(n_known == 2 * options.n_prompts, f"{n_known} answered queries with energy after the resume")


def scripted(_: Server, boards: Boards, options: Options, verdict: Verdict) -> None:
    """Exact times: shares against those that follow from the server's own notes."""
    script = Scripted()
    texts = {
        prompt["prompt_id"]: prompt["text"]
        for line in (PROJECT / "harness" / "assets" / "prompts" / "chains.jsonl").read_text().splitlines()
        if (prompt := json.loads(line))
    }
    with script.server() as server:
        place = ["run", "--engine", "openai", "--base-url", server.base_url, "--model", "scripted"]
        place += ["--reasoning", "tiny-reasoner", "--prompts", "chains", "--num-prompts", str(options.n_prompts)]
        place += ["--max-new-tokens", "64", "--concurrency", "4", "--meter-gpus", "all", "--output-dir", "results"]
        process = boards.run(*place, *options.extra, timeout_s=LIMIT_S)
    (boards.scratch / "out.txt").write_text(process.stdout + "\n----\n" + process.stderr)
    if ran(process, verdict):
        judge_scripted(only_run(boards), boards.truth, script.told, texts, verdict)
        judge(only_run(boards), boards.truth, verdict, n_queries=2 * options.n_prompts)
        verify(boards, verdict)


CHECK = {"concurrency": concurrency, "rate": rate, "boards": which_boards, "killed": killed, "scripted": scripted}

if __name__ == "__main__":
    sys.exit(main())
