"""From a table's rows to prompts of text: which column is what, and what is refused.

A table may come from a file, from the package or from the Hub; this module does not know which. Columns that are
not named are found by name, in any case (`Question` is `question`). The inputs of other tasks are read in `inputs.py`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources.abc import Traversable
from itertools import accumulate

from harness.errors import UsageError
from harness.records import Prompt

TEXT_COLUMNS = ("text", "prompt", "question", "problem", "instruction", "input")
REFERENCE_COLUMNS = ("reference", "answer", "target", "label", "solution")
ID_COLUMNS = ("prompt_id", "id", "question_id", "task_id", "unique_id")

FINAL_LINE = re.compile(r"(?:^|\n)####[ \t]*(\S[^\n]*)\Z")
"""GSM8K's references are a worked solution whose last line is `#### 42`: what follows the mark is the answer."""

NUMBER = re.compile(r"[-+]?[$€£¥₹]?([0-9]{1,3}(,[0-9]{3}){1,4}|[0-9]{1,15})(\.[0-9]{1,10})?%?")
FRACTION = re.compile(r"[-+]?[0-9]{1,15}/(?!0+$)[0-9]{1,15}")
LETTER = re.compile(r"[A-J]")
GROUPING = re.compile(r"\\.|[{}]", re.DOTALL)
"""LaTeX's braces, told from those that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows with what a message needs to point at one of them: "prompts.csv, line 7"."""

    origin: str
    unit: str
    rows: Sequence[tuple[int, Mapping[str, object]]]
    columns: tuple[str, ...]
    folder: Traversable | None = None
    """Where the relative paths of its images and sounds begin; None: where the program runs."""

    def place(self, number: int) -> str:
        """Where row `number` stands, in words."""
        return f"{self.origin}, {self.unit} {number}"


def columns_of(rows: Iterable[Mapping[str, object]]) -> tuple[str, ...]:
    """Every column of any row, in order of first appearance."""
    return tuple(dict.fromkeys(column for row in rows for column in row))


def prompts_of(table: Table, text_column: str | None = None) -> list[Prompt]:
    """One prompt per row, in stored order. Without an id column, ids are positions: 00001, 00002.

    Args:
        table: The rows.
        text_column: The column with the prompts; None: the first of `TEXT_COLUMNS` that exists.

    Raises:
        UsageError: No such column; a row that is empty or not text; an id that stands twice; a scorer that
            has nothing to compare with.
    """
    if not table.rows:
        return []
    text_column = _text_column(table, text_column)
    reference_column = _reference_column(table, text_column)
    scorer_column = first_column(table, ("scorer",))
    prompts: list[Prompt] = []
    for (number, row), prompt_id in zip(table.rows, ids_of(table), strict=True):
        place = table.place(number)
        reference = None
        if reference_column is not None:
            reference = _reference(row.get(reference_column), reference_column, place)
        scorer = infer_scorer(reference) if scorer_column is None else scorer_of(row, scorer_column, reference, place)
        kind, level = labels_of(row)
        text = _text(row.get(text_column), text_column, place)
        prompts.append(
            Prompt(prompt_id=prompt_id, text=text, reference=reference, scorer=scorer, kind=kind, level=level)
        )
    return prompts


def ids_of(table: Table) -> list[str]:
    """One id per row: of the id column, else its position: 00001, 00002.

    Raises:
        UsageError: A row without an id where others have one, or an id that stands twice.
    """
    id_column = first_column(table, ID_COLUMNS)
    if id_column is None:
        return [f"{position:05d}" for position in range(1, len(table.rows) + 1)]
    places: dict[str, int] = {}
    for number, row in table.rows:
        place = table.place(number)
        prompt_id = _prompt_id(row.get(id_column), id_column, place)
        if prompt_id in places:
            raise UsageError(
                f"{place}: the id {prompt_id!r} was used before, in {table.unit} {places[prompt_id]}.",
                f"Give every row its own {id_column!r}, or rename that column: ids are then made from positions.",
            )
        places[prompt_id] = number
    return list(places)


def labels_of(row: Mapping[str, object]) -> tuple[str | None, int | None]:
    """Kind and level, for tables: a foreign column that happens to have such a name is let through or left out."""
    kind, level = row.get("kind"), row.get("level")
    return (
        kind if isinstance(kind, str) and kind else None,
        level if isinstance(level, int) and not isinstance(level, bool) else None,
    )


def infer_scorer(reference: str | None) -> str | None:
    """The scorer that a reference asks for by its form; None where its form does not say.

    A number asks for `numeric`, a single capital letter from A to J for `choice`. Free text is not scored unless
    a `scorer` column says how (`math`, `exact`, `contains`): a guess there would make right answers wrong.
    """
    if reference is None:
        return None
    if is_number(reference):
        return "numeric"
    return "choice" if LETTER.fullmatch(reference) else None


def is_number(reference: str) -> bool:
    """Whether a reference is one number: digits, thousands commas, a decimal point, a currency sign, %, or a/b."""
    return bool(NUMBER.fullmatch(reference) or FRACTION.fullmatch(reference))


