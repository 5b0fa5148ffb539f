"""Decode steps through torch.compile: how transformers is asked for it, and what came of it.

Knows torch.compile's counters and two keywords of `generate`. Must not know prompts or time.

transformers compiles the forward pass of decode steps, whose shapes do not change with a static cache; the prompt is
read by the ordinary one. The cache only grows: a longer query, or a batch of another size, may have to be compiled
anew, which takes seconds to minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch._dynamo.utils import counters

from harness.records import Finding, FindingCode

BACKEND = "inductor"
CACHE_STEP_TOKENS = 256
"""The static cache's length is a multiple of this, so that few lengths are met."""
_LONGEST_QUOTE = 200


@dataclass(slots=True)
class Seen:
    """What was compiled meanwhile."""

    n_graphs: int = 0


class Compiled:
    """The compiled side of one loaded model. torch's counters are the process's, so there is one at a time."""

    most_tries = 3
    """Windows of one query: torch compiles for the first shape, then once for any; a third finds nothing new."""

    def __init__(self) -> None:
        torch._dynamo.reset()  # a model that was there before has used up tries of the same code
        counters.clear()
        self._said: set[str] = set()

    def settings(self, n_tokens: int) -> dict[str, Any]:
        """Keywords of `generate`.

        Args:
            n_tokens: Of the longest input and its output together.
        """
        config = transformers.CompileConfig(backend=BACKEND)
        config._compile_all_devices = True  # otherwise it is passed over on a CPU
        n_steps = -(-n_tokens // CACHE_STEP_TOKENS)
        return {
            "cache_implementation": "static",
            "max_cache_len": n_steps * CACHE_STEP_TOKENS,
            "compile_config": config,
        }

    @contextmanager
    def watching(self) -> Iterator[Seen]:
        """Count what is compiled inside."""
        seen, n_before = Seen(), _n_graphs()
        yield seen
        seen.n_graphs = _n_graphs() - n_before

    def findings(self, *, n_steps: int) -> tuple[Finding, ...]:
        """What could not be compiled, each once.

        Args:
            n_steps: Of the last window; the first one is not a decode step.
        """
        reasons = [f"graph break: {reason}" for reason in counters["graph_break"]]
        if n_steps > 1 and not _n_graphs():
            reasons.append("nothing of the forward pass was compiled")
        new = [reason for reason in reasons if reason not in self._said]
        self._said.update(new)
        return tuple(_finding(reason) for reason in new)

    def given_up(self, error: Exception) -> Finding:
        """It raised an error that the ordinary forward pass does not raise."""
        return _finding(f"not compiled from here on, because: {error}")


def _n_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def _finding(what: str) -> Finding:
    text = " ".join(f"torch.compile: {what}".split())
    return Finding(code=FindingCode.LIBRARY_WARNING, detail=text[:_LONGEST_QUOTE])
