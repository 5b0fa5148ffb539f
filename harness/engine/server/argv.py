"""What a server's command says of the server: its kind, host, port and flags, and that it holds no secret."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from harness.environment.secrets import is_secret_name, secret_values
from harness.errors import UsageError

_SECRET_FLAG = re.compile(
    r"-{1,2}((\w+-)*(api-key|hf-token|hft|auth-token|access-token|api-token|password|secret))(=.*)?"
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_BEARER = re.compile(r"\bbearer\s+\S", re.IGNORECASE)
_LONG_ENOUGH = 8
"""Characters of a secret that is recognised inside of an argument."""

_KINDS = {
    "vllm": "vllm",
    "vllm-openai": "vllm",
    "vllm.entrypoints.openai.api_server": "vllm",
    "sglang": "sglang",
    "sglang.launch_server": "sglang",
    "llama-server": "llama.cpp",
    "llama_cpp.server": "unknown",
    "transformers": "transformers",
    "transformers-cli": "transformers",
    "ollama": "ollama",
    "text-generation-launcher": "tgi",
    "text-generation-inference": "tgi",
}
"""By a program's, a module's or a container image's name."""


def refuse_secrets(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Refuse a command that holds a key: commands are written into manifests, and `ps` shows them to everybody.

    Raises:
        UsageError: It does. The message does not repeat it.
    """
    known = [value for value in secret_values(environ) if len(value) >= _LONG_ENOUGH]
    words = list(_words(command))
    for word, following in itertools.pairwise([*words, ""]):
        flag = _SECRET_FLAG.fullmatch(word.replace("_", "-"))
        value = word.partition("=")[2] if "=" in word else following
        if flag and value and not value.startswith(("-", "$")):
            raise _secret(f"--{flag[1]}")
        assigned = _ASSIGNMENT.fullmatch(word)
        if assigned and is_secret_name(assigned[1]) and assigned[2] and not assigned[2].startswith("$"):
            raise _secret(assigned[1])
    if any(_BEARER.search(word) for word in command):
        raise _secret("a header with a key")
    if any(value in word for value in known for word in command):
        raise _secret("the value of a variable that is a secret")


def _secret(what: str) -> UsageError:
    return UsageError(
        f"The command that starts the server holds a secret ({what}), and commands are kept with the results.",
        "Take it out, and `export` it instead: VLLM_API_KEY or LLAMA_API_KEY for the server, HF_TOKEN for downloads, "
        "HARNESS_API_KEY for harness.",
    )


def assignments(command: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Variables that are set in front of a command, as a shell would set them, and the command itself."""
    set_here: dict[str, str] = {}
    for position, word in enumerate(command):
        assigned = _ASSIGNMENT.fullmatch(word)
        if assigned is None:
            return set_here, tuple(command[position:])
        set_here[assigned[1]] = assigned[2]
    return set_here, ()


def kind_of(command: Sequence[str]) -> str | None:
    """vllm, sglang, llama.cpp, transformers, ollama or tgi; unknown: none of these; None: it cannot be told."""
    for word in _words(command):
        name = PurePath(word.partition("@")[0]).name.partition(":")[0]
        if name in _KINDS:
            return _KINDS[name]
    return None


def flag(command: Sequence[str], *names: str) -> str | None:
    """The value of the last of these flags, given as `--name value` or `--name=value`; None: not given."""
    words = list(_words(command))
    value = None
    for position, word in enumerate(words):
        name, is_joined, joined = word.partition("=")
        if name.replace("_", "-") in names or name in names:
            following = words[position + 1] if position + 1 < len(words) else ""
            value = joined if is_joined else following or value
    return value


def model_of(command: Sequence[str]) -> str | None:
    """The model that a command serves: its flag, or what stands after `serve`; None: neither is there."""
    words = list(_words(command))
    if "serve" in words and kind_of(command) in ("vllm", "transformers", "sglang"):
        following = words[words.index("serve") + 1 :][:1]
        if following and not following[0].startswith("-"):
            return following[0]
    short = ("-m",) if kind_of(command) == "llama.cpp" else ()  # of Python, -m names a module
    return flag(command, "--model", "--model-path", "--model-id", *short)


def published_port(command: Sequence[str]) -> int | None:
    """The port of this machine at which a container's is published (`-p 8000:8000`); None: no container's command."""
    if not any(PurePath(word).name in ("docker", "podman", "nerdctl") for word in command[:2]):
        return None
    published = flag(command, "-p", "--publish")
    ends = (published or "").partition("/")[0].split(":")
    return int(ends[-2]) if len(ends) > 1 and ends[-2].isdecimal() else None


def _words(command: Sequence[str]) -> Iterator[str]:
    """The words of a command, and those of a command line that is one of them (`bash -c '...'`)."""
    for word in command:
        if any(character.isspace() for character in word):
            try:
                yield from shlex.split(word)
            except ValueError:  # a quote that is not closed: no command line
                yield word
        else:
            yield word
