"""Mounts that show files under another owner: idmapped mounts (mount_setattr(2), MOUNT_ATTR_IDMAP).

Comes in: a mount that is attached nowhere yet. Goes out: the same, which shows the files of one
user and one group as those of root. Nothing on the disk changes and nothing is copied. A map gives
each id one other id, so root's own files are shown as those of the user; all other ids stay. Not
every filesystem can do it (NFS cannot), and only real root may ask for it.
Read next: `executor.context`.
"""

import os
import signal

from minibuild.linux import syscalls
from minibuild.linux.descriptors import closing_fd, read_text, write_text

_ALL = 0xFFFFFFFF
"""How many ids there are: the highest number is none."""


def show_as_root(mount_fd: int, uid: int, gid: int) -> None:
    """Show the files of `uid` and `gid` as those of 0 and 0, and the other way round, in what is
    mounted below too.

    Raises OSError: EINVAL where a filesystem cannot, EPERM without the right to.
    """
    with closing_fd(_user_namespace(_swapped(uid), _swapped(gid))) as userns_fd:
        syscalls.mount_setattr(
            mount_fd,
            attr_set=syscalls.MOUNT_ATTR_IDMAP,
            userns_fd=userns_fd,
            flags=syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE,
        )


def _swapped(number: int) -> str:
    """A map in which 0 and a number change places.

    It has all ids: not even root may pass by the mode of a file whose owner is in no map.
    """
    if number == 0:
        return f"0 0 {_ALL}\n"
    between = f"1 1 {number - 1}\n" if number > 1 else ""
    rest = _ALL - number - 1
    above = f"{number + 1} {number + 1} {rest}\n" if rest else ""
    return f"0 {number} 1\n{between}{number} 0 1\n{above}"


def _user_namespace(uid_map: str, gid_map: str) -> int:
    """A user namespace with these maps, open. It is made by a process that only lives for that.

    For a process with a single thread, as each that forks. The maps are written from outside:
    within, a process may map no other id than its own (user_namespaces(7)).
    """
    pid, pidfd = syscalls.clone(syscalls.CLONE_NEWUSER)
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        # Its number where /proc is from: that may be a pid namespace further out.
        fields = read_text(f"/proc/self/fdinfo/{pidfd}").split()
        number = fields[fields.index("Pid:") + 1]
        for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
            write_text(f"/proc/{number}/{name}", text)
        return os.open(f"/proc/{number}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        os.waitpid(pid, 0)
