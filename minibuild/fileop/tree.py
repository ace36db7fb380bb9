"""A tree as a sink: planned entries are written into a directory.

Comes in: entries and archives, and the root as a descriptor. Goes out: the tree.
No name is ever resolved through a symlink: directories are opened one name at a time, files are
made with O_EXCL after whatever was there is gone. The order for each entry is create, chown,
chmod, attributes, times: chown(2) clears set-id bits and file capabilities, and writing changes
times. A directory gets its own when the sink leaves it.
Of all extended attributes only security.capability comes along: that is what a layer keeps.
Read next: `data`.
"""

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Sequence
from typing import Self

from minibuild.errors import DefinitionError, HostError, raise_if_cancelled
from minibuild.fileop.api import Archive, Copied, Entry, Planned, Sink, unreadable
from minibuild.fileop.data import CAPABILITY, READ, Copier, capability_words, same_contents
from minibuild.fileop.dest import check_replaceable
from minibuild.fileop.walk import FoundFile
from minibuild.linux import device, xattr
from minibuild.linux.cursor import Cursor
from minibuild.linux.owner import Births, birth_mode, chown, fchown

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Target(Cursor):
    """Where the sink stands. Directories whose metadata is still to come are `pending`."""

    __slots__ = ("pending",)

    def __init__(self, root_fd: int) -> None:
        super().__init__(root_fd)
        self.pending: dict[str, Entry] = {}

    def pop(self) -> int:
        entry = self.pending.pop(self.path, None)
        if entry is not None:
            _finish(self.fd, entry)
        return super().pop()


