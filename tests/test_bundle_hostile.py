"""A bundle from somebody who means harm: refused by the name of the member, with nothing left on disk."""

from __future__ import annotations

import io
import json
import stat
import struct
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.bundle import archive, bounds
from harness.bundle.archive import opened
from harness.cli.parser import run_verb
from harness.errors import ExitCode, HarnessError, SchemaError
from harness.store.segments import COLUMNS

MIB = 2**20
LIST = json.dumps(
    {"schema_version": 1, "harness_version": "0.1.0", "run_id": "20260101-000000-x", "texts": "stored", "files": []}
).encode()
CELL = "model-0123456789ab/0123456789ab"
SESSION = f"{CELL}/sessions/01"
SEGMENT = f"{SESSION}/power-0000.parquet"


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; also the only place that a member with a path of its own could reach from there."""
    folder = tmp_path / "up" / "and" / "up"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def zipped(members: Mapping[str | zipfile.ZipInfo, bytes], *, first: bytes = LIST) -> bytes:
    """An archive of these beside the list of a bundle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("bundle.json", first)
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def refused(content: bytes, tmp_path: Path, member: str, disk: Path) -> str:
    """What the refusal says; asserts that it is one, names the member and leaves nothing behind."""
    file = tmp_path / "x.zip"
    file.write_bytes(content)
    before = sorted(path for path in tmp_path.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(HarnessError) as error, opened(str(file), tmp_path):
            pytest.fail("it was opened")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB + 3 * len(content)
    assert list(disk.iterdir()) == []
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert error.value.exit_code is ExitCode.USAGE
    assert isinstance(error.value, SchemaError)
    said = str(error.value)
    assert said.isprintable()
    assert said.isascii()
    assert member in said
    return said


def patched(content: bytes, name: str, *, local: tuple[int, bytes] | None, central: tuple[int, bytes] | None) -> bytes:
    """An archive with bytes of one member's two heads replaced, at offsets from where each head begins."""
    changed = bytearray(content)
    encoded = name.encode()
    for mark, n_head, patch in ((b"PK\3\4", 30, local), (b"PK\1\2", 46, central)):
        place = content.index(mark)
        while content[place + n_head : place + n_head + len(encoded)] != encoded:
            place = content.index(mark, place + 1)
        if patch is not None:
            changed[place + patch[0] : place + patch[0] + len(patch[1])] = patch[1]
    return bytes(changed)


def test_what_is_harmless_is_opened(tmp_path: Path, disk: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(zipped({"run.yaml": b"model: [x]\n", f"{SESSION}/end.json": b"{}"}))
    with opened(str(file), tmp_path) as run:
        assert run.name == "20260101-000000-x"
        assert stat.S_IMODE(run.parent.stat().st_mode) == 0o700
        assert sorted(path.name for path in run.rglob("*") if path.is_file()) == ["bundle.json", "end.json", "run.yaml"]
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "../run.yaml",
        "../../../run.yaml",
        f"{CELL}/../../run.yaml",
        "/run.yaml",
        "/etc/cron.d/run.yaml",
        "C:/run.yaml",
        "C:run.yaml",
        "..\\run.yaml",
        f"{CELL}\\cell.yaml",
        "./run.yaml",
        f"model//{CELL}/cell.yaml",
        ".hidden/x/cell.yaml",
        f"{CELL}/cell.yaml/",
        "a" * 400,
        "evil.py",
        f"{CELL}/evil.pth",
        f"{CELL}/queries.pkl",
        f"{SESSION}/straight.npz",
        f"{CELL}/queries.parquet",
        "run.yaml\n",
        "run.yaml\x1b[2J",
        "\x1b[31mred\x1b[0m/x/cell.yaml",
        "r\N{CYRILLIC SMALL LETTER U}n.yaml",
        "\N{RIGHT-TO-LEFT OVERRIDE}lmay.nur",
    ],
)
def test_names_that_no_run_has(name: str, tmp_path: Path, disk: Path) -> None:
    shown = ascii(name)[1:-1]
    said = refused(zipped({name: b"x"}), tmp_path, shown if len(shown) < 200 else "a" * 50, disk)
    assert "is not a file of a run" in said
    assert len(said) < 400


