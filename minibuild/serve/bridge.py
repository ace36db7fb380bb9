"""The service `LLBBridge`, the gateway: where a client says what is to be built.

Comes in: a definition, then the answer to it, handed back. Goes out: what the builder can do, and
results by their ids. Nothing is built here: that happens when the answer was handed back, in
`Control/Solve`.
Rules: moby/buildkit `frontend/gateway/pb/gateway.proto`.
Read next: `gateway`.
"""

from typing import Any

from minibuild.buildkit.rpc import Failure, abort, metadata_of, unary
from minibuild.serve.build import Build, Builder
from minibuild.serve.control import Control
from minibuild.serve.gateway import Gateway

NAME = "moby.buildkit.v1.frontend.LLBBridge"
_BUILD_ID = "buildkit-controlapi-buildid"
# What a client may rely on. What is not here it refuses by itself, with a good error.
_FRONTEND_CAPS = (
    "solve.base",
    "return",
    "returnmap",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "frontend.caps",
    "importcaches",
    "gateway.evaluate",
    "gateway.solve.evaluate",
    "gateway.solve.metadata",
    "gateway.warnings",
)
_LLB_CAPS = (
    *(
        "source.image",
        "source.local",
        "source.http",
        "source.git",
        "file.base",
        "mergeop",
        "diffop",
    ),
    *("exec.meta.base", "exec.mount.bind", "exec.mount.cache", "exec.mount.secret"),
    *(
        "exec.mount.ssh",
        "exec.mount.tmpfs",
        "exporter.multiple",
        "cache.registry",
        "cache.inline",
        "cache.local",
    ),
    *("constraints", "platform", "meta.description", "meta.ignorecache"),
    "exporter.image.attestations",
)


class Bridge:
    """The calls of the service, for one builder."""

    def __init__(self, builder: Builder, control: Control, gateway: Gateway) -> None:
        self._builder = builder
        self._types = builder.types
        self._control = control
        self._gateway = gateway

    def handlers(self) -> dict[str, Any]:
        """The calls by their names."""
        types = self._types
        return {
            "Ping": unary(self.ping, types["Empty"], types["PongResponse"]),
            "Solve": unary(self.solve, types["GatewaySolveRequest"], types["GatewaySolveResponse"]),
            "Return": unary(self.give_back, types["ReturnRequest"], types["Empty"]),
            "Evaluate": unary(self.evaluate, types["EvaluateRequest"], types["Empty"]),
        }

    def _build(self, context: Any) -> Build:
        """The build that a call belongs to. Raises `Failure`."""
        ref = metadata_of(context).get(_BUILD_ID, [""])[0]
        return self._builder.build(ref)

    def ping(self, request: Any, context: Any) -> Any:
        """What the builder can do."""
        answer = self._types["PongResponse"](Workers=[self._control.worker()])
        for cap in _FRONTEND_CAPS:
            answer.FrontendAPICaps.add(ID=cap, Enabled=True)
        for cap in _LLB_CAPS:
            answer.LLBCaps.add(ID=cap, Enabled=True)
        return answer

    def solve(self, request: Any, context: Any) -> Any:
        """Read a definition. A step that fails fails later, in `Control/Solve` or `Evaluate`."""
        try:
            build = self._build(context)
            result = self._gateway.result(build, request, dict(request.FrontendOpt))
            if request.Evaluate and result.ref.id:
                build.solve(result.ref.id)
            return self._types["GatewaySolveResponse"](result=result)
        except Failure as failure:
            abort(context, self._types, failure)

    def evaluate(self, request: Any, context: Any) -> Any:
        """Do the steps of a result, for a client that wants to know whether they succeed."""
        try:
            self._build(context).solve(request.Ref)
        except Failure as failure:
            abort(context, self._types, failure)
        return self._types["Empty"]()

    def give_back(self, request: Any, context: Any) -> Any:
        """The client's last word on what is to be built."""
        try:
            self._build(context).give_back(request)
        except Failure as failure:
            abort(context, self._types, failure)
        return self._types["Empty"]()
