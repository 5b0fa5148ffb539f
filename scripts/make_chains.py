#!/usr/bin/env python3
"""Build `chains.jsonl`, the prompt set of `tiny-reasoner`.

320 chains of single digits with 3 to 16 operations, 22 or 23 of each length, evaluated strictly left to
right and modulo 10 (`7+3*2-4=` -> 6). Digits and signs are drawn as in the model's training.

    python scripts/make_chains.py

The file it writes is the same byte for byte on every machine.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import NamedTuple

from stratified import interleave

OUTPUT = Path(__file__).parents[1] / "harness" / "assets" / "prompts" / "chains.jsonl"
N_CHAINS = 320
SHORTEST, LONGEST = 3, 16
SEED = 20261121


class Chain(NamedTuple):
    """One chain and its value."""

    text: str
    answer: int
    n_operations: int


def draw_chain(rng: random.Random, n_operations: int) -> Chain:
    """A random chain of uniformly drawn digits and signs."""

    def below(bound: int) -> int:
        # Of all methods of Random, only random() is promised to give the same numbers in every Python.
        return int(rng.random() * bound)

    value = below(10)
    text = str(value)
    for _ in range(n_operations):
        sign, operand = "+-*"[below(3)], below(10)
        value = {"+": value + operand, "-": value - operand, "*": value * operand}[sign] % 10
        text += f"{sign}{operand}"
    return Chain(text + "=", value, n_operations)


def draw_chains() -> list[Chain]:
    """All chains, each length holding every answer two or three times.

    Products end in 0 far more often than in 7. Left alone, a model that always says 0 would look better
    than one that guesses, so each chain is drawn again until it has the answer that is its turn.
    """
    rng = random.Random(SEED)
    lengths = LONGEST - SHORTEST + 1
    chains: dict[str, Chain] = {}
    for index in range(N_CHAINS):
        n_operations = SHORTEST + index % lengths
        # Three digits further per length, so that the digits that come up once more differ between lengths.
        wanted = (index // lengths + 3 * n_operations) % 10
        while True:
            chain = draw_chain(rng, n_operations)
            if chain.answer == wanted and chain.text not in chains:
                break
        chains[chain.text] = chain
    return list(chains.values())


def render() -> str:
    """The content of the JSONL file."""
    ordered = interleave(
        draw_chains(),
        strata=lambda chain: (("operations", chain.n_operations), ("answer", chain.answer)),
        name=lambda chain: chain.text,
    )
    rows = (
        {
            "prompt_id": f"chains-{number:04d}",
            "text": chain.text,
            "reference": str(chain.answer),
            "scorer": "numeric",
            "kind": "chain",
            "level": chain.n_operations,
        }
        for number, chain in enumerate(ordered, start=1)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    options.output.write_bytes(render().encode())


if __name__ == "__main__":
    main()
