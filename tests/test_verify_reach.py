"""How far `harness verify` reaches: what it leaves unchecked and says so, what it never executes, and its command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.bundle.packing import pack
from harness.cli.parser import run_verb
from harness.errors import ExitCode
from harness.prompts.embedded import EmbeddedSource
from harness.prompts.sets import digest
from harness.reasoning.answer import answer_in
from harness.reasoning.switch import FamilyReasoning
from harness.records import Cell, Prompt, ReasoningSpec
from harness.store.run_directory import RunDirectory, cells
from harness.variants import publish_run
from harness.verify import Kind, Verification, verify
from tests import tampering as tamper
from tests.test_pipeline import SWITCHES
from tests.verifiable_run import RUN_ID, write_run

THINKS = ReasoningSpec(thinking_start="<think>", thinking_end="</think>", modes=SWITCHES)
OPENS_ITSELF = ReasoningSpec(thinking_end="</think>", starts_inside_thinking=True, modes=SWITCHES)
HARMONY = ReasoningSpec(
    thinking_start="<|channel|>analysis<|message|>", thinking_end="<|channel|>final<|message|>", modes=SWITCHES
)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and published run. Not to be changed."""
    return write_run(tmp_path_factory.mktemp("honest"))


@pytest.fixture(scope="module")
def bundle(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file for others. Not to be changed."""
    file = tmp_path_factory.mktemp("bundle") / "run.zip"
    pack(honest, file, publish_run, hash_texts=False)
    return file


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(honest, tmp_path / RUN_ID))


def reasons(found: Verification) -> dict[Kind, set[str]]:
    """Why something could not be checked, by kind."""
    why: dict[Kind, set[str]] = {}
    for each in found.unchecked:
        why.setdefault(each.kind, set()).add(each.why)
    return why


# ----------------------------------------------------------------------------------- the answer in a text


@pytest.mark.parametrize(
    ("spec", "text", "thought", "answer"),
    [
        (THINKS, "<think>\n1 2\n</think>\n\n42", True, "42"),
        (THINKS, "<think>a</think> 7 <think>b</think> 42", True, "42"),
        (THINKS, "<think>never closed", True, ""),
        (THINKS, "42", False, "42"),
        (THINKS, f"42{' ' * 100_000}.", False, f"42{' ' * 100_000}."),  # a loop: not tried from each of its blanks
        (THINKS, "42", True, None),
        (OPENS_ITSELF, "so 1 and 2</think>42</s>", True, "42"),
        (HARMONY, "analysis1 2final42", True, None),
        (HARMONY, "final42", False, "42"),
        (HARMONY, "<|channel|>analysis<|message|>1<|channel|>final<|message|>42<|return|>", True, "42"),
    ],
)
def test_the_answer_is_what_follows_the_thinking_or_nothing_is_said(
    spec: ReasoningSpec, text: str, thought: bool, answer: str | None
) -> None:
    assert answer_in(text, "What?", FamilyReasoning(spec), thought=thought) == answer


# ------------------------------------------------------------------------------------- what is left unchecked


def test_of_a_bundle_without_texts_everything_but_texts_and_scores_is_checked(honest: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.zip"
    pack(honest, file, publish_run, hash_texts=True)
    assert run_verb(["verify", str(file), "--json", str(tmp_path / "found.json")]) == ExitCode.OK
    found = json.loads((tmp_path / "found.json").read_text())
    assert {each["kind"] for each in found["unchecked"]} == {"hashes", "prompts", "scores"}
    assert "scores" not in found["kinds"]
    assert found["kinds"]["energies"]["n_agree"] > 100


def changed_cell(run: Path, **changes: object) -> RunDirectory:
    """Another cell with the same sessions, as if it had been measured so."""
    (directory,) = cells(run)
    fields = directory.cell().model_dump() | changes
    after = RunDirectory.create(run, Cell.model_validate(fields), directory.site_id)
    for path in directory.path.iterdir():
        if path.name != "cell.yaml":
            path.rename(after.path / path.name)
    shutil.rmtree(directory.path.parent)
    tamper.in_json("sessions/01/manifest.json", lambda manifest: manifest.update(cell_id=after.cell().cell_id))(run)
    tamper.published(run)
    tamper.rehashed(run)
    (run / "bundle.json").unlink()
    return after


def test_a_users_own_scorer_is_never_executed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("judge.py").write_text("open('executed', 'w')\ndef right(answer, reference): return True\n")
    changed_cell(run, scorer="judge.py:right")
    found = verify(run)
    assert not Path("executed").exists()
    assert found.differences == ()
    assert any("never executed" in why for why in reasons(found)[Kind.SCORES])


def test_a_set_that_is_not_at_hand_leaves_prompts_and_scores_unchecked(run: Path) -> None:
    changed_cell(run, prompt_set="gsm8k", prompt_set_sha256="1" * 64)
    found = verify(run)
    assert found.differences == ()
    assert reasons(found) == {
        Kind.PROMPTS: {"the prompts of gsm8k are not at hand"},
        Kind.SCORES: {"the prompts of gsm8k are not at hand"},
    }


def write_prompts(path: Path, prompts: tuple[Prompt, ...]) -> None:
    rows = [{name: getattr(prompt, name) for name in Prompt.__slots__} for prompt in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_prompts_beside_the_cell_are_what_answers_are_judged_by(run: Path) -> None:
    own = EmbeddedSource("chains").load(None).prompts[:5]
    after = changed_cell(run, prompt_set="mine", prompt_set_sha256=digest(own), order="stored")
    write_prompts(after.path / "prompts.jsonl", own)
    found = verify(run)
    assert (found.differences, found.unchecked) == ((), ())
    tamper.in_query(tamper.with_answer("77"), mode="off")(run)
    tamper.published(run)
    tamper.rehashed(run)
    assert Kind.SCORES in {each.kind for each in verify(run).differences}
    write_prompts(after.path / "prompts.jsonl", own[:4])
    assert "digest of the set" in {each.figure for each in verify(run).differences}


def test_a_session_that_was_killed_has_no_hashes_and_the_one_before_it_has(run: Path) -> None:
    path = tamper.cell_of(run) / "queries.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    (tamper.cell_of(run) / "sessions" / "02").mkdir()
    with path.open("a") as file:
        file.write(json.dumps(line | {"session": 2, "prompt_id": "chains-0006", "prompt_index": 5}) + "\n")
    found = verify(run)
    assert any("killed" in why for why in reasons(found)[Kind.HASHES])
    assert Kind.HASHES not in {each.kind for each in found.differences}
    content = path.read_text()
    path.write_text(content.replace("The answer", "An answer", 1))
    damaged = {each.where for each in verify(run).differences if each.kind is Kind.HASHES}
    assert damaged == {f"{tamper.cell_of(run).relative_to(run)}/queries.jsonl"}


def test_columns_that_somebody_put_beside_the_lines_are_not_believed(run: Path) -> None:
    planted = tamper.cell_of(run) / "queries.parquet"
    pq.write_table(pa.table({"energy": [1.0]}), planted)
    before = planted.read_bytes()
    assert verify(run).differences == ()
    assert planted.read_bytes() == before


def test_a_run_is_what_it_was_under_another_name(run: Path) -> None:
    renamed = run.rename(run.with_name("renamed"))
    assert verify(renamed).differences == ()
    tamper.published(renamed)
    assert verify(renamed).differences == ()


def older(fields: dict[str, object]) -> None:
    fields["harness_version"] = "0.0.1"


@pytest.mark.parametrize(
    ("figure", "is_held_against_it"), [("low", False), ("value", True)], ids=["of a version", "of the run"]
)
def test_what_another_version_put_otherwise_is_said_unless_it_is_a_plain_figure(
    run: Path, figure: str, is_held_against_it: bool
) -> None:
    def change(fields: dict[str, object]) -> None:
        fields["modes"][0]["energy_j"][figure] *= 0.99  # type: ignore[index]

    tamper.in_json("sessions/01/manifest.json", older)(run)
    tamper.rehashed(run)
    (run / "bundle.json").unlink()
    tamper.in_json("summary.json", change)(run)
    tamper.in_page("</main>", "<p>So it was then.</p></main>")(run)
    found = verify(run)
    assert [each.figure for each in found.differences] == ["modes[off].energy_j.value"] * is_held_against_it
    assert any("version 0.0.1" in why for why in reasons(found)[Kind.PAGE])


# -------------------------------------------------------------------------------------------- the command


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {'torch', 'transformers', 'pynvml', 'codecarbon'}:
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
from harness.cli.parser import run_verb
sys.exit(run_verb(sys.argv[1:]))
"""


def test_it_needs_no_torch_no_transformers_and_no_driver(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "verify", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    first, digest_line, *_, last = done.stdout.splitlines()
    assert first.startswith(f"{RUN_ID}: ")
    assert len(digest_line.split()[1]) == 64
    assert "Repeat the run" in last


def test_what_differs_is_named_and_ends_in_4(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tamper.in_query(lambda line: line["score"].update(extracted="\x1b[2J\u202e77"))(run)
    assert run_verb(["verify", str(run)]) == ExitCode.INVALID
    said = capsys.readouterr().out
    assert "chains-0002 in mode on: score.extracted is stored as" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "\\x1b[2J" in said


def test_a_pipeline_reads_the_same_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tamper.in_query(lambda line: line.update(seed=1))(run)
    assert run_verb(["verify", str(run), "--json", "-"]) == ExitCode.INVALID
    found = json.loads(capsys.readouterr().out)
    assert found["n_figures"] - found["n_agree"] == len(found["differences"]) == 2
    assert {each["kind"] for each in found["differences"]} == {"hashes", "prompts"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"PK" + content,
        lambda content: b"",
    ],
    ids=["cut", "prefixed", "empty"],
)
def test_a_file_that_is_no_bundle_is_refused(
    bundle: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.zip"
    file.write_bytes(spoil(bundle.read_bytes()))
    assert run_verb(["verify", str(file)]) == ExitCode.USAGE
    assert "run.zip" in capsys.readouterr().err


BROKEN: Mapping[str, bytes] = {
    "cell.yaml": b"\xff\xfe",
    "queries.jsonl": b'{"schema_version":1}\n',
    "summary.json": b"[[[",
    "sessions/01/end.json": b"null",
    "sessions/01/intervals.jsonl": b'{"schema_version":1,"session":1e999}\n',
    "sessions/01/power-0000.parquet": b"PAR1",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_named_and_the_rest_is_looked_at(run: Path, name: str) -> None:
    (tamper.cell_of(run) / name).write_bytes(BROKEN[name])
    found = verify(run)
    assert any(name.partition("/power")[0] in each.where for each in found.differences if each.kind is not Kind.HASHES)
    assert found.n_agree > 5