class TreeSink(Sink):
    """Writes entries below one root. Use it in a `with`: leaving it finishes the directories.

    `copied` says of which files the times do not count. `skipped` has a sentence for each thing in
    an archive that this host does not permit. With `hashing` the data of files is hashed, too.
    """

    __slots__ = (
        "_births",
        "_cancelled",
        "_copied",
        "_copier",
        "_dirs",
        "_hashing",
        "digest",
        "skipped",
    )

    def __init__(
        self,
        root_fd: int,
        *,
        copied: Copied | None = None,
        cancelled: threading.Event | None = None,
        hashing: bool = False,
    ) -> None:
        self._copied = copied
        self._cancelled = cancelled
        self._hashing = hashing
        self._dirs = _Target(root_fd)
        self._copier = Copier(cancelled)
        self._births = Births()
        self.skipped: list[str] = []
        self.digest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._dirs.close()

    def settle(self) -> None:
        """Finish all directories."""
        self._dirs.enter("")

    def put_all(self, entries: Iterable[Entry]) -> None:
        """Put entries that are not counted. Raises `Cancelled`."""
        for entry in entries:
            raise_if_cancelled(self._cancelled, "copying files")
            self.put(entry)

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Write one entry. The directory above it is there already."""
        if isinstance(entry, Archive):
            self._unpack(entry)
            return
        above, _, name = entry.path.rpartition("/")
        dirs = self._dirs
        dir_fd = dirs.fd if dirs.path == above else dirs.enter(above)
        kind = stat.S_IFMT(entry.mode)
        if kind == stat.S_IFDIR:
            self._directory(dir_fd, name, entry)
            return
        if kind == stat.S_IFREG:
            if entry.hardlink:
                self._hardlink(dir_fd, name, entry)
            else:
                self._regular(dir_fd, name, entry)
        else:
            _clear(dir_fd, name, entry)
            self._special(dir_fd, name, kind, entry)
            chown(dir_fd, name, entry.uid, entry.gid)
            if kind != stat.S_IFLNK:
                os.chmod(name, stat.S_IMODE(entry.mode), dir_fd=dir_fd)
            if entry.mtime_ns is not None:
                times = (entry.mtime_ns, entry.mtime_ns)
                os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)

    def _directory(self, dir_fd: int, name: str, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            check_replaceable(entry.path, stat.S_IFDIR, stat.S_IFMT(status.st_mode))
            if entry.keep:
                return
        self._dirs.push(name)
        self._dirs.pending[entry.path] = entry

    def _regular(self, dir_fd: int, name: str, entry: Entry) -> None:
        source_fd = -1
        if entry.data is None:
            try:
                source_fd = os.open(entry.name, READ, dir_fd=entry.dir_fd)
            except PermissionError as error:
                raise unreadable(entry.name, error, entry.dir_fd) from error
        target_fd = -1
        try:
            target_fd = self._create(dir_fd, name, entry, source_fd)
            if target_fd < 0:
                return
            born = self._births.look(self._dirs.path, target_fd, entry.mode)
            attributes = xattr.names(source_fd) if source_fd >= 0 else []
            if entry.data is not None:
                _write_all(target_fd, entry.data)
            else:
                self._fill(target_fd, entry, source_fd, attributes)
            if born[1:] != (entry.uid, entry.gid):
                fchown(target_fd, entry.uid, entry.gid, entry.path)
            if born[0] != entry.mode:
                os.fchmod(target_fd, stat.S_IMODE(entry.mode))
            if CAPABILITY in attributes:
                _copy_capability(source_fd, target_fd)
            if entry.mtime_ns is not None:
                os.utime(target_fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            for fd in (source_fd, target_fd):
                if fd >= 0:
                    os.close(fd)

    def _fill(
        self, target_fd: int, entry: Entry, source_fd: int, attributes: Sequence[str]
    ) -> None:
        """Fill a new file from its source, whose extended attributes are known by their names."""
        if not self._hashing:
            self._copier.copy(source_fd, target_fd, entry.size)
            return
        sha = hashlib.sha256()
        self._copier.copy(source_fd, target_fd, entry.size, sha)
        if CAPABILITY in attributes:
            sha.update(capability_words(xattr.get(source_fd, CAPABILITY)))
        self.digest = sha.digest()

    def _special(self, dir_fd: int, name: str, kind: int, entry: Entry) -> None:
        if kind == stat.S_IFLNK:
            os.symlink(entry.target, name, dir_fd=dir_fd)
            return
        if kind not in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
            raise DefinitionError(f"cannot copy /{entry.path}: a file of an unknown type")
        try:
            device.make(dir_fd, name, kind, entry.rdev, self._dirs.root_fd)
        except PermissionError as error:
            raise HostError(
                f"cannot make the device /{entry.path}: {error.strerror}",
                hint="without root a device is kept as an extended attribute of a file, which "
                "this filesystem does not take: build as root, or leave it out with --exclude",
            ) from error

    def _hardlink(self, dir_fd: int, name: str, entry: Entry) -> None:
        above, _, first = entry.target.rpartition("/")
        _clear(dir_fd, name, entry)
        if above == self._dirs.path:
            os.link(first, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
            return
        # A second cursor: moving this one would finish directories that are still in the making.
        with Cursor(self._dirs.root_fd) as other:
            first_fd = other.enter(above)
            os.link(first, name, src_dir_fd=first_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    def _unpack(self, archive: Archive) -> None:
        from minibuild.layer.archive import extract

        source_fd = os.open(archive.name, READ, dir_fd=archive.dir_fd)
        try:
            target_fd = self._dirs.enter(archive.path)
            self.skipped += extract(
                source_fd, target_fd, owner=archive.owner, cancelled=self._cancelled
            )
        finally:
            os.close(source_fd)

    def _create(self, dir_fd: int, name: str, entry: Entry, source_fd: int) -> int:
        """A new file in place of what is there; -1 if that is the very same already."""
        mode = birth_mode(entry.mode)
        try:
            return os.open(name, _CREATE, mode, dir_fd=dir_fd)
        except FileExistsError:
            if self._is_there(dir_fd, name, entry, source_fd):
                return -1
        _clear(dir_fd, name, entry)
        return os.open(name, _CREATE, mode, dir_fd=dir_fd)

    def _is_there(self, dir_fd: int, name: str, entry: Entry, source_fd: int) -> bool:
        """Whether just this file is there already: then a layer need not repeat it. Its time has to
        be the same too, unless `copied` says otherwise."""
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        looks = (status.st_mode, status.st_uid, status.st_gid, status.st_size)
        if looks != (entry.mode, entry.uid, entry.gid, entry.size) or source_fd < 0:
            return False
        if status.st_mtime_ns != entry.mtime_ns and not (self._copied and self._copied(entry.path)):
            return False
        fd = os.open(name, READ, dir_fd=dir_fd)
        try:
            linked = status.st_nlink > 1 or CAPABILITY in (
                *xattr.names(fd),
                *xattr.names(source_fd),
            )
            return not linked and same_contents(source_fd, fd, self._cancelled)
        finally:
            os.close(fd)


def _clear(dir_fd: int, name: str, entry: Entry) -> None:
    """Remove what is at `name`, unless it is a directory: that is an error."""
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        check_replaceable(entry.path, stat.S_IFMT(entry.mode), stat.S_IFDIR)
    os.unlink(name, dir_fd=dir_fd)


def _finish(fd: int, entry: Entry) -> None:
    """Give a directory its metadata, now that nothing more is written into it."""
    fchown(fd, entry.uid, entry.gid, entry.path)
    os.fchmod(fd, stat.S_IMODE(entry.mode))
    if entry.mtime_ns is not None:
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))


def _copy_capability(source_fd: int, target_fd: int) -> None:
    value = xattr.get(source_fd, CAPABILITY)
    if value is not None:
        xattr.set(target_fd, CAPABILITY, value, tolerant=True)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
