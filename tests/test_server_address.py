"""Where a server is, told from a URL or its command; what is refused; and that no secret is repeated."""

from __future__ import annotations

import shlex
import socket

import psutil
import pytest

from harness.engine.server.address import Address, local_or_refused, of_command, parsed
from harness.engine.server.argv import assignments, flag, kind_of, model_of, refuse_secrets
from harness.environment.secrets import api_key, is_secret_name, secret_values
from harness.errors import HarnessError, UsageError


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" 127.0.0.1:8000/v1 ", "http://127.0.0.1:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("http://localhost", "http://localhost:80"),
        ("https://localhost/v1", "https://localhost:443"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("http://localhost:8000/llm/v1", "http://localhost:8000/llm"),
    ],
)
def test_a_url_in_one_spelling(url: str, root: str) -> None:
    assert parsed(url).root == root
    assert parsed(url).base_url == f"{root}/v1"


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://me:s3cret@127.0.0.1:8000/v1", "credentials"),
        ("http://s3cret@127.0.0.1:8000/v1", "credentials"),
        ("http://127.0.0.1:8000/v1?api_key=s3cret", "query"),
        ("http://127.0.0.1:8000/v1#s3cret", "fragment"),
        ("unix:///run/s3cret.sock", "unix"),
        ("ftp://127.0.0.1", "ftp"),
        ("http://", "no host"),
        ("http://127.0.0.1:port", "cannot be read"),
        ("http://[::1", "cannot be read"),
    ],
)
def test_urls_that_are_refused_are_not_repeated(url: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as raised:
        parsed(url)
    assert "s3cret" not in f"{raised.value} {raised.value.next_step}"


@pytest.mark.parametrize(
    ("line", "kind", "root", "model"),
    [
        ("vllm serve Qwen/Qwen3-0.6B", "vllm", "http://127.0.0.1:8000", "Qwen/Qwen3-0.6B"),
        ("vllm serve M --port 8001 --host 0.0.0.0", "vllm", "http://127.0.0.1:8001", "M"),
        ("/opt/vl/bin/vllm serve M --port=8001 --host=127.0.0.2", "vllm", "http://127.0.0.2:8001", "M"),
        ("python -m vllm.entrypoints.openai.api_server --model M", "vllm", "http://127.0.0.1:8000", "M"),
        ("env CUDA_VISIBLE_DEVICES=1 vllm serve M", "vllm", "http://127.0.0.1:8000", "M"),
        ("CUDA_VISIBLE_DEVICES=1 vllm serve M --host ::", "vllm", "http://[::1]:8000", "M"),
        ("bash -c 'exec vllm serve M --port 9000'", "vllm", "http://127.0.0.1:9000", "M"),
        ("vllm serve M --ssl-certfile a.pem --host localhost", "vllm", "https://localhost:8000", "M"),
        ("python3 -m sglang.launch_server --model-path M", "sglang", "http://127.0.0.1:30000", "M"),
        ("llama-server -m a.gguf", "llama.cpp", "http://127.0.0.1:8080", "a.gguf"),
        ("llama-server -p 9 -m a.gguf --port 81", "llama.cpp", "http://127.0.0.1:81", "a.gguf"),
        ("transformers serve ./dir --dtype bfloat16", "transformers", "http://127.0.0.1:8000", "./dir"),
        ("transformers serve --port 9", "transformers", "http://127.0.0.1:9", None),
        ("ollama serve", "ollama", "http://127.0.0.1:11434", None),
        ("OLLAMA_HOST=0.0.0.0 ollama serve", "ollama", "http://127.0.0.1:11434", None),
        ("OLLAMA_HOST=127.0.0.1:5 ollama serve", "ollama", "http://127.0.0.1:5", None),
        ("text-generation-launcher --model-id M -p 81", "tgi", "http://127.0.0.1:81", "M"),
        ("docker run -p 9000:8000 vllm/vllm-openai:v1 --model M --port 8000", "vllm", "http://127.0.0.1:9000", "M"),
        ("docker run --network host vllm/vllm-openai:v1 --model M", "vllm", "http://127.0.0.1:8000", "M"),
        ("./my_server.sh --port 8123", None, "http://127.0.0.1:8123", None),
    ],
)
def test_a_command_says_where(line: str, kind: str | None, root: str, model: str | None) -> None:
    command = shlex.split(line)
    assert kind_of(command) == kind
    assert of_command(command).root == root
    assert model_of(command) == model


def test_ollamas_variable_may_be_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:777")
    assert of_command(["ollama", "serve"]).root == "http://127.0.0.1:777"


@pytest.mark.parametrize("line", ["./my_server.sh", "vllm serve M --port 99999", "vllm serve M --uds /run/s"])
def test_a_command_that_does_not_say_where(line: str) -> None:
    with pytest.raises(UsageError) as raised:
        of_command(shlex.split(line))
    assert "--port" in raised.value.next_step


def test_flags_in_both_spellings_the_last_one_counts() -> None:
    words = ["x", "--max-len", "1", "--max_len=2", "--other"]
    assert flag(words, "--max-len") == "2"
    assert flag(words, "--none") is None
    assert assignments(["A=1", "B=x=y", "run", "C=3"]) == ({"A": "1", "B": "x=y"}, ("run", "C=3"))


SECRETS = [
    "vllm serve M --api-key s3cret-value",
    "vllm serve M --api-key=s3cret-value",
    "vllm serve M --api_key s3cret-value",
    "vllm serve M --hf-token s3cret-value",
    "sglang serve M --admin-api-key s3cret-value",
    "llama-server --api-key s3cret-value",
    "VLLM_API_KEY=s3cret-value vllm serve M",
    "env HF_TOKEN=s3cret-value vllm serve M",
    "docker run -e HF_TOKEN=s3cret-value image",
    "bash -c 'vllm serve M --api-key s3cret-value'",
    "serve --header 'Authorization: Bearer s3cret-value'",
    "serve --anything s3cret-value",
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_command_that_holds_a_secret_is_refused(line: str) -> None:
    with pytest.raises(UsageError) as raised:
        refuse_secrets(shlex.split(line), {"OPENAI_API_KEY": "s3cret-value"})
    assert "s3cret" not in f"{raised.value} {raised.value.next_step}"
    assert "HARNESS_API_KEY" in raised.value.next_step


@pytest.mark.parametrize("line", SECRETS[:-1])
def test_and_so_is_one_that_we_do_not_know(line: str) -> None:
    with pytest.raises(UsageError):
        refuse_secrets(shlex.split(line), {})


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve M --hf-token",
        "vllm serve M --hf-token --port 1",
        "llama-server --api-key-file keys.txt",
        "bash -c 'vllm serve M --api-key $VLLM_API_KEY'",
        "vllm serve M --max-num-batched-tokens 8 --tokenizer T --pad-token x",
        "docker run -e HF_TOKEN image",
        "",
    ],
)
def test_commands_that_hold_none(line: str) -> None:
    refuse_secrets(shlex.split(line), {"OPENAI_API_KEY": "EMPTY", "HF_TOKEN": "hf_0123456789"})


