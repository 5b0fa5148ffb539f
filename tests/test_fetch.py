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
WEIGHTS = "diffusion_pytorch_model"
PIPELINE = {
    "model_index.json": b"""{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [null, null], "requires_safety_checker": true}""",
    "unet/config.json": b"{}",
    f"unet/{WEIGHTS}-00001-of-00002.safetensors": b"s" * 500,
    f"unet/{WEIGHTS}-00002-of-00002.safetensors": b"t" * 500,
    f"unet/{WEIGHTS}.fp16.safetensors": b"h" * 500,
    f"unet/{WEIGHTS}.fp16-00001-of-00002.safetensors": b"i" * 500,
    f"unet/{WEIGHTS}-00001-of-00002.fp16.safetensors": b"j" * 500,
    f"unet/{WEIGHTS}.bin": b"b" * 500,
    f"unet/{WEIGHTS}.non_ema.bin": b"n" * 500,
    "unet/model.onnx": b"o" * 500,
    f"vae/{WEIGHTS}.bin": b"v" * 500,
    f"vae/{WEIGHTS}.fp16.bin": b"w" * 500,
    "vae_1_0/diffusion_pytorch_model.safetensors": b"1" * 500,
    "safety_checker/model.safetensors": b"c" * 500,
    "scheduler/scheduler_config.json": b"{ }",
    "turbo.safetensors": b"a" * 500,
    "turbo.ckpt": b"k" * 500,
    "README.md": b"",
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with hub_of(safe=SAFE, old=OLD, pipeline=PIPELINE) as found:
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


def test_of_a_pipeline_the_parts_come_that_are_loaded(hub: FakeHub, tmp_path: Path) -> None:
    done = fetch(hub, tmp_path / "home", "org/pipeline")
    assert done.returncode == 0, done.stderr
    assert set(hub.fetched) == {
        "model_index.json",
        "unet/config.json",
        f"unet/{WEIGHTS}-00001-of-00002.safetensors",
        f"unet/{WEIGHTS}-00002-of-00002.safetensors",
        f"vae/{WEIGHTS}.bin",  # it has no other
        "scheduler/scheduler_config.json",
    }
    hub.fetched.clear()
    offline = fetch(hub, tmp_path / "home", "org/pipeline", HF_HUB_OFFLINE="1")
    assert (offline.returncode, hub.fetched) == (0, []), offline.stderr
    assert "all of it was here" in offline.stdout


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
