"""Sessions that take turns between two checkpoints, stop by themselves, or count tokens in batches first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.records import FindingCode, LengthRecord, PairedCheckpoint, Stopping
from harness.results import load_cell, load_results
from harness.schedule import TICKS_PER_BLOCK
from harness.verify import verify
from tests.synthetic_power import NO_POWER, Power
from tests.test_pipeline import IDLE_W, MODES, Rig, cell, the_reading

OTHER = PairedCheckpoint(model="other", source="org/other", revision="1" * 40, modes=("off",))


# --------------------------------------------------------------------------------------------- blocks


def test_blocks_last_twenty_updates_and_modes_alternate(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", n_prompts=24, tick_s=0.02, duration_s=120.0, power=NO_POWER)
    assert rig.session() == "finished"
    queries = rig.store.queries()
    blocks: dict[int, list[float]] = {}
    modes: dict[int, set[str]] = {}
    for query in queries:
        blocks.setdefault(query.block or 0, []).append(query.duration_s)
        modes.setdefault(query.block or 0, set()).add(query.mode)
    assert all(len(found) == 1 for found in modes.values())
    order = [next(iter(modes[number])) for number in sorted(modes)]
    assert len(order) >= 8
    assert Counter(order) == {"off": len(order) // 2, "on": len(order) // 2}
    after_pilots = [blocks[number] for number in sorted(blocks)[2:-2]]
    assert min(sum(block) for block in after_pilots) >= TICKS_PER_BLOCK * rig.tick_s


# ------------------------------------------------------------------------------------------- two checkpoints


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig(path=tmp_path_factory.mktemp("paired") / "run", n_prompts=6, cell=cell(pair=OTHER), duration_s=90.0)
    assert rig.session() == "finished"
    return rig


def test_two_checkpoints_are_loaded_in_turn_and_no_load_is_in_a_query(paired: Rig) -> None:
    assert paired.on_disk() == paired.wanted()
    names = [interval.name for interval in paired.store.intervals(1) if interval.name != "gap"]
    assert names.count("load") == 4  # both are looked at first; then on, off, off, on
    assert names[:4] == ["start_up", "load", "load", "warm_up"]
    order = [query.mode for query in sorted(paired.store.queries(), key=lambda each: each.time_start_s)]
    assert order == ["on"] * 3 + ["off"] * 6 + ["on"] * 3
    for interval in paired.store.intervals(1):
        for query in paired.store.queries():
            assert interval.time_end_s <= query.time_start_s + 1e-9 or interval.time_start_s >= query.time_end_s - 1e-9
    assert verify(paired.path).differences == ()


def test_each_load_has_its_own_baseline(paired: Rig) -> None:
    (session,) = load_cell(paired.store).sessions
    assert len(session.baselines_by_load) == 3
    for query in load_cell(paired.store).queries:
        assert the_reading(query).power_idle_w == pytest.approx(IDLE_W, rel=1e-3)


def test_a_second_checkpoint_that_draws_more_idle_does_not_pay_for_it_in_net(paired: Rig, tmp_path: Path) -> None:
    loads = [interval for interval in paired.store.intervals(1) if interval.name == "load"]
    dearer = Power.steps(IDLE_W, (loads[2].time_end_s, loads[3].time_start_s, 2 * IDLE_W))
    rig = Rig(path=tmp_path / "run", n_prompts=6, cell=cell(pair=OTHER), duration_s=90.0, power=dearer)
    assert rig.session() == "finished"
    for query in load_cell(rig.store).queries:
        reading = the_reading(query)
        wanted_w = 2 * IDLE_W if query.mode == "off" else IDLE_W
        assert reading.power_idle_w == pytest.approx(wanted_w, rel=0.02)
        assert reading.energy_net_j == pytest.approx(0.0, abs=0.05 * wanted_w * query.duration_s + 0.5)


def test_the_frame_names_the_checkpoint_that_answered(paired: Rig) -> None:
    frame = load_results(paired.path)
    assert set(zip(frame["mode"], frame["model"], strict=True)) == {("off", "other"), ("on", "scripted")}


def test_the_facts_of_both_checkpoints_are_kept(paired: Rig) -> None:
    manifest = paired.store.manifest(1)
    assert manifest is not None
    assert manifest.engine_of_pair is not None


# --------------------------------------------------------------------------------------- a run that stops


def stopping(n_prompts: int, *, settled: bool) -> Stopping:
    return Stopping(
        target=0.05,
        of="ratio",
        n_prompts=n_prompts,
        n_prompts_most=12,
        looks=((n_prompts, 0.01 if settled else 0.2),),
        settled=settled,
    )


def test_a_run_stops_at_a_look_with_whole_prompts(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", n_prompts=6)
    seen: list[Counter[tuple[str, str]]] = []

    def look() -> Stopping:
        seen.append(rig.on_disk())
        return stopping(len(seen[-1]) // len(MODES), settled=len(seen) == 2)

    assert rig.session(looks=(2, 4, 6), look=look) == "settled"
    assert [len(on_disk) for on_disk in seen] == [4, 8]
    assert rig.on_disk() == Counter((f"p{index}", mode) for index in range(4) for mode in MODES)
    end = rig.store.end(1)
    assert end is not None
    assert end.status == "settled"
    assert verify(rig.path).differences == ()


def test_a_run_that_never_settles_asks_everything(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", n_prompts=6, power=NO_POWER)
    assert rig.session(looks=(3, 6), look=lambda: stopping(3, settled=False)) == "finished"
    assert rig.on_disk() == rig.wanted()


# ------------------------------------------------------------------------------------------- two phases


@pytest.mark.parametrize("largest_batch", [None, 3])
def test_tokens_are_counted_in_batches_and_some_prompts_measured(tmp_path: Path, largest_batch: int | None) -> None:
    rig = Rig(
        path=tmp_path / "run",
        n_prompts=10,
        cell=cell(lengths_batch_size=4),
        duration_s=90.0,
        largest_batch=largest_batch,
    )
    given: list[Sequence[LengthRecord]] = []

    def choose(lengths: Sequence[LengthRecord]) -> frozenset[str]:
        given.append(lengths)
        return frozenset({"p1", "p8"})

    assert rig.session(choose=choose) == "finished"
    lengths = rig.store.lengths()
    assert given == [lengths]
    assert Counter((length.prompt_id, length.mode) for length in lengths) == rig.wanted()
    assert rig.on_disk() == Counter((name, mode) for name in ("p1", "p8") for mode in MODES)
    for query in rig.store.queries():
        (length,) = (each for each in lengths if (each.prompt_id, each.mode) == (query.prompt_id, query.mode))
        assert length.output is not None
        assert query.output is not None
        assert length.output.sizes == query.output.sizes
        assert length.score == query.score
    split = [any(finding.code is FindingCode.BATCH_SPLIT for finding in length.findings) for length in lengths]
    assert any(split) == (largest_batch is not None)
    assert {length.batch_size for length in lengths} == {4 if largest_batch is None else 2}
    batches = [interval for interval in rig.store.intervals(1) if interval.name == "lengths"]
    assert len(batches) == len(MODES)
    assert all(the_reading(batch).energy_gross_j is not None for batch in batches)
    assert verify(rig.path).differences == ()


def test_counts_that_are_on_disk_are_not_counted_again(tmp_path: Path) -> None:
    rig = Rig(path=tmp_path / "run", n_prompts=6, cell=cell(lengths_batch_size=4))
    with pytest.raises(KeyboardInterrupt):
        rig.session(choose=lambda _: frozenset({"p1"}), interrupt_at=8)
    before = rig.store.lengths()
    assert 0 < len(before) < 12
    assert rig.session(choose=lambda _: frozenset({"p1"})) == "finished"
    assert rig.store.lengths()[: len(before)] == before
    assert Counter((length.prompt_id, length.mode) for length in rig.store.lengths()) == rig.wanted()
