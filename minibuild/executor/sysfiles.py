"""/proc, /sys and what of them a step may not see or write.

Comes in: the machine's root as a descriptor. Goes out: mounts in the rootfs. Which paths are
masked and which read-only is what Docker and BuildKit do by default; `insecure` leaves all open.
See proc(5), cgroup_namespaces(7).
"""

import errno
import os
import stat

from minibuild.executor.mounts import clone_mount
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
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_CGROUP = "sys/fs/cgroup"


def mount_proc(host_fd: int) -> None:
    """Mount /proc for this process's pid namespace.

    In a container whose own /proc is masked the kernel refuses a fresh one in a user namespace
    (it would show what is masked); then the container's serves, with its process numbers.
    """
    try:
        syscalls.mount("proc", "/proc", "proc", _FLAGS)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        _bind_recursive(host_fd, "proc", "/proc", readonly=False)


def mount_sys(host_fd: int, *, readonly: bool, own_cgroup: bool) -> None:
    """Mount /sys. Only who owns the network namespace may mount a fresh one; else the machine's
    is bound, read-only with all below it."""
    flags = _FLAGS | (syscalls.MS_RDONLY if readonly else 0)
    try:
        syscalls.mount("sysfs", "/sys", "sysfs", flags)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        _bind_recursive(host_fd, "sys", "/sys", readonly=True)
        return
    if own_cgroup and _is_unified(host_fd):
        try:
            syscalls.mount("cgroup", f"/{_CGROUP}", "cgroup2", flags)
        except OSError:
            pass  # A container may forbid it; programs then find no limits, which is true of them.


def restrict(scratch_dir_fd: int) -> None:
    """Mask and protect; `scratch_dir_fd` is an empty directory to hide directories behind."""
    for path in MASKED:
        try:
            found = os.stat(path)
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode):
            _cover(clone_mount(scratch_dir_fd), path, syscalls.MOUNT_ATTR_RDONLY)
        else:
            syscalls.mount("/dev/null", path, flags=syscalls.MS_BIND)
    for path in READ_ONLY:
        if os.path.exists(path):
            fd = clone_mount(syscalls.AT_FDCWD, path, recursive=True)
            _cover(fd, path, syscalls.MOUNT_ATTR_RDONLY)


def _cover(fd: int, path: str, attributes: int) -> None:
    try:
        syscalls.mount_setattr(fd, attr_set=attributes)
        syscalls.move_mount(fd, path)
    finally:
        os.close(fd)


def _bind_recursive(host_fd: int, source: str, target: str, *, readonly: bool) -> None:
    fd = clone_mount(host_fd, source, recursive=True)
    try:
        if readonly:
            syscalls.mount_setattr(
                fd,
                attr_set=syscalls.MOUNT_ATTR_RDONLY,
                flags=syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE,
            )
        syscalls.move_mount(fd, target)
    finally:
        os.close(fd)


def _is_unified(host_fd: int) -> bool:
    """Whether the machine has cgroup version 2 at the usual place."""
    try:
        os.stat(f"{_CGROUP}/cgroup.controllers", dir_fd=host_fd)
    except OSError:
        return False
    return True
