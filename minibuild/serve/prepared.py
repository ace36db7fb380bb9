"""What is known of a build before it begins: its request, what it needs of its client, and what the
client asked of frontends, as provenance says it.

Comes in: a request with empty folders in the place of the client's. Goes out: the same with the
client's folders, secrets and agents, which are asked for once, when they are needed. What a graph
takes from the client is read in its definitions, one for each platform.
Read next: `build`.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.decode import local_names
from minibuild.buildkit.definition import ops_in
from minibuild.buildkit.packets import Wanted
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.errors import SourceText
from minibuild.events import VertexInfo
from minibuild.serve.client_credentials import agents, secrets
from minibuild.serve.filesync import receive
from minibuild.session.request import BuildRequest, FrontendCall

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_GATEWAY = "gateway.v0"
_BUILT_IN = "dockerfile.v0"


def root_call(build: "Build") -> FrontendCall:
    """What the build began with: the call of a frontend, or a program of the client's."""
    asked = build.asked
    inputs = _inputs(build, asked.FrontendInputs)
    attributes = dict(asked.FrontendAttrs)
    return FrontendCall(asked.Frontend, attributes, inputs, None, asked.CompatibilityVersion)


def frontend_call(build: "Build", request: Any, attributes: Mapping[str, str]) -> FrontendCall:
    """A call of the Dockerfile frontend, with what the client asked before."""
    frontend = request.Frontend
    if frontend == _GATEWAY and attributes.get("source") == _BUILT_IN:
        # The gateway hands on what is built in.
        frontend, left_out = _BUILT_IN, ("source", "cmdline")
        attributes = {key: value for key, value in attributes.items() if key not in left_out}
    root = root_call(build)
    inputs = _inputs(build, request.FrontendInputs)
    call = FrontendCall(frontend, dict(attributes), inputs, None, root.compatibility)
    asks = any((root.frontend, root.attributes, root.inputs))
    return call._replace(root=root) if asks and root != call else call


def _inputs(build: "Build", definitions: Mapping[str, Any]) -> dict[str, FrontendCall]:
    """The calls that definitions are the answers to, where the client still waits for these."""
    found = {}
    for name, definition in definitions.items():
        offered = build.builder.offered(definition)
        if offered is not None:
            other, result = offered
            call = other.result(result).calls[0]
            if call.frontend:
                found[name] = call._replace(root=None)
    return found


_LISTS = ("followpaths", "excludepatterns", "includepattern")


class Needs:
    """What was found so far. `wanted` is by the names of contexts, `layouts` has where images of
    the client's layouts are, by the identifiers of their sources."""

    def __init__(self) -> None:
        self.wanted: dict[str, Wanted] = {}
        self.secrets: set[str] = set()
        self.agents: set[str] = set()
        self.images: set[str] = set()
        self.sessions: dict[str, str] = {}
        self.vertices: dict[str, VertexInfo] = {}
        self.layouts: dict[str, str] = {}

    def add(self, definition: Any) -> None:
        """Read a definition. Each of its local sources has a folder; those of several platforms
        read the same one, which has what any of them sees: a graph leaves out by itself what it is
        not to see."""
        names = local_names(definition)
        for op, info in self._ops(definition):
            if info.digest in names:
                key, attributes = names[info.digest], op.source.attrs
                self.vertices[key] = info
                self.sessions[key] = attributes.get("local.session", "")
                wanted = _wanted(op.source.identifier.partition("://")[2], attributes)
                before = self.wanted.get(key, wanted)
                every = bool(wanted.paths) and bool(before.paths)  # no paths means all of them
                paths = list(dict.fromkeys([*before.paths, *wanted.paths])) if every else []
                exclude = wanted.exclude if wanted.exclude == before.exclude else []
                self.wanted[key] = wanted._replace(paths=paths, exclude=exclude)

    def _ops(self, definition: Any) -> Iterator[tuple[Any, VertexInfo]]:
        for digest, data in ops_in(definition):
            op = api_type("Op").FromString(data)
            self._source(op.source.identifier, op.source.attrs)
            self.secrets.update(variable.ID for variable in op.exec.secretenv)
            for mount in op.exec.mounts:
                if mount.HasField("secretOpt"):
                    self.secrets.add(mount.secretOpt.ID)
                if mount.HasField("SSHOpt"):
                    self.agents.add(mount.SSHOpt.ID or "default")
            name = definition.metadata[digest].description.get("llb.customname", "")
            yield op, VertexInfo(digest, name or op.source.identifier)

    def _source(self, identifier: str, attributes: Mapping[str, str]) -> None:
        scheme, _, rest = identifier.partition("://")
        if scheme == "docker-image":
            self.images.add(rest)
        elif scheme == "oci-layout":
            store = attributes.get("oci.store", "")
            self.layouts[identifier] = f"{scheme}://{store}@{rest.rpartition('@')[2]}"
        elif scheme in ("git", "http", "https"):
            self._from_the_web(scheme, rest.partition("/")[0].rpartition("@")[2])
            if "http.authheadersecret" in attributes:
                self.secrets.add(attributes["http.authheadersecret"])
            if "git.mountsshsock" in attributes:
                self.agents.add("default")

    def _from_the_web(self, scheme: str, host: str) -> None:
        """Secrets that the client may have for what is fetched from a host."""
        kind, separator = ("GIT", ".") if scheme == "git" else ("HTTP", "_")
        for what in ("TOKEN", "HEADER"):
            names = {"", *(f"{separator}{name}" for name in (host, host.partition(":")[0]))}
            self.secrets.update(f"{kind}_AUTH_{what}{name}" for name in names)


