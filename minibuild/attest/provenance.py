"""Provenance: from what, by whom and how an image was made, as a SLSA predicate.

Comes in: what was asked, the graph, and what its sources turned out to be. Goes out: a predicate
of the type https://slsa.dev/provenance/v1 or v0.2, with BuildKit's extension fields, filled as its
docs/attestations/slsa-definitions.md says. `mode=max` adds the build arguments, the ids of secrets
and agents (never a value), the steps, their layers and the text of the Dockerfile.
Read next: `call`, `materials`, `steps`.
"""

from collections.abc import Callable, Mapping

from minibuild.attest.call import Json, call_of, described, take_vcs, without_values
from minibuild.attest.materials import Materials, materials
from minibuild.attest.statement import Predicate
from minibuild.attest.steps import BuildSteps, Texts, own_steps
from minibuild.cache.results import DiffKey, VertexResult
from minibuild.digest import Digest
from minibuild.events import rfc3339
from minibuild.frontend.loader import built_in
from minibuild.graph.frontend import Built, Frontend
from minibuild.graph.op import ImageSource, LocalSource
from minibuild.graph.platform import host_platform
from minibuild.graph.vertex import Note, Vertex, topological
from minibuild.oci.model import Descriptor, descriptor_to_json
from minibuild.session.request import BuildRequest, FrontendCall
from minibuild.startup.tuples import NamedTuple

SLSA_1 = "https://slsa.dev/provenance/v1"
SLSA_02 = "https://slsa.dev/provenance/v0.2"
_BUILD_TYPE_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
_BUILD_TYPE_02 = "https://mobyproject.org/buildkit@v1"
_DOCKERFILE = "dockerfile"


class BuildFacts(NamedTuple):
    """One build as its provenance describes it. `texts` are what the graph was made from, and
    `context` is the main context, None if that is a folder of the client. `done` are the vertices
    that were solved, and `digest` gives that of the name of an image."""

    request: BuildRequest
    texts: Texts
    context: Vertex | None
    frontend: Frontend
    done: Mapping[Digest, VertexResult]
    invocation: str
    started: float
    finished: float
    digest: Callable[[ImageSource], Digest]


def provenance(
    build: BuildFacts,
    image: Built,
    number: int = 0,
    layers: Mapping[DiffKey, Descriptor] = {},
    *,
    mode: str = "",
) -> Predicate:
    """The provenance of one image, as `--provenance` asks for it. `number` is its place among those
    of the build, `layers` are those that were packed. With a `mode` it is of that and of version
    1."""
    asked = build.request.attestations
    full = (mode or asked.mode) == "max"
    found, call = _found(build, image), _call(build, number)
    told = described(call, {material["uri"]: material for material in found.web})
    request = told["request"]
    vcs = take_vcs(request)
    _add_lent(request, found)
    complete = bool(call.frontend)
    if not full and without_values(request):
        complete = False
    internal: Json = {"builderPlatform": str(host_platform())}
    dockerfile = built_in()
    if call.frontend == dockerfile.name:
        internal["dockerfileVersion"] = dockerfile.version
    internal |= asked.environment
    metadata: Json = {"vcs": vcs} if vcs else {}
    if full:
        steps = _steps(image.vertex, build)
        internal["buildConfig"] = steps.config
        chains = _chains(build, image, steps.outputs, layers)
        members = {"source": steps.source, "layers": chains}
        metadata |= {key: value for key, value in members.items() if value}
    content = {
        "buildDefinition": {
            "buildType": _BUILD_TYPE_1,
            "externalParameters": told,
            "internalParameters": internal,
            "resolvedDependencies": [*found.images, *found.web],
        },
        "runDetails": _run(build, found, metadata, complete),
    }
    if asked.version == "v0.2" and not mode:
        return Predicate(SLSA_02, _as_version_02(content))
    return Predicate(SLSA_1, content)


