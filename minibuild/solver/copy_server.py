"""The copy server: a process beside this one that copies files.

Comes in: a `CopyJob`, and open directories, over a socket. Goes out: what became of it. Between two
system calls for a small file the interpreter is busy, and it has one lock: threads that copy side
by side only take it from each other. A process has a lock of its own.

It is forked while this process has one thread, with all modules loaded, and lives as long as the
build. It knows directories only as descriptors, so it does not matter who mounted them, and it
never touches the database: what is to be remembered goes back with the answer. If this process
dies, the kernel kills it. Read next: `fileop.copy`.
"""

import gc
import os
import pickle
import signal
from contextlib import suppress
from typing import Any, NoReturn

from minibuild.digest import Digest, digest_hex
from minibuild.errors import Cancelled, HostError
from minibuild.executor.channel import Channel, close_all, pair
from minibuild.fileop.api import SourceTree
from minibuild.fileop.copy import CopyJob, CopyResult, Hooks, Places, copy
from minibuild.linux import syscalls
from minibuild.oci.content import BlobWriter
from minibuild.startup.tuples import NamedTuple

MAX_DIRECTORIES = 7
"""With the order itself these are the descriptors that go with one message."""

_POLL_MS = 50
_WORD_BYTES = 64
_PROGRESS, _DONE, _ERROR = b"p", b"d", b"e"


class _Order(NamedTuple):
    """A job as it crosses over. Descriptors come with it: the root and the base, if there are any,
    then the sources in the order of `trees`. `making` and `blobs` are for the layer."""

    job: CopyJob
    has_root: bool
    has_base: bool
    trees: tuple[tuple[int, SourceTree], ...]
    making: str
    blobs: str


class CopyServer:
    """The client's end. One job at a time."""

    __slots__ = ("_channel", "_pid")

    def __init__(self, channel: Channel, pid: int) -> None:
        self._channel = channel
        self._pid = pid

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

    def do(self, job: CopyJob, places: Places, making: str, blobs: str, hooks: Hooks) -> CopyResult:
        """Have the job done. `making` is where a layer may be written, `blobs` where it is kept.

        Raises what `fileop.copy.copy` raises, and `HostError` if the server dies.
        """
        sources = places.sources.items()
        order = _Order(
            job,
            places.root_fd >= 0,
            places.base_fd is not None,
            tuple((number, tree._replace(fd=-1)) for number, tree in sources),
            making,
            blobs,
        )
        directories = [fd for fd in (places.root_fd, places.base_fd) if fd is not None and fd >= 0]
        directories += [tree.fd for _, tree in sources]
        try:
            with _parcel(order) as parcel:
                try:
                    self._channel.send(b"job", (parcel.fileno(), *directories))
                except OSError as error:
                    raise self._died() from error
            return self._answer(hooks)
        except BaseException:
            if job.form != "tree" and os.path.exists(making):
                self.close()  # It may be at it still.
                _remove(making)
            raise

    def _answer(self, hooks: Hooks) -> CopyResult:
        import select

        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while True:
            if hooks.cancelled is not None and hooks.cancelled.is_set():
                self.close()
                raise Cancelled("cancelled while copying files")
            if not poll.poll(_POLL_MS):
                continue
            word, fds = self._channel.receive(_WORD_BYTES)
            if word[:1] == _PROGRESS:
                if hooks.progress is not None:
                    hooks.progress(*map(int, word[1:].split()))
                continue
            if not fds:
                raise self._died()
            with os.fdopen(fds[0], "rb") as parcel:
                answer: Any = pickle.load(parcel)
            if word == _ERROR:
                raise answer
            assert isinstance(answer, CopyResult)
            return answer

    def _died(self) -> HostError:
        self.close()
        return HostError(
            "the process that copies files died",
            hint="was it killed, or out of memory? See `dmesg`",
        )

    def close(self) -> None:
        """Stop it, whatever it does."""
        if self._pid > 0:
            pid, self._pid = self._pid, 0
            self._channel.close()
            os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):  # A caller that ignores SIGCHLD has no zombies.
                os.waitpid(pid, 0)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _parcel(value: Any) -> Any:
    """A file in memory with the value in it: a message has room for some 200 KiB only."""
    file = os.fdopen(os.memfd_create("job", os.MFD_CLOEXEC), "w+b")
    pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)
    return file


# --- The other process ----------------------------------------------------------------------------


def _serve_and_exit(channel: Channel) -> NoReturn:
    """Be the server. Nothing of the process that forked it may come to an end here."""
    status = 1
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # Whoever started it decides when it ends.
        # Objects of the other process live on here, with descriptors that are not theirs any more.
        gc.disable()
        gc.freeze()
        keep = channel.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
        while _serve(channel):
            pass
        status = 0
    finally:
        os._exit(status)


def _serve(channel: Channel) -> bool:
    """One job; False if there are no more."""
    word, fds = channel.receive(_WORD_BYTES)
    if not word:
        return False
    with os.fdopen(fds[0], "rb") as parcel:
        order: Any = pickle.load(parcel)
    assert isinstance(order, _Order)

    def progress(files: int, size_bytes: int) -> None:
        channel.send(_PROGRESS + b"%d %d" % (files, size_bytes))

    answer: Any
    try:
        places, blobs = _places(order, fds[1:]), _Blobs(order.making, order.blobs)
        word, answer = _DONE, copy(order.job, places, blobs, Hooks(progress))
    except Exception as error:
        word, answer = _ERROR, error
    finally:
        close_all(fds[1:])
    try:
        answered = _parcel(answer)
    except (pickle.PicklingError, TypeError, AttributeError):
        word, answered = _ERROR, _parcel(RuntimeError(repr(answer)))
    with answered:
        channel.send(word, (answered.fileno(),))
    return True


def _places(order: _Order, fds: list[int]) -> Places:
    left = list(fds)
    root_fd = left.pop(0) if order.has_root else -1
    base_fd = left.pop(0) if order.has_base else None
    trees = zip(order.trees, left, strict=True)
    return Places(root_fd, base_fd, {n: tree._replace(fd=fd) for (n, tree), fd in trees})


class _Blobs:
    """A `BlobMaker` for one blob."""

    def __init__(self, making: str, folder: str) -> None:
        self._making = making
        self.blobs_path = folder

    def writer(self) -> BlobWriter:
        """The blob."""
        return BlobWriter(self._making, self._place)

    def _place(self, digest: Digest) -> str:
        return os.path.join(self.blobs_path, digest_hex(digest))
