"""Cache mounts from elsewhere, before the first step that needs them.

Comes in: the places that a build may take them from, in the order of preference. Goes out: the
contents of cache mounts in the store. Each mount is looked for once in a build, when a step is
about to use it, so a build whose steps are all cached fetches nothing. A mount that has something
in it already is left alone, unless the place is to win (`force`). Whatever goes wrong is a
warning: a cache that is missing costs time, and never the build.

The contents are written to another directory, checked, and put in their place by one rename.
Read next: `leaving`.
"""

import os
import threading
from collections.abc import Sequence
from typing import BinaryIO, cast

from minibuild.cachemounts.locally import LocalMount
from minibuild.cachemounts.places import Kept, Place, open_place
from minibuild.cachemounts.telling import vertex, warn
from minibuild.cachemounts.tree import is_empty, unpack_tree
from minibuild.errors import BuildError, Cancelled
from minibuild.graph.op import CacheMount
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import Meter, VertexMeter
from minibuild.oci.model import Descriptor
from minibuild.request import CacheMountPlace, RegistryAccess
from minibuild.solve.cachemounts import describe
from minibuild.solve.workbench import Voice, Workbench

_PATIENCE_S = 2.0
"""How long steps of other builds may use an empty mount before this one goes on without."""
_FORCED_PATIENCE_S = 30.0

_RULE = "CacheMountNotImported"


class Arrivals:
    """The imports of one build. Safe in threads."""

    def __init__(
        self,
        bench: Workbench,
        places: Sequence[CacheMountPlace],
        access: RegistryAccess,
    ) -> None:
        self._bench = bench
        self._sources = [_Source(bench, asked, access) for asked in places]
        self._done: set[str] = set()

    def fill(self, mounts: Sequence[CacheMount]) -> None:
        """Bring the contents of these mounts, of those that were not looked for yet."""
        for mount in mounts:
            # Other builds that want the same mount wait here, and so do other steps of this one.
            local = LocalMount(self._bench.store, mount.id)
            name = f"fill-{os.path.basename(local.folder)}"
            with self._bench.store.lock(name, self._bench.cancelled):
                if mount.id not in self._done:
                    self._fill(local, mount)
                    self._done.add(mount.id)

    def _fill(self, local: LocalMount, mount: CacheMount) -> None:
        for source in self._sources:
            if source.concerns(mount.id) and (source.force or is_empty(local.path)):
                kept = source.kept()
                if kept is not None and mount.id in kept.layers:
                    self._bring(local, mount, source, kept)
                    return

    def _bring(self, local: LocalMount, mount: CacheMount, source: "_Source", kept: Kept) -> None:
        bench, layer = self._bench, kept.layers[mount.id]
        patience_s = _FORCED_PATIENCE_S if source.force else _PATIENCE_S
        try:
            with local.alone(patience_s, bench.cancelled) as alone:
                if not alone:
                    warn(bench, _RULE, f"cache mount {mount.id}: other builds are using it")
                elif not _is_already(local, layer):
                    with vertex(bench, f"importing cache mount {mount.id} from {source.name}") as v:
                        _replace(local, mount, kept.source, layer, bench, v)
        except Cancelled:
            raise
        except (BuildError, OSError) as error:
            warn(bench, _RULE, f"cache mount {mount.id} of {source.name}: {error}")


class _Source:
    """A place to import from, asked once, when the first mount is wanted."""

    def __init__(self, bench: Workbench, asked: CacheMountPlace, access: RegistryAccess) -> None:
        self.name = asked.ref or asked.path
        self.force = asked.force
        self._bench = bench
        self._asked = asked
        self._access = access
        self._asking = threading.Lock()
        self._answer: list[Kept | None] = []

    def concerns(self, id: str) -> bool:
        """Whether a mount is to be taken from here."""
        return not self._asked.ids or id in self._asked.ids

    def kept(self) -> Kept | None:
        """What is there; None if nothing is that could be used."""
        with self._asking:
            if not self._answer:
                self._answer.append(self._ask())
            return self._answer[0]

    def _ask(self) -> Kept | None:
        try:
            place: Place = open_place(self._asked, self._access, self._bench.cancelled)
            found = place.read()
        except Cancelled:
            raise
        except (BuildError, OSError) as error:
            warn(self._bench, _RULE, f"cache mounts of {self.name}: {error}")
            return None
        if found is None:
            warn(self._bench, _RULE, f"there are no cache mounts at {self.name} yet")
        return found


def _is_already(local: LocalMount, layer: Descriptor) -> bool:
    """Whether the directory holds just what would be brought."""
    if is_empty(local.path):
        return False
    return layer.digest in {known.digest for known in local.known_as(local.fingerprint())}


def _replace(
    local: LocalMount,
    mount: CacheMount,
    source: BlobSource,
    layer: Descriptor,
    bench: Workbench,
    voice: Voice,
) -> None:
    """Unpack a layer beside the directory, and put it in its place."""
    from minibuild.snapshot.sweep import discard

    os.makedirs(local.folder, exist_ok=True)
    making = bench.store.ingest_path()
    os.mkdir(making, 0o700)
    fd = os.open(making, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        meter = VertexMeter(bench.report, voice.vertex)
        for left_out in unpack_tree(_Metered(source, meter), layer, fd):
            voice.remark(left_out)
    except BaseException:
        discard(bench.store, making)
        raise
    finally:
        os.close(fd)
    if os.path.isdir(local.path):
        discard(bench.store, local.path)
    describe(local.folder, mount.id, mount.target)
    os.rename(making, local.path)
    local.remember(local.fingerprint(), layer._replace(annotations={}))


class _Metered:
    """A source that tells how much of a blob was read."""

    def __init__(self, source: BlobSource, meter: Meter) -> None:
        self._source = source
        self._meter = meter

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """See `BlobSource.open`."""
        return cast(BinaryIO, _MeteredFile(self._source.open(descriptor), descriptor, self._meter))


class _MeteredFile:
    def __init__(self, file: BinaryIO, descriptor: Descriptor, meter: Meter) -> None:
        self._file = file
        self._descriptor = descriptor
        self._meter = meter
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._at += len(data)
        self._meter(self._descriptor, self._at)
        return data

    def close(self) -> None:
        if self._at == self._descriptor.size:
            self._meter(self._descriptor, self._at, done=True)
        self._file.close()
