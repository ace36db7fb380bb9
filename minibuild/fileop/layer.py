"""A layer as a sink: planned entries as a tar, straight from the files that a copy reads.

Comes in: entries, and the tree they go onto (or none). Goes out: the tar that packing the tree
would give: the same entries in the same order, with directories of the base before what is put
into them. Making 20,000 small files takes seconds, packing them half a second; and if no step reads
the copy, the tree is never needed.

Where the entries do not say what the tree would be, `Unplannable` is raised, and the caller writes
the tree: several sources that do not come in the order of a walk, a file in place of another,
archives, devices, owners that this user namespace does not have.
Rules of the tar: see `layer.pack`. Read next: `layer.writer`.
"""

import hashlib
import os
import stat
import time
from collections.abc import Sequence

from minibuild.fileop.api import Archive, Entry, Planned, Sink, capability_words, unreadable
from minibuild.fileop.dest import InMemory, Unplannable
from minibuild.fileop.walk import FoundFile
from minibuild.layer import tar_format as tarformat
from minibuild.layer.tar_format import KEPT_XATTRS, file_header, header
from minibuild.layer.writer import LayerWriter
from minibuild.linux import xattr
from minibuild.linux.beneath import join, lstat, parents
from minibuild.linux.contents import READ
from minibuild.linux.owner import mapped_ids
from minibuild.linux.xattr import CAPABILITY

_PLAIN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO)


class LayerSink(Sink):
    """Writes entries as a tar, onto the tree `base_fd` (None: nothing), which is only read.

    `dest` is the tree as it would be. `touched` are directories of the base that get a new name,
    and with it the time `now_ns`. With `hashing` the data of files is hashed, too.
    """

    def __init__(
        self, writer: LayerWriter, base_fd: int | None = None, *, hashing: bool = False
    ) -> None:
        self._writer = writer
        self._base_fd = base_fd
        self._hashing = hashing
        self.dest = InMemory(base_fd)
        self.digest = b""
        self.now_ns = time.time_ns()
        self._ids = mapped_ids()
        self._above = self._name = ""
        self._written: set[str] = {""}
        self._untouched: set[str] = set()
        self.touched: list[str] = []

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Write one entry. Raises `Unplannable`."""
        if not self.takes(entry):
            return
        assert isinstance(entry, Entry)
        if entry.is_read:
            self._open_file(entry)
        else:
            self.write(entry)

    def takes(self, entry: Planned) -> bool:
        """Whether the layer has an entry for this, which is then to be written next. Directories
        of the base that come before it are written here. Raises `Unplannable`."""
        if isinstance(entry, Archive):
            raise Unplannable("what an archive holds is not known before it is unpacked")
        if self._follows(entry):
            return True
        self._check(entry)
        below = self.dest.add(entry)
        if stat.S_ISDIR(entry.mode):
            if below and entry.keep:
                return False  # There already; written if something is put into it.
            self._parents(entry.path, new=not below)
            self._written.add(entry.path)
        elif below:
            raise Unplannable("a file takes the place of another")
        else:
            self._parents(entry.path, new=True)
        self._stand(entry.path)
        return True

    def _stand(self, path: str) -> None:
        """Note where the last entry was put."""
        self._above, _, self._name = path.rpartition("/")

    def _follows(self, entry: Entry) -> bool:
        """Whether an entry needs no further look: a file like most, the next one by its name in a
        directory that is new with this layer, so nothing is there before it. The destination is
        not told of it: whatever would come to the same place is out of order."""
        above, _, name = entry.path.rpartition("/")
        if above != self._above or name <= self._name or not self.dest.is_new(above):
            return False
        if not entry.is_read or not (name.isascii() and self._name.isascii()):
            return False
        if entry.uid >= self._ids[0] or entry.gid >= self._ids[1]:
            return False
        self._name = name
        return True

    def _check(self, entry: Entry) -> None:
        """Raise if the tree would not be what the entry says, or be walked in another order."""
        if _place(entry.path) <= _place(join(self._above, self._name)):
            raise Unplannable("the sources are not in the order of a walk")
        if stat.S_IFMT(entry.mode) not in _PLAIN:
            raise Unplannable("a device may need a stand-in")
        if entry.uid >= self._ids[0] or entry.gid >= self._ids[1]:
            raise Unplannable("an owner is not mapped here")

    def _parents(self, path: str, *, new: bool) -> None:
        """The directories of the base above a path, as they will be: a new name changes the time
        of the directory it is put into."""
        above = path.rpartition("/")[0]
        if above in self._untouched and new:
            raise Unplannable("a directory was written before its time changed")
        if above in self._written:
            return
        assert self._base_fd is not None
        for folder in parents(above):
            if folder in self._written:
                continue
            found = lstat(self._base_fd, folder)
            assert found is not None
            changed = new and folder == above
            mtime_ns = self.now_ns if changed else found.st_mtime_ns
            self._written.add(folder)
            if changed:
                self.touched.append(folder)
            else:
                self._untouched.add(folder)
            mode = stat.S_IMODE(found.st_mode)
            entry = tarformat.TarEntry(folder, "dir", mode, found.st_uid, found.st_gid, 0, mtime_ns)
            self._writer.write(header(entry))

    def write(self, entry: Entry) -> None:
        """An entry whose data is known, or that has none."""
        kind = "link" if entry.hardlink else tarformat.KINDS[stat.S_IFMT(entry.mode)]
        data = entry.data if kind == "file" else None
        self._writer.write(header(self._made(entry, kind, len(data or b""))))
        if data:
            self._writer.write(data + bytes(tarformat.padding(len(data))))

    def _made(self, entry: Entry, kind: tarformat.Kind, size: int) -> tarformat.TarEntry:
        return tarformat.TarEntry(
            entry.path,
            kind,
            stat.S_IMODE(entry.mode),
            entry.uid,
            entry.gid,
            size,
            self.now_ns if entry.mtime_ns is None else entry.mtime_ns,
            entry.target,
        )

    def _file_header(self, entry: Entry) -> bytes:
        mtime_ns = self.now_ns if entry.mtime_ns is None else entry.mtime_ns
        mode = entry.mode & 0o7777
        return file_header(entry.path, mode, entry.uid, entry.gid, entry.size, mtime_ns)

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
        sha = hashlib.sha256() if self._hashing else None
        if entry.size:
            self._writer.write_file(fd, entry.size, entry.path, copy_fd, sha)
        if sha is not None:
            if CAPABILITY in kept:
                sha.update(capability_words(kept[CAPABILITY]))
            self.digest = sha.digest()


def _place(path: str) -> bytes:
    """What sorts like a walk, which has a directory and then all that is in it: `/` comes before
    every other character."""
    return os.fsencode(path).replace(b"/", b"\0")
