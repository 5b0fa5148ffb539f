"""What a prompt token weighs against an output token: as given, as fitted to the trace, or equal with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.attributing.load import in_flight, timelines_of
from harness.attribution.sharing.weights import fit_weights
from harness.records import Finding, FindingCode, TokenWeights

if TYPE_CHECKING:
    from harness.attribution.sharing.load import Load
    from harness.meter.curve.curve import Curve
    from harness.request_log.rows import RequestLog


def weights_of(
    given: tuple[float, float] | None, log: RequestLog, load: Load, curves: Sequence[Curve]
) -> tuple[TokenWeights, tuple[Finding, ...]]:
    """The weights, and why they are equal where they could not be fitted.

    Args:
        given: Of a prompt and an output token; None: to be fitted.
        log: Says whether it knows when output came.
        load: Its rows.
        curves: Of the boundary whose energy is shared.
    """
    if given is not None:
        return TokenWeights(session=0, prompt=given[0], output=given[1], source="given"), ()
    equal = TokenWeights(session=0, prompt=1.0, output=1.0, source="equal")
    if in_flight(load)[1] <= 1:
        return equal, ()  # nothing is shared, so nothing weighs
    if not load.n_prefilled_tokens.any() or not load.n_chunk_tokens.any():
        which = "prompt" if load.n_chunk_tokens.any() else "output"
        return equal, (Finding(code=FindingCode.WEIGHTS_NOT_FITTED, detail=f"the log has no {which} tokens"),)
    if not log.streams:
        detail = "the log does not say when the first tokens came"
        return equal, (Finding(code=FindingCode.WEIGHTS_NOT_FITTED, detail=detail),)
    timelines, until_s = timelines_of(load)
    start_s = max(float(load.time_start_s.min()), *(float(curve.time_s[0]) for curve in curves))
    end_s = min(until_s, *(float(curve.time_s[-1]) for curve in curves))
    fitted = fit_weights(curves, timelines, start_s, end_s, session=0) if end_s > start_s else None
    if fitted is not None:
        return fitted, ()
    detail = "this trace does not tell: too short, or its prompts and outputs come in step"
    return equal, (Finding(code=FindingCode.WEIGHTS_NOT_FITTED, detail=detail),)
