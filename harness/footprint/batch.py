"""What a query costs alone on its boards against one of many on a busy server.

A run here asks one query at a time, so the boards' standing power and every read of the weights are one query's. A
server shares both. Published factors:

- 53: Mistral 7B on an H100 with vLLM, 732 µWh (2.64 J) per token at batch 1 against 13.8 µWh (0.050 J) at batch 128
  (Alice Benchmark, posted on Reddit). One measurement, not repeated by us.
- 3 to 5: from batch 8 to the largest batch, ML.ENERGY Leaderboard v3.0 (December 2025). What batch 1 to 8 saves comes
  on top, so it is a lower bound here.
"""

from __future__ import annotations

from harness.footprint.spread import Spread
from harness.footprint.steps import Step

ALICE = 2.64 / 0.050
ML_ENERGY = (3.0, 5.0)
SERVING = "busy server"

SOURCES = (
    "÷ 53: 2.64 J per token at batch 1 against 0.050 J at batch 128, Mistral 7B, H100, vLLM (Alice Benchmark).",
    "÷ 3 to 5: from batch 8 to the largest batch (ML.ENERGY Leaderboard v3.0); batch 1 to 8 comes on top.",
)


def serving(factor: Spread) -> Step:
    """The step from a query alone to one of many."""
    return Step(
        name=SERVING,
        sign="÷",
        factor=factor,
        measured=False,
        source="stated by the user",
        at_least=1.0,
    )
