"""The pictures of docs/, made from what the program says: `python docs/pictures/make.py`.

Comes in: the demo, built in a store of its own (it needs a static busybox), and the JSON of
`merge-trace` and `image inspect`. Goes out: SVG files beside this script. They have no date and no
digest in them, so they change only when what they show changes.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
DEMO = CHECKOUT / "testdata" / "whiteout-hardlink"

# Colours of a light and a dark page; a word stands beside each, so colour never speaks alone.
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #0f172a } .small { font-size: 11px; fill: #475569 }
.mono { font-family: ui-monospace, monospace; font-size: 12px } .box { fill: #fff; stroke: #64748b }
.parent { fill: #e2e8f0 } .link { fill: #dcfce7 } .run { fill: #fef3c7 } .gone { fill: #fee2e2 }
.way { stroke: #475569; fill: none; marker-end: url(#tip) } #tip path { fill: #475569 }
@media (prefers-color-scheme: dark) {
  text { fill: #e2e8f0 } .small { fill: #94a3b8 } .box { fill: #1e293b; stroke: #94a3b8 }
  .parent { fill: #334155 } .link { fill: #14532d } .run { fill: #713f12 } .gone { fill: #7f1d1d }
  .way { stroke: #94a3b8 } #tip path { fill: #94a3b8 }
}</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7"
orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>"""


class Sheet:
    """An SVG document in the making; sizes are in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            STYLE,
        ]

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """A line of text; `y` is its base line."""
        self._lines.append(
            f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, kind: str = "") -> None:
        """A rectangle with round corners."""
        self._lines.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" '
            f'class="box {kind}"/>'
        )

    def way(self, *points: tuple[float, float]) -> None:
        """An arrow along points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._lines.append(f'<polyline points="{path}" class="way"/>')

    def write(self, name: str) -> None:
        """Put the document beside this script."""
        (HERE / name).write_text("\n".join((*self._lines, "</svg>", "")))


def the_way_of_the_data() -> None:
    """From a Dockerfile to an image: what each part gives the next."""
    stations = (
        ("frontend", "a Dockerfile becomes a graph", "graph: frozen vertices"),
        ("solver", "each vertex by its key from the cache, or by work", "results: lists of diffs"),
        ("exporter", "each diff becomes a layer, once", "manifest, config, layers"),
    )
    helpers = (
        ("executor", "a RUN: one process over an overlay mount"),
        ("fileop", "a COPY: files into a tree, a layer, or both"),
        ("snapshot", "trees on disk; merges stacked or linked"),
        ("cache", "which key gave which result"),
    )
    sheet = Sheet(760, 380, "The way of the data: frontend, solver, exporter")
    sheet.text(40, 30, "Dockerfile, context, base images", "mono")
    sheet.way((130, 38), (130, 62))
    for number, (name, what, gives) in enumerate(stations):
        y = 64 + number * 106
        sheet.box(20, y, 330, 58)
        sheet.text(34, y + 24, name, "mono")
        sheet.text(34, y + 44, what, "small")
        sheet.way((130, y + 58), (130, y + 104 if number < 2 else y + 82))
        sheet.text(144, y + 84, gives, "mono")
    for number, (name, what) in enumerate(helpers):
        y = 112 + number * 52
        sheet.box(440, y, 300, 42)
        sheet.text(452, y + 18, name, "mono")
        sheet.text(452, y + 34, what, "small")
        sheet.way((350, 199), (395, 199), (395, y + 21), (438, y + 21))
    sheet.write("data.svg")


def instructions(trace: dict[str, Any]) -> list[str]:
    """What made each layer, without the marks that histories have."""
    found = []
    for layer in trace["layers"]:
        text = str(layer["instruction"]).removesuffix(" # buildkit").replace("/bin/sh -c ", "")
        found.append("base image" if text.startswith("minibuild image import") else text)
    return found


def kind_of(instruction: str) -> str:
    """How a layer is drawn."""
    return {"base": "parent", "COPY": "link"}.get(instruction.split()[0], "run")


