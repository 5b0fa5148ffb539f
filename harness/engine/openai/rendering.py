"""What the served model is really given for a prompt, asked of the server itself where it can tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.engine.openai.address import ServerAddress
from harness.engine.openai.dialect import EFFORT, Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A prompt as it reaches the model."""

    text: str
    known: bool
    """False: the server does not tell, and the text is the request."""
    n_tokens: int | None = None


class Renderer:
    """Asks one server. Once it has turned out that a server does not tell, it is asked no more."""

    def __init__(self, address: ServerAddress, dialect: Dialect, model: str) -> None:
        self._address = address
        self._model = model
        self._ask = {"vllm": self._by_tokens, "llama.cpp": self._by_template}.get(dialect.kind)

    def render(self, conversation: Mapping[str, Any]) -> Rendered:
        """The text that the model is given, or else the conversation as canonical JSON."""
        if self._ask is not None:
            rendered = self._ask(conversation)
            if rendered is not None:
                return rendered
            self._ask = None
        return Rendered(text=json.dumps(conversation, sort_keys=True, ensure_ascii=False), known=False)

    def _by_template(self, conversation: Mapping[str, Any]) -> Rendered | None:
        """A llama.cpp server applies the template and returns the text."""
        answer = _answer(self._address.ask("POST", "/apply-template", conversation))
        text = answer.get("prompt")
        return Rendered(text=text, known=True) if isinstance(text, str) else None

    def _by_tokens(self, conversation: Mapping[str, Any]) -> Rendered | None:
        """A vLLM server applies the template and returns the tokens, which it then turns into text again."""
        keywords = dict(conversation.get("chat_template_kwargs", {}))
        if EFFORT in conversation:
            keywords[EFFORT] = conversation[EFFORT]
        question = {
            "model": self._model,
            "messages": conversation["messages"],
            "add_generation_prompt": True,
            **({"chat_template_kwargs": keywords} if keywords else {}),
        }
        tokens = _answer(self._address.ask("POST", "/tokenize", question)).get("tokens")
        if not isinstance(tokens, list):
            return None
        text = _answer(self._address.ask("POST", "/detokenize", {"model": self._model, "tokens": tokens})).get("prompt")
        return Rendered(text=text, known=True, n_tokens=len(tokens)) if isinstance(text, str) else None


def _answer(answer: tuple[int, Any] | None) -> dict[str, Any]:
    return answer[1] if answer is not None and answer[0] == 200 and isinstance(answer[1], dict) else {}
