"""The executor: steps on this machine, each run to its end by the thread that asks for it.

Comes in: a `Step`. Goes out: its output in chunks, and a `StepExit`. One poll(2) loop in the
calling thread serves a step: no thread for each stream. The process is started by the step
server (`server`), because only a process with one thread can enter namespaces quickly.
Read next: `server`, then `child`.
"""

import errno
import os
import select
import threading
from typing import TYPE_CHECKING

from minibuild.errors import BuildError, Cancelled, DefinitionError, HostError, StoreError, is_full
from minibuild.executor.api import BindTree, CannotShow, Output, Step, StepExit
from minibuild.executor.ground import SCRATCH
from minibuild.executor.mounts import layer_dirs, upperdir
from minibuild.executor.oom import OomWatch
from minibuild.executor.server import StepServer
from minibuild.executor.servers import Servers
from minibuild.executor.stubs import remove_stubs
from minibuild.executor.watch import DeviceWatch, can_watch
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
    unpack_reply,
)
from minibuild.linux.channel import Channel, close_all, memory_file, pair
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.device import is_marked
from minibuild.linux.namespace import in_user_namespace, require_namespaces
from minibuild.linux.owner import maps_single_id
from minibuild.linux.resources import UNLIMITED, Resources

if TYPE_CHECKING:
    from minibuild.executor.seccomp.policy import Watch

_ERRORS: dict[str, type[BuildError]] = {
    error.__name__: error for error in (HostError, CannotShow, DefinitionError)
}
_POLL_MS = 50
_CHUNK_BYTES = 1 << 16
_SIGKILL = 9


def start_executor(folder: str, resources: Resources = UNLIMITED) -> "LocalExecutor":
    """An executor that keeps its few files in `folder`. `resources` are the limits that steps will
    most likely have. Raises `NamespaceRefused` where no step can run."""
    require_namespaces()
    try:
        os.makedirs(os.path.join(folder, SCRATCH), exist_ok=True)
    except OSError as error:
        raise HostError(
            f"cannot write to {folder}: {error.strerror}",
            hint="set MINIBUILD_ROOT to a folder that you may write to, with room for more",
        ) from error
    return LocalExecutor(folder, resources)


class LocalExecutor:
    """An `api.Executor` over step servers. Safe to use from many threads."""

    def __init__(self, folder: str, resources: Resources) -> None:
        self._in_userns = in_user_namespace()
        self._servers = Servers(folder, resources, root=not self._in_userns)
        self._folder = folder
        self._single_id = maps_single_id()
        self._oom = OomWatch()
        self._filters: dict[tuple[bool, Watch], bytes] = {}
        self._closed = False

    def run(
        self,
        step: Step,
        output: Output,
        cancelled: threading.Event,
        stdin: int | None = None,
    ) -> StepExit:
        """See `api.Executor.run`."""
        if cancelled.is_set() or self._closed:
            raise Cancelled("the step was cancelled")
        running = _Running(output, stdin)
        try:
            running.start(self._servers.for_step(step), self._request(step))
            exited = running.wait(cancelled)
        except BaseException as error:
            running.kill()
            if isinstance(error, HostError) and _of_a_full_disk(error) and is_full(self._folder):
                raise StoreError(
                    "no space left in the store to set up the step",
                    hint="free some space, or set MINIBUILD_ROOT to a folder on another disk",
                ) from error
            raise
        finally:
            running.close()
        if self._closed or cancelled.is_set():
            raise Cancelled("the step was cancelled")
        if exited is None:
            raise HostError(
                "the step server died", hint="was it killed, or out of memory? See `dmesg`"
            )
        if running.ready and running.ready.stubs:
            _tidy(step, running.ready)
        return self._exit(exited)

    def unkept(self, resources: Resources) -> list[str]:
        """See `api.Executor.unkept`."""
        return self._servers.unkept(resources)

    def _request(self, step: Step) -> Request:
        program = self._filter(step, "nothing")
        watch = b""
        if self._in_userns and can_watch():
            watch = self._filter(step, "looking" if _may_see_devices(step) else "making")
        return Request(step, program, self._in_userns, self._single_id, watch)

    def _filter(self, step: Step, watch: "Watch") -> bytes:
        kind = (step.security != "insecure", watch)
        program = self._filters.get(kind)
        if program is None:
            # Here, while the server prepares itself: it is started before this is needed.
            from minibuild.executor.seccomp.program import filter_program

            program = self._filters[kind] = filter_program(
                self._folder,
                sandbox=kind[0],
                single_id=self._single_id,
                optional=self._in_userns,
                watch=watch,
            )
        return program

    def _exit(self, exited: Exited) -> StepExit:
        code = 128 + exited.signal if exited.signal else exited.status
        oom = exited.oom_kills > 0
        if exited.oom_kills < 0:
            oom = code == 128 + _SIGKILL and self._oom.happened()
        peak_bytes = max(exited.peak_bytes, 0) if oom else 0
        return StepExit(code, exited.signal, oom, peak_bytes)

    def close(self) -> None:
        """Kill every step and stop the servers."""
        self._closed = True
        self._servers.close()


