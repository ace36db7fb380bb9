"""The store as the image commands need it: names and blobs, and no machinery of builds.

Comes in: the folder of a store, and words for images. Goes out: descriptors. Nothing here needs
privileges: documents and blobs are plain files of the user.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minibuild.errors import DefinitionError, ImageError, UsageError
from minibuild.image.store import ImageStore, StoredImage
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor, Manifest, is_attestation, parse_config
from minibuild.oci.reference import Reference, parse_reference
from minibuild.oci.transfer import manifests_of
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild.store.flock import hold_shared
from minibuild.store.layout import Store

_ID = regex(r"(?:sha256:)?([0-9a-f]{6,64})")


class Images(NamedTuple):
    """An open store."""

    store: Store
    content: ContentStore
    names: ImageStore


class NamedImage(NamedTuple):
    """An image that a word means; `name` is None if the word was a digest or an id."""

    name: Reference | None
    descriptor: Descriptor


class Version(NamedTuple):
    """An image for one platform: its manifest, and the JSON of its config. The `platform` is that
    of the config, which counts for who runs it. `fault` says what is wrong with a config that
    cannot be read."""

    descriptor: Descriptor
    manifest: Manifest
    config: dict[str, Any]
    platform: str
    fault: str = ""

    @property
    def size_bytes(self) -> int:
        """The size of its layers as they are stored."""
        return sum(layer.size for layer in self.manifest.layers)


@contextmanager
def open_images(root: str) -> Iterator[Images]:
    """The images of the store in `root`; nothing is pruned meanwhile."""
    store = Store(root)
    try:
        with hold_shared(store.path("locks", "prune")):
            content = ContentStore(store)
            yield Images(store, content, ImageStore(content))
    finally:
        store.close()


def find(images: Images, word: str) -> NamedImage:
    """The image that `word` means: a name, a digest, or the first digits of an id.

    Raises `ImageError` if there is none, or if there are several.
    """
    stored = images.names.list()
    if match := _ID.fullmatch(word):
        found = {
            image.descriptor.digest: image.descriptor
            for image in stored
            if _has_id(images, image, match[1])
        }
        if len(found) > 1:
            raise ImageError(f"{word} is the beginning of several ids", hint="give more digits")
        for descriptor in found.values():
            return NamedImage(None, descriptor)
    try:
        reference = parse_reference(word)
    except DefinitionError as error:
        if match:
            raise _missing(word, stored) from None
        raise UsageError(error.message, hint=error.hint) from None
    resolved = images.names.resolve(reference)
    if resolved is None:
        raise _missing(word, stored)
    return NamedImage(reference, resolved)


def versions(images: Images, descriptor: Descriptor) -> list[Version]:
    """The image for each platform whose documents are in the store."""
    found = []
    for inner, manifest in manifests_of(images.content, descriptor):
        if is_attestation(inner):
            continue
        if images.content.has(manifest.config.digest):
            found.append(_version(images, inner, manifest))
    return found


def _version(images: Images, descriptor: Descriptor, manifest: Manifest) -> Version:
    data = images.content.read(manifest.config.digest)
    try:
        config = parse_config(data, f"config {manifest.config.digest}")
    except ImageError as error:
        return Version(descriptor, manifest, {}, "damaged", error.message)
    return Version(descriptor, manifest, config.value, str(config.platform))


def _has_id(images: Images, image: StoredImage, digits: str) -> bool:
    if image.descriptor.digest.removeprefix("sha256:").startswith(digits):
        return True
    return any(
        digest.removeprefix("sha256:").startswith(digits)
        for version in versions(images, image.descriptor)
        for digest in (version.descriptor.digest, version.manifest.config.digest)
    )


def _missing(word: str, stored: list[StoredImage]) -> ImageError:
    from minibuild.graph.spelling import nearest

    names = [image.name.familiar for image in stored]
    short = [name.removesuffix(":latest") for name in names]
    near = nearest(word, [*names, *short], most=2)
    hint = f"did you mean {near}?" if near else "see `minibuild image ls`"
    return ImageError(f"there is no image {word} in the store", hint=hint)
