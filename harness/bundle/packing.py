"""From a run directory to a bundle: the same run gives the same bytes, wherever it lies and whoever packs it.

The files are put together in a folder of their own first: texts are taken out of them there where they must not be in
it, and the summaries and the page are made anew from what is left, so that they say nothing else.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.bundle.archive import extracted, in_scratch
from harness.bundle.contents import (
    BUNDLE_NAME,
    NAME,
    PAGE_NAME,
    PROMPTS_NAME,
    bundle_of,
    bundle_sha256,
    files_of,
    read_bundle,
)
from harness.bundle.withholding import reason, withhold
from harness.config import SPEC_NAME, load_yaml
from harness.engine.task.catalogue import inputs_of
from harness.errors import HarnessError, SchemaError, StorageFull, UsageError
from harness.prompts.bundled import read_prompts, write_prompts
from harness.prompts.catalogue import is_of_a_file, parse
from harness.prompts.sets import digest
from harness.records import Bundle, Cell, InputColumns, LengthRecord, Prompt, QueryRecord, RunManifest, slug
from harness.store.lines import blocks, whole_bytes
from harness.store.run_directory import cells

MADE_ANEW = (PAGE_NAME, "summary.json", PROMPTS_NAME)
OF_THE_PLACE = ("working_dir", "output_dir", "external_meter", "base_url", "weights_dir", "models")
"""Keys of a run file that say where it ran and not what."""
WITH_PATHS = ("prompts", "scorer", "lengths", "tokenizer")
"""Keys whose paths are shortened to the name of the file."""
FOLDERS = re.compile(r"(^|[=:])(?:~|\.{0,2})/(?:[^/]*/)*")
EPOCH = (1980, 1, 1, 0, 0, 0)
MODE = 0o100644
UNIX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A bundle that has been written."""

    path: Path
    n_bytes: int
    sha256: str
    """Of its `bundle.json`, and so of everything in it."""
    bundle: Bundle
    notes: tuple[str, ...]
    """What its user should know before others have it."""

    def words(self, program: str) -> Iterator[str]:
        """What the terminal says of it; `program` is how this program is called."""
        texts = f"not in it, only their hashes: {self.bundle.texts_hashed_because}"
        yield str(self.path)
        yield f"  Size    {self.n_bytes:,} bytes, {len(self.bundle.files) + 1} files"
        yield f"  Digest  {self.sha256} (sha256 of its {BUNDLE_NAME}; stands for all of it)"
        yield f"  Texts   prompts and answers are {texts if self.bundle.texts == 'hashed' else 'in it'}"
        for note in self.notes:
            yield f"  Note    {''.join(char if char.isprintable() else ' ' for char in note)}"
        yield f"  Next    {program} verify {shlex.quote(str(self.path))}"


def pack(run: Path, file: Path, publish: Callable[[Path], object], *, hash_texts: bool) -> Packed:
    """Write the bundle of a run, and take it out again to see that others can.

    Args:
        run: Its directory.
        file: Where the bundle goes; nothing may be there.
        publish: Writes the summaries and the page of a run directory.
        hash_texts: Leave out all texts of prompts and answers.

    Raises:
        UsageError: The file exists, its folder does not, or nothing was measured.
        SchemaError: The run is damaged, or larger than a bundle may be.
        StorageFull: It cannot be written.
    """
    if file.exists():
        raise UsageError(f"{file} exists, and is not overwritten.", "Name another file, or remove it first.")
    if not file.parent.is_dir():
        raise UsageError(f"There is no folder {file.parent} for it.", "Make it, or name another file.")
    directories = cells(run)
    found = [directory.manifest(session) for directory in directories for session in directory.sessions()]
    manifests = [manifest for manifest in found if manifest is not None]
    measured = [directory.cell() for directory in directories]
    earlier = read_bundle(run)
    because = reason(measured, manifests, asked=hash_texts)
    if earlier is not None and earlier.texts == "hashed":
        because = earlier.texts_hashed_because
    run_id = manifests[0].run_id if manifests else run.name
    run_id = run_id if re.fullmatch(NAME, run_id) else slug(run_id)
    with tempfile.TemporaryDirectory(prefix="harness-export-") as folder, in_scratch(Path(folder)):
        staged = Path(folder).resolve() / run_id
        for path in _in_order_of_writing(run):
            _stage(run / path, staged / path, hashed=bool(because))
        notes = [*_own_prompts(run, staged, hashed=bool(because)), *_places(measured, manifests)]
        publish(staged)
        if not (staged / PAGE_NAME).exists():
            raise UsageError(f"{run} holds no finished query.", f"Complete it first: harness run --resume {run}")
        bundle = bundle_of(staged, run_id, "hashed" if because else "stored", because)
        (staged / BUNDLE_NAME).write_text(bundle.model_dump_json(indent=1) + "\n", encoding="utf-8")
        sha256 = bundle_sha256(staged) or ""
        packed = Path(folder) / "bundle.zip"
        try:
            _write(packed, staged, [BUNDLE_NAME, *(each.path for each in bundle.files)])
            shutil.rmtree(staged)
            extracted(packed, Path(folder))
        except (SchemaError, zipfile.LargeZipFile) as error:
            raise SchemaError(
                f"{run} cannot be bundled, since nobody could open it: {error}", "Pass it on as it is, as a folder."
            ) from error
        _place(packed, file)
    return Packed(path=file, n_bytes=file.stat().st_size, sha256=sha256, bundle=bundle, notes=tuple(notes))