def _wanted(local: str, attributes: Mapping[str, str]) -> Wanted:
    """What a local source asks of the client's folder. Raises `Failure`."""
    try:
        lists = [json.loads(attributes.get(f"local.{key}", "[]")) for key in _LISTS]
        again = attributes.get("local.differ") == "none"
        paths, exclude, include = ([str(item) for item in items] for items in lists)
        return Wanted(local, paths, exclude, include, again)
    except (ValueError, TypeError):
        raise Failure(f"the patterns of local source {local!r} are no list") from None


MAIN = "context"
"""How a client calls the folder of the main context."""


class Prepared:
    """One result that a client may ask for. `folders` maps contexts to the client's names, and
    `sources` names to the texts that a graph of the client was made from. `definition` is the
    graph as the client knows it, with the `config` of its image, and `calls` are what the client
    asked for to get it, of all images or of each. The results of one Dockerfile, one for each
    platform, are `parts` of one `whole`."""

    def __init__(
        self,
        request: BuildRequest,
        folders: Mapping[str, str],
        needs: Needs,
        sources: Mapping[str, SourceText] = {},
        definition: Any = None,
        config: bytes = b"",
        calls: tuple[FrontendCall, ...] = (),
    ) -> None:
        self.request = request
        self.calls = calls
        self.definition = definition
        self.config = config
        self.whole: Prepared | None = None
        self.parts: list[Prepared] = []
        self.sources = sources
        self._folders = folders
        self._needs = needs
        self._complete = False
        self._lock = threading.Lock()

    @property
    def definitions(self) -> Sequence[Any]:
        """The graphs of it, or of its parts."""
        found = [self.definition, *(part.definition for part in self.parts)]
        return [definition for definition in found if definition is not None]

    def add_part(self, request: BuildRequest, definition: Any, config: bytes) -> None:
        """Add one of the results that this is the whole of."""
        self._needs.add(definition)
        needs, sources = self._needs, self.sources
        made = Prepared(request, self._folders, needs, sources, definition, config, self.calls)
        made.whole = self
        self.parts.append(made)

    def complete(self, build: "Build") -> BuildRequest:
        """The request with all that the client has. Raises `Failure`."""
        with self._lock:
            if not self._complete:
                self._take(build)
                self._complete = True
            return self.request

    def _take(self, build: "Build") -> None:
        revisions: dict[str, str] = {}
        here = {name: self._receive(build, name, revisions) for name in self._folders}
        main = here.pop(MAIN, "")
        self.request = self.request._replace(
            context=main or self.request.context,
            contexts={**self.request.contexts, **here},
            revisions=revisions,
            secrets=secrets(build.session, self._needs.secrets),
            ssh=agents(build.session, self._needs.agents, build.folder, build.resources),
        )

    def _receive(self, build: "Build", name: str, revisions: dict[str, str]) -> str:
        """The client's folder of a context, here: what the graph reads of it. Notes which revision
        of it that is."""
        local = self._folders[name]
        session = build.session_of(local, self._needs.sessions.get(name, ""))
        place = build.resources.enter_context(
            build.builder.folders.folder(session.shared_key, name if name != MAIN else local)
        )
        wanted = self._needs.wanted.get(name)
        if wanted is not None:
            info = self._needs.vertices[name]
            wanted = wanted._replace(name=local)
            revision = receive(build.status, session, wanted, place, info)
            if revision:
                revisions[name] = revision
        return place
