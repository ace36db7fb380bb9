"""One step that runs, as its executor sees it: its streams, and the socket that reports its end.

Comes in: a request, and a server that starts it. Goes out: what the step wrote, as it comes, and
how it ended. It is the same for all ways to run a step. Read next: `local`, `ownroot.executor`.
"""

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from minibuild.errors import BuildError, DefinitionError, HostError
from minibuild.executor.api import CannotShow, OnOutput
from minibuild.executor.helper import Helper
from minibuild.executor.wire import (
    MAX_REPLY_BYTES,
    Exited,
    Failed,
    Order,
    Ready,
    Request,
    Terminal,
    Watched,
    pack,
    unpack,
)
from minibuild.linux.channel import Channel, close_all, memory_file, pair

_ERRORS: dict[str, type[BuildError]] = {
    error.__name__: error for error in (HostError, CannotShow, DefinitionError)
}
_POLL_MS = 50
_CHUNK_BYTES = 1 << 16


class Running:
    """One step that runs: its streams, and the socket on which its end is reported.

    `watch` has its calls answered, when the first one is handed over: see `listener`. It returns a
    descriptor that can be read when the listener is gone.
    """

    def __init__(
        self,
        output: OnOutput,
        stdin: int | None,
        watch: Callable[[list[int]], int] | None = None,
    ) -> None:
        self.ready: Ready | None = None
        self._tree = -1
        self._output = output
        self._stdin = stdin
        self._watch = watch
        self._poll = select.poll()
        self._streams: dict[int, int] = {}
        self._channel: Channel | None = None
        self._terminal = -1
        self._watched: list[int] = []
        self._listener = -1
        self._gate = -1
        self._exited: Exited | None = None

    def start(
        self, helper: Helper, request: Request, *, held: bool = False, last: bool = False
    ) -> None:
        """Hand the step to the step server, or to the keeper: with the request, stdin, stdout,
        stderr, and a socket of its own. One that is `held` waits at a pipe for `release`."""
        theirs: list[int] = []
        try:
            theirs.append(memory_file("step", pack(request)))
            if self._stdin is None or request.step.tty:
                theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            else:
                theirs.append(os.dup(self._stdin))
            for stream in (1, 2):
                read_fd, write_fd = os.pipe()
                theirs.append(write_fd)
                self._add_stream(read_fd, stream)
            self._channel, other = pair()
            theirs.append(other.detach())
            self._poll.register(self._channel.fileno(), select.POLLIN)
            if held:
                read_fd, self._gate = os.pipe()
                theirs.append(read_fd)
            step = request.step
            helper.send(pack(Order(step.network == "none", step.resources, last)), tuple(theirs))
        finally:
            close_all(theirs)

    def release(self) -> None:
        """Let a step that is held go on to its root filesystem."""
        with suppress(BrokenPipeError):  # `wait` finds out why it died.
            os.write(self._gate, b"\n")

    def wait(self, cancelled: threading.Event) -> Exited | None:
        """Serve the step until it has ended and its output is read; None if the server died."""
        sent = False
        while self._channel is not None or self._streams:
            # Once the step has ended only what is left in the pipes is read: a process outside
            # that got hold of one end, through a socket, does not keep us here.
            events = self._poll.poll(_POLL_MS if self._channel is not None else 0)
            for fd, what in events:
                self._event(fd, what)
            self._fit_terminal()
            if self._channel is None and not events:
                break
            if not sent and cancelled.is_set() and self._channel is not None:
                sent = True
                with suppress(OSError):  # The step may have ended meanwhile.
                    self._channel.send(b"kill")
        if self._listener >= 0:
            os.read(self._listener, 1)  # It has the step's mounts in sight until it leaves them.
        return self._exited

    def _event(self, fd: int, what: int) -> None:
        if fd in self._streams:
            self._read(fd)
        elif self._watched and fd == self._watched[0]:
            if self._watch is not None and what & select.POLLIN:
                self._listener = self._watch(self._watched)
            self._close_watched()
        elif self._channel is not None and fd == self._channel.fileno():
            self._message(self._channel)
        elif fd == self._stdin:
            self._type(fd)

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except OSError:
            data = b""  # EIO: the last process has closed its end of the terminal.
        if data:
            self._output(self._streams[fd], data)
        else:
            self._poll.unregister(fd)
            del self._streams[fd]
            os.close(fd)

    def _message(self, channel: Channel) -> None:
        data, fds = channel.receive(MAX_REPLY_BYTES)
        if not data:
            self._close_channel()
            return
        match unpack(data):
            case Ready() as ready:
                self.ready = ready
                (self._tree,) = fds or (-1,)
            case Terminal():
                self._take_terminal(fds[0])
            case Watched():
                self._watched = fds
                self._poll.register(fds[0], select.POLLIN)
            case Failed(kind, message, hint):
                raise _ERRORS.get(kind, HostError)(message, hint=hint)
            case Exited() as exited:
                self._exited = exited
                self._close_channel()

    def _take_terminal(self, fd: int) -> None:
        self._terminal = fd
        self._add_stream(fd, 1)
        if self._stdin is not None:
            self._poll.register(self._stdin, select.POLLIN)

    def _fit_terminal(self) -> None:
        """Give the step's terminal the size of the person's, which may change at any time."""
        if self._stdin is not None and self._terminal in self._streams:
            from minibuild.executor.terminal import copy_size

            copy_size(self._stdin, self._terminal)

    def _type(self, fd: int) -> None:
        """Pass on what a person types."""
        data = os.read(fd, 1024)
        if not data:
            self._poll.unregister(fd)
        elif self._terminal in self._streams:
            os.write(self._terminal, data)

    def _add_stream(self, fd: int, stream: int) -> None:
        self._streams[fd] = stream
        self._poll.register(fd, select.POLLIN)

    def kill(self) -> None:
        """Kill the step, and wait until nothing of it is left."""
        if self._channel is None:
            return
        with suppress(OSError):
            self._channel.send(b"kill")
            while True:
                data, fds = self._channel.receive(MAX_REPLY_BYTES)
                close_all(fds)
                if not data or isinstance(unpack(data), Exited):
                    return

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._poll.unregister(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _close_watched(self) -> None:
        if self._watched:
            self._poll.unregister(self._watched[0])
            close_all(self._watched)
            self._watched = []

    def take_tree(self) -> int:
        """The root of the step, mounted as long as it is open; -1 if there is none."""
        tree, self._tree = self._tree, -1
        return tree

    def close(self) -> None:
        """Close what is still open."""
        for fd in (self._listener, self._gate, self.take_tree()):
            if fd >= 0:
                os.close(fd)
        self._listener = self._gate = -1
        self._close_channel()
        self._close_watched()
        for fd in self._streams:
            os.close(fd)
        self._streams.clear()
