"""A gate that measures: candidate and reference in turn, in one job, on one board, until the budget can be judged.

Knows the plan, the blocks and the clock. Must not know how a line is judged, nor how a verdict is printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness import publish
from harness.environment.machine import site
from harness.errors import HarnessError, InvalidMeasurement, NoSensor, StorageFull, UsageError
from harness.gate.verdict import Verdict
from harness.gate_measurement.blocks import Block, Part, order
from harness.gate_measurement.looking import Measured, counts, interval_words, judged, open_lines
from harness.gate_measurement.plan import GatePlan
from harness.report.wording import models
from harness.store.run_directory import RunDirectory
from harness.study import named, program, run_session
from harness.wiring.jobs import Job
from harness.wiring.session import sampled_boards


@dataclass(slots=True)
class GateMeasurement:
    """A gate's directory, its plan, and the jobs of both sides' first repeats."""

    path: Path
    plan: GatePlan
    jobs: dict[Part, Job]
    console: Console
    _boards: dict[Part, frozenset[str]] = field(default_factory=dict)
    _durations_s: dict[tuple[Part, int], float] = field(default_factory=dict)

    def run(self) -> Measured:
        """Measure whatever is missing, look when it is time, and end with a verdict.

        Raises:
            UsageError: Another process is at it, or this is not where it began.
            InvalidMeasurement: The two sides ran on two boards.
            NoSensor: The sensor was lost.
            HarnessError: Whatever a session cannot do. What is final is on disk.
            KeyboardInterrupt: The same; how to go on was told.
        """
        with RunDirectory(self.path).locked():  # the whole gate, not only the cell that is being measured
            self._require_same_site()
            try:
                measured = self._measure()
            except KeyboardInterrupt:
                self._say("\nInterrupted. Every query whose energy was final is on disk.")
                self._say_how_to_go_on()
                raise
            except InvalidMeasurement:
                raise  # completing it would not mend it
            except StorageFull as error:
                raise StorageFull(str(error), f"Make room, then complete the gate: {self._command()}") from error
            except HarnessError:
                self._say_how_to_go_on()
                raise
        self._publish()
        return measured

    def _measure(self) -> Measured:
        """Begun repeats are completed first; then the looks and the clock say whether there is another."""
        n_done = 0
        while any(block.is_begun for block in self.blocks(n_done)):
            self._measure_pair(n_done)
            n_done += 1
        while True:
            looked = self._look(n_done) if n_done in self.plan.looks else None
            why = self._why_enough(n_done, looked.verdict if looked else None)
            if why is not None:
                self._say(why)
                return replace(looked or judged(self.path, self.plan, n_done), why_ended=why)
            self._measure_pair(n_done)
            n_done += 1

    def _why_enough(self, n_done: int, verdict: Verdict | None) -> str | None:
        """Why nothing more is measured, in a sentence; None: something is. The clock knows no figures."""
        if verdict is not None and not open_lines(verdict):
            return f"Every line is decided after {_repeats(n_done)}."
        if n_done >= self.plan.looks[-1]:
            return f"All {_repeats(n_done)} that were planned are measured."
        if self.plan.max_gpu_minutes is None or n_done == 0:
            return None
        used_s = sum(self._durations_s.values())
        another_s = used_s / n_done
        if used_s + another_s <= 60 * self.plan.max_gpu_minutes:
            return None
        return (
            f"Stopped for time after {_repeats(n_done)}: {_time(used_s)} of {self.plan.max_gpu_minutes:g} min are "
            f"used, and another repeat of both takes about {_time(another_s)}. What is open stays open."
        )

    def _measure_pair(self, repeat: int) -> None:
        for place, block in enumerate(self.blocks(repeat)):
            self._measure_block(block, place)

    def _measure_block(self, block: Block, place: int) -> None:
        """Whatever is missing of one block; nothing, where it is complete."""
        if not block.is_complete:
            self._announce(block, place)
            first = not self._durations_s
            status = run_session(self.console, block.job, block.run, forecast=first)
            if status == "stopped":
                raise NoSensor(
                    f"The sensor was lost in repeat {block.job.cell.repeat + 1} of the {block.part}.",
                    "Look for Xid messages in `dmesg`; then resume.",
                )
        self._require_one_board(block)
        self._durations_s[block.part, block.job.cell.repeat] = block.duration_s()

    def blocks(self, repeat: int) -> list[Block]:
        """The two blocks of a repeat, in their order."""
        return [
            Block(
                part=part,
                job=replace(job, cell=job.cell.model_copy(update={"repeat": repeat})),
                run=self.path / part,
                site_id=self.plan.site_id,
            )
            for part in order(repeat)
            for job in (self.jobs[part],)
        ]

    def _publish(self) -> None:
        """Both sides' pages; the verdict stands without them."""
        try:
            for part in Part:
                publish.publish(self.path / part, publish.accounts(self.path / part))
        except StorageFull as error:
            later = f"{program()} report {named(self.path / Part.CANDIDATE)}"
            self._say(f"The runs' pages were not written: {error}\n  → Later: {later}", whole=True)

    # ------------------------------------------------------------------------------------------ what must hold

    def _require_same_site(self) -> None:
        """A gate is completed where it began: another board, driver or package would be in the difference."""
        job = self.jobs[Part.CANDIDATE]
        here = site(sampled_boards(job.spec, job.device))
        if here.site_id != self.plan.site_id:
            boards = ", ".join(board.name for board in here.boards) or "no board"
            raise UsageError(
                f"This gate was begun at the site {self.plan.site_id}, and this is {here.site_id} ({boards}, driver "
                f"{here.driver or 'none'}).",
                "Complete it where it began, with the same packages, or measure anew.",
            )

    def _require_one_board(self, block: Block) -> None:
        """The board's gain cancels only where there is one board."""
        boards = block.boards()
        for part, known in self._boards.items():
            if known != boards:
                raise InvalidMeasurement(
                    f"The {block.part} ran on {_listed(boards)}, and the {part} on {_listed(known)}.",
                    "Name one board for both, and measure anew: --device cuda:0, or CUDA_VISIBLE_DEVICES.",
                )
        self._boards[block.part] = boards

    # ------------------------------------------------------------------------------------------ looking and telling

    def _look(self, n_done: int) -> Measured:
        looked = judged(self.path, self.plan, n_done)
        verdict = looked.verdict
        if self.plan.n_looks > 1:
            number = self.plan.looks.index(n_done) + 1
            self._say(f"Look {number} of {self.plan.n_looks}, after {_repeats(n_done)}: {counts(verdict)}.")
            for line in open_lines(verdict):
                self._say(f"  open: {interval_words(line)}")
        return looked

    def _announce(self, block: Block, place: int) -> None:
        """Which block begins, and how much is to come until the budget is judged next."""
        repeat = block.job.cell.repeat
        n_next = next((look for look in self.plan.looks if look > repeat), self.plan.looks[-1])
        number, n_blocks = 2 * repeat + place + 1, 2 * n_next
        self.console.rule(Text(f"{block.part} {models(block.job.cell)}, repeat {repeat + 1} of {n_next}"))
        known_s = [*self._durations_s.values()]
        left = "" if not known_s else f", about {_time((n_blocks - number + 1) * sum(known_s) / len(known_s))}"
        look = "the verdict" if self.plan.n_looks == 1 else f"look {self.plan.looks.index(n_next) + 1}"
        self._say(f"Block {number} of {n_blocks} to {look}{left}.")

    def _say_how_to_go_on(self) -> None:
        self._say(f"Complete it: {self._command()}", whole=True)

    def _command(self) -> str:
        return f"{program()} gate --measure --resume {named(self.path)}"

    def _say(self, words: str, *, whole: bool = False) -> None:
        """Print a sentence; one with a command or a path is left `whole`, so that it can be pasted."""
        self.console.print(words, soft_wrap=whole, markup=False)


def _repeats(n: int) -> str:
    return "1 repeat of both" if n == 1 else f"{n} repeats of both"


def _time(duration_s: float) -> str:
    return f"{duration_s:.0f} s" if duration_s < 120 else f"{duration_s / 60:.1f} min"


def _listed(boards: frozenset[str]) -> str:
    return ", ".join(sorted(boards)) or "no board"
