"""Capabilities by name, and how a process gives them up.

Comes in: names without the `CAP_` prefix. Goes out: bit masks, and a smaller bounding set. The
numbers are those of linux/capability.h; what a set means for execve(2) is in capabilities(7).
Read next: `namespace`.
"""

from collections.abc import Iterable

from minibuild.linux import syscalls

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME "
    "SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG "
    "WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()

SANDBOX = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
    "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
).split()
"""What Docker and BuildKit leave to root inside a container."""

BUILDER = "SYS_ADMIN CHOWN DAC_OVERRIDE FOWNER SETUID SETGID SETPCAP SYS_CHROOT".split()
"""What this program itself needs: mounts, owners of files, and steps under other ids."""


_LAST = 63
"""The sets are 64 bits wide: a newer kernel may know capabilities that have no name here."""


def mask(names: Iterable[str]) -> int:
    """The bits of the named capabilities."""
    return sum(1 << NAMES.index(name) for name in names)


def has(names: Iterable[str]) -> bool:
    """Whether this thread may use all the named capabilities now."""
    effective, _, _ = syscalls.capget()
    wanted = mask(names)
    return effective & wanted == wanted


def held() -> int:
    """What this thread may use now, or may take up again."""
    effective, permitted, _ = syscalls.capget()
    return effective | permitted


def bound(keep: int) -> None:
    """Let no program that is executed from now on have a capability outside the mask `keep`, but
    for those that it inherits.

    A program that root executes gets what the bounding set leaves (capabilities(7), "Capabilities
    and execution of programs by root"). What this process has, it keeps.
    """
    syscalls.drop_bounding(n for n in range(_LAST + 1) if not keep >> n & 1)


def inherit_none() -> None:
    """Hand no capability on to a program but by the bounding set.

    The inheritable set goes past the bounding one: a program of root has both. An account may have
    been given some at login (pam_cap(8)). The ambient set is part of the inheritable one.
    """
    try:
        syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError:
        pass  # Linux before 4.3 has no ambient set.
    effective, permitted, _ = syscalls.capget()
    syscalls.capset(effective, permitted, 0)


def keep_through_ids() -> None:
    """Stay able to hand capabilities on when this process takes the ids of another user."""
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)


def inherit_all() -> None:
    """Hand all capabilities that are permitted on to every program, of any user."""
    _, permitted, _ = syscalls.capget()
    syscalls.capset(permitted, permitted, permitted)
    for number in range(_LAST + 1):
        if permitted >> number & 1:
            syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)
