"""`harness run` as a user starts it: a tiny model, fake boards, an interrupt, a resume; then what reads the run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from harness import load_results
from harness.cli.parser import run_verb
from harness.errors import ExitCode
from harness.records import FindingCode
from harness.results import load_run
from harness.store.run_directory import run_path
from tests.fake_nvml import library as fake
from tests.fake_nvml.library import H100, constant
from tests.tiny_model import save_tiny_model

N_PROMPTS = 8
MECHANISM = {
    "thinking_start": "<think>",
    "thinking_end": "</think>",
    # Modes of which nothing has to be proven: weights drawn at random think as they like.
    "modes": {"low": {"template": {"enable_thinking": False}}, "default": {"template": {"enable_thinking": True}}},
}


SCREEN = fake.GpuProcess(4_000_001, 2**20, graphics=True)
CO_TENANT = fake.GpuProcess(4_000_002, 2**30)


@dataclass(frozen=True, slots=True)
class Place:
    """A catalogue with a tiny model, a prompt file, and where results go."""

    root: Path

    @property
    def results(self) -> Path:
        return self.root / "results"

    def arguments(self, *more: str) -> list[str]:
        return [
            *("run", "--models", str(self.root / "models.yaml"), "--model", "tiny"),
            *("--prompts", str(self.root / "prompts.jsonl"), "--max-new-tokens", "40", "--device", "cpu"),
            *("--output-dir", str(self.results)),
            *more,
        ]

    @classmethod
    def make(cls, root: Path) -> Place:
        save_tiny_model(root / "model")
        entry = {"name": "tiny", "source": str(root / "model"), "reasoning": "marked", "parameters": 1000}
        (root / "models.yaml").write_text(yaml.safe_dump({"reasoning": {"marked": MECHANISM}, "models": [entry]}))
        rows = [
            {"id": f"q{index}", "prompt": f"{index} + 1 = ?", "reference": str(index + 1), "scorer": "numeric"}
            for index in range(N_PROMPTS)
        ]
        (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (root / "empty.jsonl").write_text("")
        return cls(root)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place.make(tmp_path_factory.mktemp("place"))


@dataclass(frozen=True, slots=True)
class Finished:
    """The two processes of one run, as their user saw them: exit code and output."""

    interrupted: tuple[int | None, str]
    n_before: int
    resumed: tuple[int, str]
    path: Path
    truth: fake.Truth


def unwrapped(output: str) -> str:
    """Without the breaks that a narrow terminal puts into a path."""
    return "".join(output.split())


INTERRUPTED_AFTER = 5
ENDED = "-- ended with "
TWO_RUNS = f"""
import json, os, signal, sys
from transformers import AutoTokenizer, Qwen3ForCausalLM
from harness import publish, study
from harness.__main__ import main
from harness.progress import Progress

first, second = json.loads(sys.argv[1])

def ended(self, index, ended=Progress.ended):
    ended(self, index)
    if index + 1 == {INTERRUPTED_AFTER}:
        os.kill(os.getpid(), signal.SIGINT)

child = os.fork()
if not child:
    Progress.ended = ended
    sys.argv[1:] = first
    main()
