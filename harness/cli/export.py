"""`harness export RUN`: a run's figures in the files of somebody else's tools."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.hub_export import NO_CARBON, add_flags, eval_results, hub, stated
from harness.cli.hub_export import READ_BY as HUB_READ_BY

if TYPE_CHECKING:
    from harness.footprint.grids import Grid
    from harness.report.exports.cell import ExportCell

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

FORMATS = {
    "aies": "AI Energy Score's tools: master_results.csv and their folders",
    "boamps": "BoAmps JSON (AFNOR SPEC 2314), a report per mode",
    "csv": "queries.csv and modes.csv, for spreadsheets",
    "cyclonedx": "CycloneDX 1.6 bill of materials, one for the run",
    "eval-results": "rows for the Hugging Face Hub's leaderboards, and eval.yaml",
    "hub": "a data set for the Hugging Face Hub: card and tables",
    "label": "an energy label per mode, as SVG and PNG",
    "parquet": "queries.parquet and modes.parquet",
    "spdx": "SPDX 3.0.1 JSON-LD, a document per mode",
}
READ_BY = {
    "country": ("boamps",),
    "infrastructure": ("boamps",),
    "grid": ("boamps", "cyclonedx"),
    "link": ("label",),
    **HUB_READ_BY,
}
"""The formats that have a place for what a user states."""
INFRASTRUCTURES = ("publicCloud", "privateCloud", "onPremise", "other")

Files = Mapping[str, str | bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is exported, of what, and what the user says of the place."""

    run: Path
    cells: Sequence[ExportCell]
    mode: str | None
    created_utc: str
    country: str | None
    infrastructure: str
    grid: Grid | None
    link: str | None
    dataset: str | None
    license: str | None
    bundle_sha256: str | None
    hash_texts: bool


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    table = "\n".join(f"  {name:<12} {words}" for name, words in FORMATS.items())
    parser = subparsers.add_parser(
        "export",
        help="a run's figures in the files of other tools",
        description="Write a run's figures in the format of another tool.\nWhat is not known is left out.",
        epilog=f"formats:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help="a path, a run id, or latest (default)")
    parser.add_argument("--format", choices=tuple(FORMATS), default="aies", metavar="FORMAT", help="default: aies")
    parser.add_argument("--mode", metavar="MODE", help="only this mode of the run")
    parser.add_argument("--output-dir", metavar="DIR", help="where to write (default: export-FORMAT in the run)")
    parser.add_argument("--country", metavar="NAME", help="where it was measured, for boamps: France, DE, ...")
    parser.add_argument(
        "--infrastructure",
        choices=INFRASTRUCTURES,
        metavar="KIND",
        help="for boamps: publicCloud, privateCloud, onPremise, or other (default; also stands for not stated)",
    )
    parser.add_argument(
        "--grid", metavar="G", help="carbon, for boamps and cyclonedx: FRA, gcp:europe-west1, mine=30 (g CO2e per kWh)"
    )
    parser.add_argument("--link", metavar="URL", help="an address to print on the label")
    add_flags(parser)
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE.zip", help="instead: everything that others need to check and repeat it"
    )
    parser.add_argument(
        "--hash-texts",
        action="store_true",
        help="of a bundle or data set: leave out prompts and answers, but for their hashes",
    )
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Write the files, and say where."""
    from harness.errors import ExitCode, UsageError
    from harness.store.run_directory import run_path, writing

    if options.bundle is not None:
        return _bundle(options)
    if options.hash_texts and options.format != "hub":
        raise UsageError("--hash-texts is of a bundle and of a data set.", "Add --bundle FILE.zip or --format hub.")
    for name, formats in READ_BY.items():
        if getattr(options, name) is not None and options.format not in formats:
            why = NO_CARBON if (name, options.format) == ("grid", "eval-results") else ""
            raise UsageError(
                f"--{name.replace('_', '-')} has no place in the format {options.format}. {why}".rstrip(),
                f"Leave it out, or use --format {' or '.join(formats)}.",
            )
    run = run_path(options.run, Path("results"), measured=True)
    files = _files(options.format, _request(run, options))
    folder = run / f"export-{options.format}" if options.output_dir is None else Path(options.output_dir)
    existing = [] if options.output_dir is None else [name for name in files if (folder / name).exists()]
    if existing:
        raise UsageError(
            f"{folder / existing[0]} exists, and may hold somebody else's results.", "Name another --output-dir."
        )
    with writing(folder):
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in files:
        if ("/" not in name or options.format in ("eval-results", "hub")) and name != "README.txt":
            print(folder / name)
    return int(ExitCode.OK)


def _bundle(options: argparse.Namespace) -> int:
    """Write the bundle, and say what is in it."""
    from harness.bundle.packing import pack
    from harness.errors import ExitCode
    from harness.store.run_directory import run_path
    from harness.study import program
    from harness.variants import publish_run

    run = run_path(options.run, Path("results"), measured=True)
    packed = pack(run, options.bundle, publish_run, hash_texts=options.hash_texts)
    for line in packed.words(program()):
        print(line)
    return int(ExitCode.OK)


def _request(run: Path, options: argparse.Namespace) -> Request:
    from datetime import UTC, datetime

    from harness import publish
    from harness.errors import UnknownName, UsageError
    from harness.footprint.grids import grids
    from harness.report.exports.cell import ExportCell

    cells = [
        ExportCell(
            summary=account.summary,
            queries=account.results.queries,
            manifest=account.results.manifest,
            idle=[
                interval
                for session in account.results.sessions
                for interval in session.intervals
                if interval.name in ("idle_before", "idle_after")
            ],
            started_utc=min(each.manifest.started_utc for each in account.results.sessions if each.manifest),
        )
        for account in publish.accounts(run)
        if account.results.manifest is not None
    ]
    if not cells:
        raise UsageError(f"{run} holds no finished query.", f"Resume it: harness run --resume {options.run}")
    names = {mode.mode for cell in cells for mode in cell.summary.modes}
    if options.mode is not None and options.mode not in names:
        raise UnknownName("mode", options.mode, names)
    return Request(
        run=run,
        cells=cells,
        mode=options.mode,
        created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        country=options.country,
        infrastructure=options.infrastructure or "other",
        grid=None if options.grid is None else grids((options.grid,))[0],
        link=options.link,
        dataset=stated(options, "dataset"),
        license=stated(options, "license"),
        bundle_sha256=stated(options, "bundle_sha256"),
        hash_texts=options.hash_texts,
    )


def _files(name: str, request: Request) -> Files:
    makers = {
        "aies": _aies,
        "boamps": _boamps,
        "csv": _csv,
        "cyclonedx": _cyclonedx,
        "eval-results": eval_results,
        "hub": hub,
        "label": _label,
        "parquet": _parquet,
        "spdx": _spdx,
    }
    return makers[name](request)


def _aies(request: Request) -> Files:
    from dataclasses import replace

    from harness.report.exports.aies import aies_files

    if request.mode is None:
        return aies_files(request.cells)
    chosen = [
        replace(cell, queries=[query for query in cell.queries if query.mode == request.mode]) for cell in request.cells
    ]
    return aies_files([cell for cell in chosen if cell.queries])


def _boamps(request: Request) -> Files:
    from harness.errors import UsageError
    from harness.report.exports.boamps import Surroundings, boamps_text
    from harness.report.exports.cell import modes_of, named_apart

    if request.grid is not None and request.country is None:
        raise UsageError("A BoAmps report has a grid's carbon only beside a country.", "Add --country.")
    around = Surroundings(
        country=request.country,
        infrastructure=request.infrastructure,
        grid=request.grid,
    )
    modes = modes_of(request.cells, request.mode)
    names = named_apart([mode.stem for mode in modes])
    return {
        f"{name}.boamps.json": boamps_text(mode, around, created_utc=request.created_utc)
        for name, mode in zip(names, modes, strict=True)
    }


def _csv(request: Request) -> Files:
    from harness.report.exports.rows import mode_rows
    from harness.report.exports.sheet import csv_of_frame, csv_of_rows
    from harness.results import load_results

    frame = load_results(request.run)
    chosen = frame if request.mode is None else frame[frame["mode"] == request.mode]
    return {"queries.csv": csv_of_frame(chosen), "modes.csv": csv_of_rows(mode_rows(request.cells, request.mode))}


def _parquet(request: Request) -> Files:
    from harness.report.exports.parquet import parquet_of_rows
    from harness.report.exports.rows import mode_rows
    from harness.results import load_results

    frame = load_results(request.run)
    chosen = frame if request.mode is None else frame[frame["mode"] == request.mode]
    queries = chosen.to_parquet(index=False)
    return {"queries.parquet": queries, "modes.parquet": parquet_of_rows(mode_rows(request.cells, request.mode))}


def _spdx(request: Request) -> Files:
    from harness.report.exports.cell import first_of_repeats, modes_of, named_apart
    from harness.report.exports.spdx import spdx_text

    modes = modes_of(first_of_repeats(request.cells), request.mode)
    names = named_apart([mode.stem for mode in modes])
    return {
        f"{name}.spdx.json": spdx_text(mode, created_utc=request.created_utc)
        for name, mode in zip(names, modes, strict=True)
    }


def _cyclonedx(request: Request) -> Files:
    from harness.report.exports.cell import first_of_repeats, modes_of
    from harness.report.exports.cyclonedx import cyclonedx_text

    modes = modes_of(first_of_repeats(request.cells), request.mode)
    text = cyclonedx_text(modes, created_utc=request.created_utc, grid=request.grid)
    return {f"{request.run.name}.cdx.json": text}


def _label(request: Request) -> Files:
    from harness.report.exports.cell import first_of_repeats, modes_of, named_apart
    from harness.report.label.drawing import draw
    from harness.report.label.wording import label_of

    modes = modes_of(first_of_repeats(request.cells), request.mode)
    names = named_apart([mode.stem for mode in modes])
    files: dict[str, str | bytes] = {}
    for name, mode in zip(names, modes, strict=True):
        drawing = draw(label_of(mode, link=request.link))
        files |= {f"{name}.label.svg": drawing.svg, f"{name}.label.png": drawing.png}
    return files
