"""`harness models`: the catalogue, and which of it fits this machine's cards."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.config import Catalogue, ModelEntry

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

HEADROOM = 1.2
"""Weights times this must fit: the cache of a context, activations and CUDA's own memory come on top."""


def add_parser(subparsers: Subparsers) -> None:
    """Announce the verb."""
    parser = subparsers.add_parser(
        "models",
        help="the models known by name, and which fit this card",
        description="The models known by name, how each is asked to think, and whether that was seen to work.",
    )
    parser.add_argument("--fits", action="store_true", help="only those whose weights fit into one GPU of this machine")
    parser.add_argument(
        "--fetch",
        nargs="+",
        metavar="NAME|ID[@REV]|FILE.yaml",
        help="download the weights of these, or of all that a run or sweep file names, before anything is measured",
    )
    parser.add_argument("--models", default=None, metavar="FILE", help="another models.yaml")
    parser.set_defaults(main=main)


def main(options: argparse.Namespace) -> int:
    """Print the catalogue as a table, or fetch weights."""
    if options.fetch is not None:
        return _fetch(options)
    from rich.table import Table

    from harness.config import load_catalogue
    from harness.environment.machine import visible_gpus
    from harness.errors import NoSensor
    from harness.report.terminal import PatientConsole

    catalogue = load_catalogue(options.models)
    memory_bytes = max((board.memory_bytes or 0 for board in visible_gpus()), default=0)
    if options.fits and not memory_bytes:
        raise NoSensor("No NVIDIA GPU is visible, so nothing can be said to fit.", "harness doctor")
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "source", "modes", "proven", "class", "weights"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "weights" else "left")
    for entry in catalogue.models:
        if options.fits and not fits(entry, memory_bytes):
            continue
        mechanism = catalogue.reasoning.get(entry.reasoning or "")
        table.add_row(
            entry.name,
            entry.source,
            _modes(catalogue, entry),
            f"{mechanism.proven.date} ({mechanism.proven.transformers})" if mechanism and mechanism.proven else "-",
            entry.aies_class or "-",
            f"{entry.weight_bytes / 1e9:.3g} GB" if entry.weight_bytes else "?",
        )
    console = PatientConsole(highlight=False)
    console.print(table)
    console.print(
        "\nbudget:N ends the thinking by force after N tokens. (pair): two checkpoints, compared as one model."
    )
    if options.fits:
        console.print(f"\nFit into {memory_bytes / 1e9:.0f} GB with a fifth to spare for the context.")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from harness.config import load_catalogue
    from harness.engine.fetch import fetch, gigabytes
    from harness.report.terminal import PatientConsole

    catalogue, console = load_catalogue(options.models), PatientConsole(highlight=False)
    names = [name for each in options.fetch for name in _named(each)]
    entries = {(entry.source, entry.revision): entry for name in names for entry in _with_pair(catalogue, name)}
    for entry in entries.values():
        fetched = fetch(entry.source, entry.revision)
        if fetched is None:
            console.print(f"{entry.name}: on this machine already.", soft_wrap=True)
            continue
        n_new = fetched.n_bytes_downloaded
        came = "all of it was here" if n_new == 0 else f"{gigabytes(n_new)} came"
        at = f"{fetched.source}@{fetched.revision}"
        console.print(f"{entry.name}: {gigabytes(fetched.n_bytes)}, {came}. {at}", soft_wrap=True)
    return 0


def _named(name: str) -> list[str]:
    """The models of a run or sweep file, or the name itself."""
    from pathlib import Path

    from harness.config import RANDOM, load_run_spec, load_yaml

    if Path(name).suffix not in (".yaml", ".yml") or not Path(name).is_file():
        return [name]
    if {"run", "vary"} & set(load_yaml(Path(name))):
        from harness.sweep.planning.plan import plan_of
        from harness.sweep.planning.spec import load_sweep_spec

        plan = plan_of(load_sweep_spec(Path(name)))
        named = [model for cell in (*plan.runs, *plan.references) for model in cell.spec["model"]]
    else:
        from harness.wiring.subject import with_default_model

        named = list(with_default_model(load_run_spec(name, {})).model)
    return [model for model in named if model != RANDOM]  # that one is made here


def _with_pair(catalogue: Catalogue, name: str) -> list[ModelEntry]:
    entry = catalogue.entry(name)
    return [entry, *([catalogue.entry(entry.pair)] if entry.pair else [])]


def _modes(catalogue: Catalogue, entry: ModelEntry) -> str:
    from harness.wiring.subject import askable_modes

    return ", ".join(askable_modes(catalogue, entry)) + (" (pair)" if entry.pair else "")


def fits(entry: ModelEntry, memory_bytes: int) -> bool:
    """Whether an entry's weights, with headroom, fit into so many bytes; unknown sizes do not."""
    return entry.weight_bytes is not None and entry.weight_bytes * HEADROOM <= memory_bytes
