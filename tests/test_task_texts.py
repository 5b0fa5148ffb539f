"""The four tasks over texts, their scorers and their embedded sets, on models of a few thousand parameters."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from harness.clock import SessionClock
from harness.engine.checkpoint import LoadOptions, open_checkpoint
from harness.engine.source import locate
from harness.engine.task import vocabulary
from harness.engine.task.catalogue import options_of, task_named
from harness.engine.task.engine import TaskEngine
from harness.engine.task.runner import Place
from harness.engine.tasks import question_answering, sentence_similarity, summarization, text_classification
from harness.errors import EnvironmentFault, ScoringFailed, UnknownName, UnusableInput, UsageError
from harness.records import FindingCode, Generation, Prompt
from harness.scoring import rouge
from harness.scoring.catalogue import scorer

TASKS = ("summarization", "question-answering", "text-classification", "sentence-similarity")
WINDOW = 32
TINY_BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TINY_DISTIL = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
TINY_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
TINY_BART = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": WINDOW,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 1,
}
LONG = "The sea rises and falls twice a day because the moon pulls at it. " * 12
SETS = Path(__file__).parents[1] / "harness" / "assets" / "prompts"


def prompt(text: str, text_pair: str | None = None, reference: str | None = None) -> Prompt:
    return Prompt(prompt_id="p1", text=text, text_pair=text_pair, reference=reference)


def engine(task: str, folder: Path, **options: str) -> TaskEngine:
    made = TaskEngine(
        task=task_named(task),
        options=options_of(task_named(task), options),
        source=str(folder),
        revision="main",
        clock=SessionClock(),
        device="cpu",
    )
    made.load()
    return made


def place(folder: Path, **options: str) -> Place:
    return Place(source=locate(str(folder)), revision="main", device="cpu", options=options)


def answer(task: TaskEngine, asked: Prompt, max_new_tokens: int = 8) -> Generation:
    return task.generate(asked, "default", max_new_tokens, seed=0)


@pytest.fixture(scope="module")
def tokenizers() -> tuple[Any, Any]:
    """Word pieces and byte pairs, as of checkpoints that name no limit."""
    return vocabulary.word_pieces(10**30, segments=True), vocabulary.byte_pairs(10**30)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tokenizers: tuple[Any, Any]) -> Callable[..., Path]:
    """Makes a model `family` for a `head`. RoBERTa's positions begin at 2."""
    folder = tmp_path_factory.mktemp("models")
    word_pieces, byte_pairs = tokenizers

    def made(family: str, head: str, **settings: Any) -> Path:
        own = {"DistilBert": TINY_DISTIL, "T5": TINY_T5, "Bart": TINY_BART}.get(family, TINY_BERT)
        if family in ("Bert", "DistilBert"):
            own = {**own, "max_position_embeddings": WINDOW}
        if family == "Roberta":
            own = {**own, "max_position_embeddings": WINDOW + 2, "pad_token_id": 1}
        tokenizer = byte_pairs if family in ("T5", "Bart") else word_pieces
        generation = settings.pop("generation", {})
        keywords = settings.pop("keywords", {})
        config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **{**own, **settings})
        torch.manual_seed(0)
        model = getattr(transformers, family + head)(config, **keywords)
        if generation:
            model.generation_config = transformers.GenerationConfig(
                **{**model.generation_config.to_dict(), **generation}
            )
        path = folder / f"{len(list(folder.iterdir()))}-{family}"
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return path

    return made


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stand-ins' own functions, asked for tiny shapes."""
    folder = tmp_path_factory.mktemp("stand-ins")
    paths = {name: folder / name for name in TASKS}
    for path in paths.values():
        path.mkdir()
    torch.manual_seed(0)
    summarization.write_stand_in(paths["summarization"], **TINY_T5)
    question_answering.write_stand_in(paths["question-answering"], **TINY_DISTIL)
    text_classification.write_stand_in(paths["text-classification"], **TINY_DISTIL)
    sentence_similarity.write_stand_in(paths["sentence-similarity"], **TINY_BERT)
    return paths


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SETS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


