"""Progress as data: what happens in a build, reported to its caller.

Comes in: calls from the solver, the executor and the exporters. Goes out: events, handed to a
`Report`. The library never prints; `progress` turns events into text, bars or JSON lines.

The words are BuildKit's: a vertex is a step of the graph, a status is a measured part of one
(bytes of a layer, files of a copy). Times are seconds since the epoch. A `Report` is called from
several threads, one call at a time (see `serialised`).
Read next: `graph.op`.
"""

import threading
import time
from collections.abc import Callable

from minibuild.digest import Digest
from minibuild.errors import Span
from minibuild.startup.tuples import NamedTuple


class VertexInfo(NamedTuple):
    """A vertex that a build will need: `name` is what a person reads (`[stage 2/5] RUN ...`)."""

    digest: Digest
    name: str
    inputs: tuple[Digest, ...] = ()
    span: Span | None = None


class Planned(NamedTuple):
    """The vertices the build consists of, in an order in which they can run."""

    vertices: tuple[VertexInfo, ...]


class Started(NamedTuple):
    """Work on a vertex began."""

    vertex: Digest
    time: float


class Completed(NamedTuple):
    """A vertex ended: from the cache, or after work, or with an error (then `error` says which)."""

    vertex: Digest
    time: float
    cached: bool = False
    error: str = ""
    cancelled: bool = False


class Log(NamedTuple):
    """Output of a step, as its process wrote it; `stream` is 1 for stdout, 2 for stderr."""

    vertex: Digest
    stream: int
    data: bytes
    time: float


class Status(NamedTuple):
    """How far a measured part of a vertex is; `part` is its name within the vertex.

    `current` and `total` count `unit` ("B" or "files"); `total` is 0 where it is not known.
    """

    vertex: Digest
    part: str
    current: int
    total: int
    unit: str
    started: float
    completed: float | None = None


class Remark(NamedTuple):
    """A sentence about a vertex worth showing: `merging 10 layers: stacked`."""

    vertex: Digest
    text: str
    time: float


class Warned(NamedTuple):
    """A finding that does not stop the build, such as that of a build check."""

    rule: str
    message: str
    span: Span | None = None
    detail: str = ""
    url: str = ""
    excerpt: str = ""


Event = Planned | Started | Completed | Log | Status | Remark | Warned


def rfc3339(moment: float) -> str:
    """A time as documents have it: UTC, with as many decimals as it takes."""
    whole, micros = divmod(round(moment * 1_000_000), 1_000_000)
    fraction = f".{micros:06}".rstrip("0") if micros else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z"


Report = Callable[[Event], None]
"""What listens to a build. Must not raise, and must return quickly."""


def silent(event: Event) -> None:
    """The report of callers that do not listen."""


def serialised(report: Report) -> Report:
    """The same report, called by one thread at a time."""
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            report(event)

    return locked
