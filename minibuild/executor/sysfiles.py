"""/proc, /sys and what of them a step may not see or write.

Goes out: detached mounts with their masks, made while this process still sees the machine's own
/proc and /sys: in a user namespace the kernel gives out fresh ones only to who can see whole ones.
Which paths are masked and which read-only is what Docker and BuildKit do
by default; `insecure` leaves all open. See proc(5), mount_namespaces(7), cgroup_namespaces(7).
"""

import errno
import os
import stat

from minibuild.executor.mounts import Scratch, clone_mount
from minibuild.linux import syscalls

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
_FLAGS = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC


def open_proc(scratch: Scratch, *, sandbox: bool) -> int:
    """/proc for this process's pid namespace.

    In a container whose own /proc is masked the kernel refuses a fresh one in a user namespace
    (it would show what is masked); then the container's serves, with its process numbers.
    """
    fresh = _fresh("proc", _FLAGS)
    path = scratch.attach(_bound("/proc", readonly=False) if fresh is None else fresh)
    if sandbox:
        _restrict(path, "/proc", scratch)
    return scratch.take(path)


def open_sys(scratch: Scratch, *, sandbox: bool) -> int:
    """/sys, and the cgroups in it where the machine has version 2.

    Only who owns the network namespace may mount a fresh /sys; else the machine's is bound,
    read-only with all that is mounted below it.
    """
    flags = _FLAGS | (syscalls.MOUNT_ATTR_RDONLY if sandbox else 0)
    fresh = _fresh("sysfs", flags)
    path = scratch.attach(_bound("/sys", readonly=True) if fresh is None else fresh)
    if fresh is not None and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        try:
            cgroup = _fresh("cgroup2", flags)
            if cgroup is not None:
                _attach(cgroup, path + "/fs/cgroup")
        except OSError:
            pass  # A container may forbid it, in several ways; then programs find no limits.
    if sandbox:
        _restrict(path, "/sys", scratch)
    return scratch.take(path)


def _restrict(path: str, name: str, scratch: Scratch) -> None:
    """Mask and protect what is mounted at `path`, and is to be at `name` in the rootfs."""
    nothing = ""
    for masked in (path + m.removeprefix(name) for m in MASKED if m.startswith(name)):
        try:
            found = os.stat(masked)
        except OSError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            syscalls.mount("/dev/null", masked, flags=syscalls.MS_BIND)
            continue
        nothing = nothing or scratch.directory()
        fd = clone_mount(syscalls.AT_FDCWD, nothing)
        syscalls.mount_setattr(fd, attr_set=_FLAGS | syscalls.MOUNT_ATTR_RDONLY)
        _attach(fd, masked)
    for protected in (path + p.removeprefix(name) for p in READ_ONLY if p.startswith(name)):
        if os.path.exists(protected):
            _attach(_bound(protected, readonly=True), protected)


def _attach(fd: int, path: str) -> None:
    try:
        syscalls.move_mount(fd, path)
    finally:
        os.close(fd)


def _fresh(fstype: str, attributes: int) -> int | None:
    """A new mount of a filesystem of the kernel; None where this process may not have one."""
    try:
        fs_fd = syscalls.fsopen(fstype)
        try:
            syscalls.fsconfig_create(fs_fd)
            return syscalls.fsmount(fs_fd, attributes)
        finally:
            os.close(fs_fd)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        return None


def _bound(path: str, *, readonly: bool) -> int:
    fd = clone_mount(syscalls.AT_FDCWD, path, recursive=True)
    if readonly:
        syscalls.mount_setattr(
            fd,
            attr_set=_FLAGS | syscalls.MOUNT_ATTR_RDONLY,
            flags=syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE,
        )
    return fd
