"""Names of models, their exact versions, and what the Hub's errors mean."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError

from harness.engine.faults import load_fault
from harness.engine.hub import hub_fault
from harness.engine.layout import parts
from harness.engine.revision import resolve_revision
from harness.engine.source import locate
from harness.errors import EnvironmentFault, HarnessError, ModelUnavailable, OutOfMemory, UsageError

COMMIT = "ab" * 20
NAME = "meta-llama/Llama-9"


def answer(kind: type[Exception], status: int) -> Exception:
    """One of the client's own exceptions, with the answer that it would carry."""
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    error: Exception = kind(f"{status} Client Error", response=response)  # type: ignore[call-arg]
    return error


def wrapped(error: Exception) -> OSError:
    """As transformers passes it on."""
    outer = OSError("We couldn't load it.")
    outer.__cause__ = error
    return outer


# -------------------------------------------------------------------------------------------- sources


def test_what_exists_here_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    assert locate("org/model").path == Path("org/model")
    assert locate("org/other").path is None
    gguf = locate("model.gguf")
    assert (gguf.gguf_file, gguf.location) == ("model.gguf", ".")


@pytest.mark.parametrize("source", ["./missing", "/missing/model", "../x", "~/missing-model", "missing.gguf"])
def test_a_path_without_anything_is_said(source: str) -> None:
    with pytest.raises(ModelUnavailable, match="no such file or directory"):
        locate(source)


@pytest.mark.parametrize("source", ["", "a/b/c", "org/../model", "org/mo del", "org/" + "m" * 120, "-x", "https://x"])
def test_a_name_that_cannot_be_meant_is_refused(source: str) -> None:
    with pytest.raises(UsageError):
        locate(source)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"not a \.gguf one"):
        locate(str(tmp_path / "model.safetensors"))


# ------------------------------------------------------------------------------------------ revisions


def test_resolving_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    script = (
        "import sys; from harness.engine.revision import resolve_revision; from harness.engine import scripted; "
        f"print(resolve_revision({str(tmp_path)!r})); assert not {{'torch', 'transformers'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == resolve_revision(str(tmp_path))


def test_local_files_are_known_by_their_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    first = resolve_revision(str(tmp_path))
    assert len(first) == 64
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("other programs' files do not count")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "summary.json").write_text("nor do our own results, made inside the model's directory")
    (tmp_path / "train.log").write_text("nor does a log")
    assert resolve_revision(str(tmp_path), "main") == first
    weights.write_bytes(b"22")
    second = resolve_revision(str(tmp_path))
    weights.rename(tmp_path / "renamed.safetensors")
    assert len({first, second, resolve_revision(str(tmp_path))}) == 3


def test_a_plain_directory_is_known_by_the_same_hash_as_ever(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("nothing names this folder")
    lines = [
        f"{name}\0{hashlib.sha256(content).hexdigest()}\n"
        for name, content in (("config.json", b"{}"), ("model.safetensors", b"1"))
    ]
    assert resolve_revision(str(tmp_path)) == hashlib.sha256("".join(lines).encode()).hexdigest()


PIPELINE = (
    '{"_class_name": "P", "_x": ["a", "b"], "unet": ["diffusers", "U"], "vae": [null, null], "../up": ["d", "V"]}'
)
MODULES = '[{"idx": 0, "path": "", "type": "T"}, {"idx": 1, "path": "unet", "type": "P"}, {"idx": 2, "path": "gone"}]'


@pytest.mark.parametrize(("index", "content"), [("model_index.json", PIPELINE), ("modules.json", MODULES)])
def test_folders_that_a_model_names_are_a_part_of_it(tmp_path: Path, index: str, content: str) -> None:
    model = tmp_path / "model"
    for folder in ("unet", "vae", "logs", "_x"):
        (model / folder).mkdir(parents=True)
    (tmp_path / "up").mkdir()
    (model / index).write_text(content)
    before = resolve_revision(str(model))
    (tmp_path / "up" / "config.json").write_text("outside")
    for folder in ("vae", "logs", "_x"):
        (model / folder / "config.json").write_text("not loaded")
    assert resolve_revision(str(model)) == before
    (model / "unet" / "config.json").write_text("{}")
    with_part = resolve_revision(str(model))
    (model / "unet" / "model.safetensors").write_bytes(b"1")
    assert len({before, with_part, resolve_revision(str(model))}) == 3


@pytest.mark.parametrize("content", ["", "[]", "{", "3", '{"unet": "U", "vae": []}', '[1, {"path": null}]'])
def test_an_index_that_cannot_be_read_names_no_folder(tmp_path: Path, content: str) -> None:
    for name in ("model_index.json", "modules.json"):
        (tmp_path / name).write_text(content)
        assert parts(tmp_path) == ()
        (tmp_path / name).unlink()


def test_a_copy_has_the_same_revision(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert resolve_revision(str(tmp_path / "one")) == resolve_revision(str(tmp_path / "two"))


def test_a_local_model_has_no_other_revisions(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="no revision 'v2'"):
        resolve_revision(str(tmp_path), "v2")
    with pytest.raises(UsageError, match="not at 0000"):
        resolve_revision(str(tmp_path), "0" * 64)


def test_an_empty_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="empty directory"):
        resolve_revision(str(tmp_path))
    (tmp_path / "unet").mkdir()
    with pytest.raises(ModelUnavailable, match="holds none of the files"):
        resolve_revision(str(tmp_path))


def test_a_commit_is_not_looked_up() -> None:
    assert resolve_revision(NAME, COMMIT) == COMMIT


class FakeHub:
    """The client's `HfApi`, with one answer."""

    def __init__(self, outcome: str | Exception | None) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, str]] = []

    def __call__(self) -> FakeHub:
        return self

    def model_info(self, name: str, revision: str) -> Any:
        self.asked.append((name, revision))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return SimpleNamespace(sha=self.outcome)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache, with one model downloaded at `main`."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--cached"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT / "config.json").write_text("{}")
    return folder


