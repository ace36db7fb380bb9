"""A minimal /dev in memory: what every program may expect, and no device of this machine.

Comes in: the machine's devices, opened before the rootfs is entered. Goes out: a mounted /dev, as
the OCI runtime spec (config-linux.md, "Default Devices") lists it, without a console unless there
is a terminal.

Nothing in a rootfs may be used as a device: a step may call mknod(2), and no device cgroup keeps
it from the machine's disks. So all its filesystems are mounted `nodev`, and the few harmless
devices are bound from the machine, each a mount of its own. In a user namespace there is no other
way anyway: mknod(2) is refused.
"""

import os

from minibuild.executor.mounts import Detached, clone_mount
from minibuild.linux import syscalls

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
    "ptmx": "pts/ptmx",
}
DEFAULT_SHM_BYTES = 64 * 1024 * 1024
_TTY_GROUP = 5
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NOEXEC


def open_devices() -> list[Detached]:
    """The machine's devices that a step gets, as detached mounts."""
    return [
        Detached(f"/dev/{name}", clone_mount(syscalls.AT_FDCWD, f"/dev/{name}"), False)
        for name in DEVICES
    ]


def mount_dev(devices: list[Detached], *, shm_size_bytes: int, single_id: bool) -> None:
    """Mount /dev in the rootfs that this process has entered."""
    nodev = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", "/dev", "tmpfs", nodev, "mode=755,size=65536k")
    for device in devices:
        os.close(os.open(device.target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        syscalls.move_mount(device.fd, device.target)
        os.close(device.fd)
    for name, target in LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for name, mode in (("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)):
        os.mkdir(f"/dev/{name}", mode)
    options = "newinstance,ptmxmode=0666,mode=0620"
    if not single_id:
        options += f",gid={_TTY_GROUP}"
    syscalls.mount("devpts", "/dev/pts", "devpts", _FLAGS, options)
    size = shm_size_bytes or DEFAULT_SHM_BYTES
    flags = _FLAGS | syscalls.MS_NODEV
    syscalls.mount("shm", "/dev/shm", "tmpfs", flags, f"mode=1777,size={size}")
    try:
        syscalls.mount("mqueue", "/dev/mqueue", "mqueue", flags)
    except OSError:
        pass  # A kernel without POSIX message queues.
