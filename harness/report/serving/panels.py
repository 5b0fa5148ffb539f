"""The charts of a cell under load: one query counted in several ways, and how long its user waits."""

from __future__ import annotations

from harness.records import Estimate, ServingSummary, Summary
from harness.report.compared import listed
from harness.report.numbers import UNKNOWN, Unit, digits, ends_of, percent, unit_for, value_of
from harness.report.panel import Bar, Bars, Grid, Panel, Scale
from harness.report.serving.sections import LATENCIES, energy_unit, latency_of, weights_words
from harness.report.wording import joules_label

LATENCY_WORDS = {
    "first_token": "to the first token (TTFT)",
    "per_output_token": "per output token after it (TPOT)",
    "between_tokens": "between tokens (ITL)",
    "end_to_end": "from the sending to the end",
}


def serving_panels(summary: Summary) -> tuple[Panel, ...]:
    """Nothing for a cell that was not under load."""
    if not summary.serving:
        return ()
    found = (_ways(summary), _waiting(summary))
    return tuple(panel for panel in found if panel is not None)


def _ways(summary: Summary) -> Panel | None:
    """A query's joules by each way of counting, beside each other."""
    unit = energy_unit(summary.serving)
    values = [
        each
        for serving in summary.serving
        for _, estimate in _counted(serving)
        for each in _ends(unit.estimate(estimate))
    ]
    if not values or max(values) <= 0:
        return None
    scale = Scale(low=0.0, high=1.04 * max(values))
    bars = []
    for serving in summary.serving:
        place = _place(summary, serving)
        for index, (name, estimate) in enumerate(
            (name, each) for name, each in _counted(serving) if each.value is not None
        ):
            shown = unit.estimate(estimate)
            bars.append(
                Bar(
                    label=name,
                    figure=digits(shown.value) if shown.low is None else value_of(shown),
                    interval=ends_of(shown),
                    spans=(
                        scale.span(
                            0.0, shown.value or 0.0, "whole", title=f"{name}: {digits(shown.value)} {unit.name}"
                        ),
                    ),
                    whisker=scale.whisker(shown),
                    mode=place,
                    heading=f"{serving.mode}, {serving.load}" if index == 0 else "",
                    strong=name == "steady state",
                )
            )
    label = joules_label(summary, unit.name)
    return Panel(
        name="ways",
        title="One query, counted in several ways",
        caption=_ways_words(summary, unit),
        bars=(Bars(bars=tuple(bars), axis=f"energy, {label.replace(' (shared)', '')} per query", ticks=scale.ticks()),),
        grid=_grid(summary, unit),
        notes=tuple(_notes(summary)),
        label="shared by tokens" if summary.cell.overlaps else "",
    )


def _counted(serving: ServingSummary) -> list[tuple[str, Estimate]]:
    """The ways, each with its name; steady and all queries are shares, the others attribute nothing."""
    return [
        ("steady state", serving.energy_steady_j),
        ("all queries", serving.energy_all_j),
        ("drawn / answered", Estimate(value=serving.energy_amortised_j)),
        ("ML.ENERGY", Estimate(value=serving.energy_mlenergy_j.value)),
    ]


def _ends(estimate: Estimate) -> list[float]:
    return [each for each in (estimate.value, estimate.high) if each is not None]


def _ways_words(summary: Summary, unit: Unit) -> str:
    """What the first mode says."""
    serving = summary.serving[0]
    steady, whole = serving.energy_steady_j.value, serving.energy_amortised_j
    if steady is None or whole is None:
        return "There is no steady state: ramp and drain are in every figure."
    more = whole / steady - 1
    value = f"{digits(unit.of(steady))} {unit.name}"
    words = f"In {serving.mode} a query takes {value} while the load stands at its full height"
    other = f"{percent(abs(more))} {'more' if more >= 0 else 'less'}"
    return f"{words}; everything that was drawn, over the queries answered, is {other}."


def _notes(summary: Summary) -> list[str]:
    serving = summary.serving[0]
    notes = []
    if serving.attributed:
        words = weights_words([each for one in summary.serving for each in one.weights])
        rule = (
            "The first two are means of shares: each instant's energy goes to the queries in flight by their work then"
        )
        notes.append(f"{rule}; {words}." if words and summary.cell.batch_size == 1 else f"{rule}.")
        moved = [f"{percent(one.rule_share)} in {one.mode}" for one in summary.serving if one.rule_share is not None]
        if moved:
            notes.append(f"Sharing each instant equally instead would move a query, on average, by {listed(moved)}.")
    notes.append("ML.ENERGY: joules per output token in steady state, times the mean output tokens of a query.")
    return notes


