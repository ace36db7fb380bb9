"""The executor's end of the server of listeners.

Comes in: the calls of a step, as a descriptor. Goes out: nothing; they are answered elsewhere.
Read next: `server`, the other end.
"""

import signal
from typing import NoReturn

from minibuild.executor.helper import Helper
from minibuild.executor.wire import Watching, pack
from minibuild.linux import syscalls


class ListenerServer(Helper):
    """The client's end. After `close` all that wait have ended; who answers for a step ends after
    it."""

    __slots__ = ()
    role = "listener"
    what = "the server of listeners"

    @classmethod
    def start(cls) -> "ListenerServer":
        """Start it."""
        return cls.begin(serve=_serve)

    def watch(self, watching: Watching, fds: tuple[int, ...]) -> None:
        """Have a step's calls answered. `fds`: those calls, the root of its tree, its mount
        namespace, its stderr, a pipe that is closed when none of this is in use any more, and the
        directory that takes what is written, if there is one."""
        self.send(pack(watching), fds)


def _serve(fd: int) -> NoReturn:
    # What is needed is loaded here, while the process that this one is a clone of goes on.
    from minibuild.executor.listener.server import serve

    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(fd)
