"""Progress for BuildKit's clients: events as the messages of `Control/Status`.

Comes in: events of a build, from any thread. Goes out: a stream of `StatusResponse` for each client
that listens, which begins with the build and ends with it. A client shows a step as cancelled that
was started and not completed, if it ends so. The messages lie in a file, each with its length
before it: so a build with a long log takes no memory, and the file is what history keeps. Rules:
moby/buildkit `api/services/control/control.proto`. Read next: `build`.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from minibuild.buildkit.rpc import api_type
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
_LENGTH_BYTES = 4
_TOGETHER_BYTES = 64 << 10
"""So many bytes of messages are sent as one message, unless the first is larger."""
_CANCELLED = "context canceled"  # Clients show a step that ended so as no error.
_TURN_S = 1.0


class StatusStream:
    """What a build reports, and what clients hear of it. `aliases` has the digests by which a
    client knows the steps of its own definitions, `source` is the Dockerfile."""

    def __init__(self) -> None:
        from tempfile import TemporaryFile

        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 (it lives as long as this does)
        self._size = 0
        self._closed = False
        self._changed = threading.Condition()
        self._known: dict[Digest, VertexInfo] = {}
        self._running: dict[Digest, float] = {}
        self._ended: dict[Digest, bool] = {}
        self._warned: set[Warned] = set()
        self.failed: Digest | None = None
        self.failed_name = ""
        self.aliases: dict[Digest, Digest] = {}
        self.source: SourceText | None = None

    def counts(self) -> dict[str, int]:
        """How many steps and warnings were reported so far, by the fields of a record."""
        return {
            "numTotalSteps": len(self._known),
            "numCompletedSteps": len(self._ended),
            "numCachedSteps": sum(self._ended.values()),
            "numWarnings": len(self._warned),
        }

    def __call__(self, event: Event, /) -> None:
        """Take an event of the build."""
        self.take((event,))

    def take(self, events: Sequence[Event]) -> None:
        """Take events of the build."""
        with self._changed:
            self._write(*map(self._message, events))

    def warn(self, warning: Any) -> None:
        """Take a warning of the client's own, a message `WarnRequest`."""
        message = api_type("StatusResponse")()
        message.warnings.add(
            vertex=warning.digest,
            level=warning.level,
            short=warning.short,
            detail=warning.detail,
            url=warning.url,
            info=warning.info,
            ranges=warning.ranges,
        )
        with self._changed:
            self._warned.add(Warned("", warning.short.decode("utf-8", "replace")))
            self._write(message)

    def _write(self, *messages: Any) -> None:
        written = [message.SerializeToString() for message in messages]
        data = b"".join(_framed(one) for one in written if one)
        if not data or self._closed:
            return
        try:
            self._file.write(data)
            self._size += len(data)
        except OSError:  # a full disk: progress is not worth a build
            self._closed = True
        self._changed.notify_all()

    def _message(self, event: Event) -> Any:
        message = api_type("StatusResponse")()
        match event:
            case Planned(vertices):
                for info in vertices:
                    self._known[info.digest] = info
                    self._vertex(message, info.digest)
            case Started(digest, moment):
                self._running[digest] = moment
                set_time(self._vertex(message, digest).started, moment)
            case Completed(digest, moment, cached, error, cancelled):
                begun = self._running.pop(digest, moment)
                vertex = self._vertex(message, digest)
                vertex.cached = cached
                vertex.error = _CANCELLED if cancelled else error or ""
                set_time(vertex.started, begun)
                set_time(vertex.completed, moment)
                self._ended[digest] = cached
                if error and not cancelled:
                    self.failed, self.failed_name = self._alias(digest), vertex.name
            case Log(digest, stream, data, moment):
                for at in range(0, len(data), _LOG_BYTES):
                    log = message.logs.add(
                        vertex=self._alias(digest),
                        stream=stream,
                        msg=data[at : at + _LOG_BYTES],
                    )
                    set_time(log.timestamp, moment)
            case Status():
                self._status(message, event)
            case Remark(digest, text, moment):
                status = message.statuses.add(ID=text, vertex=self._alias(digest))
                for field in (status.timestamp, status.started, status.completed):
                    set_time(field, moment)
            case Warned():
                self._warning(message, event)
        return message

    def _vertex(self, message: Any, digest: Digest) -> Any:
        info = self._known.get(digest)
        name, inputs = (info.name, info.inputs) if info else ("", ())
        return message.vertexes.add(
            digest=self._alias(digest), name=name, inputs=map(self._alias, inputs)
        )

    def _alias(self, digest: Digest) -> Digest:
        return self.aliases.get(digest, digest)

    def _status(self, message: Any, event: Status) -> None:
        in_bytes = event.unit == "B"  # Clients show every number of a status as bytes.
        part = event.part if in_bytes else f"{event.part} {event.unit}"
        doing, space, _ = part.partition(" ")
        status = message.statuses.add(
            ID=part,
            vertex=self._alias(event.vertex),
            name=doing if space else "",
            current=event.current if in_bytes else 0,
            total=event.total if in_bytes else 0,
        )
        set_time(status.started, event.started)
        set_time(status.timestamp, event.started if event.completed is None else event.completed)
        if event.completed is not None:
            set_time(status.completed, event.completed)

    def _warning(self, message: Any, event: Warned) -> None:
        if event in self._warned:
            return  # A Dockerfile is read for its graph, and again for the build.
        self._warned.add(event)
        rule = f"{event.rule}: " if event.rule else ""
        line = f" (line {event.span.first})" if event.rule and event.span is not None else ""
        warning = message.warnings.add(
            vertex=digest_strings(["warning", event.rule, event.message]),
            level=1,
            short=_bytes(f"{rule}{event.message}{line}"),
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
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def messages(self, active: Callable[[], bool] = lambda: True) -> Iterator[bytes]:
        """The serialised messages, until the build ends or the client is no longer active. Those
        that are there at once are one: all fields of this message are lists, so the bytes of two
        are those of one with both in it."""
        position = 0
        while (size := self._wait_beyond(position, active)) > position:
            data = os.pread(self._file.fileno(), min(size - position, _TOGETHER_BYTES), position)
            if _end_of_first(data) > len(data):
                data = os.pread(self._file.fileno(), _end_of_first(data), position)
            parts = []
            while data and (end := _end_of_first(data)) <= len(data):
                parts.append(data[_LENGTH_BYTES:end])
                data = data[end:]
                position += end
            yield b"".join(parts)

    def _wait_beyond(self, position: int, active: Callable[[], bool]) -> int:
        """Wait until there is a message at a position, or none will come. Returns the end of all
        that there are."""
        with self._changed:
            while self._size == position and not self._closed and active():
                self._changed.wait(_TURN_S)
            return self._size

    def keep_as(self, folder: str) -> tuple[Digest, int]:
        """Write all messages to a file of the folder that is called as their digest is. Returns
        that and the size."""
        import hashlib

        hashed, position = hashlib.sha256(), 0
        temporary = os.path.join(folder, f".{os.urandom(6).hex()}")
        with open(temporary, "xb") as file:
            while data := os.pread(self._file.fileno(), _LOG_BYTES, position):
                position += len(data)
                hashed.update(data)
                file.write(data)
        os.replace(temporary, os.path.join(folder, hashed.hexdigest()))
        return Digest(f"sha256:{hashed.hexdigest()}"), position


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "little") + data


def _end_of_first(data: bytes) -> int:
    """Where the first message ends, of which the length is there."""
    return _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")


def messages_in(file: BinaryIO) -> Iterator[bytes]:
    """The serialised messages in a file that was kept."""
    while len(head := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        yield file.read(int.from_bytes(head, "little"))


def set_time(timestamp: Any, moment: float) -> None:
    """Write a time into a message `Timestamp`."""
    seconds, fraction = divmod(moment, 1)
    timestamp.seconds, timestamp.nanos = int(seconds), int(fraction * 1_000_000_000)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
