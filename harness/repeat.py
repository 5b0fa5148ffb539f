"""The plan of a run that somebody else has measured, to be measured again here.

What is measured is taken from the run's cells: the same revisions, prompts, seeds and protocol. Whatever of it would
start a program, execute code, read a file of this machine or set its hardware is not taken from a file: the user has
to say it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bundle.contents import bundle_sha256
from harness.config import FIXED, RANDOM, SERVED, SPEC_NAME, RepeatOf, RunSpec, load_run_spec, load_yaml, validated
from harness.engine.task.catalogue import inputs_of
from harness.errors import SchemaError, UsageError
from harness.prompts.catalogue import is_of_a_file, named_in
from harness.records import Cell, RunManifest
from harness.scoring.own import is_own
from harness.store.run_directory import RunDirectory, cells

OF_THE_PLACE = (
    *("models", "external_meter", "cross_check", "tariff", "output_dir", "working_dir", "weights_dir", "tokenizer"),
    *("base_url", "serve", "repeat_of", "device"),
)
"""Keys of a run file that tell of the place where it ran, or of what its user wanted to see besides."""
CHECKED = ("model", "prompts", "scorer", "lengths", "serve", "tokenizer")
"""Fixed keys that may be said in other words here: what they name is checked by its hash, or said to differ."""
METERED = ("auto", "all", "none")
"""Boards under names that mean something anywhere."""
NOBODY = "http://127.0.0.1:9/v1"
"""The discard port: only so that the rest of the plan can be looked at, never asked."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
RISKY_OF_A_VARIANT = ("serve", "base_url", "weights_dir", "power_limit_w", "tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured again."""

    spec: RunSpec
    cells: Sequence[Cell]
    prompts_file: Path | None = None
    """Prompts that came with it, kept where the caller said."""


def plan_of(run: Path, flags: Mapping[str, Any], overrides: tuple[str, ...] = (), *, keep: Path) -> Plan:
    """A run's plan, with what the user says of this place.

    Args:
        run: Its directory, of a bundle or not.
        flags: Only those that were given.
        overrides: `key=value`, as `--set` takes them.
        keep: A folder for the prompts that came with it: the run's own directory may be gone before they are asked.

    Raises:
        UsageError: Nothing was measured in it, a flag that would change what is measured, or something that only the
            user may say and has not.
        SchemaError: Damaged, or written by a newer version.
    """
    directories = cells(run)
    manifests = [manifest for each in directories if (manifest := _manifest(each)) is not None]
    if not manifests:
        raise UsageError(f"Nothing was measured in {run.name}.", "Name a finished run, or a bundle of one.")
    found = list({cell.cell_id: cell for cell in (directory.cell() for directory in directories)}.values())
    stored = _stored(run)
    said = {*flags, *(override.partition("=")[0].partition(".")[0].replace("-", "_") for override in overrides)}
    for flag, had in _unsaid(stored, found, said):
        raise UsageError(f"That run had {had}: such a thing is not taken from a file.", f"Say it yourself: {flag}")
    taken = {key: value for key, value in stored.model_dump(mode="json").items() if key not in OF_THE_PLACE}
    taken["num_prompts"] = max(manifest.n_prompts for manifest in manifests)
    taken["device"] = "auto" if stored.is_served else found[0].engine.device
    if stored.meter_gpus not in METERED:
        taken["meter_gpus"] = "auto"
    prompts_file = None
    if stored.prompts is not None and "prompts" not in said:
        if is_of_a_file(stored.prompts):
            prompts_file = Path(shutil.copy(_own_prompts(directories, stored), keep))
        taken["prompts"] = str(prompts_file or named_in(stored.prompts))
    asked = load_run_spec(None, {**taken, **flags}, overrides)
    for key in FIXED:
        if key not in CHECKED and getattr(asked, key) != getattr(stored, key):
            raise UsageError(
                f"--{key.replace('_', '-')} would change what that run measured.", "Leave it out, or start a new run."
            )
    for cell in found:
        _check_agreement(cell, asked)
    of = RepeatOf(run_id=manifests[0].run_id, bundle_sha256=bundle_sha256(run))
    return Plan(
        spec=asked.model_copy(update={"repeat_of": of}),
        cells=[_here(cell, asked) for cell in found],
        prompts_file=prompts_file,
    )


def _stored(run: Path) -> RunSpec:
    path = run / SPEC_NAME
    if not path.exists():
        raise SchemaError(f"{run.name} has no {SPEC_NAME}: how it was asked for is not known.", "Ask for a whole copy.")
    fields = load_yaml(path)
    engine = fields.get("engine")
    name = engine.get("name") if isinstance(engine, dict) else engine
    if name == "openai" and not fields.get("serve") and not fields.get("base_url"):
        fields["base_url"] = NOBODY  # a bundle does not say where their server was
    return validated(RunSpec, fields, str(path))


def _manifest(directory: RunDirectory) -> RunManifest | None:
    manifests = [directory.manifest(session) for session in directory.sessions()]
    return next((manifest for manifest in reversed(manifests) if manifest is not None), None)


def _unsaid(stored: RunSpec, found: Sequence[Cell], said: set[str]) -> Iterator[tuple[str, str]]:
    """What the plan needs and the user has not said: the flag, and what the run had."""
    is_served = stored.is_served or any(cell.engine.device == SERVED for cell in found)
    if is_served and not said & {"serve", "base_url"}:
        command = f", started by {stored.serve!r}" if stored.serve else ""
        yield "--base-url URL of a server that runs here, or --serve 'CMD'", f"a server{command}"
    if (stored.trust_remote_code or any(cell.trust_remote_code for cell in found)) and "trust_remote_code" not in said:
        yield "--trust-remote-code", "the model's own code executed"
    if stored.scorer is not None and is_own(stored.scorer) and "scorer" not in said:
        yield "--scorer FILE.py:FUNCTION", f"a scorer of its user's own, {stored.scorer!r}"
    if stored.lengths != "natural" and "lengths" not in said:
        yield "--lengths replay:RUN", f"the lengths of another run forced, {stored.lengths!r}"
    limits = {stored.power_limit_w, *(cell.power_limit_w for cell in found)} - {None}
    if limits and "power_limit_w" not in said:
        yield f"--power-limit {max(map(float, filter(None, limits))):g}", "its boards' power limited"
    kernels = {name for name in (stored.engine.attention, *(cell.engine.attention for cell in found)) if "/" in name}
    if kernels and "engine" not in said:
        yield f"--set engine.attention={min(kernels)}", "an attention kernel fetched from elsewhere"
    sources = [each.source for cell in found for each in (cell, cell.pair) if each is not None]
    local = [source for source in sources if not _is_anywhere(source)]
    if "model" in said and (is_served or not local):
        raise UsageError(
            "--model would change what that run measured.",
            f"Leave it out: its cells name {', '.join(dict.fromkeys(map(repr, sources)))}.",
        )
    if local and not is_served and "model" not in said:
        yield "--model DIR|FILE.gguf, a copy of the same weights", f"a model of its own machine, {local[0]!r}"
    for name, variant in stored.variants.items():
        risky = [key for key in RISKY_OF_A_VARIANT if getattr(variant, key) is not None]
        if risky or "/" in (variant.attention or "") or (variant.model or "").startswith(("/", ".", "~")):
            yield (
                "harness run, each variant by itself",
                f"a variant {name!r} with its own {', '.join(risky) or 'files'}",
            )


def _check_agreement(cell: Cell, asked: RunSpec) -> None:
    """What the user was asked for, or saw in the run file, is what the cell would do.

    Raises:
        SchemaError: The cell would do something else.
    """
    limit, said = cell.power_limit_w, asked.power_limit_w
    if cell.trust_remote_code and not asked.trust_remote_code:
        what = "executes the model's own code, and its plan does not"
    elif limit != said:
        what = f"limits power to {limit} W, and its plan to {said} W"
    else:
        return
    raise SchemaError(f"A cell of that run {what}.", "Measure nothing of it; ask its author for it again.")


def _is_anywhere(source: str) -> bool:
    """Whether a model is the package's own or a task's stand-in or has a Hub id, and is no path."""
    kind, _, name = source.partition(":")
    is_own = kind in ("embedded", RANDOM) and PLAIN_NAME.fullmatch(name) is not None
    return is_own or HUB_ID.fullmatch(source) is not None


def _here(cell: Cell, asked: RunSpec) -> Cell:
    """The cell with what its files and its server are called here. Another name for the same is another cell."""
    if asked.is_served:
        return cell.model_copy(update={"engine": cell.engine.model_copy(update={"serve": asked.served_by})})
    if _is_anywhere(cell.source):
        return cell
    if len(asked.model) > 1 or cell.pair is not None:
        raise UsageError(
            "That run had several models of its own machine, which cannot be told apart here.", "Repeat them by hand."
        )
    return cell.model_copy(update={"source": str(Path(asked.model[0]).expanduser().resolve())})


def _own_prompts(directories: Sequence[RunDirectory], stored: RunSpec) -> Path:
    """The prompts that lie in the bundle.

    Raises:
        UsageError: They do not, or are images or sounds, of which a bundle has names and hashes alone.
    """
    name, inputs = stored.prompts or "", inputs_of(stored.task)
    if inputs is not None and inputs.media:
        raise UsageError(
            f"The inputs were files of its user's, {Path(name).name!r}, and a bundle holds no images or sounds.",
            "Ask for the files, and add --prompts FOLDER or the table that lists them; that they are the same is "
            "checked.",
        )
    for directory in directories:
        path = directory.path / "prompts.jsonl"
        if path.exists():
            return path
    raise UsageError(
        f"The prompts were a file of its user's, {Path(name).name!r}, and did not come with the run.",
        "Ask for the file, and add --prompts FILE; that it is the same is checked.",
    )
