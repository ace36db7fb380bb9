"""Listening to a build, so that a record can be written when it is over.

Comes in: the events of the build, its graph and its results. Goes out: nothing, until `keep` hands
all of it to `writing`. This is a part of every build, so little is done here: events are kept as
they are, and a build that did nothing new writes nothing.
Read next: `writing`.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.errors import BuildError, SourceText
from minibuild.events import Completed, Event, Log, Remark, Report, Started
from minibuild.graph.op import StepOp
from minibuild.graph.vertex import Vertex, topological
from minibuild.session.request import BuildRequest, BuildResult
from minibuild.startup.tuples import NamedTuple

FOLDER = "builds"
"""Where records are in a store."""

LOG_BYTES = 64 << 10
"""How much of the end of a step's log is kept."""

Reached = Callable[[], Mapping[Digest, VertexResult]]
"""The results so far, also if a step failed."""


class LogLine(NamedTuple):
    """Output of a step that begins a line: what a record keeps of a log."""

    time: float
    stream: int
    data: bytes


class LogTail:
    """The end of a step's log. Lines stay whole, so that a secret in one can be found."""

    __slots__ = ("_open", "_size", "pieces")

    def __init__(self) -> None:
        self.pieces: list[LogLine] = []
        self._open: dict[int, int] = {}
        self._size = 0

    def add(self, event: Log) -> None:
        """Take output in."""
        number = self._open.pop(event.stream, None)
        if number is None:
            self.pieces.append(LogLine(event.time, event.stream, event.data))
            number = len(self.pieces) - 1
        else:
            begun = self.pieces[number]
            self.pieces[number] = begun._replace(data=begun.data + event.data)
        if not event.data.endswith(b"\n"):
            self._open[event.stream] = number
        self._size += len(event.data)
        if self._size > 2 * LOG_BYTES:
            self.cut()

    def cut(self) -> None:
        """Drop the beginning of what is too long, up to the end of a line."""
        kept: list[LogLine] = []
        room = LOG_BYTES
        for piece in reversed(self.pieces):
            if len(piece.data) > room:
                _, _, data = piece.data[len(piece.data) - room :].partition(b"\n")
                if data:
                    kept.append(piece._replace(data=data))
                break
            kept.append(piece)
            room -= len(piece.data)
        dropped = len(self.pieces) - len(kept)
        self.pieces = kept[::-1]
        self._open = {s: n - dropped for s, n in self._open.items() if n >= dropped}
        self._size = sum(len(piece.data) for piece in self.pieces)


class Recorder:
    """Listens to one build. `keep` ends it, and never fails: a build is as good without."""

    def __init__(self, root: str, request: BuildRequest) -> None:
        self.folder = os.path.join(os.path.abspath(root), FOLDER)
        self.request = request
        self.context = context_of(request)
        self.began = time.time()
        self.events: list[Started | Completed | Remark] = []
        self.logs: dict[Digest, LogTail] = {}
        self.source = SourceText("", "")
        self.targets: Sequence[Vertex | None] = ()
        self._reached: Reached | None = None

    def listening(self, report: Report) -> Report:
        """The report, with this one listening as well. It is called by one thread at a time."""
        keep = self.events.append

        def heard(event: Event, /) -> None:
            report(event)
            kind = type(event)
            if kind is Started or kind is Completed or kind is Remark:
                keep(event)  # type: ignore[arg-type]
            elif isinstance(event, Log):
                tail = self.logs.get(event.vertex)
                if tail is None:
                    tail = self.logs[event.vertex] = LogTail()
                tail.add(event)

        return heard

    def watch(self, source: SourceText, targets: Sequence[Vertex | None], reached: Reached) -> None:
        """The graph is known, and about to be solved. `reached` gives the results so far."""
        self.source, self.targets, self._reached = source, targets, reached

    def keep(self, made: BuildResult | None = None, error: BuildError | None = None) -> None:
        """Write the record, unless the build did nothing that the newest one does not tell."""
        if self._reached is None:
            return  # No graph was made, so nothing was done.
        try:
            self._keep(made, error, self._reached())
        except (OSError, ValueError):
            pass  # A full disk, a folder that is not ours: records are not worth a build.

    def _keep(
        self,
        made: BuildResult | None,
        error: BuildError | None,
        results: Mapping[Digest, VertexResult],
    ) -> None:
        vertices = topological(self.targets)
        folder = os.path.join(self.folder, place_of(self.request))
        total = self._sum(vertices, results, made)
        if error is None and not _did_work(vertices, results):
            newest = newest_in(folder)
            if newest.endswith(total):
                os.utime(os.path.join(folder, newest))
                return
        from minibuild.record.writing import write

        write(self, vertices, results, folder, total, made, error)

    def _sum(
        self,
        vertices: Sequence[Vertex],
        results: Mapping[Digest, VertexResult],
        made: BuildResult | None,
    ) -> str:
        """The same for builds of the same graph with the same outcome."""
        keys = (found.key or "" for found in map(results.get, map(_digest, vertices)) if found)
        images = [] if made is None else [image.digest for image in made.images]
        words = (*map(_digest, vertices), *keys, *images, self.request.lab, *self.request.tags)
        return digest_strings(words)[7:23]


def context_of(request: BuildRequest) -> str:
    """The build context, whatever folder it was named in."""
    given = request.context
    remote = "://" in given or given.startswith("git@")
    return given if remote else os.path.abspath(given)


def place_of(request: BuildRequest) -> str:
    """The same for builds of the same thing: the context, its Dockerfile, what is built. A graph
    that has no Dockerfile is itself what is the same."""
    if request.graphs:
        from minibuild.graph.flat import rebuilt

        made = (rebuilt(graph) for graph in request.graphs)
        return digest_strings([vertex.digest if vertex else "" for vertex in made])[7:23]
    file = os.path.abspath(request.file) if request.file else ""
    platforms = sorted(map(str, request.platforms))
    words = (context_of(request), file, request.target, *platforms, "", *sorted(request.contexts))
    return digest_strings(words)[7:23]


def newest_in(folder: str) -> str:
    """The name of the newest record in a folder; empty if there is none."""
    try:
        return max((name for name in os.listdir(folder) if "." not in name), default="")
    except FileNotFoundError:
        return ""


def _digest(vertex: Vertex) -> Digest:
    return vertex.digest


def _did_work(vertices: Iterable[Vertex], results: Mapping[Digest, VertexResult]) -> bool:
    """Whether any step ran. Sources from the web are asked each time, which is no work."""
    return any(
        isinstance(vertex.op, StepOp)
        and (found := results.get(vertex.digest)) is not None
        and not found.cached
        for vertex in vertices
    )
