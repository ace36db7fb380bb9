"""A tar as a stream of entries: read once, front to back, never trusted.

Comes in: chunks of bytes. Goes out: entries, and the data of each while it is the current one.
Understands ustar, PAX records (times, long names, large numbers, attributes), GNU's long names
and base-256 numbers, and the headers of Unix V7. Anything else, and anything that does not add
up, is an `ImageError` with the name of the archive. Read next: `apply`.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from minibuild.errors import ImageError
from minibuild.layer.tar_format import (
    BLOCK,
    TYPE_FLAGS,
    XATTR_RECORD,
    Entry,
    Kind,
    byte_sum,
    padding,
)

MAX_EXTENDED_BYTES = 1 << 20
"""No header extension may be larger: names and attributes are not, only attacks are."""

_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_NS = 1_000_000_000
_MAX_TIME_S = 1 << 40
_KINDS: dict[bytes, Kind] = {flag: kind for kind, flag in TYPE_FLAGS.items()} | {
    b"\0": "file",
    b"7": "file",  # "Contiguous": a regular file everywhere but on systems long gone.
}
_DATALESS = frozenset(kind for kind in TYPE_FLAGS if kind != "file")
_EXTENSIONS = (b"x", b"g", b"L", b"K")
_ZERO_BLOCK = bytes(BLOCK)


class TarReader:
    """Iterate to get entries; call `data` for the bytes of the one that came last."""

    def __init__(self, chunks: Iterator[bytes], what: str) -> None:
        self._chunks = chunks
        self._what = what
        self._chunk = memoryview(b"")
        self._received = 0
        self._left = 0  # of the data of the current entry
        self._padding = 0
        self._globals: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        records: dict[str, bytes] = {}
        while True:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
            block = self._block()
            if block is None:
                return
            flag = block[156:157]
            if flag in _EXTENSIONS:
                self._extension(flag, block, records)
                continue
            entry = self._entry(block, self._globals | records)
            records = {}
            if entry.kind == "file":
                self._left, self._padding = entry.size, padding(entry.size)
            yield entry

    def data(self) -> Iterator[memoryview]:
        """The data of the current entry in pieces; each is valid until the next one."""
        while self._left:
            if not self._chunk:
                self._next_chunk()
            piece = self._chunk[: self._left]
            self._chunk = self._chunk[len(piece) :]
            self._left -= len(piece)
            yield piece

    @property
    def offset(self) -> int:
        """Where the next byte to be read is in the archive."""
        return self._received - len(self._chunk)

    def drain(self) -> None:
        """Read what follows the end of the archive, so that whoever hashes it sees all of it."""
        for _ in self._chunks:
            pass

    # --- Bytes ------------------------------------------------------------------------------------

    def _fail(self, why: str) -> NoReturn:
        raise ImageError(f"{self._what} is not a sound tar archive: {why}")

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
        if not 0 <= size <= MAX_EXTENDED_BYTES:
            self._fail(f"a header extension claims {size} bytes")
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
        position = 0
        while position < len(data) and data[position] != 0:
            digits = data[position : position + 20].split(b" ", 1)[0]
            if not digits.isdigit():
                self._fail("a PAX record has no length")
            end = position + int(digits)
            key, equals, value = data[position + len(digits) + 1 : end - 1].partition(b"=")
            if end > len(data) or not equals or not key or data[end - 1 : end] != b"\n":
                self._fail("a PAX record is cut off")
            found[key.decode("utf-8", "surrogateescape")] = value
            position = end
        return found

    def _check_sum(self, block: bytes) -> None:
        stored = self._number(block[148:156], "checksum")
        blank = block[:148] + b"        " + block[156:]
        if byte_sum(blank) == stored:
            return
        # Some old programs add the bytes as signed numbers.
        if sum(blank) - 256 * sum(byte > 127 for byte in blank) != stored:
            self._fail("a header has a wrong checksum")

    def _entry(self, block: bytes, records: dict[str, bytes]) -> Entry:
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
        kind = self._kind(flag, text, records)
        text = text.rstrip("/") if kind == "dir" else text
        number = self._number(size, "size")
        if "size" in records:
            number = self._decimal(records["size"], "size")
        if number < 0 or number > 1 << 62:
            self._fail(f"{text} claims {number} bytes")
        return Entry(
            text,
            kind,
            self._number(mode, "mode") & 0o7777,
            self._id(uid, records, "uid"),
            self._id(gid, records, "gid"),
            0 if kind in _DATALESS else number,
            self._time(mtime, records),
            link.decode("utf-8", "surrogateescape"),
            (self._number(major, "device"), self._number(minor, "device"))
            if kind in ("char", "block")
            else (0, 0),
            {
                key.removeprefix(XATTR_RECORD): value
                for key, value in records.items()
                if key.startswith(XATTR_RECORD)
            }
            if records
            else {},
        )

    def _kind(self, flag: bytes, name: str, records: dict[str, bytes]) -> Kind:
        kind = _KINDS.get(flag)
        if kind is None:
            raise ImageError(
                f"{name} in {self._what} has the type {flag!r}, which cannot be unpacked",
                hint="sparse files of GNU tar are not read: pack it without --sparse"
                if flag == b"S"
                else "",
            )
        if any(key.startswith("GNU.sparse.") for key in records):
            raise ImageError(
                f"{name} in {self._what} is a sparse file of GNU tar, which cannot be unpacked",
                hint="pack it without --sparse",
            )
        if kind == "file" and name.endswith("/"):
            return "dir"  # Unix V7 had no type for directories.
        return kind

    def _id(self, field: bytes, records: dict[str, bytes], name: str) -> int:
        value = self._number(field, name)
        if name in records:
            value = self._decimal(records[name], name)
        if not 0 <= value < 0xFFFFFFFF:
            self._fail(f"the {name} {value} is no id")
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
            self._fail(f"the mtime {seconds} is out of range")
        return seconds * _NS + fraction


def file_chunks(stream: BinaryIO, size: int = 256 << 10) -> Iterator[bytes]:
    """The chunks of a file, for a `TarReader`."""
    while chunk := stream.read(size):
        yield chunk
