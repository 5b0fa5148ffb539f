"""The ML.ENERGY Benchmark's published rows: serving at batch 8 and above, and image and video generation.

A task is a mode there: problem solving (GPQA) always thinks, chat never does. Prompts, caps and batches differ with it,
so a ratio of the two is not one of thinking.
"""

from __future__ import annotations

from functools import cache

from harness.records import Sampling
from harness.reference.conditions import OWN_LIMIT, TEXT, Conditions, sampling_words
from harness.reference.rows import PublishedRow, Quantity, Status, asset, known, number

V3 = "ml-energy/leaderboard, data of 2026-02-16"
V2 = "ml-energy/leaderboard-v2, 2024"
SAMPLING = sampling_words(Sampling(do_sample=True, temperature=0.8, top_p=0.95, repetition_penalty=1.1))

PROTOCOLS = {"gpqa": "mlenergy-gpqa", "lm-arena-chat": "mlenergy-chat"}
PROMPTS = {
    "gpqa": "gpqa-diamond",
    "lm-arena-chat": "lmarena-ai/arena-human-preference-100k",
    "sourcegraph-fim": "sourcegraph/context-aware-fim-code-completions",
    "image-chat": "lmarena-ai/VisionArena-Chat",
    "video-chat": "lmms-lab/LLaVA-Video-178K",
    "text-to-image": "data-is-better-together/open-image-preferences-v1",
    "text-to-video": "EvalCrafter",
}
N_PROMPTS = {"gpqa": 198, "lm-arena-chat": 1024, "sourcegraph-fim": 1024, "image-chat": 1024, "video-chat": 512}
"""Unique ones; larger batches ask them several times."""
CAPS = {"gpqa": 32768, "lm-arena-chat": 4096, "sourcegraph-fim": 2048, "image-chat": 4096, "video-chat": 4096}
GENERATION = {"text-to-image": "image generation", "text-to-video": "video generation"}
TASKS = {"image-chat": "text about an image", "video-chat": "text about a video", **GENERATION}
GPUS = {"H100": "H100 80GB HBM3", "B200": "B200"}


@cache
def mlenergy_rows() -> tuple[PublishedRow, ...]:
    """All of version 3.0, and some of version 2 (for the A100)."""
    return (*_v3(), *_v2_chat())


def _v3() -> list[PublishedRow]:
    return [
        PublishedRow(
            table="mlenergy",
            release="v3",
            task=row["task"],
            conditions=_conditions(row),
            values=known(
                {
                    Quantity.J_PER_OUTPUT_TOKEN: row["j_per_output_token"],
                    Quantity.J_PER_ITEM if row["task"] in GENERATION else Quantity.J_PER_QUERY: row["j_per_query"],
                }
            ),
            status=Status(row["status"]),
            note=row["note"],
            source=V3,
            output_tokens=number(row["output_tokens"]),
        )
        for row in asset("mlenergy_v3.csv")
    ]


def _conditions(row: dict[str, str]) -> Conditions:
    task = row["task"]
    generation = task in GENERATION
    return Conditions(
        model=row["model"],
        task=TASKS.get(task, TEXT),
        gpu=GPUS[row["gpu"]],
        number_of_gpus=int(row["n_gpus"]),
        power_limit=OWN_LIMIT,
        engine="xdit" if generation else "vllm",
        engine_version="0.4.5" if generation else "0.11.1",
        precision=row["precision"],
        batch_size=int(row["batch_size"]),
        protocol=PROTOCOLS.get(task, task),
        mode=None if generation else _mode(task, row["model"]),
        token_cap=CAPS.get(task),
        sampling=None if generation else SAMPLING,
        prompts=PROMPTS[task],
        number_of_prompts=N_PROMPTS.get(task),
        resolution=row["resolution"] or None,
        steps=int(row["steps"]) if row["steps"] else None,
    )


def _mode(task: str, model: str) -> str:
    """What the task's server was asked for: effort for gpt-oss, otherwise thinking in GPQA only."""
    if task == "gpqa":
        return "medium" if "gpt-oss" in model else "on"
    return "off or default"


def _v2_chat() -> list[PublishedRow]:
    return [
        PublishedRow(
            table="mlenergy",
            release="v2",
            task="chat",
            conditions=Conditions(
                model=row["model"],
                gpu=row["gpu"],
                number_of_gpus=1,
                engine="vllm",
                engine_version="0.5.4",
                batch_size=int(row["batch_size"]),
                protocol="mlenergy-v2-chat",
                mode="off or default",
            ),
            values=known({Quantity.J_PER_QUERY: row["j_per_query"]}),
            status=Status.SUPERSEDED,
            note="version 3 replaced it, with another method and engine",
            source=V2,
            output_tokens=number(row["output_tokens"]),
        )
        for row in asset("mlenergy_v2_chat.csv")
    ]
