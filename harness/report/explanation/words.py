"""The figures of one mode: what each is in words, and which sums of queries it is made of.

Each is a sum over queries, over another sum over the same queries, times a constant; so a formula with the numbers put
in, and every query's share of it, follow from this table and from nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.bootstrap import N_LEAST, N_LEAST_STUDENTIZED, N_RESAMPLES
from harness.analysis.measured import QueryFigures, phase_names
from harness.records import Estimate, ModeSummary, Summary
from harness.units import J_PER_KWH, J_PER_WH

N_QUERIES_PRICED = 1000
ONE = "queries"
RIGHT = "right answers"
TOKENS = "output tokens"

Of = Callable[[QueryFigures], float | None]


def once(query: QueryFigures) -> float | None:  # noqa: ARG001
    """Every query counts once."""
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One figure of a mode.

    `amount` is what a query adds above the line, in `unit`; `over` what it adds below, counted in `noun`. `queries`
    chooses those that it is of. `interval` says by their number how its interval over prompts is made; None: it has
    none.
    """

    name: str
    title: str
    words: str
    unit: str
    estimate: Callable[[ModeSummary], Estimate]
    amount: Of
    amount_unit: str
    queries: Callable[[Sequence[QueryFigures]], Sequence[QueryFigures]]
    over: Of = once
    noun: str = ONE
    factor: float = 1.0
    factor_words: str = ""
    interval: Callable[[int], str] | None = None
    in_joules: bool = True


def statistics_of(summary: Summary, mode: ModeSummary) -> list[Statistic]:
    """Every figure that a mode has, in the order of the receipt."""
    found = [*_of_joules(summary), *_of_phases(mode.phases_j, "phases", "J"), *_of_time(), *_of_tokens()]
    found += [
        *_of_phases(mode.phases_s, "phases_s", "s"),
        *([_cost(summary.tariff_per_kwh)] if _priced(summary) else []),
    ]
    found += [*_of_answers()] if mode.n_scored else []
    return found


def _of_joules(summary: Summary) -> list[Statistic]:
    power = (
        "a hardware model's watts times its seconds" if summary.estimated else "E(end) − E(start) on the energy curve"
    )
    if summary.cell.overlaps:
        drawn = f"{power} while it was in flight" if summary.estimated else "what was drawn while it was in flight"
        power = f"its share, by tokens, of {drawn}"
    return [
        Statistic(
            name="energy_j",
            title="joules per query",
            words=f"The mean gross energy of an answered query: of each, {power}, failed queries left out.",
            unit="J",
            estimate=lambda mode: mode.energy_j,
            amount=_energy_j,
            amount_unit="J",
            queries=with_energy,
            interval=on_the_log,
        ),
        Statistic(
            name="energy_net_j",
            title="joules above idle, per query",
            words="The mean energy of a query, less what the device would have drawn idle meanwhile, its model loaded.",
            unit="J",
            estimate=lambda mode: mode.energy_net_j,
            amount=lambda query: None if query.net is None else query.net.energy_j,
            amount_unit="J",
            queries=lambda queries: [query for query in with_energy(queries) if query.net is not None],
            interval=plain,
        ),
        Statistic(
            name="energy_tail_j",
            title="joules after the end, per query",
            words="The mean energy above idle between a query's end and the next query. It is in no other figure.",
            unit="J",
            estimate=lambda mode: Estimate(value=mode.energy_tail_j),
            amount=lambda query: query.energy_tail_j,
            amount_unit="J",
            queries=lambda queries: [query for query in with_energy(queries) if query.energy_tail_j is not None],
        ),
        Statistic(
            name="energy_wh_per_1000",
            title="Wh per 1,000 queries",
            words="The mean energy of a query, for a thousand of them, in watt-hours.",
            unit="Wh",
            estimate=lambda mode: mode.energy_wh_per_1000,
            amount=_energy_j,
            amount_unit="J",
            queries=with_energy,
            factor=N_QUERIES_PRICED / J_PER_WH,
            factor_words=f"{N_QUERIES_PRICED:,} / {J_PER_WH:,.0f} J per Wh",
            interval=on_the_log,
        ),
        Statistic(
            name="energy_per_output_token_j",
            title="joules per output token",
            words="All joules of the answered queries over all their output tokens, thinking included.",
            unit="J",
            estimate=lambda mode: mode.energy_per_output_token_j,
            amount=_energy_j,
            amount_unit="J",
            queries=with_energy,
            over=lambda query: query.n_output_tokens,
            noun=TOKENS,
            interval=on_the_log,
        ),
        Statistic(
            name="power_w",
            title="watts while answering",
            words="All joules of the answered queries over all their seconds.",
            unit="W",
            estimate=lambda mode: Estimate(value=mode.power_w),
            amount=_energy_j,
            amount_unit="J",
            queries=with_energy,
            over=lambda query: query.duration_s,
            noun="seconds",
        ),
    ]


