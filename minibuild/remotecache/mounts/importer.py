"""Cache mounts from elsewhere, before the first step that needs them.

Comes in: the places that a build may take them from, in the order of preference. Goes out: the
contents of cache mounts in the store. Each mount is looked for once in a build, when a step is
about to use it, so a build whose steps are all cached fetches nothing. A mount that has something
in it already is left alone, unless the place is to win (`force`). Whatever goes wrong is a
warning: a cache that is missing costs time, and never the build.
Read next: `tree`, `exporter`.
"""

import os
import threading
from collections.abc import Sequence

from minibuild.errors import StoreError
from minibuild.events import Warned
from minibuild.graph.op import CacheMount
from minibuild.linux.descriptors import closing_fd
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import VertexMeter
from minibuild.oci.model import Descriptor
from minibuild.progress.writer import ProgressWriter, task
from minibuild.remotecache.mounts.artifact import MountCache, read_mounts
from minibuild.remotecache.mounts.local import LocalMount
from minibuild.remotecache.mounts.tree import is_empty, unpack_tree
from minibuild.remotecache.places import open_place, place_name, tolerated
from minibuild.session.request import CacheMountPlace
from minibuild.snapshot.sweep import discard
from minibuild.solver.cachemounts import describe, is_called, make_folder
from minibuild.worker.context import BuildContext

_PATIENCE_S = 2.0
"""How long steps of other builds may use an empty mount before this one goes on without."""
_FORCED_PATIENCE_S = 30.0

_RULE = "CacheMountNotImported"


class MountImports:
    """The imports of one build. Safe in threads."""

    def __init__(self, places: Sequence[CacheMountPlace]) -> None:
        self._sources = [_ImportPlace(asked) for asked in places]
        self._done: set[str] = set()

    def import_mounts(self, build: BuildContext, mounts: Sequence[CacheMount]) -> None:
        """Bring the contents of these mounts, of those that were not looked for yet."""
        for mount in mounts:
            # Other builds that want the same mount wait here, and so do other steps of this one.
            local = LocalMount(build.worker.store, mount.id)
            name = f"fill-{os.path.basename(local.folder)}"
            with build.worker.store.lock(name, build.cancelled):
                if mount.id not in self._done:
                    self._import(build, local, mount.target)
                    self._done.add(mount.id)

    def _import(self, build: BuildContext, local: LocalMount, target: str) -> None:
        for source in self._sources:
            if source.concerns(local.id) and (source.force or is_empty(local.path)):
                kept = source.kept(build)
                if kept is not None and local.id in kept.layers:
                    patience_s = _FORCED_PATIENCE_S if source.force else _PATIENCE_S
                    with tolerated(build, _RULE, f"cache mount {local.id} of {source.name}"):
                        bring(build, local, target, source.name, kept, patience_s)
                    return


def bring(
    build: BuildContext,
    local: LocalMount,
    target: str,
    name: str,
    kept: MountCache,
    patience_s: float,
) -> bool:
    """Give a mount what `kept` has for it; says whether that was anything new.

    Raises an error of the place or of the store; then the mount is what it was.
    """
    layer = kept.layers[local.id]
    with local.alone(patience_s, build.cancelled) as alone:
        if not alone:
            raise StoreError("steps of other builds are using it")
        if _is_already(local, layer):
            return False
        with task(build.report, f"importing cache mount {local.id} from {name}") as progress:
            _replace(build, local, target, kept.source, layer, progress)
    return True


def _is_already(local: LocalMount, layer: Descriptor) -> bool:
    """Whether the mount holds just what is in the layer, as far as is known."""
    if is_empty(local.path):
        return False
    return layer.digest in {known.digest for known in local.known_as(local.fingerprint())}


def _replace(
    build: BuildContext,
    local: LocalMount,
    target: str,
    source: BlobSource,
    layer: Descriptor,
    progress: ProgressWriter,
) -> None:
    """Give the mount the contents of a layer. They are written beside it, checked, and put in its
    place by a rename: a step sees the old ones or the new. `target` is where steps see it, if that
    is known."""
    make_folder(local.folder)
    # In a directory that others cannot enter, whatever the mode of the mount itself.
    making = build.worker.store.ingest_path()
    os.mkdir(making, 0o700)
    try:
        new, old = os.path.join(making, "new"), os.path.join(making, "old")
        os.mkdir(new, 0o700)
        with closing_fd(os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            meter = VertexMeter(build.report, progress.vertex)
            owners = build.worker.snapshots.owners(None)
            for left_out in unpack_tree(source, layer, fd, build.cancelled, owners, meter):
                progress.remark(left_out)
        describe(local.folder, local.id, target)
        if os.path.isdir(local.path):
            os.rename(local.path, old)
        os.rename(new, local.path)
    finally:
        discard(build.worker.store, making)
    local.remember(local.fingerprint(), layer._replace(annotations={}))


class _ImportPlace:
    """A place to import from, asked once, when the first mount is wanted."""

    def __init__(self, asked: CacheMountPlace) -> None:
        self.name = place_name(asked)
        self.force = asked.force
        self._asked = asked
        self._asking = threading.Lock()
        self._answer: list[MountCache | None] = []

    def concerns(self, id: str) -> bool:
        """Whether a mount is to be taken from here."""
        asked = self._asked.ids
        return not asked or any(is_called(id, name) for name in asked)

    def kept(self, build: BuildContext) -> MountCache | None:
        """What is there; None if nothing is that could be used."""
        with self._asking:
            if not self._answer:
                self._answer.append(self._ask(build))
            return self._answer[0]

    def _ask(self, build: BuildContext) -> MountCache | None:
        found = None
        with tolerated(build, _RULE, f"cache mounts of {self.name}"):
            found = read_mounts(open_place(self._asked, build))
            if found is None:
                build.report(Warned(_RULE, f"there are no cache mounts at {self.name} yet"))
        return found
