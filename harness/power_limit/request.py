"""Whether a power limit can be set: asked before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Sequence

from harness.environment.nvml import Nvml, PowerLimits, open_nvml
from harness.errors import EnvironmentFault, UsageError

TOLERANCE_W = 1.0
"""Boards round what they are told."""


def refuse_power_limit(power_limit_w: float, uuids: Sequence[str]) -> dict[str, PowerLimits]:
    """Refuse a limit that these boards, or this user, cannot set.

    Whether the user may is only known by doing it: each board is told the limit that it has already.

    Args:
        power_limit_w: Watts per board.
        uuids: The metered boards.

    Returns:
        Each board's limits as they are now.

    Raises:
        UsageError: No board is metered, or the limit is outside of what a board takes.
        EnvironmentFault: A board has no such limit, or the driver refuses this user.
    """
    if not uuids:
        raise UsageError(
            "--power-limit is set on the boards that are metered, and none is.",
            "Leave it out, or name a board (--meter-gpus).",
        )
    nvml = opened()
    limits = nvml.power_limits(uuids)
    for uuid in uuids:
        known = limits.get(uuid)
        if known is None:
            raise EnvironmentFault(f"{uuid} has no power limit that can be read.", "Leave --power-limit out.")
        if (known.least_w or 0.0) > power_limit_w or power_limit_w > (known.most_w or power_limit_w):
            raise UsageError(
                f"--power-limit {power_limit_w:g}: {uuid} takes {_watts(known.least_w)} to {_watts(known.most_w)}.",
                "Choose a limit in that range; `nvidia-smi -q -d POWER` shows it.",
            )
        refused = nvml.set_power_limit(uuid, known.limit_w)
        if refused is not None:
            raise EnvironmentFault(
                f"--power-limit {power_limit_w:g}: the driver does not let this user set it on {uuid} ({refused}).",
                f"Run as root, or have it set for you ({command_for(uuid, power_limit_w)}) and leave the flag out.",
            )
    return limits


def opened() -> Nvml:
    """NVML.

    Raises:
        EnvironmentFault: It cannot be asked.
    """
    nvml = open_nvml()
    if not isinstance(nvml, Nvml):
        raise EnvironmentFault(nvml.what, nvml.next_step)
    return nvml


def command_for(uuid: str, power_limit_w: float) -> str:
    """What an administrator types to set a limit by hand."""
    return f"sudo nvidia-smi -i {uuid} -pl {power_limit_w:g}"


def _watts(value: float | None) -> str:
    return "an unknown limit" if value is None else f"{value:g} W"
