"""The receipt of a cell under load: what a query takes by each way of counting, and how it was served.

A figure per mode, as on the rest of the receipt. Every joule that was shared says so in its heading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.records import Latency, ServingSummary, Summary, TokenWeights
from harness.report.numbers import UNKNOWN, Unit, digits, ends_of, half_width, percent, unit_for, value_of
from harness.report.rows import Kind, Row, Section, wide
from harness.report.wording import estimated_words, joules_label

PREFIX = "serving"
"""Of the names of these figures: `off.serving.energy_steady_j`."""
LATENCIES = (
    ("first_token", "TTFT"),
    ("per_output_token", "TPOT"),
    ("between_tokens", "ITL"),
    ("end_to_end", "end to end"),
)
BATCHES = "Every static batch is ramp and drain: it has no steady state."


def serving_sections(summary: Summary) -> list[Section]:
    """Nothing for a cell that was not under load."""
    lines = Lines(summary)
    if not any(lines.found):
        return []
    return [_energy(lines), _service(lines), *_latency(lines)]


class Lines:
    """Makes rows of a figure per mode."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.found = by_mode(summary)

    def has(self, value: Callable[[ServingSummary], object]) -> bool:
        """Whether any mode has it."""
        return any(each is not None and value(each) not in (None, (), 0.0) for each in self.found)

    def row(
        self,
        label: str,
        text: Callable[[ServingSummary], str],
        name: str = "",
        kind: Kind = Kind.ITEM,
        part: str = "",
    ) -> Row:
        """A row; `name` is its figure's, for what stands behind it."""
        modes = [mode.mode for mode in self.summary.modes]
        behind = tuple(f"{mode}.{PREFIX}.{name}" for mode in modes) if name else ()
        cells = tuple(UNKNOWN if each is None else text(each) for each in self.found)
        return Row(label=label, cells=cells, kind=kind, behind=behind, part=part)


def by_mode(summary: Summary) -> list[ServingSummary | None]:
    """What each mode of the receipt has of it, in order."""
    known = {each.mode: each for each in summary.serving}
    return [known.get(mode.mode) for mode in summary.modes]


def energy_unit(found: Sequence[ServingSummary | None]) -> Unit:
    """Of a query's joules."""
    energies = [each for one in found if one for each in (one.energy_steady_j, one.energy_all_j)]
    return unit_for([each.value for each in energies], "J")


def heading(serving: ServingSummary) -> str:
    """The load."""
    return f"Under load: {serving.load}" if serving.attributed else f"At a server: {serving.load}"


def _energy(lines: Lines) -> Section:
    summary, found = lines.summary, lines.found
    unit = energy_unit(found)
    shared, word = joules_label(summary, unit.name), f" ({estimated_words(summary)})" if summary.estimated else ""
    plain = f"{unit.name}{word}"
    rows = []
    if lines.has(lambda each: each.windows):

        def interval(each: ServingSummary) -> str:
            return ends_of(unit.estimate(each.energy_steady_j)) or UNKNOWN

        def value(each: ServingSummary) -> str:
            return value_of(unit.estimate(each.energy_steady_j))

        rows.append(lines.row(f"{shared}, steady state", value, "energy_steady_j", Kind.TOTAL))
        if not summary.estimated:
            label = "95 %: other prompts"
            rows.append(lines.row(label, interval, "energy_steady_j", Kind.DETAIL, "other prompts"))
        rows.append(lines.row("queries ended in it", _n_steady, kind=Kind.DETAIL))
    rows.append(lines.row(f"{shared}, all queries", lambda each: value_of(unit.estimate(each.energy_all_j))))
    if lines.has(lambda each: each.energy_shared_equal_j):
        text = _digits(lambda each: each.energy_shared_equal_j, unit)
        rows.append(lines.row("if shared equally", text, "energy_shared_equal_j", Kind.DETAIL))
    if lines.has(lambda each: each.rule_share):
        rows.append(lines.row("moves a query by, mean", _percent(lambda each: each.rule_share), kind=Kind.DETAIL))
    text = _digits(lambda each: each.energy_amortised_j, unit)
    rows.append(lines.row(f"{plain} drawn / answered", text, "energy_amortised_j"))
    if lines.has(lambda each: each.energy_mlenergy_j.value):
        text = _digits(lambda each: each.energy_mlenergy_j.value, unit)
        rows.append(lines.row(f"{plain}, ML.ENERGY's way", text, "energy_mlenergy_j"))
    if lines.has(lambda each: each.energy_per_output_token_j.value):
        token = unit_for([each.energy_per_output_token_j.value for each in found if each], "J")
        text = _digits(lambda each: each.energy_per_output_token_j.value, token)
        rows.append(lines.row(f"{token.name}{word} per output token, steady", text, "energy_per_output_token_j"))
    if lines.has(lambda each: each.energy_unattributed_j):
        left = unit_for([each.energy_unattributed_j for each in found if each], "J")
        text = _digits(lambda each: each.energy_unattributed_j, left)
        rows.append(lines.row(f"{left.name}{word}, nobody in flight", text, kind=Kind.DETAIL))
    rows += _failures(found, word)
    rows += [wide(BATCHES)] if summary.cell.batch_size > 1 else []
    return Section(title=heading(summary.serving[0]), rows=tuple(rows))


