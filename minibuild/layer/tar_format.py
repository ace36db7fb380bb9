"""The tar format: blocks of 512 bytes, a header each, numbers in octal.

Comes in: a `TarEntry`. Goes out: its header as bytes. A header says what the next entry is; what
does not fit in it (long names, times finer than a second, attributes) stands in a PAX record before
it.
The same entry always gives the same bytes. Written by hand because a layer of 20,000 files has
20,000 headers, and `tarfile` takes as long for them as gzip for the data.
Rules: POSIX.1-2017, pax ("ustar Interchange Format", "pax Extended Header"); GNU tar's manual for
its own extensions; image-spec layer.md for whiteouts. Read next: `writer`, `tar_reader`.
"""

import stat
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal
from zlib import adler32

from minibuild.startup.tuples import NamedTuple

BLOCK = 512
END = bytes(2 * BLOCK)

WHITEOUT_PREFIX = ".wh."
OPAQUE_WHITEOUT = ".wh..wh..opq"
XATTR_RECORD = "SCHILY.xattr."

KEPT_XATTRS = ("security.capability",)
"""The extended attributes that go into a layer: file capabilities, and no others. So does
BuildKit: what is in `user.*` is seen by later steps but does not survive into a new layer, and
`trusted.*` and labels of security modules belong to the machine, not to the image."""

EntryKind = Literal["file", "link", "symlink", "char", "block", "dir", "fifo"]

TYPE_FLAGS: Mapping[EntryKind, bytes] = {
    "file": b"0",
    "link": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}

KINDS: Mapping[int, EntryKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
"""By the type bits of a mode. A socket has no entry in a tar: it means nothing in an image."""


TarSpan = tuple[int, int]
"""Where an entry begins and ends in a tar, with its header and its data."""


class TarEntry(NamedTuple):
    """One entry of a tar. `name` is as written, but for the slash at the end of a directory.

    `linkname` is a symlink's target, or the name of the entry that a link shares its file with.
    Names are str with surrogate escapes where they are not UTF-8.
    """

    name: str
    kind: EntryKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    linkname: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = {}
    sparse: bool = False  # the archive leaves out the holes; `size` counts them


class Whiteout(NamedTuple):
    """A path that a layer deletes; or, if it is `opaque`, a directory whose contents it deletes."""

    path: str
    opaque: bool = False


def whiteout(name: str) -> Whiteout | None:
    """What an entry of a layer deletes, if it is a whiteout: see image-spec layer.md."""
    folder, slash, base = name.rpartition("/")
    if not base.startswith(WHITEOUT_PREFIX):
        return None
    if base == OPAQUE_WHITEOUT:
        return Whiteout(folder, opaque=True)
    return Whiteout(folder + slash + base.removeprefix(WHITEOUT_PREFIX))


def byte_sum(block: bytes) -> int:
    """The sum of the bytes of a block, which is a header's checksum.

    Adler-32 keeps 1 + the sum of all bytes, modulo 65521, in its low half. Half a block cannot
    reach that, so two calls give the exact sum, ten times faster than `sum` does.
    """
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2


def padding(size: int) -> int:
    """How many bytes follow `size` bytes of data to fill the last block."""
    return -size % BLOCK


# --- Headers ---

_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_NS = 1_000_000_000
_BLANK_CHECKSUM = 8 * ord(" ")


def _block(  # noqa: PLR0913 - the fields of a header
    name: bytes, mode: int, ids: tuple[int, int], size: int, mtime_s: int, flag: bytes,
    link: bytes = b"", device: bytes = bytes(16),
) -> bytes:  # fmt: skip
    """One header block. The checksum is counted as if its own field held spaces."""
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\00000%b%b" % (
        name.ljust(100, b"\0"),
        mode,
        ids[0],
        ids[1],
        size,
        mtime_s,
        flag,
        link.ljust(100, b"\0"),
        bytes(64),  # Names of user and group: an image knows only numbers.
        device,
    )
    block = block.ljust(BLOCK, b"\0")
    return b"%b%06o\0 %b" % (block[:148], byte_sum(block), block[156:])