def unknown_column(table: Table, wanted: str) -> UsageError:
    """The error for a column that a table does not have, with the nearest that it has."""
    near = difflib.get_close_matches(wanted, table.columns, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(f"{table.origin} has no column {wanted!r}.", f"{hint}Its columns: {', '.join(table.columns)}.")


def _text_column(table: Table, named: str | None) -> str:
    if named is not None:
        if named not in table.columns:
            raise unknown_column(table, named)
        return named
    found = first_column(table, TEXT_COLUMNS)
    if found is not None:
        return found
    near = [
        close for column in table.columns for close in difflib.get_close_matches(column.casefold(), TEXT_COLUMNS, n=1)
    ]
    hint = f"Is one of them misspelt for {near[0]!r}? " if near else ""
    raise UsageError(
        f"{table.origin} has none of the columns {', '.join(TEXT_COLUMNS)}.",
        f"{hint}Name the column with the prompts: `--prompts SOURCE:COLUMN`. Its columns: {', '.join(table.columns)}.",
    )


def first_column(table: Table, names: Iterable[str]) -> str | None:
    """The first of `names` that is a column, in whatever case it is written."""
    written = {column.casefold(): column for column in reversed(table.columns)}
    return next((written[name] for name in names if name in written), None)


def _reference_column(table: Table, text_column: str) -> str | None:
    """The first candidate whose values can be references: a column of lists or objects is something else."""
    for name in REFERENCE_COLUMNS:
        column = first_column(table, (name,))
        if column is not None and column != text_column and any(_scalar(row.get(column)) for _, row in table.rows):
            return column
    return None


def _scalar(value: object) -> bool:
    return isinstance(value, str | int | float | Decimal) and not isinstance(value, bool)


def _text(value: object, column: str, place: str) -> str:
    step = f"Remove the row, or put the prompt's text into {column!r}."
    if value is None:
        raise UsageError(f"{place}: column {column!r} is missing or null.", step)
    if not isinstance(value, str):
        raise UsageError(f"{place}: column {column!r} holds {kind_of_value(value)}, not text.", step)
    if not value.strip():
        raise UsageError(f"{place}: column {column!r} is empty.", step)
    if not is_encodable(value):
        raise UsageError(f"{place}: column {column!r} holds half a surrogate pair, which is not text.", step)
    return value


def _reference(value: object, column: str, place: str) -> str | None:
    if value is None:
        return None
    if not _scalar(value) or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError(
            f"{place}: the reference in {column!r} is {kind_of_value(value)}, not text or a finite number.",
            f"Make it text, or rename the column if it holds no references ({', '.join(REFERENCE_COLUMNS)} do).",
        )
    text = str(value)
    if not is_encodable(text):
        raise UsageError(f"{place}: the reference holds half a surrogate pair, which is not text.", "Correct it.")
    text = text.strip()
    final = FINAL_LINE.search(text)
    return (final[1] if final else text) or None


def scorer_of(row: Mapping[str, object], column: str, reference: str | None, place: str) -> str | None:
    """A row's own scorer; None: it names none.

    Raises:
        UsageError: It cannot compare with the row's reference, or is no scorer's name.
    """
    value = row.get(column)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise UsageError(
            f"{place}: the scorer is {kind_of_value(value)}, not a name.", "Write a scorer's name, or nothing."
        )
    if ":" in value:  # FILE.py:FUNCTION is code, which only the command line may name
        raise UsageError(f"{place}: {value!r} is not a scorer's name.", f"Give your own by `--scorer {value}`.")
    if reference is None:
        raise UsageError(
            f"{place}: the scorer {value!r} has no reference to compare with.", "Add one, or empty the scorer."
        )
    wanted = None
    if value == "numeric" and not is_number(reference):
        wanted = "one number"
    if value == "choice" and not LETTER.fullmatch(reference):
        wanted = "one letter from A to J"
    if value == "math" and not _has_balanced_braces(reference):
        wanted = "an expression whose braces are closed"
    if wanted is not None:
        raise UsageError(
            f"{place}: the reference {reference!r} is not {wanted}, which the scorer {value!r} needs.",
            "Correct the reference, or choose the scorer `exact` or `contains`.",
        )
    return value


def _has_balanced_braces(reference: str) -> bool:
    depths = list(accumulate({"{": 1, "}": -1}.get(brace, 0) for brace in GROUPING.findall(reference)))
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


def _prompt_id(value: object, column: str, place: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip() and is_encodable(value):
        return value.strip()
    raise UsageError(
        f"{place}: the id in {column!r} is {kind_of_value(value)}.",
        "Give every row an id, or rename that column: ids are then made from positions.",
    )


def is_encodable(text: str) -> bool:
    """False for the lone surrogates that JSON's escapes can write and no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of_value(value: object) -> str:
    """What a value is that cannot be meant, in words."""
    if value is None:
        return "missing"
    if isinstance(value, str):
        return "empty" if not value.strip() else "not text"
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number {value}"
    names = {bool: "true or false", int: "a number", float: "a number", Decimal: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")
