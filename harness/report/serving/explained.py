"""What stands behind the figures of a cell under load: `harness report RUN --explain off.serving.energy_steady_j`.

Everything follows from the summary: its windows, its blocks, its counts.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from harness.analysis.bootstrap import N_LEAST
from harness.records import Estimate, FindingCode, ServingSummary, Summary
from harness.report.explanation.parts import exact, gain_part, printed, prompts_part, reading_part, runs_part
from harness.report.explanation.record import Explanation, IntervalPart, Make
from harness.report.numbers import digits, percent
from harness.report.serving.sections import PREFIX, weights_words
from harness.report.wording import doubts, estimated_words

RULE = (
    "Each instant's energy is divided among the queries in flight in proportion to the work that each does then: "
    "prompt tokens read and output tokens written, weighted."
)


def serving_figures(summary: Summary) -> dict[str, Make]:
    """Every figure of every mode under load that is known, by its name."""
    found: dict[str, Make] = {}
    for serving in summary.serving:
        makers = {
            "energy_steady_j": (serving.energy_steady_j.value, _steady),
            "energy_shared_equal_j": (serving.energy_shared_equal_j, _equal),
            "energy_amortised_j": (serving.energy_amortised_j, _amortised),
            "energy_mlenergy_j": (serving.energy_mlenergy_j.value, _mlenergy),
            "energy_per_output_token_j": (serving.energy_per_output_token_j.value, _per_token),
        }
        for name, (value, make) in makers.items():
            if value is not None:
                full = f"{serving.mode}.{PREFIX}.{name}"
                label = f" ({estimated_words(summary)})" if summary.estimated else ""
                found[full] = partial(_labelled, label, partial(make, full, serving, summary.cell.concurrency))
    return found


def _labelled(label: str, make: Make) -> Explanation:
    """With what is to be known of its joules in the title."""
    found = make()
    return replace(found, title=f"{found.title}{label}")


def _steady(name: str, serving: ServingSummary, concurrency: int | None) -> Explanation:
    n = sum(window.n_ended for window in serving.windows)
    estimate = serving.energy_steady_j
    size = concurrency or max(1, round(serving.n_in_flight or 1))
    made = f"Student's t or a studentized bootstrap over groups of {size} queries that ran together, on the log"
    if estimate.low is None:
        made = f"below {N_LEAST} groups of {size} queries that ran together there is none"
    shares = "share" if serving.attributed else "energy"
    tokens = ""
    if serving.output_tokens_steady is not None and serving.output_tokens_all is not None:
        tokens = (
            f" These wrote {digits(serving.output_tokens_steady)} tokens on average, all queries "
            f"{digits(serving.output_tokens_all)}: a long one ends in a window less often than a short one."
        )
    return Explanation(
        name=name,
        title=f"{serving.mode}: joules per query in steady state, {serving.load}",
        value=printed(estimate, "J"),
        words=f"The mean {shares} of the answered queries that ended while the load stood at its full height."
        + (f" {RULE} {_weights(serving)}" if serving.attributed else "")
        + tokens,
        formula=tuple(_windows(serving)),
        parts=()
        if _is_estimated(estimate)
        else (
            prompts_part(estimate, "J", made),
            reading_part(estimate, "J", _reading_words(serving)),
            runs_part(estimate, "J"),
            gain_part(estimate, "J"),
        ),
        rests_on=f"It rests on {n:,} of {serving.n_answered:,} answered queries in mode {serving.mode}.",
        doubts=doubts([each for each in estimate.findings if each.code not in SAID]),
        names_next=(f"{serving.mode}.energy_j",),
    )


SAID = {FindingCode.ONE_RUN, FindingCode.ESTIMATED_ENERGY}
"""Said beside the figure already."""


def _equal(name: str, serving: ServingSummary, concurrency: int | None) -> Explanation:  # noqa: ARG001
    value, shared = serving.energy_shared_equal_j or 0.0, serving.energy_all_j.value
    moved = serving.rule_share
    rule = [] if moved is None else [f"a single query's share moves by {percent(moved)} of the mean, on average"]
    apart = rule if not shared else [*rule, f"by tokens {exact(shared)} J, equally {exact(value)} J per query"]
    return Explanation(
        name=name,
        title=f"{serving.mode}: joules per query if every instant were shared equally",
        value=printed(Estimate(value=value), "J"),
        words="The mean over all answered queries, had each query in flight got the same of every instant. Both rules "
        "share out the same joules, so that the means are alike; of single queries, and of modes or lengths that run "
        "side by side, the difference shows how much the rule decides.",
        formula=tuple(apart),
        rests_on=f"It rests on {serving.n_answered:,} answered queries in mode {serving.mode}.",
    )


def _amortised(name: str, serving: ServingSummary, concurrency: int | None) -> Explanation:  # noqa: ARG001
    value = serving.energy_amortised_j or 0.0
    lines = [f"{exact(serving.energy_drawn_j or 0.0)} J / {serving.n_answered:,} queries = {exact(value)} J"]
    if serving.energy_unattributed_j is not None:
        lines.append(f"of it {exact(serving.energy_unattributed_j)} J while no query was in flight")
    return Explanation(
        name=name,
        title=f"{serving.mode}: everything drawn, per answered query",
        value=printed(Estimate(value=value), "J"),
        words="Everything that the devices drew in the blocks of this mode, from the first sending to the last end: "
        "ramp, drain, failed queries and moments without any query included. Nothing is attributed.",
        formula=tuple(lines),
        rests_on=f"It rests on {serving.n_blocks:,} block{'' if serving.n_blocks == 1 else 's'}, "
        f"{digits(serving.duration_blocks_s)} s together.",
    )


def _mlenergy(name: str, serving: ServingSummary, concurrency: int | None) -> Explanation:  # noqa: ARG001
    per_token, tokens = serving.energy_per_output_token_j.value or 0.0, serving.output_tokens_all or 0.0
    estimate = serving.energy_mlenergy_j
    return Explanation(
        name=name,
        title=f"{serving.mode}: joules per query by ML.ENERGY's formula",
        value=printed(estimate, "J"),
        words="As the ML.ENERGY benchmark has it: the joules per output token of the steady windows, times the mean "
        "output tokens of an answered query. It knows no prompts, and gives every output token the same. The windows "
        "are this program's: theirs begin and end alike, for a load that is sent all at once.",
        formula=(f"{exact(per_token)} J per token × {exact(tokens)} tokens = {exact(per_token * tokens)} J",),
        parts=_without_prompts(estimate),
        rests_on=f"It rests on {_n_windows(serving)} and {serving.n_answered:,} answered queries.",
        names_next=(f"{serving.mode}.{PREFIX}.energy_per_output_token_j",),
    )


def _per_token(name: str, serving: ServingSummary, concurrency: int | None) -> Explanation:  # noqa: ARG001
    estimate = serving.energy_per_output_token_j
    return Explanation(
        name=name,
        title=f"{serving.mode}: joules per output token in steady state",
        value=printed(estimate, "J"),
        words="Everything drawn in the steady windows over the output tokens that came in them, whosever they were. "
        "What prompts took is in it.",
        formula=tuple(_windows(serving)),
        parts=_without_prompts(estimate),
        rests_on=f"It rests on {_n_windows(serving)}.",
    )


def _windows(serving: ServingSummary) -> list[str]:
    """Each window as numbers."""
    return [
        f"session {each.session}, {digits(each.time_start_s, 5)} to {digits(each.time_end_s, 5)} s: "
        + ("energy unknown" if each.energy_j is None else f"{exact(each.energy_j)} J")
        + f", {each.n_output_tokens:,} output tokens, {each.n_ended:,} queries ended"
        for each in serving.windows
    ]


def _n_windows(serving: ServingSummary) -> str:
    n = len(serving.windows)
    return f"{n} steady window{'' if n == 1 else 's'}"


def _reading_words(serving: ServingSummary) -> str:
    if not serving.attributed:
        return "the queries' own half-widths, added up, over their number"
    return (
        "what the curves leave open of the windows, and the queries' own half-widths in quadrature, over their number: "
        "an error that only moves joules from one query to another cancels"
    )


def _without_prompts(estimate: Estimate) -> tuple[IntervalPart, ...]:
    if _is_estimated(estimate):
        return ()
    return (reading_part(estimate, "J", "what the curves leave open of the windows"), gain_part(estimate, "J"))


def _is_estimated(estimate: Estimate) -> bool:
    return any(each.code is FindingCode.ESTIMATED_ENERGY for each in estimate.findings)


def _weights(serving: ServingSummary) -> str:
    words = weights_words(serving.weights)
    return f"{words[0].upper()}{words[1:]}." if words else ""