# --- all four ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_stand_in_answers_the_embedded_set(name: str, stand_ins: dict[str, Path]) -> None:
    task, judge = task_named(name), scorer(task_named(name).inputs.scorer or "")
    own = engine(name, stand_ins[name])
    for row in rows(task.prompts)[:3]:
        reference = next(row[column] for column in task.inputs.reference if column in row)
        pair = [row[column] for column in task.inputs.text_pair if column in row]
        asked = prompt(row[task.inputs.text[0]], *pair)
        given = answer(own, asked)
        assert tuple(phase.name for phase in given.phases) == task.phases
        assert set(given.sizes) == set(task.sizes)
        assert given.sizes["prompt_tokens"] > len(asked.text.split())
        assert given.findings == ()
        assert judge.score(given.answer, reference if isinstance(reference, str) else json.dumps(reference))
    assert own.warnings() == ()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_text_is_named_and_the_next_query_runs(name: str, text: str, stand_ins: dict[str, Path]) -> None:
    own = engine(name, stand_ins[name])
    named = {"question-answering": "question", "sentence-similarity": "first sentence"}.get(name, "text")
    with pytest.raises(UnusableInput, match=rf"The {named} of p1 is empty"):
        answer(own, prompt(text, "The other one."))
    assert answer(own, prompt("One.", "The other one.")).phases


@pytest.mark.parametrize(
    ("name", "missing"), [("question-answering", "passage"), ("sentence-similarity", "second sentence")]
)
def test_missing_second_text_is_named(name: str, missing: str, stand_ins: dict[str, Path]) -> None:
    with pytest.raises(UnusableInput, match=rf"The {missing} of p1 is empty"):
        answer(engine(name, stand_ins[name]), prompt("Where is the sea?"))


@pytest.mark.parametrize("family", ["Roberta", "Bert", "DistilBert"])
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("text-classification", "ForSequenceClassification"),
        ("question-answering", "ForQuestionAnswering"),
        ("sentence-similarity", "Model"),
    ],
)
def test_encoders_take_long_texts(name: str, head: str, family: str, tiny: Callable[..., Path]) -> None:
    own = engine(name, tiny(family, head))
    given = answer(own, prompt(LONG if head != "ForQuestionAnswering" else "Why?", LONG))
    if name == "question-answering":  # nothing is left out
        assert given.sizes["prompt_tokens"] > len(LONG.split())
        assert given.findings == ()
    else:
        n_texts = 2 if name == "sentence-similarity" else 1
        assert given.sizes["prompt_tokens"] == n_texts * WINDOW
        assert [finding.code for finding in given.findings] == [FindingCode.INPUT_TRUNCATED] * n_texts
        assert given.findings[0].detail.startswith(f"{WINDOW} of 1")


def test_the_wrong_kind_of_model_is_refused(stand_ins: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="AutoModelForSeq2SeqLM cannot load"):
        engine("summarization", stand_ins["text-classification"])


# --- classification ---------------------------------------------------------------------------------------


def test_class_is_the_models_own_and_an_unknown_reference_is_not_compared(stand_ins: dict[str, Path]) -> None:
    own = engine("text-classification", stand_ins["text-classification"])
    known = answer(own, prompt("What a joy.", reference="positive"))
    assert known.text in ("NEGATIVE", "POSITIVE")
    assert known.comparable
    unknown = answer(own, prompt("What a joy.", reference="sports"))
    assert not unknown.comparable
    assert unknown.findings[0].code == FindingCode.LABEL_UNKNOWN
    assert unknown.findings[0].detail == "sports is not among NEGATIVE, POSITIVE"


def test_nameless_classes_can_be_named(tiny: Callable[..., Path]) -> None:
    folder = tiny("Bert", "ForSequenceClassification")
    asked = prompt("What a joy.", reference="POSITIVE")
    nameless = answer(engine("text-classification", folder), asked)
    assert nameless.text in ("LABEL_0", "LABEL_1")
    assert "LABEL_0, LABEL_1 (`--set task_options.labels=` names them" in nameless.findings[0].detail
    named = answer(engine("text-classification", folder, labels="negative, positive"), asked)
    assert named.text == ["negative", "positive"][int(nameless.text[-1])]
    assert named.comparable
    with pytest.raises(UsageError, match=r"2 classes, and task_options\.labels names 3"):
        engine("text-classification", folder, labels="a,b,c")


def test_regression_is_no_classification(tiny: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="gives a number, not a class"):
        engine("text-classification", tiny("Bert", "ForSequenceClassification", num_labels=1))


