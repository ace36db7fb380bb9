"""No progress at all; what an error message needs is remembered.

Comes in: events. Goes out: nothing until the build is over. Read next: `select`.
"""

import threading

from minibuild.events import Event
from minibuild.progress.trace import Trace


class Quiet:
    """A report that only remembers."""

    def __init__(self) -> None:
        self.trace = Trace(all_output=False)
        self._lock = threading.Lock()

    def __call__(self, event: Event, /) -> None:
        """Take an event in."""
        with self._lock:
            self.trace.observe(event)

    def close(self) -> None:
        """Nothing is held back, so there is nothing to do."""
