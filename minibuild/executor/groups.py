"""A cgroup for each step: limits, what was used, and an end of all its processes.

Comes in: a `CgroupParent`, in the step server. Goes out: a `StepGroup`, made before the process of
the step, which starts in it. Steps of root have a list of the devices that they may open; it is
given to the group above them, once. See cgroups(7).
"""

import os

from minibuild.errors import HostError
from minibuild.executor import devices
from minibuild.executor.cgroup_parent import CgroupParent
from minibuild.linux import cgroup
from minibuild.linux.cgroup import Hierarchy
from minibuild.linux.descriptors import read_text, write_text
from minibuild.linux.resources import Resources, Setting, settings
from minibuild.startup.tuples import NamedTuple


class MemoryUsage(NamedTuple):
    """How many processes of a step the kernel killed because memory ran out, and the most memory
    that it had. -1 is unknown."""

    oom_kills: int = -1
    peak_bytes: int = -1


class StepGroup:
    """The group of one step, in each tree that counts."""

    __slots__ = ("hierarchies",)

    def __init__(self, hierarchies: tuple[Hierarchy, ...]) -> None:
        self.hierarchies = hierarchies

    def open_unified(self) -> int:
        """The group of version 2, to start a process in; -1 if there is none."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 2:
                return os.open(hierarchy.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return -1

    def enter(self, *, unified: bool) -> None:
        """Move this process into the groups; `unified`: also into that of version 2."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 1 or unified:
                write_text(hierarchy.file("cgroup.procs"), "0")

    def limit(self, resources: Resources) -> None:
        """Set the limits that can be kept here. Raises `HostError` for one that makes no sense."""
        for hierarchy in self.hierarchies:
            for setting in settings(resources, version=hierarchy.version):
                if setting.controller in hierarchy.controllers:
                    _set(hierarchy, setting)

    def usage(self) -> MemoryUsage:
        """What the step used; to be asked before `remove`."""
        for hierarchy in self.hierarchies:
            if "memory" in hierarchy.controllers:
                unified = hierarchy.version == 2
                events = hierarchy.file("memory.events" if unified else "memory.oom_control")
                peak = hierarchy.file("memory.peak" if unified else "memory.max_usage_in_bytes")
                text = read_text(peak).strip()
                return MemoryUsage(cgroup.value(events, "oom_kill"), int(text) if text else -1)
        return MemoryUsage()

    def kill(self) -> None:
        """Kill all processes of the step at once. Where the kernel cannot (before 5.14), the end
        of its pid namespace does it."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 2:
                try:
                    write_text(hierarchy.file("cgroup.kill"), "1")
                except OSError:
                    pass

    def remove(self) -> None:
        """Remove the groups, once no process is left in them."""
        for hierarchy in self.hierarchies:
            cgroup.remove(hierarchy.path)


def _set(hierarchy: Hierarchy, setting: Setting) -> None:
    try:
        write_text(hierarchy.file(setting.file), setting.value)
    except FileNotFoundError:
        if setting.optional:
            return
        raise HostError(
            f"this kernel cannot limit {setting.file}", hint="leave that limit out"
        ) from None
    except OSError as error:
        raise HostError(
            f"the kernel refuses {setting.value} for {setting.file}: {error.strerror}",
            hint=_hint(hierarchy, setting),
        ) from error


def _hint(hierarchy: Hierarchy, setting: Setting) -> str:
    if setting.controller == "cpuset":
        names = (f"{setting.file}.effective", setting.file)
        above = os.path.dirname(hierarchy.path)
        there = next(filter(None, (read_text(f"{above}/{name}").strip() for name in names)), "")
        what = "CPUs" if setting.file == "cpuset.cpus" else "nodes of memory"
        return f"the {what} of this machine are {there}" if there else f"are there such {what}?"
    return "is it too small, or more than a limit of the build itself allows?"


class Groups:
    """Makes the groups of the steps of a server. `guarded`: their devices are on a list, so their
    filesystems need no `nodev`."""

    __slots__ = ("_count", "_place", "guarded")

    def __init__(self, place: CgroupParent, *, sandbox: bool) -> None:
        self._place = place
        self._count = 0
        self.guarded = sandbox and any(devices.guard(tree) for tree in place.hierarchies)

    def make(self) -> StepGroup | None:
        """The group for the next step; None if there is no place for groups."""
        if not self._place.hierarchies:
            return None
        self._count += 1
        made = tuple(tree.below(str(self._count)) for tree in self._place.hierarchies)
        for tree in made:
            os.mkdir(tree.path)
        return StepGroup(made)
