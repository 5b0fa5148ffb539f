"""What a page opens: behind each line of the receipt its figures explained, and behind a query the sensor's readings.

A page must stay small: the readings of some queries are in it, and of the others it says how to see them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from harness.records import Boundary, QueryRecord
from harness.report.explanation.parts import query_name
from harness.report.explanation.query import DeviceAccount, account_of
from harness.report.explanation.record import Explanation, IntervalPart, Make
from harness.report.panel import Json
from harness.report.receipt import Receipt
from harness.report.rows import Row
from harness.report.serving.flying import Flying, company_of
from harness.report.trail import Trail

N_QUERIES_MOST = 200
"""Of a whole page, whose readings are in it."""
N_CHARACTERS_MOST = 1_000_000
"""Of one cell's readings."""

TrailSource = Callable[[Sequence[QueryRecord]], Mapping[tuple[str, str], Sequence[Trail]]]


class PageEvidence(TypedDict):
    """What the page's script opens a query to; `common` is what is said of every query on a device.

    Where a number stands in place of a text, the text is that entry of `texts`: most are said of many queries.
    """

    queries: dict[str, object]
    common: dict[str, object]
    texts: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One figure behind a line. Its queries are left out where a line above has the same."""

    explanation: Explanation
    same_queries: bool
    part: IntervalPart | None = None
    """Where the line is one part of the figure's interval: that part alone is shown."""
    parts: tuple[IntervalPart, ...] = ()
    """Those that have no line of their own on the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What a line of the receipt opens to: words that all of its figures share, and a block for each."""

    words: str
    blocks: tuple[Block, ...]


def behind_lines(receipt: Receipt, figures: Mapping[str, Make]) -> dict[tuple[int, int], Behind]:
    """What each line opens to, by section and row; a line without a known figure is not in it."""
    seen: set[tuple[str, ...]] = set()
    apart = {(name, row.part) for section in receipt.sections for row in section.rows for name in row.behind}
    found = {}
    for section_at, section in enumerate(receipt.sections):
        for row_at, row in enumerate(section.rows):
            explanations = [figures[name]() for name in row.behind if name in figures]
            blocks = [block for each in explanations if (block := _block(each, row, seen, apart)) is not None]
            if blocks:
                words = "" if row.part else blocks[0].explanation.words
                found[section_at, row_at] = Behind(words=words, blocks=tuple(blocks))
    return found


def _block(explanation: Explanation, row: Row, seen: set[tuple[str, ...]], apart: set[tuple[str, str]]) -> Block | None:
    if row.part:
        part = next((each for each in explanation.parts if each.label == row.part), None)
        return None if part is None else Block(explanation=explanation, same_queries=False, part=part)
    shown = tuple(f"{share.name} {share.amount} {share.note}" for group in explanation.groups for share in group.shares)
    same = bool(shown) and shown in seen
    seen.add(shown)
    parts = tuple(part for part in explanation.parts if (explanation.name, part.label) not in apart)
    return Block(explanation=explanation, same_queries=same, parts=parts)


def names_behind(lines: Mapping[tuple[int, int], Behind]) -> list[str]:
    """The queries that are listed behind any line, those first that most lines list."""
    counts = Counter(
        share.name
        for behind in lines.values()
        for block in behind.blocks
        if block.part is None and not block.same_queries
        for group in block.explanation.groups
        for share in group.shares
    )
    return [name for name, _ in counts.most_common()]


def evidence_of(
    queries: Sequence[QueryRecord],
    headline: Boundary,
    first: Sequence[str],
    trails_of: TrailSource | None,
    n_most: int = N_QUERIES_MOST,
    flying: Sequence[Flying] = (),
    task: str | None = None,
) -> PageEvidence:
    """The readings around some queries, ready for the page's script.

    Args:
        queries: Of the cell, in the order in which the page lists them.
        headline: The boundary of the run's figures.
        first: Names of the queries that must be in it before any other.
        trails_of: Reads the readings; None: they are not at hand, and a query opens to its figures alone.
        n_most: Queries that may be in it.
        flying: Of a cell under load: who was in flight with whom.
        task: Of the cell; None: text.

    Returns:
        `queries` by name; `columns` and `common` hold what they share.
    """
    by_name = {query_name(query.mode, query.prompt_id): query for query in queries}
    chosen = [by_name[name] for name in dict.fromkeys((*first, *by_name)) if name in by_name][:n_most]
    trails = {} if trails_of is None else trails_of(chosen)
    accounts = [
        account_of(
            query,
            headline,
            trails.get((query.prompt_id, query.mode), ()),
            company=company_of(flying, query),
            task=task,
        )
        for query in chosen
    ]
    common = _common([device for account in accounts for device in account.devices])
    kept: dict[str, Json] = {}
    n_characters = 0
    for account in accounts:
        own: Json = {
            "facts": account.facts,
            "devices": [_device(device, common[device.device]) for device in account.devices],
            "doubts": [doubt.sentence for doubt in account.doubts],
        }
        n_characters += len(json.dumps(own))
        if n_characters > N_CHARACTERS_MOST:
            break
        kept[account.name] = own
    texts = _repeated(kept)
    places = {text: place for place, text in enumerate(texts)}
    return {
        "queries": {name: _packed(own, places) for name, own in kept.items()},
        "common": dict(common),
        "texts": texts,
    }


def _texts_in(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _texts_in(value)
    elif isinstance(data, Sequence):
        for value in data:
            yield from _texts_in(value)


def _repeated(data: object) -> list[str]:
    """The texts that are said more than once, most often first."""
    return [text for text, count in Counter(_texts_in(data)).most_common() if count > 1]


def _packed(data: object, places: Mapping[str, int]) -> object:
    """The same data with the number of each text that has one."""
    if isinstance(data, str):
        return places.get(data, data)
    if isinstance(data, dict):
        return {name: _packed(value, places) for name, value in data.items()}
    if isinstance(data, Sequence):
        return [_packed(value, places) for value in data]
    return data


def _common(devices: Sequence[DeviceAccount]) -> dict[str, tuple[tuple[str, str], ...]]:
    """What is said of every query on a device, so that the page holds it once."""
    facts: dict[str, set[tuple[str, str]]] = {}
    for device in devices:
        known = facts.setdefault(device.device, set(device.facts))
        known &= set(device.facts)
    ordered = {device.device: device.facts for device in devices}
    return {name: tuple(fact for fact in ordered[name] if fact in facts[name]) for name in ordered}


def _device(device: DeviceAccount, common: Sequence[tuple[str, str]]) -> Json:
    return {
        "device": device.device,
        "facts": [fact for fact in device.facts if fact not in common],
        "phase_columns": device.phase_columns,
        "phases": device.phases,
        "columns": () if device.ticks is None else device.ticks.columns,
        "rows": () if device.ticks is None else device.ticks.rows,
        "says": "" if device.ticks is None else device.ticks.says,
    }
