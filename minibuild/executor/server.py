"""The step server: a small process with one thread that starts steps and waits for them.

Comes in: requests over a socket, each with five descriptors: the step, its stdin, stdout and
stderr, and a socket of its own. Goes out: on that socket, how the step ended. Closing the socket,
or a word on it, kills the step; closing the server's socket kills all and ends the server.

Why a process of its own? clone(2) copies the page tables of its caller, so steps start quickly
only from a small process, and a process with threads cannot safely fork in Python at all. It is
number 1 of a pid namespace, and steps live in namespaces below: however it dies, the kernel kills
them. It has a mount namespace of its own, so what it mounts is seen by it alone.
Read next: `child`, what a cloned process does.
"""

import errno
import gc
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from minibuild.errors import HostError
from minibuild.executor import child
from minibuild.executor.common_setup import CommonSetup
from minibuild.executor.groups import MemoryUsage, StepGroup
from minibuild.executor.helper import Helper, close_others, reap
from minibuild.executor.system_mounts import SystemMounts
from minibuild.executor.wire import (
    EndSteps,
    Exited,
    Failed,
    Order,
    Setup,
    StepsEnded,
    pack,
    unpack,
)
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, close_all, pair
from minibuild.linux.dispositions import restore_defaults
from minibuild.linux.owner import maps_single_id
from minibuild.linux.root_mount import contain_mounts
from minibuild.startup.tuples import NamedTuple

_NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
)
_SERVER_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID
_MAX_ORDER_BYTES = 64 * 1024


class StepServer(Helper):
    """A running step server: closing it kills every step. One whose steps are confined gives up for
    good what none of them may have; others need another server."""

    __slots__ = ()
    role = "server"
    what = "the step server"

    def leave(self, held: list[int]) -> None:
        """End every step, and wait until all are gone. The server closes what is `held`, the first
        descriptor last, and ends soon."""
        with suppress(OSError):  # It died, and its steps with it.
            try:
                self._channel.send(pack(EndSteps()), tuple(held))
            finally:
                close_all(held)  # Now: who closes a tree last waits until it is unmounted.
            self._channel.receive(_MAX_ORDER_BYTES)
        self._channel.close()
        threading.Thread(target=reap, args=(self._pid,), name="reap", daemon=True).start()
        self._pid = 0

    @classmethod
    def start(cls, setup: Setup) -> "StepServer":
        """Start a server. What it makes of the setup is in `common_setup`."""

        def serve(fd: int) -> NoReturn:
            _serve_and_exit(fd, setup, dies_with_parent=True)

        flags = _SERVER_NAMESPACES | _cgroup_namespace(setup)
        try:
            return cls.begin(pack(setup).hex(), serve=serve, flags=flags)
        except OSError as error:
            raise HostError(
                f"cannot start the step server: {error}",
                hint=getattr(error, "hint", "") or "`minibuild doctor` checks this machine",
            ) from error


def _cgroup_namespace(setup: Setup) -> int:
    """Without groups of their own steps see the server's as the root of all. With them, a step
    gets such a namespace once it is in its group: the kernel keeps a process of one from starting
    another outside of it."""
    return 0 if setup.place.hierarchies else syscalls.CLONE_NEWCGROUP


def main(fd: int, packed_setup: str) -> NoReturn:
    """The server in a new interpreter: clone once more, to be number 1 of a pid namespace."""
    setup = unpack(bytes.fromhex(packed_setup))
    assert isinstance(setup, Setup)
    pid, _ = syscalls.clone(_SERVER_NAMESPACES | _cgroup_namespace(setup))
    if pid == 0:
        _serve_and_exit(fd, setup, dies_with_parent=False)
    close_all((fd, 2))  # The server has copies.
    reap(pid)
    os._exit(0)


