"""A cache mount in this machine's store: who holds it, and which layer its contents are known as.

Comes in: a store and an id. Goes out: the directory, held alone for as long as it is packed or
replaces it, and a note about the layer that was made of it or that it was made from, which counts
until anything in the directory changes. Read next: `importer`, `exporter`.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.errors import BuildError, Cancelled, StoreError
from minibuild.linux.descriptors import closing_fd
from minibuild.oci.document import parse_document
from minibuild.oci.model import Descriptor, descriptor_to_json, parse_descriptor
from minibuild.remotecache.mounts.tree import fingerprint
from minibuild.snapshot.sweep import discard
from minibuild.solver.cachemounts import folder_of, use_lock
from minibuild.store.flock import hold
from minibuild.store.layout import Store

_POLL_S = 0.02


class LocalMount:
    """The cache mount `id`. Packed and replaced is its first directory, the one that `shared` and
    `locked` steps use; further ones of `private` steps stay where they are."""

    def __init__(self, store: Store, id: str) -> None:
        self.id = id
        self.store = store
        self.folder = folder_of(store, id)
        self.path = os.path.join(self.folder, "0")

    @contextmanager
    def alone(self, patience_s: float, cancelled: threading.Event) -> Iterator[bool]:
        """Keep steps of all builds out while the block runs; yields False if steps that use the
        mount have not ended after `patience_s` seconds."""
        deadline = time.monotonic() + patience_s
        path = self.store.path("locks", use_lock(self.folder))
        while True:
            with hold(path, wait=False) as held:
                if held or time.monotonic() >= deadline:
                    yield held
                    return
            if cancelled.wait(_POLL_S):
                raise Cancelled("cancelled while waiting for a cache mount")

    def remove(self, patience_s: float, cancelled: threading.Event) -> None:
        """Remove the mount with all its directories. Raises `StoreError` if it is in use."""
        with self.alone(patience_s, cancelled) as alone:
            if not alone:
                raise StoreError(
                    f"steps of builds are using the cache mount {self.id}",
                    hint="wait until these builds have ended",
                )
            discard(self.store, self.folder)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """The directory, open."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with closing_fd(os.open(self.path, flags)) as fd:
            yield fd

    def fingerprint(self) -> str:
        """See `tree.fingerprint`."""
        with self.opened() as fd:
            return fingerprint(fd)

    def known_as(self, now: str) -> list[Descriptor]:
        """The layers that the contents are known to be, if they have the fingerprint `now`."""
        try:
            with open(self._note, "rb") as file:
                note = parse_document(file.read(), self._note)
            if note["fingerprint"].text() != now:
                return []
            return [parse_descriptor(layer) for layer in note["layers"].items()]
        except (OSError, BuildError):
            return []

    def remember(self, now: str, layer: Descriptor) -> None:
        """Note that the contents are this layer, maybe besides others."""
        layers = [other for other in self.known_as(now) if other.media_type != layer.media_type]
        value = {
            "fingerprint": now,
            "layers": [descriptor_to_json(one) for one in (*layers, layer)],
        }
        self.store.write_file(self._note, json.dumps(value).encode())

    @property
    def _note(self) -> str:
        return os.path.join(self.folder, "layers.json")
