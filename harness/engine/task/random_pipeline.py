"""A diffusion pipeline with random weights: the parts and the layout of Stable Diffusion 1, at a fraction of its width.

At its default size: a text encoder of 6 layers of width 256 over 77 tokens, a U-Net of four levels (64, 128, 256, 256
channels; Stable Diffusion 1: 320, 640, 1280, 1280) with one residual block each instead of two, a VAE of four levels
that makes 8 x 8 pixels of each latent one, and 128 x 128 pixels. As in models that were distilled to latent consistency
models, guidance is an input of the U-Net and there are 4 steps. 33 million parameters; no published model has this
shape, and its pictures are noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
N_POSITIONS = 77
"""Of CLIP."""
LATENTS_PER_PIXEL = 8


def write_pipeline(
    folder: Path,
    *,
    channels: Sequence[int] = (64, 128, 256, 256),
    vae_channels: Sequence[int] = (32, 64, 128, 128),
    text_width: int = 256,
    n_text_layers: int = 6,
    n_heads: int = 8,
    n_words: int = 4096,
    side_pixels: int = 128,
    distilled: bool = True,
) -> None:
    """Make one and save it as the Hub would have it.

    Args:
        folder: An empty directory.
        channels: Of the U-Net's levels; the last one has no attention.
        vae_channels: Of the VAE's four levels.
        text_width: Of the text encoder.
        n_text_layers: Of the text encoder.
        n_heads: Of every attention.
        n_words: Of the vocabulary, at the most.
        side_pixels: Of an image for which nothing else is asked.
        distilled: To 4 steps; otherwise 50, with the U-Net run on a doubled batch for guidance.
    """
    tokenizer = _tokenizer(n_words)
    text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=text_width,
            intermediate_size=4 * text_width,
            num_hidden_layers=n_text_layers,
            num_attention_heads=n_heads,
            max_position_embeddings=N_POSITIONS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    n_below = len(channels) - 1
    unet = diffusers.UNet2DConditionModel(
        sample_size=side_pixels // LATENTS_PER_PIXEL,
        layers_per_block=1,
        block_out_channels=tuple(channels),
        down_block_types=(*["CrossAttnDownBlock2D"] * n_below, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * n_below),
        cross_attention_dim=text_width,
        attention_head_dim=n_heads,  # in this family of configurations the name stands for their number
        norm_num_groups=min(32, *channels),
        time_cond_proj_dim=text_width if distilled else None,
    )
    n_levels = len(vae_channels)
    vae = diffusers.AutoencoderKL(
        sample_size=side_pixels,
        latent_channels=4,
        layers_per_block=1,
        block_out_channels=tuple(vae_channels),
        down_block_types=("DownEncoderBlock2D",) * n_levels,
        up_block_types=("UpDecoderBlock2D",) * n_levels,
        norm_num_groups=min(32, *vae_channels),
    )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # of Stable Diffusion 1
    parts = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "unet": unet}
    unchecked = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline: Any
    if distilled:
        scheduler = diffusers.LCMScheduler(**noise)
        pipeline = diffusers.LatentConsistencyModelPipeline(**parts, scheduler=scheduler, **unchecked)
    else:
        scheduler = diffusers.DDIMScheduler(**noise, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
        pipeline = diffusers.StableDiffusionPipeline(**parts, scheduler=scheduler, **unchecked)
    pipeline.save_pretrained(folder)


def _tokenizer(n_words: int) -> Any:
    """CLIP's own kind, its merges learnt from the texts that ship with this program."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=n_words, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(_texts(), trainer)
    merges = [tuple(merge) for merge in json.loads(trained.to_str())["model"]["merges"]]
    # Every letter may also end a word; the learnt vocabulary has those alone that did.
    letters = sorted(alphabet)
    words = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), BEGIN, END])
    return transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=merges, model_max_length=N_POSITIONS
    )


def _texts() -> Iterator[str]:
    folder = files("harness") / "assets" / "prompts"
    for name in ("everyday", "scenes"):
        for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            yield row.get("text") or row["prompt"]