def _serve_and_exit(fd: int, setup: Setup, *, dies_with_parent: bool) -> NoReturn:
    try:
        if dies_with_parent:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            # Ctrl-C in a terminal goes to all processes of a session's foreground group.
            os.setsid()
        close_others(fd)
        restore_defaults()
        contain_mounts()
        # A collection would write to memory that is shared with the children.
        gc.disable()
        gc.freeze()
        _Server(Channel(fd), setup).serve()
    except BaseException as error:
        os.write(2, f"minibuild: the step server failed: {error!r}\n".encode())
        os._exit(1)
    finally:
        os._exit(0)


class _Process(NamedTuple):
    """The process of a step, and its cgroup, if it has one."""

    pid: int
    pidfd: int
    group: StepGroup | None


class _StepProcess(NamedTuple):
    """A process that runs a step, or waits for one, and the channel to its executor, or to it."""

    process: _Process
    channel: Channel


class _Server:
    """The loop. Everything it waits for is a descriptor: requests, words on steps, their ends."""

    def __init__(self, requests: Channel, setup: Setup) -> None:
        self._requests = requests
        self._common: CommonSetup | OSError
        try:
            self._common = CommonSetup(setup, single_id=maps_single_id())
        except OSError as error:
            self._common = error  # Reported to the first who wants a step.
        self._spare: _StepProcess | None = None
        self._poll = select.poll()
        self._poll.register(requests.fileno(), select.POLLIN)
        self._by_pidfd: dict[int, _StepProcess] = {}
        self._by_channel: dict[int, _StepProcess] = {}

    def serve(self) -> None:
        """Serve until the client is gone."""
        self._prepare_spare()
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._requests.fileno():
                    data, fds = self._requests.receive(_MAX_ORDER_BYTES)
                    if not data:
                        return
                    order = unpack(data)
                    if isinstance(order, EndSteps):
                        self._leave(fds)
                        return
                    assert isinstance(order, Order)
                    self._start(order, fds)
                elif fd in self._by_pidfd:
                    self._ended(self._by_pidfd[fd])
                elif fd in self._by_channel:
                    self._kill(self._by_channel[fd])

    def _start(self, order: Order, fds: list[int]) -> None:
        given = child.received(fds)
        channel = given.channel
        try:
            process = None if order.network else self._give_to_spare(order, fds)
            if process is None:
                process = self._clone(lambda: given, order)
        except HostError as error:
            _tell(channel, pack(Failed("HostError", error.message, error.hint)))
            channel.close()
        except OSError as error:
            hint = getattr(error, "hint", "")
            _tell(channel, pack(Failed("HostError", f"cannot start the step: {error}", hint)))
            channel.close()
        else:
            running = _StepProcess(process, channel)
            self._by_pidfd[process.pidfd] = self._by_channel[channel.fileno()] = running
            self._poll.register(process.pidfd, select.POLLIN)
            self._poll.register(channel.fileno(), select.POLLIN)
        close_all(fds[:4] + fds[5:])
        if self._spare is None and not order.last:
            self._prepare_spare()

    def _clone(self, receive: Callable[[], child.RequestFiles | None], order: Order) -> _Process:
        """Start a process for a step."""
        if isinstance(self._common, OSError):
            raise self._common
        common = self._common
        group = common.groups.make()
        flags = _NAMESPACES | (syscalls.CLONE_NEWNET if order.network else 0)
        if group is None:
            flags |= syscalls.CLONE_NEWCGROUP
        try:
            if group is not None:
                group.limit(order.resources)
            pid, pidfd, inside = _clone_into(group, flags)
        except (OSError, HostError):
            if group is not None:
                group.remove()
            raise
        if pid == 0:

            def prepare() -> SystemMounts:
                if group is not None:
                    group.enter(unified=not inside)
                return SystemMounts(common, network=order.network, group=group)

            child.run(prepare, receive)
        return _Process(pid, pidfd, group)

    def _prepare_spare(self) -> None:
        """Have a process ready for the next step of the usual kind."""
        ours, theirs = pair()
        try:
            self._spare = _StepProcess(self._clone(lambda: _receive(ours, theirs), Order()), ours)
        except OSError:
            ours.close()  # The next step will meet the same, and report it.
        finally:
            theirs.close()

    def _give_to_spare(self, order: Order, fds: list[int]) -> _Process | None:
        """Let the spare process run a step; None if there is no such process any more."""
        if self._spare is None:
            return None
        if self._spare.process.group is not None:
            self._spare.process.group.limit(order.resources)
        spare, self._spare = self._spare, None
        try:
            spare.channel.send(b"go", tuple(fds))
        except OSError:
            os.waitid(os.P_PIDFD, spare.process.pidfd, os.WEXITED)
            _forget(spare.process)
            return None
        finally:
            spare.channel.close()
        return spare.process

    def _ended(self, running: _StepProcess) -> None:
        """Its process is a zombie: by then the kernel has ended all others of its namespace."""
        process = running.process
        _tell(running.channel, pack(_reap(process)))
        self._forget_channel(running)
        running.channel.close()
        self._poll.unregister(process.pidfd)
        del self._by_pidfd[process.pidfd]
        _forget(process)

    def _kill(self, running: _StepProcess) -> None:
        """Number 1 of a pid namespace takes the rest with it. All at once is quicker, where there
        are many."""
        if running.process.group is not None:
            running.process.group.kill()
        signal.pidfd_send_signal(running.process.pidfd, signal.SIGKILL)
        self._forget_channel(running)

    def _leave(self, held: list[int]) -> None:
        """End every process of a step. The client does not wait for what comes after that: to
        unmount what is `held`, and what this process has mounted."""
        processes = [running.process for running in self._by_pidfd.values()]
        if self._spare is not None:
            processes.append(self._spare.process)
        for process in processes:
            signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
        for process in processes:
            os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED)
            _forget(process)
        os.dup2(0, 2)  # Who reads what a build says, to its end, does not wait for this process.
        _tell(self._requests, pack(StepsEnded()))
        close_all([*held[1:], *held[:1]])

    def _forget_channel(self, running: _StepProcess) -> None:
        fd = running.channel.fileno()
        if self._by_channel.pop(fd, None):
            self._poll.unregister(fd)


