"""Where gzip is cut into blocks: at headers of the tar that only the tar itself chooses.

Comes in: the tar, a full buffer at a time. Goes out: how much of it is the next block. Cuts at
fixed distances would all move when a file in front of them grows. These are at the header of the
highest rank in the second half of what a block can take, so that behind a change they soon fall
onto the places where they were, and the blocks behind it are the same as before (see
`chunk_cache`). Nothing but the bytes decides, so equal tars are cut alike, whatever wrote them.
Read next: `gzip_writer`.
"""

import re
from zlib import crc32

from minibuild.layer.tar_format import BLOCK

BLOCK_BYTES = 1 << 20
"""The most that is in a block, and what is in one where there are no headers to choose from.
Part of the format of layers, as all numbers here: another one gives other bytes."""

LEAST_BYTES = BLOCK_BYTES >> 1
"""The least that is in a block, but for the last one and those in front of large files."""

_MAGIC = b"ustar"
_SIZE_AT, _TYPE_AT, _MAGIC_AT = 124, 156, 257
_PAX = ord("x")
_LARGE = b"%011o" % BLOCK_BYTES


def cut(buffer: bytearray) -> int:
    """The length of the block that begins with this buffer, which is full.

    A large file begins a block: then its own blocks are the same wherever in a layer it is. What
    looks like a header in a file's data does no harm.
    """
    column = buffer[_MAGIC_AT::BLOCK]  # One byte for each place where a header can be.
    last = column.rfind(b"u")
    while last > 0 and not _is_header(buffer, last * BLOCK):
        last = column.rfind(b"u", 0, last)
    size_at = last * BLOCK + _SIZE_AT
    if last > 0 and buffer[size_at : size_at + len(_LARGE)] >= _LARGE:
        return last * BLOCK
    found = re.finditer(b"u", column[LEAST_BYTES // BLOCK :])
    places = [LEAST_BYTES + place.start() * BLOCK for place in found]
    # The first of those with the same rank: sorting keeps their order.
    places.sort(key=lambda at: crc32(buffer[at : at + _MAGIC_AT]), reverse=True)
    return next((at for at in places if _is_header(buffer, at)), BLOCK_BYTES)


def _is_header(buffer: bytearray, start: int) -> bool:
    """Whether there is a header of an entry. One of PAX records is none: they look all alike."""
    return buffer.startswith(_MAGIC, start + _MAGIC_AT) and buffer[start + _TYPE_AT] != _PAX