def _of_a_full_disk(error: HostError) -> bool:
    """Whether a step may not have been set up because the disk is full. What cannot make its
    directories there, the kernel mounts read-only, or it says that there is no room for a mount."""
    return any(os.strerror(code) in error.message for code in (errno.ENOSPC, errno.EROFS))


def _may_see_devices(step: Step) -> bool:
    """Whether there are placeholders in what the step sees, or it speaks of making some."""
    if any("mknod" in argument for argument in step.args):
        return True
    trees = [mount.mounts for mount in step.mounts if isinstance(mount, BindTree)]
    return any(is_marked(path) for tree in (step.rootfs, *trees) for path in layer_dirs(tree))


def _tidy(step: Step, ready: Ready) -> None:
    """Remove the traces of mount points from the layer that the step wrote."""
    upper = upperdir(step.rootfs)
    if not upper:
        return
    with closing_fd(os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        remove_stubs(fd, ready)


class _Running:
    """One step that runs: its streams, and the socket on which its end is reported."""

    def __init__(self, output: Output, stdin: int | None) -> None:
        self.ready: Ready | None = None
        self._output = output
        self._stdin = stdin
        self._poll = select.poll()
        self._streams: dict[int, int] = {}
        self._channel: Channel | None = None
        self._terminal = -1
        self._watch: DeviceWatch | None = None
        self._exited: Exited | None = None

    def start(self, server: StepServer, request: Request) -> None:
        """Hand the step to the server."""
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
            first, second, third, fourth, fifth = theirs
            fds = (first, second, third, fourth, fifth)
            step = request.step
            server.request(Order(step.network == "none", step.resources), fds)
        finally:
            close_all(theirs)

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
                self._tell(b"kill")
        return self._exited

    def _tell(self, order: bytes) -> None:
        """Send the server a message about this step, which may have ended meanwhile."""
        if self._channel is not None:
            try:
                self._channel.send(order)
            except (BrokenPipeError, ConnectionResetError):
                pass

    def _event(self, fd: int, what: int) -> None:
        if fd in self._streams:
            self._read(fd)
        elif self._watch is not None and fd == self._watch.fd:
            if what & select.POLLIN:
                self._watch.serve()
            else:
                self._close_watch()
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
        match unpack_reply(data):
            case Ready() as ready:
                self.ready = ready
            case Terminal():
                self._take_terminal(fds[0])
            case Watched():
                self._watch = DeviceWatch(*fds)
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
        channel = self._channel
        if channel is None:
            return
        try:
            channel.send(b"kill")
            while True:
                data, fds = channel.receive(MAX_REPLY_BYTES)
                close_all(fds)
                if not data or isinstance(unpack_reply(data), Exited):
                    return
        except OSError:
            return

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._poll.unregister(self._channel.fileno())
            self._channel.close()
            self._channel = None

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._poll.unregister(self._watch.fd)
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        """Close what is still open."""
        self._close_channel()
        self._close_watch()
        for fd in self._streams:
            os.close(fd)
        self._streams.clear()
