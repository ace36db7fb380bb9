"""Where gzip is cut: what is chosen in a full buffer, and that a change moves few of the cuts."""

import random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.layer.chunker import BLOCK_BYTES, LEAST_BYTES, cut
from minibuild.layer.tar_format import END, TarEntry, header, padding


def tar(files: list[tuple[str, int]], attribute: bytes = b"") -> bytes:
    """A tar with files of these names and sizes; the data of each is told by its name."""
    xattrs = {"user.a": attribute} if attribute else {}
    parts = []
    for name, size in files:
        data = random.Random(name).randbytes(size)
        parts += [header(TarEntry(name, "file", size=size, xattrs=xattrs)), data]
        parts.append(bytes(padding(size)))
    return b"".join((*parts, END))


def some(count: int, size: int = 5000) -> list[tuple[str, int]]:
    """Names and sizes, different ones."""
    return [(f"d{n // 50:03}/f{n:05}", size + n * 37 % size) for n in range(count)]


def cuts(data: bytes) -> list[int]:
    """All places where a tar is cut."""
    found, at = [], 0
    while len(data) - at > BLOCK_BYTES:
        at += cut(bytearray(data[at : at + BLOCK_BYTES]))
        found.append(at)
    return found


def test_cuts_are_at_headers_in_the_second_half() -> None:
    data = tar(some(2000))
    found = cuts(data)
    assert len(found) > 10
    for before, at in zip([0, *found], found, strict=False):
        assert LEAST_BYTES <= at - before < BLOCK_BYTES
        assert data[at + 257 : at + 262] == b"ustar"


def test_what_has_no_headers_is_cut_where_it_ends() -> None:
    assert cut(bytearray(random.Random(1).randbytes(BLOCK_BYTES))) == BLOCK_BYTES
    assert cut(bytearray(BLOCK_BYTES)) == BLOCK_BYTES


def test_a_large_file_begins_a_block() -> None:
    """Wherever it is, also in the first half; so its own cuts do not depend on what is before."""
    for before in (1, 20, 100):
        data = tar([*some(before), ("large", 3 * BLOCK_BYTES)])
        at = data.index(b"large\0")
        assert cuts(data)[:3] == [at, at + BLOCK_BYTES, at + 2 * BLOCK_BYTES]
    small = tar([*some(20), ("small", BLOCK_BYTES - 1), *some(200)])
    assert small.index(b"small\0") not in cuts(small)


def test_a_block_is_never_empty() -> None:
    """A large file at the beginning is not cut off from nothing."""
    assert cut(bytearray(tar([("large", 2 * BLOCK_BYTES)])[:BLOCK_BYTES])) == BLOCK_BYTES


def test_records_before_a_header_are_no_place_to_cut() -> None:
    """They look alike in front of all files of a context whose times are finer than seconds."""
    # Records of a length that gives their header a rank above all others.
    attribute = max((bytes(size) for size in range(1, 400)), key=lambda value: crc32(
        header(TarEntry("f", "file", xattrs={"user.a": value}))[:257]
    ))  # fmt: skip
    data = tar(some(1000), attribute)
    assert len(cuts(data)) > 5
    assert all(data[at + 156] == ord("0") for at in cuts(data))


def test_what_looks_like_a_header_only_by_its_first_letter_is_none() -> None:
    buffer = bytearray(b"u" * BLOCK_BYTES)
    assert cut(buffer) == BLOCK_BYTES


def test_a_change_moves_few_cuts() -> None:
    """Files that grow, come and go in front of everything: behind them cuts fall into place."""
    files = some(4000)
    before = tar(files)
    for changed in (
        [("a", 700), *files],
        [("a", 300_000), *files],
        files[1:],
        files[150:],
        [(files[0][0], files[0][1] + 5000), *files[1:]],
        sorted([*files, *[(f"d{n:03}/new", 999) for n in range(3)]]),
    ):
        after = tar(changed)
        shift = len(after) - len(before)
        kept = {at + shift for at in cuts(before)} & set(cuts(after))
        assert len(kept) >= len(cuts(before)) - 6


def block_of(*entries: tuple[int, str, int]) -> bytearray:
    """A full buffer with nothing in it but headers: of a file of some name and size, at a place."""
    buffer = bytearray(BLOCK_BYTES)
    for at, name, size in entries:
        buffer[at : at + 512] = header(TarEntry(name, "file", size=size))
    return buffer


HALF = LEAST_BYTES


@pytest.mark.parametrize(
    ("entries", "at"),
    [
        # A file that fills a block begins one, wherever it is but at the very beginning; a byte
        # less, and it does not.
        ([(512, "a", BLOCK_BYTES)], 512),
        ([(512, "a", BLOCK_BYTES - 1)], BLOCK_BYTES),
        ([(0, "a", BLOCK_BYTES)], BLOCK_BYTES),
        ([(BLOCK_BYTES - 512, "a", BLOCK_BYTES)], BLOCK_BYTES - 512),
        # Only the last header can be one of such a file.
        ([(512, "a", BLOCK_BYTES), (1024, "b", 1)], BLOCK_BYTES),
        # Other headers count from the middle on.
        ([(HALF - 512, "a", 1)], BLOCK_BYTES),
        ([(HALF, "a", 1)], HALF),
        ([(BLOCK_BYTES - 512, "a", 1)], BLOCK_BYTES - 512),
        # Of headers that are the same, the first one.
        ([(HALF + 1024, "a", 1), (HALF + 3072, "a", 1)], HALF + 1024),
    ],
)
def test_limits(entries: list[tuple[int, str, int]], at: int) -> None:
    assert cut(block_of(*entries)) == at


@given(st.data())
def test_the_highest_rank_wins(data: st.DataObject) -> None:
    """Headers may stand close together: empty files have nothing in between."""
    places = st.integers(LEAST_BYTES // 512, BLOCK_BYTES // 512 - 1)
    chosen = data.draw(st.lists(places, min_size=1, max_size=12, unique=True))
    entries = [(at * 512, data.draw(st.sampled_from("abcdefgh")), 0) for at in sorted(chosen)]
    ranks = {at: crc32(header(TarEntry(name, "file"))[:257]) for at, name, _ in entries}
    highest = max(ranks.values())
    assert cut(block_of(*entries)) == min(at for at, rank in ranks.items() if rank == highest)
