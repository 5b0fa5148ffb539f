"""In which order a session asks: rounds, blocks, looks, pairs of checkpoints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Cell, EngineOptions, PairedCheckpoint, Prompt
from harness.schedule import ROUNDS_LEAST, Round, Schedule, n_prompts_for_block, query_seed

MODES = ("off", "on", "budget:64")


def cell(**changes: object) -> Cell:
    fields: dict[str, object] = {
        "model": "m",
        "source": "embedded:m",
        "revision": "0" * 40,
        "engine": EngineOptions(device="cuda"),
        "dtype": "auto",
        "quantization": "none",
        "prompt_set": "chains",
        "prompt_set_sha256": "0" * 64,
        "protocol": "paired-1",
        "modes": ("off", "on"),
        "max_new_tokens": 256,
        "seed": 0,
    }
    return Cell.model_validate(fields | changes)


def schedule(
    n_prompts: int = 40,
    *,
    finished: set[tuple[str, str]] | None = None,
    looks: tuple[int, ...] = (),
    pilot_only: bool = False,
    n_pilot: int = 5,
    **changes: object,
) -> Schedule:
    return Schedule(
        cell=cell(**changes),
        prompts=[Prompt(prompt_id=f"p{index}", text="?") for index in range(n_prompts)],
        finished=finished or set(),
        n_pilot=n_pilot,
        pilot_only=pilot_only,
        idle_duration_s=1.0,
        n_warm_up=1,
        store_text="full",
        looks=looks,
    )


def rounds(plan: Schedule, n_per_round: int = 1) -> list[Round]:
    return list(plan.rounds(lambda: n_per_round))


def asked(plan: Schedule, n_per_round: int = 1) -> list[tuple[str, str]]:
    found = [block for one in rounds(plan, n_per_round) for block in one.blocks]
    return [(prompt.prompt_id, block.mode) for block in found for _, prompt in block.prompts]


@given(
    n_prompts=st.integers(1, 60),
    n_per_round=st.integers(1, 80),
    n_modes=st.integers(1, 3),
    looks=st.sets(st.integers(1, 60), max_size=4),
    n_finished=st.integers(0, 40),
    paired=st.booleans(),
)
def test_every_query_is_asked_once_and_whole_prompts_end_at_looks(
    n_prompts: int, n_per_round: int, n_modes: int, looks: set[int], n_finished: int, *, paired: bool
) -> None:
    modes = MODES[:n_modes]
    pair = PairedCheckpoint(model="o", source="o", revision="1", modes=modes[:1]) if paired and n_modes > 1 else None
    wanted = {(f"p{index}", mode) for index in range(n_prompts) for mode in modes}
    finished = set(sorted(wanted)[:n_finished])
    plan = schedule(n_prompts, finished=finished, looks=tuple(sorted(looks)), modes=modes, pair=pair)
    order = asked(plan, n_per_round)
    assert len(order) == len(set(order)) == plan.n_queries()
    assert set(order) == wanted - finished
    done = set(finished)
    for one in rounds(plan, n_per_round):
        done |= {(prompt.prompt_id, block.mode) for block in one.blocks for _, prompt in block.prompts}
        assert {(f"p{index}", mode) for index in range(one.n_prompts) for mode in modes} <= done
    for one in rounds(plan, n_per_round):
        indices = {index for block in one.blocks for index, _ in block.prompts}
        assert not any(min(indices) < look <= max(indices) for look in looks)  # a look is never inside a round


def test_modes_come_in_random_order_and_then_in_its_reverse() -> None:
    found = [tuple(block.mode for block in one.blocks) for one in rounds(schedule(400, modes=MODES, n_pilot=1))]
    firsts = found[::2]
    assert [order[::-1] for order in firsts] == found[1::2]
    assert len(set(firsts)) == 6  # every order of three modes comes up
    again = [tuple(block.mode for block in one.blocks) for one in rounds(schedule(400, modes=MODES, n_pilot=1))]
    assert again == found
    other = [tuple(block.mode for block in one.blocks) for one in rounds(schedule(400, modes=MODES, n_pilot=1, seed=1))]
    assert other != found


def test_blocks_are_as_long_as_asked_but_leave_four_rounds() -> None:
    lengths = [len(one.blocks[0].prompts) for one in rounds(schedule(100), 7)]
    assert lengths[0] == 5  # the pilot's
    assert set(lengths[1:-1]) == {7}
    lengths = [len(one.blocks[0].prompts) for one in rounds(schedule(100), 1000)]
    assert lengths == [5, 25, 25, 25, 20]
    assert max(lengths) <= 100 // ROUNDS_LEAST


def test_a_pilot_is_the_first_prompts_in_every_mode() -> None:
    assert {name for name, _ in asked(schedule(pilot_only=True))} == {f"p{index}" for index in range(5)}
    assert len(asked(schedule(pilot_only=True))) == 10


@pytest.mark.parametrize("looks", [(), (10, 20, 40)])
def test_checkpoints_go_back_and_forth(looks: tuple[int, ...]) -> None:
    pair = PairedCheckpoint(model="o", source="o", revision="1", modes=("off",))
    found = [block.mode for one in rounds(schedule(40, pair=pair, looks=looks)) for block in one.blocks]
    assert found == ["on", "off", "off", "on"] if not looks else ["on", "off", "off", "on", "on", "off"]


def test_somebody_elses_order_is_kept() -> None:
    plan = schedule(12, order="stored", modes=("on", "off"))
    assert asked(plan, 3) == [(f"p{index}", mode) for mode in ("on", "off") for index in range(12)]


def test_only_the_chosen_prompts_are_measured() -> None:
    plan = schedule(12).measuring(frozenset({"p3", "p7"}))
    assert {name for name, _ in asked(plan)} == {"p3", "p7"}
    assert plan.n_queries() == 4


@pytest.mark.parametrize(
    ("duration_s", "tick_s", "n_prompts"),
    [(0.2, 0.1, 10), (0.3, 0.1, 7), (5.0, 0.1, 1), (0.2, 0.0, 1), (None, 0.1, 1), (0.014, 0.001, 2)],
)
def test_a_block_lasts_twenty_updates(duration_s: float | None, tick_s: float, n_prompts: int) -> None:
    assert n_prompts_for_block(duration_s, tick_s) == n_prompts


def test_a_query_has_the_same_seed_in_every_mode_and_whatever_the_order() -> None:
    assert query_seed(cell(), "p3") == query_seed(cell(modes=("on",)), "p3") != query_seed(cell(), "p4")
