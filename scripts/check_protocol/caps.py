"""What a cap on the output does to the ratio of thinking to not thinking.

Published: AI Energy Score's reasoning rows have up to 8,192 tokens "on" and 10 "off". Joules of a longer "off" are the
published ones and, for each token more, the "on" row's own joules per token (inferred: they hold the prompt, too).
Equal caps: lengths are log-normal, joules go with the tokens, and a cap ends an answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from harness.reference.aies import CAP, REASONING, REASONING_CAP, TEXT_GENERATION, aies_rows
from harness.reference.rows import Quantity, Status
from harness.units import J_PER_WH
from scripts.check_statistics.tables import Table, percent

OFF_TOKENS = (100, 300, 1000)
CAPS = (256, 512, 1024, 2048, 4096, REASONING_CAP)
ON_TOKENS, OFF_MEAN_TOKENS, LOG_SD = 1000.0, 300.0, 0.6
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model with thinking, and the same model cut after ten tokens. Joules per query."""

    model: str
    n_on_tokens: float
    on_j: float
    token_j: float
    off_cut_j: float

    def ratio(self, n_off_tokens: int = CAP) -> float:
        """On over off, if off had written so many tokens."""
        return self.on_j / (self.off_cut_j + (n_off_tokens - CAP) * self.token_j)


def rows() -> list[Row]:
    """The models that are published both ways with their tokens, artefacts left out."""
    per_query_j = J_PER_WH / 1000
    short = {
        row.conditions.model: row.values[Quantity.WH_PER_1000] * per_query_j
        for row in aies_rows()
        if row.task == TEXT_GENERATION and row.release == "v2" and row.status is Status.PUBLISHED
    }
    return [
        Row(
            model=row.conditions.model or "",
            n_on_tokens=row.output_tokens,
            on_j=row.values[Quantity.WH_PER_1000] * per_query_j,
            token_j=row.values[Quantity.J_PER_OUTPUT_TOKEN],
            off_cut_j=short[row.conditions.model],
        )
        for row in aies_rows()
        if row.task == REASONING
        and row.status is Status.RAW
        and row.output_tokens is not None
        and row.conditions.model in short
    ]


def published() -> Table:
    """The published ratio, and what it would be if "off" had been allowed an answer."""
    lines = [
        [
            row.model,
            f"{row.n_on_tokens:,.0f}",
            f"{row.on_j:,.0f}",
            f"{row.off_cut_j:.0f}",
            f"{row.ratio():.0f}",
            *(f"{row.ratio(n):.1f}" for n in OFF_TOKENS),
        ]
        for row in rows()
    ]
    header = ("model", "tokens on", "J on", f"J off, {CAP} tokens", "ratio")
    return Table(
        "AI Energy Score, on at most 8,192 tokens over off at most 10; and the ratio if off had written more",
        (*header, *(f"off writes {n:,}" for n in OFF_TOKENS)),
        lines,
    )


def equal() -> Table:
    """The same cap in both modes: how many answers it cuts, and what is left of the ratio."""
    true = ON_TOKENS / OFF_MEAN_TOKENS
    lines = []
    for cap in CAPS:
        on, off = (capped_mean(mean, LOG_SD, cap) for mean in (ON_TOKENS, OFF_MEAN_TOKENS))
        cut = [percent(share_cut(mean, LOG_SD, cap)) for mean in (ON_TOKENS, OFF_MEAN_TOKENS)]
        lines.append([f"{cap:,}", *cut, f"{on / off:.2f}", f"{100 * (on / off / true - 1):+z.1f} %"])
    on, off = capped_mean(ON_TOKENS, LOG_SD, REASONING_CAP), capped_mean(OFF_MEAN_TOKENS, LOG_SD, CAP)
    lines.append(
        [f"{REASONING_CAP:,} / {CAP}", "0.0 %", "100.0 %", f"{on / off:.2f}", f"{100 * (on / off / true - 1):+,.0f} %"]
    )
    lengths = f"{ON_TOKENS:,.0f} tokens on and {OFF_MEAN_TOKENS:,.0f} off"
    return Table(
        f"Caps where {lengths} are natural (log sd {LOG_SD}, ratio {true:.2f})",
        ("cap", "cut, on", "cut, off", "ratio", "off the true one by"),
        lines,
    )


def share_cut(mean: float, log_sd: float, cap: float) -> float:
    """How many log-normal lengths with this mean are beyond the cap."""
    return NORMAL.cdf((_log_median(mean, log_sd) - math.log(cap)) / log_sd)


def capped_mean(mean: float, log_sd: float, cap: float) -> float:
    """The mean of min(length, cap) of log-normal lengths: mean Φ(d - s) + cap (1 - Φ(d))."""
    d = (math.log(cap) - _log_median(mean, log_sd)) / log_sd
    return mean * NORMAL.cdf(d - log_sd) + cap * NORMAL.cdf(-d)


def _log_median(mean: float, log_sd: float) -> float:
    return math.log(mean) - log_sd**2 / 2
