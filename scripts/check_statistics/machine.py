"""What an 8 B model takes on one H100, from published rates: joules and seconds of a query alone, seconds of a batch.

Alone (transformers, AI Energy Score's first reasoning upload): SmolLM3-3B 61.1 tokens/s at 188 W, Phi-4-reasoning-plus
(14.7 B) 52.7 tokens/s at 341 W. Between them, by parameters, 8.2 B: 57.4 tokens/s at 256 W, 4.5 J per token.

In a batch: a step takes at least as long as a step alone, which the processor decides, and 0.06 ms per row and the time
to read the rows' keys and values besides. That is the slope of ML.ENERGY's Qwen3-8B rows (H100, chat: 8.2 ms at batch
size 8, 20.7 ms at 128, outputs of 650 tokens). Keys and values: 36 layers x 8 heads x 128 x 2 numbers of 2 bytes, at
2 TB/s. In a static batch every row goes on until the longest ends. Packed anew, as `harness.engine.repacking` does it,
half of them do, and then everything that the others have written is read once more, padding included.

Reading: 2 operations per parameter and token at 400 TFLOP/s, 40 % of what the H100 can in bfloat16. And because a mask
for the padding rules out the kernels that skip half of the square, 4 x 36 layers x 4,096 operations per pair of tokens,
at 200.
"""

from __future__ import annotations

import numpy as np

from harness.pipeline.session import BATCHES_PER_CALL

from .studies import FloatArray

PARAMETERS_B = 8.2
SHARE = (PARAMETERS_B - 3.1) / (14.7 - 3.1)
TOKENS_PER_S = 61.1 + SHARE * (52.7 - 61.1)
POWER_W = 188 + SHARE * (341 - 188)
STEP_S = 1 / TOKENS_PER_S
BYTES_PER_TOKEN = 36 * 8 * 128 * 2 * 2
ATTENDED_S = BYTES_PER_TOKEN / 2e12
PREFILL_S = 2 * PARAMETERS_B * 1e9 / 4e14
PREFILL_PAIR_S = 4 * 36 * 4096 / 2e14
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
    batches = (slice(first, first + size) for first in range(0, len(o), size))
    return sum(turn_s(len(o[rows]), float(p[rows].max()), float(o[rows].max())) for rows in batches)


def repacked_s(p: FloatArray, o: FloatArray, size: int, cap: float) -> float:
    """Seconds of answering queries in `size` rows by the engine's rule, and in calls as large as the pipeline's."""
    total_s, n_call = 0.0, BATCHES_PER_CALL * size
    for first in range(0, len(o), n_call):
        left = np.arange(first, min(first + n_call, len(o)))
        written = np.zeros(len(o))
        while len(left):
            rows = left[:size]
            half = np.sort(o[rows] - written[rows])[(len(rows) + 1) // 2 - 1]
            n_steps = float(min(half, cap - written[rows].max()))
            total_s += turn_s(len(rows), float((p[rows] + written[rows]).max()), n_steps)
            written[rows] += n_steps
            left = left[written[left] < o[left]]
    return total_s


def turn_s(n_rows: int, width: float, n_steps: float) -> float:
    """Seconds of reading inputs that are `width` wide and writing so many tokens in each row."""
    reading_s = START_S + n_rows * (PREFILL_S * width + PREFILL_PAIR_S * width**2)
    attended_s = ATTENDED_S * n_rows * (width * n_steps + n_steps**2 / 2)
    return reading_s + n_steps * (STEP_S + ROW_S * n_rows) + attended_s
