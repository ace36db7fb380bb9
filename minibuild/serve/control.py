"""The service `Control`: the builder's front door.

Comes in: calls of a client. Goes out: who the builder is, the bytes of sessions, the progress of
builds and, from the call that waits longest, what the outputs are.
Rules: moby/buildkit `api/services/control/control.proto`.
The commands `du` and `prune` list what the store holds and remove it, in processes of their
own: without root they need a user namespace, which a server with threads cannot enter.
Read next: `bridge`.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from minibuild import __version__
from minibuild.buildkit.definition import set_platform
from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.frontend.loader import built_in
from minibuild.graph.platform import host_platform
from minibuild.serve.answers import as_failures
from minibuild.serve.build import Build, Builder
from minibuild.serve.config import Config
from minibuild.serve.gateway import result_of
from minibuild.serve.session import ClientSession
from minibuild.session.environment import Environment
from minibuild.store.reserve import reserve_on_the_disk
from minibuild.worker.gc import UsageRecord
from minibuild.worker.usage_filter import parse_filter, record_type

NAME = "moby.buildkit.v1.Control"
_BUILDKIT = "v0.32.0"
"""The release of BuildKit whose calls are answered: clients show it, and compare features."""


class Control:
    """The calls of the service, for one builder."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._housekeeping = Housekeeping(builder.root, builder.environment)

    def methods(self) -> dict[str, CallHandler]:
        """The calls by their names."""
        return {
            "ListWorkers": CallHandler(self.list_workers, "ListWorkersRequest"),
            "Info": CallHandler(self.info, "Empty"),
            "Session": CallHandler(self.session, "BytesMessage", streams=True, takes_many=True),
            "Solve": CallHandler(self.solve, "SolveRequest"),
            "Status": CallHandler(self.status, "StatusRequest", streams=True),
            "ListenBuildHistory": CallHandler(self.history, "BuildHistoryRequest", streams=True),
            "UpdateBuildHistory": CallHandler(self.update_history, "UpdateBuildHistoryRequest"),
            "DiskUsage": CallHandler(self.disk_usage, "DiskUsageRequest"),
            "Prune": CallHandler(self.prune, "PruneRequest", streams=True),
        }

    def list_workers(self, request: Any, call: ServerCall) -> Any:
        return api_type("ListWorkersResponse")(record=[worker(self._builder.config)])

    def info(self, request: Any, call: ServerCall) -> Any:
        return api_type("InfoResponse")(buildkitVersion=_version())

    def session(self, request: None, call: ServerCall) -> Iterable[Any]:
        """Carry the bytes of a session for as long as it lasts."""
        made = ClientSession(call.metadata)
        sessions = self._builder.sessions
        sessions.add(made)
        try:
            made.run(call)
        finally:
            sessions.remove(made)
        return ()

    def solve(self, request: Any, call: ServerCall) -> Any:
        """Wait for the definition that comes by the gateway, build it, and say what was made.
        Raises `Failure`."""
        build = self._builder.begin(request)
        call.afterwards.callback(self._builder.keep, build)
        if not call.when_broken(build.cancel):
            build.cancel()  # The client is gone already.
        outcome: Mapping[str, str] | Failure = Failure("the build broke off")
        try:
            outcome = self._answer(build, request)
            return api_type("SolveResponse")(ExporterResponse=outcome)
        except Failure as failure:
            outcome = failure
            raise
        finally:
            build.close(outcome)

    def _answer(self, build: Build, request: Any) -> Mapping[str, str]:
        if request.Frontend or request.HasField("Definition"):
            # Programs that need no gateway of their own say it all at once.
            result = result_of(build, request, dict(request.FrontendAttrs))
            return build.run(result)
        returned = build.wait_for_return()
        if returned.HasField("error"):
            details = [(a.type_url, a.value) for a in returned.error.details]
            details = [(url.removeprefix("github.com/moby/buildkit/"), v) for url, v in details]
            raise Failure(returned.error.message, returned.error.code, details)
        return build.run(returned.result)

    def status(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """The progress of a build. Clients wait for the headers, so they go first. Raises
        `Failure`."""
        call.begin((("buildkit-current-timestamp", _now()),))
        yield from self._builder.status(request.Ref, call.is_active)

    def history(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """Builds of the past, and what happens to others."""
        call.begin((("buildkit-current-timestamp", _now()),))
        yield from self._builder.history.events(request, call.is_active)

    def update_history(self, request: Any, call: ServerCall) -> None:
        """Pin or remove a build of the past. Raises `Failure`."""
        self._builder.history.update(request)

    def disk_usage(self, request: Any, call: ServerCall) -> Any:
        """What the store holds. Raises `Failure`."""
        return api_type("DiskUsageResponse")(record=self._housekeeping.usage(request.filter))

    def prune(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """Make the store smaller, and say what went. Raises `Failure`."""
        yield from self._housekeeping.prune(request)


def worker(config: Config) -> Any:
    """The one worker, as clients list it."""
    platform = api_type("Platform")()
    set_platform(platform, host_platform())
    return api_type("WorkerRecord")(
        ID="minibuild",
        Labels={"org.mobyproject.buildkit.worker.executor": "oci", **config.labels},
        platforms=[platform],
        BuildkitVersion=_version(),
    )


def _version() -> Any:
    return api_type("BuildkitVersion")(
        package="minibuild",
        version=_BUILDKIT,
        revision=__version__,
        dockerfileVersion=built_in().version,
    )


def _now() -> str:
    """The time as clients read it: RFC 3339 with nanoseconds."""
    moment = time.time_ns()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 1_000_000_000))
    return f"{text}.{moment % 1_000_000_000:09}Z"


# --- The store ---


_NANOSECONDS = 1_000_000_000
_FOR_ALL = "type!=internal,type!=frontend"
"""What BuildKit leaves unless all is to go."""


class Housekeeping:
    """The store in `root`, for the account that serves it."""

    def __init__(self, root: str, environment: Environment) -> None:
        self._root = root
        self._environment = environment

    def usage(self, filters: Sequence[str] = ()) -> list[Any]:
        """A message `UsageRecord` for each thing in the store that one of the filters means; for
        all of them if there is none. Raises `Failure`."""
        with as_failures():
            tests = [parse_filter(text) for text in filters or ("",)]
        items = json.loads(self._run("du", "--format", "json"))
        found = [UsageRecord(**item) for item in items]
        return [self._record(one) for one in found if any(test(one) for test in tests)]

    def prune(self, request: Any) -> Iterator[Any]:
        """Remove what a message `PruneRequest` allows. Gives what is gone. Raises `Failure`."""
        with reserve_on_the_disk(self._root):  # to look takes room, too
            before = {record.ID: record for record in self.usage(request.filter)}
            words = self._prune_words(request)
            for text in request.filter or ("",):
                chosen = [part for part in (text, "" if request.all else _FOR_ALL) if part]
                self._run(*words, *(f"--filter={part}" for part in chosen))
            after = {record.ID for record in self.usage()}
        yield from (record for name, record in before.items() if name not in after)

    def _prune_words(self, request: Any) -> list[str]:
        sized = request.maxUsedSpace or request.minFreeSpace
        words = ["prune", "--force", "--cache-mounts"]
        words += ["--all"] if request.all else []
        if request.keepDuration or not sized:  # Without either, age does not matter.
            words += ["--keep-duration", f"{request.keepDuration // _NANOSECONDS}s"]
        for flag, size in (
            ("--max-used-space", request.maxUsedSpace),
            ("--min-free-space", request.minFreeSpace),
            ("--reserved-space", request.reservedSpace),
        ):
            words += [flag, str(size)] if size else []
        return words

    def _run(self, *words: str) -> str:
        import subprocess

        done = subprocess.run(
            [sys.executable, "-P", "-m", "minibuild", "--root", self._root, *words],
            env=dict(self._environment.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Failure(done.stderr.strip() or f"minibuild {words[0]} failed")
        return done.stdout

    def _record(self, item: UsageRecord) -> Any:
        record = api_type("UsageRecord")(
            ID=item.id,
            Size=item.size_bytes,
            Description=item.description,
            RecordType=record_type(item),
            Mutable=item.kind == "cache-mount",
        )
        record.CreatedAt.seconds = int(item.created)
        record.LastUsedAt.seconds = int(item.used)
        return record