def _of_phases(phases: Mapping[str, float], group: str, unit: str) -> list[Statistic]:
    what = "joules" if unit == "J" else "seconds"
    return [
        Statistic(
            name=f"{group}.{name}",
            title=f"{what} of {name}, per query",
            words=f"The mean {what} of a query's {name}; a query without it spent none. Phases add up to the total.",
            unit=unit,
            estimate=_phase(group, name),
            amount=_in_phase(group, name),
            amount_unit=unit,
            queries=with_energy if unit == "J" else list,
            in_joules=unit == "J",
        )
        for name in phase_names([phases])
    ]


def _of_time() -> list[Statistic]:
    return [
        Statistic(
            name="duration_s",
            title="seconds per query",
            words="The mean time from a query's start to its end. The clock's own error is nanoseconds.",
            unit="s",
            estimate=lambda mode: mode.duration_s,
            amount=lambda query: query.duration_s,
            amount_unit="s",
            queries=list,
            interval=on_the_log,
            in_joules=False,
        ),
        Statistic(
            name="duration_per_output_token_s",
            title="seconds per output token",
            words="All seconds of the answered queries over all their output tokens.",
            unit="s",
            estimate=lambda mode: Estimate(value=mode.duration_per_output_token_s),
            amount=lambda query: query.duration_s,
            amount_unit="s",
            queries=list,
            over=lambda query: query.n_output_tokens,
            noun=TOKENS,
            in_joules=False,
        ),
    ]


def _of_tokens() -> list[Statistic]:
    kinds: tuple[tuple[str, Of, Callable[[ModeSummary], Estimate], Callable[[int], str] | None], ...] = (
        ("thinking", lambda query: query.n_thinking_tokens, lambda mode: mode.thinking_tokens, on_the_log),
        ("answer", lambda query: query.n_answer_tokens, lambda mode: mode.answer_tokens, on_the_log),
        ("output", lambda query: query.n_output_tokens, lambda mode: Estimate(value=mode.output_tokens), None),
        ("prompt", lambda query: query.n_prompt_tokens, lambda mode: Estimate(value=mode.prompt_tokens), None),
    )
    return [
        Statistic(
            name=f"{kind}_tokens",
            title=f"{kind} tokens per query",
            words=f"The mean number of {kind} tokens of an answered query, as the engine counted them.",
            unit="",
            estimate=estimate,
            amount=amount,
            amount_unit="tokens",
            queries=list,
            interval=interval,
            in_joules=False,
        )
        for kind, amount, estimate, interval in kinds
    ]


