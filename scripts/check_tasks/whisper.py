#!/usr/bin/env python3
"""Make a transformers directory of a Whisper model that CTranslate2 converted for itself.

    python scripts/check_tasks/whisper.py TARGET SOURCE [SOURCE ...]
    harness run --task automatic-speech-recognition --model TARGET

Packages that bring a Whisper model along often bring it so (`model.bin`, `config.json`, `tokenizer.json`), as for
faster-whisper. The sources are the folders of such a model; where `model.bin` was cut into parts (`model.bin.part1`,
...), name all folders that hold one, in order. Weights are kept exactly: what was float16 becomes float32, in which
OpenAI's own checkpoints are run. Weights that were rounded to int8 are refused.

The binary layout is CTranslate2's (`python/ctranslate2/specs/model_spec.py`, versions 4 to 6), in which query, key and
value are one matrix; Whisper's keys have no bias, so its part there is zero and left out.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

VERSIONS = range(4, 7)
DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
"""By CTranslate2's number; bfloat16 is 5, and numpy has none."""
WIDTH_PER_HEAD = 64
PLAIN = {
    "conv1": "conv1",
    "conv2": "conv2",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
    "layer_norm": "layer_norm",
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
FUSED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}

Array = np.ndarray
Weights = Mapping[str, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the directory that is made")
    parser.add_argument("sources", type=Path, nargs="+", help="folders with model.bin, or its parts, and the rest")
    arguments = parser.parse_args()
    n_parameters = convert(arguments.sources, arguments.target)
    print(f"{arguments.target}: {n_parameters / 1e6:.1f} million parameters, none missing, none left over.")


def convert(sources: Sequence[Path], target: Path) -> int:
    """Write the directory.

    Returns:
        How many parameters it has.
    """
    weights = dict(renamed(variables(io.BytesIO(b"".join(part.read_bytes() for part in binary_files(sources))))))
    tokenizer_file, own = found(sources, "tokenizer.json"), json.loads(found(sources, "config.json").read_text())
    marks = {token["content"]: token["id"] for token in json.loads(tokenizer_file.read_text())["added_tokens"]}
    config = config_of(weights, marks)
    target.mkdir(parents=True, exist_ok=True)
    model = WhisperForConditionalGeneration(config)
    gaps = model.load_state_dict({**weights, "proj_out.weight": weights["model.decoder.embed_tokens.weight"]})
    if gaps.missing_keys or gaps.unexpected_keys:
        sys.exit(f"The weights do not fit: {gaps}.")
    model.generation_config = generation_of(config, marks, own)
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    shutil.copy(tokenizer_file, target / "tokenizer.json")
    (target / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "WhisperTokenizer", "model_max_length": config.max_target_positions}, indent=2)
    )
    return model.num_parameters()


def binary_files(sources: Sequence[Path]) -> list[Path]:
    files = [file for source in sources for file in sorted(source.glob("model.bin*"))]
    if not files:
        sys.exit(f"There is no model.bin in {', '.join(map(str, sources))}.")
    return files


def found(sources: Sequence[Path], name: str) -> Path:
    for source in sources:
        if (source / name).is_file():
            return source / name
    sys.exit(f"There is no {name} in {', '.join(map(str, sources))}.")


def variables(file: BinaryIO) -> Iterator[tuple[str, Array]]:
    """Every array of a model.bin by its name; names that stand for the same array are left out."""
    version = integer(file)
    kind = string(file)
    integer(file)  # the revision of that kind
    if version not in VERSIONS or kind != "WhisperSpec":
        sys.exit(f"This is {kind!r} in version {version}, not a Whisper model in version 4 to 6.")
    for _ in range(integer(file)):
        name, rank = string(file), file.read(1)[0]
        shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
        number, n_bytes = file.read(1)[0], integer(file)
        if number >= len(DTYPES):
            sys.exit(f"{name} is of a number format that is not read here ({number}).")
        yield name, np.frombuffer(file.read(n_bytes), dtype=DTYPES[number]).reshape(shape)


