"""Pictures of graphs: a lane for each stage, nothing over anything else, words that fit and can be
read."""

import re
from typing import Any
from xml.dom import minidom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.graph.lanes import MOST_LANES, Lane, lane_edges, lanes, places, ranks, words_of
from minibuild.graph.state import image, local, merge, scratch
from minibuild.graph.svg import BOX, DARK, LANE, LIGHT, svg
from tests.support.contrast import contrast


def vertex(id: int, name: str, *inputs: int | None, stage: str = "", kind: str = "exec") -> Any:
    return {"id": id, "kind": kind, "name": name, "stage": stage, "line": id, "inputs": inputs,
            "digest": "", "op": {}}  # fmt: skip


def graph(*vertices: Any) -> Any:
    return {"vertices": vertices, "images": [{"platform": "p", "vertex": vertices[-1]["id"]}]}


def staged(*inputs_of_stages: list[int]) -> Any:
    """A stage of two steps for each list: the first stands on the ends of the stages listed."""
    made = []
    for number, stages in enumerate(inputs_of_stages):
        first, name = 2 * number + 1, f"s{number}"
        made.append(vertex(first, f"[{name} 1/2] A", *[2 * s + 2 for s in stages], stage=name))
        made.append(vertex(first + 1, f"[{name} 2/2] B", first, stage=name))
    return graph(*made)


GRAPHS = st.integers(1, 14).flatmap(
    lambda count: st.tuples(
        *(st.lists(st.integers(0, max(n - 1, 0)), max_size=min(n, 3), unique=True)
          for n in range(count))
    )
)  # fmt: skip


@given(GRAPHS)
def test_inputs_stand_above_and_nothing_over_anything(stages: tuple[list[int], ...]) -> None:
    found = lanes(staged(*stages))
    placed = {place.vertex["id"]: place for place in places(found)}
    assert len({(p.lane, p.row) for p in placed.values()}) == len(placed)
    for place in placed.values():
        assert all(placed[i].row < place.row for i in place.vertex["inputs"])
    rows = {lane.number: row for row, members in enumerate(ranks(found)) for lane in members}
    for user, sources in lane_edges(found).items():
        assert all(rows[source] < rows[user] for source in sources)


@given(GRAPHS)
def test_boxes_lie_apart_and_inside(stages: tuple[list[int], ...]) -> None:
    picture = minidom.parseString(svg(staged(*stages))).documentElement
    assert picture is not None
    width, height = int(picture.getAttribute("width")), int(picture.getAttribute("height"))
    sizes = {r.getAttribute("id"): int(r.getAttribute("width"))
             for r in picture.getElementsByTagName("rect")}  # fmt: skip
    boxes = []
    for use in picture.getElementsByTagName("use"):
        x, y = int(use.getAttribute("x")), int(use.getAttribute("y"))
        boxes.append((x, y, x + sizes[use.getAttribute("href")[1:]], y + BOX))
    assert len(boxes) == 2 * len(stages) + (len(stages) if len(stages) > MOST_LANES else 0)
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        for other in boxes[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_many_stages_are_no_wider_than_a_screen() -> None:
    thirty = svg(staged(*([n - 1] if n else [] for n in range(30))))
    width = re.search(r'<svg[^>]* width="(\d+)"', thirty)
    assert width is not None and int(width[1]) < 5 * LANE
    # Each box of the overview leads to the lane of its stage.
    leads, ids = re.findall(r'href="#(mb-lane-\d+)"', thirty), re.findall(r' id="([^"]+)"', thirty)
    assert len(leads) == 30 and set(leads) <= set(ids) and len(ids) == len(set(ids))


def names(found: list[Lane]) -> list[str]:
    return [lane.name for lane in found]


def test_what_is_made_of_others_comes_last() -> None:
    data = graph(
        vertex(1, "[a 1/1] A", stage="a"),
        vertex(2, "[final  1/10] COPY --from=a", None, 1, stage="final"),
        vertex(3, "[b 1/1] B", stage="b"),
        vertex(4, "[final 10/10] COPY --from=b", 2, 3, stage="final"),
    )
    assert names(lanes(data)) == ["a", "b", "final"]


def test_platforms_have_lanes_of_their_own() -> None:
    data = graph(
        vertex(1, "[linux/amd64 app 1/1] A", stage="app"),
        vertex(2, "[linux/arm64 app 1/1] A", stage="app"),
    )
    assert names(lanes(data)) == ["linux/amd64 app", "linux/arm64 app"]


def test_without_stages_each_chain_is_a_lane() -> None:
    base = image("busybox")
    data = svg_data(merge([base.run("a").run("b"), base.run("c"), scratch().mkdir("/d")]))
    assert [[words_of(v) for v in lane.vertices] for lane in lanes(data)] == [
        ["RUN /bin/sh -c c"],
        ["MKDIR /d"],
        ["FROM busybox", "RUN /bin/sh -c a", "RUN /bin/sh -c b", "merge of 3"],
    ]


def svg_data(state: Any) -> Any:
    from minibuild.graph.graphdata import graph_data
    from minibuild.graph.platform import host_platform

    return graph_data([state.built(host_platform())])


def test_a_context_is_a_word_and_no_box() -> None:
    picture = svg(svg_data(scratch().copy(local("src"), "/", "/")))
    assert picture.count("<use ") == 1 and "from src" in picture


def test_states_are_words_and_signs() -> None:
    data = graph(
        {**vertex(1, "RUN a"), "state": "cached"}, {**vertex(2, "RUN b", 1), "state": "ran"}
    )
    picture = svg(data, lambda v: f"#L{v['line']}")
    assert "line 1 · ✓ cached" in picture and "line 2 · ▶ ran" in picture
    assert '<a href="#L2">' in picture


@pytest.mark.parametrize(
    "text", ["x" * 200, "RUN " + "漢" * 80, "a b " * 60, "", "<&\">'", "\x1b[31m \x00 \u202e"]
)
def test_words_fit_and_are_escaped(text: str) -> None:
    picture = minidom.parseString(svg(graph(vertex(1, text, stage=text))))
    for shown in picture.getElementsByTagName("text"):
        said = "".join(str(node.nodeValue) for node in shown.childNodes)
        assert sum(2 if ord(c) > 0x2E7F else 1 for c in said) <= (LANE - 36) / 6.62


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read(scheme: dict[str, str]) -> None:
    for ground in ("ground", "lane", "image", "exec", "file", "merge", "else"):
        for ink in ("ink", "dim"):
            assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)
    assert contrast(scheme["line"], scheme["lane"]) >= 3


def test_a_state_shows_itself_in_a_notebook() -> None:
    shown = image("busybox").run("make <all>")._repr_html_()
    assert "<svg" in shown and "make &lt;all&gt;" in shown and "<script" not in shown
