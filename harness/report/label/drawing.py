"""Draws a label with matplotlib, once, as SVG and as PNG: 260 x 364 px, the PNG twice as fine.

Text becomes paths in a font that matplotlib ships, so that it looks the same everywhere; the SVG has a title and a
description for those who cannot see it. Equal labels give equal bytes. A character that the font lacks is drawn as an
empty box. Knows what a `Label` looks like. Must not know where its texts come from.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from harness.errors import EnvironmentFault
from harness.reference.stars import STARS
from harness.report.label.wording import DISCLAIMER, NAME, UNIT, Label

WIDTH_PX, HEIGHT_PX = 260, 364
PX_PER_INCH = 96
POINTS_PER_PX = 72 / PX_PER_INCH
PNG_SCALE = 2
MARGIN_PX = 17
BAND_PX = 63
INNER_PX = WIDTH_PX - 2 * MARGIN_PX

PAPER, INK, SOFT, LINE, ALARM = "#fffefb", "#22211d", "#6b675d", "#d9d4c7", "#b3261e"
STAR, STAR_EDGE, EMPTY = "#e0a100", "#8a6300", "#b9b3a4"
MISSING = "▯"
CUT = "…"
ADVANCE_SIZE = 100.0
FIXED_POINT = 65536
"""Of FreeType: 16 bits before the point and 16 after it."""
BREAKS = re.compile(r"(?<=[/\-_. ,])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The same picture twice."""

    svg: str
    png: bytes


def draw(label: Label) -> Drawing:
    """The label as files.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EnvironmentFault(
            "Labels are drawn with matplotlib, which is not installed.",
            'Install it: pip install "inference-energy-harness[label]"',
        ) from error

    with _settings(matplotlib):
        figure = Figure(figsize=(WIDTH_PX / PX_PER_INCH, HEIGHT_PX / PX_PER_INCH), facecolor="none")
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, WIDTH_PX), ylim=(HEIGHT_PX, 0))
        axes.set_axis_off()
        _Pen(axes).label(label)
        svg, png = io.StringIO(), io.BytesIO()
        quiet = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", metadata=quiet)
        figure.savefig(png, format="png", dpi=PNG_SCALE * PX_PER_INCH, metadata={"Software": None})
    return Drawing(svg=_accessible(svg.getvalue(), label), png=png.getvalue())


@contextmanager
def _settings(matplotlib: Any) -> Iterator[None]:
    """Its settings as they ship, whatever the user's own are; nothing in them depends on the day or on chance."""
    own = {
        "svg.fonttype": "path",
        "svg.hashsalt": NAME,
        "text.hinting": "none",  # hinted letters are wider than their outlines, by which lines are fitted
        "text.parse_math": False,
        "text.usetex": False,
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **own}):
        yield


def _accessible(svg: str, label: Label) -> str:
    """With a title and a description, and without the reference to a file on the network."""
    start = svg.index("<svg")
    end = svg.index(">", start)
    title = f'<title id="label-title">{escape(label.title)}</title>'
    description = f'<desc id="label-description">{escape(label.description)}</desc>'
    head = f'{svg[start:end]} role="img" aria-labelledby="label-title label-description">'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}\n {title}\n {description}{svg[end + 1 :]}'


def fitted(
    text: str, width: Callable[[str, float], float], room_px: float, sizes_px: tuple[float, ...], n_lines: int
) -> tuple[list[str], float]:
    """Lines that fit into a room, in the largest size in which they do; in the smallest, cut with an ellipsis.

    Args:
        text: One line.
        width: Pixels of a text in a size.
        room_px: Of a line.
        sizes_px: Largest first.
        n_lines: At most.
    """
    lines: list[str] = []
    for size_px in sizes_px:
        lines = _wrapped(text, lambda part, size_px=size_px: width(part, size_px), room_px)  # type: ignore[misc]
        if len(lines) <= n_lines:
            return lines, size_px
    size_px = sizes_px[-1]
    last = lines[n_lines - 1]
    while last and width(f"{last}{CUT}", size_px) > room_px:
        last = last[:-1]
    return [*lines[: n_lines - 1], f"{last.rstrip()}{CUT}"], size_px


