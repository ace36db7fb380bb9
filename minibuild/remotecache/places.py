"""Where caches are kept between builds: a name in a registry, or in a folder.

Comes in: a place of the request. Goes out: a `Place`: what has this name, with a source of its
blobs; and a way to give the name to another manifest. Blobs go first and the name last, in one
step: a reader sees the old cache or the new one.
Read next: `steps`, `mounts.artifact`: what is kept there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from minibuild.errors import BuildError, Cancelled
from minibuild.events import Warned
from minibuild.graph.reference import Reference, parse_reference
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import Meter, unmetered
from minibuild.oci.model import OCI_MANIFEST, Descriptor, describe
from minibuild.session.request import CacheMountPlace, CachePlace
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.registry.pull import Registry
    from minibuild.registry.push import Repository

_MOMENT_S = (0.1, 0.3)
"""Longer than it takes from reading a manifest to replacing it; and not the same for all."""


class FoundCache(NamedTuple):
    """What has a name: its manifest or index, and where the blobs below it can be read."""

    top: Descriptor
    source: BlobSource


class ManifestParts(NamedTuple):
    """What a manifest names: layers, and a config with its type."""

    layers: Sequence[Descriptor]
    config: bytes
    config_type: str


class Place(Protocol):
    """A name under which a cache is kept. `alone` says whether `locked` keeps all other writers
    out: a registry has no locks."""

    name: str
    alone: bool = False

    def get(self) -> FoundCache:
        """What has the name. Raises `RegistryError` or `ImageError`, also if nothing has."""

    def find(self) -> FoundCache | None:
        """The same, but None if nothing has the name."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held while something is written. Raises `HostError` if that is not allowed."""
        yield

    def send(
        self, parts: ManifestParts, source: BlobSource, near: Sequence[Reference], meter: Meter
    ) -> None:
        """Have these blobs there. `near` are repositories that may have some of the layers, for a
        registry to mount."""

    def give_name(
        self, manifest: bytes, media_type: str = OCI_MANIFEST, *, drop: bool = True
    ) -> Descriptor:
        """Give the name to a manifest, or an index, whose parts are there. With `drop` a folder
        removes what only the one before it needed."""

    def try_name(self, manifest: bytes) -> bool:
        """One attempt to give the name; False if another attempt may succeed."""
        self.give_name(manifest)
        return True

    def wait(self, attempt: int = 0) -> None:
        """Let other writers finish: a moment, or before another attempt the time between two."""
        return


def place_name(asked: CachePlace | CacheMountPlace) -> str:
    """A place as people name it."""
    if asked.type == "local":
        path = os.fspath(asked.path)
        return path if asked.tag == "latest" else f"{path}:{asked.tag}"
    return asked.ref


def open_place(asked: CachePlace | CacheMountPlace, build: BuildContext) -> Place:
    """The place that a request names."""
    if asked.type == "local":
        digest = asked.digest if isinstance(asked, CachePlace) else ""
        return FolderPlace(os.fspath(asked.path), asked.tag, digest)
    from minibuild.registry.pull import connect

    reference = parse_reference(asked.ref)
    insecure = [reference.domain] if asked.insecure else []
    registry = connect(build.registries, build.cancelled, build.report, insecure)
    return RegistryPlace(reference, registry)


@contextmanager
def tolerated(
    build: BuildContext, rule: str, doing: str, *, ignored: bool = True
) -> Iterator[None]:
    """Report what fails in the block as a warning, if it is to be `ignored`: without a cache, a
    build takes longer and is as good."""
    try:
        yield
    except Cancelled:
        raise
    except (BuildError, OSError) as error:
        if not ignored:
            raise
        build.report(Warned(rule, f"{doing}: {error}"))


class FolderPlace(Place):
    """A name in an OCI layout, which may hold other things too."""

    alone = True

    def __init__(self, path: str, tag: str = "latest", digest: str = "") -> None:
        from minibuild.image.layout_folder import LayoutFolder

        self.name = path if tag == "latest" else f"{path}:{tag}"
        self._folder = LayoutFolder(path)
        self._tag = tag
        self._digest = digest

    def get(self) -> FoundCache:
        from minibuild.image.layout import DirectoryLayout

        layout = DirectoryLayout(self._folder.path)
        return FoundCache(layout.find(self._digest or self._tag), layout)

    def find(self) -> FoundCache | None:
        mine, _ = self._folder.named(self._tag)
        return None if mine is None else self.get()

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._folder.locked():
            yield

    def send(
        self, parts: ManifestParts, source: BlobSource, near: Sequence[Reference], meter: Meter
    ) -> None:
        for layer in parts.layers:
            self._folder.put_blob(layer, source)
            meter(layer, layer.size, done=True)
        self._folder.put(parts.config)

    def give_name(
        self, manifest: bytes, media_type: str = OCI_MANIFEST, *, drop: bool = True
    ) -> Descriptor:
        self._folder.put(manifest)
        top = describe(media_type, manifest)
        self._folder.give_name(self._tag, top, drop=drop)
        return top


class RegistryPlace(Place):
    """A tag of a repository."""

    def __init__(self, reference: Reference, registry: "Registry") -> None:
        self.name = str(reference)
        self._reference = reference
        self._registry = registry

    def get(self) -> FoundCache:
        return FoundCache(*self._registry.find(self._reference))

    def find(self) -> FoundCache | None:
        from minibuild.registry.errors import Refused

        try:
            return self.get()
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def send(
        self, parts: ManifestParts, source: BlobSource, near: Sequence[Reference], meter: Meter
    ) -> None:
        repository = self._repository(meter)
        repository.push_blobs(parts.layers, source, near)
        repository.push_bytes(parts.config, parts.config_type)

    def give_name(
        self, manifest: bytes, media_type: str = OCI_MANIFEST, *, drop: bool = True
    ) -> Descriptor:
        return self._repository().push_manifest(manifest, media_type, self._reference.tag)

    def try_name(self, manifest: bytes) -> bool:
        from minibuild.registry.errors import Refused
        from minibuild.registry.unreachable import Unreachable

        tag = self._reference.tag
        try:
            self._repository().push_manifest(manifest, OCI_MANIFEST, tag, once=True)
        except (Refused, Unreachable) as error:
            if not error.temporary:
                raise
            return False
        return True

    def _repository(self, meter: Meter = unmetered) -> "Repository":
        from minibuild.registry.push import Repository

        return Repository(self._registry, self._reference, meter=meter)

    def wait(self, attempt: int = 0) -> None:
        from random import uniform

        patience = self._registry.client.transport.patience
        if attempt:
            patience.pause(attempt)
        else:
            patience.sleep(uniform(*_MOMENT_S))
