"""The scripts, run where something is missing. None of these installs anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SCRIPTS = ("scripts/run", "scripts/test", "scripts/check", "scripts/environment.sh", ".ci/run")
TOOLS = ("bash", "dirname", "uname", "cat", "head", "tail", "df", "awk", "cksum", "rm", "cp", "sed", "grep")
FOREIGN_PYTHON = """#!/bin/sh
case "$*" in
    -V) echo 'Python 3.9.2' ;;
    *version_info*) exit 1 ;;
esac
"""
NO_VENV_PYTHON = """#!/bin/sh
case "$*" in
    -V) echo 'Python 3.12.1' ;;
    *ensurepip*) exit 1 ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts of a project without an environment, in a folder with a space in its name."""
    home = tmp_path / "a project"
    shutil.copytree(PROJECT / "scripts", home / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, home / name)
    return home


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the tools that every system has, and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    return folder


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


def run(script: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ) if path is None else {**os.environ, "PATH": str(path)}
    return subprocess.run(
        ["/bin/bash" if path else "bash", str(script), *arguments],
        env=environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_can_parse_it(name: str) -> None:
    subprocess.run(["bash", "-n", str(PROJECT / name)], check=True)


def test_no_python(project: Path, bare_path: Path) -> None:
    done = run(project / "scripts/run", path=bare_path)
    assert done.returncode == 3
    assert "Python 3.11, 3.12 or 3.13 is needed; found: none." in done.stderr
    assert not (project / ".venv").exists()


def test_python_too_old(project: Path, bare_path: Path) -> None:
    program(bare_path, "python3", FOREIGN_PYTHON)
    done = run(project / "scripts/run", path=bare_path)
    assert done.returncode == 3
    assert "found: Python 3.9.2." in done.stderr


def test_no_venv_module(project: Path, bare_path: Path) -> None:
    program(bare_path, "python3", NO_VENV_PYTHON)
    done = run(project / "scripts/run", path=bare_path)
    assert done.returncode == 3
    assert "sudo apt-get install python3-venv" in done.stderr


def test_no_compiler(project: Path, bare_path: Path) -> None:
    done = run(project / "scripts/test", path=bare_path)
    assert done.returncode == 3
    assert "C compiler" in done.stderr
    assert "apt-get install gcc" in done.stderr


def test_full_disk(project: Path, bare_path: Path) -> None:
    (bare_path / "df").unlink()
    program(bare_path, "df", "#!/bin/sh\necho head\necho /dev/x 100 50 20480 50% /\n")
    done = run(project / "scripts/run", path=bare_path)
    assert done.returncode == 3
    assert "20 MiB free" in done.stderr


def test_pip_without_network(project: Path, bare_path: Path) -> None:
    # A Python that makes an environment holding itself, and whose pip finds no network.
    program(
        bare_path,
        "python3",
        """#!/bin/bash
case "$*" in
    -V) echo 'Python 3.12.1' ;;
    '-m venv '*)
        target=${!#}
        /bin/mkdir -p "$target/bin" && /bin/cp "$0" "$target/bin/python" && : >"$target/pyvenv.cfg" ;;
    '-m pip --version') ;;
    '-m pip install '*) echo 'ERROR: connection timed out'; exit 1 ;;
esac
""",
    )
    done = run(project / "scripts/run", path=bare_path)
    assert done.returncode == 3
    assert "    ERROR: connection timed out" in done.stderr
    assert "Next: check the network" in done.stderr
    assert not list((project / ".venv").glob("harness-stamp-*"))
    assert not (project / ".venv/harness-unfinished").exists()  # it can go on from here


@pytest.mark.parametrize(
    ("damage", "rebuilt"),
    [
        ("true", False),
        (': >"$venv/harness-unfinished"', True),
        ('rm "$venv/pyvenv.cfg"', True),
        ('echo /elsewhere >"$venv/harness-stamp-run"', True),
        ('rm "$venv/bin/python"', True),
    ],
)
def test_what_pip_cannot_mend_is_made_anew(project: Path, damage: str, rebuilt: bool) -> None:
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/pyvenv.cfg").touch()
    (project / ".venv/bin/python").symlink_to(sys.executable)
    source = f'. "{project}/scripts/environment.sh"; {damage}; beyond_mending'
    assert subprocess.run(["bash", "-c", source], check=False).returncode == (0 if rebuilt else 1)


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0", "MSYS_NT-10.0"])
def test_native_windows(project: Path, bare_path: Path, system: str) -> None:
    (bare_path / "uname").unlink()
    program(bare_path, "uname", f"#!/bin/sh\necho {system}\n")
    done = run(project / "scripts/run", path=bare_path)
    assert done.returncode == 3
    assert done.stderr.splitlines()[0].startswith("Native Windows cannot be measured")


def test_ready_environment_is_used_at_once(project: Path) -> None:
    program_text = '#!/bin/sh\ncase "$1" in -c) echo version ;; *) printf "<%s>" "$@" ;; esac\n'
    (project / ".venv/bin").mkdir(parents=True)
    program(project / ".venv/bin", "python", program_text)
    source = f'. "{project}/scripts/environment.sh"; stamp "$venv/bin/python" >"$venv/harness-stamp-run"'
    subprocess.run(["bash", "-c", source], check=True)
    done = run(project / "scripts/run", "--model", "a b", "")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<-m><harness><run><--model><a b><>"


def test_own_python_that_does_not_exist(project: Path) -> None:
    done = run(project / "scripts/run", "--python", "/no/such/python")
    assert done.returncode == 3
    assert "There is no Python at /no/such/python." in done.stderr


def test_own_python_without_the_packages(project: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    program(tmp_path, "own", f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')  # -S: no site-packages
    done = run(project / "scripts/run", f"--python={own}")
    assert done.returncode == 3
    assert f"Next: {own} -m pip install 'jinja2>=" in done.stderr
    assert "torch>=" in done.stderr
    assert not (project / ".venv").exists()


def test_python_without_a_path(project: Path) -> None:
    assert run(project / "scripts/run", "--python").returncode == 2


def test_check_without_environment(project: Path) -> None:
    done = run(project / "scripts/check")
    assert done.returncode == 3
    assert "scripts/test" in done.stderr


def test_constraints_pin_everything_that_is_required() -> None:
    pins = dict(
        line.split("==")
        for line in (PROJECT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values())
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    required = [name for part in (project["dependencies"], *extras) for name in part]
    wanted = {re.split(r"[<>=\[ ]", requirement)[0].lower() for requirement in required}
    assert wanted <= names
    assert {"setuptools", "wheel"} <= names
