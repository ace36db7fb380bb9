"""What a client says of sources: which its build may use, and what is used in their place.

Comes in: policies in requests, and the client's own judge of sources, a service in its session.
Goes out: definitions with the sources that may be used, or a failure. The judge is asked about each
source of a definition. It allows it, refuses it, names another, or asks what the source is first.
An image that a Dockerfile names is asked about twice: by its name, and by the digest that this has.
Rules: moby/buildkit `solver/llbsolver/policy.go`, `sourcepolicy/policysession`.
Read next: `minibuild.graph.source_policy`, for the rules.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.buildflags.source_policy import parse_policy
from minibuild.buildkit.decode import platform_of
from minibuild.buildkit.definition import ops_in, set_platform
from minibuild.buildkit.rpc import UNKNOWN, Failure, api_type
from minibuild.digest import digest_bytes
from minibuild.graph.identifier import Identified, normalised
from minibuild.graph.platform import Platform
from minibuild.graph.source_policy import Policy, PolicyRule, decided
from minibuild.serve.answers import as_failures
from minibuild.serve.metadata import describe_source

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_CHECK = "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy"
_AT_ONCE = 16
_MAX_QUESTIONS = 10
_ALLOW, _CONVERT = 0, 2
_OF_PLATFORMS = ("docker-image://", "oci-layout://")


def policies_of(messages: Iterable[Any]) -> tuple[Policy, ...]:
    """The policies in messages of a client. Raises `Failure`."""
    from google.protobuf.json_format import MessageToDict

    with as_failures():
        return tuple(
            parse_policy(
                json.dumps(MessageToDict(message, preserving_proto_field_name=True)).encode(),
                "the client's policy",
            )
            for message in messages
        )


def guarded(build: "Build", definition: Any, extra: Sequence[Policy] = ()) -> Any:
    """The definition with the sources that may be used. Ops that stand on another source are other
    ops. Raises `Failure`."""
    if not (build.policies or extra or build.described or build.asked.SourcePolicySession):
        return definition
    from concurrent.futures import ThreadPoolExecutor

    made, renamed = api_type("Definition")(), dict[str, str]()
    made.Source.infos.extend(definition.Source.infos)
    ops = list(ops_in(definition))
    messages = [api_type("Op").FromString(data) for _, data in ops]
    sources = [message for message in messages if message.HasField("source")]
    with ThreadPoolExecutor(_AT_ONCE) as hands:
        list(hands.map(lambda op: allow(build, op.source, op.platform, extra), sources))
    for message in sources:
        _pin(build, message.source)
    for (before, data), message in zip(ops, messages, strict=True):
        for reference in message.inputs:
            reference.digest = renamed.get(reference.digest, reference.digest)
        if message != api_type("Op").FromString(data):
            data = message.SerializeToString(deterministic=True)
        after = renamed[before] = digest_bytes(data)
        getattr(made, "def").append(data)
        if before in definition.metadata:
            made.metadata[after].CopyFrom(definition.metadata[before])
        if before in definition.Source.locations:
            made.Source.locations[after].CopyFrom(definition.Source.locations[before])
    return made


def allow(build: "Build", source: Any, platform: Any, extra: Sequence[Policy] = ()) -> None:
    """Make a message `SourceOp` that of the source which may be used. Raises `Failure`."""
    policies = (*build.policies, *extra)
    session = build.asked.SourcePolicySession
    for _ in range(_MAX_QUESTIONS):
        with as_failures():
            given = Identified(normalised(source.identifier), dict(source.attrs))
            found = decided(policies, given)
        _set(source, found.identifier, found.attributes)
        if not session or _judged(build, session, source, platform):
            return
    raise Failure(f"too many policy requests for {source.identifier}")


def _pin(build: "Build", source: Any) -> None:
    """Make a source the very one that the client was told about: a branch may have moved since, and
    a judge has seen what it was then."""
    judged = bool(build.asked.SourcePolicySession)
    for answer in list(build.described.values()):
        if _place(answer.Source) != _place(source):
            continue
        if answer.HasField("Git"):
            place, mark, fragment = source.identifier.partition("#")
            _, colon, subdir = fragment.partition(":")
            commit = answer.Git.CommitChecksum or answer.Git.Checksum
            source.identifier = f"{place}{mark or '#'}{commit}{colon}{subdir}"
        elif answer.HasField("HTTP") and judged and "http.checksum" not in source.attrs:
            source.attrs["http.checksum"] = answer.HTTP.Checksum
        elif answer.HasField("Image") and judged and "@" not in source.identifier:
            source.identifier += f"@{answer.Image.Digest}"
        return


def _place(source: Any) -> tuple[str, str]:
    """Where a source is, however it is read."""
    return source.identifier, source.attrs.get("git.fullurl", "")


def _set(source: Any, identifier: str, attributes: Mapping[str, str]) -> None:
    source.identifier = identifier
    source.attrs.clear()
    source.attrs.update(attributes)


def _judged(build: "Build", session: str, source: Any, platform: Any) -> bool:
    """Ask the client's judge. False if it named another source, about which it is to be asked."""
    asked = api_type("CheckPolicyRequest")(Source={"Source": source})
    if source.identifier.startswith(_OF_PLATFORMS):
        set_platform(asked.Platform, platform_of(platform))
    for _ in range(_MAX_QUESTIONS):
        answer = build.builder.sessions.get(session).call(_CHECK, asked, "CheckPolicyResponse")
        if answer.HasField("request"):
            if answer.request.Source != source:
                raise Failure(f"the policy asks about another source than {source.identifier}")
            asked.Source.CopyFrom(describe_source(build, answer.request))
            continue
        if not answer.HasField("decision"):
            raise Failure("no decision in policy response")
        decision = answer.decision
        if decision.action == _CONVERT:
            if not decision.HasField("update"):
                raise Failure("convert action requires updated source")
            _set(source, decision.update.identifier, dict(decision.update.attrs))
            return False
        if decision.action != _ALLOW:
            reasons = [message.message for message in decision.denyMessages]
            raise _refusal(source.identifier, reasons)
        return True
    raise Failure(f"too many policy requests for {source.identifier}")


