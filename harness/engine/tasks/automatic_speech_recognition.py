"""A sound of speech, told its words.

Two kinds of models: those that look at the sound once and then write (Whisper and other sequence-to-sequence models),
and those that name a letter for every moment of it (CTC: wav2vec2, HuBERT, WavLM).
"""

from __future__ import annotations

import itertools
import string
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.engine.task.description import StandIn, Task
from harness.engine.task.generating import GREEDY, encoder_watched, end_ids_of, facts_of_generation, finish_reason
from harness.engine.task.media import described, media_of, sound_of
from harness.engine.task.runner import Opened, Place, Prepared, Result
from harness.engine.task.stopwatch import Stopwatch
from harness.errors import UsageError
from harness.records import Finding, FindingCode, InputColumns, Prompt

N_PREFIX = 4
"""Of Whisper: tokens that tell the decoder to start, the language, the task and to leave timestamps out."""


def _open(place: Place) -> Recogniser:
    from harness.engine.task.loading import open_model

    opened = open_model(place, ["AutoModelForSpeechSeq2Seq", "AutoModelForCTC"])
    if not opened.model.can_generate():
        return Speller(place, opened)
    if not opened.model.config.is_encoder_decoder:
        raise UsageError(
            f"{place.source.name} is a language model that listens: it needs a prompt beside the sound.",
            "Choose an encoder-decoder, such as Whisper, or a CTC model, such as wav2vec2.",
        )
    return Writer(place, replace(opened, generation=facts_of_generation(opened.model.generation_config)))


class Recogniser(ABC):
    """What both kinds need of a sound, before the window: decoded, resampled, turned into the model's features."""

    last_phase: str

    def __init__(self, place: Place, opened: Opened) -> None:
        from transformers import AutoFeatureExtractor, AutoTokenizer

        from harness.engine.task.loading import keywords_of

        self.opened = opened
        self._model = opened.model
        # Not the processor of both: wav2vec2's may hold a language model, which needs a package that is not used here.
        self._extractor: Any = AutoFeatureExtractor.from_pretrained(place.source.location, **keywords_of(place))
        self._tokenizer: Any = AutoTokenizer.from_pretrained(place.source.location, **keywords_of(place))

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:  # noqa: ARG002 - Runner's signature
        """Features on the device, in the model's precision."""
        media = media_of(prompt)
        rate_hz = self._extractor.sampling_rate
        sound, audio_s = sound_of(media, rate_hz)
        window, settings = self._window(len(sound))
        findings: tuple[Finding, ...] = ()
        if window is not None and len(sound) > window:
            detail = f"{prompt.prompt_id}: {window / rate_hz:.1f} of {audio_s:.1f} s"
            findings = (Finding(code=FindingCode.INPUT_TRUNCATED, detail=detail),)
            audio_s = window / rate_hz
        features = self._extractor(sound, sampling_rate=rate_hz, return_tensors="pt", **settings)
        return Prepared(
            inputs=dict(features.to(self._model.device, self._model.dtype)),
            rendered=described(media, f"{audio_s:.3f} s"),
            sizes={"audio_s": audio_s},
            findings=findings,
        )

    @abstractmethod
    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:
        """The model's work."""

    @abstractmethod
    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:
        """The words."""

    def _window(self, n_samples: int) -> tuple[int | None, dict[str, Any]]:  # noqa: ARG002 - Whisper's asks for it
        """Samples after which the sound is cut (None: nowhere), and what the extractor is told."""
        return None, {}


class Writer(Recogniser):
    """An encoder looks at the sound, a decoder writes its words: greedily, in the language that the model decides on.

    A sound longer than Whisper's window is done by its own long-form generation, window by window.
    """

    last_phase = "decode"

    def __init__(self, place: Place, opened: Opened) -> None:
        from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

        super().__init__(place, opened)
        self._is_whisper = isinstance(self._model, WhisperGenerationMixin)
        config = self._model.config
        positions = getattr(config, "max_target_positions", None) or getattr(config, "max_position_embeddings", None)
        self._room: int | None = positions and positions - N_PREFIX

    def prepare(self, prompt: Prompt, max_new_tokens: int) -> Prepared:
        """As of all; a cap beyond the decoder's positions is what they hold, of every window of a long sound."""
        prepared = super().prepare(prompt, max_new_tokens)
        settings: dict[str, Any] = {"max_new_tokens": min(max_new_tokens, self._room or max_new_tokens)}
        if self._is_whisper:
            settings["return_segments"] = True  # what each window's decoder wrote, the end mark included
            if prepared.inputs["input_features"].shape[-1] > self._extractor.nb_max_frames:
                settings["return_timestamps"] = True  # they say where the next window begins
        return replace(prepared, inputs={**prepared.inputs, **settings})

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002 - in inputs
        """Plain `generate`, as the model's own generation config has it; each run of the encoder is a phase."""
        with encoder_watched(self._model.get_encoder(), stopwatch):
            return self._model.generate(**prepared.inputs, **GREEDY)

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """The text, and the tokens that were written: timestamps and end marks too, what was given to start with not.

        Of a long sound these are the tokens of all windows, also those that the next window replaces. The step in
        which Whisper tells the language writes none.
        """
        ids = raw["sequences"][0] if self._is_whisper else raw[0]
        written = _by_window(raw["segments"][0]) if self._is_whisper else [ids.tolist()[1:]]
        end_ids = end_ids_of(self._model.generation_config)
        reasons = {finish_reason(window, end_ids, prepared.inputs["max_new_tokens"]) for window in written}
        n_tokens = sum(map(len, written))
        return Result(
            text=self._tokenizer.decode(ids, skip_special_tokens=True).strip(),
            sizes={"output_tokens": n_tokens, "answer_tokens": n_tokens},
            finish_reason="length" if "length" in reasons else "stop",
        )

    def _window(self, n_samples: int) -> tuple[int | None, dict[str, Any]]:
        if not self._is_whisper or n_samples <= self._extractor.n_samples:
            return None, {}
        if not hasattr(self._model.generation_config, "no_timestamps_token_id"):
            return self._extractor.n_samples, {}  # it cannot say where the next window begins
        return None, {"truncation": False, "padding": "longest"}


