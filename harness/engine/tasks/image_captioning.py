"""A picture, described in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.engine.task.description import StandIn, Task
from harness.engine.task.generating import GREEDY, encoder_watched, end_ids_of, facts_of_generation, finish_reason
from harness.engine.task.media import image_of, media_of
from harness.engine.task.pictures import prepared
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.records import InputColumns, Prompt

REQUEST = "Describe the image in one sentence."
"""To models with a chat template; BLIP and GIT were trained to describe what they see, and get no words."""
ENCODERS = ("vision_tower", "visual", "vision_model", "vision_encoder", "image_tower", "image_encoder", "encoder")
"""How models name the part that looks at the picture."""


class Captioner:
    """A model that writes about pictures: greedy, one beam."""

    last_phase = "decode"

    def __init__(self, place: Place) -> None:
        from transformers import AutoProcessor

        from harness.engine.task.loading import keywords_of, open_model

        opened: Opened = open_model(place, ["AutoModelForImageTextToText"])
        self._model = opened.model
        self.opened = replace(opened, generation=facts_of_generation(self._model.generation_config))
        where = keywords_of(place)
        self._processor: Any = AutoProcessor.from_pretrained(place.source.location, **where)
        if not hasattr(self._processor, "image_processor"):
            self._processor = _Pair(place.source.location, where)
        self._encoder = _encoder_of(self._model)

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - nothing is reserved
        """Decoded and resized as the model's processor does it, with the request where the model takes one."""
        media = media_of(prompt)
        image = image_of(media)
        template = getattr(self._processor, "chat_template", None)
        if not template:
            encoded = self._processor(images=image, return_tensors="pt")
            return prepared(media, encoded, self._model, self._processor)
        content = [{"type": "image", "image": image}, {"type": "text", "text": REQUEST}]
        encoded = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **({"enable_thinking": False} if "enable_thinking" in str(template) else {}),
        )
        ready = prepared(media, encoded, self._model, self._processor, REQUEST)
        return replace(ready, sizes={**ready.sizes, "prompt_tokens": int(encoded["input_ids"].shape[1])})

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:
        """Look at the picture once, then write token by token."""
        steps = _Steps()
        with encoder_watched(self._encoder, stopwatch):
            written = self._model.generate(
                **prepared.inputs, **GREEDY, max_new_tokens=max_new_tokens, logits_processor=[steps]
            )
        return written[0], steps.n, max_new_tokens

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """The sentence. What stands before the tokens that were written, as a chat's prompt, is no part of it."""
        sequence, n_written, most = raw
        ids = sequence[len(sequence) - n_written :].tolist()
        text = self._processor.decode(ids, skip_special_tokens=True).strip()
        sizes = {"output_tokens": n_written, "answer_tokens": n_written}
        return Result(text=text, sizes=sizes, finish_reason=finish_reason(ids, _end_ids(self._model), most))


class _Pair:
    """The image processor and the tokenizer of a checkpoint that was saved without a processor of both."""

    def __init__(self, location: str, where: dict[str, Any]) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer

        self.image_processor = AutoImageProcessor.from_pretrained(location, **where)
        self.decode = AutoTokenizer.from_pretrained(location, **where).decode

    def __call__(self, **images: Any) -> Any:
        return self.image_processor(**images)


class _Steps:
    """Counts the tokens that are written: what `generate` returns begins with a prompt in some families."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self, ids: Any, logits: Any) -> Any:  # noqa: ARG002 - as transformers calls it
        self.n += 1
        return logits


def _encoder_of(model: Any) -> Any:
    """The part that looks at the picture; the whole model, whose phases then cannot be told apart, if there is none."""
    parts = (part for name, part in model.named_modules() if name.rpartition(".")[2] in ENCODERS)
    return next(parts, model)


def _end_ids(model: Any) -> frozenset[int]:
    """Ids that end a sentence; BLIP's is the one that its text part calls a separator."""
    separator = getattr(model.config.get_text_config(), "sep_token_id", None)
    own = frozenset() if separator is None else frozenset([int(separator)])
    return end_ids_of(model.generation_config) | end_ids_of(model.config) | own


def write_captioner(folder: Path, *, vision: dict[str, Any] | None = None, **shape: Any) -> None:
    """A GIT with random weights: GIT-base where nothing else is said.

    Its tokenizer knows BERT's marks in their places, letters, and numbered words for all other ids.
    """
    from string import ascii_lowercase

    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import GitConfig, GitForCausalLM, GitProcessor, PreTrainedTokenizerFast
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = GitConfig(vision_config={**(vision or {})}, **shape)
    marks = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    letters = dict(enumerate([*ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)], start=104))
    words = {number: f"word{number}" for number in range(config.vocab_size)}
    vocabulary = {word: number for number, word in {**words, **letters, **marks}.items()}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a mark is no password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names)  # noqa: S106
    side = config.vision_config.image_size
    look = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    GitForCausalLM(config).save_pretrained(folder)
    GitProcessor(look, fast).save_pretrained(folder)


TASK = Task(
    name="image-captioning",
    title="Image captioning",
    takes="a picture",
    returns="a sentence that describes it",
    inputs=InputColumns(
        media=("file_name", "image", "file", "path"), media_kind="image", reference=("caption",), scorer="rouge"
    ),
    prompts="drawn",
    published="aies-image-captioning",
    metric="ROUGE (rouge-score)",
    sizes=("input_pixels", "output_tokens"),
    model="Salesforce/blip-image-captioning-large",  # its smaller sister has pickled weights alone
    loads="AutoModelForImageTextToText",
    phases=("encode", "decode"),
    imports=("PIL",),
    max_new_tokens=32,
    note="Decoding the file, resizing and reading the tokens are outside of the query. Greedy, one beam.",
    open=Captioner,
    stand_in=StandIn(name="git-base", write=write_captioner),
)
