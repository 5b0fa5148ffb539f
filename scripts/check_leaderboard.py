#!/usr/bin/env python3
"""Opens a leaderboard's page in headless Chromium: what only a browser can tell, and how long many rows take there.

    python scripts/check_leaderboard.py [--runs 300] [--pictures DIR]
    python scripts/check_leaderboard.py --time PAGE

Makes the runs of `bench_leaderboard.py` and one whose names are mark-up, builds their page with `harness leaderboard`
and drives it with the keyboard, at two widths, light and dark: nothing is fetched, no script fails, nothing is wider
than the window; rows are sorted, filtered, searched and opened. `--time` says instead what five sorts and five searches
take on a page, say one that `bench_leaderboard.py --keep` left: the medians.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from bench_leaderboard import build, run_of  # noqa: E402
from check_page import BROWSERS, NOT_WIDER, WIDTHS, Browser, _complaints, _picture  # noqa: E402

from tests.synthetic_leaderboard import Run, write_run  # noqa: E402

HOSTILE = "<script>alert(1)</script>"
ROWS = "[...document.querySelectorAll('#body tr:not(.group, .why, .detail)')]"
NAMES = f"{ROWS}.map((row) => row.querySelector('.name').firstChild.textContent)"
ENTER = ("Enter", 13, "\r")


def made(folder: Path, n_runs: int) -> Path:
    """The page of some runs."""
    rng = random.Random(1)
    for index in range(n_runs):
        write_run(folder, run_of(index, n_runs, rng))
    write_run(folder, Run(run_id="mark-up", model=HOSTILE, energy_j={"off": (30.0,), "on": (60.0,)}, driver=HOSTILE))
    build(folder)
    return folder / "leaderboard.html"


def check(browser: Browser, page: Path, pictures: Path | None) -> list[str]:
    """Everything that is wrong with the page."""
    faults: list[str] = []

    def expect(what: str, holds: Callable[[], object]) -> None:
        try:
            if not holds():
                faults.append(what)
        except RuntimeError as error:
            faults.append(f"{what}: {error}")

    for width in WIDTHS:
        for dark in (False, True):
            where = f"at {width} px, {'dark' if dark else 'light'}"
            browser.open(page, width, dark=dark)
            expect(f"wider than the window {where}", lambda: browser.run(NOT_WIDER))
            _picture(browser, pictures, f"leaderboard-{width}-{'dark' if dark else 'light'}")
        expect(f"a hidden part is seen at {width} px", lambda: browser.run(NOTHING_HIDDEN_SHOWS))
        expect(f"a row does not open and close with Enter at {width} px", lambda: _opens(browser))
        expect(f"the search finds other rows at {width} px", lambda: _finds(browser))
    expect("the energy is not sorted by Enter, up and down", lambda: _sorts(browser))
    expect("a filter does not follow the keyboard", lambda: _filters(browser))
    expect("a name became mark-up", lambda: browser.run("document.querySelectorAll('script').length === 2"))
    return faults + _complaints(browser, page)


NOTHING_HIDDEN_SHOWS = "[...document.querySelectorAll('[hidden]')].every((each) => !each.getClientRects().length)"


def _opens(browser: Browser) -> bool:
    browser.run("document.querySelector('#body .rank button').focus()")
    n_open = []
    for _ in range(2):
        browser.press(*ENTER)
        n_open.append(browser.run("document.querySelectorAll('#body .detail').length"))
    return n_open == [1, 0]


def _finds(browser: Browser) -> bool:
    browser.run("document.getElementById('search').focus()")
    for letter in "alert(1)":
        browser.ask("Input.insertText", text=letter)
    found = set(browser.run(NAMES))
    browser.run("document.getElementById('search').value = ''")
    browser.press("Backspace", 8)
    browser.run("document.getElementById('search').dispatchEvent(new Event('input'))")
    return found == {"<script>alert(1)</"}  # a name may break after a slash


def _sorts(browser: Browser) -> bool:
    browser.run("document.querySelector('#head [data-id=energy] button').focus()")
    heads = f"{ROWS}.map((row) => row.querySelector('.energy').firstChild.textContent)"
    ranking = f"{ROWS}.findIndex((row) => row.previousElementSibling.matches('.group') && row.rowIndex > 2)"
    for down in (False, True):
        browser.press(*ENTER)
        n_first = browser.run(ranking)
        values = [float(text.replace(",", "")) for text in browser.run(heads)][: n_first if n_first > 0 else None]
        if down:
            values.reverse()
        # Each is rounded as its own interval allows.
        if len(values) < 2 or any(after < 0.98 * before for before, after in itertools.pairwise(values)):
            return False
    return True


def _filters(browser: Browser) -> bool:
    browser.run("document.getElementById('by-mode').focus()")
    for key, code in (("ArrowDown", 40), ("ArrowDown", 40)):
        browser.press(key, code)
    chosen = str(browser.run("document.getElementById('by-mode').value"))
    shown = "[...document.querySelectorAll('#body .group th')].map((each) => each.firstChild.textContent)"
    titles = [title for title in browser.run(shown) if "·" in title]
    browser.run("document.getElementById('by-mode').value = ''")
    browser.run("document.getElementById('by-mode').dispatchEvent(new Event('change'))")
    return chosen == "=on" and bool(titles) and all(" · on · " in title for title in titles)


def seconds(browser: Browser) -> dict[str, float]:
    """Medians of what five sorts and five searches take, the page drawn anew each time."""
    scripts: dict[str, Any] = {
        "sort": "document.querySelector('#head [data-id=energy] button').click()",
        "search": "{ const search = document.getElementById('search'); search.value = search.value ? '' : 'model-1'; "
        "search.dispatchEvent(new Event('input')); }",
    }
    timed = (
        "(() => {{ const begin = performance.now(); {}; document.body.offsetHeight; "
        "return performance.now() - begin; }})()"
    )
    return {
        name: statistics.median(browser.run(timed.format(script)) for _ in range(5)) / 1000
        for name, script in scripts.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep a picture of each view")
    parser.add_argument("--time", type=Path, metavar="PAGE", help="only how long sorting and searching take")
    options = parser.parse_args()
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        sys.exit(f"No browser: none of {', '.join(BROWSERS)} is installed.")
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="leaderboard-", ignore_cleanup_errors=True) as folder:
        page = options.time or made(Path(folder) / "results", options.runs)
        browser = Browser(program, Path(folder) / "profile")
        try:
            if options.time is not None:
                browser.open(page, WIDTHS[-1], dark=False)
                took = seconds(browser)
                print(f"{took['sort']:.2f} s to sort, {took['search']:.2f} s to search.")
                return 0
            faults = check(browser, page, options.pictures)
        finally:
            browser.close()
    print("\n".join(faults) or "All as it should be.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