def _clone_into(group: StepGroup | None, flags: int) -> tuple[int, int, bool]:
    """clone(2), in a cgroup of version 2 if there is one; the last value says whether that worked.
    To move a process there later takes the kernel ten milliseconds on a machine with many."""
    group_fd = group.open_unified() if group is not None else -1
    if group_fd < 0:
        return *syscalls.clone(flags), False
    try:
        return *syscalls.clone(flags, into_cgroup=group_fd), True
    except OSError as error:
        # Before Linux 5.7, or in a container whose filter does not know the call.
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.E2BIG):
            raise
    finally:
        os.close(group_fd)
    return *syscalls.clone(flags), False


def _reap(process: _Process) -> Exited:
    """How a process ended. The memory that it had is only of interest if it failed: for that
    os.wait4 loads a module, in 0.6 ms."""
    ended = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOWAIT)
    if ended is not None and not ended.si_status:
        os.waitpid(process.pid, 0)
        return Exited(0)
    _, status, spent = os.wait4(process.pid, 0)
    usage = process.group.usage() if process.group is not None else MemoryUsage()
    if usage.peak_bytes < 0:
        # Of the largest process, that is, which is mostly the one that was killed.
        usage = usage._replace(peak_bytes=spent.ru_maxrss * 1024)
    return Exited(os.waitstatus_to_exitcode(status), *usage)


def _forget(process: _Process) -> None:
    """Let go of a process that has ended."""
    os.close(process.pidfd)
    if process.group is not None:
        process.group.remove()


def _receive(server: Channel, ours: Channel) -> child.RequestFiles | None:
    """What a spare process waits for, on its end of a channel; None if the server goes."""
    server.close()
    data, fds = ours.receive(_MAX_ORDER_BYTES)
    return child.received(fds) if data else None


def _tell(channel: Channel, message: bytes) -> None:
    try:
        channel.send(message)
    except OSError:
        pass  # The other end is closed.
