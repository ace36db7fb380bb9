"""The store as commands need it, and what their words for images mean.

Comes in: the folder of a store, and words. Goes out: descriptors. Images need no privileges:
documents and blobs are plain files of the user. All else does, and gets a whole `Worker`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minibuild.cli.command import Session
from minibuild.errors import DefinitionError, ImageError, UsageError
from minibuild.graph.platform import Platform
from minibuild.graph.reference import Reference, parse_reference
from minibuild.image.store import ImageStore, StoredImage
from minibuild.oci.content import BlobSource, ContentStore, read_document
from minibuild.oci.model import (
    Descriptor,
    Manifest,
    choose_platform,
    is_attestation,
    is_index,
    parse_config,
    parse_index,
)
from minibuild.oci.transfer import manifests_of
from minibuild.rootless.enter import enter_if_possible
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild.store.flock import hold
from minibuild.store.layout import Store

if TYPE_CHECKING:
    from minibuild.imagetools.edit import Image
    from minibuild.worker.worker import Worker

_ID = regex(r"(?:sha256:)?([0-9a-f]{6,64})")


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
def open_images(root: str) -> Iterator[ImageStore]:
    """The images of the store in `root`; nothing is pruned meanwhile."""
    store = Store(root)
    try:
        with hold(store.path("locks", "prune"), shared=True):
            yield ImageStore(ContentStore(store))
    finally:
        store.close()


@contextmanager
def open_store(session: Session, *, alone: bool = False) -> Iterator["Worker"]:
    """The store with everything that works on it, and with the privileges that its files need."""
    root = session.root
    enter_if_possible("minibuild.worker.worker")
    # Only now: a process with two threads may not enter a user namespace.
    from minibuild.worker.worker import open_worker

    with open_worker(root, alone=alone) as worker:
        yield worker


def reference(word: str) -> Reference:
    """The name that a word is. Raises `UsageError`."""
    try:
        return parse_reference(word)
    except DefinitionError as error:
        raise UsageError(error.message, hint=error.hint) from None


def new_name(word: str) -> Reference:
    """A name that an image can be given."""
    name = reference(word)
    if name.digest is not None:
        raise UsageError(f"{word} has a digest, and a name is to be given", hint="leave it out")
    return name


def find(images: ImageStore, word: str) -> NamedImage:
    """The image that `word` means: a name, a digest, or the first digits of an id.

    Raises `ImageError` if there is none, or if there are several.
    """
    stored = images.list()
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
        name = reference(word)
    except UsageError:
        if match:
            raise _missing(word, stored) from None
        raise
    resolved = images.resolve(name)
    if resolved is None:
        raise _missing(word, stored)
    return NamedImage(name, resolved)


def chosen(source: BlobSource, top: Descriptor, platform: Platform, word: str) -> "Image":
    """One image: of an index, that for `platform`."""
    from minibuild.imagetools.edit import read_image

    data = read_document(source, top)
    if is_index(data, top.media_type, word):
        top = choose_platform(parse_index(data, word).manifests, platform, word)
    return read_image(source, top)


def versions(images: ImageStore, descriptor: Descriptor) -> list[Version]:
    """The image for each platform whose documents are in the store."""
    found = []
    for inner, manifest in manifests_of(images.content, descriptor):
        if is_attestation(inner):
            continue
        if images.content.has(manifest.config.digest):
            found.append(_version(images, inner, manifest))
    return found


def _version(images: ImageStore, descriptor: Descriptor, manifest: Manifest) -> Version:
    data = images.content.read(manifest.config.digest)
    try:
        config = parse_config(data, f"config {manifest.config.digest}")
    except ImageError as error:
        return Version(descriptor, manifest, {}, "damaged", error.message)
    return Version(descriptor, manifest, config.value, str(config.platform))


def _has_id(images: ImageStore, image: StoredImage, digits: str) -> bool:
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
