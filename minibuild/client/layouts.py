"""OCI layouts that a remote build has to do with: contexts, caches in folders, images in folders.

Comes in: a request, and in the end what the builder says that it wrote. Goes out: the layouts by
the names under which a builder asks for them, caches in the words of BuildKit, and an index in each
layout that was written. A blob that arrives is checked against its digest and gets its name when it
is whole.
Rules: moby/buildkit `client/solve.go`, `cache/remotecache/local`, `session/content`; containerd
`api/services/content/v1/content.proto`. Read next: `progress`.
"""

import base64
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

from minibuild.buildkit import content
from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.encode_source import layout_store
from minibuild.buildkit.rpc import ALREADY_EXISTS, NOT_FOUND, Failure, api_type
from minibuild.client.session import Services
from minibuild.errors import BuildError
from minibuild.graph.reference import parse_reference
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.linux.descriptors import replacing
from minibuild.oci.document import parse_document
from minibuild.oci.model import Descriptor, parse_descriptor
from minibuild.session.request import BuildRequest, CachePlace, Output
from minibuild.source.image import split_layout
from minibuild.startup.tuples import NamedTuple

_LAYOUT = "oci-layout://"
_EXPORT = "export"


def stores_of(request: BuildRequest) -> dict[str, str]:
    """The layouts that a builder reads and writes, by the names of their stores."""
    found = {}
    for url in request.contexts.values():
        if url.startswith(_LAYOUT):
            path, _ = split_layout(url)
            found[f"oci:{layout_store(path)}"] = path
    for place in (*request.cache_from, *request.cache_to):
        if place.type == "local":
            found[f"local:{os.fspath(place.path)}"] = os.fspath(place.path)
    for output in _as_folders(request.outputs):
        found[_EXPORT] = os.fspath(output.dest)
    return found


def _as_folders(outputs: Iterable[Output]) -> list[Output]:
    return [output for output in outputs if output.attributes.get("tar") == "false"]


def cache_export(place: CachePlace) -> dict[str, str]:
    """A cache to be written, in the words of BuildKit."""
    if place.type == "inline":
        return {}
    found = _words(place)
    if place.type == "local":
        found["dest"] = os.fspath(place.path)
    return found


def cache_import(place: CachePlace) -> dict[str, str]:
    """A cache to be read, in the words of BuildKit; empty if there is none."""
    if place.type != "local":
        return {key: value for key, value in _words(place).items() if key == "ref"}
    try:
        top = DirectoryLayout(os.fspath(place.path)).find(place.digest or place.tag)
    except BuildError:
        return {}  # It may be the first build of all.
    return {"src": os.fspath(place.path), "digest": top.digest}


def _words(place: CachePlace) -> dict[str, str]:
    found = {
        "ref": place.ref,
        "mode": place.mode,
        "compression": place.compression or "",
        "compression-level": "" if place.level is None else str(place.level),
        "force-compression": "true" if place.force_compression else "",
        "ignore-error": "true" if place.ignore_error else "",
        "registry.insecure": "true" if place.insecure else "",
        "image-manifest": "" if place.form == "manifest" else "false",
        "oci-mediatypes": "false" if place.form == "list" else "",
    }
    return {name: value for name, value in found.items() if value}


def give_names(request: BuildRequest, answer: Mapping[str, str]) -> None:
    """Write the indexes of the layouts that the builder wrote to. Raises `HostError`, and
    `ImageError` for an answer that makes no sense."""
    if "cache.manifest" in answer:
        top = _descriptor(answer["cache.manifest"].encode())
        for place in request.cache_to:
            if place.type == "local":
                _give_names(os.fspath(place.path), [place.tag], top, drop=place.reset)
    if "containerimage.descriptor" in answer:
        top = _descriptor(base64.b64decode(answer["containerimage.descriptor"]))
        names = filter(None, answer.get("image.name", "").split(","))
        tags = [parse_reference(name).tag or "latest" for name in names] or ["latest"]
        for output in _as_folders(request.outputs):
            _give_names(os.fspath(output.dest), tags, top)


def _give_names(path: str, tags: Iterable[str], top: Descriptor, *, drop: bool = False) -> None:
    folder = LayoutFolder(path)
    with folder.locked():
        for tag in tags:
            folder.give_name(tag, top, drop=drop)


def _descriptor(data: bytes) -> Descriptor:
    found = parse_descriptor(parse_document(data, "the answer of the builder"))
    return found._replace(annotations={}, platform=None)


# --- The service that reads and writes them ---


_COMMIT = 2


def layouts(folders: Mapping[str, str]) -> Services:
    """The service, for layouts by the names of their stores."""
    stores = _Stores(folders)
    write = CallHandler(stores.write, "ContentWriteRequest", streams=True, takes_many=True)
    return {content.NAME: {**content.reading(stores.place), "Write": write}}


class _Stores(NamedTuple):
    """The calls of the service."""

    folders: Mapping[str, str]

    def place(self, call: ServerCall, name: str) -> str:
        """Where a blob lies, or would. Raises `Failure`."""
        store = call.metadata.get(content.STORE, [""])[0]
        if store not in self.folders:
            raise Failure(f"unknown store {store!r}", NOT_FOUND)
        return os.path.join(self.folders[store], "blobs", "sha256", name)

    def write(self, _: None, call: ServerCall) -> Iterator[Any]:
        """Take one blob: each message is answered with how far it has come. Raises `Failure`."""
        import hashlib

        requests = iter(call)
        first = next(requests, None)
        if first is None:
            return
        path = self.place(call, content.blob_name(first.expected))
        if os.path.exists(path):
            raise Failure(f"content {first.expected}: already exists", ALREADY_EXISTS)
        answer = partial(api_type("ContentWriteResponse"), total=first.total, digest=first.expected)
        hashed, size = hashlib.sha256(), 0
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with replacing(path) as file:
                for request in chain((first,), requests):
                    if request.data and request.offset != size:
                        raise Failure(
                            f"bytes at {request.offset} where those at {size} were expected"
                        )
                    size += len(request.data)
                    if 0 < first.total < size:
                        raise Failure("the builder sent more than it said")
                    file.write(request.data)
                    hashed.update(request.data)
                    if request.action == _COMMIT:
                        break
                    yield answer(action=request.action, offset=size)
                if hashed.hexdigest() != os.path.basename(path):
                    raise Failure("the builder sent other bytes than it said")
            yield answer(action=_COMMIT, offset=size)
        except OSError as error:
            raise Failure(f"cannot write: {error.strerror}") from None
