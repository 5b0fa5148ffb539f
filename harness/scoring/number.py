r"""Numbers as people and models write them, found in running text.

A number is digits with an optional sign, currency sign, thousands separators (`1,234`, `1{,}234`, thin or fixed
spaces), decimal point, `a/b` or `\frac{a}{b}` (with a whole part: `1 3/4`), and `1.5e3` or `1.5 \times 10^3`. A percent
sign is dropped: 25% is 25, not 0.25. Digits glued to a letter before them (`H2O`, `x1`) and a unit's exponent (`m^2`)
are not numbers. Everything is exact: no binary floating point.

What looks like a number and cannot be read for certain has no value: `3,5` (a list or a decimal comma), `12:30`,
`1.2.3`, `5/0`, `2^10`, and more than 30 digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

DIGITS_MOST = 30

TO_PLAIN = (
    (re.compile(r"\\left|\\right|\\!"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=[0-9])(?:\\[,;:]|[\u00a0\u2009\u202f])(?=[0-9]{3}(?![0-9]))"), ""),
    (re.compile(r"[\u2212\u2012\u2013]"), "-"),  # minus sign, figure dash, en dash
    (re.compile(r"\\times|\\cdot|\u00d7"), "×"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"(?<=[0-9])\s*\\[dtc]?frac\s*\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac\s*\{\s*(-?[0-9.]+)\s*\}\s*\{\s*([0-9.]+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s*([0-9])\s*([0-9])"), r"\1/\2"),
)

CURRENCY = "$€£¥₹"
RUN = r"(?:[0-9](?:[0-9]|[.,:](?=[0-9]))*|\.[0-9]+)"
TOKEN = re.compile(
    rf"(?P<sign>(?<![\w)\]}}%.])[-+])?(?P<currency>[{CURRENCY}]\s?)?(?P<inner>(?<=[{CURRENCY}])[-+])?"
    rf"(?P<run>{RUN})"
    rf"(?P<exponent>[eE][-+]?[0-9]{{1,3}}(?![0-9])|\s?[×x*]\s?10\s?\^\s?(?:\{{\s*-?[0-9]{{1,3}}\s*\}}|-?[0-9]{{1,3}}))?"
    rf"(?P<over>(?:\s(?P<top>[0-9]+))?\s?/\s?(?P<bottom>{RUN})(?P<chain>(?:/[0-9]+)*))?"
)
PLAIN = re.compile(r"(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3})?(?:\.[0-9]+)?")
POWER_AFTER = re.compile(r"\s?\^|[⁰¹²³⁴-⁹]|:[0-9]")
EXPONENT_OF = re.compile(r"(?P<base>\S)?\s?\^\s?\{?\s?$")
LARGEST_EXPONENT = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number in a text. `value` None: it cannot be read for certain.

    `decimals` counts the digits after its point; None for a fraction. `start` and `end` are positions in the plain
    text that `plain` returns.
    """

    text: str
    value: Fraction | None
    decimals: int | None
    start: int
    end: int


def plain(text: str) -> str:
    """The text with LaTeX's and typography's ways of writing numbers replaced by the plain ones."""
    for pattern, replacement in TO_PLAIN:
        text = pattern.sub(replacement, text)
    return text


def numbers(text: str) -> list[Number]:
    """Every number of a text that went through `plain`, in order."""
    found = []
    for match in TOKEN.finditer(text):
        before = text[max(0, match.start() - 8) : match.start()]
        power = EXPONENT_OF.search(before)
        if power is not None:
            base = power["base"] or ""
            if base.isdigit() or base in ")}]":
                found.append(_number(match, None))  # 2^10 is a sum still to be done
            continue
        glued = before[-1:].isalpha() or before.endswith("_")
        if glued and match["sign"] is None and match["currency"] is None:
            continue
        certain = POWER_AFTER.match(text, match.end()) is None
        found.append(_number(match, _value(match) if certain else None))
    return found


def _number(match: re.Match[str], value: Fraction | None) -> Number:
    decimals = None
    if match["over"] is None and match["exponent"] is None:
        decimals = len(match["run"].partition(".")[2])
    return Number(text=match[0].strip(), value=value, decimals=decimals, start=match.start(), end=match.end())


def _value(match: re.Match[str]) -> Fraction | None:
    value = _run(match["run"])
    if value is None:
        return None
    if match["exponent"] is not None:
        exponent = int(re.findall(r"-?[0-9]+", match["exponent"])[-1])
        if abs(exponent) > LARGEST_EXPONENT:
            return None
        value *= Fraction(10) ** exponent
    if match["over"] is not None:
        bottom = _run(match["bottom"])
        if bottom is None or bottom == 0 or match["chain"]:
            return None
        if match["top"] is None:
            value /= bottom
        else:
            top = _run(match["top"])
            if top is None or top >= bottom or value.denominator != 1:
                return None
            value += top / bottom
    negative = "-" in (match["sign"], match["inner"])
    return -value if negative else value


def _run(run: str) -> Fraction | None:
    if len(run) > DIGITS_MOST or not PLAIN.fullmatch(run):
        return None
    return Fraction(run.replace(",", ""))