def _by_window(segments: list[dict[str, Any]]) -> list[list[int]]:
    """What the decoder wrote in each window. Its segments share one result, which begins with what was given to it."""
    windows: dict[int, list[int]] = {}
    for segment in segments:
        if id(segment["result"]) not in windows:
            windows[id(segment["result"])] = segment["result"][segment["idxs"][0] :].tolist()
    return list(windows.values())


class Speller(Recogniser):
    """One pass names the likeliest letter of every moment; repetitions and blanks fall out afterwards (CTC).

    No language model mends the spelling, also where a checkpoint brings one along.
    """

    last_phase = "forward"

    def run(self, prepared: Prepared, stopwatch: Stopwatch, max_new_tokens: int) -> Any:  # noqa: ARG002
        """The letter of every moment."""
        return self._model(**prepared.inputs).logits[0].argmax(dim=-1)

    def read(self, prepared: Prepared, raw: Any, prompt: Prompt) -> Result:  # noqa: ARG002
        """The text. Special tokens are not skipped: the blank is one, and keeps the two letters of `ll` apart."""
        return Result(text=self._tokenizer.decode(raw.tolist()).strip())


def write_whisper(folder: Path, *, n_text_tokens: int = 50_257, window_s: int = 30, **shape: int) -> None:
    """Write a multilingual Whisper with random weights.

    Args:
        folder: Empty.
        n_text_tokens: Of the vocabulary, without languages, marks and timestamps; 256 or more.
        window_s: Seconds that it looks at.
        shape: Of `WhisperConfig`, whose defaults are whisper-tiny.
    """
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    languages = [f"<|{language}|>" for language in itertools.islice(LANGUAGES, 99)]
    tasks = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    marks = ["<|endoftext|>", "<|startoftranscript|>", *languages, *tasks]
    vocabulary = {token: place for place, token in enumerate([*_text_tokens(n_text_tokens), *marks])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=marks[1:])
    n_moments = 50 * window_s  # of 20 ms: positions of the encoder, and as many timestamps
    end, start = vocabulary["<|endoftext|>"], vocabulary["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(vocabulary) + n_moments + 1,
        max_source_positions=n_moments,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        begin_suppress_tokens=None,
        **shape,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        max_length=config.max_target_positions,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={language: vocabulary[language] for language in languages},
        task_to_id={"translate": vocabulary["<|translate|>"], "transcribe": vocabulary["<|transcribe|>"]},
        task="transcribe",
        no_timestamps_token_id=vocabulary["<|notimestamps|>"],
        prev_sot_token_id=vocabulary["<|startofprev|>"],
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=[vocabulary[mark] for mark in (marks[1], *tasks[:-1])],
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=window_s).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _text_tokens(n: int) -> list[str]:
    """Entries of a byte-level vocabulary: every byte, then letters combined, at a word's start and inside."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = (part for n in itertools.count(2) for part in itertools.product(string.ascii_lowercase, repeat=n))
    parts = (start + "".join(part) for part in letters for start in ("Ġ", ""))
    return list(itertools.islice(itertools.chain(sorted(ByteLevel.alphabet()), parts), n))


TASK = Task(
    name="automatic-speech-recognition",
    title="Automatic speech recognition",
    takes="a sound",
    returns="its words",
    inputs=InputColumns(
        media=("file_name", "audio", "file", "path"),
        media_kind="audio",
        reference=("text", "transcription", "transcript", "sentence", "reference"),
        scorer="words",
    ),
    prompts="spoken",
    published="aies-speech",
    metric="word error rate (jiwer)",
    sizes=("audio_s", "output_tokens"),
    model="openai/whisper-tiny",
    loads="AutoModelForSpeechSeq2Seq or AutoModelForCTC",
    phases=("encode", "decode"),
    imports=("soundfile", "scipy"),
    max_new_tokens=224,
    note=(
        "Reading the file, resampling it and its spectrogram are outside of the query. Whisper pads every sound to "
        "30 s, so encoding a short one costs as much as encoding 30 s. Where its generation config names no language, "
        "it encodes the sound once more, first, to tell which it is. CTC models have the one phase `forward`."
    ),
    open=_open,
    stand_in=StandIn(name="whisper-tiny", write=write_whisper),
)
