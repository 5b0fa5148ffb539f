"""AI Energy Score's published rows, and the conditions that its documentation and code give them.

v1 (February 2025): 1,000 prompts, greedy, exactly 10 tokens, float16, one H100 for classes A and B. v2 (October to
December 2025): sampled at T 0.7 without a seed, 10 tokens or up to 8,192, precision of the checkpoint, by default 10
prompts. What is not documented, or contradicted by the code, stays unstated.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from harness.records import Sampling
from harness.reference.conditions import AS_PUBLISHED, IN_THE_FIGURE, Conditions, sampling_words, task_words
from harness.reference.rows import PublishedRow, Quantity, Status, asset, known, number

TEXT_GENERATION = "text_generation"
REASONING = "reasoning"
CAP = 10
REASONING_CAP = 8192
N_PROMPTS = 1000
"""That the documentation asks for, whatever the tool's default."""
LEADERBOARD = "AI Energy Score leaderboard, copy of 2025-12-06"
NO_SWITCH = "off or default"
"""Their rows without reasoning: the model's own way, cut after 10 tokens. They never switch thinking off."""

V1 = Conditions(
    gpu="H100 80GB",
    engine="transformers",
    precision="float16",
    batch_size=1,
    protocol="aies-v1",
    mode=NO_SWITCH,
    token_cap=CAP,
    fewest_tokens=CAP,
    sampling=sampling_words(Sampling(do_sample=False)),
    prompts="aies-text-generation",
    number_of_prompts=N_PROMPTS,
)
V2 = Conditions(
    gpu="H100 80GB",
    engine="transformers",
    precision=AS_PUBLISHED,
    batch_size=1,
    protocol="aies-v2",
    mode=NO_SWITCH,
    token_cap=CAP,
    sampling=sampling_words(Sampling(do_sample=True, temperature=0.7, top_p=0.9, top_k=50)),
    prompts="aies-text-generation",
)
RELEASES = {"v1": V1, "v2": V2}
ALIASES = {"sd-2-1": "stable-diffusion-2-1"}
"""Names of the leaderboard that are not those of the Hub: its rows of images stand under the short ones that people
say. Other rows without an owner have the Hub's name."""


@cache
def aies_rows() -> tuple[PublishedRow, ...]:
    """Text generation, reasoning, and what could be read of other tasks."""
    return (*_text_generation(), *_reasoning(), *_other_tasks())


def _text_generation() -> list[PublishedRow]:
    return [
        PublishedRow(
            table="aies",
            release=row["release"],
            task=TEXT_GENERATION,
            conditions=replace(
                RELEASES[row["release"]], model=row["model"], number_of_gpus=None if row["class"] == "C" else 1
            ),
            values=known({Quantity.WH_PER_1000: row["wh_per_1000"]}),
            status=Status(row["status"]),
            note=row["note"],
            source=LEADERBOARD,
            output_tokens=CAP,
            class_=row["class"],
        )
        for row in asset("aies_text_generation.csv")
    ]


def _reasoning() -> list[PublishedRow]:
    return [
        PublishedRow(
            table="aies",
            release="v2",
            task=REASONING,
            conditions=replace(
                V2,
                model=row["model"],
                mode=row["mode"],
                token_cap=REASONING_CAP,
                prompts=None,
                number_of_prompts=int(row["n_prompts"]) if row["n_prompts"] else None,
            ),
            values=known(
                {
                    Quantity.WH_PER_1000: row["wh_per_1000"],
                    Quantity.J_PER_OUTPUT_TOKEN: row["j_per_output_token"],
                }
            ),
            status=Status(row["status"]),
            note=row["note"],
            source=row["source"],
            output_tokens=number(row["output_tokens"]),
        )
        for row in asset("aies_reasoning.csv")
    ]


def _other_tasks() -> list[PublishedRow]:
    """As its documentation has them: 1,000 inputs of a set of its own, steps and resolution of images unstated."""
    return [
        PublishedRow(
            table="aies",
            release=row["release"],
            task=row["task"],
            conditions=Conditions(
                model=row["model"],
                task=task_words(row["task"].replace("_", "-")),
                gpu="H100 80GB",
                number_of_gpus=1,
                precision="float32",
                batch_size=1,
                prompts=f"aies-{row['task'].replace('_', '-')}",
                number_of_prompts=N_PROMPTS,
                preprocessing=IN_THE_FIGURE,
            ),
            names=(row["model"], *([ALIASES[row["model"]]] if row["model"] in ALIASES else [])),
            values=known({Quantity.WH_PER_1000: row["wh_per_1000"]}),
            status=Status(row["status"]),
            note=row["note"],
            source="AI Energy Score leaderboard of February 2025, through third parties",
            stars=int(row["stars"]) if row["stars"] else None,
        )
        for row in asset("aies_other_tasks.csv")
    ]
