"""/proc, /sys and what of them a step may not see or write.

Goes out: detached mounts, opened while this process still sees the machine's own /proc and /sys:
in a user namespace the kernel gives out fresh ones only to who can see whole ones. Then, inside
the rootfs, the masks. Which paths are masked and which read-only is what Docker and BuildKit do
by default; `insecure` leaves all open. See proc(5), mount_namespaces(7), cgroup_namespaces(7).
"""

import errno
import os
import stat

from minibuild.executor.mounts import Detached, clone_mount
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
_CGROUP = "/sys/fs/cgroup"


def open_proc() -> Detached:
    """/proc for this process's pid namespace.

    In a container whose own /proc is masked the kernel refuses a fresh one in a user namespace
    (it would show what is masked); then the container's serves, with its process numbers.
    """
    return Detached("/proc", _fresh("proc", _FLAGS) or _bound("/proc", readonly=False), True)


def open_sys(*, readonly: bool) -> list[Detached]:
    """/sys, and the cgroups in it where the machine has version 2.

    Only who owns the network namespace may mount a fresh /sys; else the machine's is bound,
    read-only with all that is mounted below it.
    """
    flags = _FLAGS | (syscalls.MOUNT_ATTR_RDONLY if readonly else 0)
    fresh = _fresh("sysfs", flags)
    if fresh is None:
        return [Detached("/sys", _bound("/sys", readonly=True), True)]
    found = [Detached("/sys", fresh, True)]
    if os.path.exists(f"{_CGROUP}/cgroup.controllers"):
        cgroup = _fresh("cgroup2", flags)
        # A container may forbid it; then programs find no limits.
        if cgroup is not None:
            found.append(Detached(_CGROUP, cgroup, True))
    return found


def restrict() -> None:
    """Mask and protect what is mounted at /proc and /sys in the rootfs."""
    for path in MASKED:
        try:
            found = os.stat(path)
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode):
            flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
            syscalls.mount("tmpfs", path, "tmpfs", flags, "mode=755")
        else:
            syscalls.mount("/dev/null", path, flags=syscalls.MS_BIND)
    for path in READ_ONLY:
        if os.path.exists(path):
            _attach(_bound(path, readonly=True), path)


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
            attr_set=syscalls.MOUNT_ATTR_RDONLY,
            flags=syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE,
        )
    return fd
