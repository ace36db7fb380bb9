"""Headers: the standard library reads back what went in. Names of whiteouts."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.layer.tar_format import (
    END,
    TarEntry,
    byte_sum,
    file_header,
    header,
    padding,
    whiteout,
)
from minibuild.layer.tar_reader import TarReader

names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=6).map("/".join)
entries = st.builds(
    TarEntry,
    name=paths,
    kind=st.sampled_from(("file", "dir", "symlink", "link", "fifo", "char")),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    size=st.just(0),
    mtime_ns=st.integers(-(2**62), 2**62),
    linkname=st.just(""),
    device=st.tuples(st.integers(0, 4095), st.integers(0, (1 << 20) - 1)),
    xattrs=st.dictionaries(
        st.sampled_from(("security.capability", "user.x")), st.binary(max_size=200)
    ),
    sparse=st.just(False),
)


def normal(entry: TarEntry) -> TarEntry:
    """Fields that the kind of an entry has no use for, emptied."""
    if entry.kind in ("symlink", "link"):
        entry = entry._replace(linkname="some/target" * 12)
    return entry if entry.kind == "char" else entry._replace(device=(0, 0))


def read_back(data: bytes) -> list[TarEntry]:
    """With our own reader."""
    return list(TarReader(iter([data]), "test"))


@given(entries)
def test_our_reader_reads_what_we_write(entry: TarEntry) -> None:
    """All of it, to the nanosecond."""
    entry = normal(entry)
    assert read_back(header(entry) + END) == [entry]


@given(entries)
def test_tarfile_reads_what_we_write(entry: TarEntry) -> None:
    """As another program sees it; its times are floats."""
    entry = normal(entry)
    with tarfile.open(fileobj=io.BytesIO(header(entry) + END)) as archive:
        (found,) = archive.getmembers()
    assert (found.name, found.mode, found.uid, found.gid, found.linkname) == (
        entry.name.rstrip("/"), entry.mode, entry.uid, entry.gid, entry.linkname,
    )  # fmt: skip
    assert found.mtime == pytest.approx(entry.mtime_ns / 1e9)
    for key, value in entry.xattrs.items():
        written = found.pax_headers["SCHILY.xattr." + key]
        assert written.encode("utf-8", "surrogateescape") == value


@given(st.binary(min_size=512, max_size=512))
def test_byte_sum_is_the_sum_of_the_bytes(block: bytes) -> None:
    """For every block, also those that no header could be."""
    assert byte_sum(block) == sum(block)


def test_byte_sum_of_the_largest_block() -> None:
    """The one that would overflow first."""
    assert byte_sum(b"\xff" * 512) == 512 * 255


def test_a_plain_file_needs_one_block() -> None:
    """No PAX records for what the header has room for."""
    assert len(header(TarEntry("a" * 100, "file", mtime_ns=10**18))) == 512


@pytest.mark.parametrize(
    "entry",
    [
        TarEntry("a" * 101, "file"),
        TarEntry("a" * 100, "dir"),
        TarEntry("x", "file", mtime_ns=1),
        TarEntry("x", "file", mtime_ns=-1_000_000_000),
        TarEntry("x", "file", uid=2_097_152),
        TarEntry("x", "file", size=8 << 30),
        TarEntry("x", "symlink", linkname="b" * 101),
        TarEntry("x", "file", xattrs={"security.capability": b"\0\1\n="}),
    ],
    ids=lambda entry: f"{entry.name[:3]}{len(entry.name)}",
)
def test_what_does_not_fit_becomes_a_pax_record(entry: TarEntry) -> None:
    """Two blocks of records, then the header."""
    written = header(entry)
    assert len(written) == 3 * 512 and written[156:157] == b"x"
    if entry.size:
        return  # Its data would follow.
    assert read_back(written + END) == [entry]


@pytest.mark.parametrize("length", range(80, 130))
def test_the_length_of_a_record_counts_itself(length: int) -> None:
    """Around the places where the length gains a digit."""
    entry = TarEntry("x", "file", xattrs={"user.a": b"v" * length})
    assert read_back(header(entry) + END) == [entry]


def test_names_that_are_not_utf8() -> None:
    """They come back as they were, short or long."""
    for name in ("\udcff\udcfe", "\udcff" * 150):
        assert read_back(header(TarEntry(name, "file")) + END) == [TarEntry(name, "file")]


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_padding(size: int, expected: int) -> None:
    """Data fills whole blocks."""
    assert padding(size) == expected


# --- The bytes: a header that changes has every layer packed and pushed again ---


def fields(block: bytes) -> dict[str, bytes]:
    """The fields of one header by their places in POSIX.1-2017, pax, "ustar Interchange Format"."""
    ends = {
        "name": 100, "mode": 108, "uid": 116, "gid": 124, "size": 136, "mtime": 148,
        "checksum": 156, "type": 157, "link": 257, "magic": 265, "names": 329, "device": 345,
        "rest": 512,
    }  # fmt: skip
    found, at = {}, 0
    for name, end in ends.items():
        found[name], at = block[at:end], end
    return found


PLAIN = {
    "name": b"f".ljust(100, b"\0"),
    "mode": b"0000644\0",
    "uid": b"0000000\0",
    "gid": b"0000000\0",
    "size": b"00000000000\0",
    "mtime": b"00000000000\0",
    "type": b"0",
    "link": bytes(100),
    "magic": b"ustar\00000",
    "names": bytes(64),
    "device": b"0000000\0" * 2,
    "rest": bytes(167),
}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (TarEntry("f", "file"), {}),
        (
            TarEntry(
                "f", "file", 0o4755, 0o7777777, 0o7654321, 0o77777777777, 0o77777777777 * 10**9
            ),
            {
                **{"mode": b"0004755\0", "uid": b"7777777\0", "gid": b"7654321\0"},
                **{"size": b"77777777777\0", "mtime": b"77777777777\0"},
            },
        ),
        (TarEntry("f", "dir"), {"name": b"f/".ljust(100, b"\0"), "type": b"5"}),
        (TarEntry("f", "link", linkname="g"), {"link": b"g".ljust(100, b"\0"), "type": b"1"}),
        (TarEntry("f", "symlink", linkname="l" * 100), {"link": b"l" * 100, "type": b"2"}),
        (TarEntry("f", "char", device=(5, 8)), {"type": b"3", "device": b"0000005\x000000010\0"}),
        (TarEntry("f", "block", device=(8, 5)), {"type": b"4", "device": b"0000010\x000000005\0"}),
        (TarEntry("f", "fifo", device=(5, 8)), {"type": b"6"}),
    ],
    ids=lambda value: value.kind if isinstance(value, TarEntry) else "",
)
def test_the_fields_of_a_header(entry: TarEntry, expected: dict[str, bytes]) -> None:
    written = fields(header(entry))
    # "the simple sum of all bytes in the header", its own field taken as eight spaces.
    total = sum(header(entry)) - sum(written["checksum"]) + 8 * ord(" ")
    assert written.pop("checksum") == b"%06o\0 " % total
    assert written == PLAIN | expected


def records(written: bytes) -> bytes:
    """The PAX records before a header, which all fit into one block here."""
    front = fields(written)
    assert front.pop("checksum")
    size = len(written[512:1024].rstrip(b"\0"))
    assert front == PLAIN | {
        "name": b"PaxHeader".ljust(100, b"\0"),
        "size": b"%011o\0" % size,
        "type": b"x",
        "device": bytes(16),
    }
    assert not any(written[512 + size : 1024])
    return written[512 : 512 + size]


def test_records_stand_in_the_order_of_their_keys() -> None:
    """Whatever order a filesystem lists attributes in: else equal trees would be other layers."""
    entry = TarEntry(
        "n" * 101, "file", 0o640, 0o10000000, 0o10000001, 8 << 30, 1_500_000_000,
        xattrs={"user.z": b"1", "security.capability": b"\0\1\n=", "user.a": b""},
    )  # fmt: skip
    written = header(entry)
    assert records(written) == (
        b"41 SCHILY.xattr.security.capability=\0\1\n=\n"
        b"24 SCHILY.xattr.user.a=\n"
        b"25 SCHILY.xattr.user.z=1\n"
        b"15 gid=2097153\n"
        b"13 mtime=1.5\n"
        b"111 path=" + b"n" * 101 + b"\n"
        b"19 size=8589934592\n"
        b"15 uid=2097152\n"
    )
    turned = dict(reversed([*entry.xattrs.items()]))
    assert header(entry._replace(xattrs=turned)) == written
    # What stands in a record is 0 in the header, or as much of it as there is room for.
    found = fields(written[1024:])
    assert found.pop("checksum")
    assert found == PLAIN | {
        **{"name": b"n" * 100, "mode": b"0000640\0", "mtime": b"00000000001\0"},
    }


@pytest.mark.parametrize(
    ("mtime_ns", "record", "field"),
    [
        (0, b"", 0),
        (1, b"21 mtime=0.000000001\n", 0),
        (1_500_000_000, b"13 mtime=1.5\n", 1),
        (-500_000_000, b"14 mtime=-0.5\n", 0),
        (-2_000_000_000, b"12 mtime=-2\n", 0),
        (10 * 10**9, b"", 10),
        (0o77777777777 * 10**9, b"", 0o77777777777),
        (0o100000000000 * 10**9, b"20 mtime=8589934592\n", 0),
    ],
)
def test_times(mtime_ns: int, record: bytes, field: int) -> None:
    """Whole seconds that the header has room for stand there alone."""
    written = header(TarEntry("f", "file", mtime_ns=mtime_ns))
    assert (records(written) if record else b"") == record
    assert fields(written[-512:])["mtime"] == b"%011o\0" % field


def test_the_record_of_a_link_that_is_too_long() -> None:
    written = header(TarEntry("f", "symlink", linkname="l" * 101))
    assert records(written) == b"115 linkpath=" + b"l" * 101 + b"\n"
    found = fields(written[1024:])
    assert found.pop("checksum")
    assert found == PLAIN | {"link": b"l" * 100, "type": b"2"}


FILES = [
    TarEntry("f", "file"),
    TarEntry("some/file", "file", 0o755, 1000, 100, 12345, 1_600_000_000 * 10**9),
    TarEntry("a" * 100, "file"),
    TarEntry("a" * 101, "file"),
    TarEntry("\xe4" * 50, "file"),
    TarEntry("\xe4" * 51, "file"),
    TarEntry("\udcff", "file"),
    TarEntry("f", "file", 0o7777, 0o7777777, 0o7777777, 0o77777777777, 0o77777777777 * 10**9),
    TarEntry("f", "file", uid=0o10000000),
    TarEntry("f", "file", gid=0o10000000),
    TarEntry("f", "file", size=0o100000000000),
    TarEntry("f", "file", mtime_ns=1),
    TarEntry("f", "file", mtime_ns=-(10**9)),
    TarEntry("f", "file", mtime_ns=0o100000000000 * 10**9),
    TarEntry("\xff" * 50, "file", 0o7777, 0o7777777, 0o7777777, 0o77777777777, 0o7777777 * 10**9),
]


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: f"{entry.name[:3]}{len(entry.name)}")
def test_the_short_way_gives_the_same_header(entry: TarEntry) -> None:
    """`file_header` is faster, for it keeps what many headers share; its bytes are the same."""
    _, _, mode, uid, gid, size, mtime_ns, *_ = entry
    assert file_header(entry.name, mode, uid, gid, size, mtime_ns) == header(entry)


@given(entries)
def test_the_short_way_gives_the_same_header_for_all_files(entry: TarEntry) -> None:
    entry = entry._replace(kind="file", device=(0, 0), xattrs={})
    _, _, mode, uid, gid, size, mtime_ns, *_ = entry
    assert file_header(entry.name, mode, uid, gid, size, mtime_ns) == header(entry)
    mtime_ns -= mtime_ns % 10**9  # Most files of the table above are such.
    assert file_header(entry.name, mode, uid, gid, size, mtime_ns) == header(
        entry._replace(mtime_ns=mtime_ns)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", None),
        ("a/.wh.b", ("a/b", False)),
        (".wh.b", ("b", False)),
        ("a/.wh..wh..opq", ("a", True)),
        (".wh..wh..opq", ("", True)),
        ("a.wh.b/c", None),
    ],
)
def test_whiteouts(name: str, expected: tuple[str, bool] | None) -> None:
    assert whiteout(name) == expected
