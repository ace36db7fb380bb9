"""Whether the kernel killed something because memory ran out, where steps have no cgroup.

It says so only in counters: in the cgroup's memory.events (cgroup-v2.rst), or in /proc/vmstat for
the whole machine. A counter that grew and a step that ended by SIGKILL are taken for one event.
"""

import os
import threading

_VMSTAT = "/proc/vmstat"
_UNIFIED = "/sys/fs/cgroup"


class OomWatch:
    """Remembers a counter of kills."""

    def __init__(self) -> None:
        self._path = _counter_path()
        self._seen = count(self._path)
        self._lock = threading.Lock()

    def happened(self) -> bool:
        """Whether there was a kill since this was last asked."""
        with self._lock:
            before, self._seen = self._seen, count(self._path)
            return self._seen > before


def _counter_path() -> str:
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                if line.startswith("0::"):
                    path = f"{_UNIFIED}{line[3:].strip()}/memory.events"
                    if os.path.exists(path):
                        return path
    except OSError:
        pass
    return _VMSTAT


def count(path: str) -> int:
    """The value of `oom_kill` in a file of names and numbers; 0 where there is none."""
    try:
        with open(path, "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
