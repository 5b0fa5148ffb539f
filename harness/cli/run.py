"""`harness run`: measure models, mode by mode and query by query, and end with a receipt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

NOT_IN_SPEC = {"main", "verb", "file", "resume", "plan", "set", "again", "run_dir", "only_repeat"}
EPILOG = """\
examples:
  harness run                                        the embedded model, thinking off and on, no download
  harness run --model qwen3-8b --num-prompts 100     a catalogued model on this machine's GPU
  harness run --model ./my-model --prompts my.jsonl  your model, your prompts
  harness run --mode off,budget:64,on --until-ci 5%  a thinking budget as well; stop once the ratio is known to 5 %
  harness run --model qwen3-8b --protocol aies-v2    somebody else's way to measure, to be set beside their numbers
  harness run --engine openai --base-url http://127.0.0.1:8000/v1 --model NAME --concurrency 1,8,32
  harness run --model qwen3-8b --variant bf16:dtype=bfloat16 --variant int8:quantization=int8 --repeats 3
  harness run --task image-classification            one of eleven tasks: `harness tasks` lists them
  harness run study.yaml --seed 7                    a run file; flags win over it
  harness run --resume latest                        complete a run that was stopped or killed
  harness run --from bundle.zip                      measure here what somebody else has measured; then: harness compare
