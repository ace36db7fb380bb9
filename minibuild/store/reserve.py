"""Room that a store keeps for the moment in which its disk has no other: pruning takes some.

To remove anything, pruning has to write first: its claim, the shared memory of SQLite, and the rows
that go, into a log. So a store has a few files of zeros from its beginning. They are removed before
a prune opens the store, and made again when it is done. It takes several, because a disk may lack
room for files, too. Read next: `private`, `worker.prune`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

FOLDER = "reserve"
_FILES = 4
_FILE_BYTES = 256 << 10
_PLENTY = 4
"""How many times the reserve has to be free: on a smaller disk it would be what is missing."""


def keep_reserve(root: str) -> None:
    """Have the reserve of the store in `root`, unless there is little room. Root makes none in the
    store of another account, which could not remove it. Each start calls it: a prune may have been
    killed."""
    # The last file is made last and removed first.
    if os.path.exists(_paths(root)[-1]) or os.stat(root).st_uid != os.geteuid():
        return
    found = os.statvfs(root)
    counts_files = found.f_files > 0  # btrfs does not
    if found.f_bavail * found.f_frsize < _PLENTY * _FILES * _FILE_BYTES:
        return
    if counts_files and found.f_favail < _PLENTY * _FILES:
        return
    # Another build may make it, too; and without a reserve a store is as good.
    with suppress(OSError):
        os.makedirs(os.path.join(root, FOLDER), mode=0o700, exist_ok=True)
        for path in _paths(root):
            with open(path, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)


@contextmanager
def reserve_on_the_disk(root: str) -> Iterator[None]:
    """Give the reserve of a store back to the disk while the block runs. In a folder that is no
    store, nothing is touched."""
    for path in reversed(_paths(root)) if _is_store(root) else ():
        with suppress(OSError):
            os.unlink(path)
    try:
        yield
    finally:
        if _is_store(root):
            keep_reserve(root)


def _paths(root: str) -> list[str]:
    return [os.path.join(root, FOLDER, str(number)) for number in range(_FILES)]


def _is_store(root: str) -> bool:
    return os.path.exists(os.path.join(root, "meta.db"))
