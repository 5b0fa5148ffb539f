#!/usr/bin/env python3
"""Find out, on this machine's NVIDIA GPU, what its sensors see, how its power behaves, and how good the meter is there.

    python scripts/gpu_validation.py [--minutes 8] [--output-dir DIR] [--device cuda:0] [--only sensor,square_wave]
    python scripts/gpu_validation.py --judge results/reference/<run>

One command, no network, under eight minutes; what does not fit into `--minutes` is skipped, with the reason. In order
of worth: the sensor's card; idle power; square-wave loads locked to the counter's tick at four phases (does the counter
see all of the time?); counter against integrated power at steady levels; short against long windows of one matrix
product; power tails and launch delay; what the sampler costs; queries on the shapes of Qwen3 0.6B, Qwen3 4B and Llama 3
8B with random weights. Needs torch; the queries need transformers; the picture needs matplotlib.

Stored under `results/reference/<date>-<board>-<driver>/`: `manifest.json`, `results.json` (a verdict per claim),
`report.md`, `readings/*.parquet` and `schedules/*.json` (raw; `--judge` judges them again), `card.json`, `plot.png`.
Ctrl-C keeps what there is. Exit codes: 0 done, 2 usage, 3 no GPU or no torch that can use it, 5 an experiment failed
(the others stand), 130 interrupted.

Not run on a real GPU yet: it was rehearsed on a processor against a fake NVML library (`--device cpu`), and its
judgements were tested on synthetic boards.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "scripts")]

from gpu_validation import idle, levels, models, overhead, sensor, square_wave, tails, windows  # noqa: E402
from gpu_validation.bench import Bench, Budget, Experiment, Recording  # noqa: E402
from gpu_validation.report import WEIGHTS, Directory, draw, judged_again, page, terminal_lines  # noqa: E402
from gpu_validation.verdicts import Ruling, Table, Verdict  # noqa: E402

from harness.clock import SessionClock, utc_now  # noqa: E402
from harness.environment import choose_boards, git_commit, site  # noqa: E402
from harness.environment.nvml import Nvml, open_nvml  # noqa: E402
from harness.errors import EnvironmentFault, ExitCode, HarnessError, NoSensor, UnknownName, UsageError  # noqa: E402
from harness.records import SCHEMA_VERSION, Segment, slug  # noqa: E402

SHARE_BEFORE_MODELS = 0.45
"""Of the budget; the queries get the rest."""
STEPS_AND_LEVELS = ("levels", "windows", "tails")
"""Experiments whose marks are single steps of power, which is what completes a card."""
CLOSING_S = 2.0
"""Kept back for writing the report."""


def experiments(*, tiny: bool) -> tuple[Experiment, ...]:
    """All of them, the most valuable first."""
    return (
        _experiment(sensor, "The sensor's card", (sensor.COUNTER, sensor.POWER), 6.0, 2.5),
        _experiment(idle, "Idle power", (idle.STEADY,), 8.0, 1.7),
        _experiment(
            square_wave, "Square waves locked to the tick", (square_wave.COUNTER, square_wave.POWER), 34.0, 4.8
        ),
        _experiment(levels, "Counter against integrated power", (levels.AGREE,), 22.0, 3.0),
        _experiment(windows, "Short against long windows", (windows.AGREE, windows.CLOSER), 48.0, 5.0),
        _experiment(tails, "Power around the edges of work", (tails.ENDS, tails.BEGINS), 20.0, 4.2),
        _experiment(overhead, "What the sampler costs", (overhead.UNFELT,), 15.0, 1.0),
        models.experiment(tiny),
    )


def _experiment(module: Any, title: str, claims: tuple[Any, ...], nominal_s: float, least_s: float) -> Experiment:
    return Experiment(
        name=module.__name__.rpartition(".")[2],
        title=title,
        claims=claims,
        duration_nominal_s=nominal_s,
        duration_least_s=least_s,
        run=module.run,
        judge=module.judge,
    )


@dataclass(slots=True)
class Results:
    """What is known so far."""

    verdicts: list[Verdict] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    segments: dict[str, Segment] = field(default_factory=dict)

    def skip(self, experiment: Experiment, reason: str, status: str = "skipped", duration_s: float = 0.0) -> None:
        """Note that an experiment gave nothing."""
        ruling = Ruling.SKIPPED if status == "skipped" else Ruling.UNDECIDED
        self.verdicts += [
            claim.ruled(experiment.name, ruling, f"{status.capitalize()}: {reason}") for claim in experiment.claims
        ]
        self.note(experiment, status, reason, duration_s, 0)

    def note(self, experiment: Experiment, status: str, reason: str, duration_s: float, n_readings: int) -> None:
        """Note how an experiment went."""
        self.rows.append(
            {
                "name": experiment.name,
                "title": experiment.title,
                "status": status,
                "reason": reason,
                "duration_s": round(duration_s, 3),
                "n_readings": n_readings,
            }
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, or judge again; the exit code."""
    options = _options(arguments)
    try:
        if options.judge is not None:
            judges = {each.name: each.judge for each in experiments(tiny=False)}
            print("\n".join(terminal_lines(tails.in_context(judged_again(options.judge, judges)))))
            return ExitCode.OK
        return validate(options)
    except HarnessError as error:
        print(f"{error}\n{error.next_step}", file=sys.stderr)
        return error.exit_code