print("{ENDED}", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
sys.stdin.readline()
sys.argv[1:] = second
main()
"""
"""`harness` in two processes, forked because most of a short run is the import of what it needs.

The first one's user presses Ctrl-C right after the fifth query, however fast the machine is; the second begins when it
is told to.
"""


@pytest.fixture(scope="module")
def finished(place: Place, fake_nvml: Path) -> Finished:
    """A run on a fake H100 that draws 300 W and a screen, interrupted in the middle and resumed.

    In the second session somebody else begins to compute on the board once the model is loaded.
    """
    config = place.root / "boards.conf"
    board = replace(H100, load=(constant(230.0),), processes=(SCREEN,))
    fake.write_config(config, [board])
    environment = fake.environment(fake_nvml.parent, config)
    quick = ("--set", "idle_duration_s=0.5", "--num-prompts", str(N_PROMPTS))
    arguments = place.arguments("--meter-gpus", "all", *quick)
    resume = ["run", "--resume", "latest", "--output-dir", str(place.results)]
    with subprocess.Popen(
        [sys.executable, "-c", TWO_RUNS, json.dumps([arguments, resume])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1])},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        shown, code, output = "", None, ""
        for line in process.stdout:
            if line.startswith(ENDED):
                code = int(line.removeprefix(ENDED))
                break
            shown += line
        n_before = len(load_run(run_path("latest", place.results))[0].queries)
        process.stdin.write("\n")
        process.stdin.flush()
        for line in process.stdout:
            output += line
            if line.startswith("Warming up"):
                fake.write_config(config, [replace(board, processes=(SCREEN, CO_TENANT))])
    return Finished(
        interrupted=(code, shown),
        n_before=n_before,
        resumed=(process.returncode, output),
        path=run_path("latest", place.results),
        truth=fake.Truth(fake_nvml, config),
    )


def test_an_interrupt_says_how_to_go_on_and_keeps_what_is_final(finished: Finished) -> None:
    code, output = finished.interrupted
    assert code == ExitCode.INTERRUPTED, output
    assert "Interrupted. Every query whose energy was final is on disk." in output
    assert "run --resume" in output
    assert "Traceback" not in output
    assert 0 < finished.n_before <= INTERRUPTED_AFTER < 2 * N_PROMPTS


def test_a_resumed_run_measures_just_what_is_missing(finished: Finished) -> None:
    code, output = finished.resumed
    assert code == ExitCode.OK, output
    (results,) = load_run(finished.path)
    counted = Counter((query.prompt_id, query.mode) for query in results.directory.queries())
    assert counted == Counter((f"q{index}", mode) for index in range(N_PROMPTS) for mode in ("low", "default"))
    assert [session.status for session in results.sessions] == ["interrupted", "finished"]
    assert sum(query.session == 1 for query in results.queries) == finished.n_before


def test_it_ends_with_the_table_and_the_files(finished: Finished) -> None:
    _, output = finished.resumed
    assert "\x1b" not in output  # piped: no colours, no bar
    for words in ("tiny", "low", "default", "Wh", "report.html", str(finished.path)):
        assert words in unwrapped(output), output
    (cell_directory,) = finished.path.glob("*/*/cell.yaml")
    site_directory = cell_directory.parent
    names = {path.relative_to(site_directory).as_posix() for path in site_directory.rglob("*") if path.is_file()}
    assert {
        "cell.yaml",
        "queries.jsonl",
        "summary.json",
        *(f"sessions/{n}/{name}" for n in ("01", "02") for name in ("manifest.json", "intervals.jsonl", "end.json")),
        "sessions/01/power-0000.parquet",
        "sessions/02/power-0000.parquet",
    } <= names
    assert not any(name.endswith(".partial") for name in names)
    assert (finished.path / "run.yaml").is_file()


def test_the_sensor_is_looked_at_once_and_its_card_is_in_every_manifest(finished: Finished) -> None:
    looking = "Looking at the GPU's sensor"
    assert looking in finished.interrupted[1]
    assert looking not in finished.resumed[1]
    (results,) = load_run(finished.path)
    for session in results.sessions:
        assert session.manifest is not None
        (card,) = session.manifest.sensor_cards
        assert card.uuid == H100.uuid
        assert card.duration_tick_s == pytest.approx(0.1, rel=0.1)
        assert card.integrates is None  # the fake board's power does not follow the queries


def test_every_energy_is_that_of_the_fake_board(finished: Finished) -> None:
    (results,) = load_run(finished.path)
    for query in results.queries:
        origin_s = results.sessions[query.session - 1].manifest.origin_monotonic_s  # type: ignore[union-attr]
        (reading,) = (reading for reading in query.readings if reading.device == H100.uuid)
        truth_j = finished.truth.energy_j(0, origin_s + query.time_start_s, origin_s + query.time_end_s)
        assert truth_j == pytest.approx(300.0 * query.duration_s, rel=1e-6)
        assert reading.energy_gross_j is not None
        assert reading.energy_gross_half_width_j is not None
        assert abs(reading.energy_gross_j - truth_j) <= 3 * reading.energy_gross_half_width_j
        # It draws the same when idle; a busy machine's late polls widen the baseline's interval.
        assert reading.energy_net_half_width_j is not None
        assert reading.energy_net_j == pytest.approx(0.0, abs=3 * reading.energy_net_half_width_j)


def test_who_else_was_on_the_board_is_told(finished: Finished) -> None:
    (results,) = load_run(finished.path)
    first, second = results.sessions
    for session in (first, second):
        assert session.manifest is not None
        codes = {finding.code for finding in session.manifest.findings}
        assert FindingCode.DISPLAY_ON_BOARD in codes
        assert FindingCode.OTHER_PROCESSES not in codes
    told = [finding.detail for finding in results.findings if finding.code is FindingCode.OTHER_PROCESSES]
    assert told == [f"{H100.uuid}: process {CO_TENANT.pid} (came while it was measured)"]


def test_verify_agrees_with_everything(finished: Finished, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(["verify", "latest", "--output-dir", str(place.results)]) == ExitCode.OK
    found = re.search(r": ([\d,]+) of ([\d,]+) agree", capsys.readouterr().out)
    assert found is not None
    n_agree, n_figures = (int(number.replace(",", "")) for number in found.groups())
    assert n_agree == n_figures > 4 * 2 * N_PROMPTS


class Links(HTMLParser):
    """Everything that a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value for name, value in attrs if name in ("src", "data") and value]
        self.fetched += [value for name, value in attrs if tag == "link" and name == "href" and value]


