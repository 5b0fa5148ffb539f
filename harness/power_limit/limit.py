"""The power limit of the metered boards during one session: lowered, verified, and set back whatever happens.

A guard process knows the former limits before the first one is changed, and restores them when the pipe to this
process closes: at the normal end, after an exception or Ctrl-C, and after SIGTERM or `kill -9`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from harness.errors import EnvironmentFault
from harness.meter import child
from harness.power_limit.guard import not_restored
from harness.power_limit.request import TOLERANCE_W, opened, refuse_power_limit
from harness.power_limit.restoring import restored
from harness.records import Finding, FindingCode

READY_TIMEOUT_S, RESTORE_TIMEOUT_S = 30.0, 20.0


class PowerLimit:
    """Use as a context manager: what `lower` has changed is as it was when the block ends."""

    def __init__(self, power_limit_w: float | None) -> None:
        """None: nothing is ever changed."""
        self._power_limit_w = power_limit_w
        self._former_w: dict[str, float] = {}
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Nothing is changed yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Set everything back; what cannot be is told on stderr, and raised where nothing else is."""
        failed = self.restore()
        sentences = [not_restored(uuid, said, self._former_w[uuid]) for uuid, said in failed.items()]
        for sentence in sentences:
            sys.stderr.write(f"\n{sentence}\n")
        if sentences and error is None:
            what, _, step = sentences[0].partition(" Set it back by hand: ")
            raise EnvironmentFault(what, step)

    def lower(self, uuids: Sequence[str]) -> tuple[Finding, ...]:
        """Set the limit on exactly these boards; those that have it from an earlier call keep it.

        Args:
            uuids: The metered boards.

        Returns:
            What to say of the cell; empty where no limit was asked for.

        Raises:
            UsageError: The limit is outside of what a board takes.
            EnvironmentFault: The driver refuses, or a board does not do as it was told.
        """
        power_limit_w = self._power_limit_w
        if power_limit_w is None:
            return ()
        if set(uuids) != set(self._former_w):
            if self._former_w:
                raise EnvironmentFault(
                    f"The metered boards have changed: {', '.join(self._former_w)} before, {', '.join(uuids)} now.",
                    "Name them (--meter-gpus).",
                )
            limits = refuse_power_limit(power_limit_w, uuids)
            former_w = {uuid: limit.limit_w for uuid, limit in limits.items()}
            self._start_guard(former_w)
            self._former_w = former_w
            self._set(power_limit_w)
        detail = "; ".join(f"{uuid}: {power_limit_w:g} W, {was_w:g} W before" for uuid, was_w in self._former_w.items())
        return (Finding(code=FindingCode.POWER_LIMIT_SET, detail=detail),)

    def restore(self) -> dict[str, str]:
        """Set everything back now. A second call does it again, which is harmless.

        Returns:
            Boards whose limit could not be set back, with what the driver said.
        """
        self._end_guard()
        return restored(opened(), self._former_w) if self._former_w else {}  # the guard's word is not relied on

    def _set(self, power_limit_w: float) -> None:
        nvml = opened()
        for uuid in self._former_w:
            refused = nvml.set_power_limit(uuid, power_limit_w)
            now = nvml.power_limits([uuid]).get(uuid)
            if refused is None and now is not None and abs(now.limit_w - power_limit_w) <= TOLERANCE_W:
                continue
            said = refused or f"it says {'nothing' if now is None else f'{now.limit_w:g} W'}"
            raise EnvironmentFault(
                f"{uuid} was told to draw {power_limit_w:g} W at most, and does not have that limit ({said}).",
                "Leave --power-limit out.",
            )

    def _start_guard(self, former_w: dict[str, float]) -> None:
        request = json.dumps({"limits_w": former_w, "parent": os.getpid()})
        self._guard = subprocess.Popen(
            child.command("harness.power_limit.guard", request),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child.environment(),
            start_new_session=True,  # it must outlive whatever ends this process, Ctrl-C included
        )
        if not self._heard(READY_TIMEOUT_S).get("ready"):
            self._end_guard()
            raise EnvironmentFault(
                "The process that would set the power limit back did not start, so it is not changed.",
                "Leave --power-limit out; `harness doctor` shows what is wrong with the driver.",
            )

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        assert guard.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write("\n")  # a forked worker may hold the pipe open; a line is heard all the same
            guard.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
        try:
            guard.wait(RESTORE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        guard.stdout.close()

    def _heard(self, timeout_s: float) -> dict[str, Any]:
        """The guard's next line; empty where it says none in time."""
        assert self._guard is not None
        assert self._guard.stdout is not None
        readable, _, _ = select.select([self._guard.stdout], [], [], timeout_s)
        line = self._guard.stdout.readline() if readable else ""
        heard: dict[str, Any] = json.loads(line) if line else {}
        return heard
