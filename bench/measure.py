"""What one command cost: seconds of wall time, seconds of processors, and peak memory.

Comes in: a command. Goes out: a `Cost`, from the kernel's own account (wait4(2), getrusage(2)):
processors count for the command and all its descendants, also those that end after it, and memory
is that of the largest of them, not their sum. The kernel counts the memory of the parent until
the exec; that is why this program stays small.
"""

import os
import resource
import signal
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from minibuild.linux import syscalls

_LEAVE_S = 2


class Cost(NamedTuple):
    """Seconds, seconds, MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


class Spread(NamedTuple):
    """The median of some runs, and how far they lie apart."""

    median: float
    low: float
    high: float
    runs: int


class Failed(Exception):
    """A command that ended with an error; the text has the last of what it said."""


def run(
    argv: Sequence[str], *, env: Mapping[str, str], log: str, cwd: str, give_up_s: float = 600
) -> Cost:
    """Run a command, its output in the file `log`. Raises `Failed`, also if it takes too long."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)  # What a command leaves is ours to wait for.
    before = _children()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()  # One group, to end all of it if it hangs.
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(cwd)
            os.execvpe(argv[0], [*argv], env)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    os.close(out)
    timer = threading.Timer(give_up_s, os.killpg, (pid, signal.SIGKILL))
    timer.start()
    try:
        _, status, usage = os.wait4(pid, 0)
    except BaseException:  # Ctrl-C: the terminal does not send it to a session of its own.
        os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        timer.cancel()
    wall_s = time.perf_counter() - started
    if os.WIFSIGNALED(status) and wall_s >= give_up_s:
        raise Failed(f"{' '.join(argv)}\ngave no answer in {give_up_s:.0f} s")
    if status:
        raise Failed(f"{' '.join(argv)}\n{tail(log)}")
    usages = [usage, *map(_usage_of, _children() - before)]
    cpu_s = sum(found.ru_utime + found.ru_stime for found in usages)
    return Cost(wall_s, cpu_s, max(found.ru_maxrss for found in usages) / 1024)


def _children() -> set[int]:
    """The children of this thread, of which there is one here."""
    with open("/proc/thread-self/children", encoding="ascii") as file:
        return set(map(int, file.read().split()))


def _usage_of(orphan: int) -> resource.struct_rusage:
    """What a process used, when it has ended; one that stays has used nothing."""
    give_up = time.monotonic() + _LEAVE_S
    while time.monotonic() < give_up:
        pid, _, usage = os.wait4(orphan, os.WNOHANG)
        if pid:
            return usage
        time.sleep(0.002)
    return resource.struct_rusage((0,) * 16)


def apart(action: Callable[[], None]) -> None:
    """Do something in a process of its own. The kernel counts the memory of whoever forks as that
    of a command, until its exec: so what makes data must not be the one that measures."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("a part of the benchmark failed; what it said is above")


def tail(log: str, lines: int = 8) -> str:
    """The last lines of a file."""
    with open(log, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:]).strip()


def spread(values: Iterable[float]) -> Spread:
    """Median, least and most."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found), len(found))
