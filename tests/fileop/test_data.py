"""Bytes arrive whole, also where a filesystem gives and takes less than it is asked to."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from minibuild.fileop.api import SourceTree
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.data import SMALL, Copier, same_contents
from minibuild.graph.op import Copy

PIECE = 1000
SIZES = (0, 1, PIECE, 5 * PIECE + 7, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL)


@pytest.fixture
def grudging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that moves a thousand bytes at a time, as FUSE may, and knows no shortcuts."""
    readv, preadv, pread, pwrite = os.readv, os.preadv, os.pread, os.pwrite

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
        count = Copier().copy(one.fileno(), other.fileno(), source.stat().st_size)
    assert target.read_bytes() == source.read_bytes()
    assert count == source.stat().st_size
    with source.open("rb") as one, target.open("r+b") as other:
        assert same_contents(one.fileno(), other.fileno())
        if size:
            other.seek(size - 1)
            other.write(bytes([data[-1] ^ 1]))
            other.flush()
            assert not same_contents(one.fileno(), other.fileno())


@pytest.mark.parametrize("size", SIZES)
def test_digests(tmp_path: Path, size: int, request: pytest.FixtureRequest) -> None:
    (tmp_path / "f").write_bytes(os.urandom(size))
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        usual = content_digests(Copy(0, ("f",), "/"), SourceTree(fd))
        request.getfixturevalue("grudging")
        assert content_digests(Copy(0, ("f",), "/"), SourceTree(fd)) == usual
    finally:
        os.close(fd)
