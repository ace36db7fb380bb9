"""Sparse files in a tar: which parts of the file the archive stores, and where they go.

Comes in: header blocks, PAX records or the first blocks of the data. Goes out: the map of the
file, checked. Between its parts, and behind the last, are holes, which read as zeros. Rules: the
manual of GNU tar, "Storing Sparse Files", which describes four ways to write the map:

- the old one: numbers in the header of type S, and in as many blocks after it as it takes;
- PAX 0.0: one record for each number. The same two names repeat, so their order counts;
- PAX 0.1: one record with all numbers, with commas between them;
- PAX 1.0: decimal numbers, one a line, in whole blocks in front of the data.

A map that does not add up is a ValueError that says why. Read next: `tar_reader`.
"""

from collections.abc import Callable, Mapping, Sequence

from minibuild.layer.tar_format import BLOCK
from minibuild.startup.tuples import NamedTuple

MAX_MAP_BYTES = 1 << 20
"""No map may be larger: a small compressed archive could claim one of any size."""

NAME_RECORD = "GNU.sparse.name"
MAP_RECORD = "GNU.sparse.map"
NUMBER_RECORDS = ("GNU.sparse.offset", "GNU.sparse.numbytes")
"""The two records of PAX 0.0, in the order in which they take turns."""

_MAJOR, _MINOR = "GNU.sparse.major", "GNU.sparse.minor"
_SIZE_RECORDS = ("GNU.sparse.size", "GNU.sparse.realsize")
_MAX_DIGITS = 20

# The old header: four pairs, a byte that says whether a block follows, the size of the file.
# Each block that follows: 21 pairs and such a byte.
_NUMBER_BYTES = 12
_PAIR_BYTES = 2 * _NUMBER_BYTES
_HEADER_PAIRS, _HEADER_MORE, _HEADER_SIZE = (386, 4), 482, 483
_BLOCK_PAIRS, _BLOCK_MORE = (0, 21), 504


class Extent(NamedTuple):
    """A part of a file that the archive stores: the rest is holes."""

    offset: int
    size: int


class SparseMap(NamedTuple):
    """The size of a file with its holes, and its stored parts in order, without overlap."""

    size: int
    extents: tuple[Extent, ...]

    @property
    def stored(self) -> int:
        """How many bytes of data the archive has for the file."""
        return sum(extent.size for extent in self.extents)


def is_sparse(records: Mapping[str, bytes]) -> bool:
    """Whether the PAX records before an entry make it a sparse file."""
    return MAP_RECORD in records or _MAJOR in records


def read_old(
    header: bytes, block: Callable[[], bytes], number: Callable[[bytes], int]
) -> SparseMap:
    """The map of an entry of type S. `block` reads the next block, `number` a field of 12 bytes."""
    fields = _old_fields(header, _HEADER_PAIRS)
    more = header[_HEADER_MORE]
    count = 1
    while more:
        count += 1
        if count * BLOCK > MAX_MAP_BYTES:
            raise ValueError(f"its map of holes is larger than {MAX_MAP_BYTES} bytes")
        following = block()
        fields += _old_fields(following, _BLOCK_PAIRS)
        more = following[_BLOCK_MORE]
    size = number(header[_HEADER_SIZE : _HEADER_SIZE + _NUMBER_BYTES])
    return _checked([number(field) for field in fields], size)


def _old_fields(block: bytes, place: tuple[int, int]) -> list[bytes]:
    start, pairs = place
    fields: list[bytes] = []
    for at in range(start, start + pairs * _PAIR_BYTES, _PAIR_BYTES):
        if not block[at]:
            break  # The first pair that is not used ends the list.
        fields += [block[at : at + _NUMBER_BYTES], block[at + _NUMBER_BYTES : at + _PAIR_BYTES]]
    return fields


def read_pax(records: Mapping[str, bytes], size: int, block: Callable[[], bytes]) -> SparseMap:
    """The map that PAX records describe. `size` is that of the header: it counts if no record has
    another. `block` reads the next block of the entry's data, where version 1.0 has the map."""
    version = (records.get(_MAJOR, b""), records.get(_MINOR, b""))
    for name in _SIZE_RECORDS:
        if name in records:
            size = _decimal(records[name])
    if version == (b"1", b"0"):
        return _checked(_read_lines(block), size)
    if version not in ((b"", b""), (b"0", b"0"), (b"0", b"1")):
        shown = b".".join(version).decode("ascii", "backslashreplace")
        raise ValueError(f"it is sparse in the format {shown}, which is not known")
    text = records.get(MAP_RECORD, b"")
    return _checked([_decimal(number) for number in text.split(b",")] if text else [], size)


def _read_lines(block: Callable[[], bytes]) -> list[int]:
    """The numbers of PAX 1.0: how many pairs, and then these, each number on a line."""
    rest = b""
    lines: list[bytes] = []
    wanted = 1
    while len(lines) < wanted:
        *found, rest = (rest + block()).split(b"\n")
        if not found:
            _decimal(rest)  # a block without the end of a line: no number is that long
        if not lines:
            wanted = 1 + 2 * _decimal(found[0])
            if 2 * wanted > MAX_MAP_BYTES:
                raise ValueError(f"its map of holes is larger than {MAX_MAP_BYTES} bytes")
        lines += found
    return [_decimal(line) for line in lines[1:wanted]]


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ValueError(f"its map of holes has {text[:40]!r} in place of a number")
    return int(text)


def _checked(numbers: Sequence[int], size: int) -> SparseMap:
    if len(numbers) % 2:
        raise ValueError("its map of holes has an odd number of numbers")
    extents: list[Extent] = []
    end = 0
    for offset, count in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < end or count < 0:
            raise ValueError("its map of holes has parts that overlap")
        end = offset + count
        if end > size:
            raise ValueError(f"its map of holes goes beyond its size of {size} bytes")
        if count:
            extents.append(Extent(offset, count))
    return SparseMap(size, tuple(extents))
