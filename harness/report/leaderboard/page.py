"""The leaderboard as one self-contained HTML page that looks like a run's page beside it. It fetches nothing.

Names come from outside: text is escaped by the template, data for the script by `script_json`, the script sets text as
text only, and a content security policy forbids the page every connection.
"""

from __future__ import annotations

from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report.leaderboard.view import LeaderboardView
from harness.report.page import coded, script_json, tight

N_STATIC = 10
"""Rankings, and rows of each, that are there without a script too."""


def render_leaderboard(view: LeaderboardView) -> str:
    """The page as a string: HTML without any reference to another host."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("harness", "assets/leaderboard"), PackageLoader("harness", "assets/page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    environment.filters["tight"] = tight
    assets = files("harness") / "assets"
    raw = {
        name: Markup((assets / path).read_text(encoding="utf-8"))  # noqa: S704 - the package's own files
        for name, path in {
            "page_style": "page/page.css",
            "style": "leaderboard/leaderboard.css",
            "chart_tools": "page/chart.js",
            "drawing_script": "leaderboard/drawing.js",
            "script": "leaderboard/leaderboard.js",
        }.items()
    }
    return environment.get_template("leaderboard.html.j2").render(
        view=view, data=script_json(view.data), n_static=N_STATIC, **raw
    )
