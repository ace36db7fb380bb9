"""A tree as a sink: planned entries are written into a directory.

Comes in: entries and archives, and the root as a descriptor. Goes out: the tree.
Here is what a copy does with what is there already: directories unite, a file takes the place of
one, and what is the very same file stays. Of all extended attributes only security.capability comes
along: that is what a layer keeps. Read next: `linux.tree_writer`, which does the writing.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from minibuild.digest import sha256_of
from minibuild.errors import DefinitionError, HostError, raise_if_cancelled
from minibuild.fileop.api import (
    NO_HOOKS,
    Archive,
    Entry,
    Hooks,
    Planned,
    Sink,
    capability_words,
    unreadable,
)
from minibuild.fileop.dest import check_replaceable
from minibuild.fileop.walk import FoundFile
from minibuild.linux import device, xattr
from minibuild.linux.beneath import remove_tree
from minibuild.linux.contents import READ, Copier, same_contents, write_all
from minibuild.linux.cursor import Cursor
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.tree_writer import Metadata, TreeWriter
from minibuild.linux.xattr import CAPABILITY

if TYPE_CHECKING:
    from minibuild.fileop.select import Pick
    from minibuild.linux.recorded import Records

_MORE_THAN_DATA = {CAPABILITY, device.PLACEHOLDER}
_SPECIAL = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)


class TreeSink(Sink):
    """Writes entries below one root. Use it in a `with`: leaving it finishes the directories.

    `owners` are the records of the tree, where owners are recorded.
    `copied` says of which files the times do not count. `skipped` has a sentence for each thing in
    an archive that this host does not permit. With `hashing` the data of files is hashed, too.
    """

    def __init__(
        self,
        root_fd: int,
        hooks: Hooks = NO_HOOKS,
        *,
        owners: "Records | None" = None,
        hashing: bool = False,
    ) -> None:
        self._owners = owners
        self._copied = hooks.copied
        self._cancelled = hooks.cancelled
        self._hashing = hashing
        self._hashed_bytes = 0
        self._tree = TreeWriter(root_fd, self._make_room, owners=owners)
        self._copier = Copier(hooks.cancelled)
        self._entry = Entry("", 0)
        self._source_fd = -1
        self.skipped: list[str] = []
        self.digest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._tree.close()

    def enter(self, pick: "Pick") -> None:
        if pick.wanted is not None:
            # The plan asks who owns the directories on the way, and they get that when they are
            # left.
            self._tree.enter("")

    def settle(self) -> None:
        """Finish all directories."""
        self._tree.finish()

    def remove(self, path: str) -> None:
        """Remove what is at a path. The directory above keeps its times."""
        self.keep_times(path)
        remove_tree(self._tree.fd, path.rpartition("/")[2])

    def keep_times(self, path: str) -> None:
        """Let the directory above a path keep the times that it has."""
        self._tree.enter(path.rpartition("/")[0])
        self._tree.keep_times()

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
        tree = self._tree
        if tree.path != above:
            tree.enter(above)
        self._entry = entry
        kind = stat.S_IFMT(entry.mode)
        if kind == stat.S_IFREG and not entry.hardlink:
            self._regular(name, entry)
        elif entry.hardlink:
            self._hardlink(name, entry)
        elif kind == stat.S_IFDIR:
            tree.directory(name, _metadata(entry), keep=entry.keep)
        elif kind in _SPECIAL:
            self._special(name, entry)
        else:
            raise DefinitionError(f"cannot copy /{entry.path}: a file of an unknown type")

    def _regular(self, name: str, entry: Entry) -> None:
        if entry.data is not None:
            data = entry.data
            self._tree.file(name, _metadata(entry), lambda fd: write_all(fd, data))
            return
        try:
            source_fd = self._source_fd = os.open(entry.name, READ, dir_fd=entry.dir_fd)
        except PermissionError as error:
            raise unreadable(entry.name, error, entry.dir_fd) from error
        try:
            names = xattr.names(source_fd)
            metadata = _metadata(entry)
            if CAPABILITY in names:
                capability = xattr.get(source_fd, CAPABILITY) or b""
                metadata = metadata._replace(xattrs={CAPABILITY: capability})
            self._tree.file(name, metadata, lambda fd: self._fill(fd, entry, source_fd, names))
        finally:
            self._source_fd = -1
            os.close(source_fd)

    def _fill(
        self, target_fd: int, entry: Entry, source_fd: int, attributes: Sequence[str]
    ) -> None:
        """Fill a new file from its source, whose extended attributes are known by their names."""
        if not self._hashing:
            self._copier.copy(source_fd, target_fd, entry.size)
            return
        self._hashed_bytes += entry.size  # OpenSSL is loaded if all of them come to much.
        sha = sha256_of(self._hashed_bytes)(b"")
        self._copier.copy(source_fd, target_fd, entry.size, sha)
        if CAPABILITY in attributes:
            sha.update(capability_words(xattr.get(source_fd, CAPABILITY)))
        self.digest = sha.digest()

    def _special(self, name: str, entry: Entry) -> None:
        try:
            self._tree.special(name, _metadata(entry), entry.target, entry.rdev)
        except PermissionError as error:
            raise HostError(
                f"cannot make the device /{entry.path}: {error.strerror}",
                hint="without root a device is kept as an extended attribute of a file, which "
                "this filesystem does not take: build as root, or leave it out with --exclude",
            ) from error

    def _hardlink(self, name: str, entry: Entry) -> None:
        above, _, first = entry.target.rpartition("/")
        # A second cursor: moving the writer would finish directories that are still in the making.
        with Cursor(self._tree.root_fd) as other:
            self._tree.link(name, first, other.enter(above))

    def _unpack(self, archive: Archive) -> None:
        from minibuild.layer.archive import extract

        with closing_fd(os.open(archive.name, READ, dir_fd=archive.dir_fd)) as source_fd:
            target_fd = self._tree.enter(archive.path)
            owner, owners = archive.owner, self._owners
            what, cancelled = f"the archive {archive.name}", self._cancelled
            self.skipped += extract(
                source_fd, target_fd, what, owner=owner, owners=owners, cancelled=cancelled
            )

    def _make_room(self, dir_fd: int, name: str, kind: int) -> bool:
        """Remove a file, but not a directory, and not the very same file: then a layer need not
        repeat it. Its time has to be the same too, unless `copied` says otherwise."""
        entry = self._entry
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if entry.replaces and stat.S_ISDIR(entry.mode) != stat.S_ISDIR(status.st_mode):
            remove_tree(dir_fd, name)
            return True
        check_replaceable(entry.path, stat.S_IFMT(entry.mode), stat.S_IFMT(status.st_mode))
        if kind == stat.S_IFDIR or self._is_same(dir_fd, name, status):
            return False
        os.unlink(name, dir_fd=dir_fd)
        return True

    def _is_same(self, dir_fd: int, name: str, status: os.stat_result) -> bool:
        entry, source_fd = self._entry, self._source_fd
        if self._owners is not None:
            status = self._owners.seen(status, xattr.at(dir_fd, name))
        looks = (status.st_mode, status.st_uid, status.st_gid, status.st_size)
        if looks != (entry.mode, entry.uid, entry.gid, entry.size) or source_fd < 0:
            return False
        if status.st_mtime_ns != entry.mtime_ns and not (self._copied and self._copied(entry.path)):
            return False
        if status.st_nlink > 1:
            return False
        with closing_fd(os.open(name, READ, dir_fd=dir_fd)) as fd:
            if not _MORE_THAN_DATA.isdisjoint((*xattr.names(fd), *xattr.names(source_fd))):
                return False
            return same_contents(source_fd, fd, self._cancelled)


def _metadata(entry: Entry) -> Metadata:
    mtime_ns = entry.mtime_ns
    times = None if mtime_ns is None else (mtime_ns, mtime_ns)
    return Metadata(entry.mode, entry.uid, entry.gid, times)
