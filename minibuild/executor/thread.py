"""A step set up in a thread of the step server, and its program started without a fork.

Comes in: requests on a socket, at most one. Goes out: a number for the server: the process, or that
there is none. A fork shares the memory of Python until either side writes to it, and has to be
taken down by execve(2): that took a third of a step. A thread may have all that a step needs: its
own namespaces, working directory, descriptors, ids, capabilities and filter. It takes what a fork
would have, with unshare(2), so `child.start` does not know the difference.

What belongs to a process it cannot have: resource limits, a session, a controlling terminal.
Memory stays that of the server until execve(2). So nothing of an image may be run in here: no
module is imported once a step has entered its root.
Read next: `late_proc`, then `minibuild.linux.spawn`.
"""

import _thread
import os
import struct
from contextlib import suppress
from functools import partial

from minibuild.errors import HostError
from minibuild.executor import child
from minibuild.executor.ground import Ground
from minibuild.executor.late_proc import START, Job, LateProc
from minibuild.executor.loop import MAX_ORDER_BYTES
from minibuild.executor.system import System
from minibuild.executor.wire import Request
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, pair
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.spawn import Spawner

_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
_REPORT = struct.Struct("iii")
OWN = -1
"""Reported instead of a process: the thread has descriptors of its own now."""
NONE = -2
"""No process, but an exit code."""


class Reports:
    """A pipe on which the threads report to the server: which one, a process, an exit code."""

    __slots__ = ("_read_fd", "write_fd")

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()

    def fileno(self) -> int:
        """What can be read when there is a report."""
        return self._read_fd

    def send(self, number: int, pid: int, code: int) -> None:
        """Report, from a thread."""
        os.write(self.write_fd, _REPORT.pack(number, pid, code))

    def receive(self) -> tuple[int, int, int]:
        """The next report."""
        number, pid, code = _REPORT.unpack(os.read(self._read_fd, _REPORT.size))
        return number, pid, code


class Starter:
    """What all threads have in common."""

    __slots__ = ("ground", "late_proc", "reports", "spawner")

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.late_proc = LateProc(ground)
        self.reports = Reports()
        self.spawner = Spawner()


class StepThread:
    """One thread, for one step. `channel` takes the request. `theirs` is its other end: to be
    closed here when the thread reports that it has descriptors of its own."""

    __slots__ = ("_network", "_starter", "channel", "number", "theirs")

    def __init__(self, starter: Starter, number: int, *, network: bool) -> None:
        self._starter = starter
        self.number = number
        self._network = network
        self.channel, theirs = pair()
        self.theirs = theirs.detach()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        pid, code = NONE, 1
        try:
            task = os.readlink("/proc/thread-self")
            system = self._prepare()
            data, fds = Channel(self.theirs).receive(MAX_ORDER_BYTES)
            if data:
                given = child.received(fds)
                program = _Program(self._starter, task)
                code = child.answer(given, partial(program.set_up, system, given.gate))
                pid = program.pid
        finally:
            self._starter.reports.send(self.number, pid, code)

    def _prepare(self) -> System | OSError:
        """What can be made ahead. An error is reported when there is somebody to report to."""
        reports = self._starter.reports
        syscalls.unshare(syscalls.CLONE_FS | syscalls.CLONE_FILES)
        _keep(self.theirs, reports.write_fd)
        reports.send(self.number, OWN, 0)
        os.umask(0)
        try:
            syscalls.unshare(_NAMESPACES | (syscalls.CLONE_NEWNET if self._network else 0))
            return System(self._starter.ground, network=self._network, start=START)
        except OSError as error:
            return error


class _Program:
    """The program of a step; `pid` is its process, when it has started."""

    __slots__ = ("_dev_fd", "_starter", "_task", "pid")

    def __init__(self, starter: Starter, task: str) -> None:
        self._starter = starter
        self._task = task
        self._dev_fd = -1
        self.pid = NONE

    def set_up(
        self, system: System | OSError, gate: int, request: Request, channel: Channel
    ) -> None:
        """Set the step up, and start its program."""
        if isinstance(system, OSError):
            raise system
        self._dev_fd = os.dup(system.dev)
        child.start(request, system, channel, gate, self._start)

    def _start(self, path: str, args: tuple[str, ...], env: dict[str, str]) -> None:
        job = Job(self._task, self._dev_fd)
        self._starter.late_proc.add(job)
        try:
            pid = self._starter.spawner.start(path, args, env, f"/dev/{START}")
        except OSError:
            # If it was no process that failed, it still waits for one: it sees this thread instead.
            flags = os.O_RDWR | os.O_CLOEXEC
            with suppress(OSError), closing_fd(os.open(START, flags, dir_fd=self._dev_fd)):
                job.done.acquire()
            raise
        job.done.acquire()
        if job.error is not None:
            os.waitpid(pid, 0)
            raise HostError(f"cannot set up the step: {job.error}") from job.error
        self.pid = pid


def _keep(*fds: int) -> None:
    """Close all descriptors but the first three and these."""
    before = 2
    for fd in sorted(fds):
        os.closerange(before + 1, fd)
        before = fd
    os.closerange(before + 1, 1 << 20)
