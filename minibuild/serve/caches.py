"""Caches of a client's build: in registries, in the image, in folders of the client.

Comes in: what the client says of caches. Goes out: places in the words of the command line. A
folder of the client is read through its session before the build, into one of ours, and what a
build wrote for such a folder is sent there after it.
Rules: moby/buildkit `cache/remotecache/local`.
Read next: `layouts`.
"""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from minibuild.buildkit.rpc import Failure
from minibuild.events import Warned
from minibuild.serve.attributes import joined
from minibuild.serve.layouts import fetch_layout, send_layout

if TYPE_CHECKING:
    from minibuild.serve.build import Build

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
