"""Folders as packets: how BuildKit and its clients send files to each other.

Comes in: packets. Goes out: a folder. The sender lists all entries, sorted; the receiver asks for
the contents of those files that it has not got, by their number in the list. What a stranger sends
is hostile: see `Receiver`. Rules: tonistiigi/fsutil `receive.go`. Read next: `sender`.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from minibuild.buildkit.rpc import Failure, api_type
from minibuild.linux.beneath import remove_tree
from minibuild.linux.contents import write_all
from minibuild.linux.cursor import Cursor
from minibuild.startup.tuples import NamedTuple

STAT, REQ, DATA, FIN, ERR = range(5)
"""The kinds of packets."""

# The mode of an entry is Go's os.FileMode: permission bits, and a bit for each type.
_GO_DIR, _GO_SYMLINK, _GO_DEVICE, _GO_FIFO, _GO_SOCKET = (1 << bit for bit in (31, 27, 26, 25, 24))
_GO_SETUID, _GO_SETGID, _GO_CHAR, _GO_STICKY = (1 << bit for bit in (23, 22, 21, 20))
_GO_TYPES = _GO_DIR | _GO_SYMLINK | _GO_DEVICE | _GO_FIFO | _GO_SOCKET
_GO_SPECIAL = ((_GO_SETUID, stat.S_ISUID), (_GO_SETGID, stat.S_ISGID), (_GO_STICKY, stat.S_ISVTX))
_GO_KINDS = (
    (stat.S_IFREG, 0),
    (stat.S_IFDIR, _GO_DIR),
    (stat.S_IFLNK, _GO_SYMLINK),
    (stat.S_IFIFO, _GO_FIFO),
    (stat.S_IFSOCK, _GO_SOCKET),
    (stat.S_IFBLK, _GO_DEVICE),
    (stat.S_IFCHR, _GO_DEVICE | _GO_CHAR),
)
MAX_ENTRIES = 5_000_000


class Wanted(NamedTuple):
    """What is asked of a client's folder: its name, and which paths of it; with `again` also files
    that look like those which were received before."""

    name: str
    paths: Sequence[str] = ()
    exclude: Sequence[str] = ()
    include: Sequence[str] = ()
    again: bool = False

    def metadata(self) -> list[tuple[str, str]]:
        """The words of the call. Values that are not ASCII are escaped, all of their key."""
        from urllib.parse import quote

        found = [("dir-name", self.name)]
        for key, values in (
            ("followpaths", self.paths),
            ("exclude-patterns", self.exclude),
            ("include-patterns", self.include),
        ):
            escaped = not all(value.isascii() and value.isprintable() for value in values)
            found += [(key, quote(value) if escaped else value) for value in values]
            found += [(f"{key}-encoded", "1")] if escaped else []
        return found


class Receiver:
    """One folder as it arrives.

    Nothing is written outside of the folder, whatever the paths are: each has to be relative,
    without `..`, in a directory that was listed before, and is made by a cursor that follows no
    symlink. A file takes no more bytes than its entry says. What the folder has more is removed, or
    kept with `keeps_others`. A file whose size, mode and time are those of the file here is not
    asked for, unless all are to be sent `again`.
    """

    def __init__(
        self,
        cursor: Cursor,
        *,
        keeps_others: bool = False,
        again: bool = False,
    ) -> None:
        self._cursor = cursor
        self._requests: list[Any] = []
        self._keeps_others = keeps_others
        self._again = again
        self._entries: list[Any] = []
        self._directories: dict[str, set[str]] = {"": set()}
        self._made: set[str] = set()  # directories that were not there: nothing is in them
        self._files: dict[str, int] = {}
        self._wanted: dict[int, _IncomingFile] = {}
        self._links: list[Any] = []
        self._linked: set[int] = set()  # inodes of files here that have several names
        self._listed = self._finished = False

    def take(self, packet: Any) -> bool:
        """Take a message of the client; True if it was the last."""
        if packet.type == STAT:
            if packet.HasField("stat"):
                self._entry(packet.stat)
            else:
                self._listed = True
        elif packet.type == DATA:
            self._data(packet.ID, packet.data)
        elif packet.type == ERR:
            raise Failure(packet.data.decode("utf-8", "replace"))
        elif packet.type == FIN:
            return True
        if self._listed and not self._wanted and not self._finished:
            self._finish()
        return False

    def asked(self) -> list[Any]:
        """What the client is to be sent for what it sent since the last time."""
        requests, self._requests = self._requests, []
        return requests

    def _ask(self, **fields: int) -> None:
        self._requests.append(api_type("Packet")(**fields))

    def check_end(self) -> None:
        """Raise `Failure` if the client ended before all was there."""
        for incoming in self._wanted.values():
            incoming.drop()
        if not self._finished:
            raise Failure("the client stopped in the middle of a folder")

    def _entry(self, entry: Any) -> None:
        number = len(self._entries)
        if number >= MAX_ENTRIES:
            raise Failure(f"a folder of more than {MAX_ENTRIES:,} entries is refused")
        self._entries.append(entry)
        directory, name = self._place(entry.path)
        self._directories[directory].add(name)
        fd = self._cursor.enter(directory)
        kind = entry.mode & _GO_TYPES
        if kind == _GO_DIR:
            if _make_directory(fd, name):
                self._made.add(entry.path)
            self._directories[entry.path] = set()
        elif kind == _GO_SYMLINK:
            if not entry.linkname or "\0" in entry.linkname:
                raise Failure(f"the client sent an invalid link: {entry.path!r}")
            _make_symlink(fd, name, entry.linkname)
        elif kind == 0 and entry.linkname:
            self._links.append(entry)
        elif kind == 0:
            self._files[entry.path] = number
            found = None if directory in self._made else _status(fd, name)
            linked = found is not None and found.st_ino in self._linked
            if found is not None and found.st_nlink > 1:
                self._linked.add(found.st_ino)
            if self._again or found is None or linked or not _is_same(found, entry):
                # What others may read meanwhile gets its name when it is whole.
                is_new = found is None and not self._keeps_others
                self._wanted[number] = _IncomingFile(directory, name, entry, is_new=is_new)
                self._ask(type=REQ, ID=number)
        # Sockets, pipes and devices are no part of a context.

    def _place(self, path: str) -> tuple[str, str]:
        directory, _, name = path.rpartition("/")
        wrong = not name or name in (".", "..") or "\0" in path
        if wrong or directory not in self._directories or name in self._directories[directory]:
            raise Failure(f"the client sent an invalid path: {path!r}")
        return directory, name

    def _data(self, number: int, data: bytes) -> None:
        incoming = self._wanted.get(number)
        if incoming is None:
            raise Failure("the client sent a file that it was not asked for")
        fd = self._cursor.enter(incoming.directory)
        if data:
            incoming.write(fd, data)
        else:
            incoming.finish(fd)
            del self._wanted[number]

    def _finish(self) -> None:
        self._finished = True
        for link in self._links:
            self._link(link)
        for directory, names in self._directories.items():
            fd = self._cursor.enter(directory)
            for name in () if self._keeps_others else set(os.listdir(fd)) - names:
                remove_tree(fd, name)
        for entry in reversed(self._entries):
            if entry.mode & _GO_TYPES == _GO_DIR:
                fd = self._cursor.enter(entry.path)
                mode, found = _permissions(entry.mode) | stat.S_IRWXU, os.fstat(fd)
                # What is as it was keeps its ctime: by that the next copy knows it.
                if (stat.S_IMODE(found.st_mode), found.st_mtime_ns) != (mode, entry.modTime):
                    os.fchmod(fd, mode)
                    os.utime(fd, ns=(entry.modTime, entry.modTime))
        self._ask(type=FIN)

    def _link(self, entry: Any) -> None:
        """A hardlink to a file that was listed before it. Files that have one inode here and are
        none of each other's links were sent again, all but the first."""
        if entry.linkname not in self._files:
            raise Failure(f"the client sent an invalid link: {entry.path!r}")
        directory, _, name = entry.linkname.rpartition("/")
        source = os.dup(self._cursor.enter(directory))
        try:
            directory, _, other = entry.path.rpartition("/")
            fd = self._cursor.enter(directory)
            found, to = _status(fd, other), _status(source, name)
            if found is not None and to is not None and found.st_ino == to.st_ino:
                return  # As it was: it keeps its ctime, too.
            remove_tree(fd, other)
            os.link(name, other, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(source)


class _IncomingFile:
    """A file that is on its way. If something has its name, it gets that when it is whole."""

    __slots__ = ("_fd", "_left", "_temporary", "directory", "entry", "name")

    def __init__(self, directory: str, name: str, entry: Any, *, is_new: bool) -> None:
        self.directory = directory
        self.name = name
        self.entry = entry
        self._temporary = "" if is_new else f".minibuild-{os.urandom(8).hex()}"
        self._fd = -1
        self._left = entry.size

    def write(self, directory_fd: int, data: bytes) -> None:
        if self._fd < 0:
            self._open(directory_fd)
        self._left -= len(data)
        if self._left < 0:
            raise Failure(f"{self.entry.path!r} is larger than the client said")
        write_all(self._fd, data)

    def finish(self, directory_fd: int) -> None:
        if self._fd < 0:
            self._open(directory_fd)
        # A file may have become shorter while it was sent: what came is what it is.
        os.fchmod(self._fd, _permissions(self.entry.mode))
        os.utime(self._fd, ns=(self.entry.modTime, self.entry.modTime))
        self.drop()
        if self._temporary:
            if _type_of(directory_fd, self.name) not in (0, stat.S_IFREG):
                remove_tree(directory_fd, self.name)
            os.rename(self._temporary, self.name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)

    def drop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, directory_fd: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._temporary or self.name, flags, 0o600, dir_fd=directory_fd)


