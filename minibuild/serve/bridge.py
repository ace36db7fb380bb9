"""The service `LLBBridge`, the gateway: where a client says what is to be built.

Comes in: a definition, then the answer to it, handed back; in between, questions about results and
sources. Goes out: what the builder can do, results by their ids, files of these. Results that no
question is about are built when the answer was handed back, in `Control/Solve`.
Rules: moby/buildkit `frontend/gateway/pb/gateway.proto`.
Read next: `gateway`.
"""

from collections.abc import Callable
from typing import Any

from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.serve.build import Build, Builder
from minibuild.serve.caps import FRONTEND_CAPS, LLB_CAPS
from minibuild.serve.control import worker
from minibuild.serve.gateway import result_of
from minibuild.serve.metadata import describe_source, image_config
from minibuild.serve.policies import allow, policies_of

NAME = "moby.buildkit.v1.frontend.LLBBridge"
_BUILD_ID = "buildkit-controlapi-buildid"


class Bridge:
    """The calls of the service, for one builder."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    def methods(self) -> dict[str, CallHandler]:
        """The calls by their names."""
        calls: dict[str, tuple[Callable[[Build, Any], Any], str]] = {
            "Ping": (self.ping, "Empty"),
            "Solve": (self.solve, "GatewaySolveRequest"),
            "Return": (self.give_back, "ReturnRequest"),
            "Evaluate": (self.evaluate, "EvaluateRequest"),
            "Inputs": (self.inputs, "Empty"),
            "ReadFile": (self.read_file, "ReadFileRequest"),
            "ReadDir": (self.read_dir, "ReadDirRequest"),
            "StatFile": (self.stat_file, "StatFileRequest"),
            "Warn": (self.warn, "WarnRequest"),
            "ResolveImageConfig": (self.image_config, "ResolveImageConfigRequest"),
            "ResolveSourceMeta": (self.source_metadata, "ResolveSourceMetaRequest"),
        }
        return {name: self._method(*call) for name, call in calls.items()}

    def _method(self, function: Callable[[Build, Any], Any], request: str) -> CallHandler:
        """A call that belongs to a build."""

        def answer(message: Any, call: ServerCall) -> Any:
            return function(self._build(call), message)

        return CallHandler(answer, request)

    def _build(self, call: ServerCall) -> Build:
        """The build that a call belongs to. Raises `Failure`."""
        refs = call.metadata.get(_BUILD_ID)
        if not refs:
            raise Failure("no buildid found in context")
        return self._builder.build(refs[0])

    def ping(self, build: Build, request: Any) -> Any:
        """What the builder can do."""
        answer = api_type("PongResponse")(Workers=[worker(self._builder.config)])
        for cap in FRONTEND_CAPS:
            answer.FrontendAPICaps.add(ID=cap, Enabled=True)
        for cap in LLB_CAPS:
            answer.LLBCaps.add(ID=cap, Enabled=True)
        return answer

    def solve(self, build: Build, request: Any) -> Any:
        """Read a definition. A step that fails fails later, in `Control/Solve` or `Evaluate`."""
        result = result_of(build, request, dict(request.FrontendOpt))
        if request.Evaluate:
            for ref in (result.ref, *result.refs.refs.values()):
                if ref.id:
                    build.solve(ref.id)
        return api_type("GatewaySolveResponse")(result=result)

    def evaluate(self, build: Build, request: Any) -> None:
        """Do the steps of a result, for a client that wants to know whether they succeed."""
        build.solve(request.Ref)

    def give_back(self, build: Build, request: Any) -> None:
        """The client's last word on what is to be built."""
        build.give_back(request)

    def inputs(self, build: Build, request: Any) -> Any:
        """The definitions that the build began with."""
        return api_type("InputsResponse")(Definitions=build.asked.FrontendInputs)

    def warn(self, build: Build, request: Any) -> None:
        """Show a warning of the client's own with the progress."""
        build.status.warn(request)

    # --- files of results ---

    def read_file(self, build: Build, request: Any) -> Any:
        """The bytes of a file, or some of them."""
        part = (request.Range.Offset, request.Range.Length) if request.HasField("Range") else ()
        data = build.files(request.Ref).read(request.FilePath, *part)
        return api_type("ReadFileResponse")(Data=data)

    def read_dir(self, build: Build, request: Any) -> Any:
        """What is in a directory."""
        entries = build.files(request.Ref).list(request.DirPath, request.IncludePattern)
        return api_type("ReadDirResponse")(entries=entries)

    def stat_file(self, build: Build, request: Any) -> Any:
        """What a file is."""
        stat = build.files(request.Ref).stat(request.Path)
        return api_type("StatFileResponse")(stat=stat)

    # --- sources ---

    def image_config(self, build: Build, request: Any) -> Any:
        """The config of an image, and the digest that its name has."""
        source = api_type("SourceOp")(identifier=f"docker-image://{request.Ref}")
        allow(build, source, request.Platform, policies_of(request.SourcePolicies))
        return image_config(build, request, source)

    def source_metadata(self, build: Build, request: Any) -> Any:
        """What a source is now."""
        if not request.Source.identifier:
            raise Failure("source is required")
        allow(build, request.Source, request.Platform, policies_of(request.SourcePolicies))
        return describe_source(build, request)
