"""One mode of a cell under load: its steady windows, its latencies, and what a query takes of what several share.

Everything that was drawn in a block is said three ways: a query's attributed share, the amortised figure (everything
drawn over the queries answered), and ML.ENERGY's formula (joules per output token in the steady window times the mean
output tokens). Pure: columns, flights and curves in, records out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harness.analysis.estimates import EnergyTotal, Gains, divided, energy_per, left_out
from harness.analysis.figures import Figures, failed_rows, figures_in, headline_rows
from harness.analysis.serving.company import company_interval, drawn_j, equal_shares_j, is_known
from harness.analysis.serving.flights import Flights
from harness.analysis.serving.latency import between_tokens, end_to_end, first_token, per_output_token
from harness.analysis.serving.window import steady_window
from harness.protocols import EnergyCurve
from harness.records import (
    Boundary,
    Cell,
    Estimate,
    FailedServing,
    Finding,
    FindingCode,
    QueryColumns,
    ServingSummary,
    SteadyWindow,
    TokenWeights,
)

if TYPE_CHECKING:
    from harness.records import BoolArray, FloatArray

SERVER = "openai"
ROUNDING = 1e-9
"""Shares that are all of a block's energy may differ from it by so much, relative to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of one load, from its first sending to its last end. `energy_j` is the headline's; None: unknown."""

    time_start_s: float
    time_end_s: float
    energy_j: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLoad:
    """What one session under load did. `curves` are those of the headline's devices; none: they are not at hand."""

    number: int
    flights: Flights
    blocks: Sequence[Block]
    curves: Sequence[EnergyCurve] = ()
    weights: TokenWeights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModeBlock:
    """One block of one mode, with its session's curves."""

    load: SessionLoad
    block: Block
    flights: Flights
    answered: BoolArray
    window: SteadyWindow | None


def is_under_load(cell: Cell) -> bool:
    """Whether its queries were served: by a server, or several at once."""
    return cell.overlaps or cell.engine.name == SERVER


def load_words(cell: Cell) -> str:
    """The load of a cell."""
    if cell.request_rate_per_second is not None:
        each = "query" if cell.request_rate_per_second == 1 else "queries"
        return f"{cell.request_rate_per_second:g} {each} a second, at random"
    if cell.batch_size > 1:
        return f"batches of {cell.batch_size:,}"
    return f"{cell.concurrency:,} at once" if (cell.concurrency or 1) > 1 else "one at a time"


def serving_summaries(
    cell: Cell,
    queries: QueryColumns,
    sessions: Sequence[SessionLoad],
    *,
    headline: Boundary,
    gains: Gains,
    estimated: bool,
    modes: Sequence[str],
) -> tuple[ServingSummary, ...]:
    """What a cell under load says, by mode; nothing of a mode that was not served in any block.

    Args:
        cell: What was measured.
        queries: All of it, at one site.
        sessions: Those under load.
        headline: The boundary of the energies.
        gains: Of the devices.
        estimated: Whether the joules are a hardware model's.
        modes: In order.
    """
    if not is_under_load(cell):
        return ()
    blocks = [block for load in sessions for block in _blocks(cell, load, queries)]
    figures = figures_in(queries, headline)
    found = []
    for mode in modes:
        own = [block for block in blocks if mode_of(block.flights) == mode]
        if own:
            found.append(_of_mode(cell, mode, own, queries, figures.in_mode(mode), headline, gains, estimated))
    return tuple(found)


