"""Every interface between the stages. `records.py` holds what they exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from harness.records import (
    Asked,
    CellOutcome,
    Channel,
    EngineFacts,
    Finding,
    Generation,
    IntervalRecord,
    LengthRecord,
    ModeSwitch,
    PlannedCell,
    Prompt,
    PromptSet,
    QueryRecord,
    RunManifest,
    Sample,
    SamplerStats,
    Score,
    Segment,
    Served,
    SessionEnd,
    ThinkingSpan,
    Timeline,
    TokenWeights,
)

if TYPE_CHECKING:
    from harness.records import FloatArray


class Clock(Protocol):
    """Seconds since the session's origin, monotonic."""

    origin_monotonic_s: float
    origin_unix_s: float

    def now_s(self) -> float:
        """Seconds since the origin."""
        ...

    def sleep_until(self, time_s: float) -> None:
        """Return once `now_s()` has reached `time_s`."""
        ...


class PromptSource(Protocol):
    """Where prompts come from: the package, a file, the Hub."""

    def load(self, seed: int | None) -> PromptSet:
        """The whole set, in the order that `seed` gives it; None: as it is stored.

        Raises:
            UsageError: No such file or column, or an empty set.
            ModelUnavailable: A Hub data set that is gated or cannot be reached.
        """
        ...


class Reasoning(Protocol):
    """How one model is asked to think or not, and where its thinking stands in an output."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that this model has, `off` first."""
        ...

    def switch(self, mode: str) -> ModeSwitch:
        """How `mode` is asked for.

        Raises:
            UnknownName: The model does not have this mode.
        """
        ...

    @property
    def marks(self) -> tuple[str, str] | None:
        """The texts that open and close the thinking; None: the model has no thinking."""
        ...

    def span(
        self, rendered_prompt: str, ids: Sequence[int], start_ids: Sequence[int], end_ids: Sequence[int]
    ) -> ThinkingSpan | None:
        """Where the thinking lies in the output `ids`; None: there is none.

        Args:
            rendered_prompt: What the model was given; it may end inside an open thinking.
            ids: Output token ids.
            start_ids: Token ids of the opening mark.
            end_ids: Token ids of the closing mark.
        """
        ...


class Engine(Protocol):
    """What runs the model. Holds at most one model at a time."""

    def ready(self, mode: str) -> bool:
        """Whether the model that answers in `mode` is loaded: of a pair of checkpoints one is resident at a time."""
        ...

    def load(self, mode: str | None = None) -> EngineFacts:
        """Bring a model onto its device and say what was really loaded.

        Args:
            mode: Of a pair, the checkpoint that answers in this mode; None: the only one, or the first.

        Raises:
            ModelUnavailable: Missing, gated or unreachable.
            OutOfMemory: It does not fit.
            EnvironmentFault: The device cannot be used.
        """
        ...

    def render(self, prompt: Prompt, mode: str) -> str:
        """The text that the model is given for `prompt` in `mode`, marks included."""
        ...

    def generate(
        self, prompt: Prompt, mode: str, max_new_tokens: int, seed: int, *, n_forced_tokens: int | None = None
    ) -> Generation:
        """Answer one prompt. The device is synchronized at both ends.

        With `n_forced_tokens` the answer has exactly so many tokens, whatever the cap is; it may not end before. Such
        an answer ended because it was `forced`, and nothing was cut off.

        Raises:
            OutOfMemory: The context does not fit; the engine stays usable.
            CellFailed: The model itself raised an error on this prompt.
            UsageError: The prompt does not fit into the model's context.
        """
        ...

    def generate_batch(
        self, prompts: Sequence[Prompt], mode: str, max_new_tokens: int, seed: int, *, batch_size: int
    ) -> tuple[Generation, ...]:
        """Answer several prompts together, for what they answer and not for what it costs.

        At most `batch_size` are answered at once; prompts that wait take the places of those that are done. Each
        generation has one phase, `batch`, from the start to the end of all of them.

        Raises:
            OutOfMemory: So many at once do not fit; the engine stays usable.
            CellFailed: The model itself raised an error.
            UsageError: A prompt does not fit into the model's context.
        """
        ...

    def warnings(self) -> tuple[Finding, ...]:
        """What libraries said about falling back since the last call."""
        ...

    def close(self) -> None:
        """Free the device's memory."""
        ...


