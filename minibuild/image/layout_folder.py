"""An OCI layout in a folder that several programs write to: blobs go in, names change.

Comes in: blobs and documents. Goes out: the folder, in which a name means the new manifest. A
writer holds a lock (`alone_with`). Files are written under other names and renamed, and the
index comes last, so a reader sees the old state or the new one. Rules: image-spec
image-layout.md. Read next: `layout`, which reads.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from minibuild.digest import Digest, digest_bytes, digest_hex
from minibuild.errors import HostError, ImageError, os_errors_as
from minibuild.image.layout import DirectoryLayout
from minibuild.image.store import LAYOUT_FILE
from minibuild.linux.descriptors import closing_fd, replacing
from minibuild.oci.content import BlobSource, read_chunks
from minibuild.oci.model import OCI_INDEX, REF_NAME, Descriptor, Index, index_bytes
from minibuild.oci.transfer import blobs_of


@contextmanager
def alone_with(path: str) -> Iterator[None]:
    """Be the only one that writes to the index of a layout: two writers at once would lose a name.

    The lock is that of `blobs`: what called this program may hold that of the folder (flock(1)).
    """
    with closing_fd(os.open(os.path.join(path, "blobs"), os.O_RDONLY | os.O_DIRECTORY)) as fd:
        with suppress(OSError):  # A filesystem without locks.
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield


class LayoutFolder:
    """The layout in the folder `path`, which is made if need be. All but `named` needs `locked`."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    @contextmanager
    def locked(self) -> Iterator["LayoutFolder"]:
        """Alone with the folder. Raises `HostError` if it cannot be written to."""
        hint = "free some space, or name a folder that this account may write to"
        with os_errors_as(HostError, f"cannot write to {self.path}", hint):
            os.makedirs(os.path.join(self.path, "blobs", "sha256"), exist_ok=True)
            with alone_with(self.path):
                yield self

    def named(self, tag: str) -> tuple[Descriptor | None, tuple[Descriptor, ...]]:
        """What bears a name in the layout, and all the rest."""
        if not os.path.exists(os.path.join(self.path, "index.json")):
            return None, ()
        manifests = DirectoryLayout(self.path).index.manifests
        mine = [m for m in manifests if m.annotations.get(REF_NAME) == tag]
        others = tuple(m for m in manifests if m not in mine)
        return (mine[0] if mine else None), others

    def put(self, data: bytes) -> None:
        """Have a document."""
        self._write(self._blob(digest_bytes(data)), data)

    def put_blob(self, blob: Descriptor, source: BlobSource) -> None:
        """Have a blob, which is checked on the way: it may have been damaged where it was."""
        path = self._blob(blob.digest)
        if os.path.exists(path) and os.path.getsize(path) == blob.size:
            return
        with replacing(path, path + ".part") as file:
            file.writelines(read_chunks(source, blob))

    def give_name(self, tag: str, top: Descriptor, *, drop: bool = True) -> None:
        """Let a name mean a manifest whose parts are here; blobs that only the one before needed
        are removed."""
        before, others = self.named(tag)
        candidates = set() if before is None else self._blobs(before)
        self._write(os.path.join(self.path, "oci-layout"), LAYOUT_FILE)
        top = top._replace(annotations={**top.annotations, REF_NAME: tag})
        index = Index((*others, top), media_type=OCI_INDEX)
        self._write(os.path.join(self.path, "index.json"), index_bytes(index))
        if drop:
            self._drop(candidates)

    def _blobs(self, top: Descriptor) -> set[Digest]:
        try:
            return {blob.digest for blob in blobs_of(DirectoryLayout(self.path), top)}
        except ImageError:
            return set()  # It is damaged, and is on its way out.

    def _drop(self, candidates: set[Digest]) -> None:
        """Remove those blobs that nothing in the layout names any more."""
        layout = DirectoryLayout(self.path)
        try:
            used = {blob.digest for top in layout.index.manifests for blob in blobs_of(layout, top)}
        except ImageError:
            return  # Something else in here cannot be read, so what it needs is not known.
        for digest in candidates - used:
            if os.path.exists(self._blob(digest)):
                os.unlink(self._blob(digest))

    def _blob(self, digest: Digest) -> str:
        return os.path.join(self.path, "blobs", "sha256", digest_hex(digest))

    def _write(self, path: str, data: bytes) -> None:
        with replacing(path, path + ".part") as file:
            file.write(data)
