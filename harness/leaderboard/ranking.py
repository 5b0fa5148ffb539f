"""Which rows share a ranking, why another one does not, and which ranks they have.

`CONDITIONS` is the one place that says what must be equal. Drivers, versions of engine and harness, the card itself and
how many modes were measured in turn may differ: the history of a model shows what they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.leaderboard.distance import errors_of, rank_ranges
from harness.leaderboard.entry import HOST_PARTS, OWN_SCORER
from harness.leaderboard.rows import IntArray, Rows, codes, grouped
from harness.records import Boundary, FindingCode, Method
from harness.report.exports.vocabulary import TEXT_GENERATION
from harness.report.wording import BOUNDARY, METHOD

CONDITIONS = {
    "task": "task",
    "task_options": "options of the task",
    "prompts": "prompts",
    "prompts_sha256": "their sha256",
    "n_queries": "queries",
    "seed": "seed",
    "protocol": "protocol",
    "mode": "mode",
    "token_cap": "token cap",
    "fewest_tokens": "fewest tokens",
    "sampling": "sampling",
    "batch_size": "batch size",
    "engine": "engine",
    "precision_rule": "rule of precision",
    "hardware": "hardware",
    "power_limit": "power limit",
    "boundary": "boundary",
    "method": "method",
    "metered": "metered boards",
    "scorer": "scorer",
}
"""Columns that are equal in all rows of a ranking, and their words. The seed chooses prompts and samples answers."""
OF_TASKS = {"task": TEXT_GENERATION, "task_options": "none"}
"""Conditions that text generation does not state, and what they are there."""
OF_TOKENS = ("token_cap", "fewest_tokens", "sampling")
NO_TOKENS = "none"
"""What these are where a task writes no tokens."""
SUBJECT = ("model", "precision")
"""What takes part: the newest row of it stands in the ranking, the earlier ones in its history."""
N_QUERIES_LEAST = 30
"""Fewer queries rank nothing: their interval over prompts is not believed, as in the gate."""
SPOILED: Mapping[str, str] = {
    FindingCode.OTHER_PROCESSES: "another process was on the metered GPU",
    FindingCode.MIG_PARENT: "the board is split into MIG slices and its sensor sees all of them",
    FindingCode.VGPU_GUEST: "a virtual GPU's sensor shows the whole board or nothing",
}
"""Doubts with which an energy is not the work's alone."""
N_DIFFERENCES_SAID = 3
CODES = {code.value: code for code in FindingCode}
READ = (
    *("estimated", "method", "two_phase", "faults", "energy_j", "energy_j_low", "energy_j_high", "hardware", "boards"),
    *("findings", "boundary", "n_queries", "n_planned", "stopped_early", "n_failed", "n_without_energy"),
)
"""Columns that decide whether a row may be ranked at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Rows that may stand beside each other. `places` are those of its rows, best first, then the earlier ones."""

    number: int
    places: IntArray
    conditions: Mapping[str, str]
    """What is equal in all of them, in words."""

    @property
    def title(self) -> str:
        """Which ranking it is."""
        task = self.conditions.get("task")
        where = [self.conditions[label] for label in ("prompts", "mode", "hardware")]
        if task is not None:
            where[:2] = [task.replace("-", " "), where[0]]
        return " · ".join(where)

    @property
    def sentence(self) -> str:
        """The rest of what is equal, as one would say it."""
        said = self.conditions
        scorer = "" if said["scorer"] == OWN_SCORER else f"; scored by {said['scorer']}"
        fewest = "" if said["fewest tokens"] == "0" else f", at least {said['fewest tokens']}"
        asked = f"at most {said['token cap']} tokens{fewest}, sampling: {said['sampling']}"
        if "task" in said:
            options = said["options of the task"]
            cap = "" if said["token cap"] == NO_TOKENS else f"at most {said['token cap']} tokens"
            asked = ", ".join(filter(None, (cap, "" if options == "none" else options)))
        return (
            f"{said['queries']} queries (seed {said['seed']}, prompts {said['their sha256']}), {said['protocol']}, "
            f"{asked}{', ' if asked else ''}batch {said['batch size']}; "
            f"{said['engine']}, {said['rule of precision']}; power limit: {said['power limit']}; "
            f"energy of {said['boundary']} by {said['method']}{scorer}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Every row's ranking (0: none), its ranks, and the reason why it has none.

    `earlier` marks rows of a ranking that a newer run of the same model has replaced in it.
    """

    rankings: tuple[Ranking, ...]
    number: IntArray
    rank_best: IntArray
    rank_worst: IntArray
    provisional: Any
    """One run: how far a repeat would differ is unknown, and the rank is by what is known."""
    reason: tuple[str, ...]
    earlier: Any
    subject: IntArray
    """A number per model and precision under the same conditions: a history."""

    sound: Any
    """Rows that may be held against another, whether or not there is one."""


def ranked(rows: Rows) -> Ranked:
    """Everything about ranks.

    Args:
        rows: Of an index, repeats made one.
    """
    n = len(rows)
    reason = _reasons(rows)
    sound = np.array([not text for text in reason], dtype=bool)
    alike = codes([rows[name] for name in CONDITIONS])
    subject = codes([alike, *(rows[name] for name in SUBJECT)])
    newest = _newest(rows, subject, sound)
    number, best, worst = (np.zeros(n, np.int64) for _ in range(3))
    provisional, alone = np.zeros(n, bool), np.zeros(n, bool)
    groups = [(places, places[newest[places]]) for _, places in grouped(np.where(sound, alike, -1)) if sound[places[0]]]
    groups.sort(key=lambda group: (-len(group[1]), rows["path"][group[0][0]]))
    rankings: list[Ranking] = []
    for places, front in groups:
        if len(front) < 2:
            alone[places] = True
            continue
        errors = errors_of(rows, front)
        best[front], worst[front] = rank_ranges(errors)
        provisional[front] = errors.one_run
        number[places] = len(rankings) + 1
        order = np.argsort(errors.log_energy, kind="stable")
        later = places[~newest[places]]
        rankings.append(
            Ranking(
                number=len(rankings) + 1,
                places=np.concatenate([front[order], later]),
                conditions=words_of(rows, int(places[0])),
            )
        )
    for place, text in zip(np.flatnonzero(alone), _nearest(rows, rankings, np.flatnonzero(alone)), strict=True):
        reason[place] = text
    return Ranked(
        rankings=tuple(rankings),
        number=number,
        rank_best=best,
        rank_worst=worst,
        provisional=provisional,
        reason=tuple(reason),
        earlier=sound & ~newest,
        subject=subject,
        sound=sound,
    )


def stated(row: Mapping[str, Any]) -> dict[str, str]:
    """A row's conditions by their words, without what its task does not have."""
    lacks = OF_TASKS if row["task"] is None else {"mode", *(name for name in OF_TOKENS if row[name] is None)}
    kept = {name: label for name, label in CONDITIONS.items() if name not in lacks}
    return {label: "unknown" if row[name] is None else str(row[name]) for name, label in kept.items()}


def words_of(rows: Rows, place: int) -> dict[str, str]:
    """A row's conditions in words; what text generation does not have is left out of its own."""
    row = rows.row(place)
    words = {}
    for name, label in CONDITIONS.items():
        value = row[name]
        if name in OF_TASKS and row["task"] is None:
            continue
        if name in OF_TOKENS and row["task"] is not None and value is None:
            value = NO_TOKENS
        elif name == "prompts_sha256":
            value = (value or "")[:12]
        elif name == "boundary":
            value = BOUNDARY[Boundary(value)]
        elif name == "method":
            value = METHOD[Method(value)]
        elif isinstance(value, float):
            value = f"{value:,.0f}"
        words[label] = "unknown" if value is None else str(value)
    return words


def _reasons(rows: Rows) -> list[str]:
    """Why each row can be held against no other; empty where it can."""
    return [
        _reason(dict(zip(READ, values, strict=True))) for values in zip(*(rows[name] for name in READ), strict=True)
    ]


def _reason(row: Mapping[str, Any]) -> str:
    if row["estimated"]:
        return "Estimated, not measured: no sensor was read."
    if row["method"] == Method.REPLAYED:
        return "Replayed from a recording: nothing was measured here."
    if row["two_phase"]:
        return "Two-phase: the measured queries were chosen for their lengths and are no sample."
    if row["faults"]:
        first = CODES.get(row["faults"].split(",")[0])
        return f"The mode is not what it is called. {first.sentence if first else ''}".rstrip()
    if not row["energy_j"] > 0:
        return "It has no energy above zero."
    if row["hardware"] is None or not row["boards"]:
        return "Its manifest is missing, so it is not known what was measured."
    for code in (row["findings"] or "").split(","):
        if code in SPOILED:
            return f"Its energy is not its own: {SPOILED[code]}."
        if code == FindingCode.HOST_SHARED and row["boundary"] in HOST_PARTS:
            return "Its energy is not its own: other work ran on the machine's CPUs."
    return _sample(row)


def _sample(row: Mapping[str, Any]) -> str:
    """Why its queries are not those of others; empty where they may be."""
    asked, planned = row["n_queries"], row["n_planned"]
    if asked < planned and not row["stopped_early"]:
        return f"Not complete: {asked:,.0f} of {planned:,.0f} planned prompts were asked."
    if row["n_failed"]:
        return f"Another set of queries: {row['n_failed']:,.0f} of {asked:,.0f} failed."
    if row["n_without_energy"]:
        return f"Another set of queries: {row['n_without_energy']:,.0f} of {asked:,.0f} have no energy."
    if asked < N_QUERIES_LEAST:
        return f"Too few queries: {asked:,.0f}, and {N_QUERIES_LEAST} are needed."
    if np.isnan(row["energy_j_low"]) or np.isnan(row["energy_j_high"]):
        return "It has no interval over prompts."
    return ""


def _newest(rows: Rows, subject: IntArray, sound: Any) -> Any:
    """The last row of each subject among those that are sound; by date, a row without one first."""
    newest = np.zeros(len(rows), bool)
    dates = np.array(rows.texts("started_utc"))
    places = np.flatnonzero(sound)
    order = places[np.lexsort((rows["path"][places].astype(str), dates[places], subject[places]))]
    last = np.append(subject[order][1:] != subject[order][:-1], True) if len(order) else np.zeros(0, bool)
    newest[order[last]] = True
    return newest


def _nearest(rows: Rows, rankings: list[Ranking], places: IntArray) -> list[str]:
    """For rows that nothing else was measured like: in what they differ from the ranking that is most like them."""
    if not len(places):
        return []
    alone = "Nothing else was measured under its conditions."
    if not rankings:
        return [alone] * len(places)
    heads = np.array([ranking.places[0] for ranking in rankings])
    labels = list(CONDITIONS.values())
    columns = np.stack([codes([rows[name]]) for name in CONDITIONS], axis=1)
    texts: dict[bytes, str] = {}
    said = []
    for place in places:
        own = columns[place].tobytes()
        if own not in texts:
            differing = columns[heads] != columns[place]
            # Other prompts than theirs have another name and another hash; once is enough.
            weights = np.array([0 if name == "prompts" else 1 for name in CONDITIONS])
            at = int((differing @ weights * 1000 + differing.sum(axis=1)).argmin())
            there, here = rankings[at].conditions, words_of(rows, int(place))
            names = [label for label, differs in zip(labels, differing[at], strict=True) if differs]
            if "prompts" in names:
                names = [name for name in names if name != "their sha256"]
            parts = [f"{name} {_said(here, name)}, there {_said(there, name)}" for name in names[:N_DIFFERENCES_SAID]]
            more = f" and {len(names) - len(parts)} more" if len(names) > len(parts) else ""
            texts[own] = f"{alone} Other than in ranking {rankings[at].number}: {'; '.join(parts)}{more}."
        said.append(texts[own])
    return said


def _said(conditions: Mapping[str, str], label: str) -> str:
    """A condition in words; of text generation also those that it does not state."""
    unstated = {CONDITIONS[name]: words for name, words in OF_TASKS.items()}
    return conditions.get(label, unstated.get(label, NO_TOKENS))
