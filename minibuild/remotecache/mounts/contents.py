"""What is in a cache mount, in sum: which of its directories hold how much.

Comes in: an open directory. Goes out: an entry for each path down to some depth, with the room that
all below it takes. An inode counts once, under the first of its names.
"""

import stat

from minibuild.fileop.walk import walk
from minibuild.startup.tuples import NamedTuple


class Content(NamedTuple):
    """A path, and what it and all below it come to; `newest` is the latest time of a file."""

    path: str
    files: int
    size_bytes: int
    newest: float


def contents(fd: int, depth: int) -> list[Content]:
    """The paths of at most `depth` components, the largest first."""
    found: dict[str, Content] = {}
    seen: set[int] = set()
    for path, _, _, status, _ in walk(fd):
        is_directory = stat.S_ISDIR(status.st_mode)
        size = 0 if status.st_ino in seen else status.st_blocks * 512
        if status.st_nlink > 1 and not is_directory:
            seen.add(status.st_ino)
        parts = path.split("/")
        for count in range(1, min(depth, len(parts)) + 1):
            above = "/".join(parts[:count])
            old = found.get(above, Content(above, 0, 0, 0.0))
            found[above] = Content(
                above,
                old.files + (not is_directory),
                old.size_bytes + size,
                max(old.newest, 0.0 if is_directory else status.st_mtime),
            )
    return sorted(found.values(), key=lambda entry: (-entry.size_bytes, entry.path))
