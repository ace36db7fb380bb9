"""Where mutants run: in namespaces in which one folder can be written to, and nothing else.

A mutant of what removes files or sends signals may do so to the wrong ones: one that loses the root
of a tree removes the checkout, or the home of its user. So the whole run gets a mount namespace
with read-only mounts, and a pid namespace, which has no other processes in it and none left at its
end. Each mutant gets a folder of its own in the same way, so that none meets what another removed.
Comes in: a folder. Goes out: nothing; a host that refuses namespaces is an error.
Read next: `runner`.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from minibuild.linux import idmap, namespace, root_mount, syscalls

_PR_SET_PDEATHSIG = 1  # prctl(2)


def run_confined(work: Path, run: Callable[[], int]) -> int:
    """What `run` returns, called in a process that may write into `work` only."""
    if namespace.needs_user_namespace():
        namespace.enter_user_namespace(idmap.plan_id_maps())
    syscalls.unshare(syscalls.CLONE_NEWPID)
    return _in_child(lambda: _first_process(work, run))


def _first_process(work: Path, run: Callable[[], int]) -> int:
    """The first process of the pid namespace, with which all others end. It inherits what tests
    leave behind, which would confuse the process that waits for mutants."""
    syscalls.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    confine(work)
    syscalls.mount("proc", "/proc", "proc")
    return _in_child(run)


def _in_child(run: Callable[[], int]) -> int:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = run()
            sys.stdout.flush()
        finally:
            os._exit(status)
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def confine(folder: Path) -> None:
    """Leave this process one folder to write to, which is that of its temporary files, too."""
    at, here = os.fspath(folder), syscalls.AT_FDCWD
    syscalls.unshare(syscalls.CLONE_NEWNS)
    root_mount.contain_mounts()
    syscalls.mount(at, at, flags=syscalls.MS_BIND)
    readonly = syscalls.MOUNT_ATTR_RDONLY
    syscalls.mount_setattr(here, "/", attr_set=readonly, flags=syscalls.AT_RECURSIVE)
    # The id maps of a namespace are files of /proc.
    for path in (at, "/proc"):
        syscalls.mount_setattr(here, path, attr_clr=readonly, flags=0)
    os.environ["TMPDIR"] = os.environ["HOME"] = at
    tempfile.tempdir = None