def _in_order_of_writing(run: Path) -> Iterator[str]:
    """What goes into the bundle: first lines, then, looked up anew, what lines are computed from.

    A run that is being written has the readings on disk before the line of their query.
    """
    yield from (path for path in files_of(run) if path.endswith(".jsonl") and not path.endswith(PROMPTS_NAME))
    rest = (path for path in files_of(run) if not path.endswith(".jsonl"))
    yield from (path for path in rest if path.rpartition("/")[2] not in MADE_ANEW)


def _stage(source: Path, target: Path, *, hashed: bool) -> None:
    """Put one file of a run where it is bundled from."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.name == SPEC_NAME:
        target.write_text(yaml.safe_dump(_placeless(load_yaml(source)), sort_keys=False), encoding="utf-8")
    elif hashed and source.name == "queries.jsonl":
        withhold(source, target, QueryRecord)
    elif hashed and source.name == "lengths.jsonl":
        withhold(source, target, LengthRecord)
    elif source.suffix == ".jsonl":
        with target.open("wb") as out:
            out.writelines(block for _, block in blocks(source, whole_bytes(source)))
    else:
        shutil.copyfile(source, target)


def _placeless(fields: dict[str, Any]) -> dict[str, Any]:
    """What a run was asked for, without what tells of the machine it was asked on."""
    kept: dict[str, Any] = {}
    for key, value in fields.items():
        if key in WITH_PATHS and isinstance(value, str):
            kept[key] = FOLDERS.sub(r"\1", value.rstrip("/"))
        elif key == "variants" and isinstance(value, dict):
            kept[key] = {name: _placeless(each) if isinstance(each, dict) else each for name, each in value.items()}
        elif key not in OF_THE_PLACE:
            kept[key] = value
    return kept


def _own_prompts(run: Path, staged: Path, *, hashed: bool) -> Iterator[str]:
    """Put a user's own prompts beside the cells that answer them, as far as they are at hand; say so where not."""
    has_media = False
    for directory in cells(staged):
        place, cell = directory.path.relative_to(staged), directory.cell()
        beside, spec = run / place / PROMPTS_NAME, _spec_of(run)
        named = spec.get("prompts")
        if not beside.exists() and (named is None or not is_of_a_file(named)):
            continue
        if hashed:
            yield "Your prompts are not in it, as its texts are not: to repeat it, others need the file."
            return
        target = staged / place / PROMPTS_NAME
        try:
            inputs = inputs_of(cell.task)
            prompts = _prompts_of(beside, spec, inputs)
            write_prompts(target, prompts, inputs)
            if digest(read_prompts(target, inputs)) == cell.prompt_set_sha256:
                has_media = has_media or any(prompt.media is not None for prompt in prompts)
                continue
            why = "their file has changed since."
        except (HarnessError, OSError) as error:
            why = str(error)
        target.unlink(missing_ok=True)
        yield f"Your prompts are not in it: {why} To repeat it, others need the file as it was."
        return
    if has_media:
        yield "Of your images or sounds, names and hashes are in it: to repeat it, others need the files."


def _spec_of(run: Path) -> dict[str, Any]:
    path = run / SPEC_NAME
    return load_yaml(path) if path.exists() else {}


def _prompts_of(beside: Path, spec: dict[str, Any], inputs: InputColumns | None) -> Sequence[Prompt]:
    """From the file beside the cell, else from where the run had them."""
    if beside.exists():
        return read_prompts(beside, inputs)
    with chdir(spec.get("working_dir") or "."):
        return parse(spec["prompts"], inputs).load(None).prompts


def _places(measured: Sequence[Cell], manifests: Sequence[RunManifest]) -> Iterator[str]:
    """What of the user's machine is in it all the same."""
    words = [word for manifest in manifests for word in manifest.command] + [cell.source for cell in measured]
    paths = dict.fromkeys(found for word in words for found in re.findall(r"(?:^|(?<=[=:]))/(?!/).*", word))
    if paths:
        yield f"The manifest has the command as it was typed, with these paths of yours: {', '.join(paths)}"


def _write(file: Path, staged: Path, paths: Sequence[str]) -> None:
    """Nothing of the moment, the machine or the user goes into the archive."""
    with zipfile.ZipFile(file, "x", allowZip64=False) as archive:
        for path in paths:
            info = zipfile.ZipInfo(path, EPOCH)
            info.create_system, info.external_attr = UNIX, MODE << 16
            archive.writestr(info, (staged / path).read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


def _place(packed: Path, file: Path) -> None:
    """Put the finished bundle where it belongs: whole or not at all, and over nothing."""
    partial = file.with_name(file.name + ".partial")
    try:
        shutil.copyfile(packed, partial)
        partial.rename(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StorageFull(
            f"{file} cannot be written: {error.strerror}.", "Make room there, or name another FILE.zip."
        ) from error
