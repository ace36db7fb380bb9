"""A helper: a small process of ours with one thread, that does what a builder with threads cannot.

There are three: the step server (`server`), the server of listeners (`listener.server`), and the
keeper of a container's own root (`ownroot.keeper`). Comes in: messages, with descriptors. Goes out:
a process, and this end of its socket; closing that ends it.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Literal, NoReturn, Self

from minibuild.errors import HostError
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, pair

_FD = 3


class Helper:
    """A running helper; `what` names it in errors."""

    __slots__ = ("_channel", "_pid")
    role: ClassVar[Literal["server", "listener", "keeper"]]
    what: ClassVar[str]

    def __init__(self, channel: Channel, pid: int) -> None:
        self._channel = channel
        self._pid = pid

    @classmethod
    def begin(
        cls, *arguments: str, serve: Callable[[int], NoReturn] | None = None, flags: int = 0
    ) -> Self:
        """Start it: by a clone of this process, which does `serve`, while there is a single thread:
        Python cannot fork with more. Else by a new interpreter, which takes 30 ms longer."""
        ours, theirs = pair()
        try:
            if serve is not None and len(os.listdir("/proc/self/task")) == 1:
                pid, pidfd = syscalls.clone(flags)
                if pid == 0:
                    serve(theirs.fileno())
                os.close(pidfd)
            else:
                pid = _spawn(cls.role, theirs.fileno(), *arguments)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(ours, pid)

    def send(self, message: bytes, fds: tuple[int, ...]) -> None:
        """Give it something to do. Raises `HostError` if it is gone."""
        try:
            self._channel.send(message, fds)
        except OSError as error:
            raise HostError(f"{self.what} died", hint="was it killed, or out of memory?") from error

    def close(self) -> None:
        """End the process, and wait until it is gone."""
        if self._pid:
            self._channel.close()
            reap(self._pid)
            self._pid = 0


def _spawn(role: str, fd: int, *arguments: str) -> int:
    """Start a helper as a new interpreter, with its end of the socket."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    # -I and -S: no environment, no site-packages. Nothing but the standard library is needed.
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", program, role, str(_FD), *arguments],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, _FD)],
        setsid=True,
    )


def reap(pid: int) -> None:
    """Wait for the end of a process."""
    with suppress(ChildProcessError):  # A caller that ignores SIGCHLD has no zombies.
        os.waitpid(pid, 0)


def close_others(fd: int) -> None:
    """Close every descriptor but this one: locks of the store, sockets to registries. stdin and
    stdout become /dev/null; stderr stays, for a last word."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(2):
        os.dup2(null, number)
    os.closerange(3, fd)
    os.closerange(fd + 1, 1 << 20)
