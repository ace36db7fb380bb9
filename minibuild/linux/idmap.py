"""Which ids of the host stand for which ids inside a user namespace: a plan, as data.

Comes in: facts about this account (who it is, what /etc/subuid grants it). Goes out: an
`IdMapPlan` for `namespace.enter_user_namespace`. Three ways, best first:

- `direct`: a privileged process that merely may not mount (root in a container) maps all its ids;
- `helpers`: 0 is the account itself, 1 and up are its subordinate ids, through newuidmap(1);
- `single`: 0 is the account itself and nothing else exists. Every file belongs to it.

Rules: user_namespaces(7), subuid(5). Read next: `namespace`.
"""

import os
from collections.abc import Iterable
from typing import Literal

from minibuild.linux import capabilities, syscalls
from minibuild.linux.descriptors import read_text
from minibuild.startup.tuples import NamedTuple

HELPERS = ("newuidmap", "newgidmap")
FIRST_SUBORDINATE, ENOUGH = 100_000, 65_536
"""Where useradd(8) begins to give out ids, and how many each account gets (login.defs(5))."""
_SEARCH = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin")


class Range(NamedTuple):
    """`size` ids from `inside` on stand for those from `outside` on."""

    inside: int
    outside: int
    size: int


class IdMapPlan(NamedTuple):
    """The maps to write and how; `helpers` are the paths of newuidmap and newgidmap."""

    way: Literal["direct", "helpers", "single"]
    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    helpers: tuple[str, str] = ("", "")


class Account(NamedTuple):
    """What the plan depends on. The subordinate ranges are (first, count) in file order."""

    uid: int
    gid: int
    may_map_any: bool
    own_uids: tuple[Range, ...]
    own_gids: tuple[Range, ...]
    subordinate_uids: tuple[tuple[int, int], ...]
    subordinate_gids: tuple[tuple[int, int], ...]
    helpers: tuple[str, str] | None


def plan(account: Account) -> IdMapPlan:
    """The best maps for this account."""
    if account.may_map_any:
        # Identity, over every id that exists for this process.
        uids = tuple(Range(r.inside, r.inside, r.size) for r in account.own_uids)
        gids = tuple(Range(r.inside, r.inside, r.size) for r in account.own_gids)
        return IdMapPlan("direct", uids, gids)
    if account.helpers and account.subordinate_uids and account.subordinate_gids:
        return IdMapPlan(
            "helpers",
            _stacked(account.uid, account.subordinate_uids),
            _stacked(account.gid, account.subordinate_gids),
            account.helpers,
        )
    return IdMapPlan("single", (Range(0, account.uid, 1),), (Range(0, account.gid, 1),))


def plan_id_maps() -> IdMapPlan:
    """The plan for the account that runs this process."""
    return plan(_this_account())


def _stacked(own: int, subordinate: Iterable[tuple[int, int]]) -> tuple[Range, ...]:
    ranges = [Range(0, own, 1)]
    inside = 1
    for first, count in subordinate:
        ranges.append(Range(inside, first, count))
        inside += count
    return tuple(ranges)


def parse_subordinate(text: str, names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """The (first, count) entries of a subuid(5) file for an account with these names.

    An account may be listed by its name or by its number. Broken lines are passed over, as
    newuidmap does.
    """
    wanted = set(names)
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) != 3 or fields[0] not in wanted:
            continue
        if fields[1].isdecimal() and fields[2].isdecimal() and int(fields[2]) > 0:
            found.append((int(fields[1]), int(fields[2])))
    return tuple(found)


def parse_id_map(text: str) -> tuple[Range, ...]:
    """The ranges in /proc/PID/uid_map."""
    return tuple(Range(*map(int, line.split())) for line in text.splitlines() if line.strip())


def has_subordinate_ids() -> bool:
    """Whether this account has lines in both files, helpers or not."""
    account = _this_account()
    return bool(account.subordinate_uids and account.subordinate_gids)


def free_here() -> str:
    """A `free_range` of this machine, for users and groups alike."""
    return free_range(read_text("/etc/subuid") + read_text("/etc/subgid"))


def free_range(text: str) -> str:
    """Ids behind all that subuid(5) files give out, in the form that usermod(8) takes: who shares
    ids with another account can change its files."""
    start = FIRST_SUBORDINATE
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            start = max(start, int(fields[1]) + int(fields[2]))
    return f"{start}-{start + ENOUGH - 1}"


def find_helpers() -> tuple[str, str] | None:
    """The paths of newuidmap and newgidmap. Set-user-id programs: only system folders count."""
    for folder in _SEARCH:
        paths = tuple(os.path.join(folder, name) for name in HELPERS)
        if all(os.access(path, os.X_OK) for path in paths):
            return paths[0], paths[1]
    return None


def account_names(uid: int) -> list[str]:
    """The names under which subuid(5) may list an account."""
    import pwd

    try:
        return [pwd.getpwuid(uid).pw_name, str(uid)]
    except KeyError:
        return [str(uid)]


def _this_account() -> Account:
    uid, gid = os.geteuid(), os.getegid()
    names = account_names(uid)
    return Account(
        uid,
        gid,
        # Since Linux 5.12 the map of id 0 needs SETFCAP in the parent namespace as well.
        capabilities.has(("SETUID", "SETGID", "SETFCAP")),
        parse_id_map(read_text("/proc/self/uid_map")),
        parse_id_map(read_text("/proc/self/gid_map")),
        parse_subordinate(read_text("/etc/subuid"), names),
        parse_subordinate(read_text("/etc/subgid"), names),
        # They are set-user-id programs, which no_new_privs keeps from being that.
        None if syscalls.prctl(syscalls.PR_GET_NO_NEW_PRIVS) else find_helpers(),
    )
