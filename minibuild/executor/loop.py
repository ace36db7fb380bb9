"""The loop of the step server: starts steps, each in a clone of this process, and waits for them.

Comes in and goes out: what `server` says. Everything that it waits for is a descriptor.
Read next: `child`, what a cloned process does; `threads`, the same loop without clones.
"""

import errno
import os
import select
import signal
from collections.abc import Callable

from minibuild.errors import HostError
from minibuild.executor import child
from minibuild.executor.ground import Ground
from minibuild.executor.groups import MemoryUsage, StepGroup
from minibuild.executor.system import System
from minibuild.executor.wire import Exited, Failed, Leave, Left, Order, Setup, pack, unpack
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, close_all, pair
from minibuild.linux.owner import maps_single_id
from minibuild.startup.tuples import NamedTuple

_NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
)
MAX_ORDER_BYTES = 64 * 1024


class Process(NamedTuple):
    """The process of a step, and its cgroup, if it has one."""

    pid: int
    pidfd: int
    group: StepGroup | None


class LiveStep(NamedTuple):
    """A process that runs a step, or waits for one, and the channel to its executor, or to it."""

    process: Process
    channel: Channel


class Loop:
    """The loop, with a clone for each step."""

    def __init__(self, requests: Channel, setup: Setup) -> None:
        self._requests = requests
        self._ground: Ground | OSError
        try:
            self._ground = Ground(setup, single_id=maps_single_id())
        except OSError as error:
            self._ground = error  # Reported to the first who wants a step.
        self._spare: LiveStep | None = None
        self._poll = select.poll()
        self._poll.register(requests.fileno(), select.POLLIN)
        self._by_pidfd: dict[int, LiveStep] = {}
        self._by_channel: dict[int, LiveStep] = {}
        self._other: dict[int, Callable[[], None]] = {}

    def serve(self) -> None:
        """Serve until the client is gone."""
        self._prepare_spare()
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._requests.fileno():
                    data, fds = self._requests.receive(MAX_ORDER_BYTES)
                    if not data:
                        return
                    order = unpack(data)
                    if isinstance(order, Leave):
                        self._leave(fds)
                        return
                    assert isinstance(order, Order)
                    self._start(order, fds)
                elif fd in self._by_pidfd:
                    self._ended(self._by_pidfd[fd])
                elif fd in self._by_channel:
                    self._kill(self._by_channel[fd])
                elif fd in self._other:
                    self._other[fd]()

    def _start(self, order: Order, fds: list[int]) -> None:
        given = child.received(fds)
        channel = given.channel
        try:
            process = None if order.network else self._give_to_spare(order, fds)
            if process is None:
                process = self._clone(lambda: given, order)
        except HostError as error:
            tell(channel, pack(Failed("HostError", error.message, error.hint)))
            channel.close()
        except OSError as error:
            hint = getattr(error, "hint", "")
            tell(channel, pack(Failed("HostError", f"cannot start the step: {error}", hint)))
            channel.close()
        else:
            self._runs(LiveStep(process, channel))
        close_all(fds[:4] + fds[5:])
        if self._spare is None and not order.last:
            self._prepare_spare()

    def _runs(self, running: LiveStep) -> None:
        process, channel = running
        self._by_pidfd[process.pidfd] = self._by_channel[channel.fileno()] = running
        self._poll.register(process.pidfd, select.POLLIN)
        self._poll.register(channel.fileno(), select.POLLIN)

    def _clone(self, receive: Callable[[], child.RequestFiles | None], order: Order) -> Process:
        """Start a process for a step."""
        if isinstance(self._ground, OSError):
            raise self._ground
        ground = self._ground
        group = ground.groups.make()
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

            def prepare() -> System:
                if group is not None:
                    group.enter(unified=not inside)
                return System(ground, network=order.network, group=group)

            child.run(prepare, receive)
        return Process(pid, pidfd, group)

    def _prepare_spare(self) -> None:
        """Have a process ready for the next step of the usual kind."""
        ours, theirs = pair()
        try:
            self._spare = LiveStep(self._clone(lambda: _receive(ours, theirs), Order()), ours)
        except OSError:
            ours.close()  # The next step will meet the same, and report it.
        finally:
            theirs.close()

    def _give_to_spare(self, order: Order, fds: list[int]) -> Process | None:
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

    def _ended(self, running: LiveStep) -> None:
        """Its process is a zombie: by then the kernel has ended all others of its namespace."""
        process = running.process
        tell(running.channel, pack(_reap(process)))
        self._forget_channel(running)
        running.channel.close()
        self._poll.unregister(process.pidfd)
        del self._by_pidfd[process.pidfd]
        _forget(process)

    def _kill(self, running: LiveStep) -> None:
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
        tell(self._requests, pack(Left()))
        close_all([*held[1:], *held[:1]])

    def _forget_channel(self, running: LiveStep) -> None:
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


def _reap(process: Process) -> Exited:
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


def _forget(process: Process) -> None:
    """Let go of a process that has ended."""
    os.close(process.pidfd)
    if process.group is not None:
        process.group.remove()


def _receive(server: Channel, ours: Channel) -> child.RequestFiles | None:
    """What a spare process waits for, on its end of a channel; None if the server goes."""
    server.close()
    data, fds = ours.receive(MAX_ORDER_BYTES)
    return child.received(fds) if data else None


def tell(channel: Channel, message: bytes) -> None:
    try:
        channel.send(message)
    except OSError:
        pass  # The other end is closed.
