"""Which process has which identity, with no table of processes.

Comes in: the number of a process, and an `Identity`. Goes out: the identity that it has, or that
it inherited. A process is given a *number* that the kernel itself hands on at fork(2) and keeps at
execve(2): its limit on file locks. RLIMIT_LOCKS was enforced by Linux 2.4.0 to 2.4.24 alone, see
getrlimit(2); since then it is a value of 64 bits that nothing reads. So an identity reaches each
child, however fast its parents end, and no process costs us memory.

The filter lets no process set the limit itself (`seccomp.policy`), as pam_limits(8) would. Threads
that have ids of their own by bare system calls share those of their process here; the functions of
libc keep them the same anyway.
"""

import errno
import os
import resource

from minibuild.executor.listener.identity import ROOT, Identity

_RLIMIT_LOCKS = 10
_MARK, _NUMBER_BITS = 0x6D62 << 32, 20
"""No limit that a person sets is as high as this one, short of "unlimited"."""


class Identities:
    """The identities of one step. Number 0 is the `first`, that of root, which needs no limit."""

    __slots__ = ("_all", "_numbers", "begun", "first")

    def __init__(self) -> None:
        self._all = [ROOT]
        self._numbers = {ROOT: 0}
        self.begun = False
        """Whether a program of the step was executed."""
        self.first = ROOT
        """That of all processes that did not change theirs."""

    def of(self, pid: int) -> Identity:
        """Who a process is. Raises `ProcessLookupError` if it is gone and that matters."""
        if len(self._all) == 1:
            return self.first
        soft, _ = resource.prlimit(pid, _RLIMIT_LOCKS)
        number = soft - _MARK
        return self._all[number] if 0 < number < len(self._all) else self.first

    def give(self, pid: int, identity: Identity) -> None:
        """Make a process, with all its threads, this one."""
        if not self.begun and len(self._all) == 1 and identity._replace(groups=()) == ROOT:
            # The executor takes root's groups for the step: all its processes begin with them.
            self._all, self._numbers, self.first = [identity], {identity: 0}, identity
            return
        number = self._numbers.get(identity)
        if number is None:
            number = len(self._all)
            if number >> _NUMBER_BITS:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._all.append(identity)
            self._numbers[identity] = number
        _, hard = resource.prlimit(pid, _RLIMIT_LOCKS)
        resource.prlimit(pid, _RLIMIT_LOCKS, (_MARK + number, hard))
