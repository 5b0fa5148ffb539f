"""Runs of every task but text generation, with known joules, sizes and scores. No sensor, no model, no scorer.

queries = task_queries("automatic-speech-recognition")    # plausible ones: J = CONSTANT_J + PER_UNIT_J x size
queries = [task_query(TASK, index, 30.0, sizes={"audio_s": 4.0}, values={...}) for index in range(9)]    # chosen
summary = task_summary(TASK, queries)
run = write_task_run(tmp_path, TASK, queries)    # a run directory, that `report`, `export` and `gate` read
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.summary import summarise
from harness.records import (
    Boundary,
    Cell,
    EngineOptions,
    Estimate,
    Finding,
    FindingCode,
    IntervalRecord,
    Method,
    Output,
    QueryRecord,
    Score,
    SessionEnd,
    Summary,
)
from harness.store.run_directory import RunDirectory
from tests.exportable import H100, manifest
from tests.synthetic_runs import GPU, POWER_IDLE_W, POWER_W, channel, reading

MODE = "default"
RUN_ID = "20300101-000000-task"
CONSTANT_J = 20.0
CPU_DEVICE = "codecarbon-host-model"
Values = Mapping[str, float | tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one task's synthetic queries look. `law` is the size that decides their joules, `per_unit_j` how much."""

    model: str
    prompts: str
    scorer: str | None
    phases: Mapping[str, float]
    law: str
    per_unit_j: float
    max_new_tokens: int = 0
    options: Mapping[str, int | float | str] | None = None


FORWARD = {"forward": 1.0}
ENCODE_DECODE = {"encode": 0.3, "decode": 0.7}
TASKS = {
    "summarization": Kind(
        model="google/flan-t5-small",
        prompts="articles",
        scorer="rouge",
        phases=ENCODE_DECODE,
        law="output_tokens",
        per_unit_j=1.5,
        max_new_tokens=128,
    ),
    "question-answering": Kind(
        model="distilbert/distilbert-base-cased-distilled-squad",
        prompts="passages",
        scorer="extractive",
        phases=FORWARD,
        law="prompt_tokens",
        per_unit_j=0.05,
    ),
    "text-classification": Kind(
        model="distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        prompts="remarks",
        scorer="label",
        phases=FORWARD,
        law="prompt_tokens",
        per_unit_j=0.05,
    ),
    "sentence-similarity": Kind(
        model="sentence-transformers/all-MiniLM-L6-v2",
        prompts="sentence-pairs",
        scorer="similarity",
        phases=FORWARD,
        law="prompt_tokens",
        per_unit_j=0.05,
    ),
    "image-classification": Kind(
        model="google/mobilenet_v2_1.0_224",
        prompts="drawn",
        scorer="label",
        phases=FORWARD,
        law="input_megapixels",
        per_unit_j=40.0,
    ),
    "object-detection": Kind(
        model="hustvl/yolos-tiny",
        prompts="drawn",
        scorer="detections",
        phases=FORWARD,
        law="input_megapixels",
        per_unit_j=40.0,
    ),
    "image-captioning": Kind(
        model="Salesforce/blip-image-captioning-base",
        prompts="drawn",
        scorer="rouge",
        phases=ENCODE_DECODE,
        law="output_tokens",
        per_unit_j=1.5,
        max_new_tokens=30,
    ),
    "automatic-speech-recognition": Kind(
        model="openai/whisper-tiny",
        prompts="spoken",
        scorer="words",
        phases=ENCODE_DECODE,
        law="audio_s",
        per_unit_j=6.0,
        max_new_tokens=200,
    ),
    "image-generation": Kind(
        model="segmind/tiny-sd",
        prompts="scenes",
        scorer=None,
        phases={"encode": 0.02, "denoise": 0.9, "decode": 0.08},
        law="output_megapixel_steps",
        per_unit_j=25.0,
        options={"steps": 20},
    ),
}
"""By the names of the tasks."""


def task_cell(task: str, **changes: Any) -> Cell:
    """What is measured; `changes` are of its fields."""
    kind = TASKS[task]
    known: dict[str, Any] = {
        "model": kind.model,
        "source": kind.model,
        "revision": "b968826d9c46dd6066d109eabc6255188de91218",
        "engine": EngineOptions(device="cuda"),
        "dtype": "float32",
        "quantization": "none",
        "prompt_set": kind.prompts,
        "prompt_set_sha256": "0" * 64,
        "protocol": "paired-1",
        "modes": (MODE,),
        "max_new_tokens": kind.max_new_tokens,
        "seed": 1,
        "task": task,
        "task_options": dict(kind.options or {}),
    }
    return Cell(**{**known, **changes})


