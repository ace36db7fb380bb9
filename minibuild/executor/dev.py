"""A minimal /dev in memory: what every program may expect, and no device of this machine.

Comes in: the machine's devices, before the rootfs is entered. Goes out: a /dev, mounted, as the
OCI runtime spec (config-linux.md, "Default Devices") lists it, without a console unless there
is a terminal.

A step of root may call mknod(2). Where a cgroup keeps it from opening the machine's disks
(`devices`), that is all. Elsewhere no node in its tree may be used as a device: all its filesystems
are mounted `nodev`, and each of the few harmless devices is a mount of its own, without that flag.

The step gets nodes of its own where mknod(2) is allowed: the machine's would show it the owner and
mode of the machine's /dev/null, and root could change both. In a user namespace mknod(2) is
refused, and so is such a change: there the machine's nodes are bound.
"""

import errno
import os
import stat

from minibuild.executor import devices
from minibuild.executor.devices import DeviceNode
from minibuild.linux import syscalls

LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
CORE = "/proc/kcore"
DEFAULT_SHM_BYTES = 64 * 1024 * 1024
_TTY_GROUP = 5
_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
_REFUSED = (errno.EPERM, errno.EACCES)


def mount_dev(path: str, *, sandbox: bool, nodev: bool, single_id: bool) -> None:
    """Mount a new /dev at `path`. `nodev`: nodes that the step makes in it are of no use."""
    flags = syscalls.MS_NOSUID | syscalls.MS_STRICTATIME
    syscalls.mount("tmpfs", path, "tmpfs", flags, "mode=755,size=65536k")
    shown = devices.USUAL if sandbox else devices.USUAL | devices.INSECURE | _loops()
    for name, node in shown.items():
        _show(name, node, path, bind=nodev)
    for name, link in LINKS.items():
        os.symlink(link, f"{path}/{name}")
    if os.path.exists(CORE):
        os.symlink(CORE, f"{path}/core")
    for name, mode in (("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)):
        os.mkdir(f"{path}/{name}", mode)
    if nodev:
        # Now, and for this mount alone: those of the devices stay as they are.
        syscalls.mount_setattr(syscalls.AT_FDCWD, path, attr_set=syscalls.MOUNT_ATTR_NODEV, flags=0)
    _mount_inner(path, single_id=single_id)


def _mount_inner(path: str, *, single_id: bool) -> None:
    """The filesystems that belong inside a /dev."""
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


def _show(name: str, node: DeviceNode, path: str, *, bind: bool) -> None:
    """Have a device in the new /dev; with `bind` as a mount of its own."""
    target = f"{path}/{name}"
    if "/" in name:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if make_node(node, target):
        if bind:
            syscalls.mount(target, target, flags=syscalls.MS_BIND)
    elif os.path.exists(f"/dev/{name}"):
        os.mknod(target, stat.S_IFREG | 0o666)
        syscalls.mount(f"/dev/{name}", target, flags=syscalls.MS_BIND)


def make_node(node: DeviceNode, path: str) -> bool:
    """Make a node of our own for a device; False where that is refused."""
    try:
        os.mknod(path, node.type | 0o666, os.makedev(node.major, node.minor))
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    return True


def _loops() -> dict[str, DeviceNode]:
    """The loop devices of this machine."""
    names = [n for n in os.listdir("/dev") if n.startswith("loop") and n[4:].isdigit()]
    return {name: DeviceNode(7, int(name[4:]), stat.S_IFBLK) for name in sorted(names)}


def resize_shm(size_bytes: int) -> None:
    """Give /dev/shm, where it is now in the rootfs, another size."""
    flags = syscalls.MS_REMOUNT | _FLAGS | syscalls.MS_NODEV
    syscalls.mount("shm", "/dev/shm", "", flags, f"size={size_bytes}")
