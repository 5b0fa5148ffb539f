"""One query, down to the sensor: its phases, its energy on each device's curve, and the readings behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.measured import headline_readings
from harness.records import Attribution, Boundary, Finding, Method, QueryRecord, Reading
from harness.report.explanation.parts import exact, query_name
from harness.report.numbers import UNKNOWN, digits, duration, energy, half_width, number, percent
from harness.report.serving.flying import Company
from harness.report.serving.sections import weights_words
from harness.report.task.quality import verdict_words
from harness.report.task.sizes import in_order, size_text, size_words
from harness.report.trail import Trail
from harness.report.trail_rows import TrailTable, trail_table
from harness.report.wording import BOUNDARY, METHOD, Doubt, doubts

N_CHARACTERS_SHOWN = 300
"""Of an answer; the end is shown, where the result stands."""
HTTP_OK = 200
SHARED = {Attribution.SHARED_TOKENS, Attribution.SHARED_EQUAL}
ATTRIBUTION = {
    Attribution.EXCLUSIVE: "the query had the device to itself",
    Attribution.WHOLE_BOARD: "all that the board drew meanwhile, whoever used it",
    Attribution.SHARED_TOKENS: "shared with other queries, by tokens",
    Attribution.SHARED_EQUAL: "shared with other queries, equally",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveEnds:
    """The energy curve of one device at a query's start and end, in joules since its first reading."""

    start_j: float
    end_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAccount:
    """One device's part of a query: what it is, as labels and texts, and the readings behind it."""

    device: str
    facts: tuple[tuple[str, str], ...]
    phase_columns: tuple[str, ...]
    phases: tuple[tuple[str, ...], ...]
    ticks: TrailTable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAccount:
    """One query, ready to lay out. Every text is printed as it stands."""

    name: str
    title: str
    value: str
    facts: tuple[tuple[str, str], ...]
    devices: tuple[DeviceAccount, ...]
    doubts: tuple[Doubt, ...]
    answer: str


def account_of(
    query: QueryRecord,
    headline: Boundary,
    trails: Sequence[Trail] = (),
    ends: Mapping[str, CurveEnds] | None = None,
    company: Company | None = None,
    task: str | None = None,
) -> QueryAccount:
    """What is known of one query.

    Args:
        query: With its net energies filled in.
        headline: The boundary of the run's figures; the devices of it come first.
        trails: The readings of its devices.
        ends: The curve of each device at its start and end, where it was built again.
        company: With whom it shared, where that is at hand.
        task: Of its cell; None: text, in one of its modes.
    """
    main = headline_readings(query, headline)
    ordered = [*main, *(reading for reading in query.readings if reading not in main)]
    known = [reading.energy_gross_j for reading in main if reading.energy_gross_j is not None]
    estimated = any(reading.method is Method.ESTIMATED for reading in main)
    value = energy(sum(known)) if known and len(known) == len(main) else UNKNOWN
    own = {trail.channel.device: trail for trail in trails}
    return QueryAccount(
        name=query_name(query.mode, query.prompt_id),
        title=f"{query.prompt_id}, mode {query.mode}" if task is None else query.prompt_id,
        value=f"{value} (estimated)" if estimated else value,
        facts=(*_facts(query, task), *_service(query), *_company(query, company)),
        devices=tuple(
            _device(reading, own.get(reading.device), (ends or {}).get(reading.device)) for reading in ordered
        ),
        doubts=doubts(_findings(query)),
        answer=_answer(query),
    )


def _facts(query: QueryRecord, task: str | None) -> list[tuple[str, str]]:
    start, end = (number(time_s, 4) for time_s in (query.time_start_s, query.time_end_s))
    facts = [("span", f"{start} to {end} s of session {query.session}, {digits(query.duration_s, 4)} s")]
    if query.output is None:
        return [*facts, ("output", "none: the query failed")]
    sizes = query.output.sizes
    if task is not None:
        facts.append(("size", ", ".join(f"{size_text(key, sizes[key])} {size_words(key)}" for key in in_order(sizes))))
        return [*facts, ("score", verdict_words(query))]
    counts = [f"{size:,} {name.removesuffix('_tokens')}" for name, size in sizes.items()]
    facts.append(("tokens", ", ".join(counts)))
    facts.append(("ended by", query.output.finish_reason))
    if query.score is not None:
        read = "" if query.score.extracted is None else f", read as {query.score.extracted}"
        facts.append(("answer", f"{'right' if query.score.correct else 'wrong'}{read}"))
    return facts


def _service(query: QueryRecord) -> list[tuple[str, str]]:
    """How it was served, as its client saw it."""
    service = query.service
    if service is None:
        return []
    facts = [("sent", f"at {number(service.time_sent_s, 4)} s, as query {service.number:,} of its session")]
    if service.duration_queued_s is not None:
        facts.append(("in the queue", f"{duration(service.duration_queued_s)}, as the server says"))
    if service.duration_first_token_s is not None:
        facts.append(("first token", f"{duration(service.duration_first_token_s)} after the sending (TTFT)"))
    if service.duration_per_output_token_s is not None:
        facts.append(("each token after it", f"{duration(service.duration_per_output_token_s)} on average (TPOT)"))
    if service.n_cached_tokens is not None:
        facts.append(("cached", f"{service.n_cached_tokens:,} prompt tokens, not computed again"))
    if service.status is not None and service.status != HTTP_OK:
        facts.append(("HTTP status", f"{service.status}"))
    return facts


