"""A sensor's card in plain words: what is known of it, since when, and how to see what is not."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harness.records import Finding, FindingCode, Record, SensorCard
from harness.report.diagnosis import show_row, show_step

HOW_TO_SEE = (
    "What is unknown shows under load: measure a model on this board with `harness run`, or run "
    "`python scripts/gpu_validation.py`; then ask again."
)


class Word(StrEnum):
    """How much is known."""

    KNOWN = "known"
    DOUBT = "doubt"
    UNKNOWN = "unknown"


STYLES = {Word.KNOWN: "green", Word.DOUBT: "yellow", Word.UNKNOWN: "cyan"}


class Line(Record):
    """One thing about a sensor. `under_load`: only a load can show it."""

    word: Word
    name: str
    what: str
    next_step: str | None = None
    under_load: bool = False


class SensorAccount(Record):
    """A card, what it says, and the verdict."""

    card: SensorCard
    lines: tuple[Line, ...]
    verdict: str
    findings: tuple[Finding, ...]


def account_of(card: SensorCard, findings: tuple[Finding, ...]) -> SensorAccount:
    """Put a card into words; `findings` are what follows from it."""
    disagrees = any(finding.code is FindingCode.COUNTER_AGAINST_POWER for finding in findings)
    lines = (*_counter(card), *_power(card), _idle(card), *_agreement(card, disagrees=disagrees))
    return SensorAccount(card=card, lines=lines, verdict=_verdict(card, findings), findings=findings)


def show_sensors(accounts: Sequence[SensorAccount], console: Console) -> None:
    """Print every board's account, in NVML's order."""
    for index, account in enumerate(accounts):
        _show_sensor(account, index, console)
        console.print()
    if any(line.under_load and line.word is Word.UNKNOWN for account in accounts for line in account.lines):
        console.print(Text(HOW_TO_SEE, style="cyan"))


def _show_sensor(account: SensorAccount, index: int, console: Console) -> None:
    card = account.card
    console.print(Text(f"GPU {index}: {card.name}", style="bold"))
    console.print(Text(f"  {card.uuid}"), soft_wrap=True)
    under_load = f"under load {_day(card.load_utc)}" if card.load_utc else "not yet under load"
    seen = f"driver {card.driver}; seen idle {_day(card.idle_utc)}, {under_load}"
    console.print(Padding(Text(seen), (0, 0, 0, 2), expand=False))
    for line in account.lines:
        what = Text.assemble((line.name, "bold"), ": ", line.what)
        show_row(Text(line.word.value, style=STYLES[line.word]), what, console)
        if line.next_step is not None:
            show_step(line.next_step, console)
    show_row(Text("verdict", style="bold"), Text(account.verdict), console)
    for finding in account.findings:
        show_step(finding.code.next_step, console)


def _counter(card: SensorCard) -> list[Line]:
    if not card.counter:
        what = "this board has none; energy is its power readings, added up"
        return [Line(word=Word.DOUBT, name="counter", what=what)]
    if card.duration_tick_s is None:
        return [
            Line(
                word=Word.DOUBT,
                name="counter",
                what="it stood still, or moved too seldom to tell how often",
                next_step="Look whether `nvidia-smi -q -d POWER` changes; if not, reload the driver.",
            )
        ]
    jitter = "" if card.duration_tick_jitter_s is None else f" (jitter {_ms(card.duration_tick_jitter_s)})"
    steps = (
        "; how fine its steps are is unknown, it moved too evenly"
        if card.resolution_j is None
        else f", in steps of {_mj(card.resolution_j)}"
    )
    return [
        Line(
            word=Word.KNOWN,
            name="counter",
            what=f"moves every {_ms(card.duration_tick_s)}{jitter}{steps}{_call(card.duration_counter_call_s)}",
        ),
        _sight(card),
    ]


def _sight(card: SensorCard) -> Line:
    name, n_steps = "counter sees all of the time", len(card.load_steps)
    steps = f"{n_steps} {'step' if n_steps == 1 else 'steps'} of power"
    if card.integrates is None:
        so_far = f" ({steps} so far did not settle it)" if n_steps else ""
        return Line(word=Word.UNKNOWN, name=name, what=f"unknown until seen under load{so_far}", under_load=True)
    since = f"{steps}, last {_day(card.load_utc)}" if card.load_utc else steps
    if card.integrates:
        return Line(word=Word.KNOWN, name=name, what=f"yes ({since})", under_load=True)
    window_s = card.duration_counter_window_s
    seen = "a part of each tick" if window_s is None else f"about the last {_ms(window_s, 0)} of each tick"
    return Line(word=Word.DOUBT, name=name, what=f"no, only {seen} ({since})", under_load=True)


def _power(card: SensorCard) -> list[Line]:
    if card.duration_power_call_s is None:
        return [Line(word=Word.DOUBT, name="power", what="the board gives none")]
    name = "power, instantaneous" if card.instant_power else "power"
    period = (
        "how often it changes did not show"
        if card.duration_power_period_s is None
        else f"changes every {_ms(card.duration_power_period_s)}"
    )
    kind = "" if card.instant_power else "no instantaneous reading; the plain one is a mean over 1 s on most boards; "
    lines = [
        Line(
            word=Word.KNOWN if card.instant_power else Word.DOUBT,
            name=name,
            what=f"{kind}{period}{_call(card.duration_power_call_s)}",
        )
    ]
    if card.duration_power_window_s is None:
        lines.append(
            Line(word=Word.UNKNOWN, name="power averages over", what="unknown until seen under load", under_load=True)
        )
    else:
        lag = "" if card.duration_power_lag_s is None else f", shown {_ms(card.duration_power_lag_s, 0)} later"
        what = f"about {_ms(card.duration_power_window_s, 0)}{lag}"
        lines.append(Line(word=Word.KNOWN, name="power averages over", what=what, under_load=True))
    return lines


def _idle(card: SensorCard) -> Line:
    if card.power_idle_w is None:
        return Line(word=Word.UNKNOWN, name="idle power", what="the board was busy, or did not tell")
    return Line(word=Word.KNOWN, name="idle power", what=f"{card.power_idle_w:.1f} W when it was looked at")


def _agreement(card: SensorCard, *, disagrees: bool) -> list[Line]:
    name = "counter over integrated power"
    ratio, half_width = card.ratio_counter_to_power, card.ratio_counter_to_power_half_width
    if not card.counter or card.duration_power_call_s is None:
        return []
    if ratio is None or half_width is None:
        return [Line(word=Word.UNKNOWN, name=name, what="unknown until seen under load", under_load=True)]
    word = Word.DOUBT if disagrees else Word.KNOWN
    return [Line(word=word, name=name, what=f"{ratio:.3f} ± {half_width:.3f}", under_load=True)]


def _verdict(card: SensorCard, findings: tuple[Finding, ...]) -> str:
    if findings:
        return " ".join(finding.code.sentence for finding in findings)
    if not card.counter or card.duration_tick_s is None:
        if card.duration_power_call_s is None:
            return "This board cannot be measured: it gives neither energy nor power that changes."
        if not card.instant_power:
            return "Energy is added-up power, which may be a mean over 1 s: queries under 3 s may stay unresolved."
        return "Energy is added-up power: right on average, with wide intervals for single short queries."
    if card.integrates is None:
        return (
            "The counter works. That it misses nothing between its ticks is not known yet, so a load in step with "
            f"them is reported as {FindingCode.ALIASED.value!r}."
        )
    return "The counter works and misses nothing; the board's own gain, about 5 %, is not in a reading's interval."


def _ms(duration_s: float, digits: int = 1) -> str:
    return f"{1e3 * duration_s:.{digits}f} ms"


def _mj(energy_j: float) -> str:
    return f"{1e3 * energy_j:.0f} mJ"


def _call(duration_s: float | None) -> str:
    if duration_s is None:
        return ""
    return f"; a call takes {1e6 * duration_s:.0f} µs" if duration_s < 1e-3 else f"; a call takes {_ms(duration_s)}"


def _day(utc: str | None) -> str:
    return "at an unknown time" if utc is None else utc.replace("T", " ").replace("Z", " UTC")
