"""The images of the store and their names: `index.json`, as in any OCI layout.

Comes in: references and descriptors. Goes out: the same. Every name is one descriptor of the index,
annotated with the full name in both the OCI and the containerd way; one image can have several.
The file is replaced as a whole, under a lock, so readers need none. Read next: `layout`.
"""

import os

from minibuild.errors import DefinitionError, StoreError
from minibuild.graph.reference import Reference, parse_reference
from minibuild.oci.content import ContentStore, full_disk
from minibuild.oci.model import (
    CONTAINERD_NAME,
    REF_NAME,
    Descriptor,
    Index,
    index_bytes,
    parse_index,
)
from minibuild.startup.tuples import NamedTuple

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'


class StoredImage(NamedTuple):
    """An image of the store: `name` is its full name, with a tag."""

    name: Reference
    descriptor: Descriptor


# The method `list` hides the type of that name inside the class.
_Images = list[StoredImage]
_Descriptors = list[Descriptor]


class ImageStore:
    """Images by name, and their `content`. Safe to use from many threads and processes."""

    __slots__ = ("_path", "_store", "content")

    def __init__(self, content: ContentStore) -> None:
        self._store = content.store
        self.content = content
        self._path = self._store.path("index.json")

    def list(self) -> _Images:
        """All images that have a name, sorted by it."""
        found: _Images = []
        for descriptor in self._read().manifests:
            try:
                name = parse_reference(descriptor.annotations.get(REF_NAME, ""))
            except DefinitionError:
                continue  # Something that another tool put into our layout.
            found.append(StoredImage(name, _bare(descriptor)))
        return sorted(found, key=lambda image: str(image.name))

    def resolve(self, reference: Reference) -> Descriptor | None:
        """The image of that name. A digest in it decides, and may be that of one platform."""
        if reference.digest is None:
            full = str(reference)
            for descriptor in self._read().manifests:
                if descriptor.annotations.get(REF_NAME) == full:
                    return _bare(descriptor)
            return None
        for image in self.list():
            if image.name.name != reference.name:
                continue
            for candidate in (image.descriptor, *self._inner(image.descriptor)):
                if candidate.digest == reference.digest:
                    return candidate
        return None

    def tag(self, reference: Reference, descriptor: Descriptor) -> None:
        """Give an image a name; whatever had it before loses it. A name without a tag is one
        with the image's own digest."""
        name = str(reference._replace(digest=None) if reference.tag else reference)
        if not reference.tag and reference.digest != descriptor.digest:
            raise DefinitionError(f"{reference} has no tag to be stored under")
        named = _bare(descriptor)._replace(annotations={REF_NAME: name, CONTAINERD_NAME: name})
        with self._store.lock("index"):
            others = [m for m in self._read().manifests if m.annotations.get(REF_NAME) != name]
            self._write([*others, named])

    def remove(self, reference: Reference) -> bool:
        """Take a name away; says whether it was there. Blobs stay until they are pruned."""
        name = str(reference)
        with self._store.lock("index"):
            manifests = self._read().manifests
            others = [m for m in manifests if m.annotations.get(REF_NAME) != name]
            if len(others) == len(manifests):
                return False
            self._write(others)
        return True

    def _inner(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        if not descriptor.is_index or not self.content.has(descriptor.digest):
            return ()
        return parse_index(
            self.content.read(descriptor.digest), f"index {descriptor.digest}"
        ).manifests

    def _read(self) -> Index:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return Index(())
        try:
            return parse_index(data, "index.json of the store")
        except Exception as error:
            raise StoreError(
                f"{self._path} is damaged: {error}",
                hint="move it away: images lose their names, and everything else stays",
            ) from error

    def _write(self, manifests: _Descriptors) -> None:
        manifests.sort(key=lambda m: m.annotations.get(REF_NAME, ""))
        self._replace(self._path, index_bytes(Index(tuple(manifests))))
        marker = self._store.path("oci-layout")
        if not os.path.exists(marker):
            self._replace(marker, LAYOUT_FILE)

    def _replace(self, path: str, data: bytes) -> None:
        try:
            self._store.write_file(path, data)
        except OSError as error:
            raise full_disk(error, os.path.basename(path)) from error


def _bare(descriptor: Descriptor) -> Descriptor:
    """A descriptor less the annotations that are about its place in the index."""
    kept = {k: v for k, v in descriptor.annotations.items() if k not in (REF_NAME, CONTAINERD_NAME)}
    return descriptor._replace(annotations=kept)
