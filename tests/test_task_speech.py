"""Speech recognition on tiny models with random weights, its wrong inputs, its embedded set and its scorer."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
import torch
import transformers

from harness.analysis.figures import as_figures, figures_in
from harness.analysis.measured import devices_by_session, figures_of
from harness.analysis.stored import query_columns
from harness.clock import SessionClock
from harness.engine.revision import resolve_revision
from harness.engine.source import locate
from harness.engine.task import loading
from harness.engine.task.engine import TaskEngine
from harness.engine.task.media import sound_of
from harness.engine.task.runner import Opened, Place
from harness.engine.tasks.automatic_speech_recognition import TASK, write_whisper
from harness.errors import EnvironmentFault, UnusableInput, UsageError
from harness.records import Boundary, FindingCode, Generation, Media, Prompt
from harness.scoring.catalogue import scorer
from harness.scoring.words import words
from tests.synthetic_runs import query, reading

ROOT = Path(__file__).parents[1]
SPOKEN = ROOT / "harness" / "assets" / "prompts" / "spoken"
RATE_HZ = 16_000
N_POSITIONS = 32
TINY = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2} | {
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_mel_bins": 8,
    "max_target_positions": N_POSITIONS,
}
"""Of a Whisper whose window is one second."""


def noise(duration_s: float, rate_hz: int = RATE_HZ) -> Any:
    return 0.3 * np.random.default_rng(0).standard_normal(round(duration_s * rate_hz)).clip(-3, 3)


def encoded(samples: Any, rate_hz: int = RATE_HZ, kind: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind)
    return file.getvalue()


def media(content: bytes, name: str = "sound.flac") -> Media:
    return Media(name=name, sha256=hashlib.sha256(content).hexdigest(), content=content)


def prompt_of(content: bytes) -> Prompt:
    return Prompt(prompt_id="sound-1", text="", media=media(content))


SHORT = prompt_of(encoded(noise(0.6)))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whisper")
    write_whisper(folder, n_text_tokens=300, window_s=1, **TINY)
    return folder


Load = Callable[..., TaskEngine]


@pytest.fixture
def load(whisper: Path, tmp_path: Path) -> Iterator[Load]:
    """An engine over the tiny Whisper, or another directory; `generation` changes its generation config (None: out)."""
    engines = []

    def make(folder: Path = whisper, **generation: Any) -> TaskEngine:
        if generation:
            copy = tmp_path / "copy"
            copy.mkdir()
            for file in folder.iterdir():
                (copy / file.name).symlink_to(file)
            own = json.loads((folder / "generation_config.json").read_text()) | generation
            (copy / "generation_config.json").unlink()
            kept = {name: value for name, value in own.items() if value is not None}
            (copy / "generation_config.json").write_text(json.dumps(kept))
            folder = copy
        revision = resolve_revision(str(folder))
        engine = TaskEngine(
            task=TASK, options={}, source=str(folder), revision=revision, clock=SessionClock(), device="cpu"
        )
        engine.load()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


def ask(engine: TaskEngine, prompt: Prompt = SHORT, cap: int = 6) -> Generation:
    return engine.generate(prompt, "default", cap, 0)


def assert_phases_touch(generation: Generation) -> None:
    assert all(one.time_end_s == next_.time_start_s for one, next_ in itertools.pairwise(generation.phases))
    assert all(phase.time_end_s >= phase.time_start_s for phase in generation.phases)


def plain_ids(folder: Path, samples: Any, **settings: Any) -> list[int]:
    """What plain transformers writes."""
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    features = transformers.WhisperFeatureExtractor.from_pretrained(folder)(
        samples.astype(np.float32), sampling_rate=RATE_HZ, return_tensors="pt", **settings
    )
    found: list[int] = model.generate(**features, max_new_tokens=6)[0].tolist()
    return found


# ------------------------------------------------------------------------------------ Whisper


def test_a_model_of_many_languages_encodes_twice_and_is_told_so_by_its_phases(load: Load) -> None:
    generation = ask(load())
    assert [phase.name for phase in generation.phases] == ["encode", "decode", "encode", "decode"]
    assert_phases_touch(generation)
    assert generation.sizes["audio_s"] == pytest.approx(0.6)
    assert generation.rendered_prompt.endswith("0.600 s")


def test_a_model_that_knows_the_language_encodes_once(load: Load) -> None:
    generation = ask(load(language="en"))
    assert [phase.name for phase in generation.phases] == ["encode", "decode"]
    assert_phases_touch(generation)


def test_what_is_written_is_what_plain_transformers_writes(load: Load, whisper: Path) -> None:
    samples, _ = soundfile.read(io.BytesIO(SHORT.media.content or b"") if SHORT.media else "")
    ids = plain_ids(whisper, samples)
    text = transformers.AutoTokenizer.from_pretrained(whisper).decode(ids, skip_special_tokens=True)
    generation = ask(load())
    assert generation.text == text.strip()
    assert generation.sizes["output_tokens"] == generation.sizes["answer_tokens"] == len(ids) == 6
    assert generation.finish_reason == "length"


def test_an_end_mark_is_counted_and_ends_an_answer(load: Load, whisper: Path) -> None:
    samples, _ = soundfile.read(io.BytesIO(SHORT.media.content or b"") if SHORT.media else "")
    ids = plain_ids(whisper, samples)
    generation = ask(load(eos_token_id=ids[-1]))
    assert generation.sizes["output_tokens"] == ids.index(ids[-1]) + 1
    assert generation.finish_reason == "stop"


def test_a_cap_beyond_the_models_positions_is_what_they_hold(load: Load) -> None:
    generation = ask(load(), cap=224)
    assert generation.sizes["output_tokens"] == N_POSITIONS - 4
    assert generation.finish_reason == "length"


def test_a_long_sound_is_done_window_by_window(load: Load) -> None:
    generation = ask(load(language="en"), prompt_of(encoded(noise(2.5))))
    n_windows = [phase.name for phase in generation.phases].count("encode")
    assert n_windows >= 3
    assert [phase.name for phase in generation.phases] == ["encode", "decode"] * n_windows
    assert_phases_touch(generation)
    assert generation.sizes["audio_s"] == pytest.approx(2.5)
    assert n_windows <= generation.sizes["output_tokens"] <= 6 * n_windows
    assert generation.findings == ()


def test_a_model_that_cannot_go_on_loses_the_end_of_a_long_sound_and_says_so(load: Load) -> None:
    generation = ask(load(language="en", no_timestamps_token_id=None), prompt_of(encoded(noise(2.5))))
    assert [finding.code for finding in generation.findings] == [FindingCode.INPUT_TRUNCATED]
    assert generation.findings[0].detail == "sound-1: 1.0 of 2.5 s"
    assert generation.sizes["audio_s"] == 1.0


def test_the_manifest_holds_the_models_own_generation_and_that_it_is_greedy(load: Load, whisper: Path) -> None:
    engine = load()
    facts = engine.load().generation_config
    assert (facts["task"], facts["num_beams"], facts["do_sample"]) == ("transcribe", 1, False)


def test_phases_that_come_again_are_added_up_whoever_reads_them() -> None:
    once = reading(9.0, phases={"encode": 0.25, "decode": 0.75}, duration_s=4.0)
    again = reading(3.0, phases={"encode": 0.5, "decode": 0.5}, time_start_s=4.0, duration_s=2.0)
    whole = reading(12.0, duration_s=6.0).model_copy(update={"phases": once.phases + again.phases})
    other = reading(1.0, phases={"decode": 1.0}, duration_s=6.0)
    queries = [query(number, "default", None, readings=[each]) for number, each in enumerate([whole, other])]
    boundary = Boundary.GPU_BOARD
    devices = devices_by_session(queries, boundary)[0]
    one_by_one = as_figures([figures_of(each, boundary, devices) for each in queries])
    for figures in (one_by_one, figures_in(query_columns(queries), boundary)):
        assert figures.phase_names() == ["encode", "decode"]
        np.testing.assert_allclose(figures.phases_s["encode"], [2.0, np.nan])
        np.testing.assert_allclose(figures.phases_s["decode"], [4.0, 6.0])
        np.testing.assert_allclose(figures.phases_j["encode"].energy_j, [3.75, 0.0])
        np.testing.assert_allclose(figures.phases_j["decode"].energy_j, [8.25, 1.0])


# ------------------------------------------------------------------------------------ CTC


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGH"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def test_a_ctc_model_has_one_phase_and_its_likeliest_letters_are_the_answer(load: Load, speller: Path) -> None:
    samples = noise(1.2) * np.linspace(0, 1, round(1.2 * RATE_HZ))
    generation = ask(load(speller), prompt_of(encoded(samples, kind="WAV")))
    assert [phase.name for phase in generation.phases] == ["forward"]
    assert generation.sizes == {"audio_s": pytest.approx(1.2)}

    heard, _ = soundfile.read(io.BytesIO(encoded(samples, kind="WAV")), dtype="float32")
    model = transformers.Wav2Vec2ForCTC.from_pretrained(speller).eval()
    features = transformers.Wav2Vec2FeatureExtractor.from_pretrained(speller)(
        heard, sampling_rate=RATE_HZ, return_tensors="pt"
    )
    with torch.inference_mode():
        ids = model(**features).logits[0].argmax(dim=-1).tolist()
    names = json.loads((speller / "vocab.json").read_text())
    signs = {place: {"|": " ", "<pad>": ""}.get(token, token) for token, place in names.items()}
    collapsed = [place for place, _ in itertools.groupby(ids)]
    text = "".join(signs[place] for place in collapsed)
    assert any(one == other for one, other in itertools.pairwise(text)), "no letter stands twice: choose another seed"
    assert generation.text.split() == text.split()


def test_a_language_model_that_listens_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = SimpleNamespace(can_generate=lambda: True, config=SimpleNamespace(is_encoder_decoder=False))
    monkeypatch.setattr(loading, "open_model", lambda place, autos: Opened(model=model))
    assert TASK.open is not None
    with pytest.raises(UsageError, match="language model that listens"):
        TASK.open(Place(source=locate(str(tmp_path)), revision="", device="cpu"))


# ------------------------------------------------------------------------------------ wrong inputs

FLAC = encoded(noise(0.6))
OGG = encoded(noise(3), kind="OGG")
WRONG = {
    "silence": (encoded(np.zeros(RATE_HZ)), "digital silence"),
    "nearly": (encoded(np.full(RATE_HZ, 5e-5), kind="WAV"), "silent: its peak is -"),
    "text": (b"I am no sound.\n" * 20, "no sound that can be read: it holds text"),
    "empty": (b"", "an empty file"),
    "damaged": (FLAC[: len(FLAC) // 2], "a damaged sound"),
    "holes": (OGG[: len(OGG) // 2] + b"\x55" * 3000 + OGG[len(OGG) // 2 + 3000 :], "a damaged sound: .* of its 3.0 s"),
    "short": (encoded(noise(0.05)), "a sound of 50 ms"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_input_is_refused_in_plain_words_and_the_next_one_is_answered(load: Load, kind: str) -> None:
    content, reason = WRONG[kind]
    engine = load(language="en")
    with pytest.raises(UnusableInput, match=reason):
        ask(engine, prompt_of(content))
    assert ask(engine).sizes["output_tokens"] == 6


def test_a_row_without_a_sound_is_refused(load: Load) -> None:
    with pytest.raises(UnusableInput, match="sound-2 names no file"):
        ask(load(), Prompt(prompt_id="sound-2", text=""))


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.flac"
    file.write_bytes(FLAC)
    kept = Media(name="a.flac", sha256=hashlib.sha256(FLAC).hexdigest(), path=str(file))
    assert sound_of(kept, RATE_HZ)[1] == pytest.approx(0.6)
    file.write_bytes(OGG)
    with pytest.raises(UnusableInput, match="has changed"):
        sound_of(kept, RATE_HZ)


def test_a_sound_of_two_channels_and_another_rate_keeps_its_pitch_and_length() -> None:
    own_hz, pitch_hz = 44_100, 441.0
    wave = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(own_hz) / own_hz)
    sound, audio_s = sound_of(media(encoded(np.stack([wave, wave], axis=1), own_hz, "WAV")), RATE_HZ)
    assert (audio_s, len(sound), str(sound.dtype)) == (1.0, RATE_HZ, "float32")
    assert np.abs(np.fft.rfft(sound)).argmax() == pitch_hz
    assert np.abs(sound[1000:-1000]).max() == pytest.approx(0.5, rel=0.01)


# ------------------------------------------------------------------------------------ the embedded set

ROWS = [json.loads(line) for line in (SPOKEN / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_sounds_that_ship_are_small_and_what_the_table_says() -> None:
    files = {path.name for path in SPOKEN.iterdir()}
    assert files == {row["file_name"] for row in ROWS} | {"metadata.jsonl"}
    assert sum(path.stat().st_size for path in SPOKEN.iterdir()) < 1_500_000
    for row in ROWS:
        sound, audio_s = sound_of(media((SPOKEN / row["file_name"]).read_bytes()), RATE_HZ)
        assert len(sound) == round(audio_s * RATE_HZ)  # nothing was resampled
        assert 2 < audio_s < 9
        assert np.abs(sound).max() < 0.99
        assert 1.5 < len(words(row["text"])) / audio_s < 4


def test_every_four_sounds_are_one_of_each_length() -> None:
    lengths_s = [soundfile.info(SPOKEN / row["file_name"]).duration for row in ROWS]
    quarter = np.argsort(np.argsort(lengths_s)) * 4 // len(lengths_s)
    assert [set(quarter[at : at + 4].tolist()) for at in range(0, 16, 4)] == [{0, 1, 2, 3}] * 4


def test_the_script_makes_these_sentences_and_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("make_spoken")
    assert {(each.text, each.voice) for each in script.SENTENCES} == {(row["text"], row["voice"]) for row in ROWS}
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["make_spoken.py", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="espeak-ng is not installed"):
        script.main()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------ the scorer


@pytest.mark.parametrize(
    ("answer", "reference", "errors", "n_words"),
    [
        ("Hello, World!", "hello world", 0, 2),
        ("the cat sat", "the black cat sat down", 2, 5),
        ("a a b", "b", 2, 1),
        ("", "two words", 2, 2),
        ("Don’t stop", "dont  stop", 0, 2),
        ("1,000.50 euros", "1000.50 euros", 0, 2),
        ("twenty-one", "twenty one", 0, 2),
        ("20", "twenty", 1, 1),
        ("50 %", "50", 0, 1),
        ("ﬁve STRASSE", "five straße", 0, 2),
        ("हिन्दी में", "हिन्दी में", 0, 2),
        ("haben", "häben", 1, 1),
    ],
)
def test_wrong_words_are_counted_after_the_stated_form(answer: str, reference: str, errors: int, n_words: int) -> None:
    score = scorer("words").score(answer, reference)
    assert score.correct is None
    assert score.values == {"word_errors": errors, "reference_words": n_words}


def test_rates_are_jiwers_where_nothing_is_to_be_brought_into_form() -> None:
    random = np.random.default_rng(3)
    judge = scorer("words")
    pairs = [tuple(" ".join(random.choice(list("abcd"), size=n)) for n in random.integers(1, 9, 2)) for _ in range(30)]
    values = [judge.score(answer, reference).values for answer, reference in pairs]
    rate = sum(each["word_errors"] for each in values) / sum(each["reference_words"] for each in values)  # type: ignore[misc]
    assert rate == pytest.approx(jiwer.wer([reference for _, reference in pairs], [answer for answer, _ in pairs]))


def test_a_reference_without_words_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no word"):
        scorer("words").score("hello", " ... ")


def test_without_jiwer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("harness.scoring.words.find_spec", lambda name: None if name == "jiwer" else found(name))
    with pytest.raises(EnvironmentFault, match="jiwer") as error:
        scorer("words")
    assert "[tasks]" in error.value.next_step
