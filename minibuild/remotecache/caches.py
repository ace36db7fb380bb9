"""The caches of other machines in one build: what is asked before a step, what is told after it.

Comes in: the request and, once the graph is solved, the keys of its steps. Goes out: records that
other machines made, a member for the configs of images, documents in registries and folders.
Read next: `importer`, `exporter`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from minibuild.cache.records import StepKeys
from minibuild.cache.results import Result
from minibuild.errors import UsageError
from minibuild.events import Warned
from minibuild.oci.layers import PackedLayer
from minibuild.oci.reference import Reference, parse_reference
from minibuild.remotecache.document import document_value
from minibuild.remotecache.exporter import Departure, document_of, send, steps_of
from minibuild.remotecache.importer import Imports
from minibuild.session.request import BuildRequest
from minibuild.worker.context import BuildContext


class Caches:
    """What `--cache-from` and `--cache-to` of one build mean. Raises `UsageError`."""

    def __init__(self, build: BuildContext, request: BuildRequest) -> None:
        if request.lab:
            raise UsageError(
                "--lab shares no steps with other machines: leave out --cache-from and --cache-to"
            )
        self._build = build
        self._request = request
        self.imports = Imports(build, request.cache_from) if request.cache_from else None

    def inline(
        self, keys: Sequence[StepKeys]
    ) -> Callable[[Result, Sequence[PackedLayer], int | None], Any] | None:
        """What says what a config is to say of its layers; None if it is to say nothing."""
        if not any(asked.type == "inline" for asked in self._request.cache_to):
            return None
        if self._request.squash:
            message = "an image whose layers were squashed cannot say which step made which"
            self._build.report(Warned("CacheNotExported", message))
            return None
        steps = steps_of(self._build.worker, self.imports, keys)

        def value(result: Result, layers: Sequence[PackedLayer], epoch: int | None) -> Any:
            blobs = dict(zip(result, layers, strict=True))
            return document_value(document_of(self._build.worker, steps, blobs, epoch))

        return value

    def send(
        self, keys: Sequence[StepKeys], results: Sequence[Result], tags: Sequence[str]
    ) -> None:
        """Keep what has come, and export the steps with these keys to where it was asked for."""
        if self.imports is not None:
            self.imports.settle()
        places = [asked for asked in self._request.cache_to if asked.type != "inline"]
        if places:
            departure = Departure(self._build, self._near(tags))
            steps = steps_of(self._build.worker, self.imports, keys)
            send(departure, places, steps, {key for result in results for key in result})

    def _near(self, tags: Sequence[str]) -> tuple[Reference, ...]:
        """Repositories that have the layers of the images, because this build pushed them."""
        pushed = any(
            output.type == "registry" or output.attributes.get("push") == "true"
            for output in self._request.outputs
        )
        return tuple(map(parse_reference, tags)) if pushed else ()
