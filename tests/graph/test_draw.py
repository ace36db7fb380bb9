"""Graphs as data and as pictures: golden files, and text that means something to the formats."""

import json
from pathlib import Path
from xml.dom import minidom

import pytest

from minibuild.digest import Digest
from minibuild.errors import Span
from minibuild.graph.draw import FORMATS, drawn
from minibuild.graph.frontend import Built
from minibuild.graph.graphdata import graph_data
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import Copy, Exec, File, ImageSource, LocalSource
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Note, Vertex, merge
from tests.conftest import Golden

FOLDER = Path(__file__).parent / "drawn"
AMD64 = Platform("linux", "amd64")
ODD = 'RUN echo "<b>&amp;" \\ #1 $x | tr a-z \N{LATIN SMALL LETTER U WITH DIAERESIS} ' + "x" * 60


def note(name: str, line: int, stage: str) -> Note:
    return Note(name, Span("Dockerfile", line, line), stage)


def sample() -> Built:
    """Two stages, a link, a merge, and an instruction full of characters with a meaning."""
    image = ImageSource("docker.io/library/busybox:latest", Digest("sha256:" + "1" * 64), AMD64)
    base = Vertex(image, (), note("[one 1/2] FROM busybox", 1, "one"))
    run = Vertex(Exec(("sh", "-c", ODD)), [base], note(f"[one 2/2] {ODD}", 2, 'o"ne'))
    context = Vertex(LocalSource("context"), (), Note("[internal] load build context"))
    copy = File((Copy(1, ("a",), "/a"),))
    link = Vertex(copy, [None, context], note("[two 2/3] COPY --link a /a", 4, "two"))
    both = merge([base, link], note("[two 2/3] LINK COPY --link a /a", 4, "two"))
    last = Vertex(copy, [both, run], note("[two 3/3] COPY --from=one a /a", 5, "two"))
    return Built(AMD64, last, ImageConfig(AMD64, {}))


@pytest.mark.parametrize("form", FORMATS)
def test_drawn(form: str, golden: Golden) -> None:
    golden(FOLDER / f"graph.{form}", drawn(graph_data([sample()]), form) + "\n")


def test_data() -> None:
    data = json.loads(json.dumps(graph_data([sample()])))
    by_id = {vertex["id"]: vertex for vertex in data["vertices"]}
    assert data["images"] == [{"platform": "linux/amd64", "vertex": max(by_id)}]
    # Inputs come first, and what a vertex stands on is found by its id.
    for vertex in data["vertices"]:
        assert all(i is None or i < vertex["id"] for i in vertex["inputs"])
    last = by_id[max(by_id)]
    assert by_id[last["inputs"][0]]["kind"] == "merge"
    run = by_id[last["inputs"][1]]
    assert (run["op"]["args"][2], run["line"]) == (ODD, 2)


def test_an_svg_is_xml_whatever_is_in_it() -> None:
    picture = minidom.parseString(drawn(graph_data([sample()]), "svg"))
    assert len(picture.getElementsByTagName("use")) == 5  # not the context
    titles = [str(getattr(t.firstChild, "data", "")) for t in picture.getElementsByTagName("title")]
    assert any('echo "<b>&amp;"' in title and title.endswith("line 2") for title in titles)


def test_nothing_to_build() -> None:
    empty = graph_data([Built(AMD64, None, ImageConfig(AMD64, {}))])
    assert "image for linux/amd64: empty" in drawn(empty, "text")
    for form in FORMATS:
        assert drawn(empty, form)
