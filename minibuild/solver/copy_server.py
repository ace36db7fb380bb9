"""The copy server: a process beside this one that copies files.

Comes in: a `CopyJob`, and open directories, over a channel. Goes out: what became of it. Between
two system calls for a small file the interpreter is busy, and it has one lock: threads that copy
side by side only take it from each other. A process has a lock of its own.

It is forked while this process has one thread, with all modules loaded, and lives as long as the
build. It knows directories only as descriptors, so it does not matter who mounted them, and it
never touches the database: what is to be remembered goes back with the answer. If this process
dies, the kernel kills it. Read next: `fileop.copy`, `linux.rpc`.
"""

import gc
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from minibuild.errors import Cancelled, HostError
from minibuild.fileop.api import Hooks
from minibuild.fileop.copy import CopyJob, CopyResult, CopyTrees, copy
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, close_all, pair
from minibuild.linux.rpc import MAX_FILES, Call, Callee, Caller, PeerGone
from minibuild.oci.content import BlobFolder, ContentStore
from minibuild.startup.tuples import NamedTuple

MAX_DIRECTORIES = MAX_FILES


class _CopyOrder(NamedTuple):
    """A job as it crosses over. Descriptors come with it, and `places` has their numbers among
    these. `making` and `blobs` are for the layer."""

    job: CopyJob
    places: CopyTrees
    making: str
    blobs: str


def _renumbered(places: CopyTrees, number: Callable[[int], int]) -> CopyTrees:
    """The trees with other numbers of their descriptors."""
    root_fd, base_fd, sources, owners = places
    return CopyTrees(
        root_fd if root_fd < 0 else number(root_fd),
        None if base_fd is None else number(base_fd),
        {n: tree._replace(fd=number(tree.fd)) for n, tree in sources.items()},
        owners,
    )


class CopyServer:
    """The client's end. One job at a time."""

    __slots__ = ("_caller", "_making", "_pid")

    def __init__(self, channel: Channel, pid: int) -> None:
        self._caller = Caller(channel)
        self._pid = pid
        self._making = ""
        """The blob that it makes, until that is whole."""

    @classmethod
    def start(cls) -> "CopyServer":
        """Fork a server. This process has one thread. Raises `OSError` if it may not."""
        ours, theirs = pair()
        try:
            pid = os.fork()
            if pid == 0:
                _serve_and_exit(theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(ours, pid)

    @property
    def alive(self) -> bool:
        """Whether it can be given a job."""
        return self._pid > 0

    def do(
        self, job: CopyJob, places: CopyTrees, content: ContentStore, hooks: Hooks
    ) -> CopyResult:
        """Have the job done. A layer is a blob in `content` afterwards.

        Raises what `fileop.copy.copy` raises, and `HostError` if the server dies.
        """
        directories: list[int] = []

        def taken_along(fd: int) -> int:
            directories.append(fd)
            return len(directories) - 1

        self._making = content.store.ingest_path()
        order = _CopyOrder(job, _renumbered(places, taken_along), self._making, content.blobs_path)

        def progress(event: tuple[int, int]) -> None:
            if hooks.progress is not None:
                hooks.progress(*event)

        try:
            result = self._caller.call(
                order, directories, on_event=progress, cancelled=hooks.cancelled
            )
        except BaseException as error:
            # Nothing is left: a server that may be at it still is closed.
            if os.path.exists(self._making) or isinstance(error, Cancelled | PeerGone):
                self.close()
            if isinstance(error, Cancelled):
                raise Cancelled("cancelled while copying files") from error
            if isinstance(error, PeerGone):
                raise HostError(
                    "the process that is copying files died",
                    hint="was it killed, or out of memory? See `dmesg`",
                ) from error
            raise
        assert isinstance(result, CopyResult)
        if result.layer is None:
            return result
        content.trust(result.layer.digest)
        return result._replace(layer=result.layer._replace(source=content))

    def close(self) -> None:
        """Stop it, whatever it does."""
        if self._pid > 0:
            pid, self._pid = self._pid, 0
            self._caller.close()
            os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):  # A caller that ignores SIGCHLD has no zombies.
                os.waitpid(pid, 0)
            with suppress(FileNotFoundError):
                os.unlink(self._making)


# --- The other process ----------------------------------------------------------------------------


def _serve_and_exit(channel: Channel) -> NoReturn:
    """Be the server. Nothing of the process that forked it may come to an end here."""
    status = 1
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # Its parent decides when it ends.
        # Objects of the other process live on here, with descriptors that are not theirs any more.
        gc.disable()
        gc.freeze()
        keep = channel.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
        callee = Callee(channel)
        while (call := callee.next()) is not None:
            _serve(callee, call)
        status = 0
    finally:
        os._exit(status)


def _serve(callee: Callee, call: Call) -> None:
    """Do one job."""
    try:
        result = _copy(callee, call.value, call.files)
    except Exception as error:
        callee.error(error)
    else:
        callee.result(result)
    finally:
        close_all(call.files)


def _copy(callee: Callee, order: _CopyOrder, files: list[int]) -> CopyResult:
    places = _renumbered(order.places, files.__getitem__)
    blobs = BlobFolder(order.blobs, order.making)
    hooks = Hooks(lambda count, size_bytes: callee.event((count, size_bytes)))
    return copy(order.job, places, blobs, hooks)
