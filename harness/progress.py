"""What a person sees of a running session: stages, a bar with the remaining time, the forecast after the pilot.

Piped, it prints one line per stage and no bar.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from harness.analysis.plan import Plan, plan
from harness.pipeline.observer import Observer
from harness.records import Boundary, Prompt, QueryRecord, Stopping
from harness.wiring.jobs import N_PILOT, Job

STAGES = {
    "sensor": "Looking at the GPU's sensor",
    "load": "Loading {model}",
    "warm_up": "Warming up",
    "idle_before": "Measuring idle power",
    "load_warm_up": "Warming up under the load",
    "lengths": "Counting the tokens of {n} prompts in batches of {batch}",
    "queries": "Measuring {n} prompts, modes {modes}",
    "task": "Measuring {n} inputs of {prompts}",
    "idle_after": "Measuring idle power again",
}


class Progress(Observer):
    """Shows one session on a console.

    Args:
        console: What it is shown on.
        job: The session's cell.
        forecast: Whether to tell what the pilots foretell.
    """

    def __init__(self, console: Console, job: Job, *, forecast: bool = True) -> None:
        self._console = console
        self._job = job
        self._pilots: list[QueryRecord] = []
        self._told = not forecast
        self._is_measuring = False
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[doing]}"),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, doing="", visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, name: str, mode: str | None = None) -> None:
        """The session enters a stage."""
        cell = self._job.cell
        if name == "queries" and cell.lengths_batch_size is not None:
            words = "Measuring some of them one by one, for the energy law"
        elif name == "queries" and self._is_measuring:
            return  # the other checkpoint of a pair is there
        else:
            model = cell.pair.model if cell.pair is not None and mode in cell.pair.modes else cell.model
            words = STAGES["task" if name == "queries" and cell.task is not None else name].format(
                model=model,
                n=self._job.n_prompts,
                modes=", ".join(cell.modes),
                batch=cell.lengths_batch_size,
                prompts=cell.prompt_set,
            )
        self._is_measuring = self._is_measuring or name == "queries"
        self._bar.console.print(f"{words}…", highlight=False)
        self._bar.update(self._task, visible=name in ("lengths", "queries"), refresh=True)

    def told(self, line: str) -> None:
        """A line about a server."""
        self._bar.console.print(f"  {line}", highlight=False)

    def served(self, n_done: int, n_queries: int, mode: str, n_failed: int) -> None:
        """Of queries in flight together so many are there."""
        doing = mode if not n_failed else f"{mode}, {n_failed} failed"
        self._bar.update(self._task, total=n_queries, completed=n_done, doing=doing, refresh=True)

    def lengths(self, n_done: int, n_all: int) -> None:
        """So many answers were generated in batches."""
        self._bar.update(self._task, total=n_all, completed=n_done, doing="answers", refresh=True)

    def looked(self, n_prompts: int, stopping: Stopping) -> None:
        """A run that stops by itself has looked at its interval."""
        half_width = stopping.looks[-1][1] if stopping.looks else None
        width = "not known yet" if half_width is None else f"±{half_width:.1%}"
        verdict = "that is enough" if stopping.settled else f"wanted: ±{stopping.target:.1%}"
        self._bar.console.print(f"After {n_prompts} prompts the interval is {width}; {verdict}.", highlight=False)

    def started(self, index: int, n_queries: int, prompt: Prompt, mode: str) -> None:
        """A query begins; nothing is drawn until it has ended."""
        doing = f"{prompt.prompt_id} {mode}" if self._job.cell.task is None else _input(prompt)
        self._bar.update(self._task, total=n_queries, completed=index, doing=doing)

    def ended(self, index: int) -> None:
        """A query's output is there."""
        self._bar.update(self._task, completed=index + 1, refresh=True)

    def query(self, record: QueryRecord) -> None:
        """A query is final. Once the pilots are, the forecast is told."""
        if self._told or self._job.cell.lengths_batch_size is not None:
            return
        self._pilots.append(record)
        n_wanted = min(N_PILOT, self._job.n_prompts) * len(self._job.cell.modes)
        if len(self._pilots) >= n_wanted:
            self._told = True
            gpu = any(reading.boundary is Boundary.GPU_BOARD for reading in record.readings)
            headline = Boundary.GPU_BOARD if gpu else Boundary.HOST
            forecast = plan(self._pilots, modes=self._job.cell.modes, headline=headline, n_prompts=self._job.n_prompts)
            if forecast.n_pilots:
                self._bar.console.print(forecast_line(forecast), highlight=False)


def _input(prompt: Prompt) -> str:
    """What a task is given: an image or a sound by the name of its file."""
    if prompt.text or prompt.media is None or prompt.media.name == prompt.prompt_id:
        return prompt.prompt_id
    return f"{prompt.prompt_id} {prompt.media.name}"


def forecast_line(forecast: Plan) -> str:
    """The forecast in one sentence, from the pilot queries."""
    parts = [f"{forecast.n_prompts} prompts"]
    if forecast.half_width_expected is not None:
        parts.append(f"interval about ±{forecast.half_width_expected:.0%}, perhaps twice that ({forecast.of})")
    if forecast.duration_min is not None:
        parts.append(f"{_minutes(forecast.duration_min)}")
    if forecast.energy_wh is not None:
        parts.append(f"{forecast.energy_wh:.2g} Wh{' (estimated)' if forecast.estimated else ''}")
    line = f"Forecast from {forecast.n_pilots} pilot prompts: {', '.join(parts)}."
    if forecast.n_prompts_for_target is not None and forecast.n_prompts_for_target > forecast.n_prompts:
        line += f" For ±{forecast.target:.0%}: --num-prompts {forecast.n_prompts_for_target}."
    return line


def _minutes(duration_min: float) -> str:
    return f"{duration_min:.0f} min" if duration_min >= 2 else f"{duration_min * 60:.0f} s"
