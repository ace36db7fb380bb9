"""`type=local`: the files of a result in a directory of the person who built.

Comes in: a tree, open. Goes out: files, owned by the caller, with modes and times of the result.
Files that are there already are replaced if the result has them, and stay if not, unless the
destination is to hold the result and nothing else. Nothing is
followed: a symlink in the destination, where the result has a directory, is replaced, so files
land below the destination and nowhere else. Extended attributes are not written.
"""

import os
import stat
import threading

from minibuild.errors import UsageError, raise_if_cancelled
from minibuild.exporter.destination import write_error
from minibuild.exporter.tar import FILE_MODE, Tree, file_time, walk
from minibuild.linux import device
from minibuild.linux.beneath import remove_tree
from minibuild.linux.contents import Copier
from minibuild.startup.tuples import NamedTuple

_NS = 1_000_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalExport(NamedTuple):
    """How many entries were written, and a sentence for each that this host did not permit."""

    written: int
    skipped: tuple[str, ...]


def export_local(
    tree: Tree,
    dest: str,
    *,
    clamp_epoch: int | None = None,
    delete: bool = False,
    cancelled: threading.Event | None = None,
) -> LocalExport:
    """Copy the tree into the directory `dest`, or into its folder there, which is made if need be.

    With `delete`, whatever else is in it goes; places where that is surely a slip are refused.
    """
    if dest == "-":
        raise UsageError("a directory cannot be written to standard output", hint="use type=tar")
    dest = os.path.join(dest, tree.folder) if tree.folder else dest
    if delete:
        _refuse_precious(dest)
    try:
        os.makedirs(dest, exist_ok=True)
        dest_fd = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileExistsError:
        raise UsageError(f"destination {dest} is not a directory") from None
    except OSError as error:
        raise write_error(error, dest) from error
    copy = _Copy(tree.fd, dest_fd, clamp_epoch, delete, cancelled)
    try:
        for path in walk(tree.fd):
            if path not in tree.files:
                copy.add(path)
        copy.finish()
        for name, data in tree.files.items():
            copy.write(name, data)
    except OSError as error:
        raise write_error(error, dest) from error
    finally:
        copy.close()
    return LocalExport(copy.written, tuple(copy.skipped))


def _refuse_precious(dest: str) -> None:
    """No deletion in directories in which people live or work."""
    import pwd

    real, here = os.path.realpath(dest), os.path.realpath(".")
    homes = {os.path.realpath(account.pw_dir) for account in pwd.getpwall()}
    if real.count("/") < 2 or real in homes or os.path.commonpath([real, here]) == real:
        raise UsageError(
            f"mode=delete would remove everything else in {real}",
            hint="name a directory that is for this output alone",
        )