def test_a_branch_is_resolved_by_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(COMMIT)
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    assert resolve_revision(NAME, "dev") == COMMIT
    assert hub.asked == [(NAME, "dev")]


@pytest.mark.parametrize(
    "error",
    [
        hub_errors.OfflineModeIsEnabled("offline"),
        hub_errors.HTTPError("Name or service not known"),
        answer(hub_errors.HfHubHTTPError, 503),
    ],
)
def test_without_network_the_cache_answers_or_the_command_is_named(
    monkeypatch: pytest.MonkeyPatch, cache: Path, error: Exception
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub(error))
    assert resolve_revision("org/cached") == COMMIT
    with pytest.raises(ModelUnavailable) as caught:
        resolve_revision("org/not-cached")
    assert caught.value.__cause__ is error


def test_a_refusal_is_not_papered_over_by_the_cache(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub(answer(hub_errors.RevisionNotFoundError, 404)))
    with pytest.raises(UsageError, match="no revision"):
        resolve_revision("org/cached")


def test_a_snapshot_of_the_cache_is_known_by_its_commit(cache: Path) -> None:
    assert resolve_revision(str(cache / "snapshots" / COMMIT)) == COMMIT


def test_a_missing_client_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(EnvironmentFault) as caught:
        resolve_revision(NAME)
    assert "pip install" in caught.value.next_step


# --------------------------------------------------------------------------------------- translations


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (answer(hub_errors.GatedRepoError, 403), ModelUnavailable, f"https://huggingface.co/{NAME}"),
        (answer(hub_errors.GatedRepoError, 401), ModelUnavailable, "hf auth login"),
        (answer(hub_errors.HfHubHTTPError, 403), ModelUnavailable, "HF_TOKEN"),
        (answer(hub_errors.RepositoryNotFoundError, 401), ModelUnavailable, "Check the name"),
        (answer(hub_errors.RevisionNotFoundError, 404), UsageError, "commits/main"),
        (answer(hub_errors.HfHubHTTPError, 500), ModelUnavailable, "status.huggingface.co"),
        (hub_errors.HFValidationError("bad"), UsageError, "Qwen/Qwen3-0.6B"),
        (hub_errors.LocalEntryNotFoundError("not here"), ModelUnavailable, f"hf download {NAME}"),
        (hub_errors.OfflineModeIsEnabled("offline"), ModelUnavailable, f"hf download {NAME} --revision dev"),
        (hub_errors.HTTPError("no route"), ModelUnavailable, f"hf download {NAME}"),
        (ConnectionError("reset"), ModelUnavailable, f"hf download {NAME}"),
    ],
)
def test_errors_of_the_hub(error: Exception, kind: type[HarnessError], said: str) -> None:
    for raised in (error, wrapped(error)):
        fault = hub_fault(raised, NAME, "dev")
        assert isinstance(fault, kind)
        assert said in fault.next_step


def test_an_error_that_is_not_the_hubs_is_left_to_others() -> None:
    assert hub_fault(OSError("disk on fire"), NAME, "main") is None


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemory, "--quantization int8"),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory, "--quantization int8"),
        (ImportError("requires tiktoken: `pip install tiktoken>=0.7`"), EnvironmentFault, "pip install 'tiktoken>="),
        (ImportError("No module named 'mamba'"), EnvironmentFault, "pip install 'inference-energy-harness"),
        (ValueError("contains custom code which must be executed"), UsageError, "--trust-remote-code"),
        (ValueError("Transformers does not recognize this architecture."), EnvironmentFault, "--upgrade transformers"),
        (ValueError("Unrecognized configuration class for AutoModelForCausalLM"), UsageError, "causal"),
        (SafetensorError("Error while deserializing header"), ModelUnavailable, "--force-download"),
        (RuntimeError("You set `ignore_mismatched_sizes` to `False`"), ModelUnavailable, "do not belong together"),
        (RuntimeError("No GPU or XPU found."), EnvironmentFault, "--device"),
        (ValueError("Couldn't instantiate the backend tokenizer from one of:"), ModelUnavailable, "tokenizer.json"),
        (KeyError("rope"), ModelUnavailable, "report"),
        (wrapped(answer(hub_errors.GatedRepoError, 403)), ModelUnavailable, "hf auth login"),
    ],
)
def test_errors_of_loading(error: Exception, kind: type[HarnessError], said: str) -> None:
    fault = load_fault(error, locate(NAME), "main", trust_remote_code=False)
    assert type(fault) is kind
    assert said in fault.next_step
