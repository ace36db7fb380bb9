"""How a process gives capabilities up, or hands them on to the programs that it executes.

Comes in: a mask of `capabilities`. Goes out: other sets of this thread. What a set means for
execve(2) is in capabilities(7). Read next: `executor.common_setup`.
"""

from minibuild.linux import syscalls

_LAST = 63
"""The sets are 64 bits wide: a newer kernel may know capabilities that have no name here."""


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