def test_a_null_byte_in_a_name(tmp_path: Path, disk: Path) -> None:
    content = zipped({"run.yamlX": b"x"}).replace(b"run.yamlX", b"run.yaml\0")
    refused(content, tmp_path, "run.yaml\\x00", disk)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_devices_and_folders(kind: int, tmp_path: Path, disk: Path) -> None:
    info = zipfile.ZipInfo("run.yaml")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(zipped({info: b"/etc/passwd"}), tmp_path, "run.yaml is no plain file", disk)


def test_a_folder_of_dos(tmp_path: Path, disk: Path) -> None:
    info = zipfile.ZipInfo("run.yaml")
    info.external_attr = 0x10
    refused(zipped({info: b""}), tmp_path, "run.yaml is no plain file", disk)


def test_the_same_name_twice(tmp_path: Path, disk: Path) -> None:
    content = zipped({"run.yaml": b"a", "run.yamm": b"b"}).replace(b"run.yamm", b"run.yaml")
    refused(content, tmp_path, "run.yaml is there twice", disk)


def test_names_that_differ_in_case_alone(tmp_path: Path, disk: Path) -> None:
    refused(zipped({"A-1/s/cell.yaml": b"", "a-1/s/cell.yaml": b""}), tmp_path, "/s/cell.yaml is there twice", disk)


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, disk: Path) -> None:
    refused(zipped({"run.yaml": b"", "run.yaml/s/cell.yaml": b""}), tmp_path, "run.yaml/s/cell.yaml", disk)


@pytest.mark.parametrize("flags", [0x0001, 0x0041, 0x2000])
def test_encrypted(flags: int, tmp_path: Path, disk: Path) -> None:
    patch = struct.pack("<H", flags)
    content = patched(zipped({"run.yaml": b"x"}), "run.yaml", local=(6, patch), central=(8, patch))
    refused(content, tmp_path, "run.yaml is encrypted", disk)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(compression: int, tmp_path: Path, disk: Path) -> None:
    info = zipfile.ZipInfo("run.yaml")
    out = io.BytesIO(zipped({}))
    with zipfile.ZipFile(out, "a") as file:
        file.writestr(info, b"x", compression)
    refused(out.getvalue(), tmp_path, "run.yaml is compressed in a way", disk)


def test_an_unknown_compression(tmp_path: Path, disk: Path) -> None:
    patch = struct.pack("<H", 99)
    content = patched(zipped({"run.yaml": b"x"}), "run.yaml", local=(8, patch), central=(10, patch))
    refused(content, tmp_path, "run.yaml is compressed in a way", disk)


def test_two_descriptions_of_one_member(tmp_path: Path, disk: Path) -> None:
    content = zipped({"run.yaml": b"x"})
    stored = struct.pack("<H", zipfile.ZIP_STORED)
    refused(
        patched(content, "run.yaml", local=(8, stored), central=None), tmp_path, "run.yaml is described in two", disk
    )
    other = content.replace(b"run.yaml", b"evil.pyy", 1)
    refused(other, tmp_path, "run.yaml is described in two ways", disk)


def test_a_small_file_that_becomes_a_large_one(tmp_path: Path, disk: Path) -> None:
    content = zipped({f"{CELL}/queries.jsonl": bytes(80 * MIB)})
    assert len(content) < MIB
    refused(content, tmp_path, f"{CELL}/queries.jsonl has more than", disk)


def test_many_members_that_become_large_together(tmp_path: Path, disk: Path) -> None:
    names = [f"{SESSION}/power-{number:04d}.parquet" for number in range(4)]
    said = refused(zipped(dict.fromkeys(names, bytes(20 * MIB))), tmp_path, names[-1], disk)
    assert "together" in said or "all of them" in said


