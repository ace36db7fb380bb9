"""What the host can do, asked by trying: `@pytest.mark.needs("overlay")` runs a test if it can.

Comes in: the name of an ability. Goes out: whether it is there, and whether a machine that is set
up for the tests could have it for this account: then its lack is a failure in CI, not a skip.
The user id says little: root in a container may lack mounts, an ordinary user may have them.
"""

import ctypes.util
import functools
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

from tests.support import busybox


def is_root() -> bool:
    """Whether this process is root."""
    return os.geteuid() == 0


def succeeds(*command: str) -> bool:
    """Whether a command is there and ends with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


_IN_MOUNT_NAMESPACE = """\
import os, sys
from minibuild.linux import root_mount, syscalls
syscalls.unshare(syscalls.CLONE_NEWNS)
root_mount.contain_mounts()
os.execvp(sys.argv[1], sys.argv[1:])
"""


def namespaces() -> tuple[str, ...]:
    """The start of a command that runs another where mounts can be tried."""
    if is_root():
        # Not unshare(1), for which the root has to be a mount point: in a chroot it is none.
        return sys.executable, "-c", _IN_MOUNT_NAMESPACE
    return "unshare", "--map-root-user", "--mount"


def can_mount() -> bool:
    """Mounts, in a mount namespace of our own."""
    return succeeds(*namespaces(), "mount", "-t", "tmpfs", "none", "/tmp")


SMALL_BLOCKS = "truncate -s 16M $1 && mkfs.ext4 -q -F -m 0 -b 1024 $1 && mount -o loop $1 $2"
"""A filesystem whose blocks are smaller than pages, in the file $1, mounted at $2."""


def can_loop() -> bool:
    """A filesystem in a file, which only root of the machine may mount."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/at")
        script = ("sh", "-c", SMALL_BLOCKS, "sh", f"{folder}/image", f"{folder}/at")
        return succeeds(*namespaces(), *script)


def can_overlay() -> bool:
    """An overlay on the filesystem of temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(os.path.join(folder, name))
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        if not is_root():
            options += ",userxattr"
        mount = ("mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged")
        # The workdir that the kernel makes has mode 0000: it is removed where it was made.
        return succeeds(
            *namespaces(),
            "sh",
            "-c",
            f'"$@" && umount {folder}/merged; s=$?; rm -rf {folder}/work; exit $s',
            "sh",
            *mount,
        )


def has_subordinate_ids() -> bool:
    """More than one id inside a user namespace, which an ordinary user gets through newuidmap(1).

    A line in subuid(5) is not enough: there have to be groups and both programs as well. So the
    maps are tried, not looked up.
    """
    return not is_root() and succeeds("unshare", "--map-root-user", "--map-auto", "true")


def has_trusted_xattrs() -> bool:
    """Attributes that only a privileged process can set; overlay keeps its marks in them."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "trusted.minibuild", b"y")
        except OSError:
            return False
    return True


def has_owners() -> bool:
    """Whether files can be given to other ids: by root, also of a namespace with several."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.chown(file.name, 11, 22)
        except OSError:
            return False
    return True


def has_user_xattrs() -> bool:
    """Attributes of the user namespace, on the filesystem of temporary files."""
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(file.name, "user.minibuild", b"y")
        except OSError:
            return False
    return True


def own_groups() -> dict[str, str]:
    """The group of this process in each tree of cgroups, by the controllers of the tree."""
    with open("/proc/self/cgroup") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    return {controllers: path for _, controllers, path in lines}


def can_limit() -> bool:
    """A cgroup for others, below that of this process, in which memory can be limited."""
    own = own_groups()
    if "memory" in own:
        return os.access(f"/sys/fs/cgroup/memory{own['memory']}", os.W_OK)
    if is_root() or not os.path.isdir("/run/systemd/system"):
        return os.access(f"/sys/fs/cgroup{own.get('', '')}/cgroup.subtree_control", os.W_OK)
    return succeeds("systemd-run", "--user", "--scope", "-p", "Delegate=yes", "true")


def can_list_devices() -> bool:
    """A group of version 2, to which only root of the machine can give a list of devices."""
    own = own_groups().get("", "")
    points = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    return is_root() and any(os.access(f"{point}{own}/cgroup.procs", os.W_OK) for point in points)


def program(name: str) -> Callable[[], bool]:
    """The probe for a program on PATH."""
    return lambda: shutil.which(name) is not None


DOCKER_CLIENTS = os.environ.get("DOCKER_CLIENTS", "/var/cache/minibuild/docker-clients")
"""Where `.ci/docker-clients` unpacked Debian's packages."""

PROBES: dict[str, Callable[[], bool]] = {
    "root": is_root,
    "user": lambda: not is_root(),
    "mount": can_mount,
    "overlay": can_overlay,
    "loop": can_loop,
    "userns": lambda: succeeds("unshare", "--user", "true"),
    "netns": lambda: succeeds(*namespaces(), "unshare", "--net", "true"),
    "subids": has_subordinate_ids,
    "owners": has_owners,
    "trusted_xattr": has_trusted_xattrs,
    "user_xattr": has_user_xattrs,
    "cgroup": can_limit,
    "devices": can_list_devices,
    "seccomp": lambda: ctypes.util.find_library("seccomp") is not None,
    "busybox": lambda: busybox.find() is not None,
    "docker-clients": lambda: os.access(f"{DOCKER_CLIENTS}/usr/bin/docker", os.X_OK),
    **{
        name: program(name)
        for name in (
            "git skopeo umoci runc crun buildah podman ssh-agent docker-registry openssl".split()
        )
    },
}

ACCOUNT_ONLY = frozenset(
    {"root", "user", "subids", "owners", "trusted_xattr", "cgroup", "devices", "loop"}
)
"""What depends on who runs the tests: they run as several accounts, so a skip here is no loss. Root
of a container has no devices for filesystems in files."""


@functools.cache
def able(name: str) -> bool:
    """Whether the host has the ability, asked once."""
    return PROBES[name]()


def account() -> str:
    """Who runs the tests, in words."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.geteuid())
    kind = "root" if is_root() else "subordinate ids" if able("subids") else "a single id"
    return f"{name} ({kind})"
