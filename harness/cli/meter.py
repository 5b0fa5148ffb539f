"""`harness meter`: the energy of any command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
The command keeps its input, output, terminal, signals and exit status; the report goes to standard error.
Without a sensor it still runs, and its energy is unknown.

examples:
  harness meter -- python train.py --epochs 1
  harness meter --meter-gpus 0,1 --json energy.json -- vllm bench latency --model Qwen/Qwen3-0.6B
  harness meter --host --trace readings.csv -- ./llama-bench -m model.gguf
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "meter",
        help="the energy of any command",
        description="Run a command and say what energy the boards drew meanwhile.",
        usage="harness meter [OPTIONS] -- COMMAND ...",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is metered")
    what.add_argument(
        "--meter-gpus",
        metavar="all|none|UUID|INDEX,...",
        help="default: the boards that CUDA shows (CUDA_VISIBLE_DEVICES)",
    )
    what.add_argument("--host", action="store_true", help="CPU packages and memory too, by RAPL")
    what.add_argument(
        "--allow-estimate", action="store_true", help="where nothing can be measured, a hardware model's figure"
    )
    what.add_argument("--require-sensor", action="store_true", help="without a sensor exit 3, the command not started")
    what.add_argument(
        "--no-baseline", action="store_true", help="start at once: no second of idle power first, no net energy"
    )
    out = parser.add_argument_group("what is kept")
    out.add_argument("--json", type=Path, metavar="FILE", help="one JSON object")
    out.add_argument("--trace", type=Path, metavar="FILE", help="raw readings, as CSV or .parquet")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Read the flags, then hand over."""
    from harness.errors import EnvironmentFault, UsageError

    dashes, command = options.command[:1], tuple(options.command[1:])
    if dashes != ["--"] or not command:
        missing = "the command" if dashes in ([], ["--"]) else "`--` before the command"
        raise UsageError(
            f"`harness meter` is missing {missing}.",
            "Write `harness meter [OPTIONS] -- COMMAND ...`; what follows `--` is the command's own.",
        )
    if sys.platform == "win32":
        raise EnvironmentFault(
            "Native Windows cannot be measured: the sampler needs Linux's clock and drivers.",
            "Use WSL2 (docs/where-it-runs.md).",
        )
    from harness.metered_command import Wanted, run_metered

    return run_metered(
        Wanted(
            command=command,
            meter_gpus=options.meter_gpus,
            host=options.host,
            allow_estimate=options.allow_estimate,
            baseline=not options.no_baseline,
            require_sensor=options.require_sensor,
            json_path=options.json,
            trace_path=options.trace,
        )
    )
