"""A tar as a stream of entries: read once, front to back, never trusted.

Comes in: chunks of bytes. Goes out: entries, and the data of each while it is the current one.
Understands ustar, PAX records (times, long names, large numbers, attributes), GNU's long names,
base-256 numbers and sparse files, and the headers of Unix V7. Anything else, and anything that
does not add up, is an `ImageError` with the name of the archive. Read next: `tar_sparse`, `apply`.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from minibuild.errors import ImageError
from minibuild.layer import tar_sparse
from minibuild.layer.compress import unsound
from minibuild.layer.tar_format import (
    BLOCK,
    TYPE_FLAGS,
    XATTR_RECORD,
    EntryKind,
    TarEntry,
    byte_sum,
    padding,
)
from minibuild.layer.tar_sparse import Extent, SparseMap

MAX_EXTENDED_BYTES = 1 << 20
"""The extensions of one entry may not be larger: names and attributes never need so much."""

MAX_GLOBAL_BYTES = 64 << 10
"""Nor those of all entries together, which are read again with each: git writes 52 bytes."""

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_NS = 1_000_000_000
_MAX_TIME_S = 1 << 40
_KINDS: dict[bytes, EntryKind] = {flag: kind for kind, flag in TYPE_FLAGS.items()} | {
    b"\0": "file",
    b"7": "file",  # "Contiguous": a regular file everywhere but on systems long gone.
    b"S": "file",  # GNU tar's old way to write sparse files.
}
_GNU_MAGIC = b"ustar  \0"
_MAX_BYTES = 1 << 62
_MAX_DEVICE = (1 << 12, 1 << 20)  # what the kernel has room for in a number of 32 bits
_DATALESS = frozenset(kind for kind in TYPE_FLAGS if kind != "file")
_EXTENSIONS = (b"x", b"g", b"L", b"K")
_ZERO_BLOCK = bytes(BLOCK)
_ZEROS = memoryview(bytes(64 << 10))


class UnusableEntry(ImageError):
    """A header that is sound, of an entry that cannot be made: its type, an id, a time."""


class TarReader:
    """Iterate to get entries; call `data` or `extents` for the bytes of the one that came last."""

    def __init__(self, chunks: Iterator[bytes], what: str) -> None:
        self._chunks = chunks
        self._what = what
        self._chunk = memoryview(b"")
        self._received = 0
        self._left = 0  # of the stored data of the current entry
        self._padding = 0
        self._map: SparseMap | None = None  # of the current entry, if it is sparse
        self._globals: dict[str, bytes] = {}
        self._extended = {"x": 0, "g": 0}  # bytes of extensions: for the next entry, for all

    def __iter__(self) -> Iterator[TarEntry]:
        records: dict[str, bytes] = {}
        while True:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
            self._map = None
            block = self._block()
            if block is None:
                return
            flag = block[156:157]
            if flag in _EXTENSIONS:
                self._extension(flag, block, records)
                continue
            entry = self._entry(block, self._globals | records)
            if entry.kind == "file":
                self._left, self._padding = entry.size, padding(entry.size)
                if flag == b"S" or (records and tar_sparse.is_sparse(records)):
                    entry = self._sparse(entry, block, records)
            records = {}
            self._extended["x"] = 0
            yield entry

    def data(self) -> Iterator[memoryview]:
        """The data of the current entry in pieces; each is valid until the next one.

        Holes come as zeros: `extents` leaves them out.
        """
        if self._map is None:
            yield from self._stored(self._left)
            return
        position = 0
        for offset, piece in self.extents():
            yield from _zeros(offset - position)
            yield piece
            position = offset + len(piece)
        yield from _zeros(self._map.size - position)

    def extents(self) -> Iterator[tuple[int, memoryview]]:
        """The same, each piece with its place in the file, without the holes of a sparse file."""
        parts = (Extent(0, self._left),) if self._map is None else self._map.extents
        for offset, size in parts:
            for piece in self._stored(size):
                yield offset, piece
                offset += len(piece)

    def _stored(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes of what the archive stores for the current entry."""
        while count:
            if not self._chunk:
                self._next_chunk()
            piece = self._chunk[:count]
            self._chunk = self._chunk[len(piece) :]
            count -= len(piece)
            self._left -= len(piece)
            yield piece

    @property
    def offset(self) -> int:
        """Where the next byte to be read is in the archive."""
        return self._received - len(self._chunk)

    def drain(self) -> None:
        """Read what follows the end of the archive, so that a hash of the stream covers all of
        it."""
        for _ in self._chunks:
            pass

    # --- Bytes ------------------------------------------------------------------------------------

    def _fail(self, why: str) -> NoReturn:
        raise unsound(self._what, "a sound tar archive", why)

    def _next_chunk(self) -> None:
        chunk = next(self._chunks, b"")
        if not chunk:
            self._fail("it ends in the middle of an entry")
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        self._chunk = memoryview(chunk)
        self._received += len(chunk)

    def _skip(self, count: int) -> None:
        while count:
            if not self._chunk:
                self._next_chunk()
            step = min(count, len(self._chunk))
            self._chunk = self._chunk[step:]
            count -= step

    def _read(self, count: int) -> bytes:
        if len(self._chunk) >= count:
            found = bytes(self._chunk[:count])
            self._chunk = self._chunk[count:]
            return found
        parts: list[bytes] = []
        while count:
            if not self._chunk:
                self._next_chunk()
            part = bytes(self._chunk[:count])
            self._chunk = self._chunk[len(part) :]
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _block(self) -> bytes | None:
        """The next header block; None at the end, which is a block of zeros or simply no more."""
        if not self._chunk:
            chunk = next(self._chunks, b"")
            if not chunk:
                return None
            self._take(chunk)
        block = self._read(BLOCK)
        if block == _ZERO_BLOCK:
            return None
        return block

    # --- Headers ----------------------------------------------------------------------------------

    def _number(self, field: bytes, name: str) -> int:
        if field[0] & 0x80:
            # GNU's base-256: big-endian, two's complement, the first bit is the mark.
            value = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
            return value if not field[0] & 0x40 else value - (1 << (8 * len(field) - 1))
        text = field.split(b"\0", 1)[0].strip()
        try:
            return int(text, 8) if text else 0
        except ValueError:
            self._fail(f"the {name} {text!r} is not an octal number")

    def _extension(self, flag: bytes, block: bytes, records: dict[str, bytes]) -> None:
        self._check_sum(block)
        size = self._number(block[124:136], "size")
        scope, most = ("g", MAX_GLOBAL_BYTES) if flag == b"g" else ("x", MAX_EXTENDED_BYTES)
        self._extended[scope] += size
        if not 0 <= size <= self._extended[scope] <= most:
            self._fail(f"a header extension claims {size} bytes, of {most} for all")
        data = self._read(size)
        self._skip(padding(size))
        if flag == b"L":
            records.setdefault("path", data.split(b"\0", 1)[0])
        elif flag == b"K":
            records.setdefault("linkpath", data.split(b"\0", 1)[0])
        elif flag == b"g":
            self._globals.update(self._records(data))
        else:
            records.update(self._records(data))

    def _records(self, data: bytes) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        numbers: list[tuple[str, bytes]] = []
        position = 0
        while position < len(data) and data[position] != 0:
            digits = data[position : position + 20].split(b" ", 1)[0]
            if not digits.isdigit():
                self._fail("a PAX record has no length")
            end = position + int(digits)
            key, equals, value = data[position + len(digits) + 1 : end - 1].partition(b"=")
            if end > len(data) or not equals or not key or data[end - 1 : end] != b"\n":
                self._fail("a PAX record is cut off")
            if b"\0" in key:
                self._fail("the key of a PAX record holds a zero byte")
            name = key.decode("utf-8", "surrogateescape")
            if name in tar_sparse.NUMBER_RECORDS:
                numbers.append((name, value))
            found[name] = value
            position = end
        if numbers:
            found[tar_sparse.MAP_RECORD] = self._in_one_record(numbers)
        return found

    def _in_one_record(self, numbers: list[tuple[str, bytes]]) -> bytes:
        """The repeated records of PAX 0.0 as the single one that PAX 0.1 has."""
        names = tar_sparse.NUMBER_RECORDS
        if any(name != names[turn % 2] for turn, (name, _) in enumerate(numbers)):
            self._fail("the records of a sparse file are in disorder")
        return b",".join(value for _, value in numbers)

    def _check_sum(self, block: bytes) -> None:
        stored = self._number(block[148:156], "checksum")
        blank = block[:148] + b"        " + block[156:]
        if byte_sum(blank) == stored:
            return
        # Some old programs add the bytes as signed numbers.
        if sum(blank) - 256 * sum(byte > 127 for byte in blank) != stored:
            self._fail("a header has a wrong checksum")

    def _entry(self, block: bytes, records: dict[str, bytes]) -> TarEntry:
        self._check_sum(block)
        (name, mode, uid, gid, size, mtime, _, flag, link, magic, _, _, major, minor, prefix) = (
            _HEADER.unpack(block)
        )
        name = name.split(b"\0", 1)[0]
        # GNU tar's own magic has two blanks, and other things where POSIX has the prefix.
        if magic == b"ustar\x0000" and prefix[0]:
            name = prefix.split(b"\0", 1)[0] + b"/" + name
        name = records.get("path") or name
        link = records.get("linkpath") or link.split(b"\0", 1)[0]
        if b"\0" in name or b"\0" in link:
            self._fail("a name holds a zero byte")
        text = name.decode("utf-8", "surrogateescape")
        kind = self._kind(flag, text)
        text = text.rstrip("/") if kind == "dir" else text
        number = self._size(size)
        if "size" in records:
            number = self._possible(self._decimal(records["size"], "size"))
        return TarEntry(
            text,
            kind,
            self._number(mode, "mode") & 0o7777,
            self._id(uid, records, "uid"),
            self._id(gid, records, "gid"),
            0 if kind in _DATALESS else number,
            self._time(mtime, records),
            link.decode("utf-8", "surrogateescape"),
            self._device(text, major, minor) if kind in ("char", "block") else (0, 0),
            {
                key.removeprefix(XATTR_RECORD): value
                for key, value in records.items()
                if key.startswith(XATTR_RECORD)
            }
            if records
            else {},
        )

    def _device(self, name: str, *fields: bytes) -> tuple[int, int]:
        major, minor = (self._number(field, "device") for field in fields)
        if not (0 <= major < _MAX_DEVICE[0] and 0 <= minor < _MAX_DEVICE[1]):
            raise UnusableEntry(
                f"{name} in {self._what} is the device {major}:{minor}, and Linux has no number "
                "for it"
            )
        return major, minor

    def _kind(self, flag: bytes, name: str) -> EntryKind:
        kind = _KINDS.get(flag)
        if kind is None:
            raise UnusableEntry(
                f"{name} in {self._what} has the type {flag!r}, which cannot be unpacked"
            )
        if kind == "file" and name.endswith("/"):
            return "dir"  # Unix V7 had no type for directories.
        return kind

    def _sparse(self, entry: TarEntry, header: bytes, records: dict[str, bytes]) -> TarEntry:
        """The entry as it is with its holes; what is left to read is its data."""
        try:
            if header[156:157] == b"S":
                if header[257:265] != _GNU_MAGIC:
                    raise ValueError("it is sparse, but not in the way of GNU tar")
                found = tar_sparse.read_old(header, lambda: self._read(BLOCK), self._size)
            else:
                found = tar_sparse.read_pax(records, entry.size, self._data_block)
        except ValueError as error:
            self._fail(f"{entry.name}: {error}")
        self._possible(found.size)
        if found.stored != self._left:
            self._fail(f"{entry.name} has {self._left} bytes of data, its map {found.stored}")
        self._map = found
        name = entry.name
        if tar_sparse.NAME_RECORD in records:
            name = records[tar_sparse.NAME_RECORD].decode("utf-8", "surrogateescape")
        if "\0" in name:
            self._fail("a name holds a zero byte")
        return entry._replace(name=name, size=found.size, sparse=True)

    def _data_block(self) -> bytes:
        """A block of the data of the current entry."""
        if self._left < BLOCK:
            raise ValueError("its map of holes is cut off")
        self._left -= BLOCK
        return self._read(BLOCK)

    def _size(self, field: bytes) -> int:
        return self._possible(self._number(field, "size"))

    def _possible(self, size: int) -> int:
        if not 0 <= size <= _MAX_BYTES:
            self._fail(f"an entry claims {size} bytes")
        return size

    def _id(self, field: bytes, records: dict[str, bytes], name: str) -> int:
        value = self._number(field, name)
        if name in records:
            value = self._decimal(records[name], name)
        if not 0 <= value < 0xFFFFFFFF:
            raise UnusableEntry(
                f"{self._what} has an entry with the {name} {value}, which is no id"
            )
        return value

    def _decimal(self, value: bytes, name: str) -> int:
        if not value.isdigit() or len(value) > 20:
            self._fail(f"the {name} {value!r} is not a number")
        return int(value)

    def _time(self, field: bytes, records: dict[str, bytes]) -> int:
        value = records.get("mtime")
        if value is None:
            seconds, fraction = self._number(field, "mtime"), 0
        else:
            whole, _, digits = value.partition(b".")
            if not whole.removeprefix(b"-").isdigit() or (digits and not digits.isdigit()):
                self._fail(f"the mtime {value!r} is not a number")
            seconds, fraction = int(whole[:20]), int(digits[:9].ljust(9, b"0"))
            if value.startswith(b"-"):
                fraction = -fraction
        if not -_MAX_TIME_S < seconds < _MAX_TIME_S:
            raise UnusableEntry(
                f"{self._what} has an entry of the time {seconds}, out of any range"
            )
        return seconds * _NS + fraction


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        piece = _ZEROS[:count]
        count -= len(piece)
        yield piece


def file_chunks(stream: BinaryIO, size: int = 256 << 10) -> Iterator[bytes]:
    """The chunks of a file, for a `TarReader`."""
    while chunk := stream.read(size):
        yield chunk
