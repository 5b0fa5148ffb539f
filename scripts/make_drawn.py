#!/usr/bin/env python3
"""Draws the prompt set `drawn`: 24 pictures of things that ImageNet-1k and COCO both have a word for.

    python scripts/make_drawn.py [FOLDER]          (default: harness/assets/prompts/drawn)

Every object is drawn on a layer of its own, three times as large, and scaled down. Its box is that of the layer's
pixels, so boxes are exact. Labels are ImageNet's words of the main object, categories COCO's of all of them. Pictures
of one thing and of several alternate, two to one, so that the first of the set are a fair sample of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawn_things import THINGS, Pen
from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parents[1] / "harness" / "assets" / "prompts" / "drawn"
OVERSAMPLING = 3


def room(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#e9dfc9")
    draw.rectangle((0, 0.78 * height, width, height), "#b98f63")
    draw.rectangle((0, 0.76 * height, width, 0.785 * height), "#f7f3e8")


def table(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#cfdde3")
    draw.rectangle((0, 0.45 * height, width, height), "#c39a6b")
    for part in (0.6, 0.75, 0.9):
        draw.line((0, part * height, width, part * height), "#b58b5c", round(0.006 * height))


def desk(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#d9c4a3")


def plate(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#7d9a8c")
    x, y, radius = width / 2, height / 2, 0.47 * min(width, height)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), "#f4f4ef")
    draw.ellipse((x - 0.88 * radius, y - 0.88 * radius, x + 0.88 * radius, y + 0.88 * radius), "#e6e6de")


def park(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#a9d6ef")
    for x, y in ((0.12, 0.14), (0.18, 0.12), (0.24, 0.15), (0.72, 0.1), (0.78, 0.08), (0.84, 0.11)):
        draw.ellipse(((x - 0.06) * width, (y - 0.04) * height, (x + 0.06) * width, (y + 0.05) * height), "#f5fafc")
    draw.rectangle((0, 0.66 * height, width, height), "#7fb069")


def street(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#b9dcee")
    for left, right, top, colour in (
        (0.0, 0.22, 0.2, "#b98b78"),
        (0.22, 0.5, 0.32, "#a7a193"),
        (0.5, 0.78, 0.16, "#c7b299"),
    ):
        draw.rectangle((left * width, top * height, right * width, 0.72 * height), colour)
    draw.rectangle((0, 0.72 * height, width, 0.8 * height), "#c4c4bf")
    draw.rectangle((0, 0.8 * height, width, height), "#5b5e63")
    for left in (0.05, 0.3, 0.55, 0.8):
        draw.rectangle((left * width, 0.89 * height, (left + 0.13) * width, 0.91 * height), "#f0efe6")


def sea(draw: ImageDraw.ImageDraw, width: float, height: float) -> None:
    draw.rectangle((0, 0, width, height), "#bfe0f2")
    draw.ellipse((0.76 * width, 0.08 * height, 0.9 * width, 0.27 * height), "#ffe08a")
    draw.rectangle((0, 0.72 * height, width, height), "#2f7fb0")
    for part in (0.8, 0.88, 0.95):
        draw.line((0.1 * width, part * height, 0.9 * width, part * height), "#5ea3cc", round(0.008 * height))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is to be seen; each thing with its left and upper edge and its width in parts of the picture's width."""

    size: tuple[int, int]
    place: Callable[[ImageDraw.ImageDraw, float, float], None]
    things: Sequence[tuple[str, float, float, float]]
    caption: str


def picture(place: Any, size: tuple[int, int], caption: str, *things: tuple[str, float, float, float]) -> Picture:
    return Picture(size=size, place=place, things=things, caption=caption)


