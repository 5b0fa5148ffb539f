"""What a query costs by its size: a known law is found, and the figure that people quote is total over total."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.repeats import with_run_spread
from harness.records import Boundary, FindingCode, Method, QueryRecord, SizeLaw
from tests.synthetic_runs import GAIN, POWER_W
from tests.synthetic_tasks import CONSTANT_J, TASKS, task_queries, task_query, task_summary, units_of

SPEECH = "automatic-speech-recognition"
LAWS = {
    "summarization": ["output_tokens", "prompt_tokens"],
    "question-answering": ["prompt_tokens"],
    "text-classification": ["prompt_tokens"],
    "sentence-similarity": ["prompt_tokens"],
    "image-classification": ["input_megapixels"],
    "object-detection": ["input_megapixels"],
    "image-captioning": ["input_megapixels", "output_tokens"],
    SPEECH: ["audio_s", "output_tokens"],
    "image-generation": ["output_megapixel_steps"],
}


def laws(task: str, queries: list[QueryRecord]) -> dict[str, SizeLaw]:
    (mode,) = task_summary(task, queries).modes
    return {law.size: law for law in mode.size_laws}


def of_sounds(lengths_s: list[float], joules: list[float | None]) -> list[QueryRecord]:
    return [
        task_query(SPEECH, index, energy_j, sizes={"audio_s": length_s}, duration_s=2.0)
        for index, (length_s, energy_j) in enumerate(zip(lengths_s, joules, strict=True))
    ]


def codes(law: SizeLaw) -> set[FindingCode]:
    return {finding.code for finding in law.findings}


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_the_laws_of_its_sizes_and_the_true_one_is_found(task: str) -> None:
    queries = task_queries(task, 40, noise=0.0)
    kind = TASKS[task]
    found = laws(task, queries)
    assert list(found) == LAWS[task]
    law = found[kind.law]
    units = [units_of(kind.law, query.output.sizes) for query in queries if query.output is not None]
    total_j = math.fsum(query.readings[0].energy_gross_j or 0.0 for query in queries)
    assert law.energy_per_unit_j.value == pytest.approx(total_j / math.fsum(units))
    assert law.duration_per_unit_s == pytest.approx(total_j / POWER_W / math.fsum(units))
    assert law.mean == pytest.approx(float(np.mean(units)))
    assert law.per_query_j.value == pytest.approx(CONSTANT_J)
    assert law.per_unit_j.value == pytest.approx(kind.per_unit_j)
    assert law.residual_relative_sd == pytest.approx(0.0, abs=1e-9)
    assert (law.n_queries, law.findings) == (40, ())


def test_a_summary_holds_mean_sizes_that_are_no_tokens() -> None:
    queries = of_sounds([1.0, 4.5, 3.5], [9.0, 30.0, 25.0])
    assert task_summary(SPEECH, queries).modes[0].sizes == {"audio_s": 3.0}
    assert task_summary("summarization").modes[0].sizes == {}
    assert set(task_summary("image-generation").modes[0].sizes) == {"output_pixels", "denoising_steps"}


@given(
    st.lists(st.tuples(st.floats(0.5, 60), st.floats(1, 1e4)), min_size=6, max_size=30),
    st.sampled_from([2.0, 0.25, 1000.0]),
)
@settings(max_examples=25, deadline=None)
def test_twice_the_joules_is_twice_the_law(sounds: list[tuple[float, float]], factor: float) -> None:
    lengths_s = [length_s for length_s, _ in sounds]
    one = laws(SPEECH, of_sounds(lengths_s, [energy_j for _, energy_j in sounds]))["audio_s"]
    other = laws(SPEECH, of_sounds(lengths_s, [factor * energy_j for _, energy_j in sounds]))["audio_s"]
    for name in ("energy_per_unit_j", "per_query_j", "per_unit_j"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine.value is None) == (theirs.value is None)
        # A coefficient near 0 has no relative error: what it may be off by is its half-width's.
        scale = max((abs(each) for each in (mine.value, mine.low, mine.high) if each is not None), default=1.0)
        for part in ("value", "low", "high", "half_width_reading", "half_width_gain"):
            a, b = getattr(mine, part), getattr(theirs, part)
            assert (a is None) == (b is None)
            assert a is None or b == pytest.approx(factor * a, rel=1e-6, abs=1e-6 * factor * scale)
    assert one.duration_per_unit_s == other.duration_per_unit_s


def test_the_quoted_figure_has_all_parts_of_its_interval() -> None:
    queries = task_queries(SPEECH, 30)
    law = laws(SPEECH, queries)["audio_s"]
    figure = law.energy_per_unit_j
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value < figure.high
    assert figure.half_width_gain == pytest.approx(GAIN * figure.value)
    assert figure.half_width_reading == pytest.approx(0.01 * figure.value)
    assert figure.half_width_runs is None
    assert FindingCode.ONE_RUN in {finding.code for finding in figure.findings}
    for line in (law.per_query_j, law.per_unit_j):
        assert line.value is not None
        assert line.low is not None
        assert line.high is not None
        assert line.low < line.value < line.high
        assert line.half_width_reading is not None
        assert line.half_width_gain == pytest.approx(GAIN * line.value)
    twice = with_run_spread([task_summary(SPEECH, task_queries(SPEECH, 30, seed=seed)) for seed in (1, 2)])
    repeated = twice[0].modes[0].size_laws[0]
    assert repeated.size == "audio_s"
    assert repeated.energy_per_unit_j.half_width_runs is not None
    assert FindingCode.ONE_RUN not in {finding.code for finding in repeated.energy_per_unit_j.findings}


def test_equal_sizes_have_no_line_and_a_figure_all_the_same() -> None:
    queries = of_sounds([4.0, 4.001, 4.0, 4.0, 3.999, 4.0, 4.0], [20.0, 22.0, 21.0, 20.0, 19.0, 20.0, 20.5])
    law = laws(SPEECH, queries)["audio_s"]
    assert (law.per_query_j.value, law.per_unit_j.value, law.residual_relative_sd) == (None, None, None)
    assert codes(law) == {FindingCode.COLLINEAR}
    assert law.energy_per_unit_j.value == pytest.approx(142.5 / 28.0)


def test_four_queries_have_no_line() -> None:
    law = laws(SPEECH, of_sounds([1.0, 2.0, 3.0, 4.0], [9.0, 12.0, 16.0, 19.0]))["audio_s"]
    assert (law.per_query_j.value, law.per_unit_j.value) == (None, None)
    assert codes(law) == {FindingCode.TOO_FEW_QUERIES}
    assert law.energy_per_unit_j.value == pytest.approx(5.6)


def test_a_query_without_joules_has_no_place_on_a_line() -> None:
    law = laws(SPEECH, of_sounds([1.0, 2, 3, 4, 5, 6], [0.0, 12, 16, 19, 24, 28]))["audio_s"]
    assert law.per_unit_j.value is None
    assert codes(law) == {FindingCode.SHORTER_THAN_TWO_TICKS}


def test_unknown_energies_are_left_out_and_their_seconds_are_not() -> None:
    queries = of_sounds([1.0, 2, 3, 4, 5, 6, 9], [8.0, 11, 14, 17, 20, 23, None])
    law = laws(SPEECH, queries)["audio_s"]
    assert law.energy_per_unit_j.value == pytest.approx(93 / 21)
    assert law.duration_per_unit_s == pytest.approx(14 / 30)
    assert law.per_unit_j.value == pytest.approx(3.0)
    assert codes(law) == {FindingCode.NO_READINGS}


def test_no_known_energy_is_no_figure() -> None:
    law = laws(SPEECH, of_sounds([1.0, 2, 3, 4, 5, 6], [None] * 6))["audio_s"]
    assert law.energy_per_unit_j.value is None
    assert law.duration_per_unit_s == pytest.approx(12 / 21)
    assert FindingCode.NO_READINGS in codes(law)


def test_of_an_estimate_only_the_seconds_are_known() -> None:
    law = laws(SPEECH, task_queries(SPEECH, method=Method.ESTIMATED, boundary=Boundary.HOST))["audio_s"]
    for estimate in (law.energy_per_unit_j, law.per_query_j, law.per_unit_j):
        assert estimate.value is None
        assert [finding.code for finding in estimate.findings] == [FindingCode.ESTIMATED_ENERGY]
    assert law.duration_per_unit_s > 0


def test_a_size_that_one_query_lacks_or_that_is_nothing_has_no_law() -> None:
    queries = of_sounds([1.0, 2, 3, 4, 5], [8.0, 11, 14, 17, 20])
    lacks = task_query(SPEECH, 5, 9.0, sizes={"output_tokens": 3})
    assert laws(SPEECH, [*queries, lacks]) == {}
    assert laws(SPEECH, of_sounds([0.0] * 6, [1.0] * 6)) == {}
