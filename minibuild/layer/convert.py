"""A layer as another blob: compressed otherwise, or with times that do not pass an epoch.

Comes in: a layer of the store. Goes out: another blob of the same diff, or, with an epoch, of one
with the same files and other times. What the store knows already is not made again.
"""

import threading

from minibuild.layer.compress import compression_of
from minibuild.layer.layer import Layer, layers_of, remember
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression

_NS = 1_000_000_000


def recompress(
    content: ContentStore,
    layer: Layer,
    compression: Compression,
    level: int | None = None,
    *,
    cancelled: threading.Event | None = None,
) -> Layer:
    """The same layer, compressed so. With a level it is always compressed again."""
    if level is None:
        if compression_of(layer.media_type) == compression:
            return layer
        for known in layers_of(content, layer.diff_id):
            if compression_of(known.media_type) == compression:
                return known
    with (
        layer.uncompressed() as stream,
        LayerWriter(content, compression, level, cancelled=cancelled) as writer,
    ):
        for chunk in stream.chunks():
            writer.write(chunk)
        made = writer.commit(end=b"")
    remember(content, made)
    return made


def clamp_times(
    content: ContentStore,
    layer: Layer,
    epoch: int,
    compression: Compression = "gzip",
    level: int | None = None,
    *,
    cancelled: threading.Event | None = None,
) -> Layer:
    """The layer with every time that is later than `epoch` (seconds) set to it."""
    latest_ns = epoch * _NS
    with (
        layer.tar() as tar,
        LayerWriter(content, compression, level, cancelled=cancelled) as writer,
    ):
        for entry in tar:
            entry = entry._replace(mtime_ns=min(entry.mtime_ns, latest_ns))
            writer.write_entry(entry, tar.data())
        made = writer.commit()
    remember(content, made)
    return made
