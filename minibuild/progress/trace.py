"""What is known of a build so far, put together from its events.

Comes in: events, in the order they happen. Goes out: a `VertexProgress` for each vertex, with its
times, its measured parts and the end of its log. Every `Renderer` keeps one `Trace` and draws from
it; the command line takes from it what an error message needs: the last output of the failed steps.
Read next: `plain`.
"""

import threading
from collections import deque
from typing import TYPE_CHECKING

from minibuild.digest import Digest
from minibuild.events import Completed, Event, Log, Planned, Started, Status, Warned
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.progress.lines import LineCutter, LinePart

TAIL_LINES = 20
_LINE_LIMIT = 2000


class StepFailure(NamedTuple):
    """A step that failed: its name, and the last lines it wrote, each with its time in the step."""

    name: str
    lines: tuple[str, ...]


class VertexProgress:
    """One vertex, as far as it is known. Times are seconds since the epoch."""

    def __init__(self, digest: Digest, name: str) -> None:
        self.digest = digest
        self.name = name
        self.inputs: tuple[Digest, ...] = ()
        self.number = 0
        self.started: float | None = None
        self.completed: float | None = None
        self.cached = False
        self.cancelled = False
        self.error = ""
        self.parts: dict[str, Status] = {}
        self.cutters: dict[int, LineCutter] = {}
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.open_line: int | None = None
        self.heard = 0.0  # when its process wrote last

    @property
    def running(self) -> bool:
        """Whether work on it began and has not ended."""
        return self.started is not None and self.completed is None

    def seconds(self, now: float) -> float:
        """How long it has run, or ran."""
        if self.started is None:
            return 0.0
        return max(0.0, (now if self.completed is None else self.completed) - self.started)

    def since_start(self, time: float) -> str:
        """A time of the step as its log shows it: fewer decimals as the seconds grow."""
        seconds = max(0.0, time - (time if self.started is None else self.started))
        return f"{seconds:.{3 if seconds < 10 else 2 if seconds < 100 else 1}f}"

    def last_lines(self) -> list[str]:
        """The tail of its log as a screen shows it: with lines that a program still draws over."""
        lines = list(self.tail)
        for stream, cutter in self.cutters.items():
            if text := cutter.redrawn:
                if self.open_line == stream:
                    lines.pop()  # what it draws over
                lines.append(f"{self.since_start(self.heard)} {text}"[:_LINE_LIMIT])
        return lines

    def remember(self, stream: int, piece: "LinePart", time: float) -> None:
        """Add a piece of output to the tail of the log."""
        if self.open_line == stream and self.tail:
            self.tail[-1] = (self.tail[-1] + piece.text)[:_LINE_LIMIT]
        else:
            self.tail.append(f"{self.since_start(time)} {piece.text}"[:_LINE_LIMIT])
        self.open_line = None if piece.ends else stream


class StepOutput(NamedTuple):
    """A piece of a step's output, on the stream it was written to."""

    stream: int
    piece: "LinePart"
    time: float


class Trace:
    """All steps of a build by digest, the failed ones, and the warnings, in order.

    Without `all_output`, of what a step writes at once only the last lines are taken in: who shows
    no more than these need not pay for a step that writes millions.
    """

    def __init__(self, *, all_output: bool = True) -> None:
        self._all_output = all_output
        self.steps: dict[Digest, VertexProgress] = {}
        self.failed: list[StepFailure] = []
        self.warnings: list[Warned] = []

    def step(self, digest: Digest) -> VertexProgress:
        """The step of a vertex; an unplanned one is known by the start of its digest."""
        found = self.steps.get(digest)
        if found is None:
            found = self.steps[digest] = VertexProgress(digest, digest[:19])
        return found

    def observe(self, event: Event) -> list[StepOutput]:
        """Take an event in. Returns the output that became known with it."""
        match event:
            case Planned():
                self._plan(event)
            case Started():
                step = self.step(event.vertex)
                step.started, step.completed = event.time, None
            case Completed():
                return self._complete(event)
            case Log():
                return self._log(event)
            case Status():
                self.step(event.vertex).parts[event.part] = event
            case Warned():
                self.warnings.append(event)
        return []

    def _plan(self, event: Planned) -> None:
        for info in event.vertices:
            step = self.step(info.digest)
            step.name = " ".join(info.name.split()) or step.name
            step.inputs = info.inputs

    def _log(self, event: Log) -> list[StepOutput]:
        step, data = self.step(event.vertex), event.data
        step.heard = event.time
        if not self._all_output and (start := _last_lines(data)):
            data = data[start:]
            # What was begun is finished by now, and out of sight.
            step.cutters.pop(event.stream, None)
            step.open_line = None if step.open_line == event.stream else step.open_line
        cutter = step.cutters.get(event.stream)
        if cutter is None:
            from minibuild.progress.lines import LineCutter

            cutter = step.cutters[event.stream] = LineCutter()
        found = [StepOutput(event.stream, piece, event.time) for piece in cutter.feed(data)]
        recent = found[-TAIL_LINES - 1 :]
        if len(recent) < len(found) and step.open_line == event.stream:
            step.open_line = None
        for output in recent:
            step.remember(output.stream, output.piece, output.time)
        return found

    def _complete(self, event: Completed) -> list[StepOutput]:
        step = self.step(event.vertex)
        found = [
            StepOutput(stream, piece, event.time)
            for stream, cutter in sorted(step.cutters.items())
            for piece in cutter.finish()
        ]
        for output in found:
            step.remember(output.stream, output.piece, output.time)
        if step.started is None and not event.cancelled:
            step.started = event.time
        step.completed = event.time
        step.cached, step.cancelled, step.error = event.cached, event.cancelled, event.error
        if event.error and not event.cancelled:
            self.failed.append(StepFailure(step.name, tuple(step.tail)))
        return found


class Renderer:
    """A report that shows a build: this one nothing of it. What an error message needs is
    remembered in `trace`. It may be called from several threads."""

    def __init__(self, *, all_output: bool = False) -> None:
        self.trace = Trace(all_output=all_output)
        self._lock = threading.Lock()

    def __call__(self, event: Event, /) -> None:
        """Take an event in, and show it."""
        with self._lock:
            self._take(event)

    def _take(self, event: Event) -> None:
        """The same, by one thread at a time."""
        self.trace.observe(event)

    def close(self) -> None:
        """Show what is still to be shown, and leave the terminal as it was found. May be called
        twice."""


def _last_lines(data: bytes) -> int:
    """Where as many lines begin as a tail holds; 0 if there are no more than that."""
    position = len(data)
    for _ in range(TAIL_LINES + 1):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
