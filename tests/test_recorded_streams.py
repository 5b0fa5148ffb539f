"""Every recorded stream lies beside what is true of it, and names nothing of the machine it was made on."""

import json
import re
from pathlib import Path

import pytest

HOME = Path(__file__).parent / "recorded_streams"
STREAMS = sorted(HOME.glob("*.sse"))
OF_A_MACHINE = re.compile(rb"/(?:tmp|work|home|root|opt)/|\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b")


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_a_recording_has_its_facts(stream: Path) -> None:
    said = json.loads(stream.with_suffix(".json").read_text())
    raw = stream.read_bytes()
    assert {"server", "version", "date", "body", "status", "pieces", "true"} <= set(said)
    assert said["scrubbed"] or sum(n_bytes for _, n_bytes in said["pieces"]) == len(raw)
    usage, n_prompt = said["true"].get("usage"), said["true"].get("n_prompt_tokens")
    if usage and n_prompt is not None:
        assert usage["prompt_tokens"] == n_prompt


@pytest.mark.parametrize("path", sorted(HOME.iterdir()), ids=lambda path: path.name)
def test_nothing_of_the_machine_is_in_it(path: Path) -> None:
    assert not OF_A_MACHINE.search(path.read_bytes())


def test_every_server_was_recorded() -> None:
    kinds = {json.loads(path.read_text())["server"] for path in HOME.glob("*.json")}
    assert {"llamacpp", "transformers", "vllm"} <= kinds
