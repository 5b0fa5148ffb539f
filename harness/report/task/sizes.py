"""What a query of a task is as large as, in words: tokens, megapixels, seconds of audio, steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.analysis.measured import ANSWER_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, QueryFigures
from harness.records import ModeSummary
from harness.report.numbers import UNKNOWN, digits

PIXELS_PER_MEGAPIXEL = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeWords:
    """One kind of size: what it is called and in which unit it is printed."""

    words: str
    """As a heading, unit included: `seconds of audio`."""
    scale: float = 1.0
    """How many of what is counted make one of what is printed."""


SIZES: Mapping[str, SizeWords] = {
    PROMPT_TOKENS: SizeWords(words="input tokens"),
    "audio_s": SizeWords(words="seconds of audio"),
    "input_pixels": SizeWords(words="megapixels in", scale=PIXELS_PER_MEGAPIXEL),
    "output_pixels": SizeWords(words="megapixels out", scale=PIXELS_PER_MEGAPIXEL),
    "denoising_steps": SizeWords(words="denoising steps"),
    OUTPUT_TOKENS: SizeWords(words="output tokens"),
}
"""By the keys of `Output.sizes`."""


def size_words(key: str) -> str:
    """What a size is called; one that is not known here by its own name."""
    return SIZES[key].words if key in SIZES else key.replace("_", " ")


def size_text(key: str, value: float | None) -> str:
    """A size as it is printed under its heading; a whole number has no decimals."""
    if value is None:
        return UNKNOWN
    shown = value / (SIZES[key].scale if key in SIZES else 1.0)
    return f"{shown:,.0f}" if shown.is_integer() else digits(shown)


def mean_sizes(mode: ModeSummary) -> dict[str, float]:
    """Mean sizes of a query by their keys, in order; a size that a task does not have is not in it."""
    tokens = {PROMPT_TOKENS: mode.prompt_tokens, OUTPUT_TOKENS: mode.output_tokens}
    known = {key: value for key, value in tokens.items() if value is not None} | dict(mode.sizes)
    return {key: known[key] for key in in_order(known)}


def in_order(keys: Iterable[str]) -> list[str]:
    """Sizes in the order of `SIZES`, others last; an answer's tokens are those of the output, and said once."""
    known = [key for key in keys if key != ANSWER_TOKENS]
    return [*(key for key in SIZES if key in known), *(key for key in known if key not in SIZES)]


def units_of(query: QueryFigures, size: str) -> float | None:
    """A query's size as a law counts it; None: it has none of that kind."""
    if size == PROMPT_TOKENS:
        return query.n_prompt_tokens
    if size == OUTPUT_TOKENS:
        return query.n_output_tokens
    if size == "input_megapixels":
        return query.sizes["input_pixels"] / PIXELS_PER_MEGAPIXEL if "input_pixels" in query.sizes else None
    if size == "output_megapixel_steps":
        pixels, steps = query.sizes.get("output_pixels"), query.sizes.get("denoising_steps")
        return None if pixels is None or steps is None else pixels / PIXELS_PER_MEGAPIXEL * steps
    return query.sizes.get(size)
