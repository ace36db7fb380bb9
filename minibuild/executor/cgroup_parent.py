"""Where the cgroups of steps are made: below the group of this process, if the host lets us.

Comes in: which controllers are wanted. Goes out: a `CgroupParent`, plain data for the step server,
held by a `Claim`. Steps stay below the group of the build, so a limit that is set on the build
holds for them, too.

In version 1 each controller has a tree of its own, and any group may have groups in it. Version 2
has conditions: see `unified`. Without any controller a group of version 2 still decides which
devices are opened, and all its processes can be killed at once: root of the machine makes one for
that.

A claim is an open directory with a lock. Groups whose claim is gone are empty, and removed by the
next process that looks. Read next: `groups`, which makes one for each step.
"""

import itertools
import os
from contextlib import suppress

from minibuild.executor import unified
from minibuild.linux import cgroup
from minibuild.linux.cgroup import Hierarchy
from minibuild.linux.descriptors import closing_fd, read_text, write_text
from minibuild.startup.tuples import NamedTuple
from minibuild.store.flock import lock_folder

_PREFIX = "minibuild-"
_numbers = itertools.count(1)


class CgroupParent(NamedTuple):
    """Groups in which a group for each step is made, one in each tree that counts. `controllers`
    of each are those that the groups of steps have."""

    hierarchies: tuple[Hierarchy, ...] = ()

    @property
    def controllers(self) -> frozenset[str]:
        """What can be limited and counted here."""
        return frozenset().union(*(h.controllers for h in self.hierarchies))


class Claim:
    """A place that is held. Call `release` when no step runs there any more."""

    __slots__ = ("_locks", "place")

    def __init__(self, place: CgroupParent, locks: list[int]) -> None:
        self.place = place
        self._locks = locks

    def release(self) -> None:
        """Remove the groups, and leave that above them as it was."""
        for hierarchy in self.place.hierarchies:
            cgroup.remove(hierarchy.path)
            above = os.path.dirname(hierarchy.path)
            if hierarchy.version == 2 and not unified.is_unit(above):
                try:
                    unified.hand_back(above)
                except OSError as error:
                    if error.errno not in unified.REFUSED:
                        raise
        for fd in self._locks:
            os.close(fd)
        self._locks.clear()


def claim(wanted: frozenset[str], *, insist: bool, root: bool) -> Claim:
    """A place for steps that are to have the `wanted` controllers, as many of them as can be had;
    nowhere, if none can. `insist` takes the trouble to get them, `root` says that this process is
    root of the machine.

    Without insisting none of version 1 is used but where there is no version 2, to guard devices:
    to move a process into a group there can take ten milliseconds.
    """
    found: list[Hierarchy] = []
    trees = cgroup.hierarchies()
    if root and all(tree.version == 1 for tree in trees):
        wanted |= {"devices"}
        insist = True
    for tree in trees:
        use = wanted & tree.controllers
        if tree.version == 2:
            group = unified.prepare(tree, use, missing=wanted, insist=insist, root=root)
            if group is not None:
                found.append(group)
        elif use and insist:
            found.append(tree._replace(controllers=use))
    return _claimed(found)


def _claimed(hierarchies: list[Hierarchy]) -> Claim:
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    made, locks = [], []
    for hierarchy in hierarchies:
        sweep(hierarchy.path)
        group = hierarchy.below(name)
        try:
            locks.append(_make(group.path))
            _hand_on(group)
        except OSError as error:
            cgroup.remove(group.path)
            if error.errno not in unified.REFUSED:
                raise
        else:
            made.append(group)
    return Claim(CgroupParent(tuple(made)), locks)


def _make(path: str) -> int:
    """Make a group and lock it: a sweep between the two removes it, so it is tried again."""
    os.mkdir(path)
    while (fd := lock_folder(path, wait=True)) is None:
        os.mkdir(path)
    return fd


def _hand_on(group: Hierarchy) -> None:
    """Let the groups in this one have its controllers."""
    if group.version == 2:
        unified.enable(group.path, group.controllers)
    elif "cpuset" in group.controllers:
        # In version 1 a new set of CPUs is empty, and no process can enter it.
        for file in ("cpuset.cpus", "cpuset.mems"):
            above = os.path.dirname(group.path)
            write_text(group.file(file), read_text(f"{above}/{file}").strip())
        write_text(group.file("cgroup.clone_children"), "1")


def sweep(path: str) -> None:
    """Remove the groups that claims left behind here."""
    try:
        names = [name for name in os.listdir(path) if name.startswith(_PREFIX)]
    except OSError:
        return
    for name in names:
        with suppress(OSError):  # It is in use, or not ours.
            if (fd := lock_folder(f"{path}/{name}")) is not None:
                with closing_fd(fd):
                    cgroup.remove(f"{path}/{name}")
