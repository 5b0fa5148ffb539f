"""transformers in this process: one query at a time, timed token by token.

Everything that is not the model's work stays outside of the measured window (`window.py`): rendering and
tokenizing come before it, telling thinking from answer and decoding after it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jinja2 import TemplateError

from harness.engine.chatter import Chatter
from harness.engine.checkpoint import Checkpoint, LoadOptions, open_checkpoint, without_progress_bars
from harness.engine.device import empty_cache
from harness.engine.facts import read_facts
from harness.engine.faults import LOAD_ERRORS, is_out_of_memory, let_go, load_fault
from harness.engine.marks import Marks
from harness.engine.precision import check_flags
from harness.engine.revision import resolve_revision
from harness.engine.source import locate
from harness.engine.timing import TokenTimes, lay_out_phases
from harness.engine.window import Window
from harness.errors import CellFailed, InvalidMeasurement, OutOfMemory, UsageError
from harness.protocols import Clock, Reasoning
from harness.records import EngineFacts, Finding, FindingCode, Generation, Prompt


class TransformersEngine:
    """A causal language model, run by transformers. Holds at most one."""

    def __init__(
        self,
        *,
        source: str,
        revision: str | None,
        reasoning: Reasoning,
        clock: Clock,
        device: str,
        dtype: str = "auto",
        quantization: str = "none",
        attention: str = "default",
        trust_remote_code: bool = False,
        allow_pickle: bool | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Note what is wanted; nothing is loaded yet.

        Args:
            source: Hub name, directory, or GGUF file.
            revision: Branch, tag, commit, or what `resolve_revision` returned; None: the main branch.
            reasoning: How this model is asked to think, and where its thinking stands.
            clock: The session's.
            device: What `resolve_device` returned.
            dtype: `auto` for the checkpoint's own, `float32`, `bfloat16` or `float16`.
            quantization: `none`, `int8`, `int4` or `fp8`, applied while loading.
            attention: transformers' name of an attention implementation, or `default`.
            trust_remote_code: Execute code from the model's repository.
            allow_pickle: Load pickled weights where there are no others; None: as `trust_remote_code`.
            n_threads: Threads for the CPU's share of the work; None: as torch decides.

        Raises:
            UsageError: A value that cannot be meant.
        """
        check_flags(quantization, dtype, device)
        self._source = locate(source)
        self._revision = revision
        self._reasoning = reasoning
        self._clock = clock
        self._n_threads = n_threads
        self._options = LoadOptions(
            device=device,
            dtype=dtype,
            quantization=quantization,
            attention=attention,
            trust_remote_code=trust_remote_code,
            allow_pickle=trust_remote_code if allow_pickle is None else allow_pickle,
        )
        self._chatter = Chatter()
        self._doubts: list[Finding] = []
        self._loaded: _Loaded | None = None

    def ready(self, mode: str) -> bool:  # noqa: ARG002 - one model answers in all modes
        """Whether the model that answers in `mode` is loaded."""
        return self._loaded is not None

    def load(self, mode: str | None = None) -> EngineFacts:  # noqa: ARG002 - one model answers in all modes
        """Bring the model onto its device and say what was really loaded.

        Raises:
            ModelUnavailable: Missing, gated, damaged or unreachable.
            OutOfMemory: It does not fit.
            EnvironmentFault: A package is missing, or the device cannot do this.
            UsageError: It needs code or pickled weights that were not allowed.
        """
        self.close()
        if self._n_threads is not None:
            torch.set_num_threads(self._n_threads)
        revision = resolve_revision(self._source.name, self._revision)
        with self._chatter.listening(), without_progress_bars(self._source), self._load_faults(revision):
            checkpoint = open_checkpoint(self._source, revision, self._options)
            facts = read_facts(checkpoint, revision, trust_remote_code=self._options.trust_remote_code)
        self._loaded = _Loaded(checkpoint, Marks(checkpoint.tokenizer, self._reasoning), facts)
        self._note_doubts(checkpoint)
        gc.collect()
        gc.freeze()  # what is alive now stays alive: later collections need not look at it
        return facts

    def render(self, prompt: Prompt, mode: str) -> str:
        """The text that the model is given for `prompt` in `mode`, marks included.

        Raises:
            UnknownName: The model does not have this mode.
            UsageError: The model's chat template refuses this conversation.
        """
        switch = self._reasoning.switch(mode)
        tokenizer = self._ready().tokenizer
        if not tokenizer.chat_template:
            head = f"{switch.system}\n\n" if switch.system else ""
            return f"{head}{prompt.text}{switch.assistant_prefix}"
        messages = [{"role": "system", "content": switch.system}] if switch.system else []
        messages.append({"role": "user", "content": prompt.text})
        try:
            rendered = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **switch.template
            )
        except TemplateError as error:
            raise UsageError(
                f"The chat template of {self._source.name} refuses mode {mode!r}: {error}",
                "Check the mode's switch in models.yaml (its system prompt, its template keywords).",
            ) from error
        return f"{rendered}{switch.assistant_prefix}"

    def generate(self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int) -> Generation:
        """Answer one prompt. The device is synchronized at both ends.

        Args:
            prompt: Its text is the user's message.
            mode: One of the model's modes.
            max_new_tokens: The cap, in tokens, thinking included.
            seed: For this query's sampling, whatever was sampled before.

        Raises:
            OutOfMemory: The context does not fit; the engine stays usable.
            CellFailed: The model itself raised an error.
            UsageError: The prompt does not fit into the model's context.
            InvalidMeasurement: The model's own `generate` did not report every token.
        """
        loaded = self._ready()
        rendered = self.render(prompt, mode)
        prompt_ids = loaded.tokenize(rendered)
        self._check_fit(prompt.prompt_id, len(prompt_ids), max_new_tokens)
        times = TokenTimes(self._clock, max_new_tokens)
        with self._chatter.listening(), self._query_faults(len(prompt_ids), max_new_tokens):
            time_start_s, time_end_s, ids = loaded.window.run(prompt_ids, max_new_tokens, seed, times, self._clock)
        if times.n_tokens != len(ids):
            raise InvalidMeasurement(
                f"{self._source.name} produced {len(ids)} tokens and reported the time of {times.n_tokens}.",
                "Its own generate() ignores streamers: measure it through another engine.",
            )
        span = loaded.marks.span(rendered, ids)
        n_thinking = span.end if span else 0
        thinking, answer = loaded.marks.split(ids, span)
        return Generation(
            phases=lay_out_phases(time_start_s, times.times_s, time_end_s, span),
            sizes={
                "prompt_tokens": len(prompt_ids),
                "thinking_tokens": n_thinking,
                "answer_tokens": len(ids) - n_thinking,
                "output_tokens": len(ids),
            },
            finish_reason="stop" if len(ids) < max_new_tokens or ids[-1] in loaded.end_ids else "length",
            text=loaded.tokenizer.decode(ids, skip_special_tokens=True),
            thinking=thinking,
            answer=answer,
            rendered_prompt=rendered,
        )

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int
    ) -> tuple[Generation, ...]:
        """Answer several prompts at once."""
        raise NotImplementedError

    def warnings(self) -> tuple[Finding, ...]:
        """What libraries said about falling back since the last call, and what was loaded that can be doubted."""
        doubts, self._doubts = tuple(self._doubts), []
        return (*doubts, *self._chatter.findings())

    def close(self) -> None:
        """Free the device's memory."""
        if self._loaded is None:
            return
        self._loaded = None
        gc.unfreeze()
        empty_cache()

    def _check_fit(self, prompt_id: str, n_prompt: int, max_new_tokens: int) -> None:
        limit = self._ready().facts.context_length
        if n_prompt == 0:
            raise UsageError(f"Prompt {prompt_id} is empty.", "Drop it from the prompt set.")
        if limit is not None and n_prompt + max_new_tokens > limit:
            raise UsageError(
                f"Prompt {prompt_id} has {n_prompt} tokens; with a cap of {max_new_tokens} new ones it does not fit "
                f"into the context of {limit} tokens.",
                f"Lower `--max-new-tokens` to {limit - n_prompt} or less, or drop the prompt."
                if n_prompt < limit
                else "Drop the prompt, or choose a model with a longer context.",
            )

    def _note_doubts(self, checkpoint: Checkpoint) -> None:
        if checkpoint.weights_format == "pickle":
            self._doubts.append(Finding(code=FindingCode.PICKLED_WEIGHTS))
        if checkpoint.remote_code_commit:
            self._doubts.append(Finding(code=FindingCode.REMOTE_CODE, detail=checkpoint.remote_code_commit))
        if not checkpoint.tokenizer.chat_template:
            self._doubts.append(Finding(code=FindingCode.NO_CHAT_TEMPLATE))

    def _ready(self) -> _Loaded:
        if self._loaded is None:
            raise UsageError("No model is loaded.", "Call `load()` first.")
        return self._loaded

    @contextmanager
    def _load_faults(self, revision: str) -> Iterator[None]:
        try:
            yield
        except LOAD_ERRORS as error:
            fault = load_fault(error, self._source, revision, trust_remote_code=self._options.trust_remote_code)
            let_go(error)
            empty_cache()
            raise fault from error

    @contextmanager
    def _query_faults(self, n_prompt: int, max_new_tokens: int) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError, ValueError, IndexError, TypeError) as error:
            if not is_out_of_memory(error):
                raise CellFailed(
                    f"The model raised an error: {error}", "Run it once with plain transformers."
                ) from error
            let_go(error)
            empty_cache()
            raise OutOfMemory(
                f"The device ran out of memory on a prompt of {n_prompt} tokens and up to {max_new_tokens} new ones.",
                "Lower `--max-new-tokens`, choose a smaller model, or `--quantization int8`.",
            ) from error


class _Loaded:
    """A model that is ready, with what every query needs of it."""

    def __init__(self, checkpoint: Checkpoint, marks: Marks, facts: EngineFacts) -> None:
        self.tokenizer = checkpoint.tokenizer
        self.marks = marks
        self.facts = facts
        self.window = Window(checkpoint.model)
        end = checkpoint.model.generation_config.eos_token_id
        self.end_ids = frozenset([end] if isinstance(end, int) else end or ())

    def tokenize(self, rendered: str) -> list[int]:
        """Token ids; a chat template has already put in the special ones."""
        plain = not self.tokenizer.chat_template
        return list(self.tokenizer(rendered, add_special_tokens=plain)["input_ids"])
