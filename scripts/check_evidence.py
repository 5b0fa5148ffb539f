#!/usr/bin/env python3
"""One run as evidence, from end to end: bundled, checked where there is no torch, tampered with, refused, repeated.

    python scripts/check_evidence.py [--num-prompts 20] [--gain 1.04] [--extra-pip-args '--no-index --find-links DIR']

The embedded model runs on a fake NVIDIA board (`tests/fake_nvml`, needs a C compiler), is bundled, and the bundle is
verified by a fresh virtual environment that has the base install alone. Then the bundle is tampered with in the ways of
`tests/tampering.py`, once as it is and once with all hashes, summaries and the page made anew, and `harness verify` has
to name each; hostile archives have to be refused. Last, `harness run --from` repeats a run on a board whose sensor
reads `--gain` times as much, and `harness compare` has to say that it agrees within gain.

Exit status: 0 where all of it went as it should, 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import venv
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests import tampering as tamper  # noqa: E402
from tests.fake_nvml import library as fake  # noqa: E402
from tests.fake_openai import FakeServer, answering  # noqa: E402
from tests.test_verify import TAMPERINGS, Tampering  # noqa: E402

HARNESS = [sys.executable, "-m", "harness"]
ASK_FOR_TORCH = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-prompts", type=int, default=20)
    parser.add_argument("--gain", type=float, default=1.04, help="of the second board's sensor")
    parser.add_argument("--extra-pip-args", default="", help="for pip in the fresh environment, such as an index")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs and bundles there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="check-evidence-") as folder:
        scratch = Path(folder).resolve() if options.keep is None else options.keep.resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        failures = check(scratch, options.num_prompts, options.gain, shlex.split(options.extra_pip_args))
    print(f"\n{'All went as it should.' if not failures else f'{failures} went wrong.'}")
    sys.exit(min(failures, 1))


def check(scratch: Path, num_prompts: int, gain: float, pip_arguments: list[str]) -> int:
    """Everything in order; how much of it went wrong."""
    print("1. A run on the fake board, and its bundle\n")
    run = measured(scratch, "first", 1.0, ["--num-prompts", str(num_prompts)])
    bundle = scratch / "run.zip"
    bundle.unlink(missing_ok=True)
    said(*HARNESS, "export", str(run), "--bundle", str(bundle))
    print("\n2. Verified in a fresh environment without torch\n")
    python = fresh_environment(scratch / "fresh", pip_arguments)
    alone = [str(python), "-m", "harness"]
    failures = said(str(python), "-c", ASK_FOR_TORCH, cwd=scratch)
    failures += said(*alone, "verify", str(bundle), cwd=scratch)
    print("\n3. Tampered with\n")
    failures += sum(not tampered_with(scratch, bundle, each, alone) for each in TAMPERINGS)
    print("\n4. Hostile archives\n")
    failures += sum(not refused(scratch, bundle, name, spoil, alone) for name, spoil in HOSTILE.items())
    print(f"\n5. Repeated on a board that reads {gain:g} times as much\n")
    return failures + (not repeated(scratch, gain))


def measured(scratch: Path, name: str, gain: float, arguments: list[str]) -> Path:
    """A run of the embedded model beside a board of 330 W."""
    library = fake.build(scratch / "library")
    config, results = scratch / f"{name}.cfg", scratch / name
    board = replace(fake.H100, load=(fake.constant(330.0),), gain=gain)
    if gain != 1.0:
        board = replace(board, uuid="GPU-22222222-0000-4000-8000-000000000002")
    fake.write_config(config, [board])
    folder = library if library.is_dir() else library.parent
    environment = os.environ | fake.environment(folder, config) | {"OMP_NUM_THREADS": "1"}
    device = [] if "--base-url" in arguments else ["--device", "cpu"]
    flags = [*device, "--meter-gpus", "all", "--set", "idle_duration_s=0.6", "--output-dir", str(results)]
    before = set(results.glob("*"))
    done = subprocess.run([*HARNESS, "run", *arguments, *flags], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the run failed:\n{done.stdout}\n{done.stderr}")
    (run,) = set(results.glob("*")) - before
    print(f"{run.name}: done")
    return run


def repeated(scratch: Path, gain: float) -> bool:
    """Whether a run that is repeated on the other board agrees within gain.

    What is asked is a server whose words come every quarter of a second: joules then do not depend on how busy this
    machine is, and nothing but the gain differs.
    """
    script = answering(wait_s=0.25, words=("1", "2", "3", "4"))
    with FakeServer(script, answers={"/health": {"status": "ok"}, "/v1/models": {"data": [{"id": "m"}]}}) as server:
        at = ["--base-url", server.base_url]
        asked = [
            "--engine",
            "openai",
            "--model",
            "m",
            "--concurrency",
            "1",
            "--prompts",
            "chains",
            "--num-prompts",
            "20",
        ]
        first = measured(scratch, "paced", 1.0, [*asked, *at])
        bundle = scratch / "paced.zip"
        bundle.unlink(missing_ok=True)
        said(*HARNESS, "export", str(first), "--bundle", str(bundle))
        again = measured(scratch, "paced-again", gain, ["--from", str(bundle), *at])
    command = [*HARNESS, "compare", str(bundle), str(again), "--output", str(scratch / "compare.html")]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout)
    return "Repetition: agrees within gain" in done.stdout


def fresh_environment(folder: Path, pip_arguments: list[str]) -> Path:
    """A virtual environment with the base install of this project, and nothing else."""
    venv.create(folder, with_pip=True, clear=True)
    python, source = folder / "bin" / "python", folder / "source"
    source.mkdir()  # what pip builds on the way is not to lie in the project
    shutil.copytree(PROJECT / "harness", source / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pip_arguments, str(source)], check=True)
    return python


def tampered_with(scratch: Path, bundle: Path, tampering: Tampering, harness: list[str]) -> bool:
    """Both ways, through the command; whether each was named, or could not be and is known for it."""
    kinds = []
    for is_forged in (False, True):
        run = unpacked(bundle, scratch / "tampered")
        tampering.edit(run)
        if is_forged:
            if tampering.anew:
                tamper.published(run)
            tamper.rehashed(run)
        done = subprocess.run(
            [*harness, "verify", str(run), "--json", "-"], capture_output=True, text=True, cwd=scratch
        )
        found = json.loads(done.stdout)["differences"]
        wanted = "hashes" if not is_forged else tampering.caught and tampering.caught[0].value
        named = next((each for each in found if each["kind"] == wanted), None)
        shown = f"{named['where'].rpartition('/')[2]}, {named['figure']}" if named else "nothing"
        kinds.append((wanted, named is not None if wanted else not found, shown))
    (_, first, by_hash), (kind, second, by_figure) = kinds
    by_figure = by_figure if kind else "cannot be found without the published digest"
    print(f"{'ok   ' if first and second else 'WRONG'} {tampering.name}")
    print(f"        as it is          hashes     {by_hash}")
    print(f"        hashes made anew  {kind or '–':<9}  {by_figure}", flush=True)
    return first and second


def unpacked(bundle: Path, folder: Path) -> Path:
    """A bundle of our own as a directory, named as the run."""
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(bundle) as archive:
        run = folder / str(json.loads(archive.read("bundle.json"))["run_id"])
        archive.extractall(run)
    return run


def with_member(name: str, content: bytes, mode: int = stat.S_IFREG | 0o644) -> Callable[[Path], None]:
    """One more file in the archive."""

    def spoil(file: Path) -> None:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a name is there twice is the point of one of them
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)

    return spoil


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a path that leads out of it": with_member("../escaped.txt", b"out"),
    "an absolute path": with_member("/tmp/escaped.txt", b"out"),  # noqa: S108 - it must not get there
    "a symbolic link": with_member("a/b/lengths.jsonl", b"/etc/passwd", stat.S_IFLNK | 0o777),
    "code": with_member("a/b/sessions/01/setup.py", b"raise SystemExit"),
    "a bomb": with_member("a/b/queries.jsonl", bytes(256 * 2**20)),
    "a file twice": with_member("run.yaml", b"model: other"),
}


def refused(scratch: Path, bundle: Path, name: str, spoil: Callable[[Path], None], harness: list[str]) -> bool:
    """Whether it is refused with exit status 2."""
    file = Path(shutil.copy(bundle, scratch / "hostile.zip"))
    spoil(file)
    done = subprocess.run([*harness, "verify", str(file)], capture_output=True, text=True, cwd=scratch)
    said_first = next(iter(done.stderr.strip().splitlines()), "nothing")
    print(f"{'ok   ' if done.returncode == 2 else 'WRONG'} {name}: {said_first}", flush=True)
    return done.returncode == 2


def said(*command: str, cwd: Path | None = None) -> int:
    """Run a command in sight; 1 where it failed."""
    return min(subprocess.run(command, check=False, cwd=cwd).returncode, 1)


if __name__ == "__main__":
    main()