def validate(options: argparse.Namespace) -> int:
    """All experiments that fit into the time.

    Raises:
        EnvironmentFault: There is no GPU, no torch that can use it, or no sensor.
        UsageError: An experiment, a device or a board that is not there.
    """
    budget = Budget(options.minutes * 60.0)
    tiny = options.shapes == "tiny"
    chosen = experiments(tiny=tiny)
    if options.only:
        names = {each.name for each in chosen}
        for name in options.only:
            if name not in names:
                raise UnknownName("experiment", name, names)
        chosen = tuple(each for each in chosen if each.name in options.only)
    nvml = _nvml()
    device = _device(options.device, nvml)
    uuid, notes = _board(options.meter_gpus, device, nvml)
    clock = SessionClock()
    recording = Recording(uuid, clock)
    recording.start()
    results = Results()
    started_utc, rehearsal = utc_now(), device == "cpu"
    where = site((uuid,))
    directory = Directory(_place(options.output_dir, started_utc, where.boards[0].name, where.driver, rehearsal))
    print(f"{where.boards[0].name} ({uuid}), driver {where.driver}; results in {directory.path}", flush=True)
    print(WEIGHTS, flush=True)
    bench = Bench(
        device=device, uuid=uuid, budget=budget, recording=recording, clock=clock, tiny=tiny, say=_say
    )  # fmt: skip

    def store() -> None:
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "date_utc": started_utc,
            "git_commit": git_commit(PROJECT / "harness"),
            "rehearsal": rehearsal,
            "weights": WEIGHTS,
            "board": where.boards[0].name,
            "uuid": uuid,
            "device": device,
            "budget_s": budget.duration_s,
            "duration_s": round(budget.duration_s - budget.left_s, 3),
            "site_id": where.site_id,
            "site": where.model_dump(mode="json"),
            "origin_monotonic_s": clock.origin_monotonic_s,
            "origin_unix_s": clock.origin_unix_s,
            "channels": [channel.model_dump(mode="json") for channel in recording.channels],
            "sampler": [stats.model_dump(mode="json") for stats in recording.stats],
            "notes": [*notes, *(str(finding) for finding in recording.losses)],
        }
        directory.write("manifest.json", manifest)
        directory.write(
            "results.json",
            {
                "schema_version": SCHEMA_VERSION,
                "experiments": results.rows,
                "verdicts": [verdict.model_dump(mode="json") for verdict in tails.in_context(results.verdicts)],
                "tables": [table.model_dump(mode="json") for table in results.tables],
            },
        )
        picture = (directory.path / "plot.png").exists()
        directory.write(
            "report.md",
            page(manifest, results.rows, tails.in_context(results.verdicts), results.tables, picture=picture),
        )

    interrupted = False
    try:
        for number, experiment in enumerate(chosen):
            if interrupted:
                results.skip(experiment, "interrupted before it began.")
                continue
            interrupted = not _one(experiment, chosen[number:], bench, directory, results)
            store()
    finally:
        recording.stop()
    _complete_card(bench, directory, results, keep=not rehearsal)
    draw(directory.path / "plot.png", results.tables)
    store()
    print()
    print("\n".join(terminal_lines(tails.in_context(results.verdicts))))
    print(f"\n{directory.path / 'report.md'}")
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.CELLS_FAILED if any(row["status"] == "failed" for row in results.rows) else ExitCode.OK


