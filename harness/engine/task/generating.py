"""Answers that are written token by token after an encoder has looked at the input: greedy, one beam.

Beams are not searched: a token of several beams is not a token of one answer, and AI Energy Score decodes greedily too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness.engine.task.stopwatch import Stopwatch

GREEDY = {"do_sample": False, "num_beams": 1}
"""Keywords of `generate`, and what the manifest says of it."""
ENCODE, DECODE = "encode", "decode"


@contextmanager
def encoder_watched(encoder: Any, stopwatch: Stopwatch) -> Iterator[None]:
    """Split each run of the encoder off as a phase `encode`, and what lies between two runs as `decode`.

    Most queries run it once. Speech may run it more often: first to tell the language, and window by window where a
    sound is longer than one. Then the phases come again, and readers add up those of one name. What the library does
    before the first run is part of it.

    Args:
        encoder: A torch module.
        stopwatch: Of the query, whose last phase is `decode`.
    """
    has_run = False

    def begin(*_: object) -> None:
        if has_run:
            stopwatch.split(DECODE)

    def end(*_: object) -> None:
        nonlocal has_run
        has_run = True
        stopwatch.split(ENCODE)

    handles = [encoder.register_forward_pre_hook(begin), encoder.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def finish_reason(ids: list[int], end_ids: frozenset[int], max_new_tokens: int) -> str:
    """`length` where the cap cut an answer."""
    return "length" if len(ids) >= max_new_tokens and not end_ids & set(ids[-1:]) else "stop"


def end_ids_of(config: Any) -> frozenset[int]:
    """Token ids that end an answer, of a generation config."""
    end = getattr(config, "eos_token_id", None)
    return frozenset([end] if isinstance(end, int) else end or ())


def facts_of_generation(config: Any) -> Mapping[str, Any]:
    """What the manifest says: the model's own generation config, with what is asked for instead."""
    own: dict[str, Any] = json.loads(json.dumps(config.to_diff_dict(), default=str))
    return {**own, **GREEDY}
