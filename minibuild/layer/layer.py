"""A layer: its names, and its bytes when they are asked for, wherever they are.

Comes in: a descriptor, the digest of the tar, and a source of blobs: the store, a registry, a
layout, an archive. Goes out: the tar in the blob, checked (`uncompressed`, and `tar` for its
entries). The model is `v1.Layer` of go-containerregistry. A diff that is not packed yet has no
digest, so it is no `Layer`: `Materialiser.layer` makes one of it.

One diff can have several blobs, one for each compression; the table `layers` of the store says
which, so what was packed or pulled once is not packed again. Read next: `stream`, `writer`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minibuild.digest import DiffID, Digest
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import Descriptor
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.layer.stream import LayerStream
    from minibuild.layer.tar_reader import TarReader


class Layer(NamedTuple):
    """A layer of an image. `diff_id` is the digest of the tar, `digest` that of the blob. Two are
    equal by these, wherever their bytes are."""

    diff_id: DiffID
    descriptor: Descriptor
    source: BlobSource

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and (self.diff_id, self.digest) == (
            other.diff_id,
            other.digest,
        )

    def __ne__(self, other: object) -> bool:  # that of a tuple does not ask __eq__
        return not self == other

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> Digest:
        """The digest of the blob."""
        return self.descriptor.digest

    @property
    def size(self) -> int:
        """The size of the blob."""
        return self.descriptor.size

    @property
    def media_type(self) -> str:
        """The type of the blob, which says how it is compressed."""
        return self.descriptor.media_type

    def uncompressed(self, cancelled: threading.Event | None = None) -> "LayerStream":
        """The tar, which is checked against both digests. To be used in a `with` statement."""
        from minibuild.layer.stream import LayerStream

        return LayerStream(self.source, self.descriptor, self.diff_id, cancelled)

    @contextmanager
    def tar(self, cancelled: threading.Event | None = None) -> "Iterator[TarReader]":
        """The entries of the tar, and their data. Raises `ImageError` for a damaged layer, at the
        latest at its end: what was made of its entries may have to be removed."""
        from minibuild.layer.tar_reader import TarReader

        with self.uncompressed(cancelled) as stream:
            reader = TarReader(stream.chunks(), stream.what)
            yield reader
            reader.drain()


def remember(content: ContentStore, layer: Layer) -> None:
    """Note in the store that this blob holds that diff. Known ones are left alone."""
    content.store.db.execute(
        "INSERT OR IGNORE INTO layers (diff_id, digest, media_type, size_bytes)"
        " VALUES (?, ?, ?, ?)",
        (layer.diff_id, layer.digest, layer.media_type, layer.size),
    )


def layers_of(content: ContentStore, diff_id: DiffID) -> list[Layer]:
    """The layers in the store that hold a diff; those that are gone are forgotten."""
    db = content.store.db
    rows = db.execute(
        "SELECT media_type, digest, size_bytes FROM layers WHERE diff_id = ? ORDER BY digest",
        (diff_id,),
    ).fetchall()
    found: list[Layer] = []
    for row in rows:
        descriptor = Descriptor(*row)
        if content.has(descriptor.digest, descriptor.size):
            found.append(Layer(diff_id, descriptor, content))
        else:
            db.execute(
                "DELETE FROM layers WHERE diff_id = ? AND digest = ?", (diff_id, descriptor.digest)
            )
    return found
