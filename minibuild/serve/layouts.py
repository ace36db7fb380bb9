"""OCI layouts of a client, blob by blob: images that a build stands on, caches, images for it.

Comes in: a session, and the name of a store of the client: `oci:ID` (a layout that is a context),
`local:DIR` (a cache), `export` (an output). Goes out: the layout in a folder of ours, or what lies
in such a folder written to the store. A client is hostile: sizes and digests are checked.
Rules: moby/buildkit `session/content`; containerd `api/services/content/v1/content.proto`.
Read next: `build`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.rpc import Failure, api_type
from minibuild.digest import digest_strings, parse_digest
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.model import OCI_MANIFEST, Descriptor
from minibuild.serve.session import Session

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_READ = "/containerd.services.content.v1.Content/Read"
_INFO = "/containerd.services.content.v1.Content/Info"
_WRITE = "/containerd.services.content.v1.Content/Write"
_STAT, _DATA, _COMMIT = range(3)
_CHUNK_BYTES = 1 << 20
_DOCUMENT_BYTES = 4 << 20
_LAYOUT = "oci-layout://"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def fetch_contexts(build: "Build", addresses: Mapping[str, str]) -> dict[str, str]:
    """Contexts that are `oci-layout://STORE:TAG@DIGEST` of the client, in folders that are kept:
    what has a digest is the same for all. Returns their addresses here. Raises `Failure`."""
    found = {}
    with open(_BOOT_ID) as file:  # After a crash a file may lack what was written to it.
        boot = file.read()
    for name, address in addresses.items():
        store, _, digest = address.removeprefix(_LAYOUT).partition("@")
        store = f"oci:{store.partition(':')[0]}"
        place = build.resources.enter_context(build.builder.folders.folder("image", boot, digest))
        folder = fetch_layout(build.session, store, digest, place)
        found[name] = f"{_LAYOUT}{folder}@{digest}"
    return found


def fetch_layout(session: Session, store: str, digest: str, place: str) -> str:
    """Write what a digest means in a store, and all that it names, to a layout in `place`, once.
    Returns its folder. Raises `Failure`."""
    name = digest_strings(["layout", store, digest]).partition(":")[2]
    folder = os.path.join(place, f"layout-{name}")
    if os.path.exists(os.path.join(folder, "index.json")):
        return folder
    reader = _Reader(session, store, folder)
    os.makedirs(os.path.join(folder, "blobs", "sha256"), exist_ok=True)
    size = reader.size(digest)
    kind = reader.document(digest, size).get("mediaType", OCI_MANIFEST)
    with LayoutFolder(folder).locked() as layout:
        layout.give_name("latest", Descriptor(str(kind), parse_digest(digest), size), drop=False)
    return folder


def send_layout(session: Session, store: str, folder: str) -> Mapping[str, Any]:
    """Write all blobs of a layout to a store. Returns the descriptor of what it has. Raises
    `Failure`."""
    with open(os.path.join(folder, "index.json"), "rb") as file:
        manifests = json.load(file)["manifests"]
    blobs = os.path.join(folder, "blobs", "sha256")
    for name in sorted(os.listdir(blobs)):
        _send_blob(session, store, os.path.join(blobs, name), f"sha256:{name}")
    found: Mapping[str, Any] = manifests[0]
    return found


def _send_blob(session: Session, store: str, path: str, digest: str) -> None:
    """Write one blob, unless the store has it."""
    request = api_type("ContentWriteRequest")
    total = os.path.getsize(path)

    call = session.open(_WRITE, "ContentWriteResponse", [("buildkit-attachable-store-id", store)])
    call.send(request(action=_STAT, ref=f"blob-{digest}", total=total, expected=digest))
    position = 0
    with open(path, "rb") as file:
        while data := file.read(_CHUNK_BYTES):
            if not call.send(request(action=_DATA, offset=position, data=data)):
                break  # It says why at its end.
            position += len(data)
    call.send(request(action=_COMMIT, total=total, offset=total, expected=digest))
    call.delivered()


class _Reader:
    """Reads blobs of a client's store into a layout."""

    def __init__(self, session: Session, store: str, folder: str) -> None:
        self._session = session
        self._metadata = [("buildkit-attachable-store-id", store)]
        self._folder = folder
        self._seen: set[str] = set()

    def size(self, digest: str) -> int:
        asked = api_type("ContentInfoRequest")(digest=digest)
        answer = self._session.call(_INFO, asked, "ContentInfoResponse", self._metadata)
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
        asked = api_type("ContentReadRequest")(digest=digest, size=size)
        hashed = hashlib.sha256()
        with open(path, "wb") as file:
            call = self._session.open(_READ, "ContentReadResponse", self._metadata)
            call.send(asked)
            call.finish()
            for message in call:
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
