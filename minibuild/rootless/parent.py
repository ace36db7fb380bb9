"""Builds in a process of their own, for a caller that cannot enter a user namespace.

Comes in: requests, one after the other. Goes out: what a build gives, as if it had run here: the
same events, the same result, the same errors. The two processes talk over a channel that no other
process can open.
Read next: `child`, the other end; `linux.rpc`.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from minibuild.errors import Cancelled, HostError
from minibuild.events import Event, Report
from minibuild.linux.channel import pair
from minibuild.linux.rpc import Caller, PeerGone
from minibuild.session.request import BuildRequest, BuildResult

_MAX_BUILDS = 100
"""So many builds has a process, in case one of them leaves something in its memory."""
_CHILD = """\
import sys
number, loads, *sys.path = sys.argv[1:]
from minibuild.rootless.child import run
run(int(number), loads)
"""


def build_in_child(
    request: BuildRequest, *, root: str, report: Report, cancelled: threading.Event
) -> BuildResult:
    """Do one build on the store in `root`: `builder.run_build`, from outside the namespace."""
    child = BuildChild()

    def each(events: Sequence[Event]) -> None:
        for event in events:
            report(event)

    try:
        child.build(request, root=root, report=each, cancelled=cancelled)
        return child.rest()
    finally:
        child.close()


class BuildChild:
    """A process that waits for builds. `loads` is a module that it imports meanwhile, with all that
    they need. The second build begins with what the first one made ready in memory: a cached one
    takes half as long. Call `close` at the end."""

    def __init__(self, loads: str = "minibuild.builder") -> None:
        from subprocess import DEVNULL, Popen

        ours, theirs = pair()
        try:
            self._process = Popen(
                # The modules of the caller, and none that happen to be in the current directory.
                [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno()), loads, *sys.path],
                pass_fds=[theirs.fileno()],
                stdin=DEVNULL,
                # Ctrl-C is for the caller, who then closes the channel.
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._caller = Caller(ours)
        self._builds = 0
        self._is_ready = self._goes_on = True

    def build(
        self,
        request: BuildRequest,
        *,
        root: str,
        report: Callable[[Sequence[Event]], None],
        cancelled: threading.Event,
    ) -> BuildResult:
        """Do the build. `report` gets the events, some at a time. Returns the result when the
        outputs are there; `rest` is to be called next. Raises what `builder.run_build` raises."""
        call, caller = (request, root, os.getcwd()), self._caller
        self._builds, self._is_ready = self._builds + 1, False
        with _explained(cancelled):
            result = caller.call(call, on_event=report, cancelled=cancelled, stop=caller.stop)
        assert isinstance(result, BuildResult)
        self._goes_on = self._builds < _MAX_BUILDS and not cancelled.is_set()
        return result

    def rest(self) -> BuildResult:
        """The result of that build once more, with its provenance: all is done, also its record."""
        with _explained():
            result = self._caller.rest()
        assert isinstance(result, BuildResult)
        self._is_ready = self._goes_on
        return result

    def waits(self) -> bool:
        """Whether it can do a build: it is there, and no build of it failed or was cancelled."""
        return self._is_ready and self._process.poll() is None

    def close(self) -> None:
        """Closing the channel is the order to stop; the process ends when all is clean."""
        self._caller.close()
        self._process.wait()


@contextmanager
def _explained(cancelled: threading.Event | None = None) -> Iterator[None]:
    """Say what the death of the process means."""
    try:
        yield
    except PeerGone as error:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled("the build was cancelled") from error
        raise HostError(
            "the process that ran the build died",
            hint="was it killed, or out of memory? `minibuild doctor` checks this machine",
        ) from error
