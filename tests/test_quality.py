"""From the scores of answers to figures of quality: known ones are found, and COCO's are the library's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.figures import figures_in
from harness.analysis.quality import METRICS, quality_of, ranks
from harness.analysis.stored import query_columns
from harness.objects import PictureObject, answer_of
from harness.records import Boundary, Finding, FindingCode, Quality, QueryRecord, Score
from harness.scoring.detections import Detections
from tests.synthetic_runs import run_of_queries, summary_of
from tests.synthetic_tasks import TASKS, Values, task_queries, task_query, task_summary

CLASSES = ("dog", "cat", "bicycle")


def qualities(queries: Sequence[QueryRecord]) -> dict[str, Quality]:
    found = quality_of(figures_in(query_columns(queries), Boundary.GPU_BOARD))
    return {each.metric: each for each in found}


def scored(task: str, scores: Sequence[Values | bool | None]) -> list[QueryRecord]:
    """Queries whose scores are right, wrong, or hold these values; None: not compared."""
    return [
        task_query(
            task,
            index,
            20.0,
            sizes={},
            correct=score if isinstance(score, bool) else None,
            values=None if score is None or isinstance(score, bool) else score,
        )
        for index, score in enumerate(scores)
    ]


def codes(quality: Quality) -> set[FindingCode]:
    return {finding.code for finding in quality.figure.findings}


# ------------------------------------------------------------------------------------------- which, and of what


def test_each_task_has_its_figures_the_main_one_first() -> None:
    wanted = {
        "summarization": ["rougeL", "rouge1", "rouge2"],
        "image-captioning": ["rougeL", "rouge1", "rouge2"],
        "question-answering": ["f1", "exact_match"],
        "text-classification": ["accuracy"],
        "image-classification": ["accuracy"],
        "sentence-similarity": ["spearman"],
        "object-detection": ["map", "map_50"],
        "automatic-speech-recognition": ["word_error_rate"],
        "image-generation": [],
    }
    assert wanted.keys() == TASKS.keys()
    for task, metrics in wanted.items():
        (mode,) = task_summary(task).modes
        assert [each.metric for each in mode.quality] == metrics
        for each in mode.quality:
            assert each.n == 12
            assert each.figure.value is not None
            if task == "object-detection":  # 12 pictures are too few for an interval
                assert (each.figure.low, each.figure.high) == (None, None)
                continue
            assert each.figure.low is not None
            assert each.figure.high is not None
            assert each.figure.low <= each.figure.value <= each.figure.high
    assert [metric.name for metric in METRICS if not metric.higher_is_better] == ["word_error_rate"]


def test_text_generation_has_none() -> None:
    summary = summary_of(run_of_queries(6))
    assert all(mode.quality == () and mode.sizes == {} and mode.size_laws == () for mode in summary.modes)
    assert summary.law is not None
    assert task_summary("summarization", task_queries("summarization", 30)).law is None


def test_only_what_was_compared_is_in_it() -> None:
    failed = Finding(code=FindingCode.INPUT_UNUSABLE, detail="empty")
    queries = [
        *scored("text-classification", [True, True, False, None, None, True, True, True]),
        task_query("text-classification", 8, 1.0, sizes={}, correct=True, findings=[failed]),
    ]
    quality = qualities(queries)["accuracy"]
    assert (quality.n, quality.figure.value) == (6, 5 / 6)
    (mode,) = task_summary("text-classification", queries).modes
    assert (mode.n_failed, mode.n_scored, mode.n_correct) == (1, 6, 5)
    assert mode.accuracy == quality.figure


def test_nothing_compared_is_no_figure() -> None:
    assert qualities(scored("summarization", [None] * 6)) == {}


# ---------------------------------------------------------------------------------------- right answers, or grades


def test_graded_answers_are_not_wrong_ones() -> None:
    (graded,) = task_summary("summarization").modes
    assert (graded.n_scored, graded.n_correct) == (12, 0)
    for estimate in (graded.accuracy, graded.energy_per_correct_j):
        assert estimate.value is None
        assert [finding.code for finding in estimate.findings] == [FindingCode.GRADED]
    (unscored,) = task_summary("image-generation").modes
    assert unscored.n_scored == 0
    assert [finding.code for finding in unscored.energy_per_correct_j.findings] == [FindingCode.NOTHING_SCORED]
    (right,) = task_summary("question-answering").modes
    assert right.n_scored == 12
    assert right.energy_per_correct_j.value is not None


def test_two_cells_of_graded_answers_say_so_of_their_ratio() -> None:
    queries = [
        each.model_copy(update={"mode": mode})
        for mode in ("one", "other")
        for each in task_queries("automatic-speech-recognition")
    ]
    summary = task_summary("automatic-speech-recognition", queries, modes=("one", "other"))
    (comparison,) = summary.comparisons
    assert [finding.code for finding in comparison.energy_per_correct.findings] == [FindingCode.GRADED]


# -------------------------------------------------------------------------------------------------- known figures


def test_means_and_the_ratio_of_sums_are_exact() -> None:
    quality = qualities(scored("question-answering", [{"f1": x / 8, "exact_match": float(x > 6)} for x in range(9)]))
    assert quality["f1"].figure.value == pytest.approx(0.5)
    assert quality["exact_match"].figure.value == pytest.approx(2 / 9)
    words = [(0.0, 4.0), (3.0, 3.0), (2.0, 20.0), (9.0, 5.0), (1.0, 8.0)]
    values = [{"word_errors": wrong, "reference_words": n} for wrong, n in words]
    rate = qualities(scored("automatic-speech-recognition", values))["word_error_rate"]
    # A long reference weighs more, and more wrong words than words count.
    assert rate.figure.value == pytest.approx(15 / 40)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=40))
@settings(max_examples=25, deadline=None)
def test_a_mean_s_interval_stays_where_it_may_be(values: list[float]) -> None:
    figure = qualities(scored("summarization", [{"rouge1": value} for value in values]))["rouge1"].figure
    mean = float(np.mean(values))
    assert figure.value == pytest.approx(mean)
    assert figure.low is not None
    assert figure.high is not None
    assert 0.0 <= figure.low <= mean + 1e-12
    assert mean - 1e-12 <= figure.high <= 1.0


@pytest.mark.parametrize("task", ["summarization", "automatic-speech-recognition", "object-detection"])
def test_four_answers_have_a_figure_and_no_interval(task: str) -> None:
    for quality in qualities(task_queries(task, 4)).values():
        assert quality.figure.value is not None
        assert quality.figure.low is None
        assert codes(quality) & {FindingCode.TOO_FEW_QUERIES, FindingCode.FEW_PICTURES}


def pairs(said: Sequence[float], wanted: Sequence[float]) -> list[QueryRecord]:
    both = [{"similarity": a, "reference": b} for a, b in zip(said, wanted, strict=True)]
    return scored("sentence-similarity", both)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=5, max_size=30))
@settings(max_examples=40, deadline=None)
def test_spearman_is_scipy_s_also_with_ties(numbers: list[tuple[int, int]]) -> None:
    from scipy import stats

    said, wanted = (list(map(float, each)) for each in zip(*numbers, strict=True))
    assert ranks(np.array(said)).tolist() == stats.rankdata(said).tolist()
    quality = qualities(pairs(said, wanted))["spearman"]
    if len(set(said)) == 1 or len(set(wanted)) == 1:
        assert quality.figure.value is None
        assert codes(quality) == {FindingCode.NO_QUALITY}
        return
    correlation = float(stats.spearmanr(said, wanted).statistic)
    assert quality.figure.value == pytest.approx(correlation, abs=1e-12)
    if quality.figure.low is not None and quality.figure.high is not None:
        assert -1.0 <= quality.figure.low < correlation < quality.figure.high <= 1.0


def test_spearman_needs_five_pairs() -> None:
    quality = qualities(pairs([1, 2, 3, 5], [1, 2, 4, 3]))["spearman"]
    assert (quality.figure.value, quality.n, codes(quality)) == (None, 4, {FindingCode.NO_QUALITY})


def test_spearman_s_interval_holds_the_truth() -> None:
    """Of two normal numbers with correlation r it is 6 / pi asin(r / 2)."""
    rng = np.random.default_rng(4)
    truth, held, n_studies = 6 / np.pi * np.arcsin(0.7 / 2), 0, 200
    for _ in range(n_studies):
        said = rng.standard_normal(30)
        wanted = 0.7 * said + np.sqrt(1 - 0.49) * rng.standard_normal(30)
        figure = qualities(pairs(said.tolist(), wanted.tolist()))["spearman"].figure
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= truth <= figure.high
    assert 0.90 <= held / n_studies <= 0.99  # the standard error of a share of 95 % in 200 is 1.5 %


# --------------------------------------------------------------------------------------------- average precision


def picture(rng: np.random.Generator) -> tuple[str, str]:
    """What a detector answered, and the reference: boxes moved a little, missed, invented, of the wrong class."""
    objects = [
        PictureObject(label=str(rng.choice(CLASSES)), box=_box(rng.uniform(0, 200, 2), rng.uniform(20, 90, 2)))
        for _ in range(int(rng.integers(0, 5)))
    ]
    found = []
    for thing in objects:
        for _ in range(int(rng.integers(0, 3))):  # missed, found, found twice
            x, y, width, height = (side + float(rng.normal(0, 5)) for side in thing.box)
            label = thing.label if rng.random() < 0.85 else str(rng.choice(CLASSES))
            found.append(PictureObject(label=label, box=_box((x, y), (abs(width), abs(height))), score=rng.random()))
    for _ in range(int(rng.integers(0, 3))):
        box = _box(rng.uniform(0, 200, 2), rng.uniform(20, 90, 2))
        found.append(PictureObject(label=str(rng.choice(CLASSES)), box=box, score=rng.random()))
    reference = {"bbox": [list(each.box) for each in objects], "category": [each.label for each in objects]}
    return answer_of(found), json.dumps(reference)


def _box(corner: Any, sides: Any) -> tuple[float, float, float, float]:
    x, y, width, height = (round(float(each), 2) for each in (*corner, *sides))
    return x, y, width, height


def by_the_library(pictures: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """mAP, and mAP at half an overlap, of all pictures at once."""
    from faster_coco_eval import COCO, COCOeval_faster

    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, (answer, text) in enumerate(pictures, start=1):
        reference = json.loads(text)
        for box, label in zip(reference["bbox"], reference["category"], strict=True):
            place = {"id": len(truths) + 1, "image_id": image, "category_id": CLASSES.index(label) + 1}
            truths.append({**place, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        for each in json.loads(answer):
            place = {"image_id": image, "category_id": CLASSES.index(each["label"]) + 1}
            found.append({**place, "bbox": each["box"], "score": each["score"]})
    images = [{"id": image} for image in range(1, len(pictures) + 1)]
    categories = [{"id": place, "name": name} for place, name in enumerate(CLASSES, start=1)]
    truth = COCO({"images": images, "categories": categories, "annotations": truths})
    evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=lambda *_: None)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def of_detections(scores: Sequence[Score]) -> dict[str, Quality]:
    return qualities(scored("object-detection", [score.values for score in scores]))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_the_library_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = [picture(rng) for _ in range(25)]
    scorer = Detections()
    quality = of_detections([scorer.score(*each) for each in pictures])
    found = (quality["map"].figure.value, quality["map_50"].figure.value)
    assert found == pytest.approx(by_the_library(pictures), abs=1e-12)
    assert 0.05 < (found[0] or 0) < (found[1] or 0) < 0.95  # neither nothing nor everything was found


def detected(confidence: Sequence[float], hits: Sequence[float], n_objects: int, category: float = 1.0) -> Values:
    """One picture of one category, the same at every threshold."""
    matched = {f"matched_{percent}": tuple(hits) for percent in range(50, 100, 5)}
    categories = (category,) * len(hits)
    return {"confidence": tuple(confidence), "category": categories, **matched, "objects": (category,) * n_objects}


def test_average_precision_by_hand() -> None:
    # Sure hit, then a miss, then a hit; one object is never found: recall 1/3 at 1, 2/3 at 2/3, and no further.
    one = [detected((0.9, 0.8, 0.7), (1, 0, 1), 3)]
    assert qualities(scored("object-detection", one))["map"].figure.value == pytest.approx((34 + 33 * 2 / 3) / 101)
    # A second category that is found entirely; detections of a third, of which there is nothing, count nowhere.
    more = [*one, detected((0.5,), (1,), 1, category=2.0), detected((0.4,), (0,), 0, category=3.0)]
    wanted = ((34 + 33 * 2 / 3) / 101 + 1.0) / 2
    assert qualities(scored("object-detection", more))["map"].figure.value == pytest.approx(wanted)


def test_pictures_drawn_twice_count_twice() -> None:
    """A draw with weights is what the pictures repeated would have given."""
    from harness.analysis.average_precision import average_precision
    from harness.analysis.quality import THRESHOLDS, _pictures

    queries = task_queries("object-detection", 9)
    drawn = np.random.default_rng(5).integers(0, 3, size=(6, 9))
    headline = Boundary.GPU_BOARD
    pictures = _pictures(figures_in(query_columns(queries), headline), THRESHOLDS)
    by_weight = average_precision(pictures, drawn)
    for counts, precision in zip(drawn, by_weight, strict=True):
        repeated = [query for query, n in zip(queries, counts.tolist(), strict=True) for _ in range(n)]
        own = _pictures(figures_in(query_columns(repeated), headline), THRESHOLDS)
        plain = average_precision(own, np.ones((1, own.n), dtype=np.int64))[0]
        assert precision == pytest.approx(plain)


def test_references_without_objects_are_no_figure() -> None:
    empty = [detected((0.5,), (0,), 0)] * 6
    found = qualities(scored("object-detection", empty))
    assert (found["map"].figure.value, codes(found["map"])) == (None, {FindingCode.NO_QUALITY})


def test_lists_that_do_not_fit_together_are_left_out() -> None:
    broken = {**detected((0.9,), (1,), 1), "confidence": (0.9, 0.8)}
    found = qualities(scored("object-detection", [broken, *[detected((0.9,), (1,), 1)] * 5]))
    assert found["map"].n == 5
    assert found["map"].figure.value == pytest.approx(1.0)


def test_average_precision_has_an_interval_from_a_hundred_pictures_on_and_the_same_each_time() -> None:
    few, enough = (qualities(task_queries("object-detection", n))["map"].figure for n in (99, 100))
    assert (few.low, few.high, few.findings[0].code) == (None, None, FindingCode.FEW_PICTURES)
    assert enough.low is not None
    assert enough.high is not None
    assert enough.value is not None
    assert enough.low <= enough.value <= enough.high
    assert qualities(task_queries("object-detection", 100))["map"].figure == enough


def test_the_order_in_which_queries_became_final_changes_nothing() -> None:
    queries = task_queries("object-detection", 12, n_unusable=2)
    one, other = (task_summary("object-detection", each) for each in (queries, queries[::-1]))
    assert one == other
    assert one.modes[0].quality