def _permissions(go_mode: int) -> int:
    special = sum(bits for bit, bits in _GO_SPECIAL if go_mode & bit)
    return go_mode & 0o777 | special


def _status(fd: int, name: str) -> os.stat_result | None:
    """What is there."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _type_of(fd: int, name: str) -> int:
    """The type of what is there; 0 if nothing is."""
    found = _status(fd, name)
    return 0 if found is None else stat.S_IFMT(found.st_mode)


def _is_same(found: os.stat_result, entry: Any) -> bool:
    """Whether a file that was received before is still what the client has."""
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_size == entry.size
        and found.st_mtime_ns == entry.modTime
        and stat.S_IMODE(found.st_mode) == _permissions(entry.mode)
    )


def _make_directory(fd: int, name: str) -> bool:
    """Make it, unless it is there. Returns whether it was made."""
    found = _type_of(fd, name)
    if found not in (0, stat.S_IFDIR):
        remove_tree(fd, name)
    if found != stat.S_IFDIR:
        os.mkdir(name, 0o700, dir_fd=fd)
    return found != stat.S_IFDIR


def _make_symlink(fd: int, name: str, target: str) -> None:
    with suppress(OSError):
        if os.readlink(name, dir_fd=fd) == target:
            return
    remove_tree(fd, name)
    os.symlink(target, name, dir_fd=fd)


def go_mode(mode: int) -> int:
    """The mode of a file as Go has it: a bit for each type."""
    special = sum(bit for bit, bits in _GO_SPECIAL if mode & bits)
    kind = next(bit for kind, bit in _GO_KINDS if stat.S_IFMT(mode) == kind)
    return mode & 0o777 | special | kind
