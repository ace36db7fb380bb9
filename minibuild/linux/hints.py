"""What to do when a system call fails, by call and errno.

Comes in: a call and its errno. Goes out: an error that names the call and says what helps.
"""

import errno
import os

HINTS = {
    ("mount", errno.ELOOP): "two of lowerdir, upperdir and workdir overlap",
    ("mount", errno.ENOSPC): "the mount table is full; see /proc/sys/fs/mount-max",
    ("mount", errno.EPERM): "mounting needs root or a user namespace that may mount; "
    "a container or an AppArmor profile may forbid it",
    ("mount", errno.ENODEV): "the kernel does not know this filesystem; load its module",
    ("fsopen", errno.ENODEV): "the kernel does not know this filesystem; load its module",
    ("fsopen", errno.EPERM): "mounting needs root or a user namespace that may mount",
    ("fsmount", errno.EPERM): "mounting needs root or a user namespace that may mount",
    ("unshare", errno.EPERM): "this host forbids unprivileged user namespaces; see "
    "/proc/sys/kernel/unprivileged_userns_clone and apparmor_restrict_unprivileged_userns",
    ("clone", errno.EPERM): "new namespaces need root or a user namespace; "
    "a container's seccomp profile may forbid them",
    ("clone", errno.EAGAIN): "raise the limit on processes: `ulimit -u`",
    ("clone", errno.ENOMEM): "free memory, or raise the limit of this process: `ulimit -v`",
    ("clone", errno.ENOSPC): "too many namespaces; see /proc/sys/user/max_user_namespaces",
    ("unshare", errno.ENOSPC): "too many namespaces; see /proc/sys/user/max_user_namespaces",
    ("unshare", errno.EINVAL): "the process has more than one thread, or the kernel lacks this "
    "kind of namespace",
    ("pivot_root", errno.EINVAL): "the new root is no mount point, or its parent mount is shared",
    ("seccomp", errno.EACCES): "set no_new_privs before the filter",
    ("openat2", errno.ENOSYS): "Linux 5.6 or newer is needed",
}


class SyscallError(OSError):
    """A failed call: `call` and `path` name it, `errno` says why, `hint` what to do (or "")."""

    def __init__(self, code: int, call: str, path: str = "") -> None:
        super().__init__(code, os.strerror(code), path or None)
        self.call = call
        self.path = path
        self.hint = HINTS.get((call, code), "")

    def __str__(self) -> str:
        return f"{self.call} {self.path}: {self.strerror}" if self.path else self._short()

    def _short(self) -> str:
        return f"{self.call}: {self.strerror}"
