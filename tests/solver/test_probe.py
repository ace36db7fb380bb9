"""Which vertices are left to do, where some results and some keys are known, by table."""

from collections.abc import Mapping

import pytest

from minibuild.cache.results import DiffKey, VertexResult
from minibuild.digest import Digest, digest_bytes
from minibuild.graph.op import Exec, Merge, Op
from minibuild.graph.vertex import Note, Vertex, topological
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.lookup import UNKNOWN, Answer, probe

A, B = (digest_bytes(name) for name in (b"a", b"b"))
ONE, TWO = VertexResult((DiffKey(1),), A, cached=True), VertexResult((DiffKey(2), DiffKey(3)), B)
WHOLE, KEY = Answer(ONE), Answer(ONE, whole=False)
RUN = Exec(("make",))


def vertex(name: str, *inputs: Vertex | None, op: Op = RUN) -> Vertex:
    return Vertex(Exec((name,)) if op is RUN else op, inputs, Note(name))


def probed(
    target: Vertex, answers: Mapping[str, Answer], known: Mapping[Digest, VertexResult] = {}
) -> tuple[set[str], set[str], list[str]]:
    """Names of vertices with a result, of those whose key is known, and of those that are left."""
    order = topological([target])
    names = {v.digest: v.note.name for v in order}

    def ask(ready: ReadyVertex) -> Answer:
        assert len(ready.inputs) == len(ready.vertex.inputs)
        return answers.get(ready.vertex.note.name, UNKNOWN)

    found = probe(order, [target, None], ask, known)
    return (
        {names[digest] for digest in found.results},
        {names[digest] for digest in found.known},
        [v.note.name for v in found.left],
    )


def graph() -> Vertex:
    """A stage `image` > `build` > `copy`, which the step `top` on `base` reads from."""
    build = vertex("build", vertex("image"))
    return vertex("top", vertex("base"), vertex("copy", build))


@pytest.mark.parametrize(
    ("answers", "results", "known", "left"),
    [
        ({}, "", "", "base image build copy top"),
        ({"image": WHOLE, "base": WHOLE}, "image base", "image base", "build copy top"),
        # The result of `copy` makes all that it was made of needless.
        (dict.fromkeys(("image", "build", "copy"), WHOLE), "image build copy",
         "image build copy", "base top"),
        # So it is if only keys of that are known.
        ({"image": KEY, "build": KEY, "copy": WHOLE}, "copy", "image build copy", "base top"),
        # A key alone is no result: what it needs is left, too.
        ({"image": WHOLE, "build": KEY}, "image", "image build", "base build copy top"),
        # Behind an unknown vertex nothing is asked for.
        ({"image": WHOLE, "copy": WHOLE}, "image", "image", "base build copy top"),
        (dict.fromkeys(("image", "base", "build", "copy", "top"), WHOLE),
         "image base build copy top", "image base build copy top", ""),
        (dict.fromkeys(("image", "base", "build", "copy"), KEY) | {"top": WHOLE}, "top",
         "image base build copy top", ""),
    ],
)  # fmt: skip
def test_what_is_left_to_do(
    answers: Mapping[str, Answer], results: str, known: str, left: str
) -> None:
    found = probed(graph(), answers)
    assert found == (set(results.split()), set(known.split()), left.split())


def test_a_merge_needs_the_results_of_its_inputs() -> None:
    """It is nothing but them, and a key alone is not enough."""
    top = vertex("top", vertex("a"), vertex("b"), op=Merge())
    assert probed(top, {"a": WHOLE, "b": KEY, "top": WHOLE}) == (
        {"a"},
        {"a", "b", "top"},
        ["b", "top"],
    )
    assert probed(top, dict.fromkeys(("a", "b", "top"), WHOLE))[2] == []
    step = vertex("top", vertex("a"), vertex("b"))
    assert probed(step, {"a": WHOLE, "b": KEY, "top": WHOLE})[2] == []


def test_vertices_that_are_done_are_not_asked_for() -> None:
    top = graph()
    copy = top.inputs[1]
    assert copy is not None
    found = probed(top, {"copy": UNKNOWN}, {copy.digest: TWO})
    assert found == ({"copy"}, {"copy"}, ["base", "top"])


def test_scratch_is_known() -> None:
    assert probed(vertex("top", None), {"top": WHOLE}) == ({"top"}, {"top"}, [])
