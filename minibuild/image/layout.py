"""OCI layouts of other people: directories, and tars of them, read in place.

Comes in: a path. Goes out: a layout, which finds images by name or digest, and is a `BlobSource`.
Nothing is copied until a blob is fetched. Rules: image-spec image-layout.md and the
annotation org.opencontainers.image.ref.name. Read next: `archive`.
"""

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, cast

from minibuild.digest import Digest, InvalidDigest, digest_hex, parse_digest
from minibuild.errors import DefinitionError, ImageError, os_errors_as
from minibuild.graph.reference import parse_reference
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import MAX_DOCUMENT_BYTES, parse_document
from minibuild.oci.model import CONTAINERD_NAME, REF_NAME, Descriptor, Index, parse_index

_SUPPORTED_VERSION = "1.0.0"


class Layout(BlobSource):
    """Images with names, and their blobs, at a path."""

    path: str
    index: Index

    def find(self, name: str) -> Descriptor:
        """The image that `name` means: a name or a tag as the layout has it, a digest, or nothing
        (the only one, or `latest`). Raises `ImageError` if there is no such image."""
        manifests = self.index.manifests
        if not name:
            if len({m.digest for m in manifests}) == 1:
                return manifests[0]
            name = "latest"
        try:
            return self._by_digest(parse_digest(name))
        except InvalidDigest:
            pass
        for manifest in manifests:
            if name in _names(manifest):
                return manifest
        wanted = _full(name)
        for manifest in manifests:
            if wanted and wanted in map(_full, _names(manifest)):
                return manifest
        names = sorted({n for m in manifests for n in _names(m)})
        raise ImageError(
            f"{self.path} has no image named {name}",
            hint=f"it has {', '.join(names[:10])}" if names else "its images have no names",
        )

    def _by_digest(self, digest: Digest) -> Descriptor:
        """The manifest of that digest: of the index, or of an index below it."""
        for manifest in self._all():
            if manifest.digest == digest:
                return manifest
        raise ImageError(f"{self.path} has no manifest {digest}")

    def _all(self) -> Iterator[Descriptor]:
        for manifest in self.index.manifests:
            yield manifest
            if manifest.is_index:
                data = read_document(self, manifest)
                yield from parse_index(data, f"index {manifest.digest}").manifests


class DirectoryLayout(Layout):
    """A directory with `oci-layout`, `index.json` and `blobs`."""

    def __init__(self, path: str) -> None:
        self.path = path
        check_version(self._document("oci-layout"), path)
        self.index = parse_index(self._document("index.json"), f"index.json of {path}")

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        file = self._open("blobs/sha256/" + digest_hex(descriptor.digest))
        file.seek(offset)
        return file

    def _open(self, name: str) -> BinaryIO:
        what, hint = (
            f"{name} of the OCI layout {self.path}",
            "the layout is not complete, or it is none",
        )
        with os_errors_as(ImageError, what, hint):
            # Not blocking: what is named like a blob may be a pipe.
            fd = os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError(f"{what} is no file", hint=hint)
        return cast(BinaryIO, open(fd, "rb", buffering=0))

    def _document(self, name: str) -> bytes:
        with self._open(name) as file:
            return file.read(MAX_DOCUMENT_BYTES + 1)


def check_version(data: bytes, what: str) -> None:
    """Refuse a layout of a version that is not ours to understand."""
    version = parse_document(data, f"oci-layout of {what}")["imageLayoutVersion"]
    if version.text() != _SUPPORTED_VERSION:
        raise version.wrong(f"is {version.text()!r}, not {_SUPPORTED_VERSION}")


def _names(descriptor: Descriptor) -> list[str]:
    both = (descriptor.annotations.get(key) for key in (REF_NAME, CONTAINERD_NAME))
    return [name for name in both if name]


def _full(name: str) -> str:
    try:
        return str(parse_reference(name))
    except DefinitionError:
        return ""
