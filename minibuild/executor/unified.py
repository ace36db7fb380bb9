"""Getting controllers for the groups of steps in version 2 of cgroups.

Comes in: the group of this process. Goes out: a group whose groups have the wanted controllers.
What stands in the way is one rule of cgroups(7): a group that has processes of its own gives no
controllers to the groups in it. The root of the machine is exempt. The ways, in this order:

1. The groups in ours have the controllers already.
2. Our group was handed over to us ("delegated", as systemd says), and we are alone in it: this
   process moves into a group in it, and the controllers are switched on. In the end it moves back.
3. If limits were asked for, systemd is asked to put this process into a delegated group (`scope`).
4. If they were, root takes the nearest group above that has no processes, as runc would.

The last two leave our group. Where that has limits of its own they are not taken: it is not
expected that a build to use more than it was given because one of its steps is to use less.
"""

import errno
import os

from minibuild.linux import cgroup
from minibuild.linux.cgroup import Hierarchy
from minibuild.linux.descriptors import read_text, write_text

MAIN = "minibuild-main"
"""The group that this process moves into."""

_SYSTEMD = "/run/systemd/system"
REFUSED = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EOPNOTSUPP),
        *(errno.ENOENT, errno.ENODEV, errno.EINVAL),
    )
)
"""What the kernel says where groups are not to be made or changed."""


def prepare(
    own: Hierarchy, use: frozenset[str], *, missing: frozenset[str], insist: bool, root: bool
) -> Hierarchy | None:
    """The group in which to make groups with the controllers in `use`, or fewer; None where it
    would be of no use. `missing` are those that are wanted, had by this group or not."""
    if os.path.basename(own.path) == MAIN:
        own = own._replace(path=os.path.dirname(own.path))
    # The unit of systemd ends with this process; another group has to be left as it was.
    delegated = (insist or is_unit(own.path)) and is_delegated(own.path, root=root)
    if use and hand_on(own.path, use, delegated=delegated):
        return own._replace(controllers=use)
    if insist and missing and not _has_limits(own.path):
        elsewhere = _scope(own, missing, root=root)
        if elsewhere is None and root:
            elsewhere = _above(own, missing)
        if elsewhere is not None:
            return elsewhere
    return own._replace(controllers=frozenset()) if root else None


def hand_on(path: str, controllers: frozenset[str], *, delegated: bool) -> bool:
    """Switch controllers on for the groups in this one; False where that cannot be."""
    if controllers <= enabled(path):
        return True
    leaves = not _is_machines_root(path)
    if leaves and not (delegated and _alone(path)):
        return False
    return _switched_on(path, controllers, leaves=leaves)


def _switched_on(path: str, controllers: frozenset[str], *, leaves: bool = False) -> bool:
    """Switch controllers on in a group without processes, or without any once this one `leaves`;
    False where it is refused."""
    try:
        if leaves:
            _move_into(f"{path}/{MAIN}")
        enable(path, controllers)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        return False
    return True


def hand_back(path: str) -> None:
    """Leave the group at `path` as it was before this process moved into one in it, so that others
    can enter it; not while there are groups of steps."""
    main = f"{path}/{MAIN}"
    inner = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    if inner != [main] or read_text(f"{main}/cgroup.procs").split() != [str(os.getpid())]:
        return
    on = enabled(path)
    write_text(f"{path}/cgroup.subtree_control", " ".join(f"-{name}" for name in sorted(on)))
    write_text(f"{path}/cgroup.procs", str(os.getpid()))
    os.rmdir(main)


def is_unit(path: str) -> bool:
    """Whether a group is that of a unit of systemd, which is removed with its last process."""
    return os.path.exists(_SYSTEMD) and path.endswith((".scope", ".service"))


def enabled(path: str) -> frozenset[str]:
    """The controllers that the groups in this one have."""
    return frozenset(read_text(f"{path}/cgroup.subtree_control").split())


def enable(path: str, controllers: frozenset[str]) -> None:
    """Give controllers to the groups in this one."""
    if missing := controllers - enabled(path):
        text = " ".join(f"+{name}" for name in sorted(missing))
        write_text(f"{path}/cgroup.subtree_control", text)


def is_delegated(path: str, *, root: bool) -> bool:
    """Whether a group was handed over to those who run in it: they may write to it. Root may do so
    everywhere; for root systemd marks the groups that it leaves to others."""
    if root and os.path.exists(_SYSTEMD):
        try:
            return os.getxattr(path, "trusted.delegate") == b"1"
        except OSError:
            return False
    return os.access(f"{path}/cgroup.subtree_control", os.W_OK)


def _is_machines_root(path: str) -> bool:
    return not os.path.exists(f"{path}/cgroup.type")


def _alone(path: str) -> bool:
    return read_text(f"{path}/cgroup.procs").split() == [str(os.getpid())]


def _move_into(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        pass
    write_text(f"{path}/cgroup.procs", str(os.getpid()))


def _has_limits(path: str) -> bool:
    """Whether the group of this process itself has limits."""
    unlimited = {"memory.max": "max", "memory.high": "max", "cpu.max": "max", "cpuset.cpus": ""}
    found = {name: read_text(f"{path}/{name}").split() for name in unlimited}
    return any(words and words[0] != unlimited[name] for name, words in found.items())


def _scope(own: Hierarchy, wanted: frozenset[str], *, root: bool) -> Hierarchy | None:
    """A group that systemd makes for this process."""
    if not os.path.exists(_SYSTEMD):
        return None
    from minibuild.executor import scope

    if not scope.enter(own.path, root=root):
        return None
    for tree in cgroup.hierarchies():
        use = wanted & tree.controllers
        if tree.version == 2 and hand_on(tree.path, use, delegated=True):
            return tree._replace(controllers=use)
    return None


def _above(own: Hierarchy, wanted: frozenset[str]) -> Hierarchy | None:
    """The nearest group above that may have groups with controllers."""
    path = os.path.dirname(own.path)
    while os.path.exists(f"{path}/cgroup.procs"):
        use = wanted & frozenset(read_text(f"{path}/cgroup.controllers").split())
        busy = not _is_machines_root(path) and read_text(f"{path}/cgroup.procs")
        if use and not busy and _switched_on(path, use):
            return own._replace(path=path, controllers=use)
        path = os.path.dirname(path)
    return None