def _company(query: QueryRecord, company: Company | None) -> list[tuple[str, str]]:
    """Who shared with it, and by which rule."""
    shared = any(reading.attribution in SHARED for reading in query.readings)
    if company is None or not shared:
        return []
    others = "no other query" if not company.n_others else f"{company.n_others:,} others, at one time or another"
    words = f"{others}; it was one of {digits(company.n_mean)} on average, of {company.n_most:,} at most"
    rule = "each instant's energy goes to the queries in flight by the tokens that each reads and writes then"
    weights = weights_words([company.weights]) if company.weights is not None else ""
    return [("in flight with", words), ("rule", f"{rule}; {weights}" if weights else rule)]


def _device(reading: Reading, trail: Trail | None, ends: CurveEnds | None) -> DeviceAccount:
    estimated, shared = reading.method is Method.ESTIMATED, reading.attribution in SHARED
    word = ", estimated" if estimated else ""
    share = ", its share" if shared else ""
    facts = [
        ("energy", f"{_joules(reading.energy_gross_j, reading.energy_gross_half_width_j)}, gross{word}{share}"),
        ("includes", BOUNDARY[reading.boundary]),
        ("method", f"{METHOD[reading.method]} ({reading.method.value})"),
        ("attribution", ATTRIBUTION[reading.attribution]),
    ]
    if ends is not None:
        difference = ends.end_j - ends.start_j
        text = f"E(end) − E(start) = {ends.end_j:,.4f} − {ends.start_j:,.4f} = {exact(difference)} J"
        if shared:
            own = reading.energy_gross_j
            of_it = (
                "" if own is None or difference <= 0 else f": {percent(own / difference)} of it is this query's share"
            )
            facts.append(("drawn meanwhile", f"{text}, by all that were in flight{of_it}"))
        else:
            facts.append(("energy curve", f"{text}, counted from the first reading"))
    if reading.energy_shared_equal_j is not None:
        facts.append(("if shared equally", f"{digits(reading.energy_shared_equal_j, 4)} J{word}"))
    if reading.duration_share_s is not None:
        text = f"{digits(reading.duration_share_s)} of {digits(reading.duration_s)} s, which carries its idle power"
        facts.append(("share of the time", text))
    if reading.energy_blind_half_width_j:
        facts.append(("of the half-width", f"{half_width(reading.energy_blind_half_width_j)} J from time not seen"))
    if reading.energy_net_j is not None and reading.power_idle_w is not None:
        net = _joules(reading.energy_net_j, reading.energy_net_half_width_j)
        facts.append(("above idle", f"{net}{word}, with {digits(reading.power_idle_w)} W idle"))
    if reading.energy_tail_j is not None:
        facts.append(("after the end", f"{_joules(reading.energy_tail_j, None)} above idle, not included"))
    if not estimated:
        facts.append(("readings inside", f"{reading.n_samples:,}"))
        if reading.duration_gap_largest_s is not None:
            facts.append(("largest gap", f"{digits(reading.duration_gap_largest_s)} s between two readings"))
    return DeviceAccount(
        device=reading.device,
        facts=tuple(facts),
        phase_columns=("phase", "s", "J (estimated)" if estimated else "J", "", "W"),
        phases=tuple(
            (
                phase.name,
                digits(phase.time_end_s - phase.time_start_s),
                UNKNOWN if phase.energy_gross_j is None else digits(phase.energy_gross_j, 4),
                "" if phase.energy_gross_half_width_j is None else half_width(phase.energy_gross_half_width_j),
                _power(phase.energy_gross_j, phase.time_end_s - phase.time_start_s),
            )
            for phase in reading.phases
        ),
        ticks=None if trail is None else trail_table(trail, reading.phases, shared=shared),
    )


def _power(energy_j: float | None, duration_s: float) -> str:
    return "" if energy_j is None or duration_s <= 0 else digits(energy_j / duration_s)


def _joules(energy_j: float | None, half_width_j: float | None) -> str:
    if energy_j is None:
        return "unknown"
    text = digits(energy_j, 4)
    return f"{text} J" if half_width_j is None else f"{text} {half_width(half_width_j)} J"


def _findings(query: QueryRecord) -> list[Finding]:
    return [*query.findings, *(finding for reading in query.readings for finding in reading.findings)]


def _answer(query: QueryRecord) -> str:
    text = "" if query.output is None or query.output.text is None else " ".join(query.output.text.split())
    return text if len(text) <= N_CHARACTERS_SHOWN else f"…{text[-N_CHARACTERS_SHOWN:]}"
