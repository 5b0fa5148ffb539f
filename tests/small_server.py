"""A server of a made-up model, as a program: python small_server.py PORT '{"delay_s": 0.2, ...}'; or in this process.

Keys: `answers` (path to JSON, or to [status, text]), `delay_s` (503 until then), `die_after_s` and `status`, `say` (to
standard error at the start), `deaf` (ignores TERM), `child` (starts one that is as deaf; its number goes to that file),
`leave` (the child is started by one that ends, so that it is nobody's), `key` (the API key that it wants), `program`
(its name in the header), `work_s` (what a long request takes).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USUAL: dict[str, Any] = {
    "/health": {"status": "ok"},
    "/v1/models": {"data": [{"id": "small", "owned_by": "me"}]},
    "/v1/chat/completions": {"choices": [{"message": {"content": "One."}}]},
}

CHILD = """
import os, signal, sys, time
note, deaf, leave = sys.argv[1], sys.argv[2] == "1", sys.argv[3] == "1"
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if leave and os.fork():
    os._exit(0)
with open(note + ".new", "w") as file:
    file.write(str(os.getpid()))
os.replace(note + ".new", note)
time.sleep(600)
"""


def server(port: int, plan: dict[str, Any]) -> ThreadingHTTPServer:
    """Bound, not serving yet. Bodies of requests are kept in its `asked`."""
    ready_s = time.monotonic() + plan.get("delay_s", 0.0)
    answers = {**USUAL, **plan.get("answers", {})}
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = answers.get(self.path, [404, "<html>not here</html>"])
            if time.monotonic() < ready_s:
                answer = [503, "loading"]
            key = plan.get("key")
            if key and self.path != "/health" and self.headers.get("Authorization") != f"Bearer {key}":
                answer = [401, f"not {self.headers.get('Authorization')}"]
            status, text = answer if isinstance(answer, list) else (200, json.dumps(answer))
            body = text.encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request)
            time.sleep(plan.get("work_s", 0.0) if request.get("max_tokens", 0) > 1 else 0.0)
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

        def version_string(self) -> str:
            return str(plan.get("program", "small"))

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Who asked has gone away."""

    made = Server(("127.0.0.1", port), Handler)
    made.asked = asked  # type: ignore[attr-defined]
    return made


@contextmanager
def serving(**plan: Any) -> Iterator[ThreadingHTTPServer]:
    """The same in this process, at a port of its own."""
    made = server(0, plan)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def main() -> None:
    port, plan = int(sys.argv[1]), json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")
    if plan.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(plan.get("say", "starting"), file=sys.stderr, flush=True)
    if "child" in plan:
        words = [plan["child"], str(int(plan.get("deaf", False))), str(int(plan.get("leave", False)))]
        child = subprocess.Popen([sys.executable, "-S", "-c", CHILD, *words])
        while not Path(plan["child"]).exists():
            time.sleep(0.01)
        if plan.get("leave"):
            child.wait()
    if "die_after_s" in plan:
        threading.Timer(plan["die_after_s"], lambda: os._exit(plan.get("status", 3))).start()
    server(port, plan).serve_forever()


if __name__ == "__main__":
    main()
