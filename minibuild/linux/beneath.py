"""Paths inside a root whose contents are not ours: symlinks stay inside, nothing is raced.

Comes in: a directory descriptor (`root_fd`) and a path. Goes out: descriptors and metadata. The
kernel resolves (openat2(2) with RESOLVE_IN_ROOT): `..` and absolute symlinks stop at the root,
as they would after chroot(2), also while another process renames directories. Checking a path
first and opening it then cannot do that.

openat2 came with Linux 5.6, older than the overlay features this program needs anyway, so there
is no other way for older kernels. Errors are those of `os`: FileNotFoundError and the like.
Names are str with surrogate escapes, as os.fsdecode gives them. Read next: `xattr`, `owner`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW
_MAX_SYMLINKS = 40
_MAX_OPEN_LEVELS = 64


def open_beneath(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` inside the root, following symlinks there; add O_NOFOLLOW for the last one."""
    return openat2(root_fd, path.lstrip("/") or ".", flags, mode, _RESOLVE)


@contextmanager
def parent_beneath(root_fd: int, path: str) -> Iterator[tuple[int, str]]:
    """The directory that holds the last component of `path`, and that component, unresolved.

    For the root itself, and for paths that end in `.` or `..`, the name is ".".
    """
    head, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        head, name = path, "."
    fd = open_beneath(root_fd, head, os.O_PATH | os.O_DIRECTORY)
    try:
        yield fd, name
    finally:
        os.close(fd)


def lstat_beneath(root_fd: int, path: str) -> os.stat_result:
    """The metadata of `path`, of the symlink if it is one."""
    return _stat(root_fd, path, _PATH_ONLY)


def stat_beneath(root_fd: int, path: str) -> os.stat_result:
    """The metadata of `path`, symlinks followed inside the root."""
    return _stat(root_fd, path, os.O_PATH)


def _stat(root_fd: int, path: str, flags: int) -> os.stat_result:
    fd = open_beneath(root_fd, path, flags)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def exists(root_fd: int, path: str, *, follow_symlinks: bool = True) -> bool:
    """Whether `path` is there. A dangling symlink is, if links are not followed."""
    try:
        _stat(root_fd, path, os.O_PATH if follow_symlinks else _PATH_ONLY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    return True


def makedirs_beneath(root_fd: int, path: str, mode: int = 0o755) -> list[str]:
    """Make the directory `path` and its missing parents; say which were made, outermost first.

    Symlinks on the way are followed inside the root. Where one dangles, its target is made, so
    the paths returned are real ones. The mode is exact: the umask plays no part.
    """
    try:
        os.close(open_beneath(root_fd, path, os.O_PATH | os.O_DIRECTORY))
        return []
    except FileNotFoundError:
        pass
    made: list[str] = []
    pending = _components(path)
    done: list[str] = []  # Real directories only, so that `..` can be taken off by name.
    symlinks = 0
    while pending:
        name = pending.pop(0)
        if name == "..":
            del done[-1:]
            continue
        with parent_beneath(root_fd, "/".join([*done, name])) as (dir_fd, _):
            target = _mkdir_or_readlink(dir_fd, name, mode)
        if target is None or target == "":
            done.append(name)
            if target is None:
                made.append("/".join(done))
            continue
        symlinks += 1
        if symlinks > _MAX_SYMLINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done = []
        pending[:0] = _components(target)
    return made


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _mkdir_or_readlink(dir_fd: int, name: str, mode: int) -> str | None:
    """Make a directory: None if made, "" if it was there, or the target of the symlink there."""
    try:
        os.mkdir(name, mode, dir_fd=dir_fd)
    except FileExistsError:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
        if stat.S_ISLNK(found):
            return os.readlink(name, dir_fd=dir_fd)
        if not stat.S_ISDIR(found):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        return ""
    os.chmod(name, mode, dir_fd=dir_fd)
    return None


class _Level:
    """A directory that is being emptied: its descriptor, what it is, and what is left in it."""

    __slots__ = ("fd", "identity", "left", "name")

    def __init__(self, dir_fd: int, name: str) -> None:
        self.name = name
        self.fd = _open_to_empty(dir_fd, name)
        found = os.fstat(self.fd)
        self.identity = (found.st_dev, found.st_ino)
        self.left: list[str] = []
        with os.scandir(self.fd) as entries:
            directories = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
        for entry, is_directory in directories:
            if is_directory:
                self.left.append(entry)
            else:
                os.unlink(entry, dir_fd=self.fd)

    def reopen_above(self, child: "_Level") -> None:
        """Come back by `..` of the child, and make sure that it is the directory we left."""
        fd = os.open("..", _DIRECTORY | os.O_CLOEXEC, dir_fd=child.fd)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != self.identity:
            os.close(fd)
            raise OSError(errno.EBUSY, "directory moved while it was being removed", self.name)
        self.fd = fd


def _open_to_empty(dir_fd: int, name: str) -> int:
    """Open a directory for emptying, also one whose mode keeps its owner out."""
    flags = _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=dir_fd)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=dir_fd)
        fd = os.open(name, flags, dir_fd=dir_fd)
    if stat.S_IMODE(os.fstat(fd).st_mode) & 0o700 != 0o700 and os.geteuid() != 0:
        os.fchmod(fd, 0o700)
    return fd


def remove_tree(dir_fd: int, name: str) -> bool:
    """Remove `name` and everything in it; symlinks are removed, not followed.

    Missing is fine; says whether anything was there.

    A loop with descriptors: neither recursion nor path length limits how deep it goes, and only
    the innermost levels stay open.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
        return True
    except FileNotFoundError:
        return False
    except (IsADirectoryError, PermissionError):
        # unlink(2) of a directory is EISDIR on Linux, EPERM in POSIX and on some filesystems.
        pass
    levels: list[_Level] = []
    try:
        levels.append(_Level(dir_fd, name))
        while levels:
            level = levels[-1]
            if level.left:
                levels.append(_Level(level.fd, level.left.pop()))
                if len(levels) > _MAX_OPEN_LEVELS:
                    far = levels[-_MAX_OPEN_LEVELS - 1]
                    if far.fd >= 0:
                        os.close(far.fd)
                        far.fd = -1
                continue
            if len(levels) > 1 and levels[-2].fd < 0:
                levels[-2].reopen_above(level)
            os.close(level.fd)
            level.fd = -1
            levels.pop()
            os.rmdir(level.name, dir_fd=levels[-1].fd if levels else dir_fd)
    finally:
        for level in levels:
            if level.fd >= 0:
                os.close(level.fd)
    return True
