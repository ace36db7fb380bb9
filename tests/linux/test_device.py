"""Devices and their placeholders: what a build sees, and what becomes of them on the way."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.linux import device


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory on a filesystem with user attributes, or a skip."""
    try:
        os.setxattr(tmp_path, "user.test", b"")
    except OSError:
        pytest.skip("no user attributes here")
    return tmp_path


def placeholder(tree: Path, name: str, kind: int, number: tuple[int, int]) -> Path:
    """A placeholder in the tree."""
    fd = os.open(tree, os.O_RDONLY)
    try:
        device.make_placeholder(fd, name, kind, os.makedev(*number), fd)
    finally:
        os.close(fd)
    return tree / name


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize("number", [(1, 3), (0, 0), (259, 70000)])
def test_a_placeholder_is_seen_as_the_device(
    tree: Path, kind: int, number: tuple[int, int]
) -> None:
    path = placeholder(tree, "dev", kind, number)
    path.chmod(0o640)
    os.utime(path, ns=(1, 2_000_000_003))
    plain = os.lstat(path)
    seen = device.seen(plain, str(path))
    assert stat.S_IFMT(plain.st_mode) == stat.S_IFREG
    assert seen.st_mode == kind | 0o640 and seen.st_rdev == os.makedev(*number)
    assert (seen.st_uid, seen.st_gid, seen.st_nlink) == (plain.st_uid, plain.st_gid, 1)
    assert (seen.st_ino, seen.st_mtime_ns) == (plain.st_ino, 2_000_000_003)
    assert device.is_marked(str(tree))


def test_other_files_are_what_they_are(tree: Path) -> None:
    path = placeholder(tree, "written", stat.S_IFCHR, (1, 3))
    path.write_text("x")
    for value in (b"", b"char", b"fifo 1:3", b"char x:3", b"char 1:99999999999999999999"):
        os.close(os.open(tree / "odd", os.O_CREAT))
        os.setxattr(tree / "odd", device.PLACEHOLDER, value)
        found = os.lstat(tree / "odd")
        assert device.seen(found, str(tree / "odd")) is found
    found = os.lstat(path)
    assert device.seen(found, str(path)) is found
    assert device.seen(os.lstat(tree), str(tree)).st_mode == os.lstat(tree).st_mode


def test_a_tree_without_devices_has_no_mark(tree: Path) -> None:
    assert not device.is_marked(str(tree))
    fd = os.open(tree, os.O_RDONLY)
    try:
        device.make(fd, "fifo", stat.S_IFIFO, 0, fd)
        with pytest.raises(FileExistsError):
            device.make(fd, "fifo", stat.S_IFIFO, 0, fd)
    finally:
        os.close(fd)
    assert stat.S_ISFIFO(os.lstat(tree / "fifo").st_mode)
    assert not device.is_marked(str(tree))
