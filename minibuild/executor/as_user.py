"""How the program of a step becomes its user: working directory, standard streams, ids.

Comes in: a `ProcessUser`, in a process or a thread that is root in the root filesystem. Goes out:
the same with other ids, for good. Read next: `users`.
"""

import os
import signal
import stat
from contextlib import suppress

from minibuild.errors import DefinitionError, HostError, os_errors_as
from minibuild.executor.users import ProcessUser
from minibuild.linux import capability_sets, owner, syscalls
from minibuild.linux.syscalls import AT_FDCWD

_NOT_RECORDED = b"minibuild: one id, and no way here to record owners: all files will be root's%b\n"


def enter_directory(path: str, user: ProcessUser) -> None:
    """Change to the working directory, made for the user if it is not there, as BuildKit does."""
    path = "/" + path.strip("/")
    what = f"cannot change to the working directory {path}"
    with os_errors_as(DefinitionError, what, "WORKDIR has to name a directory"):
        if not os.path.lexists(path):
            _make_directories(path, user)
        os.chdir(path)


def _make_directories(path: str, user: ProcessUser) -> None:
    """Make what is missing, one name after the other: what is before a `..` has to be there too."""
    directory = ""
    for name in filter(None, path.split("/")):
        directory += f"/{name}"
        if not os.path.lexists(directory):
            os.mkdir(directory, 0o755)
            owner.chown(AT_FDCWD, directory, user.uid, user.gid)


def _give_streams(uid: int) -> None:
    """Let the user open its own output by another name, such as /dev/stderr, as runc does."""
    for fd in range(3):
        if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
            with suppress(OSError):  # One of another account.
                os.fchown(fd, uid, -1)


def become(
    user: ProcessUser, *, single_id: bool, own_streams: bool, keep_capabilities: bool
) -> None:
    """Take the ids of the user. Leaving uid 0 leaves all capabilities (capabilities(7)), or makes
    them ineffective, if they are to be kept."""
    if single_id:
        running = f", and this step runs as 0 instead of {user.uid}" if user.uid else ""
        os.write(2, _NOT_RECORDED % running.encode())
        return
    if user.uid and own_streams:
        _give_streams(user.uid)
    if keep_capabilities:
        capability_sets.keep_through_ids()
    try:
        syscalls.set_ids(user.uid, user.gid, user.groups)
    except OSError as error:
        raise HostError(
            f"cannot become {user.uid}:{user.gid}: {error.strerror}",
            hint=owner.beyond_map(user.uid, user.gid),
        ) from error
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
