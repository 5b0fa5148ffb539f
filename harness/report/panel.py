"""What a panel of the page is made of: a title, a sentence, a chart, and the same in a table.

Positions are percentages of the chart's width or height, so that the template lays bars out without a script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Estimate
from harness.report.numbers import ends_of, value_of

Json = dict[str, object]

TICKS_MOST = 5
CHARACTERS_IN_SEGMENT, CHARACTERS_ON_PHONE = 0.55, 0.22
"""Per percent of a bar's width. A text that does not fit is left out; one that does not on a phone, there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: the text alternative of a chart, or a table of its own. The first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of a bar, from `left` over `width` percent. `look` is a class of the style sheet."""

    left: float
    width: float
    look: str
    text: str = ""
    title: str = ""

    @property
    def text_end(self) -> float:
        """About where the text in its middle ends."""
        return self.left + (self.width + len(self.text) / CHARACTERS_IN_SEGMENT) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a bar chart. `mode` is the position of the mode whose colour it takes."""

    label: str
    figure: str
    spans: tuple[Span, ...] = ()
    whisker: tuple[float, float] | None = None
    mark: float | None = None
    interval: str = ""
    mode: int | None = None
    heading: str = ""
    strong: bool = False
    silhouette: str = ""
    """A path in a square of 100 by 100, y downwards, over the whole track: how often which value occurs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Horizontal bars over one axis; a tick is its place in percent and its text."""

    bars: tuple[Bar, ...]
    axis: str
    ticks: tuple[tuple[float, str], ...]
    keys: tuple[tuple[str, str], ...] = ()
    line: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A point of the front with its intervals, in percent from the left and from below."""

    label: str
    mode: int
    left: float
    bottom: float
    across: tuple[float, float] | None
    upright: tuple[float, float] | None
    on_front: bool
    to_left: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Modes as points, and the line that no mode beats. `path` is in a square of 100 by 100, y downwards."""

    spots: tuple[Spot, ...]
    path: str
    x_axis: str
    y_axis: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A point of a curve, in percent from the left and from below, and how far its interval reaches."""

    left: float
    bottom: float
    upright: tuple[float, float] | None
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One mode's points and the line through them. `path` is in a square of 100 by 100, y downwards."""

    mode: int
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Curves over one pair of axes."""

    curves: tuple[Curve, ...]
    x_axis: str
    y_axis: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart with its sentence and its table. What `chart` holds is drawn by the script, under the panel's name."""

    name: str
    title: str
    caption: str
    grid: Grid
    notes: tuple[str, ...] = ()
    chart: Json | list[Json] | None = None
    bars: tuple[Bars, ...] = ()
    front: Front | None = None
    planes: tuple[Plane, ...] = ()
    """Side by side, as far as there is room."""
    keys: tuple[tuple[str, str], ...] = ()
    """Of the planes: each mode's name and the number of its colour."""
    label: str = ""
    """A word that must stay with every figure of the panel, such as `two-phase`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis from `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def percent(self, value: float) -> float:
        """Where a value lies, within 0 and 100."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def span(self, start: float, end: float, look: str, text: str = "", title: str = "") -> Span:
        """The stretch between two values, in either order."""
        left, right = sorted((self.percent(start), self.percent(end)))
        width = round(right - left, 2)
        fits = len(text) / CHARACTERS_IN_SEGMENT <= width
        narrow = fits and len(text) / CHARACTERS_ON_PHONE > width
        return Span(
            left=left,
            width=width,
            look=f"{look} narrow" if narrow else look,
            text=text if fits else "",
            title=title or text,
        )

    def whisker(self, estimate: Estimate, factor: float = 1.0) -> tuple[float, float] | None:
        """Start and width of the interval over prompts; to the chart's edge where it has no upper end."""
        if estimate.low is None:
            return None
        left = self.percent(factor * estimate.low)
        right = 100.0 if estimate.high is None else self.percent(factor * estimate.high)
        return left, round(right - left, 2)

    def ticks(self, suffix: str = "") -> tuple[tuple[float, str], ...]:
        """Round values between the ends, each with its place."""
        return tuple((self.percent(value), f"{value:,.10g}{suffix}".replace("-", "−")) for value in self._round())

    def _round(self) -> list[float]:
        if self.log and self.high / self.low > 3:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                values = [step * 10.0**decade for decade in decades for step in steps]
                inside = [value for value in values if self.low <= value <= self.high]
                if len(inside) <= TICKS_MOST + 1:
                    break
            return inside[:: math.ceil(len(inside) / (TICKS_MOST + 1))]
        raw = (self.high - self.low) / TICKS_MOST
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(each * size for each in (1, 2, 2.5, 5, 10) if each * size >= raw * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(count * step, 12) for count in range(first, last + 1)]


def ends(estimates: Sequence[Estimate], *, factor: float = 1.0) -> list[float]:
    """Every value and end that an axis must hold."""
    values = [each for one in estimates for each in (one.value, one.low, one.high)]
    return [factor * value for value in values if value is not None]


def in_brackets(value: str, interval: str) -> str:
    """A cell of a table: the value, and its interval where there is one."""
    return f"{value} ({interval})" if interval else value


def with_ends(estimate: Estimate) -> str:
    """A statistic and its interval over prompts, as a cell of a table."""
    return in_brackets(value_of(estimate), ends_of(estimate))
