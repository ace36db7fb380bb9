"""The step server: a small process that starts steps and waits for them.

Comes in: requests over a socket, each with five descriptors: the step, its stdin, stdout and
stderr, and a socket of its own. Goes out: on that socket, how the step ended. Closing the socket,
or a word on it, kills the step; closing the server's socket kills all and ends the server.

Why a process of its own? It is number 1 of a pid namespace, and steps live in namespaces below:
however it dies, the kernel kills them. It has a mount namespace of its own, so what it mounts is
seen by it alone. There are two kinds. One is cloned for each step: clone(2) copies the page tables
of its caller, so it has to be small, and a process with threads cannot safely fork in Python at
all. The other sets steps up in threads of its own, where the kernel and the step allow it.
Read next: `loop`, then `threads`.
"""

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from minibuild.errors import HostError
from minibuild.executor.helper import Helper, close_others, reap
from minibuild.executor.loop import MAX_ORDER_BYTES, Loop
from minibuild.executor.wire import Leave, Setup, pack, unpack
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel, close_all
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.dispositions import restore_defaults
from minibuild.linux.root_mount import contain_mounts

_SERVER_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID


class StepServer(Helper):
    """A running step server: closing it kills every step. One whose steps are confined gives up for
    good what none of them may have; others need another server."""

    __slots__ = ()
    role = "server"
    what = "the step server"

    def leave(self, held: list[int], *, wait: bool = False) -> None:
        """End every step, and wait until all are gone. The server closes what is `held`, the first
        descriptor last, and ends soon. `wait` for that, too."""
        with suppress(OSError):  # It died, and its steps with it.
            try:
                self._channel.send(pack(Leave()), tuple(held))
            finally:
                close_all(held)  # Now: who closes a tree last waits until it is unmounted.
            self._channel.receive(MAX_ORDER_BYTES)
        self._channel.close()
        if wait:
            reap(self._pid)
        else:
            threading.Thread(target=reap, args=(self._pid,), name="reap", daemon=True).start()
        self._pid = 0

    @classmethod
    def start(cls, setup: Setup) -> "StepServer":
        """Start a server. What it makes of the setup is in `ground`."""

        def serve(fd: int) -> NoReturn:
            _serve_and_exit(fd, setup, dies_with_parent=True)

        flags = _SERVER_NAMESPACES | _cgroup_namespace(setup)
        try:
            with _own_group(setup) as group_fd:
                return cls.begin(pack(setup).hex(), serve=serve, flags=flags, into_cgroup=group_fd)
        except OSError as error:
            if setup.threads:  # In a container whose filter does not know the call.
                return cls.start(setup._replace(threads=False))
            raise HostError(
                f"cannot start the step server: {error}",
                hint=getattr(error, "hint", "") or "`minibuild doctor` checks this machine",
            ) from error


def _cgroup_namespace(setup: Setup) -> int:
    """Without groups of their own steps see the server's as the root of all. With them, a step
    gets such a namespace once it is in its group: the kernel keeps a process of one from starting
    another outside of it."""
    return 0 if setup.place.hierarchies else syscalls.CLONE_NEWCGROUP


@contextmanager
def _own_group(setup: Setup) -> Iterator[int]:
    """The group that the server is to be in, which its steps then are in, too; -1 for none."""
    if not setup.threads or not setup.place.hierarchies:
        yield -1
        return
    (group,) = setup.place.hierarchies
    with closing_fd(os.open(group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        yield fd


def main(fd: int, packed_setup: str) -> NoReturn:
    """The server in a new interpreter: clone once more, to be number 1 of a pid namespace."""
    setup = unpack(bytes.fromhex(packed_setup))
    assert isinstance(setup, Setup)
    flags = _SERVER_NAMESPACES | _cgroup_namespace(setup)
    try:
        with _own_group(setup) as group_fd:
            pid, _ = syscalls.clone(flags, into_cgroup=group_fd)
    except OSError:
        # In a container whose filter does not know the call.
        setup = setup._replace(threads=False)
        pid, _ = syscalls.clone(flags)
    if pid == 0:
        _serve_and_exit(fd, setup, dies_with_parent=False)
    close_all((fd, 2))  # The server has copies.
    reap(pid)
    os._exit(0)


def _serve_and_exit(fd: int, setup: Setup, *, dies_with_parent: bool) -> NoReturn:
    try:
        if dies_with_parent:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            # Ctrl-C in a terminal goes to all processes of a session's foreground group.
            os.setsid()
        close_others(fd)
        restore_defaults()
        contain_mounts()
        # A collection would write to memory that is shared with the children.
        gc.disable()
        gc.freeze()
        _server(Channel(fd), setup).serve()
    except BaseException as error:
        os.write(2, f"minibuild: the step server failed: {error!r}\n".encode())
        os._exit(1)
    finally:
        os._exit(0)


def _server(requests: Channel, setup: Setup) -> Loop:
    if setup.threads:
        from minibuild.executor import threads

        if setup.place.hierarchies:
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)  # Its group is the root that steps see.
        if threads.can_be_had():
            return threads.ThreadLoop(requests, setup)
    return Loop(requests, setup)