# --- question answering -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answerer(tiny: Callable[..., Path]) -> question_answering.Answerer:
    return question_answering.Answerer(place(tiny("Roberta", "ForQuestionAnswering")))


CITY = " ".join(f"In the year {year} nothing happened." for year in range(1900, 1920)) + " Then Ada came to Lisbon."
ASKED = prompt("Where did Ada go?", CITY)


def scores(windows: list[Any], marked: dict[tuple[int, int], tuple[float, float]]) -> list[Any]:
    """Zero everywhere but where (window, token) has a score as a start and as an end."""
    found = [(torch.zeros(len(w.offsets) + w.first + 1), torch.zeros(len(w.offsets) + w.first + 1)) for w in windows]
    for (window, token), (start, end) in marked.items():
        found[window][0][token], found[window][1][token] = start, end
    return found


def test_windows_cover_the_passage_and_overlap(answerer: question_answering.Answerer) -> None:
    prepared = answerer.prepare(ASKED, 0)
    windows = prepared.inputs
    lengths = [window.inputs["input_ids"].shape[1] for window in windows]
    assert len(windows) > 3
    assert max(lengths) == WINDOW
    assert prepared.sizes["prompt_tokens"] == sum(lengths)
    question = windows[0].inputs["input_ids"][0, : windows[0].first]
    for before, window in itertools.pairwise(windows):
        assert torch.equal(window.inputs["input_ids"][0, : window.first], question)
        assert window.offsets[0][0] < before.offsets[-1][1]
    read = {at for window in windows for start, end in window.offsets for at in range(start, end)}
    assert {at for at, letter in enumerate(CITY) if letter != " "} <= read


def test_the_best_stretch_of_all_windows_answers(answerer: question_answering.Answerer) -> None:
    prepared = answerer.prepare(ASKED, 0)
    last = prepared.inputs[-1]
    begins = next(at for at, (start, _) in enumerate(last.offsets) if CITY[start:].startswith("Lisbon"))
    ends = next(at for at, (_, end) in enumerate(last.offsets) if CITY[:end].endswith("Lisbon"))
    raw = scores(prepared.inputs, {(0, prepared.inputs[0].first): (4.0, 4.0)})
    raw[-1][0][last.first + begins] = raw[-1][1][last.first + ends] = 5.0
    assert answerer.read(prepared, raw, ASKED).text == "Lisbon"


def test_no_answer_needs_every_window_to_say_so(answerer: question_answering.Answerer) -> None:
    prepared = answerer.prepare(ASKED, 0)
    every = {(window, 0): (9.0, 9.0) for window in range(len(prepared.inputs))}
    assert answerer.read(prepared, scores(prepared.inputs, every), ASKED).text == ""
    but_one = {key: value for key, value in every.items() if key[0] != 1}
    assert answerer.read(prepared, scores(prepared.inputs, but_one), ASKED).text != ""


def test_a_stretch_goes_forwards_is_short_and_stays_in_the_passage() -> None:
    n_tokens, first = 40, 3
    window = question_answering.Window(
        inputs={}, null_at=0, first=first, offsets=[(2 * at, 2 * at + 1) for at in range(n_tokens)]
    )
    for seed in range(20):
        torch.manual_seed(seed)
        starts, ends = torch.randn(n_tokens + first + 1), torch.randn(n_tokens + first + 1)
        starts[0] = ends[1] = starts[-1] = 50.0
        stretches = [
            (float(starts[first + one] + ends[first + other]), (2 * one, 2 * other + 1))
            for one in range(n_tokens)
            for other in range(one, min(n_tokens, one + question_answering.LONGEST_ANSWER_TOKENS))
        ]
        score, stretch = question_answering._best(window, starts, ends)
        assert stretch == max(stretches)[1]
        assert score == pytest.approx(max(stretches)[0])


def test_a_question_that_fills_the_window_is_unusable(answerer: question_answering.Answerer) -> None:
    with pytest.raises(UnusableInput, match=r"leaves no room for its passage: the model takes 32 at once"):
        answerer.prepare(prompt(LONG, "A passage."), 0)


# --- summarization ----------------------------------------------------------------------------------------


