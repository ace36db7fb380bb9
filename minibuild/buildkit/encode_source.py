"""Sources as LLB: an address, and attributes that say how to read it.

Comes in: a source of the graph. Goes out: its `SourceOp`. A local one is read through a session,
so it names that; and of all that the graph copies and mounts from it the paths are collected, as
nothing else has to be sent.
Rules: moby/buildkit `solver/pb/attr.go` and `client/llb/source.go`.
Read next: `exec_op`.
"""

from collections.abc import Iterable, Mapping
from typing import assert_never

from minibuild.buildkit.definition import DefinitionWriter, OpInputs, OpOutput
from minibuild.buildkit.gojson import as_json
from minibuild.digest import digest_strings
from minibuild.graph import op
from minibuild.graph.identifier import identified
from minibuild.graph.pattern import clean
from minibuild.graph.vertex import Vertex
from minibuild.startup.tuples import NamedTuple

_EVERYTHING = "/"
_MAIN = "context"
_LAYOUT = "oci-layout://"
_CAPS = {
    "local.session": "source.local.sessionid",
    **{
        name: f"source.{name}"
        for name in (
            "local.sharedkeyhint local.followpaths local.excludepatterns local.unique "
            "http.checksum http.perm git.fullurl git.mountsshsock git.checksum git.keepgitdir "
            "git.skipsubmodules"
        ).split()
    },
}
"""What a daemon has to be capable of, by attributes. Others need nothing, and a daemon refuses a
capability that it does not know."""


class LocalAccess(NamedTuple):
    """How a BuildKit reaches the folders of this machine: through the session of this id; or, if
    the definition is written down, through that of the client that has it solved. `unique` then
    tells two such definitions apart, so that a daemon does not take one's folder for the
    other's."""

    session: str = ""
    unique: str = ""


class Locals:
    """The folders of this machine that a graph reads, and which paths of each."""

    __slots__ = ("_access", "_paths")

    def __init__(self, access: LocalAccess, vertices: Iterable[Vertex]) -> None:
        self._access = access
        self._paths: dict[str, set[str]] = {}
        for vertex in vertices:
            self._read(vertex)

    def _read(self, vertex: Vertex) -> None:
        match vertex.op:
            case op.Exec(mounts=mounts):
                for mount in mounts:
                    if isinstance(mount, op.BindMount | op.CacheMount) and mount.input >= 0:
                        self._note(vertex.inputs[mount.input], [mount.source])
                    elif isinstance(mount, op.TmpfsMount):
                        # BuildKit's frontend takes its missing source for all of the context.
                        self._paths.setdefault(_MAIN, set()).add(_EVERYTHING)
            case op.File(actions=actions):
                for action in actions:
                    if isinstance(action, op.Copy):
                        self._note(vertex.inputs[action.input], action.paths)
            case _:
                pass

    def _note(self, source: Vertex | None, paths: Iterable[str]) -> None:
        if source is not None and isinstance(source.op, op.LocalSource):
            found = self._paths.setdefault(source.op.name, set())
            found.update(clean("/" + path) for path in paths)

    def attributes(self, source: op.LocalSource) -> Mapping[str, str]:
        """The attributes of one folder."""
        found = {"local.sharedkeyhint": source.name}
        if self._access.session:
            found["local.session"] = self._access.session
        if self._access.unique:
            found["local.unique"] = self._access.unique
        paths = self._paths.get(source.name, {_EVERYTHING})
        if _EVERYTHING not in paths:
            found["local.followpaths"] = _json(sorted(path.lstrip("/") for path in paths))
        if source.ignore:
            found["local.excludepatterns"] = _json(source.ignore)
        return found

    def store_attributes(self, store: str) -> Mapping[str, str]:
        """The attributes of an image in a layout of this machine."""
        session = {"oci.session": self._access.session} if self._access.session else {}
        return {"oci.store": store, **session}


def _json(values: Iterable[str]) -> str:
    return as_json(list(values)).decode("utf-8", "surrogateescape")


def source_op(
    definition: DefinitionWriter, vertex: Vertex, source: op.Source, folders: Locals
) -> OpOutput:
    """The op of a source."""
    identifier, attributes = identified(source)
    note, platform = vertex.note, None
    match source:
        case op.ImageSource():
            platform, attributes, caps = source.platform, {}, ["source.image"]
            if source.origin.startswith(_LAYOUT):
                store = layout_store(source.origin.removeprefix(_LAYOUT))
                # A daemon reads the name as one of an image, and looks in the store beside it.
                identifier = f"{_LAYOUT}docker.io/library/{store}@{source.digest}"
                attributes, caps = folders.store_attributes(store), ["source.ocilayout"]
        case op.LocalSource():
            attributes, caps = folders.attributes(source), ["source.local"]
            note = note._replace(span=None)  # Clients that debug would stop at the folder, too.
        case op.HttpSource():
            caps = ["source.http"]
        case op.GitSource():
            caps = ["source.git"]
        case _ as unknown:
            assert_never(unknown)
    body = {"identifier": identifier, "attrs": attributes}
    caps += [_CAPS[name] for name in attributes if name in _CAPS]
    return definition.append("source", body, OpInputs(), note, caps=caps, platform=platform)


def layout_store(folder: str) -> str:
    """The name of the store of a session that has the blobs of an OCI layout."""
    return digest_strings(["layout", folder])[7:32]
