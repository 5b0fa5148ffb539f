"""Setting a limit back: tried more than once, and looked at afterwards. Doing it twice is harmless."""

from __future__ import annotations

import time
from collections.abc import Mapping

from harness.environment.nvml import Nvml
from harness.power_limit.request import TOLERANCE_W

N_ATTEMPTS, RETRY_S = 5, 0.2


def restored(nvml: Nvml, limits_w: Mapping[str, float]) -> dict[str, str]:
    """Set boards back to these limits, in watts by UUID.

    Returns:
        Those that could not be, with what the driver said. Empty: all are as they were.
    """
    failed: dict[str, str] = {}
    for uuid, limit_w in limits_w.items():
        for attempt in range(N_ATTEMPTS):
            if attempt:
                time.sleep(RETRY_S)
            said = nvml.set_power_limit(uuid, limit_w) or _off(nvml, uuid, limit_w)
            if said is None:
                failed.pop(uuid, None)
                break
            failed[uuid] = said
    return failed


def _off(nvml: Nvml, uuid: str, limit_w: float) -> str | None:
    """What is wrong with the limit that a board says it has; None: nothing, as far as it says one."""
    now = nvml.power_limits([uuid]).get(uuid)
    if now is None or abs(now.limit_w - limit_w) <= TOLERANCE_W:
        return None
    return f"its limit is {now.limit_w:g} W"
