"""Finding processes by their arguments, such as a number to sleep that no other process sleeps.

Comes in: a word of their command line. Goes out: their ids. /proc/PID/cmdline can be read by
everybody, in whatever namespace the process is.
"""

import os
import re
import time

from tests.support.waiting import PATIENCE_S, comes


def with_word(word: str) -> list[int]:
    """Live processes that have `word` in their command line. A number is no part of a longer one:
    other runs of the tests have theirs."""
    wanted, found = re.compile(re.escape(word.encode()) + rb"(?![0-9])"), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if wanted.search(line) and int(name) != os.getpid():
            found.append(int(name))
    return found


def begun(word: str) -> bool:
    """Whether there comes to be one."""
    return comes(lambda: with_word(word))


def gone(word: str, within_s: float = PATIENCE_S) -> bool:
    """Whether all of them are gone, at the latest after `within_s` seconds."""
    return comes(lambda: not with_word(word), within_s)


def waits(pid: int) -> bool:
    """Whether a process comes to use no time of the processor for a while, having used some."""
    used = [0]

    def rests() -> bool:
        used.append(_ticks(pid))
        time.sleep(0.2)
        return used[-1] > 0 and len(used) > 3 and len(set(used[-3:])) == 1

    return comes(rests)


def _ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