def _of_mode(
    cell: Cell,
    mode: str,
    blocks: Sequence[_ModeBlock],
    queries: QueryColumns,
    figures: Figures,
    headline: Boundary,
    gains: Gains,
    estimated: bool,
) -> ServingSummary:
    windows = [each.window for each in blocks if each.window is not None]
    steady = [each for each in blocks if each.window is not None] or blocks
    spans = [_span(each) for each in steady]
    duration_s = math.fsum(end_s - start_s for start_s, end_s in spans)
    in_flight = [
        each.flights.mean_in_flight(*span) * (span[1] - span[0]) for each, span in zip(steady, spans, strict=True)
    ]
    n_in_flight = math.fsum(in_flight) / duration_s if duration_s > 0 else None
    n_tokens = sum(each.flights.n_tokens_between(*span) for each, span in zip(steady, spans, strict=True))
    n_ended = sum(_n_ended(each, span) for each, span in zip(steady, spans, strict=True))
    energies_j = [drawn_j(each.load.curves, *span) for each, span in zip(steady, spans, strict=True)]
    served = [each.flights.at(each.answered) for each in blocks]
    flown = _together(served)
    per_token = _per_token(blocks, gains, estimated)
    mean_output = _mean_tokens(figures)
    equal_j, rule_share = _equal(queries, mode, headline) if cell.overlaps else (None, None)
    company = max(1, round(cell.concurrency or n_in_flight or 1)) if cell.overlaps else 1
    energy_drawn_j = _sum([each.block.energy_j for each in blocks])
    n_answered = int(sum(each.answered.sum() for each in blocks))
    cached_share = _cached_share(flown)
    weights = tuple({each.load.number: each.load.weights for each in blocks if each.load.weights}.values())
    own_weights = tuple(each for each in weights if each is not None)
    return ServingSummary(
        mode=mode,
        load=load_words(cell),
        attributed=cell.overlaps,
        n_answered=n_answered,
        failures=_failures(queries, mode, headline),
        n_blocks=len(blocks),
        duration_blocks_s=math.fsum(each.block.time_end_s - each.block.time_start_s for each in blocks),
        windows=tuple(windows),
        energy_steady_j=_steady(figures, queries, mode, windows, blocks, company, cell, gains, estimated),
        output_tokens_steady=_mean_tokens(_inside(figures, queries, mode, windows)) if windows else None,
        output_tokens_all=mean_output,
        energy_all_j=_all(figures, blocks, cell, gains, estimated),
        energy_shared_equal_j=equal_j,
        rule_share=rule_share,
        energy_drawn_j=energy_drawn_j,
        energy_amortised_j=divided(energy_drawn_j, n_answered) if n_answered else None,
        energy_unattributed_j=_unattributed_j(blocks, energy_drawn_j, _attributed_j(queries, mode, headline)),
        energy_per_output_token_j=per_token,
        energy_mlenergy_j=_times(per_token, mean_output),
        queries_per_second=n_ended / duration_s if duration_s > 0 else None,
        output_tokens_per_second=n_tokens / duration_s if duration_s > 0 else None,
        n_in_flight=n_in_flight,
        power_w=divided(_sum(energies_j), duration_s) if duration_s > 0 else None,
        first_token=first_token(flown),
        per_output_token=per_output_token(flown),
        between_tokens=between_tokens(flown),
        end_to_end=end_to_end(flown),
        cached_share=cached_share,
        weights=own_weights,
        findings=tuple(_findings(cell, windows, flown, cached_share, own_weights)),
    )


def _blocks(cell: Cell, load: SessionLoad, queries: QueryColumns) -> list[_ModeBlock]:
    rows = queries.answered & (queries.session == load.number)
    pairs = zip(queries.prompt.codes[rows].tolist(), queries.mode.codes[rows].tolist(), strict=True)
    answered = {(queries.prompt.names[prompt], queries.mode.names[mode]) for prompt, mode in pairs}
    found = []
    for block in load.blocks:
        flights = load.flights.within(block.time_start_s, block.time_end_s)
        if not len(flights):
            continue
        names = zip(flights.prompt.codes.tolist(), flights.mode.codes.tolist(), strict=True)
        kept = [(flights.prompt.names[prompt], flights.mode.names[mode]) in answered for prompt, mode in names]
        one = _ModeBlock(load=load, block=block, flights=flights, answered=np.array(kept, dtype=np.bool_), window=None)
        span = steady_window(flights, cell)
        window = None
        if span is not None:
            window = SteadyWindow(
                session=load.number,
                time_start_s=span[0],
                time_end_s=span[1],
                energy_j=drawn_j(load.curves, *span),
                n_ended=_n_ended(one, span),
                n_output_tokens=flights.n_tokens_between(*span),
            )
        found.append(_ModeBlock(load=load, block=block, flights=flights, answered=one.answered, window=window))
    return found


def mode_of(flights: Flights) -> str | None:
    """Of a block; None where it holds several, whose energy cannot be told apart."""
    codes = np.unique(flights.mode.codes)
    return flights.mode.names[int(codes[0])] if len(codes) == 1 else None


