"""What the work on one vertex says of itself: remarks, output, how far it is.

Comes in: sentences and numbers. Goes out: events about the vertex. BuildKit's `progress.Writer`.
Read next: `minibuild.events`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from minibuild.digest import Digest, digest_strings
from minibuild.errors import Cancelled, lack
from minibuild.events import Completed, Log, Planned, Remark, Report, Started, Status, VertexInfo


class ProgressWriter:
    """Reports about one vertex."""

    __slots__ = ("_report", "vertex")

    def __init__(self, report: Report, vertex: Digest) -> None:
        self._report = report
        self.vertex = vertex

    def remark(self, text: str) -> None:
        """A sentence worth showing."""
        self._report(Remark(self.vertex, text, time.time()))

    def log(self, stream: int, data: bytes) -> None:
        """Output of the step's process."""
        self._report(Log(self.vertex, stream, data, time.time()))

    def status(
        self, part: str, current: int, total: int, unit: str, started: float, *, done: bool = False
    ) -> None:
        """How far a measured part is."""
        completed = time.time() if done else None
        self._report(Status(self.vertex, part, current, total, unit, started, completed))

    def counter(self, part: str, unit: str) -> Callable[[int, int], None]:
        """Tells how many of a part there are by now, and how many bytes they have."""
        started = time.time()

        def count(number: int, size_bytes: int) -> None:
            self.status(part, number, 0, unit, started)

        return count


@contextmanager
def reported(report: Report, vertex: VertexInfo) -> Iterator[ProgressWriter]:
    """Report the block as the work on a vertex that no solver works on."""
    report(Planned((vertex,)))
    report(Started(vertex.digest, time.time()))
    try:
        yield ProgressWriter(report, vertex.digest)
    except BaseException as error:
        explained = lack(error) or error
        text = str(explained) or type(error).__name__
        # The reader of standard output may have enough of an archive (`build -o - | head -c 1`).
        stopped = isinstance(error, Cancelled | KeyboardInterrupt | BrokenPipeError)
        report(Completed(vertex.digest, time.time(), error=text, cancelled=stopped))
        if explained is error:
            raise
        raise explained from error
    report(Completed(vertex.digest, time.time()))


def task(report: Report, name: str, *more: str) -> AbstractContextManager[ProgressWriter]:
    """The same for a part of a build that is in no graph. The name and `more` tell it from
    others."""
    return reported(report, VertexInfo(digest_strings(("task", name, *more)), name))
