"""Paths inside a hostile root stay inside it."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minibuild.linux import beneath
from tests.support.descriptors import open_descriptors, opened_since


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


def test_metadata_and_links(root: Path, fd: int) -> None:
    """Of real paths alone: a symlink on the way hides what is behind it."""
    (root / "d").mkdir()
    (root / "d" / "f").write_text("four")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "link").symlink_to("d")
    found = {path: beneath.lstat(fd, path) for path in ("d/f", "dangling", "loop", "")}
    assert [status and status.st_size for status in found.values()][:3] == [4, 7, 4]
    assert found[""] == os.fstat(fd)
    for path in ("no", "d/f/x", "link/f", "loop/x"):
        assert beneath.lstat(fd, path) is None and beneath.readlink(fd, path) is None
    links = {path: beneath.readlink(fd, path) for path in ("dangling", "loop", "link", "d", "d/f")}
    assert list(links.values()) == ["nowhere", "loop", "d", None, None]


def test_real_paths_are_opened_as_they_are(root: Path, fd: int) -> None:
    (root / "d").mkdir()
    (root / "link").symlink_to("d")
    os.close(beneath.open_real(fd, "d", os.O_RDONLY))
    os.close(beneath.open_real(fd, "", os.O_RDONLY))
    for path in ("link", "link/x", "d/../link"):
        with pytest.raises(OSError) as caught:
            beneath.open_real(fd, path, os.O_RDONLY)
        assert caught.value.errno == errno.ELOOP


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


@pytest.fixture
def planted(root: Path, fd: int) -> int:
    """A root with symlinks in it."""
    for path, text in TREE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (root / path).symlink_to(text[3:])
        else:
            (root / path).write_text(text)
    return fd


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
        ("many1", "many41"),
    ],
)
def test_real_paths(planted: int, path: str, expected: str) -> None:
    assert beneath.real_path(planted, path) == expected


@pytest.mark.parametrize("path", ["loop", "many0"])
def test_too_many_symlinks(planted: int, path: str) -> None:
    with pytest.raises(OSError, match="Too many"):
        beneath.real_path(planted, path)


def test_symlinks_that_are_not_followed_are_names(planted: int) -> None:
    """Those that a lower layer has, say."""
    assert beneath.real_path(planted, "a/abs/x", lambda real: real != "a/abs") == "a/abs/x"
    assert beneath.real_path(planted, "a/up/chain", lambda real: real != "a/rel") == "a/rel/f"


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", ""),
        (".", ""),
        ("..", ""),
        ("a", "a"),
        ("a/", "a"),
        ("/./a//b/", "a/b"),
        ("a/../../b", "b"),
        ("../b", "b"),
        ("a/..", ""),
        ("a/b/../c/.", "a/c"),
        ("a//b", "a/b"),
        (".a/..b", ".a/..b"),
        ("a./b..", "a./b.."),
    ],
)
def test_cleaning(path: str, cleaned: str) -> None:
    assert beneath.clean(path) == cleaned


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
        ("new/../d/x", ["d/x"]),
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


def test_remove_path(tmp_path: Path) -> None:
    """Its parents may be symlinks, as TMPDIR may; what it is itself is not followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "to").symlink_to("real")
    (tmp_path / "real/d").symlink_to(tmp_path / "kept")
    before = open_descriptors()
    assert beneath.remove_path(f"{tmp_path}/to/d")
    assert not beneath.remove_path(f"{tmp_path}/to/d")
    assert sorted(os.listdir(tmp_path)) == ["kept", "real", "to"]
    assert not opened_since(before)


def test_remove_tree_does_not_follow(root: Path, fd: int) -> None:
    (root / "d").mkdir()
    (root / "d" / "link").symlink_to("../../")
    (root / "d" / "f").write_text("")
    (root / "top").symlink_to("..")
    assert beneath.remove_tree(fd, "d") and beneath.remove_tree(fd, "top")
    assert beneath.remove_tree(fd, "d") is False
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
    assert not opened_since(before)
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
    assert not opened_since(before)


def test_names_and_what_is_above_them() -> None:
    assert [beneath.join(*pair) for pair in (("a", "b"), ("", "b"), ("a", ""), ("", ""))] == [
        "a/b",
        "b",
        "a",
        "",
    ]
    assert [beneath.parents(path) for path in ("", "a", "a/b/c", "/a")] == [
        [],
        ["a"],
        ["a", "a/b", "a/b/c"],
        ["", "/a"],
    ]


def test_a_look_leaves_nothing_open(root: Path, fd: int) -> None:
    (root / "f").touch()
    before = open_descriptors()
    assert beneath.lstat(fd, "f") and beneath.readlink(fd, "f") is None
    beneath.real_path(fd, "f/x")
    beneath.makedirs_beneath(fd, "a/b")
    assert not opened_since(before)


@pytest.mark.parametrize(("mode", "changed"), [(0o500, True), (0o700, False), (0o755, False)])
@pytest.mark.parametrize("account", [0, 1000])
def test_directories_are_opened_to_their_owner(
    root: Path,
    fd: int,
    mode: int,
    changed: bool,
    account: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Root needs no permission."""
    (root / "d").mkdir(mode)
    modes: list[int] = []
    monkeypatch.setattr(os, "geteuid", lambda: account)
    monkeypatch.setattr(os, "fchmod", lambda _, given: modes.append(given))
    assert beneath.remove_tree(fd, "d") is True
    assert modes == ([0o700] if changed and account else [])


def test_a_directory_that_may_not_be_read(
    root: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner may, after all."""
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e").chmod(0o111)
    real = os.open

    def refuse(name: str, *words: Any, **named: Any) -> int:
        if name == "e" and os.stat(root / "d" / "e").st_mode & 0o777 != 0o700:
            raise PermissionError(13, "denied")
        return real(name, *words, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert beneath.remove_tree(fd, "d") and not (root / "d").exists()
