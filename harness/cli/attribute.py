"""`harness attribute`: per-query joules for a load test that was metered."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

EPILOG = """\
TRACE is what `harness meter --trace` wrote. LOG is what the load test wrote: a
result of `vllm bench serve --save-result --save-detailed`, AIPerf's
profile_export.jsonl, GuideLLM's JSON report, or a CSV with columns start,
first_token, end, prompt_tokens, output_tokens. What was drawn is measured; how
it is shared among requests in flight together is a rule, and is called that.

examples:
  harness meter --trace power.parquet -- vllm bench serve --model Qwen/Qwen3-0.6B \\
      --dataset-name random --num-prompts 200 --save-result --save-detailed \\
      --result-filename bench.json
  harness attribute --trace power.parquet --requests bench.json
  harness attribute --trace power.csv --meter-json meter.json \\
      --requests profile_export.jsonl --output queries.csv --json summary.json
  harness attribute --trace power.csv --requests access.csv --weights 0.2:1 \\
      --columns start=received_at,first=first_byte_at,end=sent_at
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "attribute",
        help="joules per query of a load test that was metered",
        description="Share the energy of a trace among the requests of a log.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is shared")
    what.add_argument("--trace", type=Path, required=True, metavar="TRACE", help="of `harness meter --trace`")
    what.add_argument("--requests", type=Path, required=True, metavar="LOG", help="of the load generator, or a CSV")
    what.add_argument(
        "--meter-json", type=Path, metavar="FILE", help="of `harness meter --json`: what a CSV trace has no place for"
    )
    how = parser.add_argument_group("how it is read")
    how.add_argument("--columns", metavar="start=NAME,...", help="of a CSV: start, first, end, prompt, output and more")
    how.add_argument(
        "--clock-offset", type=float, default=0.0, metavar="S", help="seconds that are added to the log's times"
    )
    how.add_argument(
        "--weights", metavar="P:O", help="a prompt token's against an output token's (default: fitted to the trace)"
    )
    out = parser.add_argument_group("what is kept")
    out.add_argument("--output", type=Path, metavar="FILE", help="a row a query: .csv, .jsonl or .parquet")
    out.add_argument("--json", type=Path, metavar="FILE", help="the summary as one JSON object")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Read both files, share, print, write."""
    import math

    from harness.attributing import Wanted, attribute
    from harness.config import token_weights
    from harness.errors import ExitCode, InvalidMeasurement, UsageError
    from harness.report.attributed import show
    from harness.report.terminal import PatientConsole
    from harness.request_log.access_log import parse_columns
    from harness.store.attributed import check_ending, write_queries
    from harness.store.run_directory import writing

    if not math.isfinite(options.clock_offset):
        raise UsageError(f"--clock-offset is {options.clock_offset}.", "Give a number of seconds.")
    try:
        weights = None if options.weights is None else token_weights(options.weights)
    except ValueError as error:
        raise UsageError(f"--weights {options.weights}: not two weights.", f"{str(error).capitalize()}.") from error
    if options.output is not None:
        check_ending(options.output)
    attributed = attribute(
        Wanted(
            trace=options.trace,
            requests=options.requests,
            meter_json=options.meter_json,
            columns=parse_columns(options.columns),
            clock_offset_s=options.clock_offset,
            weights=weights,
        )
    )
    show(attributed.report, PatientConsole(highlight=False))
    if options.output is not None:
        with writing(options.output, "--output"):
            write_queries(options.output, attributed.queries())
    if options.json is not None:
        with writing(options.json, "--json"):
            options.json.write_text(attributed.report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if attributed.report.n_answered == attributed.report.n_without_energy:
        what = "No request was answered" if not attributed.report.n_answered else "No answered request has an energy"
        raise InvalidMeasurement(f"{what}, so there are no joules per query.", "See what is said above.")
    return int(ExitCode.OK)
