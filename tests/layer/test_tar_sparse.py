"""Sparse files in archives: GNU tar writes them in four ways, and hostile ones in many more."""

import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.errors import ImageError
from minibuild.layer.archive import detect, extract
from minibuild.layer.tar_format import BLOCK, padding
from minibuild.layer.tar_reader import TarReader
from minibuild.store.layout import Store
from tests.layer import trees
from tests.layer.tars import layer_of

Parts = Sequence[tuple[int, bytes]]

WAYS = {
    "old": ["--format=gnu"],
    "0.0": ["--format=posix", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "--sparse-version=0.1"],
    "1.0": ["--format=posix", "--sparse-version=1.0"],
}

FILES: dict[str, tuple[int, Parts]] = {
    "all one hole": (1 << 20, ()),
    "a hole in front": (70_000, ((65_536, b"end".rjust(4464, b"x")),)),
    "a hole behind": (1 << 20, ((0, b"start"),)),
    "no whole blocks": (300_001, ((100_003, b"odd"), (200_007, b"x" * 777))),
    "more parts than a header": (200 << 12, tuple((n << 12, b"%d" % n) for n in range(0, 200, 2))),
    "larger than octal digits count": (9 << 30, ((8 << 30, b"far"),)),
}  # fmt: skip


def write(path: Path, size: int, parts: Parts) -> None:
    with open(path, "wb") as file:
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
        file.truncate(size)


def same(path: str, size: int, parts: Parts) -> bool:
    """Whether a file has these parts, and nothing but zeros between them."""
    with open(path, "rb") as file:
        for offset, data in parts:
            if os.pread(file.fileno(), len(data), offset) != data:
                return False
        found = os.fstat(file.fileno())
        # A filesystem stores whole blocks; what is more would be holes that were filled.
        most = sum(len(data) for _, data in parts) + 8192 * (1 + len(parts))
        return found.st_size == size and found.st_blocks * 512 <= most


def packed(folder: Path, way: str) -> bytes:
    """The files of a folder as GNU tar packs them, `s` first."""
    names = sorted(os.listdir(folder), reverse=True)
    command = ["tar", "--sparse", *WAYS[way], "-C", str(folder), "-cf", "-", *names]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FILES)
def test_archives_of_gnu_tar(tmp_path: Path, way: str, case: str) -> None:
    """The file comes first, so the archive is recognised by it, and its holes stay holes."""
    size, parts = FILES[case]
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write(tmp_path / "in/s", size, parts)
    (tmp_path / "in/after").write_bytes(b"after")
    (tmp_path / "s.tar").write_bytes(packed(tmp_path / "in", way))
    with open(tmp_path / "s.tar", "rb") as file:
        assert detect(file.fileno()) == "uncompressed"
        out = os.open(tmp_path / "out", os.O_RDONLY)
        extract(file.fileno(), out)
        os.close(out)
    assert sorted(os.listdir(tmp_path / "out")) == ["after", "s"]
    assert same(str(tmp_path / "out/s"), size, parts)
    assert (tmp_path / "out/after").read_bytes() == b"after"


@pytest.mark.parametrize("way", WAYS)
def test_layers(store: Store, tmp_path: Path, way: str) -> None:
    """A layer with such a file is unpacked."""
    size, parts = FILES["no whole blocks"]
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/s", size, parts)
    layer = layer_of(store, packed(tmp_path / "in", way))
    trees.unpack_into(layer, str(tmp_path / "out"))
    assert same(str(tmp_path / "out/s"), size, parts)


