"""Every type that flows through the pipeline, in pipeline order. Read this file and `protocols.py`.

    Prompt, PromptSet -> Cell, Site -> Sample, Segment -> Generation -> Reading -> QueryRecord -> Summary

Types on the hot path are frozen, slotted dataclasses. Types that touch disk are frozen pydantic models that
refuse unknown keys, NaN and infinity. What is unknown is `None` beside a `Finding`; it is never 0 or "".

Times are seconds on the session clock (`time_*_s`), differences are `duration_*_s`; wall time is `*_utc` or
`*_unix_s`. Half-widths are of 95 % intervals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:  # numpy costs a tenth of a second at start, and only two annotations need it
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]
    BoolArray = npt.NDArray[np.bool_]

SCHEMA_VERSION = 1
"""Of every file in a run directory. It stays 1 until the first release."""


class Record(BaseModel):
    """The base of everything that touches disk."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# ---------------------------------------------------------------------------------------------- doubts


class FindingCode(StrEnum):
    """A reason to doubt, or the reason for a null."""

    sentence: str
    next_step: str

    def __new__(cls, value: str, sentence: str, next_step: str) -> Self:  # noqa: D102 - an enum's members are built from their tuples
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.next_step = next_step
        return member

    ESTIMATED_ENERGY = (
        "estimated_energy",
        "No sensor could be read: the energy is a hardware model's power times the time.",
        "Run on a machine with an NVIDIA GPU, or make RAPL readable; `harness doctor` says how.",
    )
    SENSOR_LOST = (
        "sensor_lost",
        "The sensor stopped answering before the query's energy was known.",
        "Resume the run: exactly these queries run again. Where a GPU was lost, check `dmesg` for Xid messages first.",
    )
    NO_SENSOR = (
        "no_sensor",
        "Nothing that can be read measures energy here, so it is unknown.",
        "`harness doctor` shows what is missing; `--allow-estimate` gives a hardware model's figure.",
    )
    NO_READINGS = (
        "no_readings",
        "The sensor's readings do not cover this interval.",
        "Resume the run; if it happens again, `harness doctor` shows what the sensor answers.",
    )
    SHORTER_THAN_TWO_TICKS = (
        "shorter_than_two_ticks",
        "The query is shorter than two updates of the sensor, so its own energy is uncertain.",
        "Believe the mode's mean, or measure longer queries (`--max-new-tokens`).",
    )
    AVERAGED_POWER_ONLY = (
        "averaged_power_only",
        "The only sensor averages over 1 s, which cannot resolve an interval under 3 s.",
        "Measure longer queries, or use a board with an energy counter.",
    )
    READING_GAP = (
        "reading_gap",
        "The sensor was silent for longer than five of its periods inside this interval.",
        "Look for another client that blocks the driver, or an overloaded host.",
    )
    NO_IDLE_BASELINE = (
        "no_idle_baseline",
        "No idle power was measured in this session, so there is no net energy.",
        "Let the run finish, or resume it; leave out `--no-baseline` or `baseline_s=0`.",
    )
    OTHER_PROCESSES = (
        "other_processes",
        "Another process was on the metered GPU, and the board's energy includes what it did.",
        "Stop it, or take another GPU (`--meter-gpus`, `CUDA_VISIBLE_DEVICES`).",
    )
    OTHER_BOARDS_METERED = (
        "other_boards_metered",
        "The metered boards are not exactly those that do the work, so their energy is not the work's alone.",
        "Name those that do (`--meter-gpus`, `gpus=[...]`), unless the others are meant to be in it.",
    )
    HOST_NOT_READABLE = (
        "host_not_readable",
        "The host's RAPL counters may not be read, stand still or are missing: its energy is not measured.",
        "`harness doctor` says which, and has the command that makes them readable.",
    )
    MIG_PARENT = (
        "mig_parent",
        "The GPU is split into MIG slices: the sensor sees the whole board, not the slice.",
        "Disable MIG, or read the figures as an upper bound.",
    )
    CUT_BY_CAP = (
        "cut_by_cap",
        "The output reached the token cap before its natural end.",
        "Raise `--max-new-tokens`.",
    )
    THINKING_NOT_CLOSED = (
        "thinking_not_closed",
        "The thinking did not end before the output did, so there is no answer.",
        "Raise `--max-new-tokens`.",
    )
    QUERY_FAILED = (
        "query_failed",
        "The engine raised an error on this query.",
        "The detail names the error; other queries are not affected.",
    )
    PROMPT_TOO_LONG = (
        "prompt_too_long",
        "The prompt and the token cap do not fit into the model's context.",
        "Lower `--max-new-tokens`, or drop the prompt.",
    )
    OUT_OF_MEMORY = (
        "out_of_memory",
        "The device ran out of memory on this query.",
        "Lower `--max-new-tokens`, choose a smaller model or `--quantization int8`.",
    )
    PRECISION_FALLBACK = (
        "precision_fallback",
        "The weights were executed in another precision than the checkpoint or the flag asked for.",
        "Install the kernels that the precision needs, or accept it with `--accept-precision`.",
    )
    SAME_PROMPT_IN_MODES = (
        "same_prompt_in_modes",
        "Two modes gave the model exactly the same input: the switch did nothing.",
        "Check the model's chat template and its reasoning mechanism in models.yaml.",
    )
    THINKING_IN_OFF_MODE = (
        "thinking_in_off_mode",
        "The model thought although thinking was switched off.",
        "Check the model's reasoning mechanism in models.yaml.",
    )
    NO_THINKING_IN_ON_MODE = (
        "no_thinking_in_on_mode",
        "The model never thought although thinking was switched on.",
        "Check the model's reasoning mechanism and its marks in models.yaml.",
    )
    SAME_OUTPUT_IN_MODES = (
        "same_output_in_modes",
        "Two modes gave exactly the same outputs: the switch changed nothing.",
        "Check the model's reasoning mechanism in models.yaml; a thinking budget must be below what the model thinks.",
    )
    BUDGET_REACHED = (
        "budget_reached",
        "The thinking reached its budget, and its end was forced.",
        "Nothing: this is how a budget is held. Raise it (`--mode budget:N`) for a mode that thinks longer.",
    )
    BUDGET_NOT_HELD = (
        "budget_not_held",
        "The model thought longer than its budget allows.",
        "Check the model's thinking_end and budget_end in models.yaml.",
    )
    EFFORT_NOT_SEEN = (
        "effort_not_seen",
        "Two efforts think for lengths that cannot be told apart.",
        "Ask more prompts (`--num-prompts`), or check the mechanism in models.yaml.",
    )
    UNEQUAL_CAPS = (
        "unequal_caps",
        "The protocol caps its modes at different lengths, so their ratio is one of caps and not of thinking.",
        "Quote it as that protocol's; `--protocol paired` measures thinking at one cap.",
    )
    OTHERS_PROTOCOL = (
        "others_protocol",
        "This run follows somebody else's protocol, faults included, to be set beside what they published.",
        "`harness protocols` says what it does; `--protocol paired` is this program's own.",
    )
    HEAVY_TAIL = (
        "heavy_tail",
        "The joules differ so much between prompts, or the prompts are so few, that a 95 % interval may hold less.",
        "Ask at least 100 prompts (`--num-prompts`); with very unequal prompts, more.",
    )
    COLLINEAR = (
        "collinear",
        "Prompt and output lengths of these queries move together, so a coefficient of the energy law is not known.",
        "Measure prompts of more different lengths.",
    )
    FEW_CORRECT = (
        "few_correct",
        "A mode has fewer than ten right answers: its joules per right answer are uncertain, and so is their interval.",
        "Ask more prompts (`--num-prompts`), or easier ones.",
    )
    LAW_NOT_CHECKED = (
        "law_not_checked",
        "Not all queries that the two phases need were measured yet.",
        "Complete the run: `harness run --resume RUN`.",
    )
    LAW_NOT_TESTED = (
        "law_not_tested",
        "Queries scatter so much about the energy law that a wrong one would pass: the two-phase figure is not valid.",
        "Measure every prompt (leave `--two-phase` out), or prompts with longer answers.",
    )
    LAW_NOT_HELD = (
        "law_not_held",
        "Queries that were kept out of the energy law's fit do not follow it, so the two-phase figure is not valid.",
        "Measure every prompt: leave `--two-phase` out.",
    )
    TWO_PHASE = (
        "two_phase",
        "Two-phase: token counts of all prompts, times an energy law measured on some of them.",
        "Leave `--two-phase` out to measure every query.",
    )
    BATCH_SPLIT = (
        "batch_split",
        "So many answers at once did not fit into memory, or raised an error: fewer were generated at a time.",
        "Nothing; lower `--batch-size` to save the failed attempts.",
    )
    SCORER_FAILED = (
        "scorer_failed",
        "The scorer could not say whether this answer is right: it raised an error, took too long, or said so.",
        "The detail names the error.",
    )
    NO_CHAT_TEMPLATE = (
        "no_chat_template",
        "The model has no chat template: it was given the prompts as plain text.",
        "Choose its instruction-tuned version, unless a base model is what you want to measure.",
    )
    REMOTE_CODE = (
        "remote_code",
        "Code from the model's repository was executed.",
        "Its commit is in the manifest.",
    )
    PICKLED_WEIGHTS = (
        "pickled_weights",
        "The weights were loaded from a pickle, which can execute code.",
        "Prefer a checkpoint in safetensors.",
    )
    NOTHING_CORRECT = (
        "nothing_correct",
        "No answer was correct, so there is no energy per correct answer.",
        "Raise `--max-new-tokens`, or choose an easier prompt set.",
    )
    NOTHING_SCORED = (
        "nothing_scored",
        "No answer was scored, so there is no energy per correct answer.",
        "Use a prompt set with reference answers; where it has some, see why the scorer failed.",
    )
    TOO_FEW_QUERIES = (
        "too_few_queries",
        "Fewer than five queries: no interval over prompts is given.",
        "Raise `--num-prompts`.",
    )
    DRAWS_WITHOUT_CORRECT = (
        "draws_without_correct",
        "In some resamples of the prompts nothing is correct, so the interval has no upper end.",
        "Raise `--num-prompts`.",
    )
    ONE_RUN = (
        "one_run",
        "One run: how far a repeat would differ is unknown.",
        "Add `--repeats 3`.",
    )
    IDLE_DRIFT = (
        "idle_drift",
        "Idle power before and after the queries differs by more than a tenth.",
        "Let the machine settle, keep other work off it, and read the gross energies.",
    )
    LATE_SAMPLES = (
        "late_samples",
        "More than one in a hundred regular polls of the sensor came late.",
        "Leave a CPU core free for the sampler.",
    )
    LIBRARY_WARNING = (
        "library_warning",
        "A library said that it falls back to something else.",
        "The detail quotes it.",
    )
    COUNTER_RESET = (
        "counter_reset",
        "The energy counter went backwards: it was set back, or its driver or device was reset.",
        "Measure again. On a GPU, enable persistence mode first (`nvidia-smi -pm 1`).",
    )
    COUNTER_FROZEN = (
        "counter_frozen",
        "The energy counter stood still although the board drew power.",
        "Reload the driver, or use another board.",
    )
    COUNTER_JUMPED = (
        "counter_jumped",
        "The energy counter jumped by more than the board can draw.",
        "Measure again; if it recurs, report it with the driver's version.",
    )
    POWER_FILLED = (
        "power_filled",
        "The energy counter gave nothing for a part of the interval: power readings stand in for it there.",
        "Read the wider half-width, or measure again.",
    )
    POWER_ZERO = (
        "power_zero",
        "The driver answered 0 W, which no powered board draws: such readings were left out.",
        "Nothing, while the energy counter works; otherwise update the driver.",
    )
    POWER_IMPOSSIBLE = (
        "power_impossible",
        "The driver answered a power that the board cannot draw: such readings were left out.",
        "Nothing, while the energy counter works; otherwise update the driver.",
    )
    CALL_FAILED = (
        "call_failed",
        "The driver refused a call for a while and then answered again.",
        "Look for Xid messages in `dmesg`, or for another client that resets the board.",
    )
    SENSOR_REINITIALIZED = (
        "sensor_reinitialized",
        "NVML had been shut down by somebody else and was started again.",
        "Nothing; if energies are missing, look who calls `nvmlShutdown`.",
    )
    PART_TIME_COUNTER = (
        "part_time_counter",
        "The energy counter sees only a part of each tick, so short or periodic loads may be missed.",
        "Measure many queries at different phases; the half-width includes what it did not see.",
    )
    COUNTER_AGAINST_POWER = (
        "counter_against_power",
        "The energy counter and integrated power disagree by more than their noise.",
        "`harness doctor --sensor` shows the ratio; trust differences on this board, not absolute joules.",
    )
    ALIASED = (
        "aliased",
        "The load repeats in step with the sensor's updates, which can then miss the same part of it each time.",
        "Add a random pause between queries, or measure longer ones.",
    )
    THROTTLED = (
        "throttled",
        "The board slowed its clocks down because it was hot or its power supply limited it.",
        "Improve the cooling, or measure after a pause; a throttled query is slower and cheaper.",
    )
    POWER_CAPPED = (
        "power_capped",
        "The board ran into its power limit.",
        "State the limit with the result; `nvidia-smi -q -d POWER` shows it.",
    )
    TEMPERATURE_DRIFT = (
        "temperature_drift",
        "The board's temperature changed by more than 10 degrees while it was measured.",
        "Warm up longer, and let modes alternate; a hot board draws more for the same work.",
    )
    CLOCK_STEP = (
        "clock_step",
        "The wall clock was set, or the machine slept, while it was measured: Unix times are not reliable.",
        "Durations and energies are on the monotonic clock and hold; do not join by Unix time.",
    )
    SPANS_OVERLAP = (
        "spans_overlap",
        "Other spans overlapped this one, and each holds the whole board's energy.",
        "Do not add their energies up; one span around all of them has the total.",
    )
    FORKED = (
        "forked",
        "The meter was used in a process that was forked from the one that started it.",
        "Start a meter in that process, or start it with `spawn`.",
    )
    DISPLAY_ON_BOARD = (
        "display_on_board",
        "A display server uses the metered GPU; it draws a little power of its own.",
        "Nothing, if the screen is still; otherwise take a GPU without a screen.",
    )
    DEVICE_ORDER_UNKNOWN = (
        "device_order_unknown",
        "CUDA numbers GPUs of different models by their speed, in an order that is not known here.",
        "Run `export CUDA_DEVICE_ORDER=PCI_BUS_ID`, or name GPUs by UUID in CUDA_VISIBLE_DEVICES.",
    )
    PROCESSES_NOT_LISTED = (
        "processes_not_listed",
        "The driver does not list the processes on the metered GPU, so others may have used it.",
        "Make sure that nobody else does; in a container, share the host's process namespace.",
    )
    VGPU_GUEST = (
        "vgpu_guest",
        "This is a virtual GPU: what its sensor shows is the whole board's, or nothing.",
        "Measure on the host, or on a passed-through board.",
    )
    MODULE_SCOPE = (
        "module_scope",
        "The board's counter covers the whole module, CPU and memory included.",
        "Do not compare it with a board of another kind; say so with the result.",
    )
    NEIGHBOURS_SHARE = (
        "neighbours_share",
        "Other GPUs of this machine were busy: they share its air and its power.",
        "Measure alone where a few per cent matter.",
    )
    HOST_SHARED = (
        "host_shared",
        "Other work ran on this machine's CPUs, so the host's energy is the machine's, not the query's.",
        "Stop the other work, or read the GPU board's energy alone.",
    )
    EXTERNAL_NOT_ALIGNED = (
        "external_not_aligned",
        "The external meter's log could not be aligned with the load, so it says nothing about this run.",
        "Log at least every second, with pauses in the load, on a meter of this machine alone.",
    )
    SHARED_BY_TOKENS = (
        "shared_by_tokens",
        "Queries were in flight together: the energy was shared among them by their tokens, not measured one by one.",
        "Read it as an attribution; `shared_equal` beside it shows how much the rule decides.",
    )
    WEIGHTS_NOT_FITTED = (
        "weights_not_fitted",
        "How much more a prompt token costs than an output token is not known here: both weigh the same.",
        "Give the ratio (`--weights 0.2:1`), or let the warm-up under load be longer.",
    )
    QUEUE_NOT_SEEN = (
        "queue_not_seen",
        "The server does not say how long a query waited in its queue: its service is taken to begin when it was sent.",
        "On vLLM, start it with --enable-per-request-metrics; or send no more at once than the server takes.",
    )
    NO_STEADY_STATE = (
        "no_steady_state",
        "The load never stood at its full height for long enough to have a steady state.",
        "Ask more prompts (`--num-prompts`), at least ten times the concurrency.",
    )
    SERVER_REFUSED = (
        "server_refused",
        "The server did not take the query: nothing listened, or it answered with an error.",
        "The detail has its words; the server's own log says more.",
    )
    RATE_LIMITED = (
        "rate_limited",
        "The server answered 429: it had too much to do.",
        "Lower `--concurrency` or `--request-rate`.",
    )
    TIMED_OUT = (
        "timed_out",
        "The server did not answer in time.",
        "Raise `--request-timeout`, or lower the load.",
    )
    STREAM_CUT = (
        "stream_cut",
        "The server's answer broke off before it was complete.",
        "See the server's own log; what came is not an answer.",
    )
    NO_USAGE = (
        "no_usage",
        "The server did not say how many tokens it read and wrote.",
        "Use a server that reports usage while streaming, or name the model's tokenizer (`--tokenizer`).",
    )
    TOKENS_BY_TOKENIZER = (
        "tokens_by_tokenizer",
        "Tokens were counted by the tokenizer that was named, because the server does not report them.",
        "Check that the tokenizer is the served model's.",
    )
    USAGE_DISAGREES = (
        "usage_disagrees",
        "The tokens that arrived are not as many as the server says it wrote.",
        "The server's number is taken; see the detail.",
    )
    THINKING_TOKENS_BY_CHUNKS = (
        "thinking_tokens_by_chunks",
        "The server does not count thinking tokens: the output tokens were divided by the chunks that held thinking.",
        "Name the model's tokenizer (`--tokenizer`) for a count.",
    )
    PROMPT_CACHED = (
        "prompt_cached",
        "The server had parts of the prompts in its cache, and did not compute them again.",
        "Leave the cache off (`--prompt-cache off`, the default), or state it with the result.",
    )
    CACHE_NOT_CONTROLLED = (
        "cache_not_controlled",
        "The server neither takes a switch for its prompt cache nor says what it had in it.",
        "Start it with its prompt cache off (vLLM: --no-enable-prefix-caching; SGLang: --disable-radix-cache).",
    )
    SERVED_NOT_KNOWN = (
        "served_not_known",
        "The server does not say which weights it serves, or in which precision.",
        "Let harness start it (`--serve`), or name the directory (`--weights-dir`).",
    )
    BOARDS_BY_POWER = (
        "boards_by_power",
        "The server's processes are not visible from here: its boards are those whose power rose during one query.",
        "Check them, and name them yourself if they are wrong (`--meter-gpus`).",
    )
    SERVER_LOST = (
        "server_lost",
        "The server ended, or stopped answering, before the run did.",
        "See its log, then resume the run: exactly the queries that are missing run again.",
    )
    LENGTHS_NOT_HELD = (
        "lengths_not_held",
        "The output is not as long as the recorded length that it was to have.",
        "Use an engine that can force lengths: transformers, vLLM, llama.cpp.",
    )
    HOST_BOUND = (
        "host_bound",
        "The GPU was idle for much of the time: the host decides these joules, not the board.",
        "Compare engines or precisions at a load that keeps the board busy.",
    )
    POWER_LIMIT_SET = (
        "power_limit_set",
        "The board's power limit was lowered for this cell, and set back afterwards.",
        "State the limit with the result.",
    )
    INPUT_UNUSABLE = (
        "input_unusable",
        "The query's input is not what its task takes, so there is nothing to measure.",
        "The detail says what is wrong with it: correct or remove that row; other queries are not affected.",
    )
    INPUT_TRUNCATED = (
        "input_truncated",
        "The input is longer than the model can take: its end was left out.",
        "Use shorter inputs, or read the figure as that of the part that was taken.",
    )
    LABEL_UNKNOWN = (
        "label_unknown",
        "The reference is not one of the classes that the model tells apart, so its answer is neither right nor wrong.",
        "Use references in the model's own words (the labels in its config.json), or another model.",
    )
    GRADED = (
        "graded",
        "The answers of this task are graded, not right or wrong: there is no energy per right answer.",
        "Read its quality beside its energy.",
    )
    NO_QUALITY = (
        "no_quality",
        "Too few answers could be compared with a reference for this figure of quality.",
        "Use inputs with references, or ask more of them (`--num-prompts`).",
    )
    FEW_PICTURES = (
        "few_pictures",
        "Of so few pictures mean average precision comes out too high, and no interval of it would hold what it says.",
        "Ask at least 100 pictures with references (`--num-prompts`).",
    )
    RANDOM_WEIGHTS = (
        "random_weights",
        "The model has the real shape and random weights: its energy is that of the work, its answers mean nothing.",
        "Name a trained model (`--model`) for the quality.",
    )
    TINY_MODEL_ON_GPU = (
        "tiny_model_on_gpu",
        "The embedded model is far too small for a GPU: the joules show mostly idle power.",
        "Measure a real model: `harness models --fits` lists those that fit this card.",
    )


