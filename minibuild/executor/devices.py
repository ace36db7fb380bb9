"""The devices of steps: which are in /dev, and which a step of root may open, as BuildKit has it.

Comes in: a cgroup, in which are those of the steps. Goes out: whether the list is in force there.
A step may make nodes of any device; to open others is refused with EPERM. In a user namespace there
is no such list, and no need of one: there a node that a step made cannot be opened at all.
"""

import os
import stat

from minibuild.linux.cgroup import Hierarchy
from minibuild.linux.descriptors import closing_fd, write_text
from minibuild.startup.tuples import NamedTuple


class DeviceNode(NamedTuple):
    """A device: its numbers, and whether it is one of characters or of blocks. Minor -1: all."""

    major: int
    minor: int
    type: int = stat.S_IFCHR


USUAL = {
    "null": DeviceNode(1, 3),
    "zero": DeviceNode(1, 5),
    "full": DeviceNode(1, 7),
    "random": DeviceNode(1, 8),
    "urandom": DeviceNode(1, 9),
    "tty": DeviceNode(5, 0),
}
"""What is in every /dev."""
INSECURE = {
    "kmsg": DeviceNode(1, 11),
    "cuse": DeviceNode(10, 203),
    "fuse": DeviceNode(10, 229),
    "kvm": DeviceNode(10, 232),
    "net/tun": DeviceNode(10, 200),
    "loop-control": DeviceNode(10, 237),
}
"""What BuildKit gives to steps with `--security=insecure` besides; the kernel may not have all."""

_TERMINALS = (DeviceNode(5, 2), DeviceNode(136, -1))
ALLOWED = (*USUAL.values(), *_TERMINALS, INSECURE["net/tun"])
"""What a confined step may open. runc makes an exception for net/tun."""


def guard(group: Hierarchy) -> bool:
    """Put the list in force for the groups in this one; False where that is impossible."""
    try:
        if group.version == 2:
            return _guard_unified(group)
        return "devices" in group.controllers and _guard_v1(group)
    except OSError:
        return False


def _guard_unified(group: Hierarchy) -> bool:
    from minibuild.linux.bpf import attach_to_group, device_program

    with closing_fd(os.open(group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        attach_to_group(fd, device_program((node.major, node.minor) for node in ALLOWED))
    return True


def _guard_v1(group: Hierarchy) -> bool:
    """Version 1 has files for it. See cgroup-v1/devices.rst."""
    write_text(group.file("devices.deny"), "a")
    rules = [f"c {node.major}:{'*' if node.minor < 0 else node.minor} rwm" for node in ALLOWED]
    for rule in ("c *:* m", "b *:* m", *rules):
        try:
            write_text(group.file("devices.allow"), rule)
        except OSError:
            pass  # Of a container, which has fewer devices itself.
    return True
