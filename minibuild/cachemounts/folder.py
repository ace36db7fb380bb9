"""Cache mounts in a folder: a name in an OCI layout, which may hold other things too.

Written under a lock on the folder itself. Files are written under other names and renamed, and the
index comes last, so that whoever reads sees the old state or the new one.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from minibuild.cachemounts.artifact import (
    EMPTY,
    Kept,
    Layers,
    artifact_bytes,
    differing,
    parse_artifact,
)
from minibuild.digest import Digest, digest_bytes, digest_hex
from minibuild.errors import HostError, ImageError
from minibuild.oci.content import CHUNK_BYTES, BlobSource, check, read_document
from minibuild.oci.images import LAYOUT_FILE
from minibuild.oci.layout import DirectoryLayout
from minibuild.oci.meter import Meter
from minibuild.oci.model import (
    MAX_DOCUMENT_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    Index,
    index_bytes,
)
from minibuild.oci.transfer import blobs_of


class FolderPlace:
    """See `Place`. `tag` is the name in the layout."""

    def __init__(self, path: str, tag: str) -> None:
        self.name = path if tag == "latest" else f"{path}:{tag}"
        self._path = os.path.abspath(path)
        self._tag = tag

    def read(self) -> Kept | None:
        """See `Place.read`."""
        mine, _ = self._named()
        if mine is None:
            return None
        layout = DirectoryLayout(self._path)
        data = read_document(layout, mine, MAX_DOCUMENT_BYTES)
        return Kept(parse_artifact(data, self.name), layout)

    def write(self, layers: Layers, source: BlobSource, meter: Meter) -> bool:
        """See `Place.write`. Blobs that only the replaced manifest named are removed."""
        try:
            with self._locked():
                return self._write(layers, source, meter)
        except OSError as error:
            raise HostError(
                f"cannot write to {self._path}: {os.strerror(error.errno or 0)}",
                hint="name a folder that this account may write to",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        os.makedirs(os.path.join(self._path, "blobs", "sha256"), exist_ok=True)
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _write(self, layers: Layers, source: BlobSource, meter: Meter) -> bool:
        kept = self.read()
        known = {} if kept is None else kept.layers
        new = differing(layers, known)
        if not new:
            return False
        for layer in new:
            with source.open(layer) as stream:
                self._put_blob(layer, stream)
            meter(layer, layer.size, done=True)
        before, others = self._named()
        data = artifact_bytes({**known, **layers})
        top = Descriptor(OCI_MANIFEST, digest_bytes(data), len(data), {REF_NAME: self._tag})
        self._put(self._blob(digest_bytes(EMPTY)), EMPTY)
        self._put(self._blob(top.digest), data)
        self._put(os.path.join(self._path, "oci-layout"), LAYOUT_FILE)
        index = Index((*others, top), media_type=OCI_INDEX)
        self._put(os.path.join(self._path, "index.json"), index_bytes(index))
        if before is not None:
            self._drop({before.digest, *(layer.digest for layer in known.values())})
        return True

    def _named(self) -> tuple[Descriptor | None, tuple[Descriptor, ...]]:
        """What bears our name in the layout, and all the rest."""
        if not os.path.exists(os.path.join(self._path, "index.json")):
            return None, ()
        manifests = DirectoryLayout(self._path).index.manifests
        mine = [m for m in manifests if m.annotations.get(REF_NAME) == self._tag]
        others = tuple(m for m in manifests if m not in mine)
        return (mine[0] if mine else None), others

    def _drop(self, candidates: set[Digest]) -> None:
        """Remove those blobs that nothing in the layout names any more."""
        layout = DirectoryLayout(self._path)
        try:
            used = {blob.digest for top in layout.index.manifests for blob in blobs_of(layout, top)}
        except ImageError:
            return  # Something else in here cannot be read, so nobody knows what it needs.
        for digest in candidates - used:
            os.unlink(self._blob(digest))

    def _blob(self, digest: Digest) -> str:
        return os.path.join(self._path, "blobs", "sha256", digest_hex(digest))

    def _put(self, path: str, data: bytes) -> None:
        with open(path + ".part", "wb") as file:
            file.write(data)
        os.rename(path + ".part", path)

    def _put_blob(self, layer: Descriptor, stream: BinaryIO) -> None:
        path, sha, size = self._blob(layer.digest), hashlib.sha256(), 0
        with open(path + ".part", "wb") as file:
            while chunk := stream.read(CHUNK_BYTES):
                size += file.write(chunk)
                sha.update(chunk)
        # It may come from another place, where it was damaged.
        check(Digest("sha256:" + sha.hexdigest()), size, layer)
        os.rename(path + ".part", path)
