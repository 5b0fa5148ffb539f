"""What to send to which kind of server: one request that means the same to all of them, as far as they can be asked.

Knows the extra fields of each server. Must not know streams, processes or time.

- vLLM: `cache_salt` keeps a prompt from finding itself in the cache; `return_token_ids` has it say which tokens came.
- SGLang: the same salt; its running usage with every chunk has it say how many came.
- llama.cpp: `cache_prompt`, and `timings_per_token` for the running count.
- `transformers serve`: refuses fields that it does not know; lengths and penalties go into a generation config.
- Ollama and TGI: hardly more than what OpenAI's own interface has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.records import Asked, ModeSwitch, Prompt, Sampling, ServerFacts

CHAT_PATH = "/chat/completions"
EFFORT = "reasoning_effort"
SEEDS = 2**31
"""llama.cpp takes 32 bits, and the largest of them for `at random`."""
IN_PROCESS = "Measure this mode in process (`--engine transformers`), or leave it out (`--modes`)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one kind of server can be asked for."""

    kind: str
    takes_template_keywords: bool = True
    effort_is_a_field: bool = True
    """Reasoning effort is asked for beside the messages; False: it is a keyword of the template."""
    forces_lengths: bool = False
    takes_least_tokens: bool = False
    controls_cache: bool = False
    """A prompt can be kept from finding itself in the cache, or there is none."""
    repeats_prompt: bool = False
    """Its streams may begin with (a part of) the prompt, and hold special tokens as text."""


_DIALECTS = {
    dialect.kind: dialect
    for dialect in (
        Dialect(kind="vllm", forces_lengths=True, takes_least_tokens=True, controls_cache=True),
        Dialect(kind="sglang", forces_lengths=True, takes_least_tokens=True, controls_cache=True),
        Dialect(kind="llama.cpp", effort_is_a_field=False, forces_lengths=True, controls_cache=True),
        Dialect(
            kind="transformers",
            effort_is_a_field=False,
            forces_lengths=True,
            takes_least_tokens=True,
            repeats_prompt=True,
        ),
        Dialect(kind="ollama", takes_template_keywords=False),
        Dialect(kind="tgi", takes_template_keywords=False, effort_is_a_field=False),
        Dialect(kind="unknown"),
    )
}


def dialect_of(facts: ServerFacts) -> Dialect:
    """The dialect that a server speaks."""
    return _DIALECTS.get(facts.kind, _DIALECTS["unknown"])


def caches_anyway(dialect: Dialect, facts: ServerFacts) -> bool:
    """Whether a prompt may find itself in a cache although that was not asked for, as far as is known.

    `transformers serve` has one only with continuous batching, which shows in its command alone.
    """
    if dialect.kind == "transformers":
        return not facts.command or "--continuous-batching" in facts.command
    return not dialect.controls_cache


def conversation(dialect: Dialect, prompt: Prompt, switch: ModeSwitch, mode: str) -> dict[str, Any]:
    """Messages and what goes with them: what the prompt is made of.

    Raises:
        UsageError: The mode cannot be asked of such a server.
    """
    _refuse(switch, mode)
    messages = [{"role": "system", "content": switch.system}] if switch.system else []
    messages.append({"role": "user", "content": f"{switch.prompt_prefix}{prompt.text}"})
    return {"messages": messages, **_keywords(dialect, switch, mode)}


