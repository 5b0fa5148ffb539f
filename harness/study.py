"""One `harness run` from its spec to its receipt: every cell in turn, failures kept apart, then the report."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from harness import publish, wall
from harness.analysis.serving.serving import is_under_load, load_words
from harness.config import FIXED, SPEC_NAME, RunSpec, load_run_spec
from harness.errors import ExitCode, HarnessError, OutOfMemory, ServerLost, StorageFull, UsageError
from harness.meter.beside.cross_check import require_codecarbon
from harness.power_limit.request import refuse_power_limit
from harness.progress import Progress
from harness.records import FindingCode, Summary, slug
from harness.repeat import Plan
from harness.report.receipt import receipt_of
from harness.report.serving.loads import loads_leads
from harness.report.study_terminal import print_leads
from harness.report.terminal import PatientConsole, Place, print_ends, print_receipt
from harness.report.wording import models
from harness.results import load_run
from harness.store.run_directory import cells, in_turn, run_path, write_whole, writing
from harness.variants import in_order, names_of, variant_leads
from harness.wiring.jobs import Job, jobs_of
from harness.wiring.serving import Servers, refuse_server
from harness.wiring.session import measure, sampled_boards, store_for
from harness.wiring.subject import with_default_model
from harness.wiring.variants import with_variant_cells


@dataclass(slots=True)
class Study:
    """A run directory and what it is to hold."""

    spec: RunSpec
    path: Path
    is_resumed: bool
    is_extended: bool = False
    """Resumed with another number of prompts than the run began with."""
    only_repeat: int | None = None
    """Of its repeats the one that is measured now; None: all of them."""
    plan: Plan | None = None
    """Of another run that is measured again here; None: its cells are worked out from the spec."""
    after: str | None = None
    """What to do when all is measured; None: what most improves it."""

    @classmethod
    def new(cls, file: str | None, flags: Mapping[str, Any], overrides: tuple[str, ...]) -> Study:
        """A run that does not exist yet; nothing is written before the first cell begins.

        Raises:
            UsageError: A key or value that cannot be meant.
        """
        asked = with_default_model(load_run_spec(file, flags, overrides))
        spec = asked.model_copy(update={"working_dir": str(Path.cwd())})
        run_id = new_run_id(spec)
        return cls(spec, Path(spec.output_dir).resolve() / run_id, is_resumed=False)

    @classmethod
    def resumed(cls, name: str, flags: Mapping[str, Any], overrides: tuple[str, ...]) -> Study:
        """A run that exists; flags may extend it (`--num-prompts`), never change what was measured.

        Raises:
            UsageError: No such run, or a flag that would change its cells.
        """
        path = run_path(name, Path(str(flags.get("output_dir", "results"))))
        stored = load_run_spec(str(path / SPEC_NAME), {})
        asked = load_run_spec(None, {**stored.model_dump(mode="json"), **flags}, overrides)
        _refuse_changed(stored, asked, also=("num_prompts",) if stored.two_phase or stored.until_ci is not None else ())
        return cls(asked, path, is_resumed=True, is_extended=asked.num_prompts != stored.num_prompts)

    @classmethod
    def placed(
        cls, file: str | None, path: Path, flags: Mapping[str, Any], overrides: tuple[str, ...], *, only_repeat: int
    ) -> Study:
        """One repeat of a run in a directory of a given name, which is made, or completed where it exists.

        Raises:
            UsageError: A key or value that cannot be meant, or a directory in which something else is measured.
        """
        asked = with_default_model(load_run_spec(file, flags, overrides))
        spec = asked.model_copy(update={"working_dir": str(Path.cwd())})
        if len(spec.model) > 1 or spec.variants or max(len(spec.concurrency), len(spec.request_rate)) > 1:
            raise UsageError(
                "--only-repeat is of a run with one cell, and this one has several.", "Measure them one by one."
            )
        path = path.resolve()
        is_resumed = (path / SPEC_NAME).exists()
        if is_resumed:
            stored = load_run_spec(str(path / SPEC_NAME), {})
            is_closed = stored.two_phase or stored.until_ci is not None
            _refuse_changed(stored, spec, also=("num_prompts",) if is_closed else ())
        return cls(spec, path, is_resumed=is_resumed, only_repeat=only_repeat)

    @classmethod
    def repeated(cls, plan: Plan, again: str) -> Study:
        """The plan of another run, measured here.

        Args:
            plan: Its spec and its cells.
            again: How the user called that run, for the next step.
        """
        spec = plan.spec.model_copy(update={"working_dir": str(Path.cwd())})
        run_id = new_run_id(spec)
        path = Path(spec.output_dir).resolve() / run_id
        return cls(spec, path, is_resumed=False, plan=plan, after=f"compare {shlex.quote(again)}")

    def run(self, *, pilot_only: bool) -> int:
        """Measure every cell, write the page, print the receipt.

        Returns:
            The exit code: 5 where some cells failed, 4 where a sensor was lost.

        Raises:
            HarnessError: Nothing could be measured at all.
        """
        if pilot_only and self.spec.two_phase:
            raise UsageError(
                "--plan asks five prompts one by one, and --two-phase counts the tokens of all first.",
                "Run --plan without --two-phase: its forecast says how many prompts are needed.",
            )
        if pilot_only and (self.spec.is_served or self.spec.batch_size is not None):
            raise UsageError(
                "--plan asks five prompts one by one; under a load they would say nothing about it.",
                "Ask few prompts at first: --num-prompts 50.",
            )
        console = PatientConsole(highlight=False)
        waiting = console.status("Getting ready…") if console.is_terminal else nullcontext()
        with waiting, chdir(self.spec.working_dir or "."):
            jobs = [self._as_planned(job) for job in self._jobs()]
        self._prepare(jobs)
        for hint in dict.fromkeys(job.hint for job in jobs if job.hint is not None):
            console.print(hint, soft_wrap=True)
        failures: list[tuple[str, HarnessError]] = []
        try:
            with Servers() as servers:
                for job in jobs:
                    if len(jobs) > 1:
                        console.rule(f"{called(job)}, repeat {job.cell.repeat + 1}")
                    try:
                        run_session(console, job, self.path, pilot_only=pilot_only, servers=servers)
                    except (OutOfMemory, ServerLost) as error:
                        failures.append((called(job), error))
                    except HarnessError as error:
                        if len(jobs) == 1 or isinstance(error, StorageFull):
                            raise
                        failures.append((called(job), error))
        except KeyboardInterrupt:
            console.print("\nInterrupted. Every query whose energy was final is on disk.")
            console.print(f"Complete it: {program()} run --resume {self._name()}", soft_wrap=True)
            return ExitCode.INTERRUPTED
        return self._report(console, failures, pilot_only=pilot_only)

    def _jobs(self) -> list[Job]:
        """Its cells, or the one repeat of its cell that is to be measured."""
        found = [directory.cell() for directory in cells(self.path)] or (self.plan.cells if self.plan else [])
        known = list({cell.cell_id: cell for cell in found}.values())
        if self.only_repeat is None:
            return jobs_of(self.spec, known)
        if known:  # another repeat has been measured: the same revision of everything
            return jobs_of(self.spec, [known[0].model_copy(update={"repeat": self.only_repeat})])
        upto = self.spec.model_copy(update={"repeats": self.only_repeat + 1})
        jobs = [job for job in jobs_of(upto) if job.cell.repeat == self.only_repeat]
        return [replace(job, spec=self.spec) for job in jobs]

    def _as_planned(self, job: Job) -> Job:
        """The job with as many prompts as an earlier resume has asked of this cell."""
        if not self.is_resumed or self.is_extended or self.only_repeat is not None:
            return job
        sessions = [session for cell in load_run(self.path) if cell.cell == job.cell for session in cell.sessions]
        planned = max((session.manifest.n_prompts for session in sessions if session.manifest), default=None)
        return job if planned is None else replace(job, spec=job.spec.model_copy(update={"num_prompts": planned}))

    def _prepare(self, jobs: list[Job]) -> None:
        """Every cell gets its directory before the first is measured, so that a killed run knows them all."""
        if self.spec.cross_check is not None:
            require_codecarbon()
        for job in jobs:
            # What cannot be metered, or limited, is refused before anything is written.
            if job.spec.is_served:
                refuse_server(job.spec)
            boards = sampled_boards(job.spec, job.device)
            if job.cell.power_limit_w is not None:
                refuse_power_limit(job.cell.power_limit_w, boards)
        self.spec = self.spec if self.is_resumed else with_variant_cells(self.spec, jobs)
        if self.only_repeat is not None:
            with writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
        elif not self.is_resumed:
            self.path = claimed(self.path)
        if self.plan is not None and self.plan.prompts_file is not None:
            self.spec = self.spec.model_copy(update={"prompts": str(self.path / self.plan.prompts_file.name)})
            with writing(self.path):
                shutil.copyfile(self.plan.prompts_file, self.path / self.plan.prompts_file.name)
        stores = [store_for(job, self.path) for job in jobs]
        if not self.is_resumed or self.only_repeat is not None:
            write_spec(self.path, self.spec)
        elif any(not store.sessions() and len(list(store.path.parent.iterdir())) > 1 for store in stores):
            print("This run was begun on another site: it continues as a new part, and parts are not pooled.")

    def _join_external(self, console: Console) -> None:
        """What was measured stands, whatever is wrong with somebody else's log."""
        if self.spec.external_meter is None:
            return
        log = Path(self.spec.working_dir or ".") / self.spec.external_meter
        try:
            wall.apply(self.path, log)
        except UsageError as error:
            console.print(f"\nThe external meter's log was not joined: {error}\n  → {error.next_step}", soft_wrap=True)
            later = f"{program()} report {self._name()} --external-meter {shlex.quote(str(log))}"
            console.print(f"  → Then: {later}", soft_wrap=True)

    def _report(self, console: Console, failures: list[tuple[str, HarnessError]], *, pilot_only: bool) -> int:
        if not pilot_only:
            self._join_external(console)
        page = None
        with nullcontext() if self.only_repeat is None else in_turn(self.path):
            measured = publish.accounts(self.path)
            own = [each for each in measured if self.only_repeat in (None, each.summary.cell.repeat)]
            if measured and not pilot_only:
                above = variant_leads(self.path, measured)
                measured = in_order(self.path, measured)
                page = publish.publish(self.path, measured, above=above, names=names_of(self.path))
        if page is not None:
            places = [Place(what="Page", path=str(page)), Place(what="Data", path=str(self.path))]
            leads = [*above, *loads_leads([account.summary for account in measured])]
            shown = [account for account in own if account.summary.cell.repeat == 0] or own[:1]
            for index, account in enumerate(shown, start=1):
                last = index == len(shown) and not leads
                console.print()
                print_receipt(
                    console,
                    receipt_of(account.summary, account.results.queries),
                    places=places if last else (),
                    next_command=self._next(account.summary) if last else None,
                )
            if leads:
                print_leads(console, leads)
                print_ends(console, places, self._next(measured[0].summary))
            if len(measured) > len(shown):
                console.print(f"\n{len(measured) - len(shown)} more repeats are on the page.")
        if pilot_only:
            console.print(f"\nGo on with all prompts: {program()} run --resume {self._name()}", soft_wrap=True)
        for model, error in failures:
            console.print(f"\n{model} failed: {error}\n  → {error.next_step}", soft_wrap=True)
        if failures:
            return ExitCode.CELLS_FAILED
        return exit_code([account.summary for account in own])

    def _next(self, summary: Summary) -> str:
        if self.after is not None and is_complete(summary):
            return f"{program()} {self.after} {self._name()}"
        return next_command(summary, self._name())

    def _name(self) -> str:
        return named(self.path)


