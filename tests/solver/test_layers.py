"""Which vertices become layers, and which Files need never be trees."""

import pytest

from minibuild.graph.op import BindMount, Copy, Diff, Exec, File, Merge, MountOutput, Op, TmpfsMount
from minibuild.graph.vertex import Note, Vertex, topological
from minibuild.solver.layers import LayerPlan, Packing

COPY = File((Copy(1, ("a",), "/"),))


def vertex(name: str, op: Op, *inputs: Vertex | None) -> Vertex:
    return Vertex(op if not isinstance(op, Exec) else Exec((name,)), inputs, Note(name))


def run(name: str, *inputs: Vertex | None) -> Vertex:
    return vertex(name, Exec(()), *inputs)


def copy(name: str, *inputs: Vertex | None) -> Vertex:
    return vertex(name, File((Copy(1, (name,), "/"),)), *inputs)


def merge(name: str, *inputs: Vertex) -> Vertex:
    return vertex(name, Merge(), *inputs)


def plan(target: Vertex, packing: Packing | None) -> tuple[set[str], set[str]]:
    """The names of the Files that no step reads, and of what becomes layers."""
    order = topological([target])
    names = {v.digest: v.note.name for v in order}
    made = LayerPlan.of(packing, order, [target, None])
    assert made.packing is packing
    return {names[d] for d in made.unread}, {names[d] for d in made.layered}


BASE = run("base")
MOUNTED = vertex("mounted", File((Copy(0, ("a",), "/"),)), None)
WRITES = Vertex(
    Exec(
        ("make",),
        mounts=(
            *(BindMount("/in", 2, output=True), TmpfsMount("/tmp")),
            *(BindMount("/out", 1, output=True), BindMount("/ro", 0)),
        ),
    ),
    (BASE, MOUNTED, run("other")),
    Note("writes"),
)
CHAIN = copy("third", copy("second", BASE, run("built")), None)


@pytest.mark.parametrize(
    ("target", "unread", "layered"),
    [
        (copy("top", BASE, run("other")), {"top"}, {"top", "base"}),
        # A copy on a copy reads it: it may write to the same directories.
        (CHAIN, {"third"}, {"third", "second", "base"}),
        (run("top", copy("below", BASE)), set(), {"top", "below", "base"}),
        # What a step mounts or copies from is no layer of the outcome.
        (run("top", BASE, copy("read", None)), set(), {"top", "base"}),
        # What a step left in a mount lies on what was mounted there, not on the step's root.
        (vertex("left", MountOutput(2), WRITES), set(), {"left", "mounted"}),
        (vertex("left", MountOutput(0), WRITES), set(), {"left", "other"}),
        (vertex("left", MountOutput(3), WRITES), set(), {"left"}),
        # The layers of a diff are those of what it leads to.
        (vertex("d", Diff(), BASE, run("made", BASE)), set(), {"d", "made", "base"}),
        # A merge only passes on.
        (merge("top", copy("a", None), copy("b", None)), {"a", "b"}, {"top", "a", "b"}),
        (run("top", merge("m", copy("a", None), copy("b", None))), set(), {"top", "m", "a", "b"}),
    ],
    ids=lambda v: v.note.name if isinstance(v, Vertex) else None,
)
def test_the_plan(target: Vertex, unread: set[str], layered: set[str]) -> None:
    assert plan(target, Packing()) == (unread, layered)
    assert plan(target, Packing(wanted=False)) == (unread, set())
    assert plan(target, None) == (set(), set())
