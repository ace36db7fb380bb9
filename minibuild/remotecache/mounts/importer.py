"""Cache mounts from elsewhere, before the first step that needs them.

Comes in: the places that a build may take them from, in the order of preference. Goes out: the
contents of cache mounts in the store. Each mount is looked for once in a build, when a step is
about to use it, so a build whose steps are all cached fetches nothing. A mount that has something
in it already is left alone, unless the place is to win (`force`). Whatever goes wrong is a
warning: a cache that is missing costs time, and never the build.
Read next: `unpack`, `exporter`.
"""

import os
import threading
from collections.abc import Sequence

from minibuild.errors import BuildError, Cancelled, StoreError
from minibuild.graph.op import CacheMount
from minibuild.remotecache.mounts.artifact import MountCache, read_mounts
from minibuild.remotecache.mounts.local import LocalMount
from minibuild.remotecache.mounts.tree import is_empty
from minibuild.remotecache.mounts.unpack import is_already, replace
from minibuild.remotecache.places import open_place
from minibuild.remotecache.transfer import Scene, vertex, warn
from minibuild.session.request import CacheMountPlace

_PATIENCE_S = 2.0
"""How long steps of other builds may use an empty mount before this one goes on without."""
_FORCED_PATIENCE_S = 30.0

_RULE = "CacheMountNotImported"


class Arrivals:
    """The imports of one build. Safe in threads."""

    def __init__(self, scene: Scene, places: Sequence[CacheMountPlace]) -> None:
        self._scene = scene
        self._sources = [_Source(scene, asked) for asked in places]
        self._done: set[str] = set()

    def fill(self, mounts: Sequence[CacheMount]) -> None:
        """Bring the contents of these mounts, of those that were not looked for yet."""
        for mount in mounts:
            # Other builds that want the same mount wait here, and so do other steps of this one.
            local = LocalMount(self._scene.store, mount.id)
            name = f"fill-{os.path.basename(local.folder)}"
            with self._scene.store.lock(name, self._scene.cancelled):
                if mount.id not in self._done:
                    self._fill(local, mount.target)
                    self._done.add(mount.id)

    def _fill(self, local: LocalMount, target: str) -> None:
        for source in self._sources:
            if source.concerns(local.id) and (source.force or is_empty(local.path)):
                kept = source.kept()
                if kept is not None and local.id in kept.layers:
                    self._bring(local, target, source, kept)
                    return

    def _bring(self, local: LocalMount, target: str, source: "_Source", kept: MountCache) -> None:
        patience_s = _FORCED_PATIENCE_S if source.force else _PATIENCE_S
        try:
            bring(self._scene, local, target, source.name, kept, patience_s)
        except Cancelled:
            raise
        except (BuildError, OSError) as error:
            message = f"cache mount {local.id} of {source.name}: {error}"
            warn(self._scene.report, _RULE, message)


def bring(
    scene: Scene, local: LocalMount, target: str, name: str, kept: MountCache, patience_s: float
) -> bool:
    """Give a mount what `kept` has for it; says whether that was anything new.

    Raises an error of the place or of the store; then the mount is what it was.
    """
    layer = kept.layers[local.id]
    with local.alone(patience_s, scene.cancelled) as alone:
        if not alone:
            raise StoreError("steps of other builds are using it")
        if is_already(local, layer):
            return False
        with vertex(scene.report, f"importing cache mount {local.id} from {name}") as voice:
            replace(scene, local, target, kept.source, layer, voice)
    return True


class _Source:
    """A place to import from, asked once, when the first mount is wanted."""

    def __init__(self, scene: Scene, asked: CacheMountPlace) -> None:
        self.name = asked.ref or asked.path
        self.force = asked.force
        self._scene = scene
        self._asked = asked
        self._asking = threading.Lock()
        self._answer: list[MountCache | None] = []

    def concerns(self, id: str) -> bool:
        """Whether a mount is to be taken from here."""
        return not self._asked.ids or id in self._asked.ids

    def kept(self) -> MountCache | None:
        """What is there; None if nothing is that could be used."""
        with self._asking:
            if not self._answer:
                self._answer.append(self._ask())
            return self._answer[0]

    def _ask(self) -> MountCache | None:
        scene = self._scene
        try:
            found = read_mounts(open_place(self._asked, scene.access, scene.cancelled))
        except Cancelled:
            raise
        except (BuildError, OSError) as error:
            warn(scene.report, _RULE, f"cache mounts of {self.name}: {error}")
            return None
        if found is None:
            warn(scene.report, _RULE, f"there are no cache mounts at {self.name} yet")
        return found
