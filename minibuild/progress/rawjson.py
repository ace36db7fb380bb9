"""Progress as JSON, one object in each line, for programs.

Comes in: events. Goes out: what BuildKit's `rawjson` writes: objects of `vertexes`, `statuses`,
`logs` and `warnings`, with BuildKit's field names, times in RFC 3339 with fractions as long as
needed, and bytes in base64. Source of the names: the JSON tags of `SolveStatus` in BuildKit's
client package. Read next: `select`.
"""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from minibuild.digest import Digest, digest_strings
from minibuild.events import (
    Completed,
    Event,
    Log,
    Planned,
    Remark,
    Started,
    Status,
    Warned,
    rfc3339,
)
from minibuild.progress.console import Console
from minibuild.progress.trace import Renderer, VertexProgress


class RawJson(Renderer):
    """A report that writes one line of JSON for each event."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._console = console
        self._clock = clock

    def _take(self, event: Event) -> None:
        self.trace.observe(event)
        line = json.dumps(self._batch(event), separators=(",", ":"))
        self._console.show(line + "\n")

    def _batch(self, event: Event) -> dict[str, list[Any]]:
        match event:
            case Planned():
                return {"vertexes": [self._vertex(info.digest) for info in event.vertices]}
            case Started() | Completed():
                return {"vertexes": [self._vertex(event.vertex)]}
            case Log():
                return {"logs": [_log(event)]}
            case Status():
                return {"statuses": [self._status(event)]}
            case Remark():
                said = Status(event.vertex, event.text, 0, 0, "", event.time, event.time)
                return {"statuses": [self._status(said)]}
            case Warned():
                return {"warnings": [_warning(event)]}

    def _vertex(self, digest: Digest) -> dict[str, Any]:
        step: VertexProgress = self.trace.step(digest)
        data: dict[str, Any] = {"digest": digest, "inputs": list(step.inputs), "name": step.name}
        if step.started is not None:
            data["started"] = rfc3339(step.started)
        if step.completed is not None:
            data["completed"] = rfc3339(step.completed)
        data |= {"cached": step.cached, "error": step.error}
        if step.cancelled:
            data["error"] = step.error or "context canceled"
        return {key: value for key, value in data.items() if value}

    def _status(self, event: Status) -> dict[str, Any]:
        data: dict[str, Any] = {"id": event.part, "vertex": event.vertex}
        if event.total:
            data["total"] = event.total
        data |= {
            "current": event.current,
            "timestamp": rfc3339(self._clock() if event.completed is None else event.completed),
            "started": rfc3339(event.started),
        }
        if event.completed is not None:
            data["completed"] = rfc3339(event.completed)
        return data


def _log(event: Log) -> dict[str, Any]:
    return {
        "vertex": event.vertex,
        "stream": event.stream,
        "data": _base64(event.data),
        "timestamp": rfc3339(event.time),
    }


def _warning(event: Warned) -> dict[str, Any]:
    # BuildKit's warnings belong to a vertex; one about the definition has none of its own.
    rule = f"{event.rule}: " if event.rule else ""
    data: dict[str, Any] = {
        "vertex": digest_strings(["warning", event.rule, event.message]),
        "level": 1,
        "short": _base64(f"{rule}{event.message}".encode("utf-8", "surrogateescape")),
    }
    if event.detail:
        data["detail"] = [_base64(event.detail.encode("utf-8", "surrogateescape"))]
    if event.url:
        data["url"] = event.url
    if event.span is not None:
        data["sourceInfo"] = {"filename": event.span.file}
        data["range"] = [{"start": {"line": event.span.first}, "end": {"line": event.span.last}}]
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
