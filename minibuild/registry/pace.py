"""How fast a server is, and when it is given up.

Comes in: how long each read and write waited, and how many bytes came of it. Goes out: an event
when next to nothing comes for some seconds, so that people see what a build waits for; and
`Stalled` when that has gone on for too long. Silence has a time-out of its own, that of the
socket: but a byte a second is no silence, and would never end.

Each byte pays for a thousandth of a second of waiting, and what is not paid for adds up. So the
speed counts over some time, and a fast transfer with a pause in it is none that stalls. The time in
which a server thinks before it answers is not counted. Read next: `connection`.
"""

import time

from minibuild.digest import digest_strings
from minibuild.events import Completed, Planned, Remark, Report, Started, VertexInfo

LEAST_BYTES_S = 1000
"""What is slower than this stalls: the same number as git's http.lowSpeedLimit is used with."""

_TOLD_S = 5.0


class Stalled(TimeoutError):
    """A transfer that goes on, and will never end."""


class Pace:
    """The pace of a connection to `host`, which is given up after `limit_s` of next to nothing."""

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
