"""What each kind of server says of itself, and which weights it serves."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.engine.server.address import Address
from harness.engine.server.asking import Asking
from harness.engine.server.health import health, wait_until_ready
from harness.engine.server.identity import Identity, identify
from harness.engine.server.requests import wake
from harness.engine.server.said import Said, with_log
from harness.engine.server.served_weights import ServedWeights, weights_of
from harness.errors import EnvironmentFault, ModelUnavailable, UnknownName, UsageError
from tests.ports import free_port
from tests.small_server import serving


def at(port: int, key: str | None = None) -> Asking:
    return Asking(Address(scheme="http", host="127.0.0.1", port=port), key)


@contextmanager
def asked(sent: str | None = None, **plan: Any) -> Iterator[Asking]:
    with serving(**plan) as server:
        yield at(server.server_port, sent)


def listed(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(entries)}


VLLM = {
    "/v1/models": listed({"id": "m", "owned_by": "vllm", "root": "/models/m", "parent": None, "max_model_len": 4096}),
    "/version": {"version": "0.32.0"},
}
LLAMA = {
    "/v1/models": listed(
        {
            "id": "smollm2",
            "aliases": ["smollm2", "small"],
            "owned_by": "llamacpp",
            "meta": {"n_ctx": 1024, "n_ctx_train": 8192, "n_params": 134515008, "size": 96576768, "ftype": "Q4_1"},
        }
    ),
    "/props": {
        "default_generation_settings": {"n_ctx": 1024},
        "model_ftype": "Q4_1",
        "model_path": "models/a.gguf",
        "build_info": "b6789-abcdef",
    },
}
SGLANG = {
    "/v1/models": listed({"id": "m", "owned_by": "sglang", "root": "m", "max_model_len": 40960}),
    "/get_server_info": {"model_path": "/models/m", "dtype": "auto", "quantization": "fp8", "version": "0.5.23"},
}
OLLAMA = {
    "/health": [404, "404 page not found"],
    "/v1/models": listed({"id": "qwen3:latest", "owned_by": "library"}, {"id": "gemma:2b", "owned_by": "library"}),
    "/api/version": {"version": "0.9.0"},
    "/api/show": {
        "details": {"quantization_level": "Q4_K_M"},
        "model_info": {"general.parameter_count": 8190735360, "qwen3.context_length": 40960},
    },
    "/api/tags": {"models": [{"name": "qwen3:latest", "model": "qwen3:latest", "digest": "ab" * 32}]},
    "/api/ps": {"models": [{"model": "qwen3:latest", "context_length": 4096}]},
}
TGI = {
    "/v1/models": listed({"id": "org/m", "owned_by": "org/m"}),
    "/info": {
        "model_id": "org/m",
        "model_sha": "c" * 40,
        "model_dtype": "torch.float16",
        "max_total_tokens": 2048,
        "version": "3.1.0",
    },
}
TRANSFORMERS = {
    "/v1/models": [500, "Internal Server Error"],  # as without a cache of the Hub
    "/openapi.json": {"paths": {"/load_model": {}, "/v1/chat/completions": {}}},
}


@pytest.mark.parametrize(
    ("answers", "wanted", "expected"),
    [
        (VLLM, None, Identity("m", Said(kind="vllm", version="0.32.0", root="/models/m", context_length=4096))),
        (
            LLAMA,
            "small",
            Identity(
                "smollm2",
                Said(
                    kind="llama.cpp",
                    version="b6789-abcdef",
                    root="models/a.gguf",
                    context_length=1024,
                    n_parameters=134515008,
                    bytes_per_parameter=96576768 / 134515008,
                    precision="gguf Q4_1",
                ),
            ),
        ),
        (
            SGLANG,
            "m",
            Identity(
                "m",
                Said(kind="sglang", version="0.5.23", root="/models/m", context_length=40960, precision="fp8"),
            ),
        ),
        (
            OLLAMA,
            "qwen3",
            Identity(
                "qwen3:latest",
                Said(
                    kind="ollama",
                    version="0.9.0",
                    revision="ab" * 32,
                    context_length=4096,
                    n_parameters=8190735360,
                    precision="gguf Q4_K_M",
                ),
            ),
        ),
        (
            TGI,
            None,
            Identity(
                "org/m",
                Said(
                    kind="tgi",
                    version="3.1.0",
                    root="org/m",
                    revision="c" * 40,
                    context_length=2048,
                    precision="float16",
                ),
            ),
        ),
        (TRANSFORMERS, "dir", Identity("dir", Said(kind="transformers", root="dir"))),
        ({}, None, Identity("small", Said(kind="unknown"))),
    ],
)
def test_who_it_is(answers: dict[str, Any], wanted: str | None, expected: Identity) -> None:
    with asked(answers=answers) as asking:
        assert health(asking).ready
        assert identify(asking, wanted, (), None) == expected


def test_llama_cpp_is_known_by_its_header_too() -> None:
    with asked(answers={}, program="llama.cpp") as asking:
        assert identify(asking, None, (), None).said.kind == "llama.cpp"


def test_a_build_without_a_number_has_no_version() -> None:
    with asked(answers={**LLAMA, "/props": {"build_info": "b0-unknown"}}) as asking:
        assert identify(asking, None, (), None).said.version is None


def test_transformers_serves_what_its_command_names() -> None:
    with asked(answers=TRANSFORMERS) as asking:
        command = ("transformers", "serve", f"org/m@{'d' * 40}")
        for wanted in (None, "org/m", "m", command[-1]):
            assert identify(asking, wanted, command, None) == Identity(
                f"org/m@{'d' * 40}", Said(kind="transformers", root="org/m", revision="d" * 40)
            )
        with pytest.raises(UnknownName, match="served model 'other'"):
            identify(asking, "other", command, None)
        with pytest.raises(UsageError, match="none was"):
            identify(asking, None, (), None)


def test_a_wrong_name_lists_those_served() -> None:
    with asked(answers=OLLAMA) as asking:
        with pytest.raises(UnknownName, match="served model 'qwen2'") as raised:
            identify(asking, "qwen2", (), None)
        assert "gemma:2b, qwen3:latest" in raised.value.next_step
        with pytest.raises(UsageError, match="serves 2 models"):
            identify(asking, None, (), None)


def test_an_adapter_is_not_the_model() -> None:
    lora = {"id": "lora", "owned_by": "vllm", "parent": "m", "root": "/lora"}
    models = {"/v1/models": listed(*VLLM["/v1/models"]["data"], lora)}
    with asked(answers={**VLLM, **models}) as asking:
        assert identify(asking, None, (), None).model == "m"
        assert identify(asking, "lora", (), None).model == "lora"
        assert identify(asking, "/models/m", (), None).model == "m"


def test_a_directory_is_known_under_every_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "models")
    models = listed({"id": "served", "owned_by": "vllm", "root": "models/m"})
    with asked(answers={"/v1/models": models}) as asking:
        assert identify(asking, "m", (), tmp_path).model == "served"
        with pytest.raises(UnknownName):
            identify(asking, "m", (), tmp_path / "models")


NONSENSE = ["<html>", "[]", "null", '{"data": 7}', '{"data": [7, {"id": ""}]}', '"', "7" * 100_000]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_no_model(text: str) -> None:
    with asked(answers={"/v1/models": [200, text]}) as asking:
        state = health(asking)
        assert not state.ready
        assert state.why


@pytest.mark.parametrize("text", NONSENSE)
@pytest.mark.parametrize("answers", [VLLM, LLAMA, SGLANG, OLLAMA, TGI])
def test_nonsense_beside_the_models_is_not_known(answers: dict[str, Any], text: str) -> None:
    kept = {path: [200, text] for path in answers if path != "/v1/models"}
    with asked(answers={**kept, "/v1/models": answers["/v1/models"]}) as asking:
        name = answers["/v1/models"]["data"][0]["id"]
        assert identify(asking, name, (), None).said.version is None


# ------------------------------------------------------------------------------------------------ asking


def test_nobody_there() -> None:
    asking = at(free_port())
    assert not health(asking).is_there
    with pytest.raises(EnvironmentFault, match="nothing listens there") as raised:
        wait_until_ready(asking, None, 60.0, print)
    assert "--serve" in raised.value.next_step


def test_a_server_that_still_loads_is_waited_for() -> None:
    with asked(delay_s=0.3) as asking:
        wait_until_ready(asking, None, 30.0, print)
        assert health(asking).ready


def test_a_key_is_sent_and_never_shown() -> None:
    with asked("s3cret-value", key="s3cret-value") as asking:
        assert health(asking).ready
    with asked("s3cret-wrong", key="s3cret-value") as asking:
        assert asking.get("/v1/models").words == "not Bearer ***"
        with pytest.raises(UsageError, match="401") as raised:
            health(asking)
        assert "HARNESS_API_KEY" in raised.value.next_step


def test_proxies_and_redirects_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with asked(answers={"/away": [302, ""], "/elsewhere": {"version": "another's"}}) as asking:
        assert asking.get("/away").status == 302
        assert asking.get("/elsewhere").ok


def test_a_slow_answer_ends_in_time() -> None:
    with asked(work_s=0.5) as asking:
        answer = asking.post("/v1/chat/completions", {"max_tokens": 9}, 0.05)
        assert (answer.status, answer.words) == (None, "it did not answer in time")


def test_waking_asks_for_one_token_and_falls_back_on_plain_text() -> None:
    with serving() as server:
        wake(at(server.server_port), "small", 10.0)
        (request,) = server.asked  # type: ignore[attr-defined]
        assert (request["model"], request["max_tokens"]) == ("small", 1)
    with asked(answers={"/v1/chat/completions": [400, "no template"], "/v1/completions": {}}) as asking:
        wake(asking, "small", 10.0)
    missing = {"/v1/chat/completions": [404, "no such model"]}
    with asked(answers=missing) as asking, pytest.raises(EnvironmentFault, match="404 no such model"):
        wake(asking, "other", 10.0)


# ------------------------------------------------------------------------------------------------ weights


def model_dir(path: Path, config: dict[str, Any], tensors: dict[str, tuple[str, list[int]]]) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    header = json.dumps({name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in tensors.items()}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return path


PLAIN = {"a": ("BF16", [3, 4]), "b": ("F32", [5])}


def test_weights_of_a_directory(tmp_path: Path) -> None:
    path = model_dir(tmp_path / "m", {"torch_dtype": "bfloat16", "max_position_embeddings": 64}, PLAIN)
    found = weights_of(None, "m", tmp_path, same_machine=False)
    assert found == weights_of(str(path), "elsewhere", None, same_machine=False)
    assert (found.precision, found.n_parameters, found.weights_format) == ("bfloat16", 17, "safetensors")
    assert found.context_length == 64
    assert found.revision is not None
    assert len(found.revision) == 64
    (path / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}")
    changed = weights_of(None, str(path), None, same_machine=False)
    assert changed.revision not in (None, found.revision)
    assert changed.n_parameters is None


def test_packed_numbers_are_not_parameters(tmp_path: Path) -> None:
    config = {"text_config": {"dtype": "float16"}, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    path = model_dir(tmp_path / "m", config, {"a": ("I32", [3])})
    found = weights_of(str(path), None, None, same_machine=False)
    assert (found.precision, found.n_parameters) == ("gptq 4 bit", None)
    plain = model_dir(tmp_path / "n", {"text_config": {"dtype": "float16"}}, PLAIN)
    assert weights_of(str(plain), None, None, same_machine=False).precision == "float16"


def test_weights_that_are_not_here() -> None:
    for root in (None, "org/model", "/models/of/a/container"):
        assert weights_of(None, root, None, same_machine=False) == ServedWeights()
    with pytest.raises(ModelUnavailable, match="/not/there"):
        weights_of("/not/there", None, None, same_machine=True)


def test_a_model_of_the_hub_is_pinned_by_the_cache_it_was_loaded_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--m"
    model_dir(folder / "snapshots" / ("e" * 40), {"dtype": "bfloat16"}, PLAIN)
    (folder / "blobs").mkdir()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("e" * 40)
    assert weights_of(None, "org/m", None, same_machine=True).revision == "e" * 40
    assert weights_of(None, f"org/m@{'e' * 40}", None, same_machine=True).n_parameters == 17
    assert weights_of(None, "org/m@other", None, same_machine=True) == ServedWeights()
    assert weights_of(None, "org/m", None, same_machine=False) == ServedWeights()


def test_vllms_log_tells_its_precision() -> None:
    line = (
        "INFO Initializing a V1 LLM engine (v0.32.0) with config: model='m', dtype=torch.bfloat16, quantization={}, x=1"
    )
    said = Said(kind="vllm")
    assert with_log(said, line.format("None")).precision == "bfloat16"
    assert with_log(said, line.format("fp8")).precision == "fp8"
    assert with_log(said, "nothing").precision is None
    assert with_log(Said(kind="unknown"), line).precision is None
