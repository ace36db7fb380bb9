"""A layer as a sink: planned entries as a tar, straight from the files that a copy reads.

Comes in: entries, and the tree they go onto (or none). Goes out: the tar that packing the tree
would give: the same entries in the same order, with directories of the base before what is put
into them. Making 20,000 small files takes seconds, packing them half a second; and if no step reads
the copy, the tree is never needed.

Where the entries do not say what the tree would be (see `dest`), `Unplannable` is raised, and
the caller writes the tree. Rules of the tar: see `layer.pack`. Read next: `dest`,
`layer.writer`.
"""

import os
import stat
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.digest import sha256_of
from minibuild.fileop.api import Entry, Planned, Sink, capability_words, unreadable
from minibuild.fileop.dest import PlannedTree
from minibuild.fileop.walk import FoundFile
from minibuild.layer import tar_format as tarformat
from minibuild.layer.tar_format import (
    KEPT_XATTRS,
    TarSpan,
    file_header,
    header,
    whole_seconds,
)
from minibuild.layer.writer import LayerWriter
from minibuild.linux import xattr
from minibuild.linux.contents import READ
from minibuild.linux.xattr import CAPABILITY

if TYPE_CHECKING:
    from minibuild.layer.patch import PatchWriter
    from minibuild.linux.recorded import Records


class LayerSink(Sink):
    """Writes entries as a tar, onto the tree `base_fd` (None: nothing), which is only read.
    `owners` are its records, where owners are recorded.

    `plan` is the tree as it would be. Directories of the base that get a new name get the time
    `now_ns`. With `hashing` the data of files is hashed, too. `span` is where in the tar the last
    entry is: it begins and ends there.
    """

    def __init__(
        self,
        writer: "LayerWriter | PatchWriter",
        base_fd: int | None = None,
        *,
        owners: "Records | None" = None,
        hashing: bool = False,
    ) -> None:
        self._writer = writer
        self._hashing = hashing
        self.plan = PlannedTree(base_fd, owners)
        self.digest = b""
        self.now_ns = time.time_ns()
        self._start = 0

    @property
    def span(self) -> TarSpan:
        """Where the last entry is in the tar."""
        return self._start, self._writer.position

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Write one entry. Raises `Unplannable`."""
        if not self.takes(entry):
            return
        assert isinstance(entry, Entry)
        if entry.is_read:
            self._open_file(entry)
        else:
            self.write(entry)

    def repeat(self, entry: Entry, span: TarSpan) -> None:
        """Write one entry that is as it was in the last tar. Raises `Unplannable`."""
        if self.takes(entry):
            self.keep(span)

    def keep(self, span: TarSpan) -> None:
        """Write a piece of the last tar, whatever is in it."""
        assert not isinstance(self._writer, LayerWriter)
        self._writer.repeat(span)

    def takes(self, entry: Planned) -> bool:
        """Whether the layer has an entry for this, which is then to be written next. Directories
        of the base that come before it are written here. Raises `Unplannable`."""
        taken = self.plan.takes(entry)
        for folder, found, time_ns in self.plan.above:
            mtime_ns = whole_seconds(self.now_ns if time_ns is None else time_ns)
            mode = stat.S_IMODE(found.st_mode)
            made = tarformat.TarEntry(folder, "dir", mode, found.st_uid, found.st_gid, 0, mtime_ns)
            self._writer.write(header(made))
        self._start = self._writer.position
        return taken

    def write(self, entry: Entry) -> None:
        """An entry that has no data, or none that is read: that of a socket is an empty file."""
        assert not entry.data
        kind = "link" if entry.hardlink else tarformat.KINDS[stat.S_IFMT(entry.mode)]
        self._writer.write(header(self._made(entry, kind)))

    def _made(self, entry: Entry, kind: tarformat.EntryKind, size: int = 0) -> tarformat.TarEntry:
        return tarformat.TarEntry(
            entry.path,
            kind,
            stat.S_IMODE(entry.mode),
            entry.uid,
            entry.gid,
            size,
            self._time(entry),
            entry.target,
        )

    def _file_header(self, entry: Entry) -> bytes:
        mode, time_ns = entry.mode & 0o7777, self._time(entry)
        return file_header(entry.path, mode, entry.uid, entry.gid, entry.size, time_ns)

    def _time(self, entry: Entry) -> int:
        return whole_seconds(self.now_ns if entry.mtime_ns is None else entry.mtime_ns)

    def _open_file(self, entry: Entry) -> None:
        try:
            fd = os.open(entry.name, READ, dir_fd=entry.dir_fd)
        except PermissionError as error:
            raise unreadable(entry.name, error, entry.dir_fd) from error
        try:
            self.file(entry, fd, xattr.names(fd))
        finally:
            os.close(fd)

    def file(self, entry: Entry, fd: int, attributes: Sequence[str], copy_fd: int = -1) -> None:
        """A file that is open; the names of its attributes are known. Its data also goes into the
        file `copy_fd`, if there is one."""
        kept: dict[str, bytes] = {}
        if attributes:  # Few files have any.
            kept = {key: xattr.get(fd, key) or b"" for key in KEPT_XATTRS if key in attributes}
        if kept:
            made = self._made(entry, "file", entry.size)
            self._writer.write(header(made._replace(xattrs=kept)))
        else:
            self._writer.write(self._file_header(entry))
        sha = sha256_of(entry.size)(b"") if self._hashing else None
        if entry.size:
            self._writer.write_file(fd, entry.size, entry.path, copy_fd, sha)
        if sha is not None:
            if CAPABILITY in kept:
                sha.update(capability_words(kept[CAPABILITY]))
            self.digest = sha.digest()
