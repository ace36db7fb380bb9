"""One build of a client, from its first call to its last.

Comes in: calls, in any order: the wait for outputs, the wait for progress, the question what a
definition means, and its answer handed back. Goes out: a build in a process of its own, its
progress, its outputs through the session.
Read next: `gateway`, `control`, `bridge`.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from minibuild.buildkit.rpc import CANCELLED, NOT_FOUND, Failure
from minibuild.digest import Digest, digest_bytes
from minibuild.errors import BuildError
from minibuild.events import Warned
from minibuild.frontend.conversions import Conversions
from minibuild.frontend.subrequests import Method
from minibuild.linux.beneath import remove_path
from minibuild.serve.answers import answer_of, failure_of, op_of
from minibuild.serve.attributes import attestations
from minibuild.serve.children import Children, Rest
from minibuild.serve.client_credentials import with_logins
from minibuild.serve.config import Config
from minibuild.serve.contexts import KeptFolders
from minibuild.serve.files import ResultFiles
from minibuild.serve.history import BuildHistory
from minibuild.serve.layouts import send_caches
from minibuild.serve.llb import platform_warnings, returned
from minibuild.serve.outputs import (
    asked_exporters,
    end_session_exporters,
    output_of,
    send_output,
    session_exporters,
)
from minibuild.serve.policies import policies_of
from minibuild.serve.prepared import Prepared
from minibuild.serve.records import record_of
from minibuild.serve.session import ClientSession, ClientSessions
from minibuild.serve.status import StatusStream
from minibuild.session.request import (
    ENTITLEMENTS,
    Attestations,
    BuildRequest,
    BuildResult,
    Output,
)

_START_S = 15.0
_STATUS_S = 6.0
_MAX_ENDED = 32
_OF_FRONTENDS = "frontend."


Show = Callable[[Method, Mapping[str, Any]], tuple[Sequence[str], int]]
"""Makes lines and an exit code of the answer to a question."""


class Builder:
    """What all builds share: the store, the sessions, the folders that are kept, and one `folder`
    for what is not."""

    def __init__(self, config: Config, folder: str, show: Show) -> None:
        self.config = config
        self.folder = folder
        self.show = show
        self.root = config.root
        self.environment = config.environment
        self.sessions = ClientSessions()
        self.children = Children(self.root)
        self.conversions = Conversions()
        self.folders = KeptFolders(os.path.join(self.root, "contexts"))
        self.history = BuildHistory(self.root)
        self.finished = False
        self._builds: dict[str, Build] = {}
        self._ended: dict[str, StatusStream] = {}
        self._refused: list[str] = []
        self._by_definition: dict[Digest, tuple[Build, str]] = {}
        self._lock = threading.Condition()

    def begin(self, asked: Any) -> "Build":
        """`Control/Solve` has come: a build begins. Raises `Failure`."""
        with self._lock:
            if asked.Ref in self._builds:
                raise Failure(f"job ID {asked.Ref} exists")
            try:
                self._check(asked)
                build = self._builds[asked.Ref] = Build(self, asked)
            except Failure:
                self._refused = [*self._refused[-_MAX_ENDED:], asked.Ref]
                raise
            finally:
                self._lock.notify_all()
        if not asked.Internal:
            self.history.begin(record_of(build))
        return build

    def _check(self, asked: Any) -> None:
        if asked.ProxyNetwork:
            raise Failure("a network of steps through a proxy of the builder is not possible here")
        for name in asked.Entitlements:
            if name not in ENTITLEMENTS:
                raise Failure(f"unknown entitlement {name}")
            if name not in self.config.entitlements:
                raise Failure(
                    f"granting entitlement {name} is not allowed by build daemon configuration"
                )

    def build(self, ref: str, wait_s: float = _START_S) -> "Build":
        """The build of this id. Other calls may come before the one that begins it, so this waits.
        Raises `Failure`."""
        with self._lock:
            self._wait_for(ref, wait_s)
            if ref not in self._builds:
                raise Failure(f"no such job {ref}", NOT_FOUND)
            return self._builds[ref]

    def status(self, ref: str, active: Callable[[], bool]) -> Iterator[bytes]:
        """The progress of a build, as serialised messages: one that goes on, or has ended, or is to
        begin yet. Raises `Failure`."""
        past = None if self._stream(ref) else self.history.messages(ref)
        if past is not None:
            return past
        with self._lock:
            self._wait_for(ref, _STATUS_S)
            stream = self._stream(ref)
            if ref in self._refused:
                return iter(())  # An error here would hide that of the call which began the build.
        if stream is None:
            raise Failure(f"no such job {ref}", NOT_FOUND)
        return stream.messages(active)

    def _wait_for(self, ref: str, seconds: float) -> None:
        self._lock.wait_for(lambda: self._stream(ref) is not None or ref in self._refused, seconds)

    def _stream(self, ref: str) -> StatusStream | None:
        build = self._builds.get(ref)
        return self._ended.get(ref) if build is None else build.status

    def offer(self, definition: Any, build: "Build", result: str) -> None:
        """What a result of a build is; another build of the client may stand on it."""
        with self._lock:
            self._by_definition[_identity(definition)] = (build, result)

    def offered(self, definition: Any) -> "tuple[Build, str] | None":
        """The build that goes on and has this as a result, and which of its results."""
        with self._lock:
            return self._by_definition.get(_identity(definition))

    def end(self, build: "Build") -> None:
        """A build has ended, and its client is about to hear how. Its progress can be asked for a
        while longer."""
        ref = build.asked.Ref
        if not build.asked.Internal:
            self.history.answered(ref)
        with self._lock:
            self._ended[ref] = build.status
            del self._builds[ref]
            for old in list(self._ended)[:-_MAX_ENDED]:
                del self._ended[old]
            self.finished |= bool(build.results)
            for definition, (other, _) in list(self._by_definition.items()):
                if other is build:
                    del self._by_definition[definition]

    def keep(self, build: "Build") -> None:
        """Write the record of a build that has ended. A client waits for that only if it asks for
        the record."""
        try:
            build.finish()
        finally:
            if not build.asked.Internal:
                self.history.end(record_of(build), build.status, build.made)
            with suppress(OSError):
                remove_path(build.folder)

    def stop(self) -> None:
        """Cancel all builds."""
        self.children.close()
        with self._lock:
            builds = list(self._builds.values())
        for build in builds:
            build.cancel()

    @property
    def busy(self) -> bool:
        """Whether there is a build, or a client that may begin one."""
        return bool(self._builds) or bool(self.sessions)


def _identity(definition: Any) -> Digest:
    """What is the same of a definition that a client was given and gives back: clients written in
    Go add ops without a line to those that have one."""
    located = definition.Source.locations
    if any(not one.locations for one in located.values()):
        given, definition = definition, type(definition)()
        definition.CopyFrom(given)
        for digest in [digest for digest, one in located.items() if not one.locations]:
            del definition.Source.locations[digest]
    return digest_bytes(definition.SerializeToString(deterministic=True))


class Build:
    """One build. `asked` is what `Control/Solve` said; `results` are those that the client may ask
    for, by the ids that it was given; `cache_imports` are the caches that the client has named so
    far; `policies` are about sources, and `described` has what was said of some; `resources` live
    as long as the build, and at its end there is what it `made`. `linked` has the provenance of
    results that others of the client's stand on, by the addresses of these contexts."""

    def __init__(self, builder: Builder, asked: Any) -> None:
        self.builder = builder
        self.asked = asked
        self.status = StatusStream()
        self.results: dict[str, Prepared] = {}
        self.cache_imports = list(asked.Cache.Imports)
        self.described: dict[bytes, Any] = {}
        self.policies = policies_of([asked.SourcePolicy] if asked.HasField("SourcePolicy") else ())
        self.resources = ExitStack()
        self.folder = os.path.join(builder.folder, os.urandom(8).hex())
        os.mkdir(self.folder, 0o700)
        self.began = time.time()
        self.ended = 0.0
        self.outcome: Mapping[str, str] | Failure = {}
        self.made: BuildResult | None = None
        self._rest: Rest | None = None
        self.linked: dict[str, Sequence[Mapping[str, Any]]] = {}
        self.cancelled = threading.Event()
        self._returned: Any = None
        self._ended = threading.Event()
        self._solving = threading.Lock()
        self._files: dict[str, ResultFiles] = {}
        self._reading = threading.Lock()

    # --- its calls ---

    def give_back(self, returned: Any) -> None:
        """`Return` has come."""
        self._returned = returned
        self._ended.set()

    def wait_for_return(self) -> Any:
        """Wait for what the client hands back. Raises `Failure`."""
        self._ended.wait()
        if self._returned is None:
            raise Failure("context canceled", CANCELLED)
        return self._returned

    def cancel(self) -> None:
        """The client has gone away, or the server stops."""
        self.cancelled.set()
        self._ended.set()

    def close(self, outcome: Mapping[str, str] | Failure) -> None:
        """The last call has ended, with an answer or a failure."""
        self.outcome, self.ended = outcome, time.time()
        self.status.close(self.ended)
        self.resources.close()
        self.builder.end(self)

    def finish(self) -> None:
        """Get the rest of the result, for which the client does not wait."""
        if self._rest is not None:
            with suppress(BuildError):
                self.made = self._rest()

    @property
    def session(self) -> ClientSession:
        """The client's session. Raises `Failure`."""
        return self.builder.sessions.get(self.asked.Session)

    def session_of(self, local: str, named: str = "") -> ClientSession:
        """The session that has a folder of the client, by its name there, unless it is `named`.
        Raises `Failure`."""
        other = self.asked.FrontendAttrs.get(f"local-sessionid:{local}", "") or named
        return self.builder.sessions.get(other) if other else self.session

    # --- its work ---

    def scratch(self, prefix: str) -> str:
        """A new folder of the build's."""
        from tempfile import mkdtemp

        return mkdtemp(prefix=prefix, dir=self.folder)

    def add(self, prepared: Prepared) -> str:
        """Take a result that the client may ask for. Returns its id."""
        name = os.urandom(12).hex()
        self.results[name] = prepared
        return name

    def result(self, name: str) -> Prepared:
        """A result by its id. Raises `Failure`."""
        if name not in self.results:
            raise Failure(f"no such ref: {name}")
        return self.results[name]

    def run(self, result: Any) -> dict[str, str]:
        """Build what the client handed back, and send the outputs. Returns the answer. Raises
        `Failure`."""
        metadata = result.metadata
        exporters = [*asked_exporters(self), *session_exporters(self, result)]
        prepared = returned(self, result, exporting=bool(exporters))
        answer = {k: v.decode() for k, v in metadata.items() if k.startswith(_OF_FRONTENDS)}
        if prepared is None:
            end_session_exporters(self, answer)
            return answer
        for message in platform_warnings(self, result):
            self.status(Warned("", message))
        dated = not prepared.request.graphs
        outputs = [
            output_of(self, n, one, metadata, dated=dated) for n, one in enumerate(exporters)
        ]
        with self._solving:
            request = prepared.complete(self)
            request = request._replace(attestations=self._attestations(prepared))
            if request.attestations.generator:
                request = with_logins(self, request, [request.attestations.generator])
            self.made, self._rest = self._in_child(prepared, request, outputs)
            answer.update(answer_of(self.made, outputs))
        for number, (exporter, output) in enumerate(zip(exporters, outputs, strict=True)):
            send_output(self, number, exporter.Type, output, answer)
        answer.update(send_caches(self))
        end_session_exporters(self, answer)
        return answer

    def _attestations(self, prepared: Prepared) -> Attestations:
        """What is to be said of the images. History has the provenance of all builds."""
        return attestations(self.asked.FrontendAttrs)._replace(
            recorded=True,
            calls=prepared.calls,
            sources=tuple(prepared.sources.values()),
            environment=self.builder.config.provenance,
            linked={address: tuple(told) for address, told in self.linked.items()},
        )

    def solve(self, name: str, outputs: Sequence[Output] = ()) -> BuildResult:
        """Build a result, in a process of its own, for the client to go on with: it is not the end
        of the build, so no cache is written and nothing attested. Raises `Failure`."""
        prepared = self.result(name)
        with self._solving:
            request = prepared.complete(self)
            asked = self._attestations(prepared)._replace(mode="", sbom=False, generator="")
            request = request._replace(attestations=asked, cache_to=())
            _, rest = self._in_child(prepared, request, outputs)
            return rest()

    def files(self, name: str) -> ResultFiles:
        """The files of a result, which is built for that. Raises `Failure`."""
        with self._reading:
            if name not in self._files:
                archive = os.path.join(self.folder, f"files-{name}")
                self.solve(name, [Output("tar", archive)])
                self._files[name] = ResultFiles(archive)
            return self._files[name]

    def _in_child(
        self, prepared: Prepared, request: BuildRequest, outputs: Sequence[Output]
    ) -> tuple[BuildResult, Rest]:
        request = request._replace(outputs=tuple(outputs) or (Output("cacheonly"),))
        try:
            return self.builder.children.build(request, self.status.take, self.cancelled)
        except BuildError as error:
            if error.source is None and error.span is not None:
                error.source = prepared.sources.get(error.span.file)
            definition = prepared.definition if prepared.request.graphs else None
            op = op_of(prepared.definitions, self.status.failed, self.status.failed_name)
            raise failure_of(error, self.status.failed, definition, op) from None
