"""The loop of a step server that sets steps up in threads of it, see `thread`.

Comes in and goes out: what `server` says. The first thread has the loop. A step has a
process only when its program has been started. So a word to end it waits for that, or ends it at
the gate. The server dies with all its threads, and its pid namespace with all its processes.
"""

import _thread
import os
import select
import sys

from minibuild.executor.loop import LiveStep, Loop, Process, tell
from minibuild.executor.thread import NONE, OWN, Starter, StepThread
from minibuild.executor.wire import Exited, Failed, Order, Setup, pack
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, close_all
from minibuild.linux.descriptors import closing_fd


def can_be_had() -> bool:
    """Whether the kernel makes a /proc here for the pid namespace of another process."""
    try:
        with closing_fd(os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)) as fd:
            os.close(syscalls.new_filesystem("proc", [("pidns", fd)]))
    except OSError:
        return False
    return True


class _OnlyHere:
    """Keeps all threads but this one from loading modules: in a thread they would be those of an
    image. Python asks it before it looks for one."""

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        self._thread = _thread.get_ident()

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Leave it to others, or refuse."""
        if _thread.get_ident() != self._thread:
            raise ModuleNotFoundError(f"no module is loaded in a step: {name}", name=name)


class ThreadLoop(Loop):
    """The loop, with a thread for each step."""

    def __init__(self, requests: Channel, setup: Setup) -> None:
        super().__init__(requests, setup)
        self._count = 0
        self._threads: dict[int, StepThread] = {}
        self._starting: dict[int, Channel] = {}
        self._next: StepThread | None = None
        self._starter: Starter | None = None
        if not isinstance(self._ground, OSError):
            self._starter = Starter(self._ground)
            reports = self._starter.reports.fileno()
            self._poll.register(reports, select.POLLIN)
            self._other[reports] = self._report
        # What threads need, before they are kept from loading modules.
        from minibuild.executor import loopback as loopback
        from minibuild.linux import recorded as recorded

        sys.meta_path.insert(0, _OnlyHere())

    def _start(self, order: Order, fds: list[int]) -> None:
        channel = Channel(fds[4])
        try:
            thread = self._take(order)
            thread.channel.send(b"go", tuple(fds))
        except OSError as error:
            hint = getattr(error, "hint", "")
            tell(channel, pack(Failed("HostError", f"cannot start the step: {error}", hint)))
            channel.close()
        else:
            thread.channel.close()
            self._starting[thread.number] = channel
        close_all(fds[:4] + fds[5:])
        if self._next is None and not order.last:
            self._prepare_spare()

    def _take(self, order: Order) -> StepThread:
        if self._next is None or order.network:
            return self._thread(network=order.network)
        thread, self._next = self._next, None
        return thread

    def _thread(self, *, network: bool = False) -> StepThread:
        if self._starter is None:
            assert isinstance(self._ground, OSError)
            raise self._ground
        self._count += 1
        thread = StepThread(self._starter, self._count, network=network)
        self._threads[self._count] = thread
        return thread

    def _prepare_spare(self) -> None:
        if self._starter is not None:
            self._next = self._thread()

    def _report(self) -> None:
        assert self._starter is not None
        number, pid, code = self._starter.reports.receive()
        if thread := self._threads.pop(number, None):
            os.close(thread.theirs)
            if pid == NONE and self._next is thread:
                self._next = None  # It could not begin.
        if pid == OWN:
            return
        channel = self._starting.pop(number, None)
        if channel is None:
            return
        if pid == NONE:
            tell(channel, pack(Exited(code)))
            channel.close()
        else:
            self._runs(LiveStep(Process(pid, os.pidfd_open(pid), None), channel))
