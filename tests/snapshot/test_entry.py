"""One entry made like another, and data copied with its holes."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import Cancelled
from minibuild.lab.disk import TYPES, read_entry
from minibuild.linux import xattr
from minibuild.snapshot import entry
from tests.snapshot.world import Edit, chmod, node, set_xattr, utime, write
from tests.support.descriptors import open_descriptors

HOLE = 1 << 20
"""Large enough for a hole on any filesystem."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, int]:
    """Where entries come from, and an open directory that they go to."""
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    return str(tmp_path / "from"), os.open(tmp_path / "to", os.O_RDONLY | os.O_DIRECTORY)


def copied(folders: tuple[str, int], *edits: Edit) -> tuple[Any, Any]:
    """What the edits make of `e`, and what its copy is."""
    source, to = folders
    for edit in edits:
        edit(source)
    accessed = os.lstat(f"{source}/e").st_atime_ns
    before = open_descriptors()
    entry.copy(f"{source}/e", to, "e")
    assert open_descriptors() == before
    made = f"/proc/self/fd/{to}/e"
    assert os.lstat(made).st_atime_ns == accessed
    found, expected = read_entry(made), read_entry(f"{source}/e")
    return found._replace(inode=0), expected._replace(inode=0)


ENTRIES: dict[str, tuple[Edit, ...]] = {
    "file": (write("e", "text", 0o640),),
    "empty": (write("e", "", 0o400),),
    "set-id": (write("e", "text", 0o6755),),
    "attribute": (write("e", "text"), set_xattr("e", "user.a", b"\0\1")),
    "symlink": (node("e", "symlink"),),
    "fifo": (node("e", "fifo"), chmod("e", 0o640)),
    "sock": (node("e", "sock"), chmod("e", 0o711)),
}


@pytest.mark.parametrize("edits", ENTRIES.values(), ids=list(ENTRIES))
def test_copies(folders: tuple[str, int], edits: tuple[Edit, ...]) -> None:
    """Type, mode, data, attributes and both times."""
    found, expected = copied(folders, *edits, utime("e", 1_234_567_891_234_567_891))
    assert found == expected


@pytest.mark.needs("owners")
@pytest.mark.parametrize("kind", [kind for kind in TYPES.values() if kind != "dir"])
def test_owners_and_devices(folders: tuple[str, int], kind: str) -> None:
    """The owner is changed first, for that clears set-id bits and drops capabilities."""
    edits: list[Edit] = [node("e", kind), lambda root: os.lchown(f"{root}/e", 11, 22)]
    if kind == "file":
        capability = bytes.fromhex("0100000200040000000000000000000000000000")
        edits += [chmod("e", 0o6755), set_xattr("e", "security.capability", capability)]
    found, expected = copied(folders, *edits)
    assert found == expected and found.owner == (11, 22)
    assert kind != "file" or (found.mode, len(found.xattrs)) == (0o6755, 1)


@pytest.mark.needs("root", "trusted_xattr")
@pytest.mark.parametrize("kind", [kind for kind in TYPES.values() if kind != "dir"])
def test_attributes_of_all_types(folders: tuple[str, int], kind: str) -> None:
    """`user.*` is for files and directories only; other namespaces are for all (xattr(7))."""
    found, expected = copied(folders, node("e", kind), set_xattr("e", "trusted.a", b"1"))
    assert found == expected and found.xattrs == (("trusted.a", b"1"),)


@pytest.mark.parametrize("kind", ["file", "symlink", "fifo"])
def test_a_name_that_is_taken(folders: tuple[str, int], kind: str) -> None:
    """What is there stays, and nothing stays open."""
    source, to = folders
    node("e", kind)(source)
    write("e", "before")(f"/proc/self/fd/{to}")
    before = open_descriptors()
    with pytest.raises(FileExistsError):
        entry.copy(f"{source}/e", to, "e")
    assert Path(f"/proc/self/fd/{to}/e").read_text() == "before"
    assert open_descriptors() == before


# --- Data ---

DATA = bytes(range(256)) * 16
LAYOUTS: dict[str, list[tuple[int, bytes]]] = {
    "whole": [(0, DATA * 600)],
    "hole first": [(HOLE, DATA)],
    "hole last": [(0, DATA), (3 * HOLE, b"")],
    "hole only": [(3 * HOLE, b"")],
    "several": [(0, DATA), (HOLE, DATA), (5 * HOLE, DATA), (7 * HOLE, b"")],
}