def task_query(
    task: str,
    index: int,
    energy_j: float | None,
    *,
    sizes: Mapping[str, int | float],
    correct: bool | None = None,
    values: Values | None = None,
    duration_s: float = 1.0,
    time_start_s: float = 20.0,
    text: str = "an answer",
    method: Method = Method.NVML_COUNTER,
    boundary: Boundary = Boundary.GPU_BOARD,
    findings: Sequence[Finding] = (),
    net: bool = False,
) -> QueryRecord:
    """One query with these joules; it has a score where `correct` or `values` are given.

    A query whose findings hold `INPUT_UNUSABLE` has no output.
    """
    failed = any(finding.code is FindingCode.INPUT_UNUSABLE for finding in findings)
    one = reading(
        energy_j,
        phases=dict(TASKS[task].phases),
        time_start_s=time_start_s,
        duration_s=duration_s,
        device=GPU if boundary is Boundary.GPU_BOARD else CPU_DEVICE,
        boundary=boundary,
        method=method,
        net=net,
    )
    output = Output(
        sizes=dict(sizes),
        finish_reason="stop",
        rendered_prompt_sha256=hashlib.sha256(str(index).encode()).hexdigest(),
        text=text,
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    is_scored = not failed and (correct is not None or values is not None)
    return QueryRecord(
        session=1,
        prompt_id=f"{TASKS[task].prompts}-{index:03d}",
        prompt_index=index,
        mode=MODE,
        seed=index,
        time_start_s=time_start_s,
        time_end_s=time_start_s + duration_s,
        output=None if failed else output,
        score=Score(correct=correct, extracted=text, values=dict(values or {})) if is_scored else None,
        readings=(one,),
        findings=tuple(findings),
    )


def task_queries(
    task: str,
    n: int = 12,
    *,
    seed: int = 7,
    noise: float = 0.02,
    method: Method = Method.NVML_COUNTER,
    boundary: Boundary = Boundary.GPU_BOARD,
    n_unusable: int = 0,
) -> list[QueryRecord]:
    """Plausible queries of a task, one after the other from 20 s on, the last `n_unusable` of them failed."""
    rng = np.random.default_rng(seed)
    kind, time_s, queries = TASKS[task], 20.0, []
    for index in range(n):
        sizes = _sizes(task, rng)
        units = units_of(kind.law, sizes)
        energy_j = (
            (CONSTANT_J + kind.per_unit_j * units) * float(rng.lognormal(0.0, noise))
            if noise
            else (CONSTANT_J + kind.per_unit_j * units)
        )
        duration_s = energy_j / POWER_W
        correct, values, text = _answer(task, rng)
        unusable = Finding(code=FindingCode.INPUT_UNUSABLE, detail=f"{index}: nothing that this task takes")
        queries.append(
            task_query(
                task,
                index,
                energy_j,
                sizes=sizes,
                correct=correct,
                values=values,
                duration_s=duration_s,
                time_start_s=time_s,
                text=text,
                method=method,
                boundary=boundary,
                findings=[unusable] if index >= n - n_unusable else (),
            )
        )
        time_s += duration_s + 0.3
    return queries


def units_of(law: str, sizes: Mapping[str, int | float]) -> float:
    """What a query's size is in the unit of a law."""
    if law == "output_megapixel_steps":
        return sizes["output_pixels"] / 1e6 * sizes["denoising_steps"]
    return sizes["input_pixels"] / 1e6 if law == "input_megapixels" else float(sizes[law])


def task_summary(task: str, queries: Sequence[QueryRecord] | None = None, **changes: Any) -> Summary:
    """The summary of such queries; `changes` are of the cell."""
    queries = task_queries(task) if queries is None else queries
    only = _channel_of(queries)
    return summarise(
        task_cell(task, **changes),
        queries,
        run_id=RUN_ID,
        site_id="0123456789ab",
        headline=only.boundary,
        channels=(only,),
        tariff_per_kwh=0.3,
        n_prompts_planned=len(queries),
        power_idle_w=Estimate(value=POWER_IDLE_W, half_width_reading=1.0),
        n_sessions=1,
        findings=(),
    )


def write_task_run(
    folder: Path,
    task: str,
    queries: Sequence[QueryRecord] | None = None,
    *,
    run_id: str = RUN_ID,
    findings: Sequence[Finding] = (),
    **changes: Any,
) -> Path:
    """A finished run of one cell and one session in `folder`; nothing is published yet, and no raw readings are in it.

    Args:
        folder: Where the run's directory goes.
        task: Its name.
        queries: What was asked; None: `task_queries`.
        run_id: The name of the run's directory.
        findings: Of the session.
        changes: Of the cell.

    Returns:
        The run's directory.
    """
    queries = task_queries(task) if queries is None else queries
    cell, only = task_cell(task, **changes), _channel_of(queries)
    known = manifest(
        H100,
        executed="float32",
        run_id=run_id,
        cell_id=cell.cell_id,
        session=1,
        channels=(only,),
        headline=only.boundary,
        n_prompts=len(queries),
        store_text="full",
        command=("harness", "run", "--task", task, "--model", cell.model),
        findings=tuple(findings),
    )
    store = RunDirectory.create(folder / run_id, cell, known.site.site_id)
    store.begin_session()
    store.write_manifest(known)
    store.append_query(*queries)
    end_s = max((each.time_end_s for each in queries), default=20.0)
    stretches = (
        ("load", 0.5, 4.0),
        ("warm_up", 4.0, 6.0),
        ("idle_before", 6.0, 18.0),
        ("idle_after", end_s, end_s + 12),
    )
    for name, start_s, stop_s in stretches:
        store.append_interval(_idle(name, start_s, stop_s, only.boundary, only.method, only.device))
    store.write_end(
        SessionEnd(session=1, ended_utc="2026-11-02T03:14:05Z", status="finished", sampler=None, findings=())
    )
    return folder / run_id


def _idle(name: str, start_s: float, stop_s: float, boundary: Boundary, method: Method, device: str) -> IntervalRecord:
    power_w = POWER_IDLE_W if name.startswith("idle") else 160.0
    one = reading(
        power_w * (stop_s - start_s),
        time_start_s=start_s,
        duration_s=stop_s - start_s,
        device=device,
        boundary=boundary,
        method=method,
    )
    return IntervalRecord(session=1, name=name, time_start_s=start_s, time_end_s=stop_s, readings=(one,))


def _channel_of(queries: Sequence[QueryRecord]) -> Any:
    (one,) = queries[0].readings
    return channel(one.device, one.method, one.boundary)


def _sizes(task: str, rng: np.random.Generator) -> dict[str, int | float]:
    if task == "automatic-speech-recognition":
        return {"audio_s": round(float(rng.uniform(1.5, 20.0)), 3), "output_tokens": int(rng.integers(5, 60))}
    if task == "image-generation":
        side = int(rng.choice([256, 512, 768]))
        return {"prompt_tokens": int(rng.integers(5, 30)), "output_pixels": side * side, "denoising_steps": 20}
    if task in ("image-classification", "object-detection"):
        return {"input_pixels": int(rng.choice([224, 320, 512])) ** 2}
    if task == "image-captioning":
        return {"input_pixels": 384 * 384, "output_tokens": int(rng.integers(5, 30))}
    if task == "summarization":
        return {"prompt_tokens": int(rng.integers(80, 500)), "output_tokens": int(rng.integers(20, 100))}
    return {"prompt_tokens": int(rng.integers(10, 400))}


def _answer(task: str, rng: np.random.Generator) -> tuple[bool | None, Values | None, str]:
    """Whether it is right, its values, its text."""
    scorer = TASKS[task].scorer
    if scorer is None:
        return None, None, ""
    if scorer == "label":
        is_right = bool(rng.random() < 0.8)
        return is_right, None, "circle" if is_right else "square"
    if scorer == "extractive":
        is_right = bool(rng.random() < 0.6)
        return is_right, {"f1": 1.0 if is_right else round(float(rng.random()), 3), "exact_match": float(is_right)}, "x"
    if scorer == "rouge":
        one = float(rng.uniform(0.2, 0.6))
        return None, {"rouge1": one, "rouge2": one / 3, "rougeL": one * 0.8}, "A short account."
    if scorer == "words":
        n_words = int(rng.integers(4, 30))
        return None, {"word_errors": float(rng.binomial(n_words, 0.15)), "reference_words": float(n_words)}, "words"
    if scorer == "similarity":
        wanted = float(rng.uniform(0, 5))
        return None, {"similarity": wanted / 5 + float(rng.normal(0, 0.1)), "reference": wanted}, "0.5"
    return None, _detections(rng), "[]"


def _detections(rng: np.random.Generator) -> Values:
    """One image: most objects are found, the better the fewer the threshold asks; some boxes are of nothing."""
    objects = [float(each) for each in rng.integers(1, 4, size=int(rng.integers(1, 5)))]
    found = [each for each in objects if rng.random() < 0.85]
    category = (*found, *(float(each) for each in rng.integers(1, 4, size=int(rng.integers(0, 3)))))
    reach = [*rng.uniform(0.5, 1.0, size=len(found)), *np.zeros(len(category) - len(found))]
    matched = {
        f"matched_{percent}": tuple(float(each >= percent / 100) for each in reach) for percent in range(50, 100, 5)
    }
    confidence = tuple(round(float(each), 6) for each in np.clip(rng.normal(0.6, 0.2, len(category)), 0.05, 0.99))
    return {"confidence": confidence, "category": category, **matched, "objects": tuple(objects)}
