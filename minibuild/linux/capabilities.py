"""Capabilities by name, and whether this process has them.

Comes in: names without the `CAP_` prefix. Goes out: bit masks. The numbers are those of
linux/capability.h. Read next: `namespace`; `capability_sets`, by which a process gives them up.
"""

from collections.abc import Iterable

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


def mask(names: Iterable[str]) -> int:
    """The bits of the named capabilities."""
    return sum(1 << NAMES.index(name) for name in names)


def has(names: Iterable[str]) -> bool:
    """Whether this thread may use all the named capabilities now."""
    wanted = mask(names)
    return _effective() & wanted == wanted


def _effective() -> int:
    """The effective set of this thread. /proc says it without ctypes, which takes a twentieth of
    the time of a build that finds all in its cache; capget(2) says it where /proc does not."""
    try:
        with open("/proc/thread-self/status", "rb") as file:
            for line in file:
                if line.startswith(b"CapEff:"):
                    return int(line.split()[1], 16)
    except OSError:
        pass
    from minibuild.linux.syscalls import capget

    return capget()[0]
