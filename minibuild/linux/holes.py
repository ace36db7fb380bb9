"""Where a file has data, and where only holes, which read as zeros and take no room (lseek(2))."""

import errno
import os
from collections.abc import Iterator


def extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the first `size` bytes of a file have data: starts and ends. The rest are holes."""
    end = 0
    try:
        while end < size:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            if start < size:
                yield start, min(end, size)
    except OSError as error:
        if error.errno == errno.EINVAL and not end:  # No SEEK_DATA here.
            yield 0, size
        elif error.errno != errno.ENXIO:  # ENXIO: no data after this offset.
            raise
