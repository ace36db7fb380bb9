"""The steps of a build, as `mode=max` writes them, and the places that they come from.

Comes in: a graph and the texts that it was made from. Goes out: the steps as JSON. BuildKit's form
of them is LLB, which `llb` writes; that takes the Python package protobuf. Without it the steps are
vertices of our own graph, under another name.
Rules: BuildKit's docs/attestations/slsa-definitions.md. Read next: `llb`.
"""

import base64
from collections.abc import Mapping, Sequence

from minibuild.attest.call import Json
from minibuild.digest import Digest
from minibuild.errors import SourceText
from minibuild.graph.address import without_credentials
from minibuild.graph.op import GitSource, HttpSource, Op
from minibuild.graph.vertex import Vertex, plain, topological
from minibuild.startup.tuples import NamedTuple


class BuildSteps(NamedTuple):
    """The steps, and by the vertices of the graph which step each became. `source` are texts, and
    the places in them that steps come from."""

    config: Json
    source: Json
    outputs: Mapping[Digest, str]


class Texts(NamedTuple):
    """The texts that a graph was made from, their language, and what the first one was read
    from."""

    sources: Sequence[SourceText]
    language: str = ""
    origin: Vertex | None = None


def info(text: SourceText, language: str) -> Json:
    """A text that steps come from."""
    data = text.text.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(data).decode()
    return {"filename": text.name, "language": language, "data": encoded}


def own_steps(result: Vertex | None, texts: Texts) -> BuildSteps:
    """The steps as vertices of our own graph."""
    vertices = topological([result])
    number = {vertex.digest: f"step{index}" for index, vertex in enumerate(vertices)}
    definition = [
        {
            "id": number[vertex.digest],
            "name": vertex.note.name,
            "op": plain(_shown(vertex.op)),
            "inputs": [None if v is None else number[v.digest] for v in vertex.inputs],
        }
        for vertex in vertices
    ]
    locations = {
        number[vertex.digest]: {"locations": [{"ranges": [_lines(span.first, span.last)]}]}
        for vertex in vertices
        if (span := vertex.note.span) is not None
    }
    infos = [info(text, texts.language) for text in texts.sources]
    outputs = {digest: f"{step}:0" for digest, step in number.items()}
    return BuildSteps({"definition": definition}, {"infos": infos, "locations": locations}, outputs)


def _lines(first: int, last: int) -> Json:
    return {"start": {"line": first}, "end": {"line": last}}


def _shown(op: Op) -> Op:
    """The op as others may see it."""
    if isinstance(op, HttpSource | GitSource):
        return op._replace(url=without_credentials(op.url))
    return op