class Finding(Record):
    """One doubt, and what it is about."""

    code: FindingCode
    detail: str = Field(default="", description="what is particular about this one; empty when the code says all")

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.code.sentence}{detail} {self.code.next_step}"


# ------------------------------------------------------------------------------------ what is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image or a sound, as its file holds it: a file at `path`, or its bytes in `content`."""

    name: str
    """For whoever reads a message: the file's name, or its row."""
    sha256: str
    path: str | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One query's input. `scorer` names how an answer is checked against `reference`; None: it is not.

    `text` is empty where the input is an image or a sound alone.
    """

    prompt_id: str
    text: str
    reference: str | None = None
    scorer: str | None = None
    kind: str | None = None
    level: int | None = None
    text_pair: str | None = None
    """The second text of a task that takes two: a question's passage, the other sentence."""
    media: Media | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputColumns:
    """In which columns of a table a task's inputs are: of each the first that exists, in any case.

    A part that is empty is not an input of the task.
    """

    text: tuple[str, ...] = ()
    text_pair: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    media_kind: Literal["image", "audio"] | None = None
    reference: tuple[str, ...] = ()
    scorer: str | None = None
    """Of every row that has a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """Prompts in the order in which a run takes them; every prefix is a sample of the whole.

    `sha256` is over ids, texts, references and scorers of the whole set in its stored order, and over what its images
    and sounds hold.
    """

    name: str
    source: str
    sha256: str
    prompts: tuple[Prompt, ...]


class ModeSwitch(Record):
    """How one mode is asked for. The parts combine; all empty: the model's natural behaviour."""

    template: dict[str, str | bool | int] = Field(default={}, description="keywords for the chat template")
    system: str | None = Field(default=None, description="system prompt")
    assistant_prefix: str = Field(default="", description="appended after the generation prompt")
    prompt_prefix: str = Field(default="", description="put before the prompt's text")
    chat_template: bool = Field(default=True, description="False, as some published protocols have it: plain text")
    thinking_budget_tokens: int | None = Field(
        default=None, gt=0, description="thinking tokens, opening mark included, after which its end is forced"
    )
    budget_end: str | None = Field(default=None, description="the text that is forced then")

    @field_validator("template")
    @classmethod
    def _only_says_things(cls, keywords: dict[str, str | bool | int]) -> dict[str, str | bool | int]:
        """A keyword is data for the model's own template. It may not be another template, which would be executed."""
        if "chat_template" in keywords:
            raise ValueError("a chat template is executed, and is no keyword for one")
        return keywords


