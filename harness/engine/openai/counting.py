"""How many output tokens each chunk of a stream held.

By their ids, where the server sends them; else by its running count; else its total is spread over the chunks, which
are usually one token each. A total is never made up: unknown stays None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from harness.engine.openai.stream import Chunk, Stream

FEWEST_CHUNKS_SHARE = 0.9
"""More chunks than tokens: by this share, and by `SLACK`, before it is said."""
MOST_TOKENS_PER_CHUNK = 2.0
SLACK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Tokens of one answer's chunks."""

    n_chunk_tokens: tuple[int, ...]
    n_output_tokens: int | None
    """None: unknown, and the chunks then weigh one each."""
    exact: bool
    """Each chunk's count is the server's own, not a share of the total."""
    disagreement: str | None = None
    """How the chunks and the server's total differ, where they do by much."""


def count_chunks(stream: Stream, n_by_tokenizer: int | None = None) -> Counts:
    """Count the tokens of each chunk.

    Args:
        stream: The answer.
        n_by_tokenizer: All output tokens as a tokenizer counts the text; it is used where the server gives no total.
    """
    chunks, n_total = stream.chunks, stream.n_output_tokens
    if chunks and any(chunk.ids for chunk in chunks):
        by_ids = [len(chunk.ids or ()) for chunk in chunks]
        n_ids = sum(by_ids)
        if n_total is None or n_ids == n_total:
            return Counts(n_chunk_tokens=tuple(by_ids), n_output_tokens=n_ids, exact=True)
        said = f"{n_ids} token ids, {n_total} tokens by the server's usage"
        spread = tuple(spread_tokens(n_total, by_ids))
        return Counts(n_chunk_tokens=spread, n_output_tokens=n_total, exact=False, disagreement=said)
    if running := _running(chunks, n_total):
        return Counts(n_chunk_tokens=tuple(running), n_output_tokens=sum(running), exact=True)
    known = n_total if n_total is not None else n_by_tokenizer
    if known is None:
        return Counts(n_chunk_tokens=(1,) * len(chunks), n_output_tokens=None, exact=False)
    spread = tuple(spread_tokens(known, [len(chunk.thinking) + len(chunk.answer) for chunk in chunks]))
    n_chunks = len(chunks)
    apart = (
        n_chunks > known + (1 - FEWEST_CHUNKS_SHARE) * known + SLACK or known > MOST_TOKENS_PER_CHUNK * n_chunks + SLACK
    )
    said = f"{n_chunks} chunks, {known} tokens by the server's usage"
    apart = apart and n_total is not None
    return Counts(n_chunk_tokens=spread, n_output_tokens=known, exact=False, disagreement=said if apart else None)


def spread_tokens(n_tokens: int, lengths: Sequence[int]) -> list[int]:
    """Spread tokens over chunks: one each, and the rest in proportion to `lengths`; it adds up to `n_tokens`.

    A single token that is left over is the last: the end of the text, which has no chunk of its own.
    """
    n_chunks = len(lengths)
    if not n_chunks:
        return []
    if n_tokens <= n_chunks:
        # Fewer tokens than chunks: they lie evenly, the first chunk has one.
        edges = [-(-place * n_tokens // n_chunks) for place in range(n_chunks + 1)]
        return [after - before for before, after in pairwise(edges)]
    n_more = n_tokens - n_chunks
    if n_more == 1:
        return [1] * (n_chunks - 1) + [2]
    n_letters = sum(lengths)
    if not n_letters:
        lengths, n_letters = [1] * n_chunks, n_chunks
    edges = [0, *(round(n_more * so_far / n_letters) for so_far in accumulate(lengths))]
    return [1 + after - before for before, after in pairwise(edges)]


def _running(chunks: Sequence[Chunk], n_total: int | None) -> list[int] | None:
    """Differences of the server's running count; None: it has none for each chunk, or it is not one.

    What comes after the last chunk, such as the end of the text, belongs to that.
    """
    counts = [chunk.n_so_far for chunk in chunks]
    known = [count for count in counts if count is not None]
    if not chunks or len(known) < len(counts):
        return None
    steps = [after - before for before, after in zip([0, *known[:-1]], known, strict=True)]
    if min(steps) < 0 or steps[0] < 1 or (len(chunks) > 1 and known[0] == known[-1]):
        return None
    if n_total is not None:
        if n_total < known[-1]:
            return None
        steps[-1] += n_total - known[-1]
    return steps
