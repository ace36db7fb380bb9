"""The Dockerfile of a client: fetched, read, and what it asks for.

Comes in: the attributes of a call, and the client's session. Goes out: a request without outputs,
with empty folders in the place of the client's; its graph as LLB, which says what has to be read
of those; or the answer to a question of `--call`. Nothing is built here.
Rules: moby/buildkit `frontend/dockerui`, `frontend/subrequests`.
Read next: `prepared`, `build`.
"""

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from minibuild.buildflags.request import build_request
from minibuild.buildkit.packets import Wanted
from minibuild.buildkit.rpc import Failure
from minibuild.digest import digest_strings
from minibuild.errors import SourceText
from minibuild.events import VertexInfo
from minibuild.frontend.subrequests import Method, call
from minibuild.graph.op import Exec
from minibuild.graph.source_policy import Judge, Policy, folders_of
from minibuild.graph.vertex import Vertex, topological
from minibuild.linux.beneath import real_path
from minibuild.linux.descriptors import closing_fd
from minibuild.serve.answers import as_failures
from minibuild.serve.attributes import Attributes, options
from minibuild.serve.client_credentials import image_names
from minibuild.serve.filesync import UPLOADED, ask_for, fetch_upload, receive
from minibuild.serve.policies import allowed_folder
from minibuild.serve.prepared import MAIN
from minibuild.serve.session import is_absent
from minibuild.session.environment import Environment
from minibuild.session.request import BuildRequest

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_BUILT_IN = "dockerfile.v0"
_OFFICIAL = "docker/dockerfile"
_NAMED = "context:"
_LOCAL = "local://"
_INPUT = "input:"
_SCHEMES = ("docker-image", "oci-layout", "local", "input")
LOCALS = (MAIN, "dockerfile")
"""Folders of a client that may be results of other builds of it."""

_FRONTEND = "frontend."
_QUESTIONS: Mapping[Method, str] = {
    "lint": "what the checks find in the Dockerfile",
    "outline": "what the build of a target takes: arguments, secrets, agents of ssh",
    "targets": "the stages that can be built",
}
_DESCRIBE = "subrequests.describe"
_VERSION = "1.0.0"


def check_frontend(frontend: str, attributes: Attributes) -> None:
    """Raise `Failure` for a frontend that is not here."""
    source = attributes.get("source", "").removeprefix("docker.io/")
    official = source == _BUILT_IN or source.startswith(_OFFICIAL)
    if frontend == _BUILT_IN or (frontend == "gateway.v0" and official):
        return
    if frontend == "gateway.v0":
        raise Failure(f"frontends in images are not possible here: {source}")
    raise Failure(f"unknown frontend {frontend!r}: minibuild has dockerfile.v0")


def check_allowed(result: Vertex | None, allowed: Collection[str]) -> None:
    """Raise `Failure` if a graph of a client does what was not granted."""
    for vertex in topological([result]):
        if isinstance(vertex.op, Exec):
            for entitlement, asked in (
                ("network.host", vertex.op.network == "host"),
                ("security.insecure", vertex.op.security == "insecure"),
            ):
                if asked and entitlement not in allowed:
                    raise Failure(f"failed to load LLB: {entitlement} is not allowed")


def described_questions(attributes: Attributes) -> Mapping[str, bytes] | None:
    """What can be asked, as the metadata of a result, if that is what a client asks."""
    if attributes.get("requestid") != f"{_FRONTEND}{_DESCRIBE}":
        return None
    meanings: list[tuple[str, str]] = [*_QUESTIONS.items(), (_DESCRIBE, "what can be asked")]
    places = [{"name": name, "description": ""} for name in ("result.json", "result.txt")]
    questions = [
        {"name": f"{_FRONTEND}{n}", "version": _VERSION, "type": "rpc", "description": m,
         "metadata": places}
        for n, m in meanings
    ]  # fmt: skip
    rows = [("NAME", "VERSION", "DESCRIPTION")]
    rows += [(n, _VERSION, m) for n, m in meanings]
    lines = [f"{name:<20} {version:<7} {meaning}" for name, version, meaning in rows]
    return answer_metadata(questions, lines, 0)


def question(attributes: Attributes) -> Method | None:
    """The question that a client asks instead of building; None if it builds. Raises `Failure`."""
    name = attributes.get("requestid", "")
    for method in _QUESTIONS:
        if name == f"{_FRONTEND}{method}":
            return method
    if name:
        details = [("errdefs.Subrequest+json", json.dumps({"name": name}).encode())]
        raise Failure(f"unsupported request {name}", details=details)
    return None