def _span(block: _ModeBlock) -> tuple[float, float]:
    """The block's steady window; the whole block where it has none."""
    if block.window is not None:
        return block.window.time_start_s, block.window.time_end_s
    return block.block.time_start_s, block.block.time_end_s


def _n_ended(block: _ModeBlock, span: tuple[float, float]) -> int:
    ends_s = block.flights.time_end_s
    return int((block.answered & (ends_s > span[0]) & (ends_s <= span[1])).sum())


def _together(flights: Sequence[Flights]) -> Flights:
    """Queries of several blocks: for latencies, which know nothing of who was beside whom."""
    chunks = np.concatenate([np.diff(each.chunk_first) for each in flights])
    names = ("number", "time_sent_s", "time_start_s", "time_first_token_s", "time_end_s")
    more = ("n_prompt_tokens", "n_cached_tokens", "time_chunk_s", "n_chunk_tokens")
    return Flights(
        prompt=flights[0].prompt,
        mode=flights[0].mode,
        chunk_first=np.concatenate(([0], np.cumsum(chunks))).astype(np.int64),
        **{name: np.concatenate([getattr(each, name) for each in flights]) for name in (*names, *more)},
    )


def _steady(
    figures: Figures,
    queries: QueryColumns,
    mode: str,
    windows: Sequence[SteadyWindow],
    blocks: Sequence[_ModeBlock],
    company: int,
    cell: Cell,
    gains: Gains,
    estimated: bool,
) -> Estimate:
    if not windows:
        code = () if cell.batch_size > 1 else (Finding(code=FindingCode.NO_STEADY_STATE),)
        return Estimate(value=None, findings=code)
    own = _inside(figures, queries, mode, windows)
    measured = own.at(own.measured)
    if not len(measured):
        return Estimate(value=None, findings=left_out(own))
    estimate = energy_per(
        measured,
        np.ones(len(measured)),
        gains,
        estimated=estimated,
        interval=partial(company_interval, size=company),
        findings=left_out(own),
    )
    spans = [(each.load, _span(each)) for each in blocks if each.window is not None]
    return _with_reading(estimate, measured, spans) if cell.overlaps and not estimated else estimate


def _inside(figures: Figures, queries: QueryColumns, mode: str, windows: Sequence[SteadyWindow]) -> Figures:
    """The answered queries that ended in a steady window, in the order of their ends."""
    ends_s = _ends_s(figures, queries, mode)
    inside = np.zeros(len(figures), dtype=np.bool_)
    for each in windows:
        inside |= (figures.session == each.session) & (ends_s > each.time_start_s) & (ends_s <= each.time_end_s)
    return figures.at(np.flatnonzero(inside)[np.lexsort((ends_s[inside], figures.session[inside]))])


def _mean_tokens(figures: Figures) -> float | None:
    """Mean output tokens; None where one is unknown."""
    counts = figures.n_output_tokens
    return float(counts.mean()) if len(figures) and not np.isnan(counts).any() else None


def _all(figures: Figures, blocks: Sequence[_ModeBlock], cell: Cell, gains: Gains, estimated: bool) -> Estimate:
    measured = figures.at(figures.measured)
    missing = left_out(figures)
    estimate = energy_per(measured, np.ones(len(measured)), gains, estimated=estimated, findings=missing)
    spans = [(each.load, (each.block.time_start_s, each.block.time_end_s)) for each in blocks]
    return _with_reading(estimate, measured, spans) if cell.overlaps and not estimated else estimate


def _with_reading(
    estimate: Estimate, measured: Figures, spans: Sequence[tuple[SessionLoad, tuple[float, float]]]
) -> Estimate:
    """The estimate with what the readings leave open of the mean share.

    An error at an event inside (when a query began, when it had its first token) only moves joules from one query to
    another, and cancels in their sum. What remains is what the curve leaves open of the whole stretch, and the queries
    at its ends, whose neighbours are not in the sum: all queries' own half-widths in quadrature are more than these.
    """
    stretches_j = [
        curve.half_width_j(*span) if is_known(curve, *span) else None for load, span in spans for curve in load.curves
    ]
    own_j = measured.energy_half_width_j
    whole_j = _sum(stretches_j) if stretches_j else None
    if whole_j is None or not len(measured) or np.isnan(own_j).any():
        return estimate.model_copy(update={"half_width_reading": None})
    return estimate.model_copy(
        update={"half_width_reading": math.hypot(whole_j, float(np.sqrt((own_j**2).sum()))) / len(measured)}
    )


