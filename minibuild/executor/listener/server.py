"""The processes that answer for steps: one for each step that is watched, all from one server.

Comes in: from the executor, the descriptor on which the calls of a step arrive, with where its
tree is. Goes out: nothing; the process ends when the last one of the step has. The server is a
small process with a single thread: only such a one can enter the mount namespace of a step, and
fork quickly; and in a process of its own no other thread of the builder delays an answer.
Read next: `listener`.
"""

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from minibuild.executor.listener.inside import Inside
from minibuild.executor.listener.listener import StepListener
from minibuild.executor.server import close_others
from minibuild.executor.wire import Watching, pack, unpack
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, close_all, pair
from minibuild.linux.dispositions import restore_defaults
from minibuild.linux.recorded import Records

_MAX_BYTES = 128 * 1024
_FD = 3


class ListenerServer:
    """The client's end."""

    __slots__ = ("_channel", "_pid")

    def __init__(self, channel: Channel, pid: int) -> None:
        self._channel = channel
        self._pid = pid

    @classmethod
    def start(cls) -> "ListenerServer":
        """Start it: by a clone of this process while it has a single thread, else by a new
        interpreter."""
        ours, theirs = pair()
        if len(os.listdir("/proc/self/task")) == 1:
            pid, pidfd = syscalls.clone(0)
            if pid == 0:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                serve(theirs.fileno())
            os.close(pidfd)
        else:
            program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", program, str(_FD)],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), _FD)],
                setsid=True,
            )
        theirs.close()
        return cls(ours, pid)

    def watch(self, watching: Watching, fds: tuple[int, ...]) -> None:
        """Have a step's calls answered. `fds`: those calls, the root of its tree, its mount
        namespace, its stderr, a pipe that is closed when none of this is in use any more, and the
        directory that takes what is written, if there is one."""
        self._channel.send(pack(watching), fds)

    def close(self) -> None:
        """End it. Its processes end with their steps."""
        self._channel.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def serve(fd: int) -> NoReturn:
    """The server, on the other end of the channel."""
    try:
        close_others(fd)
        restore_defaults()
        os.umask(0)
        with suppress(PermissionError):  # It leads its session already.
            os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # No process waits for the others.
        channel = Channel(fd)
        while True:
            data, fds = channel.receive(_MAX_BYTES)
            if not data:
                break
            if os.fork() == 0:
                channel.close()
                _answer(unpack(data, Watching), fds)
            close_all(fds)
    except BaseException as error:
        os.write(2, f"minibuild: the server of listeners failed: {error!r}\n".encode())
    finally:
        os._exit(0)


def _answer(watching: Watching, fds: list[int]) -> NoReturn:
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        listener_fd, root_fd, namespace_fd, stderr, _, *upper = fds
        records = Records(watching.tables)
        inside = Inside(root_fd, namespace_fd, upper[0] if upper else -1)
        StepListener(listener_fd, stderr, inside, records, watching).serve()
        inside.leave()
    except BaseException as error:
        # Calls that wait, and all to come, fail with ENOSYS, and with them the step.
        os.write(2, f"minibuild: the listener of a step failed: {error!r}\n".encode())
    finally:
        os._exit(0)
