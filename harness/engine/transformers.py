"""transformers in this process: one query or a batch of them, timed token by token; or many, for their answers alone.

Everything that is not the model's work stays outside of the measured window (`window.py`): rendering and
tokenizing come before it, telling thinking from answer and decoding after it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jinja2 import TemplateError

from harness.engine.chatter import Chatter
from harness.engine.checkpoint import Checkpoint, LoadOptions, open_checkpoint, without_progress_bars
from harness.engine.device import empty_cache
from harness.engine.facts import attention_findings, read_facts
from harness.engine.faults import LOAD_ERRORS, is_out_of_memory, let_go, load_fault
from harness.engine.lengths import LeastTokens
from harness.engine.loaded import Loaded
from harness.engine.marks import Marks
from harness.engine.precision import check_flags
from harness.engine.repacking import HalfDone, take_turns, turn_seed, up_to_end
from harness.engine.request import Request
from harness.engine.revision import resolve_revision
from harness.engine.rows import Row
from harness.engine.source import locate
from harness.engine.timing import TokenTimes, lay_out_phases
from harness.errors import CellFailed, InvalidMeasurement, OutOfMemory, UsageError
from harness.protocols import Clock, Reasoning
from harness.records import (
    Asked,
    EngineFacts,
    Finding,
    FindingCode,
    Generation,
    Phase,
    Prompt,
    Sampling,
)

if TYPE_CHECKING:
    from harness.engine.compiled import Compiled

PREFILL_TOKENS = 32_768
"""Of a batch, padding included, that are read at once. A turn reads all that its rows have written, and what one layer
of an 8 B model makes of a token on the way takes half as much memory as its keys and values in all layers."""


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
        compiled: bool = False,
        trust_remote_code: bool = False,
        allow_pickle: bool | None = None,
        n_threads: int | None = None,
        sampling: Sampling | None = None,
        min_new_tokens: Mapping[str, int] | None = None,
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
            compiled: Decode steps go through torch.compile, with a static cache; but for `generate_batch`.
            trust_remote_code: Execute code from the model's repository.
            allow_pickle: Load pickled weights where there are no others; None: as `trust_remote_code`.
            n_threads: Threads for the CPU's share of the work; None: as torch decides.
            sampling: How tokens are chosen, where not as the model's own generation config has it; None: all is its
                own.
            min_new_tokens: By mode, output tokens before which an answer may not end; a mode not in it may at once.

        Raises:
            UsageError: A value that cannot be meant.
        """
        check_flags(quantization, dtype, device)
        self._source = locate(source)
        self._revision = revision
        self._reasoning = reasoning
        self._clock = clock
        self._n_threads = n_threads
        self._wants_compiled = compiled
        self._sampling = sampling_keywords(sampling)
        self._min_new_tokens = dict(min_new_tokens or {})
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
        self._loaded: Loaded | None = None
        self._compiled: Compiled | None = None

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
        self._loaded = Loaded(checkpoint, Marks(checkpoint.tokenizer, self._reasoning), facts)
        self._compiled = _compiled() if self._wants_compiled else None
        self._note_doubts(checkpoint, facts)
        gc.collect()
        gc.freeze()  # what is alive now stays alive: later collections need not look at it
        return facts

    def render(self, prompt: Prompt, mode: str) -> str:
        """The text that the model is given for `prompt` in `mode`, marks included.

        Raises:
            UnknownName: The model does not have this mode.
            UsageError: The model's chat template refuses this conversation, or the mode's budget cannot be held.
        """
        switch = self._reasoning.switch(mode)
        loaded = self._ready()
        loaded.closing_ids(switch)
        text = f"{switch.prompt_prefix}{prompt.text}"
        if loaded.is_plain(switch):
            head = f"{switch.system}\n\n" if switch.system else ""
            return f"{head}{text}{switch.assistant_prefix}"
        messages = [{"role": "system", "content": switch.system}] if switch.system else []
        messages.append({"role": "user", "content": text})
        try:
            rendered = loaded.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **switch.template
            )
        except TemplateError as error:
            raise UsageError(
                f"The chat template of {self._source.name} refuses mode {mode!r}: {error}",
                "Check the mode's switch in models.yaml (its system prompt, its template keywords).",
            ) from error
        return f"{rendered}{switch.assistant_prefix}"

    def generate(
        self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int, *, n_forced_tokens: int | None = None
    ) -> Generation:
        """Answer one prompt. The device is synchronized at both ends.

        Args:
            prompt: Its text is the user's message.
            mode: One of the model's modes.
            max_new_tokens: The cap, in tokens, thinking included.
            seed: For this query's sampling, whatever was sampled before.
            n_forced_tokens: Exactly so many output tokens, whatever the cap; None: the answer ends by itself.

        Raises:
            OutOfMemory: The context does not fit; the engine stays usable.
            CellFailed: The model itself raised an error.
            UsageError: The prompt does not fit into the model's context.
            InvalidMeasurement: The model's own `generate` did not report every token.
        """
        (row,) = self._timed(self._ask([prompt], mode, [max_new_tokens], [n_forced_tokens]), seed)
        return row.generation

    def n_prompt_tokens(self, asked: Asked) -> int:
        """The length of the input, in tokens.

        Raises:
            UsageError: It and the answer do not fit into the context, or the model's template refuses it.
        """
        (row,) = self._ask([asked.prompt], asked.mode, [asked.max_new_tokens], [asked.n_forced_tokens]).rows
        return len(row)

    def answer_together(self, asked: Sequence[Asked], seed: int) -> tuple[Row, ...]:
        """Answer queries of one mode in one batch: left-padded, one call of `generate`, synchronized at both ends.

        A row's times are those of its own tokens; it ends with the last of them, or with the batch.

        Args:
            asked: In the order of the rows; their own seeds are not looked at.
            seed: Of all their sampling: an answer depends on what else is in the batch, unless greedy.

        Raises:
            OutOfMemory: So many do not fit; the engine stays usable.
            CellFailed: The model itself raised an error.
            UsageError: A prompt does not fit into the model's context.
            InvalidMeasurement: The model's own `generate` did not report every token.
        """
        prompts, caps = [each.prompt for each in asked], [each.max_new_tokens for each in asked]
        return self._timed(self._ask(prompts, asked[0].mode, caps, [each.n_forced_tokens for each in asked]), seed)

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int, *, batch_size: int
    ) -> tuple[Generation, ...]:
        """Answer several prompts together: left-padded, and packed anew whenever half of the rows have ended.

        Args:
            prompts: In the order in which they wait.
            mode: One of the model's modes, for all.
            max_new_tokens: The cap of each answer, in tokens, thinking included.
            seed: Of all their sampling: an answer depends on what else is in the batch, unless greedy.
            batch_size: So many at once at most.

        Raises:
            OutOfMemory: The batch does not fit; the engine stays usable.
            CellFailed: The model itself raised an error.
            UsageError: A prompt does not fit into the model's context.
        """
        if not prompts:
            return ()
        request = self._ask(prompts, mode, [max_new_tokens] * len(prompts), [None] * len(prompts))
        loaded, edges_s, n_least = self._ready(), list[float](), max(request.n_least)

        def turn(number: int, active: list[int], written: list[list[int]], n_most: int) -> list[list[int]]:
            n_input = max(len(request.rows[prompt]) + len(ids) for prompt, ids in zip(active, written, strict=True))
            settings: dict[str, Any] = {"pad_token_id": loaded.pad_id, "stopping_criteria": [HalfDone(loaded.end_ids)]}
            if n_least:
                n_left = [n_least - len(ids) for ids in written]
                settings["least"] = LeastTokens(n_left, n_input, loaded.end_ids)
            if len(active) * n_input > PREFILL_TOKENS:
                settings["prefill_chunk_size"] = max(PREFILL_TOKENS // len(active), 1)
            time_start_s, time_end_s, new = self._run(
                request,
                active,
                written,
                turn_seed(seed, number),
                max_new_tokens=n_most,
                pad_id=loaded.pad_id,
                **settings,
            )
            edges_s.extend((time_start_s, time_end_s))
            return new

        outputs = take_turns(
            len(prompts), turn, batch_size=batch_size, max_new_tokens=max_new_tokens, end_ids=loaded.end_ids
        )
        phase = Phase(name="batch", time_start_s=edges_s[0], time_end_s=edges_s[-1])
        return tuple(request.generation(loaded, prompt, ids, (phase,)) for prompt, ids in enumerate(outputs))

    def warnings(self) -> tuple[Finding, ...]:
        """What libraries said about falling back since the last call, and what was loaded that can be doubted."""
        doubts, self._doubts = tuple(self._doubts), []
        return (*doubts, *self._chatter.findings())

    def close(self) -> None:
        """Free the device's memory."""
        if self._loaded is None:
            return
        self._loaded = self._compiled = None
        gc.unfreeze()
        empty_cache()

    def _ask(
        self, prompts: Sequence[Prompt], mode: str, caps: Sequence[int], n_forced: Sequence[int | None]
    ) -> Request:
        """Everything that can be made ready before the window opens."""
        loaded, switch = self._ready(), self._reasoning.switch(mode)
        n_most = [cap if forced is None else forced for cap, forced in zip(caps, n_forced, strict=True)]
        n_least = [
            min(self._min_new_tokens.get(mode, 0), most) if forced is None else forced - 1  # the last may be the end
            for most, forced in zip(n_most, n_forced, strict=True)
        ]
        rendered = [self.render(prompt, mode) for prompt in prompts]
        rows = [loaded.tokenize(text, switch) for text in rendered]
        for prompt, row, most in zip(prompts, rows, n_most, strict=True):
            self._check_fit(prompt.prompt_id, len(row), most)
        forced_rows = frozenset(row for row, forced in enumerate(n_forced) if forced is not None)
        return Request(rendered, rows, n_most, n_least, forced_rows, loaded.budget(switch, rendered))

    def _timed(self, request: Request, seed: int) -> tuple[Row, ...]:
        """Answer all rows in one window, compiled where that is wanted and can be done."""
        compiled = self._compiled
        if compiled is None:
            return self._rows(request, *self._steps(request, seed, {}))
        settings = compiled.settings(request.n_input_tokens + max(request.n_most))
        try:
            for _ in range(compiled.most_tries):
                # A window in which something was compiled is no measurement; the next one finds it done.
                with compiled.watching() as seen:
                    steps = self._steps(request, seed, settings)
                if not seen.n_graphs:
                    break
        except OutOfMemory:
            raise
        except CellFailed as error:
            steps = self._steps(request, seed, {})  # if this fails too, compiling was not the reason
            self._compiled = None
            self._doubts.append(compiled.given_up(error))
        else:
            self._doubts += compiled.findings(n_steps=steps[0].n_tokens)
        return self._rows(request, *steps)

    def _steps(
        self, request: Request, seed: int, settings: Mapping[str, Any]
    ) -> tuple[TokenTimes, float, float, list[list[int]]]:
        """One window: the time of each step, the start, the end, and each row's tokens, padded to one length."""
        times = TokenTimes(self._clock, max(request.n_most))
        own = {**request.settings(self._ready()), "streamer": times}
        numbers = range(len(request.rows))
        return (times, *self._run(request, numbers, [[] for _ in numbers], seed, **own, **settings))

    def _rows(
        self, request: Request, times: TokenTimes, time_start_s: float, time_end_s: float, outputs: list[list[int]]
    ) -> tuple[Row, ...]:
        """Each row's own part of a window."""
        loaded, n_steps = self._ready(), len(outputs[0])
        if times.n_tokens != n_steps:
            raise InvalidMeasurement(
                f"{self._source.name} produced {n_steps} tokens and reported the time of {times.n_tokens}.",
                "Its own generate() ignores streamers: measure it through another engine.",
            )
        rows = []
        for number, output in enumerate(outputs):
            ids = up_to_end(output, loaded.end_ids)[: request.n_most[number]]
            times_s = times.times_s[: len(ids)]
            row_end_s = time_end_s if len(ids) == n_steps else times_s[-1]
            phases = lay_out_phases(time_start_s, times_s, row_end_s, request.span(loaded, number, ids))
            rows.append(Row(generation=request.generation(loaded, number, ids, phases), times_s=times_s))
        return tuple(rows)

    def _run(
        self,
        request: Request,
        prompts: Sequence[int],
        written: Sequence[list[int]],
        seed: int,
        *,
        least: LeastTokens | None = None,
        **settings: Any,
    ) -> tuple[float, float, list[list[int]]]:
        """One call of `generate` for some of the prompts, which goes on where their outputs so far end."""
        rows = [request.rows[prompt] + ids for prompt, ids in zip(prompts, written, strict=True)]
        if request.budget is not None:
            request.budget.begin(prompts, written, max(len(row) for row in rows))
        processors = [processor for processor in (least, request.budget) if processor is not None]
        if processors:
            settings["logits_processor"] = processors
        longest = max(len(request.rows[prompt]) for prompt in prompts)
        with self._chatter.listening(), self._query_faults(len(rows), longest, max(request.n_most)):
            return self._ready().window.run(rows, seed, self._clock, **self._sampling, **settings)

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

    def _note_doubts(self, checkpoint: Checkpoint, facts: EngineFacts) -> None:
        self._doubts += attention_findings(self._options.attention, facts.attention)
        if checkpoint.weights_format == "pickle":
            self._doubts.append(Finding(code=FindingCode.PICKLED_WEIGHTS))
        if checkpoint.remote_code_commit:
            self._doubts.append(Finding(code=FindingCode.REMOTE_CODE, detail=checkpoint.remote_code_commit))
        if not checkpoint.tokenizer.chat_template:
            self._doubts.append(Finding(code=FindingCode.NO_CHAT_TEMPLATE))

    def _ready(self) -> Loaded:
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
    def _query_faults(self, n_rows: int, n_prompt: int, max_new_tokens: int) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError, ValueError, IndexError, TypeError) as error:
            if not is_out_of_memory(error):
                raise CellFailed(
                    f"The model raised an error: {error}", "Run it once with plain transformers."
                ) from error
            let_go(error)
            empty_cache()
            if n_rows > 1:
                raise OutOfMemory(
                    f"The device ran out of memory on {n_rows} prompts of up to {n_prompt} tokens and up to "
                    f"{max_new_tokens} new ones each.",
                    "Lower `--batch-size` or `--max-new-tokens`.",
                ) from error
            raise OutOfMemory(
                f"The device ran out of memory on a prompt of {n_prompt} tokens and up to {max_new_tokens} new ones.",
                "Lower `--max-new-tokens`, choose a smaller model, or `--quantization int8`.",
            ) from error


def _compiled() -> Compiled:
    """Torch's compiler takes a second to import, which nobody else has to wait for."""
    from harness.engine.compiled import Compiled

    return Compiled()


def sampling_keywords(sampling: Sampling | None) -> dict[str, Any]:
    """Keywords of `generate`. Greedy decoding has no use for the rest, and transformers warns of it."""
    given = {} if sampling is None else sampling.model_dump(exclude_none=True)
    if given.get("do_sample") is False:
        return {name: value for name, value in given.items() if name in ("do_sample", "repetition_penalty")}
    return given