PICTURES = (
    picture(room, (320, 320), "A round clock hangs on a wall.", ("clock", 0.26, 0.1, 0.48)),
    picture(
        street, (320, 400), "A traffic light shows red.", ("pole", 0.5, 0.7, 0.04), ("traffic_light", 0.36, 0.06, 0.32)
    ),
    picture(
        street,
        (360, 360),
        "A red stop sign stands at a street.",
        ("pole", 0.485, 0.45, 0.03),
        ("stop_sign", 0.3, 0.08, 0.4),
    ),
    picture(park, (400, 320), "A red and white umbrella lies open in a park.", ("umbrella", 0.25, 0.12, 0.5)),
    picture(park, (384, 288), "A soccer ball lies on the grass.", ("soccer_ball", 0.33, 0.28, 0.34)),
    picture(table, (400, 300), "A ripe banana on a wooden table.", ("banana", 0.18, 0.3, 0.64)),
    picture(table, (300, 300), "An orange with a green leaf on a table.", ("orange", 0.26, 0.3, 0.48)),
    picture(plate, (384, 384), "A whole pizza with salami on a plate.", ("pizza", 0.11, 0.11, 0.78)),
    picture(table, (320, 280), "A blue mug of coffee on a table.", ("mug", 0.28, 0.24, 0.44)),
    picture(street, (256, 448), "A parking meter shows that 25 minutes are left.", ("parking_meter", 0.3, 0.12, 0.38)),
    picture(table, (320, 300), "A green apple on a table.", ("apple", 0.28, 0.22, 0.44)),
    picture(room, (512, 384), "A television shows a green landscape.", ("television", 0.14, 0.12, 0.72)),
    picture(street, (560, 360), "A yellow school bus drives along a street.", ("school_bus", 0.1, 0.2, 0.8)),
    picture(sea, (420, 360), "A sailing boat on the sea in the sun.", ("sailing_boat", 0.2, 0.1, 0.56)),
    picture(room, (320, 360), "A teddy bear sits on the floor.", ("teddy", 0.26, 0.22, 0.48)),
    picture(table, (400, 300), "Two slices of bread in a red toaster.", ("toaster", 0.22, 0.16, 0.56)),
    picture(
        *(desk, (640, 400), "A laptop and a mouse on a desk."),
        *(("laptop", 0.06, 0.1, 0.66), ("mouse", 0.79, 0.24, 0.14)),
    ),
    picture(
        *(desk, (600, 320), "A computer keyboard with a mouse and a mug beside it."),
        *(("keyboard", 0.05, 0.22, 0.56), ("mouse", 0.65, 0.15, 0.1), ("mug", 0.79, 0.14, 0.18)),
    ),
    picture(
        *(table, (480, 320), "An orange, a banana and a green apple lie side by side."),
        *(("orange", 0.05, 0.28, 0.24), ("banana", 0.34, 0.36, 0.34), ("apple", 0.73, 0.28, 0.22)),
    ),
    picture(
        *(table, (420, 420), "A bottle of wine and two glasses on a table."),
        *(("bottle", 0.39, 0.06, 0.22), ("wine_glass", 0.1, 0.38, 0.2), ("wine_glass", 0.7, 0.38, 0.2)),
    ),
    picture(
        *(park, (560, 400), "A mountain bike leans beside a park bench."),
        *(("bicycle", 0.04, 0.26, 0.5), ("bench", 0.58, 0.3, 0.38)),
    ),
    picture(
        *(park, (512, 360), "Three balls in a park: a basketball and two soccer balls."),
        *(("basketball", 0.06, 0.24, 0.3), ("soccer_ball", 0.46, 0.36, 0.16), ("soccer_ball", 0.72, 0.3, 0.22)),
    ),
    picture(
        *(room, (480, 480), "A refrigerator, with a clock on the wall and a vase of flowers beside it."),
        *(("refrigerator", 0.08, 0.12, 0.38), ("clock", 0.62, 0.08, 0.24), ("vase", 0.6, 0.46, 0.26)),
    ),
    picture(
        *(room, (560, 420), "A television with a vase, a remote control and a teddy bear."),
        *(("television", 0.24, 0.06, 0.56), ("vase", 0.05, 0.36, 0.17)),
        *(("remote", 0.5, 0.53, 0.055), ("teddy", 0.76, 0.4, 0.2)),
    ),
)


def drawn(asked: Picture) -> tuple[Image.Image, list[list[int]]]:
    """The picture and the boxes of its things: left, upper edge, width, height in pixels."""
    width, height = (OVERSAMPLING * side for side in asked.size)
    whole = Image.new("RGB", (width, height))
    asked.place(ImageDraw.Draw(whole), width, height)
    image, boxes = whole.resize(asked.size, Image.Resampling.BOX), []
    for name, left, top, size in asked.things:
        layer = Image.new("RGBA", (width, height))
        pen = Pen(draw=ImageDraw.Draw(layer), x=left * width, y=top * width, unit=size * width / 100)
        THINGS[name].drawn(pen)
        small = layer.resize(asked.size, Image.Resampling.BOX)
        image.paste(small, mask=small.getchannel("A"))
        visible = small.getchannel("A").point([255 * (alpha >= 128) for alpha in range(256)]).getbbox()
        assert visible is not None
        if THINGS[name].category:
            boxes.append([visible[0], visible[1], visible[2] - visible[0], visible[3] - visible[1]])
    return image, boxes


def alternating(pictures: Sequence[Picture]) -> list[Picture]:
    """Two of one thing, then one of several, and so on."""
    alone = [asked for asked in pictures if len(named(asked)) == 1]
    together = [asked for asked in pictures if len(named(asked)) > 1]
    return [asked for place, several in enumerate(together) for asked in (*alone[2 * place : 2 * place + 2], several)]


def named(asked: Picture) -> list[str]:
    """Its things without the scenery."""
    return [thing for thing, *_ in asked.things if THINGS[thing].category]


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, asked in enumerate(alternating(PICTURES), start=1):
        image, boxes = drawn(asked)
        things = [THINGS[thing] for thing in named(asked)]
        name = f"{number:02}-{named(asked)[0].replace('_', '-')}.png"
        # 128 colours are enough for flat shapes with soft edges, and make the file a third as large.
        image.quantize(128, dither=Image.Dither.NONE).save(folder / name, optimize=True)
        row = {"file_name": name, "label": things[0].label, "caption": asked.caption}
        rows.append({**row, "objects": {"bbox": boxes, "category": [thing.category for thing in things]}})
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
