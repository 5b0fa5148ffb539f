"""Record what an OpenAI-compatible server sends, byte for byte, for tests/recorded_streams. Run by hand.

    python scripts/record_streams.py KIND VERSION http://127.0.0.1:18080 MODEL

Each case of `CASES` becomes NAME.sse (the body as it came, without HTTP's own chunk marks) and NAME.json beside it:
the server, the request, when each piece came, and what is true of the answer. The endpoints that describe a server
become KIND-endpoints.json. Paths of the machine are cut from all of them.
"""

import argparse
import http.client
import json
import os
import re
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOME = Path(__file__).resolve().parent.parent / "tests" / "recorded_streams"
ENDPOINTS = ("/health", "/v1/models", "/version", "/props", "/slots", "/metrics", "/load", "/get_model_info", "/info")
COUNTERS = re.compile(r"request|token|cache|queue|time", re.IGNORECASE)

EXAMPLES = (
    ("Ann has 2 bags with 4 apples each. How many apples?", "2 * 4 = 8", "8 apples."),
    ("Bob has 9 pens and loses 3. How many pens?", "9 - 3 = 6", "6 pens."),
)


def chained(text: str, mode: str) -> dict[str, Any]:
    """The embedded model's own kind of question."""
    return {
        "messages": [{"role": "user", "content": text}],
        "chat_template_kwargs": {"enable_thinking": mode == "on"},
    }


def worded(text: str, mode: str) -> dict[str, Any]:
    """For a small chat model that has to be shown how to think."""
    system = "Think first: write your reasoning, then write </think>, then write only the final answer."
    messages: list[dict[str, str]] = [{"role": "system", "content": system}] if mode == "on" else []
    for question, thought, answer in EXAMPLES if mode == "on" else ():
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "reasoning_content": thought, "content": answer},
        ]
    return {
        "messages": [*messages, {"role": "user", "content": text}],
        "chat_template_kwargs": {"enable_thinking": mode == "on"},
    }