def test_a_summary_is_what_generate_writes_behind_the_prefix(stand_ins: dict[str, Path]) -> None:
    folder = stand_ins["summarization"]
    given = answer(engine("summarization", folder), prompt("The sea rises."), max_new_tokens=6)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    asked = tokenizer("summarize: The sea rises.", return_tensors="pt")
    ids = model.generate(**asked, do_sample=False, num_beams=1, max_new_tokens=6)[0][1:]
    assert given.rendered_prompt == "summarize: The sea rises."
    assert given.text == tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert given.sizes == {"prompt_tokens": asked["input_ids"].shape[1], "output_tokens": len(ids)}


def test_the_models_own_prefix_goes_first(tiny: Callable[..., Path]) -> None:
    own = {"task_specific_params": {"summarization": {"prefix": "tl;dr: ", "num_beams": 4}}, "n_positions": WINDOW}
    folder = tiny("T5", "ForConditionalGeneration", decoder_start_token_id=0, **own)
    given = answer(engine("summarization", folder), prompt(LONG))
    assert given.rendered_prompt.startswith("tl;dr: The sea")
    assert given.sizes["prompt_tokens"] == WINDOW
    assert [finding.code for finding in given.findings] == [FindingCode.INPUT_TRUNCATED]


def test_bart_has_no_prefix_no_beams_and_shows_the_cap(tiny: Callable[..., Path]) -> None:
    beams = {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0, "max_length": 30, "min_length": 9}
    own = engine("summarization", tiny("Bart", "ForConditionalGeneration", generation=beams))
    given = answer(own, prompt(LONG), max_new_tokens=8)
    assert given.rendered_prompt == LONG
    assert given.sizes == {"prompt_tokens": WINDOW, "output_tokens": 8}
    assert given.finish_reason == "length"
    assert given.text
    assert own.warnings() == ()


def test_without_its_task_a_summarizer_is_told_to_name_it(tmp_path: Path) -> None:
    transformers.BartConfig(**TINY_BART).save_pretrained(tmp_path)  # the auto class for language models would load it
    options = LoadOptions(device="cpu", dtype="auto", attention="default", trust_remote_code=False, allow_pickle=False)
    with pytest.raises(UsageError, match="encoder-decoder") as raised:
        open_checkpoint(locate(str(tmp_path)), "main", options)
    assert "--task summarization" in raised.value.next_step


# --- sentence similarity ----------------------------------------------------------------------------------


def test_a_sentence_is_like_itself_and_padding_changes_nothing(stand_ins: dict[str, Path]) -> None:
    folder = stand_ins["sentence-similarity"]
    own = engine("sentence-similarity", folder)
    one, other = "The sea rises.", "A man plays the piano on a small stage in the town."
    assert answer(own, prompt(one, one)).text == "1.000000"
    given = answer(own, prompt(one, other))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    alone = [tokenizer(text, return_tensors="pt") for text in (one, other)]
    with torch.no_grad():
        means = [model(**text).last_hidden_state[0].mean(dim=0) for text in alone]
    assert float(given.text) == pytest.approx(float(torch.cosine_similarity(*means, dim=0)), abs=2e-6)
    assert given.sizes["prompt_tokens"] == sum(text["input_ids"].shape[1] for text in alone)


STATES = torch.tensor([[[1.0, -5.0], [3.0, -1.0], [9.0, 9.0]], [[2.0, 2.0], [4.0, 0.0], [0.0, 7.0]]])


@pytest.mark.parametrize(
    ("pooling", "padded_left", "vectors"),
    [
        ("mean", False, [[2.0, -3.0], [2.0, 3.0]]),
        ("max", False, [[3.0, -1.0], [4.0, 7.0]]),
        ("cls", False, [[1.0, -5.0], [2.0, 2.0]]),
        ("lasttoken", False, [[3.0, -1.0], [0.0, 7.0]]),
        ("lasttoken", True, [[9.0, 9.0], [0.0, 7.0]]),
        ("cls", True, [[3.0, -1.0], [2.0, 2.0]]),
    ],
)
def test_pooling_leaves_padding_out(pooling: str, padded_left: bool, vectors: list[list[float]]) -> None:
    mask = torch.tensor([[0, 1, 1] if padded_left else [1, 1, 0], [1, 1, 1]])
    assert sentence_similarity._pooled(STATES, mask, pooling).tolist() == vectors