def request_body(
    dialect: Dialect,
    asked: Asked,
    switch: ModeSwitch,
    *,
    model: str,
    sampling: Sampling | None,
    n_least: int,
    salt: str | None,
) -> dict[str, Any]:
    """The whole request of one query.

    Args:
        dialect: The server's.
        asked: The query.
        switch: How its mode is asked for.
        model: The name that the server has for the model.
        sampling: How tokens are chosen; None: as the server does by itself.
        n_least: Output tokens before which the answer may not end.
        salt: One of its own for each query keeps the prompt out of the cache; None: it may find itself there.

    Raises:
        UsageError: The mode, the sampling or the least length cannot be asked of such a server.
    """
    n_most = asked.max_new_tokens if asked.n_forced_tokens is None else asked.n_forced_tokens
    body = {"model": model, **conversation(dialect, asked.prompt, switch, asked.mode), "stream": True}
    body["max_tokens"] = n_most
    body |= _sampling(dialect, sampling, asked.seed)
    if dialect.kind != "transformers":  # it reports usage unasked
        body["stream_options"] = {"include_usage": True}
    if n_least and not dialect.takes_least_tokens and asked.n_forced_tokens is None:
        raise UsageError(
            f"A {dialect.kind} server cannot be told to answer with {n_least} tokens at least.",
            "Use vLLM, SGLang or transformers serve for a protocol with a least length.",
        )
    forced = asked.n_forced_tokens is not None and dialect.forces_lengths
    n_held = n_most - 1 if forced else min(n_least, n_most)  # the last token may be the end, as it was when recorded
    if dialect.kind in ("vllm", "sglang"):
        body |= {"min_tokens": n_held} if n_held else {}
        body |= {"ignore_eos": True} if forced else {}
        body |= {"cache_salt": salt} if salt else {}
    if dialect.kind == "vllm":
        body["return_token_ids"] = True
    elif dialect.kind == "sglang":
        body["separate_reasoning"] = True
        body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    elif dialect.kind == "llama.cpp":
        body |= {"cache_prompt": salt is None, "timings_per_token": True}
        body |= {"ignore_eos": True} if forced else {}
    elif dialect.kind == "transformers":
        config = body.pop("generation_config", {})
        config |= {"min_new_tokens": n_held, "max_new_tokens": n_most} if n_held else {}
        body |= {"generation_config": json.dumps(config)} if config else {}
    return body


def _refuse(switch: ModeSwitch, mode: str) -> None:
    if switch.thinking_budget_tokens is not None:
        raise UsageError(f"A server cannot be asked to end its thinking by force, as mode {mode!r} wants.", IN_PROCESS)
    if switch.assistant_prefix:
        raise UsageError(
            f"A server cannot be asked to go on from the text that mode {mode!r} puts after the prompt.", IN_PROCESS
        )
    if not switch.chat_template:
        raise UsageError(
            f"A server's chat interface cannot leave out the chat template, as mode {mode!r} wants.", IN_PROCESS
        )


def _keywords(dialect: Dialect, switch: ModeSwitch, mode: str) -> dict[str, Any]:
    """The template's keywords, in the way in which the server takes them."""
    keywords = dict(switch.template)
    fields: dict[str, Any] = {}
    if dialect.kind == "ollama":
        return {EFFORT: _ollama_effort(keywords, mode)} if keywords else {}
    if EFFORT in keywords and dialect.effort_is_a_field:
        fields[EFFORT] = keywords.pop(EFFORT)
    if keywords and not dialect.takes_template_keywords:
        raise UsageError(
            f"A {dialect.kind} server takes no keywords for the chat template, so mode {mode!r} cannot be asked for.",
            "Use vLLM, SGLang, llama.cpp or transformers serve, or measure a mode that needs none (`--modes`).",
        )
    return {**fields, "chat_template_kwargs": keywords} if keywords else fields


def _ollama_effort(keywords: Mapping[str, str | bool | int], mode: str) -> str:
    """Ollama has its own templates; what it can be asked for is an effort, or none."""
    values = list(keywords.values())
    if len(values) == 1:
        if EFFORT in keywords:
            return str(values[0])
        if isinstance(values[0], bool):
            return "medium" if values[0] else "none"
    raise UsageError(
        f"Ollama takes a reasoning effort and no keywords for the chat template: mode {mode!r} cannot be asked for.",
        "Use vLLM, SGLang, llama.cpp or transformers serve.",
    )


def _sampling(dialect: Dialect, sampling: Sampling | None, seed: int) -> dict[str, Any]:
    """How tokens are chosen. A greedy choice has no use for a seed, and vLLM is slower with one."""
    given = {} if sampling is None else sampling.model_dump(exclude_none=True)
    greedy = given.pop("do_sample", None) is False
    if greedy:
        given = {name: value for name, value in given.items() if name == "repetition_penalty"}
    fields: dict[str, Any] = {"temperature": 0.0} if greedy else {"seed": seed % SEEDS}
    for name in ("temperature", "top_p"):
        if name in given:
            fields[name] = given.pop(name)
    if not given:
        return fields
    if dialect.kind == "transformers":
        return {**fields, "generation_config": given}
    if dialect.kind in ("ollama", "tgi", "unknown"):
        raise UsageError(
            f"A server of kind {dialect.kind!r} cannot be asked for {', '.join(sorted(given))}.",
            "Use vLLM, SGLang or llama.cpp, or leave that to the server.",
        )
    if dialect.kind == "llama.cpp" and "repetition_penalty" in given:
        given["repeat_penalty"] = given.pop("repetition_penalty")
    return {**fields, **given}
