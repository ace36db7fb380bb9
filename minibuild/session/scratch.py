"""A temporary folder that does not outlive its process for long, even if that is killed.

Comes in: the beginning of its name. Goes out: a folder in TMPDIR, as long as the block runs. It is
locked by flock(2), which the kernel drops when the process dies, however it dies; the process that
makes the next such folder removes those that no process holds. The store does the same
(`store.owner`), but what comes before there is a store, or is larger than its disk, is kept here.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from minibuild.errors import HostError
from minibuild.linux.descriptors import closing_fd

_PREFIXES = tuple(f"minibuild-{what}-" for what in ("build", "context", "session", "verify"))


@contextmanager
def scratch_folder(prefix: str) -> Iterator[str]:
    """A new folder, for this account only, its name beginning with one of `_PREFIXES`."""
    from tempfile import gettempdir

    try:
        parent = gettempdir()
    except FileNotFoundError as error:  # it has tried all that there may be
        raise HostError(
            "there is no folder for temporary files", hint="set TMPDIR to one that can be written"
        ) from error
    _sweep(parent)
    path, fd = _claim(parent, prefix)
    with closing_fd(fd):
        try:
            yield path
        finally:
            _remove(path)


def _claim(parent: str, prefix: str) -> tuple[str, int]:
    """A new folder, and the descriptor that holds its lock. Another process may sweep before it is
    locked, and remove it: then the next name is tried."""
    from tempfile import mkdtemp

    while True:
        path = mkdtemp(prefix=prefix, dir=parent)
        with suppress(FileNotFoundError, BlockingIOError), ExitStack() as stack:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.stat(path)
            stack.pop_all()
            return path, fd


def _sweep(parent: str) -> None:
    """Remove what killed processes of this account left."""
    with os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(_PREFIXES) or not entry.is_dir(follow_symlinks=False):
                continue
            with (
                suppress(OSError),
                closing_fd(os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)) as fd,
            ):
                if os.fstat(fd).st_uid != os.geteuid():
                    continue
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(entry.path)


def _remove(path: str) -> None:
    """Remove a folder with all that is in it, however deep that is."""
    from minibuild.linux.beneath import remove_path

    with suppress(OSError):
        remove_path(path)