class ReasoningSpec(Record):
    """A model family's way of thinking: its marks, and a switch per mode.

    A mode `budget:N` need not be listed: it is `budget_mode` with its thinking ended by force after N tokens.
    """

    thinking_start: str | None = None
    thinking_end: str | None = None
    starts_inside_thinking: bool = Field(
        default=False, description="the rendered prompt itself opens the thinking, unless a switch closes it"
    )
    budget_mode: str | None = Field(default="on", description="the mode that budgets cut short; None: no budgets")
    budget_end: str | None = Field(
        default=None, description="text that ends the thinking by force; None: a line break, thinking_end, a blank line"
    )
    modes: dict[str, ModeSwitch]


class Sampling(Record):
    """How the next token is chosen. What is None is the model's own generation config."""

    do_sample: bool | None = Field(default=None, description="False: greedy")
    temperature: float | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, gt=0)
    repetition_penalty: float | None = Field(default=None, gt=0)


class PairedCheckpoint(Record):
    """The second checkpoint of a subject whose modes are two checkpoints. One is resident at a time."""

    model: str
    source: str
    revision: str
    reasoning: ReasoningSpec | None = None
    modes: tuple[str, ...] = Field(description="the cell's modes that this checkpoint answers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingSpan:
    """Where the thinking lies in a sequence of output tokens: positions [start, end), marks included.

    `closed` is False where the thinking was still open at the last token.
    """

    start: int
    end: int
    closed: bool


class EngineOptions(Record):
    """How the model is executed. The executed facts are in `EngineFacts`."""

    name: str = Field(default="transformers", description="transformers, in this process, or openai: a server's API")
    device: str = Field(description="cuda or cpu; of a server: served")
    attention: str = "default"
    compile: bool = Field(default=False, description="the forward pass goes through torch.compile")
    n_threads: int | None = Field(default=None, description="asked for; None: a core less than there are, on a CPU")
    serve: tuple[str, ...] = Field(default=(), description="the command that starts the server; empty: it was running")


class Cell(Record):
    """What is measured, as a value. Its hash names its directory; nothing about the machine is in it."""

    model: str
    source: str
    revision: str = Field(description="commit, or sha256 of the local files")
    engine: EngineOptions
    dtype: str
    quantization: str
    trust_remote_code: bool = False
    prompt_set: str
    prompt_set_sha256: str
    protocol: str
    modes: tuple[str, ...]
    reasoning: ReasoningSpec | None = Field(default=None, description="how the modes are asked for")
    pair: PairedCheckpoint | None = Field(default=None, description="the checkpoint of the other modes")
    max_new_tokens: int
    caps: dict[str, int] = Field(default={}, description="by mode, where a protocol caps its modes unequally")
    min_new_tokens: dict[str, int] = Field(default={}, description="by mode; a mode not in it may end at once")
    sampling: Sampling | None = Field(default=None, description="None: the model's own")
    order: Literal["blocks", "stored"] = Field(
        default="blocks", description="stored: mode after mode, prompts as the set stores them"
    )
    warm_up: bool = Field(default=True, description="False only where a protocol has none")
    scorer: str | None = Field(default=None, description="the user's own scorer and the sha256 of its file")
    seed: int
    batch_size: int = Field(default=1, description="of static batches: rows that are generated together")
    concurrency: int | None = Field(
        default=None, description="closed loop: so many queries in flight at a server; None: no such load"
    )
    request_rate_per_second: float | None = Field(
        default=None, description="open loop: queries arrive at random (Poisson), so many a second"
    )
    prompt_cache: Literal["off", "on"] = Field(
        default="off", description="of a server: whether a prompt may find parts of itself computed already"
    )
    lengths: str | None = Field(
        default=None, description="sha256 of recorded output lengths that are forced; None: each answer ends itself"
    )
    lengths_batch_size: int | None = Field(
        default=None, description="two-phase: the batch in which the token counts of all prompts were found"
    )
    power_limit_w: float | None = Field(default=None, description="set for this cell; None: the board's own")
    task: str | None = Field(default=None, description="None: text generation, with or without thinking")
    task_options: dict[str, int | float | str] = Field(default={}, description="such as image generation's steps")
    repeat: int = 0

    @property
    def cell_id(self) -> str:
        """Directory name: the model, then the first 12 digits of the hash of everything."""
        return f"{slug(self.model)}-{content_hash(self)}"

    @property
    def overlaps(self) -> bool:
        """Whether queries are in flight together, so that their energy has to be shared."""
        return self.batch_size > 1 or (self.concurrency or 1) > 1 or self.request_rate_per_second is not None

    def model_of(self, mode: str) -> str:
        """The checkpoint that answers in `mode`."""
        return self.pair.model if self.pair is not None and mode in self.pair.modes else self.model

    def cap(self, mode: str) -> int:
        """Most new tokens of a query in `mode`."""
        return self.caps.get(mode, self.max_new_tokens)


class Board(Record):
    """One accelerator, as the driver describes it."""

    uuid: str
    name: str
    memory_bytes: int | None = None
    power_limit_default_w: float | None = None
    power_limit_w: float | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    compute_capability: str | None = None


class Site(Record):
    """Where it is measured: machine, boards, driver, versions. A cell is finished for a site."""

    hostname_sha256: str
    platform: str
    cpu: str
    n_cpu_cores: int
    memory_bytes: int
    boards: tuple[Board, ...]
    driver: str | None
    cuda: str | None
    python: str
    packages: dict[str, str]
    container: str | None = None

    @property
    def site_id(self) -> str:
        """Directory name: first 12 digits of the hash of what can change a figure and stays over restarts.

        A container gets a new host name at every start and persistence mode is there to be switched on: neither makes
        another site. Outside of containers the host name tells two machines without boards apart.
        """
        fields = self.model_dump(mode="json", exclude={"platform", "memory_bytes", "container"})
        if self.container is not None:
            del fields["hostname_sha256"]
        for board in fields["boards"]:
            del board["persistence"]
        return json_hash(fields)


# ------------------------------------------------------------------------------------ what sensors say


class Boundary(StrEnum):
    """What an energy includes."""

    GPU_BOARD = "gpu_board"
    HOST = "host"
    GPU_BOARD_AND_HOST = "gpu_board+host"
    NODE = "node"


class Method(StrEnum):
    """How an energy was found."""

    NVML_COUNTER = "nvml_counter"
    NVML_POWER = "nvml_power"
    RAPL = "rapl"
    EXTERNAL_METER = "external_meter"
    ESTIMATED = "estimated"
    REPLAYED = "replayed"


class Attribution(StrEnum):
    """How a device's energy was given to a query."""

    EXCLUSIVE = "exclusive"
    WHOLE_BOARD = "whole_board"
    SHARED_TOKENS = "shared_tokens"
    SHARED_EQUAL = "shared_equal"


class Quantity(StrEnum):
    """What a channel's values are. Only the first two make energy; the others say how the board was meanwhile."""

    ENERGY_J = "energy_j"
    POWER_W = "power_w"
    TEMPERATURE_C = "temperature_c"
    CLOCK_EVENTS = "clock_events"
    """NVML's mask of clocks event reasons, all of them since the previous sample."""
    BUSY_SHARE = "busy_share"
    """Share of the driver's last sampling period (1/6 to 1 s) in which a kernel ran on the board."""
    SENSOR_EVENT = "sensor_event"
    """A `SensorEvent`, between the last good call before it and the first good one after it."""


class SensorEvent(IntEnum):
    """What happened to a sensor that its readings alone do not show."""

    POWER_ZERO = 1
    POWER_IMPOSSIBLE = 2
    CALL_FAILED = 3
    REINITIALIZED = 4
    COUNTER_BACKWARDS = 5
    COUNTER_FROZEN = 6


class Channel(Record):
    """One stream of values of one device. A sample names its channel by position."""

    device: str = Field(description="GPU-<uuid>, cpu-package-<n>, dram-<n>, or the name of an estimate")
    boundary: Boundary
    method: Method
    quantity: Quantity
    duration_period_s: float | None = Field(default=None, description="between updates, where known")
    duration_window_s: float | None = Field(default=None, description="averaged over, where known")
    gain_half_width: float | None = Field(default=None, description="systematic, relative; None: unknown")

    @property
    def makes_energy(self) -> bool:
        """Whether energy can be had from it; otherwise it says how the device was meanwhile."""
        return self.quantity in (Quantity.ENERGY_J, Quantity.POWER_W)


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that a channel showed at some instant between two clock readings.

    A counter's tick is caught when the value changes between two polls: `time_before_s` is then the last
    poll that still showed the old value, `time_after_s` the first that showed the new one.
    """

    channel: int
    time_before_s: float
    time_after_s: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Raw readings between two collections, and the edges marked meanwhile, as columns of equal length.

    `channel` is int64; -1 is a marked edge, whose value is an `Edge`. Times are seconds, values in the unit of the
    channel's quantity.
    """

    channel: IntArray
    time_before_s: FloatArray
    time_after_s: FloatArray
    value: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """CPU seconds since some fixed moment: of the whole machine, and of this process and its descendants."""

    duration_busy_s: float
    duration_own_s: float


MARK_CHANNEL = -1


class Edge(IntEnum):
    """What happens at a marked instant, as far as it is known. Power may step there, or not."""

    UNKNOWN = 0
    WORK_BEGINS = 1
    WORK_ENDS = -1
    PHASE = 2
    """Inside work: a prefill ends, an answer begins."""


# ------------------------------------------------------------------------------------- what happened


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A named part of a generation: `prefill`, `thinking`, `answer`."""

    name: str
    time_start_s: float
    time_end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the engine did for one query. Phases are in order and touch."""

    phases: tuple[Phase, ...]
    sizes: dict[str, int | float]
    """Unit to count: prompt_tokens, thinking_tokens, answer_tokens, output_tokens; of other tasks input_pixels,
    output_pixels, audio_s, denoising_steps."""
    finish_reason: str
    text: str
    thinking: str
    answer: str
    rendered_prompt: str
    forced_end: bool = False
    """The thinking had reached its budget and was ended by force."""
    findings: tuple[Finding, ...] = ()
    """What is to be doubted about this query."""
    comparable: bool = True
    """False where the answer cannot be compared with the reference; the findings say why."""

    def n_tokens(self, kind: str) -> int:
        """How many of `prompt_tokens`, `output_tokens`, ...; 0: it has none of that kind."""
        return int(self.sizes.get(kind, 0))

    @property
    def time_start_s(self) -> float:
        """When the device began."""
        return self.phases[0].time_start_s

    @property
    def time_end_s(self) -> float:
        """When the device was done."""
        return self.phases[-1].time_end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query of a load, as it is handed to what answers it."""

    number: int
    """Of all queries that the session sends, from 0."""
    index: int
    """The prompt's position in the run."""
    prompt: Prompt
    mode: str
    max_new_tokens: int
    seed: int
    n_forced_tokens: int | None = None
    """The answer is to have exactly so many tokens; None: it ends by itself."""


class PhaseReading(Record):
    """One phase's share of a query. Phases of a query add up to it exactly."""

    name: str
    time_start_s: float
    time_end_s: float
    energy_gross_j: float | None
    energy_gross_half_width_j: float | None


class Reading(Record):
    """The energy of one device over one interval, and everything needed to doubt it.

    The net fields are absent on disk; they are filled on loading, from the session's idle baseline.
    """

    device: str
    boundary: Boundary
    method: Method
    attribution: Attribution
    time_start_s: float
    time_end_s: float
    energy_gross_j: float | None
    energy_gross_half_width_j: float | None
    n_samples: int
    duration_gap_largest_s: float | None = None
    phases: tuple[PhaseReading, ...] = ()
    findings: tuple[Finding, ...] = ()
    energy_blind_half_width_j: float | None = Field(
        default=None, description="the part of the half-width that comes from time a part-time sensor did not see"
    )
    power_idle_w: float | None = None
    energy_net_j: float | None = None
    energy_net_half_width_j: float | None = None
    energy_tail_j: float | None = Field(
        default=None, description="above idle, from the end to the next query; not part of the interval's energy"
    )
    energy_shared_equal_j: float | None = Field(
        default=None, description="of a shared interval: its energy if all in flight got the same of every instant"
    )
    duration_share_s: float | None = Field(
        default=None, description="of a shared interval: its share of the time, which carries its share of idle power"
    )

    @property
    def duration_s(self) -> float:
        """Length of the interval."""
        return self.time_end_s - self.time_start_s


class MeterReading(Reading):
    """What `Meter.read` gives: one energy over all metered devices of a boundary, and each device's own."""

    time_start_unix_s: float
    time_end_unix_s: float
    per_device: tuple[Reading, ...]


class Score(Record):
    """Whether an answer is right, and what was read as the answer; or how good it is, in numbers.

    `values` holds what a figure of quality is made of over many answers, such as the wrong words of this one and the
    words of its reference: `harness.analysis.quality` has them all.
    """

    correct: bool | None = Field(description="None: such answers are graded, not right or wrong")
    extracted: str | None
    values: dict[str, float | tuple[float, ...]] = {}


class Output(Record):
    """A generation as it is stored. The text is there with `--store-text full`, its hash otherwise."""

    sizes: dict[str, int | float]
    finish_reason: str
    rendered_prompt_sha256: str
    thought: bool | None = Field(default=None, description="whether its thinking holds any text but marks and blanks")
    rendered_prompt: str | None = None
    text: str | None = None
    text_sha256: str | None = None

    def n_tokens(self, kind: str) -> int | None:
        """How many of `prompt_tokens`, `output_tokens`, ...; None: it has none of that kind."""
        return int(self.sizes[kind]) if kind in self.sizes else None


class Timeline(Record):
    """When one query that was in flight with others made progress: one line of `timelines.jsonl`.

    It is written when the query ends, before anybody's energy is known: who was in flight with it needs it too. A chunk
    of output tokens came to be between the chunk before it (the first: the start of service) and its own instant.
    """

    schema_version: int = SCHEMA_VERSION
    session: int
    number: int = Field(description="of the query among all that the session sent, from 0")
    prompt_id: str
    mode: str
    time_sent_s: float = Field(description="when the client sent it")
    time_start_s: float = Field(description="when its service began: when it left the server's queue, if that is known")
    time_first_token_s: float | None = Field(description="None: no token came")
    time_end_s: float = Field(description="when the last of it had come, or it had failed")
    n_prompt_tokens: int | None
    n_cached_tokens: int | None = Field(default=None, description="of the prompt's, not computed again; None: unknown")
    time_chunk_s: tuple[float, ...] = Field(description="the first is the first token's")
    n_chunk_tokens: tuple[int, ...] = Field(description="output tokens of each chunk")

    @property
    def n_output_tokens(self) -> int:
        """Over all chunks."""
        return sum(self.n_chunk_tokens)


class Service(Record):
    """How one query was served, as its client saw it. Latencies count from the sending, queue included."""

    number: int = Field(description="of its timeline in the session")
    time_sent_s: float
    duration_first_token_s: float | None = Field(description="TTFT: to the first token; None: none came")
    duration_per_output_token_s: float | None = Field(description="TPOT: mean of those after the first")
    duration_queued_s: float | None = Field(default=None, description="in the server's queue, as the server says")
    n_chunks: int
    n_cached_tokens: int | None = Field(default=None, description="of the prompt's; None: the server does not say")
    status: int | None = Field(default=None, description="of HTTP; None: no answer, or no server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One query of a load that has been answered, or has failed."""

    asked: Asked
    generation: Generation | None
    """None: it failed, and the findings say how."""
    timeline: Timeline
    """Of a failed query too: it was in flight."""
    service: Service
    findings: tuple[Finding, ...] = ()


class TokenWeights(Record):
    """What a prompt token weighs against an output token when energy is shared: joules each, or any multiple."""

    schema_version: int = SCHEMA_VERSION
    session: int
    prompt: float = Field(ge=0)
    output: float = Field(ge=0)
    source: Literal["fitted", "given", "equal"] = Field(
        description="fitted to the warm-up under this load, given by the user, or 1:1 for want of better"
    )
    ratio_half_width: float | None = Field(default=None, description="of prompt / output, where it was fitted")
    n_windows: int | None = Field(default=None, description="stretches of the warm-up behind the fit")
    edges_marked: bool = Field(default=False, description="whether the curve knows of every start, first token and end")


class QueryRecord(Record):
    """One line of `queries.jsonl`: one prompt in one mode."""

    schema_version: int = SCHEMA_VERSION
    session: int
    prompt_id: str
    prompt_index: int
    mode: str
    seed: int
    block: int | None = Field(default=None, description="consecutive queries of one mode, numbered within the session")
    time_start_s: float
    time_end_s: float
    output: Output | None = Field(description="None where the query failed")
    score: Score | None = Field(description="None where the prompt has no reference or the query failed")
    readings: tuple[Reading, ...]
    findings: tuple[Finding, ...] = ()
    service: Service | None = Field(default=None, description="how it was served; None: it ran alone in this process")

    @property
    def duration_s(self) -> float:
        """Length of the query's span."""
        return self.time_end_s - self.time_start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """Text as numbers: `codes` are places in `names`; -1: none."""

    codes: IntArray
    names: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListColumn:
    """Lists of numbers: `counts` says how many each row has, -1: no list; `numbers` are theirs, row after row."""

    counts: IntArray
    numbers: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseColumns:
    """Phases of readings, one row each; `reading` is a row of `ReadingColumns`."""

    reading: IntArray
    name: TextColumn
    time_start_s: FloatArray
    time_end_s: FloatArray
    energy_gross_j: FloatArray
    energy_gross_half_width_j: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingColumns:
    """Doubts, one row each; `owner` is a row of the queries, `reading` one of their readings or -1: the query's own.

    A query's own come before those of its readings.
    """

    owner: IntArray
    reading: IntArray
    code: TextColumn
    detail: TextColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingColumns:
    """Readings, one row each, in the order of their owners; `owner` is a row of the queries or the intervals."""

    owner: IntArray
    device: TextColumn
    boundary: TextColumn
    method: TextColumn
    time_start_s: FloatArray
    time_end_s: FloatArray
    energy_gross_j: FloatArray
    energy_gross_half_width_j: FloatArray
    power_idle_w: FloatArray
    energy_net_j: FloatArray
    energy_net_half_width_j: FloatArray
    energy_tail_j: FloatArray
    energy_shared_equal_j: FloatArray
    duration_share_s: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryColumns:
    """Many `QueryRecord`s as columns, as far as statistics need them: one row each. Unknown is NaN, or the code -1."""

    offset: IntArray
    """Where its line begins in `queries.jsonl`, in bytes; -1: it is not in a file."""
    session: IntArray
    prompt: TextColumn
    prompt_index: IntArray
    mode: TextColumn
    time_start_s: FloatArray
    time_end_s: FloatArray
    answered: BoolArray
    """Whether there is an output."""
    finish_reason: TextColumn
    thought: IntArray
    """1 or 0."""
    rendered: IntArray
    """What the model was given: equal numbers are equal prompts."""
    text: IntArray
    """What it wrote: equal numbers are equal texts."""
    sizes: Mapping[str, FloatArray]
    correct: IntArray
    """1 or 0."""
    graded: BoolArray
    """Whether it has a score that is neither right nor wrong."""
    values: Mapping[str, FloatArray]
    """Of scores, those that are one number each."""
    lists: Mapping[str, ListColumn]
    """Of scores, the others."""
    readings: ReadingColumns
    phases: PhaseColumns
    findings: FindingColumns

    def __len__(self) -> int:
        """How many queries."""
        return len(self.session)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalColumns:
    """The gaps between queries as columns, in order of time."""

    time_start_s: FloatArray
    time_end_s: FloatArray
    readings: ReadingColumns


class LengthRecord(Record):
    """One line of `lengths.jsonl`: what one prompt's answer in one mode took in tokens, from batched generation.

    It has no energy of its own: the batch is an interval of its session, `lengths`.
    """

    schema_version: int = SCHEMA_VERSION
    session: int
    prompt_id: str
    prompt_index: int
    mode: str
    seed: int = Field(description="of all that were generated together")
    batch_size: int = Field(description="how many were answered at once")
    output: Output | None = Field(description="None where the prompt failed")
    score: Score | None
    findings: tuple[Finding, ...] = ()


class IntervalRecord(Record):
    """One line of `intervals.jsonl`: a stretch of the session that is not a query."""

    schema_version: int = SCHEMA_VERSION
    session: int
    name: str = Field(description="start_up, load, warm_up, idle_before, lengths, gap, serving, idle_after")
    time_start_s: float
    time_end_s: float
    readings: tuple[Reading, ...]


# ------------------------------------------------------------------------------- what must be recorded


class ServerFacts(Record):
    """The server that answered, as far as it says what it is."""

    kind: str = Field(description="vllm, llama.cpp, transformers, sglang, ollama, tgi, or unknown")
    version: str | None
    model: str = Field(description="the name that it serves the model by")
    base_url: str = Field(description="without credentials")
    command: tuple[str, ...] = Field(default=(), description="that started it; empty: it was running")
    boards_by: Literal["processes", "power", "user", "none"] = Field(
        default="none", description="how its boards were found"
    )


class EngineFacts(Record):
    """What the engine really did with the model, read off the loaded model."""

    device_name: str
    device_uuids: tuple[str, ...] = Field(description="NVML UUIDs of the boards that hold the model")
    revision: str
    n_parameters: int | None = Field(description="None: a server that does not say, as with the rest")
    bytes_per_parameter: float | None
    executed_precision: str | None
    requested_precision: str | None
    layer_classes: dict[str, int]
    attention: str | None
    context_length: int | None
    weights_format: str | None
    remote_code_commit: str | None = None
    generation_config: dict[str, Any]
    n_threads: int | None = None
    server: ServerFacts | None = Field(default=None, description="None: the model ran in this process")
    libraries: dict[str, str] = Field(
        default={}, description="version by name of those that a task needs beside the site's packages: diffusers"
    )


class BusyShare(Record):
    """How much of the time of one mode's queries a kernel ran on the metered boards; the mean over the boards."""

    mode: str
    duration_s: float = Field(description="of its queries, as far as the boards said how busy they were")
    share: float = Field(ge=0, le=1)


class BusyShares(Record):
    """The same of every mode of one session: `busy.json`. Absent where no board says how busy it is."""

    schema_version: int = SCHEMA_VERSION
    session: int
    modes: tuple[BusyShare, ...]


class SamplerStats(Record):
    """What the sampler process did and cost."""

    n_polls: int
    n_samples: int
    n_late: int
    duration_cpu_s: float
    duration_s: float
    n_missed: int | None = Field(
        default=None, description="updates and regular polls that were slept through, and polls that were refused"
    )
    n_regular: int | None = Field(default=None, description="polls at a fixed pace, beside the fine ones around ticks")


class LoadStep(Record):
    """A step of power at a mark, as a counter's ticks showed it. Shares are of the step."""

    edge: Edge
    duration_tick_s: float = Field(gt=0, description="of the tick that holds the mark")
    duration_to_tick_end_s: float = Field(description="from the mark to the end of its tick")
    share: float = Field(description="what of the step arrived in that tick")
    share_scatter: float = Field(gt=0, description="its standard deviation")
    share_missing: float = Field(description="what the next tick still lacked")


class SensorCard(Record):
    """What is known of one board's sensor, measured on it. None: not known yet.

    An idle board shows the first half; what needs a load is completed by runs and dated apart.
    """

    schema_version: int = SCHEMA_VERSION
    uuid: str
    name: str
    driver: str
    idle_utc: str
    counter: bool
    duration_tick_s: float | None = Field(default=None, gt=0)
    duration_tick_jitter_s: float | None = Field(default=None, ge=0)
    resolution_j: float | None = Field(default=None, gt=0)
    duration_counter_call_s: float | None = Field(default=None, ge=0)
    instant_power: bool
    duration_power_call_s: float | None = Field(default=None, ge=0)
    duration_power_period_s: float | None = Field(default=None, gt=0)
    power_idle_w: float | None = None
    load_utc: str | None = None
    duration_power_window_s: float | None = Field(default=None, gt=0, description="a reading is the mean over so long")
    duration_power_lag_s: float | None = Field(default=None, ge=0, description="from a window's end to its showing")
    integrates: bool | None = Field(default=None, description="the counter sees all of the time; False: a part of it")
    duration_counter_window_s: float | None = Field(
        default=None, gt=0, description="what a part-time counter sees of a tick"
    )
    ratio_counter_to_power: float | None = Field(
        default=None, gt=0, description="counter over integrated power, steady load"
    )
    ratio_counter_to_power_half_width: float | None = Field(default=None, ge=0)
    load_steps: tuple[LoadStep, ...] = Field(default=(), description="what `integrates` follows from; the latest few")


class RunManifest(Record):
    """What is needed to believe and repeat one session of a cell."""

    schema_version: int = SCHEMA_VERSION
    harness_version: str
    run_id: str
    cell_id: str
    session: int
    started_utc: str
    origin_unix_s: float
    origin_monotonic_s: float
    command: tuple[str, ...]
    git_commit: str | None
    site: Site
    engine: EngineFacts
    engine_of_pair: EngineFacts | None = Field(default=None, description="the second checkpoint, once it was loaded")
    channels: tuple[Channel, ...]
    headline: Boundary
    meter_gpus: str
    n_prompts: int
    until_ci: float | None = Field(default=None, description="relative half-width at which the run was to stop")
    store_text: str
    tariff_per_kwh: float | None
    sensor_cards: tuple[SensorCard, ...] = ()
    findings: tuple[Finding, ...]


class FileHash(Record):
    """What a file held: so many bytes from its beginning, and their sha256."""

    n_bytes: int = Field(ge=0)
    sha256: str


class SessionEnd(Record):
    """How a session ended. Absent where it was killed."""

    schema_version: int = SCHEMA_VERSION
    session: int
    ended_utc: str
    status: str = Field(description="finished, stopped, interrupted or failed")
    sampler: SamplerStats | None
    findings: tuple[Finding, ...]
    files: dict[str, FileHash] = Field(
        default={}, description="by name: its own, and the cell's as far as they were written; empty: not taken down"
    )


class BundledFile(FileHash):
    """One file of a bundle. `path` is relative to the run, its parts parted by slashes."""

    path: str


class Bundle(Record):
    """`bundle.json`: what a run held when it was bundled. Its own sha256 stands for all of it."""

    schema_version: int = SCHEMA_VERSION
    harness_version: str
    run_id: str
    texts: Literal["stored", "hashed"] = Field(
        description="of prompts and answers; hashed: their sha256 alone is in it"
    )
    texts_hashed_because: str = Field(default="", description="in words; empty: they are stored")
    files: tuple[BundledFile, ...] = Field(description="every other file, sorted by path")


# ----------------------------------------------------------------------------------------- of a sweep


class PlannedCell(Record):
    """One cell of a sweep before it runs: a run of its own, of which one repeat is measured at a time."""

    labels: dict[str, str] = Field(description="what the sweep varies, in words: model, dtype, batch_size, ...")
    spec: dict[str, Any] = Field(description="fields of a run file")
    repeat: int = Field(default=0, ge=0)
    role: Literal["cell", "reference_start", "reference_end"] = Field(
        default="cell", description="a reference is the same short cell on every GPU, at the start and at the end"
    )

    @cached_property
    def run_id(self) -> str:
        """Directory name in the sweep: the model, then the hash of what is measured; repeats share it.

        How many prompts are asked is not in it, as far as a run can be extended; nor is what a kWh costs.
        """
        model = self.spec.get("model") or ["cell"]
        name = model if isinstance(model, str) else str(model[0])
        is_open = not self.spec.get("until_ci") and not self.spec.get("two_phase")
        left_out = {"tariff", "num_prompts"} if is_open else {"tariff"}
        fields = {key: value for key, value in self.spec.items() if key not in left_out}
        return f"{slug(name.rpartition('/')[2])}-{json_hash(fields)}"

    @property
    def key(self) -> str:
        """Names it within the sweep."""
        return f"{self.run_id}/{self.role}/{self.repeat}" if self.role != "cell" else f"{self.run_id}/{self.repeat}"


class CellOutcome(Record):
    """How one attempt at a planned cell went. A line of `outcomes.jsonl` of the sweep."""

    schema_version: int = SCHEMA_VERSION
    key: str
    attempt: int = Field(ge=1)
    status: Literal["finished", "failed", "timed_out", "lost", "interrupted"] = Field(
        description="lost: its process, worker or node is gone without a word"
    )
    exit_code: int | None = Field(default=None, description="of its process; negative: the signal that ended it")
    error: str = Field(default="", description="what happened; empty where it finished")
    next_step: str = ""
    may_pass: bool = Field(default=False, description="whether another attempt may go better")
    node: str = Field(default="", description="where it ran, by a name that people know")
    gpu: str | None = Field(default=None, description="UUID of the board that was its own; None: no board")
    started_unix_s: float
    duration_s: float
    n_queries: int | None = None
    energy_j: float | None = Field(default=None, description="of its queries, at the headline boundary; None: unknown")
    estimated: bool | None = Field(default=None, description="whether these joules are an estimate")


# --------------------------------------------------------------------------- what others say beside it


class NodeGain(Record):
    """The machine's power against its boards': node = base + gain x boards + gain_host x host, by least squares.

    A gain above 1 is what the power supply loses, and whatever else moves with the boards and is not measured.
    """

    gain: float = Field(description="watts at the wall per watt of the boards")
    gain_half_width: float
    power_base_w: float = Field(description="where the boards, and the host if it is measured, would draw nothing")
    power_base_half_width_w: float
    gain_host: float | None = Field(default=None, description="None: the host was not measured")
    gain_host_half_width: float | None = None
    n_readings: int


class NodeMode(Record):
    """What the machine drew during one mode's queries, as far as they are long enough for the log."""

    mode: str
    n_queries: int
    n_resolved: int
    energy_node_j: float | None = Field(description="sum over the resolved queries; None: there are none")
    energy_node_half_width_j: float | None
    energy_board_j: float | None = Field(description="the boards' energy of the same queries")


class NodeQuery(Record):
    """What the machine drew during one query; null where the log cannot resolve it."""

    prompt_id: str
    mode: str
    reading: Reading


class ExternalMeter(Record):
    """What a wall meter's or a BMC's log says of one session. Everything is None where it could not be aligned."""

    schema_version: int = SCHEMA_VERSION
    session: int
    log: str = Field(description="name of the file as it was given; a copy lies beside this record")
    log_sha256: str
    column: str = Field(description="the column that was read")
    n_readings: int = Field(description="of the whole log")
    duration_period_s: float = Field(description="median distance of two readings")
    reference: str = Field(description="what it was aligned with: gpu_board, host, gpu_board+host or spans of work")
    duration_offset_s: float | None = Field(
        default=None, description="the log's clock, with whatever the meter is late, minus the session's"
    )
    duration_offset_half_width_s: float | None = None
    duration_lag_s: float | None = Field(default=None, description="time constant of the meter's own averaging")
    correlation: float | None = None
    gain: NodeGain | None = None
    total: Reading | None = Field(default=None, description="from the sensors' first reading to their last")
    modes: tuple[NodeMode, ...] = ()
    queries: tuple[NodeQuery, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class CrossCheck(Record):
    """Another program's energies over a stretch of a session, and ours over the same. Never mixed."""

    schema_version: int = SCHEMA_VERSION
    session: int
    tool: str
    version: str
    time_start_s: float | None = Field(description="None: it measured nothing")
    time_end_s: float | None
    energy_gpu_j: float | None
    energy_cpu_j: float | None
    energy_memory_j: float | None
    own: tuple[Reading, ...] = Field(description="our readings of the metered devices")
    notes: tuple[str, ...] = Field(default=(), description="what it did not measure, in words")


class CommandReport(Record):
    """What `harness meter` knows of one command. `reading` is null where no sensor could be read."""

    schema_version: int = SCHEMA_VERSION
    harness_version: str
    command: tuple[str, ...]
    started_utc: str
    duration_s: float
    exit_status: int = Field(description="the command's, or 128 and the signal that ended it")
    signal: str | None = Field(description="that ended it")
    reading: MeterReading | None
    boards: tuple[Board, ...]
    sensor_cards: tuple[SensorCard, ...] = ()
    driver: str | None
    channels: tuple[Channel, ...]
    sampler: SamplerStats | None
    findings: tuple[Finding, ...]


# --------------------------------------------------------------------------------------- what is said


class Estimate(Record):
    """A statistic with the parts of its 95 % interval kept apart.

    `low` and `high` are over prompts: another sample of prompts from the same source. `half_width_reading`
    is the sensor's and the curve's; `half_width_runs` a repeat's on this site, None with one run;
    `half_width_gain` the board's systematic gain. All in the unit of `value`.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    half_width_reading: float | None = None
    half_width_runs: float | None = None
    half_width_gain: float | None = None
    findings: tuple[Finding, ...] = ()


class Quality(Record):
    """How good the answers of one mode are, by one metric, over the answers that could be compared with a reference."""

    metric: str = Field(description="accuracy, f1, exact_match, rouge1, rouge2, rougeL, word_error_rate, map, ...")
    higher_is_better: bool
    n: int = Field(description="answers that are in it")
    figure: Estimate = Field(description="its interval is over prompts; accuracy's is Wilson's")


class SizeLaw(Record):
    """What a query costs by its size x (seconds of audio, megapixels and steps, tokens): J = a + b x.

    `per_unit_j` is the slope b; `energy_per_unit_j` is all joules over all units, the figure that people quote: the
    two differ where a query costs something whatever its size.
    """

    size: str = Field(description="key of the size: audio_s, output_megapixel_steps, ...")
    unit: str = Field(description="in words: second of audio, megapixel and step")
    n_queries: int
    mean: float = Field(description="units per query")
    energy_per_unit_j: Estimate = Field(description="ratio of sums")
    duration_per_unit_s: float = Field(description="ratio of sums")
    per_query_j: Estimate = Field(description="a; null where all queries have about one size")
    per_unit_j: Estimate = Field(description="b; null where all queries have about one size")
    residual_relative_sd: float | None = Field(default=None, description="of measured over fitted joules")
    findings: tuple[Finding, ...] = ()


class ModeSummary(Record):
    """One mode of one cell at one site. Energies are gross, in the run's headline boundary."""

    mode: str
    n_queries: int
    n_failed: int
    n_without_energy: int
    n_scored: int
    n_correct: int
    n_cut: int
    n_cut_scored: int = Field(default=0, description="of the scored: those that the token cap cut")
    n_cut_correct: int = Field(default=0, description="of those cut and scored: right all the same")
    n_forced: int = Field(default=0, description="queries whose thinking was ended by force at its budget")
    accuracy: Estimate
    duration_s: Estimate = Field(description="seconds per query")
    prompt_tokens: float | None
    thinking_tokens: Estimate
    answer_tokens: Estimate
    output_tokens: float | None
    energy_j: Estimate = Field(description="joules per query")
    energy_net_j: Estimate = Field(description="joules per query above idle")
    energy_tail_j: float | None = Field(
        default=None, description="mean joules above idle from a query's end to the next query; not in energy_j"
    )
    energy_per_output_token_j: Estimate
    energy_per_correct_j: Estimate
    energy_wh_per_1000: Estimate
    duration_per_output_token_s: float | None
    phases_j: dict[str, float] = Field(description="mean joules per phase; they add up to energy_j")
    phases_s: dict[str, float]
    power_w: float | None
    gpu_busy_share: float | None = Field(
        default=None, description="share of its queries' time in which a kernel ran, mean over the metered boards"
    )
    quality: tuple[Quality, ...] = Field(default=(), description="of other tasks; the main one first")
    sizes: dict[str, float] = Field(default={}, description="mean per query, tokens aside: audio_s, ...")
    size_laws: tuple[SizeLaw, ...] = ()
    invalid: tuple[Finding, ...] = Field(
        default=(), description="why this mode is not what it is called; its figures are true of what it did instead"
    )


class Part(Record):
    """One phase's share of the joules by which two modes differ; the parts of a comparison add up to the whole."""

    name: str
    difference_j: Estimate = Field(description="mean joules per query, numerator minus denominator")


class AccuracyDifference(Record):
    """Right answers of two modes over the same prompts."""

    n: int = Field(description="prompts scored in both modes")
    n_both: int = Field(description="right in both")
    n_only_numerator: int
    n_only_denominator: int
    difference: Estimate = Field(description="share right in the numerator minus share right in the denominator")
    p_value: float | None = Field(description="two-sided, exact, over the prompts where they differ (McNemar)")


class Comparison(Record):
    """Two modes over the same prompts. Estimand: total energy in one over total energy in the other.

    The ratio is `tokens` times `energy_per_token`, exactly; the difference is the sum of `parts`, exactly. For
    estimated energy everything in joules stays null; `duration` and `duration_per_token` speak. Where `invalid` is
    not empty the switch did not do what its name says, and every figure of the comparison is null.
    """

    numerator: str
    denominator: str
    n_pairs: int
    energy: Estimate = Field(description="ratio; its ends are studentized on the log ratio")
    energy_bca_low: float | None = Field(default=None, description="the same interval by another method (BCa)")
    energy_bca_high: float | None = None
    duration: Estimate = Field(description="ratio of total seconds")
    tokens: Estimate = Field(description="ratio of total output tokens")
    energy_per_token: Estimate = Field(description="ratio of joules per output token")
    duration_per_token: float | None
    log_share_tokens: float | None = Field(
        default=None,
        description="log(tokens) / log(energy): how much of the ratio is more tokens; null where it may be 1",
    )
    difference_j: Estimate = Field(description="mean joules per query, numerator minus denominator")
    parts: tuple[Part, ...] = Field(default=(), description="prefill, thinking, answer; empty where one is unknown")
    accuracy: AccuracyDifference | None = Field(default=None, description="None: no prompt is scored in both")
    energy_per_correct: Estimate = Field(description="ratio of joules per right answer")
    log_sd: float | None = Field(default=None, description="of the prompts' own log ratios")
    smallest_detectable: float | None = Field(
        default=None, description="relative: a true ratio of 1 + this is told from 1 in 80 % of studies of this size"
    )
    invalid: tuple[Finding, ...] = ()


class EnergyLaw(Record):
    """What a query costs by its lengths: J = a + b p + c o + d (p o + o^2 / 2).

    p prompt and o output tokens; a: what every query costs; b: a prompt token; c: an output token; d: an output token
    for each token that it attends to. A coefficient is null where the queries' lengths do not tell it apart.
    """

    modes: tuple[str, ...] = Field(description="whose queries were fitted together")
    n_queries: int
    per_query_j: Estimate
    per_prompt_token_j: Estimate
    per_output_token_j: Estimate
    per_attended_token_j: Estimate
    residual_relative_sd: float | None = Field(default=None, description="of measured over fitted joules")
    factors: dict[str, float] = Field(
        default={}, description="of a two-phase law, by mode: its joules over the coefficients', 1 for the base mode"
    )
    residual_relative_by_mode: dict[str, float] = Field(
        default={}, description="mean of measured over fitted joules, minus 1: a mode that the law does not fit"
    )
    findings: tuple[Finding, ...] = ()


class Stopping(Record):
    """How far a run with `--until-ci` has come. Half-widths are relative, and widened so that the last one holds."""

    target: float
    of: str = Field(description="the statistic, in words")
    n_prompts: int = Field(description="asked")
    n_prompts_most: int = Field(description="that the run would have asked at most")
    looks: tuple[tuple[int, float | None], ...] = Field(description="(prompts, relative half-width) of each look")
    settled: bool
    saved_s: float | None = Field(default=None, description="seconds of queries that were not needed, at the mean")
    saved_j: float | None = None


class TwoPhaseMode(Record):
    """One mode's figures from the token counts of all prompts and an energy law. Not measured query by query."""

    mode: str
    n_prompts: int
    n_failed: int
    n_cut: int
    n_scored: int
    n_correct: int
    prompt_tokens: float | None = Field(description="mean; None: no prompt was answered")
    output_tokens: float | None
    energy_j: Estimate = Field(description="joules per query")
    energy_per_correct_j: Estimate
    n_held_out: int
    held_out_deviation: float | None = Field(description="held-out joules over what the law says, minus 1")
    held_out_limit: float | None = Field(description="what the law's own uncertainty allows")


class TwoPhase(Record):
    """The same answer for less: token counts of all prompts, times the law of a few. Null where it does not hold."""

    batch_size: int
    n_prompts: int
    n_law: int = Field(description="batch-1 queries behind the law")
    n_planned: int = Field(description="batch-1 queries that the run was to ask, for the law and to check it")
    n_measured: int = Field(description="of them, those that were asked")
    law: EnergyLaw
    modes: tuple[TwoPhaseMode, ...]
    numerator: str | None = None
    denominator: str | None = None
    energy: Estimate = Field(description="ratio of total joules over all prompts; both parts of the error in its ends")
    tokens: Estimate = Field(default=Estimate(value=None), description="ratio of total output tokens, counted")
    accuracy: AccuracyDifference | None = Field(
        default=None, description="over all prompts; None: none is scored twice"
    )
    duration_batched_s: float
    duration_measured_s: float = Field(description="of the batch-1 queries")
    duration_saved_s: float | None = Field(
        default=None, description="batch-1 seconds that all prompts would have taken"
    )
    valid: bool
    findings: tuple[Finding, ...] = ()


class Latency(Record):
    """How long something took over many queries or tokens, in seconds. Quantiles are numpy's."""

    n: int
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float


class SteadyWindow(Record):
    """The stretch of one block in which the load stood at its full height: its ramp and its drain are left out."""

    session: int
    time_start_s: float
    time_end_s: float
    energy_j: float | None = Field(description="drawn meanwhile, whoever was in flight; None: not known all the time")
    n_ended: int = Field(description="answered queries that ended in it")
    n_output_tokens: int = Field(description="that came in it, whosever they were")

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.time_end_s - self.time_start_s


class FailedServing(Record):
    """Queries that failed in one way, and what they took of the energy all the same."""

    code: FindingCode
    n: int
    energy_j: float | None = Field(description="of all of them; None: unknown of one, or they were never in flight")


class ServingSummary(Record):
    """One mode of one cell under load. A query's joules are its share where others were in flight with it.

    Figures of the steady windows are of whole queries that ended in them; where there is no window, throughput,
    power and the number in flight are of the blocks, ramp and drain included.
    """

    mode: str
    load: str = Field(description="in words: 16 at once, 2.5 queries a second, batches of 8")
    attributed: bool = Field(description="whether queries were in flight together, so that their energy was shared")
    n_answered: int
    failures: tuple[FailedServing, ...] = ()
    n_blocks: int
    duration_blocks_s: float
    windows: tuple[SteadyWindow, ...] = ()
    energy_steady_j: Estimate = Field(description="joules per query that ended in a steady window")
    output_tokens_steady: float | None = Field(
        default=None, description="mean of these queries; the long ones end in a window less often than the short ones"
    )
    output_tokens_all: float | None = Field(default=None, description="mean of all answered queries")
    energy_all_j: Estimate = Field(description="joules per answered query, ramp and drain included")
    energy_shared_equal_j: float | None = Field(
        default=None, description="the same mean, were every instant shared equally: how much the rule decides"
    )
    rule_share: float | None = Field(
        default=None, description="mean absolute difference of a query's two shares, over the mean share"
    )
    energy_drawn_j: float | None = Field(default=None, description="in the blocks, from first sending to last end")
    energy_amortised_j: float | None = Field(default=None, description="of it, per answered query")
    energy_unattributed_j: float | None = Field(
        default=None, description="of it, drawn while nobody was in flight; it is in nobody's share"
    )
    energy_per_output_token_j: Estimate = Field(description="drawn in the steady windows per output token in them")
    energy_mlenergy_j: Estimate = Field(
        description="by ML.ENERGY's formula: steady joules per output token, times the mean output tokens of a query"
    )
    queries_per_second: float | None = Field(default=None, description="that ended, in the steady windows")
    output_tokens_per_second: float | None = None
    n_in_flight: float | None = Field(default=None, description="mean number of queries in flight")
    power_w: float | None = Field(default=None, description="mean")
    first_token: Latency | None = Field(default=None, description="TTFT: from the sending, queue included")
    per_output_token: Latency | None = Field(default=None, description="TPOT: a query's mean after its first token")
    between_tokens: Latency | None = Field(default=None, description="ITL: between chunks, divided by their tokens")
    end_to_end: Latency | None = Field(default=None, description="from the sending to the end, queue included")
    cached_share: float | None = Field(default=None, description="of prompt tokens; None: the server does not say")
    weights: tuple[TokenWeights, ...] = Field(default=(), description="of each session that shared by tokens")
    findings: tuple[Finding, ...] = ()


class ModeFault(Record):
    """What a mode, or two modes that gave the same, did against its name. Nothing with it may be compared."""

    modes: tuple[str, ...]
    finding: Finding


class Summary(Record):
    """Everything that a receipt, a page or a gate reads of one cell at one site."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    cell: Cell
    site_id: str
    headline: Boundary
    method: Method
    estimated: bool
    power_idle_w: Estimate
    n_sessions: int
    n_prompts_planned: int
    tariff_per_kwh: float | None
    modes: tuple[ModeSummary, ...]
    comparisons: tuple[Comparison, ...] = Field(
        default=(), description="each mode over the one that thinks least; the one that thinks most first"
    )
    law: EnergyLaw | None = Field(default=None, description="None: no joules, or too few queries")
    stopping: Stopping | None = None
    two_phase: TwoPhase | None = None
    faults: tuple[ModeFault, ...] = Field(
        default=(), description="of the switch, whether or not they are in a comparison"
    )
    findings: tuple[Finding, ...]
    serving: tuple[ServingSummary, ...] = Field(default=(), description="of a cell under load, by mode")
    external: tuple[ExternalMeter, ...] = Field(default=(), description="without their queries")
    cross_checks: tuple[CrossCheck, ...] = ()

    @property
    def comparison(self) -> Comparison | None:
        """The headline: the mode that thinks most over the one that thinks least."""
        return self.comparisons[0] if self.comparisons else None


def slug(name: str) -> str:
    """A name as a harmless directory name: letters, digits, dot and dash; never a path."""
    kept = "".join(char if char.isascii() and (char.isalnum() or char in "._") else "-" for char in name)
    return kept.strip("-._")[-60:].strip("-._") or "model"


def content_hash(record: Record) -> str:
    """First 12 hex digits of the sha256 of a record's canonical JSON, without what is at its default.

    So a field that a later version adds changes no hash, as long as its default says what was done before.
    """
    return json_hash(record.model_dump(mode="json", exclude_defaults=True))


def json_hash(fields: object) -> str:
    """First 12 hex digits of the sha256 of canonical JSON."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
