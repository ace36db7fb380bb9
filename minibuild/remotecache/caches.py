"""The caches of other machines in one build: the one door into this package.

Comes in: the request and, once the graph is solved, the keys of its steps. Goes out: records and
contents of cache mounts that other machines made, a member for the configs of images, documents
and cache mounts in registries and folders.
Read next: `importer`, `exporter`.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from minibuild.cache.results import Result
from minibuild.errors import UsageError
from minibuild.events import Warned
from minibuild.exporter.destination import check_folder
from minibuild.graph.reference import Reference, parse_reference
from minibuild.graph.vertex import Vertex
from minibuild.layer.layer import Layer
from minibuild.oci.config import BUILDKIT_INLINE_CACHE, INLINE_CACHE
from minibuild.remotecache.document import CacheDocument, document_value
from minibuild.remotecache.exporter import (
    DocumentWriter,
    ExportedSteps,
    inline_records,
    send,
    steps_of,
)
from minibuild.remotecache.importer import Imports
from minibuild.remotecache.keys import BuildkitKeys
from minibuild.session.request import BuildRequest, CacheMountPlace, CachePlace
from minibuild.solver.solver import Solution
from minibuild.worker.context import BuildContext, CacheMountImporter


class RemoteCaches:
    """What the flags of one build mean that begin with `--cache-`. Raises `UsageError`, and
    `HostError` for a folder that may not be written to."""

    def __init__(self, request: BuildRequest) -> None:
        if request.lab and (request.cache_from or request.cache_to):
            raise UsageError(
                "--lab shares no steps with other machines: leave out --cache-from and --cache-to"
            )
        written: list[CachePlace | CacheMountPlace] = [*request.cache_to, *request.cache_mount_to]
        for place in written:
            if place.type == "local" and not place.ignore_error:
                check_folder(os.fspath(place.path))
        self._request = request
        self._since_ns = time.time_ns()
        self._imports: Imports | None = None
        self._keys: BuildkitKeys | None = None

    @property
    def mount_importer(self) -> CacheMountImporter | None:
        """What brings the contents of cache mounts, if they are to come from elsewhere."""
        if not self._request.cache_mount_from:
            return None
        from minibuild.remotecache.mounts.importer import MountImports

        return MountImports(self._request.cache_mount_from).import_mounts

    def results(self, build: BuildContext) -> Imports | None:
        """Results that other machines have, if the build may look for any."""
        if self._imports is None and self._request.cache_from:
            keys_of = partial(self._keys_of, build)
            self._imports = Imports(build, self._request.cache_from, keys_of)
        return self._imports

    def _keys_of(self, build: BuildContext, targets: Sequence[Vertex | None]) -> BuildkitKeys:
        """The keys of a graph, which are the same for what is imported and exported."""
        if self._keys is None or not self._keys.covers(targets):
            namespace = self._request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
            self._keys = BuildkitKeys(build, targets, namespace, self._since_ns)
        return self._keys

    def _exported(
        self,
        build: BuildContext,
        solution: Solution,
        targets: Sequence[Vertex | None],
    ) -> ExportedSteps:
        """What there is to export."""
        keys = self._keys_of(build, targets)
        for vertex in keys.vertices.values():
            keys.learn(vertex, solution.known.get(vertex.digest))
        if any(asked.compat != "minibuild" for asked in self._request.cache_to):
            keys.read_results()
        results = [solution.known[t.digest].result for t in targets if t is not None]
        final = {key for result in results for key in result}
        imports = self._imports
        found = steps_of(build.worker, imports, solution.steps)
        if imports is None:
            return ExportedSteps(found, keys, final, lambda output, index: ())
        return ExportedSteps(found, keys, final, partial(imports.contents_of, keys))

    def inline(
        self,
        build: BuildContext,
        solution: Solution,
        targets: Sequence[Vertex | None],
    ) -> Callable[[Result, Sequence[Layer], int | None], dict[str, Any]] | None:
        """What gives the members of a config that are about its layers; None if there are none."""
        if not any(asked.type == "inline" for asked in self._request.cache_to):
            return None
        if self._request.squash:
            message = "an image whose layers were squashed cannot say which step made which"
            build.report(Warned("CacheNotExported", message))
            return None
        exported = self._exported(build, solution, targets)

        def members(result: Result, layers: Sequence[Layer], epoch: int | None) -> dict[str, Any]:
            known = dict(zip(result, layers, strict=True))
            results = [step.result or () for step in exported.steps]
            writer = DocumentWriter(build.worker, known, results, epoch)
            made = writer.steps(exported.steps)
            return {
                INLINE_CACHE: document_value(CacheDocument(tuple(writer.layers), made)),
                BUILDKIT_INLINE_CACHE: inline_records(build.worker, exported, result, epoch),
            }

        return members

    def send(
        self,
        build: BuildContext,
        solution: Solution,
        targets: Sequence[Vertex | None],
        tags: Sequence[str],
    ) -> None:
        """Keep what has come, and export steps and cache mounts to where it was asked for."""
        if self._imports is not None:
            self._imports.settle()
        places = [asked for asked in self._request.cache_to if asked.type != "inline"]
        if places:
            exported = self._exported(build, solution, targets)
            send(build, places, exported, self._near(tags))
        if self._request.cache_mount_to:
            from minibuild.remotecache.mounts.exporter import mounts_of
            from minibuild.remotecache.mounts.exporter import send as send_all

            ids = mounts_of(targets, solution.results)
            send_all(build, self._request.cache_mount_to, ids, self._request.cache_mount_from)

    def _near(self, tags: Sequence[str]) -> tuple[Reference, ...]:
        """Repositories that have the layers of the images, because this build pushed them."""
        pushed = any(
            output.type == "registry" or output.attributes.get("push") == "true"
            for output in self._request.outputs
        )
        return tuple(map(parse_reference, tags)) if pushed else ()
