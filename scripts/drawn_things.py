"""The things in the pictures of the set `drawn`: how each is drawn, and what ImageNet-1k and COCO call it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import ImageDraw, ImageFont

DARK, WHITE, GREY, STEEL = "#2b2b33", "#fbfbf7", "#9aa0a6", "#c9cfd6"
RED, YELLOW, GREEN, BLUE, BROWN = "#d8342c", "#f7c531", "#3f9d4b", "#2f6fc4", "#8a5a33"
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """Draws one thing, in units of which its width has 100 (or a little more: what counts are the pixels)."""

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    unit: float

    def _at(self, points: Points) -> list[tuple[float, float]]:
        return [(self.x + a * self.unit, self.y + b * self.unit) for a, b in points]

    def oval(
        self, x0: float, y0: float, x1: float, y1: float, fill: str, edge: str | None = None, w: float = 2
    ) -> None:
        self.draw.ellipse(self._at([(x0, y0), (x1, y1)]), fill, edge, round(w * self.unit) if edge else 0)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: str, r: float = 0) -> None:
        self.draw.rounded_rectangle(self._at([(x0, y0), (x1, y1)]), r * self.unit, fill)

    def shape(self, points: Points, fill: str) -> None:
        self.draw.polygon(self._at(points), fill)

    def line(self, points: Points, fill: str, w: float) -> None:
        self.draw.line(self._at(points), fill, round(w * self.unit), joint="curve")

    def arc(self, x0: float, y0: float, x1: float, y1: float, a: float, b: float, fill: str, w: float) -> None:
        self.draw.arc(self._at([(x0, y0), (x1, y1)]), a, b, fill, round(w * self.unit))

    def pie(self, x0: float, y0: float, x1: float, y1: float, a: float, b: float, fill: str) -> None:
        self.draw.pieslice(self._at([(x0, y0), (x1, y1)]), a, b, fill)

    def words(self, x: float, y: float, text: str, size: float, fill: str) -> None:
        self.draw.text(self._at([(x, y)])[0], text, fill, ImageFont.load_default(size * self.unit), anchor="mm")


def around(x: float, y: float, radius: float, n: int, turn_deg: float = 0) -> list[tuple[float, float]]:
    """Corners of a regular polygon."""
    angles = [math.radians(turn_deg + 360 * corner / n) for corner in range(n)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def clock(pen: Pen) -> None:
    pen.oval(0, 0, 100, 100, "#6b3f22")
    pen.oval(7, 7, 93, 93, WHITE)
    for hour, (x, y) in enumerate(around(50, 50, 34, 12, -60), start=1):
        pen.words(x, y, str(hour), 11, DARK)
    pen.line([(50, 50), (36, 31)], DARK, 5)
    pen.line([(50, 50), (70, 25)], DARK, 3)
    pen.oval(46, 46, 54, 54, RED)


def traffic_light(pen: Pen) -> None:
    pen.box(8, 0, 92, 240, "#26282c", 16)
    for top, colour, shine in ((14, "#ff4034", "#ff8d84"), (88, "#5a4a12", "#6b5a1c"), (162, "#123f1d", "#1c5129")):
        pen.oval(19, top, 81, top + 62, colour)
        pen.oval(32, top + 10, 50, top + 26, shine)


def pole(pen: Pen) -> None:
    pen.box(0, 0, 100, 1100, "#6d7278")


def stop_sign(pen: Pen) -> None:
    pen.shape(around(50, 50, 54, 8, 22.5), WHITE)
    pen.shape(around(50, 50, 49, 8, 22.5), "#c4201c")
    pen.words(50, 50, "STOP", 33, WHITE)


def umbrella(pen: Pen) -> None:
    pen.line([(50, 4), (50, 96)], "#5b3a22", 3)
    pen.arc(50, 87, 64, 103, 0, 180, "#5b3a22", 3)
    pen.pie(0, 4, 100, 104, 180, 360, "#c8273f")
    pen.pie(33, 4, 67, 104, 180, 360, "#f2f2ee")
    for left in (0, 100 / 3, 200 / 3):
        pen.oval(left, 48, left + 100 / 3, 60, "#00000000")


def soccer_ball(pen: Pen) -> None:
    pen.oval(0, 0, 100, 100, WHITE, DARK, 2)
    pen.shape(around(50, 50, 18, 5, -90), DARK)
    for (x, y), (far_x, far_y) in zip(around(50, 50, 18, 5, -90), around(50, 50, 34, 5, -90), strict=True):
        pen.line([(x, y), (far_x, far_y)], DARK, 2)
    for turn, (x, y) in zip(range(-90, 270, 72), around(50, 50, 42, 5, -90), strict=True):
        pen.shape([(x + a, y + b) for a, b in around(0, 0, 10, 5, turn + 180)], DARK)


def basketball(pen: Pen) -> None:
    pen.oval(0, 0, 100, 100, "#dd7a2e", DARK, 2)
    pen.line([(50, 1), (50, 99)], DARK, 2)
    pen.line([(1, 50), (99, 50)], DARK, 2)
    pen.arc(-62, 5, 28, 95, -62, 62, DARK, 2)
    pen.arc(72, 5, 162, 95, 118, 242, DARK, 2)


def banana(pen: Pen) -> None:
    outer = [(50 + 46 * math.cos(math.radians(a)), 4 + 50 * math.sin(math.radians(a))) for a in range(12, 171, 3)]
    inner = [(48 + 40 * math.cos(math.radians(a)), 2 + 26 * math.sin(math.radians(a))) for a in range(168, 15, -3)]
    pen.shape([*outer, *inner], "#f4d03a")
    ridge = [(49 + 43 * math.cos(math.radians(a)), 3 + 39 * math.sin(math.radians(a))) for a in range(20, 163, 3)]
    pen.line(ridge, "#d3a91f", 1.5)
    pen.shape([(3, 13), (9, 12), (8, 0), (4, 0)], "#7a5a1e")
    pen.shape([(86, 9), (95, 14), (95, 8), (90, 5)], "#5b4316")


def orange(pen: Pen) -> None:
    pen.oval(0, 4, 100, 104, "#f08a1d")
    for x, y in around(50, 56, 30, 9, 10) + around(48, 54, 14, 5):
        pen.oval(x - 1.3, y - 1.3, x + 1.3, y + 1.3, "#d97510")
    pen.oval(20, 16, 44, 36, "#f7ab52")
    pen.shape([(48, 8), (58, -4), (82, -6), (68, 7)], GREEN)
    pen.oval(45, 4, 54, 11, "#6a5120")


def apple(pen: Pen) -> None:
    for left in (0, 38):
        pen.oval(left, 16, left + 62, 92, "#8fc43b")
    pen.oval(14, 30, 86, 106, "#8fc43b")
    pen.oval(14, 28, 32, 52, "#b5dd70")
    pen.line([(50, 26), (54, 2)], "#5d4120", 4)
    pen.shape([(54, 13), (66, 2), (86, 5), (70, 15)], "#4c8d36")
    pen.pie(42, 14, 60, 30, 0, 180, "#6da02c")


def pizza(pen: Pen) -> None:
    pen.oval(0, 0, 100, 100, "#c98a3d")
    pen.oval(6, 6, 94, 94, "#c93b22")
    pen.oval(9, 9, 91, 91, "#f3cf63")
    for x, y in [*around(50, 50, 29, 6, 15), (50, 50)]:
        pen.oval(x - 8, y - 8, x + 8, y + 8, "#b9301f")
        pen.oval(x - 4, y - 5, x + 1, y, "#d6553f")
    for x, y in around(50, 50, 18, 5, 40) + around(50, 50, 36, 7, 0):
        pen.oval(x - 2.5, y - 1.7, x + 2.5, y + 1.7, "#4f8f3a")
    for x, y in around(50, 50, 49, 4, 22)[:2]:
        pen.line([(100 - x, 100 - y), (x, y)], "#a8722d", 1)


def mug(pen: Pen) -> None:
    pen.arc(58, 24, 100, 76, -90, 90, "#2c5fa8", 8)
    pen.box(0, 8, 76, 100, "#3674c9", 9)
    pen.oval(0, 0, 76, 20, "#dfe8f4")
    pen.oval(5, 3, 71, 18, "#4a2a17")
    pen.box(8, 30, 15, 84, "#6e9fe0", 3)


def parking_meter(pen: Pen) -> None:
    pen.box(41, 130, 59, 330, "#6d7278")
    pen.box(25, 318, 75, 332, "#55595e", 3)
    pen.box(0, 44, 100, 138, "#7d8894", 14)
    pen.pie(0, 0, 100, 100, 180, 360, "#7d8894")
    pen.pie(12, 12, 88, 88, 180, 360, "#dfe9ee")
    pen.line([(50, 48), (66, 24)], RED, 4)
    pen.box(20, 62, 80, 84, "#2f3439", 3)
    pen.words(50, 73, "0:25", 17, "#8de06b")
    pen.box(46, 96, 54, 122, "#2f3439", 2)


def keyboard(pen: Pen) -> None:
    pen.box(0, 0, 100, 36, "#3a3d44", 3)
    for row in range(4):
        for column in range(14):
            pen.box(3 + 6.8 * column, 3 + 6.2 * row, 8.4 + 6.8 * column, 8 + 6.2 * row, "#e8e9ec", 0.8)
    for left, right in ((3, 15), (17, 28.8), (30.2, 69.6), (71, 82), (84, 96.8)):
        pen.box(left, 27.8, right, 33, "#e8e9ec", 0.8)


def laptop(pen: Pen) -> None:
    pen.box(10, 0, 90, 56, "#33363c", 3)
    pen.box(14, 4, 86, 52, "#6fb3e8")
    pen.shape([(14, 52), (40, 24), (58, 42), (68, 33), (86, 52)], "#4d8f57")
    pen.oval(64, 9, 76, 21, "#ffe27a")
    pen.shape([(10, 56), (90, 56), (100, 66), (0, 66)], "#b9bec5")
    pen.box(0, 65, 100, 70, "#8f959d", 2)
    for row in range(3):
        pen.line([(14 - 2 * row, 58.4 + 2.3 * row), (86 + 2 * row, 58.4 + 2.3 * row)], "#50545b", 1.3)


def mouse(pen: Pen) -> None:
    pen.box(0, 0, 100, 160, "#d7dade", 48)
    pen.line([(50, 2), (50, 62)], "#8f959d", 3)
    pen.arc(-20, 22, 120, 92, 20, 160, "#8f959d", 3)
    pen.box(43, 20, 57, 48, "#4a4e55", 7)


def remote(pen: Pen) -> None:
    pen.box(0, 0, 100, 330, "#2e3036", 18)
    pen.oval(34, 16, 66, 48, RED)
    for row in range(4):
        for column in range(3):
            left, top = 13 + 27 * column, 66 + 32 * row
            pen.box(left, top, left + 20, top + 20, "#d9dce0", 5)
    pen.oval(18, 205, 82, 269, "#6a6e76")
    pen.oval(38, 225, 62, 249, "#d9dce0")
    pen.box(20, 286, 80, 302, "#d9dce0", 5)


def television(pen: Pen) -> None:
    pen.box(0, 0, 100, 60, "#1d1f23", 2)
    pen.box(3, 3, 97, 56, "#7cc4ea")
    pen.shape([(3, 56), (3, 44), (28, 30), (52, 45), (74, 34), (97, 46), (97, 56)], "#4f9a58")
    pen.oval(72, 8, 88, 24, "#ffd95c")
    pen.shape([(40, 60), (60, 60), (64, 68), (36, 68)], "#33363c")
    pen.box(26, 67, 74, 71, "#1d1f23", 2)


def vase(pen: Pen) -> None:
    for x, y, colour in ((18, 30, "#e5568a"), (50, 12, "#f2b736"), (82, 30, "#8d5fc7")):
        pen.line([(50, 84), (x, y)], GREEN, 4)
        for petal_x, petal_y in around(x, y, 11, 6):
            pen.oval(petal_x - 8, petal_y - 8, petal_x + 8, petal_y + 8, colour)
        pen.oval(x - 7, y - 7, x + 7, y + 7, "#7a4a1d")
    pen.shape(
        [(36, 78), (64, 78), (60, 100), (84, 132), (84, 160), (68, 186), (32, 186), (16, 160), (16, 132), (40, 100)],
        BLUE,
    )
    pen.shape([(16, 138), (84, 138), (84, 152), (16, 152)], "#dfe8f4")
    pen.box(32, 74, 68, 81, "#25589d", 3)


def school_bus(pen: Pen) -> None:
    pen.box(0, 0, 86, 40, "#f2b41c", 4)
    pen.box(80, 16, 100, 40, "#f2b41c", 4)
    for left in range(4, 74, 12):
        pen.box(left, 5, left + 10, 17, "#2f4858", 1)
    pen.box(76, 5, 85, 17, "#2f4858", 1)
    pen.box(0, 22, 86, 24, DARK)
    pen.box(0, 32, 100, 34, DARK)
    pen.words(38, 28, "SCHOOL BUS", 5.5, DARK)
    for centre in (20, 78):
        pen.oval(centre - 9, 32, centre + 9, 50, "#25272b")
        pen.oval(centre - 4, 37, centre + 4, 45, STEEL)
    pen.box(96, 26, 100, 30, "#fff3b0", 1)


def sailing_boat(pen: Pen) -> None:
    pen.box(50, 0, 53, 92, "#6b4526")
    pen.shape([(49, 4), (49, 82), (6, 82)], WHITE)
    pen.shape([(55, 14), (55, 82), (92, 82)], "#e9573f")
    pen.shape([(0, 90), (100, 90), (84, 112), (16, 112)], "#7b3f1d")
    pen.shape([(0, 90), (100, 90), (97, 95), (3, 95)], WHITE)


def bicycle(pen: Pen) -> None:
    for centre in (22, 78):
        pen.oval(centre - 22, 26, centre + 22, 70, "#00000000", DARK, 3)
        for x, y in around(centre, 48, 20, 10):
            pen.line([(centre, 48), (x, y)], GREY, 0.6)
    frame = [(22, 48), (46, 48), (66, 16), (36, 18), (22, 48)]
    pen.line(frame, RED, 3)
    pen.line([(46, 48), (33, 8)], RED, 3)
    pen.line([(78, 48), (64, 6), (72, 2)], "#4a4e55", 3)
    pen.box(26, 5, 41, 9, DARK, 2)
    pen.oval(41, 43, 51, 53, STEEL, DARK, 1.2)
    pen.line([(46, 48), (50, 60)], DARK, 1.6)


def bench(pen: Pen) -> None:
    for left in (12, 82):
        pen.box(left, 0, left + 5, 62, "#3a3d44")
    for top in (2, 12, 22):
        pen.box(0, top, 100, top + 7, "#a9713f", 1)
    pen.shape([(4, 36), (96, 36), (100, 44), (0, 44)], "#b97f4a")
    pen.box(0, 43, 100, 47, "#8a5a33", 1)
    for left in (6, 88):
        pen.box(left, 46, left + 5, 66, "#3a3d44")


def teddy(pen: Pen) -> None:
    fur, light = "#b07a45", "#e3c08f"
    for x in (22, 78):
        pen.oval(x - 15, 0, x + 15, 30, fur)
        pen.oval(x - 8, 7, x + 8, 23, light)
    pen.oval(4, 70, 36, 116, fur)
    pen.oval(64, 70, 96, 116, fur)
    pen.oval(18, 62, 82, 142, fur)
    pen.oval(32, 80, 68, 128, light)
    for x in (22, 78):
        pen.oval(x - 18, 118, x + 18, 154, fur)
        pen.oval(x - 10, 126, x + 10, 146, light)
    pen.oval(14, 8, 86, 78, fur)
    pen.oval(34, 42, 66, 70, light)
    pen.oval(44, 44, 56, 53, DARK)
    for x in (36, 64):
        pen.oval(x - 4, 30, x + 4, 38, DARK)
    pen.arc(42, 48, 58, 63, 20, 160, DARK, 2)


def toaster(pen: Pen) -> None:
    for left in (20, 52):
        pen.box(left, 0, left + 26, 30, "#d9a35c", 6)
        pen.box(left + 3, 4, left + 23, 28, "#efcd94", 4)
    pen.box(4, 20, 94, 72, "#c2413a", 12)
    pen.box(14, 20, 84, 25, "#3a3d44", 2)
    pen.box(92, 32, 100, 40, DARK, 2)
    pen.oval(72, 48, 84, 60, STEEL, DARK, 1.5)
    pen.box(10, 70, 24, 76, DARK, 2)
    pen.box(74, 70, 88, 76, DARK, 2)


def refrigerator(pen: Pen) -> None:
    pen.box(0, 0, 100, 200, "#d5dbe0", 5)
    pen.box(4, 4, 96, 66, "#eef2f4", 3)
    pen.box(4, 70, 96, 194, "#eef2f4", 3)
    pen.box(84, 34, 89, 60, "#8f959d", 2)
    pen.box(84, 78, 89, 120, "#8f959d", 2)
    pen.box(20, 92, 38, 110, "#f6d75a")
    pen.box(44, 98, 58, 114, "#8fc9e8")


def bottle(pen: Pen) -> None:
    pen.box(36, 0, 64, 30, "#7a1f2b", 3)
    pen.box(38, 24, 62, 100, "#24472f")
    pen.box(0, 90, 100, 330, "#24472f", 34)
    pen.box(0, 300, 100, 332, "#24472f", 8)
    pen.box(4, 170, 96, 270, "#f3ead2")
    pen.words(50, 206, "WINE", 26, "#7a1f2b")
    pen.line([(20, 240), (80, 240)], "#a88b4d", 4)
    pen.box(12, 118, 22, 160, "#4b7a59", 4)


def wine_glass(pen: Pen) -> None:
    pen.box(46, 96, 54, 186, "#b9cdd6")
    pen.oval(14, 178, 86, 196, "#b9cdd6")
    pen.pie(0, -90, 100, 108, 0, 180, "#dcebf1")
    pen.pie(6, -60, 94, 102, 8, 172, "#8d1f3a")
    pen.oval(0, 2, 100, 18, "#cfe2ea", "#a9c0ca", 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """How something is drawn, and what it is called; a thing without a category is only scenery."""

    drawn: Callable[[Pen], None]
    label: str = ""
    category: str = ""


THINGS = {
    thing.drawn.__name__: thing
    for thing in (
        Thing(drawn=clock, label="analog clock", category="clock"),
        Thing(drawn=traffic_light, label="traffic light", category="traffic light"),
        Thing(drawn=pole),
        Thing(drawn=stop_sign, label="street sign", category="stop sign"),
        Thing(drawn=umbrella, label="umbrella", category="umbrella"),
        Thing(drawn=soccer_ball, label="soccer ball", category="sports ball"),
        Thing(drawn=basketball, label="basketball", category="sports ball"),
        Thing(drawn=banana, label="banana", category="banana"),
        Thing(drawn=orange, label="orange", category="orange"),
        Thing(drawn=apple, label="Granny Smith", category="apple"),
        Thing(drawn=pizza, label="pizza", category="pizza"),
        Thing(drawn=mug, label="coffee mug", category="cup"),
        Thing(drawn=parking_meter, label="parking meter", category="parking meter"),
        Thing(drawn=keyboard, label="computer keyboard", category="keyboard"),
        Thing(drawn=laptop, label="laptop", category="laptop"),
        Thing(drawn=mouse, label="mouse", category="mouse"),
        Thing(drawn=remote, label="remote control", category="remote"),
        Thing(drawn=television, label="television", category="tv"),
        Thing(drawn=vase, label="vase", category="vase"),
        Thing(drawn=school_bus, label="school bus", category="bus"),
        Thing(drawn=sailing_boat, label="yawl", category="boat"),
        Thing(drawn=bicycle, label="mountain bike", category="bicycle"),
        Thing(drawn=bench, label="park bench", category="bench"),
        Thing(drawn=teddy, label="teddy", category="teddy bear"),
        Thing(drawn=toaster, label="toaster", category="toaster"),
        Thing(drawn=refrigerator, label="refrigerator", category="refrigerator"),
        Thing(drawn=bottle, label="wine bottle", category="bottle"),
        Thing(drawn=wine_glass, label="goblet", category="wine glass"),
    )
}
