"""The page of a build, from records written by hand: whole, escaped, bounded, readable."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from minibuild.page.document import document
from minibuild.page.facts import facts
from minibuild.page.merges import made
from minibuild.page.style import DARK, LIGHT, SHAPES, TEXT
from minibuild.page.timeline import _packed
from minibuild.record.records import BuildRecord, BuildRecords, longest_chain, read_file
from minibuild.worker.worker import open_worker
from tests.support.contrast import contrast
from tests.support.markup import Page, problems

EVIL = (
    "</pre></style><script>alert(1)</script><img src=x onerror=alert(2)>"
    "\"'&amp;\x1b[31m\x00\u202e\udcff"
)


def vertex(name: str, line: int, *inputs: int | None, **more: Any) -> dict[str, Any]:
    found = {
        "kind": "exec", "name": name, "stage": "", "lines": [line, line], "inputs": list(inputs),
        "digest": f"sha256:{line:064x}", "key": f"sha256:{line:064x}", "state": "ran",
        "started": 100 * line, "ended": 100 * line + 90,
    }  # fmt: skip
    return {**found, **more}


def record(
    tmp_path: Path, text: str, vertices: Sequence[Mapping[str, Any]], **more: Any
) -> BuildRecord:
    data = {
        "format": 1, "id": "0123abcd", "minibuild": "1", "started": 1.7e9, "seconds": 12.5,
        "error": "", "context": "/src/app", "file": "", "target": "", "build_args": {},
        "tags": ["app"], "source": {"name": "Dockerfile", "text": text},
        "vertices": list(vertices), "outputs": [], "logs": {},
    }  # fmt: skip
    (tmp_path / "record.json").write_text(json.dumps({**data, **more}))
    return read_file(str(tmp_path / "record.json"))


def page_of(tmp_path: Path, build: BuildRecord, against: BuildRecord | None = None) -> Page:
    with open_worker(str(tmp_path / "store")) as worker:
        found = facts(worker, BuildRecords(worker.store.root), build, against)
    return Page(document(found))


SIMPLE = [
    vertex("[a 1/2] FROM busybox", 1, kind="image", stage="a", adds=[1]),
    vertex("[a 2/2] RUN make", 2, 0, stage="a", adds=[2]),
    vertex("[b 1/2] COPY --link --from=a /x /", 4, None, 1, kind="file", stage="b", adds=[3]),
    vertex("[b 1/2] LINK COPY --link --from=a /x /", 4, 1, 2, kind="merge", stage="b",
           result=[1, 2, 3]),
    vertex("[b 2/2] RUN test", 5, 3, stage="b", adds=[4], state="cached",
           remarks=["merging 3 layers: linked 4 files (a layer hides files)"]),
]  # fmt: skip
TEXT_OF_SIMPLE = "FROM busybox AS a\nRUN make\nFROM a AS b\nCOPY --link --from=a /x /\nRUN test\n"


def test_a_page_is_whole(tmp_path: Path) -> None:
    build = record(tmp_path, TEXT_OF_SIMPLE, SIMPLE, logs={"1": [[250, 1, "made it\n"]]})
    page = page_of(tmp_path, build)
    assert problems(page) == []
    assert "Build of app" in page.words and "made it" in page.words
    lines = [a["id"] for _, a, _ in page.elements if a.get("id", "").startswith("L")]
    assert lines == ["L1", "L2", "L3", "L4", "L5"]
    sections = [a["id"] for a in page.all("section")]
    assert sections == ["dockerfile", "timeline", "graph", "merges"]
    assert "1 merge not shown" in page.words  # the build in which line 5 ran has no record


@pytest.mark.parametrize("where", ["text", "name", "tag", "error", "log", "stage", "cause", "path"])
def test_nothing_gets_out_of_its_place(where: str, tmp_path: Path) -> None:
    text, more = TEXT_OF_SIMPLE, {}
    rows = [dict(row) for row in SIMPLE]
    against = None
    if where == "text":
        text = f"FROM busybox\nRUN {EVIL}\nLABEL x={EVIL}\n\n# {EVIL}"
    elif where in ("name", "stage"):
        rows[1][where] = f"[a 2/2] RUN {EVIL}"
    elif where == "tag":
        more = {"tags": [EVIL], "target": EVIL, "build_args": {EVIL: EVIL}, "context": EVIL}
    elif where == "error":
        rows[1].update(state="failed", error=EVIL)
        more = {"error": EVIL}
    elif where == "log":
        more = {"logs": {"1": [[0, 1, EVIL + "\n"], [1, 2, f"\r{EVIL}"]]}}
    else:
        against = record(tmp_path, text, rows)
        rows[1]["key"] = "sha256:" + "f" * 64
        parts = {"op": {"args": [EVIL]}, "parts": {"0:a": {EVIL: "file 0644 1"}}}
        more = {"key_parts": {rows[1]["key"]: parts}}
    page = page_of(tmp_path, record(tmp_path, text, rows, **more), against)
    assert problems(page) == []
    assert not [name for name, _, _ in page.elements if name in ("script", "img")]
    assert page.words.isprintable()


def test_a_page_is_bounded(tmp_path: Path) -> None:
    count = 400
    rows = [
        vertex(f"RUN step {n} {'x' * 90}", n, n - 2 if n > 1 else None) for n in range(1, count)
    ]
    text = "\n".join(f"RUN step {n} {'x' * 90}" for n in range(1, count))
    logs = {str(n): [[0, 1, "y" * 99 + "\n"]] * 600 for n in (3, 30, 300)}
    page = page_of(tmp_path, record(tmp_path, text, rows, logs=logs))
    assert problems(page) == []
    assert len(page.raw) < 400_000


def test_thirty_stages_are_less_than_200_kb(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for stage in range(30):
        for step in range(4):
            line, before = 5 * stage + step + 2, len(rows) - 1 if rows else None
            name = f"[s{stage} {step}/4] RUN echo {step} > /out/{stage} && cat /in/*"
            rows.append(vertex(name, line, before, stage=f"s{stage}"))
    text = "\n".join(f"RUN echo {n} > /out && cat /in/*" for n in range(1, 160))
    page = page_of(tmp_path, record(tmp_path, text, rows))
    assert problems(page) == []
    assert len(page.raw) < 200_000


def test_a_graph_without_a_definition(tmp_path: Path) -> None:
    rows = [vertex("RUN a", 1), vertex("RUN b", 2, 0)]
    for row in rows:
        row["lines"] = []
    page = page_of(tmp_path, record(tmp_path, "", rows))
    assert problems(page) == []
    assert "Steps" in page.words and "RUN b" in page.words


def test_a_build_in_which_nothing_ran(tmp_path: Path) -> None:
    rows = [{**row, "state": "cached"} for row in SIMPLE]
    assert problems(page_of(tmp_path, record(tmp_path, TEXT_OF_SIMPLE, rows))) == []
    assert problems(page_of(tmp_path, record(tmp_path, "", []))) == []


def test_why_stands_beside_the_line(tmp_path: Path) -> None:
    old = record(tmp_path, TEXT_OF_SIMPLE, SIMPLE)
    key = "sha256:" + "f" * 64
    rows = [dict(row) for row in SIMPLE]
    rows[1]["key"] = key
    before, after = ({"op": {"args": ["sh", "-c", word]}, "parts": {}} for word in ("a", "b"))
    known = {key: after, SIMPLE[1]["key"]: before}
    page = page_of(tmp_path, record(tmp_path, TEXT_OF_SIMPLE, rows, key_parts=known), old)
    assert "command 'a' -> 'b'" in page.words


def test_the_longest_chain(tmp_path: Path) -> None:
    rows = [
        vertex("RUN a", 1, started=0, ended=500),
        vertex("RUN b", 2, started=0, ended=900),
        vertex("RUN c", 3, 0, started=500, ended=1500),
        vertex("RUN d", 4, 1, 2, started=1500, ended=1600),
        vertex("RUN e", 5, 1, started=900, ended=1700),
    ]
    build = record(tmp_path, "", rows)
    assert [step.line for step in longest_chain(build, lambda step: step.seconds)] == [
        2,
        5,
    ]  # 1.7 s; a, c, d take 1.6 s


def test_no_bar_lies_over_another(tmp_path: Path) -> None:
    rows = [vertex(f"RUN {n}", n, started=10 * n, ended=10 * n + 35) for n in range(1, 40)]
    bars = list(_packed(record(tmp_path, "", rows).steps, 500))
    for number, bar in enumerate(bars):
        assert bar.left >= 0 and bar.left + bar.width <= 100
        for other in bars[:number]:
            apart = bar.left >= other.left + other.width or other.left >= bar.left + bar.width
            assert apart or bar.row != other.row


def test_a_merge_has_a_parent_and_a_reason(tmp_path: Path) -> None:
    rows = [dict(row) for row in SIMPLE]
    rows[4]["state"] = "ran"
    build = record(tmp_path, TEXT_OF_SIMPLE, rows)
    with open_worker(str(tmp_path / "store")) as worker:
        (merge,) = made(facts(worker, BuildRecords(worker.store.root), build))
    assert (merge.below, merge.strategy, merge.step.line) == (2, "linked", 5)
    assert [step.line if step else 0 for step in merge.makers] == [1, 2, 4]
    page = page_of(tmp_path, build)
    assert "linked 4 files (a layer hides files)" in page.words
    assert [li["class"] for li in page.all("li") if "class" in li] == ["parent", "parent", "linked"]


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read(scheme: Mapping[str, str]) -> None:
    for ground in ("bg", "soft", "mark"):
        for name in TEXT:
            assert contrast(scheme[name], scheme[ground]) >= 4.5, (name, ground)
    for ground in ("bg", "soft"):
        for name in SHAPES:
            assert contrast(scheme[name], scheme[ground]) >= 3, (name, ground)
