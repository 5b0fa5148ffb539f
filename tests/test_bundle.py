"""A bundle: the same run gives the same bytes, it holds what it must and not what it must not, and opens for ever."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml

from harness.bundle import archive, packing
from harness.bundle.archive import extracted, is_bundle, opened
from harness.bundle.contents import bundle_sha256, files_of, read_bundle
from harness.bundle.packing import Packed, pack
from harness.bundle.withholding import reason, withheld
from harness.cli.parser import run_verb
from harness.errors import SchemaError, StorageFull, UsageError
from harness.prompts.catalogue import parse
from harness.prompts.file import FileSource
from harness.prompts.named import NamedFileSource
from harness.prompts.sets import digest
from harness.records import FindingCode, LengthRecord, QueryRecord
from harness.results import load_results
from harness.store.run_directory import cells
from harness.variants import publish_run
from harness.verify import Kind, verify

GOLDEN = Path(__file__).parent / "golden" / "bundle-1.zip"
SECRET = "Wombats-juggle"
CHAINS = Path(__file__).parents[1] / "harness" / "assets" / "prompts" / "chains.jsonl"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the golden bundle is of; not to be changed."""
    return extracted(GOLDEN, tmp_path_factory.mktemp("golden"))


@pytest.fixture
def run(unpacked: Path, tmp_path: Path) -> Path:
    """A copy of it, as a run lies in a results folder."""
    copy = Path(shutil.copytree(unpacked, tmp_path / "results" / unpacked.name))
    (copy / "bundle.json").unlink()
    return copy


def cell_of(run: Path) -> Path:
    (cell,) = cells(run)
    return cell.path


def packed(run: Path, file: Path, *, hash_texts: bool = False) -> Packed:
    return pack(run, file, publish_run, hash_texts=hash_texts)


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_secrets(run: Path) -> None:
    """Texts that can be told from everything else, wherever a run keeps texts."""
    place = cell_of(run)
    lines = []
    for line in (place / "queries.jsonl").read_text().splitlines():
        fields = json.loads(line)
        fields["output"] |= {"rendered_prompt": f"{SECRET} what is 1+1?", "text": f"{SECRET} 2", "text_sha256": None}
        fields["score"]["extracted"] = f"{SECRET} 2"
        fields["findings"] = [{"code": "scorer_failed", "detail": f"ValueError: {SECRET}"}]
        fields["findings"] += [{"code": "prompt_too_long", "detail": f"HTTP 400: no context for {SECRET}"}]
        lines.append(fields)
    (place / "queries.jsonl").write_text("".join(json.dumps(fields) + "\n" for fields in lines))
    kept = ("schema_version", "session", "prompt_id", "prompt_index", "mode", "seed", "output", "score")
    known = {name: lines[0][name] for name in kept}
    failed = {**known, "prompt_id": "other", "output": None, "score": None, "batch_size": 4}
    failed["findings"] = [{"code": "query_failed", "detail": f"the server does not like {SECRET}"}]
    lengths = [{**known, "batch_size": 4}, failed]
    (place / "lengths.jsonl").write_text("".join(json.dumps(fields) + "\n" for fields in lengths))


def test_the_golden_bundle_opens_and_loads(unpacked: Path) -> None:
    bundle = read_bundle(unpacked)
    assert bundle is not None
    assert bundle.texts == "stored"
    assert [each.path for each in bundle.files] == files_of(unpacked)
    for each in bundle.files:
        content = (unpacked / each.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each.n_bytes, each.sha256)
    assert bundle_sha256(unpacked) == "898740c8b93320f646bd01b26f66beda7e7b5023b146c1ea9e6b0dc94e22fc4a"
    frame = load_results(unpacked)
    assert len(frame) == 16
    assert frame["gpu_board_energy_gross_j"].sum() == pytest.approx(646.8297, rel=1e-6)


def test_the_golden_bundle_is_borne_out_for_ever(unpacked: Path) -> None:
    """But for its summary and its page, which another version of this program may put otherwise."""
    verification = verify(unpacked)
    made = (Kind.SUMMARIES, Kind.PAGE)
    assert [difference for difference in verification.differences if difference.kind not in made] == []
    assert verification.kinds[Kind.ENERGIES].n_agree == 312
    assert verification.kinds[Kind.HASHES].n_agree == 22


def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packed(run, tmp_path / "first.zip")
    elsewhere = Path(shutil.copytree(run, tmp_path / "another place" / "copy"))
    (elsewhere / "report.html").unlink()
    for path in elsewhere.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        if path.is_file():
            path.chmod(0o600)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    mask = os.umask(0o077)
    try:
        second = packed(elsewhere, Path("second.zip"))
    finally:
        os.umask(mask)
    assert Path("second.zip").read_bytes() == (tmp_path / "first.zip").read_bytes()
    assert second.sha256 == first.sha256


