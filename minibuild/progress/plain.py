"""Progress as a log: one line for each thing that happens, for files, pipes and CI.

Comes in: events. Goes out: lines in the form of BuildKit's plain output:

    #4 [build 2/5] RUN make
    #4 0.512 cc -c main.c
    #4 DONE 1.3s

Steps run at the same time, a log is read in one go. So one step has the floor: what it writes
appears at once, and the others wait until it ends, falls silent or has talked for long enough.
A header line says that another step has the floor. Read next: `tty`.
"""

import time
from collections.abc import Callable

from minibuild.digest import Digest
from minibuild.events import Completed, Event, Log, Remark, Started, Status
from minibuild.progress.console import Console, TextPart
from minibuild.progress.ticker import Ticker
from minibuild.progress.trace import Renderer, StepOutput, VertexProgress
from minibuild.startup.tuples import NamedTuple

# A step loses the floor to one that waits if it was silent for so long, or has held it so long.
SILENCE_S = 1.0
PATIENCE_S = 5.0
# A part of a step (a download) is shown again after so long.
STATUS_INTERVAL_S = 5.0
# A step is named in full at its first line; later ones need only be told from each other.
_REMINDER = 72


class _Entry(NamedTuple):
    """What to write for a step. Only the output of its process has a stream, or may lack an end."""

    text: str
    stamp: str = ""
    stream: int = 0
    ends: bool = True


class Plain(Renderer):
    """A report that writes a log. `colours` keeps the colours of programs' own output."""

    def __init__(
        self,
        console: Console,
        *,
        colours: bool = False,
        clock: Callable[[], float] = time.time,
        ticker: bool = True,
    ) -> None:
        super().__init__(all_output=True)
        self._console = console
        self._colours = colours
        self._clock = clock
        self._ticker = Ticker(self.tick, 0.5) if ticker else None
        self._holder: VertexProgress | None = None
        self._since = 0.0  # when the holder got the floor
        self._spoke = 0.0  # when it last said something
        self._open = 0  # the stream whose last line has no end yet
        self._headers = 0
        self._waiting: dict[Digest, list[_Entry]] = {}
        self._shown_at: dict[tuple[Digest, str], float] = {}

    def _take(self, event: Event) -> None:
        outputs = self.trace.observe(event)
        match event:
            case Started():
                self._say(self.trace.step(event.vertex), [], event.time)
            case Log():
                step = self.trace.step(event.vertex)
                self._say(step, [self._logged(step, output) for output in outputs], event.time)
            case Remark():
                self._say(self.trace.step(event.vertex), _entries(event.text), event.time)
            case Status():
                self._status(event)
            case Completed():
                self._completed(event, outputs)

    def tick(self) -> None:
        """Give the floor away if its holder is silent and others wait."""
        with self._lock:
            self._yield_floor(self._clock())

    def close(self) -> None:
        """See `Renderer.close`."""
        if self._ticker is not None:
            self._ticker.close()
        with self._lock:
            while self._waiting:
                self._take_floor(self.trace.step(next(iter(self._waiting))), 0.0)
            self._end_line()

    # --- what is said -------------------------------------------------------------------------

    def _logged(self, step: VertexProgress, output: StepOutput) -> _Entry:
        text, ends = output.piece
        return _Entry(text, step.since_start(output.time) + " ", output.stream, ends)

    def _status(self, event: Status) -> None:
        key = (event.vertex, event.part)
        now = self._clock() if event.completed is None else event.completed
        shown_at = self._shown_at.setdefault(key, event.started)
        if event.completed is None and now - shown_at < STATUS_INTERVAL_S:
            return
        self._shown_at[key] = now
        from minibuild.progress.quantity import amount

        size = amount(event.current, event.total if event.completed is None else 0, event.unit)
        took = f"{now - event.started:.1f}s" if now - event.started > 0.01 else ""
        words = [event.part, size, took, "done" if event.completed is not None else ""]
        text = " ".join(word for word in words if word)
        self._say(self.trace.step(event.vertex), _entries(text), now)

    def _completed(self, event: Completed, outputs: list[StepOutput]) -> None:
        step = self.trace.step(event.vertex)
        if event.cancelled and step.number == 0 and step.digest not in self._waiting:
            return  # its beginning was not shown, so its end need not be
        if event.cancelled:
            verdict = "CANCELED"
        elif event.error:
            verdict = f"ERROR: {event.error}"
        elif event.cached:
            verdict = "CACHED"
        else:
            verdict = f"DONE {step.seconds(event.time):.1f}s"
        # What has ended is shown at once, whichever step has the floor: it can be read as a whole.
        self._take_floor(step, event.time)
        self._write(step, [*(self._logged(step, output) for output in outputs), *_entries(verdict)])
        self._end_line()
        self._holder = None
        self._yield_floor(event.time)

    # --- who says it --------------------------------------------------------------------------

    def _say(self, step: VertexProgress, entries: list[_Entry], now: float) -> None:
        if self._holder is None or self._holder is step:
            self._take_floor(step, now)
            self._write(step, entries)
            self._spoke = now
        elif entries:
            self._waiting.setdefault(step.digest, []).extend(entries)
            if self._ticker is not None:
                self._ticker.start()
        self._yield_floor(now)

    def _yield_floor(self, now: float) -> None:
        """Let the step speak that waits longest, if none does or the holder had its time."""
        if not self._waiting:
            return
        if self._holder is None or now - self._spoke > SILENCE_S or now - self._since > PATIENCE_S:
            self._take_floor(self.trace.step(next(iter(self._waiting))), now)

    def _take_floor(self, step: VertexProgress, now: float) -> None:
        if self._holder is not step:
            self._end_line()
            leaving = f"#{self._holder.number} ...\n" if self._holder is not None else ""
            blank = "\n" if self._headers else ""
            name = step.name
            if step.number == 0:
                self._headers += 1
                step.number = self._headers
            elif len(name) > _REMINDER:
                name = name[:_REMINDER] + "..."
            self._console.show(f"{leaving}{blank}#{step.number} {name}\n")
            self._holder, self._since, self._spoke = step, now, now
        self._write(step, self._waiting.pop(step.digest, []))

    def _write(self, step: VertexProgress, entries: list[_Entry]) -> None:
        """Write entries; one that continues the open line of its stream gets no new prefix."""
        parts: list[TextPart] = []
        for entry in entries:
            if self._open and self._open != entry.stream:
                parts.append("\n")
                self._open = 0
            if not self._open:
                parts.append(f"#{step.number} {entry.stamp}")
            parts += self._shown(entry)
            if entry.ends:
                parts.append("\n")
            self._open = 0 if entry.ends else entry.stream
        self._console.show(*parts)

    def _shown(self, entry: _Entry) -> tuple[TextPart, ...]:
        """The text of an entry; colours are those of a process."""
        if not entry.stream:
            return (entry.text,)
        from minibuild.progress.lines import coloured, without_colours

        return coloured(entry.text) if self._colours else (without_colours(entry.text),)

    def _end_line(self) -> None:
        if self._open:
            self._console.show("\n")
            self._open = 0


def _entries(text: str) -> list[_Entry]:
    return [_Entry(line) for line in text.splitlines()]
