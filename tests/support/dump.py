"""A graph as text that people can read and compare: one line for each vertex.

Comes in: built images. Goes out: text such as

    1 image docker.io/library/busybox:latest linux/amd64
    2 exec (1) args=["/bin/sh", "-c", "make"] env=PATH=/bin

The numbers are those of the order in which the vertices can run; `-` is scratch. Fields that have
their default are left out. Digests are left out too: they are the same as what is printed.
"""

import json
from collections.abc import Iterable
from typing import Any

from minibuild.graph.frontend import Built
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import File, ImageSource, kind_of
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Vertex, topological


def dump(images: Iterable[Built]) -> str:
    """The graph of all images, then the config of each."""
    images = tuple(images)
    order = topological(image.vertex for image in images)
    numbers = {vertex.digest: number for number, vertex in enumerate(order, 1)}
    lines: list[str] = []
    for vertex in order:
        lines += _vertex(vertex, numbers)
    for image in images:
        root = "-" if image.vertex is None else str(numbers[image.vertex.digest])
        lines += ["", f"{image.platform}: {root}", *_config(image.config)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _vertex(vertex: Vertex, numbers: dict[Any, int]) -> list[str]:
    kind = kind_of(vertex.op)
    inputs = " ".join("-" if v is None else str(numbers[v.digest]) for v in vertex.inputs)
    head = f"{numbers[vertex.digest]} {kind}" + (f" ({inputs})" if vertex.inputs else "")
    if isinstance(vertex.op, File):
        lines = [head, *(f"    {_named(action)}" for action in vertex.op.actions)]
    elif isinstance(vertex.op, ImageSource):
        lines = [f"{head} {vertex.op.ref} {vertex.op.platform}"]
    else:
        lines = [f"{head} {_fields(vertex.op)}".rstrip()]
    note = vertex.note
    place = f" line {note.span.first}" if note.span else ""
    return [*lines, f"    # {note.name}{place}{' no-cache' if note.ignore_cache else ''}"]


def _named(value: Any) -> str:
    return f"{type(value).__name__.lower()} {_fields(value)}".rstrip()


def _fields(value: Any) -> str:
    """The fields that differ from their defaults."""
    defaults: dict[str, Any] = value._field_defaults
    return " ".join(
        f"{name}={oct(item) if name == 'mode' else _text(item)}"
        for name, item in zip(value._fields, value, strict=True)
        if name not in defaults or defaults[name] != item
    )


def _text(value: Any) -> str:
    if isinstance(value, Platform):
        return str(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"<{_named(value)}>"
    if isinstance(value, tuple):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, bytes):
        return json.dumps(value.decode("utf-8", "backslashreplace"), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _config(image: ImageConfig) -> list[str]:
    lines = [f"  platform {image.platform}"]
    if image.author:
        lines.append(f"  author {image.author}")
    lines += [f"  {key} {json.dumps(value)}" for key, value in sorted(image.config.items())]
    for entry in image.history:
        mark = "-" if entry.get("empty_layer") else "+"
        lines.append(f"  {mark} {entry.get('created_by', '')!r}")
    return lines
