"""The embedded prompt sets: reproducible, right, varied, and fair in every prefix."""

from __future__ import annotations

import difflib
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.engine.task.catalogue import tasks
from harness.engine.task.description import Task
from harness.prompts.catalogue import parse
from harness.prompts.media import media_kind

ROOT = Path(__file__).parents[1]
PROMPTS = ROOT / "harness" / "assets" / "prompts"
FIELDS = ["prompt_id", "text", "reference", "scorer", "kind", "level"]
SCORERS = {"chain": "numeric", "numeric": "numeric", "choice": "choice", "request": None}

Row = dict[str, Any]


def load(name: str) -> list[Row]:
    return [json.loads(line) for line in (PROMPTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


CHAINS = load("chains")
EVERYDAY = load("everyday")


def of_kind(kind: str) -> list[Row]:
    return [row for row in EVERYDAY if row["kind"] == kind]


def assert_proportional(prefix: Iterable[object], everything: Iterable[object], tolerance: float) -> None:
    here, all_of_them = Counter(prefix), Counter(everything)
    share = here.total() / all_of_them.total()
    off = {key: (here[key], round(n * share, 1)) for key, n in all_of_them.items()}
    assert all(abs(got - due) <= tolerance for got, due in off.values()), off


@pytest.mark.parametrize("name", ["chains", "everyday"])
def test_script_reproduces_the_file(name: str, tmp_path: Path) -> None:
    output = tmp_path / "again.jsonl"
    subprocess.run([sys.executable, ROOT / "scripts" / f"make_{name}.py", "--output", output], check=True)
    assert output.read_bytes() == (PROMPTS / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("rows", [CHAINS, EVERYDAY], ids=["chains", "everyday"])
def test_rows_are_well_formed(rows: list[Row]) -> None:
    for row in rows:
        assert list(row) == FIELDS
        assert row["scorer"] == SCORERS[row["kind"]]
        assert (row["reference"] is None) == (row["scorer"] is None) == (row["level"] is None)
        assert row["text"] == row["text"].strip()
        assert 5 <= len(row["text"]) <= 1500
        # Plain ASCII: token counts must not hinge on how a tokenizer splits a typographic quote.
        assert row["text"].isascii()
        assert row["text"].replace("\n", " ").isprintable()
    for field in ("prompt_id", "text"):
        assert max(Counter(row[field] for row in rows).values()) == 1


# --- chains -----------------------------------------------------------------------------------------------


def value_of_chain(text: str) -> int:
    """Left to right on whole integers, reduced once at the end: another way than the script's."""
    assert re.fullmatch(r"\d([+*-]\d)+=", text)
    nested = text[0]
    for sign, digit in re.findall(r"([+*-])(\d)", text):
        nested = f"({nested}){sign}{digit}"
    result: int = eval(nested)
    return result % 10


def test_chain_references_are_right() -> None:
    assert value_of_chain("7+3*2-4=") == 6
    for row in CHAINS:
        assert row["reference"] == str(value_of_chain(row["text"])), row
        assert row["level"] == len(re.findall(r"[+*-]", row["text"]))


def test_chains_are_graded_evenly() -> None:
    assert len(CHAINS) == 320
    levels = Counter(row["level"] for row in CHAINS)
    assert sorted(levels) == list(range(3, 17))
    assert set(levels.values()) == {22, 23}
    answers = Counter(row["reference"] for row in CHAINS)
    assert all(30 <= answers[digit] <= 34 for digit in "0123456789")


@pytest.mark.parametrize("n", [14, 28, 50, 100, 200])
def test_prefixes_of_chains_are_fair(n: int) -> None:
    assert_proportional((row["level"] for row in CHAINS[:n]), (row["level"] for row in CHAINS), 1)
    assert_proportional((row["reference"] for row in CHAINS[:n]), (row["reference"] for row in CHAINS), 2)


# --- everyday ---------------------------------------------------------------------------------------------


def test_everyday_counts() -> None:
    assert Counter(row["kind"] for row in EVERYDAY) == {"numeric": 130, "choice": 70, "request": 100}
    assert {row["level"] for row in of_kind("numeric")} == {1, 2, 3, 4, 5}


def test_numeric_problems_say_how_to_answer() -> None:
    for row in of_kind("numeric"):
        assert re.fullmatch(r"0|[1-9]\d*|\d+\.\d*[1-9]", row["reference"]), row
        assert re.search(r"Give the final answer as a [a-z0-9 ]*number[a-z0-9 ]*\.$", row["text"]), row


def test_choice_problems_show_four_options() -> None:
    for row in of_kind("choice"):
        *_, a, b, c, d, ending = row["text"].split("\n")
        options = [a, b, c, d]
        assert [option[:3] for option in options] == ["A) ", "B) ", "C) ", "D) "]
        assert len({option[3:] for option in options}) == 4
        assert ending == "Answer with one letter."


def test_choice_references_are_balanced() -> None:
    letters = Counter(row["reference"] for row in of_kind("choice"))
    assert all(0.20 <= letters[letter] / letters.total() <= 0.30 for letter in "ABCD"), letters


def test_numeric_problems_are_not_variants_of_each_other() -> None:
    def words(row: Row) -> list[str]:
        found: list[str] = re.findall(r"[a-z]+", row["text"].partition("Give the final")[0].lower())
        return found

    for one, other in itertools.combinations(of_kind("numeric"), 2):
        matcher = difflib.SequenceMatcher(None, words(one), words(other), autojunk=False)
        # The quick ratio is an upper bound; it spares the full comparison for nearly all pairs.
        near = matcher.real_quick_ratio() > 0.6 and matcher.quick_ratio() > 0.6 and matcher.ratio() > 0.6
        assert not near, (one["text"], other["text"])


@pytest.mark.parametrize(("n", "tolerance"), [(12, 1), (25, 1), (50, 2), (100, 2), (150, 2), (200, 2)])
def test_prefixes_of_everyday_are_fair(n: int, tolerance: float) -> None:
    prefix = EVERYDAY[:n]
    assert_proportional((row["kind"] for row in prefix), (row["kind"] for row in EVERYDAY), tolerance)
    for field in ("level", "reference"):
        kind = "numeric" if field == "level" else "choice"
        assert_proportional(
            (row[field] for row in prefix if row["kind"] == kind), (row[field] for row in of_kind(kind)), 2
        )


def test_every_prefix_holds_the_kinds_in_proportion() -> None:
    for n in range(1, len(EVERYDAY) + 1):
        assert_proportional((row["kind"] for row in EVERYDAY[:n]), (row["kind"] for row in EVERYDAY), 1)


@pytest.mark.parametrize("n", [50, 100, 200])
def test_prefixes_mix_short_and_long_requests(n: int) -> None:
    # Only the authoring source knows the expected length of a reply; a request's number is its place there.
    source = yaml.safe_load((ROOT / "scripts" / "everyday_prompts" / "requests.yaml").read_text(encoding="utf-8"))
    length = {f"everyday-request-{i:03d}": entry["length"] for i, entry in enumerate(source, start=1)}
    prefix = [length[row["prompt_id"]] for row in EVERYDAY[:n] if row["kind"] == "request"]
    assert_proportional(prefix, length.values(), 2)


# --- of the other tasks -----------------------------------------------------------------------------------

BYTES_MOST = 4_000_000
"""Of all sets together: they are in every installation."""
TASKS = [task for task in tasks().values() if not task.is_text_generation]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task.name))
def test_every_task_has_inputs_that_ship(task: Task) -> None:
    prompts = parse(task.prompts, task.inputs).load(0).prompts
    assert len(prompts) >= 10
    assert len({prompt.prompt_id for prompt in prompts}) == len(prompts)
    inputs = [(prompt.text, prompt.text_pair, prompt.media and prompt.media.sha256) for prompt in prompts]
    assert len(set(inputs)) == len(inputs)
    for prompt in prompts:
        assert bool(prompt.text.strip()) == bool(task.inputs.text)
        assert bool((prompt.text_pair or "").strip()) == bool(task.inputs.text_pair)
        assert (prompt.media is not None) == bool(task.inputs.media)
        assert (prompt.reference is not None) == bool(task.inputs.reference)
        assert prompt.scorer == task.inputs.scorer


@pytest.mark.parametrize("folder", [path for path in PROMPTS.iterdir() if path.is_dir()], ids=lambda path: path.name)
def test_a_folder_holds_what_its_list_names_and_nothing_else(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    named = {row["file_name"] for row in rows}
    assert len(named) == len(rows)
    assert named == {path.name for path in folder.iterdir() if media_kind(path.name) is not None}


def test_the_sets_are_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in PROMPTS.rglob("*") if path.is_file()) < BYTES_MOST
