"""The reference cell on every card: what drifted, and how far cards lie apart."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.records import Method, PlannedCell
from harness.report.sweep.references import CardRow, print_cards
from harness.sweep.references import Cards, cards_of
from tests.gate_runs import A100, H100, write_run

START = PlannedCell(labels={}, spec={"model": ["m"]}, role="reference_start")
END = PlannedCell(labels={}, spec={"model": ["m"]}, role="reference_end", repeat=1)


def found(sweep: Path) -> Cards:
    cards = cards_of(sweep, [START, END])
    assert cards is not None
    return cards


def test_a_steady_card_has_not_drifted(tmp_path: Path) -> None:
    write_run(tmp_path / START.run_id, repeats=2, sd_runs=0.0)
    cards = found(tmp_path)
    (card,) = cards.cards
    assert card.drift is not None
    assert card.drift.value == pytest.approx(1.0, abs=0.01)
    assert (cards.drifted, card.over_first, card.uuids) == ((), None, (H100,))


def test_drift_is_seen_and_cards_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / START.run_id, repeats=2, sd_runs=0.10, board=H100)
    write_run(tmp_path / START.run_id, repeats=2, sd_runs=0.0, board=A100, factor=1.2, seed=2)
    cards = found(tmp_path)
    by_board = {card.uuids[0]: card for card in cards.cards}
    drift = by_board[H100].drift
    assert drift is not None
    assert drift.value == pytest.approx(1.05 / 0.95, rel=0.01)
    assert [card.uuids[0] for card in cards.drifted] == [H100]
    over = next(card.over_first for card in cards.cards if card.over_first is not None)
    assert over.value is not None
    assert max(over.value, 1 / over.value) == pytest.approx(1.2 / 0.95, rel=0.01)
    assert over.half_width_gain is not None
    assert over.half_width_gain > 0.05


def test_estimated_joules_are_not_compared_and_seconds_are(tmp_path: Path) -> None:
    write_run(tmp_path / START.run_id, repeats=2, sd_runs=0.10, method=Method.ESTIMATED)
    cards = found(tmp_path)
    assert cards.in_seconds
    assert cards.cards[0].drift is not None
    assert cards.cards[0].drift.value == pytest.approx(1.0, abs=0.05)


def test_before_the_end_there_is_no_drift_and_without_references_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / START.run_id, repeats=1)
    assert found(tmp_path).cards[0].drift is None
    assert cards_of(tmp_path, []) is None
    assert cards_of(tmp_path / "elsewhere", [START]) is None


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_says_it(tmp_path: Path, width: int) -> None:
    write_run(tmp_path / START.run_id, repeats=2, sd_runs=0.10, board=H100)
    write_run(tmp_path / START.run_id, repeats=2, sd_runs=0.0, board=A100, seed=2)
    cards = found(tmp_path)
    rows = [
        CardRow(
            name=card.name,
            uuids=card.uuids,
            per_query=card.per_query,
            drift=card.drift,
            over_first=card.over_first,
            is_off=card in cards.drifted,
        )
        for card in cards.cards
    ]
    console = Console(file=io.StringIO(), width=width)
    print_cards(console, rows, in_seconds=cards.in_seconds)
    assert isinstance(console.file, io.StringIO)
    text = " ".join(console.file.getvalue().split())
    assert "drifted from start to end" in text
    assert "gains" in text
