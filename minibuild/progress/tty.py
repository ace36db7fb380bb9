"""Progress on a terminal: what runs now, with bars and last words; what is done scrolls away.

Comes in: events. Goes out: frames on a `Screen`, ten in a second at most. A build that is over
before the first frame (everything was cached) writes its lines once, at the end.

     CACHED  [1/3] FROM busybox
       2.1s  [2/3] RUN make
       3.4s  [3/3] COPY . .
             transferring context: 42%|████▏     | 4.2M/10M [00:01<00:02, 2.0MB/s]
       5.7s  2 of 3 steps done

Read next: `screen`, `bars`.
"""

import time
from collections.abc import Callable

from minibuild.digest import Digest
from minibuild.events import Completed, Event, Remark, Started, Status
from minibuild.progress.cells import cut
from minibuild.progress.console import Console, visible
from minibuild.progress.lines import without_colours
from minibuild.progress.screen import Screen, ScreenLine
from minibuild.progress.ticker import Ticker
from minibuild.progress.trace import Renderer, VertexProgress

FRAME_S = 0.1
_LOG_LINES = 6
_MARGIN = " " * 13
_RED, _CYAN, _DIM, _BOLD = "31", "36", "2", "1"
# A part shorter than this is over before its bar could be read.
_BAR_AFTER_S = 0.3


class Tty(Renderer):
    """A report that draws on a terminal."""

    def __init__(
        self, console: Console, *, colours: bool, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._screen = Screen(console, colours=colours)
        self._ascii = "utf" not in console.encoding.lower()
        self._clock = clock
        self._ticker = Ticker(self.tick, FRAME_S)
        self._began: float | None = None
        self._closed = False
        self._done: list[ScreenLine] = []
        self._remarks: dict[Digest, str] = {}
        self._bar: Callable[[Status, float, int], str] | None = None

    def _take(self, event: Event) -> None:
        """The next frame shows it."""
        if self._began is None:
            self._began = self._clock()
        self.trace.observe(event)
        match event:
            case Started() | Status() if not self._closed:
                self._ticker.start()
            case Remark():
                self._remarks[event.vertex] = event.text
            case Completed():
                self._complete(self.trace.step(event.vertex))

    def tick(self) -> None:
        """Draw a frame."""
        if self._bar is None and self._bars_due():
            self._bar = self._load_bars()  # outside the lock: it takes a while
        with self._lock:
            if not self._closed:
                self._draw(live=True)

    def close(self) -> None:
        """Take the live lines away and leave what is done."""
        self._ticker.close()
        with self._lock:
            self._closed = True
            self._draw(live=False)

    # --- what is drawn ------------------------------------------------------------------------

    def _complete(self, step: VertexProgress) -> None:
        if step.cancelled and step.started is None:
            return
        verdict, colour = f"{step.seconds(0):.1f}s", ""
        if step.cancelled:
            verdict, colour = "CANCELED", _DIM
        elif step.error:
            verdict, colour = "ERROR", _RED
        elif step.cached:
            verdict, colour = "CACHED", _CYAN
        remark = self._remarks.pop(step.digest, "")
        self._done.append(ScreenLine(_row(verdict, step.name), colour))
        if remark:
            self._done.append(ScreenLine(_MARGIN + remark, _DIM))

    def _draw(self, *, live: bool) -> None:
        columns, rows = self._screen.size()
        done, self._done = self._done, []
        lines = self._live_lines(columns, rows - 2) if live else []
        self._screen.draw([_fit(line, columns) for line in done], lines)

    def _live_lines(self, columns: int, rows: int) -> list[ScreenLine]:
        """The running steps, each with as much below it as there is room for."""
        now = self._clock()
        running = [step for step in self.trace.steps.values() if step.running]
        if not running:
            return []
        running.sort(key=lambda step: step.started or 0.0)
        if len(running) > rows:
            running = running[: max(rows, 1)]
        details = [(self._bars(step, now, columns), self._words(step)) for step in running]
        wanted = [len(bars) + len(words) for bars, words in details]
        rooms = shares(wanted, max(rows - len(running), 0))
        lines: list[ScreenLine] = []
        for step, (bars, words), room in zip(running, details, rooms, strict=True):
            lines.append(ScreenLine(_row(f"{step.seconds(now):.1f}s", step.name), _BOLD))
            lines += bars[:room]
            # Of its words the last ones count.
            lines += words[len(words) - max(room - len(bars), 0) :]
        finished = sum(1 for step in self.trace.steps.values() if step.completed is not None)
        elapsed = now - (now if self._began is None else self._began)
        total = f"{finished} of {len(self.trace.steps)} steps done"
        lines.append(ScreenLine(_row(f"{elapsed:.1f}s", total), _DIM))
        return [_fit(line, columns) for line in lines]

    def _bars(self, step: VertexProgress, now: float, columns: int) -> list[ScreenLine]:
        lines = []
        if remark := self._remarks.get(step.digest):
            lines.append(ScreenLine(_MARGIN + remark, _DIM))
        for status in step.parts.values():
            if self._bar is not None and _has_bar(status, now):
                text = self._bar(status, now, columns - len(_MARGIN) - 1)
                lines.append(ScreenLine(_MARGIN + text))
        return lines

    def _words(self, step: VertexProgress) -> list[ScreenLine]:
        return [
            ScreenLine(_MARGIN + without_colours(text).expandtabs(8), _DIM)
            for text in step.last_lines()[-_LOG_LINES:]
        ]

    # --- bars ---------------------------------------------------------------------------------

    def _bars_due(self) -> bool:
        now = self._clock()
        with self._lock:
            return any(
                _has_bar(status, now)
                for step in self.trace.steps.values()
                if step.running
                for status in step.parts.values()
            )

    def _load_bars(self) -> Callable[[Status, float, int], str]:
        from minibuild.progress.bars import bar

        return lambda status, now, columns: bar(status, now, columns, ascii_only=self._ascii)


def shares(wanted: list[int], room: int) -> list[int]:
    """How many of `room` rows each gets: what it wants, or as much as the others with much."""
    given = [0] * len(wanted)
    pending = sorted(range(len(wanted)), key=lambda index: wanted[index])
    while pending:
        index = pending.pop(0)
        given[index] = min(wanted[index], room // (len(pending) + 1))
        room -= given[index]
    return given


def _has_bar(status: Status, now: float) -> bool:
    return status.completed is None and now - status.started >= _BAR_AFTER_S


def _row(verdict: str, text: str) -> str:
    return f"{verdict:>11}  {text}"


def _fit(line: ScreenLine, columns: int) -> ScreenLine:
    # One cell less: a terminal that was written to its last column may wrap or may not.
    return ScreenLine(cut(visible(line.text), columns - 1), line.colour)
