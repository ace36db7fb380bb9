"""Cache mounts in a folder: a name in an OCI layout, which may hold other things too."""

from minibuild.digest import digest_bytes
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import MAX_DOCUMENT_BYTES, OCI_MANIFEST, Descriptor
from minibuild.remotecache.mounts.artifact import (
    EMPTY,
    Kept,
    Layers,
    artifact_bytes,
    differing,
    parse_artifact,
)


class FolderPlace:
    """See `Place`. `tag` is the name in the layout."""

    def __init__(self, path: str, tag: str) -> None:
        self.name = path if tag == "latest" else f"{path}:{tag}"
        self._folder = LayoutFolder(path)
        self._tag = tag

    def read(self) -> Kept | None:
        """See `Place.read`."""
        mine, _ = self._folder.named(self._tag)
        if mine is None:
            return None
        layout = DirectoryLayout(self._folder.path)
        data = read_document(layout, mine, MAX_DOCUMENT_BYTES)
        return Kept(parse_artifact(data, self.name), layout)

    def write(self, layers: Layers, source: BlobSource, meter: Meter) -> bool:
        """See `Place.write`. Blobs that only the replaced manifest named are removed."""
        with self._folder.locked():
            kept = self.read()
            known = {} if kept is None else kept.layers
            new = differing(layers, known)
            if not new:
                return False
            for layer in new:
                self._folder.put_blob(layer, source)
                meter(layer, layer.size, done=True)
            data = artifact_bytes({**known, **layers})
            self._folder.put(EMPTY)
            self._folder.put(data)
            top = Descriptor(OCI_MANIFEST, digest_bytes(data), len(data))
            self._folder.give_name(self._tag, top)
        return True
