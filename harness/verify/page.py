"""Does the page show what the files say? Rendered again in memory, and compared line by line.

Numbers with a decimal point may differ by rounding, everything else must be the same letter for letter: a script that
was put into the page is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.bundle.contents import PAGE_NAME
from harness.publish import Account, page_of
from harness.variants import in_order, names_of, variant_leads
from harness.verify.check import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, Check, Kind

NUMBER = re.compile(r"(-?\d+\.\d+(?:[eE][-+]?\d+)?)")
FOOTPRINT = '<section class="lead footprint">'
N_CHARACTERS_SHOWN = 60
N_BEFORE = 20
THE_SAME = "as it comes out"

_check = partial(Check, kind=Kind.PAGE, where=PAGE_NAME)


def page(run: Path, measured: Sequence[Account], other: str, *, is_bundle: bool) -> Iterator[Check]:
    """The page of a run.

    Args:
        run: Its directory.
        measured: Its cells, computed again.
        other: Which other program wrote it, in words; empty: this one.
        is_bundle: Whether it came out of a bundle, whose page shows nothing but the run.
    """
    path = run / PAGE_NAME
    if not path.exists():
        yield _check(figure="page", why_not="there is none yet: `harness report` writes it")
        return
    stored = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    measured = in_order(run, measured)
    text = page_of(measured, above=variant_leads(run, measured), names=names_of(run))
    checks = list(_compared(stored, text.split("\n")))
    differs = any(not check.agrees for check in checks)
    if differs and other:
        yield _check(figure="page", why_not=f"it comes out otherwise, and {other}")
    elif differs and not is_bundle and any(FOOTPRINT in line for line in stored):
        why = "it shows a footprint that somebody asked for; `harness report RUN` writes it without"
        yield _check(figure="page", why_not=why)
    else:
        yield from checks


def _compared(stored: Sequence[str], again: Sequence[str]) -> Iterator[Check]:
    """Line by line; where lines were added or are missing, all from the first to the last of them as one."""
    if len(stored) == len(again):
        for number, (line, other) in enumerate(zip(stored, again, strict=True), start=1):
            same = _same(line, other)
            shown, wanted = (THE_SAME, THE_SAME) if same else _apart(line, other)
            yield _check(figure=f"line {number}", stored=shown, again=wanted)
        return
    first = _n_same(stored, again)
    last = _n_same(stored[first:][::-1], again[first:][::-1])
    for number in (*range(1, first + 1), *range(len(stored) - last + 1, len(stored) + 1)):
        yield _check(figure=f"line {number}", stored=THE_SAME, again=THE_SAME)
    shown, wanted = _apart(" ".join(stored[first : len(stored) - last]), " ".join(again[first : len(again) - last]))
    figure = f"lines {first + 1} to {len(stored) - last}"
    yield _check(figure=figure, stored=shown or "no line", again=wanted or "no line")


def _n_same(stored: Sequence[str], again: Sequence[str]) -> int:
    pairs = enumerate(zip(stored, again, strict=False))
    return next((place for place, (line, other) in pairs if not _same(line, other)), min(len(stored), len(again)))


def _same(line: str, other: str) -> bool:
    if line == other:
        return True
    parts, others = NUMBER.split(line), NUMBER.split(other)
    return len(parts) == len(others) and all(
        one == two or (place % 2 == 1 and _close(one, two))
        for place, (one, two) in enumerate(zip(parts, others, strict=True))
    )


def _close(one: str, two: str) -> bool:
    return math.isclose(float(one), float(two), rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)


def _apart(line: str, other: str) -> tuple[str, str]:
    """Where two lines part, with a little before it."""
    pairs = enumerate(zip(line, other, strict=False))
    place = next((place for place, (one, two) in pairs if one != two), min(len(line), len(other)))
    begin = max(0, place - N_BEFORE)
    return line[begin:][:N_CHARACTERS_SHOWN], other[begin:][:N_CHARACTERS_SHOWN]
