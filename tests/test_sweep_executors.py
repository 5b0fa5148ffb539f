"""Every executor keeps the same promises (`executor_contract`): this machine, submitit, Ray."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.executor_contract import CHECKS, STAND_IN, Contract, MakeExecutor, make_local, make_submitit
from tests.fake_cluster import run_beside
from tests.gate_runs import write_run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One site's directory, written through `RunDirectory`; stand-ins copy from it."""
    run = write_run(tmp_path_factory.mktemp("template") / "run", n_prompts=3, repeats=1, modes=("off", "on"))
    (place,) = run.glob("*/*/")
    return place


SHORT = ("check_what_was_killed_is_completed_and_not_begun_again", "check_a_stop_keeps_what_was_measured")
"""submitit takes seconds to start each job: what it has of its own is in these."""


@pytest.mark.parametrize(
    ("make", "check"),
    [
        *(pytest.param(make_local, check, id=f"local-{check}") for check in CHECKS),
        *(
            pytest.param(make_submitit, check, id=f"submitit-{check}", marks=() if check in SHORT else pytest.mark.slow)
            for check in CHECKS
        ),
    ],
)
def test_contract(
    make: MakeExecutor, check: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_TEMPLATE", str(template))
    monkeypatch.setenv("STAND_IN_MARKS", str(tmp_path))
    getattr(Contract(make, tmp_path, tmp_path), check)()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_contract_on_ray(template: Path, tmp_path: Path) -> None:
    """In a process of its own: Ray warns, and here a warning is an error."""
    environ = {"STAND_IN_TEMPLATE": str(template), "STAND_IN_MARKS": str(tmp_path)}
    ended = run_beside(["-m", "tests.executor_contract", str(tmp_path), "2", *CHECKS], tmp_path, environ)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    assert [line for line in ended.stdout.splitlines() if line.endswith(" holds")] == [
        f"{name} holds" for name in CHECKS
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_survives_the_loss_of_a_node(template: Path, tmp_path: Path) -> None:
    """The rehearsal of `scripts/check_sweep_ray.py` with stand-ins: three nodes, one taken away in mid-run."""
    environ = {"STAND_IN_TEMPLATE": str(template), "STAND_IN_MARKS": str(tmp_path)}
    script = Path(__file__).parents[1] / "scripts" / "check_sweep_ray.py"
    ended = run_beside([str(script), "--program", shlex.join(STAND_IN)], tmp_path, environ)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    assert "is taken away" in ended.stdout
    assert "12 of 12 cells finished" in ended.stdout
