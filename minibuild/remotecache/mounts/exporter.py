"""Cache mounts to elsewhere, after a build that went well.

Comes in: the places to export to, and the mounts that the build's steps name. Goes out: the same
mounts at these places. A mount is packed while no step of any build uses it, so what travels is
what some step left, never half of what one is writing. One whose contents are known as the layer
that the place has is neither packed nor sent. One that is empty, or was never made here because
all its steps were cached, keeps the layer that the place has.
Read next: `artifact`, `tree`.
"""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled
from minibuild.events import Warned
from minibuild.graph.op import CacheMount, Exec
from minibuild.graph.reference import Reference
from minibuild.graph.vertex import Vertex, topological
from minibuild.linux.recorded import Records
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.meter import VertexMeter
from minibuild.oci.model import Descriptor
from minibuild.progress.writer import ProgressWriter, task
from minibuild.remotecache.mounts.artifact import read_mounts, write_mounts
from minibuild.remotecache.mounts.local import LocalMount
from minibuild.remotecache.mounts.tree import is_empty, pack_tree
from minibuild.remotecache.places import Place, open_place, place_name, tolerated
from minibuild.session.request import CacheMountPlace
from minibuild.solver.cachemounts import is_called, with_full_id
from minibuild.solver.keys import ReadyVertex
from minibuild.store.layout import Store
from minibuild.worker.context import BuildContext

_PATIENCE_S = 30.0
"""How long to wait for steps of other builds that use a mount."""

_RULE = "CacheMountNotExported"


def mounts_of(targets: Sequence[Vertex | None], solved: Mapping[Digest, VertexResult]) -> list[str]:
    """The ids of the cache mounts of the steps of a build, which is `solved`; each once."""
    found: dict[str, None] = {}
    for step in topological(targets):
        if isinstance(step.op, Exec):
            inputs = tuple(None if v is None else solved.get(v.digest) for v in step.inputs)
            ready = ReadyVertex(step, inputs)
            mounts = [m for m in step.op.mounts if isinstance(m, CacheMount)]
            found |= {with_full_id(mount, ready).id: None for mount in mounts}
    return list(found)


def send(
    build: BuildContext,
    places: Sequence[CacheMountPlace],
    ids: Sequence[str],
    others: Sequence[CacheMountPlace] = (),
) -> list[str]:
    """Export the mounts `ids`, or those that a place asks for, to all places; returns the ids of
    what is new there. What is at the places `others` already comes from there. Raises what a
    place raises, unless its errors are to be ignored."""
    from minibuild.snapshot.sweep import discard

    blobs = MountBlobs(build.worker.store, (open_place(asked, build) for asked in others))
    changed: dict[str, None] = {}
    try:
        for asked in places:
            name = f"exporting cache mounts to {place_name(asked)}"
            with (
                tolerated(build, _RULE, name, ignored=asked.ignore_error),
                task(build.report, name) as progress,
            ):
                new = _export(build, asked, _wanted(asked, ids), blobs, progress)
                progress.remark("sent" if new else "unchanged")
                changed |= dict.fromkeys(new)
    finally:
        discard(build.worker.store, blobs.blobs_path)
    return list(changed)


def _wanted(asked: CacheMountPlace, ids: Sequence[str]) -> list[str]:
    """Which mounts go to a place: all of the build, or those that are asked for, used or not."""
    if not asked.ids:
        return list(ids)
    found = {name: [id for id in ids if is_called(id, name)] or [name] for name in asked.ids}
    return list(dict.fromkeys(id for named in found.values() for id in named))


def _export(
    build: BuildContext,
    asked: CacheMountPlace,
    ids: Iterable[str],
    blobs: "MountBlobs",
    progress: ProgressWriter,
) -> list[str]:
    place = open_place(asked, build)
    kept = read_mounts(place)
    there = {} if kept is None else {id: layer.digest for id, layer in kept.layers.items()}
    layers: dict[str, Descriptor] = {}
    owners = build.worker.snapshots.owners(None)
    for id in ids:
        local = LocalMount(build.worker.store, id)
        if not os.path.isdir(local.path) and asked.ids:
            build.report(Warned(_RULE, f"there is no cache mount {id} in the store"))
        with local.alone(_PATIENCE_S, build.cancelled) as alone:
            if not alone:
                build.report(Warned(_RULE, f"cache mount {id}: steps of other builds are using it"))
            elif not is_empty(local.path):
                layers[id] = layer_of(local, asked, there.get(id), blobs, build.cancelled, owners)
    write_mounts(place, layers, blobs, VertexMeter(build.report, progress.vertex))
    return [id for id, layer in layers.items() if there.get(id) != layer.digest]


def layer_of(
    local: LocalMount,
    asked: CacheMountPlace,
    there: Digest | None,
    blobs: "MountBlobs",
    cancelled: threading.Event,
    owners: Records | None = None,
) -> Descriptor:
    """The mount as a layer: packed, unless it is known to be one that the place has, or another."""
    now = local.fingerprint()
    for known in local.known_as(now):
        if known.digest == there or blobs.offers(known.digest):
            return known
    with local.opened() as fd:
        layer = pack_tree(fd, blobs, asked.compression, asked.level, cancelled, owners)
    local.remember(now, layer)
    return layer


class MountBlobs(ContentStore):
    """Layers on their way to a place: packed here, outside of the store's blobs and gone when the
    build ends; or at one of the places `others`, which are asked when there is a use for it.

    A mount that has not changed since it was imported is a layer of the place where it came from;
    it goes from there, or is mounted there by the registry, and is not packed again.
    """

    def __init__(self, store: Store, others: Iterable[Place] = ()) -> None:
        super().__init__(store)
        self.blobs_path = store.ingest_path()
        os.mkdir(self.blobs_path, 0o700)
        self._places = iter(others)
        self._others: dict[str, BlobSource] = {}

    def offers(self, digest: Digest) -> bool:
        """Whether a layer need not be packed."""
        return self.has(digest) or self._other(digest) is not None

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        other = None if self.has(descriptor.digest) else self._other(descriptor.digest)
        return super().open(descriptor, offset) if other is None else other.open(descriptor, offset)

    def location(self, digest: Digest) -> Reference | None:
        other = self._other(digest)
        return None if other is None else other.location(digest)

    def _other(self, digest: Digest) -> BlobSource | None:
        while digest not in self._others:
            try:
                place = next(self._places, None)
                if place is None:
                    break
                kept = read_mounts(place)
            except Cancelled:
                raise
            except (BuildError, OSError):
                continue  # The import has complained of it, if it was asked.
            if kept is not None:
                for layer in kept.layers.values():
                    self._others.setdefault(layer.digest, kept.source)
        return self._others.get(digest)
