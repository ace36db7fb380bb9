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
from collections.abc import Callable
from typing import Any

from minibuild.executor.listener.answers import CallAnswer, guarding, looking, making, owning
from minibuild.executor.listener.arguments import ReadArguments, reader
from minibuild.executor.listener.calls import this_machine
from minibuild.executor.listener.chown_calls import ChownCalls
from minibuild.executor.listener.creating_calls import CreatingCalls, Sent
from minibuild.executor.listener.device_calls import DeviceCalls
from minibuild.executor.listener.file_owners import FileOwners
from minibuild.executor.listener.guards import Guards
from minibuild.executor.listener.id_calls import IdCalls
from minibuild.executor.listener.identities import Identities
from minibuild.executor.listener.identity import Identity
from minibuild.executor.listener.inside import Inside
from minibuild.executor.listener.notifications import (
    Notification,
    Notifications,
    waits_for_calls,
)
from minibuild.executor.listener.permissions import NotJudged, Permissions
from minibuild.executor.listener.process import Processes
from minibuild.executor.listener.stat_calls import StatCalls
from minibuild.executor.wire import Watching
from minibuild.linux.recorded import Records

_OF_KERNEL: tuple[CallAnswer, ReadArguments] = CallAnswer(""), lambda _: ()
"""Calls of programs for another machine may have numbers that are not known here."""


class StepListener:
    """Answers the calls of one step, until it has ended."""

    __slots__ = ("_answers", "_identities", "_notifications", "_permissions")

    def __init__(
        self, fd: int, stderr: int, inside: Inside, records: Records, watching: Watching
    ) -> None:
        machine = this_machine()
        assert machine is not None
        self._notifications = notifications = Notifications(fd)
        processes = Processes(rooted=watching.rooted)
        owned = FileOwners(records, inside, special=watching.special)
        self._identities = identities = Identities()
        self._permissions = permissions = Permissions(processes, owned, guarded=watching.guarded)
        ours = (notifications, processes, owned, permissions)
        nodes = DeviceCalls(inside.root_fd, stderr, *ours)
        known = {
            **looking(StatCalls(machine, *ours), permissions),
            **making(nodes, CreatingCalls(*ours), permissions),
            **owning(ChownCalls(*ours), IdCalls(identities, *ours), permissions),
            **guarding(Guards(*ours)),
        }
        self._answers: dict[int, tuple[CallAnswer, ReadArguments]] = {
            kind: (known[name], reader(known[name].words, processes, known[name].meant))
            for kind, name in machine.calls.items()
        }

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
        answer, read = self._answers.get(call.kind, _OF_KERNEL)
        result = None
        try:
            if answer.changes:
                self._permissions.forget()
            who = self._identities.of(call.pid)
            if not answer.of_users or who is not self._identities.first:
                arguments = read(call)
                if answer.check is not None and not who.overrides:
                    _check(answer.check, who, arguments)
                if answer.act is not None:
                    result = answer.act(who, call, *arguments)
        except Sent:
            return
        except NotJudged:
            pass
        except OSError as error:
            if not answer.looks or error.errno == errno.EACCES:
                result = -(error.errno or errno.EPERM)
        except (LookupError, ValueError, OverflowError, struct.error):
            pass  # /proc says half of it: the process is about to end, or hides something.
        self._notifications.answer(call, result)


def _check(check: Callable[..., object], who: Identity, arguments: tuple[Any, ...]) -> None:
    """Raise `PermissionError` if a user is refused. What else is wrong with a call is found out
    when it is done, by us or by the kernel."""
    try:
        check(who, *arguments)
    except PermissionError:
        raise
    except OSError:
        pass
