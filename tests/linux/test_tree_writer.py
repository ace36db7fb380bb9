"""Entries get what they are given, in an order that keeps it, and nothing leads elsewhere."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from minibuild.linux import device, xattr
from minibuild.linux.tree_writer import Metadata, TreeWriter, replace, times_of
from tests.linux.entries import DIR, FIFO, LNK, MAKES, ME, REG, TIMES, looks, nothing, state, text


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("mode", [0o644, 0o600, 0o407, 0o6755, 0o1777])
def test_an_entry_has_what_it_is_given(root: Path, tree: TreeWriter, name: str, mode: int) -> None:
    """Whatever the umask is."""
    kind, make = MAKES[name]
    old = os.umask(0o027)
    try:
        assert make(tree, looks(kind, mode)) in (True, "made")
        tree.finish()
    finally:
        os.umask(old)
    mode = 0o777 if kind == LNK else mode
    assert state(root / "e") == (kind | mode, *ME, TIMES)
    assert not os.path.islink(root / "e") or os.readlink(root / "e") == "to"
    assert not os.path.isfile(root / "e") or (root / "e").read_bytes() == b"text"


@pytest.mark.parametrize("name", MAKES)
def test_times_are_those_of_the_writing_if_none_are_given(
    root: Path, tree: TreeWriter, name: str
) -> None:
    kind, make = MAKES[name]
    make(tree, looks(kind, 0o640, times=None))
    tree.finish()
    assert (root / "e").lstat().st_mtime > TIMES[1] / 1e9 - 3e9  # Not that of 2044.
    assert times_of((root / "e").lstat()) != TIMES


@pytest.mark.needs("owners")
@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("ids", [(11, 22), (0, 22), (11, 0)])
def test_the_owner_comes_before_what_it_takes_away(
    root: Path, tree: TreeWriter, name: str, ids: tuple[int, int]
) -> None:
    """chown(2) clears set-id bits, and drops capabilities."""
    kind, make = MAKES[name]
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    xattrs = {xattr.CAPABILITY: capability} if kind == REG else {}
    make(tree, Metadata(kind | 0o6755, *ids, TIMES, xattrs))
    tree.finish()
    mode = 0o777 if kind == LNK else 0o6755
    assert state(root / "e") == (kind | mode, *ids, TIMES)
    assert xattr.get_all(str(root / "e")).keys() == xattrs.keys()


@pytest.mark.parametrize("name", MAKES)
def test_the_order_of_calls(tree: TreeWriter, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def noted(module: Any, call: str, word: str) -> None:
        real = getattr(module, call)

        def note(*args: Any, **named: Any) -> Any:
            called.append(word)
            return real(*args, **named)

        monkeypatch.setattr(module, call, note)

    for call in ("open", "mkdir", "symlink", "mknod"):
        noted(os, call, "create" if call != "open" or name == "file" else "enter")
    noted(os, "write", "write")
    for call, word in (("chown", "owner"), ("fchown", "owner"), ("chmod", "mode")):
        noted(os, call, word)
    noted(os, "fchmod", "mode")
    noted(xattr, "set", "attribute")
    noted(os, "utime", "times")
    kind, make = MAKES[name]
    ids = (ME[0], ME[1]) if os.geteuid() else (11, 22)
    xattrs = {"user.a": b"1"}
    make(tree, Metadata(kind | 0o6711, *ids, TIMES, xattrs))
    tree.finish()
    order = ["create", "enter", "write", "owner", "mode", "attribute", "times"]
    assert called == sorted(called, key=order.index)
    assert {"create", "attribute", "times"} <= set(called)
    assert ("mode" in called) == (kind != LNK)


# --- Directories ---


def test_a_directory_is_finished_when_it_is_left(root: Path, tree: TreeWriter) -> None:
    """Until then others are kept out, and it may be written whatever its mode is to be."""
    assert tree.directory("d", looks(DIR, 0o555)) == "made"
    assert tree.path == "d" and stat.S_IMODE((root / "d").stat().st_mode) == 0o700
    tree.file("f", looks(REG, 0o644), nothing)
    tree.directory("e", looks(DIR, 0o777))
    assert tree.path == "d/e"
    tree.enter("")
    for path, mode in (("d", 0o555), ("d/e", 0o777), ("d/f", 0o644)):
        assert stat.S_IMODE((root / path).stat().st_mode) == mode
        assert times_of((root / path).stat()) == TIMES


def test_a_directory_that_is_entered_again_keeps_its_times_if_asked(
    root: Path, tree: TreeWriter
) -> None:
    tree.directory("d", looks(DIR, 0o755))
    tree.enter("")
    tree.enter("d")
    tree.keep_times()
    tree.file("f", looks(REG, 0o644), nothing)
    tree.keep_times()  # Those of the first time count.
    tree.enter("")
    assert times_of((root / "d").stat()) == TIMES
    tree.enter("d")
    tree.file("g", looks(REG, 0o644), nothing)
    tree.enter("")
    assert times_of((root / "d").stat()) != TIMES


def test_metadata_wins_over_kept_times(root: Path, tree: TreeWriter) -> None:
    tree.keep_times()
    tree.describe(looks(DIR, 0o750))
    tree.finish()
    assert state(root) == (DIR | 0o750, *ME, TIMES)


def test_the_root_is_finished_once(root: Path, tree: TreeWriter) -> None:
    """The writer can be used further."""
    before = state(root)
    tree.finish()
    assert state(root) == before
    tree.describe(looks(DIR, 0o711))
    tree.directory("d", looks(DIR, 0o755))
    tree.finish()
    assert state(root) == (DIR | 0o711, *ME, TIMES) and tree.path == ""
    tree.file("f", looks(REG, 0o644), nothing)
    tree.finish()
    assert state(root)[3] != TIMES


@pytest.mark.parametrize("keep", [False, True])
def test_a_directory_that_is_there(root: Path, tree: TreeWriter, keep: bool) -> None:
    """It stays with all that is in it, and gets other metadata but with `keep`."""
    (root / "d" / "e").mkdir(parents=True)
    (root / "d").chmod(0o711)
    assert tree.directory("d", looks(DIR, 0o755), keep=keep) == "kept"
    assert tree.path == "d"
    tree.finish()
    assert stat.S_IMODE((root / "d").stat().st_mode) == (0o711 if keep else 0o755)
    assert (root / "d" / "e").is_dir()
    assert tree.directory("new", looks(DIR, 0o755), keep=keep) == "made"
    tree.finish()
    assert state(root / "new") == (DIR | 0o755, *ME, TIMES)


# --- What is in the way ---


def in_the_way(root: Path, kind: str) -> None:
    """Something at `e`."""
    if kind == "directory":
        (root / "e" / "sub").mkdir(parents=True)
    elif kind == "symlink":
        (root / "e").symlink_to(root.parent / "outside")
    else:
        (root / "e").write_text("before")


@pytest.mark.parametrize("there", ["file", "directory", "symlink"])
@pytest.mark.parametrize("name", [*MAKES, "link"])
def test_anything_is_replaced(root: Path, tree: TreeWriter, name: str, there: str) -> None:
    """A symlink is not followed, and only a directory on a directory stays."""
    (root.parent / "outside").mkdir()
    (root / "first").touch()
    in_the_way(root, there)
    kind, make = MAKES.get(name, (REG, lambda tree, _: tree.link("e", "first", tree.fd)))
    done = make(tree, looks(kind, 0o755))
    kept = name == there == "directory"
    assert done == (("kept" if kept else "replaced") if name == "directory" else True)
    if done == "replaced":
        assert stat.S_IMODE((root / "e").lstat().st_mode) == 0o700
    tree.finish()
    assert stat.S_IFMT((root / "e").lstat().st_mode) == kind
    assert (root / "e" / "sub").exists() == kept
    assert os.listdir(root.parent / "outside") == []


@pytest.mark.parametrize("name", [*MAKES, "link"])
def test_what_may_stay(root: Path, name: str) -> None:
    """Then nothing is written, and it is said so. The rule hears where, and what is to be there."""
    (root / "first").touch()
    in_the_way(root, "directory" if name == "directory" else "file")
    os.utime(root / "e", ns=TIMES)
    asked: list[tuple[int, str, int]] = []

    def stays(dir_fd: int, at: str, kind: int) -> bool:
        asked.append((os.fstat(dir_fd).st_ino, at, kind))
        return False

    kind, make = MAKES.get(name, (REG, lambda tree, _: tree.link("e", "first", tree.fd, REG)))
    with open(root / "first"), TreeWriter(os.open(root, os.O_PATH), stays) as tree:
        assert make(tree, looks(kind, 0o755, times=(1, 1))) in (False, "kept")
    assert asked == [(root.stat().st_ino, "e", kind)]
    assert times_of((root / "e").lstat()) == TIMES


def test_room_for_a_directory_is_made_of_all_else(root: Path) -> None:
    fd = os.open(root, os.O_PATH)
    in_the_way(root, "directory")
    assert replace(fd, "e", DIR) is False and (root / "e" / "sub").exists()
    assert replace(fd, "e", REG) is True and not (root / "e").exists()
    in_the_way(root, "file")
    assert replace(fd, "e", DIR) is True and not (root / "e").exists()
    os.close(fd)


def test_an_error_leaves_nothing_open(tree: TreeWriter) -> None:
    """See the fixture."""

    def fails(_: int) -> None:
        raise OSError(28, "full")

    tree.directory("d", looks(DIR, 0o755))
    with pytest.raises(OSError, match="full"):
        tree.file("f", looks(REG, 0o644), fails)
    with pytest.raises(FileNotFoundError):
        tree.link("g", "nowhere")


# --- Links and devices ---


def test_one_more_name(root: Path, tree: TreeWriter) -> None:
    """By a path, or a name in an open directory. A symlink is linked, not followed."""
    (root / "s").symlink_to("nowhere")
    tree.file("a", looks(REG, 0o644), text())
    tree.directory("d", looks(DIR, 0o755))
    assert tree.link("b", str(root / "a"))
    root_fd = os.open(root, os.O_RDONLY)
    assert tree.link("c", "a", root_fd) and tree.link("s", "s", root_fd)
    os.close(root_fd)
    assert (root / "a").stat().st_nlink == 3
    assert os.readlink(root / "d" / "s") == "nowhere"
    (root / "d" / "e").touch()
    assert tree.link("e", str(root / "s")) and os.readlink(root / "d" / "e") == "nowhere"
    assert state(root / "d" / "b") == (REG | 0o644, *ME, TIMES)


def test_devices_and_where_they_cannot_be_made(
    root: Path, tree: TreeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A placeholder marks the root of the tree."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    tree.directory("d", looks(DIR, 0o755))
    assert tree.special("e", looks(stat.S_IFCHR, 0o620), rdev=os.makedev(1, 3))
    path = str(root / "d" / "e")
    seen = device.seen(os.lstat(path), path)
    assert (seen.st_mode, seen.st_rdev) == (stat.S_IFCHR | 0o620, os.makedev(1, 3))
    assert device.is_marked(str(root)) and times_of(seen) == TIMES
    with pytest.raises(PermissionError):
        tree.special("fifo", looks(FIFO, 0o644))