def _one(
    experiment: Experiment, rest: Sequence[Experiment], bench: Bench, directory: Directory, results: Results
) -> bool:
    """One experiment, whatever becomes of it; False where the user wants no more."""
    left_s = bench.budget.left_s - CLOSING_S
    allotted_s = min(left_s, _allotted_s(experiment, rest, bench.budget))
    if left_s < experiment.duration_least_s:
        reason = f"it needs {experiment.duration_least_s:.1f} s and {max(left_s, 0.0):.1f} s are left of --minutes."
        results.skip(experiment, reason)
        _say(f"{experiment.title}: skipped, {reason}")
        return True
    _say(f"{experiment.title} …")
    began_s, status, reason = time.monotonic(), "done", ""
    bench.schedule = []
    try:
        bench.recording.revive()
        bench.recording.begin()
        experiment.run(bench, max(allotted_s, experiment.duration_least_s))
    except KeyboardInterrupt:
        status, reason = "interrupted", "by the user; judged by what there was."
    except square_wave.NoTicks as error:
        results.skip(experiment, str(error), duration_s=time.monotonic() - began_s)
        return True
    except NoSensor as error:
        results.skip(experiment, f"{error} {error.next_step}", "failed", time.monotonic() - began_s)
        return True
    except ModuleNotFoundError as error:
        results.skip(experiment, f"the package {error.name} is not installed.")
        return True
    except Exception as error:  # noqa: BLE001 - one experiment's failure must not cost the others; it is reported whole
        status, reason = "failed", f"{type(error).__name__}: {error}"
        directory.write(f"{experiment.name}-error.txt", traceback.format_exc())
    segment = bench.recording.segment(bench.schedule)
    duration_s, n_readings = time.monotonic() - began_s, int((segment.channel >= 0).sum())
    directory.keep_raw(experiment.name, segment, bench.schedule)
    results.segments[experiment.name] = segment
    try:
        judgement = experiment.judge(bench.recording.so_far(), bench.schedule)
    except (ValueError, LookupError, ArithmeticError, StopIteration) as error:
        results.skip(
            experiment,
            reason or f"it could not be judged: {error}",
            "failed" if status == "done" else status,
            duration_s,
        )
    else:
        judged = {verdict.claim for verdict in judgement.verdicts}
        results.verdicts += judgement.verdicts
        results.verdicts += [
            claim.ruled(experiment.name, Ruling.SKIPPED, f"Skipped: {reason or 'it was not reached.'}")
            for claim in experiment.claims
            if claim.name not in judged
        ]
        results.tables += judgement.tables
        results.note(experiment, status, reason, duration_s, n_readings)
        for verdict in judgement.verdicts:
            _say(f"    {verdict.verdict.value}: {verdict.words} {verdict.sentence}")
    return status != "interrupted"


def _allotted_s(experiment: Experiment, rest: Sequence[Experiment], budget: Budget) -> float:
    """Its part of the time that is left: nominal where there is enough, in proportion where there is not."""
    finite_s = sum(each.duration_nominal_s for each in rest if each.duration_nominal_s != float("inf"))
    if experiment.duration_nominal_s == float("inf"):
        return budget.left_s
    queries_wait = any(each.duration_nominal_s == float("inf") for each in rest)
    reserved_s = budget.duration_s * (1.0 - SHARE_BEFORE_MODELS) if queries_wait else 0.0
    share = max(0.0, budget.left_s - CLOSING_S - reserved_s) / finite_s
    return experiment.duration_nominal_s * min(1.0, share)


