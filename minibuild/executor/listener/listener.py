"""Answers what a step asks of the kernel and is handed over to us.

Comes in: the descriptor on which the kernel hands over the calls that the filter names
(`seccomp.policy`). Goes out: answers, and records in the step's tree.

Where the kernel goes on with a call, as if nothing had been, nothing depends on what we read: a
process that changes its memory or its directories meanwhile (another thread may, at any time) gets
the kernel's own answer. What we do ourselves we do inside the step, on what we opened, with no
more power than the step has over its own files. See seccomp_unotify(2).
"""

import errno
import struct

from minibuild.executor.listener.answers import OF_USERS, Handler, guarding, looking, making, owning
from minibuild.executor.listener.calls import this_machine
from minibuild.executor.listener.creations import CreatingCalls, Sent
from minibuild.executor.listener.guards import GuardedCalls
from minibuild.executor.listener.identities import Identities
from minibuild.executor.listener.ids import IdCalls
from minibuild.executor.listener.inside import Inside
from minibuild.executor.listener.looks import StatCalls
from minibuild.executor.listener.nodes import DeviceCalls
from minibuild.executor.listener.notifications import (
    Notification,
    Notifications,
    waits_for_calls,
)
from minibuild.executor.listener.owned import Owned
from minibuild.executor.listener.owners import ChownCalls
from minibuild.executor.listener.permissions import Permissions
from minibuild.executor.listener.process import Processes
from minibuild.executor.wire import Watching
from minibuild.linux.recorded import Records


class StepListener:
    """Answers the calls of one step, until it has ended."""

    __slots__ = ("_handlers", "_identities", "_looking", "_notifications", "_of_users")

    def __init__(
        self, fd: int, stderr: int, inside: Inside, records: Records, watching: Watching
    ) -> None:
        machine = this_machine()
        assert machine is not None
        self._notifications = notifications = Notifications(fd)
        processes = Processes(rooted=watching.rooted)
        owned = Owned(records, inside, special=watching.special)
        identities = Identities()
        permissions = Permissions(processes, owned, guarded=watching.guarded)
        ours = (notifications, processes, identities, owned, permissions)
        looks = looking(StatCalls(machine, *ours))
        guards = guarding(GuardedCalls(*ours))
        known = {
            **looks,
            **making(DeviceCalls(inside.root_fd, stderr, *ours), CreatingCalls(*ours)),
            **owning(ChownCalls(*ours), IdCalls(*ours)),
            **guards,
        }
        self._identities = identities
        self._handlers: dict[int, Handler] = {
            kind: known[name] for kind, name in machine.calls.items()
        }
        self._looking = {kind for kind, name in machine.calls.items() if name in looks}
        of_users = OF_USERS | guards.keys()
        self._of_users = {kind for kind, name in machine.calls.items() if name in of_users}

    def serve(self) -> None:
        """Take one call after the other."""
        notifications, waits = self._notifications, waits_for_calls()
        while waits or notifications.arrive():
            call = notifications.receive()
            if call is not None:
                self._answer(call)
            elif not notifications.arrive():
                return

    def _answer(self, call: Notification) -> None:
        kind, result = call.kind, None
        if kind in self._of_users and self._identities.alone:
            self._notifications.answer(call, None)
            return
        handler = self._handlers.get(kind)
        try:
            if handler is not None:
                result = handler(call)
        except Sent:
            return
        except OSError as error:
            # Whatever else is wrong with a look, the kernel says it.
            if kind not in self._looking or error.errno == errno.EACCES:
                result = -(error.errno or errno.EPERM)
        except (LookupError, ValueError, OverflowError, struct.error):
            pass  # /proc says half of it: the process is about to end, or hides something.
        self._notifications.answer(call, result)
