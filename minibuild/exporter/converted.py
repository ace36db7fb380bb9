"""Layers as an output wants them: compressed otherwise, or with times that do not pass the epoch.

Comes in: a layer, which may still be in a registry or in another machine's cache. Goes out: the
same or another one; it is fetched if its bytes are needed for that, and not otherwise.
Read next: `minibuild.layer.convert`.
"""

import threading

from minibuild.exporter.options import ImageOptions
from minibuild.layer.compress import compression_of
from minibuild.layer.convert import clamp_times, recompress
from minibuild.layer.layer import Layer
from minibuild.worker.worker import Worker


def converted(
    worker: Worker,
    layer: Layer,
    options: ImageOptions,
    cancelled: threading.Event,
    *,
    is_base: bool,
) -> Layer:
    """The layer as the options want it; those of a base image change only if that is forced."""
    if options.rewrite_timestamp and options.epoch is not None and not is_base:
        worker.layers.fetch(layer)
        kind, level = options.compression or "gzip", options.level
        return clamp_times(worker.content, layer, options.epoch, kind, level, cancelled=cancelled)
    wanted = options.compression or ("gzip" if options.force_compression else None)
    if wanted is None or (is_base and not options.force_compression):
        return layer
    # A level is about how, and does not show in the type: only by force is it done again.
    level = options.level if options.force_compression else None
    if level is None and compression_of(layer.media_type) == wanted:
        return layer
    worker.layers.fetch(layer)
    return recompress(worker.content, layer, wanted, level, cancelled=cancelled)
