"""What counts as a change between two entries of one type, and what does not."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.linux import xattr
from minibuild.snapshot.compare import same_data, same_directory, same_file

TIME = 1_000_000_007
SIZE = (1 << 18) * 2 + 5
"""Two whole pieces of those that are compared at once, and a bit."""

Change = Callable[[str], object]


def at(path: Path) -> str:
    """With the times that all of them have."""
    os.utime(path, ns=(TIME, TIME), follow_symlinks=False)
    return str(path)


def file(path: Path) -> str:
    path.write_bytes(bytes(SIZE))
    path.chmod(0o644)
    xattr.set(str(path), "user.a", b"1")
    return at(path)


def folder(path: Path) -> str:
    path.mkdir(0o755)
    xattr.set(str(path), "user.a", b"1")
    return at(path)


def symlink(path: Path) -> str:
    path.symlink_to("target")
    return at(path)


def fifo(path: Path) -> str:
    os.mkfifo(path, 0o600)
    return at(path)


def device(path: Path) -> str:
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    return at(path)


def keeping_times(change: Change) -> Change:
    """As a program may that wants nobody to see a change."""

    def changed(path: str) -> None:
        change(path)
        os.utime(path, ns=(TIME, TIME), follow_symlinks=False)

    return changed


def poke(offset: int) -> Change:
    """Another byte at one place."""

    def changed(path: str) -> None:
        with open(path, "r+b") as opened:
            opened.seek(offset)
            opened.write(b"x")

    return keeping_times(changed)


def instead(make: Callable[[Path], object]) -> Change:
    """Another one of the same name."""

    def changed(path: str) -> None:
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        make(Path(path))

    return keeping_times(changed)


UNCHANGED: Change = lambda path: None  # noqa: E731
METADATA: list[tuple[str, Change, bool]] = [
    ("nothing", UNCHANGED, True),
    ("mode", lambda path: os.chmod(path, 0o701), False),
    ("set-group-id", lambda path: os.chmod(path, 0o2755), False),
    ("attribute", lambda path: xattr.set(path, "user.a", b"2"), False),
    ("attribute more", lambda path: xattr.set(path, "user.b", b""), False),
    ("attribute less", lambda path: xattr.remove(path, "user.a"), False),
    ("overlayfs", lambda path: xattr.set(path, "user.overlay.origin", b"x"), True),
]
OWNERS: list[tuple[str, Change, bool]] = [
    ("user", keeping_times(lambda path: os.chown(path, 1, -1, follow_symlinks=False)), False),
    ("group", keeping_times(lambda path: os.chown(path, -1, 1, follow_symlinks=False)), False),
]


def ids(cases: list[tuple[str, Change, bool]]) -> list[str]:
    return [name for name, _, _ in cases]


def both(tmp_path: Path, make: Callable[[Path], str], change: Change) -> tuple[str, str]:
    """Two that are made alike, and then one is changed."""
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    change(other)
    return one, other


DIRECTORIES = [
    *METADATA,
    ("time", lambda path: os.utime(path, ns=(5, 5)), True),
    ("contents", lambda path: Path(path, "new").touch(), True),
]


@pytest.mark.parametrize(("name", "change", "same"), DIRECTORIES, ids=ids(DIRECTORIES))
def test_directories(tmp_path: Path, name: str, change: Change, same: bool) -> None:
    """Their time changes when a file is moved away and back, which is no change."""
    assert same_directory(*both(tmp_path, folder, change)) is same


FILES = [
    *METADATA,
    ("modification time", lambda path: os.utime(path, ns=(TIME, TIME + 1)), False),
    ("access time", lambda path: os.utime(path, ns=(5, TIME)), True),
    ("size", keeping_times(lambda path: os.truncate(path, SIZE + 1)), False),
    ("first byte", poke(0), False),
    ("second piece", poke(1 << 18), False),
    ("last byte", poke(SIZE - 1), False),
    ("rewritten", instead(file), True),
]


@pytest.mark.parametrize(("name", "change", "same"), FILES, ids=ids(FILES))
def test_files(tmp_path: Path, name: str, change: Change, same: bool) -> None:
    one, other = both(tmp_path, file, change)
    assert same_file(one, other) is same
    assert same_file(other, one) is same


def test_one_inode_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = file(tmp_path / "one")
    os.link(one, tmp_path / "other")
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("it is read"))
    assert same_file(one, str(tmp_path / "other")) is True


OTHERS: list[tuple[Callable[[Path], str], Change, bool]] = [
    (symlink, UNCHANGED, True),
    (symlink, instead(lambda path: path.symlink_to("other")), False),
    (fifo, UNCHANGED, True),
    (fifo, lambda path: os.chmod(path, 0o644), False),
    (fifo, lambda path: os.utime(path, ns=(TIME, TIME + 1)), False),
]


@pytest.mark.parametrize(("make", "change", "same"), OTHERS)
def test_what_has_no_contents(
    tmp_path: Path, make: Callable[[Path], str], change: Change, same: bool
) -> None:
    assert same_file(*both(tmp_path, make, change)) is same


@pytest.mark.needs("owners")
@pytest.mark.parametrize("make", [file, symlink, fifo])
@pytest.mark.parametrize(("name", "change", "same"), OWNERS, ids=ids(OWNERS))
def test_owners(
    tmp_path: Path, make: Callable[[Path], str], name: str, change: Change, same: bool
) -> None:
    assert same_file(*both(tmp_path, make, change)) is same


@pytest.mark.needs("owners")
@pytest.mark.parametrize(("name", "change", "same"), OWNERS, ids=ids(OWNERS))
def test_owners_of_directories(tmp_path: Path, name: str, change: Change, same: bool) -> None:
    assert same_directory(*both(tmp_path, folder, change)) is same


@pytest.mark.needs("root", "trusted_xattr")
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_devices(tmp_path: Path, kind: int) -> None:
    """By their numbers."""

    def made(name: str, minor: int) -> str:
        os.mknod(tmp_path / name, 0o600 | kind, os.makedev(1, minor))
        return at(tmp_path / name)

    one = made("one", 3)
    assert same_file(one, made("same", 3)) is True
    assert same_file(one, made("other", 5)) is False


def directory(path: Path) -> str:
    path.mkdir()
    return str(path)


SAME_DATA: list[tuple[str, Callable[[Path], str], Change, bool]] = [
    ("a file", file, UNCHANGED, True),
    ("its mode", file, lambda path: os.chmod(path, 0o701), True),
    ("its times", file, lambda path: os.utime(path, ns=(5, 5)), True),
    ("its attributes", file, lambda path: xattr.set(path, "user.a", b"2"), True),
    ("a byte", file, poke(SIZE - 1), False),
    ("its size", file, lambda path: os.truncate(path, SIZE + 1), False),
    ("a link instead", file, instead(lambda path: path.symlink_to("target")), False),
    ("a symlink", symlink, UNCHANGED, True),
    ("its target", symlink, instead(lambda path: path.symlink_to("other")), False),
    ("a file instead", symlink, instead(lambda path: path.write_text("target")), False),
    ("a pipe", fifo, UNCHANGED, False),
    ("a directory", directory, UNCHANGED, False),
]


@pytest.mark.parametrize(
    ("make", "change", "same"),
    [case[1:] for case in SAME_DATA],
    ids=[case[0] for case in SAME_DATA],
)
def test_data_alone(
    tmp_path: Path, make: Callable[[Path], str], change: Change, same: bool
) -> None:
    """Owners and permissions do not count; what has no data is never the same."""
    one, other = both(tmp_path, make, change)
    assert same_data(one, other) is same
    assert same_data(other, one) is same
