"""Holes of files stay holes in a folder and in a tar, and are zeros to whoever reads."""

import os
import tarfile
from pathlib import Path

import pytest

from minibuild.exporter.destination import open_destination
from minibuild.exporter.local import export_local
from minibuild.exporter.tar import OutputTree, export_tar
from minibuild.linux.contents import extents

SIZE = 8 << 20
PIECES = {0: b"start", 3 << 20: b"middle" * 1000, SIZE - 3: b"end"}
SHAPES = {
    "data all over": {0: b"x" * 100_000},
    "data and holes": PIECES,
    "a hole at the end": {0: b"start"},
    "a hole at the start": {SIZE - 3: b"end"},
    "nothing but a hole": {},
}


@pytest.fixture(params=SHAPES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    pieces = SHAPES[request.param]
    with open(folder / "file", "wb") as file:
        for position, data in pieces.items():
            os.pwrite(file.fileno(), data, position)
        if request.param != "data all over":
            file.truncate(SIZE)
    (folder / "last").write_text("last")
    return folder


def used(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def test_a_folder(tree: Path, tmp_path: Path) -> None:
    export_local(OutputTree("", opened(tree)), str(tmp_path / "out"))
    out = tmp_path / "out" / "file"
    assert out.read_bytes() == (tree / "file").read_bytes()
    assert used(out) <= used(tree / "file") + 65536


def test_a_tar(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    export_tar([OutputTree("", opened(tree))], str(out))
    with tarfile.open(out) as tar:
        assert tar.getnames() == ["file", "last"]
        found = tar.extractfile("file")
        assert found is not None and found.read() == (tree / "file").read_bytes()
        last = tar.extractfile("last")
        assert last is not None and last.read() == b"last"
    assert used(out) <= used(tree / "file") + 65536


def test_a_tar_behind_other_data(tree: Path, tmp_path: Path) -> None:
    """A file that the shell appends to holds something already, and a pipe has no holes."""
    out = tmp_path / "out"
    out.write_bytes(b"before" * 1000)
    fd, stdout = os.open(out, os.O_WRONLY | os.O_APPEND), os.dup(1)
    os.dup2(fd, 1)
    try:
        export_tar([OutputTree("", opened(tree))], "-")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(fd)
    export_tar([OutputTree("", opened(tree))], str(tmp_path / "other"))
    assert out.read_bytes() == b"before" * 1000 + (tmp_path / "other").read_bytes()


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    """A hole shows nothing of the file that had the name."""
    out = tmp_path / "out"
    out.write_bytes(b"old" * 10)
    with open_destination(str(out)) as file:
        file.write(b"a")
        file.skip(10)
        file.write(b"b")
    assert out.read_bytes() == b"a" + bytes(10) + b"b"


def test_extents_end_where_they_are_asked_to(tree: Path) -> None:
    for size in (0, 1, 5, 1 << 20, (3 << 20) + 1, SIZE):
        fd = opened(tree / "file")
        found = list(extents(fd, size))
        assert all(0 <= start < end <= size for start, end in found)
        data = bytearray(size)
        for start, end in found:
            data[start:end] = os.pread(fd, end - start, start)[: end - start].ljust(
                end - start, b"\0"
            )
        whole = (tree / "file").read_bytes()[:size].ljust(size, b"\0")
        assert bytes(data) == whole
        os.close(fd)
