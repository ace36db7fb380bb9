"""A graph as text and as pictures: a table, JSON, dot, Mermaid, SVG.

Comes in: the data of a graph. Goes out: one of the forms. A picture shows what runs on what, stage
by stage. Formats: Graphviz's dot language, Mermaid's flowcharts, SVG 2. Read next: `svg`.
"""

import json
from collections.abc import Iterator

from minibuild.graph.graphdata import Json, edges, pictured, stages, title

FORMATS = ("text", "json", "dot", "mermaid", "svg")
_SHAPES = {"image": "cylinder", "exec": "box", "file": "note", "merge": "invtriangle"}
_BRACKETS = {"image": ("[(", ")]"), "merge": ("{{", "}}"), "diff": ("{{", "}}")}


def drawn(data: Json, form: str) -> str:
    """The graph in one of `FORMATS`."""
    if form == "svg":
        from minibuild.graph.svg import svg

        return svg(data)
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False)
    return "\n".join({"dot": _dot, "mermaid": _mermaid}.get(form, _table)(data))


def _table(data: Json) -> Iterator[str]:
    rows = [("", "OP", "ON", "LINE", "STEP")]
    for vertex in data["vertices"]:
        inputs = " ".join("-" if i is None else str(i) for i in vertex["inputs"])
        line = "" if vertex["line"] is None else str(vertex["line"])
        rows.append((str(vertex["id"]), vertex["kind"], inputs, line, title(vertex)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        yield "  ".join((*cells, row[4])).rstrip()
    yield ""
    for image in data["images"]:
        yield f"image for {image['platform']}: {image['vertex'] or 'empty'}"


def _dot(data: Json) -> Iterator[str]:
    yield "digraph build {"
    yield '  rankdir=LR; node [fontname="sans-serif", fontsize=10];'
    for number, (stage, vertices) in enumerate(stages(data)):
        if stage:
            yield f"  subgraph cluster_{number} {{"
            yield f"    label={_quoted(stage)};"
        for vertex in vertices:
            shape = _SHAPES.get(vertex["kind"], "folder")
            yield f"    {vertex['id']} [shape={shape}, label={_quoted(title(vertex))}];"
        if stage:
            yield "  }"
    for source, user in edges(data):
        yield f"  {source} -> {user};"
    for image in pictured(data):
        yield f"  {image['vertex']} [penwidth=3];"
    yield "}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # dot has JSON's way with quotes and backslashes


def _mermaid(data: Json) -> Iterator[str]:
    yield "flowchart LR"
    for number, (stage, vertices) in enumerate(stages(data)):
        if stage:
            yield f'  subgraph s{number}["{_entity(stage)}"]'
        for vertex in vertices:
            left, right = _BRACKETS.get(vertex["kind"], ("[", "]"))
            yield f'    {vertex["id"]}{left}"{_entity(title(vertex))}"{right}'
        if stage:
            yield "  end"
    for source, user in edges(data):
        yield f"  {source} --> {user}"
    for image in pictured(data):
        yield f"  style {image['vertex']} stroke-width:3px"


def _entity(text: str) -> str:
    """Text in quotes of Mermaid, where characters with a meaning are entities."""
    for character, name in (("#", "35"), ("&", "amp"), ('"', "quot"), ("<", "lt"), (">", "gt")):
        text = text.replace(character, f"#{name};")
    return text