def integer(file: BinaryIO) -> int:
    return int(struct.unpack("<I", file.read(4))[0])


def string(file: BinaryIO) -> str:
    """Its length with the closing zero comes first, in two bytes."""
    return file.read(struct.unpack("<H", file.read(2))[0])[:-1].decode()


def renamed(arrays: Iterator[tuple[str, Array]]) -> Iterator[tuple[str, torch.Tensor]]:
    """As transformers names them, each matrix by itself."""
    for name, array in arrays:
        if array.ndim == 0:
            continue  # settings, which the configuration holds
        if array.dtype.kind != "f":
            sys.exit(f"{name} was rounded to {array.dtype}; only models with float weights are converted.")
        side, *path, kind = name.split("/")
        layer = f"layers.{path.pop(0).removeprefix('layer_')}." if re.fullmatch(r"layer_\d+", path[0]) else ""
        part, kind = "/".join(path), KINDS[kind]
        tensor = torch.from_numpy(array.astype(np.float32))
        parts = FUSED.get(part) or (PLAIN[part],)
        for own, matrix in zip(parts, tensor.chunk(len(parts)), strict=True):
            if own.endswith("k_proj") and kind == "bias":
                assert not matrix.any(), f"{name}: a key's bias that is not zero"
                continue
            yield f"model.{side}.{layer}{own}.{kind}", matrix.contiguous()


def config_of(weights: Weights, marks: Mapping[str, int]) -> WhisperConfig:
    """The shape that the weights have; heads are 64 wide in every Whisper."""
    width, n_mels, _ = weights["model.encoder.conv1.weight"].shape
    n_layers = {
        side: 1 + max(int(name.split(".")[3]) for name in weights if name.startswith(f"model.{side}.layers."))
        for side in ("encoder", "decoder")
    }
    inner = weights["model.encoder.layers.0.fc1.weight"].shape[0]
    end, start = marks["<|endoftext|>"], marks["<|startoftranscript|>"]
    return WhisperConfig(
        vocab_size=weights["model.decoder.embed_tokens.weight"].shape[0],
        num_mel_bins=n_mels,
        d_model=width,
        encoder_layers=n_layers["encoder"],
        decoder_layers=n_layers["decoder"],
        encoder_attention_heads=width // WIDTH_PER_HEAD,
        decoder_attention_heads=width // WIDTH_PER_HEAD,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        max_source_positions=weights["model.encoder.embed_positions.weight"].shape[0],
        max_target_positions=weights["model.decoder.embed_positions.weight"].shape[0],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
    )


def generation_of(config: WhisperConfig, marks: Mapping[str, int], own: Mapping[str, list[int]]) -> GenerationConfig:
    """What OpenAI's own checkpoints say of generation, from what the model's files hold of it."""
    settings = {
        "max_length": config.max_target_positions,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "decoder_start_token_id": config.decoder_start_token_id,
        "no_timestamps_token_id": marks["<|notimestamps|>"],
        "prev_sot_token_id": marks["<|startofprev|>"],
        "return_timestamps": False,
        "max_initial_timestamp_index": 50,
        "suppress_tokens": own["suppress_ids"],
        "begin_suppress_tokens": own["suppress_ids_begin"],
        "is_multilingual": config.eos_token_id > 50256,  # OpenAI's English vocabulary has one entry less
    }
    if settings["is_multilingual"]:
        settings["lang_to_id"] = {mark: at for mark, at in marks.items() if re.fullmatch(r"<\|[a-z]{2,3}\|>", mark)}
        settings["task_to_id"] = {task: marks[f"<|{task}|>"] for task in ("transcribe", "translate")}
        settings["task"] = "transcribe"
    return GenerationConfig(**settings)


if __name__ == "__main__":
    main()