def test_what_comes_out_of_a_bundle_is_bundled_again_to_the_same_bytes(run: Path, tmp_path: Path) -> None:
    with_secrets(run)
    one = packed(run, tmp_path / "one.zip", hash_texts=True)
    run_again = extracted(one.path, tmp_path / "out")
    two = packed(run_again, tmp_path / "two.zip")
    assert two.path.read_bytes() == one.path.read_bytes()


def test_an_unzipped_bundle_is_a_run(run: Path, tmp_path: Path) -> None:
    file = packed(run, tmp_path / "x.zip").path
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unzipped")
    own, theirs = load_results(run), load_results(tmp_path / "unzipped")
    assert own.drop(columns="run_id").equals(theirs.drop(columns="run_id"))


@pytest.mark.parametrize("why", ["asked", "--store-text", "gpqa-diamond"])
def test_withheld_texts_are_nowhere(run: Path, tmp_path: Path, why: str) -> None:
    with_secrets(run)
    place = cell_of(run)
    if why == "--store-text":
        manifest = place / "sessions" / "01" / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"store_text": "full"', '"store_text": "hash"'))
    if why == "gpqa-diamond":
        (place / "cell.yaml").write_text(
            (place / "cell.yaml").read_text().replace("prompt_set: chains", "prompt_set: gpqa-diamond")
        )
    result = packed(run, tmp_path / "x.zip", hash_texts=why == "asked")
    assert result.bundle.texts == "hashed"
    assert why in result.bundle.texts_hashed_because
    inside = members(result.path)
    assert {path.rpartition("/")[2] for path in inside} >= {"report.html", "lengths.jsonl", "summary.json"}
    for path, content in inside.items():
        assert SECRET.encode() not in content, path
    name = place.relative_to(run).as_posix()
    for line in inside[f"{name}/queries.jsonl"].splitlines():
        query = QueryRecord.model_validate_json(line)
        assert query.output is not None
        assert query.output.text_sha256 == hashlib.sha256(f"{SECRET} 2".encode()).hexdigest()
        assert query.score is not None
        assert query.score.extracted is None
    answered, failed = (LengthRecord.model_validate_json(line) for line in inside[f"{name}/lengths.jsonl"].splitlines())
    assert answered.output is not None
    assert answered.output.rendered_prompt is None
    assert [(finding.code, finding.detail) for finding in failed.findings] == [(FindingCode.QUERY_FAILED, "")]


def test_texts_are_in_it_where_they_may_be(run: Path, tmp_path: Path) -> None:
    with_secrets(run)
    result = packed(run, tmp_path / "x.zip")
    found = {path.rpartition("/")[2] for path, content in members(result.path).items() if SECRET.encode() in content}
    assert found >= {"queries.jsonl", "lengths.jsonl", "report.html"}
    assert result.bundle.texts_hashed_because == ""


def test_withholding_twice_changes_nothing(unpacked: Path) -> None:
    (cell,) = cells(unpacked)
    for query in cell.queries():
        assert withheld(withheld(query)) == withheld(query)


@pytest.mark.parametrize(
    ("spec", "is_closed"),
    [
        ("gpqa-diamond", True),
        ("gpqa-diamond@0123abc", True),
        ("gpqa-diamond={folder}/questions.jsonl", True),
        ("hub:Idavidrein/gpqa@main:Question::gpqa_main", True),
        ("hub:idavidrein/GPQA@main", True),
        ("hub:someone/my-GPQA_diamond@main:Question", True),
        ("{folder}/gpqa_diamond.jsonl:Question", True),
        ("{folder}/our_gpqa.jsonl:Question", True),
        ("gsm8k", False),
        ("hub:openai/gsm8k@main:question", False),
        ("chains", False),
        ("{folder}/questions.jsonl", False),
    ],
)
def test_gpqa_is_known_by_whatever_way_it_was_named(unpacked: Path, tmp_path: Path, spec: str, is_closed: bool) -> None:
    row = {"Question": "2+2?", "Correct Answer": "4", "Record ID": "rec1"}
    row |= {f"Incorrect Answer {number}": str(number) for number in (1, 2, 3)}
    for name in ("questions.jsonl", "gpqa_diamond.jsonl", "our_gpqa.jsonl"):
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    source = parse(spec.format(folder=tmp_path))
    is_file = isinstance(source, FileSource | NamedFileSource)
    name = source.load(None).name if is_file else source.name  # type: ignore[attr-defined]
    (cell,) = cells(unpacked)
    because = reason([cell.cell().model_copy(update={"prompt_set": name})], [], asked=False)
    assert because == ("the authors of gpqa-diamond ask that no text of it be published" if is_closed else "")


