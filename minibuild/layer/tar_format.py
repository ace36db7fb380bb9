"""The tar format: blocks of 512 bytes, a header each, numbers in octal.

What `tar_writer` and `tar_reader` share. A header says what the next entry is; what does not fit
in it (long names, times finer than a second, attributes) stands in a PAX record before it.
Rules: POSIX.1-2017, pax ("ustar Interchange Format", "pax Extended Header"); GNU tar's manual for
its own extensions; image-spec layer.md for whiteouts. Read next: `tar_writer`, `tar_reader`.
"""

import stat
from collections.abc import Mapping
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

Kind = Literal["file", "link", "symlink", "char", "block", "dir", "fifo"]

TYPE_FLAGS: Mapping[Kind, bytes] = {
    "file": b"0",
    "link": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}

KINDS: Mapping[int, Kind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
"""By the type bits of a mode. A socket has no entry in a tar: it means nothing in an image."""


class Entry(NamedTuple):
    """One entry of a tar. `name` is as written, but for the slash at the end of a directory.

    `linkname` is a symlink's target, or the name of the entry that a link shares its file with.
    Names are str with surrogate escapes where they are not UTF-8.
    """

    name: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    linkname: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = {}
    sparse: bool = False  # the archive leaves out the holes; `size` counts them


def byte_sum(block: bytes) -> int:
    """The sum of the bytes of a block, which is a header's checksum.

    Adler-32 keeps 1 + the sum of all bytes, modulo 65521, in its low half. Half a block cannot
    reach that, so two calls give the exact sum, ten times faster than `sum` does.
    """
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2


def padding(size: int) -> int:
    """How many bytes follow `size` bytes of data to fill the last block."""
    return -size % BLOCK
