"""Cache mounts in a registry: a tag of a repository.

A registry has no locks. So the blobs go first, and then the manifest is read once more, merged
and replaced, which leaves two builds that end in the same instant only that instant. Whoever has
written looks again a moment later; if a mount is back to what it was before, somebody who had read
that has written it back, and all is merged and replaced once more.
"""

import threading

from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import MAX_DOCUMENT_BYTES, OCI_MANIFEST, Descriptor
from minibuild.oci.parallel import in_parallel
from minibuild.oci.reference import Reference
from minibuild.registry.errors import Refused
from minibuild.registry.pull import Registry
from minibuild.registry.push import UPLOADS, Located, Repository
from minibuild.registry.transport import Unreachable, patient
from minibuild.remotecache.mounts.artifact import (
    EMPTY,
    EMPTY_CONFIG,
    Kept,
    Layers,
    artifact_bytes,
    differing,
    parse_artifact,
)
from minibuild.session.request import RegistryAccess

_ATTEMPTS = 5
_MOMENT_S = (0.1, 0.3)
"""Longer than it takes from reading a manifest to replacing it; and not the same for all."""


class RepositoryPlace:
    """See `Place`."""

    def __init__(
        self, reference: Reference, access: RegistryAccess, cancelled: threading.Event
    ) -> None:
        self.name = str(reference)
        self._reference = reference
        self._registry = Registry(access, patient(cancelled))

    def read(self) -> Kept | None:
        """See `Place.read`."""
        try:
            top, blobs = self._registry.find(self._reference)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        data = read_document(blobs, top, MAX_DOCUMENT_BYTES)
        return Kept(parse_artifact(data, self.name), blobs)

    def write(self, layers: Layers, source: BlobSource, meter: Meter) -> bool:
        """See `Place.write`."""
        new = differing(layers, self._layers())
        if not new:
            return False
        repository = Repository(self._registry, self._reference, meter=meter)

        def push(layer: Descriptor) -> None:
            place = source.location(layer.digest) if isinstance(source, Located) else None
            repository.push_blob(layer, source, mount_from=[] if place is None else [place])

        in_parallel(push, new, UPLOADS)
        repository.push_bytes(EMPTY, EMPTY_CONFIG.media_type)
        for attempt in range(1, _ATTEMPTS + 1):
            before = self._layers()
            try:
                # Once: what was read is soon out of date.
                data = artifact_bytes({**before, **layers})
                repository.push_manifest(data, OCI_MANIFEST, self._reference.tag, once=True)
            except (Refused, Unreachable) as error:
                if attempt == _ATTEMPTS or not error.temporary:
                    raise
                self._registry.client.transport.pause(attempt)
                continue
            if not self._lost(layers, before):
                break
        return True

    def _lost(self, layers: Layers, before: Layers) -> list[Descriptor]:
        """Those of `layers` in whose place there is again what was there before, a moment later."""
        from random import uniform

        self._registry.client.transport.patience.sleep(uniform(*_MOMENT_S))
        now, digests = self._layers(), {id: layer.digest for id, layer in before.items()}
        found = {id: now[id].digest if id in now else None for id in layers}
        return [
            layer
            for id, layer in layers.items()
            if found[id] == digests.get(id) and found[id] != layer.digest
        ]

    def _layers(self) -> Layers:
        kept = self.read()
        return {} if kept is None else kept.layers
