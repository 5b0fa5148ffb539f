#!/usr/bin/env python3
"""Build `everyday.jsonl`, the default prompt set for real models.

200 short problems in words (numeric and multiple choice) and 100 everyday requests without a reference
answer, all written for this project. They are kept in `everyday_prompts/*.yaml`, where they are pleasant
to read and to review; this script checks them, computes the reference answers and fixes the order.

    python scripts/make_everyday.py

The file it writes is the same byte for byte on every machine.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from stratified import interleave

SOURCES = Path(__file__).parent / "everyday_prompts"
OUTPUT = Path(__file__).parents[1] / "harness" / "assets" / "prompts" / "everyday.jsonl"
LETTERS = "ABCD"

Steps = Annotated[int, Field(ge=1, le=5)]
Row = dict[str, str | int | None]

OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Pow: lambda a, b: a ** int(b),
}


class Source(BaseModel):
    """What all three YAML files have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    text: str


class NumericProblem(Source):
    """One entry of numeric.yaml."""

    steps: Steps
    topic: str
    answer_expression: str | int
    ending: str = "Give the final answer as a number."


class ChoiceProblem(Source):
    """One entry of choice.yaml."""

    steps: Steps
    topic: str
    options: Annotated[list[str], Field(min_length=4, max_length=4)]
    answer: Literal["A", "B", "C", "D"]


class Request(Source):
    """One entry of requests.yaml."""

    length: Literal["short", "medium", "long"]
    task: str


def evaluate(expression: str) -> Fraction:
    """The exact value of an arithmetic expression of numbers, + - * / // **, brackets and ceil().

    Fractions, because 0.1 + 0.2 has to be 0.3 in a reference answer. A decimal such as 1.10 is taken as it
    is written, not as the nearest binary number.

    Raises:
        ValueError: The expression contains something else.
    """

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int() | float() as number):
                return Fraction(str(number))
            case ast.BinOp() if type(node.op) in OPERATIONS:
                return OPERATIONS[type(node.op)](value(node.left), value(node.right))
            case ast.Call(func=ast.Name(id="ceil"), args=[argument]):
                return Fraction(math.ceil(value(argument)))
            case _:
                raise ValueError(f"{expression!r}: {ast.unparse(node)!r} is not plain arithmetic")

    return value(ast.parse(expression, mode="eval").body)


def as_decimal(number: Fraction) -> str:
    """The number in decimal notation, without trailing zeros.

    Raises:
        ValueError: It has no finite decimal expansion: ask for another quantity, not for a rounded one.
    """
    decimal = Decimal(number.numerator) / Decimal(number.denominator)
    if Fraction(decimal) != number:
        raise ValueError(f"{number} would have to be rounded")
    text = f"{decimal:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def numeric_row(number: int, problem: NumericProblem) -> Row:
    """The JSONL row of a numeric problem."""
    return {
        "prompt_id": f"everyday-numeric-{number:03d}",
        "text": f"{problem.text} {problem.ending}",
        "reference": as_decimal(evaluate(str(problem.answer_expression))),
        "scorer": "numeric",
        "kind": "numeric",
        "level": problem.steps,
    }


def choice_row(number: int, problem: ChoiceProblem) -> Row:
    """The JSONL row of a multiple-choice problem."""
    options = [f"{letter}) {option}" for letter, option in zip(LETTERS, problem.options, strict=True)]
    return {
        "prompt_id": f"everyday-choice-{number:03d}",
        "text": "\n".join([problem.text, *options, "Answer with one letter."]),
        "reference": problem.answer,
        "scorer": "choice",
        "kind": "choice",
        "level": problem.steps,
    }


def request_row(number: int, request: Request) -> Row:
    """The JSONL row of a request."""
    return {
        "prompt_id": f"everyday-request-{number:03d}",
        "text": request.text,
        "reference": None,
        "scorer": None,
        "kind": "request",
        "level": None,
    }


def render() -> str:
    """The content of the JSONL file."""

    def load(name: str) -> object:
        return yaml.safe_load((SOURCES / name).read_text(encoding="utf-8"))

    numeric = TypeAdapter(list[NumericProblem]).validate_python(load("numeric.yaml"))
    choice = TypeAdapter(list[ChoiceProblem]).validate_python(load("choice.yaml"))
    requests = TypeAdapter(list[Request]).validate_python(load("requests.yaml"))

    # Each row with what its prefixes are balanced over. Topic, task and length serve the order only and stay
    # out of the file. Letters are among them so that no prefix rewards a model that always says "B".
    entries: list[tuple[Row, dict[str, str | int]]] = []
    for number, problem in enumerate(numeric, start=1):
        entries.append((numeric_row(number, problem), {"steps": problem.steps, "topic": problem.topic}))
    for number, question in enumerate(choice, start=1):
        steps, topic, answer = question.steps, question.topic, question.answer
        entries.append((choice_row(number, question), {"steps": steps, "topic": topic, "answer": answer}))
    for number, request in enumerate(requests, start=1):
        entries.append((request_row(number, request), {"length": request.length, "task": request.task}))

    ordered = interleave(
        entries,
        strata=lambda entry: (entry[0]["kind"], *((entry[0]["kind"], *facet) for facet in entry[1].items())),
        name=lambda entry: str(entry[0]["prompt_id"]),
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row, _ in ordered)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    options.output.write_bytes(render().encode())


if __name__ == "__main__":
    main()
