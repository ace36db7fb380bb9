"""A minimal /dev in memory: what every program may expect, and no device of this machine.

Comes in: the machine's devices, before the rootfs is entered. Goes out: a /dev, mounted, as the
OCI runtime spec (config-linux.md, "Default Devices") lists it, without a console unless there
is a terminal.

Nothing in a rootfs may be used as a device: a step may call mknod(2), and no device cgroup keeps
it from the machine's disks. So all its filesystems are mounted `nodev`, and the few harmless
devices are bound from the machine, each a mount of its own. In a user namespace there is no other
way anyway: mknod(2) is refused.
"""

import os
import stat

from minibuild.linux import syscalls

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
INSECURE = ("kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control")
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


def mount_dev(path: str, *, sandbox: bool, single_id: bool) -> None:
    """Mount a new /dev at `path`."""
    flags = syscalls.MS_NOSUID | (syscalls.MS_NODEV if sandbox else 0)
    syscalls.mount("tmpfs", path, "tmpfs", flags, "mode=755,size=65536k")
    for name in DEVICES:
        _bind(name, path)
    if not sandbox:
        for name in _of_this_machine():
            _bind(name, path)
    for name, link in LINKS.items():
        os.symlink(link, f"{path}/{name}")
    for name, mode in (("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)):
        os.mkdir(f"{path}/{name}", mode)
    options = "newinstance,ptmxmode=0666,mode=0620"
    if not single_id:
        options += f",gid={_TTY_GROUP}"
    syscalls.mount("devpts", f"{path}/pts", "devpts", _FLAGS, options)
    options = f"mode=1777,size={DEFAULT_SHM_BYTES}"
    syscalls.mount("shm", f"{path}/shm", "tmpfs", _FLAGS | syscalls.MS_NODEV, options)
    try:
        syscalls.mount("mqueue", f"{path}/mqueue", "mqueue", _FLAGS | syscalls.MS_NODEV)
    except OSError:
        pass  # A kernel without POSIX message queues.


def _bind(name: str, path: str) -> None:
    """Show a device of the machine in the new /dev."""
    target = f"{path}/{name}"
    if "/" in name:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    os.mknod(target, stat.S_IFREG | 0o666)
    syscalls.mount(f"/dev/{name}", target, flags=syscalls.MS_BIND)


def _of_this_machine() -> list[str]:
    """What an insecure step gets besides, where it is there: as BuildKit, all loop devices too."""
    loops = sorted(n for n in os.listdir("/dev") if n.startswith("loop") and n[4:].isdigit())
    return [name for name in (*INSECURE, *loops) if os.path.exists(f"/dev/{name}")]


def resize_shm(size_bytes: int) -> None:
    """Give /dev/shm, where it is now in the rootfs, another size."""
    flags = syscalls.MS_REMOUNT | _FLAGS | syscalls.MS_NODEV
    syscalls.mount("shm", "/dev/shm", "", flags, f"size={size_bytes}")
