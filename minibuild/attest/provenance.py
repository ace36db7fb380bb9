"""Provenance: from what, by whom and how an image was made, as a SLSA predicate.

Comes in: a request, its graph and what its sources turned out to be. Goes out: a predicate of the
type https://slsa.dev/provenance/v1, with BuildKit's extension fields, filled as its
docs/attestations/slsa-definitions.md says. `mode=max` adds the ids of secrets and agents (never a
value), the steps and the text of the Dockerfile. The steps are vertices of our own graph and not
LLB, so they stand in `buildConfig.definition`.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from minibuild.attest.statement import Predicate, package_url
from minibuild.digest import Digest, digest_hex
from minibuild.errors import DefinitionError, SourceText
from minibuild.events import rfc3339
from minibuild.graph.address import without_credentials
from minibuild.graph.frontend import Built, Frontend
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
    Op,
    SecretMount,
    SshMount,
)
from minibuild.graph.platform import host_platform
from minibuild.graph.reference import parse_reference
from minibuild.graph.vertex import Vertex, plain, topological
from minibuild.session.request import BuildRequest
from minibuild.startup.tuples import NamedTuple

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
Json = dict[str, Any]

_GIT_DIGESTS = {40: "sha1", 64: "sha256"}


class BuildFacts(NamedTuple):
    """One build as its provenance describes it. `pins` are the digests (a commit, the sha256 of a
    file) of what came from the web, by the vertex of the source."""

    request: BuildRequest
    source: SourceText
    frontend: Frontend
    pins: Mapping[Digest, str]
    invocation: str
    started: float
    finished: float


def provenance(build: BuildFacts, image: Built) -> Predicate:
    """The provenance of one image, as `--provenance` asks for it."""
    asked = build.request.attestations
    vertices = topological([image.vertex])
    request = _request(build, vertices)
    internal: Json = {"builderPlatform": str(host_platform())}
    buildkit: Json = {}
    if asked.mode == "max":
        internal["buildConfig"] = {"definition": _steps(vertices)}
        buildkit["source"] = _source(build.source, build.frontend.language, vertices)
    local = any(isinstance(v.op, LocalSource) for v in vertices)
    return Predicate(
        PREDICATE_TYPE,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"configSource": _config(build), "request": request},
                "internalParameters": internal,
                "resolvedDependencies": list(_materials(build, vertices)),
            },
            "runDetails": {
                "builder": {"id": asked.builder_id},
                "metadata": {
                    "invocationID": build.invocation,
                    "startedOn": rfc3339(int(build.started)),
                    "finishedOn": rfc3339(int(build.finished)),
                    "buildkit_metadata": buildkit,
                    "buildkit_hermetic": all(_is_hermetic(v) for v in vertices),
                    "buildkit_completeness": {
                        "request": asked.mode == "max",
                        "resolvedDependencies": not local,
                    },
                    "buildkit_reproducible": asked.reproducible,
                },
            },
        },
    )


def _is_hermetic(vertex: Vertex) -> bool:
    match vertex.op:
        case Exec() as op:
            return op.network == "none"
        case ImageSource() | LocalSource() | HttpSource() | GitSource():
            return True
        case MountOutput() | File() | Merge() | Diff():
            return True
        case _ as unknown:
            assert_never(unknown)


def _config(build: BuildFacts) -> Json:
    """Where the Dockerfile came from: its name, and the address of a context from elsewhere."""
    config: Json = {"path": build.source.name}
    if "://" in build.request.context or build.request.context.startswith("git@"):
        config["uri"] = without_credentials(build.request.context)
    return config


def _request(build: BuildFacts, vertices: Sequence[Vertex]) -> Json:
    given = build.request
    args = {f"build-arg:{key}": value for key, value in given.build_args.items()}
    args |= {f"label:{key}": value for key, value in given.labels.items()}
    args |= {"target": given.target} if given.target else {}
    names = sorted({v.op.name for v in vertices if isinstance(v.op, LocalSource)} | {"dockerfile"})
    request: Json = {"frontend": build.frontend.name} if build.frontend.name else {}
    request["locals"] = [{"name": name} for name in names]
    if given.attestations.mode == "max":
        # Values of arguments may be secret: only where all is asked for.
        request["args"] = dict(sorted(args.items()))
        mounts = [m for v in vertices if isinstance(v.op, Exec) for m in v.op.mounts]
        request["secrets"] = _ids([m for m in mounts if isinstance(m, SecretMount)])
        request["ssh"] = _ids([m for m in mounts if isinstance(m, SshMount)])
    else:
        request["args"] = {"target": given.target} if given.target else {}
    return request


def _ids(mounts: Sequence[SecretMount | SshMount]) -> list[Json]:
    required: dict[str, bool] = {}
    for mount in mounts:
        required[mount.id] = required.get(mount.id, False) or mount.required
    return [
        {"id": id} if needed else {"id": id, "optional": True}
        for id, needed in sorted(required.items())
    ]


def _materials(build: BuildFacts, vertices: Sequence[Vertex]) -> Iterator[Json]:
    """What came from outside, each once, with the digest that pins it."""
    listed = set()
    for vertex in vertices:
        made = _material(vertex, build.pins.get(vertex.digest, ""))
        if made is not None and made["uri"] not in listed:
            listed.add(made["uri"])
            yield made


def _material(vertex: Vertex, pin: str) -> Json | None:
    match vertex.op:
        case ImageSource() as op:
            return {"uri": _image_uri(op), "digest": {"sha256": digest_hex(op.digest)}}
        case HttpSource() as op:
            digest = pin or op.checksum
            uri = without_credentials(op.url)
            return {"uri": uri, "digest": {"sha256": digest.removeprefix("sha256:")}}
        case GitSource() as op:
            uri = without_credentials(op.url) + (f"#{op.ref}" if op.ref else "")
            return {"uri": uri, "digest": {_GIT_DIGESTS.get(len(pin), "sha1"): pin}}
        case LocalSource() | Exec() | MountOutput() | File() | Merge() | Diff():
            return None
        case _ as unknown:
            assert_never(unknown)


def _shown(op: Op) -> Op:
    """The op as others may see it."""
    match op:
        case HttpSource() | GitSource():
            return op._replace(url=without_credentials(op.url))
        case ImageSource() | LocalSource() | Exec() | MountOutput() | File() | Merge() | Diff():
            return op
        case _ as unknown:
            assert_never(unknown)


def _image_uri(op: ImageSource) -> str:
    try:
        return package_url(parse_reference(op.ref), op.platform)
    except DefinitionError:
        return op.ref  # An OCI layout is known by its path.


def _steps(vertices: Sequence[Vertex]) -> list[Json]:
    """The graph: each step with the steps whose results it takes."""
    number = {vertex.digest: f"step{index}" for index, vertex in enumerate(vertices)}
    return [
        {
            "id": number[vertex.digest],
            "name": vertex.note.name,
            "op": plain(_shown(vertex.op)),
            "inputs": [None if v is None else number[v.digest] for v in vertex.inputs],
        }
        for vertex in vertices
    ]


def _source(source: SourceText, language: str, vertices: Sequence[Vertex]) -> Json:
    """The definition, and the lines of it that each step comes from."""
    data = source.text.encode("utf-8", "surrogateescape")
    return {
        "infos": [
            {
                "filename": source.name,
                "language": language,
                "data": base64.b64encode(data).decode(),
            }
        ],
        "locations": {
            f"step{index}": {
                "locations": [
                    {
                        "ranges": [
                            {"start": {"line": span.first}, "end": {"line": span.last}},
                        ]
                    }
                ]
            }
            for index, vertex in enumerate(vertices)
            if (span := vertex.note.span) is not None
        },
    }
