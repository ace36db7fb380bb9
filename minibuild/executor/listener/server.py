"""The processes that answer for steps: as many as there are steps at once, and one that waits.

Comes in: from the executor, the descriptor on which the calls of a step arrive, with where its
tree is. Goes out: nothing; when the last process of the step has ended, the next step is taken.
They are small processes with a single thread: only such a one can enter the mount namespace of a
step, and fork quickly; and in a process of its own no other thread of the builder delays an answer.
Read next: `listener`; `client` is the other end.
"""

import os
import select
import signal
from contextlib import suppress
from typing import NoReturn

from minibuild.executor.helper import close_others
from minibuild.executor.listener.inside import Inside
from minibuild.executor.listener.listener import StepListener
from minibuild.executor.wire import Watching, unpack
from minibuild.linux.channel import Channel, close_all
from minibuild.linux.dispositions import restore_defaults
from minibuild.linux.recorded import Records

_MAX_BYTES = 128 * 1024


def serve(fd: int) -> NoReturn:
    """The server, on the other end of the channel."""
    try:
        close_others(fd)
        restore_defaults()
        os.umask(0)
        with suppress(PermissionError):  # It leads its session already.
            os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # No process waits for the others.
        _serve(Channel(fd))
    except BaseException as error:
        os.write(2, f"minibuild: the server of listeners failed: {error!r}\n".encode())
    finally:
        os._exit(0)


def _serve(channel: Channel) -> None:
    """Answer for one step after the other. All processes wait for messages on one socket, and the
    kernel gives each message to one of them. A process that takes one while no other waits makes
    another that does: those that wait are counted."""
    waiting = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
    while True:
        data, fds = channel.receive(_MAX_BYTES)
        os.eventfd_read(waiting)
        if not data:
            return
        others = select.select([waiting], [], [], 0)[0]
        if not others and os.fork() == 0:
            close_all(fds)
            os.eventfd_write(waiting, 1)
            continue
        watching = unpack(data)
        assert isinstance(watching, Watching)
        _answer(watching, fds)
        os.eventfd_write(waiting, 1)


def _answer(watching: Watching, fds: list[int]) -> None:
    listener_fd, root_fd, namespace_fd, stderr, gone, *upper = fds
    try:
        inside = Inside(root_fd, namespace_fd, upper[0] if upper else -1)
        records = Records(watching.tables)
        StepListener(listener_fd, stderr, inside, records, watching).serve()
        inside.leave()
    except BaseException as error:
        # Calls that wait, and all to come, fail with ENOSYS, and with them the step.
        os.write(2, f"minibuild: the listener of a step failed: {error!r}\n".encode())
        os._exit(0)
    close_all([listener_fd, stderr, gone])
