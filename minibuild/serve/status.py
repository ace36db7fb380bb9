"""Progress for BuildKit's clients: events as the messages of `Control/Status`.

Comes in: events of a build, from any thread. Goes out: a stream of `StatusResponse`, which ends
with the build. A client shows a step as cancelled that was started and not completed, if it ends
so. Rules: moby/buildkit `api/services/control/control.proto`. Read next: `build`.
"""

import queue
from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.rpc import Types
from minibuild.digest import Digest, digest_strings
from minibuild.errors import SourceText
from minibuild.events import (
    Completed,
    Event,
    Log,
    Planned,
    Remark,
    Started,
    Status,
    VertexInfo,
    Warned,
)

_LOG_BYTES = 1 << 20


class StatusStream:
    """What a build reports, and what a client hears of it. The end comes once for each listener."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._known: dict[Digest, VertexInfo] = {}
        self._running: dict[Digest, float] = {}
        self.failed: Digest | None = None
        self.source: SourceText | None = None

    def __call__(self, event: Event, /) -> None:
        """Take an event of the build."""
        message = self._types["StatusResponse"]()
        match event:
            case Planned(vertices):
                for info in vertices:
                    self._known[info.digest] = info
                    self._vertex(message, info.digest)
            case Started(digest, moment):
                self._running[digest] = moment
                _set(self._vertex(message, digest).started, moment)
            case Completed(digest, moment, cached, error, cancelled):
                begun = self._running.pop(digest, moment)
                vertex = self._vertex(message, digest)
                vertex.cached = cached
                vertex.error = error or ("context canceled" if cancelled else "")
                _set(vertex.started, begun)
                _set(vertex.completed, moment)
                if error:
                    self.failed = digest
            case Log(digest, stream, data, moment):
                for at in range(0, len(data), _LOG_BYTES):
                    log = message.logs.add(
                        vertex=digest, stream=stream, msg=data[at : at + _LOG_BYTES]
                    )
                    _set(log.timestamp, moment)
            case Status():
                self._status(message, event)
            case Remark(digest, text, moment):
                status = message.statuses.add(ID=text, vertex=digest)
                for field in (status.timestamp, status.started, status.completed):
                    _set(field, moment)
            case Warned():
                self._warning(message, event)
        self._queue.put(message)

    def _vertex(self, message: Any, digest: Digest) -> Any:
        info = self._known.get(digest)
        name, inputs = (info.name, info.inputs) if info else ("", ())
        return message.vertexes.add(digest=digest, name=name, inputs=inputs)

    def _status(self, message: Any, event: Status) -> None:
        status = message.statuses.add(
            ID=event.part, vertex=event.vertex, current=event.current, total=event.total
        )
        _set(status.started, event.started)
        _set(status.timestamp, event.started if event.completed is None else event.completed)
        if event.completed is not None:
            _set(status.completed, event.completed)

    def _warning(self, message: Any, event: Warned) -> None:
        rule = f"{event.rule}: " if event.rule else ""
        warning = message.warnings.add(
            vertex=digest_strings(["warning", event.rule, event.message]),
            level=1,
            short=_bytes(f"{rule}{event.message}"),
            detail=[_bytes(event.detail)] if event.detail else [],
            url=event.url,
        )
        if event.span is not None and self.source is not None:
            warning.info.filename, warning.info.language = self.source.name, "Dockerfile"
            warning.info.data = _bytes(self.source.text)
            place = warning.ranges.add()
            place.start.line, place.end.line = event.span.first, event.span.last

    def close(self, moment: float) -> None:
        """The build has ended. What is still running was cancelled."""
        for digest in list(self._running):
            self(Completed(digest, moment, cancelled=True))
        self._queue.put(None)

    def messages(self) -> Iterator[Any]:
        """The messages, until the build ends."""
        yield from iter(self._queue.get, None)
        self._queue.put(None)


def _set(timestamp: Any, moment: float) -> None:
    seconds, fraction = divmod(moment, 1)
    timestamp.seconds, timestamp.nanos = int(seconds), int(fraction * 1_000_000_000)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