def sparse(path: Path, layout: list[tuple[int, bytes]]) -> Path:
    with open(path, "wb") as file:
        for offset, data in layout:
            file.seek(offset)
            file.write(data)
            file.truncate(offset + len(data))
    return path


def copy_data(
    source: Path, target: Path, size: int | None = None, cancelled: threading.Event | None = None
) -> None:
    with open(source, "rb") as one, open(target, "wb") as other:
        size = os.path.getsize(source) if size is None else size
        entry.copy_data(one.fileno(), other.fileno(), size, cancelled)


def refuse(error: int) -> Callable[..., int]:
    def refused(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    return refused


def in_small_pieces(from_fd: int, to_fd: int, count: int, at: int, to: int) -> int:
    assert at == to
    return os.pwrite(to_fd, os.pread(from_fd, min(count, 1000), at), to)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize(
    "way",
    [os.copy_file_range, in_small_pieces, *map(refuse, entry._NO_COPY_RANGE)],
    ids=["kernel", "pieces", "EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"],
)
def test_data_is_copied_and_holes_are_not_filled(
    tmp_path: Path,
    layout: list[tuple[int, bytes]],
    way: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the kernel cannot copy, or copies less than it was asked for."""
    source, target = sparse(tmp_path / "from", layout), tmp_path / "to"
    monkeypatch.setattr(os, "copy_file_range", way)
    copy_data(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks + 64


def test_other_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sparse(tmp_path / "from", LAYOUTS["whole"])
    monkeypatch.setattr(os, "copy_file_range", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        copy_data(source, tmp_path / "to")
    monkeypatch.setattr(os, "lseek", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        copy_data(source, tmp_path / "to")


def test_a_file_that_becomes_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy has the size that was looked at, and the copying ends."""
    source = sparse(tmp_path / "from", [(0, b"12345")])
    real = os.copy_file_range

    def shorter(from_fd: int, to_fd: int, count: int, at: int, to: int) -> int:
        os.truncate(source, 3)
        return real(from_fd, to_fd, count, at, to)

    monkeypatch.setattr(os, "copy_file_range", shorter)
    copy_data(source, tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == b"123\0\0"


def test_only_as_much_as_was_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces a build may be cancelled."""
    source = sparse(tmp_path / "from", [(0, DATA * 2)])
    monkeypatch.setattr(entry, "_COPY_BYTES", 4096)
    counts, real = [], os.copy_file_range
    cancelled = threading.Event()

    def noted(from_fd: int, to_fd: int, count: int, at: int, to: int) -> int:
        counts.append(count)
        cancelled.set()
        return real(from_fd, to_fd, count, at, to)

    monkeypatch.setattr(os, "copy_file_range", noted)
    with pytest.raises(Cancelled):
        copy_data(source, tmp_path / "to", None, cancelled)
    assert counts == [4096]


# --- Directories ---


def test_a_directory_like_another(tmp_path: Path) -> None:
    """Attributes that the other one lacks go. Times come last, for the caller knows when."""
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
        xattr.set(str(tmp_path / name), f"user.{name}", b"1")
    (tmp_path / "from").chmod(0o2751)
    os.utime(tmp_path / "from", ns=(5, 6))
    fd = os.open(tmp_path / "to", os.O_RDONLY)
    found = entry.like_directory(str(tmp_path / "from"), fd)
    os.close(fd)
    assert (found.st_mtime_ns, found.st_atime_ns) == (6, 5)
    made = os.stat(tmp_path / "to")
    assert stat.S_IMODE(made.st_mode) == 0o2751
    assert xattr.names(str(tmp_path / "to")) == ["user.from"]
    assert made.st_mtime_ns != 6


def test_the_root_of_a_layer_is_like_the_one_below(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from").chmod(0o1777)
    os.utime(tmp_path / "from", ns=(5, 6))
    before = open_descriptors()
    entry.inherit_root(str(tmp_path / "from"), str(tmp_path / "to"))
    assert open_descriptors() == before
    made = os.stat(tmp_path / "to")
    assert (stat.S_IMODE(made.st_mode), made.st_atime_ns, made.st_mtime_ns) == (0o1777, 5, 6)


@pytest.mark.needs("owners")
def test_the_owner_of_a_directory(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    os.chown(tmp_path / "from", 11, 22)
    entry.inherit_root(str(tmp_path / "from"), str(tmp_path / "to"))
    made = os.stat(tmp_path / "to")
    assert (made.st_uid, made.st_gid) == (11, 22)
