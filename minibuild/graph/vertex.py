"""Vertices and edges: operations wired to their inputs.

A vertex is an op and its inputs, and its digest covers just these two: equal vertices are one
vertex, however often a Dockerfile says the same thing. What people want to know about a vertex
(its place in the Dockerfile, its name in progress) rides along in a `Note` that is never hashed.
Read next: `graph.image`.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from minibuild.digest import Digest, digest_json
from minibuild.errors import Span
from minibuild.graph.op import Merge, Op
from minibuild.startup.tuples import NamedTuple


class IgnoreRules(NamedTuple):
    """The patterns of an ignore file. The name of the file and the line of each pattern serve to
    explain why something is not there."""

    patterns: tuple[str, ...] = ()
    file: str = ""
    lines: tuple[int, ...] = ()


class Note(NamedTuple):
    """What rides along with a vertex unhashed.

    `name` is what progress shows (`[build 2/5] RUN make`). `ignore_cache` asks for a fresh
    execution. `proxy` are environment variables of an Exec that must not change its identity.
    `ignored` is the ignore file that took files from the vertex, if one did.
    """

    name: str = ""
    span: Span | None = None
    stage: str = ""
    ignore_cache: bool = False
    proxy: tuple[tuple[str, str], ...] = ()
    ignored: IgnoreRules | None = None


class Vertex:
    """An op and its inputs. Immutable; equal to any other vertex of the same digest.

    An input of None is `scratch`, the empty tree. Inputs are vertices, not digests, so that a
    graph is held by its last vertex alone.
    """

    __slots__ = ("digest", "inputs", "note", "op")

    op: Op
    inputs: tuple["Vertex | None", ...]
    note: Note
    digest: Digest

    def __init__(self, op: Op, inputs: Sequence["Vertex | None"] = (), note: Note = Note()) -> None:  # noqa: B008
        self.op = op
        self.inputs = tuple(inputs)
        self.note = note
        # The inputs' digests stand for their whole history: hashing never walks the graph.
        self.digest = digest_json(
            {"op": plain(op), "inputs": [None if v is None else v.digest for v in self.inputs]}
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vertex) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{type(self.op).__name__} {self.digest[7:19]} {self.note.name!r}>"


def plain(value: Any) -> Any:
    """An op (or a part of one) as JSON data that names the types it is made of."""
    if isinstance(value, tuple):
        fields: tuple[str, ...] | None = getattr(value, "_fields", None)
        if fields is None:
            return [plain(item) for item in value]
        members = {name: plain(item) for name, item in zip(fields, value, strict=True)}
        return {"type": type(value).__name__, **members}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return value


def merge(inputs: Iterable[Vertex | None], note: Note = Note()) -> Vertex | None:  # noqa: B008
    """A merge of the inputs, flattened: a merge of merges is one merge of all their inputs.

    Empty inputs are left out; nothing to merge is scratch, and one input is itself.
    """
    flat: list[Vertex] = []
    for vertex in inputs:
        if vertex is None:
            continue
        if isinstance(vertex.op, Merge):
            flat.extend(v for v in vertex.inputs if v is not None)
        else:
            flat.append(vertex)
    if len(flat) < 2:
        return flat[0] if flat else None
    return Vertex(Merge(), flat, note)


def topological(
    targets: Iterable[Vertex | None],
    inputs: Callable[[Vertex], Sequence[Vertex | None]] = attrgetter("inputs"),
) -> list[Vertex]:
    """All vertices the targets need, inputs before their users, each digest once. `inputs` says in
    which order those of a vertex come.

    Iterative, because a Dockerfile of a thousand RUNs is a chain of a thousand vertices.
    """
    order: dict[Digest, Vertex] = {}
    entered: set[Digest] = set()
    stack = [v for v in targets if v is not None][::-1]
    while stack:
        vertex = stack[-1]
        if vertex.digest in entered:
            stack.pop()
            order.setdefault(vertex.digest, vertex)
            continue
        entered.add(vertex.digest)
        stack.extend(v for v in reversed(inputs(vertex)) if v and v.digest not in entered)
    return list(order.values())
