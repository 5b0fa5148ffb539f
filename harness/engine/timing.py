"""When each token was finished, and the phases that follow from it.

Knows instants on the session clock and token counts. Must not know torch or transformers: a streamer is called
by duck typing, so that this is testable, and exact, with a manual clock.

The instant of a token is the call of the streamer's `put`. `generate` copies the new token to the host for it
(`streamer.put(tokens.cpu())`), which waits for the device, so the instant is one at which the token existed; a
logits processor would run when the work was merely queued. The call costs a fraction of a microsecond.
"""

from __future__ import annotations

from array import array

from harness.protocols import Clock
from harness.records import Phase, ThinkingSpan


class TokenTimes:
    """A streamer for `generate` that notes the time of every step and nothing else.

    A step gives every row one token, so its time is that of one token of each row that has not ended. Memory for all
    instants is taken beforehand. The first call carries the prompts and is skipped.
    """

    def __init__(self, clock: Clock, max_new_tokens: int) -> None:
        self._now_s = clock.now_s
        self._times_s = array("d", bytes(8 * max_new_tokens))
        self._n_calls = -1

    def put(self, value: object) -> None:  # noqa: ARG002 - the tokens come with the result
        """Note the present."""
        if 0 <= self._n_calls < len(self._times_s):
            self._times_s[self._n_calls] = self._now_s()
        self._n_calls += 1

    def end(self) -> None:
        """Called after the last token; the end of the query is taken after synchronizing instead."""

    @property
    def n_tokens(self) -> int:
        """Steps so far: new tokens of each row, what fills it up after its end included."""
        return max(self._n_calls, 0)

    @property
    def times_s(self) -> tuple[float, ...]:
        """The instant of each step, in order."""
        return tuple(self._times_s[: self.n_tokens])


def lay_out_phases(
    time_start_s: float,
    times_s: tuple[float, ...],
    time_end_s: float,
    span: ThinkingSpan | None,
) -> tuple[Phase, ...]:
    """The phases of one query; they touch, and the last ends at `time_end_s`.

    `prefill` ends when the first token is there; sampling that token is part of it. `thinking` ends with the token that
    completes the closing mark; a few tokens before the opening mark (a blank line, a channel's header) are
    part of it. `answer` is the rest. A phase without tokens is left out, but for `prefill`.

    Args:
        time_start_s: The synchronized start.
        times_s: The instant of each output token; empty: nothing came out, and all is `prefill`.
        time_end_s: The synchronized end.
        span: Where the thinking lies among the output tokens; None: nowhere.
    """
    if not times_s:
        return (Phase(name="prefill", time_start_s=time_start_s, time_end_s=time_end_s),)
    n_thinking = span.end if span else 0
    edges = [("prefill", times_s[0])]
    if n_thinking:
        edges.append(("thinking", times_s[n_thinking - 1]))
    if n_thinking < len(times_s):
        edges.append(("answer", time_end_s))
    edges[-1] = (edges[-1][0], time_end_s)
    phases = []
    for name, time_s in edges:
        phases.append(Phase(name=name, time_start_s=time_start_s, time_end_s=time_s))
        time_start_s = time_s
    return tuple(phases)
