"""Headers: the standard library reads back what went in, whatever it was."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.layer.tar_format import END, Entry, byte_sum, padding
from minibuild.layer.tar_reader import TarReader
from minibuild.layer.tar_writer import header

names = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=6).map("/".join)
entries = st.builds(
    Entry,
    name=paths,
    kind=st.sampled_from(("file", "dir", "symlink", "link", "fifo", "char")),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    size=st.just(0),
    mtime_ns=st.integers(-(2**62), 2**62),
    linkname=st.just(""),
    device=st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)),
    xattrs=st.dictionaries(
        st.sampled_from(("security.capability", "user.x")), st.binary(max_size=200)
    ),
    sparse=st.just(False),
)


def normal(entry: Entry) -> Entry:
    """Fields that the kind of an entry has no use for, emptied."""
    if entry.kind in ("symlink", "link"):
        entry = entry._replace(linkname="some/target" * 12)
    return entry if entry.kind == "char" else entry._replace(device=(0, 0))


def read_back(data: bytes) -> list[Entry]:
    """With our own reader."""
    return list(TarReader(iter([data]), "test"))


@given(entries)
def test_our_reader_reads_what_we_write(entry: Entry) -> None:
    """All of it, to the nanosecond."""
    entry = normal(entry)
    assert read_back(header(entry) + END) == [entry]


@given(entries)
def test_tarfile_reads_what_we_write(entry: Entry) -> None:
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
    assert len(header(Entry("a" * 100, "file", mtime_ns=10**18))) == 512


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a" * 101, "file"),
        Entry("a" * 100, "dir"),
        Entry("x", "file", mtime_ns=1),
        Entry("x", "file", mtime_ns=-1_000_000_000),
        Entry("x", "file", uid=2_097_152),
        Entry("x", "file", size=8 << 30),
        Entry("x", "symlink", linkname="b" * 101),
        Entry("x", "file", xattrs={"security.capability": b"\0\1\n="}),
    ],
    ids=lambda entry: f"{entry.name[:3]}{len(entry.name)}",
)
def test_what_does_not_fit_becomes_a_pax_record(entry: Entry) -> None:
    """Two blocks of records, then the header."""
    written = header(entry)
    assert len(written) == 3 * 512 and written[156:157] == b"x"
    if entry.size:
        return  # Its data would follow.
    assert read_back(written + END) == [entry]


@pytest.mark.parametrize("length", range(80, 130))
def test_the_length_of_a_record_counts_itself(length: int) -> None:
    """Around the places where the length gains a digit."""
    entry = Entry("x", "file", xattrs={"user.a": b"v" * length})
    assert read_back(header(entry) + END) == [entry]


def test_names_that_are_not_utf8() -> None:
    """They come back as they were, short or long."""
    for name in ("\udcff\udcfe", "\udcff" * 150):
        assert read_back(header(Entry(name, "file")) + END) == [Entry(name, "file")]


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_padding(size: int, expected: int) -> None:
    """Data fills whole blocks."""
    assert padding(size) == expected
