"""A builder's progress as events.

Comes in: messages `StatusResponse`. Goes out: the events that a build here would report. A builder
may tell of a step several times; it is begun and ended once here.
Read next: `remote`.
"""

from typing import Any

from minibuild.digest import Digest
from minibuild.errors import Span
from minibuild.events import (
    Completed,
    Log,
    Planned,
    Report,
    Started,
    Status,
    VertexInfo,
    Warned,
)


class Listener:
    """Hands a builder's progress to a report. Counts steps that were cached, and others."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._planned: set[str] = set()
        self._started: set[str] = set()
        self._completed: set[str] = set()
        self.cached = self.executed = 0

    def take(self, message: Any) -> None:
        """Take one message."""
        new = [v for v in message.vertexes if v.digest not in self._planned]
        if new:
            self._planned.update(vertex.digest for vertex in new)
            self._report(
                Planned(
                    tuple(
                        VertexInfo(Digest(v.digest), v.name, tuple(map(Digest, v.inputs)))
                        for v in new
                    )
                )
            )
        for vertex in message.vertexes:
            self._vertex(vertex)
        for log in message.logs:
            self._report(Log(Digest(log.vertex), log.stream, log.msg, _seconds(log.timestamp)))
        for status in message.statuses:
            self._status(status)
        for warning in message.warnings:
            self._warning(warning)

    def _vertex(self, vertex: Any) -> None:
        digest = Digest(vertex.digest)
        if vertex.HasField("started") and vertex.digest not in self._started:
            self._started.add(vertex.digest)
            self._report(Started(digest, _seconds(vertex.started)))
        if vertex.HasField("completed") and vertex.digest not in self._completed:
            self._completed.add(vertex.digest)
            self.cached += vertex.cached
            self.executed += not vertex.cached
            error = "" if vertex.error.endswith("context canceled") else vertex.error
            self._report(
                Completed(
                    digest,
                    _seconds(vertex.completed),
                    vertex.cached,
                    error,
                    bool(vertex.error) and not error,
                )
            )

    def _status(self, status: Any) -> None:
        completed = _seconds(status.completed) if status.HasField("completed") else None
        self._report(
            Status(
                Digest(status.vertex),
                status.ID,
                status.current,
                status.total,
                "B" if status.total or status.current else "",
                _seconds(status.started),
                completed,
            )
        )

    def _warning(self, warning: Any) -> None:
        span = None
        if warning.ranges and warning.info.filename:
            first = warning.ranges[0]
            span = Span(warning.info.filename, first.start.line, first.end.line)
        text = warning.short.decode("utf-8", "replace")
        rule, separator, message = text.partition(": ")
        named = bool(separator) and rule.isalnum()
        detail = b"\n".join(warning.detail).decode("utf-8", "replace")
        self._report(
            Warned(rule if named else "", message if named else text, span, detail, warning.url)
        )


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds + timestamp.nanos / 1_000_000_000)
