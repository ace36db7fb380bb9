"""Definitions of LLB, which clients make themselves, as builds.

Comes in: a definition. Goes out: a `Prepared`, whose graph takes the place of a Dockerfile. A
result that a client hands back may be several definitions, one for each platform, with the config
of an image for each.
Rules: moby/buildkit `exporter/containerimage/exptypes`. Read next: `gateway`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.buildflags.request import build_request
from minibuild.buildkit.decode import decode
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.errors import SourceText
from minibuild.graph.flat import flatten
from minibuild.graph.frontend import StepAttestation
from minibuild.graph.image import ImageConfig
from minibuild.graph.platform import Platform, host_platform, parse_platform
from minibuild.graph.vertex import Vertex
from minibuild.oci.model import parse_config
from minibuild.serve.answers import as_failures
from minibuild.serve.attributes import options
from minibuild.serve.caps import LLB_CAPS
from minibuild.serve.client_credentials import with_logins
from minibuild.serve.definition import check_allowed
from minibuild.serve.layouts import cache_options, fetch_contexts
from minibuild.serve.prepared import Needs, Prepared, root_call
from minibuild.session.request import FrontendCall
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.serve.build import Build

CONFIG = "containerimage.config"
PLATFORMS = "refs.platforms"
_MULTI_PLATFORM = "BUILDKIT_MULTI_PLATFORM"
_CORE = "sbom-core"
_EPOCH = "SOURCE_DATE_EPOCH"


ClientAttestation = tuple[Any, StepAttestation]
"""A definition, and what is in its result."""


class ResultPart(NamedTuple):
    """One image of a result: a definition, what the client says of the image, the `call` that the
    definition is the answer to, if it is one, and the client's own `attestations`."""

    definition: Any
    platform: Platform
    config: bytes = b""
    call: FrontendCall | None = None
    attestations: Sequence[ClientAttestation] = ()

    def image(self) -> ImageConfig:
        """The config of the image. Raises `Failure`."""
        if not self.config:
            return ImageConfig(self.platform, {})
        document = _json(self.config, CONFIG)
        if document is None:
            raise Failure("invalid null image config for export")
        if isinstance(document, dict):
            both = [bool(document.get(key)) for key in ("os", "architecture")]
            if any(both) and not all(both):
                raise Failure(
                    "invalid image config: os and architecture must be specified together"
                )
        with as_failures():
            return parse_config(self.config).image


def common_options(build: "Build") -> dict[str, Any]:
    """What a client asks of a build, whatever its definition is."""
    return {"allow": sorted(build.asked.Entitlements), **cache_options(build)}


def prepare(build: "Build", *parts: ResultPart, multi: bool = False) -> Prepared:
    """The build of definitions. `multi`: the outputs are those for several platforms, however many
    there are. Raises `Failure`."""
    graphs, needs, sources = [], Needs(), dict[str, SourceText]()
    for part in parts:
        vertex = _decoded(build, part.definition, needs)
        said = [
            attestation._replace(vertex=_decoded(build, definition, needs))
            for definition, attestation in part.attestations
        ]
        graphs.append(flatten(vertex, part.image(), said))
        for info in part.definition.Source.infos:
            text = info.data.decode("utf-8", "surrogateescape")
            sources[info.filename] = SourceText(info.filename, text)
    arguments = options(build.asked.FrontendAttrs).get("build_args", {})
    given = {**common_options(build), "graphs": tuple(graphs)}
    given["contexts"] = fetch_contexts(build, needs.layouts)
    given["build_args"] = {k: v for k, v in arguments.items() if k == _EPOCH}
    given["build_args"].update({_MULTI_PLATFORM: "true"} if multi else {})
    with as_failures():
        made = build_request(build.folder, given, build.builder.environment)
    folders = {key: wanted.name for key, wanted in needs.wanted.items()}
    one = parts[0].definition if len(parts) == 1 else None
    calls = tuple(part.call or root_call(build) for part in parts)
    return Prepared(
        with_logins(build, made, needs.images), folders, needs, sources, one, b"", calls
    )


def _check_caps(definition: Any) -> None:
    """Raise `Failure` if an op needs what is not here: its program says so, and what its attributes
    ask for beyond that may be left out."""
    for metadata in definition.metadata.values():
        for cap, needed in metadata.caps.items():
            if needed and cap not in LLB_CAPS:
                raise Failure(f"failed to load LLB: {cap} is not possible here")


def _decoded(build: "Build", definition: Any, needs: Needs) -> Vertex | None:
    """The graph of a definition that the client may have solved. Raises `Failure`."""
    with as_failures():
        vertex = decode(definition, build.status.aliases)
    _check_caps(definition)
    check_allowed(vertex, build.asked.Entitlements)
    needs.add(definition)
    return vertex


