"""Paths inside a hostile root stay inside it."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.linux import beneath
from tests.support.descriptors import open_descriptors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root beside a file that must never be reached."""
    (tmp_path / "secret").write_text("secret")
    inner = tmp_path / "root"
    inner.mkdir()
    return inner


@pytest.fixture
def fd(root: Path) -> Iterator[int]:
    """The root, open."""
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("target", ["../secret", "/../secret", "/../../secret", "d/../../secret"])
def test_symlinks_and_dots_stop_at_the_root(root: Path, fd: int, target: str) -> None:
    (root / "d").mkdir()
    (root / "link").symlink_to(target)
    for path in ("link", "/link", target):
        with pytest.raises(FileNotFoundError):
            os.close(beneath.open_beneath(fd, path, os.O_RDONLY))
    (root / "secret").write_text("harmless")
    with open(beneath.open_beneath(fd, "link", os.O_RDONLY)) as file:
        assert file.read() == "harmless"


def test_links_of_proc_are_not_taken(fd: int) -> None:
    with pytest.raises(OSError) as caught:
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.close(beneath.open_beneath(proc, f"self/fd/{fd}/x", os.O_RDONLY))
        finally:
            os.close(proc)
    assert caught.value.errno == errno.ELOOP


def test_a_parent_that_is_swapped_never_leads_outside(root: Path, fd: int) -> None:
    (root / "d").mkdir()
    (root / "d" / "secret").write_text("harmless")
    (root / "link").symlink_to("..")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for one, other in (("d", "t"), ("link", "d"), ("d", "link"), ("t", "d")):
                os.rename(root / one, root / other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(2000):
            try:
                opened = beneath.open_beneath(fd, "d/secret", os.O_RDONLY)
            except FileNotFoundError:
                continue
            with open(opened) as file:
                assert file.read() == "harmless"
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b", "b"), ("a/b/", "b"), ("/b", "b"), ("b", "b"), ("", "."), ("/", "."), ("a/..", ".")],
)
def test_parent(root: Path, fd: int, path: str, name: str) -> None:
    (root / "a").mkdir()
    with beneath.parent_beneath(fd, path) as (_, found):
        assert found == name


def test_parent_does_not_resolve_the_last_component(root: Path, fd: int) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("/real")
    (root / "real" / "last").symlink_to("nowhere")
    with beneath.parent_beneath(fd, "link/last") as (dir_fd, name):
        assert os.readlink(name, dir_fd=dir_fd) == "nowhere"
    with pytest.raises(FileNotFoundError), beneath.parent_beneath(fd, "missing/x"):
        pass


def test_exists_and_stat(root: Path, fd: int) -> None:
    (root / "f").write_text("four")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    assert beneath.exists(fd, "f") and beneath.exists(fd, "") and beneath.exists(fd, "/")
    assert not beneath.exists(fd, "f/x") and not beneath.exists(fd, "loop")
    assert not beneath.exists(fd, "dangling")
    assert beneath.exists(fd, "dangling", follow_symlinks=False)
    assert beneath.stat_beneath(fd, "f").st_size == 4
    assert beneath.lstat_beneath(fd, "dangling").st_size == len("nowhere")


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("x/y/z", ["x", "x/y", "x/y/z"]),
        ("/d/x", ["d/x"]),
        ("d", []),
        ("", []),
        ("d/./x//y/", ["d/x", "d/x/y"]),
        ("link/x", ["d/x"]),
        ("dangling/x", ["to", "to/here", "to/here/x"]),
        ("outside/x", ["up", "up/x"]),
        ("new/../d/x", ["new", "d/x"]),
    ],
)
def test_makedirs(root: Path, fd: int, path: str, made: list[str]) -> None:
    (root / "d").mkdir()
    (root / "link").symlink_to("d")
    (root / "dangling").symlink_to("/to/here")
    (root / "outside").symlink_to("../../up")
    old = os.umask(0o077)
    try:
        assert beneath.makedirs_beneath(fd, path, 0o751) == made
    finally:
        os.umask(old)
    for directory in made:
        assert (root / directory).stat().st_mode & 0o7777 == 0o751
    assert sorted(os.listdir(root.parent)) == ["root", "secret"]


def test_makedirs_over_a_file_and_in_a_loop(root: Path, fd: int) -> None:
    (root / "f").write_text("")
    (root / "one").symlink_to("two/x")
    (root / "two").symlink_to("one/x")
    with pytest.raises(NotADirectoryError):
        beneath.makedirs_beneath(fd, "f/x")
    with pytest.raises(OSError) as caught:
        beneath.makedirs_beneath(fd, "one/y")
    assert caught.value.errno == errno.ELOOP


def test_remove_tree_does_not_follow(root: Path, fd: int) -> None:
    (root / "d").mkdir()
    (root / "d" / "link").symlink_to("../../")
    (root / "d" / "f").write_text("")
    (root / "top").symlink_to("..")
    assert beneath.remove_tree(fd, "d") and beneath.remove_tree(fd, "top")
    assert not beneath.remove_tree(fd, "d")
    assert os.listdir(root) == []
    assert (root.parent / "secret").exists()


def test_remove_tree_goes_as_deep_as_it_has_to(root: Path, fd: int) -> None:
    deep, levels = os.dup(fd), 1500
    for _ in range(levels):
        os.mkdir("d", dir_fd=deep)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=deep))
        inner = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    before = open_descriptors()
    assert beneath.remove_tree(fd, "d")
    assert open_descriptors() == before
    assert os.listdir(root) == ["f"]


def test_remove_tree_where_modes_forbid_it(root: Path, fd: int) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e" / "f").write_text("")
    (root / "d" / "e").chmod(0)
    (root / "d").chmod(0o500)
    assert beneath.remove_tree(fd, "d")


def test_remove_tree_says_when_it_cannot(
    root: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "d" / "e").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    before = open_descriptors()
    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(OSError, match="busy"):
        beneath.remove_tree(fd, "d")
    assert open_descriptors() == before
