"""A diff becomes a layer: its changes as a tar, compressed, in the store.

Comes in: the changes of a diff in walk order. Goes out: a blob and its digests. Equal changes
give equal bytes: entries come in the order of the walk (names sorted as bytes), and nothing of
this machine is written, such as inode numbers or names of users.

A deletion is a regular empty file `.wh.NAME` (image-spec layer.md, "Whiteouts"). A directory that
was emptied or created again is written as one whiteout for each old child, as BuildKit does, never
as an opaque one: then the layer means the same on any base. Files that share an inode within the
diff are links to the first of them; sockets have no meaning in an image and are left out. Read
next: `tar_reader`.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from minibuild.errors import raise_if_cancelled
from minibuild.layer.chunk_cache import StoredBlocks
from minibuild.layer.layer import Layer, remember
from minibuild.layer.tar_format import (
    KEPT_XATTRS,
    KINDS,
    WHITEOUT_PREFIX,
    TarEntry,
    header,
    whole_seconds,
)
from minibuild.layer.writer import LayerWriter, changed
from minibuild.linux import owner, xattr
from minibuild.linux.recorded import Records
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression
from minibuild.snapshot.api import Change, Kind

_NO_FILE_NOW = (errno.ENOENT, errno.ELOOP, errno.ENXIO)
"""What open(2) says of a file that is gone, or is a symlink or a socket by now."""


def pack(
    changes: Iterable[Change],
    content: ContentStore,
    *,
    owners: Records | None = None,
    compression: Compression = "gzip",
    level: int | None = None,
    known: StoredBlocks | None = None,
    cancelled: threading.Event | None = None,
) -> Layer:
    """Write a layer and remember it. `owners` are the records of the tree that the changes lead to,
    `known` the blocks that need not be compressed again.

    Raises `StoreError` if the disk is full, `ImageError` if a file changes meanwhile; then
    nothing is left behind.
    """
    with LayerWriter(content, compression, level, known, cancelled) as writer:
        packer = LayerPacker(writer, owners=owners)
        for kind, path, source, *_ in changes:
            raise_if_cancelled(cancelled, "packing a layer")
            if kind is Kind.DELETE:
                packer.whiteout(path)
            elif path:
                packer.add(path, source)
        layer = writer.commit()
    remember(content, layer)
    return layer


class TarOutput(Protocol):
    """What a tar is written to: a `LayerWriter`, or a file."""

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def write_file(self, fd: int, size: int, name: str) -> None:
        """Append the `size` bytes of an open file, and fill the last block of the tar."""


class LayerPacker:
    """Writes entries of files on disk to an output, and keeps track of their inodes.

    `time` makes the time of an entry (nanoseconds) of that of a file. `xattrs` says which
    attributes of a file go with it, `owners` are the records of the tree.
    """

    __slots__ = ("_first_names", "_output", "_owners", "_time", "_xattrs")

    def __init__(
        self,
        output: TarOutput,
        time: Callable[[int], int] = whole_seconds,
        xattrs: "Callable[[int | str], Mapping[str, bytes]] | None" = None,
        owners: Records | None = None,
    ) -> None:
        self._owners = owners
        self._output = output
        self._time = time
        self._xattrs = xattrs or layer_xattrs
        self._first_names: dict[tuple[int, int], str] = {}

    def whiteout(self, path: str) -> None:
        """The entry that hides `path` of the layers below. Its own metadata means nothing."""
        folder, slash, name = path.rpartition("/")
        self._output.write(
            header(TarEntry(folder + slash + WHITEOUT_PREFIX + name, "file", mode=0))
        )

    def add(self, path: str, source: str, found: os.stat_result | None = None) -> None:
        """The entry `path` for what is at `source`, with its data. `found` is what that is, if it
        was looked at."""
        try:
            found = found or owner.seen(os.lstat(source), source, self._owners)
        except FileNotFoundError:
            raise changed(path) from None
        kind = KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return
        mode, mtime_ns = stat.S_IMODE(found.st_mode), self._time(found.st_mtime_ns)
        entry = TarEntry(path, kind, mode, found.st_uid, found.st_gid, 0, mtime_ns)
        if found.st_nlink > 1 and kind != "dir":
            first = self._first_names.setdefault((found.st_dev, found.st_ino), path)
            if first is not path:
                self._output.write(header(entry._replace(kind="link", linkname=first)))
                return
        if kind == "file":
            self._add_file(entry, source, found)
        elif kind == "symlink":
            self._output.write(header(entry._replace(linkname=os.readlink(source))))
        elif kind == "dir":
            self._output.write(header(self._with_xattrs(entry, source)))
        else:
            number = (os.major(found.st_rdev), os.minor(found.st_rdev))
            self._output.write(header(entry._replace(device=number)))

    def _add_file(self, entry: TarEntry, source: str, found: os.stat_result) -> None:
        try:
            fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _NO_FILE_NOW:
                raise
            raise changed(entry.name) from None
        try:
            size = found.st_size
            self._output.write(header(self._with_xattrs(entry, fd)._replace(size=size)))
            if size:
                self._output.write_file(fd, size, entry.name)
        finally:
            os.close(fd)

    def _with_xattrs(self, entry: TarEntry, target: int | str) -> TarEntry:
        kept = self._xattrs(target)
        return entry._replace(xattrs=kept) if kept else entry


def layer_xattrs(target: int | str) -> Mapping[str, bytes]:
    """The attributes of a file that go into a layer of an image."""
    there = xattr.names(target)
    found = ((key, xattr.get(target, key)) for key in KEPT_XATTRS if key in there)
    return {key: value for key, value in found if value is not None}
