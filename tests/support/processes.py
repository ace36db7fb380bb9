"""Finding processes by what they were told: a number to sleep that nobody else sleeps.

Comes in: a word of their command line. Goes out: their ids. /proc/PID/cmdline can be read by
everybody, in whatever namespace the process is.
"""

import os
import time


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


def gone(word: str, within_s: float) -> bool:
    """Whether all of them are gone, at the latest after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while with_word(word):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
