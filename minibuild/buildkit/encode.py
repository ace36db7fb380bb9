"""A graph as LLB: what `--call=llb` writes, and what a BuildKit solves.

Comes in: the vertex of a result, with all that it stands on. Goes out: a `DefinitionWriter`, whose
ops are in BuildKit's order: inputs before what uses them, each once. Read next: `encode_source`,
`exec_op` and `file_op`.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from minibuild.buildkit.definition import DefinitionWriter, OpInputs, OpOutput
from minibuild.buildkit.encode_source import LocalAccess, Locals, source_op
from minibuild.buildkit.exec_op import EncodedExec, encode_exec
from minibuild.buildkit.file_op import encode_file
from minibuild.digest import Digest
from minibuild.errors import SourceText
from minibuild.graph import op
from minibuild.graph.vertex import Vertex, topological


def encode(
    result: Vertex | None,
    access: LocalAccess,
    *,
    cache_namespace: str = "",
    source: SourceText | None = None,
    language: str = "",
) -> Any:
    """The definition of a result: a message `Definition` of `ops.proto`.

    `access` says how folders of this machine are reached. `cache_namespace` is what the ids of
    cache mounts begin with (BUILDKIT_CACHE_MOUNT_NS). `source` is the text that the graph was made
    from. The same graph makes the same bytes.
    """
    definition = DefinitionWriter()
    outputs = add_ops(definition, [result], access, cache_namespace)
    end = None if result is None else outputs[result.digest]
    return definition.finish(end, () if source is None else (source,), language)


def add_ops(
    definition: DefinitionWriter,
    results: Sequence[Vertex | None],
    access: LocalAccess,
    cache_namespace: str,
) -> dict[Digest, OpOutput]:
    """Append the ops of all that results stand on, and say which output each vertex is."""
    nested = _one_merge_a_link(results)
    ends = [None if result is None else nested[result.digest] for result in results]
    vertices = topological(ends, _go_order)
    encoder = _Encoder(definition, Locals(access, vertices), cache_namespace)
    for vertex in vertices:
        encoder.add(vertex)
    return {digest: encoder.outputs[vertex.digest] for digest, vertex in nested.items()}


def _go_order(vertex: Vertex) -> Sequence[Vertex | None]:
    """The inputs in the order in which BuildKit's client writes them: a File is a chain from its
    last action to its first, on a base."""
    if isinstance(vertex.op, op.File):
        return [vertex.inputs[0], *reversed(vertex.inputs[1:])]
    return vertex.inputs


def _one_merge_a_link(results: Sequence[Vertex | None]) -> dict[Digest, Vertex]:
    """The vertices with a merge for each link of a Dockerfile. Here the links of a stage are one
    flat merge; BuildKit's frontend makes one of each, on that of the link before."""
    known: dict[Digest, Vertex] = {}
    for vertex in topological(results):
        inputs = [None if v is None else known[v.digest] for v in vertex.inputs]
        if isinstance(vertex.op, op.Merge) and vertex.note.span is not None:
            known[vertex.digest] = _nested(inputs)
        else:
            known[vertex.digest] = Vertex(vertex.op, inputs, vertex.note)
    return known


def _nested(inputs: Sequence[Vertex | None]) -> Vertex:
    merged = inputs[0]
    for link in inputs[1:]:
        assert link is not None  # empty trees are left out of merges
        stage, bracket, text = link.note.name.rpartition("] ")
        note = link.note._replace(name=f"{stage}{bracket}LINK {text}")
        merged = Vertex(op.Merge(), (merged, link), note)
    assert merged is not None
    return merged


class _Encoder:
    """The ops so far, and what each vertex has become."""

    __slots__ = ("_cache_namespace", "_execs", "_folders", "definition", "outputs")

    def __init__(self, definition: DefinitionWriter, folders: Locals, cache_namespace: str) -> None:
        self.definition = definition
        self.outputs: dict[Digest, OpOutput] = {}
        self._execs: dict[Digest, EncodedExec] = {}
        self._folders = folders
        self._cache_namespace = cache_namespace

    def add(self, vertex: Vertex) -> None:
        """Append the op of a vertex whose inputs were added."""
        self.outputs[vertex.digest] = self._encode(vertex)

    def _encode(self, vertex: Vertex) -> OpOutput:
        inputs = [None if v is None else self.outputs[v.digest] for v in vertex.inputs]
        match vertex.op:
            case op.ImageSource() | op.LocalSource() | op.HttpSource() | op.GitSource() as source:
                return source_op(self.definition, vertex, source, self._folders)
            case op.Exec() as exec_op:
                done = encode_exec(self.definition, vertex, exec_op, inputs, self._cache_namespace)
                self._execs[vertex.digest] = done
                return done.root
            case op.MountOutput(mount=mount):
                (ran,) = vertex.inputs
                assert ran is not None  # it is what an Exec left
                return self._execs[ran.digest].mounts[mount]
            case op.File() as file_op:
                return encode_file(self.definition, vertex, file_op, inputs)
            case op.Merge():
                return self._merge(vertex, inputs)
            case op.Diff():
                return self._diff(vertex, inputs)
            case _ as unknown:
                assert_never(unknown)

    def _merge(self, vertex: Vertex, inputs: list[OpOutput | None]) -> OpOutput:
        numbers = OpInputs()
        body = {"inputs": [{"input": numbers.index(output)} for output in inputs]}
        return self.definition.append("merge", body, numbers, vertex.note, caps=["mergeop"])

    def _diff(self, vertex: Vertex, inputs: list[OpOutput | None]) -> OpOutput:
        numbers, sides = OpInputs(), ("lower", "upper")
        body = {
            side: {"input": numbers.index(output)}
            for side, output in zip(sides, inputs, strict=True)
        }
        return self.definition.append("diff", body, numbers, vertex.note, caps=["diffop"])
