"""What can go wrong, where it is in the Dockerfile, and which exit code says so.

Comes in: a cause. Goes out: a typed exception that a person can act on. Nothing in the
library prints or exits; the command line turns these into text (`cli`) and an exit code.
Read next: `events`.

Every error carries a `hint` (what to do about it) and, once known, a `Span` (where in the
Dockerfile). Inner code raises without a span; the code that knows the instruction wraps it
in `located`, and the innermost location wins.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    import threading


class Span(NamedTuple):
    """Lines `first` to `last` of `file`, counted from 1, both included."""

    file: str
    first: int
    last: int


class SourceText(NamedTuple):
    """A definition as it was read, kept so that an error can show the lines around it."""

    name: str
    text: str


class BuildError(Exception):
    """Something that stops a build and that the person who started it should know.

    `message` says what is wrong in one sentence, without a full stop. `hint` says what to do.
    `detail` holds further lines, such as the last output of a failed step. `line` is where the
    instruction begins that `span` is a part of, 0 if that is not known.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        span: Span | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.span = span
        self.line = 0
        self.detail = detail
        self.source: SourceText | None = None

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross a process boundary where the engine runs in a user namespace of its own.
        return _rebuilt, (type(self), self.message, self.__dict__)


def _rebuilt(kind: type[BuildError], message: str, state: dict[str, Any]) -> BuildError:
    error = kind.__new__(kind, message)
    error.__dict__.update(state)
    return error


class UsageError(BuildError):
    """The command line or the arguments of `build` make no sense."""

    exit_code = 2


class HostError(BuildError):
    """This machine cannot do what a build needs: a kernel feature, a program, a permission."""

    exit_code = 3


class RegistryError(BuildError):
    """An image could not be resolved, pulled or pushed."""

    exit_code = 4


class StepFailed(BuildError):
    """The process of a step ended with a code other than 0.

    `code` is what `docker build` would report: the exit status, or 128 + N after signal N.
    """

    exit_code = 5

    def __init__(self, message: str, *, code: int, hint: str = "", detail: str = "") -> None:
        super().__init__(message, hint=hint, detail=detail)
        self.code = code


class DefinitionError(BuildError):
    """The definition is wrong: a Dockerfile, a graph, a source that is not there."""

    exit_code = 6


class ImageError(BuildError):
    """An image, an archive or a layer is broken or hostile."""

    exit_code = 7


class StoreError(BuildError):
    """The store cannot be read or written: a full disk, a newer format, a missing blob."""

    exit_code = 8


class Cancelled(BuildError):
    """The build was stopped: by the person, or because another step failed first."""

    exit_code = 130


def raise_if_cancelled(cancelled: "threading.Event | None", doing: str) -> None:
    """Raise `Cancelled` if the event is set: for loops that may take more than a moment."""
    if cancelled is not None and cancelled.is_set():
        raise Cancelled(f"cancelled while {doing}")


FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""What the kernel says where there is no room left, or none for this account."""
MAKE_ROOM = (
    "free some space (`minibuild prune --all` empties the cache), "
    "or set MINIBUILD_ROOT to a folder on another disk"
)
"""What to do about it, if it is the disk of the store."""

_LACKS = {
    errno.ENAMETOOLONG: "Linux takes paths of 4,095 bytes; the store's own path is part of them",
    errno.EMFILE: "raise the limit on open files: `ulimit -n`",
    errno.ENFILE: "the whole machine has too many files open: see /proc/sys/fs/file-max",
    errno.ENOMEM: "free memory, or raise the limit of this process: `ulimit -v`",
    errno.EAGAIN: "raise the limit on processes (`ulimit -u`), or on memory (`ulimit -v`)",
    errno.EFBIG: "raise the limit on the size of files: `ulimit -f`",
    errno.EIO: "the disk may be broken: see `dmesg`",
    errno.EROFS: "set MINIBUILD_ROOT to a folder that can be written",
}
_SHOWN_PATH = 120
_NO_THREAD, _NO_LIBRARY = "can't start new thread", "failed to map segment"
"""Words of Python and of the dynamic linker, whose errors have no numbers."""


_FULL_BYTES = 1 << 20
_ONE_ACCOUNT = (
    "`ls -l` says whose it is. A store is for one account: if another has used it, too, "
    "`chown -R` it, or set MINIBUILD_ROOT to a folder of yours"
)


def is_full(folder: str) -> bool:
    """Whether a folder's disk is full, or nearly, or has no room for another file."""
    found = os.statvfs(folder)
    # btrfs counts no files.
    no_file = found.f_files > 0 and not found.f_favail
    return found.f_bavail * found.f_frsize < _FULL_BYTES or no_file


def lack(error: BaseException) -> BuildError | None:
    """What the machine has too little of, as an error that a person can act on.

    None if `error` is no such error of the system: then it has to be explained elsewhere.
    """
    if isinstance(error, MemoryError):
        return HostError("there is not enough memory", hint=_LACKS[errno.ENOMEM])
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return HostError("no further thread can be started", hint=_LACKS[errno.EAGAIN])
    if isinstance(error, ImportError) and _NO_LIBRARY in str(error):
        return HostError(f"not enough memory to load {error}", hint=_LACKS[errno.ENOMEM])
    if not isinstance(error, OSError):
        return None
    if error.errno in FULL_DISK:
        return StoreError("the disk with the store is full", hint=MAKE_ROOM)
    if error.errno not in _LACKS:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if len(path) > _SHOWN_PATH:
        path = f"{path[:_SHOWN_PATH]}… ({len(os.fsencode(path)):,} bytes)"
    what = f"{path}: " if path else ""
    return HostError(f"{what}{os.strerror(error.errno).lower()}", hint=_LACKS[error.errno])


@contextmanager
def located(span: Span | None) -> Iterator[None]:
    """Give errors raised inside the block this span, unless they already have one."""
    try:
        yield
    except BuildError as error:
        error.span = error.span or span
        error.line = error.line or (span.first if span else 0)
        raise


@contextmanager
def quoting(source: SourceText) -> Iterator[None]:
    """Let errors about lines of `source` that are raised inside the block have its text, so that
    what shows them can show these lines."""
    try:
        yield
    except BuildError as error:
        if error.span is not None and error.span.file == source.name:
            error.source = source
        raise


@contextmanager
def os_errors_as(kind: type[BuildError], what: str, hint: str = "") -> Iterator[None]:
    """Let an error of the system in the block be one of ours, which says what could not be done."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {os.strerror(error.errno or 0)}", hint=hint) from error


def explained(error: BaseException) -> BaseException:
    """An error of the system as one that a person can act on; any other as it is."""
    if isinstance(error, BuildError):
        return error
    found = lack(error)
    if found is None:
        if not isinstance(error, OSError):
            return error
        what = f"{error.filename}: " if error.filename else ""
        hint = _ONE_ACCOUNT if isinstance(error, PermissionError) else ""
        found = HostError(f"{what}{error.strerror or error}", hint=hint)
    found.__cause__ = error
    return found
