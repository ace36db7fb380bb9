"""A definition as text and as JSON: what is in it, op by op, beside the lines that it is made of.

Comes in: a `Definition` as bytes. Goes out: lines to read, or data for programs with the names of
the messages' fields. Ops are numbered in their order, and name their inputs by these numbers.
Read next: `encode`.
"""

import json
from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.definition import ops_in
from minibuild.buildkit.proto import messages
from minibuild.digest import Digest
from minibuild.graph.graphdata import Json
from minibuild.startup.tuples import NamedTuple

_INDENT = "    "


class _Op(NamedTuple):
    """One op as data. `lines` are those of the Dockerfile, as (first, last)."""

    digest: Digest
    op: dict[str, Any]
    metadata: dict[str, Any]
    lines: tuple[int, int] | None


def as_json(definition: bytes) -> Json:
    """The ops in order, each with its digest, its metadata and its lines."""
    return {
        "ops": [
            {
                "digest": item.digest,
                "op": item.op,
                "metadata": item.metadata,
                **({"lines": list(item.lines)} if item.lines else {}),
            }
            for item in _ops(definition)
        ]
    }


def as_text(definition: bytes) -> Iterator[str]:
    """The ops for a reader: name, line, digest, and what they say."""
    numbers: dict[Digest, int] = {}
    for number, item in enumerate(_ops(definition), 1):
        numbers[item.digest] = number
        inputs = [f"#{numbers[i['digest']]}" + _output(i) for i in item.op.pop("inputs", ())]
        name = item.metadata.get("description", {}).get("llb.customname", "")
        place = f"line {item.lines[0]}  " if item.lines else ""
        if not item.op:
            yield f"the result is {inputs[0]}"
            return
        yield f"#{number}  {place}{name}".rstrip()
        yield f"{_INDENT}{item.digest}"
        if inputs:
            yield f"{_INDENT}inputs: {' '.join(inputs)}"
        item.op.pop("constraints", None)
        yield from _members(item.op, _INDENT)
        yield ""
    yield "the result is empty"


def _output(reference: Json) -> str:
    """Which output of an input, if it is not the first."""
    return f":{reference['index']}" if "index" in reference else ""


def _members(value: Json, indent: str) -> Iterator[str]:
    for name, member in value.items():
        if isinstance(member, dict):
            yield f"{indent}{name}:"
            yield from _members(member, indent + "  ")
        elif isinstance(member, list) and any(isinstance(item, dict) for item in member):
            yield f"{indent}{name}:"
            for item in member:
                yield from _item(item, indent)
        else:
            yield f"{indent}{name}: {json.dumps(member, ensure_ascii=False)}"


def _item(item: Json, indent: str) -> Iterator[str]:
    """An item of a list, with a dash before its first member."""
    lines = list(_members(item, indent + "  ")) or [f"{indent}  {{}}"]
    yield f"{indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _ops(definition: bytes) -> Iterator[_Op]:
    from google.protobuf.json_format import MessageToDict

    types = messages("ops")
    message = types["Definition"].FromString(definition)
    for digest, data in ops_in(message):
        described = message.metadata[digest]
        lines = [
            line_range.start.line
            for location in message.Source.locations[digest].locations
            for line_range in location.ranges
        ]
        yield _Op(
            digest,
            MessageToDict(types["Op"].FromString(data), preserving_proto_field_name=True),
            MessageToDict(described, preserving_proto_field_name=True),
            (min(lines), max(lines)) if lines else None,
        )
