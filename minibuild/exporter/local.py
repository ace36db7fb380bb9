"""`type=local`: the files of a result in a directory of the person who built.

Comes in: a tree, open. Goes out: files, owned by the caller, with modes and times of the result.
Files that are there already are replaced if the result has them, and stay if not, unless the
destination is to hold the result and nothing else. Nothing is
followed: a symlink in the destination, where the result has a directory, is replaced, so files
land below the destination and nowhere else. Of extended attributes only
`user.*` are written, if the filesystem takes them: an owner of its own takes capabilities away.
"""

import os
import stat
import threading
from contextlib import suppress

from minibuild.errors import UsageError, raise_if_cancelled
from minibuild.exporter.destination import write_error
from minibuild.exporter.tar import FILE_MODE, OutputTree, file_time, user_xattrs
from minibuild.fileop.walk import FoundFile, walk
from minibuild.linux.beneath import remove_tree
from minibuild.linux.contents import READ, Copier, write_all
from minibuild.linux.cursor import Cursor
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.tree_writer import Metadata, TreeWriter, replace

_ATTRIBUTED = (stat.S_IFREG, stat.S_IFDIR)
_NS = 1_000_000_000


def export_local(
    tree: OutputTree,
    dest: str,
    *,
    epoch: int | None = None,
    delete: bool = False,
    cancelled: threading.Event | None = None,
) -> list[str]:
    """Copy the tree into the directory `dest`, or into its folder there, which is made if need be.
    Returns a sentence for each entry that this host did not permit.

    With `delete`, whatever else is in it goes; places where that is surely a slip are refused.
    """
    if dest == "-":
        raise UsageError("a directory cannot be written to standard output", hint="use type=tar")
    dest = os.path.join(dest, tree.folder) if tree.folder else dest
    if delete:
        refuse_precious(dest)
    try:
        os.makedirs(dest, exist_ok=True)
        dest_fd = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileExistsError:
        raise UsageError(f"destination {dest} is not a directory") from None
    except OSError as error:
        raise write_error(error, dest) from error
    with closing_fd(dest_fd), TreeWriter(dest_fd, _make_room) as writer:
        copy = _Copy(tree, writer, epoch, delete, cancelled)
        try:
            copy.all_of(tree)
            if tree.folder and epoch is not None:
                os.utime(dest_fd, ns=(epoch * _NS, epoch * _NS))
        except OSError as error:
            raise write_error(error, dest) from error
    return copy.skipped


def _make_room(dir_fd: int, name: str, kind: int) -> bool:
    """As `replace`. A directory that stays is opened for the account: an earlier output may have
    left it without a right to it."""
    if replace(dir_fd, name, kind):
        return True
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with closing_fd(os.open(name, flags, dir_fd=dir_fd)) as fd, suppress(PermissionError):
        os.chmod(f"/proc/self/fd/{fd}", 0o700)  # refused for a directory of another account
    return False


def refuse_precious(dest: str) -> None:
    """No deletion in directories in which people live or work. Raises `UsageError`."""
    import pwd

    real, here = os.path.realpath(dest), os.path.realpath(".")
    homes = {os.path.realpath(account.pw_dir) for account in pwd.getpwall()}
    if real.count("/") < 2 or real in homes or os.path.commonpath([real, here]) == real:
        raise UsageError(
            f"mode=delete would remove everything else in {real}",
            hint="name a directory that is for this output alone",
        )


class _Copy:
    """Writes entries in walk order. -1 as an owner leaves a file to the caller, see chown(2)."""

    def __init__(
        self,
        tree: OutputTree,
        writer: TreeWriter,
        epoch: int | None,
        delete: bool,
        cancelled: threading.Event | None,
    ) -> None:
        self._cancelled = cancelled
        self._copier = Copier(cancelled)
        self.skipped: list[str] = []
        self._source = f"/proc/self/fd/{tree.fd}"
        self._epoch = epoch
        self._writer = writer
        self._links: dict[tuple[int, int], str] = {}
        self._delete = delete

    def all_of(self, tree: OutputTree) -> None:
        """Copy a tree and its further files."""
        self._sweep("")
        for found in walk(tree.fd, owners=tree.owners):
            if found.path not in tree.files:
                self.add(found)
        self._writer.finish()
        for name, data in tree.files.items():
            self.write(name, data)

    def write(self, name: str, data: bytes) -> None:
        """A new file in the destination itself."""
        time_ns = file_time(self._epoch) * _NS
        metadata = Metadata(stat.S_IFREG | FILE_MODE, -1, -1, (time_ns, time_ns))
        self._writer.file(name, metadata, lambda fd: write_all(fd, data))

    def add(self, entry: FoundFile) -> None:
        """Copy one entry."""
        raise_if_cancelled(self._cancelled, "writing an output")
        path, source, found, name = entry.path, entry.place, entry.stat, entry.name
        folder = path.rpartition("/")[0]
        self._writer.enter(folder)
        xattrs = user_xattrs(source) if stat.S_IFMT(found.st_mode) in _ATTRIBUTED else {}
        metadata = Metadata(found.st_mode, -1, -1, self._times(found), xattrs)
        if stat.S_ISDIR(found.st_mode):
            self._writer.directory(name, metadata)
            # Writable for us until everything is in it, also if it was there already.
            os.fchmod(self._writer.fd, stat.S_IMODE(found.st_mode) | 0o700)
            self._sweep(path)
        elif not self._linked(path, name, found):
            if stat.S_ISREG(found.st_mode):
                self._file(source, name, metadata, found.st_size)
            else:
                self._special(source, name, metadata, found)

    def _sweep(self, path: str) -> None:
        """Remove from a directory what that of the result does not have."""
        for name in os.listdir(self._writer.fd) if self._delete else ():
            if not os.path.lexists(f"{self._source}/{path}/{name}"):
                remove_tree(self._writer.fd, name)

    def _linked(self, path: str, name: str, found: os.stat_result) -> bool:
        """Make another name of a file that was copied, if this is one."""
        if found.st_nlink < 2 or not stat.S_ISREG(found.st_mode):
            return False
        first = self._links.setdefault((found.st_dev, found.st_ino), path)
        if first == path:
            return False
        above, _, first_name = first.rpartition("/")
        with Cursor(self._writer.root_fd) as other:
            self._writer.link(name, first_name, other.enter(above))
        return True

    def _file(self, source: str, name: str, metadata: Metadata, size: int) -> None:
        with closing_fd(os.open(source, READ)) as source_fd:
            try:
                self._writer.file(name, metadata, lambda fd: self._copier.copy(source_fd, fd, size))
            except BaseException:  # a full disk, Ctrl-C: none of it, rather than a part
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._writer.fd)
                raise

    def _special(self, source: str, name: str, metadata: Metadata, found: os.stat_result) -> None:
        target = os.readlink(source) if stat.S_ISLNK(found.st_mode) else ""
        try:
            self._writer.special(name, metadata, target, found.st_rdev)
        except PermissionError:
            self.skipped.append(f"{name}: making device nodes is not permitted here")
            return
        made = os.stat(name, dir_fd=self._writer.fd, follow_symlinks=False)
        if stat.S_ISREG(made.st_mode):
            what = "an empty file with the device's numbers in its attributes"
            self.skipped.append(f"{name}: making device nodes is not permitted here: it is {what}")

    def _times(self, found: os.stat_result) -> tuple[int, int]:
        mtime_ns = found.st_mtime_ns
        if self._epoch is not None:
            mtime_ns = self._epoch * _NS
        return mtime_ns, mtime_ns
