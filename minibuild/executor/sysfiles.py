"""/proc, /sys and what of them a step may not see or write.

Goes out: mounts with their masks, made while this process still sees the machine's own
/proc and /sys: in a user namespace the kernel gives out fresh ones only to who can see whole ones.
Which paths are masked and which read-only is what Docker and BuildKit do
by default; `insecure` leaves all open. See proc(5), mount_namespaces(7), cgroup_namespaces(7).

Each step has a /proc of its own, so few calls count there. A bind mount has the flags of what it is
made from: what is to be read-only is bound from something that is, in one call.
"""

import errno
import os

from minibuild.executor.dev import make_node
from minibuild.executor.devices import USUAL
from minibuild.executor.mounts import Scratch
from minibuild.linux import syscalls
from minibuild.linux.cgroup import Hierarchy
from minibuild.linux.descriptors import closing_fd

MASKED_FOLDERS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
MASKED_FILES = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
)
READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
_FLAGS = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC
_BOUND = syscalls.MS_BIND | syscalls.MS_REC


class Masks:
    """What covers a masked path: a `folder` that is empty, and a `file` that is /dev/null. Nothing
    can be written to either, and no owner or mode of them can be changed."""

    __slots__ = ("file", "folder")

    def __init__(self, scratch: Scratch) -> None:
        self.folder = scratch.directory()
        bind_protected(self.folder)
        self.file = scratch.name()
        if make_node(USUAL["null"], self.file):
            # A device is written to on a filesystem that is read-only, too.
            syscalls.mount(self.file, self.file, flags=syscalls.MS_BIND)
            readonly = syscalls.MOUNT_ATTR_RDONLY
            syscalls.mount_setattr(syscalls.AT_FDCWD, self.file, attr_set=readonly, flags=0)
        else:
            self.file = "/dev/null"


def bind_protected(path: str) -> None:
    """Make a mount of what is at `path`, through which nothing can be written."""
    syscalls.mount(path, path, flags=syscalls.MS_BIND)
    protect(path)


def protect(path: str, dir_fd: int = syscalls.AT_FDCWD) -> None:
    """Let nothing be written through the mount at `path`, or `dir_fd` itself, and those below."""
    syscalls.mount_setattr(
        dir_fd,
        path,
        attr_set=_FLAGS | syscalls.MOUNT_ATTR_RDONLY,
        flags=syscalls.AT_RECURSIVE | (0 if path else syscalls.AT_EMPTY_PATH),
    )


def mount_proc(path: str, readonly: str, masks: Masks, *, sandbox: bool) -> None:
    """Mount /proc for this process's pid namespace at `path`.

    In a container whose own /proc is masked the kernel refuses a fresh one in a user namespace
    (it would show what is masked); then the container's serves, with its process numbers.
    `readonly` is an empty directory to be used on the way.
    """
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("proc", path, "proc", flags)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        syscalls.mount("/proc", path, flags=_BOUND)
    if not sandbox:
        return
    syscalls.mount(path, readonly, flags=_BOUND)
    protect(readonly)
    for name in READ_ONLY:
        rest = name.removeprefix("/proc")
        _cover(path + rest, readonly + rest)
    _mask(path, "/proc", masks)


def mount_sys(path: str, masks: Masks, *, sandbox: bool) -> None:
    """Mount /sys at `path`.

    Only who owns the network namespace may mount a fresh /sys; else the machine's is bound,
    read-only with all that is mounted below it.
    """
    flags = _FLAGS | (syscalls.MOUNT_ATTR_RDONLY if sandbox else 0)
    if not _fresh("sysfs", flags, path):
        syscalls.mount("/sys", path, flags=_BOUND)
        protect(path)
    if sandbox:
        _mask(path, "/sys", masks)


def mount_cgroups(sys: str, groups: tuple[Hierarchy, ...], *, sandbox: bool) -> None:
    """Mount the cgroups in the /sys at `sys`, as programs look for their limits there: those of
    this process's cgroup namespace. `groups` are the groups of the step, or none."""
    path = sys + "/fs/cgroup"
    flags = _FLAGS | (syscalls.MOUNT_ATTR_RDONLY if sandbox else 0)
    old = [group for group in groups if group.version == 1]
    try:
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            _fresh("cgroup2", flags, path)
        elif old:
            _fresh("tmpfs", _FLAGS, path)
            for group in old:
                point = f"{path}/{','.join(sorted(group.controllers))}"
                os.mkdir(point)
                syscalls.mount(group.path, point, flags=syscalls.MS_BIND)
                syscalls.mount_setattr(syscalls.AT_FDCWD, point, attr_set=flags, flags=0)
    except OSError:
        pass  # A container may forbid it, in several ways; then programs find no limits.


def _mask(path: str, name: str, masks: Masks) -> None:
    """Hide what is masked of `name`, which is mounted at `path`."""
    for masked in MASKED_FOLDERS:
        if masked.startswith(name):
            _cover(path + masked.removeprefix(name), masks.folder, masks.file)
    for masked in MASKED_FILES:
        if masked.startswith(name):
            _cover(path + masked.removeprefix(name), masks.file, masks.folder)


def _cover(target: str, *sources: str) -> None:
    """Bind the first source that is of the target's kind; what is not there needs no cover."""
    for source in sources:
        try:
            syscalls.mount(source, target, flags=_BOUND)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            if error.errno != errno.ENOTDIR or source is sources[-1]:
                raise
        else:
            return


def _fresh(fstype: str, attributes: int, path: str) -> bool:
    """Mount a filesystem of the kernel; False where this process may not have one."""
    try:
        fd = syscalls.new_filesystem(fstype, attributes=attributes)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        return False
    with closing_fd(fd):
        syscalls.move_mount(fd, path)
    return True