@pytest.mark.parametrize(
    ("files", "poolings"),
    [
        ({}, ("mean",)),
        ({"1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, ("cls",)),
        ({"1_Pooling/config.json": {"pooling_mode": "lasttoken"}}, ("lasttoken",)),
        (
            {"1_Pooling/config.json": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}},
            ("max", "mean"),
        ),
        ({"1_Pooling/config.json": {"pooling_mode_weightedmean_tokens": True}}, "pools its tokens by weightedmean"),
        (
            {"modules.json": [{"type": "sentence_transformers.models.Pooling"}, {"type": "a.b.Dense"}]},
            "has a Dense layer behind its pooling",
        ),
    ],
)
def test_pooling_is_the_checkpoints(files: dict[str, Any], poolings: tuple[str, ...] | str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    if isinstance(poolings, str):
        with pytest.raises(UsageError, match=poolings):
            sentence_similarity._poolings(place(tmp_path))
    else:
        assert sentence_similarity._poolings(place(tmp_path)) == poolings


def test_a_checkpoint_may_lack_a_pooler_and_take_less_than_its_model(tiny: Callable[..., Path]) -> None:
    folder = tiny("Bert", "Model", keywords={"add_pooling_layer": False})
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 10}))
    own = engine("sentence-similarity", folder)
    assert answer(own, prompt(LONG, "The sea.")).sizes["prompt_tokens"] == 10 + 5
    assert answer(own, prompt("The sea.", "The sea.")).text == "1.000000"


# --- scorers ----------------------------------------------------------------------------------------------


def values(name: str, said: str, reference: str) -> dict[str, Any]:
    return scorer(name).score(said, reference).values


@pytest.mark.parametrize(
    ("said", "reference", "exact", "f1"),
    [
        ("the Eiffel tower.", "Eiffel Tower", 1, 1),
        ("Paris", '["Lyon", "Paris"]', 1, 1),
        ("in Paris, France", '["Paris", "Paris France"]', 0, 0.8),
        ("Rome", "Paris", 0, 0),
        ("no no no", "no", 0, 0.5),
        ("", "[]", 1, 1),
        ("", "", 1, 1),
        ("", '[""]', 1, 1),
        ("Paris", "[]", 0, 0),
        ("", "Paris", 0, 0),
        ("[1] see", "[1] see", 1, 1),
        ("A", "the", 1, 1),
    ],
)
def test_extractive_compares_as_squad_does(said: str, reference: str, exact: int, f1: float) -> None:
    given = scorer("extractive").score(said, reference)
    assert given.correct is bool(exact)
    assert given.values == {"exact_match": exact, "f1": pytest.approx(f1)}


def test_rouge_counts_words_pairs_and_orders() -> None:
    given = scorer("rouge").score("The dogs ran home", "A dog running home quickly")
    assert given.correct is None
    # Stemmed: dog, home in common of 4 and 5 words (ran is another stem than run); no pair; both in order.
    assert given.values == {name: pytest.approx(f) for name, f in (("rouge1", 4 / 9), ("rouge2", 0), ("rougeL", 4 / 9))}
    best = values("rouge", "The sea rises.", '["A cat sleeps.", "the sea rises"]')
    assert best == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    assert set(values("rouge", "", "The sea rises.").values()) == {0.0}
    with pytest.raises(UsageError, match="holds no text"):
        scorer("rouge").score("The sea.", "[]")


def test_rouge_asks_nltk_for_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    nltk = importlib.import_module("nltk")

    def fails(*_: object, **__: object) -> None:
        raise AssertionError("nltk's data were asked for")

    for name in ("find", "load"):
        monkeypatch.setattr(nltk.data, name, fails)
    monkeypatch.setattr(nltk, "download", fails)
    assert values("rouge", "Rising seas. Falling seas.", "The sea rises.")["rouge1"] > 0


def test_rouge_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rouge, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFault, match="rouge-score") as caught:
        scorer("rouge")
    assert "pip install 'inference-energy-harness[tasks]'" in caught.value.next_step


def test_similarity_reads_two_numbers() -> None:
    given = scorer("similarity").score("0.912300", "4.6")
    assert given.correct is None
    assert given.values == {"similarity": 0.9123, "reference": 4.6}
    with pytest.raises(UsageError, match="reference 'high'"):
        scorer("similarity").score("0.5", "high")
    with pytest.raises(ScoringFailed, match="answer 'nan'"):
        scorer("similarity").score("nan", "3")


