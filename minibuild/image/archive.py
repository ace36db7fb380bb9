"""Layouts at a path, of whatever kind: a directory, an OCI layout in a tar, or what `docker save`
writes, old and new.

Comes in: a path; a tar may be compressed. Goes out: a `Layout`. New `docker save` archives are OCI
layouts with a `manifest.json` beside them; old ones have only that file, layers without digests,
and no manifests. For those the manifests are made here, as a registry would have them.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from typing import BinaryIO, cast

from minibuild.digest import Digest, digest_bytes, digest_hex
from minibuild.errors import ImageError, os_errors_as
from minibuild.graph.reference import parse_reference
from minibuild.image.layout import DirectoryLayout, Layout, check_version
from minibuild.layer.compress import decompressed, detect_compression, stream_errors, unsound
from minibuild.layer.tar_reader import TarReader, file_chunks
from minibuild.oci.document import MAX_DOCUMENT_BYTES, Member, parse_value
from minibuild.oci.model import (
    CONTAINERD_NAME,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCKER_MANIFEST,
    REF_NAME,
    Descriptor,
    Index,
    Manifest,
    describe,
    manifest_bytes,
    parse_index,
)
from minibuild.startup.tuples import NamedTuple

_CHUNK = 1 << 20
_MAX_MEMBERS = 100_000


class _Member(NamedTuple):
    """Where the data of a file of the archive is; `link` if it is a link to another."""

    offset: int
    size: int
    link: str = ""


def open_layout(path: str) -> Layout:
    """The layout at `path`. Raises `ImageError` if it is none."""
    if os.path.isdir(path):
        return DirectoryLayout(path)
    if not os.path.exists(path):
        raise ImageError(f"{path} does not exist")
    file = _seekable(path)
    members = _members(file, path)
    if "index.json" in members and "oci-layout" in members:
        return ArchiveLayout(path, file, members)
    if "manifest.json" in members:
        return DockerArchive(path, file, members)
    file.close()
    raise ImageError(
        f"{path} is no image archive: it has neither index.json nor manifest.json",
        hint="archives of `docker save`, `podman save` and OCI layouts can be read",
    )


def _seekable(path: str) -> BinaryIO:
    """The archive, uncompressed into a nameless file if need be."""
    with os_errors_as(ImageError, f"cannot read {path}"):
        file = cast(BinaryIO, open(path, "rb", buffering=0))  # noqa: SIM115 - the layout keeps it
    compression = detect_compression(file.read(16))
    file.seek(0)
    if compression == "uncompressed":
        return file
    import tempfile

    plain = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - as above
    with file:
        try:
            for chunk in file_chunks(decompressed(file, compression), _CHUNK):
                plain.write(chunk)
        except stream_errors(compression) as error:
            raise unsound(path, f"sound {compression} data", error) from None
    plain.seek(0)
    return plain


def _members(file: BinaryIO, path: str) -> dict[str, _Member]:
    found: dict[str, _Member] = {}
    reader = TarReader(file_chunks(file), path)
    for entry in reader:
        name = entry.name.removeprefix("./")
        if entry.sparse:
            raise ImageError(f"{name} in {path} is a sparse file", hint="pack it without --sparse")
        if entry.kind == "file":
            found[name] = _Member(reader.offset, entry.size)
        elif entry.kind in ("symlink", "link"):
            base = os.path.dirname(name) if entry.kind == "symlink" else ""
            found[name] = _Member(0, 0, os.path.normpath(os.path.join(base, entry.linkname)))
        if len(found) > _MAX_MEMBERS:
            raise ImageError(f"{path} holds more than {_MAX_MEMBERS} files")
    return found


class _Slice(io.RawIOBase):
    """A part of the archive as a file. Reads at an offset, so slices do not disturb each other;
    closing one leaves the archive open."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all that is left."""
        count = self._left if size < 0 else min(size, self._left)
        data = os.pread(self._file.fileno(), count, self._offset)
        self._offset += len(data)
        self._left -= len(data)
        return data


class _Archive(Layout):
    """A layout in a tar, whose files are found by their names."""

    def __init__(self, path: str, file: BinaryIO, members: Mapping[str, _Member]) -> None:
        self.path = path
        self._tar = file
        self._members = members

    def _file(self, name: str, offset: int = 0) -> BinaryIO:
        """The file `name`, from `offset` on. Raises `ImageError` if it is not there."""
        member = self._members.get(name.removeprefix("./"))
        for _ in range(8):
            if member is None or not member.link:
                break
            member = self._members.get(member.link)
        if member is None or member.link:
            raise ImageError(f"{name} is missing from {self.path}")
        slice_ = _Slice(self._tar, member.offset + offset, member.size - offset)
        return cast(BinaryIO, slice_)

    def _document(self, name: str) -> bytes:
        """A small file, whole."""
        return self._file(name).read(MAX_DOCUMENT_BYTES + 1)


class ArchiveLayout(_Archive):
    """An OCI layout in a tar."""

    def __init__(self, path: str, file: BinaryIO, members: Mapping[str, _Member]) -> None:
        super().__init__(path, file, members)
        check_version(self._document("oci-layout"), path)
        self.index = parse_index(self._document("index.json"), f"index.json of {path}")

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        return self._file("blobs/sha256/" + digest_hex(descriptor.digest), offset)


class DockerArchive(_Archive):
    """An archive with only a `manifest.json`: a list of configs, layers and names."""

    def __init__(self, path: str, file: BinaryIO, members: Mapping[str, _Member]) -> None:
        super().__init__(path, file, members)
        self._files: dict[Digest, str] = {}
        self._documents: dict[Digest, bytes] = {}
        self._layers: dict[str, Descriptor] = {}
        manifests: list[Descriptor] = []
        data = self._document("manifest.json")
        for item in parse_value(data, f"manifest.json of {path}").required().items():
            described = self._manifest(item)
            names = [str(parse_reference(name)) for name in item["RepoTags"].texts()]
            for name in names or [""]:
                annotations = {REF_NAME: name, CONTAINERD_NAME: name} if name else {}
                manifests.append(described._replace(annotations=annotations))
        self.index = Index(tuple(manifests))

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        if (document := self._documents.get(descriptor.digest)) is not None:
            return io.BytesIO(document[offset:])
        name = self._files.get(descriptor.digest)
        if name is None:
            raise ImageError(f"blob {descriptor.digest} is missing from {self.path}")
        return self._file(name, offset)

    def _manifest(self, item: Member) -> Descriptor:
        config = self._document(item["Config"].required().text())
        digest = digest_bytes(config)
        self._documents[digest] = config
        data = manifest_bytes(
            Manifest(
                Descriptor(DOCKER_CONFIG, digest, len(config)),
                tuple(self._layer(name) for name in item["Layers"].texts()),
                {},
                DOCKER_MANIFEST,
            )
        )
        described = describe(DOCKER_MANIFEST, data)
        self._documents[described.digest] = data
        return described

    def _layer(self, name: str) -> Descriptor:
        if name not in self._layers:
            sha, size, start = hashlib.sha256(), 0, b""
            file = self._file(name)
            while chunk := file.read(_CHUNK):
                sha.update(chunk)
                start = start or chunk[:16]
                size += len(chunk)
            digest = Digest("sha256:" + sha.hexdigest())
            media_type = {"gzip": DOCKER_LAYER_GZIP, "zstd": DOCKER_LAYER_ZSTD}.get(
                detect_compression(start), DOCKER_LAYER
            )
            self._files[digest] = name
            self._layers[name] = Descriptor(media_type, digest, size)
        return self._layers[name]
