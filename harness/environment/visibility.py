"""Which boards a process may use, and which are metered: pure functions over names.

`CUDA_VISIBLE_DEVICES` does not touch NVML, so what CUDA would show has to be worked out from its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import NoSensor, UnknownName
from harness.records import Board, Finding, FindingCode

CHOICES = ("auto", "all", "none")


@dataclass(frozen=True, slots=True)
class VisibleGpu:
    """A board that CUDA shows. `mig` names the slice of it; None: all of it."""

    uuid: str
    mig: str | None = None


def resolve_visible(
    environ_value: str | None,
    uuids: Sequence[str],
    cuda_order: Sequence[int] | None = None,
    mig_parents: Mapping[str, str] | None = None,
) -> tuple[VisibleGpu, ...]:
    """The boards that CUDA shows under a value of `CUDA_VISIBLE_DEVICES`, in CUDA's order.

    As CUDA reads it: entries are taken from the left up to the first that is not valid, and a repeated entry
    hides everything.

    Args:
        environ_value: The variable's value; None where it is not set.
        uuids: Every board's UUID, in NVML's order.
        cuda_order: For each of CUDA's numbers its position in `uuids`; None: the same order, as with
            `CUDA_DEVICE_ORDER=PCI_BUS_ID`, or with boards of one model.
        mig_parents: The board's UUID by the UUID of each MIG slice.
    """
    order = list(range(len(uuids))) if cuda_order is None else list(cuda_order)
    if environ_value is None:
        return tuple(VisibleGpu(uuids[position]) for position in order)
    visible: list[VisibleGpu] = []
    for entry in (part.strip() for part in environ_value.split(",")):
        gpu = _resolve_entry(entry, uuids, order, mig_parents or {})
        if gpu is None:
            break
        if gpu in visible:
            return ()
        visible.append(gpu)
    return tuple(visible)


def _resolve_entry(
    entry: str, uuids: Sequence[str], order: Sequence[int], mig_parents: Mapping[str, str]
) -> VisibleGpu | None:
    if entry.isdecimal():
        return VisibleGpu(uuids[order[int(entry)]]) if int(entry) < len(order) else None
    if entry.startswith("MIG-GPU-"):  # drivers before R470: MIG-GPU-<uuid>/<GPU instance>/<compute instance>
        parent = entry.removeprefix("MIG-").split("/")[0]
        return VisibleGpu(parent, mig=entry) if parent in uuids else None
    if entry.startswith("MIG-"):
        slices = [uuid for uuid in mig_parents if uuid.startswith(entry)]
        return VisibleGpu(mig_parents[slices[0]], mig=slices[0]) if len(slices) == 1 else None
    if entry.startswith("GPU-"):
        boards = [uuid for uuid in uuids if uuid.startswith(entry)]
        return VisibleGpu(boards[0]) if len(boards) == 1 else None
    return None


def order_doubt(environ: Mapping[str, str], names: Sequence[str]) -> Finding | None:
    """Whether the numbers in `CUDA_VISIBLE_DEVICES` may mean other boards than they do in PCI order.

    Args:
        environ: The environment variables.
        names: Every board's model, in NVML's order.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = [entry for entry in (part.strip() for part in value.split(",")) if entry.isdecimal()]
    if len(set(names)) < 2 or not numbers or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return None
    if len(set(numbers)) == len(names):
        return None  # all of them, in whatever order
    return Finding(code=FindingCode.DEVICE_ORDER_UNKNOWN, detail=f"CUDA_VISIBLE_DEVICES={value}")


def choose_boards(
    spec: str,
    boards: Sequence[Board],
    holding: tuple[str, ...],
    mig_parents: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """UUIDs of the boards to meter.

    Args:
        spec: `auto` (the boards that hold the model), `all`, `none`, or UUIDs (a unique beginning is enough)
            and numbers in NVML's order, separated by commas.
        boards: Every board, in NVML's order.
        holding: UUIDs of the boards, or of their MIG slices, that hold the model.
        mig_parents: The board's UUID by the UUID of each MIG slice.

    Raises:
        UnknownName: No such board.
        NoSensor: `auto`, and NVML does not list a board that holds the model.
    """
    uuids = [board.uuid for board in boards]
    if spec == "none":
        return ()
    if spec == "all":
        return tuple(uuids)
    if spec == "auto":
        chosen = [_holder(uuid, uuids, mig_parents or {}) for uuid in holding]
    else:
        chosen = [_named(name.strip(), uuids) for name in spec.split(",")]
    return tuple(dict.fromkeys(chosen))


def _holder(uuid: str, uuids: Sequence[str], mig_parents: Mapping[str, str]) -> str:
    holder = holder_of(uuid, uuids, mig_parents)
    if holder is None:
        raise NoSensor(
            f"The model is on {uuid}, which NVML does not list.",
            "Run `harness doctor`; name a board with `--meter-gpus`, or meter none with `--meter-gpus none`.",
        )
    return holder


def holder_of(uuid: str, uuids: Sequence[str], mig_parents: Mapping[str, str]) -> str | None:
    """The board that a device of CUDA's is, or is a slice of; None: NVML lists none.

    Args:
        uuid: As CUDA gives it: of a board or of a MIG slice, without saying which.
        uuids: Every board's UUID.
        mig_parents: The board's UUID by the UUID of each MIG slice.
    """
    if uuid in uuids:
        return uuid
    parents = {name.removeprefix("MIG-"): parent for name, parent in mig_parents.items()}
    return parents.get(uuid.removeprefix("GPU-").removeprefix("MIG-"))


def _named(name: str, uuids: Sequence[str]) -> str:
    if name.isdecimal() and int(name) < len(uuids):
        return uuids[int(name)]
    matches = [uuid for uuid in uuids if name and uuid.startswith(name)]
    if len(matches) == 1 and not name.isdecimal():
        return matches[0]
    if not uuids:
        elsewhere = " NVML lists no GPU here."
    else:
        elsewhere = f" Numbers 0 to {len(uuids) - 1} count in the order of `nvidia-smi`."
    raise UnknownName("GPU", name, [*CHOICES, *uuids], elsewhere)
