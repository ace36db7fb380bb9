"""A tree and a layer at once: each file is read one time for both.

Comes in: entries, the root of the tree, and a `LayerSink`. Goes out: the tree, and in the layer the
tar that packing the tree would give. A step that reads a copy needs the tree, and the image needs
the layer. Packing it later opened, looked up and read every file a second time: of 20,000 files
that a step reads, a sixth of the processor time of the whole build.

The layer is given up where its entries are not known before the tree is there (`Unplannable`), or
if a file changes meanwhile. The tree is written in any case, and can be packed later.
Read next: `tree` and `layer`.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.errors import ImageError
from minibuild.fileop.api import Entry, Hooks, Planned
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.tree import TreeSink
from minibuild.fileop.walk import FoundFile
from minibuild.linux.beneath import open_beneath
from minibuild.linux.contents import SMALL
from minibuild.linux.descriptors import closing_fd

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records


class Tee(TreeSink):
    """Writes entries below a root, and into a layer, whose base is the tree that was there before.
    `given_up` says why there is no layer."""

    def __init__(
        self,
        root_fd: int,
        layer: LayerSink,
        hooks: Hooks,
        *,
        owners: "Records | None" = None,
        hashing: bool = False,
    ) -> None:
        super().__init__(root_fd, hooks, owners=owners, hashing=hashing)
        self._layer = layer
        self._root_fd = root_fd
        self.given_up = ""

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Write one entry into both."""
        if isinstance(entry, Entry) and entry.mtime_ns is None:
            # The clock would give the tree another time than the layer.
            entry = entry._replace(mtime_ns=self._layer.now_ns)
        if not self.given_up:
            try:
                if self._layer.takes(entry) and isinstance(entry, Entry) and not entry.is_read:
                    self._layer.write(entry)
            except Unplannable as reason:
                self.given_up = str(reason)
        super().put(entry, found)

    def _fill(
        self, target_fd: int, entry: Entry, source_fd: int, attributes: Sequence[str]
    ) -> None:
        if not self.given_up:
            try:
                if entry.size < SMALL:
                    self._layer.file(entry, source_fd, attributes, target_fd)
                else:
                    # A big file is copied in the kernel, where the filesystem may share its blocks.
                    self._layer.file(entry, source_fd, attributes)
                    self._copier.copy(source_fd, target_fd, entry.size)
            except ImageError as reason:  # It changed while it was read.
                self.given_up = str(reason)
                os.ftruncate(target_fd, 0)
                os.lseek(target_fd, 0, os.SEEK_SET)
                os.lseek(source_fd, 0, os.SEEK_SET)
            else:
                self.digest = self._layer.digest
                return
        super()._fill(target_fd, entry, source_fd, attributes)

    def settle(self) -> None:
        """Finish all directories, those of the base too: a name more in one is a new time."""
        super().settle()
        if self.given_up:
            return
        now = (self._layer.now_ns, self._layer.now_ns)
        for folder in self._layer.plan.touched:
            with closing_fd(
                open_beneath(self._root_fd, folder, os.O_RDONLY | os.O_DIRECTORY)
            ) as fd:
                os.utime(fd, ns=now)
