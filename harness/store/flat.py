"""Tables of queries or intervals, one after the other, as columns of numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.records import (
    FindingColumns,
    IntervalColumns,
    ListColumn,
    PhaseColumns,
    QueryColumns,
    ReadingColumns,
    TextColumn,
)
from harness.store.slim import READING, chunk, fields_of, integers

if TYPE_CHECKING:
    from harness.records import FloatArray, IntArray

GAP = "gap"
NUMBERS = tuple(name for name in READING if name.endswith(("_s", "_j", "_w")))


class _Texts:
    """One column of text over all tables: its codes so far, and its names in order of first appearance."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.codes: list[IntArray] = []

    def add(self, array: pa.Array) -> None:
        encoded = array.dictionary_encode()
        places = [self.places.setdefault(name, len(self.places)) for name in encoded.dictionary.to_pylist()]
        table = np.array([*places, -1], dtype=np.int64)  # the last place is that of no text
        self.codes.append(table[_whole_numbers(encoded.indices)])

    def column(self) -> TextColumn:
        return TextColumn(codes=_joined(self.codes, np.int64), names=tuple(self.places))


class _Numbers:
    """Columns of numbers by name over all tables; unknown where a table has none of that name."""

    def __init__(self) -> None:
        self._parts: dict[str, list[FloatArray]] = {}
        self._n = 0

    def add(self, arrays: Mapping[str, pa.Array], n: int) -> None:
        """Of a table of n rows."""
        for name in dict.fromkeys((*self._parts, *arrays)):
            before = [np.full(self._n, np.nan)] if self._n else []
            numbers = _numbers(arrays[name]) if name in arrays else np.full(n, np.nan)
            self._parts.setdefault(name, before).append(numbers)
        self._n += n

    def columns(self) -> dict[str, FloatArray]:
        return {name: _joined(parts, np.float64) for name, parts in self._parts.items()}


class _Lists:
    """Columns of lists by name over all tables; no list where a table has none of that name."""

    def __init__(self) -> None:
        self._counts: dict[str, list[IntArray]] = {}
        self._numbers: dict[str, list[FloatArray]] = {}
        self._n = 0

    def add(self, arrays: Mapping[str, pa.ListArray], n: int) -> None:
        """Of a table of n rows."""
        for name in dict.fromkeys((*self._counts, *arrays)):
            before = [np.full(self._n, -1, dtype=np.int64)] if self._n else []
            counts, numbers = np.full(n, -1, dtype=np.int64), np.zeros(0)
            if name in arrays:
                counts, numbers = _whole_numbers(pc.list_value_length(arrays[name])), _numbers(arrays[name].flatten())
            self._counts.setdefault(name, before).append(counts)
            self._numbers.setdefault(name, []).append(numbers)
        self._n += n

    def columns(self) -> dict[str, ListColumn]:
        return {
            name: ListColumn(counts=_joined(counts, np.int64), numbers=_joined(self._numbers[name], np.float64))
            for name, counts in self._counts.items()
        }


