"""The process that sets power limits back when its parent is done, or gone. Run by `PowerLimit`.

    python -m harness.power_limit.guard '{"limits_w": {"GPU-...": 700.0}, "parent": 4711}'

It says `ready` on stdout before its parent changes anything. When standard input closes or says anything, or when the
parent is gone although a forked worker of it still holds that pipe open, it restores every limit and says in one JSON
line which it could not. It lives in a session of its own and is deaf to the signals that a terminal or a scheduler
sends to everybody: after `kill -9` of the parent it is what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys

from harness.environment.nvml import Nvml, open_nvml
from harness.power_limit.request import command_for
from harness.power_limit.restoring import restored

PARENT_PERIOD_S = 0.5
DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main() -> None:
    """Wait for the end of the parent's work, then restore."""
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    request = json.loads(sys.argv[1])
    nvml = open_nvml()
    if not isinstance(nvml, Nvml):
        _say(refused=nvml.what)
        return
    _say(ready=True)
    while os.getppid() == request["parent"]:
        readable, _, _ = select.select([sys.stdin], [], [], PARENT_PERIOD_S)
        if readable:
            break
    failed = restored(nvml, request["limits_w"])
    if os.getppid() != request["parent"]:  # nobody else is left to say it
        for uuid, said in failed.items():
            sys.stderr.write(f"\n{not_restored(uuid, said, request['limits_w'][uuid])}\n")
    with contextlib.suppress(BrokenPipeError):
        _say(failed=failed)


def not_restored(uuid: str, said: str, limit_w: float) -> str:
    """The loud sentence."""
    return f"THE POWER LIMIT OF {uuid} WAS NOT SET BACK ({said}). Set it back by hand: {command_for(uuid, limit_w)}"


def _say(**fields: object) -> None:
    os.write(sys.stdout.fileno(), f"{json.dumps(fields)}\n".encode())  # nothing is left in a buffer of a broken pipe


if __name__ == "__main__":
    main()
