"""Who a process may become: the rules against the kernel's own, for random calls."""

import ctypes
import os
import pickle
import random
from collections.abc import Callable
from functools import partial

import pytest

from minibuild.executor.listener.identity import (
    ROOT,
    Identity,
    Ids,
    changed,
    executing,
    may_give,
    with_capabilities,
    with_groups,
)

KEEP = 0xFFFFFFFF
CALLS = ["setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups"]
COUNTS = {"setuid": 1, "setgid": 1, "setreuid": 2, "setregid": 2, "setresuid": 3, "setresgid": 3}
APP = Identity(Ids(5, 5, 5, 5), Ids(6, 6, 6, 6), (6, 7))

Calls = list[tuple[str, tuple[int, ...]]]
Answers = list[tuple[int, Identity]]


def some_calls(chance: random.Random) -> Calls:
    """A few calls, some of which succeed."""
    made: Calls = []
    for _ in range(8):
        name = chance.choice(CALLS)
        ids = [chance.choice((0, 0, 5, 6, 7, KEEP)) for _ in range(COUNTS.get(name, 2))]
        made.append((name, tuple(id for id in ids if name != "setgroups" or id != KEEP)))
    return made


def by_the_kernel(calls: Calls) -> Answers:
    """What becomes of a process that really makes the calls, in one of its own."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        answers: Answers = []
        try:
            os.setgroups([])
            for name, ids in calls:
                answers.append((_error(partial(_really, name, ids)), _really_is()))
        finally:
            os.write(write_fd, pickle.dumps(answers))
            os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as file:
        found: Answers = pickle.load(file)
    os.waitpid(pid, 0)
    return found


def _really(name: str, ids: tuple[int, ...]) -> None:
    if name == "setgroups":
        os.setgroups(list(ids))
    else:
        getattr(os, name)(*(-1 if id == KEEP else id for id in ids))


def _really_is() -> Identity:
    libc = ctypes.CDLL(None)
    users = Ids(*os.getresuid(), libc.setfsuid(-1))
    groups = Ids(*os.getresgid(), libc.setfsgid(-1))
    return Identity(users, groups, tuple(os.getgroups()))


def by_the_rules(calls: Calls) -> Answers:
    """What `identity` says of them."""
    now, answers = ROOT, []
    for name, ids in calls:
        error = 0
        try:
            if name == "setgroups":
                now = with_groups(now, tuple(sorted(ids)))
            else:
                now = changed(now, name, *ids)
        except OSError as refused:
            error = refused.errno or -1
        answers.append((error, now))
    return answers


def _error(call: Callable[[], None]) -> int:
    try:
        call()
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.needs("root")
def test_the_kernel_has_the_same_rules() -> None:
    chance = random.Random(1500)
    for _ in range(60):
        calls = some_calls(chance)
        assert by_the_rules(calls) == by_the_kernel(calls), calls


def test_filesystem_ids_never_fail() -> None:
    assert changed(ROOT, "setfsuid", 9).user == Ids(0, 0, 0, 9)
    assert changed(APP, "setfsuid", 9) == APP == changed(APP, "setfsgid", KEEP)


def test_capabilities_that_are_kept() -> None:
    """setpriv(1) takes the user first, then the groups: prctl(2) lets it."""
    kept = changed(with_capabilities(ROOT, True), "setresuid", 5, 5, 5)
    assert changed(kept, "setresgid", 6, 6, 6).group == Ids(6, 6, 6, 6)
    gone = executing(kept, 0o755, 0, 0, ambient=False)
    with pytest.raises(PermissionError):
        changed(gone, "setresgid", 6, 6, 6)
    assert executing(kept, 0o755, 0, 0, ambient=True) == kept
    with pytest.raises(PermissionError):
        # Too late for one that has left root.
        changed(with_capabilities(APP, True), "setuid", 0)


@pytest.mark.parametrize(
    ("mode", "user", "group"),
    [
        (0o755, 5, 6),
        (0o4755, 1, 6),
        (0o2755, 5, 2),
        (0o2745, 5, 6),  # no right to execute for the group: the bit means a lock
        (0o6755, 1, 2),
    ],
)
def test_programs_that_set_ids(mode: int, user: int, group: int) -> None:
    found = executing(APP, mode, 1, 2, ambient=False)
    assert found.user == Ids(5, user, user, user) and found.group == Ids(6, group, group, group)


@pytest.mark.parametrize(
    ("now", "owner", "wanted", "may"),
    [
        (ROOT, (1, 2), (3, 4), True),
        (APP, (5, 6), (5, 7), True),
        (APP, (5, 6), (KEEP, KEEP), True),
        (APP, (5, 6), (5, 8), False),
        (APP, (5, 6), (0, 6), False),
        (APP, (0, 6), (KEEP, 6), False),
    ],
)
def test_who_may_give_files(
    now: Identity, owner: tuple[int, int], wanted: tuple[int, int], may: bool
) -> None:
    assert may_give(now, owner, *wanted) == may
