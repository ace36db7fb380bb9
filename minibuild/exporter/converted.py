"""Layers as an output wants them: compressed otherwise, or with times that do not pass the epoch.

Comes in: a layer, which may still be in a registry or in another machine's cache. Goes out: the
same or another one; it is fetched if its bytes are needed for that, and not otherwise.
Read next: `minibuild.layer.convert`.
"""

import threading
from collections.abc import Callable

from minibuild.exporter.options import ImageOptions
from minibuild.layer.compress import compression_of
from minibuild.layer.convert import clamp_times, recompress
from minibuild.oci.content import ContentStore
from minibuild.oci.layers import PackedLayer
from minibuild.store.database import Database


class Converter:
    """Converts the layers of one image; `fetch` has a layer in the store afterwards."""

    def __init__(
        self,
        content: ContentStore,
        db: Database,
        fetch: Callable[[PackedLayer], None],
        options: ImageOptions,
        cancelled: threading.Event,
    ) -> None:
        self._cancelled = cancelled
        self._content = content
        self._db = db
        self._fetch = fetch
        self._options = options

    def __call__(self, blob: PackedLayer, *, is_base: bool) -> PackedLayer:
        """The layer as the options want it; those of a base image change only if that is forced."""
        options = self._options
        if options.rewrite_timestamp and options.epoch is not None and not is_base:
            self._fetch(blob)
            kind = options.compression or "gzip"
            return clamp_times(
                self._content,
                self._db,
                blob,
                options.epoch,
                kind,
                options.level,
                cancelled=self._cancelled,
            )
        wanted = options.compression or ("gzip" if options.force_compression else None)
        if wanted is None or (is_base and not options.force_compression):
            return blob
        # A level is about how, and does not show in the type: only by force is it done again.
        level = options.level if options.force_compression else None
        if level is None and compression_of(blob.media_type) == wanted:
            return blob
        self._fetch(blob)
        return recompress(self._content, self._db, blob, wanted, level, cancelled=self._cancelled)
