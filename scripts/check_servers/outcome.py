"""One run under load against the truth: sums, single shares, latencies, findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from check_servers.by_hand import shared
from harness.records import QueryRecord, Reading, RunManifest
from harness.results import CellResults, SessionResults, load_run
from tests.fake_nvml.library import Truth

SUM_LIMIT = 1e-9
"""Relative: shares and the rest against the tile they are shares of. Both are read from one curve."""
TRUTH_LIMIT = 0.01
"""Relative: a block's joules against the truth, with ticks of 0.1 s at both of its ends."""


@dataclass(slots=True)
class Verdict:
    """What was asked of a run, and whether it held."""

    lines: list[tuple[bool | None, str]] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Something to know."""
        self.lines.append((None, text))

    def ask(self, holds: bool, text: str) -> None:
        """Something that must hold."""
        self.lines.append((holds, text))

    @property
    def n_failed(self) -> int:
        """How much did not hold."""
        return sum(holds is False for holds, _ in self.lines)

    def print(self, title: str) -> None:
        """For people."""
        print(f"\n== {title}", flush=True)
        for holds, text in self.lines:
            print({None: "      ", True: "  ok  ", False: "  BAD "}[holds] + text, flush=True)


def judge(run: Path, truth: Truth, verdict: Verdict, *, n_queries: int | None, board: int = 0) -> list[CellResults]:
    """Hold every cell of a run against the truth.

    Args:
        run: Its directory.
        truth: Of the boards.
        verdict: Is added to.
        n_queries: How many each cell should have; None: any number.
        board: Which one was metered.
    """
    results = load_run(run)
    for cell in results:
        load = f"{cell.cell.concurrency} at once" if cell.cell.concurrency else f"{cell.cell.request_rate_per_second}/s"
        verdict.note(f"cell: {load}, {len(cell.queries)} queries in {len(cell.sessions)} session(s)")
        if n_queries is not None:
            verdict.ask(len(cell.queries) == n_queries, f"{len(cell.queries)} of {n_queries} queries are on disk")
        for session in cell.sessions:
            if session.manifest is not None:
                _judge_session(cell, session, session.manifest, truth, verdict, board)
        _describe(cell, verdict)
    return results


def _judge_session(
    cell: CellResults, session: SessionResults, manifest: RunManifest, truth: Truth, verdict: Verdict, board: int
) -> None:
    # From disk as it is: failed queries that were asked again later drew energy in their own session.
    queries = [query for query in cell.directory.queries() if query.session == session.number]
    timelines = cell.directory.timelines(session.number)
    weights = cell.directory.weights(session.number)
    origin_s = manifest.origin_monotonic_s
    if weights is None:
        verdict.note(f"session {session.number}: no weights, so nothing was shared")
        return
    verdict.note(f"weights {weights.prompt:.4g}:{weights.output:.4g} ({weights.source})")

    def true_j(start_s: float, end_s: float) -> float:
        return truth.energy_j(board, origin_s + start_s, origin_s + end_s)

    stored = dict(_stored(queries))
    rows: list[tuple[float, float, float, float]] = []
    for tile in session.intervals:
        if tile.name != "serving":
            continue
        whole = next((each for each in tile.readings if each.energy_gross_j is not None), None)
        if whole is None or whole.energy_gross_j is None:
            verdict.ask(False, f"a serving tile of {tile.time_end_s - tile.time_start_s:.1f} s has no energy")
            continue
        there = [t for t in timelines if t.time_end_s > tile.time_start_s and t.time_start_s < tile.time_end_s]
        by_hand = shared(there, weights, tile.time_start_s, tile.time_end_s, true_j)
        mine = {t.number: stored[t.number] for t in there if t.number in stored}
        unknown = [n for n, reading in mine.items() if reading.energy_gross_j is None]
        given_j = sum(reading.energy_gross_j or 0.0 for reading in mine.values())
        whole_true_j = true_j(tile.time_start_s, tile.time_end_s)
        by_truth = (given_j + by_hand.energy_nobody_j) / whole_true_j - 1
        verdict.ask(
            not unknown and len(mine) == len(there) and abs(by_truth) < TRUTH_LIMIT,
            f"tile of {tile.time_end_s - tile.time_start_s:6.2f} s, {len(there)} queries ({len(unknown)} null, "
            f"{len(there) - len(mine)} not on disk): shares {given_j:.2f} J + nobody's {by_hand.energy_nobody_j:.2f} J "
            f"against true {whole_true_j:.2f} J: {by_truth:+.4%}; the tile itself {whole.energy_gross_j:.2f} J",
        )
        if by_hand.energy_nobody_j == 0.0 and not unknown and len(mine) == len(there):
            by_tile = given_j / whole.energy_gross_j - 1
            verdict.ask(
                abs(by_tile) < SUM_LIMIT, f"  somebody was always in flight: shares against tile {by_tile:+.1e}"
            )
        for number, reading in mine.items():
            if reading.energy_gross_j is not None and reading.energy_gross_half_width_j is not None:
                true_share_j = by_hand.energy_j[number]
                rows.append(
                    (
                        reading.energy_gross_j,
                        true_share_j,
                        reading.energy_gross_half_width_j,
                        (reading.energy_shared_equal_j or 0.0) - by_hand.energy_equal_j[number],
                    )
                )
    if rows:
        stored_j, hand_j, width_j, equal_error_j = np.array(rows).T
        error_j = np.abs(stored_j - hand_j)
        inside = float(np.mean(error_j <= width_j))
        verdict.ask(
            inside >= 0.93,
            f"single shares against shares of the true power, by hand: median error "
            f"{np.median(error_j / hand_j):.2%}, worst {np.max(error_j / hand_j):.2%}, inside their half-widths "
            f"{inside:.1%} (median half-width {np.median(width_j / hand_j):.2%}); equal shares: median error "
            f"{np.median(np.abs(equal_error_j) / hand_j):.2%}",
        )


def _stored(queries: list[QueryRecord]) -> Iterator[tuple[int, Reading]]:
    for query in queries:
        if query.service is None:
            continue
        for reading in query.readings[:1]:
            yield query.service.number, reading


def _describe(cell: CellResults, verdict: Verdict) -> None:
    queries = list(cell.queries)
    answered = [query for query in queries if query.output is not None]
    first = [q.service.duration_first_token_s for q in answered if q.service]
    per_token = [q.service.duration_per_output_token_s for q in answered if q.service]
    n_long = sum((q.output.sizes.get("output_tokens", 0) > 1) for q in answered if q.output)
    verdict.ask(
        all(each is not None and each > 0 for each in first),
        f"TTFT of {sum(each is not None for each in first)} of {len(answered)} answered, median "
        f"{np.median([each for each in first if each is not None] or [np.nan]) * 1e3:.0f} ms",
    )
    verdict.note(
        f"TPOT of {sum(each is not None for each in per_token)} ({n_long} have more than one token), median "
        f"{np.median([each for each in per_token if each is not None] or [np.nan]) * 1e3:.1f} ms"
    )
    lengths: dict[str, list[int]] = {}
    for query in answered:
        assert query.output is not None
        lengths.setdefault(query.mode, []).append(query.output.sizes.get("output_tokens", 0))
        lengths.setdefault(f"{query.mode}, thinking", []).append(query.output.sizes.get("thinking_tokens", 0))
    verdict.note("mean tokens: " + ", ".join(f"{name} {np.mean(n):.1f}" for name, n in sorted(lengths.items())))
    correct = Counter((query.mode, query.score.correct) for query in answered if query.score)
    if correct:
        verdict.note(
            "right: "
            + ", ".join(f"{m} {correct[m, True]} of {correct[m, True] + correct[m, False]}" for m in cell.cell.modes)
        )
    attributions = Counter(reading.attribution.value for query in queries for reading in query.readings)
    verdict.note("attribution: " + ", ".join(f"{name} {n}" for name, n in attributions.items()))
    found = Counter(finding.code.value for query in queries for finding in query.findings)
    found += Counter(f.code.value for query in queries for reading in query.readings for f in reading.findings)
    verdict.note("findings of queries: " + (", ".join(f"{code} {n}" for code, n in sorted(found.items())) or "none"))
    whole = Counter(finding.code.value for finding in cell.findings)
    verdict.note("findings of the run: " + (", ".join(f"{code} {n}" for code, n in sorted(whole.items())) or "none"))
    manifest = cell.manifest
    if manifest is not None and manifest.engine.server is not None:
        server = manifest.engine.server
        verdict.note(
            f"server: {server.kind} {server.version}, model {server.model}, boards by {server.boards_by}: "
            f"{', '.join(manifest.engine.device_uuids) or 'none'}"
        )
