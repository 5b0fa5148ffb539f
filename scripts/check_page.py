"""Opens a report page in headless Chromium and checks what only a browser can tell.

    python scripts/check_page.py results/RUN/report.html [--pictures DIR]

At two widths, light and dark, with scripts and on paper: nothing is fetched, no script fails, nothing is wider than
the window, lines and queries open with the keyboard, the chart zooms with the keyboard, the CSV arrives whole.
Chromium is driven over its debugging pipe; no further package is needed.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WIDTHS = (390, 1200)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DEADLINE_S = 60.0


class Browser:
    """Chromium behind a pipe: commands go in, answers and events come out, each ended by a zero byte."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()

        def at_three_and_four() -> None:
            os.dup2(os.dup(to_browser), 3)
            os.dup2(os.dup(from_browser), 4)

        # The two ends must not be the very numbers that they are moved to.
        self._process = subprocess.Popen(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--no-first-run", f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
            ],
            close_fds=False,
            preexec_fn=at_three_and_four,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)
        raise RuntimeError("the browser is gone")

    def run(self, script: str) -> Any:
        """What an expression is in the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str, code: int = 0, text: str = "") -> None:
        """One key."""
        common: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def open(self, page: Path, width: int, *, dark: bool) -> None:
        """Load a page in a window of this width."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        scheme = "dark" if dark else "light"
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def wait_for(self, condition: str) -> None:
        """Until it is true in the page."""
        until = time.monotonic() + DEADLINE_S
        while not self.run(condition):
            if time.monotonic() > until:
                raise RuntimeError(f"never true: {condition}")
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        """The whole page."""
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" in self._rest:
                whole, _, self._rest = self._rest.partition(b"\0")
                yield json.loads(whole)
            more = os.read(self._from, 1 << 20)
            if not more:
                return
            self._rest += more


def check(browser: Browser, page: Path, downloads: Path, pictures: Path | None) -> list[str]:
    """Everything that is wrong with a page."""
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
            _picture(browser, pictures, f"{page.parent.name}-{width}-{'dark' if dark else 'light'}")
        where = f"at {width} px"
        expect(f"a line of the receipt does not open with Enter {where}", lambda: _opens(browser))
        expect(f"a query does not open to its readings {where}", lambda: _reads(browser))
        _picture(browser, pictures, f"{page.parent.name}-{width}-opened")
        browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        browser.wait_for("[...document.querySelectorAll('details.query')].every((each) => each.children.length > 1)")
        expect(f"wider than the window, all opened, {where}", lambda: browser.run(NOT_WIDER))
    if browser.run("!!document.querySelector('.panel.power .plot')"):
        expect("the chart does not zoom with +", lambda: _zooms(browser))
    expect("something is embedded", lambda: not browser.run("document.querySelector('img, iframe, object, embed')"))
    expect("a command is not copied or selected", lambda: _copies(browser))
    browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    expect("the CSV is not whole", lambda: _downloads(browser, downloads))
    if pictures is not None:
        browser.open(page, WIDTHS[-1], dark=False)
        paper = browser.ask("Page.printToPDF", printBackground=True)
        (pictures / f"{page.parent.name}.pdf").write_bytes(base64.b64decode(paper["data"]))
    faults += _complaints(browser, page)
    return faults


NOT_WIDER = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def _opens(browser: Browser) -> bool:
    browser.run("document.querySelectorAll('.line[open]').forEach((each) => { each.open = false; })")
    if not browser.run("!!document.querySelector('details.line')"):
        return True  # a run without a figure has nothing to open
    browser.run("document.querySelector('details.line > summary').focus()")
    browser.press("Enter", 13, "\r")
    return bool(browser.run("document.querySelector('details.line').open"))


def _reads(browser: Browser) -> bool:
    if not browser.run("!!document.querySelector('details.query')"):
        return True
    browser.run(
        "(() => { const q = document.querySelector('details.query'); q.closest('.line').open = true;"
        " q.querySelector('summary').focus(); })()"
    )
    browser.press("Enter", 13, "\r")
    browser.wait_for("!!document.querySelector('details.query .readings')")
    return bool(browser.run("document.querySelector('details.query .readings').textContent.length > 20"))


def _zooms(browser: Browser) -> bool:
    browser.run(
        "(() => { const p = document.querySelector('.panel.power .plot'); p.focus();"
        " window.before = p.querySelector('canvas').toDataURL(); })()"
    )
    for _ in range(5):
        browser.press("+", 187, "+")
        time.sleep(0.05)
    return bool(browser.run("window.before !== document.querySelector('.panel.power .plot canvas').toDataURL()"))


def _copies(browser: Browser) -> bool:
    browser.run("document.querySelector('.command button').click()")
    browser.wait_for("document.querySelector('.command button').textContent !== 'Copy'")
    return bool(browser.run("/Copied|Selected/.test(document.querySelector('.command button').textContent)"))


def _downloads(browser: Browser, downloads: Path) -> bool:
    browser.run("document.querySelector('.raw button').click()")
    until = time.monotonic() + DEADLINE_S
    while not list(downloads.glob("*.csv")):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    with next(downloads.glob("*.csv")).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    n_rows = browser.run("JSON.parse(document.querySelector('script.raw-data').textContent).rows.length")
    plain = all(cell[:1] not in "=+-@" or _is_number(cell) for row in rows for cell in row if cell)
    return len(rows) == n_rows and all(len(row) == len(header) for row in rows) and plain


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _complaints(browser: Browser, page: Path) -> list[str]:
    """What the browser itself reported: errors, dialogs, requests."""
    faults = []
    own = page.resolve().as_uri()
    for event in browser.events:
        method, parameters = event.get("method", ""), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            faults.append(f"a script failed: {parameters['exceptionDetails'].get('exception', {}).get('description')}")
        elif method == "Page.javascriptDialogOpening":
            faults.append(f"a dialog opened: {parameters['message']}")
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            faults.append(f"the browser complains: {parameters['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if url not in (own, "about:blank") and not url.startswith(("blob:", "data:")):
                faults.append(f"something was asked for: {url}")
    return list(dict.fromkeys(faults))


def _picture(browser: Browser, pictures: Path | None, name: str) -> None:
    if pictures is not None:
        browser.picture(pictures / f"{name}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep a picture of each view")
    options = parser.parse_args()
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        sys.exit(f"No browser: none of {', '.join(BROWSERS)} is installed.")
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    n_faults = 0
    for page in options.page:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            browser = Browser(program, Path(folder) / "profile")
            downloads = Path(folder) / "downloads"
            downloads.mkdir()
            try:
                faults = check(browser, page, downloads, options.pictures)
            finally:
                browser.close()
        n_faults += len(faults)
        print(f"{page}, {page.stat().st_size / 1000:.0f} kB: {'all as it should be' if not faults else ''}")
        for fault in faults:
            print(f"  {fault}")
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
