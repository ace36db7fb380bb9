"""This end of a process that starts steps: of a step server, or of a keeper.

Comes in: orders, each with five descriptors. Goes out: a message to the process. Closing the socket
ends it. Read next: `server`; `ownroot.keeper`.
"""

import os
from contextlib import suppress
from typing import ClassVar

from minibuild.errors import HostError
from minibuild.executor.wire import Order, pack
from minibuild.linux.channel import Channel


class StarterClient:
    """A process of ours with its socket; `what` names it in errors."""

    __slots__ = ("_channel", "_pid")
    what: ClassVar[str]

    def __init__(self, channel: Channel, pid: int) -> None:
        self._channel = channel
        self._pid = pid

    def request(self, order: Order, fds: tuple[int, int, int, int, int]) -> None:
        """Start a step. `fds`: the request, stdin, stdout, stderr, and the step's socket."""
        try:
            self._channel.send(pack(order), fds)
        except OSError as error:
            raise HostError(f"{self.what} died", hint="was it killed, or out of memory?") from error

    def close(self) -> None:
        """End the process with its steps, and wait until it is gone."""
        if self._pid:
            self._channel.close()
            with suppress(ChildProcessError):  # A caller that ignores SIGCHLD has no zombies.
                os.waitpid(self._pid, 0)
            self._pid = 0
