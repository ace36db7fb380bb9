"""One build of a client, from its first call to its last.

Comes in: calls, in any order: the wait for outputs, the wait for progress, the question what a
Dockerfile means, and its answer handed back. Goes out: a build in a process of its own, its
progress, its outputs through the session.
Read next: `control`, `bridge`.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from minibuild.digest import Digest, digest_bytes
from minibuild.errors import BuildError
from minibuild.rootless.parent import build_in_child
from minibuild.serve.answers import answer_of, failure_of
from minibuild.serve.attributes import output_attributes
from minibuild.serve.contexts import KeptFolders
from minibuild.serve.definition import MAIN, Definition
from minibuild.serve.filesync import Wanted, receive, send_file, send_folder
from minibuild.serve.lending import agents, secrets
from minibuild.serve.needs import Needs
from minibuild.serve.rpc import CANCELLED, Failure, Types
from minibuild.serve.session import Session, Sessions
from minibuild.serve.status import StatusStream
from minibuild.session.environment import Environment
from minibuild.session.request import Attestations, BuildRequest, BuildResult, Output

_START_S = 15.0
_OUTPUTS = ("oci", "docker", "image", "local", "tar")


class Builder:
    """What all builds share: the store, the sessions, the folders that are kept."""

    def __init__(self, types: Types, root: str, environment: Environment) -> None:
        self.types = types
        self.root = root
        self.environment = environment
        self.sessions = Sessions()
        self.folders = KeptFolders(os.path.join(root, "contexts"))
        self.finished = False
        self._builds: dict[str, Build] = {}
        self._by_definition: dict[Digest, Build] = {}
        self._lock = threading.Lock()

    def build(self, ref: str) -> "Build":
        """The build of this id. Whichever call comes first makes it."""
        with self._lock:
            return self._builds.setdefault(ref, Build(self))

    def offer(self, definition: Any, build: "Build") -> None:
        """What a build was told to be; another build of the client may stand on it."""
        with self._lock:
            self._by_definition[_identity(definition)] = build

    def offered(self, definition: Any) -> "Build":
        """The build that has this definition. Raises `Failure`."""
        with self._lock:
            found = self._by_definition.get(_identity(definition))
        if found is None:
            raise Failure("the input is no result of a build that goes on here")
        return found

    def forget(self, ref: str) -> None:
        """A build has ended."""
        with self._lock:
            ended = self._builds.pop(ref, None)
            self.finished |= ended is not None and ended.prepared
            for definition, build in list(self._by_definition.items()):
                if build is ended:
                    del self._by_definition[definition]

    def stop(self) -> None:
        """Cancel all builds."""
        with self._lock:
            builds = list(self._builds.values())
        for build in builds:
            build.cancel()

    @property
    def busy(self) -> bool:
        """Whether there is a build."""
        return bool(self._builds)


def _identity(definition: Any) -> Digest:
    return digest_bytes(definition.SerializeToString(deterministic=True))


class Build:
    """One build. `asked` is what `Control/Solve` said."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.status = StatusStream(builder.types)
        self.asked: Any = None
        self.folder = ""
        self._cancelled = threading.Event()
        self._returned: Any = None
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._resources = ExitStack()
        self._request: BuildRequest | None = None
        self._definition: Definition | None = None
        self._needs = Needs(builder.types)
        self._solving = threading.Lock()

    # --- its calls ---

    def begin(self, asked: Any) -> None:
        """`Control/Solve` has come."""
        from tempfile import TemporaryDirectory

        self.asked = asked
        self.folder = self._resources.enter_context(TemporaryDirectory(prefix="minibuild-build-"))
        self._begun.set()

    def wait_for_begin(self) -> None:
        """Wait for `Control/Solve`. Raises `Failure`."""
        if not self._begun.wait(_START_S) or not self.folder:
            raise Failure("no such job")

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
        self._cancelled.set()
        self._ended.set()

    def close(self) -> None:
        """The last call has ended."""
        self._begun.set()
        self.status.close(time.time())
        self._resources.close()

    @property
    def session(self) -> Session:
        """The client's session. Raises `Failure`."""
        return self.builder.sessions.get(self.asked.Session)

    # --- its work ---

    @property
    def prepared(self) -> bool:
        """Whether it is known what to build."""
        return self._request is not None

    def prepare(self, definition: Definition, request: BuildRequest, llb: Any) -> None:
        """Take what is to be built: a request with empty folders, and its graph."""
        self._definition, self._request = definition, request
        self._needs.add(llb)

    def run(self) -> dict[str, str]:
        """Build, and send the outputs. Returns the answer. Raises `Failure`."""
        exporters = self._exporters()
        outputs = [self._output(number, exporter) for number, exporter in enumerate(exporters)]
        answer = answer_of(self.solve(outputs))
        for number, (exporter, output) in enumerate(zip(exporters, outputs, strict=True)):
            self._send(number, exporter.Type, output, answer)
        return answer

    def solve(self, outputs: Sequence[Output] = ()) -> BuildResult:
        """Build, in a process of its own; without outputs to fill the cache. Raises `Failure`."""
        with self._solving:
            request = self._take_from_client()
            request = request._replace(outputs=tuple(outputs) or (Output("cacheonly"),))
            if not outputs:
                request = request._replace(attestations=Attestations())
            try:
                return build_in_child(
                    request,
                    root=self.builder.root,
                    report=self.status,
                    cancelled=self._cancelled,
                )
            except BuildError as error:
                raise failure_of(error, self.status.failed) from None

    def _take_from_client(self) -> BuildRequest:
        """The request with the client's folders, secrets and agents, which are taken once."""
        if self._request is None:
            raise Failure("there is nothing to build")
        if self._definition is None:
            return self._request
        folders = self._definition.folders
        here = {name: self._folder(name, folders[name]) for name in folders}
        main = here.pop(MAIN, "")
        session = self.session
        self._request = self._request._replace(
            context=main or self._request.context,
            contexts={**self._request.contexts, **here},
            secrets=secrets(session, self._needs.secrets),
            ssh=agents(session, self._needs.agents, self.folder, self._resources),
        )
        self._definition = None
        return self._request

    def _folder(self, name: str, local: str) -> str:
        """The client's folder of a context, here: what the graph reads of it."""
        asked = self.asked.FrontendAttrs.get(f"local-sessionid:{local}", "")
        session = self.builder.sessions.get(asked) if asked else self.session
        kept = self.builder.folders.folder(session.shared_key, local)
        place = self._resources.enter_context(kept)
        wanted = self._needs.wanted.get(name)
        if wanted is not None:
            receive(session, Wanted(local, wanted.paths, wanted.exclude), place)
        return place

    # --- its outputs ---

    def _exporters(self) -> Sequence[Any]:
        """The outputs; old clients have one, in another field."""
        asked = self.asked
        if asked.Exporters or not asked.ExporterDeprecated:
            return list(asked.Exporters)
        old = self.builder.types["Exporter"](
            Type=asked.ExporterDeprecated, Attrs=asked.ExporterAttrsDeprecated
        )
        return [old]

    def _output(self, number: int, exporter: Any) -> Output:
        kind = exporter.Type
        if kind not in _OUTPUTS:
            raise Failure(f"exporter {kind!r} could not be found")
        if exporter.Attrs.get("tar") == "false":
            raise Failure("an OCI layout as a folder is not possible here: leave out tar=false")
        dest = "" if kind == "image" else os.path.join(self.folder, f"output-{number}")
        return Output(kind, dest, output_attributes(kind, exporter.Attrs))

    def _send(self, number: int, kind: str, output: Output, answer: Mapping[str, str]) -> None:
        if kind == "image":
            return
        if kind == "local":
            send_folder(self.session, number, os.fspath(output.dest))
            return
        with open(output.dest, "rb") as file:
            send_file(self.session, number, file, {} if kind == "tar" else answer)
