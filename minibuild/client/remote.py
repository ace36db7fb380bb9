"""A build that a BuildKit does: the story of it in one function.

Comes in: a request, and the address of a daemon. Goes out: a `BuildResult`, as of a build here, but
without the images, which stay there. The Dockerfile is converted here, so errors and checks are
minibuild's. What goes to the daemon is the graph, once for each platform, and the configs of
images. Rules: moby/buildkit `client/build.go`, `frontend/gateway/grpcclient`. Read next:
`connection`, `session`.
"""

import base64
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from minibuild.attest.call import call_of
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import ClientCall
from minibuild.buildkit.rpc import Failure, api_type, check_installed
from minibuild.client.connection import connected
from minibuild.client.folders import SharedFolder, file_send, file_sync
from minibuild.client.layouts import cache_export, cache_import, give_names, layouts, stores_of
from minibuild.client.progress import Listener
from minibuild.client.session import open_session, session_services
from minibuild.digest import Digest, digest_strings
from minibuild.errors import (
    BuildError,
    Cancelled,
    DefinitionError,
    SourceText,
    Span,
    StepFailed,
    UsageError,
)
from minibuild.events import Report, serialised
from minibuild.exporter.options import check_destination
from minibuild.frontend.definition import read_definition
from minibuild.frontend.subrequests import call
from minibuild.graph.frontend import ArchiveContext
from minibuild.graph.platform import Platform, host_platform
from minibuild.registry.credentials import Credentials
from minibuild.session.request import Attestations, BuildRequest, BuildResult, Output
from minibuild.session.secrets import SecretReader, SshReader
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_CONTROL = "/moby.buildkit.v1.Control"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge"
_TURN_S = 0.2
_SILENCE_S = 5.0


def build_remotely(
    request: BuildRequest,
    address: str,
    *,
    root: str,
    report: Report,
    cancelled: threading.Event,
) -> BuildResult:
    """Have a daemon do the build. Raises what a build here raises.

    `root` is the folder of the store, which is only read, for images.
    """
    check_installed()
    report = serialised(report)
    session = os.urandom(12).hex()
    graphs = []
    for platform in request.platforms or (host_platform(),):
        single = request._replace(platforms=(platform,))
        answer = call(single, "llb", root=root, report=report, cancelled=cancelled, session=session)
        graphs.append(_Graph(platform, answer["definition"], answer["config"]))
    outputs = list(_outputs(request))
    stores = stores_of(request)
    access = request.registries
    logins = Credentials(tuple(os.fspath(p) for p in access.logins), access.passwords)
    with closing(SshReader(request.ssh)) as agents, connected(address) as connection:
        services = {
            **session_services(SecretReader(request.secrets), agents, logins),
            **file_sync(_folders(request)),
            **file_send(outputs),
            **layouts(stores),
        }
        with open_session(connection, session, services, _shared_key(request)):
            remote = _Remote(connection, request, session, cancelled, os.urandom(12).hex())
            listener = Listener(report)
            solved = remote.solve(graphs, outputs, listener)
    give_names(request, solved)
    return _result(request, solved, listener)


class _Graph(NamedTuple):
    """The graph of one platform, and the config of its image."""

    platform: Platform
    definition: bytes
    config: bytes


class _Remote(NamedTuple):
    """One build of the daemon: its calls, in the order in which BuildKit's clients make them."""

    connection: Connection
    request: BuildRequest
    session: str
    cancelled: threading.Event
    ref: str

    def solve(
        self, graphs: Sequence[_Graph], outputs: Sequence[Output], listener: Listener
    ) -> Mapping[str, str]:
        """Solve graphs, and wait for the outputs. Returns what the daemon says of them."""
        asked = api_type("SolveRequest")(Ref=self.ref, Session=self.session)
        asked.Entitlements.extend(sorted(self.request.allow))
        asked.FrontendAttrs.update(_attributes(self.request))
        for output in outputs:
            asked.Exporters.add(Type=output.type, Attrs=output.attributes)
        for place in self.request.cache_to:
            asked.Cache.Exports.add(Type=place.type, Attrs=cache_export(place))
        ended = threading.Event()
        watching = threading.Thread(target=self._watch, args=(listener,), daemon=True)
        watching.start()
        threading.Thread(target=self._stop, args=(ended,), daemon=True).start()
        try:
            solved = self._open(f"{_CONTROL}/Solve", asked, "SolveResponse")
            try:
                returned = self._returned(graphs)
                self._call(f"{_BRIDGE}/Return", returned, "Empty")
                (answer,) = solved
            finally:
                solved.cancel()
            return dict(answer.ExporterResponse)
        except Failure as failure:
            raise self._error(failure) from None
        finally:
            ended.set()
            watching.join(_SILENCE_S)  # The progress comes to its end.

    def _stop(self, ended: threading.Event) -> None:
        """End all calls if the caller stops the build."""
        while not ended.wait(_TURN_S):
            if self.cancelled.is_set():
                self.connection.close("the build was cancelled")

    def _open(self, method: str, request: Any, answer: str) -> ClientCall:
        metadata = [("buildkit-controlapi-buildid", self.ref)]
        call = ClientCall(self.connection, method, metadata, answer)
        call.send(request)
        call.finish()
        return call

    def _call(self, method: str, request: Any, answer: str) -> Any:
        (found,) = self._open(method, request, answer)
        return found

    def _returned(self, graphs: Sequence[_Graph]) -> Any:
        """The results of the graphs, with the configs of their images, as they are handed back."""
        returned = api_type("ReturnRequest")()
        several = self.request.multi_platform
        platforms = []
        for graph in graphs:
            solve = api_type("GatewaySolveRequest")(
                allowResultReturn=True, allowResultArrayRef=True
            )
            solve.Definition.ParseFromString(graph.definition)
            for place in self.request.cache_from:
                found = cache_import(place)
                if found:
                    solve.CacheImports.add(Type=place.type, Attrs=found)
            result = self._call(f"{_BRIDGE}/Solve", solve, "GatewaySolveResponse").result
            name = str(graph.platform)
            key = "containerimage.config"
            if several:
                returned.result.refs.refs[name].CopyFrom(result.ref)
                returned.result.metadata[f"{key}/{name}"] = graph.config
            else:
                returned.result.ref.CopyFrom(result.ref)
                returned.result.metadata[key] = graph.config
            config = json.loads(graph.config)
            parts = {member: config[member] for member in _PLATFORM if member in config}
            platforms.append({"ID": name, "Platform": parts})
        returned.result.metadata["refs.platforms"] = json.dumps({"Platforms": platforms}).encode()
        return returned

    def _watch(self, listener: Listener) -> None:
        asked = api_type("StatusRequest")(Ref=self.ref)
        with suppress(Failure):  # The other calls say what matters.
            for message in self._open(f"{_CONTROL}/Status", asked, "StatusResponse"):
                listener.take(message)

    def _error(self, failure: Failure) -> BuildError:
        """A failed call as an error of ours, with the lines of the Dockerfile."""
        if self.cancelled.is_set():
            return Cancelled("the build was cancelled")
        message = failure.message.removeprefix("failed to solve: ")
        details = {
            kind: json.loads(value) for kind, value in failure.details if kind.endswith("+json")
        }
        made: BuildError = DefinitionError(message)
        if _EXIT in details:
            made = StepFailed(message, code=int(details[_EXIT].get("Code", 1)))
        elif (refused := _REFUSED.search(message)) is not None:
            made.hint = f"grant it with --allow {refused[1]}; the builder has to allow it, too"
        if "errdefs.Source+json" in details:
            _locate(made, details["errdefs.Source+json"])
        return made