"""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "run",
        help="measure models, query by query, thinking off and on",
        description="Measure models, mode by mode and query by query, and end with a receipt.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("file", nargs="?", default=None, metavar="FILE.yaml", help="run file with the same keys")
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--model", action="append", metavar="NAME|ID|DIR|FILE.gguf", help="may be repeated; ID@COMMIT pins"
    )
    what.add_argument("--task", metavar="TASK", help="one that `harness tasks` lists; default: text, off and on")
    what.add_argument("--models", metavar="FILE", help="another models.yaml")
    what.add_argument(
        "--mode", metavar="off,on,...", help="also low,medium,high,budget:N; default: off,on if it has both"
    )
    what.add_argument("--reasoning", metavar="NAME", help="how your own model is asked to think: qwen3, granite, ...")
    what.add_argument(
        "--prompts",
        metavar="SET|FILE|hub:ID@REV:COLUMN",
        help="chains, everyday, gsm8k, ..., SET=FILE for a copy of one, or yours",
    )
    what.add_argument("--num-prompts", type=int, metavar="N", help="a nested sample: 50 are inside 200")
    what.add_argument("--max-new-tokens", type=int, metavar="N", help="the same cap in every mode")
    what.add_argument("--protocol", metavar="NAME", help="paired (default), or another that `harness protocols` lists")
    what.add_argument("--scorer", metavar="NAME|FILE.py:FUNCTION", help="for every prompt, instead of its own")
    what.add_argument("--repeats", type=int, metavar="R", help="whole runs of each model (run-to-run spread)")
    what.add_argument("--seed", type=int, metavar="S", help="of the prompts' order and of sampling (default: 0)")
    enough = parser.add_argument_group("how much is measured")
    enough.add_argument(
        "--until-ci", metavar="5%", help="stop at this relative half-width of the ratio (of one mode: of its mean)"
    )
    enough.add_argument(
        "--two-phase", action="store_true", help="all prompts' token counts times a measured energy law"
    )
    load = parser.add_argument_group("several queries at once")
    load.add_argument("--batch-size", type=int, metavar="N", help="static batches (or those of --two-phase)")
    load.add_argument("--concurrency", metavar="1,8,32", help="queries in flight at a server; each makes a cell")
    load.add_argument("--request-rate", metavar="R,...", help="queries a second, at random (Poisson), instead")
    load.add_argument("--weights", metavar="P:O", help="a prompt token against an output token (default: fitted)")
    load.add_argument("--lengths", metavar="natural|replay:RUN", help="natural (default), or forced: as RUN recorded")
    server = parser.add_argument_group("a server, instead of the model in this process")
    server.add_argument("--engine", metavar="NAME", help="transformers (default), or openai for a server's API")
    server.add_argument("--base-url", metavar="URL", help="of a server on this node: http://127.0.0.1:8000/v1")
    server.add_argument("--serve", metavar="'CMD'", help="start it, wait until it is healthy, stop it afterwards")
    server.add_argument("--prompt-cache", metavar="off|on", help="may a prompt be in its cache? (default: off)")
    server.add_argument("--tokenizer", metavar="DIR|ID", help="of the served model, where the server counts no tokens")
    server.add_argument("--weights-dir", metavar="DIR", help="where the served model's weights lie, to pin them")
    server.add_argument(
        "--request-timeout", dest="request_timeout_s", type=float, metavar="S", help="of one query (default: 600)"
    )
    server.add_argument(
        "--serve-timeout", dest="serve_timeout_s", type=float, metavar="S", help="until healthy (default: 900)"
    )
    server.add_argument("--max-failures", metavar="10%", help="stop a load when more have failed (default: 10%%)")
    how = parser.add_argument_group("how it is run")
    how.add_argument("--dtype", metavar="D", help="auto, float32, bfloat16, float16")
    how.add_argument("--quantization", metavar="Q", help="none, int8, int4, fp8")
    how.add_argument(
        "--variant",
        dest="variants",
        action="append",
        metavar="NAME:KEY=VALUE,...",
        help="repeated, one for each that is compared: dtype, quantization, attention, compile, model, engine, ...",
    )
    how.add_argument(
        "--power-limit", dest="power_limit_w", type=float, metavar="W", help="per metered GPU, set back afterwards"
    )
    how.add_argument(
        "--accept-precision", action="store_true", help="measure although weights run in another precision"
    )
    how.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N")
    how.add_argument("--trust-remote-code", action="store_true", help="execute the model's own code (recorded)")
    how.add_argument("--meter-gpus", metavar="auto|all|none|UUID|INDEX,...", help="auto: those that hold the model")
    how.add_argument("--external-meter", metavar="FILE.csv", help="log of a wall meter or BMC, beside our figures")
    how.add_argument("--cross-check", metavar="codecarbon", help="its own number over the queries, beside ours")
    how.add_argument("--set", action="append", default=[], metavar="a.b=c", help="any key of a run file")
    out = parser.add_argument_group("what is kept")
    out.add_argument("--output-dir", metavar="DIR", help="default: results")
    out.add_argument("--resume", default=None, metavar="RUN", help="complete a run: a path, a run id, or latest")
    out.add_argument(
        "--from",
        dest="again",
        default=None,
        metavar="BUNDLE|RUN",
        help="repeat its plan: models, prompts, seeds, protocol",
    )
    out.add_argument("--plan", action="store_true", default=False, help="stop after five pilot queries per mode")
    out.add_argument("--store-text", metavar="full|hash|none", help="of answers (default: full)")
    out.add_argument("--tariff", type=float, metavar="PRICE", help="of a kWh, for the receipt")
    sweeps = parser.add_argument_group("a part of something larger, as sweeps and batch scripts ask for it")
    sweeps.add_argument("--run-dir", default=None, metavar="DIR", help="this directory, made or completed")
    sweeps.add_argument("--only-repeat", type=int, default=None, metavar="R", help="of the repeats this one, from 0")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Read the flags, then hand over."""
    from harness.errors import EnvironmentFault, UsageError

    if sys.platform == "win32":
        raise EnvironmentFault(
            "Native Windows cannot be measured: the sampler needs Linux's clock and drivers.",
            "Use WSL2 (docs/where-it-runs.md).",
        )
    if sys.platform == "darwin":
        sys.stderr.write("macOS has neither NVML nor RAPL: every energy will be an estimate, untested there.\n")
    from harness.study import Study

    flags: dict[str, Any] = {key: value for key, value in vars(options).items() if key not in NOT_IN_SPEC}
    plans = {"--resume": options.resume, "--from": options.again, "FILE.yaml": options.file}
    given = [name for name, value in plans.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are two plans.", "Leave one of them out.")
    overrides = tuple(options.set)
    if (options.run_dir is None) is not (options.only_repeat is None) or (
        options.run_dir and given not in ([], ["FILE.yaml"])
    ):
        raise UsageError("--run-dir and --only-repeat belong together, with a run file.", "See `harness run --help`.")
    if options.run_dir is not None:
        directory = Path(options.run_dir)
        study = Study.placed(options.file, directory, flags, overrides, only_repeat=options.only_repeat)
    elif options.again is not None:
        from tempfile import TemporaryDirectory

        from harness.bundle.archive import opened
        from harness.repeat import plan_of

        with TemporaryDirectory(prefix="harness-plan-") as kept:
            with opened(options.again, Path(flags.get("output_dir", "results")), measured=True) as run:
                plan = plan_of(run, flags, overrides, keep=Path(kept))
            return Study.repeated(plan, options.again).run(pilot_only=options.plan)
    elif options.resume is not None:
        study = Study.resumed(options.resume, flags, overrides)
    else:
        study = Study.new(options.file, flags, overrides)
    return study.run(pilot_only=options.plan)
