"""How long a server is waited for, and what is reported meanwhile.

Comes in: an event that says that the build is cancelled, and the seconds that a person set. Goes
out: the limits that `transport` and `pull` keep. Read next: `transport`.
"""

import threading
import time
from collections.abc import Callable

from minibuild.errors import Cancelled
from minibuild.events import Report, silent
from minibuild.session.request import STALL_S
from minibuild.startup.tuples import NamedTuple


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
