"""How many queries or repeats show how small a difference, from what a run has shown of its own spread.

The same parts and the same rule as a verdict's: a true difference is shown when the interval, which lies about it as
the parts scatter it, excludes none at all. Over prompts the spread is taken to be normal here. Knows sides. Must not
know budgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from pydantic import Field

from harness.analysis.bootstrap import Z
from harness.analysis.interval import PromptsPart, RunsPart, SystematicPart
from harness.analysis.student import t_upper, z_upper
from harness.gate.budget import Metric
from harness.gate.evidence import Side
from harness.gate.search import least
from harness.gate.statistic import Statistic, absolute, relative
from harness.gate.words import percent
from harness.records import Record

DIFFERENCES = (0.01, 0.02, 0.03, 0.05, 0.10)
POWERS = (0.8, 0.9)
N_REPEATS = 3
N_QUERIES_LEAST = 30
"""A budget asks for no fewer unless it says so."""
N_QUERIES_MOST = 1_000_000
N_REPEATS_MOST = 50
RUN_SD_ASSUMED = 0.01
CORRELATION_ASSUMED = 0.5
"""Of a prompt's influence on two releases' totals, where only one has been measured: half of it is the prompt's own."""
N_PERCENT_MOST = 1000
DIFFERENCE_COMPARED = 0.03
POWER_COMPARED = 0.8


class Needed(Record):
    """What shows one difference: queries at the repeats of the table, or repeats at the present queries."""

    difference: float = Field(description="relative, upwards")
    power: float = Field(description="share of gates that show it")
    n_queries: int | None = Field(description="None: not with a million")
    n_repeats: int | None = Field(description="None: not with 50")


class MetricPower(Record):
    """One metric's spread, and what it needs."""

    metric: Metric
    prompt_sd: float = Field(description="relative, of one prompt's influence on the ratio of two sides")
    run_sd: float
    half_width_reading: float = Field(
        description="relative, of the sensor's readings on both sides; 0: no joules in it"
    )
    needed: tuple[Needed, ...]


class PowerTable(Record):
    """Of one mode."""

    mode: str
    task: str | None = Field(default=None, description="None: text generation; another task has one mode")
    prompt_set: str
    alpha: float
    n_queries: int = Field(description="at present")
    n_repeats: int = Field(description="of each side, of `Needed.n_queries`")
    metrics: tuple[MetricPower, ...]
    notes: tuple[str, ...] = Field(description="what is assumed, and the cheapest line, in sentences")


def power_of(
    candidate: Side,
    reference: Side | None = None,
    *,
    alpha: float = 0.05,
    run_sd: float | None = None,
    n_repeats: int = N_REPEATS,
    metrics: Sequence[Metric] = tuple(Metric),
) -> PowerTable:
    """What a gate in this mode needs, on one board.

    Args:
        candidate: A measured side.
        reference: Another of the same prompts; None: a second one is assumed that is half alike.
        alpha: One-sided.
        run_sd: Relative, of one run; None: that of the repeats, or 1 % where there are none.
        n_repeats: Of each side.
        metrics: Those that have no figures are left out, and watt-hours, which need what joules do.
    """
    notes = []
    if reference is None:
        notes.append(
            f"One side is known: its prompts' spread is taken for both, and {percent(CORRELATION_ASSUMED)} of it as "
            "the prompts' own, which pairing removes. Name a reference to have it measured."
        )
    found, run_sds = [], []
    n_queries = 0
    for metric in metrics:
        if metric is Metric.ENERGY_WH_PER_1000:
            continue
        if reference is None:
            statistic = absolute(candidate, metric, run_sd=run_sd, session_sd=None, gain=False)
        else:
            statistic = relative(candidate, reference, metric, run_sd=run_sd, session_sd=None)
        row, known_sd = _metric_power(metric, statistic, alpha, n_repeats, paired=reference is not None)
        if row is not None:
            found.append(row)
            run_sds.append(known_sd)
            n_queries = max(n_queries, statistic.n_queries)
    if not all(run_sds):
        notes.append(
            f"The spread from run to run is not known and taken to be {percent(RUN_SD_ASSUMED)}: --repeats 3 shows it."
        )
    notes += _hidden(found, alpha, n_repeats)
    notes += _cheapest(found) if candidate.task is None else []
    return PowerTable(
        mode=candidate.mode,
        task=candidate.task,
        prompt_set=candidate.prompt_set,
        alpha=alpha,
        n_queries=n_queries,
        n_repeats=n_repeats,
        metrics=tuple(found),
        notes=tuple(notes),
    )


