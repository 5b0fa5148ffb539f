"""Pictures as the tensors that a model takes, and how many pixels it is given.

transformers has two kinds of image processors; without torchvision it takes those that need Pillow alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.engine.task.media import described
from harness.engine.task.runner import Prepared
from harness.records import Media


def prepared(media: Media, encoded: Any, model: Any, processor: Any, asked: str = "") -> Prepared:
    """A query whose tensors lie on the model's device, in its precision.

    Args:
        media: The file that was encoded.
        encoded: What a processor returned.
        model: Who gets it.
        processor: Who encoded it.
        asked: The words beside the picture, if any.
    """
    inputs = encoded.to(model.device, model.dtype)
    shape = "x".join(str(side) for side in inputs["pixel_values"].shape)
    rendered = described(media, shape)
    return Prepared(
        inputs=dict(inputs),
        rendered=f"{rendered} {asked}" if asked else rendered,
        sizes={"input_pixels": n_pixels(inputs, processor)},
    )


def n_pixels(encoded: Mapping[str, Any], processor: Any) -> int:
    """Pixels after cropping, resizing and cutting into tiles, all tiles together.

    Args:
        encoded: With `pixel_values`: (..., channels, height, width); or one row per patch, then with the numbers of
            patches as `image_grid_thw`.
        processor: Whose image processor knows how many pixels a patch has on a side.
    """
    pixels = encoded["pixel_values"]
    if "image_grid_thw" in encoded:
        patch = getattr(processor, "image_processor", processor).patch_size
        return int(encoded["image_grid_thw"].prod(-1).sum()) * int(patch) ** 2
    return int(math.prod(pixels.shape) // pixels.shape[-3])
