"""The devices that a step of root may open, as runc gives them to a container of BuildKit.

Comes in: a cgroup, in which are those of the steps. Goes out: whether the list is in force there.
A step may make nodes of any device; to open others is refused with EPERM. In a user namespace there
is no such list, and no need of one: there a node that a step made cannot be opened at all.
"""

import os

from minibuild.linux.cgroup import Hierarchy, write

# major, minor: null, zero, full, random, urandom, tty, ptmx, all pseudo-terminals, and net/tun, for
# which runc makes an exception.
ALLOWED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1), (10, 200))


def guard(group: Hierarchy) -> bool:
    """Put the list in force for the groups in this one; False where that is impossible."""
    try:
        if group.version == 2:
            return _guard_unified(group)
        return "devices" in group.controllers and _guard_v1(group)
    except OSError:
        return False


def _guard_unified(group: Hierarchy) -> bool:
    from minibuild.linux.bpf import Device, attach_to_group, device_program

    fd = os.open(group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attach_to_group(fd, device_program(Device(*numbers) for numbers in ALLOWED))
    finally:
        os.close(fd)
    return True


def _guard_v1(group: Hierarchy) -> bool:
    """Version 1 has files for it. See cgroup-v1/devices.rst."""
    write(group.file("devices.deny"), "a")
    rules = [f"c {major}:{'*' if minor < 0 else minor} rwm" for major, minor in ALLOWED]
    for rule in ("c *:* m", "b *:* m", *rules):
        try:
            write(group.file("devices.allow"), rule)
        except OSError:
            pass  # Of a container, which has fewer devices itself.
    return True
