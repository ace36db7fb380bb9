"""What the system says of files, turned into what a person can act on.

Comes in: an OSError. Goes out: a `BuildError`. Everything that touches a disk in this package runs
inside `explained`, so that no bare OSError leaves it.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.errors import BuildError, DefinitionError, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_RACES = (errno.ENOENT, errno.EBUSY, errno.ESTALE, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)


def unreadable(path: str, error: OSError, dir_fd: int | None = None) -> DefinitionError:
    """The error for a source that this process may not read; `path` is in its tree, or a name in
    the open directory `dir_fd`."""
    if dir_fd is not None:
        path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
    else:
        path = path.lstrip("/") or "/"
    return DefinitionError(
        f"cannot read {path}: {error.strerror}",
        hint="make it readable for you, or exclude it in the ignore file",
    )


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise typed errors for what fails in the block, which is busy `doing` something."""
    try:
        yield
    except BuildError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"{doing} failed: {error.strerror}",
                hint="free some space, or set MINIBUILD_ROOT to a folder on another disk",
            ) from error
        what = f" at {error.filename}" if error.filename else ""
        raise DefinitionError(
            f"{doing} failed{what}: {error.strerror}",
            hint="did something change the files during the build?"
            if error.errno in _RACES
            else "",
        ) from error
