"""Copies to do, as a value: here, or in another process that gets the open directories.

Comes in: a `CopyJob` and open directories. Goes out: a `CopyResult`. The outcome has three forms:
the tree, the layer, or both from one read. Read next: `plan`, then the sinks.
"""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from minibuild.fileop.api import Hooks, Sink, SourceTree, Tally, explained
from minibuild.fileop.dest import Destination, OnDisk, PlannedTree
from minibuild.fileop.hasher import ContentHasher, CopyFingerprints
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.owner import has_names, lookup_owner
from minibuild.fileop.plan import goes_on, put_copy
from minibuild.fileop.tee import Tee
from minibuild.fileop.tree import TreeSink
from minibuild.graph.op import Copy
from minibuild.layer.chunk_cache import StoredBlocks
from minibuild.layer.layer import Layer
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import BlobFolder
from minibuild.oci.model import Compression
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.fileop.share import Share
    from minibuild.fileop.update import EarlierCopy
    from minibuild.layer.patch import PatchWriter
    from minibuild.linux.recorded import Records

Form = Literal["tree", "layer", "both"]


class CopyJob(NamedTuple):
    """What to copy, and what to make of it. `watched`: the fingerprints of what is read are wanted,
    too. `inventory` is where the table of what was put goes ("": it is not wanted), and `earlier`
    what came of the same copy the last time. With a `share`, only that of it."""

    copies: tuple[Copy, ...]
    form: Form
    compression: Compression = "gzip"
    level: int | None = None
    watched: bool = False
    inventory: str = ""
    earlier: "EarlierCopy | None" = None
    share: "Share | None" = None


class CopyTrees(NamedTuple):
    """Open directories: the root to write below (-1 for a layer alone), what was there before
    (None: nothing), and what to read, by the inputs that copies name. `owners` are the records of
    the tree that is written, or of what was there before, where owners are recorded."""

    root_fd: int
    base_fd: int | None
    sources: Mapping[int, SourceTree]
    owners: "Records | None" = None


class CopyResult(NamedTuple):
    """`layer` is None if none was wanted, if only the tree shows what it is, and if it was
    `patched`: there is a patch of the earlier one. `seen` is None if it was not wanted, or if not
    all was read, or not only once. `kept` counts the entries that are as in the earlier result,
    and `newest_ns` is the newest ctime of all that was seen then, if that is known."""

    layer: Layer | None = None
    seen: CopyFingerprints | None = None
    kept: int = 0
    patched: bool = False
    newest_ns: int | None = None


def copy(job: CopyJob, places: CopyTrees, content: BlobFolder, hooks: Hooks) -> CopyResult:
    """Do the copies. A layer is a blob in `content` afterwards, and is not remembered there. With
    an `earlier` result the tree has what that one put.

    Raises `Unplannable` if the layer was all that was wanted, or if the earlier result is of no
    use; and what `apply` raises.
    """
    root_fd, base_fd, _, owners = places
    with ExitStack() as stack:
        if job.form == "tree":
            tree = TreeSink(root_fd, hooks, owners=owners, hashing=job.watched)
            return _put(job, places, stack.enter_context(tree), None, hooks)
        writer = _writer(job, content, hooks.cancelled)
        stack.enter_context(writer)
        layer = LayerSink(writer, base_fd, owners=owners, hashing=job.watched)
        if job.form == "layer":
            done = _put(job, places, None, layer, hooks)
            return done._replace(layer=writer.commit(), patched=job.earlier is not None)
        with Tee(root_fd, layer, hooks, owners=owners, hashing=job.watched) as tee:
            done = _put(job, places, tee, layer, hooks)
        if tee.given_up:
            return done
        return done._replace(layer=writer.commit(), patched=job.earlier is not None)


def _writer(
    job: CopyJob, content: BlobFolder, cancelled: threading.Event | None
) -> "LayerWriter | PatchWriter":
    if job.earlier is not None:
        from minibuild.layer.patch import PatchWriter

        assert job.earlier.layer is not None
        return PatchWriter(job.earlier.patch, job.earlier.layer)
    # The like of it may have been packed before, and will be again with little changed.
    known = StoredBlocks(content.blobs_path)
    return LayerWriter(content, job.compression, job.level, known, cancelled)


def _put(
    job: CopyJob, places: CopyTrees, tree: TreeSink | None, layer: LayerSink | None, hooks: Hooks
) -> CopyResult:
    """Put all copies into a tree, a layer, or both: a `Tee` and its layer."""
    tally = Tally(hooks.progress, hooks.cancelled)
    owners_fd = -1 if places.base_fd is None else places.base_fd
    hasher = update = None
    sink: Sink | None = tree or layer
    dest: Destination = layer.plan.dest if layer else OnDisk(places.root_fd, places.owners)
    assert sink is not None
    with ExitStack() as stack, explained("copying files"):
        if job.earlier is not None:
            from minibuild.fileop.update import open_update

            plan = layer.plan if layer else PlannedTree(places.base_fd, places.owners)
            begun = open_update(job.earlier, job.inventory, plan, places.sources, tree, layer)
            sink = update = stack.enter_context(begun)
            dest = plan.dest
        elif tree is not None:
            owners_fd, dest = places.root_fd, OnDisk(places.root_fd, places.owners)
        if job.watched:
            sink = hasher = ContentHasher(sink)
        if job.inventory and update is None:
            from minibuild.fileop.inventory import InventorySink

            sink = stack.enter_context(InventorySink(job.inventory, sink, layer))
        if job.share is not None:
            from minibuild.fileop.share import ShareSink

            assert tree is not None
            sink = ShareSink(job.share, sink, tree, tally)
            tally = Tally(None, hooks.cancelled)  # The sink counts.
        names = any(one.chown for one in job.copies) and has_names(owners_fd)
        for number, one in enumerate(job.copies, 1):
            owner = lookup_owner(owners_fd, one.chown, names=names) if one.chown else None
            source, more = places.sources[one.input], goes_on(one, job.copies[number:])
            put_copy(one, source, dest, sink, tally, owner, more=more)
        sink.settle()
        tally.tell()
    done = CopyResult(seen=hasher.seen() if hasher else None)
    return done if update is None else done._replace(kept=update.kept, newest_ns=update.newest_ns())