def _refuse_changed(stored: RunSpec, asked: RunSpec, also: Sequence[str] = ()) -> None:
    """A run's cells stay what they are.

    Raises:
        UsageError: What is asked would change one.
    """
    changed = [name for name in (*FIXED, *also) if getattr(asked, name) != getattr(stored, name)]
    if changed:
        raise UsageError(
            f"--{changed[0].replace('_', '-')} would change what this run measures.", "Start a new run with it."
        )


def new_run_id(spec: RunSpec) -> str:
    """The moment, what is done where it is not text generation, and the first model."""
    name = spec.model[0].rpartition("/")[2]
    what = name if spec.other_task is None else f"{spec.other_task}-{name}"
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug(what)}"


def called(job: Job) -> str:
    """What a cell is called while it runs."""
    load = load_words(job.cell) if is_under_load(job.cell) else None
    return ", ".join(filter(None, (models(job.cell), load, job.variant)))


def run_session(
    console: Console,
    job: Job,
    path: Path,
    *,
    pilot_only: bool = False,
    forecast: bool = True,
    servers: Servers | None = None,
) -> str:
    """Run one session of a cell into a run directory, shown on a console.

    Args:
        console: Where its stages are told.
        job: The cell.
        path: The run's directory.
        pilot_only: Stop after the pilot prompts.
        forecast: Whether what the pilots foretell is told.
        servers: Kept over several cells; None: a server ends with its cell.

    Returns:
        How it ended, as `Session.run` says it.

    Raises:
        HarnessError: Whatever the session cannot do. What is final is on disk.
        KeyboardInterrupt: The same.
    """
    with Progress(console, job, forecast=forecast) as progress:
        command = ["harness", *sys.argv[1:]]
        return measure(job, path, progress, pilot_only=pilot_only, command=command, servers=servers)


