from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.bootstrap import STUDENT_T, FloatArray
from harness.analysis.energy_law import (
    FittedLaw,
    fit_law,
    least_squares,
    lengths_of,
    terms,
)
from harness.analysis.measured import DeviceEnergy, QueryFigures
from harness.analysis.relative_fit import student_quantile
from harness.records import FindingCode, Method

LAW_J = np.array([10.0, 0.03, 4.5, 2e-4])
N = 40


def figures(
    energy_j: float | None,
    *,
    p: int | None,
    o: int | None,
    mode: str = "on",
    prompt_id: str = "a",
    duration_s: float = 1.0,
    reading: float | None = 0.01,
    devices: Sequence[str] = ("gpu",),
) -> QueryFigures:
    """A query whose joules are shared evenly by the devices; `reading` is its relative half-width."""
    half_width_j = None if reading is None or energy_j is None else reading * energy_j
    known = [] if energy_j is None else list(devices)
    return QueryFigures(
        prompt_id=prompt_id,
        mode=mode,
        session=0,
        duration_s=duration_s,
        devices=tuple(
            DeviceEnergy(
                device=name,
                method=Method.NVML_COUNTER,
                energy_j=(energy_j or 0.0) / len(known),
                half_width_j=half_width_j,
            )
            for name in known
        ),
        energy_j=energy_j,
        energy_half_width_j=half_width_j,
        net=None,
        energy_tail_j=None,
        phases_j=None,
        phases_s={},
        n_prompt_tokens=p,
        n_thinking_tokens=None,
        n_answer_tokens=None,
        n_output_tokens=o,
        correct=None,
        cut=False,
        why_no_energy=None if energy_j is not None else FindingCode.NO_READINGS,
    )


def lengths(n: int = N, seed: int = 1003, log_sd: float = 0.8) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    outputs = np.round(np.exp(rng.normal(6.5, log_sd, n))).astype(np.float64) + 1
    return rng.integers(30, 600, n).astype(np.float64), outputs


def on_the_law(p: FloatArray, o: FloatArray, scatter: float = 0.0, seed: int = 1) -> list[QueryFigures]:
    noise = 1 + scatter * np.random.default_rng(seed).standard_normal(len(p))
    joules = terms(p, o) @ LAW_J * noise
    return [figures(float(j), p=int(each_p), o=int(each_o)) for j, each_p, each_o in zip(joules, p, o, strict=True)]


def fitted(queries: Sequence[QueryFigures]) -> FittedLaw:
    law = fit_law(queries)
    assert law is not None
    return law


def coefficients(law: FittedLaw) -> list[float | None]:
    record = law.record
    return [
        each.value
        for each in (
            record.per_query_j,
            record.per_prompt_token_j,
            record.per_output_token_j,
            record.per_attended_token_j,
        )
    ]


def test_an_exact_law_is_found_again() -> None:
    law = fitted(on_the_law(*lengths()))
    assert coefficients(law) == pytest.approx(list(LAW_J), rel=1e-6)
    assert law.record.residual_relative_sd == pytest.approx(0.0, abs=1e-9)
    assert law.record.residual_relative_by_mode["on"] == pytest.approx(0.0, abs=1e-9)
    assert law.record.findings == ()
    assert law.record.n_queries == N


def test_a_query_of_no_prompt_and_no_output_costs_the_constant() -> None:
    law = fitted(on_the_law(*lengths()))
    nothing, one = np.array([0.0]), np.array([1.0])
    assert law.predict_j(nothing, nothing, "on")[0] == pytest.approx(LAW_J[0])
    # One output token after one prompt token attends to that token, and to half of itself in the continuous sum.
    assert law.predict_j(one, one, "on")[0] == pytest.approx(LAW_J @ [1, 1, 1, 1.5])


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(0.01, 100), seed=st.integers(0, 50))
def test_the_law_of_scaled_joules_is_the_scaled_law(factor: float, seed: int) -> None:
    p, o = lengths(seed=1000 + seed)
    joules = terms(p, o) @ LAW_J * (1 + 0.03 * np.random.default_rng(seed).standard_normal(N))
    one, other = least_squares(joules, p, o), least_squares(factor * joules, p, o)
    assert other.beta == pytest.approx(factor * one.beta, rel=1e-6)
    assert other.covariance == pytest.approx(factor**2 * one.covariance, rel=1e-5)
    assert other.relative_sd == pytest.approx(one.relative_sd, rel=1e-6)


