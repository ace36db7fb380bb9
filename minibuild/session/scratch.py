"""A temporary folder that does not outlive its process for long, even if that is killed.

Comes in: the beginning of its name. Goes out: a folder in TMPDIR, as long as the block runs. It is
locked by flock(2), which the kernel drops when the process dies, however it dies; the process that
makes the next such folder removes those that no process holds. The store does the same
(`store.claim`), but what comes before there is a store, or is larger than its disk, is kept here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from minibuild.errors import HostError
from minibuild.linux.descriptors import closing_fd
from minibuild.store.flock import lock_folder

_PREFIXES = tuple(f"minibuild-{what}-" for what in ("build", "context", "session", "verify"))


@contextmanager
def scratch_folder(prefix: str) -> Iterator[str]:
    """A new folder, for this account only, its name beginning with one of `_PREFIXES`."""
    from tempfile import gettempdir, mkdtemp

    try:
        parent = gettempdir()
    except FileNotFoundError as error:  # it has tried all that there may be
        raise HostError(
            "there is no folder for temporary files", hint="set TMPDIR to one that can be written"
        ) from error
    _sweep(parent)
    path = mkdtemp(prefix=prefix, dir=parent)
    while (fd := lock_folder(path)) is None:  # Another process took it for one of the dead.
        path = mkdtemp(prefix=prefix, dir=parent)
    with closing_fd(fd):
        try:
            yield path
        finally:
            _remove(path)


def _sweep(parent: str) -> None:
    """Remove what killed processes of this account left."""
    with os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(_PREFIXES) or not entry.is_dir(follow_symlinks=False):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                    continue
                if (fd := lock_folder(entry.path)) is not None:
                    with closing_fd(fd):
                        _remove(entry.path)


def _remove(path: str) -> None:
    """Remove a folder with all that is in it, however deep that is."""
    from minibuild.linux.beneath import remove_path

    with suppress(OSError):
        remove_path(path)
