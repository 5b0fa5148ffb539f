"""The engine against a loopback server: loads, instants, faults, stopping. The load generator is the real process.

Waits are made by the server and set lower bounds only, so that a slow machine fails nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.clock import SessionClock
from harness.engine.openai.engine import OpenAIEngine
from harness.engine.openai.generator import LoadGenerator
from harness.errors import EnvironmentFault, ModelUnavailable, ServerLost, UsageError
from harness.reasoning.switch import FamilyReasoning
from harness.records import Asked, FindingCode, ModeSwitch, Prompt, ReasoningSpec, Served, ServerFacts
from harness.store.run_directory import RETRIED
from tests.fake_openai import DONE, FakeServer, Reply, Script, answering, delta, plain_events, sse, timed, usage

pytest.importorskip("aiohttp")

REASONING = FamilyReasoning(
    ReasoningSpec(
        thinking_start="<think>",
        thinking_end="</think>",
        modes={
            "off": ModeSwitch(template={"enable_thinking": False}),
            "on": ModeSwitch(template={"enable_thinking": True}),
            "prefixed": ModeSwitch(assistant_prefix="<think>"),
        },
    )
)
HEALTHY = {"/health": {"status": "ok"}, "/v1/models": {"data": [{"id": "m"}]}}
KEY = "sk-not-to-be-seen"


def queries(n: int, mode: str = "on", first: int = 0, **changes: Any) -> list[Asked]:
    return [
        Asked(
            number=number,
            index=number,
            prompt=Prompt(prompt_id=f"p{number}", text=f"Question {number}?"),
            mode=mode,
            max_new_tokens=64,
            seed=number,
            **changes,
        )
        for number in range(first, first + n)
    ]


SHARED: list[LoadGenerator] = []
"""One for all tests that need no other: it takes a second to start."""


@pytest.fixture(scope="module", autouse=True)
def _shared_generator() -> Iterator[None]:
    generator = LoadGenerator()
    generator.start()
    SHARED.append(generator)
    yield
    SHARED.remove(generator)
    generator.close()


@contextmanager
def engine_at(server: FakeServer, kind: str = "vllm", **changes: Any) -> Iterator[OpenAIEngine]:
    settings: dict[str, Any] = {
        "concurrency": 2, "request_timeout_s": 30.0, "max_failures": 1.0, "generator": SHARED[0], **changes
    }  # fmt: skip
    if settings.get("request_rate_per_second"):
        settings["concurrency"] = None
    engine = OpenAIEngine(
        base_url=server.base_url,
        model="m",
        reasoning=REASONING,
        clock=SessionClock(),
        session=4,
        facts=ServerFacts(kind=kind, version="1", model="m", base_url=server.base_url),
        **settings,
    )
    try:
        engine.load()
        yield engine
    finally:
        engine.close()


def take_all(engine: OpenAIEngine) -> list[Served]:
    return take_some(engine, engine.n_left)


def take_some(engine: OpenAIEngine, n: int, served: list[Served] | None = None) -> list[Served]:
    """At least so many, or all that are left; put into `served` as they come, where an error is expected."""
    served = [] if served is None else served
    deadline_s = time.monotonic() + 60.0
    while engine.n_left and len(served) < n:
        assert time.monotonic() < deadline_s, f"{engine.n_left} queries never ended"
        served += engine.take(1.0)
    return served


def codes(served: Served) -> list[FindingCode]:
    return [finding.code for finding in served.findings]


def fake(script: Script | None = None, **changes: Any) -> FakeServer:
    return FakeServer(script or answering(), answers=changes.pop("answers", HEALTHY), **changes)


# ---------------------------------------------------------------------------------------------------- loads


def test_closed_loop_keeps_its_concurrency_and_answers_all_in_order() -> None:
    with fake(answering(wait_s=0.005)) as server, engine_at(server, concurrency=3) as engine:
        engine.begin(queries(12))
        assert engine.n_left == 12
        served = take_all(engine)
        assert [body["messages"][-1]["content"] for body in server.chats] == [f"Question {n}?" for n in range(12)]
        assert server.n_open_most == 3
    assert sorted(one.asked.number for one in served) == list(range(12))
    assert all(one.generation is not None and one.generation.answer == "42" for one in served)
    in_flight = [
        sum(a.timeline.time_sent_s <= b.timeline.time_sent_s < a.timeline.time_end_s for a in served) for b in served
    ]
    assert max(in_flight) == 3


def test_alone_is_one_after_the_other_at_any_load() -> None:
    for load in ({"concurrency": 4}, {"request_rate_per_second": 1000.0}):
        with fake(answering(wait_s=0.002)) as server, engine_at(server, **load) as engine:
            engine.begin(queries(5), alone=True)
            served = take_all(engine)
            assert server.n_open_most == 1
            assert not any(finding.code is FindingCode.QUEUE_NOT_SEEN for finding in engine.warnings())
        for before, after in pairwise(served):
            assert after.timeline.time_sent_s >= before.timeline.time_end_s


def test_open_loop_sends_whatever_has_become_of_those_before() -> None:
    script = answering(wait_s=0.1)  # half a second for each answer
    with fake(script) as server, engine_at(server, request_rate_per_second=100.0, seed=5) as engine:
        engine.begin(queries(10))
        served = take_all(engine)
        assert server.n_open_most > 3
    sent_s = {one.asked.number: one.timeline.time_sent_s for one in served}
    from harness.engine.openai.arrivals import poisson_arrivals

    wanted_s = poisson_arrivals(10, 100.0, 5, 0)
    for number in range(1, 10):
        # never before its instant; how long after it is the machine's affair
        assert sent_s[number] - sent_s[0] >= wanted_s[number] - wanted_s[0] - 0.25
    assert [sent_s[number] for number in range(10)] == sorted(sent_s.values())


def test_blocks_follow_each_other_and_the_open_are_known() -> None:
    with fake() as server, engine_at(server) as engine:
        assert engine.time_open_s is None
        for first in (0, 4):
            engine.begin(queries(4, first=first))
            served = take_all(engine)
            assert {one.asked.number for one in served} == set(range(first, first + 4))
            assert engine.time_open_s is None
        engine.begin([])
        assert engine.take(0.0) == ()
        assert server.n_open == 0


def test_time_open_is_the_first_sending_of_those_that_are_open() -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return Reply(pieces=timed([delta(content="x")]), end="hang") if number == 1 else answering()(number, body)

    with fake(script) as server, engine_at(server, concurrency=2) as engine:
        engine.begin(queries(6))
        served = take_some(engine, 5)
        open_s = engine.time_open_s
        assert open_s is not None
        assert engine.n_left == 1
        server.release()
        late = take_all(engine)
        assert late[0].timeline.time_sent_s == open_s
        assert engine.time_open_s is None
        assert all(one.timeline.time_sent_s <= one.timeline.time_end_s for one in served)


def test_a_block_that_is_not_over_is_not_followed() -> None:
    with fake() as server, engine_at(server) as engine:
        engine.begin(queries(2))
        with pytest.raises(UsageError, match="not over"):
            engine.begin(queries(2))
        take_all(engine)


# -------------------------------------------------------------------------------------------------- instants


def test_instants_are_the_servers() -> None:
    events = plain_events(["4", "2"], said_usage=usage(9, 2))
    pieces = [(0.0, sse(events[0])), (0.15, sse(events[1])), (0.1, sse(events[2])), *timed(events[3:])]
    with fake(lambda _n, _b: Reply(pieces=pieces)) as server, engine_at(server) as engine:
        before_s = engine._clock.now_s()
        engine.begin(queries(1))
        (served,) = take_all(engine)
        after_s = engine._clock.now_s()
    timeline = served.timeline
    assert served.service.duration_first_token_s is not None
    assert served.service.duration_first_token_s >= 0.15  # the role alone came at once
    assert timeline.time_chunk_s[1] - timeline.time_chunk_s[0] >= 0.05
    assert before_s <= timeline.time_sent_s <= timeline.time_end_s <= after_s


def test_a_parent_that_computes_moves_no_instant() -> None:
    with fake(answering(wait_s=0.01)) as server, engine_at(server, concurrency=1) as engine:
        engine.begin(queries(4))
        deadline_s = time.monotonic() + 60
        while len(server.chats) < 4 and time.monotonic() < deadline_s:
            sum(range(1000))
        assert len(server.chats) == 4  # all were sent while nobody took any
        served = take_all(engine)
    assert sum(one.generation is not None for one in served) == 4


def test_pieces_that_the_network_cuts_anywhere() -> None:
    events = plain_events(["ü→😀"], said_usage=usage(9, 1))
    whole = b"".join(sse(event) for event in events[:-1]).replace(b"\n", b"\r\n")
    pieces = [(0.0, whole[at : at + 11]) for at in range(0, len(whole), 11)]
    with fake(lambda _n, _b: Reply(pieces=pieces)) as server, engine_at(server) as engine:  # and no [DONE]
        engine.begin(queries(2))
        for one in take_all(engine):
            assert one.generation is not None
            assert one.generation.answer == "ü→😀"


# -------------------------------------------------------------------------------------------------- requests


def test_each_query_has_a_salt_of_its_own() -> None:
    with fake() as server, engine_at(server) as engine:
        engine.begin(queries(4))
        take_all(engine)
        salts = {body["cache_salt"] for body in server.chats}
    assert len(salts) == 4
    with fake() as server, engine_at(server, prompt_cache="on") as engine:
        engine.begin(queries(1))
        take_all(engine)
        assert "cache_salt" not in server.chats[0]


def test_modes_that_a_server_cannot_be_asked_for() -> None:
    with fake() as server, engine_at(server) as engine:
        with pytest.raises(UsageError):
            engine.render(Prompt(prompt_id="p", text="x"), "prefixed")
        with pytest.raises(UsageError):
            engine.begin(queries(1, mode="prefixed"))
        assert engine.n_left == 0


def test_rendering_by_the_server() -> None:
    answers = {
        **HEALTHY,
        "/tokenize": lambda body: {"tokens": [1, 2, 3], "count": 3, "seen": body},
        "/detokenize": lambda body: {"prompt": f"<think>{body['tokens']}"},
    }
    prompt = Prompt(prompt_id="p", text="x")
    with fake(answers=answers) as server, engine_at(server) as engine:
        assert engine.render(prompt, "on") == "<think>[1, 2, 3]"
        asked = next(request.body for request in server.requests if request.path == "/tokenize")
        assert asked["chat_template_kwargs"] == {"enable_thinking": True}
        assert asked["add_generation_prompt"] is True
    answers = {**HEALTHY, "/apply-template": lambda body: {"prompt": f"<|user|>{body['messages'][0]['content']}"}}
    with fake(answers=answers) as server, engine_at(server, kind="llama.cpp") as engine:
        assert engine.render(prompt, "off") == "<|user|>x"
    with fake() as server, engine_at(server) as engine:
        rendered = engine.render(prompt, "on")
        assert json.loads(rendered)["chat_template_kwargs"] == {"enable_thinking": True}
        assert rendered != engine.render(prompt, "off")


def test_the_prompt_that_the_server_tells_decides_where_thinking_stands() -> None:
    answers = {**HEALTHY, "/apply-template": lambda _body: {"prompt": "<|assistant|><think>\n"}}
    events = plain_events(["hm"], finish_reason="length", said_usage=usage(9, 1))
    with (
        fake(lambda _n, _b: Reply(pieces=timed(events)), answers=answers) as server,
        engine_at(server, kind="llama.cpp") as engine,
    ):
        engine.begin(queries(1))
        (served,) = take_all(engine)
    assert served.generation is not None
    assert (served.generation.thinking, served.generation.rendered_prompt) == ("hm", "<|assistant|><think>\n")


# -------------------------------------------------------------------------------------------------- the key


def test_the_key_comes_from_the_environment_and_is_written_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_API_KEY", f"{KEY}\r\n")  # as a file leaves it
    with fake(api_key=KEY) as server, engine_at(server, generator=None) as engine:
        engine.begin(queries(2))
        served = take_all(engine)
        assert all(one.generation is not None for one in served)
        arguments = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path))
    assert KEY.encode() not in arguments
    assert KEY not in repr(served)


def test_a_key_that_the_server_quotes_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = json.dumps({"error": {"message": f"incorrect key {KEY}"}}).encode()
    script: Script = lambda _n, _b: Reply(pieces=[(0, said)], status=401, content_type="application/json")  # noqa: E731
    with fake(script) as server, engine_at(server, generator=None) as engine:
        engine.begin(queries(1))
        (served,) = take_all(engine)
    assert served.findings[0].detail == "HTTP 401: incorrect key ***"


def test_a_wrong_key_is_said_before_anything_is_sent() -> None:
    with fake(api_key=KEY) as server:
        with pytest.raises(EnvironmentFault, match="API key"), engine_at(server):
            pass
        assert server.chats == []


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK) and path.exists()


# ---------------------------------------------------------------------------------------------------- faults


HTML = Reply(pieces=[(0, b"<html>Welcome</html>")], content_type="text/html")
WHOLE = b'{"choices":[{"message":{"content":"42"},"finish_reason":"stop"}]}'
HALF = timed(plain_events(["4", "2"])[:2])


HALF_AN_EVENT = [(0, sse(plain_events(["4"])[1])), (0, b'data: {"choi')]
ERROR_INSIDE = [*HALF, (0.0, sse({"error": {"message": "CUDA out of memory"}})), (0.0, DONE)]
TOO_LONG = b'{"error":{"message":"too long"}}'
FAULTS: dict[str, tuple[Reply, FindingCode, str, int]] = {
    "dies": (Reply(pieces=HALF, end="abort"), FindingCode.STREAM_CUT, "", 1),
    "ends": (Reply(pieces=HALF), FindingCode.STREAM_CUT, "without", 1),
    "half an event": (Reply(pieces=HALF_AN_EVENT), FindingCode.STREAM_CUT, "cannot be read", 1),
    "error inside": (Reply(pieces=ERROR_INSIDE), FindingCode.STREAM_CUT, "CUDA out of memory", 1),
    "429": (Reply(pieces=[(0, b"slow down")], status=429), FindingCode.RATE_LIMITED, "slow down", 0),
    "400": (Reply(pieces=[(0, TOO_LONG)], status=400), FindingCode.QUERY_FAILED, "HTTP 400: too long", 0),
    "500": (Reply(pieces=[], status=500), FindingCode.SERVER_REFUSED, "HTTP 500", 0),
    "redirected": (Reply(pieces=[(0, b"elsewhere")], status=307), FindingCode.SERVER_REFUSED, "HTTP 307", 0),
    "html": (HTML, FindingCode.SERVER_REFUSED, "text/html", 0),
    "not streamed": (
        Reply(pieces=[(0, WHOLE)], content_type="application/json"), FindingCode.SERVER_REFUSED, "application/json", 0
    ),
    "hangs": (Reply(pieces=HALF, end="hang"), FindingCode.TIMED_OUT, "0.5 s", 1),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "code", "words", "n_chunks"), FAULTS.values(), ids=FAULTS)
def test_faults_are_found_and_others_go_on(reply: Reply, code: FindingCode, words: str, n_chunks: int) -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return reply if number == 1 else answering()(number, body)

    timeout_s = 0.5 if reply.end == "hang" else 30.0
    with fake(script) as server, engine_at(server, concurrency=1, request_timeout_s=timeout_s) as engine:
        engine.begin(queries(4))
        served = take_all(engine)
    failed = [one for one in served if one.generation is None]
    assert len(failed) == 1
    assert len(served) == 4
    assert codes(failed[0]) == [code]
    assert words in failed[0].findings[0].detail
    timeline = failed[0].timeline
    assert len(timeline.time_chunk_s) == n_chunks
    assert timeline.time_sent_s <= timeline.time_end_s
    assert served[-1].generation is not None


def test_wrong_content_type_with_a_stream_in_it_is_a_stream() -> None:
    pieces = timed(plain_events(["42"], said_usage=usage(9, 1)))
    with fake(lambda _n, _b: Reply(pieces=pieces, content_type="text/plain")) as server, engine_at(server) as engine:
        engine.begin(queries(1))
        assert take_all(engine)[0].generation is not None


def test_no_usage_is_found_and_sizes_stay_unknown() -> None:
    pieces = timed(plain_events(["4", "2"]))
    with fake(lambda _n, _b: Reply(pieces=pieces)) as server, engine_at(server) as engine:
        engine.begin(queries(1))
        (served,) = take_all(engine)
    assert codes(served) == [FindingCode.NO_USAGE]
    assert served.generation is not None
    assert served.generation.sizes == {}


def test_server_that_dies_is_lost_and_keeps_what_it_answered() -> None:
    with fake(answering(wait_s=0.002)) as server, engine_at(server, concurrency=4) as engine:
        engine.begin(queries(400))
        served = take_some(engine, 20)
        server.die()
        with pytest.raises(ServerLost, match="nothing listens"):
            take_some(engine, 1000, served)
        n_answered = sum(one.generation is not None for one in served)
        assert n_answered >= 20
        refused = [one for one in served if FindingCode.SERVER_REFUSED in codes(one)]
        assert 5 <= len(refused) < 50  # and not all that were left
        assert engine.n_left == 0
        assert engine.time_open_s is None


def test_too_many_failures_stop_the_load() -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return Reply(pieces=[(0, b"no")], status=503) if number % 2 else answering()(number, body)

    with fake(script) as server, engine_at(server, concurrency=2, max_failures=0.25) as engine:
        engine.begin(queries(200))
        served: list[Served] = []
        with pytest.raises(ServerLost, match="queries failed"):
            take_some(engine, 1000, served)
        assert 10 <= len(served) < 40
        assert len(server.chats) < 40
        assert all(RETRIED.intersection(codes(one)) for one in served if one.generation is None)


def test_answers_that_are_none_count_as_failures_too() -> None:
    pieces = timed(plain_events(["42"])[:-2])  # ends without a reason: the load generator cannot see it
    with fake(lambda _n, _b: Reply(pieces=pieces)) as server, engine_at(server, max_failures=0.5) as engine:
        engine.begin(queries(5000))
        with pytest.raises(ServerLost, match="queries failed"):
            take_some(engine, 10_000)
        assert engine.n_left == 0


def test_a_few_failures_are_borne() -> None:
    def script(number: int, body: dict[str, Any]) -> Reply:
        return Reply(pieces=[(0, b"no")], status=503) if number == 0 else answering()(number, body)

    with fake(script) as server, engine_at(server, max_failures=0.1) as engine:
        engine.begin(queries(30))
        assert len(take_all(engine)) == 30
        assert len(server.chats) == 30


def test_stopping_gives_up_what_is_open() -> None:
    script: Script = lambda _n, _b: Reply(pieces=HALF, end="hang")  # noqa: E731
    with fake(script) as server, engine_at(server, concurrency=3) as engine:
        engine.begin(queries(10))
        while server.n_open < 3:
            engine.take(0.01)
        engine.stop()
        served = take_all(engine)
        assert len(served) == 3
        assert {code for one in served for code in codes(one)} == {FindingCode.SERVER_LOST}
        assert all(one.generation is None for one in served)
        assert engine.time_open_s is None
        server.release()
        engine.begin(queries(0, first=10))
        engine.stop()  # nothing is open
        assert engine.take(0.0) == ()


def test_take_waits_no_longer_than_it_was_told() -> None:
    script: Script = lambda _n, _b: Reply(pieces=HALF, end="hang")  # noqa: E731
    with fake(script) as server, engine_at(server) as engine:
        engine.begin(queries(1))
        begun_s = time.monotonic()
        assert engine.take(0.05) == ()
        assert time.monotonic() - begun_s >= 0.05
        assert engine.n_left == 1
        engine.stop()
        take_all(engine)


# ------------------------------------------------------------------------------------------- session's doubts


def test_doubts_of_the_session_are_said_once() -> None:
    with fake() as server, engine_at(server, kind="ollama") as engine:
        engine.begin(queries(6))
        take_all(engine)
        said = [finding.code for finding in engine.warnings()]
        assert sorted(said) == sorted(
            {FindingCode.SERVED_NOT_KNOWN, FindingCode.CACHE_NOT_CONTROLLED, FindingCode.QUEUE_NOT_SEEN}
        )
        assert engine.warnings() == ()


def test_a_server_that_tells_its_queue_and_its_cache_is_not_doubted() -> None:
    events: list[Mapping[str, Any] | str] = plain_events(["42"], said_usage=usage(9, 1, cached=0))
    events[-2] = {**events[-2], "metrics": {"queue_time_ms": 1.0}}  # type: ignore[dict-item]
    with fake(lambda _n, _b: Reply(pieces=timed(events))) as server, engine_at(server, kind="ollama") as engine:
        engine.warnings()
        engine.begin(queries(3))
        served = take_all(engine)
        assert engine.warnings() == ()
    assert all(one.service.duration_queued_s == 0.001 for one in served)


# ------------------------------------------------------------------------------------------------- beginnings


def test_nobody_listens() -> None:
    with fake() as server:
        pass
    with pytest.raises(EnvironmentFault, match="Nothing answers"), engine_at(server):
        pass


def test_a_server_that_loads_its_model_is_not_ready() -> None:
    statuses = {"/health": 503}
    with fake(statuses=statuses) as server, pytest.raises(EnvironmentFault, match="not ready"), engine_at(server):
        pass


def test_a_server_without_a_health_page_is_asked_for_its_models() -> None:
    answers = {"/v1/models": {"data": [{"id": "m"}]}}
    with fake(answers=answers) as server, engine_at(server) as engine:
        engine.begin(queries(1))
        assert take_all(engine)[0].generation is not None


def test_a_model_that_is_not_served() -> None:
    answers = {**HEALTHY, "/v1/models": {"data": [{"id": "another"}]}}
    with fake(answers=answers) as server, pytest.raises(ModelUnavailable, match="another"), engine_at(server):
        pass


def test_loads_that_cannot_be_meant() -> None:
    with fake() as server:
        for changes in ({"concurrency": None}, {"concurrency": 2, "request_rate_per_second": 2.0}):
            with pytest.raises(UsageError, match="load"):
                OpenAIEngine(
                    base_url=server.base_url,
                    model="m",
                    reasoning=REASONING,
                    clock=SessionClock(),
                    session=1,
                    facts=ServerFacts(kind="vllm", version=None, model="m", base_url=server.base_url),
                    **changes,
                )


def test_base_urls_with_and_without_the_version() -> None:
    for cut in ("", "/v1", "/v1/"):
        with fake() as server:
            server_url = f"http://127.0.0.1:{server.port}{cut}"
            engine = OpenAIEngine(
                base_url=server_url,
                model="m",
                reasoning=REASONING,
                clock=SessionClock(),
                session=1,
                facts=ServerFacts(kind="vllm", version=None, model="m", base_url=server_url),
                concurrency=1,
                generator=SHARED[0],
            )
            facts = engine.load()
            assert facts.server is not None
            engine.begin(queries(1))
            assert take_all(engine)[0].generation is not None
            engine.close()


def test_a_load_generator_that_is_killed_is_an_error() -> None:
    script: Script = lambda _n, _b: Reply(pieces=HALF, end="hang")  # noqa: E731
    with fake(script) as server, engine_at(server, generator=None) as engine:
        engine.begin(queries(5))
        while server.n_open < 2 or len(engine._open_s) < 2:
            engine.take(0.01)
        process = engine._generator._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EnvironmentFault, match="load generator"):
            take_all(engine)
        engine.stop()
        cut_off = take_all(engine)  # they drew energy beside those that had ended
        assert len(cut_off) == 2
        assert all(one.generation is None and one.timeline.time_end_s > one.timeline.time_start_s for one in cut_off)
        assert (engine.n_left, engine.time_open_s) == (0, None)


def test_the_load_generator_ends_with_its_parent() -> None:
    program = (
        "import os\n"
        "from harness.engine.openai.generator import LoadGenerator\n"
        "generator = LoadGenerator()\n"
        "generator.start()\n"
        "print(generator._process.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    pid = int(done.stdout)
    deadline_s = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aiohttp.py").write_text("raise ImportError('no aiohttp here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="not installed") as raised:
        LoadGenerator().start()
    assert "pip install" in raised.value.next_step
