"""A process that waits for its answer, seen from outside: its memory, its files, its paths.

Comes in: the number of a process, which may be hostile. Goes out: descriptors and bytes.

We are in the mount namespace of the step, below its root, and our working directory is /proc as
*our* pid namespace has it: what `notifications` calls PID is PID there, and no name that the step
can make. So an absolute path means to us what it means to a process of the step, and a relative
one begins with PID/cwd. That is no longer so once a process has called chroot(2): from then on its
own root is asked for, and the kernel resolves the path inside of it. A path is read once. The
program may change its memory, or a directory on the way, at any time. See proc(5), openat2(2).
"""

import errno
import os

from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    openat2,
)
from minibuild.linux.unotify import MemoryReader

_MOST_BYTES = 4096
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def signed(argument: int) -> int:
    """The `int` that a register holds."""
    low = argument & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def names_entry(path: str) -> bool:
    """Whether a path ends in a name, under which something can be made."""
    return path.rpartition("/")[2] not in ("", ".", "..")


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    with open(f"{pid}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in pairs}


def base(pid: int, directory: int) -> str:
    """The open directory (or file) from which a relative path of the process starts."""
    return f"{pid}/cwd" if directory == AT_FDCWD else f"{pid}/fd/{directory}"


def open_file(pid: int, number: int) -> int:
    """A file that the process has open, or its working directory, with O_PATH."""
    try:
        return os.open(base(pid, number), os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None


def open_memory(pid: int) -> int:
    """Its memory, to be written with `write`."""
    return os.open(f"{pid}/mem", os.O_WRONLY | os.O_CLOEXEC)


def write(memory_fd: int, address: int, data: bytes) -> bool:
    """Write to its memory; False if not all of it could be written."""
    if address >> 63:  # No program has memory in the upper half.
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return os.pwrite(memory_fd, data, address) == len(data)


class Processes:
    """The processes of a step. `rooted` says that one of them may have a root of its own."""

    __slots__ = ("_reader", "rooted")

    def __init__(self, *, rooted: bool) -> None:
        self._reader = MemoryReader()
        self.rooted = rooted

    def read_path(self, pid: int, address: int) -> str:
        """A path in the memory of a process."""
        return os.fsdecode(self._reader.string(pid, address))

    def read(self, pid: int, address: int, count: int) -> bytes:
        """That many bytes of its memory."""
        parts = range(0, count, _MOST_BYTES)
        return b"".join(
            self._reader.bytes(pid, address + start, min(_MOST_BYTES, count - start))
            for start in parts
        )

    def path(self, pid: int, directory: int, path: str) -> str:
        """What a path of the process is to us, if it has the root of the step."""
        return path if path.startswith("/") else f"{base(pid, directory)}/{path}"

    def open(self, pid: int, directory: int, path: str, flags: int) -> int:
        """What a path means to the process, opened with these flags."""
        if self.rooted:
            return _open_in_root(pid, directory, path, flags)
        return os.open(self.path(pid, directory, path), flags | os.O_CLOEXEC)

    def open_at(self, pid: int, directory: int, path: str, flags: int) -> int:
        """The file that a call names by an open directory, a path, and AT_ flags, with O_PATH."""
        if not path:
            if not flags & AT_EMPTY_PATH:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            return open_file(pid, directory)
        last = os.O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0
        return self.open(pid, directory, path, os.O_PATH | last)

    def open_parent(self, pid: int, directory: int, path: str, resolve: int = 0) -> tuple[int, str]:
        """The directory in which a path ends, and the name there; `resolve` as for openat2(2)."""
        parent, slash, name = path.rpartition("/")
        if not slash:
            return os.open(base(pid, directory), _DIRECTORY), name
        if not resolve:
            return self.open(pid, directory, parent or "/", _DIRECTORY), name
        with closing_fd(os.open(base(pid, directory), _DIRECTORY)) as base_fd:
            return openat2(base_fd, parent or "/", _DIRECTORY, resolve=resolve), name


def _open_in_root(pid: int, directory: int, path: str, flags: int) -> int:
    """The same where it may have a root of its own."""
    start = f"{pid}/root"
    if not path.startswith("/"):
        start = base(pid, directory)
        with closing_fd(os.open(start, os.O_PATH | os.O_DIRECTORY)) as start_fd:
            beneath = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
            try:
                return openat2(start_fd, path, flags, resolve=beneath)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        # Upwards, or through an absolute symlink: as a path from its root, then.
        inside = _below(os.readlink(start), os.readlink(f"{pid}/root"))
        path, start = f"{inside}/{path}", f"{pid}/root"
    with closing_fd(os.open(start, os.O_PATH | os.O_DIRECTORY)) as root_fd:
        return openat2(root_fd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def _below(path: str, root: str) -> str:
    """A path of ours as one below a root, or as it is if it is not there."""
    root = root.rstrip("/")
    return path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else path
