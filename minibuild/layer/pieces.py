"""The pieces of a patch, and their way to another process while the patch is still written.

Comes in: pieces, in the order of the tar. Goes out: the same pieces, at the other end of a pipe.
The new bytes themselves do not go through it: the other process has the file of the patch open.
An end without the last record means that the patch did not come to be. Read next: `patch`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import Protocol

from minibuild.errors import ImageError
from minibuild.linux.contents import write_all
from minibuild.startup.tuples import NamedTuple

_RECORD = Struct("<?QQ")


class PatchPiece(NamedTuple):
    """Bytes of the tar: a place in the tar of the layer below or, if `new`, in the patch."""

    new: bool
    start: int
    end: int


_LAST = PatchPiece(False, 0, 0)


class PieceTaker(Protocol):
    """Has the pieces of a patch as soon as they are known."""

    def begin(self, fd: int) -> None:
        """The patch is begun: new bytes can be read from this file once their piece came."""

    def take(self, pieces: Sequence[PatchPiece]) -> None:
        """The next pieces."""

    def end(self) -> None:
        """That was all: the patch is whole."""


def send(fd: int, pieces: Sequence[PatchPiece]) -> None:
    """Write pieces into a pipe. If nothing reads them any more, they are dropped."""
    with suppress(BrokenPipeError):
        write_all(fd, b"".join(_RECORD.pack(*piece) for piece in pieces))


def send_end(fd: int) -> None:
    """Say that there are no more."""
    send(fd, (_LAST,))


def received(fd: int) -> Iterator[PatchPiece]:
    """The pieces that come through a pipe. Raises `ImageError` if it ends before they do."""
    with open(fd, "rb", closefd=False) as pipe:
        while len(record := pipe.read(_RECORD.size)) == _RECORD.size:
            piece = PatchPiece._make(_RECORD.unpack(record))
            if piece == _LAST:
                return
            yield piece
    raise ImageError("the patch was given up")