def test_report_writes_one_page_that_fetches_nothing(
    finished: Finished, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    page = finished.path / "report.html"
    page.unlink()
    assert run_verb(["report", "latest", "--output-dir", str(place.results)]) == ExitCode.OK
    assert "report.html" in unwrapped(capsys.readouterr().out)
    assert [path.name for path in finished.path.rglob("*.html")] == ["report.html"]
    links = Links()
    links.feed(page.read_text())
    assert [address for address in links.fetched if not address.startswith("data:")] == []
    assert "tiny" in page.read_text()


def test_the_frame_has_a_row_per_query(finished: Finished, place: Place) -> None:
    frame = load_results("latest", output_dir=place.results)
    assert len(frame) == 2 * N_PROMPTS
    assert set(frame["mode"]) == {"low", "default"}
    assert set(frame["gpu_board_method"]) == {"nvml_counter"}
    assert (frame["gpu_board_energy_gross_j"] > 0.0).all()
    assert frame["correct"].notna().all()


def test_a_finished_run_that_is_resumed_for_another_question_is_refused(
    finished: Finished, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--resume", "latest", "--seed", "7", "--output-dir", str(place.results)]
    assert run_verb(arguments) == ExitCode.USAGE
    assert "--seed would change what this run measures" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ bad inputs


@pytest.mark.parametrize(
    ("more", "code", "words", "step"),
    [
        (["--model", "tinny"], ExitCode.USAGE, "Unknown model 'tinny'", "Did you mean 'tiny'?"),
        (["--model", "./nowhere"], ExitCode.USAGE, "no file or directory './nowhere'", "Check the path"),
        (["--mode", "low,defalt"], ExitCode.USAGE, "Unknown mode 'defalt'", "Did you mean 'default'?"),
        (["--prompts", "{root}/missing.jsonl"], ExitCode.USAGE, "missing.jsonl", "Check"),
        (["--prompts", "{root}/empty.jsonl"], ExitCode.USAGE, "empty.jsonl", ""),
        (["--prompts", "everyda"], ExitCode.USAGE, "everyda", "everyday"),
        (["--num-prompts", "0"], ExitCode.USAGE, "num_prompts", "Correct it"),
        (["--set", "engine.atention=sdpa"], ExitCode.USAGE, "Unknown key 'atention'", "Did you mean 'attention'?"),
        (["--store-text", "some"], ExitCode.USAGE, "store_text", "Correct it"),
        (["--meter-gpus", "GPU-nowhere"], ExitCode.USAGE, "GPU-nowhere", ""),
        (["--resume", "nothing"], ExitCode.USAGE, "No run 'nothing'", "latest"),
        (["{root}/absent.yaml"], ExitCode.USAGE, "absent.yaml cannot be read", "Check the path"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_input_is_named_with_the_next_step(
    place: Place, more: list[str], code: ExitCode, words: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [part.replace("{root}", str(place.root)) for part in more]
    before = sorted(place.results.glob("*"))
    assert run_verb(place.arguments(*given)) == code
    captured = capsys.readouterr()
    assert words in captured.err
    message, arrow, next_step = captured.err.partition("\n  → ")
    assert message.startswith("\nharness: ")
    assert arrow
    assert len(next_step.strip()) > 5
    assert step in next_step
    assert "Traceback" not in captured.err + captured.out
    assert sorted(place.results.glob("*")) == before  # nothing is written for what cannot begin


def test_a_flag_nearly_right_is_offered(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_verb(place.arguments("--max-new-tokns", "5"))
    assert caught.value.code == ExitCode.USAGE
    assert "Did you mean '--max-new-tokens'?" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; from harness.cli.parser import build_parser; build_parser().format_help(); print(*sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ).stdout
    assert not {"torch", "transformers", "pandas", "pynvml", "numpy"} & set(output.split())
