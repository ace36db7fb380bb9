"""OCI layouts that a remote build has to do with: contexts, caches in folders, images in folders.

Comes in: a request, and in the end what the builder says that it wrote. Goes out: the layouts by
the names under which a builder asks for them, caches in the words of BuildKit, and an index in each
layout that was written.
Rules: moby/buildkit `client/solve.go`, `cache/remotecache/local`.
Read next: `stores`.
"""

import base64
import os
from collections.abc import Iterable, Mapping

from minibuild.buildkit.encode_source import layout_store
from minibuild.errors import BuildError
from minibuild.graph.reference import parse_reference
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.document import parse_document
from minibuild.oci.model import Descriptor, parse_descriptor
from minibuild.session.request import BuildRequest, CachePlace, Output
from minibuild.source.image import split_layout

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
