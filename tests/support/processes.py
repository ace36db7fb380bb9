"""Finding processes by their arguments, such as a number to sleep that no other process sleeps.

Comes in: a word of their command line. Goes out: their ids. /proc/PID/cmdline can be read by
everybody, in whatever namespace the process is.
"""

import os
import time
from collections.abc import Callable


def with_word(word: str) -> list[int]:
    """Live processes that have `word` in their command line."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.encode() in part for part in words) and int(name) != os.getpid():
            found.append(int(name))
    return found


def begun(word: str, within_s: float = 30) -> bool:
    """Whether there is one, at the latest after `within_s` seconds."""
    return _comes(lambda: bool(with_word(word)), within_s)


def gone(word: str, within_s: float) -> bool:
    """Whether all of them are gone, at the latest after `within_s` seconds."""
    return _comes(lambda: not with_word(word), within_s)


def waits(pid: int, within_s: float = 60) -> bool:
    """Whether a process comes to use no time of the processor for a while, having used some."""
    used = [0]

    def rests() -> bool:
        used.append(_ticks(pid))
        time.sleep(0.2)
        return used[-1] > 0 and len(used) > 3 and len(set(used[-3:])) == 1

    return _comes(rests, within_s)


def _ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _comes(state: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not state():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
