"""LLB as a graph: what programs that speak LLB want built.

Comes in: a message `Definition`, from a stranger. Goes out: the vertex of its result, with all that
it stands on. What a graph of ours cannot say is an error that names the op: some flags of copies,
ops that build from a definition in a file. Inputs are named by the digest of an op's bytes as they
came, and come before what uses them.
Rules: moby/buildkit `solver/pb/ops.proto`, `client/llb`.
Read next: `exec_op`, `file_op`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from minibuild.buildkit.definition import ops_in, platform_in
from minibuild.buildkit.exec_op import decode_exec
from minibuild.buildkit.file_op import as_tree, decode_file, pick
from minibuild.buildkit.proto import messages
from minibuild.digest import Digest, digest_strings
from minibuild.errors import DefinitionError, Span
from minibuild.graph import op
from minibuild.graph.identifier import Identified, source_named
from minibuild.graph.platform import Platform, host_platform
from minibuild.graph.vertex import Note, Vertex, merge

_ASKED = tuple(
    f"local.{key}" for key in ("session", "followpaths", "excludepatterns", "includepattern")
)


def decode(definition: Any, digests: dict[Digest, Digest] | None = None) -> Vertex | None:
    """The result of a definition; None is the empty tree. `digests` gets those of the ops, by those
    of their vertices. Raises `DefinitionError`."""
    decoder = _Decoder(definition, {} if digests is None else digests)
    last: Vertex | None = None
    for digest, data in ops_in(definition):
        last = decoder.add(digest, data)
    return as_tree(last)


def _texts(message: Any) -> Iterator[str]:
    """All text in a message: paths, arguments, variables. Contents of files are bytes."""
    for _, value in message.ListFields():
        several = hasattr(value, "__len__") and not isinstance(value, str | bytes)
        for one in value if several else (value,):
            if isinstance(one, str):
                yield one
            elif hasattr(one, "ListFields"):
                yield from _texts(one)


class _Decoder:
    """The ops so far. Each output of an op is a vertex."""

    def __init__(self, definition: Any, digests: dict[Digest, Digest]) -> None:
        self._definition = definition
        self._digests = digests
        self._op = messages("ops")["Op"]
        self._locals = local_names(definition)
        self._outputs: dict[tuple[Digest, int], Vertex | None] = {}

    def add(self, digest: Digest, data: bytes) -> Vertex | None:
        """Take one op. The last one has no kind: its input is the result."""
        try:
            message = self._op.FromString(data)
        except Exception:  # the library has its own kind for each of its versions
            raise DefinitionError(f"{digest} is no op of LLB") from None
        inputs = [self._input(reference) for reference in message.inputs]
        kind = message.WhichOneof("op")
        note = self._note(digest, message, kind)
        if kind is None:
            return inputs[0] if inputs else None
        if b"\0" in data and any("\0" in text for text in _texts(getattr(message, kind))):
            raise DefinitionError(f"an op ({kind}) has a NUL character where none can be")
        outputs = self._vertices(kind, message, inputs, note, self._locals.get(digest, ""))
        for number, vertex in outputs.items():
            self._outputs[digest, number] = vertex
            if vertex is not None:
                self._digests[vertex.digest] = digest
        return outputs.get(0)

    def _input(self, reference: Any) -> Vertex | None:
        try:
            return self._outputs[Digest(reference.digest), reference.index]
        except KeyError:
            raise DefinitionError(
                f"the definition has no output {reference.index} of {reference.digest!r}",
                hint="ops have to stand behind those that they use",
            ) from None

    def _vertices(
        self, kind: str, message: Any, inputs: Sequence[Vertex | None], note: Note, local: str
    ) -> Mapping[int, Vertex | None]:
        """The vertices of an op, by the numbers of its outputs."""
        body = getattr(message, kind)
        match kind:
            case "exec":
                return decode_exec(message, inputs, note)
            case "file":
                return decode_file(body, inputs, note)
            case "passthrough":
                chosen = [pick(inputs, number) for number in body.outputs]
                # A File without actions: a vertex that is there once all inputs are.
                given, nothing = tuple(filter(None, inputs)), op.File(())
                return {at: Vertex(nothing, (v, *given), note) for at, v in enumerate(chosen)}
            case "source":
                source = Vertex(source_of(message, local), (), note)
                return {0: _owned(source, body.attrs)}
            case "merge":
                trees = [as_tree(pick(inputs, item.input)) for item in body.inputs]
                return {0: merge(trees, note)}
            case "diff":
                sides = [as_tree(pick(inputs, side.input)) for side in (body.lower, body.upper)]
                return {0: Vertex(op.Diff(), sides, note)}
        raise DefinitionError(f"ops of the kind {kind!r} are not possible here")

    def _note(self, digest: Digest, message: Any, kind: str | None) -> Note:
        metadata = self._definition.metadata[digest]
        name = metadata.description.get("llb.customname") or _title(kind, message)
        proxy = message.exec.meta.proxy_env
        return Note(
            name,
            self._span(digest),
            ignore_cache=metadata.ignore_cache,
            proxy=tuple(
                (name, value)
                for field, value in proxy.ListFields()
                for name in (field.name, field.name.upper())
            ),
        )

    def _span(self, digest: Digest) -> Span | None:
        source = self._definition.Source
        if digest not in source.locations:
            return None
        for location in source.locations[digest].locations:
            lines = [line_range.start.line for line_range in location.ranges]
            lines += [line_range.end.line for line_range in location.ranges]
            if lines and min(lines) > 0 and 0 <= location.sourceIndex < len(source.infos):
                info = source.infos[location.sourceIndex]
                # A range is written line by line later: no more of it than there is text.
                end = max(min(lines), min(max(lines), info.data.count(b"\n") + 1))
                return Span(info.filename, min(lines), end)
        return None


def _title(kind: str | None, message: Any) -> str:
    """A name for an op that has none."""
    if kind == "exec":
        return " ".join(message.exec.meta.args)
    if kind == "source":
        return str(message.source.identifier)
    return kind or ""


def source_of(message: Any, local: str = "") -> op.Source:
    """The source of an op. Raises `DefinitionError`."""
    attributes: Mapping[str, str] = message.source.attrs
    named = Identified(message.source.identifier, attributes)
    source = source_named(named, platform_of(message.platform))
    return _local(local, attributes) if isinstance(source, op.LocalSource) else source


def platform_of(message: Any) -> Platform:
    """The platform of an op; that of this machine, if it has none."""
    return platform_in(message) or host_platform()


def local_names(definition: Any) -> Mapping[Digest, str]:
    """The names of local sources in our graph, by the digests of their ops. Where a definition
    takes several things of one folder, each has a name of its own; so has what patterns include,
    for a graph cannot say these, and another definition may include other things."""
    kind = messages("ops")["Op"]
    asked: dict[Digest, tuple[str, Digest]] = {}
    chosen: set[str] = set()
    for digest, data in ops_in(definition):
        with suppress(Exception):  # the library has its own kind for each of its versions
            source = kind.FromString(data).source
            scheme, _, name = source.identifier.partition("://")
            if scheme == "local":
                words = [f"{key}={source.attrs[key]}" for key in _ASKED if key in source.attrs]
                asked[digest] = (name, digest_strings(words))
                chosen.update([name] if "local.includepattern" in source.attrs else ())
    kinds = {
        name: {key for other, key in asked.values() if other == name} for name, _ in asked.values()
    }
    return {
        digest: f"{name}#{key[7:19]}" if len(kinds[name]) > 1 or name in chosen else name
        for digest, (name, key) in asked.items()
    }


def _local(name: str, attributes: Mapping[str, str]) -> op.LocalSource:
    try:
        patterns = json.loads(attributes.get("local.excludepatterns", "[]"))
        ignore = tuple(str(pattern) for pattern in patterns)
        return op.LocalSource(name, ignore)
    except (ValueError, TypeError):
        raise DefinitionError(f"the patterns of local source {name!r} are no list") from None


def _owned(vertex: Vertex, attributes: Mapping[str, str]) -> Vertex:
    """A file from the web with the owner that it is to have."""
    user, group = (attributes.get(f"http.{key}", "0") for key in ("uid", "gid"))
    if user == group == "0" or not isinstance(vertex.op, op.HttpSource):
        return vertex
    return Vertex(
        op.File((op.Copy(1, (".",), "/", f"{user}:{group}"),)), (None, vertex), vertex.note
    )
