"""The entries of a tar, of any origin, as files below a directory.

Comes in: entries with clean names, and a directory. Goes out: files, with owner, mode, attributes
and times. Nothing outside the directory is touched: parents are opened by the kernel inside it
(`linux.beneath`), and the last component is never followed.

The order for each entry is fixed by the kernel: chown clears set-id bits and file capabilities, so
modes and attributes come after it; writing into a directory changes its time, so the times of
directories come last of all. What stands in the way of an entry is removed first, but for a
directory that an entry only gives new metadata. Read next: `unpack`, `archive`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from minibuild.errors import ImageError
from minibuild.layer.tar_format import TarEntry
from minibuild.linux import device as devices
from minibuild.linux import owner as ownership
from minibuild.linux import xattr
from minibuild.linux.beneath import open_beneath, remove_tree
from minibuild.linux.syscalls import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

_T = TypeVar("_T")

_FOLLOW = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_STRICT = _FOLLOW | RESOLVE_NO_SYMLINKS
_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGE_BYTES = 64 << 20


class EntryWriter:
    """Makes entries below `root_fd`. Call `finish` at the end, and `close` in any case.

    `make_parent` is called with a path that is not a directory (or is reached through symlinks,
    if `strict`), and makes it one. `owner` replaces the owners of all entries. `skipped` tells
    what this host did not permit to make.
    """

    def __init__(
        self,
        root_fd: int,
        make_parent: Callable[[str], None],
        *,
        strict: bool,
        owner: tuple[int, int] | None = None,
    ) -> None:
        self.root_fd = root_fd
        self.skipped: list[str] = []
        self.directory_times: dict[str, int] = {}
        self._make_parent = make_parent
        self._strict = strict
        self._owner = owner
        self._parent_path = ""
        self._parent_fd = -1
        self._births = ownership.Births()

    def close(self) -> None:
        """Close the directory that was kept open."""
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
            self._parent_fd = -1

    def parent(self, path: str) -> int:
        """The directory `path`, open, made if need be. Valid until the next call."""
        if self._parent_fd >= 0 and path == self._parent_path:
            return self._parent_fd
        resolve = _STRICT if self._strict else _FOLLOW
        try:
            fd = openat2(self.root_fd, path or ".", _PATH_DIRECTORY, resolve=resolve)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            self._make_parent(path)
            fd = openat2(self.root_fd, path, _PATH_DIRECTORY, resolve=_FOLLOW)
        self.close()
        self._parent_fd = fd
        self._parent_path = path
        if self._strict and path not in self.directory_times:
            # A directory without an entry of its own keeps the time it has now.
            self.directory_times[path] = os.fstat(fd).st_mtime_ns
        return fd

    def write(self, entry: TarEntry, extents: Iterable[tuple[int, memoryview]]) -> None:
        """Make an entry that is no link. Its name is clean and not the root.

        `extents` are the data of a file, each piece with its place: what is between is a hole.
        """
        folder, _, name = entry.name.rpartition("/")
        dir_fd = self.parent(folder)
        uid, gid = self._owner or (entry.uid, entry.gid)
        if entry.kind == "file":
            self._write_file(dir_fd, name, entry, (uid, gid), extents)
            return
        if entry.kind == "dir":
            self._make_directory(dir_fd, name)
            self.directory_times[entry.name] = entry.mtime_ns
        elif entry.kind == "symlink":
            _make(dir_fd, name, lambda: os.symlink(entry.linkname, name, dir_fd=dir_fd))
        elif not self._make_node(dir_fd, name, entry):
            return
        ownership.chown(dir_fd, name, uid, gid)
        if entry.kind != "symlink":
            os.chmod(name, entry.mode, dir_fd=dir_fd)
        if entry.xattrs:
            xattr.set_all(xattr.at(dir_fd, name), entry.xattrs, tolerant=True)
        if entry.kind != "dir":
            times = (entry.mtime_ns, entry.mtime_ns)
            os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)

    def write_root(self, entry: TarEntry) -> None:
        """Give the root directory the metadata of its entry, if that is one of a directory: a
        name such as `..` may mean the root, too."""
        if entry.kind != "dir":
            return
        uid, gid = self._owner or (entry.uid, entry.gid)
        ownership.chown(self.root_fd, ".", uid, gid)
        os.chmod(".", entry.mode, dir_fd=self.root_fd)
        xattr.set_all(xattr.at(self.root_fd, "."), entry.xattrs, tolerant=True)
        self.directory_times[""] = entry.mtime_ns

    def link(self, entry: TarEntry, target: str) -> None:
        """Make `entry.name` another name of the file `target`, a clean name too."""
        if entry.name == target:
            raise ImageError(f"{entry.name} is a link to itself")
        folder, _, name = entry.name.rpartition("/")
        dir_fd = self.parent(folder)
        above, _, first = target.rpartition("/")
        try:
            first_fd = open_beneath(self.root_fd, above, os.O_PATH | os.O_DIRECTORY)
            try:
                link = partial(os.link, src_dir_fd=first_fd, dst_dir_fd=dir_fd)
                _make(dir_fd, name, lambda: link(first, name, follow_symlinks=False))
            finally:
                os.close(first_fd)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            # PermissionError is what linking a directory gives.
            raise ImageError(
                f"{entry.name} links to {target}, which is no file of this tree"
            ) from error
        self._restate(dir_fd, name, entry)

    def _restate(self, dir_fd: int, name: str, entry: TarEntry) -> None:
        """Give a file the owner and mode that a further name of it states.

        The header of a link has metadata of its own, and what comes last counts, as for
        containerd. Only a difference is written: chown would take file capabilities away.
        """
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        uid, gid = self._owner or (entry.uid, entry.gid)
        if (found.st_uid, found.st_gid) != (uid, gid):
            ownership.chown(dir_fd, name, uid, gid)
        if not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) != entry.mode:
            os.chmod(name, entry.mode, dir_fd=dir_fd)

    def finish(self) -> None:
        """Set the times of directories, of those that are still directories."""
        for path, mtime_ns in self.directory_times.items():
            try:
                fd = openat2(
                    self.root_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY, resolve=_STRICT
                )
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue
                raise
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _write_file(
        self,
        dir_fd: int,
        name: str,
        entry: TarEntry,
        ids: tuple[int, int],
        extents: Iterable[tuple[int, memoryview]],
    ) -> None:
        if entry.size > _LARGE_BYTES and not entry.sparse:
            self._check_space(entry)
        mode = ownership.birth_mode(entry.mode)
        fd = _make(dir_fd, name, lambda: os.open(name, _NEW_FILE, mode, dir_fd=dir_fd))
        try:
            born = self._births.look(self._parent_path, fd, entry.mode)
            _fill(fd, entry.size, extents)
            if born[1:] != ids:
                ownership.fchown(fd, *ids, entry.name)
            if stat.S_IMODE(born[0]) != entry.mode:
                os.fchmod(fd, entry.mode)
            if entry.xattrs:
                xattr.set_all(fd, entry.xattrs, tolerant=True)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _check_space(self, entry: TarEntry) -> None:
        disk = os.fstatvfs(self.root_fd)
        if entry.size > disk.f_bavail * disk.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), entry.name)

    def _make_directory(self, dir_fd: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
        except FileExistsError:
            mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                os.unlink(name, dir_fd=dir_fd)
                os.mkdir(name, 0o700, dir_fd=dir_fd)

    def _make_node(self, dir_fd: int, name: str, entry: TarEntry) -> bool:
        """Make a fifo or device; False if this host does not permit it."""
        if entry.kind == "fifo":
            _make(dir_fd, name, lambda: os.mkfifo(name, 0o600, dir_fd=dir_fd))
            return True
        if entry.device == (0, 0) and entry.kind == "char":
            self.skipped.append(f"{entry.name}: a device 0:0 is how overlayfs marks a deletion")
            return False
        kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
        number = os.makedev(*entry.device)
        try:
            _make(dir_fd, name, lambda: devices.make(dir_fd, name, kind, number, self.root_fd))
        except PermissionError:
            self.skipped.append(f"{entry.name}: making device nodes is not permitted here")
            return False
        return True


def _fill(fd: int, size: int, extents: Iterable[tuple[int, memoryview]]) -> None:
    """Write the data of a new file where it belongs, and leave holes as holes."""
    end = 0
    for offset, piece in extents:
        if offset != end:
            os.lseek(fd, offset, os.SEEK_SET)
        end = offset + len(piece)
        done = os.write(fd, piece)
        while done < len(piece):
            done += os.write(fd, piece[done:])
    if end < size:
        os.ftruncate(fd, size)


def _make(dir_fd: int, name: str, create: Callable[[], _T]) -> _T:
    """Create an entry; if something is there, in its place."""
    try:
        return create()
    except FileExistsError:
        remove_tree(dir_fd, name)
        return create()