class _Copy:
    """Copies entries in walk order. Keeps the directories from the root to the current one open,
    so no name is ever looked up twice."""

    def __init__(
        self,
        tree_fd: int,
        dest_fd: int,
        clamp_epoch: int | None,
        delete: bool,
        cancelled: threading.Event | None,
    ) -> None:
        self._cancelled = cancelled
        self._copier = Copier(cancelled)
        self.written = 0
        self.skipped: list[str] = []
        self._source = f"/proc/self/fd/{tree_fd}"
        self._epoch = clamp_epoch
        self._clamp_ns = None if clamp_epoch is None else clamp_epoch * _NS
        self._open: list[tuple[str, int, os.stat_result | None]] = [("", dest_fd, None)]
        self._links: dict[tuple[int, int], str] = {}
        self._delete = delete
        self._sweep("", dest_fd)

    def close(self) -> None:
        """Close all directories."""
        for _, fd, _ in self._open:
            os.close(fd)
        self._open = []

    def finish(self) -> None:
        """Leave all directories, which gives them their modes and times."""
        while len(self._open) > 1:
            self._leave()

    def write(self, name: str, data: bytes) -> None:
        """A new file in the destination itself."""
        (_, dest_fd, _), *_ = self._open
        remove_tree(dest_fd, name)
        fd = os.open(name, _NEW_FILE, FILE_MODE, dir_fd=dest_fd)
        with open(fd, "wb", buffering=0) as file:
            file.write(data)
            time_ns = file_time(self._epoch) * _NS
            os.utime(fd, ns=(time_ns, time_ns))
        self.written += 1

    def add(self, path: str) -> None:
        """Copy one entry."""
        raise_if_cancelled(self._cancelled, "writing an output")
        source = f"{self._source}/{path}"
        found = device.seen(os.lstat(source), source)
        folder, _, name = path.rpartition("/")
        while self._open[-1][0] != folder:
            self._leave()
        dir_fd = self._open[-1][1]
        if stat.S_ISDIR(found.st_mode):
            self._enter(path, name, dir_fd, found)
        elif not self._linked(path, name, dir_fd, found):
            remove_tree(dir_fd, name)
            if not self._make(source, name, dir_fd, found):
                return
        self.written += 1

    def _enter(self, path: str, name: str, dir_fd: int, found: os.stat_result) -> None:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
        except OSError:
            remove_tree(dir_fd, name)
            os.mkdir(name, 0o700, dir_fd=dir_fd)
            fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
        # Writable for us until everything is in it.
        os.fchmod(fd, stat.S_IMODE(found.st_mode) | 0o700)
        self._open.append((path, fd, found))
        self._sweep(path, fd)

    def _sweep(self, path: str, fd: int) -> None:
        """Remove from a directory what that of the result does not have."""
        for name in os.listdir(fd) if self._delete else ():
            if not os.path.lexists(f"{self._source}/{path}/{name}"):
                remove_tree(fd, name)

    def _leave(self) -> None:
        _, fd, found = self._open.pop()
        assert found is not None
        os.fchmod(fd, stat.S_IMODE(found.st_mode))
        os.utime(fd, ns=self._times(found))
        os.close(fd)

    def _linked(self, path: str, name: str, dir_fd: int, found: os.stat_result) -> bool:
        """Make another name of a file that was copied, if this is one."""
        if found.st_nlink < 2 or not stat.S_ISREG(found.st_mode):
            return False
        first = self._links.setdefault((found.st_dev, found.st_ino), path)
        if first == path:
            return False
        remove_tree(dir_fd, name)
        # No component can be a symlink: all of them were made, or entered, by this export.
        os.link(first, name, src_dir_fd=self._open[0][1], dst_dir_fd=dir_fd, follow_symlinks=False)
        return True

    def _make(self, source: str, name: str, dir_fd: int, found: os.stat_result) -> bool:
        mode = found.st_mode
        if stat.S_ISREG(mode):
            self._make_file(source, name, dir_fd, found)
            return True
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), name, dir_fd=dir_fd)
        elif stat.S_ISSOCK(mode):
            return False
        else:
            if not self._make_node(name, dir_fd, found):
                return False
            os.chmod(name, stat.S_IMODE(mode), dir_fd=dir_fd)
        os.utime(name, ns=self._times(found), dir_fd=dir_fd, follow_symlinks=False)
        return True

    def _make_node(self, name: str, dir_fd: int, found: os.stat_result) -> bool:
        kind = stat.S_IFMT(found.st_mode)
        try:
            os.mknod(name, kind | 0o600, found.st_rdev, dir_fd=dir_fd)
        except PermissionError:
            try:
                device.make_placeholder(dir_fd, name, kind, found.st_rdev)
            except PermissionError:
                self.skipped.append(f"{name}: making device nodes is not permitted here")
                return False
            what = "an empty file with the device's numbers in its attributes"
            self.skipped.append(f"{name}: making device nodes is not permitted here: it is {what}")
        return True

    def _make_file(self, source: str, name: str, dir_fd: int, found: os.stat_result) -> None:
        source_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=dir_fd)
            try:
                self._copier.copy(source_fd, fd, found.st_size)
                os.fchmod(fd, stat.S_IMODE(found.st_mode))
                os.utime(fd, ns=self._times(found))
            finally:
                os.close(fd)
        finally:
            os.close(source_fd)

    def _times(self, found: os.stat_result) -> tuple[int, int]:
        mtime_ns = found.st_mtime_ns
        if self._clamp_ns is not None:
            mtime_ns = min(mtime_ns, self._clamp_ns)
        return mtime_ns, mtime_ns
