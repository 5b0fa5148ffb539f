"""A run that was tampered with is found out, and what was done is named: as it is, and after a forger made it right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.bundle.contents import read_bundle
from harness.store.run_directory import cells
from harness.verify import Kind, verify
from harness.verify import hashes as by_hash
from tests import tampering as tamper
from tests.verifiable_run import RUN_ID, write_run

QUERY = f"{tamper.PROMPT} in mode {tamper.MODE}"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as it comes out of its bundle. Not to be changed."""
    return tamper.bundled(write_run(tmp_path_factory.mktemp("honest")))


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    """A copy to be tampered with."""
    return Path(shutil.copytree(honest, tmp_path / RUN_ID))


def test_an_honest_run_agrees_in_everything_and_nothing_is_left_out(honest: Path) -> None:
    found = verify(honest)
    assert found.differences == ()
    assert found.unchecked == ()
    assert found.not_checked == ()
    assert set(found.kinds) == set(Kind)
    assert found.n_agree == found.n_figures > 1000
    assert found.origin is not None
    assert found.origin.sha256 == by_hash.origin_of(honest)[0].sha256  # type: ignore[union-attr]


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """An edit, the file whose hash betrays it, and what betrays it when all hashes are right again.

    `caught` is a kind, and words of the place and of the figure; None: nothing can. `anew` where the forger also makes
    summaries and page anew.
    """

    name: str
    edit: Callable[[Path], None]
    file: str
    caught: tuple[Kind, str, str] | None
    anew: bool = True


def edited(line: tamper.Fields, figure: str, factor: float) -> None:
    line["readings"][0][figure] *= factor


def more_tokens(line: tamper.Fields) -> None:
    line["output"]["sizes"]["answer_tokens"] += 50
    line["output"]["sizes"]["output_tokens"] += 50


def to_right(line: tamper.Fields) -> None:
    assert line["score"]["correct"] is False
    line["score"]["correct"] = True


def summed(key: str, figure: str, factor: float) -> Callable[[Path], None]:
    """An edited estimate of a mode, or of the comparison."""

    def change(fields: tamper.Fields) -> None:
        whole = fields["comparisons"][0] if key == "energy" else fields["modes"][1]
        whole[key][figure] *= factor

    return tamper.in_json("summary.json", change)