def test_secrets_of_an_environment() -> None:
    names = {name for name in ("HF_TOKEN", "OPENAI_API_KEY", "MY_APIKEY", "DB_PASSWORD") if is_secret_name(name)}
    assert len(names) == 4
    assert not any(map(is_secret_name, ("PATH", "TOKENIZERS_PARALLELISM", "MAX_TOKENS", "KEYBOARD", "SSH_KEY_FILE")))
    environ = {"HF_TOKEN": "hf_long", "A_API_KEY": "abcde", "B_API_KEY": "x", "PATH": "/bin:/usr/bin"}
    assert secret_values(environ) == ("hf_long", "abcde")
    assert api_key({"OPENAI_API_KEY": "b", "HARNESS_API_KEY": "a"}) == "a"
    assert api_key({"HARNESS_API_KEY": ""}) is None
    assert api_key({"HARNESS_API_KEY": " \n", "OPENAI_API_KEY": "b\r\n"}) == "b"
    assert secret_values({"HARNESS_API_KEY": "abcde\r"}) == ("abcde",)


# ------------------------------------------------------------------------------------------ on this machine


def _own_addresses() -> list[str]:
    return [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.9.1", *_own_addresses()])
def test_this_machine_is_taken(host: str) -> None:
    local_or_refused(Address(scheme="http", host=host, port=1))


@pytest.mark.parametrize("host", ["192.0.2.77", "2001:db8::77"])
def test_another_machine_is_refused_with_the_remedy(host: str) -> None:
    with pytest.raises(UsageError, match="energy is measured on the server's node") as raised:
        local_or_refused(Address(scheme="http", host=host, port=1))
    assert "Run harness there" in raised.value.next_step


def test_a_name_is_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"near": ["127.0.0.1"], "far": ["192.0.2.77"], "both": ["127.0.0.1", "192.0.2.77"]}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    local_or_refused(parsed("http://near:8000"))
    for host in ("far", "both"):
        with pytest.raises(UsageError, match=r"192\.0\.2\.77"):
            local_or_refused(parsed(f"http://{host}:8000"))
    with pytest.raises(UsageError, match="has no address"):
        local_or_refused(parsed("http://nowhere:8000"))


def test_every_error_has_a_next_step() -> None:
    with pytest.raises(HarnessError) as raised:
        parsed("http://")
    assert raised.value.next_step
