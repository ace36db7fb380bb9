"""A cursor goes deep with few files open, and nowhere else."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.linux import cursor
from minibuild.linux.cursor import Cursor, Level
from tests.support.descriptors import open_descriptors, opened_since

DEEP = "/".join("abcdefghij")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with others that go deep."""
    made = tmp_path / "root"
    os.makedirs(made / DEEP)
    (made / "ab").mkdir()
    return made


@pytest.fixture
def fd(root: Path) -> Iterator[int]:
    """The root, open."""
    opened = os.open(root, os.O_PATH)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("limit", [1, 2, 4, 64])
def test_few_directories_are_open(
    root: Path, fd: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor, "_MAX_OPEN", limit)
    before = open_descriptors()
    with Cursor(fd) as walk:
        assert (walk.path, os.fstat(walk.fd)) == ("", os.fstat(fd))
        walk.enter(DEEP)
        assert len(opened_since(before)) == min(limit, 11)
        for path in (DEEP, "a/b/c", "a/b/c/d/e", "ab", "a", "", "a/b"):
            assert walk.enter(path) == walk.fd and walk.path == path
            assert os.fstat(walk.fd).st_ino == os.stat(root / path).st_ino
        assert os.fstat(walk.push("c")).st_ino == os.stat(root / "a/b/c").st_ino
        assert walk.path == "a/b/c"
        assert os.fstat(walk.pop()).st_ino == os.stat(root / "a/b").st_ino
        assert walk.path == "a/b"
    assert not opened_since(before)


def test_it_is_closed_once(root: Path, fd: int) -> None:
    """What was opened meanwhile stays open."""
    with Cursor(fd) as walk:
        walk.enter("a")
        walk.close()
        before = open_descriptors()
        others = [os.open(root, os.O_PATH) for _ in range(2)]
    assert len(opened_since(before)) == 2
    for other in others:
        os.close(other)


def test_directories_are_left_innermost_first(fd: int) -> None:
    """Each is still open then, and the one above is not where the cursor stands yet."""

    class Noting(Cursor):
        left: list[tuple[str, str]]

        def leave(self, level: Level) -> None:
            os.fstat(level.fd)
            self.left.append((level.name, self.path))

    with Noting(fd) as walk:
        walk.left = []
        walk.enter("a/b/c")
        walk.enter("a/b/c")
        walk.enter("ab")
        walk.enter("")
    assert walk.left == [("c", "a/b/c"), ("b", "a/b"), ("a", "a"), ("ab", "ab")]


def test_a_directory_that_was_moved(root: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way back would lead out of the tree."""
    monkeypatch.setattr(cursor, "_MAX_OPEN", 2)
    before = open_descriptors()
    with Cursor(fd) as walk:
        walk.enter("a/b/c")
        os.rename(root / "a/b", root.parent / "b")
        with pytest.raises(OSError, match="moved"):
            walk.enter("")
    assert not opened_since(before)


@pytest.mark.parametrize("name", ["link", "file", "no"])
def test_only_directories_are_entered(root: Path, fd: int, name: str) -> None:
    """It stays where it was."""
    (root / "a" / "link").symlink_to("b")
    (root / "a" / "file").touch()
    before = open_descriptors()
    with Cursor(fd) as walk:
        walk.enter("a")
        inside = open_descriptors()
        with pytest.raises((NotADirectoryError, FileNotFoundError)):
            walk.enter(f"a/{name}/x")
        assert walk.path == "a" and os.fstat(walk.fd).st_ino == os.stat(root / "a").st_ino
        assert not opened_since(inside)
    assert not opened_since(before)
