"""The service `Control`: the builder's front door.

Comes in: calls of a client. Goes out: who the builder is, the bytes of sessions, the progress of
builds and, from the call that waits longest, what the outputs are.
Rules: moby/buildkit `api/services/control/control.proto`.
Read next: `bridge`.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minibuild import __version__
from minibuild.buildkit.rpc import (
    Failure,
    abort,
    metadata_of,
    streaming,
    two_way,
    unary,
)
from minibuild.frontend.loader import built_in
from minibuild.graph.platform import host_platform
from minibuild.serve.build import Build, Builder
from minibuild.serve.gateway import Gateway
from minibuild.serve.housekeeping import Housekeeping
from minibuild.serve.session import Session

NAME = "moby.buildkit.v1.Control"
_BUILDKIT = "v0.29.0"
"""The release of BuildKit whose calls are answered: clients show it, and compare features."""


class Control:
    """The calls of the service, for one builder."""

    def __init__(self, builder: Builder, gateway: Gateway) -> None:
        self._builder = builder
        self._gateway = gateway
        self._types = builder.types
        self._housekeeping = Housekeeping(builder.types, builder.root, builder.environment)

    def handlers(self) -> dict[str, Any]:
        """The calls by their names."""
        types = self._types
        solve = (types["SolveRequest"], types["SolveResponse"])
        return {
            "ListWorkers": unary(
                self.list_workers, types["ListWorkersRequest"], types["ListWorkersResponse"]
            ),
            "Info": unary(self.info, types["Empty"], types["InfoResponse"]),
            "Session": two_way(self.session, types["BytesMessage"], types["BytesMessage"]),
            "Solve": unary(self.solve, *solve),
            "Status": streaming(self.status, types["StatusRequest"]),
            "ListenBuildHistory": streaming(
                self.history, types["BuildHistoryRequest"], types["BuildHistoryEvent"]
            ),
            "UpdateBuildHistory": unary(
                self.update_history, types["UpdateBuildHistoryRequest"], types["Empty"]
            ),
            "DiskUsage": unary(
                self.disk_usage, types["DiskUsageRequest"], types["DiskUsageResponse"]
            ),
            "Prune": streaming(self.prune, types["PruneRequest"], types["UsageRecord"]),
        }

    def worker(self) -> Any:
        """The one worker, as clients list it."""
        host = host_platform()
        platform = self._types["Platform"](
            OS=host.os, Architecture=host.architecture, Variant=host.variant
        )
        return self._types["WorkerRecord"](
            ID="minibuild",
            Labels={
                "org.mobyproject.buildkit.worker.executor": "oci",
                **self._builder.config.labels,
            },
            platforms=[platform],
            BuildkitVersion=self._version(),
        )

    def _version(self) -> Any:
        return self._types["BuildkitVersion"](
            package="minibuild",
            version=_BUILDKIT,
            revision=__version__,
            dockerfileVersion=built_in().version,
        )

    def list_workers(self, request: Any, context: Any) -> Any:
        return self._types["ListWorkersResponse"](record=[self.worker()])

    def info(self, request: Any, context: Any) -> Any:
        return self._types["InfoResponse"](buildkitVersion=self._version())

    def session(self, incoming: Iterable[Any], context: Any) -> Iterator[Any]:
        """Carry the bytes of a session for as long as it lasts."""
        made = Session(self._types, metadata_of(context))
        sessions = self._builder.sessions
        context.add_callback(made.close)
        carried = made.run(incoming)
        first = next(carried, None)  # the preface of HTTP/2: now the channel is there
        sessions.add(made)
        try:
            if first is not None:
                yield first
            yield from carried
        finally:
            sessions.remove(made)

    def solve(self, request: Any, context: Any) -> Any:
        """Wait for the definition that comes by the gateway, build it, and say what was made."""
        try:
            build = self._builder.begin(request)
        except Failure as failure:
            abort(context, self._types, failure)
        if not context.add_callback(build.cancel):
            build.cancel()  # The client is gone already.
        outcome: Mapping[str, str] | Failure = Failure("the build broke off")
        try:
            outcome = self._answer(build, request)
            return self._types["SolveResponse"](ExporterResponse=outcome)
        except Failure as failure:
            outcome = failure
            abort(context, self._types, failure)
        finally:
            build.close(outcome)

    def _answer(self, build: Build, request: Any) -> Mapping[str, str]:
        if request.Frontend or request.HasField("Definition"):
            # Programs that need no gateway of their own say it all at once.
            result = self._gateway.result(build, request, dict(request.FrontendAttrs))
            return build.run(result)
        returned = build.wait_for_return()
        if returned.HasField("error"):
            details = [(a.type_url, a.value) for a in returned.error.details]
            details = [(url.removeprefix("github.com/moby/buildkit/"), v) for url, v in details]
            raise Failure(returned.error.message, returned.error.code, details)
        return build.run(returned.result)

    def status(self, request: Any, context: Any) -> Iterator[Any]:
        """The progress of a build. Clients wait for the headers, so they go first."""
        context.send_initial_metadata((("buildkit-current-timestamp", _now()),))
        try:
            yield from self._builder.status(request.Ref, context.is_active)
        except Failure as failure:
            abort(context, self._types, failure)

    def history(self, request: Any, context: Any) -> Iterator[Any]:
        """Builds of the past, and what happens to others."""
        context.send_initial_metadata((("buildkit-current-timestamp", _now()),))
        yield from self._builder.history.events(request, context.is_active)

    def update_history(self, request: Any, context: Any) -> Any:
        """Pin or remove a build of the past."""
        try:
            self._builder.history.update(request)
        except Failure as failure:
            abort(context, self._types, failure)
        return self._types["Empty"]()

    def disk_usage(self, request: Any, context: Any) -> Any:
        """What the store holds."""
        try:
            return self._types["DiskUsageResponse"](record=self._housekeeping.usage())
        except Failure as failure:
            abort(context, self._types, failure)

    def prune(self, request: Any, context: Any) -> Iterator[Any]:
        """Make the store smaller, and say what went."""
        try:
            yield from self._housekeeping.prune(request)
        except Failure as failure:
            abort(context, self._types, failure)


def _now() -> str:
    """The time as clients read it: RFC 3339 with nanoseconds."""
    moment = time.time_ns()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 1_000_000_000))
    return f"{text}.{moment % 1_000_000_000:09}Z"