def test_a_kind_of_file_that_is_never_so_large(tmp_path: Path, disk: Path) -> None:
    refused(zipped({"run.yaml": bytes(MIB)}), tmp_path, "run.yaml has more than 262,144 bytes", disk)


@pytest.mark.parametrize(("n_bytes", "why"), [(10, "has more than the 10 bytes"), (99_999, "is damaged")])
def test_sizes_that_are_not_so(n_bytes: int, why: str, tmp_path: Path, disk: Path) -> None:
    text = b"# comment\n" * 100
    patch = struct.pack("<L", n_bytes)
    crc = struct.pack("<L", zlib.crc32(text[:10]))
    content = patched(zipped({"run.yaml": text}), "run.yaml", local=(22, patch), central=(24, patch))
    content = patched(content, "run.yaml", local=(14, crc), central=(16, crc))
    refused(content, tmp_path, f"run.yaml {why}", disk)


def test_another_checksum(tmp_path: Path, disk: Path) -> None:
    content = patched(zipped({"run.yaml": b"a: 1\n"}), "run.yaml", local=None, central=(16, b"\0\0\0\0"))
    refused(content, tmp_path, "run.yaml is damaged", disk)


def test_bytes_that_are_no_deflate(tmp_path: Path, disk: Path) -> None:
    content = zipped({"run.yaml": bytes(range(256))})
    place = content.index(b"run.yaml") + len("run.yaml")
    refused(content[:place] + b"\xff" * 20 + content[place + 20 :], tmp_path, "run.yaml is damaged", disk)


def test_something_hidden_behind_a_members_end(tmp_path: Path, disk: Path) -> None:
    info = zipfile.ZipInfo("run.yaml")
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packed.compress(b"a: 1\n") + packed.flush()
    out = io.BytesIO(zipped({}))
    with zipfile.ZipFile(out, "a") as file:
        file.writestr(info, stream + b"hidden" * 10, zipfile.ZIP_STORED)
    deflated, size, crc = struct.pack("<H", 8), struct.pack("<L", 5), struct.pack("<L", zlib.crc32(b"a: 1\n"))
    content = out.getvalue()
    for local, central in (((8, deflated), (10, deflated)), ((22, size), (24, size)), ((14, crc), (16, crc))):
        content = patched(content, "run.yaml", local=local, central=central)
    refused(content, tmp_path, "run.yaml goes on after its end", disk)


def test_members_that_share_their_bytes(tmp_path: Path, disk: Path) -> None:
    """As of a bomb without a nest: many members, one stream."""
    names = [f"{SESSION}/power-{number:04d}.parquet" for number in range(3)]
    content = zipped(dict.fromkeys(names, bytes(MIB)))
    where = struct.pack("<L", content.index(b"PK\3\4", 10))
    for name in names[1:]:
        content = patched(content, name, local=None, central=(42, where))
    said = refused(content, tmp_path, SESSION, disk)
    assert "overlaps" in said or "two ways" in said


def test_a_member_that_lies_in_the_directory(tmp_path: Path, disk: Path) -> None:
    content = patched(zipped({"run.yaml": b"x"}), "run.yaml", local=None, central=(20, struct.pack("<L", 1_000)))
    refused(content, tmp_path, "run.yaml overlaps", disk)
    content = patched(zipped({"run.yaml": b"x"}), "run.yaml", local=None, central=(42, struct.pack("<L", 5)))
    refused(content, tmp_path, "run.yaml does not lie where", disk)


