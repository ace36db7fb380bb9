"""The service `LLBBridge`, the gateway: where a client says what is to be built.

Comes in: a Dockerfile's attributes, then the answer to them, handed back. Goes out: what the
builder can do, the graph of the Dockerfile, answers to questions. Nothing is built here: that
happens when the answer was handed back, in `Control/Solve`.
Rules: moby/buildkit `frontend/gateway/pb/gateway.proto`.
Read next: `definition`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minibuild.frontend.subrequests import Method
from minibuild.graph.platform import Platform
from minibuild.serve.attributes import cache_place
from minibuild.serve.build import Build, Builder
from minibuild.serve.control import Control
from minibuild.serve.definition import (
    Definition,
    answer_metadata,
    ask,
    check_frontend,
    question,
)
from minibuild.serve.lending import logins
from minibuild.serve.rpc import UNIMPLEMENTED, Failure, abort, metadata_of, unary
from minibuild.serve.uploads import fetch_layout
from minibuild.session.request import BuildRequest, Output

NAME = "moby.buildkit.v1.frontend.LLBBridge"
Show = Callable[[Method, Mapping[str, Any]], tuple[Sequence[str], int]]
"""Makes lines and an exit code of the answer to a question."""

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
    *("exec.mount.ssh", "exec.mount.tmpfs", "exporter.multiple", "cache.registry", "cache.inline"),
    *("constraints", "platform", "meta.description", "meta.ignorecache"),
    "exporter.image.attestations",
)


class Bridge:
    """The calls of the service, for one builder."""

    def __init__(self, builder: Builder, control: Control, show: Show) -> None:
        self._builder = builder
        self._types = builder.types
        self._control = control
        self._show = show

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
        build = self._builder.build(ref)
        build.wait_for_begin()
        return build

    def ping(self, request: Any, context: Any) -> Any:
        """What the builder can do."""
        answer = self._types["PongResponse"](Workers=[self._control.worker()])
        for cap in _FRONTEND_CAPS:
            answer.FrontendAPICaps.add(ID=cap, Enabled=True)
        for cap in _LLB_CAPS:
            answer.LLBCaps.add(ID=cap, Enabled=True)
        return answer

    def solve(self, request: Any, context: Any) -> Any:
        """Read a Dockerfile. A step that fails fails later, in `Control/Solve`."""
        try:
            build = self._build(context)
            if getattr(request.Definition, "def"):
                raise Failure("minibuild builds Dockerfiles, not definitions of LLB", UNIMPLEMENTED)
            return self._solve(build, request)
        except Failure as failure:
            abort(context, self._types, failure)

    def _solve(self, build: Build, request: Any) -> Any:
        from tempfile import mkdtemp

        attributes = dict(request.FrontendOpt)
        check_frontend(request.Frontend, attributes)
        method = question(attributes)
        folder = mkdtemp(prefix="definition-", dir=build.folder)
        definition = Definition(attributes, folder)
        definition.fetch(build.session)
        made = definition.request(
            {
                "cache_to": [cache_place(c.Type, c.Attrs) for c in build.asked.Cache.Exports],
                "allow": list(build.asked.Entitlements),
                "contexts": {
                    **self._inputs(build, definition, request.FrontendInputs),
                    **_layouts(build, definition),
                },
            },
            self._builder.environment,
        )
        found = logins(build.session, [*definition.image_names(), *_pushed(build.asked)])
        passwords = {**made.registries.passwords, **found}
        made = made._replace(registries=made.registries._replace(passwords=passwords))
        if method is not None:
            answer = ask(made, method, self._builder.root, build.status)
            return self._answer(answer_metadata(answer, *self._show(method, answer)))
        graphs = [self._graph(build, made, platform) for platform in made.platforms or (None,)]
        for graph in graphs:
            build.prepare(definition, made, graph)
        self._builder.offer(graphs[0], build)
        return self._answer({}, graphs[0])

    def _graph(self, build: Build, made: BuildRequest, platform: Platform | None) -> Any:
        """The graph for one platform as LLB. Raises `Failure`."""
        arguments = {k: v for k, v in made.build_args.items() if k != "BUILDKIT_MULTI_PLATFORM"}
        single = made._replace(platforms=(platform,) if platform else (), build_args=arguments)
        data = ask(single, "llb", self._builder.root, build.status)["definition"]
        return self._types["Definition"].FromString(data)

    def _inputs(
        self, build: Build, definition: Definition, given: Mapping[str, Any]
    ) -> dict[str, str]:
        """Contexts that are results of other builds of the client, as layouts in our folder."""
        found = {}
        for number, (name, key) in enumerate(definition.inputs().items()):
            if key not in given:
                raise Failure(f"the input {key} is not there")
            layout = os.path.join(build.folder, f"input-{number}")
            output = Output("oci", layout, {"tar": "false", "name": "input"})
            self._builder.offered(given[key]).solve([output])
            found[name] = f"oci-layout://{layout}:latest"
        return found

    def evaluate(self, request: Any, context: Any) -> Any:
        """Do the steps of a result, for a client that wants to know whether they succeed."""
        try:
            self._build(context).solve()
        except Failure as failure:
            abort(context, self._types, failure)
        return self._types["Empty"]()

    def _answer(self, metadata: Mapping[str, bytes], definition: Any = None) -> Any:
        result = self._types["Result"](metadata=metadata)
        result.ref.SetInParent()
        if definition is not None:
            result.ref.id = os.urandom(12).hex()
            getattr(result.ref, "def").CopyFrom(definition)
        return self._types["GatewaySolveResponse"](result=result)

    def give_back(self, request: Any, context: Any) -> Any:
        """The client's last word on what is to be built."""
        try:
            self._build(context).give_back(request)
        except Failure as failure:
            abort(context, self._types, failure)
        return self._types["Empty"]()


def _layouts(build: Build, definition: Definition) -> dict[str, str]:
    """Contexts that are layouts of the client, in our folder. Raises `Failure`."""
    return {
        name: fetch_layout(build.session, address, os.path.join(build.folder, f"layout-{number}"))
        for number, (name, address) in enumerate(definition.layouts().items())
    }


def _pushed(asked: Any) -> list[str]:
    """The names under which images are pushed, and those of caches."""
    names = [name for e in asked.Exporters for name in e.Attrs.get("name", "").split(",")]
    caches = [c.Attrs.get("ref", "") for c in (*asked.Cache.Exports, *asked.Cache.Imports)]
    return [name for name in (*names, *caches) if name]
