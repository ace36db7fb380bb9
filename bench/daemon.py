"""A builder's daemon: started for one store, ended with all that it started and mounted.

Comes in: a command, and what shows that it answers. Goes out: a `Daemon`, with an account of what
its processes cost. It has a mount and a PID namespace of its own, of which it is the first
process: when it ends, however it ends, the kernel ends what it started and drops what it mounted.
It is ended, too, when this program is killed: that is what setpriv(1) is for.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bench.measure import Failed, tail

_UP_S = 30
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_REST_S = 3
APART = (
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child",
)  # fmt: skip


class Daemon:
    """A daemon that runs."""

    def __init__(self, argv: Sequence[str], *, log: str, answers: Callable[[], bool]) -> None:
        """Start it and wait until it answers. Raises `Failed`."""
        with open(log, "wb") as file:
            self._process = subprocess.Popen(
                [*APART, *argv], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        try:
            self._wait_for(answers, log)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, answers: Callable[[], bool], log: str) -> None:
        give_up = time.monotonic() + _UP_S
        while not answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise Failed(f"the daemon does not answer\n{tail(log)}")
            time.sleep(0.02)

    def stop(self, patience_s: float = 20) -> None:
        """Ask it to end, wait for it, and end it if it does not."""
        for pid in _children().get(self._process.pid, []):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass  # It has just ended.
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()  # The kernel ends its child with it.
            self._process.wait()

    def forget_peak(self) -> None:
        """Let `peak_mib` count from now on."""
        for pid in self._pids():
            try:
                with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
                    file.write("5")
            except OSError:
                continue  # It has just ended.

    def peak_mib(self) -> float:
        """The most memory that one of its processes had; those that have ended do not count."""
        return max((_peak_kib(pid) for pid in self._pids()), default=0) / 1024

    def cpu_s(self) -> float:
        """Processor seconds of all its processes so far, those of ended ones included."""
        found = (_stat(pid) for pid in self._pids())
        return sum(stat.cpu_s for stat in found if stat)

    def rest(self) -> None:
        """Wait until it has nothing to do: what it does after its answer is to slow nobody."""
        give_up, used = time.monotonic() + _REST_S, self.cpu_s()
        while time.monotonic() < give_up:
            time.sleep(0.1)
            before, used = used, self.cpu_s()
            if used - before <= _TICK_S:
                return

    def _pids(self) -> list[int]:
        children, found = _children(), [self._process.pid]
        for pid in found:  # Grows meanwhile.
            found += children.get(pid, [])
        return found


class _Stat(NamedTuple):
    parent: int
    cpu_s: float


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    # proc(5): after the name come the state, the parent, ..., utime, stime, cutime, cstime.
    return _Stat(int(fields[1]), sum(map(int, fields[11:15])) * _TICK_S)


def _children() -> dict[int, list[int]]:
    """Who started whom, of all processes."""
    found: dict[int, list[int]] = {}
    for pid in _numbers("/proc"):
        stat = _stat(pid)
        if stat:
            found.setdefault(stat.parent, []).append(pid)
    return found


def _numbers(folder: str) -> Iterator[int]:
    return (int(name) for name in os.listdir(folder) if name.isdigit())


def _peak_kib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.startswith("VmHWM:")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) if lines else 0