@lru_cache(maxsize=64)
def _pax_header(size: int) -> bytes:
    """The header of a block of records; all of the same size are the same."""
    return _block(b"PaxHeader", 0o644, (0, 0), size, 0, b"x")


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts its own digits too."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _decimal_time(mtime_ns: int) -> bytes:
    """Seconds as PAX writes them: 1600000000.25, or -0.5 for half a second before the epoch."""
    sign, positive = ("-", -mtime_ns) if mtime_ns < 0 else ("", mtime_ns)
    seconds, fraction = divmod(positive, _NS)
    return f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".").encode()


def whole_seconds(mtime_ns: int) -> int:
    """A time as layers have it: without its fraction, as in BuildKit (containerd
    `pkg/archive/tar.go`). It would take two blocks more for each file."""
    return mtime_ns - mtime_ns % _NS


def _device(entry: TarEntry) -> bytes:
    if entry.kind not in ("char", "block"):
        return b"0000000\0" * 2
    return b"%07o\0%07o\0" % entry.device


@lru_cache(maxsize=64)
def _file_frame(mode: int, uid: int, gid: int) -> tuple[bytes, bytes, int]:
    """What headers of files with this mode and owner share: the fields before the size, those
    after the checksum, and the sum of all their bytes."""
    block = _block(b"", mode, (uid, gid), 0, 0, TYPE_FLAGS["file"], device=b"0000000\0" * 2)
    before, after = block[100:124], block[156:]
    return before, after, byte_sum(before.ljust(BLOCK, b"\0")) + byte_sum(after) + _BLANK_CHECKSUM


def file_header(name: str, mode: int, uid: int, gid: int, size: int, mtime_ns: int) -> bytes:
    """`header` for a regular file without attributes, which most entries are: a third of the
    work, since of most headers only the name, the size and the time differ."""
    encoded = name.encode("utf-8", "surrogateescape")
    mtime_s, fraction = divmod(mtime_ns, _NS)
    if fraction or len(encoded) > 100 or not 0 <= mtime_s <= _MAX_SIZE or size > _MAX_SIZE:
        return header(TarEntry(name, "file", mode, uid, gid, size, mtime_ns))
    if uid > _MAX_ID or gid > _MAX_ID:
        return header(TarEntry(name, "file", mode, uid, gid, size, mtime_ns))
    before, after, frame_sum = _file_frame(mode, uid, gid)
    numbers = b"%011o\0%011o\0" % (size, mtime_s)
    # Adler-32 as in `byte_sum`: neither of these can reach 65521.
    total = frame_sum + (adler32(encoded) & 0xFFFF) + (adler32(numbers) & 0xFFFF) - 2
    return b"%b%b%b%06o\0 %b" % (encoded.ljust(100, b"\0"), before, numbers, total, after)


def small_file(entry: TarEntry, data: bytes) -> bytes:
    """A file of these data as it stands in a tar: its header, the data, and the rest of a block."""
    return header(entry._replace(size=len(data))) + data + bytes(padding(len(data)))


def header(entry: TarEntry) -> bytes:
    """The header of `entry`, with its PAX records before it if it needs any."""
    name = entry.name.encode("utf-8", "surrogateescape")
    if entry.kind == "dir":
        name += b"/"
    link = entry.linkname.encode("utf-8", "surrogateescape")
    uid, gid, size = entry.uid, entry.gid, entry.size
    mtime_s, fraction = divmod(entry.mtime_ns, _NS)
    records: dict[bytes, bytes] = {}
    if len(name) > 100:
        records[b"path"], name = name, name[:100]
    if len(link) > 100:
        records[b"linkpath"], link = link, link[:100]
    if uid > _MAX_ID:
        records[b"uid"], uid = b"%d" % uid, 0
    if gid > _MAX_ID:
        records[b"gid"], gid = b"%d" % gid, 0
    if size > _MAX_SIZE:
        records[b"size"], size = b"%d" % size, 0
    if fraction or not 0 <= mtime_s <= _MAX_SIZE:
        records[b"mtime"] = _decimal_time(entry.mtime_ns)
        mtime_s = mtime_s if 0 <= mtime_s <= _MAX_SIZE else 0
    if entry.xattrs:
        for key, value in entry.xattrs.items():
            records[(XATTR_RECORD + key).encode("utf-8", "surrogateescape")] = value
    main = _block(
        name, entry.mode, (uid, gid), size, mtime_s, TYPE_FLAGS[entry.kind], link, _device(entry)
    )
    if not records:
        return main
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    return b"%b%b%b%b" % (_pax_header(len(body)), body, bytes(padding(len(body))), main)
