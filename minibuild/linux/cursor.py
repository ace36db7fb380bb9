"""A cursor in a tree of directories: it opens one name at a time and follows no symlink.

Comes in: an open directory, then names. Goes out: open directories, all below the first one.
Neither PATH_MAX nor the limit of open files bounds how deep it goes: directories far above are
closed, and found again by `..`. That has to be the directory that was left, or another process has
moved one of them, and the way back could lead out of the tree. Read next: `tree_writer`.
"""

import errno
import os
from typing import Self

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 64


class Level:
    """A directory on the way: its descriptor or, since that is closed, what it was."""

    __slots__ = ("fd", "identity", "name")

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.identity: tuple[int, int] | None = None


class Cursor:
    """The directories from a root to a place below it. Close it, or use it in a `with`.

    `fd` is the directory where it stands, and `path` its path below the root, which is "".
    """

    __slots__ = ("_levels", "fd", "path", "root_fd")

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd
        self.fd = os.open(".", DIRECTORY, dir_fd=root_fd)
        self.path = ""
        self._levels = [self.level(self.fd, "")]

    def level(self, fd: int, name: str) -> Level:
        """What is kept of a directory while the cursor is in it or below it."""
        return Level(fd, name)

    def leave(self, level: Level) -> None:
        """Called with a directory that the cursor leaves for the one above, still open."""

    def push(self, name: str) -> int:
        """Open the directory `name` of the one where it stands, and stand in it."""
        fd = os.open(name, DIRECTORY, dir_fd=self.fd)
        levels = self._levels
        levels.append(self.level(fd, name))
        self.fd, self.path = fd, f"{self.path}/{name}" if self.path else name
        if len(levels) > _MAX_OPEN:
            _park(levels[-1 - _MAX_OPEN])
        return fd

    def pop(self) -> int:
        """Go back to the directory above, which is returned."""
        left, above = self._levels.pop(), self._levels[-1]
        try:
            self.leave(left)
            if above.identity is not None:
                _reopen(left.fd, above)
        finally:
            os.close(left.fd)
        self.fd, self.path = above.fd, self.path[: -len(left.name) - 1]
        return above.fd

    def enter(self, path: str) -> int:
        """Stand in the directory `path`, by the shortest way from where it is."""
        while not _within(path, self.path):
            self.pop()
        for name in path[len(self.path) :].split("/"):
            if name:
                self.push(name)
        return self.fd

    def close(self) -> None:
        """Close all that is open."""
        for level in self._levels:
            if level.identity is None:
                os.close(level.fd)
        self._levels.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _within(path: str, directory: str) -> bool:
    return not directory or path == directory or path.startswith(directory + "/")


def _park(level: Level) -> None:
    if level.identity is None:
        found = os.fstat(level.fd)
        level.identity = (found.st_dev, found.st_ino)
        os.close(level.fd)


def _reopen(child_fd: int, level: Level) -> None:
    fd = os.open("..", DIRECTORY, dir_fd=child_fd)
    found = os.fstat(fd)
    if (found.st_dev, found.st_ino) != level.identity:
        os.close(fd)
        raise OSError(errno.EBUSY, "a directory was moved while this one was read", level.name)
    level.fd, level.identity = fd, None
