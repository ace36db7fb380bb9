"""The keeper: a small process with one thread that starts a step and ends all that came of it.

Comes in: requests over a socket, as a step server takes them. Goes out: how each step ended. There
is no pid namespace whose end would end a step's processes. But the kernel makes the keeper the
parent of every orphan below it (PR_SET_CHILD_SUBREAPER), so none gets away, and it kills until
none is left. When its socket closes, the builder is gone: then it ends the step, brings back what
belongs into "/", and goes too.
"""

import os
import select
import signal
from contextlib import suppress
from typing import NoReturn

from minibuild.executor.child import RequestFiles, answer, enter_directory, execute, received
from minibuild.executor.helper import Helper
from minibuild.executor.ownroot.root import root_here
from minibuild.executor.users import lookup_user
from minibuild.executor.wire import Exited, Failed, Ready, Request, pack
from minibuild.linux import capabilities, capability_sets, syscalls
from minibuild.linux.channel import Channel, close_all
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.dispositions import restore_defaults

_MAX_ORDER_BYTES = 64 * 1024


class KeeperClient(Helper):
    """This end of the keeper."""

    __slots__ = ()
    role = "keeper"
    what = "the keeper of the step"


def keep(fd: int) -> None:
    """The keeper, on the other end of the channel."""
    Keeper(Channel(fd)).serve()
    # The builder is gone. If it could not put things back itself, this does.
    root_here().close()


class Keeper:
    """The loop of that process."""

    def __init__(self, requests: Channel) -> None:
        self._requests = requests
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> None:
        """Serve until the builder is gone."""
        while True:
            data, fds = self._requests.receive(_MAX_ORDER_BYTES)
            if not data:
                return
            given = received(fds)
            try:
                self._run(given)
            finally:
                given.channel.close()

    def _run(self, given: RequestFiles) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            close_all(given[:4])
            with suppress(OSError):
                given.channel.send(pack(Failed("HostError", f"cannot start the step: {error}", "")))
            return
        if pid == 0:
            self._requests.close()
            answer(given, _start)
        close_all(given[:4])
        with closing_fd(os.pidfd_open(pid)) as pidfd:
            poll = select.poll()
            for fd in (pidfd, given.channel.fileno(), self._requests.fileno()):
                poll.register(fd, select.POLLIN)
            # The step has ended, or is to end, or its builder has.
            poll.poll()
        status = os.waitstatus_to_exitcode(self._end_all(pid))
        with suppress(OSError):
            given.channel.send(pack(Exited(status)))

    def _end_all(self, first: int) -> int:
        """Kill every process below this one, and reap them; the status of the first."""
        status = int(signal.SIGKILL)
        while True:
            for pid in _below(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, found = os.waitpid(-1, 0)
            except ChildProcessError:
                return status
            if pid == first:
                status = found


def _parent(pid: int) -> int:
    """The parent of a process; 0 if it is gone. See proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _below(top: int) -> list[int]:
    """The processes that descend from one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(_parent(int(name)), []).append(int(name))
    found, left = [], [top]
    while left:
        more = children.get(left.pop(), [])
        found += more
        left += more
    return found


def _start(request: Request, channel: Channel) -> NoReturn:
    """Become the program of a step, in a process of its own, when the tree is "/". `executor.child`
    does the same in namespaces."""
    step = request.step
    restore_defaults()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    if step.limits:
        from minibuild.executor import limits

        limits.apply(step.limits)
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    user = lookup_user(root_fd, step.user)
    if step.tty:
        from minibuild.executor.terminal import give

        give(channel, step.tty_size, console=False)
    os.umask(0)
    enter_directory(step.cwd, user)
    capability_sets.bound(capabilities.mask(capabilities.SANDBOX))
    capability_sets.inherit_none()
    channel.send(pack(Ready()))
    execute(step, user, single_id=False)
