"""The key of a copy from a directory whose state has a name: what it depends on, who has one."""

import pytest

from minibuild.cache.results import VertexResult
from minibuild.digest import digest_bytes
from minibuild.graph.op import Copy, Exec, File, LocalSource, Mkdir, Op
from minibuild.graph.vertex import IgnoreRules, Note, Vertex
from minibuild.solver.inputs import revision_key
from minibuild.solver.keys import VERSION, ReadyVertex

BASE, OTHER = digest_bytes(b"base"), digest_bytes(b"other")
COPY = Copy(1, ("a",), "/")
ON_BASE, COPYING, CONTEXT = VertexResult((), BASE), File((COPY,)), LocalSource("context")
REVISIONS = {"context": "one", "more": "two"}


def ready(
    op: Op = COPYING,
    source: LocalSource = CONTEXT,
    ignored: tuple[str, ...] = (),
    base: VertexResult = ON_BASE,
    *,
    ignore_cache: bool = False,
) -> ReadyVertex:
    below = Vertex(LocalSource("below"))
    context = Vertex(source, note=Note(ignored=IgnoreRules(ignored)))
    vertex = Vertex(op, (below, context), Note(ignore_cache=ignore_cache))
    return ReadyVertex(vertex, (base, VertexResult((), None, local=source)))


def test_what_it_depends_on() -> None:
    keys = [
        revision_key(found, revisions, version)
        for found, revisions, version in (
            (ready(), REVISIONS, VERSION),
            (ready(), {"context": "three"}, VERSION),
            (ready(), REVISIONS, "other"),
            (ready(File((COPY._replace(paths=("b",)),))), REVISIONS, VERSION),
            (ready(source=LocalSource("more")), REVISIONS, VERSION),
            (ready(source=LocalSource("context", ("x",))), REVISIONS, VERSION),
            (ready(ignored=("x",)), REVISIONS, VERSION),
            (ready(base=VertexResult((), OTHER)), REVISIONS, VERSION),
        )
    ]
    assert None not in keys and len(set(keys)) == len(keys)
    assert revision_key(ready(), {"context": "one"}, VERSION) == keys[0]


@pytest.mark.parametrize(
    "found",
    [
        ready(source=LocalSource("elsewhere")),
        ready(File(())),
        ready(File((COPY, Mkdir("/d")))),
        ready(File((COPY._replace(input=0),))),
        ready(File((COPY._replace(unpack=True),))),
        ready(Exec(("make",))),
        ready(ignore_cache=True),
        ready(base=VertexResult((), BASE, forced=True)),
    ],
)
def test_who_has_none(found: ReadyVertex) -> None:
    assert revision_key(found, REVISIONS, VERSION) is None


def test_without_revisions() -> None:
    assert revision_key(ready(), {}, VERSION) is None