def _metric_power(
    metric: Metric, statistic: Statistic, alpha: float, n_repeats: int, *, paired: bool
) -> tuple[MetricPower | None, bool]:
    """A metric's row, and whether its spread from run to run is known; None: it has no figures."""
    prompts = [part for part in statistic.parts if isinstance(part, PromptsPart)]
    runs = [part for part in statistic.parts if isinstance(part, RunsPart)]
    readings = [
        part.half_width or 0.0
        for part in statistic.parts
        if isinstance(part, SystematicPart) and part.name == "sensor reading"
    ]
    if not prompts or any(part.is_too_small for part in prompts):
        return None, False
    both = 1.0 if paired else math.sqrt(2)
    alike = 1.0 if paired else math.sqrt(1 - CORRELATION_ASSUMED)
    variance = sum((part.deviation * part.widening) ** 2 * part.n for part in prompts)
    prompt_sd = both * alike * math.sqrt(variance)
    known_sd = runs[0].sd
    run_sd = RUN_SD_ASSUMED if known_sd is None else known_sd
    reading = both * sum(readings)
    shown = partial(_shown, prompt_sd=prompt_sd, run_sd=run_sd, reading=reading, alpha=alpha)
    needed = tuple(
        Needed(
            difference=difference,
            power=power,
            n_queries=least(partial(shown, difference, power, n_repeats=n_repeats), N_QUERIES_LEAST, N_QUERIES_MOST),
            n_repeats=least(partial(shown, difference, power, statistic.n_queries), 2, N_REPEATS_MOST),
        )
        for power in POWERS
        for difference in DIFFERENCES
    )
    row = MetricPower(metric=metric, prompt_sd=prompt_sd, run_sd=run_sd, half_width_reading=reading, needed=needed)
    return row, known_sd is not None


def _shown(
    difference: float,
    power: float,
    n_queries: int,
    n_repeats: int,
    *,
    prompt_sd: float,
    run_sd: float,
    reading: float,
    alpha: float,
) -> bool:
    """Whether so many queries and repeats of both sides show a difference in that share of gates."""
    over_prompts, over_runs = prompt_sd / math.sqrt(n_queries), run_sd * math.sqrt(2 / n_repeats)
    point = t_upper(alpha, 2 * (n_repeats - 1))
    reach = math.hypot(z_upper(alpha) * over_prompts, point * over_runs, z_upper(alpha) * reading / Z)
    scatter = math.hypot(over_prompts, over_runs, reading / Z)
    return reach + z_upper(1 - power) * scatter <= math.log1p(difference)


def _hidden(rows: Sequence[MetricPower], alpha: float, n_repeats: int) -> list[str]:
    """What no number of queries shows, where that is more than one would want to see."""
    hidden = []
    for row in rows:
        own = partial(
            _shown,
            power=POWER_COMPARED,
            n_queries=N_QUERIES_MOST,
            n_repeats=n_repeats,
            prompt_sd=0.0,
            run_sd=row.run_sd,
            reading=row.half_width_reading,
            alpha=alpha,
        )
        percents = least(lambda points, own=own: own(points / 100), 1, N_PERCENT_MOST)  # type: ignore[misc]
        if percents is None or percents > 100 * DIFFERENCE_COMPARED:
            words = f"below {percents} %" if percents is not None else "at all"
            hidden.append(f"{words} in {row.metric.words}")
    if not hidden:
        return []
    said = (
        f"At {n_repeats} repeats no number of queries shows a rise {', '.join(hidden)}: the runs, or the sensor's "
        "readings, differ by too much. Keep other work off the machine, or repeat more often."
    )
    return [said]


def _cheapest(rows: Sequence[MetricPower]) -> list[str]:
    """The line that needs the fewest queries, and how to make it cheaper still."""
    queries = {
        row.metric: each.n_queries
        for row in rows
        for each in row.needed
        if (each.difference, each.power) == (DIFFERENCE_COMPARED, POWER_COMPARED)
    }
    per_query, per_token = (
        queries.get(metric) for metric in (Metric.ENERGY_PER_QUERY_J, Metric.ENERGY_PER_OUTPUT_TOKEN_J)
    )
    notes = []
    if per_token is not None and (per_query is None or per_token < per_query):
        asked = "more than a million" if per_query is None else f"{per_query:,}"
        notes.append(
            f"The cheap line is energy_per_output_token_j: {per_token:,} queries show {percent(DIFFERENCE_COMPARED)}, "
            f"where energy_per_query_j needs {asked}. It sees a token grow dearer, and not answers grow longer: a "
            "line on output_tokens_per_query beside it does, and needs no sensor."
        )
    if rows:
        notes.append(
            "It is cheapest where all answers have one length. A low cap gives them one, if they are longer than it: "
            "harness run --max-new-tokens 128 --repeats 3; harness run --protocol aies-v1 forces ten tokens exactly."
        )
    return notes
