"""What a prompt token weighs against an output token: found where the warm-up tells, and not said where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.attribution.sharing.weights import fit_weights
from harness.meter.curve.curve import Curve
from harness.records import Timeline
from tests.synthetic_power import COUNTER

PROMPT_J, OUTPUT_J, BASE_W = 0.05, 0.4, 120.0


def warm_up(
    n: int = 120, together: int = 4, seed: int = 0, *, fixed: bool = False, n_prompt: int | None = None
) -> list[Timeline]:
    """Clients with prompts and outputs of many lengths; `fixed`: everything is the same all the time."""
    rng = np.random.default_rng(seed)
    free_s = [0.1 * client for client in range(together)]
    found = []
    for number in range(n):
        client = int(np.argmin(free_s))
        start_s = free_s[client]
        n_chunks = 10 if fixed else int(rng.integers(1, 20))
        lengths_s = [0.1] * n_chunks if fixed else [rng.uniform(0.05, 0.6), *rng.uniform(0.05, 0.3, n_chunks - 1)]
        times_s = tuple((start_s + np.cumsum(lengths_s)).tolist())
        free_s[client] = times_s[-1]
        found.append(
            Timeline(
                session=0,
                number=number,
                prompt_id=str(number),
                mode="on",
                time_sent_s=start_s,
                time_start_s=start_s,
                time_first_token_s=times_s[0],
                time_end_s=times_s[-1],
                n_prompt_tokens=n_prompt if n_prompt is not None else 100 if fixed else int(rng.integers(10, 3000)),
                time_chunk_s=times_s,
                n_chunk_tokens=(5,) * n_chunks if fixed else tuple(rng.integers(1, 30, n_chunks).tolist()),
            )
        )
    return found


def drawn(
    queries: list[Timeline], *, prompt_j: float = PROMPT_J, output_j: float = OUTPUT_J, noise_w: float = 0.0
) -> Curve:
    """A base, and so many joules for each token, evenly over the time in which it came."""
    end_s = max(each.time_end_s for each in queries) + 1.0
    times_s = np.arange(-1.0, end_s, 0.1)
    energy_j = BASE_W * (times_s + 1.0)
    energy_j += np.cumsum(np.random.default_rng(5).normal(0.0, noise_w, len(times_s))) * 0.1
    for each in queries:
        bounds = (each.time_start_s, *each.time_chunk_s)
        for place, n_tokens in enumerate(each.n_chunk_tokens):
            whole_j = output_j * n_tokens + (prompt_j * (each.n_prompt_tokens or 0) if place == 0 else 0.0)
            from_s, to_s = bounds[place : place + 2]
            energy_j += whole_j * np.clip((times_s - from_s) / (to_s - from_s), 0.0, 1.0)
    nowhere = np.zeros(len(times_s))
    return Curve(
        channel=COUNTER,
        time_s=times_s,
        energy_total_j=energy_j,
        half_width_at_j=nowhere,
        variance_total_j2=nowhere,
        variance_blind_j2=nowhere,
        sample_time_s=times_s,
        duration_period_s=0.1,
    )


def test_the_ratio_is_that_of_the_joules() -> None:
    queries = warm_up()
    weights = fit_weights([drawn(queries)], queries, 0.5, 40.5, session=3)
    assert weights is not None
    assert (weights.session, weights.source, weights.n_windows) == (3, "fitted", 40)
    assert weights.prompt == pytest.approx(PROMPT_J, rel=0.02)
    assert weights.output == pytest.approx(OUTPUT_J, rel=0.02)
    assert weights.ratio_half_width is not None
    assert 0 < weights.ratio_half_width < 0.1 * PROMPT_J / OUTPUT_J


def test_the_interval_holds_the_ratio_under_noise() -> None:
    inside = []
    for seed in range(20):
        queries = warm_up(seed=seed)
        curve = drawn(queries, noise_w=60.0 + seed)
        weights = fit_weights([curve], queries, 0.5, 40.5, session=0)
        assert weights is not None
        assert weights.ratio_half_width is not None
        inside.append(abs(weights.prompt / weights.output - PROMPT_J / OUTPUT_J) <= weights.ratio_half_width)
    assert np.mean(inside) >= 0.8


def test_devices_are_fitted_together() -> None:
    queries = warm_up()
    one, other = drawn(queries), drawn(queries, prompt_j=3 * PROMPT_J, output_j=OUTPUT_J)
    weights = fit_weights([one, other], queries, 0.5, 40.5, session=0)
    assert weights is not None
    assert weights.prompt == pytest.approx(4 * PROMPT_J, rel=0.02)
    assert weights.output == pytest.approx(2 * OUTPUT_J, rel=0.02)


def test_slow_sensors_need_longer_windows() -> None:
    queries = warm_up()
    slow = replace(drawn(queries), duration_period_s=0.5)
    weights = fit_weights([slow], queries, 0.5, 42.0, session=0)
    assert weights is not None
    assert weights.n_windows == 8
    assert fit_weights([slow], queries, 0.5, 39.0, session=0) is None


@pytest.mark.parametrize(
    ("case", "end_s"),
    [("few windows", 8.0), ("not covered", 1e4), ("before it began", 0.0)],
)
def test_too_little_time_tells_nothing(case: str, end_s: float) -> None:
    queries = warm_up()
    assert fit_weights([drawn(queries)], queries, 0.5, end_s, session=0) is None, case


def test_what_cannot_be_told_is_not_said() -> None:
    queries = warm_up()
    curve = drawn(queries)
    assert fit_weights([curve], [], 0.5, 40.5, session=0) is None
    assert fit_weights([], queries, 0.5, 40.5, session=0) is None
    same = warm_up(300, fixed=True)
    assert fit_weights([drawn(same, noise_w=5.0)], same, 1.0, 41.0, session=0) is None
    unknown = [each.model_copy(update={"n_prompt_tokens": None}) for each in queries]
    assert fit_weights([curve], unknown, 0.5, 40.5, session=0) is None
    free = drawn(queries, prompt_j=-0.01)
    assert fit_weights([free], queries, 0.5, 40.5, session=0) is None
    noisy = drawn(queries, prompt_j=0.0005, noise_w=300.0)
    assert fit_weights([noisy], queries, 0.5, 40.5, session=0) is None


def test_windows_in_which_nobody_was_in_flight_are_left_out() -> None:
    early = warm_up()
    late = [
        each.model_copy(
            update={
                "number": each.number + len(early),
                **{name: getattr(each, name) + 100.0 for name in ("time_sent_s", "time_start_s", "time_end_s")},
                "time_first_token_s": (each.time_first_token_s or 0.0) + 100.0,
                "time_chunk_s": tuple(time_s + 100.0 for time_s in each.time_chunk_s),
            }
        )
        for each in warm_up(seed=1)
    ]
    queries = [*early, *late]
    weights = fit_weights([drawn(queries)], queries, 0.5, 140.5, session=0)
    assert weights is not None
    assert weights.n_windows is not None
    assert 90 <= weights.n_windows <= 110  # of 140
    assert weights.prompt / weights.output == pytest.approx(PROMPT_J / OUTPUT_J, rel=0.02)
