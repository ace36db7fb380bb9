"""How a step ended, and whether the kernel killed something because memory ran out.

Where steps have no cgroup it says so only in counters: in the memory.events of the builder's cgroup
(cgroup-v2.rst), or in /proc/vmstat for the whole machine. A counter that grew and a step that ended
by SIGKILL are taken for one event.
"""

import os
import threading

from minibuild.executor.api import StepExit
from minibuild.executor.wire import Exited
from minibuild.linux import cgroup

_SIGKILL = 9
_VMSTAT = "/proc/vmstat"


class OomWatch:
    """Remembers a counter of kills."""

    def __init__(self) -> None:
        own = [tree.file("memory.events") for tree in cgroup.hierarchies() if tree.version == 2]
        self._path = next(filter(os.path.exists, own), _VMSTAT)
        self._seen = cgroup.value(self._path, "oom_kill")
        self._lock = threading.Lock()

    def exit_of(self, exited: Exited) -> StepExit:
        """How a step ended, of which the cgroup may say nothing."""
        signal = max(-exited.status, 0)
        code = 128 + signal if signal else exited.status
        oom = exited.oom_kills > 0
        if exited.oom_kills < 0:  # A shell has the same code if its last command was killed.
            oom = code == 128 + _SIGKILL and self._happened()
        return StepExit(code, signal, oom, max(exited.peak_bytes, 0) if oom else 0)

    def _happened(self) -> bool:
        """Whether there was a kill since this was last asked."""
        with self._lock:
            before, self._seen = self._seen, cgroup.value(self._path, "oom_kill")
            return self._seen > before
