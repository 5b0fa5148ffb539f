"""The first moments of a cell's process: it is tied to the driver that started it, and then becomes the cell.

    python -m harness.sweep.cell.leash PARENT_PID COMMAND...

Should the driver be killed, however suddenly, Linux kills the cell: nothing goes on measuring that nobody waits for.
What the cell itself has started (sampler, power guard, server) ends by its own watch over the cell. A driver that was
gone before the tie was made is found out by its number. Linux makes the tie to the thread that started the process: a
driver starts its cells in a thread that lives as long as they do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, and become the command.

    Args:
        arguments: The parent's process number, then the command.
    """
    parent, *command = arguments
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(f"harness: the driver of this cell, process {parent}, is gone.")
    try:
        os.execvp(command[0], command)  # noqa: S606 - the driver's own list, and no shell
    except OSError as error:
        sys.exit(f"harness: {command[0]} could not be started: {error.strerror}.")


if __name__ == "__main__":
    main(sys.argv[1:])
