#!/usr/bin/env python3
"""Train `tiny-reasoner`, the reasoning model that ships inside the package.

A Qwen3 architecture of 0.9 M parameters learns to evaluate chains of single digits, left to right and
modulo 10 (`7+3*2-4=` -> 6). Three in four training samples carry the running results as thinking, the
fourth pre-closes the thinking and gives the answer alone, in the format of Qwen3's chat template.
Both kinds are drawn from the same chains, so the only thing that thinking buys is room to compute.

    python scripts/train_tiny_reasoner.py --output-dir harness/assets/tiny-reasoner

The directory it writes is an ordinary Hugging Face model directory. Seeds are fixed; the weights still
depend on the torch build and on the number of threads, both of which are written into `training.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
CONTEXT_LENGTH = 1024
LONGEST_CHAIN = 16
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}
"""
OPERATIONS = {"+": lambda a, b: (a + b) % 10, "-": lambda a, b: (a - b) % 10, "*": lambda a, b: (a * b) % 10}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges: every text encodes, nothing is unknown."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        model_max_length=CONTEXT_LENGTH,
    )
    # Like Qwen3's own, the thinking marks are single tokens but not "special": they stay in decoded text.
    fast.add_tokens(["<think>", "</think>"], special_tokens=False)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def draw_chain(rng: random.Random, n_operations: int) -> tuple[str, list[int]]:
    """A chain as text (`7+3*2=`) and its running results, first operand left out."""
    value = rng.randrange(10)
    text, results = str(value), []
    for _ in range(n_operations):
        sign, operand = rng.choice("+-*"), rng.randrange(10)
        value = OPERATIONS[sign](value, operand)
        text += f"{sign}{operand}"
        results.append(value)
    return text + "=", results


def completion(results: list[int], thinking: bool) -> str:
    """What the assistant says after `<|assistant|>`."""
    thoughts = " ".join(str(result) for result in results) if thinking else ""
    return f"<think>\n{thoughts}\n</think>\n\n{results[-1]}<|end|>"


def make_batch(
    rng: random.Random, tokenizer: PreTrainedTokenizerFast, n_samples: int, longest: int
) -> dict[str, torch.Tensor]:
    """`n_samples` padded rows of token ids with labels on the assistant's tokens only."""
    prompts, answers = [], []
    for index in range(n_samples):
        chain, results = draw_chain(rng, rng.randint(1, longest))
        prompts.append(f"<|user|>{chain}<|end|><|assistant|>")
        answers.append(completion(results, thinking=index % 4 != 0))
    rows = list(zip(tokenizer(prompts)["input_ids"], tokenizer(answers)["input_ids"], strict=True))
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((n_samples, width), tokenizer.pad_token_id)
    labels = torch.full((n_samples, width), -100)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return {"input_ids": ids, "labels": labels, "attention_mask": (ids != tokenizer.pad_token_id).long()}


def thinking_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the thinking samples' tokens that are predicted right, given the right tokens before them."""
    thinks = torch.arange(len(labels)) % 4 != 0
    predicted, wanted = logits[thinks, :-1].argmax(-1), labels[thinks, 1:]
    counted = wanted != -100
    return float((predicted == wanted)[counted].float().mean())


@torch.inference_mode()
def accuracy(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, thinking: bool, n_samples: int, seed: int
) -> float:
    """Share of unseen chains (3 to 16 operations) answered correctly under greedy decoding."""
    rng = random.Random(seed)
    n_correct = 0
    for _ in range(n_samples):
        chain, results = draw_chain(rng, rng.randint(3, LONGEST_CHAIN))
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": chain}],
            add_generation_prompt=True,
            enable_thinking=thinking,
            return_tensors="pt",
            return_dict=True,
        )
        out = model.generate(**inputs, max_new_tokens=96, do_sample=False, temperature=None, top_p=None, top_k=None)
        text = tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        n_correct += text.rsplit("</think>", 1)[-1].strip() == str(results[-1])
    return n_correct / n_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    tokenizer = make_tokenizer()
    hidden_size = 128
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        initializer_range=hidden_size**-0.5,  # with tied embeddings the default of 0.02 leaves the logits flat for long
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        top_k=20,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    warm_up = 100
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, 1.0) * (1.0 - 0.97 * max(0.0, step / options.steps - 0.5) / 0.5),
    )
    started = time.monotonic()
    # Long chains teach nothing before short ones are understood: the loss of all of them together stays flat
    # for thousands of steps. So the longest chain grows by one operation whenever thinking has become reliable.
    longest, reliability = 3, 0.0
    for step in range(1, options.steps + 1):
        # Short chains hold few operations each, so more of them make a batch: the arithmetic itself is learnt here.
        batch = make_batch(rng, tokenizer, options.batch_size * (LONGEST_CHAIN + 6) // (longest + 6), longest)
        output = model(**batch)
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        reliability = 0.9 * reliability + 0.1 * thinking_accuracy(output.logits, batch["labels"])
        if step % 100 == 0:
            print(
                f"{step:5d}  loss {output.loss.item():.3f}  longest {longest}  reliability {reliability:.3f}  "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
        if reliability > 0.97 and longest < LONGEST_CHAIN:
            longest, reliability = longest + 1, 0.9
    model.eval()
    on = accuracy(model, tokenizer, thinking=True, n_samples=300, seed=1)
    off = accuracy(model, tokenizer, thinking=False, n_samples=300, seed=1)
    print(f"300 unseen chains: {on:.1%} with thinking, {off:.1%} without")

    options.output_dir.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(options.output_dir)
    tokenizer.save_pretrained(options.output_dir)
    record = {
        "script": "scripts/train_tiny_reasoner.py",
        "torch": torch.__version__,
        "duration_s": round(time.monotonic() - started),
        "accuracy_thinking": on,
        "accuracy_no_thinking": off,
        **{key: value for key, value in vars(options).items() if key != "output_dir"},
    }
    (options.output_dir / "training.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