class LoadEngine(Protocol):
    """What answers queries whose spans overlap: static batches in this process, or a server under load."""

    def load(self) -> EngineFacts:
        """Make ready, and say what will answer: bring the model onto its device, or find the server healthy.

        Raises:
            ModelUnavailable: Missing, gated or unreachable.
            OutOfMemory: It does not fit.
            EnvironmentFault: The device or the server cannot be used.
        """
        ...

    def render(self, prompt: Prompt, mode: str) -> str:
        """What the model is given for `prompt` in `mode`: its text where that can be known, else the request."""
        ...

    def begin(self, asked: Sequence[Asked], *, alone: bool = False) -> None:
        """Take the queries of one block, to be answered in this order at the engine's load.

        Args:
            asked: Numbered throughout the session.
            alone: One after the other instead, as warm-ups are.
        """
        ...

    def take(self, timeout_s: float) -> tuple[Served, ...]:
        """What has been answered or has failed since the last call, in the order of their ends.

        Returns as soon as there is something, or nothing is left to come, or `timeout_s` seconds have passed.

        Raises:
            ServerLost: The server is gone, or so many queries failed that the run has to stop.
        """
        ...

    def edges_s(self) -> tuple[float, ...]:
        """Starts, first tokens and ends that have become known since the last call: power may have stepped there.

        Of an open query too, within milliseconds: a curve has to know of an edge before it settles that tick.
        """
        ...

    @property
    def n_left(self) -> int:
        """How many of the block have not been taken."""
        ...

    @property
    def time_open_s(self) -> float | None:
        """No query that began before this instant of the session clock is still open; None: none is open at all."""
        ...

    def stop(self) -> None:
        """Give up what is still to be sent and what is open: an interruption, or the sensor is lost."""
        ...

    def warnings(self) -> tuple[Finding, ...]:
        """What was found to be doubted since the last call."""
        ...

    def close(self) -> None:
        """Let go of the model or of the connections."""
        ...


class Scorer(Protocol):
    """Is the answer right?"""

    def score(self, answer: str, reference: str) -> Score:
        """Compare one answer, thinking already taken off, with its reference.

        Raises:
            UsageError: The reference is not one that this scorer can compare with.
        """
        ...


class Sensor(Protocol):
    """One source of readings, polled by the sampler process."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What it found out about itself while opening, such as a default that it fell back to."""
        ...

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What it reads. A sample's channel is a position in here."""
        ...

    def next_poll_s(self, now_s: float) -> float:
        """When it wants to be polled next, on the clock that `poll` reads."""
        ...

    def poll(self) -> Iterable[Sample]:
        """Read what is due. Times are CLOCK_MONOTONIC seconds.

        Raises:
            NoSensor: It will not answer again.
        """
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...