S = "sessions/01"
TAMPERINGS = [
    Tampering(
        name="energy of a query",
        edit=tamper.in_query(lambda line: edited(line, "energy_gross_j", 0.9)),
        file="queries.jsonl",
        caught=(Kind.ENERGIES, QUERY, "energy_gross_j"),
    ),
    Tampering(
        name="half-width of a query",
        edit=tamper.in_query(lambda line: edited(line, "energy_gross_half_width_j", 0.5)),
        file="queries.jsonl",
        caught=(Kind.ENERGIES, QUERY, "energy_gross_half_width_j"),
    ),
    Tampering(
        name="joules of a phase",
        edit=tamper.in_query(lambda line: line["readings"][0]["phases"][1].update(energy_gross_j=1.0)),
        file="queries.jsonl",
        caught=(Kind.ENERGIES, QUERY, "thinking energy_gross_j"),
    ),
    Tampering(
        name="mean of the summary",
        edit=summed("energy_j", "value", 0.99),
        file="summary.json",
        caught=(Kind.SUMMARIES, "summary.json", "modes[on].energy_j.value"),
        anew=False,
    ),
    Tampering(
        name="end of an interval",
        edit=summed("energy_j", "low", 0.99),
        file="summary.json",
        caught=(Kind.SUMMARIES, "summary.json", "modes[on].energy_j.low"),
        anew=False,
    ),
    Tampering(
        name="ratio",
        edit=summed("energy", "value", 0.99),
        file="summary.json",
        caught=(Kind.SUMMARIES, "summary.json", "comparisons[on over off].energy.value"),
        anew=False,
    ),
    Tampering(
        name="accuracy",
        edit=summed("accuracy", "value", 0.5),
        file="summary.json",
        caught=(Kind.SUMMARIES, "summary.json", "modes[on].accuracy.value"),
        anew=False,
    ),
    Tampering(
        name="doubt taken out of the summary",
        edit=tamper.in_json("summary.json", lambda fields: fields.update(findings=[])),
        file="summary.json",
        caught=(Kind.SUMMARIES, "summary.json", "findings"),
        anew=False,
    ),
    Tampering(
        name="raw reading",
        edit=tamper.edited_reading,
        file="power-000",
        caught=(Kind.ENERGIES, QUERY, "energy_gross_j"),
    ),
    Tampering(
        name="first segment removed",
        edit=tamper.without_segment(0),
        file="power-0000.parquet",
        caught=(Kind.ENERGIES, "load of session 1", "energy_gross_j"),
    ),
    Tampering(
        name="middle segment removed",
        edit=tamper.without_segment(2),
        file="power-0002.parquet",
        caught=(Kind.ENERGIES, "in mode", "energy_gross_j"),
    ),
    Tampering(
        name="last segment removed",
        edit=tamper.without_segment(-1),
        file="power-000",
        caught=(Kind.ENERGIES, "shut_down of session 1", "energy_gross_j"),
    ),
    Tampering(
        name="segments swapped",
        edit=tamper.swapped_segments,
        file="power-0001.parquet",
        caught=(Kind.ENERGIES, "power file 2 in order", "readings"),
    ),
    Tampering(
        name="segment doubled",
        edit=tamper.doubled_segment,
        file="power-0002.parquet",
        caught=(Kind.ENERGIES, "power file 2 in order", "readings"),
    ),
    Tampering(
        name="query removed",
        edit=tamper.without_line("queries.jsonl", tamper.is_query),
        file="queries.jsonl",
        caught=(Kind.IDENTITY, "queries.jsonl", "prompt 1 in mode on"),
    ),
    Tampering(
        name="query doubled",
        edit=tamper.without_line("queries.jsonl", tamper.is_query, times=2),
        file="queries.jsonl",
        caught=(Kind.IDENTITY, "queries.jsonl", QUERY),
    ),
    Tampering(
        name="interval removed",
        edit=tamper.without_line(f"{S}/intervals.jsonl", lambda line: line["name"] == "gap"),
        file="intervals.jsonl",
        caught=(Kind.ENERGIES, "of session 1 at", "time_start_s, the end of"),
    ),
    Tampering(
        name="prompt",
        edit=tamper.in_query(tamper.asked("1+1=", hashed=False)),
        file="queries.jsonl",
        caught=(Kind.PROMPTS, QUERY, "rendered_prompt_sha256"),
    ),
    Tampering(
        name="prompt and its hash",
        edit=tamper.in_query(tamper.asked("1+1=", hashed=True)),
        file="queries.jsonl",
        caught=(Kind.PROMPTS, QUERY, "rendered_prompt"),
    ),
    Tampering(
        name="answer",
        edit=tamper.in_query(tamper.with_answer("<think>7</think>The answer is 77.")),
        file="queries.jsonl",
        caught=(Kind.SCORES, QUERY, "score.correct"),
    ),
    Tampering(
        name="score",
        edit=tamper.in_query(to_right, mode="off"),
        file="queries.jsonl",
        caught=(Kind.SCORES, f"{tamper.PROMPT} in mode off", "score.correct"),
    ),
    Tampering(
        name="what was read as the answer",
        edit=tamper.in_query(lambda line: line["score"].update(extracted="77")),
        file="queries.jsonl",
        caught=(Kind.SCORES, QUERY, "score.extracted"),
    ),
    Tampering(
        name="seed",
        edit=tamper.in_query(lambda line: line.update(seed=1)),
        file="queries.jsonl",
        caught=(Kind.PROMPTS, QUERY, "seed"),
    ),
    Tampering(name="token counts", edit=tamper.in_query(more_tokens), file="queries.jsonl", caught=None),
    Tampering(
        name="revision",
        edit=tamper.in_cell_yaml(revision="1" * 40),
        file="cell.yaml",
        caught=(Kind.IDENTITY, "cell.yaml", "hash, which names its directory"),
    ),
    Tampering(
        name="precision",
        edit=tamper.in_cell_yaml(dtype="float8"),
        file="cell.yaml",
        caught=(Kind.IDENTITY, "cell.yaml", "hash, which names its directory"),
    ),
    Tampering(name="revision everywhere", edit=tamper.other_revision_everywhere, file="cell.yaml", caught=None),
    Tampering(
        name="board's name",
        edit=tamper.in_json(
            f"{S}/manifest.json", lambda fields: fields["site"]["boards"][0].update(name="A better board")
        ),
        file="manifest.json",
        caught=(Kind.IDENTITY, "manifest.json", "hash of its site"),
    ),
    Tampering(
        name="sensor's gain",
        edit=tamper.in_json(f"{S}/manifest.json", lambda fields: fields["channels"][0].update(gain_half_width=0.01)),
        file="manifest.json",
        caught=(Kind.SUMMARIES, "summary.json", "half_width_gain"),
        anew=False,
    ),
    Tampering(
        name="sensor's gain and all that follows",
        edit=tamper.in_json(f"{S}/manifest.json", lambda fields: fields["channels"][0].update(gain_half_width=0.01)),
        file="manifest.json",
        caught=None,
    ),
    Tampering(
        name="script in the page",
        edit=tamper.in_page("</main>", "<script>alert(1)</script>\n</main>"),
        file="report.html",
        caught=(Kind.PAGE, "report.html", "lines"),
        anew=False,
    ),
    Tampering(
        name="file added",
        edit=tamper.added_power,
        file="power-0099.parquet",
        caught=(Kind.IDENTITY, "power-0099.parquet", "numbered"),
    ),
    Tampering(
        name="intervals missing",
        edit=tamper.removed(f"{S}/intervals.jsonl"),
        file="intervals.jsonl",
        caught=(Kind.IDENTITY, S, "intervals.jsonl"),
    ),
    Tampering(
        name="manifest missing",
        edit=tamper.removed(f"{S}/manifest.json"),
        file="manifest.json",
        caught=(Kind.IDENTITY, S, "manifest.json"),
        anew=False,
    ),
    Tampering(
        name="readings cut short",
        edit=tamper.cut(f"{S}/power-0001.parquet", 0.7),
        file="power-0001.parquet",
        caught=(Kind.ENERGIES, S, "energies"),
        anew=False,
    ),
    Tampering(
        name="queries cut short",
        edit=tamper.cut("queries.jsonl", 0.99),
        file="queries.jsonl",
        caught=(Kind.IDENTITY, "queries.jsonl", "prompt 4 in mode"),
    ),
]


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda each: each.name.replace(" ", "-"))
def test_a_file_that_was_tampered_with_is_named_by_its_hash(tampering: Tampering, run: Path) -> None:
    tampering.edit(run)
    bundle = read_bundle(run)
    assert bundle is not None
    wrong = {check.where.rpartition("/")[2] for check in by_hash.bundled(run, bundle) if not check.agrees}
    assert any(name.startswith(tampering.file) for name in wrong)
    if tampering.file not in ("summary.json", "report.html"):
        (directory,) = cells(run)
        found = {
            check.where.rpartition("/")[2] for check in by_hash.taken_down(run, directory, bundle) if not check.agrees
        }
        assert any(name.startswith(tampering.file) for name in found)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda each: each.name.replace(" ", "-"))
def test_with_all_hashes_made_right_again_it_is_still_named(tampering: Tampering, run: Path) -> None:
    tampering.edit(run)
    if tampering.anew:
        tamper.published(run)
    tamper.rehashed(run)
    found = verify(run)
    assert Kind.HASHES in found.kinds
    if tampering.caught is None:  # docs/evidence.md says so
        assert found.differences == ()
        return
    kind, where, figure = tampering.caught
    named = [each for each in found.differences if each.kind is kind and where in each.where and figure in each.figure]
    assert named, found.differences
    assert Kind.HASHES not in {each.kind for each in found.differences}