def _of_answers() -> list[Statistic]:
    return [
        Statistic(
            name="accuracy",
            title="share of right answers",
            words="The answers that the scorer calls right, over all that it scored; one that was cut is scored too.",
            unit="%",
            estimate=lambda mode: mode.accuracy,
            amount=lambda query: float(query.correct is True),
            amount_unit="right",
            queries=_scored,
            noun="scored answers",
            factor=100.0,
            factor_words="100 %",
            interval=lambda n: f"Wilson's score interval of a share of {n:,}" if n >= N_LEAST else _NO_INTERVAL,
            in_joules=False,
        ),
        Statistic(
            name="energy_per_correct_j",
            title="joules per right answer",
            words="All joules of the scored queries, wrong and cut answers included, over the number of right answers.",
            unit="J",
            estimate=lambda mode: mode.energy_per_correct_j,
            amount=_energy_j,
            amount_unit="J",
            queries=lambda queries: with_energy(_scored(queries)),
            over=lambda query: float(query.correct is True),
            noun=RIGHT,
            interval=percentile,
        ),
    ]


def _priced(summary: Summary) -> bool:
    return summary.tariff_per_kwh is not None


def _cost(tariff_per_kwh: float | None) -> Statistic:
    price = tariff_per_kwh or 0.0
    factor = price * N_QUERIES_PRICED / J_PER_KWH

    def of(mode: ModeSummary) -> Estimate:
        parts = ("value", "low", "high", "half_width_reading", "half_width_runs", "half_width_gain")
        values = {name: getattr(mode.energy_j, name) for name in parts}
        return Estimate(**{name: None if value is None else factor * value for name, value in values.items()})

    return Statistic(
        name="cost_per_1000",
        title="price of 1,000 queries",
        words=f"The mean energy of a query, for a thousand of them, at {price:g} per kWh.",
        unit="",
        estimate=of,
        amount=_energy_j,
        amount_unit="J",
        queries=with_energy,
        factor=factor,
        factor_words=f"{N_QUERIES_PRICED:,} × {price:g} per kWh / {J_PER_KWH:,.0f} J per kWh",
        interval=on_the_log,
    )


def sums(statistic: Statistic, queries: Sequence[QueryFigures]) -> tuple[float, float] | None:
    """Both sums of a figure; None where a query's part of it is not known."""
    amounts, overs = [statistic.amount(query) for query in queries], [statistic.over(query) for query in queries]
    known = [value for value in (*amounts, *overs) if value is not None]
    if len(known) < 2 * len(queries) or not queries:
        return None
    return math.fsum(known[: len(queries)]), math.fsum(known[len(queries) :])


def with_energy(queries: Sequence[QueryFigures]) -> list[QueryFigures]:
    """Those whose energy is known."""
    return [query for query in queries if query.energy_j is not None]


def _scored(queries: Sequence[QueryFigures]) -> list[QueryFigures]:
    return [query for query in queries if query.correct is not None]


def _energy_j(query: QueryFigures) -> float | None:
    return query.energy_j


def _phase(group: str, name: str) -> Callable[[ModeSummary], Estimate]:
    def of(mode: ModeSummary) -> Estimate:
        return Estimate(value=(mode.phases_j if group == "phases" else mode.phases_s).get(name))

    return of


def _in_phase(group: str, name: str) -> Of:
    def of(query: QueryFigures) -> float | None:
        phases = query.phases_j if group == "phases" else query.phases_s
        return None if phases is None else phases.get(name, 0.0)

    return of


_NO_INTERVAL = f"below {N_LEAST} queries there is none"


def on_the_log(n: int) -> str:
    """How the interval of a positive ratio of `n` prompts is made."""
    return _studentized(n, "on the log")


def plain(n: int) -> str:
    """How the interval of a signed mean of `n` prompts is made."""
    return _studentized(n, "on the plain scale")


def _studentized(n: int, scale: str) -> str:
    if n < N_LEAST:
        return _NO_INTERVAL
    if n < N_LEAST_STUDENTIZED:
        return f"Student's t over {n:,} prompts, {scale}"
    return f"studentized bootstrap over {n:,} whole prompts, {N_RESAMPLES:,} draws, {scale}"


def percentile(n: int) -> str:
    """How the interval of joules per right answer of `n` prompts is made."""
    return _NO_INTERVAL if n < N_LEAST else f"percentiles of {N_RESAMPLES:,} draws of {n:,} whole prompts"
