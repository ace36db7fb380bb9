"""Processes that a step left when its keeper was killed, too: found by what they execute.

Comes in: what stays in "/". Goes out: nothing, but these processes are gone. The programs of this
container are in what stays; whatever else runs from "/" now came with a tree. Processes of other
containers, which a pod may share, have another root directory.
"""

import os
import signal
import time
from contextlib import suppress

from minibuild.executor.ownroot.preserved import PreservedPaths

_PATIENCE_S = 5.0


def end_leftovers(live: str, kept: PreservedPaths) -> None:
    """Kill them, and wait until they are gone."""
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up:
        found = [pid for pid in _processes() if _is_leftover(pid, live, kept)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.01)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != 1]


def _is_leftover(pid: int, live: str, kept: PreservedPaths) -> bool:
    try:
        root, here = os.stat(f"/proc/{pid}/root"), os.stat(live)
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False  # It is gone, or a zombie, or none of ours.
    same = (root.st_dev, root.st_ino) == (here.st_dev, here.st_ino)
    return same and pid != os.getpid() and not kept.holds(program.removesuffix(" (deleted)"))