class ClientDefinition:
    """What a client wants built. `folders` has the names that the client gives to the folders of
    contexts, `source` is the Dockerfile once it was fetched. `given` are folders of ours in the
    place of the client's, by its names. Policies may put folders of the client in the place of
    other sources."""

    def __init__(
        self,
        attributes: Attributes,
        folder: str,
        given: Mapping[str, str],
        policies: Sequence[Policy],
    ) -> None:
        self.attributes = attributes
        self._given = given
        self._policies = policies
        self.source: SourceText | None = None
        self._is_link = False
        self._url = attributes.get("context", "")
        self._folder = folder
        self._uploaded = self._file = ""
        self.folders = {} if self._url or MAIN in given else {MAIN: MAIN}
        for name, value in self._named(_LOCAL):
            self.folders[name] = value
        for name in folders_of(policies):
            self.folders[f"{_LOCAL}{name}"] = name

    def _named(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """The named contexts whose value begins so, without that beginning. A name that is for one
        platform alone is for all here."""
        for key, value in self.attributes.items():
            if key.startswith(_NAMED):
                scheme, _, rest = value.partition(":")
                if scheme in _SCHEMES and not rest.startswith("//"):
                    value = f"{scheme}://{rest}"
                if value.startswith(prefix):
                    name = key.removeprefix(_NAMED).partition("::")[0]
                    yield name, value.removeprefix(prefix)

    def inputs(self) -> Mapping[str, Mapping[str, str]]:
        """Contexts that are results of other builds of the client: for each their names there, by
        platforms; for any platform, if that is empty."""
        found: dict[str, dict[str, str]] = {}
        for key, value in sorted(self.attributes.items()):
            if key.startswith(_NAMED) and value.startswith(_INPUT):
                name, _, platform = key.removeprefix(_NAMED).partition("::")
                there = value.removeprefix(_INPUT).removeprefix("//")
                found.setdefault(name, {})[platform] = there
        return found

    def layouts(self) -> dict[str, str]:
        """Contexts that are images in OCI layouts of the client, and their addresses there."""
        return dict(self._named("oci-layout://"))

    def fetch(self, build: "Build") -> None:
        """Get the Dockerfile and the ignore files that the client has. Raises `Failure`."""
        if self._url.startswith(UPLOADED):
            self._uploaded = os.path.join(self._folder, ".uploaded")
            fetch_upload(build.session, self._url, self._uploaded)
        places = dict(self.folders)  # Named contexts are judged when a step reads them.
        if MAIN in places:
            places[MAIN] = allowed_folder(build, places[MAIN], self._policies)
        with ExitStack() as calls:  # The client answers all of them at once.
            ignored = [
                (_ask(build, calls, local, [".dockerignore"], _ignore(name)), self._empty(name))
                for name, local in places.items()
            ]
            if not self._url or "dockerfilekey" in self.attributes:
                self._fetch_dockerfile(build, calls)
            for receive_to, place in ignored:
                os.makedirs(place)
                try:
                    receive_to(place)
                except Failure as failure:
                    if not is_absent(failure):  # A Dockerfile may need no context.
                        raise

    def _fetch_dockerfile(self, build: "Build", calls: ExitStack) -> None:
        given = self.attributes.get("filename", "") or "Dockerfile"
        names = [given, "dockerfile"] if given == "Dockerfile" else [given]
        local = self.attributes.get("dockerfilekey", "dockerfile")
        place = self._given.get(local, "")
        if not place:
            local = allowed_folder(build, local, self._policies)
            # Its path is a part of what builds of the same thing share: see `record.recorder`.
            key = build.session_of(local).shared_key, local, "definition"
            place = build.resources.enter_context(build.builder.folders.folder(*key))
            paths = [*names, f"{given}.dockerignore"]
            title = f"[internal] load build definition from {given}"
            _ask(build, calls, local, paths, title)(place)
        with closing_fd(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
            for name in names:
                real = os.path.join(place, real_path(fd, name))  # links stay inside
                if os.path.isfile(real):
                    self._file = os.path.join(place, name)
                    self._is_link = os.path.islink(self._file)
                    self.source = SourceText(name, _text(real))
                    return
        raise Failure(f"failed to read dockerfile: open {given}: no such file or directory")

    def _empty(self, name: str) -> str:
        """A folder that has the ignore file of a context and nothing else."""
        return os.path.join(self._folder, f"context-{list(self.folders).index(name)}")

    def image_names(self) -> Iterator[str]:
        """What may be names of images in the Dockerfile and among the contexts."""
        yield from (value for _, value in self._named("docker-image://"))
        if self.source is not None:
            yield from image_names(self.source.text)

    def request(self, extra: Mapping[str, Any], environment: Environment) -> BuildRequest:
        """The request, with these options more. Raises `Failure`."""
        contexts = dict(self._named())
        contexts.update((name, self._empty(name)) for name in self.folders if name != MAIN)
        contexts.update(extra.get("contexts", {}))
        given = {**options(self.attributes), **extra, "contexts": contexts}
        given["file"] = self._file or self.attributes.get("filename", "")
        if self._url and self._file:  # It is beside the context, and not in it.
            given["file"] = os.path.basename(self._file)
        if self.source is not None and (self._url or self._is_link):
            given["dockerfile"] = self.source.text
        main = self._uploaded or self._url or self._given.get(MAIN) or self._empty(MAIN)
        with as_failures():
            return build_request(main, given, environment)


def _ignore(context: str) -> str:
    part = "[internal]" if context == MAIN else f"[context {context}]"
    return f"{part} load .dockerignore"


def _ask(
    build: "Build", calls: ExitStack, local: str, paths: Sequence[str], name: str
) -> Callable[[str], str]:
    """Ask a client for files, until the end of `calls`, for a step of this name. Returns what makes
    a folder what was asked for, and raises `Failure`."""
    session, wanted = build.session_of(local), Wanted(local, paths, again=True)
    info = VertexInfo(digest_strings([build.asked.Ref, local, name]), name)
    call = ask_for(session, wanted)
    calls.callback(call.cancel)
    return lambda place: receive(build.status, session, wanted, place, info, call)


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


def ask(
    build: "Build", request: BuildRequest, method: Method, judge: Judge | None
) -> Mapping[str, Any]:
    """The answer to a question about the definition. Raises `Failure`."""
    with as_failures():
        return call(
            request,
            method,
            root=build.builder.root,
            report=build.status,
            judge=judge,
            conversions=build.builder.conversions,
        )


def answer_metadata(answer: Any, lines: Sequence[str], code: int) -> dict[str, bytes]:
    """The answer as the metadata of a result: as data, and as lines to print."""
    return {
        "result.json": json.dumps(answer, indent=2).encode(),
        "result.txt": "".join(f"{line}\n" for line in lines).encode(),
        "result.statuscode": str(code).encode(),
        "version": _VERSION.encode(),
    }
