"""What a graph takes from its client: paths of folders, secrets, agents, images.

Comes in: definitions of LLB, one for each platform. Goes out: what has to be asked of the client
before the build. Read next: `build`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from minibuild.buildkit.decode import local_names
from minibuild.buildkit.definition import ops_in
from minibuild.buildkit.packets import Wanted
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.events import VertexInfo

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