def test_scorers_need_no_library_to_be_listed() -> None:
    code = (
        "import sys; from harness.scoring.catalogue import scorer; scorer('extractive'); scorer('similarity')\n"
        "assert not {'rouge_score', 'nltk', 'torch', 'jiwer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(UnknownName):
        scorer("rogue")


# --- embedded sets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n_rows", "fields"),
    [
        ("articles", 12, ["prompt_id", "text", "summary"]),
        ("passages", 20, ["prompt_id", "question", "context", "answers"]),
        ("remarks", 32, ["prompt_id", "text", "label"]),
        ("sentence-pairs", 24, ["prompt_id", "sentence1", "sentence2", "score"]),
    ],
)
def test_sets_are_well_formed(name: str, n_rows: int, fields: list[str]) -> None:
    found = rows(name)
    assert len(found) == n_rows
    assert [list(row) for row in found] == [fields] * n_rows
    assert len({row["prompt_id"] for row in found}) == len({row[fields[1]] for row in found}) == n_rows
    for text in (value for row in found for value in row.values() if isinstance(value, str)):
        assert text == text.strip()
        assert text.isascii()
        assert text.replace("\n", "").isprintable()


def n_words(text: str) -> int:
    return len(text.split())


def test_articles_alternate_short_and_long_and_have_short_summaries() -> None:
    lengths = [n_words(row["text"]) for row in rows("articles")]
    assert all(120 <= length <= 400 for length in lengths)
    assert max(lengths[::2]) < min(lengths[1::2])
    assert all(20 <= n_words(row["summary"]) <= 60 for row in rows("articles"))


def test_passages_hold_their_answers() -> None:
    found = rows("passages")
    assert all(60 <= n_words(row["context"]) <= 150 for row in found)
    assert all(text in row["context"] for row in found for text in row["answers"])
    assert [sum(not row["answers"] for row in half) for half in (found[:10], found[10:])] == [1, 1]


def test_prefixes_of_remarks_are_fair() -> None:
    found = rows("remarks")
    for n in range(4, 33, 4):
        for label in ("POSITIVE", "NEGATIVE"):
            lengths = [n_words(row["text"]) for row in found[:n] if row["label"] == label]
            assert len(lengths) == n / 2
            assert sum(length > 25 for length in lengths) == n / 4


def test_prefixes_of_sentence_pairs_are_spread() -> None:
    found = [row["score"] for row in rows("sentence-pairs")]
    assert min(found) == 0
    assert max(found) == 5
    for n in range(6, 25, 6):
        assert sum(score >= 2.5 for score in found[:n]) == n / 2
        assert len({round(score) for score in found[:n]}) >= 5


# --- stand-ins --------------------------------------------------------------------------------------------


def test_a_vocabulary_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib; from harness.engine.task.vocabulary import _entries\n"
        "print(hashlib.sha256('\\n'.join(_entries()).encode()).hexdigest())"
    )
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert again == hashlib.sha256("\n".join(vocabulary._entries()).encode()).hexdigest()


def test_vocabularies_cut_words_as_finely_as_real_ones(tokenizers: tuple[Any, Any]) -> None:
    found = [row["text"] for row in rows("articles")]
    for tokenizer in tokenizers:
        n_tokens = sum(len(ids) for ids in tokenizer(found)["input_ids"])
        assert 1.2 < n_tokens / sum(map(n_words, found)) < 1.5
        assert tokenizer.decode(tokenizer("the sea, 1945!")["input_ids"], skip_special_tokens=True) == "the sea, 1945!"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [
        ("summarization", 60_506_624),  # google-t5/t5-small
        ("question-answering", 66_364_418),  # distilbert: 66,362,880 and a head of 2 x 769
        ("text-classification", 66_955_010),
        ("sentence-similarity", 22_713_216),  # all-MiniLM-L6-v2
    ],
)
def test_stand_ins_have_the_real_shape(name: str, n_parameters: int, tmp_path: Path) -> None:
    stand_in = task_named(name).stand_in
    assert stand_in is not None
    stand_in.write(tmp_path)
    own = engine(name, tmp_path)
    assert own._runner is not None
    assert sum(weight.numel() for weight in own._runner.opened.model.parameters()) == n_parameters
    assert answer(own, prompt("The sea rises.", "The sea falls."), max_new_tokens=2).phases
