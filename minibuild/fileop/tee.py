"""A copy as a tree and as a layer at once: each file is read one time for both.

Comes in: what `fileop.write` takes, and a `LayerWriter`. Goes out: the tree, and in the layer the
tar that packing the tree would give. A step that reads a copy needs the tree, and the image needs
the layer. Packing it later opened, looked up and read every file a second time: of 20,000 files
that a step reads, a sixth of the processor time of the whole build.

The layer is given up where its entries cannot be told before the tree is there (`Unplannable`), or
if a file changes meanwhile. The tree is written in any case, and can be packed later.
Read next: `write` and `layer`.
"""

import os
import threading
from collections.abc import Mapping, Sequence

from minibuild.errors import ImageError
from minibuild.fileop.api import Copied, Entry, Planned, Progress, SourceTree
from minibuild.fileop.apply import apply
from minibuild.fileop.data import SMALL
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.layer import LayerWriter
from minibuild.fileop.write import Writer
from minibuild.graph.op import Copy
from minibuild.linux.beneath import open_beneath

__all__ = ["Unplannable", "apply_and_pack"]


def apply_and_pack(
    copies: Sequence[Copy],
    root_fd: int,
    sources: Mapping[int, SourceTree],
    layer: LayerWriter,
    *,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    copied: Copied | None = None,
) -> None:
    """Write all copies below `root_fd`, and their entries into a layer, whose base is the tree
    that was there before.

    Raises `Unplannable` if there is no layer; the tree is whole then. Raises what `apply` raises.
    """
    writer = _BothWriter(root_fd, layer, progress, cancelled, copied)
    apply(copies, root_fd, sources, writer=writer)
    if writer.given_up:
        raise Unplannable(writer.given_up)


class _BothWriter(Writer):
    """Writes entries below a root, and tells a layer of each."""

    __slots__ = ("_layer", "_root_fd", "given_up")

    def __init__(
        self,
        root_fd: int,
        layer: LayerWriter,
        progress: Progress | None,
        cancelled: threading.Event | None,
        copied: Copied | None,
    ) -> None:
        super().__init__(root_fd, progress, cancelled, copied, layer.witness)
        self._layer = layer
        self._root_fd = root_fd
        self.given_up = ""

    def put(self, entry: Planned) -> None:
        """Write one entry into both."""
        if isinstance(entry, Entry) and entry.mtime_ns is None:
            # The clock would give the tree another time than the layer.
            entry = entry._replace(mtime_ns=self._layer.now_ns)
        if not self.given_up:
            try:
                if self._layer.takes(entry) and isinstance(entry, Entry) and not entry.is_read:
                    self._layer.put(entry)
            except Unplannable as reason:
                self.given_up = str(reason)
        super().put(entry)

    def contents(
        self, target_fd: int, entry: Entry, source_fd: int, attributes: Sequence[str]
    ) -> int:
        """Fill a new file, and tell the layer of it."""
        if not self.given_up and entry.is_read:
            try:
                if entry.size < SMALL:
                    self._layer.file(entry, source_fd, attributes, target_fd)
                    return entry.size
                # A big file is copied in the kernel, where the filesystem may share its blocks.
                self._layer.file(entry, source_fd, attributes)
                os.lseek(source_fd, 0, os.SEEK_SET)
                return self._copier.copy(source_fd, target_fd, entry.size)
            except ImageError as reason:  # It changed while it was read.
                self.given_up = str(reason)
                os.ftruncate(target_fd, 0)
                os.lseek(target_fd, 0, os.SEEK_SET)
            os.lseek(source_fd, 0, os.SEEK_SET)
        return super().contents(target_fd, entry, source_fd, attributes)

    def settle(self) -> None:
        """Finish all directories, those of the base too: a name more in one is a new time."""
        super().settle()
        if self.given_up:
            return
        now = (self._layer.now_ns, self._layer.now_ns)
        for folder in self._layer.touched:
            fd = open_beneath(self._root_fd, folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.utime(fd, ns=now)
            finally:
                os.close(fd)
