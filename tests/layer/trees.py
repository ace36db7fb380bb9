"""Trees on disk for tests of layers: made from a table, read back as one, turned into changes."""

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from minibuild.layer.layer import Layer
from minibuild.layer.pack import pack
from minibuild.layer.unpack import unpack
from minibuild.oci.content import ContentStore
from minibuild.snapshot.api import Change, Kind, Whiteouts
from minibuild.store.layout import Store

TIME_NS = 1_600_000_000_123_456_789


def make(root: str, entries: Mapping[str, Any]) -> str:
    """Files from a table: bytes are a file, `-> x` a symlink, `= x` a hardlink, None a directory,
    `fifo` a fifo. A number after the value in a tuple is the mode."""
    os.makedirs(root, exist_ok=True)
    for path, value in entries.items():
        mode = None
        if isinstance(value, tuple):
            value, mode = value
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if value is None:
            os.makedirs(full, exist_ok=True)
        elif isinstance(value, bytes):
            with open(full, "wb") as file:
                file.write(value)
        elif value == "fifo":
            os.mkfifo(full)
        elif value.startswith("-> "):
            os.symlink(value[3:], full)
        elif value.startswith("= "):
            os.link(os.path.join(root, value[2:]), full)
        if mode is not None:
            os.chmod(full, mode)
    for path in [*walk(root), ""]:
        os.utime(os.path.join(root, path), ns=(TIME_NS, TIME_NS), follow_symlinks=False)
    return root


def walk(root: str, prefix: str = "") -> Iterator[str]:
    """Paths below a root, parents first, sorted as bytes."""
    for name in sorted(os.listdir(os.path.join(root, prefix)), key=os.fsencode):
        path = os.path.join(prefix, name)
        yield path
        if stat.S_ISDIR(os.lstat(os.path.join(root, path)).st_mode):
            yield from walk(root, path)


def additions(root: str) -> list[Change]:
    """The changes from nothing to the tree."""
    return [Change(Kind.ADD, path, os.path.join(root, path)) for path in walk(root)]


def read(root: str) -> dict[str, tuple[Any, ...]]:
    """Everything that a layer keeps of a tree, in whole seconds; files that share an inode have
    equal numbers."""
    found: dict[str, tuple[Any, ...]] = {}
    inodes: dict[int, int] = {}
    for path in walk(root):
        full = os.path.join(root, path)
        info = os.lstat(full)
        data: Any = b""
        if stat.S_ISREG(info.st_mode):
            with open(full, "rb") as file:
                data = file.read()
        elif stat.S_ISLNK(info.st_mode):
            data = os.readlink(full)
        elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
            data = info.st_rdev
        group = 0 if stat.S_ISDIR(info.st_mode) else inodes.setdefault(info.st_ino, len(inodes) + 1)
        found[path] = (info.st_mode, info.st_uid, info.st_gid, int(info.st_mtime), data, group)
    return found


def names(root: str) -> dict[str, Any]:
    """Just the paths, with the data of files and the targets of symlinks."""
    return {
        path: "-> " + value[4]
        if stat.S_ISLNK(value[0])
        else value[4]
        if stat.S_ISREG(value[0])
        else None
        if stat.S_ISDIR(value[0])
        else "whiteout"
        if stat.S_ISCHR(value[0]) and value[4] == 0
        else "special"
        for path, value in read(root).items()
    }


def pack_tree(store: Store, root: str, **options: Any) -> Layer:
    """A layer with everything in a directory."""
    return pack(additions(root), ContentStore(store), **options)


def unpack_into(
    layer: Layer,
    target: str,
    whiteouts: Whiteouts = "plain",
    lower: str | None = None,
) -> tuple[str, ...]:
    """Apply a layer to a directory, which is made if need be."""
    os.makedirs(target, exist_ok=True)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    lower_fd = None if lower is None else os.open(lower, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return unpack(layer, fd, whiteouts, lower_fd)
    finally:
        os.close(fd)
        if lower_fd is not None:
            os.close(lower_fd)