def returned(build: "Build", result: Any, *, exporting: bool) -> Prepared | None:
    """What a client wants of its results; None if that is nothing. Raises `Failure`."""
    metadata = result.metadata
    platforms = _platforms(metadata) if PLATFORMS in metadata else []
    if result.WhichOneof("result") == "refs":
        return _several(build, result, platforms)
    name = platforms[0][0] if platforms else str(host_platform())
    said = attestations_of(build, result, name)
    if not result.ref.id and not said:
        return prepare(build, _part(build, None, metadata, "")) if exporting else None
    prepared = build.result(result.ref.id) if result.ref.id else None
    config = metadata.get(CONFIG, b"")
    same = prepared is not None and (
        prepared.config == config or not (config or prepared.request.graphs)
    )
    if same and not said:
        return prepared
    return prepare(build, _part(build, prepared, metadata, "", None, said))


def attestations_of(build: "Build", result: Any, name: str) -> list[ClientAttestation]:
    """What the client says itself of an image, which has this name in its result. Raises
    `Failure`."""
    found = []
    for said in result.attestations[name].attestation if name in result.attestations else ():
        if not said.ref.id:
            raise Failure("no ref provided for an attestation")
        subjects = tuple(
            (one.name if one.kind else "", tuple(one.digest)) for one in said.inTotoSubjects
        )
        made = StepAttestation(
            None,
            said.path or "/",
            bool(said.kind),
            said.inTotoPredicateType,
            subjects,
            said.metadata.get(_CORE, b"").decode("utf-8", "replace"),
        )
        found.append((build.result(said.ref.id).definition, made))
    return found


def _several(build: "Build", result: Any, platforms: Sequence[tuple[str, Platform]]) -> Prepared:
    """The results for several platforms: those of one Dockerfile, or any."""
    refs, metadata = result.refs.refs, result.metadata
    names = platforms or [(name, named_platform(name)) for name in refs]
    for name, _ in names:
        if name not in refs:
            raise Failure(f"failed to find ref for ID {name}")
    prepared = [build.result(refs[name].id) if refs[name].id else None for name, _ in names]
    said = {name: attestations_of(build, result, name) for name, _ in names}
    first = None if any(said.values()) else prepared[0] if prepared else None
    whole = None if first is None else first.whole
    if whole is not None and whole.request.multi_platform and prepared == whole.parts:
        configs = [metadata.get(f"{CONFIG}/{name}", b"") for name, _ in names]
        if configs == [part.config for part in whole.parts]:
            return whole
    parts = [
        _part(build, one, metadata, f"/{name}", platform, said[name])
        for one, (name, platform) in zip(prepared, names, strict=True)
    ]
    return prepare(build, *parts, multi=True)


def platform_warnings(build: "Build", result: Any) -> list[str]:
    """What a client may not expect of a result: it is for other platforms than were asked for.
    Raises `Failure`."""
    text = build.asked.FrontendAttrs.get("platform", "")
    asked = {named_platform(name) for name in text.split(",") if name} or {host_platform()}
    if PLATFORMS in result.metadata:
        made = {platform for _, platform in _platforms(result.metadata)}
    else:
        config = result.metadata.get(CONFIG, b"")
        made = {ResultPart(None, host_platform(), config).image().platform}
    if result.WhichOneof("result") != "refs" and len(asked) > 1:
        return ["Multiple platforms requested but result is not multi-platform"]
    asked, made = ({named_platform(one.short) for one in platforms} for platforms in (asked, made))
    if made == asked:
        return []
    return [f"Requested platforms {_listed(asked)} do not match result platforms {_listed(made)}"]


def _listed(platforms: Iterable[Platform]) -> str:
    return ",".join(sorted(map(str, platforms)))


def _part(
    build: "Build",
    prepared: Prepared | None,
    metadata: Mapping[str, bytes],
    suffix: str,
    platform: Platform | None = None,
    said: Sequence[ClientAttestation] = (),
) -> ResultPart:
    definition = api_type("Definition")() if prepared is None else prepared.definition
    config = metadata.get(f"{CONFIG}{suffix}", b"")
    call = None if prepared is None else prepared.calls[0]
    return ResultPart(definition, platform or host_platform(), config, call, said)


def _platforms(metadata: Mapping[str, bytes]) -> list[tuple[str, Platform]]:
    """The platforms of a result, by the ids that the client gave them. Raises `Failure`."""
    document = _json(metadata[PLATFORMS], PLATFORMS) or {}
    found: list[tuple[str, Platform]] = []
    try:
        for one in document.get("Platforms") or ():
            if not one["ID"]:
                raise Failure("invalid empty platform key for exporter")
            data = one["Platform"]
            if not (data.get("os") and data.get("architecture")):
                raise Failure(f"invalid platform value {data} for exporter")
            more = (data.get("variant", ""), data.get("os.version", ""))
            features = tuple(data.get("os.features", ()))
            made = Platform(data["os"], data["architecture"], *more, features)
            found.append((str(one["ID"]), made))
    except (KeyError, TypeError, AttributeError):
        raise Failure(f"invalid {PLATFORMS} of a result") from None
    if not found:
        raise Failure("invalid empty platforms index for exporter")
    return found


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise Failure(f"{what} of a result is no JSON") from None


def named_platform(name: str) -> Platform:
    """The platform of a name, that of this machine if there is none. Raises `Failure`."""
    with as_failures():
        return parse_platform(name) if name else host_platform()
