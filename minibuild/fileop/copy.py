"""Copies to do, as a value: here, or in another process that gets the open directories.

Comes in: a `CopyJob` and open directories. Goes out: a `CopyResult`. The outcome has three forms:
the tree, the layer, or both from one read. Read next: `plan`, then the sinks.
"""

import threading
from collections.abc import Mapping
from typing import Literal

from minibuild.fileop.api import Copied, Progress, Sink, SourceTree, Tally, explained
from minibuild.fileop.dest import Destination, OnDisk
from minibuild.fileop.hasher import ContentHasher, Seen
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.owner import has_names, lookup_owner
from minibuild.fileop.plan import put_copy
from minibuild.fileop.tee import Tee
from minibuild.fileop.tree import TreeSink
from minibuild.graph.op import Copy
from minibuild.layer.chunk_cache import StoredBlocks
from minibuild.layer.layer import Layer
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import BlobMaker
from minibuild.oci.model import Compression
from minibuild.startup.tuples import NamedTuple

Form = Literal["tree", "layer", "both"]


class CopyJob(NamedTuple):
    """What to copy, and what to make of it. `watched`: the fingerprints of what is read are wanted,
    too."""

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
    """What copying asks, and what it reports to."""

    progress: Progress | None = None
    cancelled: threading.Event | None = None
    copied: Copied | None = None


class CopyResult(NamedTuple):
    """`layer` is None if none was wanted, or if only the tree shows what it is; `seen`, if it
    was not wanted, or if not all was read, or not only once."""

    layer: Layer | None = None
    seen: Seen | None = None


def copy(job: CopyJob, places: Places, content: BlobMaker, hooks: Hooks) -> CopyResult:
    """Do the copies. A layer is a blob in `content` afterwards, and is not remembered there.

    Raises `Unplannable` if the layer was all that was wanted; and what `apply` raises.
    """
    root_fd, base_fd, _ = places
    (_, cancelled, copied), hashing = hooks, job.watched
    if job.form == "tree":
        with TreeSink(root_fd, copied=copied, cancelled=cancelled, hashing=hashing) as tree:
            return CopyResult(None, _put(job, places, tree, root_fd, OnDisk(root_fd), hooks))
    # The like of it may have been packed before, and will be again with little changed.
    known = StoredBlocks(content.blobs_path)
    with LayerWriter(content, job.compression, job.level, known, cancelled) as writer:
        layer = LayerSink(writer, base_fd, hashing=hashing)
        if job.form == "layer":
            owners_fd = -1 if base_fd is None else base_fd
            seen = _put(job, places, layer, owners_fd, layer.dest, hooks)
            return CopyResult(writer.commit(), seen)
        with Tee(root_fd, layer, copied=copied, cancelled=cancelled, hashing=hashing) as tee:
            seen = _put(job, places, tee, root_fd, OnDisk(root_fd), hooks)
        return CopyResult(None if tee.given_up else writer.commit(), seen)


def _put(
    job: CopyJob, places: Places, sink: Sink, root_fd: int, dest: Destination, hooks: Hooks
) -> Seen | None:
    """Put all copies into the sink; what was seen of them, if that is wanted. `root_fd` is the tree
    in which owners are looked up (-1: nothing)."""
    hasher = ContentHasher(sink) if job.watched else None
    tally = Tally(hooks.progress, hooks.cancelled)
    with explained("copying files"):
        names = any(one.chown for one in job.copies) and has_names(root_fd)
        for one in job.copies:
            owner = lookup_owner(root_fd, one.chown, names=names) if one.chown else None
            put_copy(one, places.sources[one.input], dest, hasher or sink, tally, owner)
        sink.settle()
        tally.tell()
    return None if hasher is None else hasher.seen()
