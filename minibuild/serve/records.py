"""What history says of a build: a message `BuildHistoryRecord`; also of one of the command line.

Comes in: a build, and what it gave. Goes out: the record, with the provenance of each image, which
`docker buildx` reads from there (`history inspect`, `--metadata-file`), and what each output is.
Builds of the command line are listed from minibuild's own records of the store (see
docs/builds.md), under the ids that `minibuild builds` shows. A build that a client had done has a
record of its own with more in it; the one that minibuild kept of it as well is left out.
A trace has a span of OpenTelemetry for the build, for each step, and for what took time in these. A
build measures nothing for that: it is made of the messages of progress when a client asks for it.
Rules: moby/buildkit `solver/llbsolver/history.go`; opentelemetry-go `sdk/trace/tracetest`.
Read next: `history`.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild import __version__
from minibuild.attest.attestor import RECORD
from minibuild.attest.provenance import SLSA_1
from minibuild.attest.statement import MEDIA_TYPE, PREDICATE_TYPE, as_json
from minibuild.buildkit.rpc import UNKNOWN, Failure, api_type
from minibuild.digest import digest_hex, digest_strings
from minibuild.events import rfc3339
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.record.replay import events
from minibuild.serve.outputs import asked_exporters
from minibuild.serve.status import StatusStream, set_time
from minibuild.session.request import BuildResult
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.serve.build import Build

Keep = Callable[[Any, str, bytes], None]
"""Keeps bytes of a media type, and describes them in a message `Descriptor`."""


def record_of(build: "Build") -> Any:
    """What there is to say of the build now."""
    asked = build.asked
    record = api_type("BuildHistoryRecord")(
        Ref=asked.Ref,
        Frontend=asked.Frontend or "dockerfile.v0",
        FrontendAttrs=asked.FrontendAttrs,
        Exporters=asked_exporters(build),
        **build.status.counts(),
    )
    set_time(record.CreatedAt, build.began)
    if build.ended:
        set_time(record.CompletedAt, build.ended)
    if isinstance(build.outcome, Failure):
        record.error.CopyFrom(build.outcome.status())
    else:
        record.ExporterResponse.update(build.outcome)
    return record


def add_results(record: Any, made: BuildResult, keep: Keep) -> None:
    """Add what a build gave: the provenance of its images, and the images that outputs are."""
    for key, predicate in made.metadata.items():
        if key.startswith(RECORD):
            platform = key.removeprefix(RECORD).removeprefix("/")
            info = record.Results[platform] if platform else record.Result
            said = info.Attestations.add(annotations={PREDICATE_TYPE: SLSA_1})
            keep(said, MEDIA_TYPE, as_json(predicate))
    for number, top in enumerate(made.descriptors):
        if top is None:
            continue
        descriptor = record.Result.Results[number]
        descriptor.media_type, descriptor.digest = top["mediaType"], top["digest"]
        descriptor.size = top["size"]
        descriptor.annotations.update(top.get("annotations", {}))
        if not record.Result.HasField("ResultDeprecated"):  # Old clients know one.
            record.Result.ResultDeprecated.CopyFrom(descriptor)


def results_of(record: Any) -> Iterator[Any]:
    """All messages `BuildResultInfo` of a record."""
    yield record.Result
    yield from record.Results.values()


# --- Builds of the command line ---


_ID = regex(r"[0-9a-f]{8}")


class StoredHistory:
    """The records of the store in `root`."""

    def __init__(self, root: str) -> None:
        self._records = BuildRecords(root)
        self._lent = (os.path.join(os.path.abspath(root), "contexts"), "minibuild-build-")

    def records(self, others: Sequence[Any]) -> list[Any]:
        """A message `BuildHistoryRecord` for each build that is not among the others."""
        return [self._record(b) for b in self._records.all() if not self._is_among(b, others)]

    def _is_among(self, build: BuildRecord, others: Sequence[Any]) -> bool:
        """Whether a client had a build done: its context came from one, or the same context was
        built for one at that time."""
        folder, prefix = self._lent
        if build.context.startswith(f"{folder}/") or f"/{prefix}" in build.context:
            return True
        return any(
            other.FrontendAttrs.get("context", "") == build.context
            and other.CreatedAt.seconds <= build.started <= other.CompletedAt.seconds + 1
            for other in others
        )

    def _record(self, build: BuildRecord) -> Any:
        record = api_type("BuildHistoryRecord")(Ref=build.id, Frontend="dockerfile.v0")
        source, target = build.data.get("source", {}), str(build.data.get("target", ""))
        attributes = {
            "context": build.context,
            "filename": os.path.basename(str(source.get("name", ""))),
            "target": target,
        }
        record.FrontendAttrs.update({key: value for key, value in attributes.items() if value})
        set_time(record.CreatedAt, build.started)
        set_time(record.CompletedAt, build.started + build.seconds)
        if build.error:
            record.error.code, record.error.message = UNKNOWN, build.error
        steps = [step for step in build.steps if step.state]
        record.numTotalSteps = len(build.steps)
        record.numCompletedSteps = len(steps)
        record.numCachedSteps = sum(step.state == "cached" for step in steps)
        return record

    def _find(self, ref: str) -> BuildRecord | None:
        if not _ID.fullmatch(ref):
            return None  # Clients ask for each of their builds: do not read all records for that.
        return next((build for build in self._records.all() if build.id == ref), None)

    def messages(self, ref: str) -> Iterator[bytes] | None:
        """The progress of a build, as serialised messages; None if there is no such build."""
        build = self._find(ref)
        if build is None:
            return None
        status = StatusStream()
        for event in events(build, build.steps, lambda step: None):
            status(event)
        status.close(build.started + build.seconds)
        return status.messages()

    def remove(self, ref: str) -> bool:
        """Remove a record; whether there was one."""
        build = self._find(ref)
        if build is not None:
            self._records.remove(build)
        return build is not None


# --- Traces ---


TRACE_TYPE = "application/vnd.buildkit.otlp.json.v0"
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
