"""A layer as another blob: compressed otherwise, or with times that do not pass an epoch.

Comes in: a layer of the store. Goes out: another blob of the same diff, or, with an epoch, of one
with the same files and other times. What the store knows already is not made again.
"""

import threading

from minibuild.layer.compress import compression_of, layer_media_type
from minibuild.layer.sink import LayerSink
from minibuild.layer.stream import LayerStream
from minibuild.layer.tar_format import padding
from minibuild.layer.tar_reader import TarReader
from minibuild.layer.tar_writer import header
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
        LayerSink(content, compression, level, cancelled=cancelled) as sink,
    ):
        for chunk in stream.chunks():
            sink.write(chunk)
        stream.verify()
        return _keep(sink, db, compression, end=b"")


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
        LayerSink(content, compression, level, cancelled=cancelled) as sink,
    ):
        reader = TarReader(stream.chunks(), f"layer {layer.digest}")
        for entry in reader:
            sink.write(header(entry._replace(mtime_ns=min(entry.mtime_ns, latest_ns))))
            for piece in reader.data():
                sink.write(piece)
            sink.write(bytes(padding(entry.size)))
        reader.drain()
        stream.verify()
        return _keep(sink, db, compression)


def _keep(
    sink: LayerSink, db: Database, compression: Compression, end: bytes | None = None
) -> PackedLayer:
    diff_id, digest, size = sink.commit() if end is None else sink.commit(end)
    made = PackedLayer(diff_id, digest, size, layer_media_type(compression))
    remember(db, made)
    return made
