"""Which server answers, and which of its models is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from harness.engine.server.argv import model_of
from harness.engine.server.asking import Asking
from harness.engine.server.said import Said, ask_it, kind_of_server
from harness.errors import UnknownName, UsageError

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's model. `model` is the name that requests have to give."""

    model: str
    said: Said


def identify(asking: Asking, wanted: str | None, command: Sequence[str], cwd: Path | None) -> Identity:
    """Ask a healthy server what it is.

    Args:
        asking: Asks it.
        wanted: The name that the user gave, or the directory or Hub name that is served under another one; None: the
            only one.
        command: What the server was started with, as far as it is known.
        cwd: Where relative paths of the command begin.

    Raises:
        UnknownName: It serves no such model.
        UsageError: It serves several, and none was named.
    """
    listed = asking.get("/v1/models").fields.get("data")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    by_name = {str(entry["id"]): entry for entry in entries if entry.get("id")}
    kind = kind_of_server(asking, next(iter(by_name.values()), {}))
    if kind == "transformers":
        return _of_transformers(asking, wanted, command, cwd, by_name)
    model = _chosen(wanted, by_name, cwd)
    return Identity(model, ask_it(asking, kind, by_name[model], model))


def _of_transformers(
    asking: Asking, wanted: str | None, command: Sequence[str], cwd: Path | None, by_name: Mapping[str, Any]
) -> Identity:
    """It serves the model of its command, or any that a request names; what it lists is a cache."""
    served = model_of(command)
    if served is not None and wanted is not None and not _is_named(wanted, served, cwd):
        raise UnknownName("served model", wanted, [served])
    model = served or wanted or (next(iter(by_name)) if len(by_name) == 1 else None)
    if model is None:
        raise UsageError("`transformers serve` serves any model that is named, and none was.", "Name one (--model).")
    said = ask_it(asking, "transformers", {}, model)
    root, _, revision = model.partition("@")
    return Identity(model, replace(said, root=root, revision=revision if _COMMIT.fullmatch(revision) else None))


def _chosen(wanted: str | None, by_name: Mapping[str, Mapping[str, Any]], cwd: Path | None) -> str:
    if wanted is None:
        # Adapters say whose they are; a server without any has one model.
        own = [name for name, entry in by_name.items() if not entry.get("parent")]
        if len(own) == 1:
            return own[0]
        raise UsageError(
            f"The server serves {len(by_name)} models: {', '.join(sorted(by_name))}.", "Name one of them (--model)."
        )
    for name, entry in by_name.items():
        if wanted in (name, entry.get("root"), name.removesuffix(":latest"), *_strings(entry.get("aliases"))):
            return name
    for name, entry in by_name.items():
        if any(_same_place(wanted, served, cwd) for served in (name, entry.get("root")) if isinstance(served, str)):
            return name
    raise UnknownName("served model", wanted, by_name)


def _strings(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _is_named(wanted: str, served: str, cwd: Path | None) -> bool:
    """Whether the user's name is that of the command, its revision or owner left out or not, or the same directory."""
    name = served.partition("@")[0]
    return wanted in (served, name, PurePath(name).name) or _same_place(wanted, served, cwd)


def _same_place(wanted: str, served: str, cwd: Path | None) -> bool:
    ours, its = Path(wanted).expanduser(), (cwd or Path()) / Path(served).expanduser()
    try:
        return ours.exists() and its.exists() and ours.samefile(its)
    except OSError:
        return False
