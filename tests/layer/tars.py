"""Tars from the standard library, as layers of other people's: sound ones, odd ones,
hostile ones."""

import hashlib
import io
import tarfile
from typing import Any

from minibuild.digest import DiffID, Digest
from minibuild.layer.layer import Layer
from minibuild.oci import model
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store

TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def tar(*entries: dict[str, Any], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of entries such as `entry("a", b"data")`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for values in entries:
            values = dict(values)
            data = values.pop("data", b"")
            info = tarfile.TarInfo(values.pop("name"))
            info.type = TYPES[values.pop("kind")]
            info.size = len(data)
            for key, value in values.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, data: bytes = b"", kind: str = "file", **values: Any) -> dict[str, Any]:
    """One entry; `values` are attributes of TarInfo."""
    return {"name": name, "data": data, "kind": kind, "mode": 0o644} | values


def symlink(name: str, target: str) -> dict[str, Any]:
    """A symlink."""
    return entry(name, kind="symlink", linkname=target)


def hardlink(name: str, target: str) -> dict[str, Any]:
    """A link to another entry."""
    return entry(name, kind="link", linkname=target)


def folder(name: str, mode: int = 0o755, **values: Any) -> dict[str, Any]:
    """A directory."""
    return entry(name, kind="dir", **{"mode": mode, **values})


def layer_of(store: Store, data: bytes, media_type: str = model.OCI_LAYER) -> Layer:
    """Bytes as a layer of the store. The diff id is that of the bytes as they are."""
    content = ContentStore(store)
    digest = content.put(data)
    diff_id = DiffID(Digest("sha256:" + hashlib.sha256(data).hexdigest()))
    return Layer(diff_id, model.Descriptor(media_type, digest, len(data)), content)
