"""What to do when the kernel refuses a user namespace: which setting of the host forbids it.

Comes in: the errno of unshare(2), which says little. Goes out: a sentence for a person. The
settings under /proc/sys say more, so they are read first. Read next: `namespace`, `probe`.
"""

import errno

from minibuild.linux.descriptors import read_text
from minibuild.linux.root_mount import is_mount_point

_SETTINGS = (
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user namespaces are switched off: `sysctl -w user.max_user_namespaces=15000` as root",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "this distribution reserves user namespaces for root: "
        "`sysctl -w kernel.unprivileged_userns_clone=1` as root",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts user namespaces (Ubuntu 23.10 and later): as root, "
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give the interpreter an "
        "AppArmor profile that allows `userns`",
    ),
)


def user_namespace_advice(code: int) -> str:
    """What to do when a user namespace is refused with this errno."""
    for path, bad, advice in _SETTINGS:
        if read_text(path).strip() == bad:
            return advice
    if code == errno.ENOSPC:
        return "the limit in /proc/sys/user/max_user_namespaces is reached, or they nest too deep"
    if code == errno.EINVAL:
        return "the kernel is built without user namespaces, or this process has several threads"
    if code in (errno.EPERM, errno.EACCES):
        if not is_mount_point():
            return (
                "this is a chroot, and Linux makes no user namespace in one: enter the folder with "
                "systemd-nspawn(1), bwrap(1) or pivot_root(2), or build as root"
            )
        from minibuild.linux.container import FORMS, lines

        found = [line for kind in FORMS for line in lines(kind, ("seccomp", "apparmor"))]
        return "\n".join(["a container has to allow it. Write", *found])
    return "build as root"