def _service(lines: Lines) -> Section:
    rows = [
        lines.row("queries a second", lambda each: digits(each.queries_per_second)),
        lines.row("output tokens a second", lambda each: digits(each.output_tokens_per_second)),
        lines.row("in flight, mean", lambda each: digits(each.n_in_flight)),
        lines.row(joules_label(lines.summary, "W"), lambda each: digits(each.power_w)),
    ]
    busy = {mode.mode: mode.gpu_busy_share for mode in lines.summary.modes if mode.gpu_busy_share is not None}
    if busy:
        rows.append(lines.row("GPU idle", _percent(lambda each: 1 - busy[each.mode] if each.mode in busy else None)))
    if any(each is not None and each.cached_share is not None for each in lines.found):
        rows.append(lines.row("prompt tokens cached", _percent(lambda each: each.cached_share)))
    steady = lines.has(lambda each: each.windows)
    title = "Service in steady state" if steady else "Service, ramp and drain included"
    return Section(title=title, rows=tuple(rows))


def _latency(lines: Lines) -> list[Section]:
    """Of all answered queries, ramp and drain included."""
    rows = []
    for name, label in LATENCIES:
        known = [latency_of(each, name) for each in lines.found]
        if any(known):
            unit = unit_for([each.p50_s for each in known if each], "s")
            rows.append(lines.row(f"{label} p50, {unit.name}", _quantile(name, "p50_s", unit)))
            rows.append(lines.row("p95", _quantile(name, "p95_s", unit), kind=Kind.DETAIL))
    return [Section(title="Latency, queue included", rows=tuple(rows))] if rows else []


def latency_of(serving: ServingSummary | None, name: str) -> Latency | None:
    """One of the four latencies, by its name in `LATENCIES`."""
    found: Latency | None = None if serving is None else getattr(serving, name)
    return found


def weights_words(weights: Sequence[TokenWeights]) -> str:
    """What a prompt token weighs, in a sentence; empty where nothing was shared by tokens."""
    texts = []
    for each in weights:
        if each.prompt == each.output:
            texts.append("a prompt token weighs as much as an output token")
            continue
        ratio = each.prompt / each.output if each.output else float("inf")
        width = f" {half_width(each.ratio_half_width)}" if each.ratio_half_width is not None else ""
        how = {"fitted": ", fitted to the warm-up", "given": ", as given", "equal": ""}[each.source]
        texts.append(f"a prompt token weighs {digits(ratio)}{width} of an output token{how}")
    return "; ".join(dict.fromkeys(texts))


def _failures(found: Sequence[ServingSummary | None], word: str) -> list[Row]:
    codes = list(dict.fromkeys(failure.code for each in found if each for failure in each.failures))
    rows = []
    for code in codes:
        own = [next((one for one in each.failures if one.code is code), None) if each else None for each in found]
        cells = tuple(f"{one.n:,}: {digits(one.energy_j)} J" if one else "–" for one in own)
        rows.append(Row(label=f"failed, {code.value.replace('_', ' ')}{word}", cells=cells, kind=Kind.DETAIL))
    return rows


def _quantile(name: str, quantile: str, unit: Unit) -> Callable[[ServingSummary], str]:
    def of(serving: ServingSummary) -> float | None:
        latency = latency_of(serving, name)
        return None if latency is None else float(getattr(latency, quantile))

    return _digits(of, unit)


def _digits(of: Callable[[ServingSummary], float | None], unit: Unit) -> Callable[[ServingSummary], str]:
    def text(serving: ServingSummary) -> str:
        value = of(serving)
        return digits(None if value is None else unit.of(value))

    return text


def _percent(of: Callable[[ServingSummary], float | None]) -> Callable[[ServingSummary], str]:
    def text(serving: ServingSummary) -> str:
        share = of(serving)
        return UNKNOWN if share is None else percent(share)

    return text


def _n_steady(serving: ServingSummary) -> str:
    n = sum(window.n_ended for window in serving.windows)
    return f"{n:,} of {serving.n_answered:,}"
