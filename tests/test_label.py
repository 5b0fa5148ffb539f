"""The energy label: what it says, that it never looks rated when it is not, and that any name fits."""

from __future__ import annotations

import struct
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import EnvironmentFault, InvalidMeasurement
from harness.records import Boundary, Method
from harness.report.exports.cell import modes_of
from harness.report.label.drawing import CUT, HEIGHT_PX, WIDTH_PX, _Pen, draw, fitted
from harness.report.label.wording import DISCLAIMER, Label, label_of, printable
from harness.report.wording import estimated_words
from tests.exportable import H100, exportable, manifest, on_their_terms
from tests.synthetic_runs import estimated_summary, query, run_of_queries

SVG = "{http://www.w3.org/2000/svg}"
STAR_FACE, EMPTY_EDGE = "fill: #e0a100", "stroke: #b9b3a4"


@pytest.fixture(scope="module")
def rated() -> Label:
    return label_of(on_their_terms(), link="https://example.org/run")


@pytest.fixture(scope="module")
def refused() -> Label:
    return label_of(on_their_terms(n_prompts=50))


def stars_drawn(svg: str) -> tuple[int, int]:
    """(filled, hollow)."""
    return svg.count(STAR_FACE), svg.count(EMPTY_EDGE)


# ------------------------------------------------------------------------------------- what it says


def test_a_run_on_their_terms_is_rated(rated: Label) -> None:
    assert (rated.stars, rated.verdict) == (3, "by AI Energy Score's rule")
    assert "Release v1, class A: 1.313 to 28.74 Wh, 32 models" in rated.note
    assert "2 to 3 over the interval" in rated.note
    assert (rated.model, rated.task) == ("Qwen/Qwen3-8B", "Text generation, reasoning off")
    assert (rated.prompts, rated.protocol) == ("1,000 of aies-text-generation", "aies-v1-1")
    assert (rated.hardware, rated.month) == ("NVIDIA H100 80GB HBM3", "November 2026")
    assert float(rated.value) == pytest.approx(17.4, abs=0.05)
    assert rated.interval.startswith("95 %: ")
    assert rated.interval_of == "over prompts, sensor and board gain, one run"
    assert (rated.boundary, rated.method) == ("Gross energy of the GPU board", "NVML energy counter")
    assert rated.link == "https://example.org/run"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_prompts": 50}, "number of prompts is 50, theirs 1000"),
        ({"protocol": "paired-1"}, "(and 2 more reasons)"),
        ({"prompt_set": "everyday"}, "prompts is everyday"),
        ({"batch_size": 8}, "batch size is 8, theirs 1"),
        ({"power_limit_w": 350.0}, "power limit is 350 W"),
    ],
)
def test_off_their_terms_there_are_no_stars_and_the_first_reason(changes: dict[str, Any], reason: str) -> None:
    known: dict[str, Any] = {"n_prompts": 1000, **changes}
    label = label_of(on_their_terms(**known))
    assert (label.stars, label.verdict) == (None, "No stars")
    assert label.note.startswith("Not on AI Energy Score's terms: ")
    assert reason in label.note


def test_off_the_board_there_are_no_stars() -> None:
    mode = on_their_terms()
    other = H100.model_copy(update={"name": "NVIDIA A100-SXM4-80GB"})
    label = label_of(replace(mode, cell=replace(mode.cell, manifest=manifest(other))))
    assert label.stars is None
    assert "GPU is A100-SXM4-80GB, theirs H100 80GB" in label.note
    assert label.hardware == "NVIDIA A100-SXM4-80GB"


def test_a_value_outside_their_scale_is_said_to_be() -> None:
    label = label_of(on_their_terms(wh_per_1000=31.0))
    assert label.stars == 1
    assert label.note.endswith("; this lies outside")


def test_an_estimate_has_its_word_and_no_stars() -> None:
    queries = run_of_queries(6, method=Method.ESTIMATED, boundary=Boundary.HOST, power_w=45.0, net=False)
    cell = replace(exportable(queries), summary=estimated_summary(6))
    label = label_of(modes_of([cell])[0])
    assert label.estimated == estimated_words(cell.summary)
    assert label.estimated in label.description
    assert (label.stars, label.interval_of) == (None, "")
    assert "energy is estimated, theirs measured" in label.note
    drawing = draw(label)
    assert stars_drawn(drawing.svg) == (0, 0)
    assert "#b3261e" in drawing.svg  # the colour of an alarm


