"""A layer that is packed while it is still found out what is in it.

Comes in: a copy server that has nothing to do, and the pieces of a patch as the copy finds them.
Goes out: the layer, a moment after the copy has ended. The last layer is decompressed and hashed
meanwhile, in a process, because a thread would wait for the interpreter lock at each piece.

It is a guess: if the copy comes to something else, or the server to an error, nothing is left, and
the patch is packed as if this had never been. Read next: `copy_server`, `layer.patch`.
"""

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minibuild.errors import BuildError, Cancelled
from minibuild.layer.layer import Layer, remember
from minibuild.layer.pieces import PatchPiece, send, send_end
from minibuild.oci.content import ContentStore
from minibuild.solver.layers import Packing

if TYPE_CHECKING:
    from minibuild.solver.copy_server import CopyServer


class PackingAhead:
    """A `PieceTaker`. Use it in a `with` around the copy; `done` is called with the server when
    that has no more to do with it."""

    def __init__(
        self,
        server: "CopyServer",
        layer: Layer,
        packing: Packing,
        content: ContentStore,
        done: "Callable[[CopyServer], None]",
    ) -> None:
        self._server = server
        self._layer = layer
        self._packing = packing
        self._content = content
        self._done = done
        self._pipe = -1
        self._waits = self._whole = False

    def begin(self, fd: int) -> None:
        theirs, self._pipe = os.pipe2(os.O_CLOEXEC)
        try:
            self._server.begin_packing(self._layer, self._packing, self._content, (theirs, fd))
            self._waits = True
        except BuildError:
            pass  # It died.
        finally:
            os.close(theirs)

    def take(self, pieces: Sequence[PatchPiece]) -> None:
        send(self._pipe, pieces)

    def end(self) -> None:
        send_end(self._pipe)
        self._whole = True

    def layer(self, cancelled: threading.Event | None = None) -> Layer | None:
        """Wait for the layer; None if it did not come to be. Raises `Cancelled`."""
        try:
            if not (self._waits and self._server.alive):
                return None
            made = self._server.packed(self._content, cancelled)
        except Cancelled:
            raise
        except Exception:
            return None  # Whatever it was, it is met again, and reported, where it is packed now.
        finally:
            self._waits = False
            self._done(self._server)
        remember(self._content, made)
        return made

    def __enter__(self) -> "PackingAhead":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
        if kind is not None and self._whole:
            self._server.close()
        if kind is not None or not self._whole:
            self.layer()  # The server meets the end of the pipe, and leaves nothing.