def _complete_card(bench: Bench, directory: Directory, results: Results, *, keep: bool) -> None:
    """The card with what the loads showed of the sensor; with `keep` the program knows it from now on."""
    if bench.card is None:
        return
    from harness.meter.card.card_cache import save_card
    from harness.meter.card.underload import completed

    card = bench.card
    for name in STEPS_AND_LEVELS:
        if name in results.segments:
            # One at a time: between two experiments there are no rows.
            card = completed(card, bench.recording.channels, [results.segments[name]], load_utc=utc_now())
    directory.write("card.json", card.model_dump(mode="json"))
    if keep:
        save_card(card)


def _nvml() -> Nvml:
    nvml = open_nvml()
    if not isinstance(nvml, Nvml):
        raise EnvironmentFault(nvml.what, nvml.next_step)
    if not nvml.boards():
        raise EnvironmentFault("The driver lists no GPU.", "`nvidia-smi` must list it; `harness doctor` says more.")
    return nvml


def _device(requested: str, nvml: Nvml) -> str:
    if importlib.util.find_spec("torch") is None:
        raise EnvironmentFault("torch is not installed.", "Run `pip install 'inference-energy-harness[transformers]'`.")
    from harness.engine.device import resolve_device

    device = resolve_device(requested, nvml.n_boards, nvml.driver)
    if device == "cpu":
        return device
    import torch

    device = "cuda:0" if device == "cuda" else device
    torch.cuda.set_device(device)  # streams and events are the current device's
    return device


def _board(spec: str, device: str, nvml: Nvml) -> tuple[str, list[str]]:
    """The metered board, and what makes its energy more than the work's."""
    if device == "cpu" and spec == "auto":
        raise UsageError("On a processor no board is metered by itself.", "Name one: `--meter-gpus 0`.")
    holding: tuple[str, ...] = ()
    if device != "cpu":
        from harness.engine.weights import board_uuids

        holding = board_uuids((int(device.partition(":")[2]),))
    uuids = choose_boards(spec, nvml.boards(), holding, nvml.mig_parents())
    if not uuids:
        raise UsageError(f"--meter-gpus {spec} names no board.", "Leave the flag out.")
    uuid, notes = uuids[0], []
    if len(uuids) > 1:
        notes.append(f"One board is validated at a time: {uuid}.")
    board = next(each for each in nvml.boards() if each.uuid == uuid)
    if board.mig:
        notes.append("The board is split into MIG slices: its sensor sees all of them.")
    processes = nvml.states()[uuid].processes
    if processes is None:
        notes.append("The driver does not list the board's processes, so others may have used it.")
    elif foreign := [process for process in processes if process.kind == "compute"]:
        names = ", ".join(f"{process.name or 'process'} {process.pid}" for process in foreign)
        notes.append(f"Other processes were on the board: {names}.")
    return uuid, notes


def _place(output_dir: Path, started_utc: str, board: str, driver: str | None, rehearsal: bool) -> Path:
    words = [started_utc[:10], slug(board), driver or "unknown-driver"]
    # Part by part: a slug keeps the last 60 characters, and the date must not be lost to a long name.
    return output_dir / "-".join(slug(word) for word in (["rehearsal", *words] if rehearsal else words))


def _say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=_minutes, default=8.0, help="time budget (default 8)")
    parser.add_argument(
        "--output-dir", type=Path, default=PROJECT / "results" / "reference", help="where the run's directory goes"
    )
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N (default cuda: the first visible board)")
    parser.add_argument("--meter-gpus", default="auto", help="default auto: the board that works")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), help="some experiments, by name, separated by commas"
    )
    parser.add_argument(
        "--judge", type=Path, metavar="RUN", help="judge a stored run's readings again, and run nothing"
    )
    parser.add_argument("--shapes", choices=("real", "tiny"), default="real", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0.0 < minutes < 1440.0:
        raise argparse.ArgumentTypeError("a number of minutes over 0 and under a day")
    return minutes


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(main())
