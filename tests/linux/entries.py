"""Entries to be made, and what they are then."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minibuild.linux.tree_writer import Metadata, TreeWriter, times_of

ME = (os.getuid(), os.getgid())
TIMES = (1_234_567_891_234_567_891, 2_345_678_912_345_678_912)
REG, DIR, LNK, FIFO = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO


def looks(kind: int, mode: int, **other: Any) -> Metadata:
    """Metadata of an entry of mine."""
    return Metadata(kind | mode, *ME, TIMES)._replace(**other)


def nothing(_: int) -> None:
    """An empty file."""


def text(data: bytes = b"text") -> Callable[[int], object]:
    """What fills a file."""
    return lambda fd: os.write(fd, data)


def state(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_gid, times_of(found)


MAKES: dict[str, tuple[int, Callable[[TreeWriter, Metadata], object]]] = {
    "file": (REG, lambda tree, made: tree.file("e", made, text())),
    "directory": (DIR, lambda tree, made: tree.directory("e", made)),
    "symlink": (LNK, lambda tree, made: tree.special("e", made, "to")),
    "fifo": (FIFO, lambda tree, made: tree.special("e", made)),
}
