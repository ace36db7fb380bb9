"""Which trees are kept open, and who waits for them: with descriptors of files in their place.

What it has to do with mounts is in `tests/executor/test_unmounts.py`.
"""

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from minibuild.snapshot.unmounts import Unmounts
from tests.support.waiting import PATIENCE_S


def tree() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def kept(tmp_path: Path, count: int) -> tuple[Unmounts, list[int]]:
    unmounts, fds = Unmounts(str(tmp_path / "lock")), [tree() for _ in range(count)]
    for number, fd in enumerate(fds):
        unmounts.add(f"/s/{number}/../{number}/fs", fd)
    return unmounts, fds


@pytest.mark.parametrize("count", [0, 1, 6, 7, 9])
def test_the_newest_stay_open(tmp_path: Path, count: int) -> None:
    """As many as fit into one message, with the lock."""
    unmounts, fds = kept(tmp_path, count)
    assert [is_open(fd) for fd in fds] == [n >= count - 6 for n in range(count)]
    handed = unmounts.hand_over()
    assert handed[1:] == fds[-6:] and unmounts.hand_over() == []
    for fd in handed:
        os.close(fd)


@pytest.mark.parametrize("how", ["close", "before_mount"])
def test_a_tree_is_closed_by_its_layer(tmp_path: Path, how: str) -> None:
    unmounts, fds = kept(tmp_path, 3)
    getattr(unmounts, how)(["/s/1/fs", "/s/7/fs", "/s//2/fs"])
    assert [is_open(fd) for fd in fds] == [True, False, False]
    unmounts.close(["/s/0/fs"])
    assert not is_open(fds[0]) and unmounts.hand_over() == []
    assert not (tmp_path / "lock").exists()


def test_what_is_handed_over_is_waited_for_once(tmp_path: Path) -> None:
    """By other builds, which may hand over trees of their own at once."""
    unmounts, _ = kept(tmp_path, 1)
    others, _ = kept(tmp_path, 1)
    handed = [*unmounts.hand_over(), *others.hand_over()]
    lock = tmp_path / "lock"
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    next_build = Unmounts(str(lock))
    waiting = threading.Thread(target=next_build.before_mount, args=([],), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    for fd in handed:
        os.close(fd)
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the one that waited has let it go
        next_build.before_mount([])  # and does not look again


def test_without_a_lock_this_process_waits_itself(tmp_path: Path) -> None:
    unmounts, fds = kept(tmp_path / "no folder", 2)
    assert unmounts.hand_over() == []
    assert not any(map(is_open, fds))
