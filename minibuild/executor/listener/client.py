"""The executor's end of the server of listeners.

Comes in: the calls of a step, as a descriptor. Goes out: nothing; they are answered elsewhere.
Read next: `server`, the other end.
"""

import os
import signal

from minibuild.executor.helper import Helper, has_one_thread, spawn
from minibuild.executor.wire import Watching, pack
from minibuild.linux import syscalls
from minibuild.linux.channel import pair


class ListenerServer(Helper):
    """The client's end. After `close` all that wait have ended; who answers for a step ends after
    it."""

    __slots__ = ()
    what = "the server of listeners"

    @classmethod
    def start(cls) -> "ListenerServer":
        """Start it: by a clone of this process while it has a single thread, else by a new
        interpreter. What it needs is loaded there, while this process goes on."""
        ours, theirs = pair()
        if has_one_thread():
            pid, pidfd = syscalls.clone(0)
            if pid == 0:
                from minibuild.executor.listener.server import serve

                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
                serve(theirs.fileno())
            os.close(pidfd)
        else:
            pid = spawn("listener", theirs.fileno())
        theirs.close()
        return cls(ours, pid)

    def watch(self, watching: Watching, fds: tuple[int, ...]) -> None:
        """Have a step's calls answered. `fds`: those calls, the root of its tree, its mount
        namespace, its stderr, a pipe that is closed when none of this is in use any more, and the
        directory that takes what is written, if there is one."""
        self.send(pack(watching), fds)
