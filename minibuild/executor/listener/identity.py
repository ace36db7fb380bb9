"""Who a process takes itself for, and who it may become: the rules of credentials(7), as data.

Comes in: a call of the setuid(2) family with its arguments. Goes out: another `Identity`, or the
error that the kernel would give. Nothing of the kernel is asked here: this is for namespaces in
which every process is uid 0, so that only the rules are left to decide. A process has the
privilege to change ids if its effective user is root, or if it kept its capabilities when it was
(PR_SET_KEEPCAPS, see prctl(2)). Sets of capabilities that a program makes itself are not followed.
"""

import errno
import os
from collections.abc import Callable
from typing import Literal

from minibuild.startup.tuples import NamedTuple

KEEP = 0xFFFFFFFF
"""-1 as an argument: leave this id as it is."""


class Ids(NamedTuple):
    """The ids of one kind: of users, or of groups."""

    real: int = 0
    effective: int = 0
    saved: int = 0
    filesystem: int = 0


class Identity(NamedTuple):
    """All ids of a process. `keeps`: its capabilities stay when it leaves root."""

    user: Ids = Ids()
    group: Ids = Ids()
    groups: tuple[int, ...] = ()
    keeps: bool = False

    @property
    def privileged(self) -> bool:
        """Whether it may take any ids."""
        return self.user.effective == 0 or self.keeps

    @property
    def overrides(self) -> bool:
        """Whether modes and owners of files keep it from nothing: CAP_DAC_OVERRIDE, CAP_FOWNER."""
        return self.user.filesystem == 0 or self.keeps

    def has_group(self, gid: int) -> bool:
        """Whether files of this group are those of its group."""
        return gid == self.group.filesystem or gid in self.groups

    @property
    def settled(self) -> bool:
        """Whether it stays as it is when it executes a program that sets no ids."""
        kinds = (self.user, self.group)
        return not self.keeps and all(ids.effective == ids.saved == ids.filesystem for ids in kinds)

    @property
    def makes_files_of_root(self) -> bool:
        """Whether files that such a process makes are those of root, as all are on disk."""
        return not (self.user.filesystem or self.group.filesystem)


ROOT = Identity()
IdKind = Literal["user", "group"]


def _refused() -> OSError:
    return OSError(errno.EPERM, os.strerror(errno.EPERM))


def _one(now: Ids, privileged: bool, wanted: int) -> Ids:
    """setuid(2), setgid(2)."""
    if wanted == KEEP:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if privileged:
        return Ids(wanted, wanted, wanted, wanted)
    if wanted not in (now.real, now.saved):
        raise _refused()
    return now._replace(effective=wanted, filesystem=wanted)


def _two(now: Ids, privileged: bool, real: int, effective: int) -> Ids:
    """setreuid(2), setregid(2)."""
    allowed_real = (KEEP, now.real, now.effective)
    if not privileged and (real not in allowed_real or effective not in (*allowed_real, now.saved)):
        raise _refused()
    new_real = now.real if real == KEEP else real
    new_effective = now.effective if effective == KEEP else effective
    keeps_saved = real == KEEP and effective in (KEEP, now.real)
    saved = now.saved if keeps_saved else new_effective
    return Ids(new_real, new_effective, saved, new_effective)


def _three(now: Ids, privileged: bool, real: int, effective: int, saved: int) -> Ids:
    """setresuid(2), setresgid(2)."""
    wanted = (real, effective, saved)
    if not privileged and any(id_ not in (KEEP, *now[:3]) for id_ in wanted):
        raise _refused()
    new = [old if id_ == KEEP else id_ for old, id_ in zip(now[:3], wanted, strict=True)]
    return Ids(new[0], new[1], new[2], new[1])


def _filesystem(now: Ids, privileged: bool, wanted: int) -> Ids:
    """setfsuid(2), setfsgid(2), which never fail."""
    may = privileged or wanted in now
    return now._replace(filesystem=wanted) if may and wanted != KEEP else now


_RULES: dict[str, tuple[IdKind, Callable[..., Ids], int]] = {
    "setuid": ("user", _one, 1),
    "setgid": ("group", _one, 1),
    "setreuid": ("user", _two, 2),
    "setregid": ("group", _two, 2),
    "setresuid": ("user", _three, 3),
    "setresgid": ("group", _three, 3),
    "setfsuid": ("user", _filesystem, 1),
    "setfsgid": ("group", _filesystem, 1),
}
CHANGES = frozenset(_RULES)
"""The calls that `changed` knows."""


def changed(now: Identity, call: str, *arguments: int) -> Identity:
    """The identity after a call of these arguments, which are 32 bits wide; others are ignored."""
    kind, rule, count = _RULES[call]
    ids: Ids = getattr(now, kind)
    new = rule(ids, now.privileged, *(argument & KEEP for argument in arguments[:count]))
    return now._replace(user=new) if kind == "user" else now._replace(group=new)


def with_groups(now: Identity, groups: tuple[int, ...]) -> Identity:
    """setgroups(2)."""
    if not now.privileged:
        raise _refused()
    return now._replace(groups=groups)


def with_capabilities(now: Identity, keep: bool) -> Identity:
    """prctl(2) with PR_SET_KEEPCAPS: it counts at the moment in which a process leaves root."""
    return now if now.user.effective else now._replace(keeps=keep)


def executing(now: Identity, mode: int, uid: int, gid: int, *, ambient: bool) -> Identity:
    """execve(2) of a file with this mode and this owner: it may set ids. What a process kept ends
    here, unless it is `ambient`."""
    user = uid if mode & 0o4000 else now.user.effective
    # Without the right to execute for the group the bit means another thing, see stat(2).
    group = gid if mode & 0o2010 == 0o2010 else now.group.effective
    return now._replace(
        user=Ids(now.user.real, user, user, user),
        group=Ids(now.group.real, group, group, group),
        keeps=now.keeps and ambient,
    )


def in_real_ids(now: Identity) -> Identity:
    """As whom access(2) asks: a set-user-id program wants to know what its caller may."""
    user, group = (ids._replace(filesystem=ids.real) for ids in (now.user, now.group))
    return now._replace(user=user, group=group)


def may_access(now: Identity, owner: tuple[int, int], mode: int, wanted: int) -> bool:
    """Whether the mode of a file of this owner grants all that is `wanted`: 4 to read, 2 to write,
    1 to execute or to search. Only the bits of the first class that fits count."""
    if now.overrides:
        return True
    if owner[0] == now.user.filesystem:
        mode >>= 6
    elif now.has_group(owner[1]):
        mode >>= 3
    return not wanted & ~mode


def may_change(now: Identity, owner: tuple[int, int]) -> bool:
    """Whether it may set mode and times of a file of this owner."""
    return now.overrides or owner[0] == now.user.filesystem


def may_give(now: Identity, owner: tuple[int, int], uid: int, gid: int) -> bool:
    """Whether chown(2) may make a file of this owner one of `uid` and `gid`."""
    if now.overrides:
        return True
    if owner[0] != now.user.filesystem or uid not in (KEEP, owner[0]):
        return False
    return gid in (KEEP, owner[1]) or now.has_group(gid)