def _ends_s(figures: Figures, queries: QueryColumns, mode: str) -> FloatArray:
    """When each of a mode's queries ended; a prompt is in a mode once."""
    code = queries.mode.names.index(mode) if mode in queries.mode.names else -1
    rows = queries.mode.codes == code
    by_prompt = np.full(len(queries.prompt.names), np.nan)
    by_prompt[queries.prompt.codes[rows]] = queries.time_end_s[rows]
    return by_prompt[figures.prompt.codes] if len(figures) else np.zeros(0)


def _per_token(blocks: Sequence[_ModeBlock], gains: Gains, estimated: bool) -> Estimate:
    """Everything drawn in the steady windows over the output tokens that came in them."""
    steady = [each for each in blocks if each.window is not None]
    n_tokens = sum(each.window.n_output_tokens for each in steady if each.window is not None)
    energy_j = _sum([each.window.energy_j for each in steady if each.window is not None])
    if not steady or not n_tokens or energy_j is None:
        return Estimate(value=None)
    if estimated:
        return Estimate(value=energy_j / n_tokens, findings=(Finding(code=FindingCode.ESTIMATED_ENERGY),))
    by_device_j: dict[tuple[str, object], float] = {}
    widths_j: list[float | None] = []
    for each in steady:
        for curve in each.load.curves:
            key = (curve.channel.device, curve.channel.method)
            by_device_j[key] = by_device_j.get(key, 0.0) + curve.energy_j(*_span(each))
            widths_j.append(curve.half_width_j(*_span(each)))
    total = EnergyTotal(energy_j=energy_j, half_width_reading_j=_sum(widths_j), by_device_j=by_device_j)  # type: ignore[arg-type]
    return Estimate(
        value=energy_j / n_tokens,
        half_width_reading=divided(total.half_width_reading_j, n_tokens),
        half_width_gain=divided(total.half_width_gain_j(gains), n_tokens),
    )


def _times(per_token: Estimate, mean_tokens: float | None) -> Estimate:
    if per_token.value is None or mean_tokens is None:
        return Estimate(value=None, findings=per_token.findings)
    widths = {
        name: None if (width := getattr(per_token, name)) is None else width * mean_tokens
        for name in ("half_width_reading", "half_width_gain")
    }
    return Estimate(value=per_token.value * mean_tokens, findings=per_token.findings, **widths)


def _equal(queries: QueryColumns, mode: str, headline: Boundary) -> tuple[float | None, float | None]:
    """Were every instant shared equally: the mean over the answered queries, and how far a query's share moves.

    The means are next to the same by any rule, because the same joules are shared out; a single query's are not.
    """
    code = queries.mode.names.index(mode) if mode in queries.mode.names else -1
    kept = headline_rows(queries, headline)
    owners, readings = queries.readings.owner[kept], queries.readings
    equal_j = np.bincount(owners, weights=readings.energy_shared_equal_j[kept], minlength=len(queries))
    tokens_j = np.bincount(owners, weights=readings.energy_gross_j[kept], minlength=len(queries))
    has_any = np.bincount(owners, minlength=len(queries)) > 0
    rows = has_any & ~failed_rows(queries) & (queries.mode.codes == code) & ~np.isnan(equal_j) & ~np.isnan(tokens_j)
    if not rows.any():
        return None, None
    mean_j = float(equal_j[rows].mean())
    apart_j = float(np.abs(equal_j[rows] - tokens_j[rows]).mean())
    return mean_j, apart_j / mean_j if mean_j > 0 else None


