"""Who is on the boards while a meter runs: what is listed at the start, now and then, and at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from harness.environment.company import Company
from harness.environment.nvml import BoardState, GpuProcess, Nvml
from harness.records import Board, Finding, FindingCode

FIRST, SECOND, THIRD = (Board(uuid=f"GPU-{letter}", name="H100") for letter in "abc")


class Listed(Nvml):
    """An NVML whose lists are what the test says they are."""

    def __init__(self, **states: BoardState) -> None:
        super().__init__(None)
        self.now = {f"GPU-{letter}": state for letter, state in states.items()}

    def states(self, served_by: Collection[int] = ()) -> dict[str, BoardState]:
        return dict(self.now)

    def tenants(self) -> dict[str, bool]:
        return {uuid: state.lists_us for uuid, state in self.now.items() if state.processes or state.lists_us}


def state(
    *processes: GpuProcess, lists: bool = True, ours: bool = False, used_bytes: int = 0, busy: float = 0.0
) -> BoardState:
    unknown = dict.fromkeys(
        ("temperature_c", "power_instant_w", "power_average_w", "power_usage_w", "energy_counter_j", "vgpu")
    )
    return BoardState(
        index=0,
        memory_used_bytes=used_bytes,
        utilization_percent=busy,
        processes=processes if lists else None,
        lists_us=ours,
        **unknown,
    )


def process(pid: int, name: str | None = "other") -> GpuProcess:
    return GpuProcess(pid=pid, name=name, kind="compute", memory_bytes=1)


def told(findings: list[Finding]) -> dict[FindingCode, str]:
    return {finding.code: finding.detail for finding in findings}


def company(nvml: Listed, *metered: Board) -> Company:
    return Company(nvml, metered or (FIRST, SECOND))


def change(nvml: Listed, states: Mapping[str, BoardState]) -> None:
    nvml.now = {f"GPU-{letter}": now for letter, now in states.items()}


def test_boards_that_never_held_this_program_are_named() -> None:
    nvml = Listed(a=state(), b=state(process(7)))
    watched = company(nvml)
    assert watched.elsewhere() == []  # it has not begun to work
    change(nvml, {"a": state(ours=True), "b": state(process(7))})
    watched.look()
    change(nvml, {"a": state(), "b": state(process(7))})  # and it has ended
    for found in (watched.elsewhere(), watched.at_end()):
        assert told(found) == {FindingCode.OTHER_BOARDS_METERED: "nothing of this program was seen on GPU-b"}


def test_a_board_that_this_program_had_once_is_its_own() -> None:
    nvml = Listed(a=state(ours=True), b=state())
    watched = company(nvml)
    change(nvml, {"a": state(), "b": state(ours=True)})
    watched.look()
    assert watched.elsewhere() == watched.at_end() == []


def test_work_on_a_board_that_is_not_metered_is_seen() -> None:
    nvml = Listed(a=state(), b=state(ours=True))
    assert "GPU-a" in told(company(nvml, FIRST).at_end())[FindingCode.OTHER_BOARDS_METERED]


def test_looks_are_not_repeated_too_soon() -> None:
    nvml = Listed(a=state(), b=state())
    watched = company(nvml)
    watched.look(60.0)
    change(nvml, {"a": state(ours=True), "b": state()})
    watched.look(60.0)
    assert watched.elsewhere() == []
    watched.look()
    assert watched.elsewhere()


def test_where_numbers_mean_nothing_only_a_board_that_is_surely_empty_is_named() -> None:
    nvml = Listed(a=state(), b=state(), c=state(lists=False))
    watched = company(nvml, FIRST, SECOND, THIRD)
    stranger = process(4_000_001, None)
    change(nvml, {"a": state(stranger, used_bytes=2**31), "b": state(), "c": state(lists=False)})
    found = told(watched.at_end())
    assert found[FindingCode.OTHER_BOARDS_METERED] == "nothing of this program was seen on GPU-b"
    assert FindingCode.OTHER_PROCESSES not in found
    assert "another namespace" in found[FindingCode.PROCESSES_NOT_LISTED]
    # Filled memory is enough of a sign that a board is used, before the start as well as since; without any sign
    # nothing is said.
    for first_bytes, second_bytes, is_named in ((0, 0, False), (2**31, 0, True), (2**31, 2**31, False)):
        nvml = Listed(a=state(), b=state(used_bytes=second_bytes))
        watched = company(nvml)
        change(nvml, {"a": state(used_bytes=first_bytes), "b": state(used_bytes=second_bytes)})
        assert (FindingCode.OTHER_BOARDS_METERED in told(watched.at_end())) is is_named


def test_who_comes_meanwhile_is_told_at_the_end_and_who_was_there_at_the_start() -> None:
    nvml = Listed(a=state(process(7, "early")))
    watched = company(nvml, FIRST)
    assert told(watched.at_start()) == {FindingCode.OTHER_PROCESSES: "GPU-a: early 7"}
    assert watched.at_end() == []
    change(nvml, {"a": state(process(7, "early"), process(8, "late"))})
    assert told(watched.at_end()) == {FindingCode.OTHER_PROCESSES: "GPU-a: late 8 (came while it was measured)"}


def test_a_process_of_ours_that_has_just_ended_is_nobody() -> None:
    nvml = Listed(a=state(ours=True))
    watched = company(nvml, FIRST)
    change(nvml, {"a": state(process(4_000_001, None))})
    assert watched.at_end() == []


def test_busy_or_filled_boards_beside_the_metered_ones_are_told() -> None:
    nvml = Listed(a=state(busy=100.0), b=state(busy=90.0), c=state())
    watched = company(nvml, FIRST)
    change(nvml, {"a": state(), "b": state(), "c": state(used_bytes=2**31)})
    assert told(watched.at_end()) == {FindingCode.NEIGHBOURS_SHARE: "GPU-b 90 % busy, GPU-c was filled"}