def cases(kind: str, model: str) -> dict[str, dict[str, Any]]:
    """The requests to record, by name."""
    kind = "vllm" if kind.startswith("vllm") else kind
    is_small_talk, is_plain = kind == "llamacpp", kind == "transformers"
    ask = worded if is_small_talk else chained
    question = "Tom has 3 boxes with 4 eggs each. How many eggs?" if is_small_talk else "2+1+1*6-4="
    long_question = "Name the capital of France, in one short sentence, please." if is_small_talk else "5*3-2-9*5-9-3="
    base = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.0}
    generation = lambda **changes: {"generation_config": json.dumps(changes)}  # noqa: E731
    forced = {
        "llamacpp": {"max_tokens": 12, "ignore_eos": True},
        "llamacpp-inline": {"max_tokens": 12, "ignore_eos": True},
        "vllm": {"max_tokens": 12, "min_tokens": 12, "ignore_eos": True},
        "transformers": {"max_tokens": 12, **generation(min_new_tokens=12, max_new_tokens=12, do_sample=False)},
        "transformers-batching": {"max_tokens": 12},  # there, one request's configuration is everyone's
    }[kind]
    uncached = {
        "llamacpp": {"cache_prompt": False},
        "llamacpp-inline": {"cache_prompt": False},
        "vllm": {"cache_salt": "salt-of-query-1"},
    }.get(kind, {})
    greedy = generation(do_sample=False) if is_plain else {}
    long_chain = ("3+5*2-" * 60) + "4="
    too_long = ("1+" * 2500) + "1="
    found: dict[str, dict[str, Any]] = {
        "thinking-off": {**base, **ask(question, "off"), "max_tokens": 30, **uncached},
        "thinking-on": {**base, **ask(question, "on"), "max_tokens": 60, **uncached},
        "thinking-unfinished": {**base, **ask(question, "on"), "max_tokens": 6, **uncached},
        "forced-length": {**base, **ask(question, "off"), **forced, **uncached},
        "sampled": {**base, **ask(question, "off"), "max_tokens": 12, "temperature": 0.7, "top_p": 0.9, "seed": 7},
        "no-usage-asked": {**ask(question, "off"), "model": model, "stream": True, "temperature": 0.0, "max_tokens": 8},
        "cached-first": {**base, **ask(long_question, "off"), "max_tokens": 8},
        "cached-second": {**base, **ask(long_question, "off"), "max_tokens": 8},
        "cached-long-first": {**base, **ask(long_chain, "off"), "max_tokens": 4},
        "cached-long-second": {**base, **ask(long_chain, "off"), "max_tokens": 4},
        "cached-long-forbidden": {**base, **ask(long_chain, "off"), "max_tokens": 4, **uncached},
        "wrong-model": {**base, **ask(question, "off"), "model": "no-such-model", "max_tokens": 8},
        "prompt-too-long": {**base, **ask(too_long, "off"), "max_tokens": 8},
        "bad-parameter": {**base, **ask(question, "off"), "max_tokens": -5},
        "not-streamed": {**ask(question, "on"), "model": model, "stream": False, "temperature": 0.0, "max_tokens": 60},
    }
    if kind.startswith("llamacpp"):
        found["timings-per-token"] = {**found["thinking-off"], "timings_per_token": True, "return_progress": True}
    if kind == "vllm":
        found["token-ids"] = {**found["thinking-on"], "return_token_ids": True}
        found["continuous-usage"] = {
            **found["thinking-on"],
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    return {name: {**body, **({} if "generation_config" in body else greedy)} for name, body in found.items()}


class Call:
    """One request and its answer, as bytes with the instants at which they came."""

    def __init__(self, root: str, path: str, body: dict[str, Any] | None, *, kill: int | None = None) -> None:
        place = urlsplit(root)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=180)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self.sent_s = time.monotonic()
        connection.request(
            "POST" if body is not None else "GET", path, json.dumps(body) if body is not None else None, headers
        )
        response = connection.getresponse()
        self.status = response.status
        self.content_type = response.getheader("Content-Type", "")
        self.body = b""
        self.pieces: list[tuple[float, int]] = []
        self.broke = ""
        try:
            while piece := response.read1(65536):
                self.body += piece
                self.pieces.append((round(time.monotonic() - self.sent_s, 4), len(piece)))
                if kill is not None and len(self.pieces) == 5:
                    os.kill(kill, signal.SIGKILL)
        except (http.client.HTTPException, OSError) as error:
            self.broke = type(error).__name__
        connection.close()


def scrubbed(text: str) -> str:
    """Without what says where it was made."""
    text = re.sub(r"/(?:tmp|work|home|root|opt)/[^\s\"'\\,<>]*", "/models/here", text)
    return re.sub(r"__media_\w+__", "__media__", text)


def what_is_true(call: Call) -> dict[str, Any]:
    """Read from the stream by plain means; the counts are the server's last, and the number of its own pieces."""
    text, thinking, usage, finish, timings, metrics = "", "", None, None, None, None
    n_text = n_thinking = 0
    field = None
    for line in call.body.decode(errors="replace").splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        timings = event.get("timings") or timings
        metrics = event.get("metrics") or metrics
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            for name in ("reasoning_content", "reasoning"):
                if delta.get(name):
                    field, thinking, n_thinking = name, thinking + delta[name], n_thinking + 1
            if delta.get("content"):
                text, n_text = text + delta["content"], n_text + 1
            finish = choice.get("finish_reason") or finish
    return {
        "text": text,
        "thinking": thinking,
        "thinking_field": field,
        "n_text_events": n_text,
        "n_thinking_events": n_thinking,
        "finish_reason": finish,
        "usage": usage,
        "timings": timings,
        "metrics": metrics,
        "ends_with_done": call.body.rstrip().endswith(b"data: [DONE]"),
    }


