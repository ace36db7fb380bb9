"""Finding images by name, for FROM and COPY --from: the engine's side of `ImageResolver`.

An image is looked for in the store, in an OCI layout that a named context points at, or in its
registry. Found means: its manifest and config have been read and checked. Its layers stay where
they are until a step needs their files or an export their bytes.
"""

import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from minibuild.digest import Digest
from minibuild.errors import DefinitionError, ImageError, RegistryError
from minibuild.events import Report
from minibuild.graph.frontend import ResolvedImage
from minibuild.graph.op import ImageSource
from minibuild.graph.platform import Platform
from minibuild.graph.reference import Reference, parse_reference
from minibuild.image.store import ImageStore
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource, ContentStore, read_document
from minibuild.oci.model import (
    Descriptor,
    as_oci,
    choose_platform,
    is_index,
    parse_config,
    parse_index,
    parse_manifest,
)
from minibuild.session.request import Pull, RegistryAccess
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.registry.pull import Registry

MAX_INDEX_DEPTH = 4


class FoundImage(NamedTuple):
    """An image that was found: what the frontend gets, its layers, the digest that its name has (of
    an index, if there is one), and its config as it is written."""

    resolved: ResolvedImage
    layers: tuple[Layer, ...]
    digest: Digest
    document: bytes


class _Kept(BlobSource):
    """Blobs of a repository whose documents may be in the store from an earlier build."""

    def __init__(self, content: ContentStore, remote: BlobSource) -> None:
        self._content = content
        self._remote = remote

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        here = self._content.has(descriptor.digest, descriptor.size)
        return (self._content if here else self._remote).open(descriptor, offset)

    def location(self, digest: Digest) -> Reference | None:
        """See `BlobSource.location`."""
        return self._remote.location(digest)


