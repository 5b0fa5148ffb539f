"""A cell's results travel as one archive, and arrive whole or not at all."""

from __future__ import annotations

import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from harness.errors import SchemaError
from harness.records import BundledFile
from harness.store.run_directory import cells
from harness.sweep.executors import moving
from harness.sweep.executors.moving import PARTIAL, Parcel, install, of_repeat, pack, pieces, recover, unpack

GOLDEN = Path(__file__).parent / "golden" / "schema-1"
SITE = "tiny-reasoner-d995eb9a97dc/6a44ba1df7e7"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, as a node would hold it."""
    path = tmp_path / "node" / "run"
    shutil.copytree(GOLDEN, path)
    (path / SITE / ".lock").touch()
    return path


def sent(run: Path, sweep: Path, name: str = "1") -> Path:
    """Pack a run's repeat 0, carry it piece by piece, and unpack it where what is on its way is kept."""
    archive, received = run.parent / "sent.tar", sweep / PARTIAL / f"{name}.tar"
    parcel = pack(run, of_repeat(run, 0), archive)
    received.parent.mkdir(parents=True, exist_ok=True)
    with received.open("wb") as file:
        for piece in pieces(archive):
            file.write(piece)
    unpack(received, parcel, sweep / PARTIAL / name)
    return sweep / PARTIAL / name


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def delivered(run: Path, sweep: Path, name: str = "1") -> list[Path]:
    return install(sent(run, sweep, name), sweep / "run", sweep / PARTIAL)


def begun(run: Path, n_queries: int) -> None:
    """Make a run of a finished one that was killed after some queries, in the middle of writing the next."""
    lines = (run / SITE / "queries.jsonl").read_bytes().splitlines(keepends=True)
    (run / SITE / "queries.jsonl").write_bytes(b"".join(lines[:n_queries]) + lines[n_queries][:40])
    (run / SITE / "sessions/01/end.json").unlink()


def test_what_was_measured_arrives_and_nothing_else(run: Path, tmp_path: Path) -> None:
    assert delivered(run, tmp_path / "sweep") == [tmp_path / "sweep/run" / SITE]
    wanted = contents(run)
    for derived in (f"{SITE}/.lock", f"{SITE}/summary.json"):
        del wanted[derived]
    assert contents(tmp_path / "sweep/run") == wanted


def test_large_files_travel_in_small_pieces(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PIECE_BYTES", 1000)
    pack(run, of_repeat(run, 0), tmp_path / "a.tar")
    sizes = [len(piece) for piece in pieces(tmp_path / "a.tar")]
    assert max(sizes) == 1000
    assert sum(sizes) == (tmp_path / "a.tar").stat().st_size
    delivered(run, tmp_path / "sweep")


def test_on_its_way_it_is_in_no_run_and_no_report(run: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sent(run, sweep)
    assert [path for path in (sweep, *sweep.iterdir()) if cells(path)] == []


def test_of_other_repeats_only_what_they_are_travels(run: Path) -> None:
    assert of_repeat(run, 1) == [run / "run.yaml", run / SITE / "cell.yaml"]


def test_a_finished_cell_is_never_overwritten(run: Path, tmp_path: Path) -> None:
    delivered(run, tmp_path / "sweep")
    before = contents(tmp_path / "sweep/run")
    begun(run, 1)
    assert delivered(run, tmp_path / "sweep", "2") == []
    assert contents(tmp_path / "sweep/run") == before


def test_a_half_finished_cell_is_continued(run: Path, tmp_path: Path) -> None:
    half = tmp_path / "other" / "run"
    shutil.copytree(run, half)
    begun(half, 1)
    delivered(half, tmp_path / "sweep")
    assert delivered(run, tmp_path / "sweep", "2") == [tmp_path / "sweep/run" / SITE]
    assert (tmp_path / "sweep/run" / SITE / "queries.jsonl").read_bytes() == (run / SITE / "queries.jsonl").read_bytes()
    assert (tmp_path / "sweep/run" / SITE / "sessions/01/end.json").exists()


def test_two_measurements_of_one_cell_are_never_mixed(run: Path, tmp_path: Path) -> None:
    delivered(run, tmp_path / "sweep")
    before = contents(tmp_path / "sweep/run")
    path = run / SITE / "queries.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"energy_gross_j":', b'"energy_gross_j":1', 1))
    with pytest.raises(SchemaError, match="measured a second time"):
        delivered(run, tmp_path / "sweep", "2")
    assert contents(tmp_path / "sweep/run") == before


def test_a_driver_killed_while_it_replaces_a_cell_loses_none(run: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    delivered(run, sweep)
    before = contents(sweep / "run")
    aside = sweep / PARTIAL / moving.REPLACED / "run" / SITE
    aside.parent.mkdir(parents=True)
    (sweep / "run" / SITE).rename(aside)
    recover(sweep)
    assert contents(sweep / "run") == before
    assert not (sweep / PARTIAL).exists()


@pytest.mark.parametrize("n_lost", [1, 5_000])
def test_what_was_cut_short_is_refused(run: Path, tmp_path: Path, n_lost: int) -> None:
    parcel = pack(run, of_repeat(run, 0), tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes().rstrip(b"\0")
    (tmp_path / "a.tar").write_bytes(content[:-n_lost])
    with pytest.raises(SchemaError, match="damaged on their way"):
        unpack(tmp_path / "a.tar", parcel, tmp_path / "into")


def test_what_was_altered_is_refused(run: Path, tmp_path: Path) -> None:
    parcel = pack(run, of_repeat(run, 0), tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content.replace(b'"energy_gross_j":', b'"energy_gross_k":', 1))
    with pytest.raises(SchemaError, match=r"queries\.jsonl is not what was sent"):
        unpack(tmp_path / "a.tar", parcel, tmp_path / "into")


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, BytesIO(b"evil"))
    wanted = BundledFile(path=name, n_bytes=4, sha256="4" * 64)
    with pytest.raises(SchemaError, match="was not sent"):
        unpack(tmp_path / "a.tar", Parcel(n_bytes=1, files=(wanted,)), tmp_path / "into" / "here")
    assert not (tmp_path / "outside").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("run.yaml")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    wanted = BundledFile(path="run.yaml", n_bytes=0, sha256="4" * 64)
    with pytest.raises(SchemaError, match="was not sent"):
        unpack(tmp_path / "a.tar", Parcel(n_bytes=1, files=(wanted,)), tmp_path / "into")
