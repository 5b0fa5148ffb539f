"""From a job to what answers: checkpoints in this process, one by one or in static batches, or a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.clock import SessionClock
from harness.config import RANDOM, ModelEntry, RunSpec
from harness.engine.task.catalogue import options_of, task_named
from harness.protocols import Engine, LoadEngine, Reasoning
from harness.wiring.jobs import Job, engine_class, source_of

if TYPE_CHECKING:
    from harness.engine.server.serving import Serving
    from harness.engine.task.engine import TaskEngine
    from harness.engine.transformers import TransformersEngine


def engine_of(job: Job, clock: SessionClock) -> Engine:
    """What answers one query at a time: one checkpoint, or two that take turns; of a task, its model."""
    if job.cell.task is not None:
        return _task_engine(job, clock, job.cell.task)
    own = _checkpoint(job, clock, job.entry, job.cell.revision, job.reasoning)
    pair = job.cell.pair
    if pair is None or job.pair_entry is None or job.pair_reasoning is None:
        return own
    from harness.engine.paired import PairedEngine

    other = _checkpoint(job, clock, job.pair_entry, pair.revision, job.pair_reasoning)
    return PairedEngine(own, other, pair.modes)


def _task_engine(job: Job, clock: SessionClock, name: str) -> TaskEngine:
    from harness.engine.task.engine import TaskEngine

    task = task_named(name)
    return TaskEngine(
        task=task,
        options=options_of(task, job.cell.task_options),
        source=source_of(job.entry),
        revision=job.cell.revision,
        clock=clock,
        device=job.device,
        dtype=job.cell.dtype,
        attention=job.cell.engine.attention,
        trust_remote_code=job.cell.trust_remote_code,
        n_threads=_n_threads(job),
        random_weights=job.entry.source.startswith(f"{RANDOM}:"),
    )


def load_engine_of(job: Job, clock: SessionClock, session: int, serving: Serving | None) -> LoadEngine:
    """What answers several queries at once.

    Args:
        job: The cell.
        clock: The session's.
        session: Its number.
        serving: The server that answers; None: static batches in this process.
    """
    cell, spec = job.cell, job.spec
    if serving is None:
        from harness.engine.batches import BatchEngine

        own = _checkpoint(job, clock, job.entry, cell.revision, job.reasoning)
        return BatchEngine(engine=own, clock=clock, session=session, batch_size=cell.batch_size)
    from harness.engine.openai.engine import OpenAIEngine

    assert serving.facts.server is not None  # they are a server's
    return OpenAIEngine(
        base_url=serving.base_url,
        model=serving.model,
        reasoning=job.reasoning,
        clock=clock,
        session=session,
        concurrency=cell.concurrency,
        request_rate_per_second=cell.request_rate_per_second,
        seed=cell.seed,
        prompt_cache=cell.prompt_cache,
        sampling=cell.sampling,
        min_new_tokens=cell.min_new_tokens,
        request_timeout_s=spec.request_timeout_s,
        max_failures=spec.max_failures,
        tokenizer=tokenizer_of(spec),
        facts=serving.facts.server,
        engine_facts=serving.facts,
    )


def tokenizer_of(spec: RunSpec) -> str | None:
    """The served model's. A relative path begins where the run was started, also when it is resumed elsewhere."""
    if spec.tokenizer is None:
        return None
    path = Path(spec.working_dir or ".", spec.tokenizer)
    return str(path) if path.exists() else spec.tokenizer


def _checkpoint(
    job: Job, clock: SessionClock, entry: ModelEntry, revision: str, reasoning: Reasoning
) -> TransformersEngine:
    return engine_class()(
        source=source_of(entry),
        revision=revision,
        reasoning=reasoning,
        clock=clock,
        device=job.device,
        dtype=job.cell.dtype,
        quantization=job.cell.quantization,
        attention=job.cell.engine.attention,
        compiled=job.cell.engine.compile,
        trust_remote_code=job.cell.trust_remote_code,
        n_threads=_n_threads(job),
        sampling=job.cell.sampling,
        min_new_tokens=job.cell.min_new_tokens,
    )


def _n_threads(job: Job) -> int | None:
    """Threads of the model on a CPU: one core is left to the sampler and the interpreter.

    Without it they and the model's threads wait for each other at every layer, and a small model runs ten times
    slower for it. On a GPU torch decides.
    """
    if job.cell.engine.n_threads is not None or job.device != "cpu":
        return job.cell.engine.n_threads
    return max(1, len(os.sched_getaffinity(0)) - 1)