def test_too_many_members(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBERS_MOST", 20)
    names = [f"{SESSION}/power-{number:04d}.parquet" for number in range(30)]
    content = zipped(dict.fromkeys(names, b""))
    assert "31 members" in refused(content, tmp_path, "x.zip", disk)
    end = len(content) - 22
    fewer = content[: end + 8] + struct.pack("<2H", 3, 3) + content[end + 12 :]
    assert "too large" in refused(fewer, tmp_path, "x.zip", disk)
    fewer = content[: end + 8] + struct.pack("<2H", 15, 15) + content[end + 12 :]
    assert "says that it has 15 members" in refused(fewer, tmp_path, "x.zip", disk)


@pytest.mark.parametrize("what", ["empty", "text", "torn", "before", "after", "comment", "large kind", "no list"])
def test_what_is_no_bundle(what: str, tmp_path: Path, disk: Path) -> None:
    good = zipped({"run.yaml": b"a: 1\n"})
    commented = io.BytesIO(good)
    with zipfile.ZipFile(commented, "a") as file:
        file.comment = b"look at me"
    content = {
        "empty": b"",
        "text": b"# my results\n" * 100,
        "torn": good[: len(good) // 2],
        "before": b"#!/bin/sh\n" + good,
        "after": good + b"more",
        "comment": commented.getvalue(),
        "large kind": good[:-22] + b"PK\6\7" + bytes(16) + good[-22:],
        "no list": zipped({}).replace(b"bundle.json", b"summary.yml"),
    }[what]
    refused(content, tmp_path, "summary.yml" if what == "no list" else "is not a bundle", disk)


def test_a_zip_of_a_run_that_is_no_bundle(tmp_path: Path, disk: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("run.yaml", b"a: 1\n")
    said = refused(out.getvalue(), tmp_path, "holds no bundle.json", disk)
    assert "is not a bundle" in said


@pytest.mark.parametrize("run_id", ["..", "../up", "/etc", "", "a/b", "x\x1b[2J", "x\n", "a" * 500, "-rf"])
def test_runs_called_as_no_run_is(run_id: str, tmp_path: Path, disk: Path) -> None:
    first = json.dumps({**json.loads(LIST), "run_id": run_id}).encode()
    said = refused(zipped({}, first=first), tmp_path, "bundle.json", disk)
    assert len(said) < 400


@pytest.mark.parametrize("first", [b"", b"[]", b"{}", b"[" * 100_000, b'{"schema_version": 99}', b"\xff\xfe"])
def test_lists_that_are_none(first: bytes, tmp_path: Path, disk: Path) -> None:
    refused(zipped({}, first=first), tmp_path, "bundle.json", disk)


def test_a_line_without_end(tmp_path: Path, disk: Path) -> None:
    text = b'{"a": 1}\n' + b'"' + b"x" * (17 * MIB) + b'"\n'
    refused(zipped({f"{CELL}/queries.jsonl": text}), tmp_path, f"{CELL}/queries.jsonl, line 2, is longer", disk)


@pytest.mark.parametrize("name", [f"{CELL}/queries.jsonl", f"{SESSION}/manifest.json", f"{CELL}/summary.json"])
@pytest.mark.parametrize("document", [b"[" * 100_000, b'{"a":"]]",' + b'"b":[1,' * 60, b'{"a":{"b":' * 30])
def test_documents_without_a_ground(name: str, document: bytes, tmp_path: Path, disk: Path) -> None:
    refused(zipped({name: document}), tmp_path, name, disk)


def test_brackets_in_a_text_are_no_levels(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    line = json.dumps({"text": "[" * 500 + '\\"{{{' * 100, "more": [[1], {"a": "\\"}] * 100}).encode() + b"\n"
    file.write_bytes(zipped({f"{CELL}/queries.jsonl": line * 3}))
    with opened(str(file), tmp_path) as run:
        assert (run / CELL / "queries.jsonl").read_bytes() == line * 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "anchor"),
        (b"a: &a [*a]\n", "anchor"),
        (b"a: !!python/object/apply:os.system ['true']\n", "tag"),
        (b"a: !!binary aGVsbG8=\n", "tag"),
        (b"[" * 500, "levels"),
        (b"a: [1, 2\n", "not YAML"),
        (b"a: \x00\n", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"seed: 1" + b"1" * 5000, "number of 5,001 characters"),
        (b"seed: 0x" + b"f" * 5000, "number of 5,002 characters"),
        (b"seed: 1" + b":11" * 5000, "number of 15,001 characters"),
        (b"seed: 2001-99-99", "not YAML"),
        (b'a: "\\ud800"', "not YAML"),
        (b"? [a]\n: b\n", "not YAML"),
        (b"- a\n", "no keys"),
        (b"1: a\n", "no keys"),
    ],
)
def test_yaml_that_is_more_than_it_looks(text: bytes, why: str, tmp_path: Path, disk: Path) -> None:
    assert why in refused(zipped({f"{CELL}/cell.yaml": text}), tmp_path, f"{CELL}/cell.yaml", disk)


def readings(n_rows: int = 3, **changes: pa.Array) -> bytes:
    columns = {name: pa.array(np.zeros(n_rows, np.int64 if name == "channel" else np.float64)) for name in COLUMNS}
    out = io.BytesIO()
    pq.write_table(pa.table({**columns, **changes}), out, compression="zstd")
    return out.getvalue()


def varint(number: int) -> bytes:
    """A number as Parquet's metadata writes it."""
    number, out = 2 * number, bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def with_claim(content: bytes, number: int, claim: int) -> bytes:
    """The same file, its metadata claiming another number."""
    (n_foot,) = struct.unpack("<L", content[-8:-4])
    body, foot = content[: -8 - n_foot], content[-8 - n_foot : -8]
    assert varint(number) in foot
    foot = foot.replace(varint(number), varint(claim))
    return body + foot + struct.pack("<L", len(foot)) + b"PAR1"


def test_parquet_that_claims_more_than_there_is(tmp_path: Path, disk: Path) -> None:
    honest = readings(123_457)
    said = refused(zipped({SEGMENT: with_claim(honest, 123_457, 10**12)}), tmp_path, SEGMENT, disk)
    assert "claims 1,000,000,000,000 readings" in said
    metadata = pq.ParquetFile(io.BytesIO(honest)).metadata.row_group(0).column(1)
    large = with_claim(honest, metadata.total_uncompressed_size, 10**12)
    assert "bytes of readings" in refused(zipped({SEGMENT: large}), tmp_path, SEGMENT, disk)


def test_parquet_that_is_larger_than_any_segment(tmp_path: Path, disk: Path) -> None:
    refused(zipped({SEGMENT: readings(1_100_000)}), tmp_path, f"{SEGMENT} claims 1,100,000 readings", disk)


def test_many_segments_that_are_large_together(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ROWS_TOGETHER_MOST", 25)
    names = [f"{SESSION}/power-{number:04d}.parquet" for number in range(3)]
    refused(zipped(dict.fromkeys(names, readings(10))), tmp_path, f"{names[2]} brings the readings to 30", disk)


@pytest.mark.parametrize(
    "content",
    [
        readings(value=pa.array(["x" * MIB] * 3)),
        readings(value=pa.array([[1.0]] * 3)),
        readings(value=pa.array([1, 2, 3]).cast(pa.decimal128(30, 2))),
        readings(more=pa.array([1.0, 2.0, 3.0])),
        readings()[:-10],
        b"PAR1" + b"\xff" * 100 + struct.pack("<L", 100) + b"PAR1",
        b"",
    ],
    ids=["texts", "lists", "decimals", "another column", "torn", "noise", "empty"],
)
def test_parquet_that_holds_no_readings(content: bytes, tmp_path: Path, disk: Path) -> None:
    refused(zipped({SEGMENT: content}), tmp_path, SEGMENT, disk)


def test_the_command_refuses_it_in_plain_characters(
    tmp_path: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    for content in (
        zipped({"\x1b[2Jevil.py": b"x"}),
        zipped({}, first=json.dumps({**json.loads(LIST), "\x1b[2J": 1}).encode()),
    ):
        file.write_bytes(content)
        assert run_verb(["verify", str(file)]) == 2
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        assert "\\x1b" in said.err
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("half", ["\\ud800", "\\uDFFF", "\\ud83d\\\\ude00"])
def test_half_a_character(half: str, tmp_path: Path, disk: Path) -> None:
    """No file can hold it again: what is made of such a text fails wherever it is written."""
    line = f'{{"prompt_id": "{half}"}}\n'.encode()
    refused(zipped({f"{CELL}/queries.jsonl": line}), tmp_path, f"{CELL}/queries.jsonl", disk)


def test_a_whole_character_may_be_escaped(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(zipped({f"{CELL}/queries.jsonl": b'{"prompt_id": "\\ud83d\\ude00 \\\\ud800"}\n'}))
    with opened(str(file), tmp_path) as run:
        assert (run / CELL / "queries.jsonl").exists()


def test_a_page_that_is_larger_than_its_file_says(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata has a thousand readings in 9 KB; the head of the page, which a reader believes, has 1.6 MB."""
    monkeypatch.setattr(bounds, "SEGMENT_BYTES_MOST", MIB)
    n_rows = 200_001
    out = io.BytesIO()
    table = pa.table({name: np.zeros(n_rows, np.int64 if name == "channel" else np.float64) for name in COLUMNS})
    options = {"compression": "zstd", "use_dictionary": False, "data_page_size": 2**30, "max_rows_per_page": n_rows}
    pq.write_table(table, out, write_statistics=False, write_batch_size=n_rows, **options)
    group = pq.ParquetFile(out).metadata.row_group(0)
    content = with_claim(with_claim(out.getvalue(), n_rows, 1000), group.total_byte_size, 36_000)
    content = with_claim(content, group.column(0).total_uncompressed_size, 9_000)
    assert "pages than its readings need" in refused(zipped({SEGMENT: content}), tmp_path, SEGMENT, disk)


def test_parquet_with_more_metadata_than_readings(tmp_path: Path, disk: Path) -> None:
    content = readings()[:-8] + struct.pack("<L", 2 * MIB) + b"PAR1"
    assert "metadata" in refused(zipped({SEGMENT: content}), tmp_path, SEGMENT, disk)


@pytest.mark.parametrize("options", [{"use_dictionary": False}, {"data_page_version": "2.0"}, {"row_group_size": 700}])
def test_parquet_as_others_write_it(options: dict[str, Any], tmp_path: Path) -> None:
    columns = {name: np.arange(5_000, dtype=np.int64 if name == "channel" else np.float64) for name in COLUMNS}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, write_page_checksum=True, **options)
    file = tmp_path / "x.zip"
    file.write_bytes(zipped({SEGMENT: out.getvalue()}))
    with opened(str(file), tmp_path) as run:
        assert (run / SEGMENT).read_bytes() == out.getvalue()


def test_a_bundle_that_was_zipped_again_names_its_folders(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    folders: dict[str | zipfile.ZipInfo, bytes] = {
        f"{CELL.partition('/')[0]}/": b"",
        f"{CELL}/": b"",
        f"{CELL}/sessions/": b"",
        f"{SESSION}/": b"",
    }
    file.write_bytes(zipped({**folders, f"{SESSION}/end.json": b"{}"}))
    with opened(str(file), tmp_path) as run:
        assert (run / SESSION / "end.json").exists()


@pytest.mark.parametrize("folder", ["../", "/", "a/../", "a/b/c/", ".hidden/"])
def test_folders_that_no_run_has(folder: str, tmp_path: Path, disk: Path) -> None:
    refused(zipped({folder: b""}), tmp_path, "is not a file of a run", disk)


def test_a_bundle_in_a_folder_of_its_own_is_told_how_to_be_zipped(tmp_path: Path, disk: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("mine/bundle.json", LIST)
    assert "zip what is in that folder" in refused(content.getvalue(), tmp_path, "x.zip", disk)
