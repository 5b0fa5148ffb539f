"""Every figure of `summary.json` once more, from the queries.

Counts, means, totals and ratios are what they are; the ends of intervals, laws and doubts follow from a version's
statistics: where another version wrote them and they come out otherwise, that is said and not held against the run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from harness.publish import Account
from harness.records import Summary
from harness.verify.check import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, Check, Figure, Kind
from harness.verify.stored import damaged

NAME = "summary.json"
OF_A_VERSION = frozenset(
    (
        *("low", "high", "energy_bca_low", "energy_bca_high", "smallest_detectable", "log_sd"),
        *("half_width_reading", "half_width_runs", "half_width_gain"),
        *("law", "per_query_j", "per_unit_j", "residual_relative_sd"),
        *("two_phase", "stopping", "findings", "invalid", "faults"),
    )
)
"""Parts of a summary that follow from a version's statistics."""

NAMES = ("mode", "name", "metric", "size")
"""Fields that name a part of a list."""

_check = partial(Check, kind=Kind.SUMMARIES)


def summaries(run: Path, measured: Sequence[Account], other: str) -> Iterator[Check]:
    """Every summary of a run.

    Args:
        run: Its directory.
        measured: Its cells, computed again.
        other: Which other program wrote it, in words; empty: this one.
    """
    for account in measured:
        path = account.results.directory.path / NAME
        where = path.relative_to(run).as_posix()
        if not path.exists():
            yield _check(where=where, figure="figures", why_not="it was not written yet: `harness report` does")
            continue
        try:
            stored = Summary.model_validate_json(path.read_bytes()).model_dump(mode="json")
        except (OSError, ValueError) as error:
            yield damaged(run, where, error)
            continue
        again = account.summary.model_dump(mode="json")
        for check in _compared(where, "", stored, again):
            if other and not check.agrees and _follows_version(check):
                yield _check(where=where, figure=check.figure, why_not=f"it comes out otherwise, and {other}")
            else:
                yield check


def _follows_version(check: Check) -> bool:
    """Whether a figure may be another one in another version, or was not given in an earlier one."""
    return check.stored is None or not OF_A_VERSION.isdisjoint(check.figure.split("."))


def called_in(run: Path, known: AbstractSet[str]) -> str:
    """What a run's summaries call it, of the names that it may have: its directory may have been renamed since."""
    said = set()
    for path in run.glob(f"*/*/{NAME}"):
        with suppress(OSError, ValueError, RecursionError, AttributeError):  # named where its figures are compared
            said.add(json.loads(path.read_text(encoding="utf-8")).get("run_id"))
    return min(said & known, default=min(known))


def _compared(where: str, name: str, stored: Any, again: Any, tolerance: float = ABSOLUTE_TOLERANCE) -> Iterator[Check]:
    """Leaf by leaf, names as the records have them."""
    if isinstance(stored, Mapping) and isinstance(again, Mapping) and stored.keys() == again.keys():
        within = _tolerance(again)
        for key in stored:
            yield from _compared(where, f"{name}.{key}" if name else key, stored[key], again[key], within)
    elif _is_list_of_parts(stored) and _is_list_of_parts(again) and len(stored) == len(again):
        for place, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from _compared(where, f"{name}[{_called(other, place)}]", one, other)
    else:
        yield _check(
            where=where, figure=name, stored=_figure(stored), again=_figure(again), absolute_tolerance=tolerance
        )


def _tolerance(again: Mapping[str, Any]) -> float:
    """Of the numbers of one estimate: what its largest one may be off, as a value near 0 has no relative error."""
    if "value" not in again:
        return ABSOLUTE_TOLERANCE
    numbers = [abs(each) for each in again.values() if isinstance(each, float)]
    return max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * max(numbers, default=0.0))


def _is_list_of_parts(value: Any) -> bool:
    """Whether a list is walked through; doubts and names are compared as a whole."""
    return isinstance(value, list) and bool(value) and all(isinstance(e, dict) and "code" not in e for e in value)


def _called(part: Mapping[str, Any], place: int) -> str:
    """How a mode, a comparison or another part of a list is named."""
    if "numerator" in part:
        return f"{part['numerator']} over {part['denominator']}"
    return str(next((part[key] for key in NAMES if part.get(key)), place))


def _figure(value: Any) -> Figure:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
