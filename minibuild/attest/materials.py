"""What a build took from elsewhere: images, commits and files, and the folders of its client.

Comes in: vertices, and the digests that pin what their sources gave. Goes out: materials as
provenance lists them, and the names of folders, which no digest pins.
Rules: BuildKit's docs/attestations/slsa-definitions.md. Read next: `steps`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

from minibuild.attest.call import Json
from minibuild.attest.statement import package_url
from minibuild.digest import Digest, digest_hex
from minibuild.errors import DefinitionError
from minibuild.graph.address import masked
from minibuild.graph.op import (
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
    MountOutput,
    SecretMount,
    SshMount,
)
from minibuild.graph.reference import parse_reference
from minibuild.graph.vertex import Vertex
from minibuild.startup.tuples import NamedTuple

_GIT_DIGESTS = {40: "sha1", 64: "sha256"}
_LAYOUT = "oci-layout://"


class Materials(NamedTuple):
    """What was found: `images` and `web` are materials, `locals` names of folders. With `networked`
    a step could reach the network. `secrets` and `agents` are ids, and whether they had to be
    there."""

    images: Sequence[Json]
    web: Sequence[Json]
    locals: Sequence[str]
    networked: bool
    secrets: Mapping[str, bool]
    agents: Mapping[str, bool]


def materials(
    vertices: Iterable[Vertex],
    pins: Mapping[Digest, str],
    contexts: Mapping[str, str],
    linked: Mapping[str, Sequence[Mapping[str, Any]]] = {},
) -> Materials:
    """The materials of vertices, each once. `contexts` are addresses by their names. An image of a
    `linked` build is no material: what its provenance lists is."""
    images, git, http = dict[str, Json](), dict[str, Json](), dict[str, Json]()
    folders, secrets, agents = set[str](), dict[str, bool](), dict[str, bool]()
    named = {address: name for name, address in contexts.items()}
    networked, parts = False, list[Materials]()
    for vertex in vertices:
        pin = pins.get(vertex.digest, "")
        match vertex.op:
            case ImageSource() as op if op.ref in linked:
                parts += [_of_provenance(one) for one in linked[op.ref]]
            case ImageSource() as op:
                uri = _image_uri(op, named.get(op.ref, ""))
                digest = digest_hex(Digest(pin) if pin else op.digest)
                images[uri] = {"uri": uri, "digest": {"sha256": digest}}
            case HttpSource() as op:
                digest = (pin or op.checksum).removeprefix("sha256:")
                http[op.url] = {"uri": masked(op.url), "digest": {"sha256": digest}}
            case GitSource() as op:
                uri = op.url + (f"#{op.ref}" if op.ref else "")
                digests = {_GIT_DIGESTS.get(len(pin), "sha1"): pin}
                git[uri] = {"uri": masked(uri), "digest": digests}
            case LocalSource() as op:
                folders.add(op.name.removeprefix("context:"))
            case Exec() as op:
                networked |= op.network != "none"
                _lent(op, secrets, agents)
            case MountOutput() | File() | Merge() | Diff():
                pass
            case _ as unknown:
                assert_never(unknown)
    web = [found[uri] for found in (git, http) for uri in sorted(found)]
    listed = [images[uri] for uri in sorted(images)]
    found = Materials(listed, web, sorted(folders), networked, secrets, agents)
    for part in parts:
        found = _joined(found, part)
    return found


def _of_provenance(provenance: Mapping[str, Any]) -> Materials:
    """The materials of a build by its provenance, of version 1."""
    definition = provenance["buildDefinition"]
    listed, request = (
        definition["resolvedDependencies"],
        definition["externalParameters"]["request"],
    )
    needed = [
        {one["id"]: not one.get("optional", False) for one in request.get(key, ())}
        for key in ("secrets", "ssh")
    ]
    folders = [one["name"] for one in request.get("locals", ())]
    hermetic = provenance["runDetails"]["metadata"]["buildkit_hermetic"]
    return Materials(
        [one for one in listed if one["uri"].startswith("pkg:")],
        [one for one in listed if not one["uri"].startswith("pkg:")],
        folders,
        not (hermetic or folders),  # A build with folders may not say more.
        *needed,
    )


def _joined(one: Materials, other: Materials) -> Materials:
    return Materials(
        _each_once([*one.images, *other.images]),
        _each_once([*one.web, *other.web]),
        sorted({*one.locals, *other.locals}),
        one.networked or other.networked,
        *(
            {id: a.get(id, False) or b.get(id, False) for id in {**a, **b}}
            for a, b in ((one.secrets, other.secrets), (one.agents, other.agents))
        ),
    )


def _each_once(listed: Iterable[Json]) -> list[Json]:
    return list({material["uri"]: material for material in listed}.values())


def _lent(op: Exec, secrets: dict[str, bool], agents: dict[str, bool]) -> None:
    for mount in op.mounts:
        if isinstance(mount, SecretMount):
            secrets[mount.id] = secrets.get(mount.id, False) or mount.required
        elif isinstance(mount, SshMount):
            agents[mount.id] = agents.get(mount.id, False) or mount.required


def _image_uri(op: ImageSource, context: str) -> str:
    """An image by its package URL. One of a layout is known by the name of its context; who wrote
    the layout is not known."""
    if not op.ref.startswith(_LAYOUT):
        try:
            return package_url(parse_reference(op.ref), op.platform)
        except DefinitionError:
            return op.ref
    try:
        name = parse_reference(f"{context.partition('::')[0]}@{op.digest}")
    except DefinitionError:
        return op.ref
    return package_url(name, op.platform, "oci")