def a_merge(trace: dict[str, Any]) -> None:
    """The layers of the demo's last merge, stacked and linked side by side."""
    names = instructions(trace)[:-1]
    fates = [path for path in trace["paths"] if path["path"] in ("file1", "file2", "file3")]
    sheet = Sheet(860, 96 + 44 * len(names) + 24 * len(fates), "A merge, stacked and linked")
    sheet.text(20, 28, "The list of diffs, the last one on top")
    sheet.text(330, 28, "stacked: lowerdirs of one overlay")
    sheet.text(610, 28, "linked: replayed into one layer")
    top = 44
    for number, name in enumerate(reversed(names)):
        y = top + number * 44
        sheet.box(20, y, 270, 34, kind_of(name))
        sheet.text(32, y + 22, short(name), "mono")
        sheet.box(330, y, 240, 34, kind_of(name))
        sheet.text(342, y + 22, "its own directory, untouched", "small")
    applied = [layer for layer in trace["layers"][:-1] if not layer["parent"]]
    height = 44 * len(applied) - 10
    sheet.box(610, top, 230, height, "link")
    sheet.text(622, top + 22, "hardlinks and whiteouts", "mono")
    sheet.text(622, top + 40, "files are shared, not copied", "small")
    below = top + 44 * len(applied)
    sheet.box(610, below, 230, 44 * (len(names) - len(applied)) - 10, "parent")
    sheet.text(622, below + 22, "parent: a tree that is there", "mono")
    y = top + 44 * len(names) + 20
    sheet.text(20, y, "What the links of each path are (from merge-trace):")
    for number, path in enumerate(fates):
        acts = [act for act in path["acts"] if act["action"] != "below"]
        words = "; ".join(
            f"{names[act['layer']].split()[0]} (layer {act['layer']}): {act['action']}"
            for act in acts
        )
        sheet.text(32, y + 24 * (number + 1), f"/{path['path']}", "mono")
        sheet.text(110, y + 24 * (number + 1), words, "small")
    sheet.write("merge.svg")


def short(text: str, cells: int = 34) -> str:
    """A text that fits a box."""
    return text if len(text) <= cells else text[: cells - 3] + "..."


def the_layers(inspected: dict[str, Any], trace: dict[str, Any]) -> None:
    """The image of the demo: its documents, and a layer for each step that changes files."""
    names = instructions(trace)
    sizes = [layer["size"] for layer in inspected["images"][0]["layers"]]
    sheet = Sheet(640, 60 + 40 * len(names), "The layers of the demo")
    sheet.box(20, 16, 170, 40)
    sheet.text(34, 40, "manifest", "mono")
    sheet.box(20, 84, 170, 40)
    sheet.text(34, 108, "config", "mono")
    sheet.way((105, 56), (105, 82))
    for number, (name, size) in enumerate(zip(names, sizes, strict=True)):
        y = 16 + number * 40
        sheet.box(260, y, 360, 32, kind_of(name))
        sheet.text(272, y + 21, short(name), "mono")
        sheet.text(610, y + 21, amount(size), "small", "end")
        sheet.way((190, 36), (225, 36), (225, y + 16), (258, y + 16))
    sheet.text(
        20,
        40 + 40 * len(names),
        "grey: the base; green: a link, on no base; yellow: a RUN",
        "small",
    )
    sheet.write("layers.svg")


def amount(size: int) -> str:
    """Bytes in words that do not change with a byte more or less."""
    return (
        f"{size / 1e6:.1f} MB"
        if size >= 100_000
        else "under 1 kB"
        if size < 1000
        else f"{size / 1e3:.0f} kB"
    )


def demo(store: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build the demo; returns what `merge-trace` and `image inspect` say of it."""
    environment = {**os.environ, "MINIBUILD_ROOT": store, "SOURCE_DATE_EPOCH": "0"}

    def minibuild(*words: str) -> str:
        command = [sys.executable, "-m", "minibuild.cli.main", *words]
        return subprocess.run(
            command, check=True, env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
        ).stdout

    tar = os.path.join(store, "busybox.tar")
    subprocess.run(
        [sys.executable, "-m", "tests.support.busybox", "tar", tar], check=True, cwd=CHECKOUT
    )
    minibuild("image", "import", tar, "busybox:latest")
    minibuild("build", "--quiet", "--tag", "demo", str(DEMO))
    trace = json.loads(minibuild("merge-trace", "demo", "--json"))
    return trace, json.loads(minibuild("image", "inspect", "demo", "--format", "json"))[0]


def main() -> None:
    """Make all pictures."""
    with tempfile.TemporaryDirectory() as store:
        trace, inspected = demo(store)
    the_way_of_the_data()
    a_merge(trace)
    the_layers(inspected, trace)


if __name__ == "__main__":
    main()
