"""The entries of a tar, of any origin, as files below a directory.

Comes in: entries with clean names, and a directory. Goes out: files, with owner, mode, attributes
and times. Nothing outside the directory is touched: a name in a tar may lead through symlinks, so
the directory it is in is looked for first, and entered one name at a time. What stands in the way
of an entry is removed, but for a directory that an entry only gives new metadata.
Read next: `linux.tree_writer`, which knows the order of calls; then `unpack`, `archive`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self

from minibuild.errors import FULL_DISK, ImageError
from minibuild.layer.tar_format import KINDS, TarEntry
from minibuild.layer.tar_reader import TarReader
from minibuild.linux.beneath import clean, makedirs_beneath, open_beneath, real_path
from minibuild.linux.contents import write_all
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.owner import chown
from minibuild.linux.tree_writer import Metadata, TreeWriter
from minibuild.linux.xattr import RECORDS
from minibuild.oci.content import full_disk

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_TYPES = {kind: bits for bits, kind in KINDS.items()}
_NO_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_LARGE_BYTES = 64 << 20


class EntryWriter:
    """Makes entries of `what` below `root_fd` with `tree`. Use it in a `with`: leaving it gives the
    last directories their metadata. What the system says of an entry becomes a `StoreError` if the
    disk is full, and else an `ImageError` that names it.

    `make_parent` is called with a path that is no directory, or that is reached through symlinks:
    it makes it one, and returns where that really is. Directories keep their times then, whatever
    is put into them. Without it symlinks are followed inside the root, and missing directories are
    made; they belong to `parents`. `owner` replaces the owners of all entries. `owners` are the
    records of the tree, where owners are recorded; a record that an entry brings along is dropped.
    `skipped` tells what this host did not permit to make.
    """

    def __init__(
        self,
        root_fd: int,
        what: str,
        make_parent: Callable[[str], str] | None = None,
        *,
        owner: tuple[int, int] | None = None,
        parents: tuple[int, int] = (0, 0),
        owners: "Records | None" = None,
    ) -> None:
        self.skipped: list[str] = []
        self.name = ""
        """The entry in the making."""
        self._what = what
        self._root_fd = root_fd
        self._owners = owners
        self.tree = TreeWriter(root_fd, owners=owners)
        self._make_parent = make_parent or self._follow
        self._keeps_times = make_parent is not None
        self._owner = owner
        self._parents = parents
        self._standing: str | None = None
        self._stated: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, _: object) -> None:
        try:
            if kind is None:
                self._standing = None
                self.tree.finish()
        except OSError as own:
            error = own
        finally:
            self.tree.close()
        if isinstance(error, OSError):
            if error.errno in FULL_DISK:
                raise full_disk(error, self._what) from error
            why = os.strerror(error.errno or 0)
            raise ImageError(f"cannot unpack {self.name!r} of {self._what}: {why}") from error

    def parent(self, path: str) -> int:
        """The directory `path`, open, made if need be. Valid until the next call."""
        tree = self.tree
        if path == self._standing:
            return tree.fd
        self._standing = None
        try:
            tree.enter(path)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY:
                raise
            tree.enter(self._make_parent(path))
        self._standing = path
        if self._keeps_times or tree.path in self._stated:
            # It was left before, and has the time that it is to have.
            tree.keep_times()
        return tree.fd

    def _follow(self, path: str) -> str:
        for made in makedirs_beneath(self._root_fd, path):
            chown(self._root_fd, made, *self._parents, self._owners)
        return real_path(self._root_fd, path)

    def put(self, entry: TarEntry, reader: TarReader) -> None:
        """Make an entry of any kind. Its name is clean and not the root."""
        self.name = entry.name
        if entry.kind == "link":
            self.link(entry, clean(entry.linkname))
        else:
            self.write(entry, reader.extents())

    def write(self, entry: TarEntry, extents: Iterable[tuple[int, memoryview]]) -> None:
        """Make an entry that is no link. Its name is clean and not the root.

        `extents` are the data of a file, each piece with its place: what is between is a hole.
        """
        folder, _, name = entry.name.rpartition("/")
        self.parent(folder)
        if entry.kind == "file":
            if entry.size > _LARGE_BYTES and not entry.sparse:
                self._check_space(entry)

            def fill(fd: int) -> None:
                _fill(fd, entry.size, extents)

            self.tree.file(name, self._metadata(entry), fill)
        elif entry.kind == "dir":
            self._standing = None
            self.tree.directory(name, self._metadata(entry))
            self._standing = entry.name
            if not self._keeps_times:
                self._stated.add(self.tree.path)
        elif entry.kind == "char" and entry.device == (0, 0):
            self.skipped.append(f"{entry.name}: a device 0:0 is how overlayfs marks a deletion")
        else:
            self._special(name, entry)

    def _special(self, name: str, entry: TarEntry) -> None:
        number = os.makedev(*entry.device)
        try:
            self.tree.special(name, self._metadata(entry), entry.linkname, number)
        except PermissionError:
            if entry.kind not in ("char", "block"):
                raise
            self.skipped.append(f"{entry.name}: making device nodes is not permitted here")

    def write_root(self, entry: TarEntry) -> None:
        """Give the root directory the metadata of its entry, if that is one of a directory: a
        name such as `..` may mean the root, too."""
        if entry.kind == "dir":
            self.parent("")
            self.tree.describe(self._metadata(entry))

    def link(self, entry: TarEntry, target: str) -> None:
        """Make `entry.name` another name of the file `target`, a clean name too.

        The header of a link has an owner and a mode of its own, and what comes last counts, as for
        containerd.
        """
        if entry.name == target:
            raise ImageError(f"{entry.name} is a link to itself")
        folder, _, name = entry.name.rpartition("/")
        above, _, first = target.rpartition("/")
        self.parent(folder)
        try:
            first_fd = open_beneath(self._root_fd, above, os.O_PATH | os.O_DIRECTORY)
            with closing_fd(first_fd):
                self.tree.link(name, first, first_fd)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            # PermissionError is what linking a directory gives.
            raise ImageError(
                f"{entry.name} links to {target}, which is no file of this tree"
            ) from error
        self.tree.restate(name, self._metadata(entry))

    def _metadata(self, entry: TarEntry) -> Metadata:
        uid, gid = self._owner or (entry.uid, entry.gid)
        mode = _TYPES.get(entry.kind, stat.S_IFREG) | entry.mode
        xattrs = entry.xattrs
        if not RECORDS.isdisjoint(xattrs):
            xattrs = {name: value for name, value in xattrs.items() if name not in RECORDS}
        return Metadata(mode, uid, gid, (entry.mtime_ns, entry.mtime_ns), xattrs)

    def _check_space(self, entry: TarEntry) -> None:
        disk = os.fstatvfs(self._root_fd)
        if entry.size > disk.f_bavail * disk.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), entry.name)


def _fill(fd: int, size: int, extents: Iterable[tuple[int, memoryview]]) -> None:
    """Write the data of a new file where it belongs, and leave holes as holes."""
    end = 0
    for offset, piece in extents:
        if offset != end:
            os.lseek(fd, offset, os.SEEK_SET)
        end = offset + len(piece)
        write_all(fd, piece)
    if end < size:
        os.ftruncate(fd, size)
