"""Two requests that are not measured: a short one, so that a lazy server loads its model, and a long one."""

from __future__ import annotations

from harness.engine.server.asking import Answer, Asking
from harness.errors import EnvironmentFault

_LONG = "Count from 1 to 1000 in words, one number per line, and do not stop before the end."


def wake(asking: Asking, model: str, timeout_s: float) -> None:
    """Have one token answered: the model is loaded then, and holds its boards.

    Raises:
        EnvironmentFault: The server does not answer.
    """
    _answered(asking, model, "Hello.", 1, timeout_s)


def work(asking: Asking, model: str, timeout_s: float) -> None:
    """Have some hundred tokens answered.

    Raises:
        EnvironmentFault: The server does not answer.
    """
    _answered(asking, model, _LONG, 400, timeout_s)


def _answered(asking: Asking, model: str, text: str, n_tokens: int, timeout_s: float) -> None:
    shared = {"model": model, "max_tokens": n_tokens, "temperature": 0.0}
    chat = {**shared, "messages": [{"role": "user", "content": text}]}
    answer = asking.post("/v1/chat/completions", chat, timeout_s)
    if answer.status in (400, 404, 422):  # a base model has no chat template
        plain = asking.post("/v1/completions", {**shared, "prompt": text}, timeout_s)
        answer = plain if plain.ok else answer
    if not answer.ok:
        raise EnvironmentFault(
            f"The server at {asking.address.base_url} does not answer a request to {model!r}: {_words(answer)}",
            "See the server's own log; a wrong model is named with --model.",
        )


def _words(answer: Answer) -> str:
    return f"{answer.words}." if answer.status is None else f"{answer.status} {answer.words}"
