"""Results of one build of a client that another of its builds stands on: linked bake targets.

Comes in: definitions, by the names that contexts give them. Goes out: folders, or images in
layouts, one of which may be for several platforms. A definition that is a result of a build which
still goes on is that result, with the config of its image; any other is built.
Rules: moby/buildkit `frontend/dockerui/namedcontext.go`.
Read next: `gateway`.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from minibuild.attest.attestor import RECORD
from minibuild.buildkit.rpc import Failure
from minibuild.graph.platform import Platform, host_platform
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.model import OCI_INDEX, Index, describe, index_bytes
from minibuild.serve.build import Build
from minibuild.serve.llb import CONFIG, ResultPart, named_platform, prepare
from minibuild.serve.policies import guarded
from minibuild.session.request import Output

Provenance = Mapping[str, Any]

_BLOBS = "blobs/sha256"
_NAME = "latest"


def input_folder(build: Build, definition: Any) -> str:
    """A folder with what a definition gives. Raises `Failure`."""
    if not getattr(definition, "def"):
        raise Failure("invalid nil input definition to definition op")
    folder = _place(build)
    _build(build, definition, Output("local", folder))
    return folder


def input_images(
    build: Build,
    names: Mapping[str, Mapping[str, str]],
    given: Mapping[str, Any],
    attributes: Mapping[str, str],
) -> dict[str, str]:
    """Contexts as images in layouts of ours: their addresses by their names. `names` says for each
    which of the `given` definitions it is, by platforms; no platform is every one."""
    found = {}
    for name, by_platform in names.items():
        made, told = dict[str, str](), list[Provenance]()
        for platform, key in by_platform.items():
            if key not in given:
                raise Failure(f"the input {key} is not there")
            made[platform] = os.path.join(_place(build), "layout")
            config = _config(attributes.get(f"input-metadata:{key}", ""))
            output = Output("oci", made[platform], {"tar": "false", "name": f"input:{_NAME}"})
            told += _build(build, given[key], output, named_platform(platform), config)
        folder = made[""] if "" in made else _joined(build, made)
        found[name] = f"oci-layout://{folder}:{_NAME}"
        build.linked[found[name]] = told
    return found


def _place(build: Build) -> str:
    from tempfile import mkdtemp

    return mkdtemp(prefix="input-", dir=build.folder)


def _config(metadata: str) -> bytes:
    """The config of an image in what a client says of an input."""
    from base64 import b64decode

    try:
        return b64decode(json.loads(metadata or "{}").get(CONFIG, ""))
    except (ValueError, TypeError, AttributeError):
        raise Failure("the metadata of an input is no JSON of bytes") from None


def _build(
    build: Build,
    definition: Any,
    output: Output,
    platform: Platform | None = None,
    config: bytes = b"",
) -> list[Provenance]:
    """Build a definition into an output. Returns the provenance of what was built. The policies of
    the build that stands on it count, whatever those of the other are."""
    judged = guarded(build, definition)
    same = list(getattr(judged, "def")) == list(getattr(definition, "def"))
    offered = build.builder.offered(definition) if same else None
    if offered is None:
        part = ResultPart(judged, platform or host_platform(), config)
        offered = build, build.add(prepare(build, part))
    other, result = offered
    made = other.solve(result, [output]).metadata
    return [value for key, value in made.items() if key.startswith(RECORD)]


def _joined(build: Build, layouts: Mapping[str, str]) -> str:
    """One layout with the images of several, for their platforms."""
    folder = _place(build)
    manifests = []
    with LayoutFolder(folder).locked() as joined:
        for platform, layout in layouts.items():
            for blob in os.listdir(os.path.join(layout, _BLOBS)):
                os.rename(os.path.join(layout, _BLOBS, blob), os.path.join(folder, _BLOBS, blob))
            (made,) = DirectoryLayout(layout).index.manifests
            manifests.append(made._replace(platform=named_platform(platform), annotations={}))
        data = index_bytes(Index(tuple(manifests), media_type=OCI_INDEX))
        joined.put(data)
        joined.give_name(_NAME, describe(OCI_INDEX, data))
    return folder