def tokens_of(kind: str, root: str, body: dict[str, Any]) -> int | None:
    """The prompt's tokens, counted by another way than the stream's own usage."""
    asked = {key: body[key] for key in ("messages", "chat_template_kwargs")}
    try:
        if kind.startswith("llamacpp"):
            prompt = json.loads(Call(root, "/apply-template", asked).body)["prompt"]
            call = Call(root, "/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
            return len(json.loads(call.body)["tokens"])
        if kind.startswith("vllm"):
            call = Call(root, "/tokenize", {"model": body["model"], **asked, "add_generation_prompt": True})
            return int(json.loads(call.body)["count"])
    except (KeyError, ValueError):
        return None
    return None


def main() -> None:
    """Record every case and every endpoint of one server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "kind",
        choices=(
            "llamacpp",
            "llamacpp-inline",
            "transformers",
            "transformers-batching",
            "vllm",
            "vllm-prompt-opens-thinking",
        ),
    )
    parser.add_argument("version")
    parser.add_argument("root", help="http://127.0.0.1:PORT")
    parser.add_argument("model")
    parser.add_argument("--only", default="", help="a part of the names of the cases to record")
    parser.add_argument("--kill", type=int, help="pid of the server: record only how a stream breaks when it is killed")
    given = parser.parse_args()
    HOME.mkdir(exist_ok=True)
    about = {"server": given.kind, "version": given.version, "date": datetime.now(UTC).date().isoformat()}
    wanted = cases(given.kind, given.model)
    if given.kill is not None:
        long = {**wanted["forced-length"], "max_tokens": 200}
        if "generation_config" in long:
            long["generation_config"] = json.dumps({"min_new_tokens": 200, "max_new_tokens": 200, "do_sample": False})
        wanted = {"killed": long}
    for name, body in wanted.items():
        if given.only not in name:
            continue
        call = Call(given.root, "/v1/chat/completions", body, kill=given.kill)
        stem = f"{given.kind}-{name}"
        raw = scrubbed(call.body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        (HOME / f"{stem}.sse").write_bytes(raw)
        n_prompt = (
            tokens_of(given.kind, given.root, body) if given.kill is None and len(json.dumps(body)) < 2500 else None
        )
        if len(json.dumps(body)) > 2500:
            body = {**body, "messages": "one message of 5002 characters: '1+' 2500 times, then '1='"}
        record = {
            **about,
            "path": "/v1/chat/completions",
            "body": body,
            "status": call.status,
            "content_type": call.content_type,
            "broke": call.broke or None,
            "scrubbed": raw != call.body,
            "true": {"n_prompt_tokens": n_prompt, **(what_is_true(call) if call.status == 200 else {})},
            "pieces": [list(piece) for piece in call.pieces],
        }
        (HOME / f"{stem}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        print(stem, call.status, len(raw), "bytes", record["true"].get("usage"), file=sys.stderr)
    if given.kill is None and not given.only:
        record_endpoints(given.kind, given.root, about, wanted["thinking-on"])


def record_endpoints(kind: str, root: str, about: dict[str, str], body: dict[str, Any]) -> None:
    """What the server says of itself, and of one prompt."""
    answers: dict[str, Any] = {}
    asked = {key: body[key] for key in ("model", "messages", "chat_template_kwargs")}
    posts = {
        "/tokenize": {"model": body["model"], "content": "Hello there", "prompt": "Hello there"},
        "/apply-template": asked,
        "/v1/chat/completions/render": asked,
        "/detokenize": {"model": body["model"], "tokens": [40, 41]},
    }
    for path in (*ENDPOINTS, *posts):
        call = Call(root, path, posts.get(path))
        text = scrubbed(call.body.decode(errors="replace"))
        try:
            answer = json.loads(text)
        except ValueError:
            lines = text.splitlines()
            answer = [line for line in lines if line and not line.startswith("#") and COUNTERS.search(line)][:60]
        sent = {"sent": posts[path]} if path in posts else {}
        answers[path] = {"status": call.status, "content_type": call.content_type, **sent, "answer": answer}
    path = HOME / f"{kind}-endpoints.json"
    path.write_text(json.dumps({**about, "endpoints": answers}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
