"""Which layer of an image a file came with, added to an SBOM that lists files.

Comes in: an SPDX document that a step wrote, and the layers of the image. Goes out: the document,
in which each file without a comment has one with the digest of its layer.
Rules: moby/buildkit `exporter/containerimage/attestations.go`.
"""

import posixpath
import threading
from collections.abc import Sequence
from typing import Any

from minibuild.digest import Digest
from minibuild.layer.layer import Layer

_WHITEOUT = ".wh."


def supplemented(
    document: Any,
    layers: Sequence[tuple[Layer, Digest]],
    tool: str,
    cancelled: threading.Event,
) -> Any:
    """The document with more said of its files. `layers` are those of the image from the lowest on,
    each with the digest that the image has it by."""
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        return document
    places = _places({_path(file) for file in files}, layers, cancelled)
    said = [
        {**file, "comment": f"layerID: {places[_path(file)]}"}
        if _path(file) in places and not file.get("comment")
        else file
        for file in files
    ]
    info = document.get("creationInfo")
    info = dict(info) if isinstance(info, dict) else {}
    info["creators"] = [*(info.get("creators") or ()), f"Tool: {tool}"]
    return {**document, "files": said, "creationInfo": info}


def _path(file: dict[str, Any]) -> str:
    return posixpath.normpath(posixpath.join("/", str(file.get("fileName", ""))))


def _places(
    paths: set[str], layers: Sequence[tuple[Layer, Digest]], cancelled: threading.Event
) -> dict[str, Digest]:
    """The topmost layer that has each path; a file that was removed is where it was made."""
    found: dict[str, Digest] = {}
    for layer, digest in reversed(layers):
        if paths <= found.keys():
            break
        with layer.tar(cancelled) as reader:
            for entry in reader:
                path = posixpath.normpath(posixpath.join("/", entry.name))
                if path in paths and not posixpath.basename(path).startswith(_WHITEOUT):
                    found.setdefault(path, digest)
    return found
