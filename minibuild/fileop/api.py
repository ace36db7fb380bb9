"""What the modules of this package share: the data they hand to each other, and where it goes.

Comes in: nothing. Goes out: `SourceTree` (what to copy from), `Entry` and `Archive` (what will be
in the destination), and `Sink`: one protocol for a tree, a layer, both at once, and hashing, which
takes the entries of a plan one after the other. What the system says of files becomes an error that
a person can act on: all that touches a disk in this package runs inside `explained`, so that no
bare OSError leaves it. Read next: `select`, which reads trees, `plan`, which makes entries, and
`tree`, `layer`, `tee` and `hasher`, which are sinks.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from minibuild.errors import (
    FULL_DISK,
    MAKE_ROOM,
    BuildError,
    DefinitionError,
    StoreError,
    lack,
    raise_if_cancelled,
)
from minibuild.graph.op import Copy
from minibuild.graph.vertex import IgnoreRules
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.fileop.select import Pick
    from minibuild.fileop.walk import FoundFile
    from minibuild.linux.recorded import Records


class SourceTree(NamedTuple):
    """A tree to copy from: an open directory, and what of it does not exist for a build.

    `ignore` are patterns (`graph.pattern`); a file that they exclude is as good as not there.
    `name` is for messages, and so is `ignored`: the ignore file that the patterns came from, or
    by which the tree was made from a larger one. `local` says that it is a directory of this
    machine, whose sockets are empty files to a build, as with BuildKit. `owners` are the records
    of a tree of the store, where owners are recorded.
    """

    fd: int
    ignore: tuple[str, ...] = ()
    name: str = ""
    ignored: IgnoreRules = IgnoreRules()
    local: bool = False
    owners: "Records | None" = None


class Entry(NamedTuple):
    """One path that a plan puts into the destination.

    `path` is relative to the root of the destination, without symlinks on the way, and without a
    leading slash; the root itself is "". `mode` holds the type and the final permission bits.
    `mtime_ns` None is the time of writing. `target` is the text of a symlink, or the path of the
    earlier entry that a `hardlink` is another name of. A directory with `keep` is only made where
    there is none: an existing one keeps its mode and owner, and gets no more than the time. One
    that `replaces` may take the place of a directory, or be one in the place of a file.

    The data of a regular file is `data`, or the file `name` of the open directory `dir_fd`, which
    stays open until the next entry is asked for; `size` is what it was when it was looked at.
    """

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None
    target: str = ""
    hardlink: bool = False
    rdev: int = 0
    keep: bool = False
    size: int = 0
    dir_fd: int = -1
    name: str = ""
    data: bytes | None = None
    replaces: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it is a regular file with the data of another one."""
        return self.data is None and not self.hardlink and stat.S_ISREG(self.mode)


class Archive(NamedTuple):
    """An archive to be unpacked into the directory `path`, which an entry before it made.

    It is the file `name` of the open directory `dir_fd`. `owner`, if given, replaces all owners.
    """

    path: str
    dir_fd: int
    name: str
    owner: tuple[int, int] | None = None


Planned = Entry | Archive

Progress = Callable[[int, int], None]
"""Called now and then with the files and the bytes written so far."""


def made_directory(
    path: str, mode: int, owner: tuple[int, int], time_ns: int | None = None
) -> Entry:
    """The entry of a directory that no source has: if it is there, it gets the time alone."""
    return Entry(path, stat.S_IFDIR | mode, *owner, time_ns, keep=True)


def capability_words(value: bytes | None) -> bytes:
    """What the capabilities of a file add to its data where that is hashed."""
    from minibuild.linux.xattr import CAPABILITY

    return b"\0" + CAPABILITY.encode() + (value or b"")


Copied = Callable[[str], bool]
"""Tells whether the file at a path was put there by a copy whose times are of no account."""


class Hooks(NamedTuple):
    """What copying asks, and what it reports to."""

    progress: Progress | None = None
    cancelled: threading.Event | None = None
    copied: Copied | None = None


NO_HOOKS = Hooks()


# --- Sinks ---

_REPORT_EVERY = 256


class SinkFull(Exception):
    """Raised by a sink that takes no more of a copy: its plan ends there."""


class Sink(Protocol):
    """Takes entries. An entry is written before the next one is planned, for a plan looks at what
    is there already."""

    digest: bytes
    """That of the file that was put last, if the sink hashes and the file was read."""

    def begin(self, copy: Copy) -> None:
        """The entries that follow are those of a copy."""
        return

    def enter(self, pick: "Pick") -> None:
        """The entries that follow are of one thing that the copy names."""
        return

    def below(self, pick: "Pick", top: str, walk: "Iterator[FoundFile]") -> "Iterator[FoundFile]":
        """What of a picked directory is put at `top`, of all that a walk finds in it."""
        return walk

    def put(self, entry: Planned, found: "FoundFile | None" = None) -> None:
        """Take one entry. `found` is the file of the source that it stands for; a directory that is
        made on the way has none. Raises `SinkFull`."""

    def settle(self) -> None:
        """Finish what was put so far: nothing of it is left undone."""
        return


class Tally:
    """Counts the files that were put, for progress. Stops when the build is cancelled."""

    __slots__ = ("_cancelled", "_files", "_progress", "_size_bytes")

    def __init__(
        self, progress: Progress | None = None, cancelled: threading.Event | None = None
    ) -> None:
        self._progress = progress
        self._cancelled = cancelled
        self._files = 0
        self._size_bytes = 0

    def add(self, entry: Planned) -> None:
        """Note that an entry was put. Raises `Cancelled`."""
        if isinstance(entry, Archive):
            self._files += 1
        elif not stat.S_ISDIR(entry.mode):
            self._files += 1
            self._size_bytes += entry.size
        else:
            return
        if self._files % _REPORT_EVERY == 0:
            raise_if_cancelled(self._cancelled, "copying files")
            self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        if self._progress is not None and self._files:
            self._progress(self._files, self._size_bytes)


# --- Errors ---

_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG)
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
        if error.errno in FULL_DISK:
            raise StoreError(f"{doing} failed: {error.strerror}", hint=MAKE_ROOM) from error
        if error.errno in _LIMITS and (lacking := lack(error)):
            raise lacking from error
        what = f" at {error.filename}" if error.filename else ""
        raise DefinitionError(
            f"{doing} failed{what}: {error.strerror}",
            hint="did something change the files during the build?"
            if error.errno in _RACES
            else "",
        ) from error
