"""A copy as a layer: packed straight from the files it reads, and never written out as a tree.

Comes in: the copies of a `File` op, the tree they go onto (or none) and what they read. Goes out:
the tar that packing the tree would give: the same entries in the same order, with directories of
the base before what is put into them. Making 20,000 small files takes seconds, packing them half
a second; and if no step reads the copy, nobody misses the tree.

Where the plan cannot tell what the tree would be, `Unplannable` is raised, and the caller writes
the tree: several sources that do not come in the order of a walk, a file in place of another,
archives, devices, owners that this user namespace does not have.
Rules of the tar: see `layer.pack`. Read next: `plan`.
"""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from minibuild.errors import raise_if_cancelled
from minibuild.fileop.api import Archive, Entry, Planned, Progress, SourceTree
from minibuild.fileop.content_hasher import Witness
from minibuild.fileop.data import CAPABILITY, READ, capability_words
from minibuild.fileop.dest import InMemory, Unplannable, parents
from minibuild.fileop.explain import explained, unreadable
from minibuild.fileop.owner import lookup_owner
from minibuild.fileop.paths import join, lstat
from minibuild.fileop.plan import plan
from minibuild.graph.op import Copy
from minibuild.layer import tar_format as tarformat
from minibuild.layer.pack import KEPT_XATTRS
from minibuild.layer.sink import LayerSink
from minibuild.layer.tar_writer import file_header, header
from minibuild.linux import xattr
from minibuild.linux.owner import mapped_ids

__all__ = ["LayerWriter", "Unplannable", "pack_copies"]

_REPORT_EVERY = 256
_PLAIN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO)


def pack_copies(
    copies: Sequence[Copy],
    base_fd: int | None,
    sources: Mapping[int, SourceTree],
    sink: LayerSink,
    *,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    witness: Witness | None = None,
) -> None:
    """Write the entries of all copies onto `base_fd` (None: nothing) into the sink.

    The witness, if there is one, sees all of it. Raises `Unplannable`, and what `fileop.apply`
    raises.
    """
    dest = InMemory(base_fd)
    writer = LayerWriter(sink, dest, base_fd, progress, cancelled, witness)
    with explained("copying files"):
        for copy in copies:
            owner = None
            if copy.chown:
                names = base_fd is not None and bool(os.listdir(base_fd))
                owner = lookup_owner(-1 if base_fd is None else base_fd, copy.chown, names=names)
            writer.write(plan(copy, sources[copy.input], dest, owner, witness))
        writer.tell()


class LayerWriter:
    """Writes planned entries as a tar, and tells the destination of each, and the witness of the
    digest of each file that is read.

    `touched` are directories of the base that get a new name, and with it the time `now_ns`.
    """

    def __init__(
        self,
        sink: LayerSink,
        dest: InMemory,
        base_fd: int | None,
        progress: Progress | None = None,
        cancelled: threading.Event | None = None,
        witness: Witness | None = None,
    ) -> None:
        self._sink = sink
        self.witness = witness
        self._dest = dest
        self._base_fd = base_fd
        self._progress = progress
        self._cancelled = cancelled
        self.now_ns = time.time_ns()
        self._ids = mapped_ids()
        self._above = self._name = ""
        self._told: set[str] = {""}
        self._untouched: set[str] = set()
        self.touched: list[str] = []
        self._files = 0
        self._size_bytes = 0

    def write(self, entries: Iterator[Planned]) -> None:
        """Write the entries in the order they come."""
        for entry in entries:
            if not self.takes(entry):
                continue
            assert isinstance(entry, Entry)
            if entry.is_read:
                self._file(entry)
            else:
                self.put(entry)
            self._count(entry)

    def takes(self, entry: Planned) -> bool:
        """Whether the layer has an entry for this, which is then to be written next. Directories
        of the base that come before it are written here. Raises `Unplannable`."""
        if isinstance(entry, Archive):
            raise Unplannable("what an archive holds is not known before it is unpacked")
        if self._follows(entry):
            return True
        self._check(entry)
        below = self._dest.add(entry)
        if stat.S_ISDIR(entry.mode):
            if below and entry.keep:
                return False  # There already; told if something is put into it.
            self._parents(entry.path, new=not below)
            self._told.add(entry.path)
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
        if above != self._above or name <= self._name or not self._dest.is_new(above):
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
            raise Unplannable("a directory was told before its time changed")
        if above in self._told:
            return
        assert self._base_fd is not None
        for folder in parents(above):
            if folder in self._told:
                continue
            found = lstat(self._base_fd, folder)
            assert found is not None
            changed = new and folder == above
            mtime_ns = self.now_ns if changed else found.st_mtime_ns
            self._told.add(folder)
            if changed:
                self.touched.append(folder)
            else:
                self._untouched.add(folder)
            mode = stat.S_IMODE(found.st_mode)
            entry = tarformat.Entry(folder, "dir", mode, found.st_uid, found.st_gid, 0, mtime_ns)
            self._sink.write(header(entry))

    def put(self, entry: Entry) -> None:
        """An entry whose data is known, or that has none."""
        kind = "link" if entry.hardlink else tarformat.KINDS[stat.S_IFMT(entry.mode)]
        data = entry.data if kind == "file" else None
        self._sink.write(header(self._made(entry, kind, len(data or b""))))
        if data:
            self._sink.write(data + bytes(tarformat.padding(len(data))))

    def _made(self, entry: Entry, kind: tarformat.Kind, size: int) -> tarformat.Entry:
        return tarformat.Entry(
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

    def _file(self, entry: Entry) -> None:
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
            self._sink.write(header(made._replace(xattrs=kept)))
        else:
            self._sink.write(self._file_header(entry))
        sha = None if self.witness is None else hashlib.sha256()
        if entry.size:
            self._sink.write_file(fd, entry.size, entry.path, copy_fd, sha)
        self._size_bytes += entry.size
        if self.witness is not None and sha is not None:
            if CAPABILITY in kept:
                sha.update(capability_words(kept[CAPABILITY]))
            self.witness.digest = sha.digest()

    def _count(self, entry: Entry) -> None:
        self._files += not stat.S_ISDIR(entry.mode)
        if self._files % _REPORT_EVERY == 0:
            raise_if_cancelled(self._cancelled, "copying files")
            self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        if self._progress is not None and self._files:
            self._progress(self._files, self._size_bytes)


def _place(path: str) -> bytes:
    """What sorts like a walk, which tells a directory and then all that is in it: `/` comes before
    every other character."""
    return os.fsencode(path).replace(b"/", b"\0")
