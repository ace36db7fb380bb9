"""How long a server is waited for, how often it is asked, and when it is given up.

Comes in: an event that says that the build is cancelled, and the seconds that a person set; then,
how long each read and write waited, and how many bytes came of it. Goes out: the limits that
all transfers keep; an event when next to nothing comes for some seconds, so that people
see what a build waits for; and `Stalled` when that has gone on for too long. Silence has a time-out
of its own, that of the socket: but a byte a second is no silence, and would never end.
Read next: `connection`, `transport`.
"""

import threading
import time
from collections.abc import Callable

from minibuild.digest import digest_strings
from minibuild.errors import Cancelled
from minibuild.events import Completed, Planned, Remark, Report, Started, VertexInfo, silent
from minibuild.session.request import STALL_S
from minibuild.startup.tuples import NamedTuple

LEAST_BYTES_S = 1000
"""What is slower than this stalls: the same number as git's http.lowSpeedLimit is used with."""

_TOLD_S = 5.0


class Patience(NamedTuple):
    """How long to wait for a registry before giving up. `sleep` may raise to stop waiting; all
    other waiting stops when `cancelled` is set.

    Silence is `connect_s` or `read_s` without a byte, and tried less often: `silences` times. What
    a registry has to store may take it `store_s` to answer to. A transfer that brings next to
    nothing for `stall_s` is given up. `report` hears of what is waited for.
    """

    attempts: int = 5
    pause_s: float = 0.5
    longest_pause_s: float = 60.0
    connect_s: float = 10.0
    read_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    silences: int = 2
    store_s: float = 300.0
    cancelled: threading.Event | None = None
    stall_s: float = STALL_S
    report: Report = silent

    def pause(self, failures: int, asked_s: float = 0.0) -> None:
        """Wait after so many failures: longer each time, and as long as the server asks."""
        pause_s = min(self.pause_s * 2 ** (failures - 1), self.longest_pause_s)
        self.sleep(max(pause_s, asked_s))


def patient(
    cancelled: threading.Event, stall_s: float = STALL_S, report: Report = silent
) -> Patience:
    """The usual patience, which ends at once when `cancelled` is set. Silence is a stall, too."""

    def sleep(seconds: float) -> None:
        if cancelled.wait(seconds):
            raise Cancelled("cancelled while waiting for a registry")

    store_s = max(Patience().store_s, stall_s)
    return Patience(
        read_s=stall_s,
        sleep=sleep,
        store_s=store_s,
        cancelled=cancelled,
        stall_s=stall_s,
        report=report,
    )


class Attempts:
    """The attempts at one thing: whether there is patience for another, and how long to wait before
    it. The counts are for those who see that something comes, and hope again."""

    def __init__(self, patience: Patience, most: int = 0) -> None:
        self._patience = patience
        self._most = most or patience.attempts
        self.failures = self.silences = 0

    def failed(self, *, silent: bool = False) -> bool:
        """Count a failure. Returns whether to try again."""
        self.failures += 1
        self.silences += silent
        return self.failures < self._most and self.silences < self._patience.silences

    def pause(self, asked_s: float = 0.0) -> None:
        """Wait before the next attempt."""
        self._patience.pause(max(self.failures, 1), asked_s)


class Stalled(TimeoutError):
    """A transfer that goes on, and will never end."""


class Pace:
    """The pace of a connection to `host`, which is given up after `limit_s` of next to nothing.

    Each byte pays for a thousandth of a second of waiting, and what is not paid for adds up. So the
    speed counts over some time, and a fast transfer with a pause in it is none that stalls. The
    time in which a server thinks before it answers is not counted.
    """

    def __init__(self, host: str, limit_s: float, report: Report) -> None:
        self._host = host
        self.limit_s = limit_s
        self._report = report
        self._unpaid_s = 0.0
        self._thinks = False
        self._vertex = digest_strings(("waiting", host, str(id(self))))
        self._told = False

    def asked(self, count: int, waited_s: float) -> None:
        """So many bytes were sent."""
        self._moved(count, waited_s)
        self._thinks = True

    def answered(self, count: int, waited_s: float) -> None:
        """So many bytes came. Raises `Stalled`."""
        if self._thinks:
            self._thinks, waited_s = False, 0.0
        self._moved(count, waited_s)

    def waits(self, waited_s: float) -> None:
        """Nothing has come or gone for so long."""
        if waited_s + self._unpaid_s >= _TOLD_S and not self._told:
            self._told = True
            text = f"nothing comes from {self._host}, or next to nothing"
            if not self._thinks:
                text += f": it is given up after {self.limit_s:g} seconds of that"
            now = time.time()
            self._report(Planned((VertexInfo(self._vertex, f"waiting for {self._host}"),)))
            self._report(Started(self._vertex, now))
            self._report(Remark(self._vertex, text, now))

    def over(self, error: str = "") -> None:
        """The waiting ended, well or not."""
        if self._told:
            self._told = False
            self._report(Completed(self._vertex, time.time(), error=error))

    def _moved(self, count: int, waited_s: float) -> None:
        self._unpaid_s = max(0.0, self._unpaid_s + waited_s - count / LEAST_BYTES_S)
        if self._unpaid_s >= self.limit_s:
            self.over(f"{self._host} stalls")
            raise Stalled(
                f"less than {LEAST_BYTES_S} bytes a second came for {self.limit_s:g} seconds"
            )
        if self._unpaid_s < _TOLD_S:
            self.over()