def claimed(wanted: Path) -> Path:
    """A new directory, ours alone: another start in the same second gets the next number.

    Raises:
        StorageFull: It cannot be made.
    """
    path, number = wanted, 1
    with writing(wanted):
        wanted.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
                path = wanted.with_name(f"{wanted.name}-{number}")
            else:
                return path


def write_spec(path: Path, spec: RunSpec) -> None:
    """Put down in a run's directory what was asked of it, so that the run can be resumed.

    Raises:
        StorageFull: It cannot be written.
    """
    with writing(path):
        write_whole(path / SPEC_NAME, yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))


def named(path: Path) -> str:
    """How the user can name a run's directory from where they are, ready for a shell."""
    default = Path("results").resolve()
    return shlex.quote(path.name if path.resolve().parent == default else os.path.relpath(path))


def next_command(summary: Summary, run: str) -> str:
    """The step that most improves what was just measured."""
    if not is_complete(summary):
        return f"{program()} run --resume {run}"
    if summary.estimated:
        return f"{program()} doctor"
    if any(finding.code is FindingCode.TINY_MODEL_ON_GPU for finding in summary.findings):
        return f"{program()} models --fits"
    return f"{program()} verify {run}"


def is_complete(summary: Summary) -> bool:
    """Whether the run asked all that it was to ask."""
    if summary.stopping is not None and summary.stopping.settled:
        return True
    n_measured = min((mode.n_queries - mode.n_without_energy for mode in summary.modes), default=0)
    if summary.two_phase is not None:
        return summary.two_phase.n_measured >= summary.two_phase.n_planned
    return n_measured >= summary.n_prompts_planned


def program() -> str:
    """How this program is called from where the user is, so that a printed command can be pasted."""
    found = shutil.which("harness")
    installed = Path(sys.executable).with_name("harness")
    if not installed.exists():
        return f"{shlex.quote(sys.executable)} -m harness"
    if found and Path(found).samefile(installed):
        return "harness"
    return shlex.quote(min(os.path.relpath(installed), str(installed), key=len))


def exit_code(summaries: list[Summary]) -> ExitCode:
    """What a pipeline is told of a run whose cells all came to an end."""
    modes = [mode for summary in summaries for mode in summary.modes]
    if any(mode.n_without_energy for mode in modes):
        return ExitCode.INVALID
    if any(summary.faults for summary in summaries):
        return ExitCode.INVALID
    if any(summary.two_phase is not None and not summary.two_phase.valid for summary in summaries):
        return ExitCode.INVALID
    if not modes or all(mode.n_failed == mode.n_queries for mode in modes):
        return ExitCode.CELLS_FAILED
    return ExitCode.OK
