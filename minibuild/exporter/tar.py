"""`type=tar`: the files of a result as one tar, as a container of it would see them.

Comes in: a tree, open. Goes out: a tar with owners, modes and times; no whiteouts, for there is
nothing below. Files that share an inode are links. Of extended attributes it has those of a layer,
and `user.*`, as in BuildKit.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from minibuild.exporter.destination import OutputFile, open_destination
from minibuild.fileop.walk import walk
from minibuild.layer.pack import LayerPacker, layer_xattrs
from minibuild.layer.tar_format import END, TarEntry, header, padding, small_file, whole_seconds
from minibuild.layer.writer import changed
from minibuild.linux import xattr
from minibuild.linux.contents import extents
from minibuild.linux.device import PLACEHOLDER
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

FILE_MODE = 0o600
"""The mode of a file that the export itself makes, as BuildKit has it."""

_CHUNK_BYTES = 1 << 20


class OutputTree(NamedTuple):
    """The files of one result: the folder for them (empty: the top), the directory that they are
    in, open, and further files of its top, which take the place of those with the same names; and
    the records of the tree, where owners are recorded."""

    folder: str
    fd: int
    files: Mapping[str, bytes] = {}
    owners: "Records | None" = None


def export_tar(
    trees: Iterable[OutputTree],
    dest: str,
    *,
    epoch: int | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write trees to the file `dest` (`-`: standard output). With an epoch all has that time. The
    folders of platforms have no other, so it is that of 1970, as in BuildKit."""
    time_ns = file_time(epoch) * 10**9
    with open_destination(dest, cancelled) as file:
        output = _FileOutput(file)
        for folder, tree_fd, files, owners in trees:
            packer = LayerPacker(
                output, whole_seconds if epoch is None else lambda _: time_ns, _tar_xattrs, owners
            )
            if folder:
                file.write(header(TarEntry(folder, "dir", 0o755, mtime_ns=(epoch or 0) * 10**9)))
            prefix = folder + "/" if folder else ""
            for found in walk(tree_fd, owners=owners):
                if found.path not in files:
                    packer.add(prefix + found.path, found.place, found.stat)
            for name, data in files.items():
                entry = TarEntry(prefix + name, "file", FILE_MODE, mtime_ns=time_ns)
                file.write(small_file(entry, data))
        file.write(END)


def user_xattrs(target: xattr.Target) -> dict[str, bytes]:
    """The attributes `user.*` of a file, without what minibuild notes in them."""
    ours = (*xattr.RECORDS, PLACEHOLDER)
    found = sorted(xattr.get_all(target).items())
    return {k: v for k, v in found if k.startswith("user.") and k not in ours}


def _tar_xattrs(target: int | str) -> Mapping[str, bytes]:
    return {**layer_xattrs(target), **user_xattrs(target)}


def file_time(epoch: int | None) -> int:
    """The time of a file that the export itself makes."""
    return int(time.time()) if epoch is None else epoch


class _FileOutput:
    """A file as a `TarOutput`."""

    def __init__(self, file: OutputFile) -> None:
        self._file = file
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def write_file(self, fd: int, size: int, name: str) -> None:
        position = 0
        for start, end in extents(fd, size):
            self._file.skip(start - position)
            position = start
            while position < end:
                room = self._buffer[: min(end - position, _CHUNK_BYTES)]
                count = os.preadv(fd, [room], position)
                if not count:
                    raise changed(name)
                position += self._file.write(room[:count])
        self._file.skip(size - position)
        self._file.write(bytes(padding(size)))
