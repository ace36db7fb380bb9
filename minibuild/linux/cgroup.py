"""The cgroups of this process: where they are, and the files in them. See cgroups(7).

Comes in: /proc. Goes out: a `Hierarchy` for each tree of cgroups that this process can see, with
the directory of its own group there. Version 2 is one tree for all controllers; of version 1 there
are several, each with some. A machine can have both: a controller is then in one of them.
Read next: `resources`; then `executor.cgroup_parent`, which makes groups.
"""

import errno
import os

from minibuild.linux.descriptors import read_text
from minibuild.linux.mountinfo import mounts_in
from minibuild.startup.tuples import NamedTuple

_GONE = (errno.ENOENT, errno.ENODEV)


class Hierarchy(NamedTuple):
    """A tree of cgroups. `path` is the directory of a group in it: that of this process, until
    another one is put in its place. `controllers` is what the group can limit."""

    version: int
    controllers: frozenset[str]
    path: str

    def file(self, name: str) -> str:
        """The path of a file of the group."""
        return f"{self.path}/{name}"

    def below(self, name: str) -> "Hierarchy":
        """The group `name` in this one."""
        return self._replace(path=f"{self.path}/{name}")


def hierarchies() -> list[Hierarchy]:
    """All trees that this process may look into, with its own group in each."""
    own = dict(_own_groups(read_text("/proc/self/cgroup")))
    found: dict[str, Hierarchy] = {}
    for mount in mounts_in(read_text("/proc/self/mountinfo")):
        for key, path in own.items():
            if key in found or mount.type != ("cgroup" if key else "cgroup2"):
                continue
            if key and not set(key.split(",")) <= set(mount.options.split(",")):
                continue
            inside = _inside(path, mount.root)
            if inside is not None:
                found[key] = _hierarchy(key, mount.point + inside)
    return list(found.values())


def _hierarchy(key: str, path: str) -> Hierarchy:
    if key:
        return Hierarchy(1, frozenset(key.split(",")), path)
    return Hierarchy(2, frozenset(read_text(f"{path}/cgroup.controllers").split()), path)


def _own_groups(text: str) -> list[tuple[str, str]]:
    """The controllers of each tree (none for version 2), and the group of this process."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    return [(line[1], line[2]) for line in lines if len(line) == 3]


def _inside(path: str, root: str) -> str | None:
    """Where a group is below what is mounted; None if it is elsewhere."""
    if root == "/":
        return path.rstrip("/")
    if path == root or path.startswith(root + "/"):
        return path[len(root) :]
    return None


def value(path: str, key: str) -> int:
    """The number after a key in a file of keys and numbers; 0 where there is none."""
    for line in read_text(path).splitlines():
        name, _, number = line.partition(" ")
        if name == key and number.isdecimal():
            return int(number)
    return 0


def remove(path: str) -> None:
    """Remove a group and those in it. Those with processes stay."""
    try:
        with os.scandir(path) as entries:
            inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in inner:
            remove(name)
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (*_GONE, errno.EBUSY, errno.ENOTEMPTY):
            raise
