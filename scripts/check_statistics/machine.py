"""What an 8 B model takes on one H100, from published rates: joules and seconds of a query alone, seconds of a batch.

Alone (transformers, AI Energy Score's first reasoning upload): SmolLM3-3B 61.1 tokens/s at 188 W, Phi-4-reasoning-plus
(14.7 B) 52.7 tokens/s at 341 W. Between them, by parameters, 8.2 B: 57.4 tokens/s at 256 W, 4.5 J per token.

In a batch: a step takes at least as long as a step alone, which the processor decides, and 0.06 ms per row and the time
to read the rows' keys and values besides. That is the slope of ML.ENERGY's Qwen3-8B rows (H100, chat: 8.2 ms at batch
size 8, 20.7 ms at 128, outputs of 650 tokens). Keys and values: 36 layers x 8 heads x 128 x 2 numbers of 2 bytes, at
2 TB/s. In a static batch every row goes on until the longest ends.
"""

from __future__ import annotations

import numpy as np

from .studies import FloatArray

PARAMETERS_B = 8.2
SHARE = (PARAMETERS_B - 3.1) / (14.7 - 3.1)
TOKENS_PER_S = 61.1 + SHARE * (52.7 - 61.1)
POWER_W = 188 + SHARE * (341 - 188)
STEP_S = 1 / TOKENS_PER_S
BYTES_PER_TOKEN = 36 * 8 * 128 * 2 * 2
ATTENDED_S = BYTES_PER_TOKEN / 2e12
PREFILL_S = 2 * PARAMETERS_B * 1e9 / 4e14
START_S = 0.04
ROW_S = 0.06e-3
POWER_PREFILL_W = 600.0
LAW_J = np.array([START_S * POWER_W, PREFILL_S * POWER_PREFILL_W, STEP_S * POWER_W, ATTENDED_S * POWER_W])
LAW_S = np.array([START_S, PREFILL_S, STEP_S, ATTENDED_S])
PACKED_TOKENS_PER_S = 2510.2
"""ML.ENERGY, Qwen3-8B on one H100, gpqa, batch size 64, outputs of 8,367 tokens: vLLM refills rows at once."""
MEMORY_BYTES = 80e9 - 2 * PARAMETERS_B * 1e9 - 6e9
"""For keys and values; 6 GB are left to activations and copies."""


def batch_size(longest: float) -> int:
    """The largest power of two whose rows fit into memory at this length, at most 128."""
    fits = MEMORY_BYTES / (BYTES_PER_TOKEN * longest)
    return int(2 ** np.floor(np.log2(min(fits, 128.0))))


def batched_s(p: FloatArray, o: FloatArray, size: int) -> float:
    """Seconds of answering queries in static batches of `size`, in the order that they come."""
    total_s = 0.0
    for first in range(0, len(o), size):
        rows, longest = len(o[first : first + size]), float(o[first : first + size].max())
        length = float(p[first : first + size].max())
        total_s += START_S + PREFILL_S * length * rows + longest * (STEP_S + ROW_S * rows)
        total_s += ATTENDED_S * rows * (length * longest + longest**2 / 2)
    return total_s
