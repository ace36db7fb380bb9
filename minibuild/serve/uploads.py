"""Contexts that a client sends as bytes: what it read from standard input, and OCI layouts.

Comes in: a session, and the address that the client gave. Goes out: a file, or a layout, in a
folder of ours. Sizes and digests are checked, since a client is hostile.
Rules: moby/buildkit `session/upload`, `session/content`; containerd's content service.
Read next: `build`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from minibuild.buildkit.rpc import Failure
from minibuild.serve.session import Session

UPLOADED = "http://buildkit-session/"
"""Where a client says its standard input is."""

_PULL = "/moby.upload.v1.Upload/Pull"
_READ = "/containerd.services.content.v1.Content/Read"
_INFO = "/containerd.services.content.v1.Content/Info"
_DOCUMENT_BYTES = 4 << 20
_LAYOUT = "oci-layout://"


def fetch_upload(session: Session, url: str, path: str) -> None:
    """Write what the client read from standard input to a file. Raises `Failure`."""
    kind = session.types["BytesMessage"]
    metadata = [("urlpath", f"/{url.removeprefix(UPLOADED)}"), ("urlhost", "buildkit-session")]
    with open(path, "wb") as file:
        for message in session.messages(_PULL, iter(()), (kind, kind), metadata):
            file.write(message.data)


def fetch_layout(session: Session, address: str, folder: str) -> str:
    """Write the image of `oci-layout://STORE:TAG@DIGEST` to a layout. Returns its address here."""
    store, _, digest = address.removeprefix(_LAYOUT).partition("@")
    reader = _Reader(session, f"oci:{store.partition(':')[0]}", folder)
    os.makedirs(os.path.join(folder, "blobs", "sha256"))
    size = reader.size(digest)
    kind = reader.document(digest, size).get(
        "mediaType", "application/vnd.oci.image.manifest.v1+json"
    )
    index = {"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": digest, "size": size}]}
    for name, data in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
        with open(os.path.join(folder, name), "w") as file:
            json.dump(data, file)
    return f"{_LAYOUT}{folder}@{digest}"


class _Reader:
    """Reads blobs of a client's store into a layout."""

    def __init__(self, session: Session, store: str, folder: str) -> None:
        self._session = session
        self._metadata = [("buildkit-attachable-store-id", store)]
        self._folder = folder
        self._seen: set[str] = set()

    def size(self, digest: str) -> int:
        types = self._session.types
        asked = types["ContentInfoRequest"](digest=digest)
        answer = self._session.call(_INFO, asked, types["ContentInfoResponse"], self._metadata)
        return int(answer.info.size)

    def document(self, digest: str, size: int) -> Mapping[str, Any]:
        """A manifest or an index, with all that it names."""
        if size > _DOCUMENT_BYTES:
            raise Failure(f"{digest} is too large for a manifest")
        path = self._blob(digest, size)
        try:
            with open(path, "rb") as file:
                found = json.load(file)
            for descriptor in _descriptors(found):
                name, bytes_ = str(descriptor["digest"]), int(descriptor["size"])
                if name in self._seen:
                    continue
                if str(descriptor.get("mediaType", "")).endswith(
                    (
                        "manifest.v1+json",
                        "index.v1+json",
                        "manifest.v2+json",
                        "manifest.list.v2+json",
                    )
                ):
                    self.document(name, bytes_)
                else:
                    self._blob(name, bytes_)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(f"{digest} is no manifest: {error}") from None
        assert isinstance(found, dict)
        return found

    def _blob(self, digest: str, size: int) -> str:
        algorithm, _, hexadecimal = digest.partition(":")
        if algorithm != "sha256" or len(hexadecimal) != 64 or not hexadecimal.isalnum():
            raise Failure(f"invalid digest {digest!r}")
        self._seen.add(digest)
        path = os.path.join(self._folder, "blobs", "sha256", hexadecimal)
        types = self._session.types
        asked = types["ContentReadRequest"](digest=digest, size=size)
        hashed = hashlib.sha256()
        with open(path, "wb") as file:
            for message in self._session.messages(
                _READ,
                iter((asked,)),
                (types["ContentReadRequest"], types["ContentReadResponse"]),
                self._metadata,
            ):
                hashed.update(message.data)
                if file.tell() + len(message.data) > size:
                    raise Failure(f"{digest} is larger than the client said")
                file.write(message.data)
        if hashed.hexdigest() != hexadecimal:
            raise Failure(f"the client sent other bytes than {digest}")
        return path


def _descriptors(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from document.get("manifests") or ()
    yield from document.get("layers") or ()
    if document.get("config"):
        yield document["config"]
