"""A layer becomes the contents of a cache mount in the store.

Comes in: a layer and the mount, held alone. Goes out: the mount with other contents. They are
written beside it, checked, and put in its place by a rename: a step sees the old ones or the new.
"""

import os
from typing import BinaryIO, cast

from minibuild.oci.content import BlobSource
from minibuild.oci.meter import Meter, VertexMeter
from minibuild.oci.model import Descriptor
from minibuild.progress.writer import ProgressWriter
from minibuild.remotecache.mounts.local import LocalMount
from minibuild.remotecache.mounts.tree import is_empty, unpack_tree
from minibuild.snapshot.sweep import discard
from minibuild.solver.cachemounts import describe, make_folder
from minibuild.worker.context import BuildContext


def is_already(local: LocalMount, layer: Descriptor) -> bool:
    """Whether the mount holds just what is in the layer, as far as is known."""
    if is_empty(local.path):
        return False
    return layer.digest in {known.digest for known in local.known_as(local.fingerprint())}


def replace(
    build: BuildContext,
    local: LocalMount,
    target: str,
    source: BlobSource,
    layer: Descriptor,
    progress: ProgressWriter,
) -> None:
    """Give the mount the contents of a layer. `target` is where steps see it, if that is known."""
    make_folder(local.folder)
    # In a directory that others cannot enter, whatever the mode of the mount itself.
    making = build.worker.store.ingest_path()
    os.mkdir(making, 0o700)
    try:
        new, old = os.path.join(making, "new"), os.path.join(making, "old")
        os.mkdir(new, 0o700)
        fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            meter = VertexMeter(build.report, progress.vertex)
            owners = build.worker.snapshots.owners(None)
            metered = _Metered(source, meter)
            for left_out in unpack_tree(metered, layer, fd, build.cancelled, owners):
                progress.remark(left_out)
        finally:
            os.close(fd)
        describe(local.folder, local.id, target)
        if os.path.isdir(local.path):
            os.rename(local.path, old)
        os.rename(new, local.path)
    finally:
        discard(build.worker.store, making)
    local.remember(local.fingerprint(), layer._replace(annotations={}))


class _Metered(BlobSource):
    """A source that reports how much of a blob was read."""

    def __init__(self, source: BlobSource, meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        file = self._source.open(descriptor, offset)
        return cast(BinaryIO, _MeteredFile(file, descriptor, self._meter))


class _MeteredFile:
    """A blob on its way in."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor, meter: Meter) -> None:
        self._file = file
        self._descriptor = descriptor
        self._meter = meter
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._at += len(data)
        self._meter(self._descriptor, self._at)
        return data

    def close(self) -> None:
        if self._at == self._descriptor.size:
            self._meter(self._descriptor, self._at, done=True)
        self._file.close()
