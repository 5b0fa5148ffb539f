"""Tokenizers of stand-ins, trained on the texts that ship with the package: the same ones each time.

Their vocabularies are small, but on those texts they make about as many tokens as the tokenizers of real models do.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SETS = ("articles", "everyday", "passages", "remarks", "sentence-pairs")
N_MERGED = 4000
"""Entries of the vocabulary that pairs are merged to. So many give these texts 1.33 tokens a word, marks included; the
tokenizer of all-MiniLM-L6-v2 gives them 1.34."""


def texts() -> Iterator[str]:
    """Every text of the embedded sets, references included, in stored order."""
    folder = files("harness") / "assets" / "prompts"
    for name in SETS:
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            yield from (
                value for key, value in json.loads(line).items() if key != "prompt_id" and isinstance(value, str)
            )


def word_pieces(n_positions: int, *, segments: bool) -> Any:
    """A tokenizer like BERT's uncased one.

    Args:
        n_positions: Tokens that its model takes at once.
        segments: Whether its model is told which of two texts a token is of.

    Returns:
        A transformers tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    vocabulary = {entry: at for at, entry in enumerate([*special.values(), *_entries()])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (special["cls"], special["sep"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    given = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=n_positions,
        model_input_names=given,
        **{f"{name}_token": mark for name, mark in special.items()},
    )


def byte_pairs(n_positions: int) -> Any:
    """A tokenizer like T5's: words with their space before them, case kept, an end behind every text.

    Args:
        n_positions: Tokens that its model takes at once.

    Returns:
        A transformers tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}
    tokenizer = Tokenizer(models.BPE(unk_token=special["unk"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        texts(),
        trainers.BpeTrainer(vocab_size=N_MERGED, special_tokens=[*special.values()], show_progress=False),
    )
    end = (special["eos"], tokenizer.token_to_id(special["eos"]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[end]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=n_positions,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": mark for name, mark in special.items()},
    )


@cache
def _entries() -> tuple[str, ...]:
    """Pieces of lower-case words in a stable order, `##` before those that continue one.

    The library's own trainer for word pieces breaks ties by the order of a hash table, so the pieces are taken from
    byte pairs, whose trainer does not.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    pairs = Tokenizer(models.BPE())
    pairs.normalizer = normalizers.BertNormalizer()
    pairs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pairs.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=N_MERGED, show_progress=False))
    found = set()
    for encoded in pairs.encode_batch([*texts()]):
        words = [None, *encoded.word_ids]
        found |= {
            piece if word != before else f"##{piece}"
            for piece, word, before in zip(encoded.tokens, encoded.word_ids, words, strict=False)
        }
    letters = {piece for piece in pairs.get_vocab() if len(piece) == 1}
    return tuple(sorted(found | letters | {f"##{letter}" for letter in letters}))