def test_prompts_of_one_length_leave_the_prompt_token_unknown() -> None:
    p, o = lengths()
    p[:] = 50.0
    law = fitted(on_the_law(p, o))
    a, b, c, d = coefficients(law)
    assert b is None
    assert [finding.code for finding in law.record.per_prompt_token_j.findings] == [FindingCode.COLLINEAR]
    assert a == pytest.approx(LAW_J[0] + 50 * LAW_J[1])
    assert [finding.code for finding in law.record.per_query_j.findings] == [FindingCode.COLLINEAR]
    assert c == pytest.approx(LAW_J[2])
    assert d == pytest.approx(LAW_J[3])
    assert law.predict_j(p, o, "on") == pytest.approx(terms(p, o) @ LAW_J)
    assert [finding.code for finding in law.record.findings] == [FindingCode.COLLINEAR]
    assert "prompt tokens" in (law.record.findings[0].detail or "")


def test_outputs_of_one_length_leave_their_tokens_unknown() -> None:
    p, o = lengths()
    o[:] = 10.0
    law = fitted(on_the_law(p, o))
    assert coefficients(law)[2:] == [None, None]
    assert law.predict_j(p, o, "on") == pytest.approx(terms(p, o) @ LAW_J)


def test_queries_all_alike_leave_one_constant() -> None:
    law = fitted([figures(60.0, p=50, o=10) for _ in range(10)])
    assert coefficients(law) == [pytest.approx(60.0), None, None, None]
    assert law.predict_j(np.array([50.0]), np.array([10.0]), "on")[0] == pytest.approx(60.0)


def test_outputs_of_no_token_are_no_obstacle() -> None:
    p, _ = lengths()
    law = fitted([figures(5.0 + 0.1 * each, p=int(each), o=0) for each in p])
    assert coefficients(law) == [pytest.approx(5.0), pytest.approx(0.1), None, None]


def test_few_or_unmeasured_queries_have_no_law() -> None:
    queries = on_the_law(*lengths(8))
    assert fit_law(queries) is not None
    assert fit_law(queries[:-1]) is None
    unknown = [figures(None, p=50, o=100), figures(50.0, p=None, o=100), figures(50.0, p=50, o=None)]
    assert fit_law([*queries[:-1], *unknown]) is None
    assert fitted([*queries, *unknown]).record.n_queries == 8
    assert fit_law([*queries, figures(0.0, p=50, o=100)]) is None


def test_a_mode_that_costs_more_per_token_is_seen() -> None:
    p, o = lengths(30)
    cheap = on_the_law(p, o, 0.01)
    dear = [
        figures(1.2 * (query.energy_j or 0.0), p=query.n_prompt_tokens, o=query.n_output_tokens, mode="off")
        for query in on_the_law(p, o, 0.01, seed=2)
    ]
    law = fitted([*cheap, *dear])
    assert law.record.modes == ("on", "off")
    by_mode = law.record.residual_relative_by_mode
    assert by_mode["off"] > 0.05 > -0.05 > by_mode["on"]
    assert (law.record.residual_relative_sd or 0.0) > 0.05


def two_modes(factor: float, scatter: float = 0.0, readings: tuple[float, float] = (0.01, 0.01)) -> list[QueryFigures]:
    """Queries on the law in the off mode, and longer ones that cost `factor` times as much in the on mode."""
    queries = []
    for mode, dearer, longer, reading, seed in (("on", factor, 3.0, readings[1], 2), ("off", 1.0, 1.0, readings[0], 1)):
        p, o = lengths(20, seed=seed)
        queries += [
            figures(
                dearer * (query.energy_j or 0.0),
                p=query.n_prompt_tokens,
                o=query.n_output_tokens,
                mode=mode,
                reading=reading,
            )
            for query in on_the_law(p, np.round(longer * o), scatter, seed=seed)
        ]
    return queries


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(0.3, 3.0))
def test_a_mode_s_factor_is_found_with_the_base_s_law(factor: float) -> None:
    law = fit_law(two_modes(factor), base="off")
    assert law is not None
    assert coefficients(law) == pytest.approx(list(LAW_J), rel=1e-5)
    assert law.fit.factors == pytest.approx([1.0, factor], rel=1e-6)
    assert law.record.modes == ("off", "on")
    assert law.record.factors == pytest.approx({"off": 1.0, "on": factor}, abs=1e-6)
    assert law.record.residual_relative_by_mode == pytest.approx({"off": 0.0, "on": 0.0}, abs=1e-6)
    assert law.record.residual_relative_sd == pytest.approx(0.0, abs=1e-6)
    assert law.fit.n_degrees == 40 - 5
    p, o = lengths()
    assert law.predict_j(p, o, "on") == pytest.approx(factor * law.predict_j(p, o, "off"), rel=1e-6)


