"""Finds out what a request log is and reads it. What is not understood is refused, with what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.request_log import access_log, aiperf, guidellm, vllm
from harness.request_log.rows import RequestLog

KINDS = (
    "a result of `vllm bench serve --save-result --save-detailed`, AIPerf's profile_export.jsonl, GuideLLM's JSON "
    "report, or a CSV with columns start, first_token, end, prompt_tokens, output_tokens"
)
_GIVE = f"Give {KINDS}."


def read_requests(
    path: Path,
    columns: Mapping[str, str] | None = None,
    within_monotonic_s: tuple[float, float] | None = None,
) -> RequestLog:
    """Read a log of any kind that is known.

    Args:
        path: The file.
        columns: Of a CSV, names of columns by role.
        within_monotonic_s: What the trace covers, to tell units of a CSV that does not name them.

    Raises:
        UsageError: No such file, a kind that is not known, or one that lacks what is needed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name} is no text: byte {error.start} is not UTF-8.", _GIVE) from error
    log = parse_requests(text, path.name, columns, within_monotonic_s)
    if not log.rows:
        raise UsageError(f"{path.name} holds no request.", _GIVE)
    return log


def parse_requests(
    text: str,
    name: str,
    columns: Mapping[str, str] | None = None,
    within_monotonic_s: tuple[float, float] | None = None,
) -> RequestLog:
    """Read the text of a log; the arguments are those of `read_requests`."""
    start = text.lstrip()[:1]
    if not start:
        raise UsageError(f"{name} is empty.", _GIVE)
    if start == "<":
        raise UsageError(f"{name} is HTML or XML, not a log of requests.", _GIVE)
    if start not in "{[":
        if text.lstrip().startswith(("benchmarks:", "metadata:", "args:", "config:")):
            raise UsageError(f"{name} is YAML.", "Let GuideLLM write its report as JSON (benchmarks.json).")
        return access_log.read_access_log(text, name, columns, within_monotonic_s)
    if columns:
        raise UsageError(f"--columns names columns of a CSV, and {name} is JSON.", "Leave --columns out.")
    return _json(text, name)


def _json(text: str, name: str) -> RequestLog:
    first_line = text.lstrip().partition("\n")[0]
    if aiperf.looks_like(_document(first_line)):
        return aiperf.read_aiperf(text.split("\n"), name)
    documents = _documents(text, name)
    if all(vllm.looks_like(document) for document in documents):
        return vllm.read_vllm(documents, name)
    document = documents[0]
    if len(documents) == 1 and guidellm.looks_like(document):
        return guidellm.read_guidellm(document, name)
    if len(documents) == 1 and aiperf.looks_like(document):
        return aiperf.read_aiperf([text.replace("\n", " ")], name)
    if isinstance(document, dict) and ("request_latency" in document or "input_config" in document):
        raise UsageError(
            f"{name} is a summary of AIPerf or GenAI-Perf, with no request in it.",
            "Give the profile_export.jsonl that AIPerf wrote beside it.",
        )
    if isinstance(document, dict) and "metadata" in document and "payload" in document:
        raise UsageError(
            f"{name} is AIPerf's raw export, which has no metrics.",
            "Give the profile_export.jsonl that AIPerf wrote beside it.",
        )
    listed = ", ".join(f"`{key}`" for key in list(document)[:8]) if isinstance(document, dict) else "a list"
    raise UsageError(f"{name} is JSON of a kind that is not known here ({listed}).", _GIVE)


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None


def _documents(text: str, name: str) -> list[Any]:
    """One JSON document, or several after each other."""
    decoder, documents, place = json.JSONDecoder(), [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        try:
            document, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            what = "breaks off" if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg else "is broken"
            raise UsageError(
                f"{name} {what} at line {error.lineno}, character {error.colno}: {error.msg}.",
                "Use the whole file, as the load generator wrote it.",
            ) from error
        except RecursionError as error:
            raise UsageError(f"{name} is JSON that is nested too deeply for a log.", _GIVE) from error
        documents.append(document)
    return documents
