"""For each task prompts with good inputs of its embedded set and one that is wrong, and what must be said of that."""

from __future__ import annotations

import json
import shutil
import wave
from dataclasses import dataclass
from pathlib import Path

from harness.engine.task.description import Task

PROMPTS = Path(__file__).resolve().parents[2] / "harness" / "assets" / "prompts"
WRONG = "wrong"
"""Id of the wrong row, and the stem of its file."""
SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Case:
    """A prompts source, and what the wrong input is."""

    prompts: Path
    wrong: str
    said: str
    """A part of what the finding must say of it."""


def case_of(task: Task, folder: Path, n_good: int) -> Case:
    """Write a task's good rows and its wrong one into a folder.

    Args:
        task: Whose embedded set it is made of.
        folder: An empty directory.
        n_good: So many good rows.
    """
    if task.is_text_generation:
        rows = _rows(PROMPTS / "chains.jsonl")[:n_good]
        long = {"prompt_id": WRONG, "text": "1+2+3+4+5+6+7+8+9=" * 400}
        return Case(_written(folder / "prompts.jsonl", [*rows, long]), "a prompt longer than the context", "context")
    if (PROMPTS / f"{task.prompts}.jsonl").is_file():
        rows = _rows(PROMPTS / f"{task.prompts}.jsonl")[:n_good]
        emptied = next(column for column in task.inputs.text_pair or task.inputs.text if column in rows[0])
        wrong = {**rows[0], "prompt_id": WRONG, emptied: "  "}
        return Case(_written(folder / "prompts.jsonl", [*rows, wrong]), f"an empty {emptied}", "empty")
    rows = [
        {"prompt_id": str(row["file_name"]), **row} for row in _rows(PROMPTS / task.prompts / "metadata.jsonl")[:n_good]
    ]
    for row in rows:
        shutil.copyfile(PROMPTS / task.prompts / str(row["file_name"]), folder / str(row["file_name"]))
    spoil = _silence if task.inputs.media_kind == "audio" else SPOILT.get(task.name, _text_as_image)
    name, wrong_words, said = spoil(folder, folder / str(rows[0]["file_name"]))
    _written(folder / "metadata.jsonl", [*rows, {**rows[0], "prompt_id": WRONG, "file_name": name}])
    return Case(folder, wrong_words, said)


def _text_as_image(folder: Path, _good: Path) -> tuple[str, str, str]:
    (folder / f"{WRONG}.png").write_text("This is a note, and no picture.\n", encoding="utf-8")
    return f"{WRONG}.png", "a text file as image", "holds text"


def _cut_png(folder: Path, good: Path) -> tuple[str, str, str]:
    content = good.read_bytes()
    (folder / f"{WRONG}.png").write_bytes(content[: len(content) // 2])
    return f"{WRONG}.png", "half of a PNG", "damaged"


def _corrupt_png(folder: Path, good: Path) -> tuple[str, str, str]:
    content = bytearray(good.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    (folder / f"{WRONG}.png").write_bytes(content)
    return f"{WRONG}.png", "a PNG with 64 bytes overwritten", "damaged"


def _silence(folder: Path, _good: Path) -> tuple[str, str, str]:
    with wave.open(str(folder / f"{WRONG}.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE_HZ)
        sound.writeframes(bytes(2 * 3 * SAMPLE_RATE_HZ))
    return f"{WRONG}.wav", "three seconds of silence", "silen"


SPOILT = {"object-detection": _cut_png, "image-captioning": _corrupt_png}
"""By task; a text file as image otherwise."""


def _rows(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _written(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file