def _attributed_j(queries: QueryColumns, mode: str, headline: Boundary) -> tuple[float, int]:
    """The joules of all queries of a mode, failed ones too, as far as they are known, and how many these are."""
    code = queries.mode.names.index(mode) if mode in queries.mode.names else -1
    kept = headline_rows(queries, headline)
    owners = queries.readings.owner[kept]
    sums_j = np.bincount(owners, weights=queries.readings.energy_gross_j[kept], minlength=len(queries))
    known = (np.bincount(owners, minlength=len(queries)) > 0) & ~np.isnan(sums_j) & (queries.mode.codes == code)
    return float(sums_j[known].sum()), int(known.sum())


def _unattributed_j(
    blocks: Sequence[_ModeBlock], energy_drawn_j: float | None, attributed: tuple[float, int]
) -> float | None:
    """Drawn in the blocks while nobody was in flight: what is left of them when everybody has its share.

    Where a share is not known, what equal shares on the curve would leave: any rule leaves the same.
    """
    if energy_drawn_j is not None and attributed[1] == sum(len(each.flights) for each in blocks):
        rest_j = energy_drawn_j - attributed[0]
        return rest_j if rest_j > ROUNDING * energy_drawn_j else 0.0
    left_j = 0.0
    for each in blocks:
        whole_j = drawn_j(each.load.curves, each.block.time_start_s, each.block.time_end_s)
        if whole_j is None:
            return None
        own_j = whole_j - float(equal_shares_j(each.flights, each.load.curves).sum())
        left_j += own_j if own_j > ROUNDING * whole_j else 0.0
    return left_j


def _cached_share(flights: Flights) -> float | None:
    known = ~np.isnan(flights.n_cached_tokens) & ~np.isnan(flights.n_prompt_tokens)
    n_prompt = float(flights.n_prompt_tokens[known].sum())
    return float(flights.n_cached_tokens[known].sum()) / n_prompt if n_prompt > 0 else None


def _failures(queries: QueryColumns, mode: str, headline: Boundary) -> tuple[FailedServing, ...]:
    """Failed queries of a mode by what happened to them, with the energy that they took."""
    code = queries.mode.names.index(mode) if mode in queries.mode.names else -1
    rows = np.flatnonzero(failed_rows(queries) & (queries.mode.codes == code))
    if not len(rows):
        return ()
    kept = headline_rows(queries, headline)
    joules, owners = queries.readings.energy_gross_j[kept], queries.readings.owner[kept]
    n_readings = np.bincount(owners, minlength=len(queries))
    sums_j = np.where(n_readings > 0, np.bincount(owners, weights=joules, minlength=len(queries)), np.nan)
    own = queries.findings.reading < 0
    why = np.full(len(queries), -1, dtype=np.int64)
    why[queries.findings.owner[own][::-1]] = queries.findings.code.codes[own][::-1]  # the first one is said
    found = []
    for each in np.unique(why[rows]).tolist():
        of_kind = rows[why[rows] == each]
        total_j = float(sums_j[of_kind].sum())
        name = FindingCode.QUERY_FAILED if each < 0 else _code(queries.findings.code.names[each])
        found.append(FailedServing(code=name, n=len(of_kind), energy_j=None if math.isnan(total_j) else total_j))
    return tuple(sorted(found, key=lambda failure: -failure.n))


def _code(name: str) -> FindingCode:
    return next(code for code in FindingCode if code.value == name)


def _findings(
    cell: Cell,
    windows: Sequence[SteadyWindow],
    flights: Flights,
    cached_share: float | None,
    weights: Sequence[TokenWeights],
) -> list[Finding]:
    found = []
    if cell.overlaps:
        found.append(Finding(code=FindingCode.SHARED_BY_TOKENS, detail=load_words(cell)))
    if not windows and cell.batch_size == 1:
        found.append(Finding(code=FindingCode.NO_STEADY_STATE))
    if cached_share:
        found.append(Finding(code=FindingCode.PROMPT_CACHED, detail=f"{100 * cached_share:.2g} % of the prompt tokens"))
    if cell.overlaps and cell.batch_size == 1 and any(each.source == "equal" for each in weights):
        found.append(Finding(code=FindingCode.WEIGHTS_NOT_FITTED))
    is_served = cell.engine.name == SERVER and cell.overlaps and len(flights)
    if is_served and bool((flights.time_start_s == flights.time_sent_s).all()):
        found.append(Finding(code=FindingCode.QUEUE_NOT_SEEN))
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if values and len(known) == len(values) else None