class ImageFinder:
    """Implements `ImageResolver` for one build; asks for each image once. Safe in threads."""

    def __init__(
        self,
        content: ContentStore,
        images: ImageStore,
        access: RegistryAccess,
        *,
        pull: Pull,
        report: Report,
        cancelled: threading.Event,
    ) -> None:
        self._content = content
        self._images = images
        self._pull = pull
        self._access = access
        self._report = report
        self._cancelled = cancelled
        self._by_name: dict[tuple[str, Platform], FoundImage] = {}
        self._by_digest: dict[tuple[Digest, Platform], FoundImage] = {}
        self._asking = threading.Lock()

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        """The image that `ref` names, for `platform`; see `graph.frontend.ImageResolver`."""
        return self.found(ref, platform).resolved

    def found(self, ref: str, platform: Platform) -> FoundImage:
        """The same with all that is known of it."""
        with self._asking:
            found = self._by_name.get((ref, platform))
            if found is None:
                found = self._find(ref, platform)
                self._by_name[ref, platform] = found
                source = found.resolved.source
                self._by_digest[source.digest, source.platform] = found
        return found

    def image(self, source: ImageSource) -> FoundImage:
        """What was found for a source of the graph.

        A graph made elsewhere names images that were not looked up here yet.
        """
        found = self._by_digest.get((source.digest, source.platform))
        if found is None:
            name = source.ref.partition("@")[0]
            pinned = source.origin if source.origin.startswith("oci-layout://") else name
            self.resolve(f"{pinned}@{source.digest}", source.platform)
            found = self._by_digest[source.digest, source.platform]
        return found

    def digest(self, source: ImageSource) -> Digest:
        """The digest that the name of a source has: of an index, if there is one."""
        found = self._by_digest.get((source.digest, source.platform))
        return source.digest if found is None else found.digest

    def _find(self, ref: str, platform: Platform) -> FoundImage:
        if ref.startswith("oci-layout://"):
            return self._in_layout(ref, platform)
        reference = parse_reference(ref.removeprefix("docker-image://"))
        descriptor, blobs, origin = self._locate(reference)
        return self._load(str(reference), descriptor, blobs, platform, origin)

    def _in_layout(self, url: str, platform: Platform) -> FoundImage:
        from minibuild.image.archive import open_layout

        path, name = split_layout(url)
        layout = open_layout(path)
        descriptor = layout.find(name)
        return self._load(url, descriptor, layout, platform, f"oci-layout://{path}")

    def _locate(self, reference: Reference) -> tuple[Descriptor, BlobSource, str]:
        """Store or registry, as `--pull` says."""
        known = self._images.resolve(reference)
        if known is not None and self._pull != "always":
            return known, self._content, "store"
        if self._pull == "never":
            raise self._unresolved(reference, "not found in the store", "--pull=never was given")
        if reference.digest is not None and self._content.has(reference.digest):
            # What a digest names cannot change: no question is needed.
            size = self._content.size(reference.digest)
            kept = _Kept(self._content, self._registry.blobs(reference))
            return Descriptor("", reference.digest, size), kept, "registry"
        try:
            descriptor, blobs = self._registry.find(reference, self._content)
        except RegistryError as error:
            if known is not None and self._pull != "always":
                return known, self._content, "store"
            why = f"not found in the store, and {error.message}"
            raise self._unresolved(reference, why, error.hint) from error
        return descriptor, _Kept(self._content, blobs), "registry"

    @cached_property
    def _registry(self) -> "Registry":
        """The client of all registries, made when something is asked there."""
        from minibuild.registry.pull import connect

        return connect(self._access, self._cancelled, self._report)

    def _unresolved(self, reference: Reference, why: str, hint: str) -> RegistryError:
        return RegistryError(
            f"{reference.familiar}: failed to resolve source metadata for {reference}: {why}",
            hint=hint or "check the name, or import the image: minibuild image load FILE",
        )

    def _load(
        self, name: str, descriptor: Descriptor, blobs: BlobSource, platform: Platform, origin: str
    ) -> FoundImage:
        """Read and check manifest and config; what is read from elsewhere is kept in the store."""
        digest = descriptor.digest
        manifest_descriptor, data = self._manifest(name, descriptor, blobs, platform)
        manifest = parse_manifest(data, f"manifest {manifest_descriptor.digest} of {name}")
        raw = read_document(blobs, manifest.config)
        what = f"config {manifest.config.digest} of {name}"
        document = parse_config(raw, what, len(manifest.layers))
        config = document.image
        self._content.put(raw)
        layers = tuple(
            Layer(diff_id, Descriptor(as_oci(blob.media_type), blob.digest, blob.size), blobs)
            for diff_id, blob in zip(document.diff_ids, manifest.layers, strict=True)
        )
        source = ImageSource(name, manifest_descriptor.digest, platform, origin)
        return FoundImage(ResolvedImage(source, config), layers, digest, raw)

    def _manifest(
        self, name: str, descriptor: Descriptor, blobs: BlobSource, platform: Platform
    ) -> tuple[Descriptor, bytes]:
        """Through an index, or several, to the manifest for a platform."""
        for _ in range(MAX_INDEX_DEPTH):
            data = read_document(blobs, descriptor)
            self._content.put(data)
            if not is_index(data, descriptor.media_type, f"manifest {descriptor.digest} of {name}"):
                return descriptor, data
            index = parse_index(data, f"index {descriptor.digest} of {name}")
            descriptor = choose_platform(index.manifests, platform, name)
        raise ImageError(f"{name}: more than {MAX_INDEX_DEPTH} indexes lead to each other")


def split_layout(url: str) -> tuple[str, str]:
    """The directory of an `oci-layout://DIR[:TAG][@DIGEST]`, and the name to look for in it.

    The name is `:TAG`-part or `@`-digest as written, without its first character; none is "".
    """
    rest = url.removeprefix("oci-layout://")
    path, at, digest = rest.rpartition("@")
    if at and digest.startswith("sha256:"):
        # A tag beside a digest is for people: the digest alone decides.
        head, colon, tag = path.partition(":")
        return (head if colon and tag and not os.path.isdir(path) else path), digest
    # The directory may hold no colon, as in BuildKit; the tag may be `name:tag`.
    path, _, name = rest.partition(":")
    if not path:
        raise DefinitionError(
            f"invalid OCI layout {url!r}: no directory",
            hint="write oci-layout://DIR:TAG or oci-layout://DIR@sha256:DIGEST",
        )
    return path, name
