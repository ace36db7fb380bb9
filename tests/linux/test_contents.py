"""Bytes arrive whole, also where a filesystem gives and takes less than it is asked to."""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from minibuild.errors import Cancelled
from minibuild.linux import contents
from minibuild.linux.contents import SMALL, Copier, extents, same_contents, write_all

PIECE = 1000
SIZES = (0, 1, PIECE, PIECE + 1, 5 * PIECE + 7, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL)


@pytest.fixture
def grudging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that moves a thousand bytes at a time, as FUSE may, and knows no shortcuts."""
    readv, preadv, pread, pwrite = os.readv, os.preadv, os.pread, os.pwrite
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: PIECE // 3]))

    def read_some(fd: int, buffers: Sequence[memoryview]) -> int:
        return readv(fd, [memoryview(buffers[0])[:PIECE]])

    def pread_some(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        return preadv(fd, [memoryview(buffers[0])[:PIECE]], offset)

    def refused(*args: object) -> int:
        raise OSError(18, "cross-device")

    monkeypatch.setattr(os, "readv", read_some)
    monkeypatch.setattr(os, "preadv", pread_some)
    monkeypatch.setattr(os, "pread", lambda fd, n, at: pread(fd, min(n, PIECE), at))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[: PIECE // 2], at))
    monkeypatch.setattr(os, "copy_file_range", refused)


@pytest.mark.usefixtures("grudging")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hole", [0, SMALL])
def test_copies(tmp_path: Path, size: int, hole: int) -> None:
    data = os.urandom(size)
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.write(data)
        if size:
            file.truncate(size + hole)
    with source.open("rb") as one, target.open("wb") as other:
        Copier().copy(one.fileno(), other.fileno(), source.stat().st_size)
    assert target.read_bytes() == source.read_bytes()
    with source.open("rb") as one, target.open("r+b") as other:
        assert same_contents(one.fileno(), other.fileno())
        if size:
            other.seek(size - 1)
            other.write(bytes([data[-1] ^ 1]))
            other.flush()
            assert same_contents(one.fileno(), other.fileno()) is False


@pytest.mark.usefixtures("grudging")
@pytest.mark.parametrize("size", [0, 1, PIECE // 3, PIECE // 3 + 1, PIECE])
def test_all_is_written(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with (tmp_path / "f").open("wb") as file:
        write_all(file.fileno(), data)
        write_all(file.fileno(), memoryview(data))
    assert (tmp_path / "f").read_bytes() == data + data


HOLE = 1 << 20
"""Large enough for a hole on any filesystem."""

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
        Copier(cancelled).copy(one.fileno(), other.fileno(), size)


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
    [os.copy_file_range, in_small_pieces, *map(refuse, contents._REFUSED), lambda *_: 0],
    ids=[
        "kernel",
        "pieces",
        "EXDEV",
        "EINVAL",
        "EOPNOTSUPP",
        "ENOSYS",
        "EPERM",
        "EBADF",
        "nothing",
    ],
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
    source = sparse(tmp_path / "from", [(0, b"x" * 2 * SMALL)])
    real = os.copy_file_range

    def shorter(from_fd: int, to_fd: int, count: int, at: int, to: int) -> int:
        os.truncate(source, 3)
        return real(from_fd, to_fd, count, at, to)

    monkeypatch.setattr(os, "copy_file_range", shorter)
    copy_data(source, tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == b"xxx" + bytes(2 * SMALL - 3)


def test_only_as_much_as_was_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces a build may be cancelled."""
    source = sparse(tmp_path / "from", [(0, DATA * 20)])
    monkeypatch.setattr(contents, "_CHUNK", 4096)
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


@pytest.mark.parametrize("size", SIZES)
def test_what_is_hashed_is_what_is_copied(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "from").write_bytes(data)
    sha = hashlib.sha256()
    with open(tmp_path / "from", "rb") as one, open(tmp_path / "to", "wb") as other:
        Copier().copy(one.fileno(), other.fileno(), size, sha)
    assert (tmp_path / "to").read_bytes() == data
    assert sha.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("thought", [0, 5, SMALL - 1])
def test_a_file_that_is_larger_than_thought(tmp_path: Path, thought: int) -> None:
    """It grew since it was looked at, or its filesystem does not say, as /proc."""
    data = os.urandom(3 * SMALL)
    (tmp_path / "from").write_bytes(data)
    copy_data(tmp_path / "from", tmp_path / "to", thought)
    assert (tmp_path / "to").read_bytes() == data


def test_extents_end_with_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sparse(tmp_path / "f", [(HOLE, DATA), (3 * HOLE, DATA), (5 * HOLE, b"")])
    with open(source, "rb") as file:
        fd = file.fileno()
        assert list(extents(fd, 5 * HOLE)) == [
            (HOLE, HOLE + len(DATA)),
            (3 * HOLE, 3 * HOLE + len(DATA)),
        ]
        assert list(extents(fd, HOLE + 10)) == [(HOLE, HOLE + 10)]
        assert list(extents(fd, HOLE)) == []
        # Where it cannot be asked all is data.
        monkeypatch.setattr(os, "lseek", refuse(errno.EINVAL))
        assert list(extents(fd, 7)) == [(0, 7)]


@pytest.mark.parametrize(("size", "reads"), [(0, 1), (1, 1), (SMALL - 1, 1), (SMALL + 1, 2)])
def test_a_file_is_not_read_beyond_its_end(
    tmp_path: Path, size: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call less for each small file; an empty one is asked in any case."""
    (tmp_path / "f").write_bytes(bytes(size))
    counts, readv = [], os.readv

    def noted(fd: int, buffers: Sequence[memoryview]) -> int:
        counts.append(readv(fd, buffers))
        return counts[-1]

    monkeypatch.setattr(os, "readv", noted)
    with open(tmp_path / "f", "rb") as file:
        Copier().read(file.fileno(), size, None)
    assert (len(counts), sum(counts)) == (reads, size)


@pytest.mark.parametrize("what", ["copied", "read", "compared"])
def test_it_stops(tmp_path: Path, what: str) -> None:
    cancelled = threading.Event()
    cancelled.set()
    (tmp_path / "f").write_bytes(bytes(2 * SMALL))
    with open(tmp_path / "f", "rb") as one, pytest.raises(Cancelled):
        if what == "copied":
            copy_data(tmp_path / "f", tmp_path / "g", None, cancelled)
        elif what == "read":
            Copier(cancelled).read(one.fileno(), 2 * SMALL, hashlib.sha256())
        else:
            same_contents(one.fileno(), one.fileno(), cancelled)