def test_one_law_for_all_has_no_factors() -> None:
    law = fitted(two_modes(1.2))
    assert law.fit.factors.tolist() == [1.0]
    assert law.predict_j(*lengths(), "on").tolist() == law.predict_j(*lengths(), "off").tolist()
    assert law.fit.covariance.shape == (4, 4)


def test_which_mode_is_the_base_changes_no_prediction() -> None:
    p, o = lengths()
    weights = np.full(N, 1 / N)
    one, other = (fit_law(two_modes(1.2, 0.03), base=base) for base in ("off", "on"))
    assert one is not None
    assert other is not None
    for mode in ("off", "on"):
        assert other.predict_j(p, o, mode) == pytest.approx(one.predict_j(p, o, mode), rel=1e-6)
        sds = [law.fit.sd(law.fit.gradient(weights, terms(p, o), law.place(mode))) for law in (one, other)]
        assert sds[0] == pytest.approx(sds[1], rel=1e-5)


def test_modes_of_one_length_each_leave_a_constant_and_factors() -> None:
    short = [figures(60.0, p=50, o=10, mode="off") for _ in range(6)]
    law = fit_law([*short, *(figures(90.0, p=50, o=500, mode="on") for _ in range(6))], base="off")
    assert law is not None
    assert coefficients(law) == [pytest.approx(60.0), None, None, None]
    assert law.fit.factors == pytest.approx([1.0, 1.5])


def test_each_mode_s_mean_moves_with_its_own_factor() -> None:
    """The gradient is the derivative: moved numbers move the sum by as much."""
    law = fit_law(two_modes(1.2, 0.03), base="off")
    assert law is not None
    p, o = lengths()
    weights = np.linspace(0.5, 1.5, N)
    for place in (0, 1):
        gradient = law.fit.gradient(weights, terms(p, o), place)
        for number in range(5):
            step = 1e-6 * (law.fit.beta[number] if number < 4 else 1.0)
            beta, factors = law.fit.beta.copy(), law.fit.factors.copy()
            if number < 4:
                beta[number] += step
            else:
                factors[1] += step
            moved = replace(law.fit, beta=beta, factors=factors)
            change = float(weights @ (moved.predict(terms(p, o), place) - law.fit.predict(terms(p, o), place)))
            assert change == pytest.approx(gradient[number] * step, rel=1e-5)


def test_a_mode_with_two_queries_or_too_many_factors_have_no_law() -> None:
    queries = two_modes(1.2)
    off, on = ([query for query in queries if query.mode == mode] for mode in ("off", "on"))
    assert fit_law([*off, *on[:3]], base="off") is not None
    assert fit_law([*off, *on[:2]], base="off") is None
    assert fit_law([*off[:5], *on[:5]], base="off") is not None
    assert fit_law([*off[:5], *on[:4]], base="off") is None
    assert fit_law([*off[:4], *on[:4]]) is not None


def test_a_sensor_that_reads_one_mode_badly_leaves_that_mode_s_factor_open() -> None:
    law = fit_law(two_modes(1.0, readings=(0.26, 0.01)), base="off")
    assert law is not None
    p, o = lengths()
    by_mode = [
        law.fit.gradient(1 / law.fit.predict(terms(p, o), place).sum() * np.ones(N), terms(p, o), place)
        for place in (0, 1)
    ]
    assert law.half_width_reading(by_mode[0]) == pytest.approx(0.26, rel=1e-6)
    assert law.half_width_reading(by_mode[1]) == pytest.approx(0.01, rel=1e-6)
    assert law.half_width_reading(by_mode[1] - by_mode[0]) == pytest.approx(math.hypot(0.26, 0.01), rel=1e-6)
    # The coefficients are those of the badly read mode, not of the mean of both.
    assert law.record.per_output_token_j.half_width_reading == pytest.approx(0.26 * LAW_J[2], rel=1e-2)


def test_readings_of_two_modes_move_a_coefficient_apart() -> None:
    """The half-width is what a refit with moved joules says, each mode moved by itself, in quadrature."""
    queries, readings = two_modes(1.0, 0.02), {"off": 0.10, "on": 0.02}
    widths = [
        figures(q.energy_j, p=q.n_prompt_tokens, o=q.n_output_tokens, mode=q.mode, reading=readings[q.mode])
        for q in queries
    ]
    law = fitted(widths)
    step = 1e-4
    moved = []
    for mode, reading in readings.items():
        joules = np.array([(q.energy_j or 0.0) * (1 + step * reading * (q.mode == mode)) for q in queries])
        moved.append((least_squares(joules, *lengths_of(queries)).beta[2] - law.beta[2]) / step)
    half_width = law.record.per_output_token_j.half_width_reading
    assert half_width == pytest.approx(math.hypot(*moved), rel=0.1)  # the refit's weights move too
    unread = [*widths[1:], figures(widths[0].energy_j, p=50, o=100, mode="on", reading=None)]
    assert fitted(unread).record.per_output_token_j.half_width_reading is None


