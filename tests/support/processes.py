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


def _comes(state: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not state():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
