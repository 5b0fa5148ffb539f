"""The weights of a sweep's models, brought here once and before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from harness.config import RANDOM, Catalogue, ModelEntry, load_catalogue
from harness.engine.fetch import Fetched, fetch, gigabytes
from harness.records import PlannedCell
from harness.sweep.planning.plan import Plan

FetchOne = Callable[[str, str], Fetched | None]


def models_of(plan: Plan) -> list[ModelEntry]:
    """Every checkpoint that a plan loads in a process of its own, each once; a server brings its own.

    Raises:
        UnknownName: A model that is neither known nor a Hub id nor here.
        UsageError: A path that does not exist.
    """
    entries: dict[tuple[str, str], ModelEntry] = {}
    catalogues: dict[str | None, Catalogue] = {}
    for cell in _loading(plan):
        file = cell.spec.get("models")
        if file not in catalogues:
            catalogues[file] = load_catalogue(file)
        names = [name for name in cell.spec["model"] if name != RANDOM]  # a stand-in is made here, and never fetched
        for entry in _with_pairs(catalogues[file], names):
            entries.setdefault((entry.source, entry.revision), entry)
    return list(entries.values())


def fetch_weights(plan: Plan, tell: Callable[[str], None], fetch_one: FetchOne = fetch) -> None:
    """Download what is missing, and say what came.

    Args:
        plan: Of the sweep.
        tell: Given a line for each model that was not here.
        fetch_one: Brings one model.

    Raises:
        ModelUnavailable: One is missing, gated, or neither reachable nor here.
        StorageFull: One would not fit onto the disk.
    """
    for entry in models_of(plan):
        fetched = fetch_one(entry.source, entry.revision)
        if fetched is not None and fetched.n_bytes_downloaded != 0:
            tell(f"{entry.name}: {gigabytes(fetched.n_bytes_downloaded)} of weights came.")


def _loading(plan: Plan) -> Iterable[PlannedCell]:
    return (cell for cell in (*plan.references[:1], *plan.runs) if not _is_served(cell))


def _is_served(cell: PlannedCell) -> bool:
    engine = cell.spec.get("engine")
    return (engine.get("name") if isinstance(engine, dict) else engine) == "openai"


def _with_pairs(catalogue: Catalogue, names: Iterable[str]) -> Iterator[ModelEntry]:
    for name in names:
        entry = catalogue.entry(name)
        yield entry
        if entry.pair is not None:
            yield catalogue.entry(entry.pair)
