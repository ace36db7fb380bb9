"""Real paths inside a root, and a cursor that goes deep with few files open."""

import os
from pathlib import Path

import pytest

from minibuild.fileop import dirs
from minibuild.fileop.dirs import DirStack
from minibuild.fileop.paths import clean, escapes, names_directory, real_path
from tests.fileop.trees import make, opened
from tests.support.descriptors import open_descriptors

TREE = {
    "a/b/f": "f",
    "a/abs": "-> /a/b",
    "a/rel": "-> b",
    "a/up": "-> ../../../../a/b",
    "a/b/chain": "-> /a/rel/f",
    "dangling": "-> no/such",
    "loop": "-> loop/x",
    **{f"many{n}": f"-> many{n + 1}" for n in range(41)},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("a/b/f", "a/b/f"),
        ("/a/./abs//f", "a/b/f"),
        ("a/rel/f", "a/b/f"),
        ("a/up/f", "a/b/f"),
        ("a/abs/chain", "a/b/f"),
        ("a/abs/..", "a"),
        ("../../a/abs/../../..", ""),
        ("dangling", "no/such"),
        ("dangling/x/../y", "no/such/y"),
        ("a/b/f/x", "a/b/f/x"),
        ("many2", "many41"),
    ],
)
def test_real_paths(tmp_path: Path, path: str, expected: str) -> None:
    with opened(make(str(tmp_path), TREE)) as (fd,):
        assert real_path(fd, path) == expected


@pytest.mark.parametrize("path", ["loop", "many0"])
def test_too_many_symlinks(tmp_path: Path, path: str) -> None:
    with opened(make(str(tmp_path), TREE)) as (fd,), pytest.raises(OSError, match="Too many"):
        real_path(fd, path)


@pytest.mark.parametrize(
    ("path", "cleaned", "outside"),
    [
        ("", "", False),
        ("/./a//b/", "a/b", False),
        ("a/../../b", "b", True),
        ("../b", "b", True),
        ("a/..", "", False),
    ],
)
def test_cleaning(path: str, cleaned: str, outside: bool) -> None:
    assert (clean(path), escapes(path)) == (cleaned, outside)


def test_names_of_directories() -> None:
    assert [names_directory(p) for p in ("/", "/a/", "/a/.", "/a", "/a.", ".")] == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_cursor_keeps_few_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dirs, "_MAX_OPEN", 4)
    deep = "/".join("abcdefghij")
    os.makedirs(tmp_path / deep)
    before = open_descriptors()
    with opened(str(tmp_path)) as (fd,), DirStack(fd) as stack:
        stack.enter(deep)
        assert open_descriptors() <= before + 6
        for path in (deep, "a/b/c", "a/b/c/d/e", "", "a"):
            found, expected = os.fstat(stack.enter(path)), os.stat(tmp_path / path)
            assert found.st_ino == expected.st_ino
            assert stack.path == path


def test_a_cursor_notices_that_the_tree_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dirs, "_MAX_OPEN", 2)
    os.makedirs(tmp_path / "root/a/b/c")
    with opened(str(tmp_path / "root")) as (fd,), DirStack(fd) as stack:
        stack.enter("a/b/c")
        os.rename(tmp_path / "root/a/b", tmp_path / "b")
        with pytest.raises(OSError, match="moved"):
            stack.enter("")


def test_a_cursor_follows_no_symlink(tmp_path: Path) -> None:
    make(str(tmp_path), {"a/": "", "l": "-> a"})
    with opened(str(tmp_path)) as (fd,), DirStack(fd) as stack, pytest.raises(OSError):
        stack.enter("l")
