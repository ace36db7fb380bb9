"""The trace of a build of the past, for `docker buildx history trace`: a span for each step.

Comes in: a record of history, and the messages of its progress. Goes out: spans of OpenTelemetry as
JSON, one after the other: the build, its steps, and what took time in these (a folder that was
sent, layers that were written). A build measures nothing for that: its trace is made when a client
asks for it.
Rules: moby/buildkit `solver/llbsolver/history.go`; opentelemetry-go `sdk/trace/tracetest`.
Read next: `history`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minibuild import __version__
from minibuild.digest import digest_hex, digest_strings
from minibuild.events import rfc3339
from minibuild.startup.tuples import NamedTuple

MEDIA_TYPE = "application/vnd.buildkit.otlp.json.v0"
_BUILD = "build"
_KIND_INTERNAL = 1


class TraceSpan(NamedTuple):
    """Something that took time. `key` tells it from the others of a build, `parent` is the key of
    what it was a part of, `source` is the message that has its times."""

    key: str
    parent: str
    name: str
    source: Any
    attributes: Mapping[str, str]
    error: str = ""


def trace_of(record: Any, messages: Iterable[Any]) -> bytes:
    """The spans of a build, from its messages `StatusResponse`."""
    spans = (_as_json(record.Ref, span) for span in _spans(record, messages))
    return "".join(f"{json.dumps(span, indent=2)}\n" for span in spans).encode()


def _spans(record: Any, messages: Iterable[Any]) -> Iterator[TraceSpan]:
    vertices, parts = dict[str, Any](), dict[tuple[str, str], Any]()
    for message in messages:  # What comes last about a step has all.
        vertices.update((vertex.digest, vertex) for vertex in message.vertexes)
        parts.update(((part.vertex, part.ID), part) for part in message.statuses)
    about = {"ref": record.Ref, "frontend": record.Frontend}
    yield TraceSpan(_BUILD, "", _BUILD, record, about, record.error.message)
    for digest, vertex in vertices.items():
        about = {"vertex": digest, "cached": str(vertex.cached).lower()}
        yield TraceSpan(digest, _BUILD, vertex.name, vertex, about, vertex.error)
    for (digest, name), part in parts.items():
        about = {"bytes": str(part.current)}
        yield TraceSpan(f"{digest} {name}", digest, name, part, about)


def _as_json(ref: str, span: TraceSpan) -> dict[str, Any]:
    began, ended = _times(span.source)
    return {
        "Name": span.name,
        "SpanContext": _context(ref, span.key),
        "Parent": _context(ref, span.parent),
        "SpanKind": _KIND_INTERNAL,
        "StartTime": began,
        "EndTime": ended,
        "Attributes": _attributes(span.attributes),
        "Events": None,
        "Links": None,
        "Status": {"Code": "Error" if span.error else "Unset", "Description": span.error},
        "DroppedAttributes": 0,
        "DroppedEvents": 0,
        "DroppedLinks": 0,
        "ChildSpanCount": 0,
        "Resource": _attributes({"service.name": "minibuild"}),
        "InstrumentationLibrary": {"Name": "minibuild", "Version": __version__, "SchemaURL": ""},
    }


def _times(source: Any) -> tuple[str, str]:
    """When it began and ended, of a record, a step or a part of one; what has no end took none."""
    of_record = hasattr(source, "CreatedAt")
    began = source.CreatedAt if of_record else source.started
    ended = source.CompletedAt if of_record else source.completed
    found = [at.seconds + at.nanos / 1_000_000_000 for at in (began, ended)]
    return rfc3339(found[0]), rfc3339(max(found))


def _context(ref: str, key: str) -> dict[str, Any]:
    """Which span it is; no key is none."""
    trace, span = (digest_hex(digest_strings(["trace", ref, *more])) for more in ((), (key,)))
    return {
        "TraceID": trace[:32] if key else "0" * 32,
        "SpanID": span[:16] if key else "0" * 16,
        "TraceFlags": "01" if key else "00",
        "TraceState": "",
        "Remote": False,
    }


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Key": k, "Value": {"Type": "STRING", "Value": v}} for k, v in values.items()]
