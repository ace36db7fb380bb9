"""Copies to do, as a value: here, or in another process that is handed the open directories.

Comes in: a `Job` and open directories. Goes out: `Done`. Three forms of the outcome: the tree, the
layer, or both from one read. Read next: `apply`, `layer` and `tee`, one for each.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from minibuild.fileop.api import Copied, Progress, SourceTree
from minibuild.graph.op import Copy
from minibuild.oci.content import BlobMaker
from minibuild.oci.layers import PackedLayer
from minibuild.oci.model import Compression
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.fileop.content_hasher import Seen
    from minibuild.layer.sink import LayerSink

Form = Literal["tree", "layer", "both"]


class Job(NamedTuple):
    """What to copy, and what to make of it. `watched`: a `Witness` is to see it."""

    copies: tuple[Copy, ...]
    form: Form
    compression: Compression = "gzip"
    level: int | None = None
    watched: bool = False


class Places(NamedTuple):
    """Open directories: the root to write below (-1 for a layer alone), what was there before
    (None: nothing), and what to read, by the inputs that copies name."""

    root_fd: int
    base_fd: int | None
    sources: Mapping[int, SourceTree]


class Hooks(NamedTuple):
    """What copying wants to know besides what to copy."""

    progress: Progress | None = None
    cancelled: threading.Event | None = None
    copied: Copied | None = None


class Done(NamedTuple):
    """`layer` is None if none was wanted, or if only the tree can tell what it is; `seen`, if
    nobody watched, or not all was read, or not only once."""

    layer: PackedLayer | None = None
    seen: "Seen | None" = None


def do(job: Job, places: Places, content: BlobMaker, hooks: Hooks) -> Done:
    """Do the copies. A layer is a blob in `content` afterwards, and is not remembered there.

    Raises `Unplannable` if the layer was all that was wanted; and what `apply` raises.
    """
    # Imported where they are needed: a cached build copies nothing.
    from minibuild.fileop.apply import apply
    from minibuild.fileop.content_hasher import Witness
    from minibuild.fileop.dest import InMemory
    from minibuild.fileop.layer import LayerWriter, pack_copies
    from minibuild.fileop.tee import Unplannable, apply_and_pack
    from minibuild.fileop.write import Writer
    from minibuild.layer.pack import write_layer

    root_fd, base_fd, sources = places
    witness = Witness() if job.watched else None

    def write(sink: "LayerSink") -> None:
        progress, cancelled, copied = hooks
        if job.form == "layer":
            pack_copies(
                job.copies, base_fd, sources, sink,
                progress=progress, cancelled=cancelled, witness=witness,
            )  # fmt: skip
            return
        layer = LayerWriter(sink, InMemory(base_fd), base_fd, witness=witness)
        apply_and_pack(
            job.copies, root_fd, sources, layer,
            progress=progress, cancelled=cancelled, copied=copied,
        )  # fmt: skip

    layer = None
    if job.form == "tree":
        apply(job.copies, root_fd, sources, writer=Writer(root_fd, *hooks, witness))
    else:
        try:
            layer = write_layer(
                write,
                content,
                compression=job.compression,
                level=job.level,
                recurs=True,
                cancelled=hooks.cancelled,
            )
        except Unplannable:
            if job.form == "layer":
                raise
    return Done(layer, None if witness is None else witness.seen())
