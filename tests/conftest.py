"""What all tests share: a clean environment, and the fake NVML library built once."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fake_nvml import library as fake

NOBODY = "http://127.0.0.1:9"
"""Nobody listens there: whatever wants the Hub is refused at once, unless a test gives it a hub of its own."""
SET = {
    "OMP_NUM_THREADS": "1",
    "HF_ENDPOINT": NOBODY,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
CLEARED = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "FAKE_NVML_CONFIG",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "FORCE_COLOR",
    "NO_COLOR",
    "COLUMNS",
)


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported: torch and huggingface_hub read the environment once, on import."""
    # How long an example takes says how busy the machine is. A third of the usual examples: there are hundreds of laws.
    settings.register_profile("patient", deadline=None, max_examples=35)
    settings.load_profile("patient")
    patch = pytest.MonkeyPatch()
    for name in CLEARED:
        patch.delenv(name, raising=False)
    for name, value in SET.items():
        patch.setenv(name, value)
    # A shell starts background jobs deaf to Ctrl-C, and every program that a test interrupts would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.add_cleanup(patch.undo)


@pytest.fixture(autouse=True, scope="session")
def small_heap() -> Iterator[None]:
    """An engine collects garbage before each window that it times: here never among all tests and what they imported.

    That takes half a second each time. So what an engine froze stays frozen when it is closed, too.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test leaves behind in the environment is no business of the next."""
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def fake_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the fake `libnvidia-ml.so.1`."""
    return fake.build(tmp_path_factory.getbasetemp())
