"""Progress as an object that can be shown: as text with `print`, as a table in a notebook.

Comes in: events. Goes out: the state of a build when it is asked for, or each time that it
changes. Notebooks (IPython, Jupyter) ask by `_repr_html_`; no package of theirs is needed here.
Read next: `trace`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from html import escape

from minibuild.events import Event, Log, Status, Warned
from minibuild.progress.lines import clean, without_colours
from minibuild.progress.quantity import amount
from minibuild.progress.trace import Trace, VertexProgress

INTERVAL_S = 0.2
"""How long what a step writes may wait to be shown; its start and its end are shown at once."""

_STYLE = "font-family: monospace; white-space: pre-wrap; text-align: left"
_LINES = 8


class Progress:
    """A report that remembers, `minibuild.build(..., report=Progress())`.

    `show` is called with this object when there is something new, such as the `update` of what
    `IPython.display.display(progress, display_id=True)` returns.
    """

    def __init__(
        self,
        show: "Callable[[Progress], object] | None" = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.show = show
        self._trace = Trace(all_output=False)
        self._clock = clock
        self._shown = 0.0
        self._lock = threading.Lock()

    def __call__(self, event: Event, /) -> None:
        """Take an event in."""
        with self._lock:
            self._trace.observe(event)
            now = self._clock()
            due = not isinstance(event, Log | Status) or now - self._shown >= INTERVAL_S
            self._shown = now if due else self._shown
        if due and self.show is not None:
            self.show(self)

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """What checks and exporters found so far."""
        return tuple(self._trace.warnings)

    def __str__(self) -> str:
        with self._lock:
            lines = [f"{state} {name} {note}".rstrip() for state, name, note, _ in self._rows()]
            warnings = [f"WARNING {one.rule}: {_plain(one.message)}" for one in self.warnings]
        return "\n".join([*lines, *warnings])

    def _repr_html_(self) -> str:
        with self._lock:
            rows = "".join(map(_html_row, self._rows()))
            warnings = "".join(
                f"<div>⚠ {escape(one.rule)}: {escape(_plain(one.message))}</div>"
                for one in self.warnings
            )
        return f'<table style="{_STYLE}">{rows}</table>{warnings}'

    def _rows(self) -> "Iterator[_Row]":
        now = self._clock()
        return (_row(step, now) for step in self._trace.steps.values())


_Row = tuple[str, str, str, list[str]]
"""The state of a step, its name, how long it took or how far it is, and the end of its log."""


def _row(step: VertexProgress, now: float) -> _Row:
    name = _plain(step.name)
    if step.error and not step.cancelled:
        return "✗", name, f"{step.seconds(now):.1f}s", _log(step)
    if step.cancelled:
        return "-", name, "cancelled", []
    if step.cached:
        return "✓", name, "cached", []
    if step.completed is not None:
        return "✓", name, f"{step.seconds(now):.1f}s", []
    if step.started is None:
        return " ", name, "", []
    parts = [amount(p.current, p.total, p.unit) for p in step.parts.values() if not p.completed]
    return "▸", name, " ".join([f"{step.seconds(now):.1f}s", *parts[-1:]]), _log(step)


def _log(step: VertexProgress) -> list[str]:
    return [_plain(line) for line in step.last_lines()[-_LINES:]]


def _html_row(row: _Row) -> str:
    state, name, note, log = row
    lines = f"<div>{'<br>'.join(map(escape, log))}</div>" if log else ""
    cells = f"<td>{state}</td><td>{escape(name)}{lines}</td><td>{escape(note)}</td>"
    return f"<tr>{cells}</tr>"


def _plain(text: str) -> str:
    return without_colours(clean(text))