def test_the_readings_and_the_gains_errors_scale_with_the_coefficient() -> None:
    queries = on_the_law(*lengths())
    law = fit_law(queries, {("gpu", Method.NVML_COUNTER): 0.05})
    assert law is not None
    c = law.record.per_output_token_j
    assert c.half_width_reading == pytest.approx(0.01 * LAW_J[2], rel=1e-6)
    assert c.half_width_gain == pytest.approx(0.05 * LAW_J[2], rel=1e-6)
    assert fitted(queries).record.per_output_token_j.half_width_gain is None
    unread = [figures(query.energy_j, p=50 + i, o=100 + i * i, reading=None) for i, query in enumerate(queries)]
    assert fitted(unread).record.per_output_token_j.half_width_reading is None


def test_intervals_of_coefficients_and_totals_hold_the_truth() -> None:
    """Half of the queries scatter three times as much as the others, which the sandwich must bear."""
    rng = np.random.default_rng(11)
    n_studies, held = 600, np.zeros(3)
    for _ in range(n_studies):
        p = rng.integers(30, 600, 30).astype(float)
        o = np.exp(rng.normal(6.5, 0.8, 30))
        scatter = np.where(np.arange(30) % 2 == 0, 0.01, 0.03)
        fit = least_squares(terms(p, o) @ LAW_J * (1 + scatter * rng.standard_normal(30)), p, o)
        t = student_quantile(fit.n_degrees)
        half = t * np.sqrt(np.diag(fit.covariance))
        held += [
            abs(fit.beta[1] - LAW_J[1]) <= half[1],
            abs(fit.beta[2] - LAW_J[2]) <= half[2],
            abs(float(fit.predict(terms(p, o)).sum() - (terms(p, o) @ LAW_J).sum()))
            <= t * fit.sd(fit.gradient(np.ones(30), terms(p, o))),
        ]
    # The standard error of a share of 95 % in 600 is 0.9 %.
    assert (held / n_studies > 0.92).all()
    assert (held / n_studies < 0.985).all()


def test_what_both_modes_share_cancels_in_a_difference() -> None:
    p, o = lengths()
    fit = fitted(on_the_law(p, o, 0.02)).fit
    weights = np.full(N, 1 / fit.predict(terms(p, o)).sum())
    one, other = fit.gradient(weights, terms(p, o)), fit.gradient(weights, terms(p, o))
    assert fit.sd(one) > 0
    assert fit.sd(one - other) == pytest.approx(0.0, abs=1e-9)


def test_lengths_are_in_the_order_of_the_queries() -> None:
    p, o = lengths_of([figures(1.0, p=5, o=7), figures(1.0, p=6, o=8)])
    assert p.tolist() == [5.0, 6.0]
    assert o.tolist() == [7.0, 8.0]


@pytest.mark.parametrize("n_degrees", range(3, 19))
def test_students_quantile_is_the_table_s(n_degrees: int) -> None:
    assert student_quantile(n_degrees) == pytest.approx(STUDENT_T[n_degrees - 1], rel=2e-3)


def test_students_quantile_beyond_the_table() -> None:
    assert student_quantile(30, 0.0125) == pytest.approx(2.3596, abs=2e-3)  # any table: t(30) at 98.75 %
    assert student_quantile(10**9) == pytest.approx(1.959964, abs=1e-5)
    assert math.isfinite(student_quantile(3, 0.001))


def test_scatter_is_told_by_query() -> None:
    n = 400
    p, o = lengths(n)
    calm = np.arange(n) < n // 2
    noise = np.where(calm, 0.001, 0.05) * np.random.default_rng(8).standard_normal(n)
    fit = least_squares(terms(p, o) @ LAW_J * (1 + noise), p, o)
    calm_sd, n_calm = fit.scatter(calm)
    wild_sd, n_wild = fit.scatter(~calm)
    # The calm ones show what the wild ones did to the fit, no more.
    assert calm_sd < 0.015
    assert wild_sd == pytest.approx(0.05, rel=0.2)
    assert n_calm == n_wild == fit.n_degrees // 2
    assert fit.relative_sd == pytest.approx(math.sqrt((calm_sd**2 + wild_sd**2) / 2))
