"""What each kind of server says of itself and its model, brought into one form. None: it does not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.engine.precision import plain_word
from harness.engine.server.asking import Asking
from harness.engine.server.health import takes_models_by_name

_VLLM_DTYPE = re.compile(r"config: .*\bdtype=torch\.(\w+)")
_VLLM_QUANTIZATION = re.compile(r"config: .*\bquantization=(\w[\w-]*)")
_PIN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A server's own words.

    `root`: the weights' directory, file or Hub name. `revision`: their commit or sha256, where the server pins them.
    """

    kind: str
    version: str | None = None
    root: str | None = None
    revision: str | None = None
    context_length: int | None = None
    n_parameters: int | None = None
    bytes_per_parameter: float | None = None
    precision: str | None = None


def kind_of_server(asking: Asking, entry: Mapping[str, Any]) -> str:
    """vllm, llama.cpp, transformers, sglang, ollama, tgi, or unknown.

    Args:
        asking: Asks it.
        entry: The model's, of /v1/models; empty: the server does not list it.
    """
    owners = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang"}
    owner = owners.get(str(entry.get("owned_by")))
    if owner is not None:
        return owner
    if asking.get("/health").program.startswith("llama.cpp"):
        return "llama.cpp"
    if takes_models_by_name(asking):
        return "transformers"
    if _word(asking.get("/api/version").fields, "version"):
        return "ollama"
    if _word(asking.get("/info").fields, "model_id"):
        return "tgi"
    if _word(asking.get("/get_model_info").fields, "model_path"):
        return "sglang"
    return "unknown"


def ask_it(asking: Asking, kind: str, entry: Mapping[str, Any], model: str) -> Said:
    """What a server of this kind says of one of its models."""
    said = Said(kind=kind, root=_word(entry, "root"), context_length=_count(entry, "max_model_len"))
    if kind == "vllm":
        return replace(said, version=_word(asking.get("/version").fields, "version"))
    if kind == "llama.cpp":
        return _llama_cpp(asking.get("/props").fields, entry, said)
    if kind == "sglang":
        return _sglang(asking, said)
    if kind == "ollama":
        return _ollama(asking, model, said)
    if kind == "tgi":
        return _tgi(asking.get("/info").fields, said)
    return said


def with_log(said: Said, log: str) -> Said:
    """What a server that was started here wrote into its log in addition: vLLM its precision."""
    if said.kind != "vllm" or said.precision is not None:
        return said
    quantization, dtype = _VLLM_QUANTIZATION.search(log), _VLLM_DTYPE.search(log)
    if quantization is not None and quantization[1] != "None":
        return replace(said, precision=quantization[1])
    return said if dtype is None else replace(said, precision=plain_word(dtype[1]))


def _llama_cpp(props: Mapping[str, Any], entry: Mapping[str, Any], said: Said) -> Said:
    meta = _fields(entry, "meta")
    n_parameters, n_bytes = _count(meta, "n_params"), _count(meta, "size")
    stored = _word(props, "model_ftype") or _word(meta, "ftype")
    build = _word(props, "build_info")
    return replace(
        said,
        version=None if build is None or "unknown" in build else build,
        root=_word(props, "model_path"),
        # Of one slot: what one query can have.
        context_length=_count(_fields(props, "default_generation_settings"), "n_ctx") or _count(meta, "n_ctx"),
        n_parameters=n_parameters,
        bytes_per_parameter=n_bytes / n_parameters if n_bytes and n_parameters else None,
        precision=None if stored is None else plain_word(f"gguf {stored}"),
    )


def _sglang(asking: Asking, said: Said) -> Said:
    info = asking.get("/get_server_info").fields or asking.get("/server_info").fields
    dtype, quantization = _word(info, "dtype"), _word(info, "quantization")
    return replace(
        said,
        version=_word(info, "version"),
        root=_word(info, "model_path") or _word(asking.get("/get_model_info").fields, "model_path") or said.root,
        context_length=_count(info, "context_length") or said.context_length,
        precision=quantization or (None if dtype in (None, "auto") else plain_word(str(dtype))),
    )


def _ollama(asking: Asking, model: str, said: Said) -> Said:
    shown = asking.post("/api/show", {"model": model}, 10.0).fields
    info, details = _fields(shown, "model_info"), _fields(shown, "details")
    lengths = [_count(info, name) for name in info if name.endswith(".context_length")]
    loaded = [entry for entry in _entries(asking, "/api/ps") if model in (entry.get("model"), entry.get("name"))]
    listed = [entry for entry in _entries(asking, "/api/tags") if model in (entry.get("model"), entry.get("name"))]
    digest = _word(listed[0], "digest") if listed else None
    stored = _word(details, "quantization_level")
    in_use = _count(loaded[0], "context_length") if loaded else None
    return replace(
        said,
        version=_word(asking.get("/api/version").fields, "version"),
        revision=digest.removeprefix("sha256:") if digest else None,
        context_length=in_use or next(filter(None, lengths), None),
        n_parameters=_count(info, "general.parameter_count"),
        precision=None if stored is None else plain_word(f"gguf {stored}"),
    )


def _tgi(info: Mapping[str, Any], said: Said) -> Said:
    sha, dtype = _word(info, "model_sha"), _word(info, "model_dtype")
    return replace(
        said,
        version=_word(info, "version"),
        root=_word(info, "model_id"),
        revision=sha if sha is not None and _PIN.fullmatch(sha) else None,
        context_length=_count(info, "max_total_tokens"),
        precision=None if dtype is None else plain_word(dtype),
    )


def _entries(asking: Asking, path: str) -> list[Mapping[str, Any]]:
    models = asking.get(path).fields.get("models")
    return [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []


def _fields(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _word(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