def _wrapped(text: str, width: Callable[[str], float], room_px: float) -> list[str]:
    """Broken after separators where that is possible, elsewhere between any two characters."""
    lines = [""]
    for piece in filter(None, BREAKS.split(text)):
        if width((lines[-1] + piece).rstrip()) <= room_px:
            lines[-1] += piece
            continue
        lines.append("")
        for char in piece:
            if width(lines[-1] + char) > room_px:
                lines.append("")
            lines[-1] += char
    return [line.strip() for line in lines if line.strip()] or [""]


class _Pen:
    """Puts a label's parts on axes whose unit is a pixel, from the top down."""

    def __init__(self, axes: Any) -> None:
        from matplotlib import get_data_path
        from matplotlib.font_manager import FontProperties, get_font

        folder = Path(get_data_path()) / "fonts" / "ttf"
        paths = {False: folder / "DejaVuSans.ttf", True: folder / "DejaVuSans-Bold.ttf"}
        self._axes = axes
        self._fonts = {bold: FontProperties(fname=str(path)) for bold, path in paths.items()}
        self._glyphs = {bold: get_font(str(path)) for bold, path in paths.items()}
        self._advances: dict[tuple[str, bool], float] = {}

    def label(self, label: Label) -> None:
        """All of it."""
        self._frame()
        self._text(MARGIN_PX, 25, "Inference energy", 15.5, bold=True, color=PAPER)
        self._text(MARGIN_PX, 40, f"by {NAME}", 9, color=LINE)
        self._text(MARGIN_PX, 53, DISCLAIMER, 9, color=LINE)
        self._rule(self._facts(label))
        self._energy(label)
        self._rule(274)
        self._stars(label)
        self._foot(label)

    def _frame(self) -> None:
        from matplotlib.patches import FancyBboxPatch, Rectangle

        style = "round,pad=0,rounding_size=10"
        size = (WIDTH_PX - 1.5, HEIGHT_PX - 1.5)
        paper = FancyBboxPatch((0.75, 0.75), *size, boxstyle=style, facecolor=PAPER, edgecolor="none")
        band = Rectangle((0, 0), WIDTH_PX, BAND_PX, facecolor=INK, edgecolor="none")
        edge = FancyBboxPatch((0.75, 0.75), *size, boxstyle=style, facecolor="none", edgecolor=INK, linewidth=1.1)
        for patch in (paper, band, edge):
            self._axes.add_patch(patch)
        band.set_clip_path(edge)

    def _facts(self, label: Label) -> float:
        """Model and conditions; returns where they end."""
        lines, size_px = fitted(label.model, self._bold_width, INNER_PX, (15, 13.5, 12, 11, 10), 2)
        if lines[-1].endswith(CUT):
            lines, size_px = fitted(label.model, self._bold_width, INNER_PX, (8.8, 8), 3)
        y_px = BAND_PX + 25.0 - 3 * len(lines)
        for line in lines:
            self._text(MARGIN_PX, y_px, line, size_px, bold=True)
            y_px += size_px * 1.2
        y_px += 2.0 + len(lines)
        facts = (
            ("Task", label.task),
            ("Prompts", f"{label.prompts}, {label.protocol}"),
            ("Hardware", label.hardware),
            ("Estimated" if label.estimated else "Measured", label.month),
        )
        found = [fitted(text, self._width, INNER_PX - 54, (9.4, 9, 8.6, 8.2, 7.8), 1) for _, text in facts]
        size_px = min(each for _, each in found)  # one size for all of them
        for (name, _), (fact, _) in zip(facts, found, strict=True):
            self._text(MARGIN_PX, y_px, name, min(size_px, 8.8), color=SOFT)
            self._text(MARGIN_PX + 54, y_px, fact[0], size_px)
            y_px += 14
        return y_px - 4

    def _energy(self, label: Label) -> None:
        color = ALARM if label.estimated else INK
        (value,), size_px = fitted(label.value, self._bold_width, INNER_PX - 92, (42, 38, 34, 30, 26, 22), 1)
        self._text(MARGIN_PX - 2, 216, value, size_px, bold=True, color=color)
        right_px = MARGIN_PX + self._bold_width(value, size_px) + 5
        self._text(right_px, 202, UNIT.partition(" ")[0], 15, bold=True, color=color)
        self._text(right_px, 216, UNIT.partition(" ")[2], 9.4, color=SOFT)
        source = "not measured" if label.estimated else label.method
        self._text(MARGIN_PX, 233, label.estimated or label.interval, 10, bold=True, color=color)
        for y_px, text in ((247, label.interval_of), (260, f"{label.boundary}, {source}")):
            (line,), small_px = fitted(text, self._width, INNER_PX, (8.8, 8, 7.2), 1)
            self._text(MARGIN_PX, y_px, line, small_px, color=SOFT)

    def _stars(self, label: Label) -> None:
        if label.stars is None:
            self._text(MARGIN_PX, 294, label.verdict, 14, bold=True, color=SOFT)
            y_px = 309.0
        else:
            for place in range(STARS):
                self._star(MARGIN_PX + 10 + place * 22.5, 293, filled=place < label.stars)
            self._text(MARGIN_PX + 121, 291, f"{label.stars} of {STARS}", 11, bold=True)
            self._text(MARGIN_PX + 121, 302, label.verdict, 7.6, color=SOFT)
            y_px = 317.0
        lines, size_px = fitted(label.note, self._width, INNER_PX, (8.6, 8, 7.4), 2)
        for line in lines:
            self._text(MARGIN_PX, y_px, line, size_px, color=SOFT)
            y_px += size_px * 1.3

    def _star(self, x_px: float, y_px: float, *, filled: bool) -> None:
        from matplotlib.patches import Polygon

        radii_px = (11.0, 4.5)
        corners = [
            (
                x_px + radii_px[corner % 2] * math.sin(corner * math.pi / STARS),
                y_px - radii_px[corner % 2] * math.cos(corner * math.pi / STARS),
            )
            for corner in range(2 * STARS)
        ]
        face = STAR if filled else "none"
        edge = STAR_EDGE if filled else EMPTY
        self._axes.add_patch(Polygon(corners, facecolor=face, edgecolor=edge, linewidth=0.7, joinstyle="round"))

    def _foot(self, label: Label) -> None:
        foot = f"{NAME} {label.version} · run {label.run}"
        for y_px, text in ((350.0 if not label.link else 345.0, foot), (355.0, label.link)):
            (line,), size_px = fitted(text, self._width, INNER_PX, (7.4, 6.8, 6.2), 1)
            self._text(MARGIN_PX, y_px, line, size_px, color=SOFT)

    def _rule(self, y_px: float) -> None:
        self._axes.plot((MARGIN_PX, WIDTH_PX - MARGIN_PX), (y_px, y_px), color=LINE, linewidth=0.8)

    def _text(
        self, x_px: float, y_px: float, text: str, size_px: float, *, bold: bool = False, color: str = INK
    ) -> None:
        """On its base line."""
        font = self._fonts[bold].copy()
        font.set_size(size_px * POINTS_PER_PX)
        self._axes.text(x_px, y_px, self._drawable(text, bold), fontproperties=font, color=color, va="baseline")

    def _width(self, text: str, size_px: float, *, bold: bool = False) -> float:
        """Without kerning, which only draws letters together."""
        return size_px * math.fsum(self._advance(char, bold) for char in text)

    def _advance(self, char: str, bold: bool) -> float:
        """Width of a character where the font's size is 1."""
        from matplotlib.ft2font import LoadFlags

        if (char, bold) not in self._advances:
            font = self._glyphs[bold]
            font.set_size(ADVANCE_SIZE, 72)
            glyph = font.load_char(ord(self._drawable(char, bold)), flags=LoadFlags.NO_HINTING)
            self._advances[char, bold] = glyph.linearHoriAdvance / FIXED_POINT / ADVANCE_SIZE
        return self._advances[char, bold]

    def _bold_width(self, text: str, size_px: float) -> float:
        return self._width(text, size_px, bold=True)

    def _drawable(self, text: str, bold: bool) -> str:
        font = self._glyphs[bold]
        return "".join(char if font.get_char_index(ord(char)) else MISSING for char in text)
