"""What stands against a comparison of a repetition with what it repeats: another plan, another kind of machine.

Every condition of a cell counts, but for those of the machine, and so does what was executed of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.analysis.repetition import Obstacles
from harness.comparing.differences import cell_conditions, subject_difference
from harness.comparing.side import Side
from harness.records import Boundary, Method
from harness.report.compared import not_as_called

OF_THE_MACHINE = {"device", "n_threads", "power_limit_w"}
"""Fields of a cell that change what a query takes, and not what is done."""


def obstacles_between(base: Side, other: Side) -> Obstacles:
    """In words.

    Args:
        base: What was repeated.
        other: The same plan, measured again.
    """
    return Obstacles(
        everything=tuple(_other_plan(base, other)),
        cost=tuple(_other_machine(base, other)),
        by_mode=_doubted(base, other),
    )


def _other_plan(base: Side, other: Side) -> Iterator[str]:
    """Why the two did not do the same, in words."""
    subject = subject_difference(base, other)
    if subject is not None:
        yield f"another {subject.what}: {subject.base} and {subject.other}"
    if base.cell.prompt_set_sha256 != other.cell.prompt_set_sha256:
        yield f"other prompts: {_prompts(base)} and {_prompts(other)}"
    for name, condition in cell_conditions(base, other):
        if condition.base != condition.other and name not in OF_THE_MACHINE:
            yield f"{condition.what} {condition.base} and {condition.other}"
    if not set(base.cell.modes) & set(other.cell.modes):
        yield f"no mode in common: {', '.join(base.cell.modes)} and {', '.join(other.cell.modes)}"
    executed = [_precisions(side) for side in (base, other)]
    if executed[0] != executed[1]:
        yield f"another executed precision: {executed[0]} and {executed[1]}"
    if base.summary.estimated != other.summary.estimated:
        estimated, measured = (base, other) if base.summary.estimated else (other, base)
        yield f"the energy of {estimated.label} is estimated and that of {measured.label} is measured"
    if base.summary.headline is not other.summary.headline:
        headlines = f"{base.summary.headline.value} and {other.summary.headline.value}"
        yield f"their energies include different things: {headlines}"
    for side in (base, other):
        if side.summary.method is Method.REPLAYED:
            yield f"the energy of {side.label} is replayed from a recording"
        if side.summary.two_phase is not None or side.cell.lengths_batch_size is not None:
            yield f"{side.label} is a two-phase run: it measures few queries, chosen for their lengths"


def _prompts(side: Side) -> str:
    return f"{side.cell.prompt_set} ({side.cell.prompt_set_sha256[:8]})"


def _precisions(side: Side) -> str:
    """Of the loaded models."""
    facts = [each for manifest in side.manifests for each in (manifest.engine, manifest.engine_of_pair) if each]
    return " and ".join(dict.fromkeys(each.executed_precision or "unknown" for each in facts)) or "unknown"


def _other_machine(base: Side, other: Side) -> Iterator[str]:
    """Why what a query takes cannot be compared, although the work is the same."""
    for name, condition in cell_conditions(base, other):
        if condition.base != condition.other and name in OF_THE_MACHINE:
            yield f"{condition.what} {condition.base} and {condition.other}"
    boards = [_kinds_of_boards(side) for side in (base, other)]
    if boards[0] != boards[1]:
        yield f"another kind of board: {boards[0]} and {boards[1]}"
    if base.summary.headline is Boundary.GPU_BOARD and not base.summary.estimated:
        return
    hosts = [{each.site.cpu for each in side.manifests} for side in (base, other)]
    if hosts[0] != hosts[1]:
        yield f"another kind of host: {' and '.join(sorted(hosts[0]))}, and {' and '.join(sorted(hosts[1]))}"


def _kinds_of_boards(side: Side) -> str:
    """Of the boards that were read or held the model, each with the limit on its power where that is not its own."""
    kinds = []
    for manifest in side.manifests[-1:]:
        used = {channel.device for channel in manifest.channels if channel.makes_energy}
        for facts in filter(None, (manifest.engine, manifest.engine_of_pair)):
            used.update(facts.device_uuids)
        for board in manifest.site.boards:
            if board.uuid in used:
                limited = board.power_limit_w is not None and board.power_limit_w != board.power_limit_default_w
                kinds.append(f"{board.name} held to {board.power_limit_w:g} W" if limited else board.name)
    return ", ".join(sorted(kinds)) or "none"


def _doubted(base: Side, other: Side) -> Mapping[str, tuple[str, ...]]:
    """The modes that are not what they are called on one side, with the reasons."""
    found: dict[str, tuple[str, ...]] = {}
    for side in (base, other):
        for account in side.every_repeat:
            for mode, findings in not_as_called(account.summary).items():
                said = (
                    f"{mode} of {side.label} is not what it is called: {each.code.sentence.rstrip('.')}"
                    for each in findings
                )
                found[mode] = tuple(dict.fromkeys((*found.get(mode, ()), *said)))
    return found