_EXIT = "gatewayapi.ExitMessage+json"
_REFUSED = regex(r"([a-z.]+) is not allowed")
_PLATFORM = ("architecture", "os", "variant", "os.version")


def _locate(error: BuildError, source: Mapping[str, Any]) -> None:
    info, ranges = source.get("info") or {}, source.get("ranges") or ()
    if not ranges:
        return
    first = min(item["start"]["line"] for item in ranges)
    last = max(item["end"]["line"] for item in ranges)
    name = str(info.get("filename", "Dockerfile"))
    text = base64.b64decode(info.get("data", "")).decode("utf-8", "surrogateescape")
    error.span, error.source = Span(name, first, last), SourceText(name, text)


def _outputs(request: BuildRequest) -> Iterator[Output]:
    """The outputs that a daemon can make, in its words. The names of `--tag` go with each."""
    for kind, dest, given in request.outputs:
        attributes = dict(given)
        if kind == "registry":
            kind, attributes["push"] = "image", "true"
        if kind == "image" and attributes.get("push") != "true":
            raise UsageError(
                "an image stays with the builder that made it",
                hint="push it (--push), or write an archive: -o type=oci,dest=image.tar",
            )
        if kind not in ("local", "tar") and request.tags:
            names = [*request.tags, *filter(None, attributes.get("name", "").split(","))]
            attributes["name"] = ",".join(dict.fromkeys(names))
        if kind != "cacheonly":
            made = Output(kind, dest, attributes)
            check_destination(made)
            yield made


def _attributes(request: BuildRequest) -> dict[str, str]:
    """What is asked of the frontend, as its attributes. The graph has it all: these are for the
    daemon's records, and for its outputs."""
    found = {**call_of(request, "", os.path.basename(request.file)).attributes}
    found["platform"] = ",".join(map(str, request.platforms))
    found.update(_attests(request.attestations))
    return {name: value for name, value in found.items() if value or ":" in name}


def _attests(asked: Attestations) -> dict[str, str]:
    """The attestations that the daemon is to make, in the words of the frontend's attributes."""
    found = {}
    if asked.mode:
        words = {
            "mode": asked.mode,
            "version": asked.version,
            "builder-id": asked.builder_id,
            "filename": asked.filename,
            "reproducible": "true" if asked.reproducible else "",
            "inline-only": "true" if asked.inline_only else "",
            "complete-materials": "true" if asked.complete else "",
        }
        found["attest:provenance"] = ",".join(f"{k}={v}" for k, v in words.items() if v)
    if asked.sbom:
        found["attest:sbom"] = ""
    return found


def _folders(request: BuildRequest) -> dict[str, SharedFolder]:
    """The folders that the graph may read, by their names in it; of an archive's its file alone."""
    definition = read_definition(request)
    contexts = (definition.context, *definition.contexts.values())
    archives = {c.name: c.filename for c in contexts if isinstance(c, ArchiveContext)}
    return {
        name.removeprefix("context:"): SharedFolder(os.fspath(path), archives.get(name, ""))
        for name, path in definition.directories.items()
    }


def _shared_key(request: BuildRequest) -> str:
    """The same for each build of a folder, and another for each folder and machine."""
    words = [os.uname().nodename, str(os.getuid()), os.path.abspath(request.context)]
    return digest_strings(words).partition(":")[2][:32]


def _result(request: BuildRequest, answer: Mapping[str, str], listener: Listener) -> BuildResult:
    metadata: dict[str, Any] = dict(answer)
    if "containerimage.descriptor" in metadata:
        text = base64.b64decode(metadata["containerimage.descriptor"])
        metadata["containerimage.descriptor"] = json.loads(text)
    digest = metadata.get("containerimage.digest")
    return BuildResult(
        (),
        None if digest is None else Digest(digest),
        request.tags,
        metadata,
        cached=listener.cached,
        executed=listener.executed,
    )
