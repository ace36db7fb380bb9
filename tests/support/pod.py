"""A command as in a container that may make no namespaces, on a host whose processes may.

    python -m tests.support.pod KIND COMMAND...

`default` is what docker, podman and containerd give root: 14 capabilities, and a filter of system
calls that refuses namespaces and mounts. `restricted` is a pod by the strictest of Kubernetes'
standards: the same filter, no_new_privs, and an ordinary user without a capability. Root becomes
uid 1000 for that. What a container has besides, as its own root, makes no difference here.
"""

import errno
import os
import sys
from typing import Literal

import pyseccomp as seccomp

from minibuild.linux import capabilities, capability_sets, syscalls

Kind = Literal["default", "restricted"]

REFUSED = """
bpf fsconfig fsmount fsopen fspick keyctl mount mount_setattr move_mount open_tree perf_event_open
pivot_root quotactl setdomainname sethostname setns swapoff swapon umount umount2 unshare
""".split()
"""What the profile of docker, podman and containerd refuses without CAP_SYS_ADMIN."""

_NEW_NAMESPACES = 0x7E020000
UID = 1000


def enter(kind: Kind) -> None:
    """Make this process one of such a container. It must have a single thread."""
    if kind == "restricted":
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)
        syscalls.capset(0, 0, 0)
    else:
        kept = capabilities.mask(capabilities.SANDBOX)
        capability_sets.inherit_none()
        capability_sets.bound(kept)
        syscalls.capset(kept, kept, 0)
    # A filter may be set with CAP_SYS_ADMIN or this; so uid 0 has it here, and not in a container.
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    _filter().load()


def _filter() -> seccomp.SyscallFilter:
    made = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in REFUSED:
        made.add_rule(seccomp.ERRNO(errno.EPERM), name)
    made.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # Its flags are in memory.
    for bit in range(32):
        flag = 1 << bit
        if flag & _NEW_NAMESPACES:
            asked = seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag)
            made.add_rule(seccomp.ERRNO(errno.EPERM), "clone", asked)
    return made


def main(kind: Kind, *command: str) -> None:
    """Become the command."""
    enter(kind)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
