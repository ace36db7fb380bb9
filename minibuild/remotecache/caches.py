"""The caches of other machines in one build: the one door into this package.

Comes in: the request and, once the graph is solved, the keys of its steps. Goes out: records and
contents of cache mounts that other machines made, a member for the configs of images, documents
and cache mounts in registries and folders.
Read next: `importer`, `exporter`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minibuild.cache.records import StepKeys
from minibuild.cache.results import Result, VertexResult
from minibuild.digest import Digest
from minibuild.errors import UsageError
from minibuild.events import Warned
from minibuild.graph.reference import Reference, parse_reference
from minibuild.graph.vertex import Vertex
from minibuild.layer.layer import Layer
from minibuild.remotecache.document import document_value
from minibuild.remotecache.exporter import Departure, document_of, send, steps_of
from minibuild.remotecache.importer import Imports
from minibuild.session.request import BuildRequest
from minibuild.worker.context import BuildContext, CacheMountImporter


class RemoteCaches:
    """What the flags of one build mean that begin with `--cache-`. Raises `UsageError`."""

    def __init__(self, request: BuildRequest) -> None:
        if request.lab and (request.cache_from or request.cache_to):
            raise UsageError(
                "--lab shares no steps with other machines: leave out --cache-from and --cache-to"
            )
        self._request = request
        self._imports: Imports | None = None

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
            self._imports = Imports(build, self._request.cache_from)
        return self._imports

    def inline(
        self, build: BuildContext, keys: Sequence[StepKeys]
    ) -> Callable[[Result, Sequence[Layer], int | None], Any] | None:
        """What says what a config is to say of its layers; None if it is to say nothing."""
        if not any(asked.type == "inline" for asked in self._request.cache_to):
            return None
        if self._request.squash:
            message = "an image whose layers were squashed cannot say which step made which"
            build.report(Warned("CacheNotExported", message))
            return None
        steps = steps_of(build.worker, self._imports, keys)

        def value(result: Result, layers: Sequence[Layer], epoch: int | None) -> Any:
            known = dict(zip(result, layers, strict=True))
            return document_value(document_of(build.worker, steps, known, epoch))

        return value

    def send(
        self,
        build: BuildContext,
        keys: Sequence[StepKeys],
        results: Sequence[Result],
        tags: Sequence[str],
    ) -> None:
        """Keep what has come, and export the steps with these keys to where it was asked for."""
        if self._imports is not None:
            self._imports.settle()
        places = [asked for asked in self._request.cache_to if asked.type != "inline"]
        if places:
            departure = Departure(build, self._near(tags))
            steps = steps_of(build.worker, self._imports, keys)
            send(departure, places, steps, {key for result in results for key in result})

    def send_mounts(
        self,
        build: BuildContext,
        targets: Sequence[Vertex | None],
        solved: Mapping[Digest, VertexResult],
    ) -> None:
        """Export the cache mounts that the steps of the build use to where it was asked for."""
        if self._request.cache_mount_to:
            from minibuild.remotecache.mounts.exporter import mounts_of
            from minibuild.remotecache.mounts.exporter import send as send_all

            ids = mounts_of(targets, solved)
            send_all(build, self._request.cache_mount_to, ids, self._request.cache_mount_from)

    def _near(self, tags: Sequence[str]) -> tuple[Reference, ...]:
        """Repositories that have the layers of the images, because this build pushed them."""
        pushed = any(
            output.type == "registry" or output.attributes.get("push") == "true"
            for output in self._request.outputs
        )
        return tuple(map(parse_reference, tags)) if pushed else ()