def _grid(summary: Summary, unit: Unit) -> Grid:
    def row(label: str, *cells: str) -> tuple[str, ...]:
        return (label, *cells)

    def joules(value: float | None) -> str:
        return UNKNOWN if value is None else digits(unit.of(value))

    found = summary.serving
    rows = [
        row("queries answered", *(f"{each.n_answered:,}" for each in found)),
        row("failed", *(_failed(each) for each in found)),
        row("ended in steady state", *(f"{sum(w.n_ended for w in each.windows):,}" for each in found)),
        row("steady state, s", *(digits(sum(w.duration_s for w in each.windows)) for each in found)),
        row("blocks, s", *(digits(each.duration_blocks_s) for each in found)),
        *(
            row(f"{unit.name}, {name}", *(joules(dict(_counted(each))[name].value) for each in found))
            for name, _ in _counted(found[0])
        ),
        row(f"{unit.name}, if shared equally", *(joules(each.energy_shared_equal_j) for each in found)),
        row("J drawn in the blocks", *(digits(each.energy_drawn_j) for each in found)),
        row("J while nobody was in flight", *(digits(each.energy_unattributed_j) for each in found)),
        row("J per output token, steady", *(digits(each.energy_per_output_token_j.value) for each in found)),
        row("output tokens, those in steady state", *(digits(each.output_tokens_steady) for each in found)),
        row("output tokens, all", *(digits(each.output_tokens_all) for each in found)),
        row("queries a second", *(digits(each.queries_per_second) for each in found)),
        row("output tokens a second", *(digits(each.output_tokens_per_second) for each in found)),
        row("in flight, mean", *(digits(each.n_in_flight) for each in found)),
        row("W", *(digits(each.power_w) for each in found)),
    ]
    estimated = f"Joules and watts: {joules_label(summary)}." if summary.estimated else ""
    return Grid(columns=("", *(each.mode for each in found)), rows=tuple(rows), caption=estimated)


def _failed(serving: ServingSummary) -> str:
    texts = [
        f"{each.n:,} {each.code.value.replace('_', ' ')}"
        + (f", {digits(each.energy_j)} J" if each.energy_j is not None else "")
        for each in serving.failures
    ]
    return "; ".join(texts) or "0"


def _waiting(summary: Summary) -> Panel | None:
    """Half of the waits, 95 % and 99 % of them, by mode; an axis for each kind."""
    charts: list[Bars] = []
    rows: list[tuple[str, ...]] = []
    for name, label in LATENCIES:
        known = [
            (serving, latency) for serving in summary.serving if (latency := latency_of(serving, name)) is not None
        ]
        if not known:
            continue
        unit = unit_for([latency.p50_s for _, latency in known], "s")
        scale = Scale(low=0.0, high=1.04 * unit.of(max(latency.p99_s for _, latency in known)) or 1.0)
        bars = []
        for index, (serving, latency) in enumerate(known):
            p50, p95, p99 = (unit.of(each) for each in (latency.p50_s, latency.p95_s, latency.p99_s))
            most = (("half", p50), ("95 %", p95), ("99 %", p99))
            texts = ", ".join(f"{share} at most {digits(value)}" for share, value in most)
            title = f"{label}, {serving.mode}: {texts} {unit.name}"
            bars.append(
                Bar(
                    label=serving.mode,
                    figure=digits(p50),
                    interval=f"95 %: {digits(p95)}",
                    spans=(scale.span(0.0, p50, "whole", title=title), scale.span(p50, p95, "each", title=title)),
                    whisker=(scale.percent(p50), round(scale.percent(p99) - scale.percent(p50), 2)),
                    mode=_place(summary, serving),
                    heading=LATENCY_WORDS[name] if index == 0 else "",
                )
            )
            rows.append(
                (
                    f"{label}, {serving.mode}, {unit.name}",
                    f"{latency.n:,}",
                    *(digits(unit.of(getattr(latency, each))) for each in QUANTILES),
                )
            )
        charts.append(
            Bars(bars=tuple(bars), axis=f"{label}, {unit.name}", ticks=scale.ticks(), keys=KEYS if not charts else ())
        )
    if not charts:
        return None
    return Panel(
        name="waiting",
        title="How long one waits",
        caption="Half of the queries, or tokens, take no longer than the full bar, 95 % than the hatched one.",
        bars=tuple(charts),
        grid=Grid(columns=("", "n", "mean", "p50", "p90", "p95", "p99"), rows=tuple(rows)),
        notes=("Of all answered queries, ramp and drain included; TTFT and the whole count from the sending on.",),
    )


QUANTILES = ("mean_s", "p50_s", "p90_s", "p95_s", "p99_s")
KEYS = (("half of them", "whole"), ("95 %", "each"), ("99 %", "cross"))


def _place(summary: Summary, serving: ServingSummary) -> int:
    """Of the mode's colour."""
    return [mode.mode for mode in summary.modes].index(serving.mode)
