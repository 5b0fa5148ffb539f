"""AI Energy Score's stars: five equal parts of the range from the least to the most energy, five stars for the least.

The documentation says "five equal sections" and, a line later, "the highest 20 % of models". Equal widths give the
stars published in February 2025 (class A of text generation: least 1.313, most 28.741, width 5.486 Wh per 1,000);
quintiles do not. So one outlier sets the scale, and a new row may move everybody else's stars.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.errors import UsageError
from harness.records import Estimate
from harness.reference.aies import N_PROMPTS, RELEASES, TEXT_GENERATION, aies_rows
from harness.reference.conditions import OWN_LIMIT, TEXT, Conditions, contrast
from harness.reference.matching import outer_interval, same_model
from harness.reference.rows import Quantity

STARS = 5
CLASS_LIMITS = {"A": 20e9, "B": 66e9}
"""Most parameters, by the bounds in words of its documentation; C is above."""


def cut_points(values: Sequence[float]) -> tuple[float, ...]:
    """The six ends of five equal parts, from the least value to the most.

    Raises:
        UsageError: Fewer than two different values.
    """
    least, most = min(values, default=0.0), max(values, default=0.0)
    if least == most:
        raise UsageError("Stars need at least two different values.", "Rate against a table of several models.")
    return (*(least + (most - least) * part / STARS for part in range(STARS)), most)


def stars(value: float, values: Sequence[float]) -> int:
    """Stars of a value among others of its task and class. A value on a cut has the better number.

    Args:
        value: Wh per 1,000 queries, or any energy in the unit of `values`.
        values: The scale: all of the release.

    Returns:
        1 to 5; a value below all has 5, above all 1.

    Raises:
        UsageError: Fewer than two different values.
    """
    return STARS - bisect_left(cut_points(values)[1:-1], value)


@dataclass(frozen=True, slots=True, kw_only=True)
class StarRating:
    """Stars by their rule, from a run of ours: indicative, and not their label. None: refused, and why.

    `least`, `most` and `width` are the scale in Wh per 1,000 queries; `stars_fewest` and `stars_most` are the stars
    at the ends of our interval.
    """

    stars: int | None
    release: str
    class_: str | None
    least: float | None = None
    most: float | None = None
    width: float | None = None
    n_models: int = 0
    stars_fewest: int | None = None
    stars_most: int | None = None
    moves_scale: bool = False
    refused: tuple[str, ...] = ()
    sentence: str


def scale(release: str, class_: str) -> tuple[float, ...]:
    """Wh per 1,000 queries of a class at a release. A release keeps the rows before it: energies are never re-run."""
    releases = {"v1"} if release == "v1" else {"v1", "v2"}
    return tuple(
        row.values[Quantity.WH_PER_1000]
        for row in aies_rows()
        if row.task == TEXT_GENERATION and row.class_ == class_ and row.release in releases
    )


def class_of(model: str | None, n_parameters: int | None) -> str | None:
    """As the leaderboard lists the model, by hand; otherwise by parameters. None: neither is known."""
    listed = [row.class_ for row in aies_rows() if row.task == TEXT_GENERATION and same_model(model, row.model)]
    if listed:
        return listed[0]
    if n_parameters is None:
        return None
    return next((name for name, most in CLASS_LIMITS.items() if n_parameters <= most), "C")


def star_rating(ours: Conditions, energy: Estimate, release: str, *, n_parameters: int | None = None) -> StarRating:
    """Stars of a run of text generation at a release; refused off its protocol, off its hardware, and of other tasks.

    Args:
        ours: Conditions of the mode.
        energy: Its Wh per 1,000 queries.
        release: `v1` (February 2025) or `v2` (to December 2025).
        n_parameters: Of the model, where the leaderboard does not list it.
    """
    if ours.task != TEXT:
        return _without_scale(release, ours.task or "this task")
    class_ = class_of(ours.model, n_parameters)
    refused = _refusals(ours, energy, release, class_)
    if refused or class_ is None or energy.value is None:
        return StarRating(
            stars=None,
            release=release,
            class_=class_,
            refused=refused,
            sentence=f"No stars: {'; '.join(refused)}.",
        )
    values = scale(release, class_)
    least, *_, most = cut_points(values)
    found = stars(energy.value, values)
    low, high = outer_interval(energy) or (energy.value, energy.value)
    moves = not least <= energy.value <= most
    ends = sorted({stars(high, values), stars(low, values)})
    between = "" if len(ends) == 1 else f" ({ends[0]} to {ends[-1]} over our interval)"
    outside = " It lies outside of that range and would move the scale." if moves else ""
    return StarRating(
        stars=found,
        release=release,
        class_=class_,
        least=least,
        most=most,
        width=(most - least) / STARS,
        n_models=len(values),
        stars_fewest=ends[0],
        stars_most=ends[-1],
        moves_scale=moves,
        sentence=(
            f"{found} of {STARS} stars{between} by AI Energy Score's rule, indicative and not their label: "
            f"{energy.value:.4g} Wh per 1,000 queries on {least:.4g} to {most:.4g} ({release}, text generation, "
            f"class {class_}, {len(values)} models).{outside}"
        ),
    )


def _without_scale(release: str, task: str) -> StarRating:
    """Of a task of which the row with the most energy is not known, so that nobody can say where its stars end.

    Three published stars of image generation bound its greatest row between 1,471 and 1,899 Wh; none is so high here.
    """
    reason = f"the scale of {task} is not known, because not all of AI Energy Score's rows of it could be read"
    return StarRating(stars=None, release=release, class_=None, refused=(reason,), sentence=f"No stars: {reason}.")


def _refusals(ours: Conditions, energy: Estimate, release: str, class_: str | None) -> tuple[str, ...]:
    """Why there are no stars, each as a clause."""
    rule = replace(
        RELEASES[release],
        number_of_prompts=N_PROMPTS,
        number_of_gpus=None if class_ == "C" else 1,
        power_limit=OWN_LIMIT,
    )
    differing = contrast(ours, rule).differences
    reasons = [f"{each.condition} is {each.ours}, theirs {each.theirs}" for each in differing]
    if any(each.condition == "mode" for each in differing):
        reasons.append("reasoning is a task of its own, and its table is not complete here")
    if energy.value is None:
        reasons.append("the run has no energy")
    if class_ is None:
        reasons.append("its class is not known")
    return tuple(reasons)