def entry(records: dict[str, str], data: bytes, *more: tarfile.TarInfo) -> bytes:
    """A tar of one file `f` with these PAX records, and this data in the archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("f")
        info.pax_headers, info.size = records, len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def version_0(size: int, numbers: str, data: bytes = b"") -> bytes:
    return entry({"GNU.sparse.size": str(size), "GNU.sparse.map": numbers}, data)


def version_1(size: int, lines: bytes, data: bytes = b"") -> bytes:
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)}
    return entry(records, lines + bytes(padding(len(lines))) + data)


def old(
    fields: bytes,
    size: bytes = b"%011o\0" % 10,
    data: bytes = b"",
    more: bool = False,
    magic: bytes = b"ustar  \0",
) -> bytes:
    """A tar of one file of type S, whose map in the header is `fields`."""
    info = tarfile.TarInfo("f")
    info.size, info.type = len(data), b"S"
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386 : 386 + len(fields)] = fields
    head[482], head[483:495], head[257:265] = int(more), size, magic
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + bytes(padding(len(data))) + bytes(2 * BLOCK)


OCTAL = b"%011o\0"
BAD = {
    "parts in disorder": version_0(10, "5,2,0,2", b"1234"),
    "parts that overlap": version_0(10, "0,4,3,2", b"123456"),
    "beyond the size": version_0(10, "8,4", b"1234"),
    "an odd number of numbers": version_0(10, "0,4,8", b"1234"),
    "not a number": version_0(10, "0,x", b"1234"),
    "negative": version_0(10, "0,-4", b"1234"),
    "a number of many digits": version_0(10, "0," + "1" * 5000, b"1234"),
    "less data than the map says": version_0(10, "0,4,6,4", b"1234"),
    "more data than the map says": version_0(10, "0,4", b"12345"),
    "no data at all": version_0(10, "0,4"),
    "a size beyond all files": version_0(1 << 80, "0,4", b"1234"),
    "a size beyond all files, and a hole": version_1(99 * 10**18, b"0\n"),
    "a version to come": entry({"GNU.sparse.major": "2", "GNU.sparse.minor": "0"}, b"1234"),
    "a zero byte in its name": entry(
        {"GNU.sparse.map": "0,4", "GNU.sparse.size": "4", "GNU.sparse.name": "a\0b"}, b"1234"
    ),
    "no lines": version_1(10, b"\0" * 512),
    "fewer lines than it says": version_1(10, b"3\n0\n4\n", b"1234"),
    "a line without end": version_1(10, b"1" * 4096),
    "millions of parts": version_1(10, b"99999999\n" + b"0\n" * 5000),
    "no map": version_1(10, b""),
    "old: overlap": old((OCTAL % 0 + OCTAL % 4) * 2, data=b"12345678"),
    "old: beyond the size": old(OCTAL % 8 + OCTAL % 4, data=b"1234"),
    "old: not octal": old(b"zzzzzzzzzzz\0" + OCTAL % 4, data=b"1234"),
    "old: negative": old(b"\xff" * 12 + OCTAL % 4, data=b"1234"),
    "old: negative size": old(OCTAL % 0 + OCTAL % 4, b"\xff" * 12, b"1234"),
    "old: a map that never ends": old(b"", more=True)[:BLOCK] + (b"0" * 504 + b"\1" * 8) * 3000,
    "old: of another program": old(OCTAL % 0 + OCTAL % 4, data=b"1234", magic=b"ustar\x0000"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_maps_that_do_not_add_up(case: str) -> None:
    with pytest.raises(ImageError):
        for _ in TarReader(iter([BAD[case]]), "the archive"):
            pass


def test_they_are_bad_by_one_thing_only() -> None:
    """The same maps, sound."""
    for data in (
        version_0(10, "0,2,5,2", b"1256"),
        version_1(10, b"2\n0\n2\n5\n2\n", b"1256"),
        old(OCTAL % 0 + OCTAL % 2 + OCTAL % 5 + OCTAL % 2, data=b"1256"),
    ):
        reader = TarReader(iter([data]), "the archive")
        ((name, size, read),) = [(e.name, e.size, b"".join(reader.data())) for e in reader]
        assert (name, size, read) == ("f", 10, b"12\0\0\0" + b"56\0\0\0")


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=40),
    st.integers(0, 3000),
    st.integers(1, 5000),
    st.sampled_from(["0.1", "1.0"]),
)
def test_any_map_and_any_pieces(
    spans: list[tuple[int, int]], tail: int, piece: int, version: str
) -> None:
    """However the archive is cut into chunks: the bytes are those that the map describes."""
    expected, data, numbers = b"", b"", list[int]()
    for number, (hole, size) in enumerate(spans):
        numbers += [len(expected) + hole, size]
        part = bytes([number + 1]) * size
        expected, data = expected + bytes(hole) + part, data + part
    expected += bytes(tail)
    if version == "1.0":
        lines = "".join(f"{number}\n" for number in (len(spans), *numbers)).encode()
        archive = version_1(len(expected), lines, data)
    else:
        archive = version_0(len(expected), ",".join(map(str, numbers)), data)
    reader = TarReader(
        iter([archive[at : at + piece] for at in range(0, len(archive), piece)]), "the archive"
    )
    assert [b"".join(reader.data()) for _ in reader] == [expected]