class Columns:
    """Tables, one after the other, as columns."""

    def __init__(self) -> None:
        self._texts: dict[str, _Texts] = {}
        self._arrays: dict[str, list[Any]] = {}
        self._sizes, self._values, self._lists = _Numbers(), _Numbers(), _Lists()
        self._n = 0
        self._n_readings = 0

    def of_queries(self, tables: list[pa.Table] | Iterator[pa.Table]) -> QueryColumns:
        """Of tables by `slim_queries`."""
        for table in _each(tables):
            self._add_queries(table)
        return QueryColumns(
            offset=self._array("line"),
            session=self._array("session"),
            prompt=self._text("prompt_id"),
            prompt_index=self._array("prompt_index"),
            mode=self._text("mode"),
            time_start_s=self._array("time_start_s", np.float64),
            time_end_s=self._array("time_end_s", np.float64),
            answered=self._array("answered", np.bool_),
            finish_reason=self._text("finish_reason"),
            thought=self._array("thought"),
            rendered=self._array("rendered"),
            text=self._array("text"),
            sizes=self._sizes.columns(),
            correct=self._array("correct"),
            graded=self._array("graded", np.bool_),
            values=self._values.columns(),
            lists=self._lists.columns(),
            readings=self._readings(),
            phases=PhaseColumns(
                reading=self._array("phases.reading"),
                name=self._text("phases.name"),
                time_start_s=self._array("phases.time_start_s", np.float64),
                time_end_s=self._array("phases.time_end_s", np.float64),
                energy_gross_j=self._array("phases.energy_gross_j", np.float64),
                energy_gross_half_width_j=self._array("phases.energy_gross_half_width_j", np.float64),
            ),
            findings=self._findings(),
        )

    def of_intervals(self, tables: list[pa.Table] | Iterator[pa.Table]) -> tuple[IntervalColumns, IntArray]:
        """Of tables by `slim_intervals`: the gaps, and where the lines of all others begin."""
        others = []
        for table in _each(tables):
            name = chunk(table, "name").dictionary_encode()
            places = name.dictionary.to_pylist()
            is_gap = _numpy(name.indices) == (places.index(GAP) if GAP in places else -1)
            others.append(_numpy(table["line"])[~is_gap])
            gaps = table.take(integers(np.flatnonzero(is_gap))).combine_chunks()
            self._add_numbers(gaps, ("time_start_s", "time_end_s"))
            self._add_readings(chunk(gaps, "readings"))
            self._n += gaps.num_rows
        columns = IntervalColumns(
            time_start_s=self._array("time_start_s", np.float64),
            time_end_s=self._array("time_end_s", np.float64),
            readings=self._readings(),
        )
        return columns, _joined(others, np.int64)

    def _add_queries(self, table: pa.Table) -> None:
        self._add_numbers(table, ("line", "session", "prompt_index", "time_start_s", "time_end_s", "rendered", "text"))
        for name in ("prompt_id", "mode", "finish_reason"):
            self._add_text(name, chunk(table, name))
        self._arrays.setdefault("answered", []).append(_numpy(table["answered"]).astype(np.bool_))
        for name in ("thought", "correct"):
            self._arrays.setdefault(name, []).append(_whole_numbers(chunk(table, name)))
        n, has = table.num_rows, set(table.column_names)
        graded = _numpy(table["graded"]).astype(np.bool_) if "graded" in has else np.zeros(n, dtype=np.bool_)
        self._arrays.setdefault("graded", []).append(graded)
        self._sizes.add(fields_of(chunk(table, "sizes")), n)
        values = fields_of(chunk(table, "values")) if "values" in has else {}
        is_list = {name: pa.types.is_list(each.type) for name, each in values.items()}
        self._values.add({name: each for name, each in values.items() if not is_list[name]}, n)
        self._lists.add({name: each for name, each in values.items() if is_list[name]}, n)
        findings = chunk(table, "findings")
        self._add_findings(findings, self._n + _owners(findings), None)
        self._add_readings(chunk(table, "readings"))
        self._n += table.num_rows

    def _add_numbers(self, table: pa.Table, names: Sequence[str]) -> None:
        for name in names:
            self._arrays.setdefault(name, []).append(_numpy(table[name]))

    def _add_readings(self, readings: pa.ListArray) -> None:
        owner = self._n + _owners(readings)
        fields = fields_of(readings.flatten())
        self._arrays.setdefault("readings.owner", []).append(owner)
        for name in ("device", "boundary", "method"):
            self._add_text(f"readings.{name}", fields[name])
        for name in NUMBERS:
            self._arrays.setdefault(f"readings.{name}", []).append(_numbers(fields[name]))
        row = self._n_readings + np.arange(len(owner))
        phases = fields["phases"]
        self._arrays.setdefault("phases.reading", []).append(row[_owners(phases)])
        for name, values in fields_of(phases.flatten()).items():
            if name == "name":
                self._add_text("phases.name", values)
            else:
                self._arrays.setdefault(f"phases.{name}", []).append(_numbers(values))
        findings = fields["findings"]
        self._add_findings(findings, owner[_owners(findings)], row[_owners(findings)])
        self._n_readings += len(owner)

    def _add_findings(self, findings: pa.ListArray, owner: IntArray, reading: IntArray | None) -> None:
        fields = fields_of(findings.flatten())
        self._arrays.setdefault("findings.owner", []).append(owner)
        own = np.full(len(owner), -1, dtype=np.int64)
        self._arrays.setdefault("findings.reading", []).append(own if reading is None else reading)
        self._add_text("findings.code", fields["code"])
        self._add_text("findings.detail", fields["detail"])

    def _add_text(self, name: str, array: pa.Array) -> None:
        self._texts.setdefault(name, _Texts()).add(array)

    def _readings(self) -> ReadingColumns:
        return ReadingColumns(
            owner=self._array("readings.owner"),
            device=self._text("readings.device"),
            boundary=self._text("readings.boundary"),
            method=self._text("readings.method"),
            **{name: self._array(f"readings.{name}", np.float64) for name in NUMBERS},
        )

    def _findings(self) -> FindingColumns:
        """In the order of the queries, a query's own first."""
        owner, reading = self._array("findings.owner"), self._array("findings.reading")
        in_order = np.lexsort((reading, owner))
        code, detail = self._text("findings.code"), self._text("findings.detail")
        return FindingColumns(
            owner=owner[in_order],
            reading=reading[in_order],
            code=TextColumn(codes=code.codes[in_order], names=code.names),
            detail=TextColumn(codes=detail.codes[in_order], names=detail.names),
        )

    def _array(self, name: str, kind: type[np.generic] = np.int64) -> Any:
        return _joined(self._arrays.pop(name, []), kind)

    def _text(self, name: str) -> TextColumn:
        return self._texts.pop(name, _Texts()).column()


def _each(tables: list[pa.Table] | Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Each table once; a list is emptied meanwhile, so that tables and columns are not in memory twice."""
    if not isinstance(tables, list):
        yield from tables
        return
    tables.reverse()
    while tables:
        yield tables.pop()


def _owners(lists: pa.ListArray) -> IntArray:
    """The row of each element of lists, flattened."""
    return np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy(zero_copy_only=False)))


def _numpy(array: pa.Array | pa.ChunkedArray) -> Any:
    """Of a column without nulls."""
    return array.to_numpy() if isinstance(array, pa.ChunkedArray) else array.to_numpy(zero_copy_only=False)


def _numbers(array: pa.Array) -> FloatArray:
    """Unknown is NaN."""
    numbers: FloatArray = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _whole_numbers(array: pa.Array) -> IntArray:
    """Whole numbers, or truths as 1 and 0; unknown is -1."""
    numbers = _numbers(array.cast(pa.int64()))
    return np.where(np.isnan(numbers), -1, numbers).astype(np.int64)


def _joined(parts: Sequence[Any], kind: type[np.generic]) -> Any:
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, dtype=kind)