def _run(build: BuildFacts, found: Materials, metadata: Json, complete: bool) -> Json:
    """When and by whom the build was done, and how much of it is known."""
    asked = build.request.attestations
    return {
        "builder": {"id": asked.builder_id},
        "metadata": {
            "invocationId": build.invocation,
            "startedOn": rfc3339(build.started),
            "finishedOn": rfc3339(build.finished),
            "buildkit_metadata": metadata,
            "buildkit_hermetic": not (found.networked or found.locals),
            "buildkit_completeness": {
                "request": complete,
                "resolvedDependencies": not found.locals,
            },
            "buildkit_reproducible": asked.reproducible,
        },
    }


def _steps(result: Vertex | None, build: BuildFacts) -> BuildSteps:
    """The steps of a result: as LLB, if there is what writes it."""
    try:
        from google.protobuf import descriptor_pool  # noqa: F401
    except ModuleNotFoundError:
        return own_steps(result, build.texts)
    from minibuild.attest.llb import llb_steps

    namespace = build.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    return llb_steps(result, build.texts, namespace)


def _found(build: BuildFacts, image: Built) -> Materials:
    vertices = topological([image.vertex, build.texts.origin, build.context])
    pins = {vertex: one.resolved_digest for vertex, one in build.done.items()}
    pins |= {v.digest: build.digest(v.op) for v in vertices if isinstance(v.op, ImageSource)}
    linked = build.request.attestations.linked
    return materials(vertices, pins, build.request.contexts, linked)


def _call(build: BuildFacts, number: int) -> FrontendCall:
    calls = build.request.attestations.calls
    if calls:
        return calls[number if len(calls) > 1 else 0]
    names = [text.name for text in build.texts.sources] or [""]
    return call_of(build.request, build.frontend.name, names[0])


def _add_lent(request: Json, found: Materials) -> None:
    """Add what the client lent to the build: folders, secrets and agents, by their names."""
    for key, ids in (("secrets", found.secrets), ("ssh", found.agents)):
        if ids:
            request[key] = [
                {"id": id} if needed else {"id": id, "optional": True}
                for id, needed in sorted(ids.items())
            ]
    if found.locals:
        request["locals"] = [{"name": name} for name in found.locals]


def _chains(
    build: BuildFacts,
    image: Built,
    outputs: Mapping[Digest, str],
    layers: Mapping[DiffKey, Descriptor],
) -> dict[str, list[list[Json]]]:
    """The layers that the result of a step has, where all are among those of the image."""
    chains: dict[str, list[list[Json]]] = {}
    for vertex in topological([image.vertex]):
        done = build.done.get(vertex.digest)
        keys = () if done is None else done.result
        if keys and all(key in layers for key in keys):
            chain = [descriptor_to_json(layers[key]) for key in keys]
            known = chains.setdefault(outputs[vertex.digest], [])
            if chain not in known:
                known.append(chain)
    return chains


def _as_version_02(content: Json) -> Json:
    """The same in the words of version 0.2."""
    definition, details = content["buildDefinition"], content["runDetails"]
    metadata = details["metadata"]
    external, environment = definition["externalParameters"], dict(definition["internalParameters"])
    config = dict(external["configSource"])
    if "path" in config:
        config["entryPoint"] = config.pop("path")
    steps = environment.pop("buildConfig", None)
    environment["platform"] = environment.pop("builderPlatform")
    complete = metadata["buildkit_completeness"]
    return {
        "builder": details["builder"],
        "buildType": _BUILD_TYPE_02,
        "materials": definition["resolvedDependencies"],
        "invocation": {
            "configSource": config,
            "parameters": external["request"],
            "environment": environment,
        },
        **({} if steps is None else {"buildConfig": steps}),
        "metadata": {
            "buildInvocationID": metadata["invocationId"],
            "buildStartedOn": metadata["startedOn"],
            "buildFinishedOn": metadata["finishedOn"],
            "completeness": {
                "parameters": complete["request"],
                "environment": True,
                "materials": complete["resolvedDependencies"],
            },
            "reproducible": metadata["buildkit_reproducible"],
            f"{_BUILD_TYPE_02}#metadata": metadata["buildkit_metadata"],
            f"{_BUILD_TYPE_02}#hermetic": metadata["buildkit_hermetic"],
        },
    }


def local_definition() -> Vertex:
    """Where a Dockerfile of the client comes from."""
    note = Note("[internal] load build definition from Dockerfile")
    return Vertex(LocalSource(_DOCKERFILE), (), note)
