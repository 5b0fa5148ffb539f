"""A verdict as JUnit XML: a test case per line of the budget, for the test tab of a pipeline.

fail → failure; invalid → error; inconclusive → failure of the type `inconclusive`, or skipped where the budget lets it
pass; waived and not applied → skipped.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from harness.gate.verdict import Outcome
from harness.report.gate.rows import GateRow
from harness.report.gate.sheet import GateSheet

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for, not even escaped (Extensible Markup Language 1.0, 2.2)."""


def render_junit(sheet: GateSheet) -> str:
    """One test suite.

    Args:
        sheet: What.

    Returns:
        An XML document; names and sentences from outside are escaped.
    """
    kinds = [_kind(row, sheet) for row in sheet.rows]
    counts = {
        "tests": str(len(kinds)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
    }
    root = ElementTree.Element("testsuites", {"name": "harness gate", **counts})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {"name": _clean(sheet.name), "timestamp": f"{sheet.verdict.date_utc:%Y-%m-%d}T00:00:00", **counts},
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (
        ("outcome", sheet.outcome.value),
        *(("candidate", words) for words in sheet.candidate),
        *sheet.references,
    ):
        ElementTree.SubElement(properties, "property", name=_clean(name), value=_clean(value))
    for row, kind in zip(sheet.rows, kinds, strict=True):
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"harness gate.{_clean(sheet.name)}", name=_clean(f"{row.name} ({row.about})")
        )
        if kind is not None:
            found = ElementTree.SubElement(case, kind, message=_clean(_message(row)), type=row.outcome.value)
            found.text = _clean(_text(row))
        else:
            ElementTree.SubElement(case, "system-out").text = _clean(_text(row))
    ElementTree.indent(root)
    return f"{DECLARATION}\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _kind(row: GateRow, sheet: GateSheet) -> str | None:
    """The element of a line that is not a plain pass."""
    if row.outcome is Outcome.INCONCLUSIVE:
        return "skipped" if sheet.inconclusive == "pass" else "failure"
    return {
        Outcome.FAIL: "failure",
        Outcome.INVALID: "error",
        Outcome.WAIVED: "skipped",
        Outcome.NOT_APPLIED: "skipped",
    }.get(row.outcome)


def _message(row: GateRow) -> str:
    figures = row.figures if row.scale is not None else row.limit
    return f"{row.word}: {figures}" + (f"; {row.margin}" if row.margin else "")


def _text(row: GateRow) -> str:
    lines = (_message(row), row.sides, row.sample, *row.reasons, row.waiver, row.to_settle)
    return "\n".join(line for line in lines if line)


def _clean(text: str) -> str:
    return NOT_IN_XML.sub(" ", text)
