"""Whether the kernel killed something because memory ran out, where steps have no cgroup.

It says so only in counters: in the cgroup's memory.events (cgroup-v2.rst), or in /proc/vmstat for
the whole machine. A counter that grew and a step that ended by SIGKILL are taken for one event.
"""

import os
import threading

from minibuild.linux import cgroup

_VMSTAT = "/proc/vmstat"


class OomWatch:
    """Remembers a counter of kills."""

    def __init__(self) -> None:
        own = [tree.file("memory.events") for tree in cgroup.hierarchies() if tree.version == 2]
        self._path = next(filter(os.path.exists, own), _VMSTAT)
        self._seen = cgroup.value(self._path, "oom_kill")
        self._lock = threading.Lock()

    def happened(self) -> bool:
        """Whether there was a kill since this was last asked."""
        with self._lock:
            before, self._seen = self._seen, cgroup.value(self._path, "oom_kill")
            return self._seen > before
