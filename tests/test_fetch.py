"""`harness models --fetch`: the real client against a hub on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.engine.fetch import _total, gigabytes
from harness.errors import ExitCode
from tests.fake_hub import COMMIT, FakeHub, hub_of

SAFE = {
    "config.json": b"{}",
    "tokenizer.json": b"[]",
    "model.safetensors": b"s" * 5000,
    "pytorch_model.bin": b"b" * 5000,
    "original/consolidated.00.pth": b"o" * 5000,
    "onnx/model.onnx": b"x" * 5000,
}
OLD = {"config.json": b"{}", "pytorch_model.bin": b"b" * 4000, "flax_model.msgpack": b"f" * 4000}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with hub_of(safe=SAFE, old=OLD) as found:
        yield found


def fetch(hub: FakeHub, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-m", "harness", "models", "--fetch", *arguments]
    return subprocess.run(command, env=known, capture_output=True, text=True, cwd=home.parent, check=False)


def test_only_what_is_loaded_comes_and_it_comes_once(hub: FakeHub, tmp_path: Path) -> None:
    first = fetch(hub, tmp_path / "home", "org/safe", "tiny-reasoner")
    assert first.returncode == 0, first.stderr
    assert sorted(hub.fetched) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert f"org/safe@{COMMIT}" in first.stdout
    assert "tiny-reasoner: on this machine already." in first.stdout
    hub.fetched.clear()
    again = fetch(hub, tmp_path / "home", "org/safe")
    assert (again.returncode, hub.fetched) == (0, [])
    assert "all of it was here" in again.stdout
    offline = fetch(hub, tmp_path / "home", "org/safe", HF_HUB_OFFLINE="1")
    assert (offline.returncode, hub.fetched) == (0, []), offline.stderr


def test_without_safetensors_the_older_format_comes(hub: FakeHub, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path / "home", "org/old").returncode == 0
    assert sorted(hub.fetched) == ["config.json", "pytorch_model.bin"]


def test_a_run_file_names_its_models(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: [org/safe, org/old]\n")
    assert fetch(hub, tmp_path / "home", str(tmp_path / "run.yaml")).returncode == 0
    assert {"model.safetensors", "pytorch_model.bin"} <= set(hub.fetched)


def test_offline_says_what_is_missing(hub: FakeHub, tmp_path: Path) -> None:
    offline = fetch(hub, tmp_path / "home", "org/safe", HF_HUB_OFFLINE="1")
    assert offline.returncode == ExitCode.ENVIRONMENT
    assert "org/safe is not in the local cache" in offline.stderr


def test_a_disk_too_small_is_said_before_anything_comes(hub: FakeHub, tmp_path: Path) -> None:
    hub.claims_bytes = 10**17
    full = fetch(hub, tmp_path / "home", "org/safe")
    assert full.returncode == ExitCode.ENVIRONMENT
    assert "are free under" in full.stderr
    assert "HF_HOME" in full.stderr
    assert hub.fetched == []


def test_a_model_that_is_not_there(hub: FakeHub, tmp_path: Path) -> None:
    missing = fetch(hub, tmp_path / "home", "org/nothing")
    assert missing.returncode == ExitCode.ENVIRONMENT
    assert "org/nothing" in missing.stderr


def test_a_size_that_is_not_known_is_not_nothing() -> None:
    files = [SimpleNamespace(file_size=5), SimpleNamespace(file_size=None)]
    assert (_total(files[:1]), _total(files), _total([])) == (5, None, 0)
    assert (gigabytes(2 * 10**9), gigabytes(None)) == ("2.00 GB", "an unknown size")