def test_nothing_on_the_label_of_an_estimate_says_measured(
    rated: Label, refused: Label, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(_Pen, "_text", lambda self, x_px, y_px, text, size_px, **_: written.append(text))
    draw(replace(refused, estimated="estimated: 28 W × time"))
    assert "Estimated" in written
    assert "Measured" not in written
    written.clear()
    draw(rated)
    assert "Measured" in written


def test_without_an_energy_there_is_no_label() -> None:
    (mode,) = modes_of([exportable([query(0, "off", None)])])
    with pytest.raises(InvalidMeasurement, match="nothing to put on a label"):
        label_of(mode)


def test_few_queries_have_no_interval() -> None:
    label = label_of(on_their_terms(n_prompts=3))
    assert (label.interval, label.interval_of) == ("no interval", "too few queries, or none that differ")


def test_no_character_hides_or_turns_the_rest() -> None:
    assert printable("a\u202eb\x00c\nd\t\u200be ") == "abc d e"
    assert printable("模型 é $x$ <b>") == "模型 é $x$ <b>"


# ---------------------------------------------------------------------------------- how it is drawn


def test_stars_are_drawn_only_where_they_are_given(rated: Label, refused: Label) -> None:
    assert stars_drawn(draw(rated).svg) == (3, 2)
    assert stars_drawn(draw(refused).svg) == (0, 0)


def test_the_svg_is_accessible_and_asks_for_nothing(rated: Label) -> None:
    svg = draw(rated).svg
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("width"), root.get("height")) == ("img", "195pt", "273pt")
    title, description = root[0], root[1]
    assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == rated.title
    assert description.text == rated.description
    assert DISCLAIMER in rated.description
    assert "DOCTYPE" not in svg
    links = [value for each in root.iter() for name, value in each.items() if name.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert "<text" not in svg  # paths look the same everywhere


def test_the_png_is_twice_as_fine(rated: Label) -> None:
    png = draw(rated).png
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (2 * WIDTH_PX, 2 * HEIGHT_PX)


def test_equal_labels_have_equal_bytes(rated: Label) -> None:
    import matplotlib

    first = draw(rated)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "axes.facecolor": "red"}):
        assert draw(rated) == first  # whatever the user's own settings are
    assert "2026-" not in first.svg.replace(rated.run, "")
    assert "matplotlib" not in first.svg


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a&b\"c'd]]>",
        "$\\frac{1}{0}$ $x^2",
        "模型/深度思考-8B 🚀",
        "W" * 300,
        "-".join(["part"] * 60),
        "",
    ],
)
def test_any_name_is_drawn_and_escaped(name: str, refused: Label) -> None:
    drawing = draw(replace(refused, model=name, hardware=name, protocol=name, run=name, link=name))
    root = ElementTree.fromstring(drawing.svg)
    assert root[0].text == f"Energy label of {name}, {refused.task}: {refused.value} Wh per 1,000 queries"
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in drawing.svg


def fixed_width(text: str, size_px: float) -> float:
    return len(text) * size_px / 2


@given(st.text(alphabet="abc-/ W", max_size=120), st.integers(min_value=1, max_value=3))
def test_lines_fit_and_lose_nothing_but_what_is_marked(text: str, n_lines: int) -> None:
    lines, size_px = fitted(text, fixed_width, 100.0, (20.0, 10.0), n_lines)
    assert 1 <= len(lines) <= n_lines
    assert all(fixed_width(line, size_px) <= 100.0 for line in lines)
    kept = "".join(lines).replace(" ", "")
    if kept.endswith(CUT):
        assert text.replace(" ", "").startswith(kept.removesuffix(CUT))
    else:
        assert kept == text.replace(" ", "")


def test_without_matplotlib_the_next_step_is_to_install_it(rated: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentFault, match="not installed") as caught:
        draw(rated)
    assert "inference-energy-harness[label]" in caught.value.next_step
