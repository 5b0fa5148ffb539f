"""Images and sounds as their files hold them, decoded; what cannot be is refused in the user's words.

A file is checked against the sha256 that its prompt set took of it, so that what is measured is what the set says.
"""

from __future__ import annotations

import hashlib
import io
import math
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EnvironmentFault, UnusableInput
from harness.records import Media, Prompt

if TYPE_CHECKING:
    from harness.records import FloatArray

SILENCE_DB = -80.0
"""Of full scale: a sound whose loudest sample is below holds nothing to hear. 16 bits end at -90 dB."""
SHORTEST_S = 0.1
"""No word is shorter, and recognisers raise errors on a sound that holds no whole frame of theirs (25 ms and more)."""
MOST_PIXELS = 100_000_000
SHORTEST_SIDE_PIXELS = 8
"""A picture with a shorter side shows nothing, and processors take 1 or 3 rows for channels of colour."""
IMAGE_STEP = "Give a PNG, JPEG, WebP or another picture that Pillow reads, or remove the row."
SOUND_STEP = "Give a WAV, FLAC, OGG or MP3 file, or remove the row."


def media_of(prompt: Prompt) -> Media:
    """The file of a prompt.

    Raises:
        UnusableInput: The prompt has none.
    """
    if prompt.media is None:
        raise UnusableInput(f"{prompt.prompt_id} names no file.", "Fill in its file, or remove the row.")
    return prompt.media


def content_of(media: Media) -> bytes:
    """What the file holds.

    Raises:
        UnusableInput: It is gone, cannot be read, or has changed since the set was read.
    """
    if media.content is not None:
        return media.content
    try:
        content = Path(media.path or "").read_bytes()
    except OSError as error:
        raise UnusableInput(f"{media.name} cannot be read: {error.strerror}.", "Put the file back.") from error
    if hashlib.sha256(content).hexdigest() != media.sha256:
        raise UnusableInput(f"{media.name} has changed since the prompts were read.", "Restore it, or start anew.")
    return content


def image_of(media: Media) -> Any:
    """The picture, upright and in RGB: a `PIL.Image.Image`.

    Raises:
        UnusableInput: It is no picture, a damaged one, or one too large to be meant.
        EnvironmentFault: Pillow is not installed.
    """
    pil = _imported("PIL.Image")
    ops = _imported("PIL.ImageOps")
    content = content_of(media)
    if not content:
        raise UnusableInput(f"{media.name} is an empty file.", IMAGE_STEP)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a picture that is large, or says odd things of itself
            with pil.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise UnusableInput(
                        f"{media.name} has {picture.width} x {picture.height} pixels, more than any model looks at.",
                        "Make it smaller, or remove the row.",
                    )
                if min(picture.size) < SHORTEST_SIDE_PIXELS:
                    raise UnusableInput(
                        f"{media.name} has {picture.width} x {picture.height} pixels: nothing can be seen in it.",
                        IMAGE_STEP,
                    )
                return _eight_bits(ops.exif_transpose(picture), media.name).convert("RGB")
    except (pil.UnidentifiedImageError, pil.DecompressionBombError) as error:
        raise UnusableInput(
            f"{media.name} is no picture that can be read{_looks_like(content)}.", IMAGE_STEP
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError) as error:
        raise UnusableInput(f"{media.name} is a damaged picture: {_one_line(error)}.", IMAGE_STEP) from error


def sound_of(media: Media, rate_hz: int) -> tuple[FloatArray, float]:
    """The sound, one channel, at the model's rate.

    Args:
        media: The file.
        rate_hz: Samples a second.

    Returns:
        Samples between -1 and 1, float32, and the length in seconds as it was before resampling.

    Raises:
        UnusableInput: It is no sound, a damaged one, silence, or too short.
        EnvironmentFault: soundfile or scipy is not installed.
    """
    import numpy as np

    soundfile, signal = _imported("soundfile"), _imported("scipy.signal")
    content = content_of(media)
    if not content:
        raise UnusableInput(f"{media.name} is an empty file.", SOUND_STEP)
    try:
        file = soundfile.SoundFile(io.BytesIO(content))
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
        raise UnusableInput(f"{media.name} is no sound that can be read{_looks_like(content)}.", SOUND_STEP) from error
    own_hz, n_promised = file.samplerate, file.frames
    try:
        with file:
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        said = _one_line(error).removeprefix("Error : ")
        raise UnusableInput(f"{media.name} is a damaged sound: {said}.", SOUND_STEP) from error
    if len(samples) < n_promised:
        held = f"{len(samples) / own_hz:.1f} of its {n_promised / own_hz:.1f} s can be read"
        raise UnusableInput(f"{media.name} is a damaged sound: {held}.", SOUND_STEP)
    sound = samples.mean(axis=1)
    duration_s = len(sound) / own_hz
    if duration_s < SHORTEST_S:
        raise UnusableInput(f"{media.name} is a sound of {duration_s * 1000:.0f} ms.", SOUND_STEP)
    if not np.isfinite(sound).all():
        raise UnusableInput(f"{media.name} holds samples that are no numbers.", SOUND_STEP)
    peak = float(np.abs(sound).max())
    if peak <= 10 ** (SILENCE_DB / 20):
        level = "digital silence" if peak == 0 else f"silent: its peak is {20 * math.log10(peak):.0f} dB of full scale"
        raise UnusableInput(f"{media.name} is {level}.", "Remove the row: a recogniser makes up words in silence.")
    if own_hz != rate_hz:
        divisor = math.gcd(own_hz, rate_hz)
        sound = signal.resample_poly(sound, rate_hz // divisor, own_hz // divisor)
    return np.ascontiguousarray(sound, dtype=np.float32), duration_s


def _eight_bits(picture: Any, name: str) -> Any:
    """A picture whose brightness ends at 255. Pillow itself cuts off what is brighter, and leaves it white."""
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda value: value / 256).convert("L")
    if picture.mode in ("I", "F"):
        raise UnusableInput(
            f"{name} is grey in numbers of 32 bits, and nothing says which of them is white.",
            "Save it with 8 or 16 bits, or remove the row.",
        )
    return picture


def described(media: Media, shape: str) -> str:
    """What a model is given, in words that are equal where the file is."""
    return f"sha256:{media.sha256} {shape}"


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EnvironmentFault(
            f"This task needs {name.partition('.')[0]}, which is not installed.",
            f"{sys.executable} -m pip install 'inference-energy-harness[tasks]'",
        ) from error


def _looks_like(content: bytes) -> str:
    """A text is told: it is the commonest mistake."""
    try:
        text = content[:200].decode()
    except UnicodeDecodeError:
        return ""
    return ": it holds text" if text.isprintable() or "\n" in text else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