class Recorder(Protocol):
    """Keeps sensors polled while the main process works."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """What is recorded."""
        ...

    def start(self, origin_monotonic_s: float) -> None:
        """Begin; return once every channel has given a reading.

        Raises:
            NoSensor: A sensor gave none.
        """
        ...

    def drain(self) -> Segment:
        """Samples since the last call, in the order they became known, on the session clock; no marks."""
        ...

    def lost(self) -> tuple[Finding, ...]:
        """Empty while every sensor answers; otherwise why not."""
        ...

    def stop(self) -> SamplerStats | None:
        """End the recording. Samples not yet drained can still be drained."""
        ...


class EnergyCurve(Protocol):
    """E(t) of one device: cumulative, piecewise linear, never decreasing."""

    @property
    def channel(self) -> Channel:
        """Where it comes from."""
        ...

    @property
    def duration_period_s(self) -> float | None:
        """Seconds between the sensor's updates, as seen in the readings; None: too few of them."""
        ...

    @property
    def time_first_s(self) -> float | None:
        """Where the curve begins; None: it is empty."""
        ...

    @property
    def time_last_s(self) -> float | None:
        """Where the curve ends; None: it is empty."""
        ...

    @property
    def session_findings(self) -> tuple[Finding, ...]:
        """What happened to the device over the session as a whole."""
        ...

    def covers(self, time_start_s: float, time_end_s: float) -> bool:
        """Whether the readings reach from before the start to after the end."""
        ...

    def is_known(self, time_start_s: float, time_end_s: float) -> bool:
        """Whether the sensor, or readings that stand in for it, gave an energy all the time."""
        ...

    def findings(self, time_start_s: float, time_end_s: float) -> tuple[Finding, ...]:
        """What happened to the device and its sensor meanwhile, each once."""
        ...

    def energy_j(self, time_start_s: float, time_end_s: float) -> float:
        """E(end) - E(start) in joules; the interval must be covered."""
        ...

    def blind_half_width_j(self, time_start_s: float, time_end_s: float) -> float | None:
        """The part of `half_width_j` that comes from what a part-time sensor did not see; None: it sees everything."""
        ...

    def half_width_j(self, time_start_s: float, time_end_s: float) -> float | None:
        """Half-width of the 95 % interval of `energy_j`, without the board's gain; None: an estimate."""
        ...

    def cumulative_j(self, times_s: FloatArray) -> FloatArray:
        """E at many instants, in joules from the curve's beginning; flat before it and after its end."""
        ...

    def instant_half_width_j(self, times_s: FloatArray) -> FloatArray:
        """Half-width of the 95 % interval of where within its tick the energy of each instant lies."""
        ...

    def gathered_j2(self, times_s: FloatArray) -> FloatArray:
        """95 % half-width squared that has gathered from the curve's beginning to each instant, blind time included."""
        ...

    def n_samples(self, time_start_s: float, time_end_s: float) -> int:
        """Readings that fall into the interval."""
        ...

    def duration_gap_largest_s(self, time_start_s: float, time_end_s: float) -> float:
        """The longest stretch between two readings that overlaps the interval."""
        ...


class RunStore(Protocol):
    """Append-only results of one cell at one site."""

    def finished(self) -> set[tuple[str, str]]:
        """(prompt_id, mode) of every query already on disk."""
        ...

    def begin_session(self) -> int:
        """Make room for the next session and return its number."""
        ...

    def write_manifest(self, manifest: RunManifest) -> None:
        """Once per session, before its first query."""
        ...

    def write_segment(self, session: int, segment: Segment) -> None:
        """Close one file of raw readings. On return it is on disk."""
        ...

    def append_query(self, *queries: QueryRecord) -> None:
        """Append final queries and flush them: all of them are on disk then, or none."""
        ...

    def lengths(self) -> list[LengthRecord]:
        """Every token count of a two-phase run on disk."""
        ...

    def append_length(self, length: LengthRecord) -> None:
        """Append one token count and flush it."""
        ...

    def timelines(self, session: int) -> list[Timeline]:
        """Of every query that a session under load has sent and that has ended."""
        ...

    def append_timelines(self, timelines: Sequence[Timeline]) -> None:
        """Append how queries of one session were served, and flush."""
        ...

    def weights(self, session: int) -> TokenWeights | None:
        """What a session's energy was shared by; None: it was not shared by tokens."""
        ...

    def write_weights(self, weights: TokenWeights) -> None:
        """Once per session under load, before its first query."""
        ...

    def append_interval(self, interval: IntervalRecord) -> None:
        """Append one final interval and flush it."""
        ...

    def write_end(self, end: SessionEnd) -> None:
        """Once, when a session ends in good order."""
        ...

    def segments(self, session: int) -> Iterator[Segment]:
        """The raw readings of a session, in order."""
        ...


class Executor(Protocol):
    """Where the cells of a sweep run. It places them; the work is done by a fresh process per cell."""

    @property
    def n_free(self) -> int:
        """How many more cells can be begun now."""
        ...

    def submit(self, cell: PlannedCell, attempt: int) -> None:
        """Begin one cell. Its run directory is completed, not begun again, where a part of it is there.

        Raises:
            EnvironmentFault: Nothing can be begun here any more.
        """
        ...

    def take(self, timeout_s: float) -> tuple[CellOutcome, ...]:
        """What has ended since the last call; its files are whole in the sweep's directory by then.

        Returns as soon as there is something, or nothing runs, or `timeout_s` seconds have passed.
        """
        ...

    def running(self) -> tuple[PlannedCell, ...]:
        """What has begun and has not been taken."""
        ...

    def stop(self) -> None:
        """End what runs, so that it can be resumed: processes are interrupted, then killed."""
        ...

    def close(self) -> None:
        """Let go of workers and connections. Nothing that this executor began is left running."""
        ...
