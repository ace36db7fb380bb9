"""A cursor in a tree of directories that opens one name at a time and follows no symlink.

Comes in: an open directory, then names. Goes out: open directories. Neither PATH_MAX nor the limit
of open files bounds how deep it goes: far ancestors are closed, and found again by `..`, which has
to be the directory that was left, or the tree was changed under our hands.
"""

import errno
import os

from minibuild.fileop.paths import join

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 64


class _Level:
    __slots__ = ("fd", "identity", "path")

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.identity = (0, 0)


class DirStack:
    """The directories from a root to a place below it. Close it, or use it in a `with`."""

    __slots__ = ("_levels", "root_fd")

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd
        self._levels = [_Level(os.open(".", DIRECTORY, dir_fd=root_fd), "")]

    @property
    def fd(self) -> int:
        """The innermost directory."""
        return self._levels[-1].fd

    @property
    def path(self) -> str:
        """Its path below the root, which is ""."""
        return self._levels[-1].path

    def push(self, name: str) -> int:
        """Open the directory `name` of the innermost one, and stand in it."""
        above = self._levels[-1]
        fd = os.open(name, DIRECTORY, dir_fd=above.fd)
        self._levels.append(_Level(fd, join(above.path, name)))
        if len(self._levels) > _MAX_OPEN:
            self._park(self._levels[-_MAX_OPEN])
        return fd

    def pop(self) -> int:
        """Go back to the directory above, which is returned."""
        left, above = self._levels.pop(), self._levels[-1]
        try:
            if above.fd < 0:
                above.fd = _reopen(left.fd, above)
        finally:
            os.close(left.fd)
        return above.fd

    def enter(self, path: str) -> int:
        """Stand in the directory `path`, by the shortest way from where we are."""
        while not _within(path, self.path):
            self.pop()
        rest = path[len(self.path) :]
        for name in rest.split("/"):
            if name:
                self.push(name)
        return self.fd

    @staticmethod
    def _park(level: _Level) -> None:
        if level.fd >= 0:
            found = os.fstat(level.fd)
            level.identity = (found.st_dev, found.st_ino)
            os.close(level.fd)
            level.fd = -1

    def close(self) -> None:
        """Close all that is open."""
        for level in self._levels:
            if level.fd >= 0:
                os.close(level.fd)
                level.fd = -1

    def __enter__(self) -> "DirStack":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _within(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")


def _reopen(child_fd: int, level: _Level) -> int:
    fd = os.open("..", DIRECTORY, dir_fd=child_fd)
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) != level.identity:
        os.close(fd)
        raise OSError(errno.EBUSY, "a directory was moved while it was being read", level.path)
    return fd