def own_prompts(run: Path, tmp_path: Path, text: str) -> None:
    """As if the run had been asked prompts of a file of the user's."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "questions.jsonl").write_text(text)
    spec = yaml.safe_load((run / "run.yaml").read_text())
    spec |= {"prompts": "mine/questions.jsonl", "working_dir": str(tmp_path)}
    (run / "run.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def test_a_users_own_prompts_go_in(run: Path, tmp_path: Path) -> None:
    own_prompts(run, tmp_path, CHAINS.read_text())
    before = Path.cwd()
    result = packed(run, tmp_path / "x.zip")
    assert Path.cwd() == before
    (tmp_path / "mine" / "questions.jsonl").unlink()
    assert result.notes == ()
    with opened(str(result.path), tmp_path) as again:
        (cell,) = cells(again)
        prompts = FileSource(cell.path / "prompts.jsonl").load(None)
        assert prompts.sha256 == digest(prompts.prompts) == cell.cell().prompt_set_sha256
        packed(again, tmp_path / "again.zip")  # the user's file is gone, the prompts are not
    assert (tmp_path / "again.zip").read_bytes() == result.path.read_bytes()


@pytest.mark.parametrize("what", ["changed", "gone", "hashed"])
def test_prompts_that_cannot_go_in_are_told_of(run: Path, tmp_path: Path, what: str) -> None:
    own_prompts(run, tmp_path, CHAINS.read_text().replace("=", "= ", 1) if what == "changed" else CHAINS.read_text())
    if what == "gone":
        (tmp_path / "mine" / "questions.jsonl").unlink()
    result = packed(run, tmp_path / "x.zip", hash_texts=what == "hashed")
    assert not any(path.endswith("prompts.jsonl") for path in members(result.path))
    (note,) = result.notes
    assert note.startswith("Your prompts are not in it")


def test_nothing_in_the_run_file_says_where_it_ran(run: Path, tmp_path: Path) -> None:
    spec = yaml.safe_load((run / "run.yaml").read_text())
    spec |= {
        "prompts": "gpqa-diamond=/home/ada/secret/copy.jsonl",
        "scorer": "~/scorers/mine.py:judge",
        "lengths": "replay:/home/ada/results/20260101-000000-x",
        "tokenizer": "Qwen/Qwen3-8B",
        "base_url": "http://ada:word@10.0.0.7:8000/v1",
        "weights_dir": "/home/ada/weights",
        "external_meter": "/home/ada/meter.csv",
        "output_dir": "/home/ada/results",
        "working_dir": "/home/ada",
        "variants": {"a": {"weights_dir": "/home/ada/w", "dtype": "bfloat16"}},
    }
    (run / "run.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    kept = yaml.safe_load(members(packed(run, tmp_path / "x.zip", hash_texts=True).path)["run.yaml"])
    assert "ada" not in yaml.safe_dump(kept)
    assert (kept["prompts"], kept["scorer"]) == ("gpqa-diamond=copy.jsonl", "mine.py:judge")
    assert (kept["lengths"], kept["tokenizer"]) == ("replay:20260101-000000-x", "Qwen/Qwen3-8B")
    assert kept["variants"] == {"a": {"dtype": "bfloat16"}}
    assert kept["num_prompts"] == spec["num_prompts"]


def test_a_killed_run_is_bundled_without_what_is_torn(run: Path, tmp_path: Path) -> None:
    place = cell_of(run)
    whole = (place / "queries.jsonl").read_bytes()
    (place / "queries.jsonl").write_bytes(whole + whole[:500])
    session = place / "sessions" / "01"
    (session / "end.json").unlink()
    (session / "power-0099.partial").write_bytes(b"PAR1")
    (session / "server.log").write_text("who knows what")
    (place / ".lock").touch()
    (place / "queries.parquet").write_bytes(b"derived")
    (place / "sessions" / "02").mkdir()
    (session / "link.json").symlink_to("/etc/hostname")
    (session / "weights.json").symlink_to("/etc/hostname")
    inside = members(packed(run, tmp_path / "x.zip").path)
    assert inside[f"{place.relative_to(run).as_posix()}/queries.jsonl"] == whole
    names = {path.rpartition("/")[2] for path in inside if not path.endswith(".parquet")}
    assert names == {
        *("bundle.json", "run.yaml", "report.html", "cell.yaml", "queries.jsonl", "summary.json"),
        *("manifest.json", "intervals.jsonl", "busy.json"),
    }
    assert sum(path.endswith(".parquet") for path in inside) == len(list(session.glob("power-*.parquet")))


def test_nothing_is_overwritten_and_nothing_empty_written(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_text("mine")
    with pytest.raises(UsageError, match="exists") as refused:
        packed(run, file)
    assert "another file" in refused.value.next_step
    assert file.read_text() == "mine"
    with pytest.raises(UsageError, match="no folder"):
        packed(run, tmp_path / "nowhere" / "x.zip")
    (cell_of(run) / "queries.jsonl").write_text("")
    with pytest.raises(UsageError, match="no finished query"):
        packed(run, tmp_path / "y.zip")
    assert not (tmp_path / "y.zip").exists()


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.zip"
    assert run_verb(["export", str(run), "--bundle", str(file), "--hash-texts"]) == 0
    said = capsys.readouterr().out
    with opened(str(file), tmp_path) as inside:
        assert str(bundle_sha256(inside)) in said
        place = inside
    assert not place.exists()
    assert f"{file.stat().st_size:,} bytes" in said
    assert "only their hashes: it was asked for (--hash-texts)" in said
    assert f"verify {file}" in said
    assert run_verb(["export", str(run), "--bundle", str(file)]) == 2
    assert run_verb(["export", str(run), "--hash-texts"]) == 2


def test_a_run_that_nobody_could_open_is_not_bundled(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MEMBERS_MOST", 10)
    with pytest.raises(SchemaError, match=r"cannot be bundled.*10 are the most"):
        packed(run, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_bundle_is_reported_with_its_page_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(shutil.copyfile(GOLDEN, tmp_path / "theirs.zip"))
    assert run_verb(["report", str(file)]) == 0
    assert "theirs.report.html" in capsys.readouterr().out.replace("\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.report.html", "theirs.zip"]
    assert file.read_bytes() == GOLDEN.read_bytes()
    assert run_verb(["report", str(file), "--external-meter", "log.csv"]) == 2


def test_a_bundle_is_reported_elsewhere_where_its_folder_is_not_to_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copyfile(GOLDEN, tmp_path / "theirs.zip"))
    (tmp_path / "theirs.report.html").mkdir()  # nobody can write a page there, not even root
    assert run_verb(["report", str(file)]) == 3
    assert "--output FILE.html" in capsys.readouterr().err
    assert run_verb(["report", str(file), "--output", str(tmp_path / "mine.html")]) == 0
    assert (tmp_path / "mine.html").stat().st_size > 10_000


def test_what_is_wrong_is_said_of_the_bundle_and_not_of_a_folder_that_is_gone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cell_of(run) / "cell.yaml").write_text("schema_version: 1\n")
    content = {"bundle.json": members(GOLDEN)["bundle.json"]}
    content |= {path: (run / path).read_bytes() for path in files_of(run)}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path, each in content.items():
            archive.writestr(path, each)
    assert run_verb(["report", str(tmp_path / "x.zip")]) == 2
    said = capsys.readouterr().err
    assert f"x.zip: {cell_of(run).relative_to(run).as_posix()}/cell.yaml cannot be read" in said
    assert "harness-bundle-" not in said


def test_of_a_run_that_is_being_written_readings_are_taken_after_lines(run: Path) -> None:
    session = cell_of(run) / "sessions" / "01"
    seen = []
    for path in packing._in_order_of_writing(run):
        seen.append(path)
        if path.endswith("queries.jsonl"):
            shutil.copyfile(session / "power-0000.parquet", session / "power-0099.parquet")
    assert any(path.endswith("power-0099.parquet") for path in seen)
    assert len(seen) == len(set(seen))


def test_a_full_disk_leaves_no_half_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"PK")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageFull, match="No space left") as error:
        packing._place(GOLDEN, tmp_path / "x.zip")
    assert "another FILE.zip" in error.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_no_run_has_is_no_crash(
    unpacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records let it through, and what is made of it has no end: numbers of a stranger are not a fault of ours."""
    file = tmp_path / "x.zip"
    place = cell_of(unpacked).relative_to(unpacked).as_posix()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members(GOLDEN).items():
            if path == f"{place}/sessions/01/intervals.jsonl":
                content = content.replace(b'"session":1,', b'"session":1' + b"0" * 30 + b",", 1)
            archive.writestr(path, content)
    assert run_verb(["report", str(file)]) == 2
    assert "holds a number that is of no run" in capsys.readouterr().err


def test_a_run_is_opened_where_it_lies(run: Path, tmp_path: Path) -> None:
    assert not is_bundle(str(run))
    assert not is_bundle("latest")
    with opened(run.name, run.parent) as path:
        assert path == run
    with opened("latest", run.parent, measured=True) as path:
        assert path == run
    assert read_bundle(run) is None
    assert bundle_sha256(run) is None
    with pytest.raises(UsageError, match="cannot be read"), opened(str(tmp_path / "no.zip"), tmp_path):
        pass
