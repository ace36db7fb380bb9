"""OCI layouts of a client, blob by blob: images that a build stands on, caches, images for it; and
caches in registries and in the image, in the words of the command line.

Comes in: a session, and the name of a store of the client: `oci:ID` (a layout that is a context),
`local:DIR` (a cache), `export` (an output). Goes out: the layout in a folder of ours, or what lies
in such a folder written to the store. A client is hostile: sizes and digests are checked.
Rules: moby/buildkit `session/content`; containerd `api/services/content/v1/content.proto`.
Read next: `build`.
"""

import io
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from minibuild.buildkit.content import CHUNK_BYTES, NAME, STORE
from minibuild.buildkit.messages import ClientCall
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.digest import Digest, digest_strings, parse_digest
from minibuild.events import Warned
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.content import BlobFolder, BlobSource, read_document
from minibuild.oci.document import parse_document
from minibuild.oci.model import OCI_INDEX, OCI_MANIFEST, Descriptor, is_index
from minibuild.oci.transfer import blobs_of
from minibuild.serve.answers import as_failures
from minibuild.serve.attributes import joined
from minibuild.serve.session import ClientSession

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_READ, _INFO, _WRITE = (f"/{NAME}/{call}" for call in ("Read", "Info", "Write"))
_STAT, _DATA, _COMMIT = range(3)
_BLOBS = "blobs/sha256"
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


def fetch_layout(session: ClientSession, store: str, digest: str, place: str) -> str:
    """Write what a digest means in a store, and all that it names, to a layout in `place`, once.
    Returns its folder. Raises `Failure`."""
    name = digest_strings(["layout", store, digest]).partition(":")[2]
    folder = os.path.join(place, f"layout-{name}")
    if os.path.exists(os.path.join(folder, "index.json")):
        return folder
    source = _ClientBlobs(session, store)
    with as_failures(), LayoutFolder(folder).locked() as layout:
        top = Descriptor("", parse_digest(digest), source.size(Digest(digest)))
        for blob in blobs_of(source, top):
            layout.put_blob(blob, source)
        data = read_document(BlobFolder(os.path.join(folder, _BLOBS)), top)
        kind = parse_document(data, digest)["mediaType"].text()
        kind = kind or (OCI_INDEX if is_index(data, "", digest) else OCI_MANIFEST)
        layout.give_name("latest", top._replace(media_type=kind), drop=False)
    return folder


def send_layout(session: ClientSession, store: str, folder: str) -> Mapping[str, Any]:
    """Write all blobs of a layout to a store. Returns the descriptor of what it has. Raises
    `Failure`."""
    with open(os.path.join(folder, "index.json"), "rb") as file:
        manifests = json.load(file)["manifests"]
    blobs = os.path.join(folder, _BLOBS)
    for name in sorted(os.listdir(blobs)):
        _send_blob(session, store, os.path.join(blobs, name), f"sha256:{name}")
    found: Mapping[str, Any] = manifests[0]
    return found


def _send_blob(session: ClientSession, store: str, path: str, digest: str) -> None:
    """Write one blob, unless the store has it."""
    request = api_type("ContentWriteRequest")
    total = os.path.getsize(path)

    call = session.open(_WRITE, "ContentWriteResponse", [(STORE, store)])
    call.send(request(action=_STAT, ref=f"blob-{digest}", total=total, expected=digest))
    position = 0
    with open(path, "rb") as file:
        while data := file.read(CHUNK_BYTES):
            if not call.send(request(action=_DATA, offset=position, data=data)):
                break  # It says why at its end.
            position += len(data)
    call.send(request(action=_COMMIT, total=total, offset=total, expected=digest))
    call.delivered()


class _ClientBlobs(BlobSource):
    """The blobs of a client's store."""

    def __init__(self, session: ClientSession, store: str) -> None:
        self._session = session
        self._metadata = [(STORE, store)]

    def size(self, digest: Digest) -> int:
        """How large a blob is. Raises `Failure`."""
        asked = api_type("ContentInfoRequest")(digest=digest)
        answer = self._session.call(_INFO, asked, "ContentInfoResponse", self._metadata)
        return int(answer.info.size)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`. Raises `Failure`."""
        call = self._session.open(_READ, "ContentReadResponse", self._metadata)
        size = descriptor.size - offset
        call.send(
            api_type("ContentReadRequest")(digest=descriptor.digest, offset=offset, size=size)
        )
        call.finish()
        return io.BufferedReader(_IncomingBlob(call), CHUNK_BYTES)


class _IncomingBlob(io.RawIOBase):
    """The bytes of a blob as they come."""

    def __init__(self, call: ClientCall) -> None:
        self._call = call
        self._parts = (message.data for message in call if message.data)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or memoryview(next(self._parts, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        self._call.cancel()
        super().close()


# --- Caches ---


_LOCAL = "local"
# What means something here. BuildKit leaves out what it does not know.
_WRITTEN = (
    "mode compression compression-level force-compression ignore-error image-manifest "
    "oci-mediatypes"
).split()
_KEYS: Mapping[str, frozenset[str]] = {
    "registry": frozenset(("ref", "registry.insecure", *_WRITTEN)),
    _LOCAL: frozenset(("src", "dest", "digest", "tag", *_WRITTEN)),
    "inline": frozenset(),
}


def cache_options(build: "Build") -> dict[str, list[str]]:
    """The options `cache_from` and `cache_to`. Raises `Failure`."""
    found: dict[str, list[str]] = {"cache_from": [], "cache_to": []}
    for entry in build.cache_imports:
        attributes = dict(entry.Attrs)
        if entry.Type == _LOCAL:
            attributes = _fetched(build, attributes)
        if attributes:
            found["cache_from"].append(_place(entry.Type, attributes))
    for number, entry in enumerate(build.asked.Cache.Exports):
        attributes = dict(entry.Attrs)
        if entry.Type == _LOCAL:
            attributes["dest"] = _made(build, number)
        found["cache_to"].append(_place(entry.Type, attributes))
    return {name: places for name, places in found.items() if places}


def _place(kind: str, attributes: Mapping[str, str]) -> str:
    if kind not in _KEYS:
        raise Failure(f"unknown cache type: {kind!r}: use registry, local or inline")
    words = [f"{key}={value}" for key, value in attributes.items() if key in _KEYS[kind]]
    return joined([f"type={kind}", *words])


def _fetched(build: "Build", attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a cache of the client, as of one in a folder of ours. Empty if it cannot be
    read: a cache is not worth a build."""
    source, digest = attributes.get("src", ""), attributes.get("digest", "")
    try:
        folder = fetch_layout(build.session, f"local:{source}", digest, build.folder)
    except Failure as failure:
        message = f"the cache in {source} is of no use: {failure.message}"
        build.status(Warned("", message))
        return {}
    return {"src": folder, "digest": digest}


def _made(build: "Build", number: int) -> str:
    """Where the build writes a cache for a folder of the client."""
    return os.path.join(build.folder, f"cache-to-{number}")


def send_caches(build: "Build") -> dict[str, str]:
    """Write the caches that a build made to the folders of the client. Returns what the
    answer to it says of them. Raises `Failure`."""
    answer = {}
    for number, entry in enumerate(build.asked.Cache.Exports):
        folder = _made(build, number)
        if entry.Type == _LOCAL and os.path.isdir(folder):
            top = send_layout(build.session, f"local:{entry.Attrs.get('dest', '')}", folder)
            answer["cache.manifest"] = json.dumps(dict(top), separators=(",", ":"))
    return answer
