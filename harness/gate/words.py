"""Numbers in a gate's sentences: two that are compared are never printed alike where they differ.

Knows digits. Must not know budgets, and cannot use the report's printing, which is built on the gate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

N_DIGITS = 4
N_DIGITS_MOST = 12


def figure(value: float, n_digits: int = N_DIGITS) -> str:
    """A number with so many significant digits at least, thousands set apart, without trailing zeros."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "no end"
    decimals = max(0, n_digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−") if text.strip("-0.") else "0"


def signed_share(share: float, n_digits: int = 3) -> str:
    """A relative difference as a percentage with its sign."""
    text = figure(100 * share, n_digits)
    return f"{text} %" if text[0] == "−" else f"+{text} %"


def percent(share: float, n_digits: int = 3) -> str:
    """A share as a percentage without a sign."""
    return f"{figure(100 * share, n_digits)} %"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"
