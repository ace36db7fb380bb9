"""Where an archive goes: a file that appears when it is whole, or standard output.

Comes in: what `dest=` says. Goes out: an open file. Read next: `bundle`.
"""

import errno
import io
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from minibuild.errors import FULL_DISK, HostError, UsageError, raise_if_cancelled
from minibuild.linux.descriptors import closing_fd

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER_BYTES = 1 << 20
_ZEROS = memoryview(bytes(_BUFFER_BYTES))
_STDOUT = 1
_TRIES = 20
_TURN_S = 0.01


@contextmanager
def open_destination(dest: str, cancelled: threading.Event | None = None) -> Iterator["OutputFile"]:
    """A file to write an archive to; `-` is standard output, which must not be a terminal. Writing
    raises `Cancelled` once the event is set.

    A regular file is written under another name beside `dest` and renamed at the end, so a build
    that fails leaves what was there. Anything else, such as a pipe, is written as it is.
    """
    check_file(dest)
    if dest == "-":
        try:
            with OutputFile(io.FileIO(_STDOUT, "wb", closefd=False), cancelled) as file:
                yield file
        except BrokenPipeError:
            raise  # The reader has enough.
        except OSError as error:
            raise write_error(error, "to standard output") from error
        return
    with open_file(dest, cancelled) as file:
        yield file


@contextmanager
def open_file(path: str, cancelled: threading.Event | None = None) -> Iterator["OutputFile"]:
    """The same for a file that is never standard output. Raises `HostError`."""
    try:
        with _open(path, cancelled) as file:
            yield file
    except OSError as error:
        raise write_error(error, path) from error


def check_file(dest: str) -> None:
    """Find out before a build whether `open_destination` may write there; it makes no directory. An
    error of the disk shows only at the end. Raises `UsageError` or `HostError`."""
    if dest == "-":
        if os.isatty(_STDOUT):
            raise UsageError(
                "not writing an archive to the terminal",
                hint="name a file with dest=FILE, or redirect standard output",
            )
        return
    if os.path.isdir(dest):
        raise UsageError(f"cannot write {dest}: it is a directory", hint="name a file")
    if os.path.exists(dest) and not os.path.isfile(dest):
        return  # A pipe or a device, perhaps by the name of an open file: opening it will tell.
    folder = os.path.dirname(os.path.realpath(dest))
    if not os.path.isdir(folder):
        raise UsageError(
            f"cannot write {dest}: there is no directory {os.path.dirname(dest)}",
            hint="make the directory first",
        )
    _check_access(folder, dest)


def check_folder(dest: str) -> None:
    """The same for a directory, which is made with those above it."""
    path = os.path.realpath(dest)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        hint = "name a directory, or one that is not there yet"
        raise UsageError(f"cannot write the directory {dest}: {path} is a file", hint=hint)
    _check_access(path, dest)


def _check_access(path: str, dest: str) -> None:
    if not os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0)):
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        raise write_error(OSError(errno.EROFS if read_only else errno.EACCES, ""), dest)


class OutputFile(io.BufferedWriter):
    """A file that is not written any further when the build is cancelled. One that is `new` holds
    nothing yet, so zeros need not be written."""

    def __init__(
        self, raw: io.FileIO, cancelled: threading.Event | None, *, new: bool = False
    ) -> None:
        super().__init__(raw, _BUFFER_BYTES)
        self._cancelled = cancelled
        self._new = new

    def skip(self, count: int) -> None:
        """Append zeros, as a hole where that is possible. Something has to be written after it."""
        if self._new:
            self.seek(count, os.SEEK_CUR)
            return
        while count:
            count -= self.write(_ZEROS[:count])

    def write(self, data: "Buffer", /) -> int:
        raise_if_cancelled(self._cancelled, "writing an output")
        return super().write(data)

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is None:
            super().__exit__(kind, *rest)
        else:
            # What is held back is not written: the reader of a pipe may have stopped reading.
            self.raw.close()


@contextmanager
def _open(dest: str, cancelled: threading.Event | None) -> Iterator["OutputFile"]:
    try:
        mode = os.stat(dest).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        with OutputFile(io.FileIO(dest, "wb"), cancelled) as file:
            yield file
        return
    # A link stays one: what it points at is replaced.
    dest = os.path.realpath(dest)
    folder, name = os.path.split(dest)
    temporary = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}")
    try:
        with OutputFile(_create(folder, temporary), cancelled, new=True) as file:
            yield file
            file.flush()
            if not os.path.lexists(temporary):
                _publish(file.fileno(), os.path.join(folder, f".{name[:200]}.new"), dest)
                return
        os.rename(temporary, dest)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _publish(fd: int, temporary: str, dest: str) -> None:
    """Put a file without a name in the place of `dest`.

    link(2) replaces nothing, so the file needs another name for the moment before it is renamed. A
    process that is killed in that moment leaves the name behind. It is always the same one, and the
    next export removes it: a lock on the folder says that no process is at work there.
    """
    folder, flags = os.path.dirname(temporary), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    with closing_fd(os.open(folder, flags)) as folder_fd:
        if _lock(folder_fd):
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        else:
            temporary += "." + secrets.token_hex(4)
        # Not link(2), which does not follow: linkat(2), by the name that open(2) gives.
        os.link(f"/proc/self/fd/{fd}", temporary, src_dir_fd=fd)
        os.rename(temporary, dest)


def _lock(folder_fd: int) -> bool:
    """Whether this process now has the lock of a folder. It is not waited for long: what called
    this program may hold it, for as long as we run."""
    import fcntl

    for _ in range(_TRIES):
        try:
            fcntl.flock(folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_TURN_S)
        except OSError:
            return False  # A filesystem without locks.
    return False


def _create(folder: str, temporary: str) -> io.FileIO:
    """A new file in the folder, without a name if its filesystem can do that (open(2), O_TMPFILE):
    then nothing is left of it even if this process is killed."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        fd = os.open(folder, flags | os.O_TMPFILE, 0o666)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        fd = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o666)
    return io.FileIO(fd, "wb")


def write_error(error: OSError, dest: str) -> HostError:
    """The error to raise when an output cannot be written."""
    hint = ""
    if error.errno in FULL_DISK:
        hint = "free some space, or name a place on another disk"
    elif error.errno == errno.ENOENT:
        hint = "make the directory first"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "name a place that you may write to"
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else dest
    # A file is written under another name, or without one in its folder, until it is whole.
    folder = os.path.realpath(os.path.dirname(dest))
    inner = os.path.basename(where).startswith(".") or os.path.realpath(where) == folder
    shown = dest if inner else where
    return HostError(f"cannot write {shown}: {os.strerror(error.errno or 0)}", hint=hint)
