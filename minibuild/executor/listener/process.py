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


class FilePlace:
    """What a call of a process names: a path, the open directory from which a relative one starts,
    and AT_ flags. Without a path it is the open file itself. Nearly each call has one: so it is
    what Python makes quickest."""

    __slots__ = ("directory", "flags", "path", "pid")

    def __init__(self, pid: int, directory: int, path: str, flags: int = 0) -> None:
        self.pid = pid
        self.directory = directory
        self.path = path
        self.flags = flags

    def with_path(self, path: str) -> "FilePlace":
        """The place of another path that starts where this one does."""
        return FilePlace(self.pid, self.directory, path)

    @property
    def follow(self) -> bool:
        """Whether a symlink at the end is followed."""
        return not self.flags & AT_SYMLINK_NOFOLLOW

    @property
    def names_entry(self) -> bool:
        """Whether the path ends in a name, under which something can be made."""
        return self.path.rpartition("/")[2] not in ("", ".", "..")

    @property
    def base(self) -> str:
        """The open directory (or file) from which the path starts if it is relative."""
        return (
            f"{self.pid}/cwd" if self.directory == AT_FDCWD else f"{self.pid}/fd/{self.directory}"
        )


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    with open(f"{pid}/status", encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in pairs}


def open_memory(pid: int) -> int:
    """Its memory, to be written with `write`."""
    return os.open(f"{pid}/mem", os.O_WRONLY | os.O_CLOEXEC)


def write(memory_fd: int, address: int, data: bytes) -> bool:
    """Write to its memory; False if not all of it could be written."""
    try:
        return os.pwrite(memory_fd, data, address) == len(data)
    except (OSError, OverflowError):  # No program has memory in the upper half.
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None


class Processes:
    """The processes of a step. `rooted` says that one of them may have a root of its own."""

    __slots__ = ("_reader", "rooted")

    def __init__(self, *, rooted: bool) -> None:
        self._reader = MemoryReader()
        self.rooted = rooted

    def read_path(self, pid: int, address: int) -> str:
        """A path in the memory of a process."""
        return os.fsdecode(self._reader.string(pid, address))

    def read_path_if_any(self, pid: int, address: int) -> str:
        """The same for a call that may have none, and is about an open file then."""
        return os.fsdecode(self._reader.string(pid, address)) if address else ""

    def read(self, pid: int, address: int, count: int) -> bytes:
        """That many bytes of its memory."""
        parts = range(0, count, _MOST_BYTES)
        return b"".join(
            self._reader.bytes(pid, address + start, min(_MOST_BYTES, count - start))
            for start in parts
        )

    def path(self, place: FilePlace) -> str:
        """Where a place is to us, if the process has the root of the step."""
        if place.path:
            return place.path if place.path.startswith("/") else f"{place.base}/{place.path}"
        return place.base

    def _open(self, place: FilePlace, flags: int) -> int:
        if self.rooted:
            return _open_in_root(place, flags)
        return os.open(self.path(place), flags | os.O_CLOEXEC)

    def open(self, place: FilePlace) -> int:
        """The file that a call names, with O_PATH."""
        if not place.path:
            if not place.flags & AT_EMPTY_PATH:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            try:
                return os.open(place.base, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        return self._open(place, os.O_PATH | (0 if place.follow else os.O_NOFOLLOW))

    def open_parent(self, place: FilePlace, resolve: int = 0) -> tuple[int, str]:
        """The directory in which a path ends, and the name there; `resolve` as for openat2(2)."""
        parent, slash, name = place.path.rpartition("/")
        if not slash:
            return os.open(place.base, _DIRECTORY), name
        parent = parent or "/"
        if not resolve:
            return self._open(place.with_path(parent), _DIRECTORY), name
        with closing_fd(os.open(place.base, _DIRECTORY)) as base_fd:
            return openat2(base_fd, parent, _DIRECTORY, resolve=resolve), name


def _open_in_root(place: FilePlace, flags: int) -> int:
    """The same where it may have a root of its own."""
    pid, path = place.pid, place.path
    start = f"{pid}/root"
    if not path.startswith("/"):
        start = place.base
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
