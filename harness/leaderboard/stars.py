"""AI Energy Score's stars for a row, where its protocol and its hardware hold; otherwise why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from harness.leaderboard.columns import estimate_of
from harness.leaderboard.entry import OTHERS
from harness.reference.aies import RELEASES
from harness.reference.conditions import MEASURED, OWN_LIMIT, Conditions, protocol_family, task_words
from harness.reference.stars import StarRating, class_of, star_rating
from harness.units import J_PER_WH

PREFIX = "aies-"
UNSTATED = ("unknown", "none")
"""A power limit that is not known, or of no board."""
OTHER_PROTOCOL = "No stars: AI Energy Score’s are for its own protocol ({theirs}), and this row follows {own}."

OTHER_TASK = "No stars: AI Energy Score’s scale of {task} is not known, because not all of its rows could be read."


def of_other_task(task: str) -> str:
    """Why rows of a task that is not text generation have no stars."""
    return OTHER_TASK.format(task=task_words(task))


@lru_cache(maxsize=100_000)
def class_by(model: str | None, n_parameters: int | None) -> str | None:
    """AI Energy Score's class, A to C: as listed there, else by parameters."""
    return class_of(model, n_parameters)


def refused(protocol: str | None) -> str:
    """Why rows of a protocol have no stars, whatever else they are; empty where they may have some."""
    family = protocol_family(protocol or "")
    if family.startswith(PREFIX) and family.removeprefix(PREFIX) in RELEASES:
        return ""
    theirs = " or ".join(f"{PREFIX}{name}" for name in RELEASES)
    return OTHER_PROTOCOL.format(theirs=theirs, own=protocol or "an unknown one")


def rating(row: Mapping[str, Any], reason: str) -> tuple[int | None, str]:
    """Stars, and the sentence about them.

    Args:
        row: Of the index, of a protocol that `refused` does not refuse.
        reason: Why its energy can be held against no other; empty where it can.
    """
    if reason:
        return None, f"No stars: {reason}"
    if row["metered"] == OTHERS:
        return None, f"No stars: the metered boards are {OTHERS}."
    found: StarRating = star_rating(
        conditions(row),
        estimate_of(row, "energy_j", factor=1000 / J_PER_WH),
        protocol_family(row["protocol"]).removeprefix(PREFIX),
        n_parameters=None if row["n_parameters"] is None else int(row["n_parameters"]),
    )
    return found.stars, found.sentence


def conditions(row: Mapping[str, Any]) -> Conditions:
    """The conditions of a row, as `conditions_of` gives them for its run."""
    limit = row["power_limit"]
    precision = row["precision"]
    hardware = (row["hardware"] or "").partition(" × ")
    number = int(row["number_of_gpus"] or 0)
    return Conditions(
        model=row["model"],
        task=task_words(row["task"]),
        energy="estimated" if row["estimated"] else "two-phase" if row["two_phase"] else MEASURED,
        boundary=row["boundary"],
        gpu=(hardware[2] or hardware[0]) if number else "none",
        number_of_gpus=number,
        power_limit=OWN_LIMIT if limit and limit.startswith(OWN_LIMIT) else None if limit in UNSTATED else limit,
        engine=(row["engine"] or "").split(" on ")[0],
        engine_version=row["engine_version"],
        precision=f"{precision}, {row['precision_rule']}" if row["precision_rule"] == "as published" else precision,
        batch_size=_whole(row["batch_size"]),
        protocol=protocol_family(row["protocol"] or ""),
        mode=row["mode"],
        token_cap=_whole(row["token_cap"]),
        fewest_tokens=_whole(row["fewest_tokens"]),
        sampling=row["sampling"],
        prompts=row["prompts"],
        number_of_prompts=_whole((row["n_queries"] or 0) - (row["n_failed"] or 0)),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
