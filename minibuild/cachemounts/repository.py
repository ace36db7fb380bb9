"""Cache mounts in a registry: a tag of a repository.

A registry has no locks. So the blobs go first, and then the manifest is read once more, merged
and replaced, which leaves two builds that end in the same instant only that instant: then the
second keeps its own mounts and those of the first are sent the next time.
"""

import threading

from minibuild.cachemounts.artifact import (
    EMPTY,
    EMPTY_CONFIG,
    Layers,
    artifact_bytes,
    differing,
    parse_artifact,
)
from minibuild.cachemounts.places import Kept
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import MAX_DOCUMENT_BYTES, OCI_MANIFEST
from minibuild.oci.parallel import in_parallel
from minibuild.oci.push import UPLOADS, Repository
from minibuild.oci.reference import Reference
from minibuild.oci.refusal import Refused
from minibuild.oci.registry import Registry
from minibuild.oci.transport import patient
from minibuild.request import RegistryAccess


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
        in_parallel(lambda layer: repository.push_blob(layer, source), new, UPLOADS)
        repository.push_bytes(EMPTY, EMPTY_CONFIG.media_type)
        data = artifact_bytes({**self._layers(), **layers})
        repository.push_manifest(data, OCI_MANIFEST, self._reference.tag)
        return True

    def _layers(self) -> Layers:
        kept = self.read()
        return {} if kept is None else kept.layers