def _refusal(identifier: str, reasons: Sequence[str]) -> Failure:
    """What the client's judge says, as a client shows it. buildx looks for these words."""
    why = f": {'; '.join(reasons)}" if reasons else ""
    said = {"action": 1, "denyMessages": [{"message": reason} for reason in reasons]}
    detail = ("policysession.DecisionResponse+json", json.dumps(said).encode())
    return Failure(
        f'source "{identifier}" not allowed by policy: action DENY{why}', UNKNOWN, [detail]
    )


def allowed_folder(build: "Build", folder: str, extra: Sequence[Policy] = ()) -> str:
    """The folder of the client in which the Dockerfile or an ignore file is read, which is to be in
    `folder`. Raises `Failure`."""
    source = api_type("SourceOp")(identifier=f"local://{folder}")
    allow(build, source, api_type("Platform")(), extra)
    scheme, _, name = str(source.identifier).partition("://")
    if scheme != "local":
        raise Failure(
            f"a policy has {source.identifier} used for local://{folder}: the Dockerfile and the "
            "ignore file are read in folders of the client"
        )
    return name


class SourceJudge:
    """The client's judge of the sources of a Dockerfile. `policy` says the same as it said: the
    build reads the Dockerfile again."""

    def __init__(self, build: "Build") -> None:
        self._build = build
        self._rules: dict[str, PolicyRule] = {}

    def __call__(self, source: Identified, platform: Platform | None) -> Identified:
        """What is used for a source. Raises `Failure`."""
        layouts = (address.rpartition(":")[0] for address in self._build.linked)
        if any(source.identifier.startswith(layout) for layout in layouts):
            return source  # It was asked about what that stands on.
        asked = api_type("SourceOp")(identifier=source.identifier, attrs=source.attributes)
        message = api_type("Platform")()
        if platform is not None:
            set_platform(message, platform)
        allow(self._build, asked, message)
        _pin(self._build, asked)
        used = Identified(asked.identifier, dict(asked.attrs))
        if used != source:
            place = "the client's policy"
            rule = PolicyRule("CONVERT", source.identifier, "EXACT", updates=used, place=place)
            self._rules[source.identifier] = rule
        return used

    @property
    def policies(self) -> tuple[Policy, ...]:
        """What it made of the sources so far."""
        return (Policy(tuple(self._rules.values())),) if self._rules else ()


def judge_of(build: "Build") -> SourceJudge | None:
    """The judge of a build whose client has one, or was told what some sources are."""
    if build.asked.SourcePolicySession or build.described:
        return SourceJudge(build)
    return None
