"""Any task's model in this process, one query at a time, measured as text is.

Everything that is not the model's work stays outside of the measured window: decoding a file, resizing, tokenizing and
copying to the device come before it, reading the answer after it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from harness.engine.chatter import Chatter
from harness.engine.checkpoint import without_progress_bars
from harness.engine.device import device_name, empty_cache, synchronize
from harness.engine.facts import attention_findings, attention_of, context_length_of
from harness.engine.faults import LOAD_ERRORS, is_out_of_memory, let_go, load_fault
from harness.engine.precision import check_flags, executed_precision
from harness.engine.revision import resolve_revision
from harness.engine.source import locate
from harness.engine.task.description import Options, Task
from harness.engine.task.runner import Place, Runner
from harness.engine.task.stopwatch import Stopwatch
from harness.engine.weights import Weights, board_uuids, weigh
from harness.engine.window import no_collection
from harness.errors import CellFailed, OutOfMemory, UsageError
from harness.protocols import Clock
from harness.records import EngineFacts, Finding, FindingCode, Generation, Prompt


class TaskEngine:
    """One model that does one task. Its one mode is whatever it is called."""

    def __init__(
        self,
        *,
        task: Task,
        options: Options,
        source: str,
        revision: str,
        clock: Clock,
        device: str,
        dtype: str = "auto",
        attention: str = "default",
        trust_remote_code: bool = False,
        n_threads: int | None = None,
        random_weights: bool = False,
    ) -> None:
        """Note what is wanted; nothing is loaded yet.

        Args:
            task: What is done.
            options: Of the task, all of them.
            source: Hub name or directory.
            revision: Branch, tag, commit, or what `resolve_revision` returned.
            clock: The session's.
            device: What `resolve_device` returned.
            dtype: `auto` for the checkpoint's own, `float32`, `bfloat16` or `float16`.
            attention: transformers' name of an attention implementation, or `default`.
            trust_remote_code: Execute code from the model's repository.
            n_threads: Threads for the CPU's share of the work; None: as torch decides.
            random_weights: The directory is a stand-in's, and `revision` the name of its recipe.

        Raises:
            UsageError: A value that cannot be meant.
        """
        check_flags("none", dtype, device)
        self._task = task
        self._place = Place(
            source=locate(source),
            revision=revision,
            device=device,
            dtype=dtype,
            attention=attention,
            trust_remote_code=trust_remote_code,
            options=options,
        )
        self._clock = clock
        self._n_threads = n_threads
        self._is_random = random_weights
        self._chatter = Chatter()
        self._doubts: list[Finding] = []
        self._runner: Runner | None = None
        self._weights: Weights | None = None

    def ready(self, mode: str) -> bool:  # noqa: ARG002 - one model, one mode
        """Whether the model is loaded."""
        return self._runner is not None

    def load(self, mode: str | None = None) -> EngineFacts:  # noqa: ARG002 - one model, one mode
        """Bring the model onto its device and say what was really loaded.

        Raises:
            ModelUnavailable: Missing, gated, damaged or unreachable.
            OutOfMemory: It does not fit.
            EnvironmentFault: A package is missing, or the device cannot do this.
            UsageError: It is no model for this task, or needs code or pickled weights that were not allowed.
        """
        self.close()
        if self._n_threads is not None:
            torch.set_num_threads(self._n_threads)
        place = self._place
        if not self._is_random:
            resolve_revision(place.source.name, place.revision)
        assert self._task.open is not None  # text generation has an engine of its own
        with self._chatter.listening(), without_progress_bars(place.source), self._load_faults():
            self._runner = self._task.open(place)
            facts = self._facts()
        self._note_doubts(facts)
        gc.collect()
        gc.freeze()  # what is alive now stays alive: later collections need not look at it
        return facts

    def render(self, prompt: Prompt, mode: str) -> str:  # noqa: ARG002 - one mode
        """What the model is given, in words."""
        return self._ready().prepare(prompt, self._task.max_new_tokens or 0).rendered

    def generate(
        self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int, *, n_forced_tokens: int | None = None
    ) -> Generation:
        """Run one query. The device is synchronized at both ends, and at the end of each phase.

        Args:
            prompt: The input.
            mode: The only one.
            max_new_tokens: The cap of an answer in tokens, where the task writes any.
            seed: Of this query's random numbers.
            n_forced_tokens: None; no task's length can be forced.

        Raises:
            UnusableInput: The input is not what the task takes.
            OutOfMemory: The device ran out of memory; the engine stays usable.
            CellFailed: The model itself raised an error.
        """
        del mode
        if n_forced_tokens is not None:
            raise UsageError(f"The lengths of {self._task.name} cannot be forced.", "Leave --lengths out.")
        runner = self._ready()
        with self._chatter.listening(), self._query_faults(prompt):
            prepared = runner.prepare(prompt, max_new_tokens)
            with torch.inference_mode(), no_collection():
                torch.manual_seed(seed)
                stopwatch = Stopwatch(self._clock, self._synchronize())
                raw = runner.run(prepared, stopwatch, max_new_tokens)
                stopwatch.split(runner.last_phase)
            result = runner.read(prepared, raw, prompt)
        return Generation(
            phases=stopwatch.phases,
            sizes={**prepared.sizes, **result.sizes},
            finish_reason=result.finish_reason,
            text=result.text,
            thinking="",
            answer=result.text,
            rendered_prompt=prepared.rendered,
            findings=(*prepared.findings, *result.findings),
            comparable=result.comparable,
        )

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int, *, batch_size: int
    ) -> tuple[Generation, ...]:
        """Tasks are run one query at a time.

        Raises:
            UsageError: Always.
        """
        del prompts, mode, max_new_tokens, seed, batch_size
        raise UsageError(f"{self._task.name} is measured one query at a time.", "Leave --batch-size out.")

    def warnings(self) -> tuple[Finding, ...]:
        """What libraries said about falling back since the last call, and what was loaded that can be doubted."""
        doubts, self._doubts = tuple(self._doubts), []
        return (*doubts, *self._chatter.findings())

    def close(self) -> None:
        """Free the device's memory."""
        if self._runner is None:
            return
        self._runner = self._weights = None
        gc.unfreeze()
        empty_cache()

    def _facts(self) -> EngineFacts:
        opened = self._ready().opened
        weights = self._weights = weigh(opened.model)
        executed = executed_precision(weights.body_bytes_by_storage, {})
        return EngineFacts(
            device_name=device_name(weights.cuda_indices),
            device_uuids=board_uuids(weights.cuda_indices),
            revision=self._place.revision,
            n_parameters=weights.n_elements,
            bytes_per_parameter=weights.n_bytes / weights.n_elements,
            executed_precision=executed,
            requested_precision=opened.requested_precision or executed,
            layer_classes=weights.layer_classes,
            attention=attention_of(opened.model),
            context_length=context_length_of(opened.model),
            weights_format=opened.weights_format,
            remote_code_commit=opened.remote_code_commit,
            generation_config=dict(opened.generation),
            n_threads=torch.get_num_threads(),
            libraries=dict(opened.libraries),
        )

    def _note_doubts(self, facts: EngineFacts) -> None:
        self._doubts += attention_findings(self._place.attention, facts.attention)
        if facts.weights_format == "pickle":
            self._doubts.append(Finding(code=FindingCode.PICKLED_WEIGHTS))
        if facts.remote_code_commit:
            self._doubts.append(Finding(code=FindingCode.REMOTE_CODE, detail=facts.remote_code_commit))
        if self._is_random:
            self._doubts.append(Finding(code=FindingCode.RANDOM_WEIGHTS))

    def _synchronize(self) -> Any:
        return partial(synchronize, self._weights.cuda_indices if self._weights else ())

    def _ready(self) -> Runner:
        if self._runner is None:
            raise UsageError("No model is loaded.", "Call `load()` first.")
        return self._runner

    @contextmanager
    def _load_faults(self) -> Iterator[None]:
        place = self._place
        try:
            yield
        except LOAD_ERRORS as error:
            if "Unrecognized configuration class" in str(error):
                raise UsageError(
                    f"{place.source.name} is no model for {self._task.name}.",
                    f"It has to be one that {self._task.loads} loads; `harness tasks {self._task.name}` has the rest.",
                ) from error
            fault = load_fault(error, place.source, place.revision, trust_remote_code=place.trust_remote_code)
            let_go(error)
            empty_cache()
            if isinstance(fault, OutOfMemory):  # --quantization, which is the usual way out, is not of tasks
                raise OutOfMemory(str(fault), "Choose a smaller model, or a larger GPU (`--device cuda`).") from error
            raise fault from error

    @contextmanager
    def _query_faults(self, prompt: Prompt) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError, ValueError, IndexError, TypeError) as error:
            if not is_out_of_memory(error):
                raise CellFailed(
                    f"The model raised an error: {error}", f"Run it once with {self._task.loads} alone."
                ) from error
            let_go(error)
            empty_cache()
            raise OutOfMemory(
                f"The device ran out of memory on {prompt.prompt_id}.", "Choose a smaller model, or smaller inputs."
            ) from error
