"""A layer as another blob: compressed otherwise, or with times that do not pass an epoch.

Comes in: a layer of the store. Goes out: another blob of the same diff, or, with an epoch, of one
with the same files and other times. What the store knows already is not made again.
"""

import threading

from minibuild.layer.compress import compression_of
from minibuild.layer.stream import LayerStream
from minibuild.layer.tar_format import header, padding
from minibuild.layer.tar_reader import TarReader
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.layers import PackedLayer, blobs_of, remember
from minibuild.oci.model import Compression
from minibuild.store.database import Database

_NS = 1_000_000_000


def recompress(
    content: ContentStore,
    db: Database,
    layer: PackedLayer,
    compression: Compression,
    level: int | None = None,
    *,
    source: BlobSource | None = None,
    cancelled: threading.Event | None = None,
) -> PackedLayer:
    """The same layer, compressed so. With a level it is always compressed again."""
    if level is None:
        if compression_of(layer.media_type) == compression:
            return layer
        for known in blobs_of(db, content, layer.diff_id):
            if compression_of(known.media_type) == compression:
                return known
    with (
        LayerStream(source or content, layer.descriptor, layer.diff_id) as stream,
        LayerWriter(content, compression, level, cancelled=cancelled) as writer,
    ):
        for chunk in stream.chunks():
            writer.write(chunk)
        stream.verify()
        made = writer.commit(end=b"")
    remember(db, made)
    return made


def clamp_times(
    content: ContentStore,
    db: Database,
    layer: PackedLayer,
    epoch: int,
    compression: Compression = "gzip",
    level: int | None = None,
    *,
    cancelled: threading.Event | None = None,
) -> PackedLayer:
    """The layer with every time that is later than `epoch` (seconds) set to it."""
    latest_ns = epoch * _NS
    with (
        LayerStream(content, layer.descriptor, layer.diff_id) as stream,
        LayerWriter(content, compression, level, cancelled=cancelled) as writer,
    ):
        reader = TarReader(stream.chunks(), f"layer {layer.digest}")
        for entry in reader:
            writer.write(header(entry._replace(mtime_ns=min(entry.mtime_ns, latest_ns))))
            for piece in reader.data():
                writer.write(piece)
            writer.write(bytes(padding(entry.size)))
        reader.drain()
        stream.verify()
        made = writer.commit()
    remember(db, made)
    return made
